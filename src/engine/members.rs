//! How many members each audience has, kept live.

use lodestone_state::event::MembershipChange;
use lodestone_state::ids::AudienceSlot;
use lodestone_state::profile::Profile;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// Member counts by audience slot. A count is changed under the lock of the profile that changed it.
#[derive(Default)]
pub(super) struct Members {
    counts: RwLock<Vec<AtomicI64>>,
}

impl Members {
    /// Members of `audience` right now.
    pub(super) fn count(&self, audience: AudienceSlot) -> i64 {
        self.counts.read().get(audience.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Applies what one input changed.
    pub(super) fn apply(&self, changes: &[MembershipChange]) {
        for change in changes {
            self.add(change.audience, if change.entered { 1 } else { -1 });
        }
    }

    /// Takes a profile's memberships out: it is merged away or deleted.
    pub(super) fn remove_all(&self, profile: &Profile) {
        for (slot, cell) in profile.core.audiences.iter() {
            if cell.since.is_some() {
                self.add(AudienceSlot(slot), -1);
            }
        }
    }

    /// Counts a profile that recovery found.
    pub(super) fn add_all(&self, profile: &Profile) {
        for (slot, cell) in profile.core.audiences.iter() {
            if cell.since.is_some() {
                self.add(AudienceSlot(slot), 1);
            }
        }
    }

    fn add(&self, audience: AudienceSlot, by: i64) {
        if let Some(count) = self.counts.read().get(audience.index()) {
            count.fetch_add(by, Ordering::Relaxed);
            return;
        }
        let mut counts = self.counts.write();
        while counts.len() <= audience.index() {
            counts.push(AtomicI64::new(0));
        }
        counts[audience.index()].fetch_add(by, Ordering::Relaxed);
    }
}
