//! What is written at checkpoint pace: profiles, history, redirects, catalog versions, message ids (I12).
//!
//! * R-1 A [`CheckpointBatch`] is there as a whole or not at all. It need not survive a power failure
//!   until [`Store::seal`] returns; what the checkpoint covers must be synced in the journal before.
//! * R-2 What was sealed is there after any crash.
//! * R-3 After the first failure nothing is read or written any more; the process exits (I15).
//!
//! Beside it stand the lock of the data folder ([`lock`]) and its format version ([`layout`]).

mod keys;
pub mod layout;
pub mod lock;
mod rocks;
mod tuning;
mod verify;

pub use rocks::Store;
pub use verify::{FamilyReport, Report, verify};

use crate::journal;
use lodestone_state::event::MembershipChange;
use lodestone_state::ids::{Millis, Moment, ProfileId, Seq};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// How much memory and how many threads the store may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// Cache of blocks, indexes and filters, in bytes; shared by everything in the store.
    pub cache_bytes: usize,
    /// Memory for writes that are not in table files yet, in bytes, all together.
    pub write_buffer_bytes: usize,
    /// Threads that flush and compact.
    pub background_jobs: i32,
    /// Files kept open at once.
    pub open_files: i32,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20, write_buffer_bytes: 64 << 20, background_jobs: 2, open_files: 512 }
    }
}

/// One step of a checkpoint, written atomically.
#[derive(Debug, Default)]
pub struct CheckpointBatch {
    /// Profiles and their encoded state.
    pub profiles: Vec<(ProfileId, Vec<u8>)>,
    /// New entries of profiles' logs. The same moment again overwrites.
    pub history: Vec<(ProfileId, Moment, Vec<u8>)>,
    /// Profiles that are no more. Deleted even if they stand in `profiles` as well.
    pub delete_profiles: Vec<ProfileId>,
    /// Entries that left the logs. Deleted even if they stand in `history` as well.
    pub delete_history: Vec<(ProfileId, Moment)>,
    /// Profiles that came back: what redirected their id is dropped, unless it stands in `redirects`.
    pub delete_redirects: Vec<ProfileId>,
    /// Memberships that began or ended. The same change again overwrites.
    pub moves: Vec<(ProfileId, MembershipChange)>,
    /// Where profiles that are no more went.
    pub redirects: Vec<(ProfileId, ProfileId)>,
    /// Message ids and their first outcomes.
    pub dedupe: Vec<DedupeRow>,
}

/// The first outcome of a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupeRow {
    /// Hash of the message id.
    pub key: u128,
    /// Log position of the event.
    pub seq: Seq,
    /// Id of the event.
    pub event_id: u128,
    /// Arrival: the row is dropped some time after [`Store::expire_dedupe`] passes it.
    pub at: Millis,
}

/// Families of rows whose meaning is their writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Work that is to be done outside.
    Outbox,
    /// Counters of the analysis.
    Rollups,
}

/// One row that is written together with the seal of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where.
    pub rows: Rows,
    /// Its key.
    pub key: Vec<u8>,
    /// What it becomes; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

/// What a completed checkpoint says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMeta {
    /// Everything up to here is in the store.
    pub seq: Seq,
    /// The engine's own: encoded by it, opaque here.
    pub extras: Vec<u8>,
}

/// A fault of the store. The first one is final.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB refused, for the first time.
    #[error("store: cannot {action}: {source}")]
    Rocks {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: rocksdb::Error,
    },
    /// The store's folder cannot be created.
    #[error("store: cannot create {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store refuses since an earlier failure.
    #[error("store: stopped after a failure: {reason}")]
    Stopped {
        /// The earlier failure.
        reason: String,
        /// Its exit code.
        exit_code: u8,
    },
    /// Something in the store is not what this program writes there.
    #[error("store: {what} is corrupt: {reason}")]
    Corrupt {
        /// Which part.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The checkpoint cannot go on because the journal has failed.
    #[error("store: no checkpoint without the journal: {0}")]
    Journal(Arc<journal::Error>),
}

impl Error {
    /// The journal's failure, as the reason why a checkpoint ends.
    #[must_use]
    pub fn journal(error: Arc<journal::Error>) -> Self {
        Self::Journal(error)
    }

    /// The exit code of a process that ends because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Rocks { source, .. } if source.kind() == rocksdb::ErrorKind::Corruption => journal::EXIT_DATA,
            Self::Rocks { .. } | Self::Folder { .. } => journal::EXIT_IO,
            Self::Stopped { exit_code, .. } => *exit_code,
            Self::Corrupt { .. } => journal::EXIT_DATA,
            Self::Journal(error) => error.exit_code(),
        }
    }
}
