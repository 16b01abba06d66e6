//! What shares a scheme, host and port: one queue, one limit, one pause when it fails.

use super::table::Told;
use lodestone_state::ids::{Millis, Seq};
use std::collections::BTreeSet;

/// So many failures in a row, and the endpoint is left alone for a while.
const OPEN_AFTER: u32 = 5;
/// The first such pause; each further failure doubles it.
const PAUSE_MS: i64 = 1000;
/// The longest.
const PAUSE_MAX_MS: i64 = 60_000;

/// A waiting job: not before when, its place in the log, its id.
pub(super) type Place = (Millis, (Seq, u16), u128);

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Scheme, host and port.
    pub(super) name: Box<str>,
    pub(super) queue: BTreeSet<Place>,
    pub(super) running: usize,
    /// Failures since the last success.
    failures: u32,
    /// Left alone until then.
    closed_until: Millis,
}

/// What an endpoint has to do.
pub(super) enum Next {
    /// This one may be called now.
    Job(u128),
    /// Nothing before then.
    At(Millis),
    /// Nothing before the journal is durable further.
    Durable,
    /// Nothing before one of its calls ends, or a job comes.
    Wait,
}

impl Endpoint {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), queue: BTreeSet::new(), running: 0, failures: 0, closed_until: Millis::MIN }
    }

    /// An endpoint that keeps failing is asked with one call at a time.
    fn limit(&self, per_endpoint: usize) -> usize {
        if self.failures >= OPEN_AFTER { 1 } else { per_endpoint }
    }

    pub(super) fn next(&self, now: Millis, durable: Seq, per_endpoint: usize) -> Next {
        let Some(&(at, (seq, _), id)) = self.queue.first() else { return Next::Wait };
        if self.running >= self.limit(per_endpoint) {
            return Next::Wait;
        }
        let at = at.max(self.closed_until);
        if at > now {
            return Next::At(at);
        }
        if seq > durable { Next::Durable } else { Next::Job(id) }
    }

    /// A call ended, and this is what it told.
    pub(super) fn told(&mut self, told: Told, now: Millis) {
        if told.well {
            (self.failures, self.closed_until) = (0, Millis::MIN);
            return;
        }
        // What fails while it is left alone began before, and says nothing new: calls that fail together
        // make one pause, not one twice as long for each.
        if !self.is_closed(now) {
            self.failures = self.failures.saturating_add(1);
            if self.failures >= OPEN_AFTER {
                let doubled = PAUSE_MS << (self.failures - OPEN_AFTER).min(16);
                self.closed_until = now.plus(doubled.min(PAUSE_MAX_MS));
            }
        }
        if let Some(pause) = told.pause {
            let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
            self.closed_until = self.closed_until.max(now.plus(pause_ms));
        }
    }

    /// Whether it is left alone because it keeps failing or asked for it.
    pub(super) fn is_closed(&self, now: Millis) -> bool {
        self.closed_until > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BADLY: Told = Told { well: false, pause: None };

    fn queued(ids: &[u128]) -> Endpoint {
        let mut endpoint = Endpoint::new("https://x");
        endpoint.queue = ids.iter().map(|id| (Millis(0), (Seq(1), 0), *id)).collect();
        endpoint
    }

    #[test]
    fn an_endpoint_that_keeps_failing_is_asked_less_and_less() {
        let mut endpoint = queued(&[1, 2]);
        let mut now = Millis(0);
        for _ in 0..OPEN_AFTER {
            assert!(matches!(endpoint.next(now, Seq(1), 8), Next::Job(1)));
            endpoint.told(BADLY, now);
        }
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let Next::At(at) = endpoint.next(now, Seq(1), 8) else { panic!("left alone") };
            pauses.push(at.0 - now.0);
            now = at;
            endpoint.running = 1;
            assert!(matches!(endpoint.next(now, Seq(1), 8), Next::Wait), "one call at a time");
            endpoint.running = 0;
            endpoint.told(BADLY, now);
        }
        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        endpoint.told(Told { well: true, ..BADLY }, now);
        assert!(matches!(endpoint.next(now, Seq(1), 8), Next::Job(1)), "one success opens it again");
    }

    #[test]
    fn calls_that_fail_together_make_one_pause() {
        let mut endpoint = queued(&[1]);
        (0..8).for_each(|_| endpoint.told(BADLY, Millis(100)));
        assert!(matches!(endpoint.next(Millis(100), Seq(1), 8), Next::At(Millis(1100))));
        endpoint.told(BADLY, Millis(1100));
        assert!(matches!(endpoint.next(Millis(1100), Seq(1), 8), Next::At(Millis(3100))), "the next one doubles it");
    }

    #[test]
    fn a_server_that_asks_for_a_pause_gets_it() {
        let mut endpoint = queued(&[1]);
        endpoint.told(Told { pause: Some(Duration::from_secs(7)), ..BADLY }, Millis(100));
        assert!(endpoint.is_closed(Millis(7099)) && !endpoint.is_closed(Millis(7100)));
        assert!(matches!(endpoint.next(Millis(100), Seq(1), 8), Next::At(Millis(7100))));
    }

    #[test]
    fn nothing_leaves_before_it_is_durable() {
        let endpoint = queued(&[1]);
        assert!(matches!(endpoint.next(Millis(0), Seq(0), 8), Next::Durable));
        assert!(matches!(endpoint.next(Millis(0), Seq(1), 8), Next::Job(1)));
    }
}
