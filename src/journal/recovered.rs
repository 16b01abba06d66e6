//! The records found at start, on their way to whoever replays them.

use super::disk::Disk;
use super::error::{Error, io};
use super::format::{GROUP_HEADER, RECORD_HEADER, SEGMENT_HEADER, records};
use super::recover::{Survey, Torn};
use super::segment::Window;
use lodestone_state::ids::Seq;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The records found at start, oldest first. Read again from the files as they are asked for.
///
/// As an iterator it copies each record; [`Recovered::replay`] does not.
pub struct Recovered {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Segment, and the byte after its last valid group.
    parts: std::vec::IntoIter<(u64, u64)>,
    window: Option<(Window, u64, u64)>,
    group: Vec<u8>,
    at: usize,
    seq: u64,
    first: u64,
    last: u64,
    bytes: u64,
    done: u64,
    torn: Option<Torn>,
}

impl Recovered {
    pub(super) fn new(dir: &Path, disk: Arc<dyn Disk>, survey: &Survey, last: u64, after: u64) -> Self {
        let wanted = survey.parts.iter().filter(|part| part.contents.next_seq > after + 1 && part.contents.groups > 0);
        let parts: Vec<(u64, u64)> = wanted.map(|part| (part.contents.header.index, part.contents.end)).collect();
        let first = survey.parts.first().map_or(last + 1, |part| part.contents.header.first_seq).max(after + 1);
        Self {
            dir: dir.to_owned(),
            disk,
            bytes: parts.iter().map(|(_, end)| *end).sum(),
            parts: parts.into_iter(),
            window: None,
            group: Vec::new(),
            at: 0,
            seq: 0,
            first,
            last,
            done: 0,
            torn: survey.torn.clone(),
        }
    }

    /// First record that will come: the one after [`super::Options::start_after`].
    #[must_use]
    pub fn first_seq(&self) -> Seq {
        Seq(self.first)
    }

    /// Last record that will come. Smaller than [`Self::first_seq`] if there is none.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.last)
    }

    /// Records that will come in all.
    #[must_use]
    pub fn records(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Bytes read so far, and bytes in all: for a progress line.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.done, self.bytes)
    }

    /// The unfinished tail that was dropped, if there was one. Not an error.
    #[must_use]
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Hands every record to `apply`, without copying; stops at its first error.
    ///
    /// # Errors
    /// What `apply` returns, or a fault of the disk as the same type.
    pub fn replay<E: From<Error>>(&mut self, mut apply: impl FnMut(Seq, &[u8]) -> Result<(), E>) -> Result<(), E> {
        while self.load()? {
            let mut seq = self.seq;
            for record in records(&self.group[self.at..]) {
                let record = record.expect("the group was checked");
                if seq >= self.first {
                    apply(Seq(seq), record)?;
                }
                seq += 1;
            }
            self.at = self.group.len();
            self.seq = seq;
        }
        Ok(())
    }

    /// Makes `group[at..]` non-empty. False at the end.
    fn load(&mut self) -> Result<bool, Error> {
        while self.at >= self.group.len() {
            let Some((window, at, end)) = &mut self.window else {
                let Some((index, end)) = self.parts.next() else {
                    return Ok(false);
                };
                let window = Window::open(&self.dir, index, &*self.disk)?;
                self.window = Some((window, SEGMENT_HEADER as u64, end));
                self.done += SEGMENT_HEADER as u64;
                continue;
            };
            if *at >= *end {
                self.window = None;
                continue;
            }
            let offset = *at;
            let path = window.path().to_owned();
            let Some((header, bytes)) = window.group(offset)? else {
                // It was intact a moment ago, so the disk does not return what it returned before.
                let gone = std::io::Error::new(std::io::ErrorKind::InvalidData, "the file changed while it was read");
                return Err(io("read again", &path)(gone));
            };
            *at += bytes.len() as u64;
            self.done += bytes.len() as u64;
            self.group.clear();
            self.group.extend_from_slice(&bytes[GROUP_HEADER..]);
            self.at = 0;
            self.seq = header.first_seq;
        }
        Ok(true)
    }
}

impl Iterator for Recovered {
    type Item = Result<(Seq, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.load() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.parts = Vec::new().into_iter();
                    self.window = None;
                    return Some(Err(error));
                }
            }
            let record = records(&self.group[self.at..]).next()?.expect("the group was checked").to_vec();
            self.at += RECORD_HEADER + record.len();
            self.seq += 1;
            if self.seq > self.first {
                return Some(Ok((Seq(self.seq - 1), record)));
            }
        }
    }
}
