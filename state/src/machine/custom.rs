//! Custom traits of two people in one profile: joined by a merge, and told apart again when it is undone.
//!
//! An entry says what the custom traits became, not what its sender changed. What somebody changed is the
//! difference to the outcome before it, and counts for whom the id belongs to under which it arrived.

use crate::event::{Entry, EntryKind, Props};
use crate::ids::{PathId, ProfileId, Seq};
use crate::rule;
use crate::value::Value;
use compact_str::CompactString;
use std::collections::{HashMap, HashSet};

/// The custom traits of a leader that absorbs followers: what only a follower has is kept; on conflict the
/// leader wins. Keys that no definition declares stand together as one object and are joined key by key.
#[must_use]
pub fn union<'a>(leader: &Props, followers: impl Iterator<Item = &'a Props>) -> Props {
    let mut pairs = leader.clone().into_vec();
    for follower in followers {
        for (path, value) in follower.iter() {
            match pairs.iter_mut().find(|(have, _)| have == path) {
                None => pairs.push((*path, value.clone())),
                Some((_, Value::Object(have))) => {
                    let Value::Object(more) = value else { continue };
                    let missing: Vec<_> = more.iter().filter(|(key, _)| !have.iter().any(|(k, _)| k == key)).cloned().collect();
                    have.extend(missing);
                }
                Some(_) => {}
            }
        }
    }
    Props::new(pairs)
}

/// Applies to `onto` what changed from `before` to `after`.
fn carry_over(before: &Props, after: &Props, onto: &Props) -> Props {
    let mut pairs = onto.clone().into_vec();
    let gone = before.iter().filter(|(path, _)| after.get(*path).is_none());
    for (path, old) in gone {
        match old {
            // Only the keys that were there have gone.
            Value::Object(old) => set(&mut pairs, *path, |have| object_change(old, &[], have)),
            _ => pairs.retain(|(have, _)| have != path),
        }
    }
    for (path, new) in after.iter() {
        match (before.get(*path), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) => set(&mut pairs, *path, |have| object_change(old, new, have)),
            (None, Value::Object(new)) => set(&mut pairs, *path, |have| object_change(&[], new, have)),
            _ => set(&mut pairs, *path, |_| Some(new.clone())),
        }
    }
    Props::new(pairs)
}

type Object = [(CompactString, Value)];

fn set(pairs: &mut Vec<(PathId, Value)>, path: PathId, change: impl FnOnce(Option<&Value>) -> Option<Value>) {
    let at = pairs.iter().position(|(have, _)| *have == path);
    let new = change(at.map(|at| &pairs[at].1));
    match (at, new) {
        (Some(at), Some(new)) => pairs[at].1 = new,
        (Some(at), None) => {
            pairs.remove(at);
        }
        (None, Some(new)) => pairs.push((path, new)),
        (None, None) => {}
    }
}

/// An open object after the change from `old` to `new`; `None` when nothing is left of it.
fn object_change(old: &Object, new: &Object, have: Option<&Value>) -> Option<Value> {
    let mut keys: Vec<(CompactString, Value)> = match have {
        Some(Value::Object(have)) => have.clone(),
        _ => Vec::new(),
    };
    let value = |object: &Object, key: &str| object.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    keys.retain(|(key, _)| value(old, key).is_none() || value(new, key).is_some());
    for (key, new) in new.iter().filter(|(key, new)| value(old, key).as_ref() != Some(new)) {
        match keys.iter_mut().find(|(have, _)| have == key) {
            Some((_, have)) => have.clone_from(new),
            None => keys.push((key.clone(), new.clone())),
        }
    }
    (!keys.is_empty()).then_some(Value::Object(keys))
}

/// The custom traits of one profile at one place of the log: as they were, and each side's part of them.
#[derive(Clone, Default)]
struct Parts {
    real: Props,
    theirs: Props,
    rest: Props,
}

impl Parts {
    /// The traits became `after`, by one of `their` ids or by another.
    fn became(&mut self, after: &Props, their: bool) {
        let side = if their { &mut self.theirs } else { &mut self.rest };
        *side = carry_over(&self.real, after, side);
        self.real = after.clone();
    }
}

/// What the custom traits of two people are once they are told apart.
pub(super) struct Told {
    /// Those whose ids were asked for.
    pub(super) theirs: Props,
    /// Everybody else in the profile.
    pub(super) rest: Props,
}

/// What telling apart did to one entry.
#[derive(Clone, Default)]
pub(super) struct Mark {
    /// It says something else now.
    pub(super) rewritten: bool,
    /// It merges somebody, stays where it is, and one of their ids set custom traits with it: what theirs were
    /// from then on.
    pub(super) theirs: Option<Props>,
}

/// Where the custom traits of both stand together, and whose ids are whose.
pub(super) struct Mixed<'a> {
    /// Whether an id is theirs.
    pub(super) their: &'a dyn Fn(&str) -> bool,
    /// In whose logs everything is theirs.
    pub(super) branch: &'a HashSet<ProfileId>,
    /// In whose logs, and from which position on: only there entries are rewritten.
    pub(super) from: HashMap<ProfileId, Seq>,
    /// By which entry a profile was merged, if it still is.
    pub(super) live: HashMap<ProfileId, Seq>,
}

/// Tells apart whose custom traits are whose in the log of `survivor`, and rewrites its entries to say so.
///
/// `log` is in the order of arrival; the answer has one mark for each entry of it.
pub(super) fn tell_apart(log: &mut [(ProfileId, Entry)], survivor: ProfileId, mixed: &Mixed<'_>) -> (Told, Vec<Mark>) {
    let mut parts: HashMap<ProfileId, Parts> = HashMap::new();
    let mut marks = vec![Mark::default(); log.len()];
    for ((owner, entry), mark) in log.iter_mut().zip(&mut marks) {
        let rewrite = mixed.from.get(owner).is_some_and(|from| entry.moment.seq >= *from);
        // Whatever id it names, what an earlier undoing left in a log is of whom it left it with.
        let by_them = mixed.branch.contains(owner) || rewrite && (mixed.their)(&entry.user_id);
        let goes = by_them && entry.is_of_its_id();
        let mut at = parts.remove(owner).unwrap_or_default();
        let before = at.theirs.clone();
        let brought = join(&mut at, entry, by_them, &parts, mixed, rewrite, mark);
        if let EntryKind::Fired(fired) = &entry.kind {
            // Says what it changed, whatever else there was: nothing to rewrite.
            at.real = rule::set(&at.real, &fired.attributes);
            let side = if by_them { &mut at.theirs } else { &mut at.rest };
            *side = rule::set(side, &fired.attributes);
        }
        if let Some(custom) = custom_mut(&mut entry.kind) {
            at.became(custom, by_them);
            if rewrite {
                mark.rewritten |= replace(custom, if goes { &at.theirs } else { &at.rest });
                let set = by_them && !goes && at.theirs != union(&before, brought.iter());
                mark.theirs = set.then(|| at.theirs.clone());
            }
        }
        parts.insert(*owner, at);
    }
    let end = parts.remove(&survivor).unwrap_or_default();
    (Told { theirs: end.theirs, rest: end.rest }, marks)
}

/// Takes in what those bring along whom `entry` absorbs, part by part. What it sets beyond that, its sender
/// changed. Gives what came to their part.
fn join(
    at: &mut Parts,
    entry: &mut Entry,
    by_them: bool,
    parts: &HashMap<ProfileId, Parts>,
    mixed: &Mixed<'_>,
    rewrite: bool,
    mark: &mut Mark,
) -> Vec<Props> {
    let seq = entry.moment.seq;
    let EntryKind::Identified(identified) = &mut entry.kind else { return Vec::new() };
    if let Some(own) = &mut identified.own {
        at.became(own, by_them);
        if rewrite {
            mark.rewritten |= replace(own, &at.rest);
        }
    }
    let mut theirs = Vec::new();
    // Those whose merge has been undone since are not in this log any more.
    for absorbed in identified.absorbed.iter().filter(|absorbed| mixed.live.get(&absorbed.profile) == Some(&seq)) {
        let brought = parts.get(&absorbed.profile).cloned().unwrap_or_default();
        at.real = union(&at.real, std::iter::once(&brought.real));
        at.theirs = union(&at.theirs, std::iter::once(&brought.theirs));
        at.rest = union(&at.rest, std::iter::once(&brought.rest));
        theirs.push(brought.theirs);
    }
    theirs
}

fn replace(have: &mut Props, by: &Props) -> bool {
    let differs = have != by;
    if differs {
        have.clone_from(by);
    }
    differs
}

fn custom_mut(kind: &mut EntryKind) -> Option<&mut Props> {
    match kind {
        EntryKind::Identified(identified) => identified.custom.as_mut(),
        EntryKind::Split(split) => Some(&mut split.kept),
        EntryKind::Event(_) | EntryKind::Reacted(_) | EntryKind::Fired(_) | EntryKind::Erased(_) => None,
    }
}
