//! A computed trait for one person: its value, and the events that make it.

use super::Case;
use super::audience::put;
use super::evidence::{Counted, instant_json};
use super::flip::INSTANTS_MAX;
use crate::ids::{Millis, TraitSlot};
use crate::machine;
use crate::plan::{Definition, Kind};
use crate::traits::{Input, TraitDef, TraitKind};
use crate::value::Value;
use serde_json::{Value as Json, json};

/// Takes a trait apart for one person; `None` if it is not in force.
#[must_use]
pub fn explain_trait(case: &Case<'_>, slot: TraitSlot) -> Option<Json> {
    let trait_plan = case.plan.trait_plan(slot)?;
    let def = &trait_plan.def;
    let state = case.profile.trait_state(slot);
    let value = machine::trait_value(case.plan, case.profile, slot);
    let tally = case.evidence.traits.get(&slot).cloned().unwrap_or_default();
    let (mut contributors, waiting, others) = tally.lists();
    // Of the kinds that keep one contributor, say which; the newest of several alike.
    let decides = |counted: &Counted| match def.kind {
        TraitKind::Min | TraitKind::Max => counted.value.as_ref().zip(value.as_ref()).is_some_and(|(a, b)| rounds_to(a, b)),
        TraitKind::First | TraitKind::Last if def.input == Input::Timestamp => Some(Value::Time(counted.moment.t)) == value,
        TraitKind::First | TraitKind::Last => counted.value == value,
        _ => false,
    };
    if let Some(at) = tally.counted.iter().rev().position(decides) {
        put(&mut contributors[at], "decides", true);
    }
    let definition = case.plan.catalog.definitions(Kind::ComputedTrait).get(slot.index()).map_or(Json::Null, Definition::json);
    Some(json!({
        "kind": "trait",
        "id": trait_plan.id.to_string(),
        "key": trait_plan.key,
        "name": trait_plan.name,
        "definition": definition,
        "event": case.plan.event_name(def.event),
        "where": def.condition.describe(),
        "windowMs": def.window_ms,
        "value": value.as_ref().map(Value::to_json),
        "isDefault": tally.count == 0 && value == def.default_value(),
        "contributing": tally.count,
        "contributors": contributors,
        "waiting": waiting,
        "others": others,
        "approximate": state.is_some_and(|state| def.approx(state)),
        "overflow": state.is_some_and(|state| def.overflow(state)),
        "next": next(case, slot, def, value.as_ref()),
    }))
}

fn rounds_to(value: &Value, shown: &Value) -> bool {
    value.same(shown) || crate::traits::sum::rounded(value).is_some_and(|rounded| rounded.same(shown))
}

/// The next instant at which the value is another, with nothing happening, and that value.
fn next(case: &Case<'_>, slot: TraitSlot, def: &TraitDef, value: Option<&Value>) -> Json {
    if !def.timed() {
        return Json::Null;
    }
    let mut supposed = case.supposed();
    for _ in 0..INSTANTS_MAX {
        let next = supposed.profile.core.traits.get(slot.0).map_or(Millis::MAX, |cell| cell.deadline);
        if next == Millis::MAX {
            break;
        }
        supposed.advance(case.plan, case.entries, next.max(supposed.profile.core.clock.plus(1)));
        let then = machine::trait_value(case.plan, &supposed.profile, slot);
        if then.as_ref() != value {
            let at = instant_json(supposed.profile.core.clock);
            return json!({"at": at, "value": then.map(|then| then.to_json())});
        }
    }
    Json::Null
}
