//! Where the engine's time comes from. The state machine gets time as data; this is the only source.

use lodestone_state::ids::Millis;
use std::sync::atomic::{AtomicI64, Ordering};

/// A source of time that never runs back.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch, UTC; never less than an answer given before.
    fn now(&self) -> Millis;
}

/// The machine's clock, held still while the machine sets it back.
#[derive(Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        // A load decides most calls, so that cores do not pass the cache line around within a millisecond.
        if self.latest.load(Ordering::Relaxed) < now {
            self.latest.fetch_max(now, Ordering::Relaxed);
            return Millis(now);
        }
        Millis(self.latest.load(Ordering::Relaxed))
    }
}

/// A clock that a test sets.
#[derive(Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Millis) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves on to `now`; never back.
    pub fn set(&self, now: Millis) {
        self.0.fetch_max(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}
