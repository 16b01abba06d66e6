//! The lock of a data folder: one process at a time.
//!
//! An advisory lock of the operating system on the file `LOCK`, gone with the process however it ends, so
//! a file that was left behind is no obstacle. What stands in the file says who holds it, for the message.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Name of the file in the data folder.
pub const NAME: &str = "LOCK";

/// Exit code of a process that finds the folder in use (`EX_TEMPFAIL`).
pub const EXIT_LOCKED: u8 = 75;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct DataDirLock {
    // Closing the file releases the lock.
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("data folder {} is in use by {holder}", dir.display())]
    Held {
        /// The folder.
        dir: PathBuf,
        /// Who: process, host and since when, as far as they say.
        holder: String,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock data folder {}: {source}", dir.display())]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LockError {
    /// The exit code of a process that ends because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Held { .. } => EXIT_LOCKED,
            Self::Io { .. } => crate::journal::EXIT_IO,
        }
    }
}

impl DataDirLock {
    /// Takes the lock of `dir`, which exists, without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process, or this one, has it.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { dir: dir.to_owned(), source };
        let path = dir.join(NAME);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may be writing its name just now; then the message is shorter.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    named => named.to_owned(),
                };
                return Err(LockError::Held { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "this host" } else { host.trim() };
        let line = format!("process {} on {host} since {}\n", std::process::id(), jiff::Timestamp::now());
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        file.write_all(line.as_bytes()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataDirLock::acquire(folder.path()).unwrap();
        let error = DataDirLock::acquire(folder.path()).unwrap_err();
        assert_eq!(error.exit_code(), 75);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        DataDirLock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn a_file_that_was_left_behind_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(NAME), "process 1 on a machine that burned down, and more of that\n").unwrap();
        let _held = DataDirLock::acquire(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert!(!text.contains("burned"), "{text}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_io_error() {
        let error = DataDirLock::acquire(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(error.exit_code(), 74);
    }
}
