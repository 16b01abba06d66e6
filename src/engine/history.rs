//! A profile's whole log: what checkpoints have written, and its tail.

use super::Engine;
use crate::storage::Store as Disk;
use lodestone_state::codec;
use lodestone_state::event::Entry;
use lodestone_state::ids::ProfileId;
use lodestone_state::profile::History;

/// Encoding version of one history entry.
pub(super) const ENTRY_VERSION: u16 = 1;

/// Reads history from disk. Used where compact state cannot answer: late events, merges, new definitions.
pub(super) struct DiskHistory<'a>(&'a Disk);

impl Engine {
    pub(super) fn history(&self) -> DiskHistory<'_> {
        DiskHistory(&self.disk)
    }
}

impl History for DiskHistory<'_> {
    fn rows(&mut self, id: ProfileId) -> Vec<Entry> {
        match self.0.history(id) {
            Ok(rows) => rows.into_iter().filter_map(|(_, bytes)| decode(&bytes)).collect(),
            Err(error) => {
                // The store has marked itself failed; the process is about to exit with that.
                tracing::error!(%error, "history cannot be read");
                Vec::new()
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    match codec::decode::<Entry>(bytes) {
        Ok((_, entry)) => Some(entry),
        Err(error) => {
            tracing::error!(%error, "a history entry does not decode");
            None
        }
    }
}
