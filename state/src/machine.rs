//! Folds one entry, or the passing of time, into one profile. All branching between stages is here.
//!
//! The state of a profile is the fold of its log in `(t, seq)` order. In order, an entry costs only the
//! definitions that its event name touches; an entry that comes late, where a compact state cannot take
//! it, makes the machine fold the log again into a scratch profile and take the answer from there. One
//! code path therefore serves live events, late events, merges, backfill and replay.

use crate::action::{CapState, Group};
use crate::audience::{AudienceDef, AudienceState};
use crate::event::{Entry, EntryKind, Identified, Identity, MembershipChange, Occurrence};
use crate::expr::{Facts, PathRef, Source, descend};
use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, EventSlot, Millis, Moment, PathId, ProfileId, TraitSlot};
use crate::plan::Plan;
use crate::profile::{AudienceCell, History, Profile, TraitCell, sort_entries};
use crate::traits::TraitState;
use crate::value::Value;
use smallvec::SmallVec;
use std::borrow::Cow;

/// What one input changed about one profile: what targeting and pushes look at.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Traits whose value may differ.
    pub traits: SmallVec<[TraitSlot; 8]>,
    /// Custom trait paths whose value may differ.
    pub custom: SmallVec<[PathId; 4]>,
    /// Memberships that began or ended; net, one per audience.
    pub members: SmallVec<[MembershipChange; 4]>,
    /// Profiles merged, or known for the first time: everything may differ.
    pub identity: bool,
    /// Audiences that ask for it, completed again by a member.
    pub reentered: SmallVec<[AudienceSlot; 2]>,
    /// The action that this input reacted to.
    pub reacted: Option<ActionSlot>,
    /// The event that this input was.
    pub event: Option<EventSlot>,
}

impl Changes {
    fn touch(&mut self, slot: TraitSlot) {
        if !self.traits.contains(&slot) {
            self.traits.push(slot);
        }
    }

    fn member(&mut self, change: MembershipChange) {
        // Enter and leave of one audience at one instant cancel out: only the net effect is told.
        if let Some(at) =
            self.members.iter().position(|m| m.audience == change.audience && m.t == change.t && m.entered != change.entered)
        {
            self.members.remove(at);
        } else {
            self.members.push(change);
        }
    }
}

/// The facts that conditions read about a profile, with the event at hand if there is one.
pub struct ProfileFacts<'a> {
    /// The plan whose traits are read.
    pub plan: &'a Plan,
    /// The profile.
    pub profile: &'a Profile,
    /// The event being applied.
    pub event: Option<&'a Occurrence>,
    /// The context of a connection or event.
    pub context: Option<&'a crate::event::Props>,
}

impl ProfileFacts<'_> {
    /// Facts about a profile with no event and no context.
    #[must_use]
    pub fn of<'a>(plan: &'a Plan, profile: &'a Profile) -> ProfileFacts<'a> {
        ProfileFacts { plan, profile, event: None, context: None }
    }
}

fn at<'a>(props: &'a crate::event::Props, path: &PathRef) -> Option<Cow<'a, Value>> {
    descend(props.get(path.path)?, &path.rest).map(Cow::Borrowed)
}

impl Facts for ProfileFacts<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match source {
            Source::Event(path) => at(&self.event?.props, path),
            Source::Context(path) => at(self.context.or(self.event.map(|e| &e.context))?, path),
            Source::Custom(path) => at(&self.profile.core.custom, path),
            Source::Computed(slot) => trait_value(self.plan, self.profile, *slot).map(Cow::Owned),
            Source::Captured { .. } => None,
        }
    }
}

/// The value of a computed trait as users see it, with its virtual default.
#[must_use]
pub fn trait_value(plan: &Plan, profile: &Profile, slot: TraitSlot) -> Option<Value> {
    let def = &plan.trait_plan(slot)?.def;
    match profile.trait_state(slot) {
        Some(state) => def.value(state),
        None => def.default_value(),
    }
}

/// Makes a profile that has just been created a member of what nothing needs to have happened for.
pub fn born(plan: &Plan, profile: &mut Profile, at: Millis, out: &mut Changes) {
    start(plan, profile, at, false, out);
}

fn start(plan: &Plan, profile: &mut Profile, at: Millis, folding: bool, out: &mut Changes) {
    profile.core.clock = at;
    review(plan, profile, plan.always_audiences().iter().copied().collect(), at, None, folding, out);
}

/// Applies one entry. The caller has taken the profile's lock, stamped `entry.moment.seq` and checked
/// that it is newer than `profile.core.applied`; absorbed profiles have been moved in by [`absorb`].
///
/// Due timers fire first, then the entry, so that an effect has the order a user would expect.
pub fn apply(plan: &Plan, profile: &mut Profile, entry: Entry, history: &mut dyn History, out: &mut Changes) {
    advance(plan, profile, entry.at, history, out);
    profile.core.applied = entry.moment.seq;
    profile.core.updated_at = profile.core.updated_at.max(entry.at);
    fold_entry(plan, profile, &entry, out, Some(history));
    profile.tail.push(entry);
}

/// Fires every timer due at or before `now`, each at its own instant and in order.
pub fn advance(plan: &Plan, profile: &mut Profile, now: Millis, history: &mut dyn History, out: &mut Changes) {
    // What runs dry is folded anew at that very instant, so that what follows is told at its own time.
    loop {
        let dry = step_timers(plan, profile, now, false, out);
        if dry.is_empty() {
            break;
        }
        refold(plan, profile, &dry, None, history, out);
    }
    profile.core.clock = profile.core.clock.max(now);
}

/// Definitions whose compact state cannot answer.
#[derive(Default)]
struct Dry {
    traits: SmallVec<[TraitSlot; 2]>,
    audiences: SmallVec<[AudienceSlot; 2]>,
}

impl Dry {
    /// What compares events with the profile's traits as of then: anything late may change it.
    fn add_readers(&mut self, plan: &Plan) {
        self.traits.extend(plan.traits.iter().flatten().filter(|t| t.def.reads_profile()).map(|t| t.slot));
        self.audiences.extend(plan.audiences.iter().flatten().filter(|a| a.def.reads_profile()).map(|a| a.slot));
    }

    fn is_empty(&self) -> bool {
        self.traits.is_empty() && self.audiences.is_empty()
    }
}

fn step_timers(plan: &Plan, profile: &mut Profile, now: Millis, folding: bool, out: &mut Changes) -> Dry {
    let mut dry = Dry::default();
    loop {
        let due = profile.deadline();
        if due > now || due == Millis::MAX {
            return dry;
        }
        let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
        for (slot, cell) in profile.core.traits.iter_mut().filter(|(_, cell)| cell.deadline <= due) {
            let slot = TraitSlot(slot);
            let Some(trait_plan) = plan.trait_plan(slot) else {
                cell.deadline = Millis::MAX;
                continue;
            };
            let advanced = trait_plan.def.advance(&mut cell.state, due);
            cell.deadline = trait_plan.def.deadline(&cell.state);
            if advanced.needs_history {
                dry.traits.push(slot);
                cell.deadline = Millis::MAX;
            }
            if advanced.changed {
                out.touch(slot);
                affected.extend(trait_plan.audiences.iter().copied());
            }
        }
        for (slot, cell) in profile.core.audiences.iter_mut().filter(|(_, cell)| cell.deadline.min(cell.flips) <= due) {
            let slot = AudienceSlot(slot);
            let Some(audience) = plan.audience_plan(slot) else {
                (cell.deadline, cell.flips) = (Millis::MAX, Millis::MAX);
                continue;
            };
            if cell.deadline <= due {
                let advanced = audience.def.advance(&mut cell.state, due);
                cell.deadline = audience.def.deadline(&cell.state);
                if advanced.needs_history {
                    dry.audiences.push(slot);
                    cell.deadline = Millis::MAX;
                }
                if advanced.again && cell.since.is_some() {
                    out.reentered.push(slot);
                }
            }
            if cell.flips <= due {
                cell.flips = Millis::MAX;
            }
            affected.push(slot);
        }
        profile.core.clock = profile.core.clock.max(due);
        review(plan, profile, affected, due, None, folding, out);
        if !dry.is_empty() {
            return dry;
        }
    }
}

/// Folds one entry into the state. With `history`, states that cannot take it are folded again; without,
/// the caller is folding in order already and nothing can be late.
fn fold_entry(plan: &Plan, profile: &mut Profile, entry: &Entry, out: &mut Changes, history: Option<&mut dyn History>) {
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
        EntryKind::Identified(identified) => fold_identified(plan, profile, entry, identified, history.is_none(), out),
        EntryKind::Reacted(reacted) => {
            if let Some(action) = plan.action_plan(reacted.action) {
                if !reacted.test {
                    let counts = profile.core.caps.get_or_insert_with(reacted.action.0, CapState::default);
                    counts.record(&action.def.caps, Group::User, reacted.reaction, reacted.channel, entry.moment.t);
                }
                out.reacted = Some(reacted.action);
            }
        }
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
    if !folding && moment < profile.core.newest {
        dry.add_readers(plan);
    }
    let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
    // Audiences first: a step that compares with a trait reads the value from just before the event.
    for &slot in &event.audiences {
        let Some(audience) = plan.audience_plan(slot) else { continue };
        let mut cell = take_audience(profile, slot, &audience.def, folding);
        let facts = ProfileFacts { plan, profile, event: Some(occurrence), context: None };
        let fed = audience.def.feed(&mut cell.state, moment, occurrence, &facts, now);
        cell.deadline = audience.def.deadline(&cell.state);
        put_audience(profile, slot, cell);
        if fed.needs_history {
            dry.audiences.push(slot);
        }
        if fed.changed {
            affected.push(slot);
        }
        if fed.again && profile.member_since(slot).is_some() {
            out.reentered.push(slot);
        }
    }
    for &slot in &event.traits {
        let Some(trait_plan) = plan.trait_plan(slot) else { continue };
        let mut cell = std::mem::replace(
            profile.core.traits.get_or_insert_with(slot.0, || TraitCell {
                state: if folding { trait_plan.def.fold_state() } else { trait_plan.def.new_state() },
                deadline: Millis::MAX,
            }),
            TraitCell { state: TraitState::default(), deadline: Millis::MAX },
        );
        let facts = ProfileFacts { plan, profile, event: Some(occurrence), context: None };
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
        }
    }
    review(plan, profile, affected, now, Some(moment), folding, out);
    dry
}

fn take_audience(profile: &mut Profile, slot: AudienceSlot, def: &AudienceDef, folding: bool) -> AudienceCell {
    let state = || if folding { def.fold_state() } else { def.new_state() };
    let fresh = || AudienceCell { state: state(), deadline: Millis::MAX, flips: Millis::MAX, since: None };
    let cell = profile.core.audiences.get_or_insert_with(slot.0, fresh);
    let husk = AudienceCell { state: AudienceState::default(), deadline: cell.deadline, flips: cell.flips, since: cell.since };
    std::mem::replace(cell, husk)
}

fn put_audience(profile: &mut Profile, slot: AudienceSlot, cell: AudienceCell) {
    if let Some(place) = profile.core.audiences.get_mut(slot.0) {
        *place = cell;
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
        profile.core.custom = custom.clone();
    }
    if was_known != profile.is_known() {
        out.identity = true;
        affected.extend(plan.audience_slots());
    }
    if !identified.absorbed.is_empty() {
        out.identity = true;
    }
    review(plan, profile, affected, entry.at, Some(entry.moment), folding, out);
}

fn changed_paths(old: &crate::event::Props, new: &crate::event::Props) -> Vec<PathId> {
    let gone = old.iter().filter(|(path, _)| new.get(*path).is_none());
    let differ = new.iter().filter(|(path, value)| old.get(*path) != Some(value));
    gone.chain(differ).map(|(path, _)| *path).collect()
}

/// Decides membership again for `affected` audiences, and for those that read them, at `now`.
fn review(
    plan: &Plan,
    profile: &mut Profile,
    mut affected: SmallVec<[AudienceSlot; 8]>,
    now: Millis,
    cause: Option<Moment>,
    folding: bool,
    out: &mut Changes,
) {
    let known = profile.is_known();
    let mut at = 0;
    // Audiences do not read each other in a circle (refused when saved), so this ends.
    while at < affected.len() {
        let slot = affected[at];
        at += 1;
        if affected[at..].contains(&slot) {
            continue;
        }
        let Some(audience) = plan.audience_plan(slot) else { continue };
        let cell = take_audience(profile, slot, &audience.def, folding);
        let facts = ProfileFacts::of(plan, profile);
        let truth = audience.def.membership(&cell.state, &facts, known, now);
        let was = cell.since.is_some();
        let since = if truth.holds { cell.since.or(Some(now)) } else { None };
        put_audience(profile, slot, AudienceCell { flips: truth.until, since, ..cell });
        if was != truth.holds {
            let seq = cause.map_or(profile.core.applied, |m| m.seq);
            out.member(MembershipChange { audience: slot, entered: truth.holds, t: now, seq });
            affected.extend(audience.audiences.iter().copied());
        }
    }
}

/// Folds the whole log into a scratch profile in order, up to `now`.
#[must_use]
pub fn fold(plan: &Plan, id: ProfileId, entries: &[Entry], now: Millis) -> Profile {
    let born_at = entries.iter().map(|e| e.at).min().unwrap_or(now);
    let first = entries.first().map_or(now, |e| e.moment.t.min(e.at));
    let mut scratch = Profile::new(id, born_at, 0);
    let mut ignored = Changes::default();
    start(plan, &mut scratch, first, true, &mut ignored);
    for entry in entries {
        // In the fold an entry takes effect at its event time: that is what "had come in order" means.
        let in_order = Entry { at: entry.moment.t, ..entry.clone() };
        step_timers(plan, &mut scratch, in_order.moment.t, true, &mut ignored);
        scratch.core.clock = scratch.core.clock.max(in_order.moment.t);
        fold_entry(plan, &mut scratch, &in_order, &mut ignored, None);
        scratch.core.applied = scratch.core.applied.max(entry.moment.seq);
        scratch.core.updated_at = scratch.core.updated_at.max(entry.at);
    }
    step_timers(plan, &mut scratch, now, true, &mut ignored);
    scratch.core.clock = now;
    settle(plan, &mut scratch);
    scratch
}

/// Bounds what the fold has filled, as a live profile is bounded.
fn settle(plan: &Plan, scratch: &mut Profile) {
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
}

/// Takes the states of `dry` definitions from a fold of the whole log.
fn refold(plan: &Plan, profile: &mut Profile, dry: &Dry, late: Option<&Entry>, history: &mut dyn History, out: &mut Changes) {
    let mut entries = history.load(profile);
    if let Some(entry) = late {
        entries.push(entry.clone());
        sort_entries(&mut entries);
    }
    let now = profile.core.clock;
    let mut scratch = fold(plan, profile.core.id, &entries, now);
    let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
    for &slot in &dry.traits {
        if let (Some(cell), Some(trait_plan)) = (scratch.core.traits.remove(slot.0), plan.trait_plan(slot)) {
            if let Some(place) = profile.core.traits.get_mut(slot.0) {
                *place = cell;
            }
            out.touch(slot);
            affected.extend(trait_plan.audiences.iter().copied());
        }
    }
    for &slot in &dry.audiences {
        if let (Some(new), Some(place)) = (scratch.core.audiences.remove(slot.0), profile.core.audiences.get_mut(slot.0)) {
            *place = AudienceCell { since: place.since, ..new };
            affected.push(slot);
        }
    }
    review(plan, profile, affected, now, late.map(|e| e.moment), false, out);
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
    for mut follower in followers {
        leader.core.absorbed.push(follower.core.id);
        leader.core.absorbed.append(&mut follower.core.absorbed);
        leader.tail.append(&mut follower.tail);
        leader.core.created_at = leader.core.created_at.min(follower.core.created_at);
        for identity in follower.core.identities {
            if leader.identity(identity.channel, &identity.user_id).is_none() {
                leader.core.identities.push(identity);
            }
        }
        leader.core.newest = leader.core.newest.max(follower.core.newest);
        leader.core.clock = leader.core.clock.max(follower.core.clock);
        leader.core.events += follower.core.events;
    }
    sort_entries(&mut leader.tail);
    leader.core.clock = leader.core.clock.max(now);
    rebuild(plan, leader, true, history, out);
    out.identity = true;
}

/// Folds a profile's state anew from its whole log under `plan`: after a merge, and when definitions
/// changed. Identities and custom traits stay as they are. Emits only the difference, as of now; who
/// enters does so `enter_now` (a merge), or since when the definition would have had it (backfill).
pub fn rebuild(plan: &Plan, profile: &mut Profile, enter_now: bool, history: &mut dyn History, out: &mut Changes) {
    let entries = history.load(profile);
    let now = profile.core.clock;
    let scratch = fold(plan, profile.core.id, &entries, now);
    let before: Vec<(AudienceSlot, Millis)> =
        profile.core.audiences.iter().filter_map(|(slot, cell)| Some((AudienceSlot(slot), cell.since?))).collect();
    for (slot, _) in profile.core.traits.iter().chain(scratch.core.traits.iter()) {
        out.touch(TraitSlot(slot));
    }
    profile.core.traits = scratch.core.traits;
    profile.core.audiences = scratch.core.audiences;
    profile.core.caps = scratch.core.caps;
    // Custom traits and identities are outcomes of identify, not of the fold; conditions see the present ones.
    review(plan, profile, plan.audience_slots().collect(), now, None, false, &mut Changes::default());
    for slot in plan.audience_slots() {
        let was = before.iter().find(|(s, _)| *s == slot).map(|(_, since)| *since);
        let Some(cell) = profile.core.audiences.get_mut(slot.0) else { continue };
        match (was, cell.since) {
            (Some(since), Some(_)) => cell.since = Some(since),
            (Some(_), None) => out.member(MembershipChange { audience: slot, entered: false, t: now, seq: profile.core.applied }),
            (None, Some(_)) => {
                if enter_now {
                    cell.since = Some(now);
                }
                out.member(MembershipChange { audience: slot, entered: true, t: now, seq: profile.core.applied });
            }
            (None, None) => {}
        }
    }
    for (slot, _) in before {
        if plan.audience_plan(slot).is_none() {
            out.member(MembershipChange { audience: slot, entered: false, t: now, seq: profile.core.applied });
        }
    }
}
