//! The machine as its edge runs it, in memory: profiles under locks nobody else has, a journal, checkpoints
//! that write some profiles or all, and what a crash leaves of that.

use lodestone_state::codec;
use lodestone_state::command::{self, Command};
use lodestone_state::event::{Entry, EntryKind, Erased, Identified, Identity, Occurrence, Props, Split};
use lodestone_state::ids::{ChannelSlot, Millis, Moment, ProfileId, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::Plan;
use lodestone_state::profile::{Core, History, Profile};
use std::collections::{BTreeMap, BTreeSet};

/// What checkpoints have written.
#[derive(Default)]
pub(crate) struct Disk {
    rows: BTreeMap<(ProfileId, Moment), Vec<u8>>,
    cores: BTreeMap<ProfileId, Vec<u8>>,
    redirects: BTreeMap<ProfileId, ProfileId>,
    messages: BTreeSet<String>,
}

impl History for &Disk {
    fn rows(&mut self, id: ProfileId) -> Vec<Entry> {
        let least = Moment { t: Millis::MIN, seq: Seq(0) };
        let most = Moment { t: Millis::MAX, seq: Seq(u64::MAX) };
        let rows = self.rows.range((id, least)..=(id, most));
        rows.map(|(_, bytes)| codec::decode::<Entry>(bytes).expect("a row").1).collect()
    }
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) live: BTreeMap<ProfileId, Profile>,
    redirects: BTreeMap<ProfileId, ProfileId>,
    disk: Disk,
    journal: Vec<(Seq, Vec<u8>)>,
    /// Message ids in memory: those since the last seal.
    messages: BTreeSet<String>,
    dirty: BTreeSet<ProfileId>,
    seq: u64,
    next_profile: u128,
}

pub(crate) fn user_id(user: usize) -> String {
    format!("u{user}")
}

impl World {
    pub(crate) fn knows(&self, message: &str) -> bool {
        self.messages.contains(message) || self.disk.messages.contains(message)
    }

    pub(crate) fn create(&mut self, plan: &Plan, now: Millis, changes: &mut Changes) -> ProfileId {
        self.next_profile += 1;
        let id = ProfileId(self.next_profile);
        let mut profile = Profile::new(id, now, plan.generation);
        machine::born(plan, &mut profile, now, changes);
        self.live.insert(id, profile);
        id
    }

    fn get(&self, id: ProfileId) -> ProfileId {
        let mut id = id;
        while !self.live.contains_key(&id) {
            id = *self.redirects.get(&id).expect("a profile that is known");
        }
        id
    }

    /// Stamps an entry and writes it down.
    fn stamp(&mut self, profile: ProfileId, mut entry: Entry) -> Entry {
        self.seq += 1;
        let mut record = Vec::new();
        command::encode_entry(profile, 1, &entry, &mut record);
        self.journal.push((Seq(self.seq), record));
        if let Some(message) = &entry.message_id {
            self.messages.insert(message.to_string());
        }
        entry.moment.seq = Seq(self.seq);
        self.dirty.insert(profile);
        entry
    }

    fn draft(&self, profile: ProfileId, t: i64, now: Millis, user: &str, kind: EntryKind) -> Entry {
        let core = &self.live[&profile].core;
        let at = now.max(core.clock);
        let t = if kind.sets_custom() { Millis(t).max(core.asserted) } else { Millis(t) };
        let id = u128::from(self.seq + 1) << 8;
        Entry { moment: Moment { t, seq: Seq(0) }, at, user_id: user.into(), message_id: None, id, kind }
    }

    fn apply(&mut self, plan: &Plan, profile: ProfileId, entry: Entry, changes: &mut Changes) {
        let one = self.live.get_mut(&profile).expect("alive");
        machine::apply(plan, one, entry, &mut &self.disk, changes);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an event")]
    pub(crate) fn track(
        &mut self,
        plan: &Plan,
        profile: ProfileId,
        user: usize,
        t: i64,
        now: Millis,
        occurrence: Occurrence,
        message: Option<&str>,
        changes: &mut Changes,
    ) -> (Moment, u128) {
        let mut entry = self.draft(profile, t, now, &user_id(user), EntryKind::Event(occurrence));
        entry.message_id = message.map(Into::into);
        let entry = self.stamp(profile, entry);
        let told = (entry.moment, entry.id);
        self.apply(plan, profile, entry, changes);
        told
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an identify")]
    pub(crate) fn identify(
        &mut self,
        plan: &Plan,
        leader: ProfileId,
        user: usize,
        t: i64,
        now: Millis,
        known: bool,
        follower: Option<ProfileId>,
        custom: Option<Props>,
        own: Option<Props>,
        changes: &mut Changes,
    ) -> (Moment, u128) {
        let identity = Identity {
            channel: ChannelSlot(0),
            kind: if known { "user_id".into() } else { "anonymous_id".into() },
            user_id: user_id(user).into(),
            is_anonymous: !known,
            created_at: now,
        };
        let have = self.live[&leader].identity(ChannelSlot(0), &identity.user_id);
        let new = have.is_none_or(|have| have.is_anonymous && known);
        let absorbed = follower.iter().map(|id| self.live[id].absorbed_by(leader)).collect();
        let identities = if new { vec![identity] } else { Vec::new() };
        let kind = EntryKind::Identified(Identified { identities, custom, absorbed, own });
        if let Some(follower) = follower {
            let clock = self.live[&follower].core.clock;
            let taken = self.live.remove(&follower).expect("alive");
            self.redirects.insert(follower, leader);
            let now = now.max(clock);
            let one = self.live.get_mut(&leader).expect("alive");
            machine::absorb(plan, one, vec![taken], now, &mut &self.disk, changes);
        }
        let entry = self.draft(leader, t, now, &user_id(user), kind);
        let entry = self.stamp(leader, entry);
        let told = (entry.moment, entry.id);
        self.apply(plan, leader, entry, changes);
        told
    }

    /// Undoes a merge. Gives where that stands in the log, and what changed about who came back.
    pub(crate) fn undo(
        &mut self,
        plan: &Plan,
        survivor: ProfileId,
        target: ProfileId,
        now: Millis,
        changes: &mut Changes,
    ) -> Option<(Moment, u128, Split, Changes)> {
        let owned = (&self.disk).load_owned(&self.live[&survivor]);
        let split = machine::undo(&self.live[&survivor], &owned, target)?;
        let now = now.max(self.live[&survivor].core.clock);
        let entry = self.draft(survivor, now.0, now, "", EntryKind::Split(split.clone()));
        let entry = self.stamp(survivor, entry);
        let told = (entry.moment, entry.id);
        let theirs = self.part(plan, survivor, entry, &split, changes);
        Some((told.0, told.1, split, theirs))
    }

    fn part(&mut self, plan: &Plan, survivor: ProfileId, entry: Entry, split: &Split, changes: &mut Changes) -> Changes {
        let one = self.live.get_mut(&survivor).expect("alive");
        let (back, theirs) = machine::part(plan, one, entry, split, &mut &self.disk, changes);
        let id = back.core.id;
        self.redirects.remove(&id);
        for absorbed in &back.core.absorbed {
            self.redirects.insert(*absorbed, id);
        }
        self.live.insert(id, back);
        self.dirty.insert(id);
        theirs
    }

    pub(crate) fn erase(
        &mut self,
        plan: &Plan,
        profile: ProfileId,
        erased: Erased,
        now: Millis,
        changes: &mut Changes,
    ) -> (Moment, u128) {
        let now = now.max(self.live[&profile].core.clock);
        let entry = self.draft(profile, now.0, now, "", EntryKind::Erased(erased));
        let entry = self.stamp(profile, entry);
        let told = (entry.moment, entry.id);
        self.apply(plan, profile, entry, changes);
        told
    }

    pub(crate) fn pass(&mut self, plan: &Plan, profile: ProfileId, now: Millis, changes: &mut Changes) {
        let one = self.live.get_mut(&profile).expect("alive");
        machine::advance(plan, one, now, &mut &self.disk, changes);
        self.dirty.insert(profile);
    }

    /// Brings a profile under other definitions.
    pub(crate) fn rebuild(&mut self, plan: &Plan, profile: ProfileId, changes: &mut Changes) {
        let one = self.live.get_mut(&profile).expect("alive");
        if one.core.generation != plan.generation {
            one.core.generation = plan.generation;
            machine::rebuild(plan, one, false, &mut &self.disk, changes);
            self.dirty.insert(profile);
        }
    }

    /// Writes the profiles that `wanted` picks, with whatever must be written with them; all of them, and the
    /// journal is let go of, where it picks all.
    pub(crate) fn checkpoint(&mut self, wanted: impl Fn(ProfileId) -> bool, seal: bool) {
        let picked: Vec<ProfileId> = self.dirty.iter().copied().filter(|id| self.live.contains_key(id) && wanted(*id)).collect();
        for id in picked {
            let mut group = BTreeSet::from([id]);
            loop {
                let more: Vec<ProfileId> =
                    group.iter().flat_map(|id| self.live[id].leaving.with.clone()).map(|id| self.get(id)).collect();
                let before = group.len();
                group.extend(more);
                if group.len() == before {
                    break;
                }
            }
            group.retain(|id| self.dirty.remove(id));
            self.write(&group);
        }
        if seal {
            self.journal.clear();
            self.messages.clear();
            self.dirty.clear();
        }
    }

    /// Writes profiles in one batch: what is new first, then what has to go, then who went into whom.
    fn write(&mut self, group: &BTreeSet<ProfileId>) {
        let disk = &mut self.disk;
        let profiles = || group.iter().map(|id| &self.live[id]);
        for profile in profiles() {
            let id = profile.core.id;
            disk.cores.insert(id, codec::encode(1, &profile.core));
            let own = profile.tail.iter().map(|entry| (id, entry));
            for (owner, entry) in own.chain(profile.inherited.iter().map(|(owner, entry)| (*owner, entry))) {
                disk.rows.insert((owner, entry.moment), codec::encode(1, entry));
                disk.messages.extend(entry.message_id.as_ref().map(ToString::to_string));
            }
            disk.messages.extend(profile.leaving.remembered.iter().map(|of| of.message_id.to_string()));
        }
        for profile in profiles() {
            for row in &profile.leaving.rows {
                disk.rows.remove(row);
            }
            for returned in &profile.leaving.returned {
                disk.redirects.remove(returned);
            }
            for absorbed in &profile.core.absorbed {
                disk.cores.remove(absorbed);
            }
        }
        for profile in profiles() {
            disk.redirects.extend(profile.core.absorbed.iter().map(|absorbed| (*absorbed, profile.core.id)));
        }
        for id in group {
            let profile = self.live.get_mut(id).expect("alive");
            profile.tail.clear();
            profile.inherited.clear();
            profile.leaving.settle(profile.leaving.mark());
        }
    }

    /// What a crash leaves, brought up again: the last checkpoints, and the journal on top.
    pub(crate) fn restart(&mut self, plan: &Plan) {
        self.live.clear();
        self.dirty.clear();
        self.messages.clear();
        for bytes in self.disk.cores.values() {
            let core: Core = codec::decode(bytes).expect("a core").1;
            self.live.insert(core.id, Profile::from_core(core));
        }
        self.redirects = self.disk.redirects.clone();
        for (seq, record) in self.journal.clone() {
            let Command::Entry { profile, mut entry, .. } = command::decode(&record).expect("a record") else {
                panic!("an entry")
            };
            entry.moment.seq = seq;
            self.replay(plan, profile, entry);
        }
    }

    fn replay(&mut self, plan: &Plan, id: ProfileId, entry: Entry) {
        if let Some(message) = &entry.message_id {
            self.messages.insert(message.to_string());
        }
        let mut ignored = Changes::default();
        let mut known = id;
        while !self.live.contains_key(&known) {
            match self.redirects.get(&known) {
                Some(next) => known = *next,
                None => {
                    self.live.insert(id, Profile::new(id, entry.at, plan.generation));
                    known = id;
                }
            }
        }
        if self.live[&known].core.applied >= entry.moment.seq {
            return;
        }
        self.dirty.insert(known);
        self.rebuild(plan, known, &mut ignored);
        if self.live[&known].core.clock == Millis::MIN {
            machine::born(plan, self.live.get_mut(&known).expect("alive"), entry.at, &mut ignored);
        }
        match entry.kind.clone() {
            EntryKind::Split(split) => {
                self.part(plan, known, entry, &split, &mut ignored);
                return;
            }
            EntryKind::Identified(identified) => {
                let followers: Vec<Profile> = identified
                    .absorbed
                    .iter()
                    .filter_map(|absorbed| {
                        let taken = self.live.remove(&absorbed.profile)?;
                        self.redirects.insert(absorbed.profile, known);
                        Some(taken)
                    })
                    .collect();
                if !followers.is_empty() {
                    let one = self.live.get_mut(&known).expect("alive");
                    machine::absorb(plan, one, followers, entry.at, &mut &self.disk, &mut ignored);
                }
            }
            _ => {}
        }
        self.apply(plan, known, entry, &mut ignored);
    }
}

/// The document of custom traits that says who somebody likes best.
pub(crate) fn custom(plan: &Plan, favourite: Option<char>) -> Props {
    let json = favourite.map_or_else(|| "{}".to_owned(), |f| format!(r#"{{"fav":"{f}"}}"#));
    plan.custom_schema().expect("custom traits").validate(&json, &plan.zone).expect("valid")
}
