//! One attempt at a chain of steps.

use super::funnel::{ChainDef, StepDef};
use super::matcher::Capture;
use crate::ids::Millis;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Captured values that one run may hold, in bytes; more are left out and read as absent.
const CAPTURED_BYTES_MAX: usize = 256;

/// An attempt that has completed `step` steps and seen `count` matches towards the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) step: u8,
    pub(super) count: u16,
    /// Time of its first event.
    pub(super) first: Millis,
    /// When its last step was completed; of its first event before that.
    pub(super) last: Millis,
    /// It is over from here on: the first window of a reached step that closes.
    pub(super) expiry: Millis,
    /// It makes no member before: the last window of a reached step that opens.
    pub(super) from: Millis,
    /// Matches of the guards of the current gap that allow some, in order.
    pub(super) guards: SmallVec<[u16; 4]>,
    pub(super) captured: Box<[Capture]>,
}

/// What an event means to a run.
pub(super) enum Turn {
    /// Nothing.
    Stay,
    /// The run is over.
    Die,
    /// It counts towards the next step.
    Count,
    /// It completes the next step.
    Complete,
}

impl Run {
    /// An attempt that begins with an event at `t`, which is not yet counted.
    pub(super) fn new(t: Millis) -> Self {
        let guards = SmallVec::new();
        let captured = Box::default();
        Self { step: 0, count: 0, first: t, last: t, expiry: Millis::MAX, from: Millis::MIN, guards, captured }
    }

    /// Whether the run is over at `now`: a window has closed, or the next step is overdue.
    pub(super) fn is_over(&self, chain: &ChainDef, now: Millis) -> bool {
        if now >= self.expiry {
            return true;
        }
        let Some(next) = chain.steps.get(usize::from(self.step)) else { return false };
        // A gap of exactly the maximum is still in time.
        let overdue = |max: i64| self.step > 0 && now > self.last.plus(max);
        next.gap_max_ms.is_some_and(overdue) || chain.window_from_first_ms.is_some_and(|w| now >= self.first.plus(w))
    }

    /// Decides what an event at `t` means. `matches` answers for nodes; the order of the questions is the
    /// precedence of the rules: an exclusion beats the next step, which beats exceeding.
    pub(super) fn turn(&mut self, chain: &ChainDef, t: Millis, matches: &mut impl FnMut(usize, &Self) -> bool) -> Turn {
        let reached = self.step.checked_sub(1).map(|i| &chain.steps[usize::from(i)]);
        for guard in reached.iter().flat_map(|step| step.guards.iter()).filter(|guard| guard.hi == 0) {
            let counts = guard.within_ms.is_none_or(|within| t < self.last.plus(within));
            if counts && matches(guard.node, self) {
                return Turn::Die;
            }
        }
        if let Some(next) = chain.steps.get(usize::from(self.step))
            && matches(next.node, self)
        {
            return self.towards(next, t);
        }
        let Some(reached) = reached else { return Turn::Stay };
        if reached.exact && matches(reached.node, self) {
            return Turn::Die;
        }
        for (i, guard) in reached.guards.iter().filter(|guard| guard.hi > 0).enumerate() {
            if matches(guard.node, self) {
                self.guards[i] += 1;
                if u32::from(self.guards[i]) > guard.hi {
                    return Turn::Die;
                }
            }
        }
        Turn::Stay
    }

    fn towards(&mut self, next: &StepDef, t: Millis) -> Turn {
        let count = u32::from(self.count) + 1;
        if count < next.times {
            self.count += 1;
            return Turn::Count;
        }
        if next.exact && count > next.times {
            return Turn::Die;
        }
        let early = self.step > 0 && next.gap_min_ms.is_some_and(|min| t < self.last.plus(min));
        match (early, next.exact) {
            (false, _) => Turn::Complete,
            (true, true) => {
                self.count += 1;
                Turn::Count
            }
            (true, false) => Turn::Stay,
        }
    }

    /// This run with the next step completed at `t`.
    pub(super) fn completed(&self, chain: &ChainDef, t: Millis, captures: Vec<Capture>) -> Self {
        let step = &chain.steps[usize::from(self.step)];
        let mut all = self.captured.to_vec();
        let mut room = CAPTURED_BYTES_MAX.saturating_sub(all.iter().map(|c| c.value.weight()).sum());
        for capture in captures {
            if let Some(left) = room.checked_sub(capture.value.weight()) {
                room = left;
                all.push(capture);
            }
        }
        Self {
            step: self.step + 1,
            count: 0,
            first: self.first,
            last: t,
            expiry: self.expiry.min(step.ends_ms.map_or(Millis::MAX, |ends| t.plus(ends))),
            from: self.from.max(step.starts_ms.map_or(Millis::MIN, |starts| t.plus(starts))),
            guards: step.guards.iter().filter(|guard| guard.hi > 0).map(|_| 0).collect(),
            captured: all.into(),
        }
    }

    pub(super) fn is_complete(&self, chain: &ChainDef) -> bool {
        usize::from(self.step) == chain.steps.len()
    }

    /// Until when an absence after the last step has to last.
    pub(super) fn waits_until(&self, chain: &ChainDef) -> Millis {
        self.last.plus(chain.wait_ms)
    }

    /// When a completed run makes a member, if nothing ends it.
    pub(super) fn interval(&self, chain: &ChainDef) -> (Millis, Millis) {
        (self.waits_until(chain).max(self.from), self.expiry)
    }

    /// Whether from `t` on this run can do whatever `other` can, so that `other` need not be kept. Both are
    /// at the same place of the chain.
    pub(super) fn dominates(&self, other: &Self, chain: &ChainDef, t: Millis) -> bool {
        let newer = self.last >= other.last && self.first >= other.first && self.expiry >= other.expiry;
        if !newer || self.captured != other.captured {
            return false;
        }
        // What the older run has waited for already, the newer one must have behind it too.
        let reached = self.step.checked_sub(1).map(|i| &chain.steps[usize::from(i)]);
        let next = chain.steps.get(usize::from(self.step));
        let behind = |at: Millis, others: Millis| at <= t || at <= others;
        let wait = |ms: Option<i64>| behind(self.last.plus(ms.unwrap_or(0)), other.last.plus(ms.unwrap_or(0)));
        let guarded = reached.is_some_and(|step| {
            let immune = step.guards.iter().all(|guard| wait(guard.within_ms));
            !immune || self.guards.iter().zip(&other.guards).any(|(mine, others)| mine > others)
        });
        !guarded
            && behind(self.from, other.from)
            && next.is_none_or(|next| self.step == 0 || wait(next.gap_min_ms))
            && (next.is_some() || wait(Some(chain.wait_ms)))
    }
}
