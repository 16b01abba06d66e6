//! Deadlines: which profile to wake, and when.
//!
//! A profile has one place here: its earliest deadline. Windows end, funnels expire and pushes flip at
//! that instant with no event arriving. Deadlines that moved later are not taken out; the profile is woken,
//! finds nothing due and is scheduled anew, which costs less than finding it in the heap.

use lodestone_state::ids::{Millis, ProfileId};
use parking_lot::{Condvar, Mutex};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Default)]
struct Inner {
    due: BinaryHeap<Reverse<(Millis, ProfileId)>>,
    stopped: bool,
}

/// The deadlines of all profiles. Order of firing is (deadline, profile id).
#[derive(Default)]
pub struct Timers {
    inner: Mutex<Inner>,
    earlier: Condvar,
}

/// The longest sleep, so that a clock set forward is noticed.
const NAP: Duration = Duration::from_millis(250);

impl Timers {
    /// Wakes `profile` at `deadline`. Cost: one push into a heap; no wake-up unless it is the earliest.
    pub fn schedule(&self, deadline: Millis, profile: ProfileId) {
        let mut inner = self.inner.lock();
        let earliest = inner.due.peek().is_none_or(|Reverse((first, _))| deadline < *first);
        inner.due.push(Reverse((deadline, profile)));
        drop(inner);
        if earliest {
            self.earlier.notify_one();
        }
    }

    /// Takes out everything due at or before `now`, in order, at most `max`.
    pub fn due(&self, now: Millis, max: usize, out: &mut Vec<(Millis, ProfileId)>) {
        let mut inner = self.inner.lock();
        while out.len() < max {
            match inner.due.peek() {
                Some(Reverse((deadline, _))) if *deadline <= now => {
                    if let Some(Reverse(entry)) = inner.due.pop() {
                        out.push(entry);
                    }
                }
                _ => break,
            }
        }
    }

    /// Sleeps until the earliest deadline, an earlier one, or the end of a nap. False once stopped.
    pub fn wait(&self, now: Millis) -> bool {
        let mut inner = self.inner.lock();
        if inner.stopped {
            return false;
        }
        let sleep = match inner.due.peek() {
            Some(Reverse((deadline, _))) => {
                let ms = u64::try_from(deadline.0.saturating_sub(now.0)).unwrap_or(0);
                NAP.min(Duration::from_millis(ms))
            }
            None => NAP,
        };
        if !sleep.is_zero() {
            let _ = self.earlier.wait_for(&mut inner, sleep);
        }
        !inner.stopped
    }

    /// Ends the present sleep: there is other work.
    pub fn poke(&self) {
        self.earlier.notify_one();
    }

    /// Ends the wait of the timer thread.
    pub fn stop(&self) {
        self.inner.lock().stopped = true;
        self.earlier.notify_all();
    }

    /// How many deadlines are scheduled, outdated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().due.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_of_deadline_then_profile() {
        let timers = Timers::default();
        for (at, id) in [(30, 1), (10, 2), (10, 1), (20, 9)] {
            timers.schedule(Millis(at), ProfileId(id));
        }
        let mut out = Vec::new();
        timers.due(Millis(20), 10, &mut out);
        assert_eq!(out, vec![(Millis(10), ProfileId(1)), (Millis(10), ProfileId(2)), (Millis(20), ProfileId(9))]);
        assert_eq!(timers.len(), 1);
    }
}
