//! The writer thread: swaps the shared buffer, writes one group, syncs, publishes; and rolls segments.

use super::disk::DiskFile;
use super::error::{Error, io};
use super::format::{GROUP_HEADER, GroupHeader, RECORD_HEADER, SEGMENT_HEADER, records};
use super::inner::{Inner, Live};
use super::open::Active;
use super::{SyncMode, segment};
use crossbeam::sync::Parker;
use std::path::Path;
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
    let mut writer = Writer { inner, active, parker, group: fresh_buffer(), written: synced, synced, last_sync: Instant::now() };
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

    /// Writes what was swapped out, as one group where it fits a segment.
    fn write(&mut self, first_seq: u64, count: u32) -> Result<(), Error> {
        let mut group = std::mem::take(&mut self.group);
        let room = usize::try_from(self.inner.options.segment_bytes).unwrap_or(usize::MAX) - SEGMENT_HEADER;
        if group.len() <= room || count == 1 {
            self.write_group(&mut group, first_seq, count)?;
        } else {
            self.write_parts(&group, room, first_seq)?;
        }
        self.group = if group.capacity() > BUFFER_KEPT {
            fresh_buffer()
        } else {
            group.truncate(GROUP_HEADER);
            group
        };
        Ok(())
    }

    /// Writes a group that is larger than a segment as several that are not: so it never needs more room at
    /// once than a segment. A record that is larger by itself gets a segment that is.
    fn write_parts(&mut self, group: &[u8], room: usize, mut first_seq: u64) -> Result<(), Error> {
        let mut part = fresh_buffer();
        let mut count = 0;
        for record in records(&group[GROUP_HEADER..]) {
            let record = record.expect("the group was built here");
            if count > 0 && part.len() + RECORD_HEADER + record.len() > room {
                self.write_group(&mut part, first_seq, count)?;
                first_seq += u64::from(count);
                count = 0;
                part.truncate(GROUP_HEADER);
            }
            let length = u32::try_from(record.len()).expect("it was checked when it was appended");
            part.extend_from_slice(&length.to_le_bytes());
            part.extend_from_slice(record);
            count += 1;
        }
        self.write_group(&mut part, first_seq, count)
    }

    fn write_group(&mut self, group: &mut [u8], first_seq: u64, count: u32) -> Result<(), Error> {
        let bytes = group.len() as u64;
        let begun = self.active.offset > SEGMENT_HEADER as u64;
        if begun && self.active.offset + bytes > self.active.capacity {
            self.roll(first_seq)?;
        }
        self.make_room(self.active.offset + bytes)?;
        let header = GroupHeader {
            payload: 0,
            salt: self.active.header.salt,
            first_seq,
            synced: self.synced,
            count,
            chain: self.active.chain,
            crc: 0,
        };
        self.active.chain = header.seal(group);
        let start = Instant::now();
        self.active.file.write_at(group, self.active.offset).map_err(io("write", &self.active.path))?;
        self.inner.meters.wrote(group.len(), count, start.elapsed());
        self.active.offset += bytes;
        self.written = first_seq + u64::from(count) - 1;
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

    /// The prepared segment. On a full disk this waits until there is room (L-6).
    fn next_segment(&self) -> Result<(u64, Arc<dyn DiskFile>), Error> {
        let path = segment::path(&self.inner.dir, self.active.index() + 1);
        self.patiently(&path, |patience| Ok(self.inner.desk.take(patience)))
    }

    /// Extends the file for a record that is larger than a whole segment. Waits for room likewise.
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
                self.inner.desk.stalled(false);
                return Ok(done);
            }
            self.inner.desk.stalled(true);
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
