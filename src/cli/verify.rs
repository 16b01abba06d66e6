//! `lodestone verify`: every checksum of a data folder, and the durable watermark.

use super::{Failure, VerifyArgs};
use crate::storage::lock::{DataDirLock, LockError};
use crate::{journal, storage};
use anyhow::anyhow;

/// Prints what it found; exit 65 if anything is corrupt, 75 if a server runs on the folder.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    if !args.data_dir.is_dir() {
        return Err(anyhow!("{} is not a folder", args.data_dir.display()).into());
    }
    let _lock = DataDirLock::acquire(&args.data_dir).map_err(|error| match error {
        LockError::Held { .. } => Failure::new(Failure::LOCKED, error),
        LockError::Io { .. } => Failure::new(Failure::IO, error),
    })?;
    storage::layout::check(&args.data_dir).map_err(|e| Failure::new(Failure::DATA, e))?;
    let report = journal::verify(&args.data_dir.join("journal")).map_err(|e| Failure::new(e.exit_code(), e))?;
    println!("{report}");
    let store = storage::verify(&args.data_dir.join("store")).map_err(|e| Failure::new(e.exit_code(), e))?;
    println!("{store}");
    // Records that a checkpoint covered were released; the checkpoint that covered them must be the one here.
    let covered = store.checkpoint_seq.unwrap_or(0);
    if report.first_seq > covered + 1 {
        let missing = anyhow!("records {} to {} are in neither the journal nor the store", covered + 1, report.first_seq - 1);
        return Err(Failure::new(Failure::DATA, missing));
    }
    if covered > 0 && report.segments.is_empty() {
        return Err(Failure::new(Failure::DATA, anyhow!("the store has a checkpoint, but there is no journal")));
    }
    if report.is_sound() && store.is_sound() {
        println!("sound");
        return Ok(());
    }
    Err(Failure::new(Failure::DATA, anyhow!("the data folder is corrupt")))
}
