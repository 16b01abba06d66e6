//! The handle that the rest of the program holds.

use super::disk::Disk;
use super::inner::{Inner, Start, spawn};
use super::open::{self, Opened};
use super::{Error, Options, RECORD_MAX, Recovered, format, keeper, writer};
use crossbeam::sync::Parker;
use lodestone_state::ids::Seq;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use tokio::sync::watch;

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
        let Opened { active, survey, live, mark, last_seq } = open::open(dir, &options, &disk)?;
        let recovered = Recovered::new(dir, disk.clone(), &survey, last_seq, options.start_after.0);
        let parker = Parker::new();
        let start = Start { last_seq, live, mark, next_segment: active.index() + 1 };
        let inner = Arc::new(Inner::new(dir, disk, options, start, parker.unparker().clone()));
        inner.look_at_space();
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
