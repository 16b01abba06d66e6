//! A job on disk: what it is, written once, and how it stands, written when that changes.

use super::table::Changed;
use crate::storage::{Row, Rows};
use compact_str::CompactString;
use lodestone_state::codec;
use lodestone_state::ids::Millis;
use lodestone_state::job::Job;
use serde::{Deserialize, Serialize};

/// Encoding version of a job.
const JOB_VERSION: u16 = 1;
/// Encoding version of how it stands.
const MARK_VERSION: u16 = 1;
/// Which part of a job a row holds: the last byte of its key.
const JOB: u8 = 0;
const MARK: u8 = 1;

/// How a job stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Tries so far.
    pub(super) tries: u16,
    /// Not before this.
    pub(super) next: Millis,
    /// Why the last try failed.
    pub(super) reason: CompactString,
    /// When that was.
    pub(super) tried_at: Option<Millis>,
    /// Given up.
    pub(super) dead: bool,
}

fn key(id: u128, part: u8) -> [u8; 17] {
    let mut key = [part; 17];
    key[..16].copy_from_slice(&id.to_be_bytes());
    key
}

/// The key of the row that says what a job is.
pub(super) fn job_key(id: u128) -> [u8; 17] {
    key(id, JOB)
}

/// The job of a row.
pub(super) fn job(bytes: &[u8]) -> Option<Job> {
    match codec::decode::<Job>(bytes) {
        Ok((_, job)) => Some(job),
        Err(error) => {
            tracing::error!(%error, "a job does not decode");
            None
        }
    }
}

/// What is to be written for a change.
pub(super) fn rows(changed: &Changed) -> Vec<Row> {
    let row = |part, value| Row { rows: Rows::Outbox, key: key(changed.id, part).into(), value };
    let Some(mark) = &changed.mark else {
        return vec![row(JOB, None), row(MARK, None)];
    };
    let mark = row(MARK, Some(codec::encode(MARK_VERSION, mark)));
    match &changed.job {
        Some(job) => vec![row(JOB, Some(codec::encode(JOB_VERSION, &**job))), mark],
        None => vec![mark],
    }
}

/// Puts the two rows of each job together as they come by, in the order of their keys.
#[derive(Default)]
pub(super) struct Reader {
    job: Option<Job>,
}

impl Reader {
    /// One more row; the job that is complete with it. An error says what cannot be read.
    pub(super) fn read(&mut self, key: &[u8], value: &[u8]) -> Result<Option<(Job, Mark)>, String> {
        let (id, part) = key.split_at_checked(16).ok_or("a key that is too short")?;
        let id = u128::from_be_bytes(id.try_into().map_err(|_| "a key of the wrong length")?);
        match part {
            [JOB] => {
                let (_, job) = codec::decode::<Job>(value).map_err(|e| e.to_string())?;
                // A job without a mark was never written so; taken as new, it is merely tried once more.
                Ok(self.job.replace(job).map(|job| (job, Mark::default())))
            }
            [MARK] => {
                let (_, mark) = codec::decode::<Mark>(value).map_err(|e| e.to_string())?;
                // A mark alone belongs to a job that is done.
                Ok(self.job.take_if(|job| job.id == id).map(|job| (job, mark)))
            }
            _ => Err(format!("a part {part:?}")),
        }
    }

    /// A job whose mark did not come.
    pub(super) fn finish(&mut self) -> Option<(Job, Mark)> {
        self.job.take().map(|job| (job, Mark::default()))
    }
}
