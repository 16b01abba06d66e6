//! Checking a journal without changing it: every checksum, the chain, the watermark.

use super::disk::{Disk, RealDisk};
use super::error::Error;
use super::watermark;
use super::{recover, segment};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// First sequence number that the journal holds, or would hold.
    pub first_seq: u64,
    /// Last sequence number that can be read.
    pub last_seq: u64,
    /// Up to here the watermark says that everything is on the disk.
    pub watermark_seq: u64,
    /// Slots of the watermark file that were being written when the machine stopped.
    pub watermark_slots_unfinished: u32,
    /// Oldest first.
    pub segments: Vec<SegmentReport>,
    /// What is corrupt, if anything.
    pub corrupt: Option<String>,
}

impl Report {
    /// Whether nothing that had been synced is missing or changed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.corrupt.is_none()
    }

    /// Records in all segments.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|s| s.records).sum()
    }
}

/// One segment.
#[derive(Clone, Debug, Serialize)]
pub struct SegmentReport {
    /// Name of the file.
    pub file: String,
    /// Its number.
    pub segment: u64,
    /// First sequence number in it, or that would be.
    pub first_seq: u64,
    /// Valid groups.
    pub groups: u64,
    /// Valid records.
    pub records: u64,
    /// Bytes of header and valid groups.
    pub bytes: u64,
    /// In a word.
    pub verdict: Verdict,
}

/// How a segment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every byte is as written.
    Sound,
    /// Prepared, not used yet; or an unfinished beginning of use.
    Unused,
    /// Released: its records are in a checkpoint. Removed at the next start.
    Released,
    /// Ends in something that was being written; dropped at the next start. Not a fault.
    Torn {
        /// First byte of it.
        offset: u64,
    },
    /// Synced bytes are missing or changed.
    Corrupt {
        /// First such byte.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for s in &self.segments {
            write!(
                f,
                "{}  records {}..{}  groups {}  bytes {}  ",
                s.file,
                s.first_seq,
                s.first_seq + s.records,
                s.groups,
                s.bytes
            )?;
            match &s.verdict {
                Verdict::Sound => writeln!(f, "sound")?,
                Verdict::Unused => writeln!(f, "unused")?,
                Verdict::Released => writeln!(f, "released")?,
                Verdict::Torn { offset } => writeln!(f, "unfinished tail from byte {offset}, will be dropped")?,
                Verdict::Corrupt { offset, what } => writeln!(f, "CORRUPT at byte {offset}: {what}")?,
            }
        }
        if let Some(corrupt) = &self.corrupt {
            writeln!(f, "{corrupt}")?;
        }
        write!(
            f,
            "journal: records {} to {} in {} segments, watermark {}{}",
            self.first_seq,
            self.last_seq,
            self.segments.len(),
            self.watermark_seq,
            if self.watermark_slots_unfinished > 0 { " (an unfinished slot was passed over)" } else { "" },
        )
    }
}

/// Checks the journal in `dir`. Corruption is reported, not returned as an error.
///
/// # Errors
/// If the files cannot be read, or are of a newer program.
pub fn verify(dir: &Path) -> Result<Report, Error> {
    verify_on(dir, &RealDisk)
}

/// Like [`verify`], on any disk.
///
/// # Errors
/// If the files cannot be read, or are of a newer program.
pub fn verify_on(dir: &Path, disk: &dyn Disk) -> Result<Report, Error> {
    let mut report = Report {
        first_seq: 0,
        last_seq: 0,
        watermark_seq: 0,
        watermark_slots_unfinished: 0,
        segments: Vec::new(),
        corrupt: None,
    };
    let files = match segment::list(dir, disk) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(report);
        }
        found => found?,
    };
    let read = match watermark::read(dir, disk) {
        Ok(Some(read)) => read,
        Ok(None) if files.is_empty() => return Ok(report),
        Ok(None) => {
            report.corrupt = Some("there are segments, but no watermark".to_owned());
            return Ok(report);
        }
        Err(error @ Error::Watermark { .. }) => {
            report.corrupt = Some(error.to_string());
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let mark = read.mark;
    report.first_seq = mark.base_seq;
    report.watermark_seq = mark.seq;
    report.watermark_slots_unfinished = read.unreadable;
    let (survey, corrupt) = match recover::survey(dir, mark, disk) {
        Ok(survey) => (survey, None),
        Err(Error::Corrupt { path, segment, offset, seq, what }) => {
            report.corrupt = Some(Error::Corrupt { path, segment, offset, seq, what }.to_string());
            report.last_seq = seq.0 - 1;
            (recover::Survey::default(), Some((segment, offset, what)))
        }
        Err(error) => return Err(error),
    };
    if corrupt.is_none() {
        report.last_seq = survey.last_seq(mark.base_seq - 1);
    }
    for index in files {
        let mut window = segment::Window::open(dir, index, disk)?;
        let mut entry = SegmentReport {
            file: window.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
            segment: index,
            first_seq: 0,
            groups: 0,
            records: 0,
            bytes: 0,
            verdict: Verdict::Unused,
        };
        if let super::format::SegmentStart::Header(header) = window.start()? {
            let contents = segment::scan(&mut window, header)?;
            entry.first_seq = header.first_seq;
            entry.groups = contents.groups;
            entry.records = contents.records;
            entry.bytes = contents.end;
            entry.verdict = Verdict::Sound;
        }
        if index < mark.base_segment {
            entry.verdict = Verdict::Released;
        }
        if let Some(torn) = survey.torn.as_ref().filter(|torn| torn.segment == index) {
            entry.verdict = Verdict::Torn { offset: torn.offset };
        }
        if let Some((_, offset, what)) = corrupt.filter(|(segment, ..)| *segment == index) {
            entry.verdict = Verdict::Corrupt { offset, what: what.to_owned() };
        }
        report.segments.push(entry);
    }
    Ok(report)
}
