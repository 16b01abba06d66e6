//! A chain taken apart for people: which events brought an attempt where it is, and what it waits for.
//!
//! The live state keeps no events, only how far each run is. Here the events are taken in again, with the
//! same rules and each run's trail beside it; [`ChainDef::attempts`] ends with the very runs of the state.

use super::definition::AudienceDef;
use super::funnel::{Anchor, ChainDef, ChainState};
use super::matcher::{Capture, RunFacts};
use super::replay::Logged;
use super::run::{Run, Turn};
use crate::event::Occurrence;
use crate::expr::{Expr, Facts, PathRef, Source, Truth};
use crate::ids::{Millis, Moment};
use crate::value::Value;

/// An event that a chain looks at, with what its conditions read as of then.
#[derive(Clone, Debug)]
pub struct Noted {
    logged: Logged,
    id: u128,
}

/// An event on the way of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// The step that it counted towards, from 0.
    pub step: usize,
    /// When.
    pub moment: Moment,
    /// The event's own id.
    pub id: u128,
}

/// One attempt at a chain that is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Steps completed.
    pub steps: usize,
    /// Events seen towards the next step.
    pub count: u32,
    /// When the last step was completed; of the first event before that.
    pub last: Millis,
    /// When it makes a member once it is complete, if nothing ends it: from, and until. A window of a
    /// step that was reached may end it earlier.
    pub interval: (Millis, Millis),
    /// The next step must be completed before this instant.
    pub deadline: Millis,
    /// The next step does not count before this instant.
    pub opens: Millis,
    /// Every step is completed.
    pub complete: bool,
    /// The events that brought it here, in order.
    pub trail: Vec<Footprint>,
    run: Run,
}

impl ChainDef {
    /// Keeps an event with what the chain may ask of it; `None` if the chain does not look at it. `facts`
    /// answers for its properties and for traits as they were just before.
    #[must_use]
    pub fn note<F: Facts + ?Sized>(&self, moment: Moment, id: u128, occurrence: &Occurrence, facts: &F) -> Option<Noted> {
        let (event, channel) = (occurrence.event, occurrence.channel);
        self.takes(event, channel).then(|| Noted { logged: Logged::new(self, moment, (event, channel), facts), id })
    }

    /// The attempts that events, in the order of their moments, have brought about by `now`; over ones are
    /// left out.
    #[must_use]
    pub fn attempts(&self, events: &[Noted], now: Millis) -> Vec<Attempt> {
        let mut runs: Vec<Traced> = Vec::new();
        for Noted { logged, id } in events {
            self.take_in(&mut runs, logged, *id, now);
        }
        runs.retain(|(run, _)| !run.is_over(self, now));
        runs.into_iter().map(|(run, trail)| self.attempt(run, trail)).collect()
    }

    fn take_in(&self, runs: &mut Vec<Traced>, logged: &Logged, id: u128, now: Millis) {
        let moment = logged.moment;
        let hits = self.hits(moment, (logged.event, logged.channel), logged, now);
        let (t, mut born) = (moment.t, Vec::new());
        let mut matches = |node: usize, run: &Run| {
            let facts = RunFacts { facts: logged, chain: self, captured: &run.captured };
            hits.surely(node) || hits.perhaps(node) && self.nodes[node].condition.eval(&facts, now).holds
        };
        let footprint = |run: &Run| Footprint { step: usize::from(run.step), moment, id };
        let complete = |run: &Run| run.completed(self, t, self.capture(run.step, logged));
        runs.retain_mut(|(run, trail)| {
            if run.is_over(self, t) {
                return false;
            }
            match run.turn(self, t, &mut matches) {
                Turn::Stay => true,
                Turn::Count => {
                    trail.push(footprint(run));
                    true
                }
                Turn::Die => false,
                Turn::Complete => {
                    let trail = trail.iter().copied().chain([footprint(run)]).collect();
                    born.push((complete(run), trail));
                    run.step > 0 && !self.steps[usize::from(run.step)].exact
                }
            }
        });
        let first = Run::new(t);
        if matches(self.steps[0].node, &first) {
            let trail = vec![footprint(&first)];
            let run = if self.steps[0].times == 1 { complete(&first) } else { Run { count: 1, ..first } };
            born.push((run, trail));
        }
        self.wait_anew(runs, &mut born, t);
        runs.append(&mut born);
        let place = |run: &Run| (run.step, run.count);
        runs.sort_by_key(|(run, _)| (place(run), run.last, run.first));
        let mut at = 0;
        while at < runs.len() {
            let run = &runs[at].0;
            let mut newer = runs[at + 1..].iter().take_while(|(other, _)| place(other) == place(run));
            if newer.any(|(other, _)| other.dominates(run, self, t)) {
                runs.remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// A completion restarts the waits that are not over, or joins them.
    fn wait_anew(&self, runs: &mut Vec<Traced>, born: &mut Vec<Traced>, t: Millis) {
        if self.wait_ms == 0 {
            return;
        }
        let waits_with = |older: &Run, newer: &Run| {
            let both = older.is_complete(self) && newer.is_complete(self);
            both && older.captured == newer.captured && older.waits_until(self) > t
        };
        if self.anchor == Anchor::Last {
            runs.retain(|(older, _)| !born.iter().any(|(newer, _)| waits_with(older, newer)));
            return;
        }
        let makes_member = |run: &Run| run.interval(self).0 < run.expiry;
        runs.retain(|(older, _)| makes_member(older) || !born.iter().any(|(newer, _)| waits_with(older, newer)));
        born.retain(|(newer, _)| {
            let mut joined = false;
            for (older, _) in runs.iter_mut().filter(|(older, _)| waits_with(older, newer)) {
                older.expiry = older.expiry.max(newer.expiry);
                joined = true;
            }
            !joined
        });
    }

    fn attempt(&self, run: Run, trail: Vec<Footprint>) -> Attempt {
        let next = self.steps.get(usize::from(run.step));
        let (mut deadline, mut opens) = (run.expiry, Millis::MIN);
        if let Some(next) = next {
            if run.step > 0 {
                // A gap of exactly the maximum is still in time.
                deadline = deadline.min(next.gap_max_ms.map_or(Millis::MAX, |max| run.last.plus(max).plus(1)));
                opens = next.gap_min_ms.map_or(Millis::MIN, |min| run.last.plus(min));
            }
            deadline = deadline.min(self.window_from_first_ms.map_or(Millis::MAX, |window| run.first.plus(window)));
        }
        Attempt {
            steps: usize::from(run.step),
            count: u32::from(run.count),
            last: run.last,
            interval: run.interval(self),
            deadline,
            opens,
            complete: next.is_none(),
            trail,
            run,
        }
    }

    /// Whether some completed run makes a member at `now` with `traits`, and until when that stands.
    #[must_use]
    pub fn standing<F: Facts + ?Sized>(&self, state: &ChainState, traits: &Expr, facts: &F, now: Millis) -> Truth {
        self.truth(state, traits, facts, now)
    }
}

/// A run and the events that brought it where it is.
type Traced = (Run, Vec<Footprint>);

impl Attempt {
    /// What the attempt answers to a condition that compares with an earlier step.
    #[must_use]
    pub fn captured(&self, chain: &ChainDef, step: u16, path: &PathRef) -> Option<&Value> {
        let def = chain.steps.iter().find(|def| def.number == step)?;
        let index = def.captures.iter().position(|captured| captured == path)?;
        let wanted = |capture: &&Capture| capture.step == step && usize::from(capture.index) == index;
        self.run.captured.iter().find(wanted).map(|capture| &capture.value)
    }

    /// Everything that was captured, as operands and their values.
    #[must_use]
    pub fn captures(&self, chain: &ChainDef) -> Vec<(Source, Value)> {
        let source = |capture: &Capture| {
            let def = chain.steps.iter().find(|def| def.number == capture.step)?;
            let path = def.captures.get(usize::from(capture.index))?.clone();
            Some((Source::Captured { step: capture.step, path }, capture.value.clone()))
        };
        self.run.captured.iter().filter_map(source).collect()
    }

    /// Matches so far of each guard of the present gap that allows some, in the order of the definition.
    #[must_use]
    pub fn guard_counts(&self) -> &[u16] {
        &self.run.guards
    }
}

impl AudienceDef {
    /// The chain whose captured properties the trait conditions compare with, if they do.
    #[must_use]
    pub fn traits_chain(&self) -> Option<usize> {
        self.traits_chain
    }
}
