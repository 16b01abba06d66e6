//! A profile: who a person is, what was computed of them, and the part of their log not yet on disk.

use crate::action::CapState;
use crate::audience::AudienceState;
use crate::event::{Absorbed, Entry, Identity, MembershipChange, Props};
use crate::experiment::TrialState;
use crate::expr::PathRef;
use crate::goal::GoalState;
use crate::ids::{AudienceSlot, ChannelSlot, Millis, Moment, ProfileId, RuleSlot, Seq, TraitSlot};
use crate::rule::RuleState;
use crate::slots::Slots;
use crate::traits::TraitState;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// A profile holds at most this many identities; one more is refused with `identity_limit`.
pub const IDENTITIES_MAX: usize = 500;

/// The state of one trait, with its next deadline beside it so that looking for due timers touches
/// nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraitCell {
    /// The accumulator.
    pub state: TraitState,
    /// When it changes by itself next; [`Millis::MAX`] for never.
    pub deadline: Millis,
}

/// The state of one audience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudienceCell {
    /// Counts and funnel runs.
    pub state: AudienceState,
    /// When the counts or runs change by themselves next.
    pub deadline: Millis,
    /// When membership may flip by itself though no count changes (a relative date in a trait condition).
    pub flips: Millis,
    /// Member since, if a member.
    pub since: Option<Millis>,
}

/// What is written at a checkpoint. Equals the fold of the profile's log under one plan, always.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Core {
    /// The profile.
    pub id: ProfileId,
    /// When it was made.
    pub born: Millis,
    /// First seen (of an absorbed profile, if that was earlier).
    pub created_at: Millis,
    /// Last arrival that changed it.
    pub updated_at: Millis,
    /// All ids of the person.
    pub identities: Vec<Identity>,
    /// Custom traits.
    pub custom: Props,
    /// Computed traits by [`TraitSlot`].
    pub traits: Slots<TraitCell>,
    /// Audiences by [`AudienceSlot`].
    pub audiences: Slots<AudienceCell>,
    /// Cap counters by action slot.
    pub caps: Slots<CapState>,
    /// What counts against frequency budgets, by budget slot.
    pub budgets: Slots<CapState>,
    /// Rules by rule slot.
    pub rules: Slots<RuleState>,
    /// Custom traits that a rule set last, and which rule: an identify that replaces leaves them alone.
    pub set_by: Vec<(PathRef, RuleSlot)>,
    /// Touches and conversions by goal slot.
    pub goals: Slots<GoalState>,
    /// Exposures and outcomes by experiment slot.
    pub trials: Slots<TrialState>,
    /// The oldest of the profiles that this one is made of: experiments assign by it, so that a merge
    /// changes nobody's arm who was there first.
    pub root: (Millis, ProfileId),
    /// Profiles absorbed, oldest first: their history stands under their own ids.
    pub absorbed: Vec<ProfileId>,
    /// Last log position applied; a replay skips everything up to it.
    pub applied: Seq,
    /// Latest arrival or timer applied. Time never runs back for a profile.
    pub clock: Millis,
    /// The newest event, or change of what events compare with, by `(t, seq)`: an event before it is late.
    pub newest: Moment,
    /// When custom traits were set last, by event time. What sets them next takes effect no earlier, so
    /// that the order in which they were set is that of the log.
    pub asserted: Millis,
    /// No entry that can leave the log for its age is older; [`Millis::MAX`] for none.
    pub oldest: Millis,
    /// Events in the log.
    pub events: u64,
    /// Which generation of trait and audience definitions the state is folded under.
    pub generation: u32,
}

/// A profile in memory.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The folded state.
    pub core: Core,
    /// Entries that no checkpoint has written yet, in the order of their arrival.
    pub tail: Vec<Entry>,
    /// The same of absorbed profiles, with the profile in whose log each was written.
    pub inherited: Vec<(ProfileId, Entry)>,
    /// What left the log and still stands on the disk.
    pub leaving: Leaving,
    /// Ids have gone from here with a profile that was split off: who looked one up must look again under
    /// the lock, see [`crate::store::Store::owns`].
    pub parted: bool,
    /// Changes whenever entries leave `tail` or `inherited` for another reason than a checkpoint.
    pub shuffles: u32,
    /// Memberships that began or ended and that no checkpoint has written yet, oldest first.
    pub moves: Vec<MembershipChange>,
    /// Merged away: everything is with this profile now.
    pub gone: Option<ProfileId>,
    /// Changed since the last checkpoint took it.
    pub dirty: bool,
    /// The deadline that the timer wheel knows for it.
    pub scheduled: Millis,
}

/// What of a profile's log the next checkpoint has to take from the disk, or to put elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Leaving {
    /// Rows of history to delete. A row that is written anew in another place is deleted in its old one.
    pub rows: Vec<(ProfileId, Moment)>,
    /// Message ids of entries that left before a checkpoint wrote them: a repeat is recognised all the same.
    pub remembered: Vec<Remembered>,
    /// Profiles that must be written in the very batch in which this one is: parts of one log.
    pub with: Vec<ProfileId>,
    /// Profiles that came back: nothing redirects their ids any more.
    pub returned: Vec<ProfileId>,
}

impl Leaving {
    /// Adds what another profile brings along.
    fn append(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.remembered.extend(other.remembered);
        self.with.extend(other.with);
        self.returned.extend(other.returned);
    }

    /// How much there is, for [`Leaving::settle`].
    #[must_use]
    pub fn mark(&self) -> [usize; 4] {
        [self.rows.len(), self.remembered.len(), self.with.len(), self.returned.len()]
    }

    /// Lets go of what there was at `mark`, once it is on the disk.
    pub fn settle(&mut self, mark: [usize; 4]) {
        let [rows, remembered, with, returned] = mark;
        self.rows.drain(..rows.min(self.rows.len()));
        self.remembered.drain(..remembered.min(self.remembered.len()));
        self.with.drain(..with.min(self.with.len()));
        self.returned.drain(..returned.min(self.returned.len()));
    }
}

/// The first outcome of a message id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The client's message id.
    pub message_id: CompactString,
    /// Log position of the entry.
    pub seq: Seq,
    /// Id of the entry.
    pub id: u128,
    /// Its arrival.
    pub at: Millis,
}

impl Profile {
    /// A profile with an empty log.
    #[must_use]
    pub fn new(id: ProfileId, at: Millis, generation: u32) -> Self {
        Self::from_core(Core {
            id,
            born: at,
            created_at: at,
            updated_at: at,
            identities: Vec::new(),
            custom: Props::default(),
            traits: Slots::default(),
            audiences: Slots::default(),
            caps: Slots::default(),
            budgets: Slots::default(),
            rules: Slots::default(),
            set_by: Vec::new(),
            goals: Slots::default(),
            trials: Slots::default(),
            root: (at, id),
            absorbed: Vec::new(),
            applied: Seq(0),
            clock: Millis::MIN,
            newest: Moment { t: Millis::MIN, seq: Seq(0) },
            asserted: Millis::MIN,
            oldest: Millis::MAX,
            events: 0,
            generation,
        })
    }

    /// A profile as a checkpoint wrote it.
    #[must_use]
    pub fn from_core(core: Core) -> Self {
        Self {
            core,
            tail: Vec::new(),
            inherited: Vec::new(),
            leaving: Leaving::default(),
            parted: false,
            shuffles: 0,
            moves: Vec::new(),
            gone: None,
            dirty: false,
            scheduled: Millis::MAX,
        }
    }

    /// Moves what no checkpoint has written yet of `follower` here.
    pub fn inherit(&mut self, follower: &mut Self) {
        let owner = follower.core.id;
        self.inherited.extend(follower.tail.drain(..).map(|entry| (owner, entry)));
        self.inherited.append(&mut follower.inherited);
        self.leaving.append(std::mem::take(&mut follower.leaving));
    }

    /// This profile as it is when `leader` absorbs it.
    #[must_use]
    pub fn absorbed_by(&self, leader: ProfileId) -> Absorbed {
        let core = &self.core;
        Absorbed { profile: core.id, into: leader, born: core.born, identities: core.identities.clone() }
    }

    /// The identity of `user_id` in `channel`.
    #[must_use]
    pub fn identity(&self, channel: ChannelSlot, user_id: &str) -> Option<&Identity> {
        self.core.identities.iter().find(|i| i.channel == channel && i.user_id == user_id)
    }

    /// Whether at least one identity is known (not anonymous).
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.core.identities.iter().any(|i| !i.is_anonymous)
    }

    /// Member since, if a member of `audience`.
    #[must_use]
    pub fn member_since(&self, audience: AudienceSlot) -> Option<Millis> {
        self.core.audiences.get(audience.0).and_then(|cell| cell.since)
    }

    /// The accumulator of `slot`, if anything fed it.
    #[must_use]
    pub fn trait_state(&self, slot: TraitSlot) -> Option<&TraitState> {
        self.core.traits.get(slot.0).map(|cell| &cell.state)
    }

    /// The first instant at which something about this profile changes by itself.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        let traits = self.core.traits.iter().map(|(_, cell)| cell.deadline);
        let audiences = self.core.audiences.iter().map(|(_, cell)| cell.deadline.min(cell.flips));
        let rules = self.core.rules.iter().map(|(_, state)| state.deadline);
        traits.chain(audiences).chain(rules).min().unwrap_or(Millis::MAX)
    }
}

/// Where the whole log of a profile can be had. The log is a function of the inputs, so reading it keeps
/// the machine deterministic; only its edge knows where it lies.
pub trait History {
    /// What checkpoints have written of the log of one profile, under exactly this id.
    fn rows(&mut self, id: ProfileId) -> Vec<Entry>;

    /// Every entry of the profile and of those it absorbed, in `(t, seq)` order, none twice, each with the
    /// profile in whose log it was written.
    fn load_owned(&mut self, profile: &Profile) -> Vec<(ProfileId, Entry)> {
        let gone: HashSet<(ProfileId, Moment)> = profile.leaving.rows.iter().copied().collect();
        let own = profile.core.id;
        // What is in memory comes first: of two copies of an entry, that one is right.
        let mut entries: Vec<(ProfileId, Entry)> = profile.tail.iter().map(|entry| (own, entry.clone())).collect();
        entries.extend(profile.inherited.iter().cloned());
        for &id in std::iter::once(&own).chain(&profile.core.absorbed) {
            let rows = self.rows(id).into_iter().filter(|entry| gone.is_empty() || !gone.contains(&(id, entry.moment)));
            entries.extend(rows.map(|entry| (id, entry)));
        }
        entries.sort_by_key(|(_, entry)| (entry.moment, entry.id));
        entries.dedup_by_key(|(_, entry)| (entry.moment, entry.id));
        entries
    }

    /// As [`History::load_owned`], the entries alone.
    fn load(&mut self, profile: &Profile) -> Vec<Entry> {
        self.load_owned(profile).into_iter().map(|(_, entry)| entry).collect()
    }
}

/// A history that is all in memory: the profile's tail. For tests, and for profiles never checkpointed.
pub struct TailOnly;

impl History for TailOnly {
    fn rows(&mut self, _: ProfileId) -> Vec<Entry> {
        Vec::new()
    }
}

/// Brings entries into the total order and drops second copies (an entry may stand on disk and in a tail).
pub fn sort_entries(entries: &mut Vec<Entry>) {
    entries.sort_by_key(|entry| (entry.moment, entry.id));
    entries.dedup_by_key(|entry| (entry.moment, entry.id));
}
