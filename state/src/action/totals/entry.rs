//! The totals of one action: its tally, the places held, and the log positions counted.

use super::Committed;
use crate::action::capping::{Cap, CapState, Group};
use crate::event::{Reacted, Reaction};
use crate::ids::{ChannelSlot, Millis, Moment, ProfileId, Seq};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Behind the mutex of one action.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) tally: CapState,
    pub(super) holds: HashMap<u64, Hold, foldhash::quality::RandomState>,
    /// The holds of one profile, for its own caps.
    pub(super) by_profile: HashMap<ProfileId, Vec<u64>, foldhash::quality::RandomState>,
    /// Places held per kind and channel.
    pub(super) reserved: Vec<(Reaction, ChannelSlot, u64)>,
    pub(super) next_hold: u64,
    /// Every log position up to here is counted, and the journal has it.
    pub(super) settled: Seq,
    /// Positions counted beyond.
    pub(super) recent: BTreeMap<Seq, (Reaction, ChannelSlot, Millis)>,
    /// Erasures counted beyond, by their own positions.
    pub(super) undone: BTreeMap<(Seq, u32), Undone>,
}

/// A reaction that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undone {
    /// Where it stood.
    pub(super) moment: Moment,
    pub(super) reaction: Reaction,
    pub(super) channel: ChannelSlot,
}

/// One place held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) profile: ProfileId,
    pub(super) reaction: Reaction,
    pub(super) channel: ChannelSlot,
    pub(super) since: Millis,
}

impl Entry {
    pub(super) fn reserved(&self, cap: &Cap) -> u64 {
        self.reserved.iter().filter(|(reaction, channel, _)| cap.counts(*reaction, *channel)).map(|(_, _, n)| n).sum()
    }

    pub(super) fn held_by(&self, profile: ProfileId, cap: &Cap) -> u64 {
        let Some(ids) = self.by_profile.get(&profile) else {
            return 0;
        };
        let counts = |id: &&u64| self.holds.get(*id).is_some_and(|hold| cap.counts(hold.reaction, hold.channel));
        ids.iter().filter(counts).count() as u64
    }

    pub(super) fn hold(&mut self, hold: Hold) -> u64 {
        let id = self.next_hold;
        self.next_hold += 1;
        let key = (hold.reaction, hold.channel);
        match self.reserved.iter_mut().find(|(reaction, channel, _)| (*reaction, *channel) == key) {
            Some((_, _, places)) => *places += 1,
            None => self.reserved.push((hold.reaction, hold.channel, 1)),
        }
        self.by_profile.entry(hold.profile).or_default().push(id);
        self.holds.insert(id, hold);
        id
    }

    pub(super) fn unhold(&mut self, id: u64) -> Option<Hold> {
        let hold = self.holds.remove(&id)?;
        let key = (hold.reaction, hold.channel);
        if let Some((_, _, places)) = self.reserved.iter_mut().find(|(reaction, channel, _)| (*reaction, *channel) == key) {
            *places -= 1;
        }
        if let Some(ids) = self.by_profile.get_mut(&hold.profile) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_profile.remove(&hold.profile);
            }
        }
        Some(hold)
    }

    pub(super) fn count(&mut self, caps: &[Cap], reaction: Reaction, channel: ChannelSlot, at: Moment) -> Committed {
        if at.seq <= self.settled || self.recent.contains_key(&at.seq) {
            return Committed::default();
        }
        let open = |tally: &CapState| {
            let counting = caps.iter().filter(|cap| cap.group == Group::All && cap.counts(reaction, channel));
            counting.filter(|cap| tally.open(cap, at.t, 0).holds).count()
        };
        let before = open(&self.tally);
        self.tally.record(caps, Group::All, reaction, channel, at.t);
        self.recent.insert(at.seq, (reaction, channel, at.t));
        Committed { counted: true, exhausted: open(&self.tally) < before }
    }
}

impl Entry {
    pub(super) fn uncount(&mut self, reacted: &Reacted, moment: Moment, by: (Seq, u32)) {
        if by.0 <= self.settled || self.undone.contains_key(&by) {
            return;
        }
        let Reacted { reaction, channel, .. } = *reacted;
        self.tally.take_back(reaction, channel, moment.t);
        self.undone.insert(by, Undone { moment, reaction, channel });
    }

    pub(super) fn snapshot(&self) -> EntrySnapshot {
        let recent = self.recent.iter().map(|(seq, (reaction, channel, t))| (*seq, *reaction, *channel, *t));
        let undone = self.undone.iter().map(|(by, undone)| (*by, *undone)).collect();
        EntrySnapshot { tally: self.tally.clone(), settled: self.settled, recent: recent.collect(), undone }
    }
}

/// What of it survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EntrySnapshot {
    pub(super) tally: CapState,
    pub(super) settled: Seq,
    pub(super) recent: Vec<(Seq, Reaction, ChannelSlot, Millis)>,
    pub(super) undone: Vec<((Seq, u32), Undone)>,
}

/// No invariant spans two statements that can panic, so the data behind a poisoned lock is sound.
pub(super) fn lock(entry: &Mutex<Entry>) -> MutexGuard<'_, Entry> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}
