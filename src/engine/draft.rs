//! A definition that nobody has saved, in a plan of its own: previews, dry runs and what-ifs ask it, and
//! nothing of the server knows it.

use super::explain::Unanswered;
use super::{Engine, mint};
use lodestone_state::ids::DefId;
use lodestone_state::issue::{DEFINITION_INVALID, Issue};
use lodestone_state::plan::{Catalog, CatalogDocument, Diff, Kind, Plan};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What a draft without a name is called.
const NAMELESS: &str = "draft";

/// A draft, compiled with everything that is in force.
pub(super) struct Drafted {
    /// The plan in force. What the draft does not touch is in both under the same slots.
    pub(super) base: Arc<Plan>,
    /// The same with the draft in it. It is never put in force, so no profile's generation names it: fold a
    /// copy by [`lodestone_state::machine::rebuild`] or from its log before you read what it says of anybody.
    pub(super) plan: Plan,
    /// The draft's id: that of what it would replace, or a new one.
    pub(super) id: DefId,
    /// Its slot in the tables of its kind.
    pub(super) slot: usize,
    /// Whether it stands in the place of one that is saved.
    pub(super) replaces: bool,
}

impl Engine {
    /// Compiles `body`, a definition as it is sent to be saved, beside everything in force. It stands in the
    /// place of the one that `existing` names (by id, key or name), or that its own `id` or `key` names; without
    /// any it is new, and then needs neither name nor key. Nothing is changed by it.
    ///
    /// # Errors
    /// [`Unanswered::NotFound`] where `existing` names nothing; [`Unanswered::Invalid`] with everything that
    /// saving it would find wrong, by its places in `body`.
    pub(super) fn draft(&self, kind: Kind, body: Value, existing: Option<&str>) -> Result<Drafted, Unanswered> {
        let base = self.plan.load_full();
        let catalog = &base.catalog;
        let slot = match existing {
            Some(text) => Some(catalog.slot(kind, text).ok_or(Unanswered::NotFound(kind.not_found_code()))?),
            None => named(catalog, kind, &body),
        };
        let (body, id) = complete(catalog, kind, slot, body);
        let (next, _) = changed(catalog, kind, slot, body).map_err(Unanswered::Invalid)?;
        let plan = Plan::compile(Arc::new(next)).map_err(Unanswered::Invalid)?;
        let all = plan.catalog.definitions(kind);
        let place = slot.or_else(|| all.iter().rposition(|known| known.id == id && !known.removed));
        let unplaced = || vec![Issue::new("", DEFINITION_INVALID, "it defines nothing that is in force")];
        let slot_of = place.ok_or_else(|| Unanswered::Invalid(unplaced()))?;
        Ok(Drafted { id: all[slot_of].id, slot: slot_of, replaces: slot.is_some(), base, plan })
    }
}

impl Unanswered {
    /// With the places of a body that stands at `place` of what was sent.
    pub(super) fn below(self, place: &str) -> Self {
        match self {
            Self::Invalid(mut issues) => {
                issues.iter_mut().for_each(|issue| issue.pointer.insert_str(0, place));
                Self::Invalid(issues)
            }
            other => other,
        }
    }
}

/// The slot of the definition in force that a body names as itself.
fn named(catalog: &Catalog, kind: Kind, body: &Value) -> Option<usize> {
    let text = |field: &str| body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let id = text("id").and_then(|id| id.parse::<DefId>().ok());
    let key = text("key").filter(|_| !matches!(kind, Kind::Action | Kind::ActionType));
    let mine = |slot: &usize| catalog.definitions(kind)[*slot].id;
    let by_id = id.and_then(|id| catalog.live(kind).find(|(_, known)| known.id == id)).map(|(slot, _)| slot);
    by_id.or_else(|| {
        let by_key = catalog.live(kind).find(|(_, known)| Some(known.key.as_str()) == key).map(|(slot, _)| slot);
        // Another's key with an id of its own is a mistake, which compiling tells.
        by_key.filter(|slot| id.is_none_or(|id| id == mine(slot)))
    })
}

/// A body with what it may leave out, and the id that it has then.
fn complete(catalog: &Catalog, kind: Kind, slot: Option<usize>, mut body: Value) -> (Value, DefId) {
    let fresh = DefId(mint());
    let Value::Object(map) = &mut body else { return (body, fresh) };
    let given = |map: &Map<String, Value>, field: &str| map.get(field).is_some_and(|value| !value.is_null() && value != "");
    let known = slot.map(|slot| &catalog.definitions(kind)[slot]);
    let id = known.map_or(fresh, |known| known.id);
    if !given(map, "name") {
        map.insert("name".into(), known.map_or(NAMELESS, |known| &known.name).into());
    }
    if !matches!(kind, Kind::Action | Kind::ActionType) && !given(map, "key") {
        let key = known.map_or_else(|| format!("{NAMELESS}_{fresh}"), |known| known.key.clone());
        map.insert("key".into(), key.into());
    }
    let own = map.get("id").and_then(Value::as_str).map(str::parse::<DefId>);
    match own {
        Some(Ok(own)) => (body, if slot.is_some() { id } else { own }),
        // What is no id is told by compiling.
        Some(Err(_)) => (body, id),
        None => {
            map.insert("id".into(), id.to_string().into());
            (body, id)
        }
    }
}

/// The catalog with one definition as `value` says. `slot` is the one that is meant; without it, it is new
/// or the only one of its kind.
///
/// # Errors
/// Everything that is wrong with `value`, by its places in it.
pub(crate) fn changed(catalog: &Catalog, kind: Kind, slot: Option<usize>, value: Value) -> Result<(Catalog, Diff), Vec<Issue>> {
    let mut value = settable(value);
    if let (Some(slot), Value::Object(map)) = (slot, &mut value) {
        let id = catalog.definitions(kind)[slot].id.to_string();
        if map.get("id").is_some_and(|given| !given.is_null() && given.as_str() != Some(&id)) {
            return Err(vec![Issue::new("/id", "immutable", format!("its id is {id} for ever"))]);
        }
        map.insert("id".into(), id.into());
        // Only what says so puts an archived version into force again.
        if kind == Kind::ActionType && catalog.definitions(kind)[slot].removed {
            map.entry("isArchived").or_insert(Value::Bool(true));
        }
    }
    let section = if kind == Kind::CustomTraits { value } else { Value::Array(vec![value]) };
    let document = CatalogDocument::from_json(&json!({kind.section(): section}));
    document.and_then(|document| catalog.apply(&document)).map_err(|issues| relative(kind, issues))
}

/// Takes out what the server alone says, which is not a field of the definition.
fn settable(mut value: Value) -> Value {
    if let Value::Object(map) = &mut value {
        map.retain(|field, value| match field.as_str() {
            "state" | "build" => !value.is_object(),
            "fired" => false,
            _ => true,
        });
    }
    value
}

/// Issues of a document of one definition, by their places in that definition.
fn relative(kind: Kind, mut issues: Vec<Issue>) -> Vec<Issue> {
    let here = match kind {
        Kind::CustomTraits => format!("/{}", kind.section()),
        _ => format!("/{}/0", kind.section()),
    };
    for issue in &mut issues {
        if let Some(rest) = issue.pointer.strip_prefix(&here).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            issue.pointer = rest.to_owned();
        }
    }
    issues
}

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    fn codes(outcome: Result<Drafted, Unanswered>) -> Vec<String> {
        match outcome {
            Err(Unanswered::Invalid(issues)) => issues.iter().map(|issue| format!("{} {}", issue.pointer, issue.code)).collect(),
            Err(Unanswered::NotFound(code)) => vec![code.to_owned()],
            Err(other) => vec![format!("{other:?}")],
            Ok(drafted) => vec![format!("{} is fine", drafted.id)],
        }
    }

    /// It stands where it belongs, and nothing in force knows it.
    #[test]
    fn a_draft_has_a_plan_of_its_own() {
        let rig = Rig::new();
        let before = rig.engine.plan();
        let everybody = json!({"includeAnonymous": true, "events": [], "traits": []});
        let new = rig.engine.draft(Kind::Audience, everybody.clone(), None).map_err(|e| format!("{e:?}")).unwrap();
        assert_eq!((new.slot, new.replaces, new.base.version), (1, false, before.version));
        assert_eq!(new.plan.audiences[1].as_ref().map(|audience| audience.id), Some(new.id));
        let saved = before.audience_by_key("viewers").expect("it is saved");
        let (mut by_key, mut by_id) = (everybody.clone(), everybody.clone());
        by_key["key"] = "viewers".into();
        by_id["id"] = saved.id.to_string().into();
        for (body, existing) in [(by_key, None), (by_id, None), (everybody.clone(), Some("Viewers"))] {
            let other = rig.engine.draft(Kind::Audience, body, existing).map_err(|e| format!("{e:?}")).unwrap();
            assert_eq!((other.slot, other.id, other.replaces), (0, saved.id, true));
            assert!(other.plan.audiences[0].as_ref().is_some_and(|audience| audience.def.conditions.is_empty()));
        }
        let after = rig.engine.plan();
        assert_eq!((after.version, after.audiences.len(), saved.def.conditions.len()), (before.version, 1, 1));
    }

    #[test]
    fn what_is_wrong_with_a_draft_is_told_by_its_places() {
        let rig = Rig::new();
        let everybody = json!({"includeAnonymous": true, "events": [], "traits": []});
        assert_eq!(codes(rig.engine.draft(Kind::Audience, everybody.clone(), Some("nobody"))), ["audience_not_found"]);
        let mut taken = everybody;
        (taken["key"], taken["id"]) = ("viewers".into(), DefId(7).to_string().into());
        assert_eq!(codes(rig.engine.draft(Kind::Audience, taken.clone(), None)), ["/key key_taken"]);
        (taken["key"], taken["id"]) = ("other".into(), "seven".into());
        assert_eq!(codes(rig.engine.draft(Kind::Audience, taken, None)), ["/id definition_invalid"]);
        let below = codes(rig.engine.draft(Kind::Audience, json!([]), None).map_err(|error| error.below("/definition")));
        assert_eq!(below, ["/definition definition_invalid"]);
    }

    #[test]
    fn what_the_server_says_is_not_taken_for_what_was_sent() {
        let sent = json!({"state": {"name": "live"}, "build": {"name": "live"}, "fired": 3, "name": "a"});
        assert_eq!(settable(sent), json!({"name": "a"}));
        assert_eq!(settable(json!({"state": "active"})), json!({"state": "active"}));
    }
}
