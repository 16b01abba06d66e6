//! One history, step by step, in the machine and in the naive books, which are held against each other.

use super::defs::{AUDIENCES, Defs, Edit, Person, TRAITS};
use super::naive::{Fact, NOBODY, Naive, What};
use super::steps::Step;
use super::world::{World, custom};
use crate::oracle::random::{START, TICK};
use crate::oracle::rig::{Entry, occurrence};
use lodestone_state::event::{Erased, Occurrence, Props};
use lodestone_state::ids::{Millis, Moment, ProfileId};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, Plan};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// More events than this are not tracked: the recomputation of chains takes all choices of them.
const EVENTS_MAX: usize = 18;

/// What an event says, as the engine has it.
fn engine_occurrence(plan: &Plan, name: char, on_web: bool, properties: &Json) -> Occurrence {
    let def = plan.event_by_name(&name.to_string()).expect("an event");
    let given: serde_json::Map<String, Json> = properties
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let props = def.schema.validate(&Json::Object(given).to_string(), &plan.zone).expect("valid");
    let channel = plan.channel_by_key(if on_web { "web" } else { "app" }).expect("a channel").slot;
    Occurrence { event: def.slot, version: 1, channel, props, context: Props::default(), chain: Box::default() }
}

/// Both, and what has been told so far.
pub(super) struct Sim {
    world: World,
    naive: Naive,
    defs: Defs,
    plan: Plan,
    /// What the clock on the wall says. It may be set back; the time of a person does not run back.
    now: Millis,
    followed: BTreeMap<ProfileId, Followed>,
    messages: BTreeSet<String>,
    /// Definitions changed since everything was written, or the clock was set back and is behind somebody's time.
    loose: bool,
    /// Something went for its age: what there was before is not known any more.
    forgot: bool,
}

/// What has been told of a profile.
#[derive(Clone, Copy)]
struct Followed {
    /// Until when its memberships have been followed.
    until: Millis,
    /// Its own time.
    clock: Millis,
    members: [bool; AUDIENCES],
    /// What they are at its own time by time alone.
    by_time: [bool; AUDIENCES],
    /// Since when it is a member.
    since: [Option<Millis>; AUDIENCES],
}

impl Followed {
    /// Nothing yet, as of now.
    fn fresh(now: Millis) -> Self {
        Self { until: now, clock: now, members: [false; AUDIENCES], by_time: [false; AUDIENCES], since: [None; AUDIENCES] }
    }
}

const EDIT: &str = "an edit";

type Told = Vec<(i64, usize, bool)>;

impl Sim {
    pub(super) fn new(defs: Defs) -> Self {
        let plan = defs.compile(&Catalog::default());
        let (world, naive, now) = (World::default(), Naive::default(), Millis(START));
        Self { world, naive, defs, plan, now, followed: BTreeMap::new(), messages: BTreeSet::new(), loose: false, forgot: false }
    }

    fn log(&self, profile: ProfileId) -> Vec<(Moment, Entry)> {
        self.defs.with_computed(self.naive.log(profile))
    }

    fn members(&self, profile: ProfileId, now: Millis) -> [bool; AUDIENCES] {
        let log = self.log(profile);
        let person = Person { log: &log, favourite: self.naive.favourite(profile), known: self.naive.is_known(profile) };
        self.defs.members(&person, now)
    }

    fn clock(&self, profile: ProfileId) -> Millis {
        self.followed[&profile].clock.max(self.now)
    }

    /// What happens by itself after the instant up to which a profile was followed, and before now.
    fn by_itself(&mut self, profile: ProfileId) -> Told {
        self.by_itself_until(profile, self.clock(profile))
    }

    fn by_itself_until(&mut self, profile: ProfileId, clock: Millis) -> Told {
        let Followed { until: mut at, members: mut have, since, .. } = self.followed[&profile];
        let mut told = Told::new();
        let log = self.log(profile);
        let person = Person { log: &log, favourite: self.naive.favourite(profile), known: self.naive.is_known(profile) };
        if at < clock {
            // Who was made at that instant is what nothing needs to have happened for.
            let next = self.defs.members(&person, at);
            compare(&mut told, at, &have, &next);
            have = next;
        }
        while at.plus(TICK) < clock {
            at = at.plus(TICK);
            let next = self.defs.members(&person, at);
            compare(&mut told, at, &have, &next);
            have = next;
        }
        // Where no time passes, it does nothing: being made is part of what somebody is made for.
        let by_time = if self.followed[&profile].clock < clock { self.defs.members(&person, clock) } else { have };
        self.followed.insert(profile, Followed { until: at, clock, members: have, by_time, since });
        told
    }

    /// Holds what was told of a profile against what had to be, now that a step has been taken.
    fn settle(&mut self, profile: ProfileId, mut expect: Told, changes: &Changes, what: &str) {
        let now = self.clock(profile);
        let next = self.members(profile, now);
        let Followed { members: have, by_time, mut since, .. } = self.followed[&profile];
        // What time does at the very instant of an entry is told beside what the entry does.
        compare(&mut expect, now, &have, &by_time);
        compare(&mut expect, now, &by_time, &next);
        for (t, i, entered) in &expect {
            since[*i] = entered.then_some(Millis(*t));
        }
        self.followed.insert(profile, Followed { until: now, clock: now, members: next, by_time: next, since });
        expect.sort_unstable();
        let mut told: Told = changes
            .members
            .iter()
            .filter_map(|change| Some((change.t.0, self.place_of(change.audience.0)?, change.entered)))
            .collect();
        told.sort_unstable();
        let short = |told: &Told| told.iter().map(|(t, i, e)| ((t - START) / TICK, *i, *e)).collect::<Vec<_>>();
        assert_eq!(short(&told), short(&expect), "told of {profile} by {what}, in ticks, at {}", (now.0 - START) / TICK);
        if what == EDIT {
            // Who enters by a definition does so since it would have had them.
            self.believe_since(profile, |i| !have[i]);
            self.check_since(profile, &have);
        }
        self.check(profile, what);
    }

    /// Takes the word of the machine for since when somebody is a member of some audiences.
    fn believe_since(&mut self, id: ProfileId, which: impl Fn(usize) -> bool) {
        let slot = |i| Some(self.plan.audience_by_key(&self.defs.audience_key(i)?)?.slot);
        let profile = &self.world.live[&id];
        let said: [_; AUDIENCES] = std::array::from_fn(|i| profile.member_since(slot(i)?));
        let since = &mut self.followed.get_mut(&id).unwrap().since;
        (0..AUDIENCES).filter(|i| which(*i)).for_each(|i| since[i] = said[i]);
    }

    /// Holds since when somebody is a member by a definition that is new against what it would have done from
    /// the start, as far as the log says it: who was known at what time it does not.
    fn check_since(&self, id: ProfileId, have: &[bool; AUDIENCES]) {
        let Followed { clock, since, .. } = self.followed[&id];
        let open = self.defs.open();
        if self.forgot || !(0..AUDIENCES).any(|i| open[i] && !have[i] && since[i].is_some()) {
            return;
        }
        let log = self.log(id);
        let mut begun = [None; AUDIENCES];
        let mut look = |t: Millis, log: &[(Moment, Entry)]| {
            let favourite = log.iter().rev().find_map(|(_, entry)| entry.favourite());
            let members = self.defs.members(&Person { log, favourite: favourite.flatten(), known: true }, t);
            for (begun, member) in begun.iter_mut().zip(members) {
                *begun = if member { begun.or(Some(t)) } else { None };
            }
        };
        let mut t = self.naive.first(id).unwrap_or(clock);
        look(t, &[]);
        for (i, (moment, _)) in log.iter().enumerate().filter(|(_, (_, entry))| !matches!(entry, Entry::Computed(_))) {
            while t.plus(TICK) <= moment.t {
                t = t.plus(TICK);
                look(t, &log[..i]);
            }
            look(moment.t, &log[..=i]);
        }
        while t.plus(TICK) <= clock {
            t = t.plus(TICK);
            look(t, &log);
        }
        for i in (0..AUDIENCES).filter(|i| open[*i] && !have[*i] && since[*i].is_some()) {
            assert_eq!(since[i], begun[i], "since when {:?} of {id} by an edit", self.defs.audience_key(i));
        }
    }

    fn place_of(&self, slot: u32) -> Option<usize> {
        let of = |i: usize| Some(self.plan.audience_by_key(&self.defs.audience_key(i)?)?.slot.0);
        (0..AUDIENCES).find(|i| of(*i) == Some(slot))
    }

    /// Every value and every membership of a profile as of now.
    fn check(&self, id: ProfileId, what: &str) {
        let (profile, now) = (&self.world.live[&id], self.clock(id));
        let log = self.log(id);
        let person = Person { log: &log, favourite: self.naive.favourite(id), known: self.naive.is_known(id) };
        for (i, key) in (0..TRAITS).filter_map(|i| Some((i, self.defs.trait_key(i)?))) {
            let slot = self.plan.trait_by_key(&key).expect("a trait").slot;
            let have = machine::trait_value(&self.plan, profile, slot).map_or(Json::Null, |value| value.to_json());
            assert_eq!(have, self.defs.value(i, &person, now), "{key} of {id} after {what}");
        }
        let members = self.defs.members(&person, now);
        for (i, key) in (0..AUDIENCES).filter_map(|i| Some((i, self.defs.audience_key(i)?))) {
            let slot = self.plan.audience_by_key(&key).expect("an audience").slot;
            let since = profile.member_since(slot);
            assert_eq!(since.is_some(), members[i], "{key} of {id} after {what}");
            assert_eq!(since, self.followed[&id].since[i], "since when {key} of {id} after {what}");
        }
        assert_eq!(profile.core.custom, custom(&self.plan, self.naive.favourite(id)), "custom traits of {id} after {what}");
        assert_eq!(profile.is_known(), self.naive.is_known(id), "who is known, {id} after {what}");
        let events = self.naive.erasable(id).len() as u64;
        assert_eq!(profile.core.events, events, "events of {id} after {what}");
    }

    /// The profile of a user, made if there is none; what making it told is in `changes`.
    fn profile_of(&mut self, user: usize, changes: &mut Changes) -> (ProfileId, Told) {
        if let Some(id) = self.naive.owner(user) {
            return (id, self.by_itself(id));
        }
        let id = self.world.create(&self.plan, self.now, changes);
        self.naive.seen(user, id);
        self.followed.insert(id, Followed::fresh(self.now));
        (id, Told::new())
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Track { user, name, late, on_web, properties, message } => {
                self.track(*user, *name, *late, *on_web, properties, *message);
            }
            Step::Identify { user, previous, favourite, known, late } => {
                self.identify(*user, *previous, *favourite, *known, *late);
            }
            Step::Undo(which) => self.undo(*which),
            Step::Erase { user, which } => self.erase(*user, *which),
            Step::Retain(ticks) => self.retain(self.now.minus(ticks * TICK)),
            Step::Edit(edit) => self.edit(edit),
            Step::Checkpoint(mask) => self.world.checkpoint(|id| mask >> (id.0 % 8) & 1 == 1, false),
            Step::Seal => {
                self.world.checkpoint(|_| true, true);
                self.loose = self.followed.values().any(|followed| followed.clock > self.now);
            }
            Step::Crash => {
                self.pass();
                self.world.restart(&self.plan);
                // Memberships are what they were; what recovery tells is not told twice.
                self.pass_silently();
            }
            Step::SetBack(ticks) => {
                self.now = self.now.minus(ticks * TICK);
                self.loose = true;
            }
            Step::Pass(ticks) => {
                self.now = self.now.plus(ticks * TICK);
                self.pass();
            }
        }
    }

    fn track(&mut self, user: usize, name: char, late: i64, on_web: bool, properties: &Json, message: Option<u8>) {
        let message = message.map(|message| format!("m{message}"));
        if let Some(message) = &message {
            assert_eq!(self.world.knows(message), self.messages.contains(message), "what came before under {message}");
            if self.messages.contains(message) {
                return;
            }
        }
        let tracked = self.naive.owner(user).map_or(0, |id| self.naive.erasable(id).len());
        if tracked >= EVENTS_MAX {
            return;
        }
        self.messages.extend(message.clone());
        let mut changes = Changes::default();
        let (id, expect) = self.profile_of(user, &mut changes);
        let t = self.now.0 - late * TICK;
        let engine = engine_occurrence(&self.plan, name, on_web, properties);
        let (moment, fact_id) = self.world.track(&self.plan, id, user, t, self.now, engine, message.as_deref(), &mut changes);
        let plain = occurrence(&name.to_string(), if on_web { "web" } else { "app" }, properties);
        self.naive.add(id, Fact { moment, id: fact_id, user, what: What::Track(plain) });
        self.settle(id, expect, &changes, "an event");
    }

    fn identify(&mut self, user: usize, previous: Option<usize>, favourite: Option<Option<char>>, known: bool, late: i64) {
        let mut changes = Changes::default();
        let (leader, mut expect) = self.profile_of(user, &mut changes);
        let follower = previous.and_then(|previous| self.naive.owner(previous)).filter(|follower| *follower != leader);
        let events = |id: ProfileId| self.naive.erasable(id).len();
        let follower = follower.filter(|follower| events(*follower) + events(leader) <= EVENTS_MAX);
        if let Some(gone) = follower.and_then(|follower| self.followed.remove(&follower)) {
            expect.extend(self.by_itself_until(leader, gone.clock.max(self.clock(leader))));
        }
        let have = self.naive.favourite(leader);
        let own = favourite.unwrap_or(have);
        let joined = follower.map_or(have, |follower| have.or(self.naive.favourite(follower)));
        let becomes = favourite.unwrap_or(joined);
        let says = (becomes != have || follower.is_some()).then(|| custom(&self.plan, becomes));
        let t = (self.now.0 - late * TICK).max(self.asserted(leader, follower));
        let owns = follower.map(|_| custom(&self.plan, own));
        let said = says.is_some();
        let (moment, id) = self.world.identify(&self.plan, leader, user, t, self.now, known, follower, says, owns, &mut changes);
        assert!(!said || moment.t.0 == t, "custom traits take effect in the order in which they are set");
        if known {
            self.naive.knows(user);
        }
        let alone = if said { What::Custom(becomes) } else { What::Aside };
        let what = follower.map_or(alone, |absorbed| What::Merge { absorbed, own, custom: becomes });
        self.naive.add(leader, Fact { moment, id, user, what });
        self.settle(leader, expect, &changes, if follower.is_some() { "a merge" } else { "an identify" });
    }

    fn asserted(&self, leader: ProfileId, follower: Option<ProfileId>) -> i64 {
        let of = |id| self.naive.asserted(id);
        of(leader).max(follower.map_or(i64::MIN, of))
    }

    fn undo(&mut self, which: usize) {
        let merged: Vec<ProfileId> = self.naive.links.keys().copied().collect();
        if merged.is_empty() {
            return;
        }
        let target = merged[which % merged.len()];
        let survivor = self.naive.root(target);
        let mut changes = Changes::default();
        let expect = self.by_itself(survivor);
        self.world.pass(&self.plan, survivor, self.now, &mut changes);
        let undone = self.world.undo(&self.plan, survivor, target, self.now, &mut changes);
        let (moment, id, split, theirs) = undone.expect("it is merged");
        self.naive.undo(target, moment, id);
        assert_eq!(split.profile, target);
        self.settle(survivor, expect, &changes, "an undoing, who stays");
        self.followed.insert(target, Followed::fresh(self.clock(survivor)));
        self.settle(target, Told::new(), &theirs, "an undoing, who comes back");
    }

    fn erase(&mut self, user: usize, which: usize) {
        let Some(id) = self.naive.owner(user) else { return };
        let moments = self.naive.erasable(id);
        if moments.is_empty() {
            return;
        }
        let gone: Moment = moments[which % moments.len()];
        let mut changes = Changes::default();
        let expect = self.by_itself(id);
        let erased = Erased { moments: vec![gone], ..Erased::default() };
        let (moment, entry) = self.world.erase(&self.plan, id, erased, self.now, &mut changes);
        self.naive.erase(|fact| fact.moment == gone, id);
        self.naive.add(id, Fact { moment, id: entry, user: NOBODY, what: What::Aside });
        self.settle(id, expect, &changes, "an erasure");
    }

    fn retain(&mut self, before: Millis) {
        for id in self.living() {
            let mut changes = Changes::default();
            let expect = self.by_itself(id);
            let oldest = self.naive.erasable(id).into_iter().map(|moment| moment.t).min();
            if oldest.is_none_or(|oldest| oldest >= before) {
                self.world.pass(&self.plan, id, self.now, &mut changes);
            } else {
                assert!(self.world.live[&id].core.oldest < before, "somebody would be passed over");
                self.forgot = true;
                let erased = Erased { before: Some(before), ..Erased::default() };
                self.world.erase(&self.plan, id, erased, self.now, &mut changes);
                self.naive.erase(|fact| fact.moment.t < before, id);
            }
            self.settle(id, expect, &changes, "history that goes");
        }
    }

    fn edit(&mut self, edit: &Edit) {
        self.pass();
        self.loose = true;
        let before = self.defs.clone();
        self.defs.edit(edit);
        let new = self.defs.compile(&self.plan.catalog);
        let old = std::mem::replace(&mut self.plan, new);
        for id in self.living() {
            let mut changes = Changes::default();
            self.world.rebuild(&self.plan, id, &mut changes);
            // What is gone is left; its place may be taken by something else one day.
            for i in (0..AUDIENCES).filter(|i| before.audience_key(*i) != self.defs.audience_key(*i)) {
                let Some(key) = before.audience_key(i) else { continue };
                let slot = old.audience_by_key(&key).expect("an audience").slot;
                let Followed { members: have, by_time, since, .. } = self.followed.get_mut(&id).unwrap();
                let left = changes.members.iter().any(|change| change.audience == slot && !change.entered);
                assert_eq!(left, have[i], "{key} of {id} is gone");
                (have[i], by_time[i], since[i]) = (false, false, None);
            }
            self.settle(id, Told::new(), &changes, EDIT);
        }
    }

    fn living(&self) -> Vec<ProfileId> {
        self.world.live.keys().copied().collect()
    }

    fn pass(&mut self) {
        for id in self.living() {
            let mut changes = Changes::default();
            let expect = self.by_itself(id);
            self.world.pass(&self.plan, id, self.now, &mut changes);
            self.settle(id, expect, &changes, "time");
        }
    }

    fn pass_silently(&mut self) {
        let living: Vec<ProfileId> = self.followed.keys().copied().collect();
        assert_eq!(self.living(), living, "who is there after a crash");
        for id in living {
            let mut ignored = Changes::default();
            self.world.rebuild(&self.plan, id, &mut ignored);
            self.world.pass(&self.plan, id, self.now, &mut ignored);
            // Of what only time brought about nothing is written: where the clock was set back since, that
            // happens again. And what came in before definitions changed comes in again after that.
            let clock = self.world.live[&id].core.clock;
            let members = self.members(id, clock);
            let since = self.followed[&id].since;
            self.followed.insert(id, Followed { until: clock, clock, members, by_time: members, since });
            if self.loose {
                self.believe_since(id, |_| true);
            }
            self.check(id, "a crash");
        }
    }
}

fn compare(told: &mut Told, at: Millis, have: &[bool; AUDIENCES], next: &[bool; AUDIENCES]) {
    for i in 0..AUDIENCES {
        if have[i] != next[i] {
            told.push((at.0, i, next[i]));
        }
    }
}
