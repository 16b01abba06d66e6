//! Checking the store without changing it: every block of every table is read and its checksum compared.

use super::{CheckpointMeta, Error, Options, keys, tuning};
use lodestone_state::codec;
use rocksdb::{DB, ReadOptions};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// What a check found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// One for each kind of content.
    pub families: Vec<FamilyReport>,
    /// The last sealed checkpoint's log position.
    pub checkpoint_seq: Option<u64>,
    /// What is corrupt, if anything.
    pub corrupt: Option<String>,
}

/// One kind of content.
#[derive(Clone, Debug, Serialize)]
pub struct FamilyReport {
    /// Its name.
    pub name: &'static str,
    /// Entries.
    pub entries: u64,
    /// Bytes of keys and values, uncompressed.
    pub bytes: u64,
}

impl Report {
    /// Whether everything can be read and is as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.corrupt.is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for family in &self.families {
            writeln!(f, "{:<10} entries {}  bytes {}", family.name, family.entries, family.bytes)?;
        }
        if let Some(corrupt) = &self.corrupt {
            writeln!(f, "CORRUPT: {corrupt}")?;
        }
        match self.checkpoint_seq {
            Some(seq) => write!(f, "store: checkpoint up to record {seq}"),
            None => write!(f, "store: no checkpoint yet"),
        }
    }
}

/// Reads everything in the store in `dir`. Corruption is reported, not returned as an error. A folder
/// without a store is sound and empty.
///
/// # Errors
/// If the files cannot be read for another reason.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    let mut report = Report::default();
    if !dir.join("CURRENT").exists() {
        // RocksDB names its present state in that file; without it there is a store only if there are tables.
        let remains = std::fs::read_dir(dir).into_iter().flatten().flatten();
        if remains.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| name.ends_with(".sst")) {
            report.corrupt = Some("tables are there, but not the file CURRENT".to_owned());
        }
        return Ok(report);
    }
    match check(dir, &mut report) {
        Ok(()) => {}
        Err(error) if error.exit_code() == crate::journal::EXIT_DATA => report.corrupt = Some(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(report)
}

fn check(dir: &Path, report: &mut Report) -> Result<(), Error> {
    let (mut database, families) = tuning::families(&Options::default(), &Arc::new(AtomicI64::new(i64::MIN)));
    database.create_if_missing(false);
    database.create_missing_column_families(false);
    database.set_paranoid_checks(true);
    let failed = |action| move |source| Error::Rocks { action, source };
    let db = DB::open_cf_descriptors_read_only(&database, dir, families, false).map_err(failed("open"))?;
    for (name, key_length) in keys::FAMILIES {
        let mut read = ReadOptions::default();
        read.set_verify_checksums(true);
        read.fill_cache(false);
        read.set_readahead_size(2 << 20);
        read.set_total_order_seek(true);
        let family = db.cf_handle(name).expect("every family was opened");
        let mut entry = FamilyReport { name, entries: 0, bytes: 0 };
        let mut rows = db.raw_iterator_cf_opt(family, read);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            if key_length.is_some_and(|length| length != key.len()) {
                return Err(Error::Corrupt { what: name, reason: format!("a key of {} bytes", key.len()) });
            }
            if name == keys::META && key == keys::CHECKPOINT {
                let (_, meta) = codec::decode::<CheckpointMeta>(value)
                    .map_err(|e| Error::Corrupt { what: "the checkpoint's record", reason: e.to_string() })?;
                report.checkpoint_seq = Some(meta.seq.0);
            }
            entry.entries += 1;
            entry.bytes += (key.len() + value.len()) as u64;
            rows.next();
        }
        rows.status().map_err(failed("read"))?;
        report.families.push(entry);
    }
    Ok(())
}
