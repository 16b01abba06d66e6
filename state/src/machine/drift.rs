//! Which parts of a profile's derived state differ from what its log says.

use super::{metric, trait_value};
use crate::action::{Cap, CapState, Group};
use crate::event::MembershipChange;
use crate::ids::{ActionSlot, AudienceSlot, BudgetSlot, ExperimentSlot, GoalSlot, Millis, RuleSlot, TraitSlot};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::slots::Slots;

/// A part of what is derived from a profile's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The value of a computed trait.
    Trait(TraitSlot),
    /// Whether the profile is a member, and since when.
    Audience(AudienceSlot),
    /// A rule's metric, and what its own entries left.
    Rule(RuleSlot),
    /// Touches and conversions of a goal, with who is credited.
    Goal(GoalSlot),
    /// What is spent of a budget.
    Budget(BudgetSlot),
    /// The exposure to an experiment and what came after it.
    Experiment(ExperimentSlot),
    /// The reactions to an action, and what its caps count of them.
    Caps(ActionSlot),
}

/// The parts in which `live` differs from `derived`, which was folded from the same log up to the same
/// instant. Compared is what can be seen of a part, not how it is kept: a live state may still hold a window
/// that no cap asks for any more.
///
/// `moves` is the membership log, oldest first: a fold cannot know when a late event made somebody a member,
/// that log does. `derived` gets what it says.
#[must_use]
pub fn differences(plan: &Plan, live: &Profile, derived: &mut Profile, moves: &[MembershipChange]) -> Vec<Part> {
    let now = live.core.clock;
    let mut parts = Vec::new();
    for slot in plan.traits.iter().flatten().map(|one| one.slot) {
        if trait_value(plan, live, slot) != trait_value(plan, derived, slot) {
            parts.push(Part::Trait(slot));
        }
    }
    for slot in plan.audience_slots() {
        if let (Some(since), Some(cell)) = (live.member_since(slot), derived.core.audiences.get_mut(slot.0)) {
            cell.since = cell.since.and(Some(member_since(slot, since, now, moves)));
        }
        if live.member_since(slot) != derived.member_since(slot) {
            parts.push(Part::Audience(slot));
        }
    }
    for slot in plan.rules.iter().flatten().map(|one| one.slot) {
        let marks = |profile: &Profile| profile.core.rules.get(slot.0).map(|state| state.marks).unwrap_or_default();
        if marks(live) != marks(derived) || metric(plan, live, slot) != metric(plan, derived, slot) {
            parts.push(Part::Rule(slot));
        }
    }
    for slot in plan.goals.iter().flatten().map(|one| one.slot) {
        if !same(&live.core.goals, &derived.core.goals, slot.0) {
            parts.push(Part::Goal(slot));
        }
    }
    for slot in plan.experiments.iter().flatten().map(|one| one.slot) {
        if !same(&live.core.trials, &derived.core.trials, slot.0) {
            parts.push(Part::Experiment(slot));
        }
    }
    for budget in plan.budgets.iter().flatten() {
        let caps = budget.def.limit().map(std::slice::from_ref).unwrap_or_default();
        if !counts_alike(&live.core.budgets, &derived.core.budgets, budget.slot.0, caps, now) {
            parts.push(Part::Budget(budget.slot));
        }
    }
    for action in plan.actions.iter().flatten() {
        if !counts_alike(&live.core.caps, &derived.core.caps, action.slot.0, &action.def.caps, now) {
            parts.push(Part::Caps(action.slot));
        }
    }
    parts
}

/// Since when a member is one: what the log of memberships says; where it is silent, what the profile says, which is
/// `since`, as far as it can be true.
fn member_since(slot: AudienceSlot, since: Millis, now: Millis, moves: &[MembershipChange]) -> Millis {
    let last = moves.iter().rev().find(|change| change.audience == slot).filter(|change| change.entered);
    last.map_or(since.min(now), |entered| entered.since)
}

fn same<T: PartialEq + Default>(live: &Slots<T>, derived: &Slots<T>, slot: u32) -> bool {
    let nothing = T::default();
    live.get(slot).unwrap_or(&nothing) == derived.get(slot).unwrap_or(&nothing)
}

fn counts_alike(live: &Slots<CapState>, derived: &Slots<CapState>, slot: u32, caps: &[Cap], now: Millis) -> bool {
    let nothing = CapState::default();
    let (live, derived) = (live.get(slot).unwrap_or(&nothing), derived.get(slot).unwrap_or(&nothing));
    live.counts_as(derived, caps.iter().filter(|cap| cap.group == Group::User), now)
}
