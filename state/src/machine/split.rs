//! The undoing of a merge: who was absorbed comes back, with what was theirs.
//!
//! A profile is made of the profiles that it absorbed, as a tree: whom they had absorbed before hangs below
//! them. Undoing a merge takes one branch out. What was written in the logs of the branch goes with it, and
//! so does what came in later by one of its ids; both logs then are what they would be had nobody been
//! merged, but for what events were compared with in between.

use super::custom::{Mixed, tell_apart};
use super::log::rebuild_from;
use super::{Changes, advance, born};
use crate::event::{Absorbed, Entry, EntryKind, Identified, Props, Split};
use crate::ids::{Millis, Moment, ProfileId, Seq};
use crate::plan::Plan;
use crate::profile::{History, Profile, sort_entries};
use compact_str::CompactString;
use std::collections::{HashMap, HashSet};

/// A merge that the log of a profile knows of.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Who was absorbed, by whom, and what of them there was.
    pub absorbed: Absorbed,
    /// By which entry.
    pub seq: Seq,
    /// When.
    pub at: Millis,
    /// The id that was asserted when it happened.
    pub user_id: CompactString,
    /// The client's message id.
    pub message_id: Option<CompactString>,
    /// When it was undone; known only where it was undone from this very profile.
    pub undone: Option<Millis>,
    /// The absorbed profile still is a part of this one by this very merge.
    pub live: bool,
}

/// Every merge in a profile's log, oldest first.
#[must_use]
pub fn merges(profile: &Profile, owned: &[(ProfileId, Entry)]) -> Vec<Merge> {
    let mut log: Vec<&Entry> = owned.iter().map(|(_, entry)| entry).collect();
    log.sort_by_key(|entry| (entry.moment.seq, entry.id));
    let mut found: Vec<Merge> = Vec::new();
    for entry in log {
        match &entry.kind {
            EntryKind::Identified(identified) => found.extend(identified.absorbed.iter().map(|absorbed| Merge {
                absorbed: absorbed.clone(),
                seq: entry.moment.seq,
                at: entry.at,
                user_id: entry.user_id.clone(),
                message_id: entry.message_id.clone(),
                undone: None,
                live: false,
            })),
            EntryKind::Split(split) => {
                if let Some(merge) = found.iter_mut().rev().find(|merge| merge.absorbed.profile == split.profile) {
                    merge.undone = Some(entry.at);
                }
            }
            _ => {}
        }
    }
    for id in &profile.core.absorbed {
        if let Some(last) = found.iter_mut().rev().find(|merge| merge.absorbed.profile == *id) {
            last.live = true;
        }
    }
    found
}

/// The live merges of one profile as a tree.
struct Tree<'a>(HashMap<ProfileId, &'a Merge>);

impl<'a> Tree<'a> {
    fn of(merges: &'a [Merge]) -> Self {
        Self(merges.iter().filter(|merge| merge.live).map(|merge| (merge.absorbed.profile, merge)).collect())
    }

    /// From `id` up to the profile that all hang from, each with the merge that took it there.
    fn up(&self, id: ProfileId) -> impl Iterator<Item = &'a Merge> + '_ {
        std::iter::successors(self.0.get(&id).copied(), |merge| self.0.get(&merge.absorbed.into).copied())
    }

    fn hangs_below(&self, id: ProfileId, branch: ProfileId) -> bool {
        self.up(id).any(|merge| merge.absorbed.profile == branch)
    }

    /// The ids of a branch of the tree below `root`: those that it had when it was absorbed, but for those that
    /// went elsewhere since.
    fn ids(&self, root: ProfileId, branch: &Merge) -> HashSet<CompactString> {
        let had = branch.absorbed.identities.iter().map(|identity| &identity.user_id);
        had.filter(|user_id| self.leads_to(root, user_id, branch.absorbed.profile)).cloned().collect()
    }

    /// Whether an id is found in a branch by whoever looks for it from `root` down. What was absorbed had
    /// exactly the ids that it was absorbed with, so of several that had an id it is with the latest: it left
    /// the others, by an undoing, before it came by that one.
    fn leads_to(&self, root: ProfileId, user_id: &str, branch: ProfileId) -> bool {
        let mut at = root;
        while at != branch {
            let here = self.0.values().filter(|merge| merge.absorbed.into == at);
            let had = here.filter(|merge| merge.absorbed.identities.iter().any(|identity| identity.user_id == user_id));
            let Some(latest) = had.max_by_key(|merge| merge.seq) else { return false };
            at = latest.absorbed.profile;
        }
        true
    }
}

/// What undoing the merge of `target` means for `profile`, of which `owned` is the log; `None` when `target`
/// is no part of it.
#[must_use]
pub fn undo(profile: &Profile, owned: &[(ProfileId, Entry)], target: ProfileId) -> Option<Split> {
    let merges = merges(profile, owned);
    let tree = Tree::of(&merges);
    let merge = *tree.0.get(&target)?;
    let ids = tree.ids(profile.core.id, merge);
    let their = |user_id: &str| ids.contains(user_id);
    let absorbed: Vec<ProfileId> =
        profile.core.absorbed.iter().copied().filter(|id| *id != target && tree.hangs_below(*id, target)).collect();
    let theirs: HashSet<ProfileId> = absorbed.iter().copied().chain([target]).collect();
    let goes = |owner: &ProfileId, entry: &Entry| !theirs.contains(owner) && their(&entry.user_id) && entry.is_of_its_id();
    let mut moments: Vec<Moment> =
        owned.iter().filter(|(owner, entry)| goes(owner, entry)).map(|(_, entry)| entry.moment).collect();
    moments.sort_unstable();
    let (told, ..) = tell_apart(&mut by_arrival(owned.to_vec()), profile.core.id, &mixed(&tree, target, &their, &theirs));
    let root = |taken: bool| {
        let parts = tree.0.values().filter(|merge| theirs.contains(&merge.absorbed.profile) == taken);
        let parts = parts.map(|merge| (merge.absorbed.born, merge.absorbed.profile));
        parts.chain((!taken).then_some((profile.core.born, profile.core.id))).min()
    };
    let own = (profile.core.born, profile.core.id);
    Some(Split {
        profile: target,
        absorbed,
        identities: profile.core.identities.iter().filter(|identity| their(&identity.user_id)).cloned().collect(),
        custom: told.theirs,
        kept: told.rest,
        moments,
        born: merge.absorbed.born,
        root: root(true).unwrap_or(own),
        kept_root: root(false).unwrap_or(own),
    })
}

/// Where custom traits of the branch and of the rest stand together: in the logs of all it hangs from.
fn mixed<'a>(tree: &Tree<'_>, target: ProfileId, their: &'a dyn Fn(&str) -> bool, branch: &'a HashSet<ProfileId>) -> Mixed<'a> {
    Mixed {
        their,
        branch,
        from: tree.up(target).map(|merge| (merge.absorbed.into, merge.seq)).collect(),
        live: tree.0.iter().map(|(id, merge)| (*id, merge.seq)).collect(),
    }
}

fn by_arrival(mut log: Vec<(ProfileId, Entry)>) -> Vec<(ProfileId, Entry)> {
    log.sort_by_key(|(_, entry)| (entry.moment.seq, entry.id));
    log
}

/// Carries out the undoing that `entry` records, on the profile that stays. Gives the profile that comes
/// back, and what changed about it; what changed about the other is in `out`.
///
/// The caller has stamped `entry.moment.seq` and checked that it is newer than `survivor.core.applied`.
///
/// # Panics
/// Never for an entry that records an undoing; that is what the caller matched.
pub fn part(
    plan: &Plan,
    survivor: &mut Profile,
    entry: Entry,
    split: &Split,
    history: &mut dyn History,
    out: &mut Changes,
) -> (Profile, Changes) {
    advance(plan, survivor, entry.at, history, out);
    let seq = entry.moment.seq;
    let owned = history.load_owned(survivor);
    let merges = merges(survivor, &owned);
    let tree = Tree::of(&merges);
    let ids: HashSet<CompactString> = split.identities.iter().map(|identity| identity.user_id.clone()).collect();
    let their = |user_id: &str| ids.contains(user_id);
    let theirs: HashSet<ProfileId> = split.absorbed.iter().copied().chain([split.profile]).collect();
    let mut log = by_arrival(owned);
    let (_, marks) = tell_apart(&mut log, survivor.core.id, &mixed(&tree, split.profile, &their, &theirs));

    let mut back = Profile::new(split.profile, split.born, survivor.core.generation);
    back.core.created_at = split.root.0;
    back.core.root = split.root;
    back.core.absorbed.clone_from(&split.absorbed);
    back.core.identities.clone_from(&split.identities);
    back.core.custom = split.custom.clone();
    let moved: HashSet<Moment> = split.moments.iter().copied().collect();
    let unwritten: HashSet<(ProfileId, Moment)> = unwritten(survivor);
    let (mut kept_log, mut back_log) = (Vec::new(), Vec::new());
    survivor.tail.clear();
    survivor.inherited.clear();
    survivor.shuffles += 1;
    for ((owner, entry), mark) in log.into_iter().zip(marks) {
        if let Some(custom) = mark.theirs {
            let set = setting(&entry, custom);
            back.tail.push(set.clone());
            back_log.push(set);
        }
        let unwritten = unwritten.contains(&(owner, entry.moment));
        if theirs.contains(&owner) {
            back_log.push(entry.clone());
            if unwritten || mark.rewritten {
                hold(&mut back, owner, entry);
            }
        } else if moved.contains(&entry.moment) && entry.is_of_its_id() {
            survivor.leaving.rows.push((owner, entry.moment));
            back_log.push(entry.clone());
            back.tail.push(entry);
        } else {
            kept_log.push(entry.clone());
            if unwritten || mark.rewritten {
                hold(survivor, owner, entry);
            }
        }
    }
    survivor.core.absorbed.retain(|id| !theirs.contains(id));
    survivor.core.identities.retain(|identity| !their(&identity.user_id));
    survivor.core.custom = split.kept.clone();
    (survivor.core.root, survivor.core.created_at) = (split.kept_root, split.kept_root.0);
    survivor.parted = true;
    survivor.leaving.with.push(split.profile);
    // What left these logs before and still stands on the disk has left them for good.
    back.leaving.rows = survivor.leaving.rows.iter().copied().filter(|(owner, _)| theirs.contains(owner)).collect();
    back.leaving.with.push(survivor.core.id);
    back.leaving.returned.push(split.profile);

    let returning = returning(&entry, split);
    back.tail.push(returning.clone());
    back_log.push(returning);
    survivor.tail.push(entry.clone());
    kept_log.push(entry.clone());
    sort_entries(&mut kept_log);
    sort_entries(&mut back_log);
    let mut changes = Changes::default();
    back.core.applied = seq;
    born(plan, &mut back, survivor.core.clock, &mut changes);
    for (profile, log, out) in [(survivor, kept_log, &mut *out), (&mut back, back_log, &mut changes)] {
        profile.core.applied = seq;
        profile.core.updated_at = profile.core.updated_at.max(entry.at);
        let set_by = rebuild_from(plan, profile, &log, true, out);
        profile.core.set_by = set_by;
        out.identity = true;
    }
    (back, changes)
}

/// The entries of which memory has the only right copy.
fn unwritten(profile: &Profile) -> HashSet<(ProfileId, Moment)> {
    let own = profile.core.id;
    let tail = profile.tail.iter().map(|entry| (own, entry.moment));
    tail.chain(profile.inherited.iter().map(|(owner, entry)| (*owner, entry.moment))).collect()
}

/// Keeps an entry in memory until a checkpoint writes it.
fn hold(profile: &mut Profile, owner: ProfileId, entry: Entry) {
    if owner == profile.core.id {
        profile.tail.push(entry);
    } else {
        profile.inherited.push((owner, entry));
    }
}

/// What the log of the profile that comes back says of it: who it is, and what its custom traits are. It came
/// in under no id, so it stays in this log whoever leaves later.
fn returning(entry: &Entry, split: &Split) -> Entry {
    let identities = split.identities.clone();
    let custom = Some(split.custom.clone());
    beside(entry, CompactString::default(), Identified { identities, custom, ..Identified::default() })
}

/// What the log of the profile that comes back keeps of a merge that one of its ids brought about in the other's:
/// that it set custom traits.
fn setting(entry: &Entry, custom: Props) -> Entry {
    beside(entry, entry.user_id.clone(), Identified { custom: Some(custom), ..Identified::default() })
}

/// An entry of one log that follows from an entry of the other.
fn beside(entry: &Entry, user_id: CompactString, identified: Identified) -> Entry {
    Entry {
        moment: entry.moment,
        at: entry.at,
        user_id,
        message_id: None,
        // Its own, and the same in every replay.
        id: !entry.id,
        kind: EntryKind::Identified(identified),
    }
}
