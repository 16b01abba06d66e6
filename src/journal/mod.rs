//! The journal: a segmented, append-only, checksummed log with group commit (I9, I15, I15b).
//!
//! Any number of threads hand in records; one writer thread puts whatever piled up while the last group
//! synced into the next group, writes it with one call, syncs once and publishes the new durable
//! sequence number. A second thread prepares segments ahead, removes released ones and watches the
//! free space. The bytes are drawn in `docs/journal-format.md`.
//!
//! * L-1 A record's sequence number is its place in the log: dense, starting after
//!   [`Options::start_after`], in the order of [`Journal::append`] calls.
//! * L-2 In the `strict` mode `durable` never covers a record that a power failure can take away.
//! * L-3 What recovery returns is a prefix of what was appended and holds everything durable.
//! * L-4 A failed write or sync ends the journal: `durable` never moves again.
//! * L-5 A changed byte that had been synced is reported, never skipped.
//! * L-6 A full disk loses nothing: a segment is written full of zeros before it is used, and where the
//!   next one cannot be made, the writer waits with everything in memory, unacknowledged.

pub mod disk;
mod error;
pub mod fault;
mod format;
mod handle;
mod inner;
mod keeper;
pub mod meters;
mod open;
mod recover;
mod recovered;
mod segment;
pub mod sim;
mod verify;
mod watermark;
mod writer;

pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{EXIT_DATA, EXIT_IO, Error};
pub use format::{RECORD_MAX, VERSION};
pub use handle::{Journal, Record};
pub use recover::Torn;
pub use recovered::Recovered;
pub use verify::{Report, SegmentReport, Verdict, verify, verify_on};

use lodestone_state::ids::Seq;
use std::time::Duration;

/// When a record counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// After the sync of its group: survives a power failure.
    Strict,
    /// After its write; synced at this pace: survives the end of the process, and a power failure takes
    /// at most the last interval.
    Interval(Duration),
    /// After its write; the system syncs when it likes: survives the end of the process.
    None,
}

/// How a journal behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// When a record counts as durable.
    pub sync: SyncMode,
    /// Size of a segment file in bytes, at least 4 KiB. A larger record gets a larger segment.
    pub segment_bytes: u64,
    /// Above this many buffered bytes [`Journal::pressure`] is true.
    pub pressure_bytes: usize,
    /// Below this many free bytes on the disk, or without room for the next segment above it,
    /// [`Journal::writable`] is false.
    pub min_free_bytes: u64,
    /// How often the free space is looked at.
    pub space_check: Duration,
    /// Everything up to here is already in the store (the checkpoint's sequence number): it is not
    /// returned by recovery, and numbers go on after it even if the journal is new or lost its tail.
    pub start_after: Seq,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: SyncMode::Strict,
            segment_bytes: 64 << 20,
            pressure_bytes: 32 << 20,
            min_free_bytes: 64 << 20,
            space_check: Duration::from_millis(250),
            start_after: Seq(0),
        }
    }
}
