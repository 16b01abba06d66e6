//! The journal: a segmented, append-only, checksummed log with group commit (I9, I15, I15b).
//!
//! Any number of threads hand in records; one writer thread puts whatever piled up while the last group
//! synced into the next group, writes it with one call, syncs once and publishes the new durable
//! sequence number. A second thread prepares segments ahead, removes released ones and watches the
//! free space. The bytes are drawn in `docs/journal-format.md`.
//!
//! * J-1 A record's sequence number is its place in the log: dense, starting after
//!   [`Options::start_after`], in the order of [`Journal::append`] calls.
//! * J-2 In the `strict` mode `durable` never covers a record that a power failure can take away.
//! * J-3 What recovery returns is a prefix of what was appended and holds everything durable.
//! * J-4 A failed write or sync ends the journal: `durable` never moves again.
//! * J-5 A changed byte that had been synced is reported, never skipped.
//! * J-6 A full disk loses nothing: a segment is written full of zeros before it is used, and where the
//!   next one cannot be made, the writer waits with everything in memory, unacknowledged.

pub mod disk;
mod error;
pub mod fault;
mod format;
mod keeper;
pub mod meters;
mod recover;
mod segment;
pub mod sim;
mod verify;
mod watermark;
mod writer;

pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{EXIT_DATA, EXIT_IO, Error};
pub use format::{RECORD_MAX, VERSION};
pub use recover::{Recovered, Torn};
pub use verify::{Report, SegmentReport, Verdict, verify, verify_on};

use crossbeam::sync::{Parker, Unparker};
use crossbeam::utils::CachePadded;
use keeper::Desk;
use lodestone_state::ids::Seq;
use meters::Meters;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use watermark::Watermark;

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
    /// Size of a segment file in bytes, at least 4 KiB. A larger group gets a larger segment.
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

/// What a group's buffer holds between two writes. The first bytes are kept free for its header.
struct Shared {
    buf: Vec<u8>,
    count: u32,
    next_seq: u64,
    /// The writer sleeps and must be woken.
    idle: bool,
    /// Somebody waits for a sync up to here, whatever the mode.
    sync_wanted: u64,
    stop: bool,
    failed: bool,
}

/// A live segment as [`Journal::release`] sees it.
#[derive(Clone, Copy, Debug)]
struct Live {
    index: u64,
    first_seq: u64,
}

struct Inner {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    options: Options,
    meters: Meters,
    // Appending threads and the writer meet here and nowhere else.
    shared: CachePadded<Mutex<Shared>>,
    pressed: CachePadded<AtomicBool>,
    wake: Unparker,
    durable: CachePadded<AtomicU64>,
    synced: AtomicU64,
    durable_tx: watch::Sender<u64>,
    /// Blocking waiters for `durable` and `synced`.
    progress: (Mutex<()>, Condvar),
    failure: OnceLock<Arc<Error>>,
    failure_tx: watch::Sender<Option<Arc<Error>>>,
    writable: AtomicBool,
    live: Mutex<VecDeque<Live>>,
    mark: Mutex<Watermark>,
    desk: Desk,
}

/// An open journal. Share it by `Arc`; dropping it stops its threads after a last sync.
pub struct Journal {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Where [`Journal::append_with`] puts a record's bytes.
pub struct Record<'a>(&'a mut Vec<u8>);

impl Record<'_> {
    /// Appends bytes to the record.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl std::io::Write for Record<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Journal {
    /// Opens the journal in `dir`, creating it if there is none, and finds what it holds.
    ///
    /// Reads every record once to check it; the returned [`Recovered`] reads them again.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if something that had been synced is not as it was written or is missing,
    /// [`Error::Newer`] for a folder of a newer program, [`Error::Io`] if the disk fails.
    pub fn open(dir: &Path, options: Options, disk: Arc<dyn Disk>) -> Result<(Self, Recovered), Error> {
        let options = Options { segment_bytes: options.segment_bytes.max(4096), ..options };
        let opened = writer::open(dir, &options, &disk)?;
        let last = opened.last_seq;
        let recovered = Recovered::new(dir, disk.clone(), &opened.survey, last, options.start_after.0);
        let parker = Parker::new();
        let inner = Arc::new(Inner {
            dir: dir.to_owned(),
            disk,
            meters: Meters::new(),
            shared: CachePadded::new(Mutex::new(Shared {
                buf: writer::fresh_buffer(),
                count: 0,
                next_seq: last + 1,
                idle: false,
                sync_wanted: 0,
                stop: false,
                failed: false,
            })),
            pressed: CachePadded::new(AtomicBool::new(false)),
            wake: parker.unparker().clone(),
            durable: CachePadded::new(AtomicU64::new(last)),
            synced: AtomicU64::new(last),
            durable_tx: watch::Sender::new(last),
            progress: (Mutex::new(()), Condvar::new()),
            failure: OnceLock::new(),
            failure_tx: watch::Sender::new(None),
            writable: AtomicBool::new(true),
            live: Mutex::new(opened.live),
            mark: Mutex::new(opened.mark),
            desk: Desk::new(opened.active.index() + 1),
            options,
        });
        inner.look_at_space();
        let active = opened.active;
        let writer = spawn("journal-writer", &inner, move |inner| writer::run(inner, active, parker));
        let keeper = spawn("journal-keeper", &inner, |inner| keeper::run(&inner));
        Ok((Self { inner, threads: Mutex::new(vec![writer, keeper]) }, recovered))
    }

    /// Appends a record and returns its sequence number. Never waits for the disk.
    ///
    /// May be called under a profile's lock: it takes one short mutex and copies the record. The order
    /// of calls is the order of the log. After a failure the record goes nowhere, and the number it
    /// gets will never become durable.
    ///
    /// # Panics
    /// If the record is longer than [`RECORD_MAX`].
    pub fn append(&self, record: &[u8]) -> Seq {
        self.append_with(|_, out| out.put(record))
    }

    /// Like [`Self::append`], but `write` puts the record straight into the group's buffer and learns its
    /// number first. It runs under the journal's mutex, so it must be quick and must not append.
    ///
    /// # Panics
    /// If the record is longer than [`RECORD_MAX`], or if `write` panics; then no number was used.
    pub fn append_with(&self, write: impl FnOnce(Seq, &mut Record<'_>)) -> Seq {
        let mut guard = self.inner.shared.lock();
        let shared = &mut *guard;
        let seq = shared.next_seq;
        let entry = Entry { start: shared.buf.len(), buf: &mut shared.buf, done: false };
        entry.fill(Seq(seq), write);
        shared.next_seq += 1;
        if shared.failed {
            shared.buf.truncate(format::GROUP_HEADER);
            return Seq(seq);
        }
        shared.count += 1;
        if shared.buf.len() > self.inner.options.pressure_bytes {
            self.inner.pressed.store(true, Ordering::Relaxed);
        }
        let wake = std::mem::take(&mut shared.idle);
        drop(guard);
        if wake {
            self.inner.wake.unpark();
        }
        Seq(seq)
    }

    /// Whether more is buffered than [`Options::pressure_bytes`]: the edge stops reading until it is not.
    #[must_use]
    pub fn pressure(&self) -> bool {
        self.inner.pressed.load(Ordering::Relaxed)
    }

    /// Whether new work may be taken: there is space above the reserve and no failure. Where it is
    /// false the edge refuses with a retryable error; what has been appended is still written.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.inner.writable.load(Ordering::Relaxed) && self.inner.failure.get().is_none()
    }

    /// The last sequence number handed out.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.inner.shared.lock().next_seq - 1)
    }

    /// Everything up to here may be acknowledged.
    #[must_use]
    pub fn durable_now(&self) -> Seq {
        Seq(self.inner.durable.load(Ordering::Acquire))
    }

    /// Follows [`Self::durable_now`]. It does not end at a failure: see [`Self::failed`].
    #[must_use]
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.inner.durable_tx.subscribe()
    }

    /// Everything up to here has been synced, whatever the mode.
    #[must_use]
    pub fn synced(&self) -> Seq {
        Seq(self.inner.synced.load(Ordering::Acquire))
    }

    /// Syncs everything appended before the call, in every mode, and returns how far that is. Blocks.
    ///
    /// A checkpoint calls this before it is sealed, so that the store is never ahead of the journal.
    ///
    /// # Errors
    /// The failure, if the journal has failed.
    pub fn sync(&self) -> Result<Seq, Arc<Error>> {
        let mut shared = self.inner.shared.lock();
        let target = shared.next_seq - 1;
        shared.sync_wanted = shared.sync_wanted.max(target);
        let wake = std::mem::take(&mut shared.idle);
        drop(shared);
        if wake {
            self.inner.wake.unpark();
        }
        self.inner.wait(&self.inner.synced, target)?;
        Ok(Seq(target))
    }

    /// Blocks until `seq` is durable. For tools and tests; the edge awaits [`Self::durable`].
    ///
    /// # Errors
    /// The failure, if the journal has failed.
    pub fn wait_durable(&self, seq: Seq) -> Result<(), Arc<Error>> {
        self.inner.wait(&self.inner.durable, seq.0)
    }

    /// Why the journal stopped, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<Error>> {
        self.inner.failure.get().cloned()
    }

    /// Resolves with the failure when the journal has failed; never otherwise. The process then says why
    /// and exits with [`Error::exit_code`].
    pub fn failed(&self) -> impl Future<Output = Arc<Error>> + Send + use<> {
        let mut failed = self.inner.failure_tx.subscribe();
        // The sender is kept alive by the future, so waiting cannot end without a failure.
        let inner = self.inner.clone();
        async move {
            let _inner = inner;
            match failed.wait_for(Option::is_some).await.map(|error| error.clone()) {
                Ok(Some(error)) => error,
                _ => std::future::pending().await,
            }
        }
    }

    /// Declares everything up to `upto` as contained in a sealed checkpoint: segments that hold nothing
    /// else are removed in the background. The segment being written always stays.
    pub fn release(&self, upto: Seq) {
        self.inner.desk.release(upto.0);
    }

    /// Segment files that hold records, and the first sequence number still in them.
    #[must_use]
    pub fn extent(&self) -> (usize, Seq) {
        let live = self.inner.live.lock();
        (live.len(), Seq(live.front().map_or(0, |segment| segment.first_seq)))
    }

    /// Writes and syncs what was appended, then stops the threads. A second call does nothing.
    ///
    /// # Errors
    /// The failure, if the journal has failed.
    pub fn close(&self) -> Result<(), Arc<Error>> {
        self.inner.stop();
        for thread in self.threads.lock().drain(..) {
            // A panic in there has become the failure that is returned below.
            let _ = thread.join();
        }
        self.failure().map_or(Ok(()), Err)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // The failure, if any, has been published where the process listens.
        let _ = self.close();
    }
}

/// A record while it is being written; taken back if the writing panics.
struct Entry<'a> {
    buf: &'a mut Vec<u8>,
    start: usize,
    done: bool,
}

impl Entry<'_> {
    fn fill(mut self, seq: Seq, write: impl FnOnce(Seq, &mut Record<'_>)) {
        self.buf.extend_from_slice(&[0; format::RECORD_HEADER]);
        let body = self.buf.len();
        write(seq, &mut Record(self.buf));
        let length = self.buf.len() - body;
        assert!(length <= RECORD_MAX, "a record of {length} bytes, limit is {RECORD_MAX}");
        let length = u32::try_from(length).expect("the limit is smaller");
        self.buf[self.start..body].copy_from_slice(&length.to_le_bytes());
        self.done = true;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.buf.truncate(self.start);
        }
    }
}

impl Inner {
    /// Blocks until `counter` reaches `target`.
    fn wait(&self, counter: &AtomicU64, target: u64) -> Result<(), Arc<Error>> {
        let mut guard = self.progress.0.lock();
        loop {
            if counter.load(Ordering::Acquire) >= target {
                return Ok(());
            }
            if let Some(error) = self.failure.get() {
                return Err(error.clone());
            }
            self.progress.1.wait(&mut guard);
        }
    }

    /// Tells everybody that records up to `seq` are durable; nothing once the journal has failed. The
    /// lock makes the two exclude each other, so that after a failure was seen nothing moves (J-4).
    fn publish_durable(&self, seq: u64) {
        let _guard = self.progress.0.lock();
        if self.failure.get().is_none() {
            self.durable.store(seq, Ordering::Release);
            self.durable_tx.send_replace(seq);
            self.progress.1.notify_all();
        }
    }

    fn publish_synced(&self, seq: u64) {
        let _guard = self.progress.0.lock();
        self.synced.store(seq, Ordering::Release);
        self.progress.1.notify_all();
    }

    /// Ends the journal. The first failure counts.
    fn fail(&self, error: Error) {
        let error = Arc::new(error);
        {
            let _guard = self.progress.0.lock();
            if self.failure.set(error.clone()).is_err() {
                return;
            }
            self.progress.1.notify_all();
        }
        tracing::error!(%error, "the journal has stopped");
        {
            let mut shared = self.shared.lock();
            shared.failed = true;
            shared.count = 0;
            shared.buf = writer::fresh_buffer();
        }
        self.failure_tx.send_replace(Some(error));
        self.desk.stop();
        self.wake.unpark();
    }

    fn stop(&self) {
        self.shared.lock().stop = true;
        self.wake.unpark();
    }

    /// Updates `writable` from the disk's free space. Being unable to ask is no reason to refuse.
    fn look_at_space(&self) {
        let Ok(free) = self.disk.free_bytes(&self.dir) else {
            return;
        };
        let reserve = self.options.min_free_bytes;
        // Coming back takes a quarter more than leaving, so that the edge does not flap.
        let needed = if self.writable.load(Ordering::Relaxed) { reserve } else { reserve + reserve / 4 };
        let writable = free >= needed && !self.desk.starved();
        if self.writable.swap(writable, Ordering::Relaxed) != writable {
            tracing::warn!(writable, free_bytes = free, reserve_bytes = reserve, "journal: free space");
        }
    }
}

/// Starts a background thread. If it panics the journal fails: what it did not do is not durable.
fn spawn(name: &str, inner: &Arc<Inner>, run: impl FnOnce(Arc<Inner>) + Send + 'static) -> JoinHandle<()> {
    struct Watch(Arc<Inner>);
    impl Drop for Watch {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.fail(error::io("run", &self.0.dir)(std::io::Error::other("a journal thread panicked")));
            }
        }
    }
    let watch = Watch(inner.clone());
    let body = move || run(watch.0.clone());
    std::thread::Builder::new().name(name.to_owned()).spawn(body).expect("the system can start a thread")
}
