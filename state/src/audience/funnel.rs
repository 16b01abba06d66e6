//! The funnel: chains of "and then", with exclusions, gaps and windows.
//!
//! A chain is a machine over *runs*. Events are taken in `(t, seq)` order, one by one:
//! 1. An event that matches an exclusion of the gap in which a run waits ends the run.
//! 2. Otherwise, if it matches the next step, it counts towards it, and completes it on the n-th match. A
//!    run that completed a step of "at least n" goes on from there and also stays where it was, as a later
//!    match completes the step as well; of "exactly n" it only goes on.
//! 3. Otherwise, a further match of a step of "exactly n", or more matches of an optional step than it
//!    allows, end the run.
//! 4. An event that matches the first step also begins a run, which only later events can advance.
//!
//! A completed run makes a member over a half-open interval of time ([`ChainDef::truth`]), so membership
//! changes at its ends with no event. Nothing is thrown away by the passing of time, only by events: an
//! event that arrives late by the clock but in order by its own time needs nothing special.

use super::matcher::{Capture, Matcher, RunFacts};
use super::replay::Log;
use super::run::{Run, Turn};
use crate::expr::{Expr, Facts, PathRef, Source, Truth};
use crate::ids::{Millis, Moment, Seq};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::cell::Cell;

/// Positive steps of one chain.
pub const STEPS_MAX: usize = 32;
/// Runs that a profile keeps of one chain with captures or least gaps, besides its counters.
pub const RUNS_MAX: usize = 64;

/// A chain of steps.
#[derive(Clone, Debug)]
pub struct ChainDef {
    /// Everything an event can match: steps and guards point in here. At most 64.
    pub nodes: Box<[Matcher]>,
    /// The steps that must happen, in order; at most [`STEPS_MAX`].
    pub steps: Box<[StepDef]>,
    /// The last step must be completed before this much has passed since the first event.
    pub window_from_first_ms: Option<i64>,
    /// Which completion a trailing absence is counted from.
    pub anchor: Anchor,
    /// How long after the last step the trailing absences have lasted. Derived.
    pub wait_ms: i64,
    runs_max: usize,
    relative: bool,
}

/// One step that must happen.
#[derive(Clone, Debug)]
pub struct StepDef {
    /// Its place in the `events` of the definition.
    pub number: u16,
    /// Which of the chain's nodes it matches.
    pub node: usize,
    /// It is completed on this match; at least 1.
    pub times: u32,
    /// One more match before the next step ends the run.
    pub exact: bool,
    /// It makes no member before this age.
    pub starts_ms: Option<i64>,
    /// It makes no member from this age on.
    pub ends_ms: Option<i64>,
    /// At least so long after the step before.
    pub gap_min_ms: Option<i64>,
    /// At most so long after the step before.
    pub gap_max_ms: Option<i64>,
    /// What must not happen after it and before the next step, or not too often.
    pub guards: Box<[GuardDef]>,
    /// The properties that later steps and trait conditions compare with.
    pub captures: Vec<PathRef>,
}

/// What must not happen too often in a gap.
#[derive(Clone, Debug)]
pub struct GuardDef {
    /// Its place in the `events` of the definition.
    pub number: u16,
    /// Which of the chain's nodes it matches.
    pub node: usize,
    /// So many matches are allowed; 0 for an exclusion.
    pub hi: u32,
    /// Only counts for so long after the step.
    pub within_ms: Option<i64>,
    /// A trailing absence must have lasted so long.
    pub for_at_least_ms: Option<i64>,
    /// Only counts at this age.
    pub window: super::Window,
}

/// Which completion a trailing absence is counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// A newer completion restarts a wait that is not over.
    #[default]
    Last,
    /// The older one keeps its wait; the newer one only extends the window.
    First,
}

/// What a profile holds of one chain.
///
/// Without captures, least gaps and windows that open late the newest run at a place dominates all older
/// ones there, so there are at most as many runs as counters. Otherwise runs that differ are kept, at most
/// [`RUNS_MAX`] besides the counters; past that the one with the oldest last step goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainState {
    runs: Vec<Run>,
    /// The newest event taken in. An earlier one is late and needs history.
    newest: Moment,
    /// Time up to which membership was told.
    clock: Millis,
    /// Runs given up because of the bound.
    evicted: u32,
    /// The events themselves, where time alone changes what they match.
    log: Option<Box<Log>>,
}

/// What an event may match: bits by node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hits {
    /// Matched whatever the run.
    sure: u64,
    /// Depends on the run.
    maybe: u64,
    /// The first instant at which time alone may change the answer.
    pub(super) until: Millis,
}

impl Hits {
    /// Whether it matches nothing, now and for ever.
    pub(super) fn never(self) -> bool {
        self.sure | self.maybe == 0 && self.until == Millis::MAX
    }

    /// Whether it matches `node` whatever the run.
    pub(super) fn surely(self, node: usize) -> bool {
        self.sure >> node & 1 == 1
    }

    /// Whether it depends on the run if it matches `node`.
    pub(super) fn perhaps(self, node: usize) -> bool {
        self.maybe >> node & 1 == 1
    }
}

/// What an event or time did to a chain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) changed: bool,
    pub(super) late: bool,
    /// A run was completed that makes a member at once.
    pub(super) completed: bool,
}

impl ChainDef {
    /// A chain from its parts.
    #[must_use]
    pub fn new(nodes: Vec<Matcher>, steps: Vec<StepDef>, window_from_first_ms: Option<i64>, anchor: Anchor) -> Self {
        let trailing = steps.last().map_or(&[][..], |step| &step.guards);
        let waits = trailing.iter().flat_map(|guard| [guard.within_ms, guard.for_at_least_ms]).flatten();
        let wait_ms = waits.max().unwrap_or(0);
        let windowed = steps.iter().flat_map(|step| step.guards.iter()).any(|guard| guard.window != super::Window::Any);
        let relative = windowed || nodes.iter().any(Matcher::relative);
        let counters: u32 = steps.iter().map(|step| step.times).sum();
        let runs_max = RUNS_MAX + counters as usize;
        let (nodes, steps) = (nodes.into(), steps.into());
        Self { nodes, steps, window_from_first_ms, anchor, wait_ms, runs_max, relative }
    }

    /// The state of a profile that no event has touched.
    #[must_use]
    pub fn new_state(&self) -> ChainState {
        ChainState {
            runs: Vec::new(),
            newest: Moment { t: Millis::MIN, seq: Seq(0) },
            clock: Millis::MIN,
            evicted: 0,
            log: self.relative.then(Box::default),
        }
    }

    /// Whether an event of this type and channel is looked at.
    pub(super) fn takes(&self, event: crate::ids::EventSlot, channel: crate::ids::ChannelSlot) -> bool {
        self.nodes.iter().any(|node| node.takes(event, channel))
    }

    pub(super) fn feed<F: Facts + ?Sized>(
        &self,
        state: &mut ChainState,
        moment: Moment,
        event: (crate::ids::EventSlot, crate::ids::ChannelSlot),
        facts: &F,
        now: Millis,
    ) -> Moved {
        state.clock = state.clock.max(now);
        if let Some(mut log) = state.log.take() {
            let moved = log.feed(self, state, moment, event, facts, now);
            state.log = Some(log);
            return moved;
        }
        let hits = self.hits(moment, event, facts, now);
        if hits.sure | hits.maybe == 0 {
            return Moved::default();
        }
        if moment < state.newest {
            return Moved { late: true, ..Moved::default() };
        }
        self.step(state, moment, hits, facts, now).0
    }

    pub(super) fn advance(&self, state: &mut ChainState, now: Millis) -> Moved {
        let before = self.truth(state, &Expr::always(), &crate::expr::NoFacts, state.clock);
        let begins = |run: &Run| {
            let (from, to) = run.interval(self);
            run.is_complete(self) && state.clock < from && from <= now && from < to
        };
        let completed = state.runs.iter().any(begins);
        let mut moved = Moved { changed: before.until <= now, completed, ..Moved::default() };
        state.clock = state.clock.max(now);
        if let Some(mut log) = state.log.take() {
            if log.due(now) {
                log.replay(self, state, now);
                moved.changed = true;
            }
            state.log = Some(log);
        }
        moved
    }

    /// When membership may change by itself next, after the time that was last told.
    pub(super) fn deadline(&self, state: &ChainState) -> Millis {
        let edge = state.log.as_ref().map_or(Millis::MAX, |log| log.edge());
        self.truth(state, &Expr::always(), &crate::expr::NoFacts, state.clock).until.min(edge)
    }

    /// When the next wait of a completed run ends, whether or not that changes membership.
    pub(super) fn opening(&self, state: &ChainState) -> Millis {
        let waits = state.runs.iter().filter(|run| run.is_complete(self)).map(|run| run.interval(self));
        waits.filter(|(from, to)| state.clock < *from && from < to).map(|(from, _)| from).min().unwrap_or(Millis::MAX)
    }

    /// Whether some completed run makes a member at `now` and `traits` holds with what it captured, and
    /// until when that stands by itself.
    pub(super) fn truth<F: Facts + ?Sized>(&self, state: &ChainState, traits: &Expr, facts: &F, now: Millis) -> Truth {
        let runs = state.runs.iter().filter(|run| run.is_complete(self));
        if !traits.is_always() {
            return runs.fold(Truth::forever(false), |all, run| {
                let facts = RunFacts { facts, chain: self, captured: &run.captured };
                all.or(within(run.interval(self), now).and(traits.eval(&facts, now)))
            });
        }
        // Overlapping intervals are one: membership lasts to the end of the last of them.
        let mut at = now;
        while let Some(end) =
            runs.clone().map(|run| run.interval(self)).filter(|(from, to)| *from <= at && at < *to).map(|i| i.1).max()
        {
            at = end;
            if at == Millis::MAX {
                break;
            }
        }
        if at > now {
            return Truth { holds: true, until: at };
        }
        let next = runs.map(|run| run.interval(self)).filter(|(from, to)| *from > now && from < to).map(|i| i.0).min();
        Truth { holds: false, until: next.unwrap_or(Millis::MAX) }
    }

    /// How many steps the run that came furthest has completed, and whether runs had to be given up.
    #[must_use]
    pub fn progress(&self, state: &ChainState, now: Millis) -> (usize, u32) {
        let alive = state.runs.iter().filter(|run| !run.is_over(self, now));
        (alive.map(|run| usize::from(run.step)).max().unwrap_or(0), state.evicted)
    }

    pub(super) fn hits<F: Facts + ?Sized>(
        &self,
        moment: Moment,
        event: (crate::ids::EventSlot, crate::ids::ChannelSlot),
        facts: &F,
        now: Millis,
    ) -> Hits {
        let mut hits = Hits { sure: 0, maybe: 0, until: Millis::MAX };
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.takes(event.0, event.1)) {
            let window = self.guard_window(i).map_or(Truth::forever(true), |w| within(w.interval(moment.t), now));
            if node.captured() {
                hits.maybe |= u64::from(window.holds) << i;
                hits.until = hits.until.min(window.until);
            } else {
                let truth = window.and(node.condition.eval(facts, now));
                hits.sure |= u64::from(truth.holds) << i;
                hits.until = hits.until.min(truth.until);
            }
        }
        hits
    }

    fn guard_window(&self, node: usize) -> Option<super::Window> {
        let mut guards = self.steps.iter().flat_map(|step| step.guards.iter());
        guards.find(|guard| guard.node == node).map(|guard| guard.window)
    }

    /// Takes one event in. Returns what it did, and the first instant at which time alone may change it.
    pub(super) fn step<F: Facts + ?Sized>(
        &self,
        state: &mut ChainState,
        moment: Moment,
        hits: Hits,
        facts: &F,
        now: Millis,
    ) -> (Moved, Millis) {
        state.newest = moment;
        let t = moment.t;
        let until = Cell::new(hits.until);
        let mut matches = |node: usize, run: &Run| {
            hits.sure >> node & 1 == 1
                || (hits.maybe >> node & 1 == 1 && {
                    let facts = RunFacts { facts, chain: self, captured: &run.captured };
                    let truth = self.nodes[node].condition.eval(&facts, now);
                    until.set(until.get().min(truth.until));
                    truth.holds
                })
        };
        let mut moved = Moved::default();
        let mut born: SmallVec<[Run; 4]> = SmallVec::new();
        let complete = |run: &Run| run.completed(self, t, self.capture(run.step, facts));
        state.runs.retain_mut(|run| {
            if run.is_over(self, t) {
                return false;
            }
            match run.turn(self, t, &mut matches) {
                Turn::Stay | Turn::Count => true,
                Turn::Die => {
                    moved.changed |= run.is_complete(self);
                    false
                }
                Turn::Complete => {
                    born.push(complete(run));
                    // Towards the first step every event begins a run of its own.
                    run.step > 0 && !self.steps[usize::from(run.step)].exact
                }
            }
        });
        let first = Run::new(t);
        if matches(self.steps[0].node, &first) {
            born.push(if self.steps[0].times == 1 { complete(&first) } else { Run { count: 1, ..first } });
        }
        for run in born.iter().filter(|run| run.is_complete(self)) {
            moved.changed = true;
            moved.completed |= run.interval(self).0 <= t;
        }
        self.restart(state, &mut born, t);
        state.runs.extend(born);
        self.prune(state, t);
        (moved, until.get())
    }

    /// A completion restarts the waits, of runs with the same captures, that are not over, or joins them.
    fn restart(&self, state: &mut ChainState, born: &mut SmallVec<[Run; 4]>, t: Millis) {
        if self.wait_ms == 0 {
            return;
        }
        let waits_with = |older: &Run, newer: &Run| {
            let both = older.is_complete(self) && newer.is_complete(self);
            both && older.captured == newer.captured && older.waits_until(self) > t
        };
        match self.anchor {
            Anchor::Last => state.runs.retain(|older| !born.iter().any(|newer| waits_with(older, newer))),
            Anchor::First => {
                // A wait that outlasts the run's own window makes no member, so it gives way.
                let makes_member = |run: &Run| run.waits_until(self).max(run.from) < run.expiry;
                state.runs.retain(|older| makes_member(older) || !born.iter().any(|newer| waits_with(older, newer)));
                born.retain(|newer| {
                    let mut joined = false;
                    for older in state.runs.iter_mut().filter(|older| waits_with(older, newer)) {
                        older.expiry = older.expiry.max(newer.expiry);
                        joined = true;
                    }
                    !joined
                });
            }
        }
    }

    pub(super) fn capture<F: Facts + ?Sized>(&self, step: u8, facts: &F) -> Vec<Capture> {
        let def = &self.steps[usize::from(step)];
        let values = (0..).zip(&def.captures).filter_map(|(index, path)| {
            let value = facts.get(&Source::Event(path.clone()))?.into_owned();
            Some(Capture { step: def.number, index, value })
        });
        values.collect()
    }

    fn prune(&self, state: &mut ChainState, t: Millis) {
        let place = |run: &Run| (run.step, run.count);
        state.runs.sort_by_key(|run| (place(run), run.last, run.first));
        let mut at = 0;
        while at < state.runs.len() {
            let run = &state.runs[at];
            let newer = state.runs[at + 1..].iter().take_while(|other| place(other) == place(run));
            if newer.into_iter().any(|other| other.dominates(run, self, t)) {
                state.runs.remove(at);
            } else {
                at += 1;
            }
        }
        while state.runs.len() > self.runs_max {
            let oldest = state.runs.iter().enumerate().min_by_key(|(_, run)| (run.last, run.first)).map_or(0, |(at, _)| at);
            state.runs.remove(oldest);
            state.evicted = state.evicted.saturating_add(1);
        }
    }
}

/// Whether `now` lies in a half-open interval, and until when that stands.
fn within((from, to): (Millis, Millis), now: Millis) -> Truth {
    if now < from && from < to {
        Truth { holds: false, until: from }
    } else if from <= now && now < to {
        Truth { holds: true, until: to }
    } else {
        Truth::forever(false)
    }
}

impl ChainState {
    /// Whether runs had to be given up, so that membership may be missed.
    #[must_use]
    pub fn approx(&self) -> bool {
        self.evicted > 0 || self.log.as_ref().is_some_and(|log| log.approx())
    }

    /// Runs given up because of the bound, ever.
    #[must_use]
    pub fn evicted(&self) -> u32 {
        self.evicted
    }

    /// The newest event taken in.
    pub(super) fn newest(&self) -> Moment {
        self.newest
    }

    /// Forgets all runs, to take the events in again.
    pub(super) fn restart(&mut self) {
        self.runs.clear();
        self.newest = Moment { t: Millis::MIN, seq: Seq(0) };
        self.evicted = 0;
    }
}
