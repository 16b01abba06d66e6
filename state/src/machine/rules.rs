//! Rules: their aggregates are fed like traits, and whoever is due is told.
//!
//! Nothing fires here. What is due is a function of the profile's state ([`due`]); the edge writes down that
//! it fired, and that entry, folded like any other, is what makes it no longer due.

use super::{Changes, Dry, ProfileFacts, trait_value};
use crate::event::{Entry, Fired, Occurrence, Props};
use crate::expr::PathRef;
use crate::ids::{Millis, Moment, RuleSlot};
use crate::plan::{Plan, RulePlan};
use crate::profile::Profile;
use crate::rule::{self, Due, Fire, Hush, Metric, RuleState};
use crate::slots::Slots;
use crate::value::Value;
use smallvec::SmallVec;

/// Rules to look at.
pub(super) type Touched = SmallVec<[RuleSlot; 4]>;

/// Takes an event into the aggregates of the rules that it feeds. Runs before the traits are fed: a
/// condition that compares with a trait reads the value from just before the event.
pub(super) fn feed(
    plan: &Plan,
    profile: &mut Profile,
    moment: Moment,
    now: Millis,
    occurrence: &Occurrence,
    folding: bool,
    dry: &mut Dry,
) -> Touched {
    let mut touched = Touched::new();
    let Some(event) = plan.event_plan(occurrence.event) else { return touched };
    for &slot in &event.rules {
        let Some(rule) = plan.rule_plan(slot) else { continue };
        let mut state = take(profile, slot);
        let facts = ProfileFacts { plan, profile, event: Some(occurrence), context: None };
        let fed = rule.def.feed(&mut state, moment, occurrence, &facts, now, folding);
        rule.def.schedule(&mut state, holding(&profile.core.set_by, slot), now);
        put(profile, slot, state);
        if fed.needs_history {
            dry.rules.push(slot);
        }
        if fed.changed {
            touched.push(slot);
        }
    }
    touched
}

/// Lets the rules change that do so by themselves at `due`.
pub(super) fn step(plan: &Plan, profile: &mut Profile, due: Millis, dry: &mut Dry) -> Touched {
    let mut touched = Touched::new();
    let core = &mut profile.core;
    for (slot, state) in core.rules.iter_mut().filter(|(_, state)| state.deadline <= due) {
        let slot = RuleSlot(slot);
        let Some(rule) = plan.rule_plan(slot) else {
            state.deadline = Millis::MAX;
            continue;
        };
        let advanced = rule.def.advance(state, due);
        rule.def.schedule(state, holding(&core.set_by, slot), due);
        if advanced.needs_history {
            dry.rules.push(slot);
            state.deadline = Millis::MAX;
        }
        touched.push(slot);
    }
    touched
}

/// Looks at rules whose metric may differ, as of `now`, and tells those that are due.
pub(super) fn look(plan: &Plan, profile: &mut Profile, touched: &[RuleSlot], now: Millis, out: &mut Changes) {
    for &slot in touched {
        let Some(rule) = plan.rule_plan(slot) else { continue };
        let mut state = take(profile, slot);
        rule.def.advance(&mut state, now);
        let value = value_of(plan, profile, rule, Some(&state), now);
        if !rule.def.holds(value.as_ref(), now) {
            state.hush = None;
        }
        let holding = holding(&profile.core.set_by, slot);
        rule.def.schedule(&mut state, holding, now);
        let due = rule.def.due(&state, value.as_ref(), holding, now).is_some();
        if due {
            out.rule(slot);
        }
        if due || !state.is_idle() {
            put(profile, slot, state);
        } else {
            profile.core.rules.remove(slot.0);
        }
    }
}

/// What a rule has to do as of the profile's clock; `None` for nothing.
#[must_use]
pub fn due(plan: &Plan, profile: &Profile, slot: RuleSlot) -> Option<Due> {
    let Some(rule) = plan.rule_plan(slot) else {
        return (plan.purges(slot) && holding(&profile.core.set_by, slot)).then_some(Due::Purge);
    };
    let nothing = RuleState::default();
    let state = profile.core.rules.get(slot.0).unwrap_or(&nothing);
    let now = profile.core.clock;
    rule.def.due(state, metric(plan, profile, slot).as_ref(), holding(&profile.core.set_by, slot), now)
}

/// The value of a rule's metric as of the profile's clock; `None` when absent.
#[must_use]
pub fn metric(plan: &Plan, profile: &Profile, slot: RuleSlot) -> Option<Value> {
    let rule = plan.rule_plan(slot)?;
    value_of(plan, profile, rule, profile.core.rules.get(slot.0), profile.core.clock)
}

fn value_of(plan: &Plan, profile: &Profile, rule: &RulePlan, state: Option<&RuleState>, now: Millis) -> Option<Value> {
    let computed = match rule.def.metric {
        Metric::Trait { slot } => trait_value(plan, profile, slot),
        Metric::Events(_) | Metric::Nothing => None,
    };
    rule.def.value(state, computed, now)
}

/// Tells the rules that are due as of the profile's clock. All of them have a state: one that is due keeps
/// it until it has fired.
pub fn all_due(plan: &Plan, profile: &Profile, out: &mut Changes) {
    for (slot, _) in profile.core.rules.iter() {
        if due(plan, profile, RuleSlot(slot)).is_some() {
            out.rule(RuleSlot(slot));
        }
    }
    purges(plan, profile, out);
}

/// Tells the rules that were removed together with what they set here.
pub(super) fn purges(plan: &Plan, profile: &Profile, out: &mut Changes) {
    for (_, slot) in profile.core.set_by.iter().filter(|(_, slot)| plan.purges(*slot)) {
        out.rule(*slot);
    }
}

/// Notes what an entry of a rule says. Returns the custom traits as they are now, if that changed them.
pub(super) fn mark(plan: &Plan, profile: &mut Profile, entry: &Entry, fired: &Fired, folding: bool) -> Option<Props> {
    let slot = fired.rule;
    let core = &mut profile.core;
    let mut custom: Option<Props> = None;
    for (path, value) in &fired.attributes {
        core.set_by.retain(|(known, _)| known != path);
        if value.is_some() {
            core.set_by.push((path.clone(), slot));
        }
        let present = custom.as_ref().unwrap_or(&core.custom);
        if rule::find(present, path) != value.as_ref() {
            custom = Some(match value {
                Some(value) => rule::put(present, path, value.clone()),
                None => rule::remove(present, path),
            });
        }
    }
    if let Some(rule) = plan.rule_plan(slot) {
        let mut state = take(profile, slot);
        rule.def.mark(&mut state, entry.moment.t, fired);
        if !folding {
            rule.def.schedule(&mut state, holding(&profile.core.set_by, slot), profile.core.clock);
        }
        put(profile, slot, state);
    }
    custom
}

/// Whether an attribute that the rule set last is there.
fn holding(set_by: &[(PathRef, RuleSlot)], slot: RuleSlot) -> bool {
    set_by.iter().any(|(_, by)| *by == slot)
}

/// Which custom traits are still a rule's after an identify made them `new`: those that it left alone.
pub(super) fn keep_set_by(set_by: &mut Vec<(PathRef, RuleSlot)>, old: &Props, new: &Props) {
    set_by.retain(|(path, _)| {
        let now = rule::find(new, path);
        // A merged profile's attribute comes with the identify that merges.
        now.is_some() && rule::find(old, path).is_none_or(|old| now == Some(old))
    });
}

/// Takes over from `follower` what is not folded from the log: whose attributes are a rule's, and for the
/// moment which rules it has open.
pub(super) fn join(leader: &mut Profile, follower: &Profile) {
    for (slot, state) in follower.core.rules.iter().filter(|(_, state)| state.marks.open) {
        leader.core.rules.get_or_insert_with(slot, RuleState::default).marks.open = state.marks.open;
    }
    for (path, slot) in &follower.core.set_by {
        if rule::find(&leader.core.custom, path).is_none() && leader.core.set_by.iter().all(|(known, _)| known != path) {
            leader.core.set_by.push((path.clone(), *slot));
        }
    }
}

/// Looks at every rule after a fold of the whole log has replaced their states; `before` is what they were.
///
/// What is due now, no input of its own brought about. After a merge a rule that either side had open has
/// fired for the person already; after a change of definitions it is a backfill.
pub(super) fn after_fold(plan: &Plan, profile: &mut Profile, before: &Slots<RuleState>, merged: bool, out: &mut Changes) {
    let now = profile.core.clock;
    let all: Vec<RuleSlot> = plan.rules.iter().flatten().map(|rule| rule.slot).collect();
    let mut found = Changes::default();
    look(plan, profile, &all, now, &mut found);
    for slot in found.due {
        let crosses = plan.rule_plan(slot).is_some_and(|rule| rule.def.fire == Fire::EachCrossing);
        let was_open = before.get(slot.0).is_some_and(|state| state.marks.open);
        let hush = match merged {
            true => (crosses && was_open).then_some(Hush::Merge),
            false => Some(Hush::Backfill),
        };
        if let Some(state) = profile.core.rules.get_mut(slot.0) {
            state.hush = hush;
        }
        out.rule(slot);
    }
    purges(plan, profile, out);
}

fn take(profile: &mut Profile, slot: RuleSlot) -> RuleState {
    std::mem::take(profile.core.rules.get_or_insert_with(slot.0, RuleState::default))
}

fn put(profile: &mut Profile, slot: RuleSlot, state: RuleState) {
    if let Some(place) = profile.core.rules.get_mut(slot.0) {
        *place = state;
    }
}
