//! The options, one struct per component. What each means, and its default, is in `default.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{list, span};
use crate::{engine, hooks, journal, outbox, session, telemetry};

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Sockets and HTTP.
    pub server: Server,
    /// The log that makes acknowledgements durable.
    pub journal: Journal,
    /// The data folder.
    pub storage: Storage,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Webhooks.
    pub hooks: Hooks,
    /// What is to be done elsewhere, until it is done.
    pub outbox: Outbox,
    /// Logging.
    pub log: Log,
}

/// Sockets and HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address for HTTP and WebSockets alike.
    pub listen: SocketAddr,
    /// Whether the demo shop is served.
    pub shop: bool,
    /// TCP connections at one time.
    pub connections_max: usize,
    /// How long sockets may take to get their last answers at a stop.
    #[serde(deserialize_with = "span::deserialize")]
    pub shutdown_grace: Duration,
    /// Requests.
    pub http: Http,
    /// WebSockets.
    pub socket: Socket,
}

/// Requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Time for the head of a request, and for which an idle connection is kept.
    #[serde(deserialize_with = "span::deserialize")]
    pub header_timeout: Duration,
    /// Time for the body of a request.
    #[serde(deserialize_with = "span::deserialize")]
    pub body_timeout: Duration,
    /// How long an answer waits for the journal.
    #[serde(deserialize_with = "span::deserialize")]
    pub durable_timeout: Duration,
    /// Ingestion requests at one time.
    pub in_flight_max: usize,
    /// Bytes of a catalog document.
    pub catalog_bytes_max: usize,
}

/// WebSockets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// Messages that a client may have in flight.
    pub credit: u32,
    /// Bytes of one frame.
    pub frame_bytes_max: usize,
    /// Time for the first frame.
    #[serde(deserialize_with = "span::deserialize")]
    pub hello_timeout: Duration,
    /// Pace of the server's pings; twice as long without a frame is idle.
    #[serde(deserialize_with = "span::deserialize")]
    pub ping_interval: Duration,
    /// How long a socket may take nothing.
    #[serde(deserialize_with = "span::deserialize")]
    pub drain_timeout: Duration,
    /// How long a session outlives its socket.
    #[serde(deserialize_with = "span::deserialize")]
    pub resume_ttl: Duration,
    /// Actions that a session is sent in a second; 0 for any number.
    pub push_rate: u32,
    /// Read buffer of each socket, in bytes.
    pub read_buffer_bytes: usize,
    /// Output that may wait in a socket before its client is not read any more, in bytes.
    pub write_buffer_bytes: usize,
    /// Frames that are read before the answers are written.
    pub drain_frames: usize,
}

/// The journal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// When an acknowledgement is given.
    pub sync: Sync,
    /// Pace of [`Sync::Interval`].
    #[serde(deserialize_with = "span::deserialize")]
    pub sync_interval: Duration,
    /// Size of a segment file, in bytes.
    pub segment_bytes: u64,
    /// Buffered bytes above which sockets are not read.
    pub pressure_bytes: usize,
    /// Free bytes below which writes are refused.
    pub min_free_bytes: u64,
    /// How often the free space is looked at.
    #[serde(deserialize_with = "span::deserialize")]
    pub space_check: Duration,
}

/// When an acknowledgement is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// After the sync of its group.
    Strict,
    /// After its write; synced at a pace.
    Interval,
    /// After its write; synced when the system likes.
    None,
}

/// The data folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Folder that holds everything.
    pub data_dir: PathBuf,
    /// Pace of the checkpoints.
    #[serde(deserialize_with = "span::deserialize")]
    pub checkpoint_interval: Duration,
    /// Message ids that are kept in memory though they are on disk.
    pub dedupe_keep: usize,
}

/// What is kept, and for how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Events, reactions and what rules did; `None` for ever.
    #[serde(deserialize_with = "span::optional")]
    pub history: Option<Duration>,
}

/// Webhooks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Addresses, networks and host names that may be called beside the public internet.
    #[serde(deserialize_with = "list::deserialize")]
    pub allow: Vec<String>,
    /// Time for one call; an act waits this long for all of its hooks together.
    #[serde(deserialize_with = "span::deserialize")]
    pub timeout: Duration,
    /// Acts that may wait for their hooks at one time.
    pub acts_max: usize,
    /// Calls of acts at one time to one endpoint.
    pub per_endpoint: usize,
}

/// What is to be done elsewhere, until it is done.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outbox {
    /// Queued calls at one time.
    pub running_max: usize,
    /// Queued calls at one time to one endpoint.
    pub per_endpoint: usize,
    /// Tries before a job is given up.
    pub tries: u16,
    /// The first pause between tries; each further one is twice as long.
    #[serde(deserialize_with = "span::deserialize")]
    pub backoff: Duration,
    /// A job that has waited this long is given up.
    #[serde(deserialize_with = "span::deserialize")]
    pub expire: Duration,
    /// Jobs that may wait.
    pub pending_max: usize,
    /// Given up jobs that are kept.
    pub dead_max: usize,
    /// How long they are kept.
    #[serde(deserialize_with = "span::deserialize")]
    pub dead_keep: Duration,
    /// Bytes of jobs in memory.
    pub memory_bytes: usize,
}

/// Logging.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// How lines look.
    pub format: telemetry::tracing::Format,
}

impl Config {
    /// How the engine is run under this configuration.
    #[must_use]
    pub fn engine_options(&self) -> engine::Options {
        let journal = &self.journal;
        let defaults = engine::Options::default();
        engine::Options {
            journal: journal::Options {
                sync: match journal.sync {
                    Sync::Strict => journal::SyncMode::Strict,
                    Sync::Interval => journal::SyncMode::Interval(journal.sync_interval),
                    Sync::None => journal::SyncMode::None,
                },
                segment_bytes: journal.segment_bytes,
                pressure_bytes: journal.pressure_bytes,
                min_free_bytes: journal.min_free_bytes,
                space_check: journal.space_check,
                ..defaults.journal
            },
            dedupe_keep: self.storage.dedupe_keep,
            keep_history: self.retention.history,
            resume_ttl: self.server.socket.resume_ttl,
            push_rate: self.server.socket.push_rate,
            hooks: hooks::Options {
                // What does not read was refused when the configuration was.
                allow: hooks::Allowed::parse(&self.hooks.allow).unwrap_or_default(),
                timeout: self.hooks.timeout,
                acts_max: self.hooks.acts_max,
                per_endpoint: self.hooks.per_endpoint,
            },
            outbox: outbox::Options {
                running_max: self.outbox.running_max,
                per_endpoint: self.outbox.per_endpoint,
                tries: self.outbox.tries,
                backoff: self.outbox.backoff,
                expire: self.outbox.expire,
                pending_max: self.outbox.pending_max,
                dead_max: self.outbox.dead_max,
                dead_keep: self.outbox.dead_keep,
                memory_bytes: self.outbox.memory_bytes,
            },
            ..defaults
        }
    }
}

impl Socket {
    /// What a connection's state machine needs to know.
    #[must_use]
    pub fn settings(&self) -> session::Settings {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        session::Settings {
            credit: self.credit,
            frame_bytes: self.frame_bytes_max,
            hello_ms: ms(self.hello_timeout),
            ping_ms: ms(self.ping_interval),
            drain_ms: ms(self.drain_timeout),
            resume_ttl_ms: ms(self.resume_ttl),
        }
    }
}
