//! How fast frames about actions may leave one connection.

use std::time::{Duration, Instant};

/// A bucket of tokens: one a frame, `rate` a second, at most one second's worth saved up or owed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Frames a second; 0 for no limit.
    rate: u32,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        Self { rate, tokens: f64::from(rate), at: now }
    }

    /// Takes a token if there is a whole one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.rate == 0 {
            return true;
        }
        self.fill(now);
        let free = self.tokens >= 1.0;
        if free {
            self.tokens -= 1.0;
        }
        free
    }

    /// Takes a token for what cannot wait; what is owed makes the next ones wait longer.
    pub(super) fn charge(&mut self, now: Instant) {
        self.fill(now);
        self.tokens = (self.tokens - 1.0).max(-f64::from(self.rate));
    }

    /// When there is a whole token.
    pub(super) fn next(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        // A little more, so that the token is whole whatever was lost to rounding.
        self.at + Duration::from_secs_f64(missing / f64::from(self.rate.max(1))) + Duration::from_micros(1)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * f64::from(self.rate)).min(f64::from(self.rate));
        self.at = self.at.max(now);
    }
}
