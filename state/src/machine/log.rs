//! The whole log: folded in order into a scratch profile, for what compact state cannot answer.

use super::review::review;
use super::watch::{Unseen, fold_watched};
use super::{Changes, Dry, advance, rules};
use crate::event::{Entry, MembershipChange, MoveCause};
use crate::expr::PathRef;
use crate::ids::{ActionSlot, AudienceSlot, BudgetSlot, ExperimentSlot, GoalSlot, Millis, ProfileId, RuleSlot, Seq, TraitSlot};
use crate::plan::Plan;
use crate::profile::{AudienceCell, Core, History, Profile, sort_entries};
use smallvec::SmallVec;

/// Folds the whole log into a scratch profile in order, up to `now`.
#[must_use]
pub fn fold(plan: &Plan, id: ProfileId, entries: &[Entry], now: Millis) -> Profile {
    fold_watched(plan, id, entries, now, &mut Unseen)
}

/// Bounds what the fold has filled, as a live profile is bounded.
pub(super) fn settle(plan: &Plan, scratch: &mut Profile) {
    for (slot, cell) in scratch.core.traits.iter_mut() {
        if let Some(trait_plan) = plan.trait_plan(TraitSlot(slot)) {
            trait_plan.def.settle(&mut cell.state);
        }
    }
    for (slot, cell) in scratch.core.audiences.iter_mut() {
        if let Some(audience) = plan.audience_plan(AudienceSlot(slot)) {
            audience.def.settle(&mut cell.state);
        }
    }
    for (slot, state) in scratch.core.rules.iter_mut() {
        if let Some(rule) = plan.rule_plan(RuleSlot(slot)) {
            rule.def.settle(state);
        }
    }
}

/// Takes the states of `dry` definitions from a fold of the whole log.
pub(super) fn refold(
    plan: &Plan,
    profile: &mut Profile,
    dry: &Dry,
    late: Option<&Entry>,
    history: &mut dyn History,
    out: &mut Changes,
) {
    let mut entries = history.load(profile);
    if let Some(entry) = late {
        entries.push(entry.clone());
        sort_entries(&mut entries);
    }
    let now = profile.core.clock;
    let mut scratch = fold(plan, profile.core.id, &entries, now);
    let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
    let mut touched = rules::Touched::new();
    for &slot in &dry.traits {
        if let (Some(cell), Some(trait_plan)) = (scratch.core.traits.remove(slot.0), plan.trait_plan(slot)) {
            if let Some(place) = profile.core.traits.get_mut(slot.0) {
                *place = cell;
            }
            out.touch(slot);
            affected.extend(trait_plan.audiences.iter().copied());
            touched.extend(trait_plan.rules.iter().copied());
        }
    }
    for &slot in &dry.rules {
        let folded = scratch.core.rules.remove(slot.0).unwrap_or_default();
        let state = profile.core.rules.get_or_insert_with(slot.0, Default::default);
        (state.tally, state.span) = (folded.tally, folded.span);
        touched.push(slot);
    }
    for &slot in &dry.audiences {
        if let (Some(new), Some(place)) = (scratch.core.audiences.remove(slot.0), profile.core.audiences.get_mut(slot.0)) {
            *place = AudienceCell { since: place.since, ..new };
            affected.push(slot);
        }
    }
    for &slot in &dry.goals {
        profile.core.goals.put(slot.0, scratch.core.goals.get(slot.0).cloned());
    }
    for &slot in &dry.trials {
        profile.core.trials.put(slot.0, scratch.core.trials.get(slot.0).cloned());
    }
    let by = late.map_or((MoveCause::Time, profile.core.applied), |entry| (MoveCause::Input, entry.moment.seq));
    review(plan, profile, affected, now, by, false, out);
    rules::look(plan, profile, &touched, now, out);
}

/// Moves `followers` into `leader` before the merging entry is applied: the leader's log becomes the
/// union, and its state the fold of that union. Memberships that both sides had keep the leader's date.
pub fn absorb(
    plan: &Plan,
    leader: &mut Profile,
    followers: Vec<Profile>,
    now: Millis,
    history: &mut dyn History,
    out: &mut Changes,
) {
    // What is due by then is told at its own instant.
    advance(plan, leader, now, history, out);
    for mut follower in followers {
        rules::join(leader, &follower);
        leader.inherit(&mut follower);
        leader.core.absorbed.push(follower.core.id);
        leader.core.absorbed.append(&mut follower.core.absorbed);
        leader.core.created_at = leader.core.created_at.min(follower.core.created_at);
        leader.core.root = leader.core.root.min(follower.core.root);
        for identity in follower.core.identities {
            if leader.identity(identity.channel, &identity.user_id).is_none() {
                leader.core.identities.push(identity);
            }
        }
        leader.core.clock = leader.core.clock.max(follower.core.clock);
    }
    leader.core.clock = leader.core.clock.max(now);
    rebuild(plan, leader, true, history, out);
    out.identity = true;
}

/// Folds a profile's state anew from its whole log under `plan`: after a merge, and when definitions
/// changed. Identities and custom traits stay as they are. Emits only the difference, as of now; who
/// enters does so `enter_now` (a merge), or since when the definition would have had it (backfill).
pub fn rebuild(plan: &Plan, profile: &mut Profile, enter_now: bool, history: &mut dyn History, out: &mut Changes) {
    rebuild_from(plan, profile, &history.load(profile), enter_now, out);
}

/// As [`rebuild`], from a log that is at hand. Gives which custom traits rules set last by what the log says,
/// which only the undoing of a merge needs to know: otherwise that stays as it is.
pub(super) fn rebuild_from(
    plan: &Plan,
    profile: &mut Profile,
    entries: &[Entry],
    enter_now: bool,
    out: &mut Changes,
) -> Vec<(PathRef, RuleSlot)> {
    out.refolded = true;
    let now = profile.core.clock;
    let mut scratch = fold(plan, profile.core.id, entries, now);
    let set_by = std::mem::take(&mut scratch.core.set_by);
    let before: Vec<(AudienceSlot, Millis)> =
        profile.core.audiences.iter().filter_map(|(slot, cell)| Some((AudienceSlot(slot), cell.since?))).collect();
    for (slot, _) in profile.core.traits.iter().chain(scratch.core.traits.iter()) {
        out.touch(TraitSlot(slot));
    }
    let rules_before = std::mem::take(&mut profile.core.rules);
    let core = &mut profile.core;
    // Whatever is not an outcome is derived.
    *core = Core {
        id: core.id,
        born: core.born,
        created_at: core.created_at,
        updated_at: core.updated_at,
        identities: std::mem::take(&mut core.identities),
        custom: std::mem::take(&mut core.custom),
        set_by: std::mem::take(&mut core.set_by),
        root: core.root,
        absorbed: std::mem::take(&mut core.absorbed),
        applied: core.applied,
        clock: core.clock,
        generation: core.generation,
        ..scratch.core
    };
    // Custom traits and identities are outcomes of identify, not of the fold; conditions see the present ones.
    let by = (MoveCause::Fold, profile.core.applied);
    review(plan, profile, plan.audience_slots().collect(), now, by, false, &mut Changes::default());
    for slot in plan.audience_slots() {
        let was = before.iter().find(|(s, _)| *s == slot).map(|(_, since)| *since);
        let Some(cell) = profile.core.audiences.get_mut(slot.0) else { continue };
        match (was, cell.since) {
            (Some(since), Some(_)) => cell.since = Some(since),
            (Some(since), None) => {
                out.member(moved(slot, false, now, since, profile.core.applied));
            }
            (None, Some(since)) => {
                let since = if enter_now { now } else { since };
                cell.since = Some(out.member(moved(slot, true, now, since, profile.core.applied)));
            }
            (None, None) => {}
        }
    }
    for (slot, since) in before {
        if plan.audience_plan(slot).is_none() {
            out.member(moved(slot, false, now, since, profile.core.applied));
        }
    }
    rules::after_fold(plan, profile, &rules_before, enter_now, out);
    set_by
}

fn moved(audience: AudienceSlot, entered: bool, t: Millis, since: Millis, seq: Seq) -> MembershipChange {
    MembershipChange { audience, entered, t, since, seq, cause: MoveCause::Fold }
}

/// Lets go of the state of definitions that are gone, where all that are left are as they were.
pub fn forget(plan: &Plan, profile: &mut Profile, out: &mut Changes) {
    out.refolded = true;
    let core = &mut profile.core;
    for (slot, cell) in core.audiences.iter() {
        let audience = AudienceSlot(slot);
        if let (Some(since), None) = (cell.since, plan.audience_plan(audience)) {
            out.member(moved(audience, false, core.clock, since, core.applied));
        }
    }
    for (slot, _) in core.traits.iter().filter(|(slot, _)| plan.trait_plan(TraitSlot(*slot)).is_none()) {
        out.touch(TraitSlot(slot));
    }
    core.traits.retain(|slot| plan.trait_plan(TraitSlot(slot)).is_some());
    core.audiences.retain(|slot| plan.audience_plan(AudienceSlot(slot)).is_some());
    core.caps.retain(|slot| plan.action_plan(ActionSlot(slot)).is_some());
    core.budgets.retain(|slot| plan.budget_plan(BudgetSlot(slot)).is_some());
    core.rules.retain(|slot| plan.rule_plan(RuleSlot(slot)).is_some());
    core.goals.retain(|slot| plan.goal_plan(GoalSlot(slot)).is_some());
    core.trials.retain(|slot| plan.experiment_plan(ExperimentSlot(slot)).is_some());
    rules::purges(plan, profile, out);
}
