//! Folds one entry into the state of a profile.

use super::log::refold;
use super::review::{put_audience, review, take_audience};
use super::{Again, Changes, Dry, ProfileFacts, goals, rules, trait_value};
use crate::action::{CapState, Group};
use crate::event::{Entry, EntryKind, Identified, Identity, MoveCause, Occurrence, Props, Reacted};
use crate::expr::{Facts, Source};
use crate::ids::{AudienceSlot, ChannelSlot, Millis, Moment, PathId, TraitSlot};
use crate::plan::Plan;
use crate::profile::{History, Profile, TraitCell};
use crate::traits::TraitState;
use crate::value::Value;
use smallvec::SmallVec;
use std::borrow::Cow;

/// Folds one entry into the state. With `history`, states that cannot take it are folded again; without,
/// the caller is folding in order already and nothing can be late.
pub(super) fn fold_entry(
    plan: &Plan,
    profile: &mut Profile,
    entry: &Entry,
    out: &mut Changes,
    history: Option<&mut dyn History>,
) {
    if entry.ages() {
        profile.core.oldest = profile.core.oldest.min(entry.moment.t);
    }
    if entry.kind.sets_custom() {
        profile.core.asserted = profile.core.asserted.max(entry.moment.t);
    }
    match &entry.kind {
        EntryKind::Event(occurrence) => {
            seen_in(profile, occurrence.channel, &entry.user_id, entry.at);
            out.event = Some(occurrence.event);
            profile.core.events += 1;
            let dry = feed(plan, profile, entry.moment, entry.at, occurrence, history.is_none(), out);
            profile.core.newest = profile.core.newest.max(entry.moment);
            if let (false, Some(history)) = (dry.is_empty(), history) {
                refold(plan, profile, &dry, Some(entry), history, out);
            }
        }
        EntryKind::Identified(identified) => {
            fold_identified(plan, profile, entry, identified, history.is_none(), out);
            if identified.custom.is_some() {
                compare_again(plan, profile, entry, history, out);
            }
        }
        EntryKind::Reacted(reacted) => {
            spend(plan, profile, reacted, entry.moment.t, out);
            if let Some(action) = plan.action_plan(reacted.action) {
                // Without caps too: whether there was a delivery is asked of every action.
                if !reacted.test {
                    let counts = profile.core.caps.get_or_insert_with(reacted.action.0, CapState::default);
                    counts.record(&action.def.caps, Group::User, reacted.reaction, reacted.channel, entry.moment.t);
                }
                out.reacted = Some(reacted.action);
            }
            let mut dry = Dry::default();
            goals::react(plan, profile, entry, reacted, &mut dry, out);
            if let (false, Some(history)) = (dry.is_empty(), history) {
                refold(plan, profile, &dry, Some(entry), history, out);
            }
        }
        EntryKind::Fired(fired) => {
            if let Some(custom) = rules::mark(plan, profile, entry, fired, history.is_none()) {
                set_custom(plan, profile, entry, &custom, history.is_none(), out);
                compare_again(plan, profile, entry, history, out);
            }
        }
        EntryKind::Split(split) => {
            set_custom(plan, profile, entry, &split.kept, history.is_none(), out);
            compare_again(plan, profile, entry, history, out);
        }
        // What it takes away has left the log by the time it is folded.
        EntryKind::Erased(_) => {}
    }
}

/// Counts a reaction for the budgets that govern its action.
fn spend(plan: &Plan, profile: &mut Profile, reacted: &Reacted, t: Millis, out: &mut Changes) {
    for &slot in plan.budgets_of(reacted.action) {
        let Some(budget) = plan.budget_plan(slot) else { continue };
        if reacted.test || budget.def.limit_on(reacted.reaction, reacted.channel).is_none() {
            continue;
        }
        let spent = profile.core.budgets.get_or_insert_with(slot.0, CapState::default);
        if budget.def.spend(spent, reacted, t) {
            out.budgets.push(slot);
        }
    }
}

/// What events compare with became something else at `entry`. Events before it that are still to come are
/// late from now on; those after it that came already are compared anew.
fn compare_again(plan: &Plan, profile: &mut Profile, entry: &Entry, history: Option<&mut dyn History>, out: &mut Changes) {
    let late = entry.moment < profile.core.newest;
    profile.core.newest = profile.core.newest.max(entry.moment);
    let Some(history) = history.filter(|_| late) else { return };
    let mut dry = Dry::default();
    dry.add_readers(plan);
    if !dry.is_empty() {
        refold(plan, profile, &dry, Some(entry), history, out);
    }
}

fn seen_in(profile: &mut Profile, channel: ChannelSlot, user_id: &str, at: Millis) {
    if profile.identity(channel, user_id).is_some() {
        return;
    }
    // The same id on another channel is the same person: kind and flag are inherited, so a known id does
    // not become anonymous by being seen elsewhere.
    let known = profile.core.identities.iter().find(|i| i.user_id == user_id);
    let (kind, is_anonymous) = known.map_or_else(|| ("anonymous_id".into(), true), |i| (i.kind.clone(), i.is_anonymous));
    profile.core.identities.push(Identity { channel, kind, user_id: user_id.into(), is_anonymous, created_at: at });
}

fn feed(
    plan: &Plan,
    profile: &mut Profile,
    moment: Moment,
    now: Millis,
    occurrence: &Occurrence,
    folding: bool,
    out: &mut Changes,
) -> Dry {
    let mut dry = Dry::default();
    let Some(event) = plan.event_plan(occurrence.event) else { return dry };
    if !folding && (moment < profile.core.newest || turned_since(plan, profile, moment.t)) {
        dry.add_readers(plan);
    }
    goals::convert(plan, profile, event, moment, occurrence, &mut dry, out);
    let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
    let mut again: SmallVec<[Again; 2]> = SmallVec::new();
    let mut touched = rules::feed(plan, profile, moment, now, occurrence, folding, &mut dry);
    // Audiences first: a step that compares with a trait reads the value from just before the event.
    for &slot in &event.audiences {
        let Some(audience) = plan.audience_plan(slot) else { continue };
        let mut cell = take_audience(profile, slot, &audience.def, folding);
        let facts = ProfileFacts { plan, profile, event: Some(occurrence), context: None };
        let evicted = audience.def.evicted(&cell.state);
        let fed = audience.def.feed(&mut cell.state, moment, occurrence, &facts, now);
        out.evicted += audience.def.evicted(&cell.state) - evicted;
        cell.deadline = audience.def.deadline(&cell.state);
        put_audience(profile, slot, cell);
        if fed.needs_history {
            dry.audiences.push(slot);
        }
        if fed.changed {
            affected.push(slot);
        }
        if fed.again {
            again.push((slot, profile.member_since(slot)));
        }
    }
    let before = Before::of(plan, profile, &event.traits);
    for &slot in &event.traits {
        let Some(trait_plan) = plan.trait_plan(slot) else { continue };
        let mut cell = std::mem::replace(
            profile.core.traits.get_or_insert_with(slot.0, || TraitCell {
                state: if folding { trait_plan.def.fold_state() } else { trait_plan.def.new_state() },
                deadline: Millis::MAX,
            }),
            TraitCell { state: TraitState::default(), deadline: Millis::MAX },
        );
        let facts = before.facts(ProfileFacts { plan, profile, event: Some(occurrence), context: None });
        let fed = trait_plan.def.feed(&mut cell.state, moment, occurrence, &facts, now);
        cell.deadline = trait_plan.def.deadline(&cell.state);
        if let Some(place) = profile.core.traits.get_mut(slot.0) {
            *place = cell;
        }
        if fed.needs_history {
            dry.traits.push(slot);
        }
        if fed.changed {
            out.touch(slot);
            affected.extend(trait_plan.audiences.iter().copied());
            touched.extend(trait_plan.rules.iter().copied());
        }
    }
    let by = (MoveCause::Input, moment.seq);
    review(plan, profile, affected, now, by, folding, out);
    again.into_iter().for_each(|one| out.again(profile, one, now, by));
    if !folding {
        rules::look(plan, profile, &touched, now, out);
    }
    dry
}

/// Whether a trait that events are compared with has changed by itself after `t`, so that its state does not
/// say any more what an event at `t` met.
fn turned_since(plan: &Plan, profile: &Profile, t: Millis) -> bool {
    plan.compared_traits().iter().any(|slot| profile.trait_state(*slot).is_some_and(|state| state.turned() > t))
}

/// The computed traits that an event's own traits compare it with, as they were just before it: one that has
/// taken the event in already must not be seen by the next, nor a trait by itself.
struct Before(SmallVec<[(TraitSlot, Option<Value>); 2]>);

/// Facts as of now, but for those values.
struct BeforeFacts<'a, F> {
    before: &'a Before,
    now: F,
}

impl Before {
    fn of(plan: &Plan, profile: &Profile, fed: &[TraitSlot]) -> Self {
        let mut values = SmallVec::new();
        for reader in fed.iter().filter_map(|slot| plan.trait_plan(*slot)).filter(|known| known.def.reads_profile()) {
            reader.def.condition.sources(&mut |source| {
                if let Source::Computed(slot) = source {
                    values.push((*slot, trait_value(plan, profile, *slot)));
                }
            });
        }
        Self(values)
    }

    fn facts<F: Facts>(&self, now: F) -> BeforeFacts<'_, F> {
        BeforeFacts { before: self, now }
    }
}

impl<F: Facts> Facts for BeforeFacts<'_, F> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match self.before.0.iter().find(|(slot, _)| *source == Source::Computed(*slot)) {
            Some((_, value)) => value.as_ref().map(Cow::Borrowed),
            None => self.now.get(source),
        }
    }
}

fn fold_identified(plan: &Plan, profile: &mut Profile, entry: &Entry, identified: &Identified, folding: bool, out: &mut Changes) {
    let was_known = profile.is_known();
    for identity in &identified.identities {
        match profile.core.identities.iter_mut().find(|i| i.channel == identity.channel && i.user_id == identity.user_id) {
            // Known stays known.
            Some(have) if !identity.is_anonymous || have.is_anonymous => {
                have.kind.clone_from(&identity.kind);
                have.is_anonymous &= identity.is_anonymous;
            }
            Some(_) => {}
            None => profile.core.identities.push(identity.clone()),
        }
        if !identity.is_anonymous {
            for same in profile.core.identities.iter_mut().filter(|i| i.user_id == identity.user_id) {
                same.kind.clone_from(&identity.kind);
                same.is_anonymous = false;
            }
        }
    }
    let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
    if let Some(custom) = &identified.custom {
        for path in changed_paths(&profile.core.custom, custom) {
            affected.extend(plan.custom_touch(path).audiences.iter().copied());
            out.custom.push(path);
        }
        rules::keep_set_by(&mut profile.core.set_by, &profile.core.custom, custom);
        profile.core.custom = custom.clone();
    }
    if was_known != profile.is_known() {
        out.identity = true;
        affected.extend(plan.audience_slots());
    }
    if !identified.absorbed.is_empty() {
        out.identity = true;
    }
    review(plan, profile, affected, entry.at, (MoveCause::Input, entry.moment.seq), folding, out);
}

/// The custom traits become exactly `custom`.
fn set_custom(plan: &Plan, profile: &mut Profile, entry: &Entry, custom: &Props, folding: bool, out: &mut Changes) {
    let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
    for path in changed_paths(&profile.core.custom, custom) {
        affected.extend(plan.custom_touch(path).audiences.iter().copied());
        out.custom.push(path);
    }
    profile.core.custom = custom.clone();
    review(plan, profile, affected, entry.at, (MoveCause::Input, entry.moment.seq), folding, out);
}

fn changed_paths(old: &Props, new: &Props) -> Vec<PathId> {
    let gone = old.iter().filter(|(path, _)| new.get(*path).is_none());
    let differ = new.iter().filter(|(path, value)| old.get(*path) != Some(value));
    gone.chain(differ).map(|(path, _)| *path).collect()
}
