//! Finding the longest valid prefix at start, and telling a torn tail from corruption (I15b).

use super::disk::{Disk, DiskFile};
use super::error::{Error, io};
use super::format::{SEGMENT_HEADER, SegmentStart, VERSION};
use super::segment::{self, Contents, Window};
use super::watermark::Mark;
use lodestone_state::ids::Seq;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tail that was being written when the process or the machine stopped. None of it was ever
/// acknowledged in the `strict` mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Number of the segment.
    pub segment: u64,
    /// First byte that belongs to no valid group.
    pub offset: u64,
    /// First record that is dropped.
    pub seq: Seq,
    /// What was found there.
    pub what: &'static str,
}

/// A segment of the valid prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) contents: Contents,
    /// Length of the file.
    pub(super) len: u64,
}

/// What is in the folder. Finding out changes nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// The valid prefix; the last part is the one to go on in.
    pub(super) parts: Vec<Part>,
    /// Segments past it that hold nothing valid.
    pub(super) spare: Vec<u64>,
    /// Segments before it, released already.
    pub(super) released: Vec<u64>,
    /// Where reading ended early, if it did.
    pub(super) torn: Option<Torn>,
}

/// Reads all segments.
///
/// # Errors
/// `Corrupt` if anything is missing or wrong that had been synced, as told by the watermark, by a later
/// group that says so in its header, or by a later segment (a segment is begun only after the one
/// before has been synced).
pub(super) fn survey(dir: &Path, mark: Mark, disk: &dyn Disk) -> Result<Survey, Error> {
    let mut found = Survey::default();
    let (released, live): (Vec<u64>, Vec<u64>) =
        segment::list(dir, disk)?.into_iter().partition(|index| *index < mark.base_segment);
    found.released = released;
    let mut next = Next { index: mark.base_segment, seq: mark.base_seq, chain: None };
    for (at, index) in live.iter().copied().enumerate() {
        let mut window = Window::open(dir, index, disk)?;
        let path = window.path().to_owned();
        let wrong = |what| Problem { path: path.clone(), segment: index, offset: 0, seq: next.seq, what };
        let header = match window.start()? {
            SegmentStart::Newer(version) => {
                return Err(Error::Newer { path, found: version, supported: VERSION });
            }
            SegmentStart::Header(header) if index == next.index && header.index == index => {
                if header.first_seq == next.seq && next.chain.is_none_or(|chain| chain == header.chain) {
                    Ok(header)
                } else {
                    Err(wrong("the segment does not follow from what is before it"))
                }
            }
            SegmentStart::Header(_) => Err(wrong("a segment before it is missing, or the file was renamed")),
            SegmentStart::Blank => match window.first_nonzero(0)? {
                None => {
                    // Prepared and never used; whatever comes after it must be unused as well.
                    found.spare.push(index);
                    continue;
                }
                Some(_) => Err(wrong("the header is missing")),
            },
            SegmentStart::Bad => Err(wrong("the header is damaged")),
        };
        let problem = match header {
            Err(problem) => Some(problem),
            Ok(_) if !found.spare.is_empty() => Some(wrong("it follows an unused segment")),
            Ok(header) => {
                let contents = segment::scan(&mut window, header)?;
                found.parts.push(Part { contents, len: window.len() });
                next = Next { index: index + 1, seq: contents.next_seq, chain: Some(contents.chain) };
                contents.bad.map(|(offset, what)| Problem { path, segment: index, offset, seq: contents.next_seq, what })
            }
        };
        if let Some(problem) = problem {
            judge(&problem, mark, dir, &live[at..], disk)?;
            found.torn =
                Some(Torn { segment: problem.segment, offset: problem.offset, seq: Seq(problem.seq), what: problem.what });
            found.spare.extend(&live[at + usize::from(found.ends_in(index))..]);
            break;
        }
    }
    // The prefix may also simply end too early: a file is missing or was emptied.
    if mark.seq >= next.seq {
        let last = found.parts.last();
        return Err(Error::Corrupt {
            path: segment::path(dir, last.map_or(mark.base_segment, |p| p.contents.header.index)),
            segment: last.map_or(mark.base_segment, |p| p.contents.header.index),
            offset: last.map_or(0, |p| p.contents.end),
            seq: Seq(next.seq),
            what: "synced records are missing",
        });
    }
    Ok(found)
}

impl Survey {
    /// Whether segment `index` is the last of the valid prefix.
    fn ends_in(&self, index: u64) -> bool {
        self.parts.last().is_some_and(|part| part.contents.header.index == index)
    }

    /// The last valid sequence number; `before` if there is none.
    pub(super) fn last_seq(&self, before: u64) -> u64 {
        self.parts.last().map_or(before, |part| part.contents.next_seq - 1)
    }
}

/// What the next segment must begin with.
struct Next {
    index: u64,
    seq: u64,
    chain: Option<u32>,
}

/// A place where reading cannot go on.
struct Problem {
    path: PathBuf,
    segment: u64,
    offset: u64,
    seq: u64,
    what: &'static str,
}

/// Decides whether the record that should stand at the problem had been synced: then it is corruption.
/// `rest` begins with the problem's segment.
fn judge(problem: &Problem, mark: Mark, dir: &Path, rest: &[u64], disk: &dyn Disk) -> Result<(), Error> {
    let corrupt = || Error::Corrupt {
        path: problem.path.clone(),
        segment: problem.segment,
        offset: problem.offset,
        seq: Seq(problem.seq),
        what: problem.what,
    };
    if mark.seq >= problem.seq {
        return Err(corrupt());
    }
    for (i, index) in rest.iter().copied().enumerate() {
        let mut window = Window::open(dir, index, disk)?;
        let salt = match window.start()? {
            SegmentStart::Header(header) => {
                // An intact header in the wrong place is no torn write. And one behind the problem says
                // that the segment with the problem was synced to its end.
                if i > 0 || problem.offset == 0 {
                    return Err(corrupt());
                }
                Some(header.salt)
            }
            _ => None,
        };
        let from = if i == 0 { problem.offset.max(SEGMENT_HEADER as u64) } else { SEGMENT_HEADER as u64 };
        let proof = window.find_group(from, |group| {
            salt.is_none_or(|salt| salt == group.salt) && group.first_seq >= problem.seq && group.synced >= problem.seq
        })?;
        if proof.is_some() {
            return Err(corrupt());
        }
    }
    Ok(())
}

/// Makes the valid prefix durable as it stands, and what follows it zero.
///
/// Pages that a failed sync left behind can be read here although the disk never got them; syncing again
/// would not write them. So what lies past the watermark is written once more, then synced.
pub(super) fn settle(dir: &Path, part: &Part, mark: Mark, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, Error> {
    let index = part.contents.header.index;
    let path = segment::path(dir, index);
    let file = disk.open(&path, true).map_err(io("open", &path))?;
    let mut window = Window::new(file.clone(), path.clone())?;
    let synced = if mark.segment == index { mark.offset.clamp(0, part.contents.end) } else { 0 };
    let mut at = synced;
    while at < part.contents.end {
        let bytes = window.get(at, 1 << 20)?;
        let bytes = bytes[..bytes.len().min((part.contents.end - at) as usize)].to_vec();
        file.write_at(&bytes, at).map_err(io("write", &path))?;
        at += bytes.len() as u64;
    }
    if part.contents.bad.is_some() {
        segment::zero(&*file, &path, part.contents.end, part.len)?;
    }
    file.sync().map_err(io("sync", &path))?;
    Ok(file)
}
