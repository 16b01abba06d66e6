//! Sockets and HTTP on one port.
//!
//! * [`listener`]: accepts, serves HTTP/1.1, stops in order.
//! * [`ws`]: the task of one WebSocket; [`upstream`] is its way to the engine, [`socket`] its bytes.
//! * [`ingest`]: `/v1` over HTTP, in the Attractify dialect; [`dialect`] says whose request it is.
//! * [`api`]: `/api/v1`, the read side, the definitions and the catalog; [`problem`] its errors.
//! * [`health`]: probes, metrics and numbers for the status page; [`pages`]: the embedded web files.

mod api;
mod dialect;
mod health;
mod ingest;
mod listener;
mod pages;
mod problem;
mod socket;
mod upstream;
mod ws;

pub use listener::serve;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use crate::config::options::Server;
use crate::engine::Engine;
use crate::session::{Micros, Settings};

/// What every connection of one server shares.
struct Shared {
    engine: Arc<Engine>,
    options: Server,
    settings: Arc<Settings>,
    /// Ingestion requests that may still begin.
    in_flight: Semaphore,
    control: watch::Receiver<Control>,
    /// WebSocket tasks; a stop waits for them.
    sockets: TaskTracker,
    rates: health::Rates,
    /// First answers to requests that may come again.
    replays: api::Replays,
    epoch: Instant,
}

/// What every connection has to hear about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Control {
    /// The server is stopping.
    draining: bool,
    /// The definitions in force: tokens may have changed with them.
    plan_version: u32,
}

impl Shared {
    /// Monotonic time for session state machines.
    fn micros(&self) -> Micros {
        Micros(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The same time as tokio's timers know it.
    fn instant(&self, at: Micros) -> tokio::time::Instant {
        // Never is far enough: a connection looks at its clocks again before that.
        let at = at.0.min(365 * 24 * 3_600 * 1_000_000);
        tokio::time::Instant::from_std(self.epoch + std::time::Duration::from_micros(at))
    }
}
