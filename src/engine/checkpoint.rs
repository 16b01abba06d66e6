//! Checkpoints: what changed since the last one goes to RocksDB, without stopping anything (I12).
//!
//! A profile is locked only while it is encoded. Its new log entries become history in the same batch
//! that writes its state, so history and state never disagree, and the journal can let go of both.

use super::Engine;
use super::dedupe::key;
use super::history::ENTRY_VERSION;
use crate::storage::{self, CheckpointBatch, CheckpointMeta, DedupeRow};
use crate::telemetry::metrics as m;
use lodestone_state::action::TotalsSnapshot;
use lodestone_state::codec;
use lodestone_state::command::Invalid;
use lodestone_state::ids::{Millis, Seq};
use lodestone_state::profile::Profile;
use lodestone_state::store::{Shared, lock_all};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Encoding version of a profile.
pub(super) const PROFILE_VERSION: u16 = 1;
/// Encoding version of the extras.
pub(super) const EXTRAS_VERSION: u16 = 1;
/// Profiles in one write batch: bounds the memory of a checkpoint.
const BATCH: usize = 512;

/// What a checkpoint holds beside profiles.
#[derive(Serialize, Deserialize)]
pub(super) struct Extras {
    /// Total caps, with the log positions that they include.
    pub(super) totals: TotalsSnapshot,
    /// The invalid-events log.
    pub(super) invalid: Vec<Invalid>,
    /// The catalog version that every profile in it is folded under.
    pub(super) built: u32,
}

/// What one checkpoint did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Profiles written.
    pub profiles: u64,
    /// Bytes written.
    pub bytes: u64,
    /// The journal is not needed up to here.
    pub seq: Seq,
}

/// What stands in a batch for one profile, to be let go of once the batch is written.
struct Taken {
    shared: Shared,
    entries: usize,
    inherited: usize,
    shuffles: u32,
    moves: usize,
    leaving: [usize; 4],
}

impl Engine {
    /// Writes every profile that changed. One at a time; the caller is the checkpointer or shutdown.
    ///
    /// # Errors
    /// A failed write is final: the store refuses everything after it and the process must exit.
    pub fn checkpoint(&self) -> Result<Report, storage::Error> {
        let began = Instant::now();
        // Everything up to here is in the dirty list, since a profile is listed before its record is
        // appended, and in the totals, since a reaction is counted in the moment it is stamped.
        let cut = self.cut_rollups();
        let upto = cut.upto;
        // A profile is listed in the moment it is folded, so what was built by now is written below.
        let built = self.backfill.built();
        let count = self.dirty.len();
        let mut report = Report { seq: upto, ..Report::default() };
        let mut batch = CheckpointBatch::default();
        let mut taken = Vec::new();
        for _ in 0..count {
            let Some(shared) = self.dirty.pop() else { break };
            if self.is_part_of_a_split(&shared) {
                // Parts of one log are written in one batch, and in one of their own: what stands in a batch
                // is of one time, or of profiles that have nothing to do with each other.
                self.write_batch(&mut batch, &mut taken, &mut report)?;
                self.take_parts(&shared, &mut batch, &mut taken);
                self.write_batch(&mut batch, &mut taken, &mut report)?;
                continue;
            }
            take(&shared, &mut shared.lock(), &mut batch, &mut taken);
            if taken.len() >= BATCH {
                self.write_batch(&mut batch, &mut taken, &mut report)?;
            }
        }
        self.write_batch(&mut batch, &mut taken, &mut report)?;
        // A job is in the outbox from the moment that its entry is stamped, and so is what became of it.
        self.write_outbox()?;
        self.totals.settle(upto);
        let extras = Extras { totals: self.totals.snapshot(), invalid: self.invalid.all(), built };
        self.disk.expire_dedupe(self.clock.now().minus(super::dedupe::WINDOW_MS));
        self.journal.sync().map_err(storage::Error::journal)?;
        let meta = CheckpointMeta { seq: upto, extras: codec::encode(EXTRAS_VERSION, &extras) };
        self.seal_rollups(&meta, Vec::new(), cut)?;
        self.journal.release(upto);
        self.dedupe.forget(upto);
        self.stats.checkpoint_at.store(self.clock.now().0.unsigned_abs(), Ordering::Relaxed);
        self.stats.checkpoint_seq.store(upto.0, Ordering::Relaxed);
        m::checkpoint(began.elapsed(), report.bytes);
        Ok(report)
    }

    fn is_part_of_a_split(&self, shared: &Shared) -> bool {
        !shared.lock().leaving.with.is_empty()
    }

    /// Takes a profile together with all that must be written with it, under all their locks at once.
    fn take_parts(&self, shared: &Shared, batch: &mut CheckpointBatch, taken: &mut Vec<Taken>) {
        let mut parts = vec![shared.clone()];
        loop {
            let mut guards = lock_all(&parts);
            // By the ids under which they are known now: they may have been merged again.
            let wanted = guards.iter().flat_map(|profile| &profile.leaving.with).filter_map(|id| self.store.get(*id));
            let missing = wanted.into_iter().find(|part| !parts.iter().any(|have| Arc::ptr_eq(have, part)));
            let Some(missing) = missing else {
                for (part, profile) in parts.iter().zip(&mut guards) {
                    take(part, profile, batch, taken);
                }
                return;
            };
            drop(guards);
            parts.push(missing);
        }
    }

    fn write_batch(
        &self,
        batch: &mut CheckpointBatch,
        taken: &mut Vec<Taken>,
        report: &mut Report,
    ) -> Result<(), storage::Error> {
        if taken.is_empty() {
            return Ok(());
        }
        // The checkpoint never runs ahead of the journal: what is written here is durable there.
        self.journal.sync().map_err(storage::Error::journal)?;
        report.profiles += batch.profiles.len() as u64;
        report.bytes += batch.profiles.iter().map(|(_, b)| b.len() as u64).sum::<u64>();
        report.bytes += batch.history.iter().map(|(_, _, b)| b.len() as u64).sum::<u64>();
        self.disk.write(std::mem::take(batch))?;
        for of in taken.drain(..) {
            forget(&mut of.shared.lock(), &of);
        }
        Ok(())
    }

    /// When the last checkpoint was sealed.
    pub(super) fn checkpoint_at(&self) -> Millis {
        Millis(i64::try_from(self.stats.checkpoint_at.load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// Ids of profiles waiting for a checkpoint, roughly.
    #[must_use]
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }
}

/// Puts one profile into a batch. Nothing of one that was merged away: that is written as its leader's, and
/// the leader is listed too.
fn take(shared: &Shared, profile: &mut Profile, batch: &mut CheckpointBatch, taken: &mut Vec<Taken>) {
    if profile.gone.is_some() || !std::mem::take(&mut profile.dirty) {
        return;
    }
    let id = profile.core.id;
    batch.profiles.push((id, codec::encode(PROFILE_VERSION, &profile.core)));
    for absorbed in &profile.core.absorbed {
        // Gone and redirected in the very batch that holds what became of it.
        batch.delete_profiles.push(*absorbed);
        batch.redirects.push((*absorbed, id));
    }
    let own = profile.tail.iter().map(|entry| (id, entry));
    for (owner, entry) in own.chain(profile.inherited.iter().map(|(owner, entry)| (*owner, entry))) {
        batch.history.push((owner, entry.moment, codec::encode(ENTRY_VERSION, entry)));
        if let Some(message_id) = &entry.message_id {
            batch.dedupe.push(DedupeRow { key: key(message_id), seq: entry.moment.seq, event_id: entry.id, at: entry.at });
        }
    }
    let leaving = &profile.leaving;
    batch.delete_history.extend(&leaving.rows);
    batch.delete_redirects.extend(&leaving.returned);
    let remembered = leaving.remembered.iter();
    batch.dedupe.extend(remembered.map(|of| DedupeRow { key: key(&of.message_id), seq: of.seq, event_id: of.id, at: of.at }));
    batch.moves.extend(profile.moves.iter().map(|change| (id, *change)));
    taken.push(Taken {
        shared: shared.clone(),
        entries: profile.tail.len(),
        inherited: profile.inherited.len(),
        shuffles: profile.shuffles,
        moves: profile.moves.len(),
        leaving: leaving.mark(),
    });
}

/// Lets go of what is on the disk now. Where entries have left memory for another reason since, or the
/// profile was merged away, the next checkpoint writes the same again under the same keys.
fn forget(profile: &mut Profile, of: &Taken) {
    if profile.gone.is_some() {
        return;
    }
    profile.moves.drain(..of.moves.min(profile.moves.len()));
    profile.leaving.settle(of.leaving);
    if profile.shuffles == of.shuffles {
        profile.tail.drain(..of.entries);
        profile.tail.shrink_to(64);
        profile.inherited.drain(..of.inherited);
        profile.inherited.shrink_to(0);
    }
}

impl Engine {
    /// The checkpointer thread: writes every `every`, or sooner when the journal has grown much, until
    /// [`Engine::stop_background`]. A failed write ends it; [`Engine::failed`] tells.
    pub fn run_checkpoints(&self, every: std::time::Duration) {
        let nap = std::time::Duration::from_millis(100);
        let mut last = Instant::now();
        let mut naps = 0_u32;
        while !self.stopping.load(Ordering::Relaxed) {
            std::thread::sleep(nap);
            naps += 1;
            if naps.is_multiple_of(EXPIRE_EVERY) {
                self.expire_sessions();
            }
            let grown = self.journal.last().0.saturating_sub(self.stats.checkpoint_seq.load(Ordering::Relaxed)) > RECORDS_MAX;
            if last.elapsed() < every && !grown {
                continue;
            }
            last = Instant::now();
            match self.checkpoint() {
                Ok(report) => tracing::debug!(profiles = report.profiles, bytes = report.bytes, seq = report.seq.0, "checkpoint"),
                Err(error) => {
                    tracing::error!(%error, "checkpoint failed");
                    return;
                }
            }
        }
    }
}

impl Engine {
    /// Writes the last checkpoint and closes journal and store. The caller has stopped everything that
    /// writes.
    ///
    /// # Errors
    /// A failed write or sync; a restart replays what is durable.
    pub fn close(&self) -> Result<(), storage::Error> {
        self.await_sweep();
        self.checkpoint()?;
        self.journal.close().map_err(storage::Error::journal)?;
        self.disk.close()
    }
}

/// Naps of the checkpointer between two looks for sessions that nobody resumed.
const EXPIRE_EVERY: u32 = 50;

/// Records since the last checkpoint that bring the next one forward: bounds recovery time and tails.
const RECORDS_MAX: u64 = 2_000_000;
