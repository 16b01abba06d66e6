//! The table that is counted into.

use super::Deltas;
use super::delta::Op;
use crate::event::{Entry, Reacted, Reaction};
use crate::ids::{ActionSlot, ChannelSlot, Millis, ProfileId, Seq};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was counted since the last seal. Its lock is a leaf: nothing is called while it is held.
///
/// Memory is bounded by what can be counted between two checkpoints: a counter per place, and at most
/// [`super::PEOPLE_MAX`] people per place.
#[derive(Debug, Default)]
pub struct Rollups {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Counted since the last look.
    fresh: Deltas,
    /// Counted before, since the last cut. Looks share them.
    frozen: Vec<Arc<Deltas>>,
    /// Cut, and perhaps not yet in the rows.
    sealing: Vec<Arc<Deltas>>,
    /// While a cut is being made: what was counted since it began.
    held: Option<Vec<(Seq, Op)>>,
    live: Live,
}

/// What was counted since the process began, replay included: for differences between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Events.
    pub events: u64,
    /// Reactions.
    pub reactions: BTreeMap<(ActionSlot, ChannelSlot, Reaction), u64>,
    /// Reactions that left the log.
    pub erased: u64,
}

impl Rollups {
    /// Counts an entry at its log position: call it in the moment that the position is given, or as the
    /// journal is replayed, but for positions that a checkpoint has sealed.
    pub fn count(&self, profile: ProfileId, entry: &Entry, seq: Seq) {
        if let Some(op) = Op::of(profile, entry) {
            self.inner.lock().take(seq, op);
        }
    }

    /// Takes back a reaction of `profile` that happened at `t` and leaves the log at position `seq`: that
    /// of the entry which says so. Once per position and reaction, under the same rules as
    /// [`Rollups::count`].
    pub fn uncount(&self, profile: ProfileId, reacted: &Reacted, t: Millis, seq: Seq) {
        if let Some(op) = Op::reacted(profile, reacted, t, -1) {
            self.inner.lock().take(seq, op);
        }
    }

    /// Begins a cut: from here on every change keeps its position. Ask for the position to seal after this.
    pub fn begin(&self) {
        self.inner.lock().held.get_or_insert_default();
    }

    /// Cuts at `upto`: the changes that have to be in the rows when that position is sealed. Until
    /// [`Rollups::sealed`] a look still finds them here.
    pub fn cut(&self, upto: Seq) -> Deltas {
        let mut inner = self.inner.lock();
        // Whatever was counted before the cut began lies before `upto`, which was asked for afterwards.
        let held = inner.held.take().unwrap_or_default();
        let (before, after): (Vec<_>, Vec<_>) = held.into_iter().partition(|(seq, _)| *seq <= upto);
        before.into_iter().for_each(|(_, op)| inner.fresh.apply(op));
        inner.freeze();
        // A seal that failed has ended the process; were it not so, nothing would be lost all the same.
        let cut = std::mem::take(&mut inner.frozen);
        inner.sealing.extend(cut);
        after.into_iter().for_each(|(_, op)| inner.fresh.apply(op));
        let sealing = inner.sealing.clone();
        drop(inner);
        let mut all = Deltas::default();
        sealing.iter().for_each(|deltas| all.merge(deltas));
        all
    }

    /// What was cut stands in the rows now.
    pub fn sealed(&self) {
        self.inner.lock().sealing.clear();
    }

    /// What the rows do not hold. The caller sees to it that no seal lies between this and reading them.
    #[must_use]
    pub fn unsealed(&self) -> Vec<Arc<Deltas>> {
        let mut inner = self.inner.lock();
        inner.freeze();
        inner.sealing.iter().chain(&inner.frozen).cloned().collect()
    }

    /// What was counted since the process began.
    #[must_use]
    pub fn live(&self) -> Live {
        self.inner.lock().live.clone()
    }
}

impl Inner {
    fn take(&mut self, seq: Seq, op: Op) {
        match op {
            Op::Event(_) => self.live.events += 1,
            Op::Reacted { place, reaction, by, .. } if by > 0 => {
                *self.live.reactions.entry((place.action, place.channel, reaction)).or_default() += 1;
            }
            Op::Reacted { .. } => self.live.erased += 1,
        }
        match &mut self.held {
            Some(held) => held.push((seq, op)),
            None => self.fresh.apply(op),
        }
    }

    /// Makes what was counted sharable.
    fn freeze(&mut self) {
        if !self.fresh.is_empty() {
            self.frozen.push(Arc::new(std::mem::take(&mut self.fresh)));
        }
    }
}
