//! Acts that wait for their webhooks: who waits for which, and what was answered before a failure.
//!
//! An act under a message id runs once: whoever sends it again while it waits gets the same outcome. An
//! act that failed is not remembered, so that it can be sent again; but the hooks of it that had agreed
//! are, so that they are not called twice for one act.

use super::api::{Acted, Waiting};
use crate::hooks::Answer;
use crate::wire::Rejection;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use lodestone_state::event::Reaction;
use lodestone_state::ids::{ActionSlot, Millis};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use tokio::sync::watch;

/// For how long the hooks that agreed are remembered.
const PASSED_MS: i64 = 24 * 3_600_000;
/// For how many acts, and how many bytes of answers.
const PASSED_MAX: usize = 10_000;
const PASSED_BYTES: usize = 16 << 20;

/// What came of an act.
pub(super) type Outcome = Result<Acted, Rejection>;

/// Which act: its message id, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ActKey {
    /// The message id as a number.
    pub(super) id: u128,
    pub(super) action: ActionSlot,
    pub(super) reaction: Reaction,
}

/// The hooks of one act that agreed, by their place.
pub(super) type Answers = Vec<(usize, Answer)>;

#[derive(Default)]
struct Passed {
    acts: HashMap<ActKey, Answers, RandomState>,
    order: VecDeque<(Millis, ActKey)>,
    bytes: usize,
}

fn bytes(answers: &Answers) -> usize {
    answers.iter().map(|(_, answer)| answer.body.len() + 256).sum()
}

impl Passed {
    fn take(&mut self, key: &ActKey) -> Answers {
        let answers = self.acts.remove(key).unwrap_or_default();
        self.bytes -= bytes(&answers);
        answers
    }

    fn expire(&mut self, before: Millis) {
        while let Some((at, key)) = self.order.front().copied() {
            let room = self.acts.len() <= PASSED_MAX && self.bytes <= PASSED_BYTES && self.order.len() <= 2 * PASSED_MAX;
            if room && at >= before {
                return;
            }
            self.order.pop_front();
            // One that was put in again later stands further back as well.
            if !self.order.iter().any(|(_, later)| *later == key) {
                self.take(&key);
            }
        }
    }
}

/// The acts that wait.
#[derive(Default)]
pub(super) struct Acts {
    waiting: DashMap<u128, watch::Receiver<Option<Outcome>>, RandomState>,
    passed: Mutex<Passed>,
}

impl Acts {
    /// The outcome-to-be of the act under this message id, if it waits.
    pub(super) fn join(&self, id: u128) -> Option<Waiting> {
        self.waiting.get(&id).map(|outcome| Waiting::again(outcome.clone()))
    }

    /// Notes that an act waits. The caller holds the profile's lock and has found that none does under this
    /// id; if it does under another profile's lock, that one is joined.
    pub(super) fn begin(&self, id: Option<u128>) -> Result<(watch::Sender<Option<Outcome>>, Waiting), Waiting> {
        let (tell, outcome) = watch::channel(None);
        if let Some(id) = id {
            match self.waiting.entry(id) {
                Entry::Occupied(other) => return Err(Waiting::again(other.get().clone())),
                Entry::Vacant(place) => drop(place.insert(outcome.clone())),
            }
        }
        Ok((tell, Waiting::first(outcome)))
    }

    /// It waits no more.
    pub(super) fn end(&self, id: u128) {
        self.waiting.remove(&id);
    }

    /// Remembers hooks that agreed to an act that failed all the same.
    pub(super) fn remember(&self, key: ActKey, answers: Answers, now: Millis) {
        if answers.is_empty() {
            return;
        }
        let mut passed = self.passed.lock();
        passed.take(&key);
        passed.bytes += bytes(&answers);
        passed.acts.insert(key, answers);
        passed.order.push_back((now, key));
        passed.expire(now.minus(PASSED_MS));
    }

    /// The hooks that agreed to this act before. They are forgotten by this.
    pub(super) fn recall(&self, key: &ActKey) -> Answers {
        let mut passed = self.passed.lock();
        if passed.acts.is_empty() { Answers::default() } else { passed.take(key) }
    }

    /// Forgets what is too old.
    pub(super) fn expire(&self, now: Millis) {
        self.passed.lock().expire(now.minus(PASSED_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u128) -> ActKey {
        ActKey { id, action: ActionSlot(0), reaction: Reaction::Accepted }
    }

    fn answers(len: usize) -> Answers {
        vec![(0, Answer { status_code: 200, body: "x".repeat(len), signature: None, error: String::new() })]
    }

    #[test]
    fn hooks_that_agreed_are_remembered_within_bounds() {
        let acts = Acts::default();
        acts.remember(key(1), answers(1), Millis(0));
        assert_eq!(acts.recall(&key(1)), answers(1));
        assert!(acts.recall(&key(1)).is_empty(), "once");
        acts.remember(key(2), answers(1), Millis(0));
        acts.remember(key(2), answers(2), Millis(10));
        acts.expire(Millis(PASSED_MS + 5));
        assert_eq!(acts.recall(&key(2)), answers(2), "the later one is not too old");
        acts.remember(key(3), answers(1), Millis(20));
        acts.expire(Millis(PASSED_MS + 21));
        assert!(acts.recall(&key(3)).is_empty(), "a day later");
        for id in 0..40 {
            acts.remember(key(id), answers(1 << 20), Millis(30));
        }
        let passed = acts.passed.lock();
        assert!(passed.bytes <= PASSED_BYTES && passed.acts.len() < 17, "{} bytes", passed.bytes);
        assert!(passed.acts.contains_key(&key(39)), "the newest stays");
    }

    #[tokio::test]
    async fn whoever_comes_while_it_waits_gets_the_same_outcome() {
        let acts = Acts::default();
        let (tell, first) = acts.begin(Some(7)).unwrap_or_else(|_| panic!("nobody waits"));
        let second = acts.join(7).expect("it waits");
        assert!(acts.begin(Some(7)).is_err() && acts.join(8).is_none());
        acts.end(7);
        tell.send_replace(Some(Ok(Acted { seq: lodestone_state::ids::Seq(5), duplicate: false, result: None })));
        let (first, second) = (first.outcome().await.expect("done"), second.outcome().await.expect("done"));
        assert_eq!((first.seq, first.duplicate), (second.seq, !second.duplicate));
        assert!(acts.join(7).is_none());
    }

    #[tokio::test]
    async fn an_act_that_is_cut_off_fails() {
        let acts = Acts::default();
        let (tell, waiting) = acts.begin(None).unwrap_or_else(|_| panic!("nobody waits"));
        drop(tell);
        assert_eq!(waiting.outcome().await.expect_err("cut off").code, "internal");
    }
}
