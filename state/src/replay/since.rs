//! When what decides about an action became what it is.

use crate::explain::Needs;
use crate::ids::Millis;
use crate::plan::{ActionPlan, Kind, Plan};

/// When the action, or anything that its decisions depend on, was changed last: its audiences and traits, and
/// any budget or experiment, in force or gone. [`Millis::MIN`] if that is not known.
#[must_use]
pub fn decides_since(plan: &Plan, action: &ActionPlan) -> Millis {
    let needs = Needs::of_action(plan, action.slot);
    let asked = |kind: Kind, slot: usize| match kind {
        Kind::Action => slot == action.slot.index(),
        Kind::ComputedTrait => needs.traits.iter().any(|known| known.index() == slot),
        Kind::Audience => needs.audiences.iter().any(|known| known.index() == slot),
        _ => true,
    };
    let mut since = Millis::MIN;
    for kind in [Kind::Action, Kind::ComputedTrait, Kind::Audience, Kind::Budget, Kind::Experiment] {
        for (slot, known) in plan.catalog.definitions(kind).iter().enumerate() {
            // What is gone may have been a part of it.
            if asked(kind, slot) || known.removed && kind != Kind::Action {
                since = since.max(plan.catalog.time_of(known.changed).unwrap_or(Millis::MIN));
            }
        }
    }
    since
}
