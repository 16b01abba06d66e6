//! Deadlines of one connection: hello, idle, ping and drain.

use super::{Close, Micros, Settings};

/// What a deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Send a protocol ping.
    Ping,
    /// Close the socket.
    Close(Close),
}

/// The clocks of one connection.
#[derive(Debug)]
pub struct Liveness {
    hello_by: Micros,
    greeted: bool,
    last_frame: Micros,
    ping_at: Micros,
    stuck_since: Option<Micros>,
    ping_ms: u64,
    drain_ms: u64,
}

impl Liveness {
    /// A connection that opened `now`.
    #[must_use]
    pub fn new(settings: &Settings, now: Micros) -> Self {
        Self {
            hello_by: now.plus_ms(settings.hello_ms),
            greeted: false,
            last_frame: now,
            ping_at: now.plus_ms(settings.ping_ms),
            stuck_since: None,
            ping_ms: settings.ping_ms,
            drain_ms: settings.drain_ms,
        }
    }

    /// A frame came, of any kind: a pong counts, because a browser in the background sends nothing else.
    pub fn heard(&mut self, now: Micros) {
        self.last_frame = now;
    }

    /// The hello was accepted.
    pub fn greeted(&mut self) {
        self.greeted = true;
    }

    /// How the output stands: whether some waits, and whether the peer took some since the last look.
    pub fn output(&mut self, waiting: bool, moved: bool, now: Micros) {
        self.stuck_since = match self.stuck_since {
            Some(since) if waiting && !moved => Some(since),
            _ => waiting.then_some(now),
        };
    }

    fn idle_at(&self) -> Micros {
        self.last_frame.plus_ms(2 * self.ping_ms)
    }

    fn slow_at(&self) -> Micros {
        self.stuck_since.map_or(Micros::MAX, |since| since.plus_ms(self.drain_ms))
    }

    /// When to look again.
    #[must_use]
    pub fn deadline(&self) -> Micros {
        let hello = if self.greeted { Micros::MAX } else { self.hello_by };
        hello.min(self.idle_at()).min(self.slow_at()).min(self.ping_at)
    }

    /// What is due at `now`. A ping that is due is taken as sent.
    pub fn due(&mut self, now: Micros) -> Due {
        if self.slow_at() <= now {
            return Due::Close(Close::SlowConsumer);
        }
        if !self.greeted && self.hello_by <= now {
            return Due::Close(Close::NoHello);
        }
        if self.idle_at() <= now {
            return Due::Close(Close::Idle);
        }
        if self.ping_at <= now {
            self.ping_at = now.plus_ms(self.ping_ms);
            return Due::Ping;
        }
        Due::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Micros {
        Micros(ms * 1000)
    }

    fn opened() -> Liveness {
        Liveness::new(&Settings::default(), at(0))
    }

    #[test]
    fn i56_no_hello_for_five_seconds() {
        let mut liveness = opened();
        assert_eq!(liveness.deadline(), at(5_000));
        assert_eq!(liveness.due(at(4_999)), Due::Nothing);
        liveness.heard(at(4_999));
        assert_eq!(liveness.due(at(5_000)), Due::Close(Close::NoHello), "only the hello counts");
    }

    #[test]
    fn pings_every_25_s_and_idle_after_50_s() {
        let mut liveness = opened();
        liveness.greeted();
        assert_eq!(liveness.deadline(), at(25_000));
        assert_eq!(liveness.due(at(25_000)), Due::Ping);
        assert_eq!(liveness.due(at(25_000)), Due::Nothing);
        liveness.heard(at(30_000));
        assert_eq!(liveness.due(at(50_000)), Due::Ping);
        assert_eq!(liveness.due(at(75_000)), Due::Ping);
        assert_eq!(liveness.due(at(80_000)), Due::Close(Close::Idle));
    }

    #[test]
    fn a_socket_that_drains_nothing_is_slow() {
        let mut liveness = opened();
        liveness.greeted();
        liveness.output(true, true, at(1_000));
        liveness.output(true, false, at(20_000));
        liveness.heard(at(30_000));
        assert_eq!(liveness.due(at(30_999)), Due::Ping);
        assert_eq!(liveness.due(at(31_000)), Due::Close(Close::SlowConsumer));
        liveness.output(true, true, at(31_000));
        assert_eq!(liveness.due(at(31_000)), Due::Nothing, "it took some");
        liveness.output(false, false, at(32_000));
        assert_eq!(liveness.slow_at(), Micros::MAX);
    }
}
