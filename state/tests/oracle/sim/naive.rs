//! Who is who and what happened, kept the plain way: one list of facts for each profile that ever was, and
//! who went into whom. Nothing is ever computed ahead.

use crate::oracle::names::path;
use crate::oracle::rig::Entry;
use lodestone_state::event::{Occurrence, Props};
use lodestone_state::ids::{Millis, Moment, ProfileId};
use std::collections::{BTreeMap, BTreeSet};

/// A custom trait: who somebody likes best.
pub(crate) type Favourite = Option<char>;

#[derive(Clone, Debug)]
pub(crate) enum What {
    Track(Occurrence),
    /// The favourite became this.
    Custom(Favourite),
    /// Somebody was absorbed: what the favourite would be without them, and what it became.
    Merge {
        absorbed: ProfileId,
        own: Favourite,
        custom: Favourite,
    },
    /// Somebody left again.
    Split(Favourite),
    /// Something that is in the log and says nothing of values or memberships.
    Aside,
}

/// Whose a fact is that says how a profile came to be as it is: it stays where it stands.
pub(crate) const NOBODY: usize = usize::MAX;

#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) moment: Moment,
    pub(crate) id: u128,
    pub(crate) user: usize,
    pub(crate) what: What,
}

/// Into whom a profile went.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) into: ProfileId,
    seq: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Naive {
    /// What was written in each profile's own time, or was given back to it.
    pub(crate) logs: BTreeMap<ProfileId, Vec<Fact>>,
    pub(crate) links: BTreeMap<ProfileId, Link>,
    /// The profile as a part of which an id was seen first.
    homes: BTreeMap<usize, ProfileId>,
    known: BTreeSet<usize>,
    favourites: BTreeMap<ProfileId, Favourite>,
}

impl Naive {
    pub(crate) fn root(&self, profile: ProfileId) -> ProfileId {
        self.links.get(&profile).map_or(profile, |link| self.root(link.into))
    }

    /// The profile that an id belongs to, if it has been seen.
    pub(crate) fn owner(&self, user: usize) -> Option<ProfileId> {
        self.homes.get(&user).map(|home| self.root(*home))
    }

    pub(crate) fn users(&self, profile: ProfileId) -> Vec<usize> {
        self.homes.iter().filter(|(_, home)| self.root(**home) == profile).map(|(user, _)| *user).collect()
    }

    fn below(&self, profile: ProfileId, branch: ProfileId) -> bool {
        profile == branch || self.links.get(&profile).is_some_and(|link| self.below(link.into, branch))
    }

    pub(crate) fn favourite(&self, profile: ProfileId) -> Favourite {
        self.favourites.get(&profile).copied().flatten()
    }

    pub(crate) fn is_known(&self, profile: ProfileId) -> bool {
        self.users(profile).iter().any(|user| self.known.contains(user))
    }

    /// All that is known of a living profile, in order.
    pub(crate) fn facts(&self, profile: ProfileId) -> Vec<&Fact> {
        let parts = self.logs.iter().filter(|(part, _)| self.root(**part) == profile);
        let mut facts: Vec<&Fact> = parts.flat_map(|(_, facts)| facts).collect();
        facts.sort_by_key(|fact| (fact.moment, fact.id));
        facts
    }

    /// The same as values and memberships read it.
    pub(crate) fn log(&self, profile: ProfileId) -> Vec<(Moment, Entry)> {
        let favourite = |favourite: &Favourite| {
            let pair = favourite.map(|f| (path("fav"), f.to_string().as_str().into()));
            Entry::Custom(Props::new(pair.into_iter().collect()))
        };
        let facts = self.facts(profile).into_iter();
        facts
            .filter_map(|fact| {
                let entry = match &fact.what {
                    What::Track(occurrence) => Entry::Event(occurrence.clone()),
                    What::Custom(custom) | What::Merge { custom, .. } | What::Split(custom) => favourite(custom),
                    What::Aside => return None,
                };
                Some((fact.moment, entry))
            })
            .collect()
    }

    /// When the first of all that is known happened.
    pub(crate) fn first(&self, profile: ProfileId) -> Option<Millis> {
        self.facts(profile).first().map(|fact| fact.moment.t)
    }

    /// When the favourite was set last, by the time at which it was.
    pub(crate) fn asserted(&self, profile: ProfileId) -> i64 {
        let facts = self.facts(profile).into_iter();
        facts
            .filter(|fact| !matches!(fact.what, What::Track(_) | What::Aside))
            .map(|fact| fact.moment.t.0)
            .max()
            .unwrap_or(i64::MIN)
    }

    /// Somebody is seen for the first time, in a profile that is there or is new.
    pub(crate) fn seen(&mut self, user: usize, profile: ProfileId) {
        self.homes.entry(user).or_insert(profile);
        self.logs.entry(profile).or_default();
    }

    pub(crate) fn knows(&mut self, user: usize) {
        self.known.insert(user);
    }

    pub(crate) fn add(&mut self, profile: ProfileId, fact: Fact) {
        match &fact.what {
            What::Custom(custom) | What::Merge { custom, .. } => {
                self.favourites.insert(profile, *custom);
            }
            What::Track(_) | What::Split(_) | What::Aside => {}
        }
        if let What::Merge { absorbed, .. } = fact.what {
            self.links.insert(absorbed, Link { into: profile, seq: fact.moment.seq.0 });
        }
        self.logs.entry(profile).or_default().push(fact);
    }

    /// The events of a profile that can be erased.
    pub(crate) fn erasable(&self, profile: ProfileId) -> Vec<Moment> {
        let facts = self.facts(profile).into_iter();
        facts.filter(|fact| matches!(fact.what, What::Track(_))).map(|fact| fact.moment).collect()
    }

    pub(crate) fn erase(&mut self, gone: impl Fn(&Fact) -> bool, profile: ProfileId) {
        let parts: Vec<ProfileId> = self.logs.keys().copied().filter(|part| self.root(*part) == profile).collect();
        for part in parts {
            self.logs.get_mut(&part).unwrap().retain(|fact| !(matches!(fact.what, What::Track(_)) && gone(fact)));
        }
    }

    /// Takes a branch out of the profile that it is a part of.
    pub(crate) fn undo(&mut self, branch: ProfileId, at: Moment, id: u128) {
        let survivor = self.root(branch);
        let inside: BTreeSet<ProfileId> = self.logs.keys().copied().filter(|part| self.below(*part, branch)).collect();
        let theirs: BTreeSet<usize> =
            self.homes.iter().filter(|(_, home)| inside.contains(home)).map(|(user, _)| *user).collect();
        let (mine, rest, mut moved) = self.tell_apart(branch, survivor, &theirs);
        for (part, facts) in &mut self.logs {
            if inside.contains(part) {
                continue;
            }
            let goes =
                |fact: &Fact| theirs.contains(&fact.user) && matches!(fact.what, What::Track(_) | What::Custom(_) | What::Aside);
            moved.extend(facts.extract_if(.., |fact| goes(fact)));
        }
        self.links.remove(&branch);
        let back = self.logs.get_mut(&branch).unwrap();
        back.extend(moved);
        back.push(Fact { moment: at, id: !id, user: NOBODY, what: What::Custom(mine) });
        self.logs.get_mut(&survivor).unwrap().push(Fact { moment: at, id, user: NOBODY, what: What::Split(rest) });
        self.favourites.insert(branch, mine);
        self.favourites.insert(survivor, rest);
    }

    /// Whose favourite is whose, by who changed it; facts of the time together say so afterwards. Gives what
    /// those of the branch have, what the others have, and what those of the branch set by merging others.
    fn tell_apart(
        &mut self,
        branch: ProfileId,
        survivor: ProfileId,
        theirs: &BTreeSet<usize>,
    ) -> (Favourite, Favourite, Vec<Fact>) {
        let mut set = Vec::new();
        // Together since: in the log of each that the branch hangs from.
        let mut together: BTreeMap<ProfileId, u64> = BTreeMap::new();
        let mut at = branch;
        while let Some(link) = self.links.get(&at) {
            together.insert(link.into, link.seq);
            at = link.into;
        }
        let mut order: Vec<(ProfileId, usize)> = Vec::new();
        for (part, facts) in &self.logs {
            if self.root(*part) == survivor {
                order.extend((0..facts.len()).map(|i| (*part, i)));
            }
        }
        order.sort_by_key(|(part, i)| (self.logs[part][*i].moment.seq, self.logs[part][*i].id));
        let mut real: BTreeMap<ProfileId, Favourite> = BTreeMap::new();
        let mut sides: BTreeMap<(ProfileId, bool), Favourite> = BTreeMap::new();
        for (part, i) in order {
            let links = self.links.clone();
            let fact = &mut self.logs.get_mut(&part).unwrap()[i];
            let their = theirs.contains(&fact.user);
            let mixed = together.get(&part).is_some_and(|since| fact.moment.seq.0 >= *since);
            let was = real.get(&part).copied().flatten();
            let change = |was: Favourite, to: Favourite, sides: &mut BTreeMap<(ProfileId, bool), Favourite>| {
                if to != was {
                    sides.insert((part, their), to);
                }
            };
            match &mut fact.what {
                What::Track(_) | What::Aside => {}
                What::Custom(custom) | What::Split(custom) => {
                    change(was, *custom, &mut sides);
                    real.insert(part, *custom);
                    if mixed {
                        *custom = sides.get(&(part, their)).copied().flatten();
                    }
                }
                What::Merge { absorbed, own, custom } => {
                    let mut without = sides.get(&(part, true)).copied().flatten();
                    change(was, *own, &mut sides);
                    let mut joined = *own;
                    if mixed {
                        *own = sides.get(&(part, false)).copied().flatten();
                    }
                    if links.get(absorbed).is_some_and(|link| link.seq == fact.moment.seq.0) {
                        for side in [false, true] {
                            let have = sides.get(&(part, side)).copied().flatten();
                            let more = sides.get(&(*absorbed, side)).copied().flatten();
                            sides.insert((part, side), have.or(more));
                        }
                        joined = joined.or(real.get(absorbed).copied().flatten());
                        without = without.or(sides.get(&(*absorbed, true)).copied().flatten());
                    }
                    change(joined, *custom, &mut sides);
                    real.insert(part, *custom);
                    if mixed {
                        *custom = sides.get(&(part, false)).copied().flatten();
                        let mine = sides.get(&(part, true)).copied().flatten();
                        if their && mine != without {
                            set.push(Fact { id: !fact.id, what: What::Custom(mine), ..*fact });
                        }
                    }
                }
            }
        }
        let end = |side: bool| sides.get(&(survivor, side)).copied().flatten();
        (end(true), end(false), set)
    }
}
