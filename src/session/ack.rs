//! Answers in order of arrival, held until the journal is durable.
//!
//! An answer that promises something waits for the journal position of its record; one behind it waits
//! too, so that the client reads answers in the order in which it sent. One `ack` frame covers all
//! results that are released together.

use std::collections::VecDeque;

use compact_str::CompactString;

use super::Micros;
use crate::wire::codec::{self, Outcome};

/// An answer.
#[derive(Debug)]
enum Answer {
    /// The result of one message.
    Result { id: Option<CompactString>, outcome: Outcome },
    /// The results of a compact batch: how many were stored, and those that were not.
    Compact { batch: CompactString, stored: u32, others: Vec<(Option<CompactString>, Outcome)> },
    /// A frame of its own.
    Frame(String),
    /// Answered elsewhere; only the credit goes back.
    Silent,
}

#[derive(Debug)]
struct Entry {
    /// Journal position to wait for; 0 waits for nothing.
    seq: u64,
    /// Credit that goes back with it.
    credit: u32,
    arrived: Micros,
    answer: Answer,
}

/// The answers of one connection that are still owed. Bounded by the credit: every entry but the
/// answers to free or refused frames holds at least one, and those wait only behind such an entry.
#[derive(Debug, Default)]
pub struct Answers {
    queue: VecDeque<Entry>,
}

/// What a release handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Credit handed back.
    pub credit: u32,
    /// Answers released.
    pub answers: usize,
}

impl Answers {
    /// Whether an answer waits for the journal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Owes the result of one message.
    pub fn result(&mut self, seq: u64, credit: u32, arrived: Micros, id: Option<&str>, outcome: Outcome) {
        self.push(seq, credit, arrived, Answer::Result { id: id.map(CompactString::new), outcome });
    }

    /// Owes the answer to a compact batch.
    pub fn compact(&mut self, arrived: Micros, batch: CompactBatch) {
        let CompactBatch { id, seq, credit, stored, others } = batch;
        self.push(seq, credit, arrived, Answer::Compact { batch: id, stored, others });
    }

    /// Owes a frame of its own.
    pub fn frame(&mut self, seq: u64, credit: u32, arrived: Micros, frame: String) {
        self.push(seq, credit, arrived, Answer::Frame(frame));
    }

    /// Owes nothing but the credit.
    pub fn silent(&mut self, seq: u64, credit: u32, arrived: Micros) {
        self.push(seq, credit, arrived, Answer::Silent);
    }

    fn push(&mut self, seq: u64, credit: u32, arrived: Micros, answer: Answer) {
        self.queue.push_back(Entry { seq, credit, arrived, answer });
    }

    /// Writes every answer whose turn has come, given that the journal is durable up to `durable`.
    /// `waited` hears the arrival of each answer that had to be durable.
    pub fn release(&mut self, durable: u64, frames: &mut Vec<String>, mut waited: impl FnMut(Micros)) -> Released {
        let mut released = Released::default();
        let mut results = Results { open: None, credit: 0 };
        while self.queue.front().is_some_and(|entry| entry.seq <= durable) {
            let Some(entry) = self.queue.pop_front() else { break };
            released.credit += entry.credit;
            released.answers += 1;
            if entry.seq > 0 {
                waited(entry.arrived);
            }
            match entry.answer {
                Answer::Result { id, outcome } => results.add(id.as_deref(), &outcome, entry.credit),
                Answer::Silent => results.credit += entry.credit,
                Answer::Frame(frame) => {
                    results.credit += entry.credit;
                    results.finish(frames);
                    frames.push(frame);
                }
                Answer::Compact { batch, stored, others } => {
                    results.finish(frames);
                    let mut frame = String::with_capacity(96 + 96 * others.len());
                    codec::compact_ack_begin(&mut frame, &batch, stored);
                    for (i, (id, outcome)) in others.iter().enumerate() {
                        codec::ack_result(&mut frame, i == 0, id.as_deref(), outcome);
                    }
                    codec::ack_end(&mut frame, entry.credit + std::mem::take(&mut results.credit));
                    frames.push(frame);
                }
            }
        }
        results.finish(frames);
        if results.credit > 0 {
            let mut frame = String::new();
            codec::credit(&mut frame, results.credit);
            frames.push(frame);
        }
        released
    }
}

/// What became of a compact batch.
#[derive(Debug, Default)]
pub struct CompactBatch {
    /// The batch frame's id.
    pub id: CompactString,
    /// The last journal position of its messages.
    pub seq: u64,
    /// What it cost.
    pub credit: u32,
    /// How many messages were stored.
    pub stored: u32,
    /// Those that were not.
    pub others: Vec<(Option<CompactString>, Outcome)>,
}

/// The `ack` frame being written.
struct Results {
    open: Option<String>,
    /// Credit to hand back with the next frame that carries credit.
    credit: u32,
}

impl Results {
    fn add(&mut self, id: Option<&str>, outcome: &Outcome, credit: u32) {
        let first = self.open.is_none();
        let frame = self.open.get_or_insert_with(|| {
            let mut frame = String::with_capacity(256);
            codec::ack_begin(&mut frame);
            frame
        });
        codec::ack_result(frame, first, id, outcome);
        self.credit += credit;
    }

    fn finish(&mut self, frames: &mut Vec<String>) {
        if let Some(mut frame) = self.open.take() {
            codec::ack_end(&mut frame, std::mem::take(&mut self.credit));
            frames.push(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(answers: &mut Answers, durable: u64) -> Vec<String> {
        let mut frames = Vec::new();
        answers.release(durable, &mut frames, |_| ());
        frames
    }

    #[test]
    fn one_ack_covers_what_is_durable_in_order_of_arrival() {
        let mut answers = Answers::default();
        let at = Micros(0);
        answers.result(5, 1, at, Some("a"), Outcome::Stored(None));
        answers.result(0, 1, at, Some("b"), Outcome::Dropped);
        answers.result(7, 1, at, Some("c"), Outcome::Stored(None));
        assert!(released(&mut answers, 4).is_empty(), "b waits behind a");
        assert_eq!(
            released(&mut answers, 6),
            [r#"{"t":"ack","results":[{"id":"a","status":"stored"},{"id":"b","status":"dropped"}],"credit":2}"#]
        );
        assert_eq!(released(&mut answers, 7), [r#"{"t":"ack","results":[{"id":"c","status":"stored"}],"credit":1}"#]);
        assert!(answers.is_empty());
    }

    #[test]
    fn frames_keep_their_place() {
        let mut answers = Answers::default();
        let at = Micros(0);
        answers.result(1, 1, at, Some("a"), Outcome::Stored(None));
        answers.frame(2, 1, at, "{acted}".into());
        answers.result(3, 1, at, Some("b"), Outcome::Stored(None));
        assert_eq!(
            released(&mut answers, 9),
            [
                r#"{"t":"ack","results":[{"id":"a","status":"stored"}],"credit":2}"#,
                "{acted}",
                r#"{"t":"ack","results":[{"id":"b","status":"stored"}],"credit":1}"#,
            ]
        );
    }

    #[test]
    fn credit_without_an_ack_goes_back_by_itself() {
        let mut answers = Answers::default();
        answers.silent(0, 1, Micros(0));
        answers.frame(0, 1, Micros(0), "{error}".into());
        assert_eq!(released(&mut answers, 0), ["{error}", r#"{"t":"credit","credit":2}"#]);
    }

    #[test]
    fn a_compact_batch_names_only_what_was_not_stored() {
        let mut answers = Answers::default();
        let others = vec![(Some("m2".into()), Outcome::Duplicate(None))];
        answers.compact(Micros(0), CompactBatch { id: "b".into(), seq: 4, credit: 3, stored: 2, others });
        assert!(released(&mut answers, 3).is_empty());
        assert_eq!(
            released(&mut answers, 4),
            [r#"{"t":"ack","batch":"b","stored":2,"results":[{"id":"m2","status":"duplicate"}],"credit":3}"#]
        );
    }

    #[test]
    fn latency_counts_what_waited_for_the_journal() {
        let mut answers = Answers::default();
        answers.result(3, 1, Micros(10), None, Outcome::Stored(None));
        answers.result(0, 1, Micros(20), None, Outcome::Dropped);
        let mut waited = Vec::new();
        let mut frames = Vec::new();
        let released = answers.release(3, &mut frames, |arrived| waited.push(arrived));
        assert_eq!((released, waited), (Released { credit: 2, answers: 2 }, vec![Micros(10)]));
    }
}
