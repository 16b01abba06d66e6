//! Goals and experiments: touches, conversions and exposures.

use super::{Changes, Dry, ProfileFacts};
use crate::event::{Entry, Occurrence, Reacted};
use crate::goal::{GoalState, Micros, Touch};
use crate::ids::{GoalSlot, Moment};
use crate::plan::{EventPlan, Plan};
use crate::profile::Profile;
use smallvec::SmallVec;

/// Asks the goals of an event whether it converts, before anything else has seen it: conditions that
/// compare with a trait read the value from just before the event.
pub(super) fn convert(
    plan: &Plan,
    profile: &mut Profile,
    event: &EventPlan,
    moment: Moment,
    occurrence: &Occurrence,
    dry: &mut Dry,
    out: &mut Changes,
) {
    let mut converted: SmallVec<[(GoalSlot, Option<Micros>); 2]> = SmallVec::new();
    for &slot in &event.goals {
        let Some(goal) = plan.goal_plan(slot) else { continue };
        let facts = ProfileFacts { plan, profile, event: Some(occurrence), context: None };
        converted.extend(goal.def.conversion(occurrence, &facts, moment.t).map(|value| (slot, value)));
    }
    for (slot, value) in converted {
        let Some(goal) = plan.goal_plan(slot) else { continue };
        let state = profile.core.goals.get_or_insert_with(slot.0, GoalState::default);
        let before = state.dropped();
        if state.convert(&goal.def, moment, value).needs_history {
            dry.goals.push(slot);
        }
        out.unkept += u32::from(state.dropped() != before);
        super::trials::convert(plan, profile, goal, moment, value);
    }
}

/// Takes a reaction in, where it is a touch of a goal or has the arm of an experiment.
pub(super) fn react(plan: &Plan, profile: &mut Profile, entry: &Entry, reacted: &Reacted, dry: &mut Dry, out: &mut Changes) {
    for goal in plan.goals.iter().flatten().filter(|goal| goal.def.touched_by(reacted)) {
        let touch = Touch { moment: entry.moment, action: reacted.action, channel: reacted.channel };
        let state = profile.core.goals.get_or_insert_with(goal.slot.0, GoalState::default);
        let before = state.dropped();
        if state.touch(&goal.def, touch).needs_history {
            dry.goals.push(goal.slot);
        }
        out.unkept += u32::from(state.dropped() != before);
    }
    super::trials::expose(plan, profile, entry.moment, reacted, dry);
}
