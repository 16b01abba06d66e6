//! What the journal holds: inputs with every outcome that depends on the outside, ready to be re-applied.

use crate::event::Entry;
use crate::ids::{Millis, ProfileId};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// Version of the encoding; the first byte of every record.
pub const VERSION: u8 = 2;

/// One journal record. Its log position is its place in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// An entry of one profile's log.
    Entry {
        /// Whose.
        profile: ProfileId,
        /// Version of the plan under which it was written: what follows from it elsewhere ([`crate::job`])
        /// is decided by that one, also when it is decided again after a crash.
        plan: u32,
        /// What; its log position is filled in from the journal.
        entry: Entry,
    },
    /// The catalog became the one stored under this version.
    Catalog {
        /// Catalog version.
        version: u32,
        /// When.
        at: Millis,
    },
    /// Something was turned away that an operator may want to see.
    Invalid(Invalid),
    /// Something became of a job.
    Job(JobRecord),
}

/// What became of a job, as it is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Which.
    pub job: u128,
    /// When.
    pub at: Millis,
    /// What.
    pub fate: Fate,
}

/// What can become of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// A try failed; it is tried again.
    Failed {
        /// Tries so far.
        tries: u16,
        /// Why: an HTTP status or a word.
        reason: CompactString,
        /// Not before this.
        next: Millis,
    },
    /// It is done.
    Done,
    /// It is given up, and kept for an operator to look at.
    Dead {
        /// Tries so far.
        tries: u16,
        /// Why: an HTTP status or a word.
        reason: CompactString,
    },
    /// An operator wants it tried again from the start.
    Again,
    /// Taken out, undone: by an operator, or because it was kept for long enough.
    Dropped,
}

/// One line of the invalid-events log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invalid {
    /// Its own id.
    pub id: u128,
    /// `properties`, `context`, `traits`, `unknown_event`, `action_context`.
    pub kind: CompactString,
    /// The event's name as sent.
    pub name: CompactString,
    /// Channel key.
    pub channel: CompactString,
    /// Who, as sent.
    pub user_id: CompactString,
    /// The client's message id.
    pub message_id: Option<CompactString>,
    /// Structure version it was held against; 0 when there is none.
    pub version: u32,
    /// JSON text as received; `{}` when absent.
    pub properties: String,
    /// JSON text as received; `{}` when absent.
    pub context: String,
    /// `(path, rule, message)` of each error.
    pub errors: Vec<(String, CompactString, String)>,
    /// Arrival.
    pub at: Millis,
}

#[derive(Serialize)]
enum CommandRef<'a> {
    Entry { profile: ProfileId, plan: u32, entry: &'a Entry },
}

/// A record that does not decode: written by a newer version, or not by us.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record is empty or of an unknown version.
    #[error("record has version {0:?}, this build reads {VERSION}")]
    Version(Option<u8>),
    /// The bytes are not a record.
    #[error("record does not decode: {0}")]
    Malformed(#[from] bincode::Error),
}

fn options() -> impl bincode::Options {
    use bincode::Options;
    bincode::DefaultOptions::new().with_limit(16 << 20)
}

/// Appends the record of one entry to `out`, which is memory, without copying the entry first. `plan`: the
/// version of the plan that it was written under.
pub fn encode_entry(profile: ProfileId, plan: u32, entry: &Entry, out: &mut impl std::io::Write) {
    write(&CommandRef::Entry { profile, plan, entry }, out);
}

/// Appends a record to `out`, which is memory.
pub fn encode(command: &Command, out: &mut impl std::io::Write) {
    write(command, out);
}

fn write<T: Serialize>(value: &T, out: &mut impl std::io::Write) {
    use bincode::Options;
    // Writing into memory cannot fail, and every type here is one that bincode knows.
    out.write_all(&[VERSION]).expect("records go to memory");
    options().serialize_into(out, value).expect("records serialise");
}

/// Reads a record back.
///
/// # Errors
/// [`DecodeError`] when the version is unknown or the bytes are not a record.
pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
    use bincode::Options;
    match bytes.split_first() {
        Some((&VERSION, payload)) => Ok(options().deserialize(payload)?),
        other => Err(DecodeError::Version(other.map(|(v, _)| *v))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EntryKind, Occurrence, Props};
    use crate::ids::{ChannelSlot, EventSlot, Moment, PathId, Seq};
    use crate::value::Value;

    #[test]
    fn what_is_written_by_reference_reads_back_whole() {
        let entry = Entry {
            moment: Moment { t: Millis(5), seq: Seq(0) },
            at: Millis(6),
            user_id: "u".into(),
            message_id: Some("m".into()),
            id: 7,
            kind: EntryKind::Event(Occurrence {
                event: EventSlot(1),
                version: 1,
                channel: ChannelSlot(0),
                props: Props::new(vec![(PathId(2), Value::Float(1.5)), (PathId(1), Value::Str("x".into()))]),
                context: Props::default(),
                chain: Box::default(),
            }),
        };
        let mut buf = Vec::new();
        encode_entry(ProfileId(9), 3, &entry, &mut buf);
        assert_eq!(decode(&buf).expect("reads"), Command::Entry { profile: ProfileId(9), plan: 3, entry });
        buf[0] = 200;
        assert!(matches!(decode(&buf), Err(DecodeError::Version(Some(200)))));
    }
}
