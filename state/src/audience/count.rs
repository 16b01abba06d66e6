//! Conditions of the events form: how often an event happened, ever or in a window.

use super::matcher::Matcher;
use crate::expr::{Facts, Truth};
use crate::ids::{Millis, Moment};
use crate::traits::window::spans;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Events that wait for their window to open, listed per condition.
pub const PENDING_MAX: usize = 4096;

/// From when on and until when an event counts, by its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Always.
    Any,
    /// While younger than this many milliseconds.
    Within(i64),
    /// From the first age on, until the second, in milliseconds.
    Between(i64, i64),
}

impl Window {
    /// The interval of now in which an event at `t` counts.
    #[must_use]
    pub fn interval(self, t: Millis) -> (Millis, Millis) {
        match self {
            Self::Any => (Millis::MIN, Millis::MAX),
            Self::Within(ms) => (t, t.plus(ms)),
            Self::Between(start, end) => (t.plus(start), t.plus(end)),
        }
    }
}

/// One condition: between `lo` and `hi` matching events in the window.
#[derive(Clone, Debug)]
pub struct CountDef {
    /// Which events.
    pub matcher: Matcher,
    /// The least number.
    pub lo: u32,
    /// The greatest number, if there is one.
    pub hi: Option<u32>,
    /// In which window.
    pub window: Window,
    /// Its place in the `events` of the definition, for explanations.
    pub number: u16,
}

/// What a profile holds of one condition.
///
/// Numbers are only kept as far as they matter: one more than `hi`, or `lo`. Of windowed events the ones
/// that count longest decide, so keeping as many of their ends is exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CountState {
    /// A saturating number of events.
    Plain(u32),
    /// Ends of the events that count.
    Timed(Box<Timed>),
}

/// Events that count for a while.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Ends of the events that count now, ascending; as many as matter, those that end last.
    ends: SmallVec<[Millis; 2]>,
    /// Intervals that are still to come, ascending by start.
    pending: Vec<(Millis, Millis)>,
    /// The first start among those that are not listed.
    unlisted: Option<Millis>,
    /// No bound while a log is being folded.
    unbounded: bool,
}

impl CountDef {
    /// The state of a profile that no event has touched; `unbounded` to fold a whole log into it.
    #[must_use]
    pub fn new_state(&self, unbounded: bool) -> CountState {
        if self.window == Window::Any && !self.matcher.relative() {
            CountState::Plain(0)
        } else {
            CountState::Timed(Box::new(Timed { unbounded, ..Timed::default() }))
        }
    }

    /// Whether a profile without any event satisfies this.
    #[must_use]
    pub fn holds_for_none(&self) -> bool {
        self.lo == 0
    }

    /// Takes in an event that the matcher takes. Returns whether anything may differ.
    pub(super) fn feed<F: Facts + ?Sized>(&self, state: &mut CountState, moment: Moment, facts: &F, now: Millis) -> bool {
        let timed = match state {
            CountState::Plain(count) => {
                let matters = *count < self.enough();
                if matters && self.matcher.condition.eval(facts, now).holds {
                    *count += 1;
                    return true;
                }
                return false;
            }
            CountState::Timed(timed) => timed,
        };
        let (from, until) = self.window.interval(moment.t);
        let mut changed = false;
        for (from, until) in spans(&self.matcher.condition, facts, now.max(from), until) {
            if from <= now {
                // Ends that have passed and changed nothing are still listed.
                timed.drop_over(now);
                timed.begin(until, self.enough());
                changed = true;
            } else {
                let at = timed.pending.partition_point(|span| span.0 <= from);
                if timed.unlisted.is_none_or(|unlisted| from < unlisted) {
                    timed.pending.insert(at, (from, until));
                }
            }
        }
        timed.bound();
        changed
    }

    /// Lets events come and go up to `now`. Returns whether only history can answer.
    pub(super) fn advance(&self, state: &mut CountState, now: Millis) -> bool {
        let CountState::Timed(timed) = state else { return false };
        let due = timed.pending.partition_point(|(from, _)| *from <= now);
        for (_, until) in timed.pending.drain(..due).collect::<SmallVec<[_; 4]>>() {
            if until > now {
                timed.begin(until, self.enough());
            }
        }
        timed.drop_over(now);
        // Asked once, so that a timer that nobody answers does not fire for ever.
        timed.unlisted.take_if(|unlisted| *unlisted <= now).is_some()
    }

    /// Bounds a state that a fold has filled.
    pub(super) fn settle(state: &mut CountState) {
        if let CountState::Timed(timed) = state {
            timed.unbounded = false;
            timed.bound();
        }
    }

    /// Whether the condition holds, and until when by itself.
    #[must_use]
    pub fn truth(&self, state: &CountState, now: Millis) -> Truth {
        let timed = match state {
            CountState::Plain(count) => return Truth::forever(self.allows(*count)),
            CountState::Timed(timed) => timed,
        };
        let active = &timed.ends[timed.ends.partition_point(|end| *end <= now)..];
        let count = u32::try_from(active.len()).unwrap_or(u32::MAX);
        let falls_to = match self.hi {
            Some(hi) if count > hi => Some(hi),
            _ if count >= self.lo && self.lo > 0 => Some(self.lo - 1),
            _ => None,
        };
        let ends = falls_to.and_then(|left| active.get((count - left) as usize - 1)).copied().unwrap_or(Millis::MAX);
        let starts = timed.pending.iter().map(|(from, _)| *from).find(|from| *from > now).unwrap_or(Millis::MAX);
        Truth { holds: self.allows(count), until: ends.min(starts) }
    }

    /// How many events count at `now`, as far as it matters.
    #[must_use]
    pub fn count(&self, state: &CountState, now: Millis) -> u32 {
        match state {
            CountState::Plain(count) => *count,
            CountState::Timed(timed) => u32::try_from(timed.ends.iter().filter(|end| **end > now).count()).unwrap_or(u32::MAX),
        }
    }

    /// When the first of the events that count at `now` ceases to; [`Millis::MAX`] for never.
    #[must_use]
    pub fn next_end(&self, state: &CountState, now: Millis) -> Millis {
        match state {
            CountState::Plain(_) => Millis::MAX,
            CountState::Timed(timed) => timed.ends.iter().copied().find(|end| *end > now).unwrap_or(Millis::MAX),
        }
    }

    /// When something changes by itself next.
    pub(super) fn deadline(&self, state: &CountState) -> Millis {
        let CountState::Timed(timed) = state else { return Millis::MAX };
        let starts = timed.pending.first().map_or(Millis::MAX, |(from, _)| *from);
        let ends = self.truth(state, Millis::MIN).until;
        starts.min(ends).min(timed.unlisted.unwrap_or(Millis::MAX))
    }

    /// Numbers beyond this make no difference.
    fn enough(&self) -> u32 {
        self.hi.map_or(self.lo, |hi| hi.saturating_add(1))
    }

    fn allows(&self, count: u32) -> bool {
        count >= self.lo && self.hi.is_none_or(|hi| count <= hi)
    }
}

impl Timed {
    fn drop_over(&mut self, now: Millis) {
        let over = self.ends.partition_point(|end| *end <= now);
        self.ends.drain(..over);
    }

    fn begin(&mut self, until: Millis, enough: u32) {
        let at = self.ends.partition_point(|end| *end <= until);
        self.ends.insert(at, until);
        if self.ends.len() > enough as usize {
            self.ends.remove(0);
        }
    }

    fn bound(&mut self) {
        while !self.unbounded && self.pending.len() > PENDING_MAX {
            self.unlisted = self.pending.pop().map(|(from, _)| from);
        }
    }
}
