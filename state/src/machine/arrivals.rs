//! A log gone through as it came in: every input meets the state that it met when it arrived.
//!
//! The fold takes entries in the order in which they happened, and of the people that a person is made of
//! it makes one from the start. This takes them in the order of the log: what came late was not known
//! before, and who was merged later were two. It is the code that live inputs go through.

use super::{Changes, Watch, absorb, advance, apply, born};
use crate::event::{Entry, EntryKind};
use crate::ids::{Millis, ProfileId};
use crate::plan::Plan;
use crate::profile::{Profile, TailOnly};
use std::collections::{BTreeMap, HashMap};

/// One of the profiles that a log tells of, and who watches it.
struct Part<W> {
    profile: Profile,
    watch: W,
}

impl<W: Watch> Part<W> {
    /// Lets time pass: what is due takes effect at its own instant.
    fn pass(&mut self, plan: &Plan, to: Millis) {
        loop {
            let due = self.profile.deadline().min(self.watch.deadline());
            if due > to || due == Millis::MAX {
                return;
            }
            let mut changes = Changes::default();
            advance(plan, &mut self.profile, due, &mut TailOnly, &mut changes);
            self.watch.after(plan, &self.profile, None, &changes);
        }
    }
}

/// Goes through the log of a profile up to `until` (of arrival, exclusive): `log` is its own and that of
/// everybody it absorbed, each entry with the profile in whose log it was written, in any order. `born` is
/// when the profile itself was made. `watch` makes the one who watches a profile; all of them come back, also
/// those of profiles that were merged on the way.
///
/// What rules did is in the log and is not decided again. What left the log is missing.
pub fn arrivals<W: Watch>(
    plan: &Plan,
    mut log: Vec<(ProfileId, Entry)>,
    born: (ProfileId, Millis),
    until: Millis,
    mut watch: impl FnMut(ProfileId) -> W,
) -> BTreeMap<ProfileId, W> {
    log.sort_by_key(|(_, entry)| (entry.moment.seq, entry.id));
    let births = births(&log, born);
    let mut parts: BTreeMap<ProfileId, Part<W>> = BTreeMap::new();
    let mut done = BTreeMap::new();
    for (owner, entry) in log.iter().filter(|(_, entry)| entry.at < until) {
        let mut changes = Changes::default();
        let mut part = parts.remove(owner).unwrap_or_else(|| {
            let born_at = births.get(owner).copied().unwrap_or(entry.at);
            let mut profile = Profile::new(*owner, born_at, plan.generation);
            self::born(plan, &mut profile, entry.at, &mut changes);
            Part { profile, watch: watch(*owner) }
        });
        part.pass(plan, entry.at);
        let mut followers = Vec::new();
        for id in absorbed(entry) {
            if let Some(mut follower) = parts.remove(&id) {
                follower.pass(plan, entry.at);
                done.insert(id, follower.watch);
                followers.push(follower.profile);
            }
        }
        part.watch.before(plan, &part.profile, entry);
        if !followers.is_empty() {
            absorb(plan, &mut part.profile, followers, entry.at, &mut TailOnly, &mut changes);
        }
        apply(plan, &mut part.profile, entry.clone(), &mut TailOnly, &mut changes);
        part.watch.after(plan, &part.profile, Some(entry), &changes);
        parts.insert(*owner, part);
    }
    for (id, mut part) in parts {
        part.pass(plan, until.minus(1));
        done.insert(id, part.watch);
    }
    done
}

fn absorbed(entry: &Entry) -> impl Iterator<Item = ProfileId> + '_ {
    let identified = if let EntryKind::Identified(identified) = &entry.kind { Some(identified) } else { None };
    identified.into_iter().flat_map(|identified| &identified.absorbed).map(|absorbed| absorbed.profile)
}

/// When the profiles were made, as far as the log says: experiments assign by the oldest.
fn births(log: &[(ProfileId, Entry)], own: (ProfileId, Millis)) -> HashMap<ProfileId, Millis> {
    let merged = log.iter().filter_map(|(_, entry)| match &entry.kind {
        EntryKind::Identified(identified) => Some(&identified.absorbed),
        _ => None,
    });
    merged.flatten().map(|absorbed| (absorbed.profile, absorbed.born)).chain([own]).collect()
}
