//! Opening: read the folder, settle what was found, take up where it ends.

use super::Options;
use super::disk::{Disk, DiskFile};
use super::error::{Error, io};
use super::format::{SEGMENT_HEADER, SegmentHeader};
use super::inner::Live;
use super::recover::{self, Survey};
use super::segment;
use super::watermark::{self, Mark, Watermark};
use lodestone_state::ids::Seq;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The segment being written.
pub(super) struct Active {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    /// Where the next group goes.
    pub(super) offset: u64,
    /// Length of the file: room that needs no new blocks.
    pub(super) capacity: u64,
    /// Chain value of the last group.
    pub(super) chain: u32,
}

impl Active {
    pub(super) fn index(&self) -> u64 {
        self.header.index
    }

    /// Begins a prepared segment. Not synced: the first group's sync covers the header.
    pub(super) fn begin(dir: &Path, file: Arc<dyn DiskFile>, index: u64, first_seq: u64, chain: u32) -> Result<Self, Error> {
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
            if after > 0 {
                return Err(Error::Watermark { path: dir.join(watermark::NAME), what: "there is a checkpoint, but no journal" });
            }
            let mark = Mark { seq: after, segment: 1, offset: 0, base_segment: 1, base_seq: after + 1 };
            let file = Watermark::create(dir, disk, mark)?;
            disk.sync_dir(dir).map_err(io("sync", dir))?;
            (file, mark)
        }
    };
    let mut survey = recover::survey(dir, mark, disk)?;
    if let Some(torn) = &survey.torn {
        tracing::info!(
            segment = torn.segment,
            offset = torn.offset,
            seq = torn.seq.0,
            what = torn.what,
            "journal: dropped an unfinished tail"
        );
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
