//! Chains in which time alone changes what an event matches: a relative date in a step's condition, or a
//! window on an exclusion.
//!
//! There the runs themselves change when such an edge passes, so the events are kept and taken in again.

use super::funnel::{ChainDef, ChainState, Moved};
use crate::expr::{Facts, Source};
use crate::ids::{ChannelSlot, EventSlot, Millis, Moment};
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Events that a profile keeps of one such chain; past that the oldest go.
const EVENTS_MAX: usize = 4096;

/// The events of one chain, and when taking them in again may give another answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Log {
    /// Ascending by moment.
    events: Vec<Logged>,
    edge: Millis,
    given_up: bool,
}

/// An event, with what its conditions read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Logged {
    pub(super) moment: Moment,
    pub(super) event: EventSlot,
    pub(super) channel: ChannelSlot,
    facts: Vec<(Source, Value)>,
}

impl Default for Log {
    fn default() -> Self {
        Self { events: Vec::new(), edge: Millis::MAX, given_up: false }
    }
}

impl Facts for Logged {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        self.facts.iter().find(|(known, _)| known == source).map(|(_, value)| Cow::Borrowed(value))
    }
}

impl Logged {
    /// An event as of its moment.
    pub(super) fn new<F: Facts + ?Sized>(chain: &ChainDef, moment: Moment, event: (EventSlot, ChannelSlot), facts: &F) -> Self {
        Self { moment, event: event.0, channel: event.1, facts: read(chain, event.0, event.1, facts) }
    }
}

impl Log {
    /// Keeps an event and takes it in; one that is late makes the chain take in all of them again.
    pub(super) fn feed<F: Facts + ?Sized>(
        &mut self,
        chain: &ChainDef,
        state: &mut ChainState,
        moment: Moment,
        (event, channel): (EventSlot, ChannelSlot),
        facts: &F,
        now: Millis,
    ) -> Moved {
        if !chain.takes(event, channel) {
            return Moved::default();
        }
        let logged = Logged::new(chain, moment, (event, channel), facts);
        let at = self.events.partition_point(|other| other.moment < moment);
        self.events.insert(at, logged);
        if self.events.len() > EVENTS_MAX {
            self.events.remove(0);
            self.given_up = true;
        }
        if moment < state.newest() || self.due(now) {
            self.replay(chain, state, now);
            return Moved { changed: true, ..Moved::default() };
        }
        let hits = chain.hits(moment, (event, channel), facts, now);
        let (moved, until) = chain.step(state, moment, hits, facts, now);
        self.edge = self.edge.min(until);
        moved
    }

    pub(super) fn replay(&mut self, chain: &ChainDef, state: &mut ChainState, now: Millis) {
        state.restart();
        self.edge = Millis::MAX;
        self.events.retain(|logged| {
            let hits = chain.hits(logged.moment, (logged.event, logged.channel), logged, now);
            if hits.never() {
                return false;
            }
            let (_, until) = chain.step(state, logged.moment, hits, logged, now);
            self.edge = self.edge.min(until);
            true
        });
    }

    /// Whether time may have changed what the events match.
    pub(super) fn due(&self, now: Millis) -> bool {
        self.edge <= now
    }

    pub(super) fn edge(&self) -> Millis {
        self.edge
    }

    pub(super) fn approx(&self) -> bool {
        self.given_up
    }
}

/// Everything that the chain may ask of this event.
fn read<F: Facts + ?Sized>(chain: &ChainDef, event: EventSlot, channel: ChannelSlot, facts: &F) -> Vec<(Source, Value)> {
    let mut read: Vec<(Source, Value)> = Vec::new();
    let mut keep = |source: &Source| {
        if !read.iter().any(|(known, _)| known == source)
            && let Some(value) = facts.get(source)
        {
            read.push((source.clone(), value.into_owned()));
        }
    };
    for node in chain.nodes.iter().filter(|node| node.takes(event, channel)) {
        node.condition.sources(&mut keep);
    }
    for step in chain.steps.iter().filter(|step| chain.nodes[step.node].takes(event, channel)) {
        step.captures.iter().for_each(|path| keep(&Source::Event(path.clone())));
    }
    read
}
