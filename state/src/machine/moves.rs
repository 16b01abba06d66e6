//! When somebody would have come to an audience and gone from it, by their log.

use super::{Changes, Watch, fold_watched};
use crate::event::{Entry, MembershipChange};
use crate::ids::{AudienceSlot, Millis};
use crate::plan::Plan;
use crate::profile::Profile;

/// Every coming and going of `profile` in one audience up to `now`, oldest first, had the audience been in force
/// from the start and every entry of the log come in order. `entries` is the whole log of the profile.
///
/// As in the log of memberships of a live profile, what began and ended by one entry, or with what was due just
/// before it at the same millisecond, is not told. Who belonged before anything happened did so since the
/// profile was first seen.
#[must_use]
pub fn moves(plan: &Plan, profile: &Profile, entries: &[Entry], audience: AudienceSlot, now: Millis) -> Vec<MembershipChange> {
    let mut diary =
        Diary { audience, seen_at: profile.core.created_at.min(now), begun: false, held: Changes::default(), told: Vec::new() };
    fold_watched(plan, profile.core.id, entries, now, &mut diary);
    diary.turn();
    diary.told
}

/// Writes the moves of one audience down.
struct Diary {
    audience: AudienceSlot,
    seen_at: Millis,
    begun: bool,
    /// What time brought about at the latest instant: an entry at the same one may undo it unseen.
    held: Changes,
    told: Vec<MembershipChange>,
}

impl Diary {
    fn turn(&mut self) {
        self.told.extend(self.held.members.drain(..));
    }
}

impl Watch for Diary {
    fn after(&mut self, _: &Plan, _: &Profile, entry: Option<&Entry>, changes: &Changes) {
        for change in changes.members.iter().filter(|change| change.audience == self.audience) {
            self.held.member(*change);
        }
        if !self.begun {
            self.begun = true;
            // Before the first entry, which may undo it only in the very millisecond.
            self.held.members.iter_mut().for_each(|change| change.t = change.t.min(self.seen_at));
        }
        if entry.is_some() {
            self.turn();
        }
    }
}
