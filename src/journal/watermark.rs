//! The watermark: up to where the journal is known to have reached the disk.
//!
//! It is what tells a torn tail (never acknowledged, dropped) from corruption (acknowledged, reported).
//! The file has four slots, 4 KiB apart. Slots 0 and 1 are *hot*: written in turn after every sync and not
//! synced themselves, so after a power failure they may be old or torn. Slots 2 and 3 are *anchored*:
//! written in turn and synced before anything relies on them, so at least one of them can always be
//! read. The slot with the highest counter is the current one.

use super::disk::{Disk, DiskFile};
use super::error::{Error, io};
use super::format::{VERSION, all_zero};
use crc32c::crc32c;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file in the journal's folder.
pub(super) const NAME: &str = "watermark";
const MAGIC: [u8; 8] = *b"LODEMARK";
const SLOT: usize = 64;
const STRIDE: usize = 4096;
const SLOTS: usize = 4;

/// A position in the journal, and where the journal begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Every record up to here is on the disk.
    pub(super) seq: u64,
    /// The segment that holds the end of it,
    pub(super) segment: u64,
    /// and the byte after it.
    pub(super) offset: u64,
    /// Segments with a smaller number are released, whether or not their files are gone yet.
    pub(super) base_segment: u64,
    /// First sequence number of that segment.
    pub(super) base_seq: u64,
}

/// What one slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Blank,
    Bad,
    Newer(u32),
    Mark(u64, Mark),
}

fn encode(counter: u64, mark: Mark) -> [u8; SLOT] {
    let mut out = [0; SLOT];
    out[0..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (i, field) in [counter, mark.seq, mark.segment, mark.offset, mark.base_segment, mark.base_seq].into_iter().enumerate() {
        out[12 + i * 8..20 + i * 8].copy_from_slice(&field.to_le_bytes());
    }
    let crc = crc32c(&out[..60]);
    out[60..64].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Slot {
    if bytes.len() < SLOT || all_zero(bytes) {
        return if all_zero(bytes) { Slot::Blank } else { Slot::Bad };
    }
    if bytes[0..8] != MAGIC {
        return Slot::Bad;
    }
    let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
    if version > VERSION {
        return Slot::Newer(version);
    }
    if bytes[60..64] != crc32c(&bytes[..60]).to_le_bytes() {
        return Slot::Bad;
    }
    let field = |i: usize| u64::from_le_bytes(bytes[12 + i * 8..20 + i * 8].try_into().expect("eight bytes"));
    let mark = Mark { seq: field(1), segment: field(2), offset: field(3), base_segment: field(4), base_seq: field(5) };
    Slot::Mark(field(0), mark)
}

/// What the file says, and how many of its slots cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) mark: Mark,
    pub(super) unreadable: u32,
    counter: u64,
    /// Which anchored slot to write next: never the newer one.
    anchor: usize,
}

/// Reads the file. `Ok(None)` if there is none, or an unfinished one without any segment.
pub(super) fn read(dir: &Path, disk: &dyn Disk) -> Result<Option<Reading>, Error> {
    let path = dir.join(NAME);
    let file = match disk.open(&path, false) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io("open", &path)(e)),
    };
    let mut bytes = vec![0; SLOTS * STRIDE];
    let len = file.read_at(&mut bytes, 0).map_err(io("read", &path))?;
    bytes.truncate(len);
    let slots: [Slot; SLOTS] = std::array::from_fn(|i| {
        let at = (i * STRIDE).min(len);
        decode(&bytes[at..(at + SLOT).min(len)])
    });
    let mut best: Option<(u64, Mark)> = None;
    let mut unreadable = 0;
    for slot in slots {
        match slot {
            Slot::Newer(found) => {
                return Err(Error::Newer { path, found, supported: VERSION });
            }
            Slot::Bad => unreadable += 1,
            Slot::Blank => {}
            Slot::Mark(counter, mark) => {
                if best.is_none_or(|(c, _)| counter > c) {
                    best = Some((counter, mark));
                }
            }
        }
    }
    let age = |i: usize| {
        if let Slot::Mark(counter, _) = slots[i] { Some(counter) } else { None }
    };
    let anchor = usize::from(age(2) > age(3));
    match best {
        Some((counter, mark)) if age(2).or(age(3)).is_some() => Ok(Some(Reading { mark, unreadable, counter, anchor })),
        // The power failed while the file was being created: that comes before the first segment.
        _ if super::segment::list(dir, disk)?.is_empty() => Ok(None),
        _ => Err(Error::Watermark { path, what: "no anchored slot can be read" }),
    }
}

/// The file, open for writing.
pub(super) struct Watermark {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    counter: u64,
    hot: usize,
    anchor: usize,
    mark: Mark,
}

impl Watermark {
    /// Creates the file with `mark` in it, durable except for its name in the folder.
    pub(super) fn create(dir: &Path, disk: &dyn Disk, mark: Mark) -> Result<Self, Error> {
        let path = dir.join(NAME);
        let file = disk.create(&path).map_err(io("create", &path))?;
        file.reserve((SLOTS * STRIDE) as u64).map_err(io("reserve", &path))?;
        file.write_at(&vec![0; SLOTS * STRIDE], 0).map_err(io("write", &path))?;
        // The zeros first: a torn first slot beside zeros would read as an unreadable file.
        file.sync().map_err(io("sync", &path))?;
        let mut this = Self { path, file, counter: 0, hot: 0, anchor: 0, mark };
        this.anchor()?;
        Ok(this)
    }

    /// Opens the file for writing, going on from what was read.
    pub(super) fn open(dir: &Path, disk: &dyn Disk, read: Reading) -> Result<Self, Error> {
        let path = dir.join(NAME);
        let file = disk.open(&path, true).map_err(io("open", &path))?;
        Ok(Self { path, file, counter: read.counter, hot: 0, anchor: read.anchor, mark: read.mark })
    }

    /// Notes a new end of what is on the disk. One small write into the page cache, no sync.
    pub(super) fn advance(&mut self, seq: u64, segment: u64, offset: u64) -> Result<(), Error> {
        self.mark = Mark { seq, segment, offset, ..self.mark };
        self.put(self.hot)?;
        self.hot = 1 - self.hot;
        Ok(())
    }

    /// Moves the beginning of the journal; durable when this returns.
    pub(super) fn rebase(&mut self, base_segment: u64, base_seq: u64) -> Result<(), Error> {
        self.mark = Mark { base_segment, base_seq, ..self.mark };
        self.anchor()
    }

    /// Replaces the mark as a whole; durable when this returns.
    pub(super) fn replace(&mut self, mark: Mark) -> Result<(), Error> {
        self.mark = mark;
        self.anchor()
    }

    /// Writes and syncs an anchored slot.
    pub(super) fn anchor(&mut self) -> Result<(), Error> {
        self.put(2 + self.anchor)?;
        self.anchor = 1 - self.anchor;
        self.file.sync().map_err(io("sync", &self.path))
    }

    fn put(&mut self, slot: usize) -> Result<(), Error> {
        self.counter += 1;
        let bytes = encode(self.counter, self.mark);
        self.file.write_at(&bytes, (slot * STRIDE) as u64).map_err(io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::SimDisk;
    use super::*;

    const DIR: &str = "/j";

    fn made(disk: &SimDisk) -> Watermark {
        disk.create_dir(Path::new(DIR)).unwrap();
        let mark = Mark { seq: 0, segment: 1, offset: 64, base_segment: 1, base_seq: 1 };
        let made = Watermark::create(Path::new(DIR), disk, mark).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        made
    }

    #[test]
    fn the_newest_slot_wins() {
        let disk = SimDisk::new();
        let mut mark = made(&disk);
        for seq in 1..100 {
            mark.advance(seq, 1, 64 + seq).unwrap();
            let read = read(Path::new(DIR), &disk).unwrap().unwrap();
            assert_eq!((read.mark.seq, read.mark.offset, read.unreadable), (seq, 64 + seq, 0));
        }
        mark.rebase(3, 50).unwrap();
        let read = read(Path::new(DIR), &disk).unwrap().unwrap();
        assert_eq!((read.mark.base_segment, read.mark.base_seq, read.mark.seq), (3, 50, 99));
    }

    // I-15b: whatever a power failure leaves of the unsynced slots, a mark that was synced is read.
    #[test]
    fn a_power_failure_leaves_a_readable_mark() {
        for seed in 0..300 {
            let disk = SimDisk::new();
            let mut mark = made(&disk);
            mark.advance(5, 1, 500).unwrap();
            mark.rebase(2, 4).unwrap();
            for seq in 6..6 + seed % 7 {
                mark.advance(seq, 2, 600).unwrap();
            }
            let after = disk.crash(seed);
            let read = read(Path::new(DIR), &after).unwrap().unwrap();
            assert!(read.mark.seq >= 5 && read.mark.base_segment == 2, "seed {seed}: {read:?}");
        }
    }

    #[test]
    fn a_newer_format_is_refused() {
        let disk = SimDisk::new();
        made(&disk);
        let path = Path::new(DIR).join(NAME);
        disk.open(&path, true).unwrap().write_at(&[9], (2 * STRIDE + 8) as u64).unwrap();
        assert!(matches!(read(Path::new(DIR), &disk), Err(Error::Newer { found: 9, supported: 1, .. })));
    }

    #[test]
    fn a_mark_that_cannot_be_read_at_all_is_an_error() {
        let disk = SimDisk::new();
        made(&disk);
        let path = Path::new(DIR).join(NAME);
        disk.open(&path, true).unwrap().write_at(&[0xff; 32], (2 * STRIDE + 20) as u64).unwrap();
        assert!(read(Path::new(DIR), &disk).unwrap().is_none(), "without segments nothing is lost");
        disk.create(&Path::new(DIR).join("000000000001.journal")).unwrap();
        assert!(matches!(read(Path::new(DIR), &disk), Err(Error::Watermark { .. })));
    }

    // The anchored slot that counts is never the one that is overwritten.
    #[test]
    fn reopening_never_puts_the_newest_anchor_at_risk() {
        for seed in 0..200 {
            let mut disk = SimDisk::new();
            let mut mark = made(&disk);
            for base in 2..6 {
                mark.rebase(base, base * 10).unwrap();
                disk.cut_after(1 + seed % 3);
                let cut = read(Path::new(DIR), &disk).unwrap().unwrap();
                // The power goes while the reopened file is written for the first time.
                if let Ok(mut again) = Watermark::open(Path::new(DIR), &disk, cut) {
                    let _ = again.rebase(base, base * 10);
                }
                disk = disk.crash(seed);
                let read = read(Path::new(DIR), &disk).unwrap().unwrap();
                assert_eq!(read.mark.base_segment, base, "seed {seed}");
                mark = Watermark::open(Path::new(DIR), &disk, read).unwrap();
            }
        }
    }
}
