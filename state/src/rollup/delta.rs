//! Counted and not yet sealed: a difference to the rows.

use super::{Counts, Filter, Reach, Slot, place_of};
use crate::event::{Entry, EntryKind, Reacted, Reaction};
use crate::ids::{ActionSlot, ChannelSlot, Millis, ProfileId};
use std::collections::HashMap;

/// Which counters of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When.
    pub slot: Slot,
    /// To which action.
    pub action: ActionSlot,
    /// Where.
    pub channel: ChannelSlot,
}

/// One change of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// An event arrived.
    Event(Slot),
    /// Somebody reacted (`by` is 1), or a reaction left the log (-1).
    Reacted { place: Place, reaction: Reaction, profile: ProfileId, by: i64 },
}

impl Op {
    /// What an entry changes, if anything.
    pub(super) fn of(profile: ProfileId, entry: &Entry) -> Option<Self> {
        match &entry.kind {
            EntryKind::Event(_) => Some(Self::Event(Slot::of(entry.at))),
            EntryKind::Reacted(reacted) => Self::reacted(profile, reacted, entry.moment.t, 1),
            _ => None,
        }
    }

    /// What a reaction changes, if it counts at all.
    pub(super) fn reacted(profile: ProfileId, reacted: &Reacted, t: Millis, by: i64) -> Option<Self> {
        if reacted.test || place_of(reacted.reaction).is_none() {
            return None;
        }
        let place = Place { slot: Slot::of(t), action: reacted.action, channel: reacted.channel };
        Some(Self::Reacted { place, reaction: reacted.reaction, profile, by })
    }
}

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Changes of counters since some earlier position.
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    pub(super) events: Map<Slot, i64>,
    pub(super) reactions: Map<Place, Counts>,
    pub(super) reach: Map<Place, Reach>,
}

impl Deltas {
    pub(super) fn apply(&mut self, op: Op) {
        match op {
            Op::Event(slot) => *self.events.entry(slot).or_default() += 1,
            Op::Reacted { place, reaction, profile, by } => {
                if let Some(at) = place_of(reaction) {
                    self.reactions.entry(place).or_default()[at] += by;
                }
                if reaction == Reaction::Delivered {
                    self.reach.entry(place).or_default().add(profile, by);
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (slot, by) in &other.events {
            *self.events.entry(*slot).or_default() += by;
        }
        for (place, counts) in &other.reactions {
            let have = self.reactions.entry(*place).or_default();
            have.iter_mut().zip(counts).for_each(|(have, by)| *have += by);
        }
        for (place, reach) in &other.reach {
            self.reach.entry(*place).or_default().merge(reach);
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.reactions.is_empty()
    }

    /// Hands every counter to `each`: where, which of [`super::REACTIONS`], how many more.
    pub fn counters(&self, each: &mut dyn FnMut(Place, usize, i64)) {
        for (place, counts) in &self.reactions {
            for (reaction, by) in counts.iter().enumerate().filter(|(_, by)| **by != 0) {
                each(*place, reaction, *by);
            }
        }
    }

    /// The people that `filter` takes.
    pub fn reach(&self, filter: &Filter) -> impl Iterator<Item = (Place, &Reach)> {
        let wanted = self.reach.iter().filter(|(place, _)| filter.takes(**place));
        wanted.map(|(place, reach)| (*place, reach))
    }

    /// Events that arrived, by slot.
    pub fn events(&self) -> impl Iterator<Item = (Slot, i64)> {
        self.events.iter().map(|(slot, count)| (*slot, *count))
    }
}
