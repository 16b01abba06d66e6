//! One connection as a state machine, pure: text and time in, frames and engine calls out.
//!
//! * [`connection`]: the machine: hello first, then messages; who they are filed under.
//! * [`credit`]: what the client may send, and when it overdoes it.
//! * [`ack`]: answers in order of arrival, held until the journal is durable.
//! * [`liveness`]: hello, idle, ping and drain deadlines.
//! * [`close`]: close codes.
//! * `perform`: what a message asks of the engine, within which limits.
//! * [`upstream`]: what a connection asks of the engine, as a trait, so that tests need no engine.
//!
//! The socket itself is driven by `net::ws`: it feeds text in, and writes [`Connection::take_frames`] out.

pub mod ack;
pub mod close;
pub mod connection;
pub mod credit;
pub mod liveness;
mod perform;
pub mod upstream;

pub use close::Close;
pub use connection::Connection;
pub use upstream::{Opened, Upstream};

/// Monotonic time in microseconds since the connection's server started. Only differences matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// Never.
    pub const MAX: Self = Self(u64::MAX);

    /// This instant moved by `ms` milliseconds.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Microseconds since `earlier`, or zero.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a connection needs to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Credit to start with, in messages.
    pub credit: u32,
    /// Bytes of one frame.
    pub frame_bytes: usize,
    /// Time for the first frame, in milliseconds.
    pub hello_ms: u64,
    /// The server pings this often, in milliseconds; twice as long without a frame is idle.
    pub ping_ms: u64,
    /// A socket that takes nothing for this long is a slow consumer, in milliseconds.
    pub drain_ms: u64,
    /// How long a session outlives its socket, in milliseconds.
    pub resume_ttl_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            credit: 200,
            frame_bytes: crate::wire::limits::FRAME_BYTES,
            hello_ms: 5_000,
            ping_ms: 25_000,
            drain_ms: 30_000,
            resume_ttl_ms: 120_000,
        }
    }
}
