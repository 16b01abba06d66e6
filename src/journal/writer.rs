//! The writer thread: swaps the shared buffer, writes one group, syncs, publishes; and rolls segments.

use super::disk::{Disk, DiskFile};
use super::error::{Error, io};
use super::format::{GROUP_HEADER, GroupHeader, SEGMENT_HEADER, SegmentHeader};
use super::recover::{self, Survey};
use super::segment;
use super::watermark::{self, Mark, Watermark};
use super::{Inner, Live, Options, SyncMode};
use crossbeam::sync::Parker;
use lodestone_state::ids::Seq;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A buffer that grew beyond this is given back after its group is written.
const BUFFER_KEPT: usize = 8 << 20;

/// How long a stop waits for room when the disk is full, before what is unwritten is given up. None of
/// it has been acknowledged.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// An empty group: the header's place alone.
pub(super) fn fresh_buffer() -> Vec<u8> {
    let mut buf = Vec::with_capacity(1 << 20);
    buf.resize(GROUP_HEADER, 0);
    buf
}

/// The segment being written.
pub(super) struct Active {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    header: SegmentHeader,
    /// Where the next group goes.
    offset: u64,
    /// Length of the file: room that needs no new blocks.
    capacity: u64,
    /// Chain value of the last group.
    chain: u32,
}

impl Active {
    pub(super) fn index(&self) -> u64 {
        self.header.index
    }

    /// Begins a prepared segment. Not synced: the first group's sync covers the header.
    fn begin(dir: &Path, file: Arc<dyn DiskFile>, index: u64, first_seq: u64, chain: u32) -> Result<Self, Error> {
        let path = segment::path(dir, index);
        let salt = getrandom::u64().map_err(|e| io("draw a salt for", &path)(std::io::Error::other(e.to_string())))?;
        let header = SegmentHeader { index, first_seq, salt, chain };
        file.write_at(&header.encode(), 0).map_err(io("write", &path))?;
        let capacity = file.length().map_err(io("measure", &path))?;
        Ok(Self { file, path, header, offset: SEGMENT_HEADER as u64, capacity, chain })
    }
}

/// A journal that has been read and settled and can be written to.
pub(super) struct Opened {
    pub(super) active: Active,
    pub(super) survey: Survey,
    pub(super) live: VecDeque<Live>,
    pub(super) mark: Watermark,
    pub(super) last_seq: u64,
}

/// Reads the folder, repairs the torn tail, makes the valid prefix durable.
pub(super) fn open(dir: &Path, options: &Options, disk: &Arc<dyn Disk>) -> Result<Opened, Error> {
    let disk = &**disk;
    disk.create_dir(dir).map_err(io("create", dir))?;
    let after = options.start_after.0;
    let (mut file, mark) = match watermark::read(dir, disk)? {
        Some(read) => {
            if read.unreadable > 0 {
                tracing::info!(slots = read.unreadable, "journal: unfinished watermark, an older one is used");
            }
            (Watermark::open(dir, disk, read)?, read.mark)
        }
        None => {
            if let Some(index) = segment::list(dir, disk)?.first() {
                tracing::debug!(segment = index, "journal: segments without a watermark");
                return Err(Error::Watermark { path: dir.join(watermark::NAME), what: "there are segments, but no watermark" });
            }
            let mark = Mark { seq: after, segment: 1, offset: 0, base_segment: 1, base_seq: after + 1 };
            let file = Watermark::create(dir, disk, mark)?;
            disk.sync_dir(dir).map_err(io("sync", dir))?;
            (file, mark)
        }
    };
    let mut survey = recover::survey(dir, mark, disk)?;
    if let Some(torn) = &survey.torn {
        tracing::info!(segment = torn.segment, offset = torn.offset, seq = torn.seq.0, what = torn.what,
            "journal: dropped an unfinished tail");
    }
    if mark.base_seq > after + 1 {
        return Err(Error::Corrupt {
            path: segment::path(dir, mark.base_segment),
            segment: mark.base_segment,
            offset: 0,
            seq: Seq(after + 1),
            what: "records after the checkpoint were released: the checkpoint is older than the journal",
        });
    }
    let mut last_seq = survey.last_seq(mark.base_seq - 1);
    let mut fresh = None;
    if last_seq < after {
        // Without a sync per group a power failure can leave the journal behind the checkpoint. All it
        // holds is in the checkpoint then; it starts anew after it, so that no number is used twice.
        let index = survey.parts.last().map_or(mark.base_segment, |p| p.contents.header.index + 1);
        tracing::warn!(journal = last_seq, checkpoint = after, "journal: behind the checkpoint, starting after it");
        survey.released.extend(survey.parts.drain(..).map(|part| part.contents.header.index));
        last_seq = after;
        fresh = Some(index);
    } else if survey.parts.is_empty() {
        fresh = Some(mark.base_segment);
    }
    let mut live: VecDeque<Live> = survey
        .parts
        .iter()
        .map(|part| Live { index: part.contents.header.index, first_seq: part.contents.header.first_seq })
        .collect();
    let active = match (fresh, survey.parts.last()) {
        (None, Some(part)) => {
            let index = part.contents.header.index;
            let handle = recover::settle(dir, part, mark, disk)?;
            Active {
                file: handle,
                path: segment::path(dir, index),
                header: part.contents.header,
                offset: part.contents.end,
                capacity: part.len,
                chain: part.contents.chain,
            }
        }
        (fresh, _) => {
            let index = fresh.unwrap_or(mark.base_segment);
            // The mark first: a segment that the mark does not lead to would look like corruption.
            file.replace(Mark { seq: last_seq, segment: index, offset: 0, base_segment: index, base_seq: last_seq + 1 })?;
            let handle = segment::prepare(dir, index, options.segment_bytes, disk)?;
            let active = Active::begin(dir, handle, index, last_seq + 1, 0)?;
            active.file.sync().map_err(io("sync", &active.path))?;
            live.push_back(Live { index, first_seq: last_seq + 1 });
            active
        }
    };
    let base = live[0];
    file.replace(Mark {
        seq: last_seq,
        segment: active.index(),
        offset: active.offset,
        base_segment: base.index,
        base_seq: base.first_seq,
    })?;
    // Only now: what goes is outside the journal for certain. One prepared segment may stay for the keeper.
    let keep = active.index() + 1;
    for index in survey.released.iter().chain(survey.spare.iter().filter(|i| **i != keep && **i != active.index())) {
        let path = segment::path(dir, *index);
        disk.remove(&path).map_err(io("remove", &path))?;
    }
    disk.sync_dir(dir).map_err(io("sync", dir))?;
    Ok(Opened { active, survey, live, mark: file, last_seq })
}

/// What the writer does next.
enum Work {
    Group { first_seq: u64, count: u32 },
    Sync,
    Stop,
    Failed,
}

struct Writer {
    inner: Arc<Inner>,
    active: Active,
    parker: Parker,
    /// The group being written; swapped with the shared one.
    group: Vec<u8>,
    written: u64,
    synced: u64,
    last_sync: Instant,
}

/// The thread's body. Ends after a stop or a failure.
pub(super) fn run(inner: Arc<Inner>, active: Active, parker: Parker) {
    let synced = inner.synced.load(Ordering::Acquire);
    let mut writer =
        Writer { inner, active, parker, group: fresh_buffer(), written: synced, synced, last_sync: Instant::now() };
    writer.inner.meters.segments(writer.inner.live.lock().len());
    if let Err(error) = writer.serve() {
        writer.inner.fail(error);
    }
    writer.inner.desk.stop();
}

impl Writer {
    fn serve(&mut self) -> Result<(), Error> {
        loop {
            match self.next() {
                Work::Group { first_seq, count } => self.write(first_seq, count)?,
                Work::Sync => self.sync()?,
                Work::Stop => {
                    self.sync()?;
                    return self.inner.mark.lock().anchor();
                }
                Work::Failed => return Ok(()),
            }
        }
    }

    /// Waits for something to do.
    fn next(&mut self) -> Work {
        loop {
            let pace = match self.inner.options.sync {
                SyncMode::Interval(pace) if self.written > self.synced => Some(self.last_sync + pace),
                _ => None,
            };
            let mut shared = self.inner.shared.lock();
            if shared.failed {
                return Work::Failed;
            }
            if shared.sync_wanted > self.synced && self.written > self.synced && self.written >= shared.sync_wanted {
                return Work::Sync;
            }
            if pace.is_some_and(|due| due <= Instant::now()) {
                return Work::Sync;
            }
            if shared.count > 0 {
                std::mem::swap(&mut shared.buf, &mut self.group);
                let count = std::mem::take(&mut shared.count);
                let first_seq = shared.next_seq - u64::from(count);
                shared.idle = false;
                drop(shared);
                self.inner.pressed.store(false, Ordering::Relaxed);
                return Work::Group { first_seq, count };
            }
            if shared.stop {
                return Work::Stop;
            }
            shared.idle = true;
            drop(shared);
            match pace {
                Some(due) => self.parker.park_deadline(due),
                None => self.parker.park(),
            }
        }
    }

    fn write(&mut self, first_seq: u64, count: u32) -> Result<(), Error> {
        let bytes = self.group.len() as u64;
        let begun = self.active.offset > SEGMENT_HEADER as u64;
        if begun && self.active.offset + bytes > self.active.capacity {
            self.roll(first_seq)?;
        }
        let header = GroupHeader {
            payload: 0,
            salt: self.active.header.salt,
            first_seq,
            synced: self.synced,
            count,
            chain: self.active.chain,
            crc: 0,
        };
        self.active.chain = header.seal(&mut self.group);
        self.make_room(self.active.offset + bytes)?;
        let start = Instant::now();
        self.active.file.write_at(&self.group, self.active.offset).map_err(io("write", &self.active.path))?;
        self.inner.meters.wrote(self.group.len(), count, start.elapsed());
        self.active.offset += bytes;
        self.active.capacity = self.active.capacity.max(self.active.offset);
        self.written = first_seq + u64::from(count) - 1;
        if self.group.capacity() > BUFFER_KEPT {
            self.group = fresh_buffer();
        } else {
            self.group.truncate(GROUP_HEADER);
        }
        match self.inner.options.sync {
            SyncMode::Strict => self.sync(),
            SyncMode::Interval(_) | SyncMode::None => {
                self.inner.publish_durable(self.written);
                Ok(())
            }
        }
    }

    /// Syncs what is written, notes it in the watermark, publishes it.
    fn sync(&mut self) -> Result<(), Error> {
        if self.synced == self.written {
            return Ok(());
        }
        let start = Instant::now();
        self.active.file.sync().map_err(io("sync", &self.active.path))?;
        self.last_sync = Instant::now();
        self.inner.meters.synced(self.last_sync - start);
        self.synced = self.written;
        // Before anybody learns of it: what is acknowledged is never past the watermark.
        self.inner.mark.lock().advance(self.synced, self.active.index(), self.active.offset)?;
        self.inner.publish_synced(self.synced);
        if self.inner.options.sync == SyncMode::Strict {
            self.inner.publish_durable(self.synced);
        }
        Ok(())
    }

    /// Goes on in the next segment, after everything in this one is on the disk.
    fn roll(&mut self, first_seq: u64) -> Result<(), Error> {
        self.sync()?;
        let (index, file) = self.next_segment()?;
        self.active = Active::begin(&self.inner.dir, file, index, first_seq, self.active.chain)?;
        let mut live = self.inner.live.lock();
        live.push_back(Live { index, first_seq });
        self.inner.meters.segments(live.len());
        Ok(())
    }

    /// The prepared segment. On a full disk this waits until there is room (J-6).
    fn next_segment(&self) -> Result<(u64, Arc<dyn DiskFile>), Error> {
        let path = segment::path(&self.inner.dir, self.active.index() + 1);
        self.patiently(&path, |patience| Ok(self.inner.desk.take(patience)))
    }

    /// Extends the file for a group that is larger than a whole segment. Waits for room likewise.
    fn make_room(&mut self, needed: u64) -> Result<(), Error> {
        if needed <= self.active.capacity {
            return Ok(());
        }
        self.patiently(&self.active.path, |patience| match self.active.file.reserve(needed) {
            Ok(()) => Ok(Some(())),
            Err(e) => {
                let error = io("reserve", &self.active.path)(e);
                if error.is_full() {
                    std::thread::sleep(patience);
                    Ok(None)
                } else {
                    Err(error)
                }
            }
        })?;
        self.active.capacity = needed;
        Ok(())
    }

    /// Tries until there is room. What is appended meanwhile stays in memory, unacknowledged, and the edge
    /// has been told to refuse more. A stop waits for [`STOP_PATIENCE`] only.
    fn patiently<T>(&self, path: &Path, attempt: impl Fn(Duration) -> Result<Option<T>, Error>) -> Result<T, Error> {
        let mut stopped_at = None;
        loop {
            if let Some(done) = attempt(Duration::from_millis(100))? {
                return Ok(done);
            }
            self.inner.writable.store(false, Ordering::Relaxed);
            let (stop, failed) = {
                let shared = self.inner.shared.lock();
                (shared.stop, shared.failed)
            };
            if failed || stop && stopped_at.get_or_insert_with(Instant::now).elapsed() > STOP_PATIENCE {
                return Err(io("extend", path)(std::io::ErrorKind::StorageFull.into()));
            }
        }
    }
}
