//! The outbox: what is to be done elsewhere because of log entries, until it is done.
//!
//! A job ([`lodestone_state::job`]) is enqueued in the moment its entry is stamped, and what became of it
//! is a journal record of its own. So the outbox is, like a profile, a function of the journal: a
//! checkpoint writes what changed, and a replay of the journal's tail gives the rest.
//!
//! * O-1 Nothing is lost: after any crash every job of a durable entry is there, done, dead or dropped.
//! * O-2 A webhook leaves only once its entry is durable. It may leave twice, under one id; an event of
//!   the same id is stored once.
//! * O-3 One endpoint that hangs or fails holds up its own queue and nobody else's.
//! * O-4 Memory is bounded: beyond a budget the jobs themselves stay on disk, and beyond a number of
//!   waiting jobs the newest of the longest queue are given up, which an operator can undo.
//!
//! * `table`: the jobs in memory, pure: time comes in.
//! * `endpoint`: what shares a host and port: its queue, its limit, its pauses.
//! * `rows`: how a job is written down.
//! * `health`: how the hooks of each definition are doing.

mod endpoint;
pub mod health;
mod rows;
mod table;

pub use table::{Counts, Due, Held, Listed, Stage, Told, Turn};

use crate::storage::{Error, Row, Rows, Store};
use health::Health;
use lodestone_state::command::JobRecord;
use lodestone_state::ids::{Millis, Moment, Seq};
use lodestone_state::job::Job;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use table::Table;
use tokio::sync::Notify;

/// How the outbox is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls at one time. An endpoint that has none under way may always begin one, beyond this number too.
    pub running_max: usize,
    /// Calls at one time to one endpoint.
    pub per_endpoint: usize,
    /// Tries before a job is given up.
    pub tries: u16,
    /// The first pause between tries; each further one is twice as long.
    pub backoff: Duration,
    /// A job that has waited this long without a success is given up.
    pub expire: Duration,
    /// Jobs that may wait.
    pub pending_max: usize,
    /// Given up jobs that are kept.
    pub dead_max: usize,
    /// How long they are kept.
    pub dead_keep: Duration,
    /// Bytes of jobs in memory; beyond it they stay on disk until their turn comes.
    pub memory_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            running_max: 256,
            per_endpoint: 16,
            tries: 5,
            backoff: Duration::from_secs(1),
            expire: Duration::from_secs(24 * 3600),
            pending_max: 200_000,
            dead_max: 100_000,
            dead_keep: Duration::from_secs(30 * 24 * 3600),
            memory_bytes: 64 << 20,
        }
    }
}

/// Rows written in one go: bounds the memory of a checkpoint.
const CHUNK: usize = 1024;

/// All jobs that are not done. Its lock is a leaf: it is taken under the journal's, and nothing under it.
pub struct Outbox {
    table: Mutex<Table>,
    options: Options,
    /// One writer of rows at a time, so that an older state of a job never overwrites a newer one.
    writing: Mutex<()>,
    health: Health,
    wake: Notify,
    /// Events that are not tracked yet. Read without the lock by everyone who might track them.
    tracks: AtomicUsize,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let table = Table::new(options.running_max, options.per_endpoint);
        Self {
            table: Mutex::new(table),
            options,
            writing: Mutex::new(()),
            health: Health::default(),
            wake: Notify::new(),
            tracks: AtomicUsize::new(0),
        }
    }

    /// How it is run.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How the hooks of each definition are doing.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Adds a job whose entry has just been stamped. A job that is there already stays as it is.
    ///
    /// Runs under the journal's lock, so that whoever reads a log position finds the jobs up to it.
    pub fn enqueue(&self, job: Arc<Job>) {
        let mut table = self.table.lock();
        table.enqueue(job);
        self.tracks.store(table.tracks(), Ordering::Relaxed);
        drop(table);
        self.wake.notify_one();
    }

    /// Applies what became of a job. A record about a job that is not there changes nothing.
    pub fn settle(&self, record: &JobRecord) {
        let mut table = self.table.lock();
        table.settle(record);
        self.tracks.store(table.tracks(), Ordering::Relaxed);
        drop(table);
        self.wake.notify_one();
    }

    /// Whether the job is there, done or not.
    #[must_use]
    pub fn holds(&self, id: u128) -> bool {
        self.table.lock().held(id).is_some()
    }

    /// A look at one job.
    pub fn look<T>(&self, id: u128, look: impl FnOnce(&Held) -> T) -> Option<T> {
        self.table.lock().held(id).map(look)
    }

    /// What may be called now, given that the journal is durable up to `durable`, and when to ask again.
    pub fn turn(&self, now: Millis, durable: Seq) -> Turn {
        self.table.lock().turn(now, durable)
    }

    /// The call of a due job ended: its place is free. `told`: what came of it, where it was made.
    pub fn ended(&self, due: &Due, told: Option<Told>, now: Millis) {
        self.table.lock().ended(due.endpoint, told, now);
        self.wake.notify_one();
    }

    /// Takes out every job of the entries at `moments`, which have left their logs. How far each of them was.
    /// A call under way ends as it ends, and nothing is tried again.
    ///
    /// Runs when the erasure is stamped, and when it is replayed: the journal alone says what is left to do.
    pub fn erase(&self, moments: &[Moment]) -> Vec<Stage> {
        let mut table = self.table.lock();
        let stages = moments.iter().flat_map(|moment| table.erase(moment.seq)).collect();
        self.tracks.store(table.tracks(), Ordering::Relaxed);
        stages
    }

    /// Waits until something was enqueued or settled.
    pub async fn notified(&self) {
        self.wake.notified().await;
    }

    /// Ends the present wait.
    pub fn poke(&self) {
        self.wake.notify_one();
    }

    /// How many events wait to be tracked. No lock.
    #[must_use]
    pub fn tracks(&self) -> usize {
        self.tracks.load(Ordering::Relaxed)
    }

    /// The events that wait to be tracked, oldest first, at most `max`; only those whose entry arrived
    /// before `before`.
    #[must_use]
    pub fn waiting_tracks(&self, before: Millis, max: usize) -> Vec<u128> {
        self.table.lock().waiting_tracks(before, max)
    }

    /// The job itself: from memory, or from disk where it was put away.
    ///
    /// # Errors
    /// A fault of the store.
    pub fn job(&self, disk: &Store, id: u128) -> Result<Option<Arc<Job>>, Error> {
        match self.look(id, |held| held.job.clone()) {
            None => Ok(None),
            Some(Some(job)) => Ok(Some(job)),
            Some(None) => Ok(disk.row(Rows::Outbox, &rows::job_key(id))?.and_then(|bytes| rows::job(&bytes)).map(Arc::new)),
        }
    }

    /// Jobs to be given up now: those that waited too long, and those beyond the number that may wait.
    /// At most `max`, each with the reason.
    #[must_use]
    pub fn overdue(&self, now: Millis, max: usize) -> Vec<(u128, &'static str)> {
        let expire_ms = i64::try_from(self.options.expire.as_millis()).unwrap_or(i64::MAX);
        self.table.lock().overdue(now.minus(expire_ms), self.options.pending_max, max)
    }

    /// Jobs to be let go of: given up ones beyond the number or the time that they are kept, and all whose
    /// entry arrived before `kept_from`, where history begins.
    #[must_use]
    pub fn outdated(&self, now: Millis, kept_from: Millis, max: usize) -> Vec<u128> {
        let keep_ms = i64::try_from(self.options.dead_keep.as_millis()).unwrap_or(i64::MAX);
        self.table.lock().outdated(now.minus(keep_ms), kept_from, self.options.dead_max, max)
    }

    /// Ids of the given up jobs of an endpoint, of all where none is named; oldest first, at most `max`.
    #[must_use]
    pub fn dead_of(&self, endpoint: Option<&str>, max: usize) -> Vec<u128> {
        self.table.lock().dead_of(endpoint, max)
    }

    /// One page of a list: waiting jobs oldest first, given up ones newest first.
    #[must_use]
    pub fn list(&self, dead: bool, after: Option<(Seq, u16)>, limit: usize) -> Vec<Listed> {
        self.table.lock().list(dead, after, limit)
    }

    /// Numbers for people and metrics.
    #[must_use]
    pub fn counts(&self, now: Millis) -> Counts {
        self.table.lock().counts(now)
    }

    /// Writes what changed before this call, and lets go of jobs that memory has no room for. `durable`
    /// makes everything durable that the journal holds; it runs before each write, so that nothing stands
    /// on disk that a crash could undo.
    ///
    /// # Errors
    /// A failed write or sync.
    pub fn write(&self, disk: &Store, durable: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock();
        let mut left = self.table.lock().unwritten();
        while left > 0 {
            let now = left.min(CHUNK);
            left -= now;
            let changed = self.table.lock().collect(now);
            let rows: Vec<Row> = changed.iter().flat_map(rows::rows).collect();
            durable()?;
            disk.put_rows(&rows)?;
        }
        self.table.lock().evict(self.options.memory_bytes);
        Ok(())
    }

    /// Whether memory holds more than it should, which a [`Self::write`] would mend.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.table.lock().resident() > self.options.memory_bytes
    }

    /// Reads what checkpoints have written. The journal's tail is replayed over it.
    ///
    /// # Errors
    /// A fault of the store, or rows that this build cannot read.
    pub fn restore(&self, disk: &Store) -> Result<(), Error> {
        let mut table = self.table.lock();
        let mut reader = rows::Reader::default();
        let mut broken = None;
        disk.rows(Rows::Outbox, &[], |key, value| match reader.read(key, value) {
            Ok(Some((job, mark))) => {
                table.restore(job, mark);
                if table.resident() > self.options.memory_bytes {
                    table.evict(self.options.memory_bytes / 2);
                }
                true
            }
            Ok(None) => true,
            Err(reason) => {
                broken = Some(reason);
                false
            }
        })?;
        if let Some(reason) = broken {
            return Err(Error::Corrupt { what: "an outbox row", reason });
        }
        if let Some((job, mark)) = reader.finish() {
            table.restore(job, mark);
        }
        self.tracks.store(table.tracks(), Ordering::Relaxed);
        Ok(())
    }
}
