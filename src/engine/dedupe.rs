//! Message ids seen: what makes retries harmless (I14).
//!
//! New ids live in memory until a checkpoint has written them beside the history; older ones are looked
//! up on disk, behind a Bloom filter. Both forget after the window.

use crate::storage::Store as Disk;
use compact_str::CompactString;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use lodestone_state::ids::{Millis, Seq};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;

/// For how long a repeat is recognised: seven days.
pub(super) const WINDOW_MS: i64 = 7 * 86_400_000;

/// The first outcome of a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// Log position; an answer about it waits until that is durable.
    pub(super) seq: Seq,
    /// Id of the event that was stored.
    pub(super) event_id: u128,
    /// Arrival.
    pub(super) at: Millis,
}

/// A message id as a fixed-size key.
///
/// A UUID is its own key. Anything else is the first half of its SHA-256, so a client can collide only
/// with itself.
#[must_use]
pub(super) fn key(message_id: &str) -> u128 {
    if message_id.len() == 36
        && let Ok(id) = uuid::Uuid::parse_str(message_id)
    {
        return id.as_u128();
    }
    let digest = Sha256::digest(message_id.as_bytes());
    let mut half = [0_u8; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

/// Message ids in memory, in front of those on disk.
pub(super) struct Dedupe {
    recent: DashMap<u128, First, RandomState>,
    order: parking_lot::Mutex<VecDeque<(u128, Seq)>>,
    /// How many ids stay in memory though they are on disk.
    keep: usize,
}

impl Dedupe {
    /// Keeps at most `keep` ids in memory beyond those that no checkpoint has written yet.
    #[must_use]
    pub(super) fn new(keep: usize) -> Self {
        let recent = DashMap::with_hasher_and_shard_amount(RandomState::default(), 256);
        Self { recent, order: parking_lot::Mutex::new(VecDeque::new()), keep }
    }

    /// The first outcome of `message_id` within the window before `now`.
    #[must_use]
    pub(super) fn find(&self, disk: &Disk, message_id: &CompactString, now: Millis) -> Option<First> {
        let key = key(message_id);
        let found = self.recent.get(&key).map(|first| *first).or_else(|| {
            let stored = disk.dedupe_get(key).ok()??;
            Some(First { seq: stored.seq, event_id: stored.event_id, at: stored.at })
        })?;
        (now.0 - found.at.0 < WINDOW_MS).then_some(found)
    }

    /// As [`Self::find`], in memory only: for the second look under a profile's lock. What was on disk was
    /// found by the first look; what came since is in memory.
    #[must_use]
    pub(super) fn find_recent(&self, message_id: &str, now: Millis) -> Option<First> {
        let found = *self.recent.get(&key(message_id))?;
        (now.0 - found.at.0 < WINDOW_MS).then_some(found)
    }

    /// Remembers the first outcome.
    pub(super) fn insert(&self, message_id: &str, first: First) {
        let key = key(message_id);
        self.recent.insert(key, first);
        self.order.lock().push_back((key, first.seq));
    }

    /// Lets go of ids that a checkpoint up to `written` has put on disk, oldest first.
    pub(super) fn forget(&self, written: Seq) {
        loop {
            let key = {
                let mut order = self.order.lock();
                match order.front() {
                    Some((key, seq)) if order.len() > self.keep && *seq <= written => {
                        let key = *key;
                        order.pop_front();
                        key
                    }
                    _ => return,
                }
            };
            self.recent.remove(&key);
        }
    }

    /// Ids in memory.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.recent.len()
    }
}
