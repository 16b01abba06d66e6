//! A profile's whole log: what checkpoints have written, and its tail.

use super::Engine;
use crate::storage::Store as Disk;
use lodestone_state::codec;
use lodestone_state::event::Entry;
use lodestone_state::profile::{History, Profile, sort_entries};

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
    fn load(&mut self, profile: &Profile) -> Vec<Entry> {
        let mut entries = profile.tail.clone();
        let ids = std::iter::once(&profile.core.id).chain(&profile.core.absorbed);
        for id in ids {
            match self.0.history(*id) {
                Ok(rows) => entries.extend(rows.into_iter().filter_map(|(_, bytes)| decode(&bytes))),
                // The store has marked itself failed; the process is about to exit with that.
                Err(error) => tracing::error!(%error, "history cannot be read"),
            }
        }
        sort_entries(&mut entries);
        entries
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
