//! One segment file: creating it full of zeros, reading it, finding where its valid groups end.

use super::disk::{Disk, DiskFile};
use super::error::{Error, io};
use super::format::{GROUP_HEADER, GROUP_MAGIC, GroupHeader, SEGMENT_HEADER, SegmentHeader, SegmentStart, all_zero};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much is written or read at once.
const CHUNK: usize = 1 << 20;
const SUFFIX: &str = ".journal";

/// The file of segment `index`.
pub(super) fn path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:012}{SUFFIX}"))
}

/// The numbers of the segments in the folder, ascending.
pub(super) fn list(dir: &Path, disk: &dyn Disk) -> Result<Vec<u64>, Error> {
    let names = disk.list(dir).map_err(io("list", dir))?;
    let mut found: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(SUFFIX)?.parse().ok()).filter(|index| *index > 0).collect();
    found.sort_unstable();
    Ok(found)
}

/// Creates segment `index` with `bytes` zeros, durable together with its name.
///
/// The zeros are really written: overwriting allocated, written blocks changes no metadata, so that
/// the sync of a group has only its data to wait for and can never find the disk full.
pub(super) fn prepare(dir: &Path, index: u64, bytes: u64, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, Error> {
    let path = path(dir, index);
    if let Some(file) = reusable(&path, bytes, disk) {
        file.sync().map_err(io("sync", &path))?;
        disk.sync_dir(dir).map_err(io("sync", dir))?;
        return Ok(file);
    }
    let file = disk.create(&path).map_err(io("create", &path))?;
    file.reserve(bytes).map_err(io("reserve", &path))?;
    zero(&*file, &path, 0, bytes)?;
    file.sync().map_err(io("sync", &path))?;
    disk.sync_dir(dir).map_err(io("sync", dir))?;
    Ok(file)
}

/// A file that an earlier run prepared and did not use.
fn reusable(path: &Path, bytes: u64, disk: &dyn Disk) -> Option<Arc<dyn DiskFile>> {
    let file = disk.open(path, true).ok()?;
    if file.length().ok()? != bytes {
        return None;
    }
    let mut window = Window::new(file.clone(), path.to_owned()).ok()?;
    window.first_nonzero(0).ok()?.is_none().then_some(file)
}

/// Writes zeros from `from` to `to`.
pub(super) fn zero(file: &dyn DiskFile, path: &Path, from: u64, to: u64) -> Result<(), Error> {
    let zeros = vec![0; CHUNK.min((to - from) as usize)];
    let mut at = from;
    while at < to {
        let n = (to - at).min(zeros.len() as u64);
        file.write_at(&zeros[..n as usize], at).map_err(io("write", path))?;
        at += n;
    }
    Ok(())
}

/// A buffered reader that can look anywhere, fastest going forward.
pub(super) struct Window {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    len: u64,
    start: u64,
    buf: Vec<u8>,
}

impl Window {
    pub(super) fn new(file: Arc<dyn DiskFile>, path: PathBuf) -> Result<Self, Error> {
        let len = file.length().map_err(io("measure", &path))?;
        Ok(Self { file, path, len, start: 0, buf: Vec::new() })
    }

    pub(super) fn open(dir: &Path, index: u64, disk: &dyn Disk) -> Result<Self, Error> {
        let path = path(dir, index);
        let file = disk.open(&path, false).map_err(io("open", &path))?;
        Self::new(file, path)
    }

    /// Length of the file in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `want` bytes at `at`; fewer only at the end of the file.
    pub(super) fn get(&mut self, at: u64, want: usize) -> Result<&[u8], Error> {
        let want = want.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let covered = at >= self.start && at + want as u64 <= self.start + self.buf.len() as u64;
        if !covered {
            let fill = want.max(CHUNK).min((self.len - at) as usize);
            self.buf.resize(fill, 0);
            let got = self.file.read_at(&mut self.buf, at).map_err(io("read", &self.path))?;
            self.buf.truncate(got);
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(&self.buf[from..(from + want).min(self.buf.len())])
    }

    /// Offset of the first byte from `from` on that is not zero.
    pub(super) fn first_nonzero(&mut self, from: u64) -> Result<Option<u64>, Error> {
        let mut at = from;
        while at < self.len {
            let bytes = self.get(at, CHUNK)?;
            if bytes.is_empty() {
                break;
            }
            if !all_zero(bytes) {
                let place = bytes.iter().position(|b| *b != 0).expect("it is not all zero");
                return Ok(Some(at + place as u64));
            }
            at += bytes.len() as u64;
        }
        Ok(None)
    }

    pub(super) fn start(&mut self) -> Result<SegmentStart, Error> {
        Ok(SegmentHeader::decode(self.get(0, SEGMENT_HEADER)?))
    }

    /// The group at `at`, header and records, if it is intact.
    pub(super) fn group(&mut self, at: u64) -> Result<Option<(GroupHeader, &[u8])>, Error> {
        let Some(header) = GroupHeader::decode(self.get(at, GROUP_HEADER)?) else {
            return Ok(None);
        };
        if header.count == 0 || header.bytes() as u64 > self.len - at {
            return Ok(None);
        }
        let bytes = self.get(at, header.bytes())?;
        Ok(header.intact(bytes).then_some((header, bytes)))
    }

    /// Searches from `from` on for an intact group that `accept` wants.
    pub(super) fn find_group(&mut self, from: u64, accept: impl Fn(&GroupHeader) -> bool) -> Result<Option<GroupHeader>, Error> {
        let mut at = from;
        while at + GROUP_HEADER as u64 <= self.len {
            let bytes = self.get(at, CHUNK)?;
            let read = bytes.len();
            if read < GROUP_HEADER {
                break;
            }
            let places: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| *w == GROUP_MAGIC).map(|(i, _)| i).collect();
            for place in places {
                if let Some((header, _)) = self.group(at + place as u64)?
                    && accept(&header)
                {
                    return Ok(Some(header));
                }
            }
            // The magic may lie across the edge of this chunk.
            at += (read - 3).max(1) as u64;
        }
        Ok(None)
    }
}

/// What the valid part of a segment holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contents {
    pub(super) header: SegmentHeader,
    /// Groups and records read.
    pub(super) groups: u64,
    pub(super) records: u64,
    /// The byte after the last valid group.
    pub(super) end: u64,
    /// Sequence number that comes next.
    pub(super) next_seq: u64,
    /// Chain value of the last valid group.
    pub(super) chain: u32,
    /// First byte after it that is not zero, and what is wrong there.
    pub(super) bad: Option<(u64, &'static str)>,
}

/// Reads a segment from its header on, as far as each group follows from the one before it.
pub(super) fn scan(window: &mut Window, header: SegmentHeader) -> Result<Contents, Error> {
    let mut found = Contents {
        header,
        groups: 0,
        records: 0,
        end: SEGMENT_HEADER as u64,
        next_seq: header.first_seq,
        chain: header.chain,
        bad: None,
    };
    while let Some((group, bytes)) = window.group(found.end)? {
        let what = if group.salt != header.salt {
            "a group of another segment"
        } else if group.first_seq != found.next_seq {
            "a group out of sequence"
        } else if group.chain != found.chain {
            "a group that does not follow from the one before"
        } else {
            found.end += bytes.len() as u64;
            found.groups += 1;
            found.records += u64::from(group.count);
            found.next_seq = group.last_seq() + 1;
            found.chain = group.crc;
            continue;
        };
        found.bad = Some((found.end, what));
        return Ok(found);
    }
    if let Some(at) = window.first_nonzero(found.end)? {
        found.bad = Some((at, "neither an intact group nor zeros"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::sim::SimDisk;
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { index: 1, first_seq: 1, salt: 77, chain: 5 };

    fn group(salt: u64, first_seq: u64, chain: u32) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; GROUP_HEADER];
        bytes.extend_from_slice(&[3, 0, 0, 0, b'a', b'b', b'c']);
        let header = GroupHeader { payload: 0, salt, first_seq, synced: 0, count: 1, chain, crc: 0 };
        let crc = header.seal(&mut bytes);
        (bytes, crc)
    }

    fn scan_of(groups: &[Vec<u8>]) -> Contents {
        let disk = SimDisk::new();
        let dir = Path::new("/j");
        let file = prepare(dir, 1, 4096, &disk).unwrap();
        file.write_at(&[&HEADER.encode()[..], &groups.concat()].concat(), 0).unwrap();
        let mut window = Window::open(dir, 1, &disk).unwrap();
        scan(&mut window, HEADER).unwrap()
    }

    // Each group is intact by itself; only together they are not a log.
    #[test]
    fn a_group_must_follow_from_the_one_before() {
        let (first, crc) = group(77, 1, 5);
        let (second, _) = group(77, 2, crc);
        let good = scan_of(&[first.clone(), second]);
        assert_eq!((good.records, good.next_seq, good.bad), (2, 3, None));
        for (bad, why) in [
            (group(77, 2, crc ^ 1).0, "a group that does not follow from the one before"),
            (group(77, 3, crc).0, "a group out of sequence"),
            (group(78, 2, crc).0, "a group of another segment"),
        ] {
            let found = scan_of(&[first.clone(), bad]);
            assert_eq!((found.records, found.bad.unwrap().1), (1, why));
        }
    }

    #[test]
    fn a_window_reads_across_its_edges() {
        let disk = SimDisk::new();
        let dir = Path::new("/j");
        let bytes = (2 * CHUNK + 100) as u64;
        let file = prepare(dir, 1, bytes, &disk).unwrap();
        let (group, _) = group(1, 9, 0);
        for at in [CHUNK as u64 - 2, CHUNK as u64 - 50, bytes - group.len() as u64] {
            file.write_at(&group, at).unwrap();
            let mut window = Window::open(dir, 1, &disk).unwrap();
            assert_eq!(window.first_nonzero(0).unwrap(), Some(at));
            assert_eq!(window.find_group(0, |g| g.first_seq == 9).unwrap().map(|g| g.count), Some(1), "at {at}");
            zero(&*file, Path::new("x"), at, at + group.len() as u64).unwrap();
        }
    }
}
