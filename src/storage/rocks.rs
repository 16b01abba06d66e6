//! The store on RocksDB.

use super::keys::{self, CATALOG, DEDUPE, HISTORY, META, MOVES, OUTBOX, PROFILES, REDIRECTS, ROLLUPS};
use super::{CheckpointBatch, CheckpointMeta, DedupeRow, Error, Options, Row, Rows, tuning};
use crate::journal::{Disk, RealDisk};
use lodestone_state::codec;
use lodestone_state::event::MembershipChange;
use lodestone_state::ids::{Millis, Moment, ProfileId, Seq};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

/// Shape of the checkpoint's own record.
const META_VERSION: u16 = 1;

/// How much a scan reads ahead.
const READAHEAD: usize = 2 << 20;

/// The open store. All methods may be called from many threads.
pub struct Store {
    db: DB,
    /// Rows of message ids that arrived before this may go.
    dedupe_cutoff: Arc<AtomicI64>,
    failure: OnceLock<(String, u8)>,
}

impl Store {
    /// Opens the store in `dir`, creating it if there is none. The caller holds the data folder's lock.
    ///
    /// # Errors
    /// [`Error::Rocks`]; its exit code tells corruption from an unwilling disk.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        RealDisk.create_dir(dir).map_err(|source| Error::Folder { path: dir.to_owned(), source })?;
        let dedupe_cutoff = Arc::new(AtomicI64::new(i64::MIN));
        let (database, families) = tuning::families(options, &dedupe_cutoff);
        let db = DB::open_cf_descriptors(&database, dir, families).map_err(|source| Error::Rocks { action: "open", source })?;
        Ok(Self { db, dedupe_cutoff, failure: OnceLock::new() })
    }

    /// Writes one step of a checkpoint, atomically. It goes to RocksDB's own log, unsynced.
    ///
    /// # Errors
    /// The first failure is final.
    pub fn write(&self, batch: CheckpointBatch) -> Result<(), Error> {
        self.usable()?;
        let mut out = WriteBatch::default();
        let (profiles, history) = (self.family(PROFILES), self.family(HISTORY));
        let (redirects, dedupe) = (self.family(REDIRECTS), self.family(DEDUPE));
        for (id, bytes) in &batch.profiles {
            out.put_cf(profiles, keys::profile(*id), bytes);
        }
        for (id, moment, bytes) in &batch.history {
            out.put_cf(history, keys::history(*id, *moment), bytes);
        }
        for (id, moment) in &batch.delete_history {
            out.delete_cf(history, keys::history(*id, *moment));
        }
        let moves = self.family(MOVES);
        for (id, change) in &batch.moves {
            out.put_cf(moves, keys::moved(*id, change), keys::moved_value(change));
        }
        for id in &batch.delete_redirects {
            out.delete_cf(redirects, keys::profile(*id));
        }
        // After the puts: a profile may have been merged away after its own state was encoded.
        for id in &batch.delete_profiles {
            out.delete_cf(profiles, keys::profile(*id));
        }
        for (gone, survivor) in &batch.redirects {
            out.put_cf(redirects, keys::profile(*gone), keys::profile(*survivor));
        }
        for row in &batch.dedupe {
            out.put_cf(dedupe, row.key.to_be_bytes(), keys::dedupe_value(row));
        }
        self.checked("write", self.db.write(out))
    }

    /// Declares a checkpoint complete; durable with everything before it when this returns.
    ///
    /// # Errors
    /// The first failure is final.
    pub fn seal(&self, meta: &CheckpointMeta) -> Result<(), Error> {
        self.seal_with(meta, &[])
    }

    /// As [`Store::seal`], together with rows that must be there exactly when the checkpoint is.
    ///
    /// # Errors
    /// The first failure is final.
    pub fn seal_with(&self, meta: &CheckpointMeta, rows: &[Row]) -> Result<(), Error> {
        let mut out = self.batch_of(rows);
        out.put_cf(self.family(META), keys::CHECKPOINT, codec::encode(META_VERSION, meta));
        self.write_synced("seal a checkpoint", out)
    }

    /// Writes rows together, ahead of the seal that makes them durable. For rows that a replay of the
    /// journal, from the last seal or from the next, leaves as it finds them or brings up to date.
    ///
    /// # Errors
    /// The first failure is final.
    pub fn put_rows(&self, rows: &[Row]) -> Result<(), Error> {
        self.usable()?;
        let out = self.batch_of(rows);
        self.checked("write rows", self.db.write(out))
    }

    fn batch_of(&self, rows: &[Row]) -> WriteBatch {
        let mut out = WriteBatch::default();
        for row in rows {
            let family = self.family(row.rows.family());
            match &row.value {
                Some(value) => out.put_cf(family, &row.key, value),
                None => out.delete_cf(family, &row.key),
            }
        }
        out
    }

    /// Hands every row of a family whose key starts with `prefix` to `each`, in key order, until it says false.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn rows(&self, rows: Rows, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), Error> {
        self.usable()?;
        let mut read = ReadOptions::default();
        read.set_total_order_seek(true);
        let mut found = self.db.raw_iterator_cf_opt(self.family(rows.family()), read);
        found.seek(prefix);
        while let Some((key, value)) = found.item() {
            if !key.starts_with(prefix) || !each(key, value) {
                break;
            }
            found.next();
        }
        self.checked("read rows", found.status())
    }

    /// One row of a family.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn row(&self, rows: Rows, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.get(rows.family(), key)
    }

    /// The membership changes of a profile, oldest first.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn moves(&self, id: ProfileId) -> Result<Vec<MembershipChange>, Error> {
        self.usable()?;
        let prefix = keys::profile(id);
        let mut read = ReadOptions::default();
        read.set_total_order_seek(true);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(MOVES), read);
        rows.seek(prefix);
        let mut found = Vec::new();
        while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(&prefix)) {
            found.push(keys::parse_moved(key, value).ok_or_else(|| corrupt("a membership change", "its shape"))?);
            rows.next();
        }
        self.checked("read membership changes", rows.status())?;
        Ok(found)
    }

    /// The last sealed checkpoint.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it cannot be decoded; a fault of the store.
    pub fn checkpoint_meta(&self) -> Result<Option<CheckpointMeta>, Error> {
        let Some(bytes) = self.get(META, keys::CHECKPOINT)? else {
            return Ok(None);
        };
        let decoded = codec::decode(&bytes).map_err(|e| corrupt("the checkpoint's record", e))?;
        Ok(Some(decoded.1))
    }

    /// About how many profiles there are: for a progress line.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn profiles_estimate(&self) -> Result<u64, Error> {
        self.usable()?;
        let estimate = self.db.property_int_value_cf(self.family(PROFILES), "rocksdb.estimate-num-keys");
        Ok(self.checked("estimate", estimate)?.unwrap_or(0))
    }

    /// Hands every profile to `each`, in the order of their ids. The bytes are the store's only for the call.
    ///
    /// # Errors
    /// A fault of the store; what was handed over by then is right.
    pub fn load_profiles(&self, mut each: impl FnMut(ProfileId, &[u8])) -> Result<(), Error> {
        self.scan(PROFILES, |key, value| {
            each(keys::parse_profile(key).ok_or_else(|| corrupt("a profile's key", "its length"))?, value);
            Ok(())
        })
    }

    /// Every redirect: a profile that was merged away, and the one that survived.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn redirects(&self) -> Result<Vec<(ProfileId, ProfileId)>, Error> {
        let mut found = Vec::new();
        self.scan(REDIRECTS, |key, value| {
            let pair = keys::parse_profile(key).zip(keys::parse_profile(value));
            found.push(pair.ok_or_else(|| corrupt("a redirect", "its length"))?);
            Ok(())
        })?;
        Ok(found)
    }

    /// A profile's log entries, in the order of `(t, seq)`.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn history(&self, id: ProfileId) -> Result<Vec<(Moment, Vec<u8>)>, Error> {
        self.history_from(id, Moment { t: Millis::MIN, seq: Seq(0) }, |_| true)
    }

    /// A profile's log entries with event times in `range`.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn history_range(&self, id: ProfileId, range: Range<Millis>) -> Result<Vec<(Moment, Vec<u8>)>, Error> {
        self.history_from(id, Moment { t: range.start, seq: Seq(0) }, |moment| moment.t < range.end)
    }

    fn history_from(
        &self,
        id: ProfileId,
        from: Moment,
        within: impl Fn(Moment) -> bool,
    ) -> Result<Vec<(Moment, Vec<u8>)>, Error> {
        self.usable()?;
        let mut read = ReadOptions::default();
        // One profile's entries share the prefix that the Bloom filters know.
        read.set_prefix_same_as_start(true);
        let start = keys::history(id, from);
        let rows = self.db.iterator_cf_opt(self.family(HISTORY), read, IteratorMode::From(&start, Direction::Forward));
        let mut found = Vec::new();
        for row in rows {
            let (key, value) = self.checked("read history", row)?;
            let moment = keys::parse_history(&key).ok_or_else(|| corrupt("a history key", "its length"))?;
            if !key.starts_with(&start[..keys::HISTORY_PREFIX]) || !within(moment) {
                break;
            }
            found.push((moment, value.into_vec()));
        }
        Ok(found)
    }

    /// The first outcome of the message id with this hash, if it has been written and has not expired.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn dedupe_get(&self, key: u128) -> Result<Option<DedupeRow>, Error> {
        let Some(value) = self.get(DEDUPE, &key.to_be_bytes())? else {
            return Ok(None);
        };
        let row = keys::parse_dedupe(key, &value).ok_or_else(|| corrupt("a message id's row", "its length"))?;
        // Expired rows stay until a compaction meets them; they must not answer until then.
        Ok((row.at.0 >= self.dedupe_cutoff.load(Ordering::Relaxed)).then_some(row))
    }

    /// Forgets message ids that arrived before `cutoff`: at once for [`Self::dedupe_get`], on the disk as
    /// compaction gets to them, within about a day. Never moves back.
    pub fn expire_dedupe(&self, cutoff: Millis) {
        self.dedupe_cutoff.fetch_max(cutoff.0, Ordering::Relaxed);
    }

    /// Stores a catalog under its version; durable when this returns.
    ///
    /// # Errors
    /// The first failure is final.
    pub fn catalog_put(&self, version: u32, bytes: &[u8]) -> Result<(), Error> {
        let mut out = WriteBatch::default();
        out.put_cf(self.family(CATALOG), version.to_be_bytes(), bytes);
        self.write_synced("store a catalog", out)
    }

    /// The catalog of that version.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn catalog_get(&self, version: u32) -> Result<Option<Vec<u8>>, Error> {
        self.get(CATALOG, &version.to_be_bytes())
    }

    /// The catalog with the highest version.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn catalog_latest(&self) -> Result<Option<Vec<u8>>, Error> {
        self.usable()?;
        let newest = self.db.iterator_cf(self.family(CATALOG), IteratorMode::End).next().transpose();
        Ok(self.checked("read the catalog", newest)?.map(|(_, bytes)| bytes.into_vec()))
    }

    /// The versions of all catalogs, ascending.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn catalog_versions(&self) -> Result<Vec<u32>, Error> {
        let mut found = Vec::new();
        self.scan(CATALOG, |key, _| {
            let version = key.try_into().map_err(|_| corrupt("a catalog's key", "its length"))?;
            found.push(u32::from_be_bytes(version));
            Ok(())
        })?;
        Ok(found)
    }

    /// Writes everything that is only in memory and RocksDB's log to table files, and compacts all of it:
    /// nothing that was deleted or has expired is left in them. Takes as long as reading the whole store.
    ///
    /// # Errors
    /// The first failure is final.
    pub fn compact(&self) -> Result<(), Error> {
        self.usable()?;
        for (name, _) in keys::FAMILIES {
            let family = self.family(name);
            self.checked("flush", self.db.flush_cf(family))?;
            let mut force = rocksdb::CompactOptions::default();
            force.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
            self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &force);
        }
        Ok(())
    }

    /// Syncs RocksDB's log and ends its background work. The store is closed when it is dropped.
    ///
    /// # Errors
    /// The first failure is final.
    pub fn close(&self) -> Result<(), Error> {
        self.usable()?;
        let synced = self.checked("sync", self.db.flush_wal(true));
        self.db.cancel_all_background_work(true);
        synced
    }

    /// The first failure, if there was one. The process must exit.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        self.failure.get().map(|(reason, _)| reason.clone())
    }

    fn write_synced(&self, action: &'static str, batch: WriteBatch) -> Result<(), Error> {
        self.usable()?;
        let mut synced = WriteOptions::default();
        // Syncs RocksDB's log as a whole, so the unsynced batches before this one are durable too.
        synced.set_sync(true);
        self.checked(action, self.db.write_opt(batch, &synced))
    }

    fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.usable()?;
        self.checked("read", self.db.get_cf(self.family(family), key))
    }

    fn scan(&self, family: &str, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>) -> Result<(), Error> {
        self.usable()?;
        let mut read = ReadOptions::default();
        read.set_readahead_size(READAHEAD);
        read.fill_cache(false);
        read.set_total_order_seek(true);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family), read);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            each(key, value)?;
            rows.next();
        }
        self.checked("scan", rows.status())
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every family was opened")
    }

    fn usable(&self) -> Result<(), Error> {
        match self.failure.get() {
            None => Ok(()),
            Some((reason, exit_code)) => Err(Error::Stopped { reason: reason.clone(), exit_code: *exit_code }),
        }
    }

    /// Makes the first failure final. RocksDB does not say which errors can be recovered from, so none is
    /// tried (see `docs/adr`).
    fn checked<T>(&self, action: &'static str, result: Result<T, rocksdb::Error>) -> Result<T, Error> {
        result.map_err(|source| {
            let error = Error::Rocks { action, source };
            if self.failure.set((error.to_string(), error.exit_code())).is_ok() {
                tracing::error!(%error, "the store has stopped");
            }
            error
        })
    }
}

impl Rows {
    fn family(self) -> &'static str {
        match self {
            Self::Outbox => OUTBOX,
            Self::Rollups => ROLLUPS,
        }
    }
}

fn corrupt(what: &'static str, reason: impl ToString) -> Error {
    Error::Corrupt { what, reason: reason.to_string() }
}
