//! Rollups: how often people reacted, and how many people, per quarter of an hour.
//!
//! Every offset of a time zone in use is a multiple of 15 minutes, so that any local hour, day or month is
//! an exact sum of UTC slots of that length: another time zone changes how slots are read, never what is
//! stored. Counters are kept per (action, channel, reaction, slot), and beside them who was delivered to,
//! per (action, channel, slot); events are counted per slot of their arrival.
//!
//! # Exactly once
//! The journal gives positions out one at a time, and an entry is counted in that moment, so the table sees
//! positions in ascending order. A checkpoint cuts it at the position that it seals: what lies before goes
//! into rows, together with the seal, and what lies behind comes back from the journal after a crash.
//!
//! * [`Rollups`]: what is counted and not yet sealed.
//! * [`row`]: keys and values of the rows; how a row becomes another.
//! * [`Reach`], [`Unique`]: who was reached; exactly up to a bound, then by a sketch.
//! * [`bucket`]: local hours, days, weeks, months and years.

pub mod bucket;
mod delta;
mod reach;
pub mod row;
mod table;

pub use delta::{Deltas, Place};
pub use reach::{PEOPLE_MAX, Reach, Unique};
pub use table::{Live, Rollups};

use crate::event::Reaction;
use crate::ids::{ActionSlot, ChannelSlot, Millis};

/// Length of a slot.
pub const SLOT_MS: i64 = 15 * 60_000;
/// Slots of a UTC day.
pub const SLOTS: i32 = 96;

/// The reactions that are counted, in the order of [`Series`]. What was withheld did not happen to anybody.
pub const REACTIONS: [Reaction; 5] =
    [Reaction::Delivered, Reaction::Shown, Reaction::Hidden, Reaction::Declined, Reaction::Accepted];

/// How often each of [`REACTIONS`] happened.
pub type Counts = [i64; REACTIONS.len()];

/// Counts by slot; slots without any are left out.
pub type Series = std::collections::BTreeMap<Slot, Counts>;

/// A quarter of an hour, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub i32);

impl Slot {
    /// The slot of an instant.
    #[must_use]
    pub fn of(t: Millis) -> Self {
        Self(i32::try_from(t.0.div_euclid(SLOT_MS)).unwrap_or(if t.0 < 0 { i32::MIN } else { i32::MAX }))
    }

    /// The first slot that does not begin before `t`.
    #[must_use]
    pub fn at_or_after(t: Millis) -> Self {
        Self::of(t.plus(SLOT_MS - 1))
    }

    /// Its first instant.
    #[must_use]
    pub fn start(self) -> Millis {
        Millis(i64::from(self.0) * SLOT_MS)
    }

    /// Its UTC day, counted from the epoch.
    #[must_use]
    pub fn day(self) -> i32 {
        self.0.div_euclid(SLOTS)
    }

    /// Its place in that day, below [`SLOTS`].
    #[must_use]
    pub fn of_day(self) -> u8 {
        // The remainder is between 0 and 95.
        u8::try_from(self.0.rem_euclid(SLOTS)).unwrap_or(0)
    }
}

/// The place of a reaction in [`Counts`], if it is counted.
#[must_use]
pub fn place_of(reaction: Reaction) -> Option<usize> {
    REACTIONS.iter().position(|counted| *counted == reaction)
}

/// Which counters are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// The first slot.
    pub from: Slot,
    /// The first slot after the last.
    pub to: Slot,
    /// One action, or all.
    pub action: Option<ActionSlot>,
    /// One channel, or all.
    pub channel: Option<ChannelSlot>,
}

impl Filter {
    /// Whether a counter is meant.
    #[must_use]
    pub fn takes(&self, place: Place) -> bool {
        (self.from..self.to).contains(&place.slot)
            && self.action.is_none_or(|wanted| wanted == place.action)
            && self.channel.is_none_or(|wanted| wanted == place.channel)
    }

    /// The UTC days that it touches.
    #[must_use]
    pub fn days(&self) -> std::ops::Range<i32> {
        if self.from >= self.to { 0..0 } else { self.from.day()..Slot(self.to.0 - 1).day() + 1 }
    }
}

#[cfg(test)]
mod tests;
