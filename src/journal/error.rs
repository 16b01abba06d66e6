//! What can go wrong with the journal, and the exit code each fault asks for.

use lodestone_state::ids::Seq;
use std::io;
use std::path::PathBuf;

/// Exit code for a failed write or sync (`EX_IOERR`): the disk is to be looked at before a restart.
pub const EXIT_IO: u8 = 74;
/// Exit code for data that this program cannot use (`EX_DATAERR`): corrupt, or of a newer version. The
/// message says which: the one asks for a backup, the other for the newer program.
pub const EXIT_DATA: u8 = 65;

/// A fault of the journal. None of them is retried inside this process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk refused an operation.
    #[error("journal: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `write`, `sync`, `open`, …
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that had been made durable are not what was written. Nothing past them is read.
    #[error("journal: {} is corrupt at byte {offset}, where record {} should be: {what}", path.display(), seq.0)]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Number of the segment.
        segment: u64,
        /// First byte that is not as written.
        offset: u64,
        /// First record that cannot be read.
        seq: Seq,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The watermark file is missing or unreadable although there are segments.
    #[error("journal: watermark {} is unreadable: {what}", path.display())]
    Watermark {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file was written by a newer version of this program.
    #[error("journal: {} has format {found}, this program reads formats up to {supported}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest one known here.
        supported: u32,
    },
}

impl Error {
    /// The exit code of a process that ends because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Io { .. } => EXIT_IO,
            Self::Corrupt { .. } | Self::Watermark { .. } | Self::Newer { .. } => EXIT_DATA,
        }
    }

    /// Whether the disk (or the quota) is full: the one fault that space alone repairs.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// Names the operation and the file in an [`io::Error`].
pub(super) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
