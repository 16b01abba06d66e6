//! Caps: how many reactions to an action are enough, per person and in total.
//!
//! A cap blocks while the reactions that it counts number at least `count`. What it counts is a
//! reaction of its kind, in one of its channels (none named: any), younger than its window (none:
//! ever). It blocks in every channel, also in those it does not count: "seen on one channel, hidden on
//! all others".
//!
//! [`CapState`] is the tally that both groups share: plain counters per kind and channel, which answer
//! every cap without a window whatever is edited later, and one ring per window with the newest `count`
//! instants, which is all that a window needs.

use crate::event::Reaction;
use crate::expr::Truth;
use crate::ids::{ChannelSlot, Millis};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The most reactions that a cap with a window may ask for: its ring holds that many instants of 8 B.
pub const RING_MAX: u64 = 100_000;

/// Whose reactions a cap counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Those of one person, over all their identities.
    User,
    /// Those of everybody together.
    All,
}

impl Group {
    /// The word in definitions.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::All => "all",
        }
    }
}

/// One cap of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// The kind that counts.
    pub reaction: Reaction,
    /// Whose.
    pub group: Group,
    /// Blocks from this many on; 0 blocks always.
    pub count: u64,
    /// How long one reaction counts, in milliseconds; `None` for ever. At most [`RING_MAX`] with one.
    pub within_ms: Option<i64>,
    /// Where it must have happened, sorted; empty for anywhere.
    pub channels: Box<[ChannelSlot]>,
}

impl Cap {
    /// Whether a reaction of this kind and place counts.
    #[must_use]
    pub fn counts(&self, reaction: Reaction, channel: ChannelSlot) -> bool {
        self.reaction == reaction && (self.channels.is_empty() || self.channels.contains(&channel))
    }
}

/// Whether a reaction of this kind is refused when a cap on it is reached. The others are reports of what
/// has happened already: they are counted, and a count may pass its cap.
#[must_use]
pub fn gated(reaction: Reaction) -> bool {
    matches!(reaction, Reaction::Shown | Reaction::Accepted)
}

/// What is known of the reactions to one action: of one person, or of everybody.
///
/// Size: 16 B per kind and channel seen, and 8 B per instant in a ring, of which there are at most as
/// many as the cap's count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapState {
    counters: Vec<Counter>,
    rings: Vec<Ring>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    reaction: Reaction,
    channel: ChannelSlot,
    total: u64,
}

/// The newest instants that a windowed cap counts, oldest first. Keyed by what it counts, so that two
/// caps which differ in count only share one, and an edit of something else leaves it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    reaction: Reaction,
    channels: Box<[ChannelSlot]>,
    within_ms: i64,
    keep: u64,
    newest: VecDeque<Millis>,
}

impl Ring {
    fn serves(&self, cap: &Cap) -> bool {
        self.reaction == cap.reaction && Some(self.within_ms) == cap.within_ms && self.channels == cap.channels
    }

    fn insert(&mut self, t: Millis) {
        let at = self.newest.partition_point(|other| *other <= t);
        self.newest.insert(at, t);
        self.cut();
    }

    fn cut(&mut self) {
        while self.newest.len() as u64 > self.keep {
            self.newest.pop_front();
        }
    }
}

impl CapState {
    /// Counts one reaction for the caps of `group` among `caps`.
    pub fn record(&mut self, caps: &[Cap], group: Group, reaction: Reaction, channel: ChannelSlot, t: Millis) {
        // What was held back did not happen.
        if reaction == Reaction::Withheld {
            return;
        }
        let key = (reaction, channel);
        match self.counters.binary_search_by_key(&key, |c| (c.reaction, c.channel)) {
            Ok(at) => self.counters[at].total += 1,
            Err(at) => self.counters.insert(at, Counter { reaction, channel, total: 1 }),
        }
        for (place, cap) in caps.iter().enumerate() {
            let windowed = cap.group == group && cap.within_ms.is_some() && cap.counts(reaction, channel);
            let same_ring = |other: &Cap| {
                other.group == group
                    && (other.reaction, other.within_ms) == (cap.reaction, cap.within_ms)
                    && other.channels == cap.channels
            };
            // Two caps that share a ring must not enter the reaction twice.
            if windowed && !caps[..place].iter().any(same_ring) {
                let keep = caps.iter().filter(|other| same_ring(other)).map(|other| other.count).max();
                self.ring(cap, keep.unwrap_or(cap.count)).insert(t);
            }
        }
    }

    /// Takes back one reaction that was recorded at `t`. Of a window only what it still holds: where it has
    /// forgotten older ones, it counts too few of them until it is filled from the log again.
    pub fn take_back(&mut self, reaction: Reaction, channel: ChannelSlot, t: Millis) {
        if let Ok(at) = self.counters.binary_search_by_key(&(reaction, channel), |c| (c.reaction, c.channel)) {
            self.counters[at].total -= 1;
            if self.counters[at].total == 0 {
                self.counters.remove(at);
            }
        }
        let counts =
            |ring: &&mut Ring| ring.reaction == reaction && (ring.channels.is_empty() || ring.channels.contains(&channel));
        for ring in self.rings.iter_mut().filter(counts) {
            if let Ok(at) = ring.newest.binary_search(&t) {
                ring.newest.remove(at);
            }
        }
    }

    /// The same with the windows of `other`. Single reactions that left the log because history is not kept
    /// for ever stay counted: a total never opens again for that.
    #[must_use]
    pub fn with_windows_of(self, other: Self) -> Self {
        Self { counters: self.counters, rings: other.rings }
    }

    fn ring(&mut self, cap: &Cap, keep: u64) -> &mut Ring {
        let at = self.rings.iter().position(|ring| ring.serves(cap)).unwrap_or_else(|| {
            self.rings.push(Ring {
                reaction: cap.reaction,
                channels: cap.channels.clone(),
                within_ms: cap.within_ms.unwrap_or(i64::MAX),
                keep: 0,
                newest: VecDeque::new(),
            });
            self.rings.len() - 1
        });
        let ring = &mut self.rings[at];
        ring.keep = ring.keep.max(keep);
        ring
    }

    /// How many reactions ever were of this kind, in any of `channels` (none named: any).
    #[must_use]
    pub fn total(&self, reaction: Reaction, channels: &[ChannelSlot]) -> u64 {
        let wanted = |c: &&Counter| c.reaction == reaction && (channels.is_empty() || channels.contains(&c.channel));
        self.counters.iter().filter(wanted).map(|c| c.total).sum()
    }

    /// How many reactions `cap` counts now. With a window it is exact up to the cap's count and may
    /// stop there.
    #[must_use]
    pub fn used(&self, cap: &Cap, now: Millis) -> u64 {
        if cap.within_ms.is_some() { self.in_window(cap, now).len() as u64 } else { self.total(cap.reaction, &cap.channels) }
    }

    /// Whether `cap` lets through, with `reserved` more reactions under way, and when it opens again by
    /// itself if it does not. An open cap never closes by itself.
    #[must_use]
    pub fn open(&self, cap: &Cap, now: Millis, reserved: u64) -> Truth {
        let used = self.used(cap, now);
        let taken = used.saturating_add(reserved);
        if taken < cap.count {
            return Truth::forever(true);
        }
        // This many of those counted must grow too old before there is a free place.
        let excess = taken - cap.count + 1;
        let until = match cap.within_ms {
            Some(within_ms) if cap.count > 0 && excess <= used => {
                let mut window = self.in_window(cap, now);
                let last = usize::try_from(excess - 1).ok().and_then(|nth| window.nth(nth));
                last.map_or(Millis::MAX, |t| t.plus(within_ms))
            }
            _ => Millis::MAX,
        };
        Truth { holds: false, until }
    }

    /// The instants that a cap with a window counts now, oldest first: the newest `count` of them.
    pub(super) fn instants(&self, cap: &Cap, now: Millis) -> impl Iterator<Item = Millis> {
        self.in_window(cap, now).copied()
    }

    /// Whether `other` counts what this counts: single reactions, and for each of `caps` those in its window,
    /// as far back as it looks.
    #[must_use]
    pub fn counts_as<'c>(&self, other: &Self, caps: impl IntoIterator<Item = &'c Cap>, now: Millis) -> bool {
        let newest = |state: &Self, cap: &Cap| -> Vec<Millis> {
            let looks_back = usize::try_from(cap.count).unwrap_or(usize::MAX);
            state.in_window(cap, now).rev().take(looks_back).copied().collect()
        };
        let alike = |cap: &Cap| cap.within_ms.is_none() || newest(self, cap) == newest(other, cap);
        self.counters == other.counters && caps.into_iter().all(alike)
    }

    /// The instants that `cap` counts now, oldest first.
    fn in_window(&self, cap: &Cap, now: Millis) -> std::collections::vec_deque::Iter<'_, Millis> {
        static NONE: VecDeque<Millis> = VecDeque::new();
        let newest = self.rings.iter().find(|ring| ring.serves(cap)).map_or(&NONE, |ring| &ring.newest);
        let within_ms = cap.within_ms.unwrap_or(i64::MAX);
        newest.range(newest.partition_point(|t| t.plus(within_ms) <= now)..)
    }

    /// Whether the rings hold what the caps of `group` need. False only after a windowed cap was added,
    /// widened or changed, for a tally that has reactions of its kind: then [`CapState::rebuild`] from
    /// the log.
    #[must_use]
    pub fn covers(&self, caps: &[Cap], group: Group) -> bool {
        caps.iter().filter(|cap| cap.group == group && cap.within_ms.is_some()).all(|cap| {
            let held = self.rings.iter().find(|ring| ring.serves(cap)).map_or(0, |ring| ring.newest.len() as u64);
            held >= cap.count.min(self.total(cap.reaction, &cap.channels))
        })
    }

    /// The tally of a log, in any order.
    #[must_use]
    pub fn rebuild(caps: &[Cap], group: Group, reactions: impl IntoIterator<Item = (Reaction, ChannelSlot, Millis)>) -> Self {
        let mut state = Self::default();
        for (reaction, channel, t) in reactions {
            state.record(caps, group, reaction, channel, t);
        }
        state
    }

    /// Takes in the tally of an absorbed profile: counters add up, and of each ring's union the newest
    /// stay. Equal to the tally of the union of both logs.
    pub fn merge(&mut self, other: &Self) {
        for counter in &other.counters {
            let key = (counter.reaction, counter.channel);
            match self.counters.binary_search_by_key(&key, |c| (c.reaction, c.channel)) {
                Ok(at) => self.counters[at].total += counter.total,
                Err(at) => self.counters.insert(at, counter.clone()),
            }
        }
        for theirs in &other.rings {
            let same = |ours: &&mut Ring| {
                (ours.reaction, ours.within_ms) == (theirs.reaction, theirs.within_ms) && ours.channels == theirs.channels
            };
            match self.rings.iter_mut().find(same) {
                Some(ours) => {
                    ours.keep = ours.keep.max(theirs.keep);
                    ours.newest.extend(theirs.newest.iter().copied());
                    ours.newest.make_contiguous().sort_unstable();
                    ours.cut();
                }
                None => self.rings.push(theirs.clone()),
            }
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// All counters, by kind and channel.
    pub fn counters(&self) -> impl Iterator<Item = (Reaction, ChannelSlot, u64)> {
        self.counters.iter().map(|c| (c.reaction, c.channel, c.total))
    }
}

#[cfg(test)]
mod tests;
