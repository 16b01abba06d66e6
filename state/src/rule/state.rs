//! What a profile holds of one rule, and when that makes the rule due.

use super::definition::{Fire, OnUnmet, RuleDef};
use super::metric::Metric;
use super::period::{ALWAYS, Period};
use crate::event::{Fired, Firing, Occurrence};
use crate::expr::Facts;
use crate::ids::{Millis, Moment};
use crate::traits::{Fed, TraitState};
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// What a profile holds of one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleState {
    /// The aggregate over the events of the metric; none before the first of them, and for a computed trait.
    pub tally: Option<TraitState>,
    /// The time that the aggregate is about: the calendar period that it was last fed or looked at in.
    pub span: (Millis, Millis),
    /// When it changes by itself next.
    pub deadline: Millis,
    /// What the rule's own entries left.
    pub marks: Marks,
    /// Why it is due though no input brought that about. Not part of the fold: it is gone as soon as the
    /// rule has fired or is not due any more.
    pub hush: Option<Hush>,
}

/// The trace of a rule's [`Fired`] entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// How often it fired, quiet marks not counted.
    pub fires: u32,
    /// When it fired last, quiet marks not counted.
    pub fired_at: Option<Millis>,
    /// When it fired or was marked last.
    pub last: Option<Millis>,
    /// Of a rule that steps: the highest multiple since the period began that `last` is in.
    pub multiple: i64,
    /// Fired, and not seen below since.
    pub open: bool,
}

/// Why a rule is due though no input brought that about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hush {
    /// A definition came, and the person was above already.
    Backfill,
    /// Two profiles became one, of which one had fired and is above still.
    Merge,
}

/// What has to happen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The rule fires, or is marked as fired ([`Firing::Quiet`]).
    Fire {
        /// How.
        what: Firing,
        /// The multiple, or the first instant of the period, that it fires for; 0 where neither counts.
        marker: i64,
    },
    /// The metric fell below: the rule may fire again, and what it holds is taken back.
    Clear {
        /// Whether attributes are taken back.
        attributes: bool,
    },
    /// The rule is gone and its attributes go with it.
    Purge,
}

impl Default for RuleState {
    fn default() -> Self {
        Self { tally: None, span: ALWAYS, deadline: Millis::MAX, marks: Marks::default(), hush: None }
    }
}

impl RuleState {
    /// Whether nothing is remembered and nothing waits for its time: as if it were not there.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tally.is_none() && self.marks == Marks::default() && self.deadline == Millis::MAX && self.hush.is_none()
    }
}

impl RuleDef {
    /// Takes in one event, which may be late; `now` is its arrival, or its own time in a fold.
    pub fn feed<F: Facts + ?Sized>(
        &self,
        state: &mut RuleState,
        moment: Moment,
        occurrence: &Occurrence,
        facts: &F,
        now: Millis,
        folding: bool,
    ) -> Fed {
        let Metric::Events(def) = &self.metric else { return Fed::default() };
        let fresh = || if folding { def.fold_state() } else { def.new_state() };
        let mut rolled = self.roll(state, now.max(moment.t));
        // What belongs to another period does not count in this one.
        if moment.t < state.span.0 || moment.t >= state.span.1 {
            return Fed { changed: rolled, needs_history: false };
        }
        let tally = state.tally.get_or_insert_with(fresh);
        let fed = def.feed(tally, moment, occurrence, facts, now);
        rolled |= fed.changed;
        Fed { changed: rolled, needs_history: fed.needs_history }
    }

    /// Lets what is due at or before `now` come and go.
    pub fn advance(&self, state: &mut RuleState, now: Millis) -> Fed {
        let rolled = self.roll(state, now);
        let fed = match (&self.metric, &mut state.tally) {
            (Metric::Events(def), Some(tally)) => def.advance(tally, now),
            _ => Fed::default(),
        };
        Fed { changed: rolled || fed.changed, needs_history: fed.needs_history }
    }

    /// Moves on to the period of `now`; a new calendar period starts from nothing.
    fn roll(&self, state: &mut RuleState, now: Millis) -> bool {
        match self.period {
            Period::Calendar(_) if now >= state.span.0 && now < state.span.1 && state.span != ALWAYS => false,
            Period::Calendar(_) => {
                state.span = self.period.span(&self.zone, now);
                state.tally.take().is_some()
            }
            _ => {
                state.span = self.period.span(&self.zone, now);
                false
            }
        }
    }

    /// The aggregate's value at `now`; of a computed trait, `computed`.
    #[must_use]
    pub fn value(&self, state: Option<&RuleState>, computed: Option<Value>, now: Millis) -> Option<Value> {
        let Metric::Events(def) = &self.metric else { return computed };
        let over = |state: &RuleState| matches!(self.period, Period::Calendar(_)) && now >= state.span.1;
        match state.filter(|state| !over(state)).and_then(|state| state.tally.as_ref()) {
            Some(tally) => def.value(tally),
            None => def.default_value(),
        }
    }

    /// Bounds what a fold has filled, as a live profile is bounded.
    pub fn settle(&self, state: &mut RuleState) {
        if let (Metric::Events(def), Some(tally)) = (&self.metric, &mut state.tally) {
            def.settle(tally);
        }
    }

    /// What has to happen at `now`, given the metric's value and whether an attribute that the rule set is
    /// there (`holding`). `state` has been advanced to `now`.
    #[must_use]
    pub fn due(&self, state: &RuleState, value: Option<&Value>, holding: bool, now: Millis) -> Option<Due> {
        let marks = &state.marks;
        if !self.holds(value, now) {
            let attributes = holding && self.on_unmet == OnUnmet::Clear;
            return (attributes || marks.open && self.rearms()).then_some(Due::Clear { attributes });
        }
        let fires = match &self.fire {
            Fire::Once => marks.last.is_none(),
            Fire::EachPeriod => !self.marked_in_period(marks, now),
            Fire::EachCrossing => !marks.open,
            Fire::Every(_) => self.multiple(value) > self.multiple_so_far(marks, now),
        };
        let what = match state.hush {
            None => Firing::Met,
            Some(Hush::Backfill) if self.fire_on_backfill => Firing::Backfill,
            Some(_) => Firing::Quiet,
        };
        fires.then(|| Due::Fire { what, marker: self.marker(value, now) })
    }

    fn marker(&self, value: Option<&Value>, now: Millis) -> i64 {
        match &self.fire {
            Fire::Every(_) => self.multiple(value),
            Fire::EachPeriod if self.from(now) > Millis::MIN => self.from(now).0,
            _ => 0,
        }
    }

    /// The first instant of the period at `now`.
    fn from(&self, now: Millis) -> Millis {
        self.period.span(&self.zone, now).0
    }

    /// Whether it fired since the period began that `now` is in. By the time of firing and not by the
    /// period's name, so that a new time zone or new dates make nobody's month begin twice.
    fn marked_in_period(&self, marks: &Marks, now: Millis) -> bool {
        marks.last.is_some_and(|last| last >= self.from(now))
    }

    fn multiple_so_far(&self, marks: &Marks, now: Millis) -> i64 {
        if self.marked_in_period(marks, now) { marks.multiple } else { 0 }
    }

    /// Notes one of the rule's own entries, which took effect at `t`.
    pub fn mark(&self, state: &mut RuleState, t: Millis, fired: &Fired) {
        let marks = &mut state.marks;
        state.hush = None;
        if fired.what == Firing::Cleared {
            marks.open = false;
            return;
        }
        let so_far = if marks.last.is_some_and(|last| last >= self.from(t)) { marks.multiple } else { 0 };
        marks.multiple = if matches!(self.fire, Fire::Every(_)) { so_far.max(fired.marker) } else { 0 };
        marks.last = Some(marks.last.map_or(t, |last| last.max(t)));
        marks.open = true;
        if fired.what != Firing::Quiet {
            marks.fires = marks.fires.saturating_add(1);
            marks.fired_at = marks.last;
        }
    }

    /// Sets when the rule has to be looked at next, as of `now`; `holding`: an attribute that it set is there.
    pub fn schedule(&self, state: &mut RuleState, holding: bool, now: Millis) {
        let tally = match (&self.metric, &state.tally) {
            (Metric::Events(def), Some(tally)) => def.deadline(tally),
            _ => Millis::MAX,
        };
        state.deadline = tally.min(self.turn(state, holding, now));
    }

    /// When the rule's period begins or ends next, if that can make it due.
    fn turn(&self, state: &RuleState, holding: bool, now: Millis) -> Millis {
        let marks = &state.marks;
        let (from, to) = self.period.span(&self.zone, now);
        match (&self.metric, self.period) {
            // Dates narrow the looking at a computed trait.
            (Metric::Trait { .. }, Period::Fixed { .. }) if now < from => from,
            (Metric::Trait { .. }, Period::Fixed { .. }) if now < to && to < Millis::MAX => to,
            (Metric::Trait { .. }, Period::Calendar(_)) => {
                let again = matches!(self.fire, Fire::EachPeriod | Fire::Every(_)) && self.marked_in_period(marks, now);
                if again { to } else { Millis::MAX }
            }
            (Metric::Events(_), Period::Calendar(_)) => {
                let default = self.default_value();
                let due = if self.holds(default.as_ref(), to) {
                    self.fire != Fire::Once || marks.last.is_none()
                } else {
                    holding && self.on_unmet == OnUnmet::Clear || marks.open && self.rearms()
                };
                if due { to } else { Millis::MAX }
            }
            _ => Millis::MAX,
        }
    }
}
