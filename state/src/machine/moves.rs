//! When somebody would have come to an audience and gone from it, by their log.

use super::{Changes, Watch, fold_watched};
use crate::event::{Entry, MembershipChange};
use crate::ids::{AudienceSlot, Millis};
use crate::plan::Plan;
use crate::profile::Profile;

/// Every coming and going of `profile` in one audience up to `now`, oldest first, had the audience been in force
/// from the start and every entry of the log come in order. `entries` is the whole log of the profile.
///
/// As in the log of memberships of a live profile, what began and ended by one entry is not told. Who belonged
/// before anything happened did so since the profile was first seen. Who completes an audience that tells it
/// (`reentry: each`) again enters again without having left.
#[must_use]
pub fn moves(plan: &Plan, profile: &Profile, entries: &[Entry], audience: AudienceSlot, now: Millis) -> Vec<MembershipChange> {
    let mut diary =
        Diary { audience, seen_at: profile.core.created_at.min(now), begun: false, born: Changes::default(), told: Vec::new() };
    fold_watched(plan, profile.core.id, entries, now, &mut diary);
    diary.told.extend(diary.born.members);
    diary.told.sort_by_key(|change| change.t);
    diary.told
}

/// Writes the moves of one audience down.
struct Diary {
    audience: AudienceSlot,
    seen_at: Millis,
    begun: bool,
    /// What being made brought about: the entry that somebody was made for may undo it in the very millisecond.
    born: Changes,
    told: Vec<MembershipChange>,
}

impl Watch for Diary {
    fn after(&mut self, _: &Plan, _: &Profile, entry: Option<&Entry>, changes: &Changes) {
        let mine = changes.members.iter().copied().filter(|change| change.audience == self.audience);
        if !self.begun {
            self.begun = true;
            self.born.members.extend(mine.map(|change| MembershipChange { t: change.t.min(self.seen_at), ..change }));
            return;
        }
        let mut held = std::mem::take(&mut self.born);
        if entry.is_none() {
            self.told.extend(held.members.drain(..));
        }
        mine.for_each(|change| {
            held.member(change);
        });
        self.told.extend(held.members);
        self.told.extend(changes.reentered.iter().copied().filter(|change| change.audience == self.audience));
    }
}
