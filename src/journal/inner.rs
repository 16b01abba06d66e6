//! What the appending threads, the writer and the keeper share.

use super::disk::Disk;
use super::keeper::Desk;
use super::meters::Meters;
use super::watermark::Watermark;
use super::writer;
use super::{Error, Options, error};
use crossbeam::sync::Unparker;
use crossbeam::utils::CachePadded;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// What a group's buffer holds between two writes. The first bytes are kept free for its header.
pub(super) struct Shared {
    pub(super) buf: Vec<u8>,
    pub(super) count: u32,
    pub(super) next_seq: u64,
    /// The writer sleeps and must be woken.
    pub(super) idle: bool,
    /// Somebody waits for a sync up to here, whatever the mode.
    pub(super) sync_wanted: u64,
    pub(super) stop: bool,
    pub(super) failed: bool,
}

/// A live segment as [`super::Journal::release`] sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) index: u64,
    pub(super) first_seq: u64,
}

pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    pub(super) meters: Meters,
    // Appending threads and the writer meet here and nowhere else.
    pub(super) shared: CachePadded<Mutex<Shared>>,
    pub(super) pressed: CachePadded<AtomicBool>,
    pub(super) wake: Unparker,
    pub(super) durable: CachePadded<AtomicU64>,
    pub(super) synced: AtomicU64,
    pub(super) durable_tx: watch::Sender<u64>,
    /// Blocking waiters for `durable` and `synced`.
    pub(super) progress: (Mutex<()>, Condvar),
    pub(super) failure: OnceLock<Arc<Error>>,
    pub(super) failure_tx: watch::Sender<Option<Arc<Error>>>,
    pub(super) writable: AtomicBool,
    pub(super) live: Mutex<VecDeque<Live>>,
    pub(super) mark: Mutex<Watermark>,
    pub(super) desk: Desk,
}

/// Where a journal goes on.
pub(super) struct Start {
    pub(super) last_seq: u64,
    pub(super) live: VecDeque<Live>,
    pub(super) mark: Watermark,
    /// Number of the segment after the one being written.
    pub(super) next_segment: u64,
}

impl Inner {
    pub(super) fn new(dir: &Path, disk: Arc<dyn Disk>, options: Options, start: Start, wake: Unparker) -> Self {
        let last = start.last_seq;
        let shared = Shared {
            buf: writer::fresh_buffer(),
            count: 0,
            next_seq: last + 1,
            idle: false,
            sync_wanted: 0,
            stop: false,
            failed: false,
        };
        Self {
            dir: dir.to_owned(),
            disk,
            meters: Meters::new(),
            shared: CachePadded::new(Mutex::new(shared)),
            pressed: CachePadded::new(AtomicBool::new(false)),
            wake,
            durable: CachePadded::new(AtomicU64::new(last)),
            synced: AtomicU64::new(last),
            durable_tx: watch::Sender::new(last),
            progress: (Mutex::new(()), Condvar::new()),
            failure: OnceLock::new(),
            failure_tx: watch::Sender::new(None),
            writable: AtomicBool::new(true),
            live: Mutex::new(start.live),
            mark: Mutex::new(start.mark),
            desk: Desk::new(start.next_segment),
            options,
        }
    }

    /// Blocks until `counter` reaches `target`.
    pub(super) fn wait(&self, counter: &AtomicU64, target: u64) -> Result<(), Arc<Error>> {
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
    /// lock makes the two exclude each other, so that after a failure was seen nothing moves (L-4).
    pub(super) fn publish_durable(&self, seq: u64) {
        let _guard = self.progress.0.lock();
        if self.failure.get().is_none() {
            self.durable.store(seq, Ordering::Release);
            self.durable_tx.send_replace(seq);
            self.progress.1.notify_all();
        }
    }

    pub(super) fn publish_synced(&self, seq: u64) {
        let _guard = self.progress.0.lock();
        self.synced.store(seq, Ordering::Release);
        self.progress.1.notify_all();
    }

    /// Ends the journal. The first failure counts.
    pub(super) fn fail(&self, error: Error) {
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

    pub(super) fn stop(&self) {
        self.shared.lock().stop = true;
        self.wake.unpark();
    }

    /// Updates `writable` from the disk's free space. Being unable to ask is no reason to refuse.
    pub(super) fn look_at_space(&self) {
        let Ok(free) = self.disk.free_bytes(&self.dir) else {
            return;
        };
        let reserve = self.options.min_free_bytes;
        // Coming back takes a quarter more than leaving, so that the edge does not flap.
        let needed = if self.writable.load(Ordering::Relaxed) { reserve } else { reserve + reserve / 4 };
        let writable = free >= needed && self.desk.has_room();
        if self.writable.swap(writable, Ordering::Relaxed) != writable {
            tracing::warn!(writable, free_bytes = free, reserve_bytes = reserve, "journal: free space");
        }
    }
}

/// Starts a background thread. If it panics the journal fails: what it did not do is not durable.
pub(super) fn spawn(name: &str, inner: &Arc<Inner>, run: impl FnOnce(Arc<Inner>) + Send + 'static) -> JoinHandle<()> {
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
