//! Entries that leave the log: erased one by one, or all that are too old to be kept.

use super::Changes;
use super::log::rebuild_from;
use crate::event::{Entry, Erased};
use crate::ids::{Millis, Moment, ProfileId};
use crate::plan::Plan;
use crate::profile::{History, Profile, Remembered};
use std::collections::HashSet;

/// Takes the entries that `erased` names out of the log, and folds what is left.
///
/// Memberships change as of now. Message ids of what leaves stay known.
pub(super) fn erase(plan: &Plan, profile: &mut Profile, erased: &Erased, history: &mut dyn History, out: &mut Changes) {
    let owned = history.load_owned(profile);
    let leaving: HashSet<(ProfileId, Moment)> = match erased.before {
        Some(before) => outdated(profile, &owned, before).into_iter().collect(),
        None => {
            let named: HashSet<Moment> = erased.moments.iter().copied().collect();
            // Only what belongs to whom it came from can be named.
            let found = owned.iter().filter(|(_, entry)| named.contains(&entry.moment) && entry.is_of_its_id());
            found.map(|(owner, entry)| (*owner, entry.moment)).collect()
        }
    };
    take_out(profile, &leaving);
    out.left += leaving.len();
    let left: Vec<Entry> =
        owned.into_iter().filter(|(owner, entry)| !leaving.contains(&(*owner, entry.moment))).map(|(_, entry)| entry).collect();
    rebuild_from(plan, profile, &left, true, out);
}

/// What leaves the log when nothing older than `before` is kept, by whose log it stands in.
///
/// What a person is and was merged with stays, and of what set custom traits the last, so that comparisons
/// with them go on; where profiles have been merged, everything that set custom traits stays, so that the
/// merge can be undone.
#[must_use]
pub fn outdated(profile: &Profile, owned: &[(ProfileId, Entry)], before: Millis) -> Vec<(ProfileId, Moment)> {
    let old = owned.iter().filter(|(_, entry)| entry.moment.t < before);
    let last = old.clone().filter(|(_, entry)| entry.custom().is_some()).map(|(_, entry)| entry.moment).next_back();
    let leaves = |entry: &Entry| {
        let superseded = profile.core.absorbed.is_empty() && last.is_some_and(|last| entry.moment < last);
        entry.ages() || (entry.only_sets_custom() && superseded)
    };
    old.filter(|(_, entry)| leaves(entry)).map(|(owner, entry)| (*owner, entry.moment)).collect()
}

/// Removes entries from memory and notes that their rows have to go.
fn take_out(profile: &mut Profile, leaving: &HashSet<(ProfileId, Moment)>) {
    let own = profile.core.id;
    let mut remembered = Vec::new();
    let mut stays = |owner: ProfileId, entry: &Entry| {
        if !leaving.contains(&(owner, entry.moment)) {
            return true;
        }
        if let Some(message_id) = &entry.message_id {
            let message_id = message_id.clone();
            remembered.push(Remembered { message_id, seq: entry.moment.seq, id: entry.id, at: entry.at });
        }
        false
    };
    profile.tail.retain(|entry| stays(own, entry));
    profile.inherited.retain(|(owner, entry)| stays(*owner, entry));
    profile.leaving.remembered.append(&mut remembered);
    let mut rows: Vec<(ProfileId, Moment)> = leaving.iter().copied().collect();
    rows.sort_unstable();
    profile.leaving.rows.append(&mut rows);
    profile.shuffles += 1;
}
