//! Membership: all conditions of an audience together.

use super::count::{CountDef, CountState};
use super::definition::AudienceDef;
use super::funnel::ChainState;
use crate::event::Occurrence;
use crate::expr::{Expr, Facts, Truth};
use crate::ids::{Millis, Moment};
use crate::traits::AsOf;
use serde::{Deserialize, Serialize};

/// What a profile holds of one audience: a state for each condition and each chain, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AudienceState {
    counts: Box<[CountState]>,
    chains: Box<[ChainState]>,
}

/// What an event, or the passing of time, did to a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// Membership may differ from before.
    pub changed: bool,
    /// Only the whole log can answer: fold it into a fresh state (see [`AudienceDef::fold_state`]).
    pub needs_history: bool,
    /// The audience asks for an enter at each completion (`reentry: each`), and a chain was completed. Tell
    /// it if the profile was a member before and still is.
    pub again: bool,
}

impl AudienceDef {
    /// The state of a profile that no event has touched.
    #[must_use]
    pub fn new_state(&self) -> AudienceState {
        self.state(false)
    }

    /// A fresh state to fold a whole log into, in `(t, seq)` order, advancing between entries as they come.
    /// It is not bounded while the fold runs; [`AudienceDef::settle`] makes it fit for a profile.
    #[must_use]
    pub fn fold_state(&self) -> AudienceState {
        self.state(true)
    }

    /// Bounds a state that a fold has filled. Does nothing to any other.
    pub fn settle(&self, state: &mut AudienceState) {
        state.counts.iter_mut().for_each(CountDef::settle);
    }

    fn state(&self, unbounded: bool) -> AudienceState {
        AudienceState {
            counts: self.conditions.iter().map(|condition| condition.new_state(unbounded)).collect(),
            chains: self.chains.iter().map(super::ChainDef::new_state).collect(),
        }
    }

    /// Takes in one event; `now` is its arrival, or its own time in a fold. `facts` answers for traits as
    /// they were just before the event. A late event needs history where the order matters.
    pub fn feed<F: Facts + ?Sized>(
        &self,
        state: &mut AudienceState,
        moment: Moment,
        occurrence: &Occurrence,
        facts: &F,
        now: Millis,
    ) -> Fed {
        let now = now.max(moment.t);
        let event = (occurrence.event, occurrence.channel);
        let facts = AsOf { occurrence, profile: facts };
        let mut fed = Fed::default();
        for (def, state) in self.conditions.iter().zip(&mut state.counts) {
            if def.matcher.takes(event.0, event.1) {
                fed.changed |= def.feed(state, moment, &facts, now);
            }
        }
        for (def, state) in self.chains.iter().zip(&mut state.chains) {
            if def.takes(event.0, event.1) {
                let moved = def.feed(state, moment, event, &facts, now);
                fed.changed |= moved.changed;
                fed.needs_history |= moved.late;
                fed.again |= moved.completed && self.enter_each;
            }
        }
        fed
    }

    /// Lets windows open and close up to `now`. Afterwards the deadline lies after `now`. Membership is
    /// exact to the millisecond when this is called at each deadline.
    pub fn advance(&self, state: &mut AudienceState, now: Millis) -> Fed {
        let mut fed = Fed::default();
        for (def, state) in self.conditions.iter().zip(&mut state.counts) {
            if def.deadline(state) <= now {
                fed.needs_history |= def.advance(state, now);
                fed.changed = true;
            }
        }
        for (def, state) in self.chains.iter().zip(&mut state.chains) {
            let moved = def.advance(state, now);
            fed.changed |= moved.changed;
            fed.again |= moved.completed && self.enter_each;
        }
        fed
    }

    /// The next instant at which counts or runs change by themselves; [`Millis::MAX`] for never. Trait
    /// conditions are not in it, see [`AudienceDef::membership`].
    #[must_use]
    pub fn deadline(&self, state: &AudienceState) -> Millis {
        let counts = self.conditions.iter().zip(&state.counts).map(|(def, state)| def.deadline(state));
        let chains = self.chains.iter().zip(&state.chains);
        // Each completion is told, also of those who are members all the while.
        let again = chains.clone().filter(|_| self.enter_each).map(|(def, state)| def.opening(state));
        counts.chain(chains.map(|(def, state)| def.deadline(state))).chain(again).min().unwrap_or(Millis::MAX)
    }

    /// Whether the profile is a member at `now`, and until when that stands by itself. `facts` answers for
    /// its present traits; `known` says whether it has an identity that is not anonymous.
    #[must_use]
    pub fn membership<F: Facts + ?Sized>(&self, state: &AudienceState, facts: &F, known: bool, now: Millis) -> Truth {
        if !known && !self.include_anonymous {
            return Truth::forever(false);
        }
        let counts = self.conditions.iter().zip(&state.counts);
        let mut truth = counts.fold(Truth::forever(true), |all, (def, state)| all.and(def.truth(state, now)));
        let always = Expr::always();
        for (i, (def, state)) in self.chains.iter().zip(&state.chains).enumerate() {
            let traits = if self.traits_chain == Some(i) { &self.traits } else { &always };
            truth = truth.and(def.truth(state, traits, facts, now));
        }
        if self.traits_chain.is_none() {
            truth = truth.and(self.traits.eval(facts, now));
        }
        truth
    }

    /// Whether the answer may be incomplete, because a bound was reached.
    #[must_use]
    pub fn approx(&self, state: &AudienceState) -> bool {
        state.chains.iter().any(ChainState::approx)
    }

    /// Runs that were given up because of the bound, for the metric.
    #[must_use]
    pub fn evicted(&self, state: &AudienceState) -> u32 {
        state.chains.iter().map(ChainState::evicted).fold(0, u32::saturating_add)
    }

    /// Whether a profile without any event may be a member.
    #[must_use]
    pub fn open_to_new(&self) -> bool {
        self.chains.is_empty() && self.conditions.iter().all(CountDef::holds_for_none)
    }
}

impl AudienceState {
    /// A state from its parts, in the order of the definition.
    pub(super) fn of(counts: Box<[CountState]>, chains: Box<[ChainState]>) -> Self {
        Self { counts, chains }
    }

    /// The state of each condition, in the order of [`AudienceDef::conditions`].
    #[must_use]
    pub fn counts(&self) -> &[CountState] {
        &self.counts
    }

    /// The state of each chain, in the order of [`AudienceDef::chains`].
    #[must_use]
    pub fn chains(&self) -> &[ChainState] {
        &self.chains
    }
}
