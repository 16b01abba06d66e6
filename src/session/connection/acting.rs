//! Reactions that wait for their webhooks, while the connection goes on with everything else.
//!
//! Each waits under a ticket. Its answer takes its place among the answers when the outcome is told, so it
//! comes after those of later messages; its credit comes back with it. A batch is answered by one ack, so
//! it waits for the last of its reactions.

use std::collections::HashMap;

use compact_str::CompactString;

use super::{CompactBatch, Connection, Done};
use crate::engine::api::Acted;
use crate::session::Micros;
use crate::wire::codec::Outcome;
use crate::wire::{Rejection, codec};

/// Where the outcome goes.
#[derive(Debug)]
enum Place {
    /// A frame of its own.
    Single { id: Option<CompactString>, arrived: Micros },
    /// A batch, and the place of the result in it.
    Batch { batch: u64, at: usize, id: Option<CompactString> },
}

/// A batch with results that are not known yet.
#[derive(Debug)]
struct OpenBatch {
    summary: CompactBatch,
    /// Every result in order; none in a compact batch.
    results: Vec<(Option<CompactString>, Outcome)>,
    compact: bool,
    arrived: Micros,
    left: usize,
}

/// The reactions of one connection that wait. Bounded by the credit: each holds one.
#[derive(Debug, Default)]
pub(super) struct Acting {
    tickets: u64,
    places: HashMap<u64, Place>,
    /// By the ticket of the first reaction that waits.
    batches: HashMap<u64, OpenBatch>,
}

impl Acting {
    /// A ticket that none had before.
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A reaction by itself waits.
    pub(super) fn single(&mut self, ticket: u64, id: Option<&str>, arrived: Micros) {
        self.places.insert(ticket, Place::Single { id: id.map(CompactString::new), arrived });
    }

    /// Reactions of a batch wait: ticket, place among the results, message id.
    pub(super) fn batch(
        &mut self,
        waits: &[(u64, usize, Option<&str>)],
        summary: CompactBatch,
        results: &[(Option<&str>, Outcome)],
        compact: bool,
        arrived: Micros,
    ) {
        let Some(&(batch, ..)) = waits.first() else { return };
        for (ticket, at, id) in waits {
            self.places.insert(*ticket, Place::Batch { batch, at: *at, id: id.map(CompactString::new) });
        }
        let results = results.iter().map(|(id, outcome)| (id.map(CompactString::new), outcome.clone())).collect();
        self.batches.insert(batch, OpenBatch { summary, results, compact, arrived, left: waits.len() });
    }
}

impl Connection {
    /// A reaction that waited came to its end.
    pub fn on_acted(&mut self, ticket: u64, outcome: Result<Acted, Rejection>, now: Micros) {
        let Some(place) = self.acting.places.remove(&ticket) else { return };
        let done = outcome.map_or_else(Done::rejected, Done::acted);
        match place {
            // What the client waited for is the webhook; the time to make it durable begins now.
            Place::Single { id, arrived } => self.acted(id.as_deref(), done.seq, done.outcome, now.max(arrived)),
            Place::Batch { batch, at, id } => self.acted_in_batch(batch, at, id, done, now),
        }
    }

    /// The answer to a reaction that is a frame of its own.
    pub(super) fn acted(&mut self, id: Option<&str>, seq: u64, outcome: Outcome, now: Micros) {
        let result = match &outcome {
            Outcome::Rejected(rejection) => return self.error(id, rejection, 1, now),
            Outcome::Acted { result, .. } => Some(&**result),
            _ => None,
        };
        let mut text = String::with_capacity(96 + result.map_or(0, |answer| answer.body.len()));
        codec::acted(&mut text, id, result);
        self.answers.frame(seq, 1, now, text);
    }

    fn acted_in_batch(&mut self, batch: u64, at: usize, id: Option<CompactString>, done: Done, now: Micros) {
        let Some(open) = self.acting.batches.get_mut(&batch) else { return };
        if let Outcome::Rejected(rejection) = &done.outcome {
            self.refusals.push(rejection.code);
        }
        open.summary.seq = open.summary.seq.max(done.seq);
        match done.outcome {
            outcome if !open.compact => {
                if let Some(place) = open.results.get_mut(at) {
                    place.1 = outcome;
                }
            }
            Outcome::Stored(_) => open.summary.stored += 1,
            other => open.summary.others.push((id, other)),
        }
        open.left -= 1;
        if open.left > 0 {
            return;
        }
        let Some(open) = self.acting.batches.remove(&batch) else { return };
        let arrived = now.max(open.arrived);
        if open.compact {
            self.answers.compact(arrived, open.summary);
            return;
        }
        for (id, outcome) in open.results {
            self.answers.result(open.summary.seq, 1, arrived, id.as_deref(), outcome);
        }
    }
}
