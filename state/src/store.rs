//! The lock-sharded profile store and its lock rules.
//!
//! Two maps with many more shards than cores: profile id → profile behind its own mutex, and user id →
//! profile id. A map's shard lock is held only to look up or link, never while a profile is worked on.
//!
//! # Invariants
//! - S-1: a user id belongs to exactly one profile; linking happens under the index's shard lock.
//! - S-2: several profiles are locked in ascending id order ([`lock_all`]).
//! - S-3: lock order is profile mutex → index shard. Nobody holding an index shard waits for a profile.
//! - S-4: a merged-away profile is marked `gone` under its own mutex before the index forgets it, so who
//!   still holds it sees where it went.

use crate::ids::ProfileId;
use crate::profile::Profile;
use compact_str::CompactString;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// Shards of each map. Many more than cores, so that two busy profiles rarely meet.
const SHARDS: usize = 1024;

/// A profile that can be locked without holding the map.
pub type Shared = Arc<Mutex<Profile>>;

/// All profiles in memory. Hashes are keyed with per-process random state: clients choose the ids.
pub struct Store {
    profiles: DashMap<ProfileId, Shared, RandomState>,
    identities: DashMap<CompactString, ProfileId, RandomState>,
    redirects: DashMap<ProfileId, ProfileId, RandomState>,
}

impl Default for Store {
    fn default() -> Self {
        let map = || RandomState::default();
        Self {
            profiles: DashMap::with_hasher_and_shard_amount(map(), SHARDS),
            identities: DashMap::with_hasher_and_shard_amount(map(), SHARDS),
            redirects: DashMap::with_hasher_and_shard_amount(map(), 64),
        }
    }
}

impl Store {
    /// The profile that owns `user_id`, if any.
    #[must_use]
    pub fn find(&self, user_id: &str) -> Option<Shared> {
        let id = *self.identities.get(user_id)?;
        self.get(id)
    }

    /// The profile that owns `user_id`; made by `make` and linked when there is none.
    pub fn find_or_create(&self, user_id: &str, make: impl FnOnce() -> Profile) -> (Shared, bool) {
        // The common case takes a read lock and no key copy.
        if let Some(found) = self.find(user_id) {
            return (found, false);
        }
        match self.identities.entry(user_id.into()) {
            Entry::Occupied(have) => {
                let id = *have.get();
                drop(have);
                match self.get(id) {
                    Some(profile) => (profile, false),
                    // Deleted in between: start over with the link gone.
                    None => {
                        self.identities.remove_if(user_id, |_, linked| *linked == id);
                        self.find_or_create(user_id, make)
                    }
                }
            }
            Entry::Vacant(place) => {
                let profile = make();
                let id = profile.core.id;
                let shared = Arc::new(Mutex::new(profile));
                self.profiles.insert(id, shared.clone());
                place.insert(id);
                (shared, true)
            }
        }
    }

    /// The profile with this id, or the one it was merged into.
    #[must_use]
    pub fn get(&self, id: ProfileId) -> Option<Shared> {
        let mut id = id;
        // Chains are short: every hop was one merge.
        loop {
            if let Some(profile) = self.profiles.get(&id) {
                return Some(profile.clone());
            }
            id = *self.redirects.get(&id)?;
        }
    }

    /// The id under which a profile is known now: its own, or that of the one it was merged into. No
    /// profile is locked.
    #[must_use]
    pub fn resolve(&self, id: ProfileId) -> ProfileId {
        let mut id = id;
        while !self.profiles.contains_key(&id) {
            match self.redirects.get(&id) {
                Some(next) => id = *next,
                None => break,
            }
        }
        id
    }

    /// Adds a profile as recovery found it, with its links.
    pub fn restore(&self, profile: Profile) {
        let id = profile.core.id;
        for identity in &profile.core.identities {
            self.identities.insert(identity.user_id.clone(), id);
        }
        self.profiles.insert(id, Arc::new(Mutex::new(profile)));
    }

    /// The profile with exactly this id, created empty if need be: for replay, which knows ids beforehand.
    pub fn get_or_create(&self, id: ProfileId, make: impl FnOnce() -> Profile) -> Shared {
        if let Some(found) = self.get(id) {
            return found;
        }
        self.profiles.entry(id).or_insert_with(|| Arc::new(Mutex::new(make()))).clone()
    }

    /// Links `user_id` to `id` unless it belongs to another profile; then that one's id comes back.
    ///
    /// # Errors
    /// The profile that owns the id already.
    pub fn link(&self, user_id: &str, id: ProfileId) -> Result<(), ProfileId> {
        match self.identities.entry(user_id.into()) {
            Entry::Occupied(have) if *have.get() != id => Err(*have.get()),
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(place) => {
                place.insert(id);
                Ok(())
            }
        }
    }

    /// Points everything about `gone` to `leader`. The caller holds both and has marked `gone`.
    pub fn redirect(&self, gone: &Profile, leader: ProfileId) {
        for identity in &gone.core.identities {
            self.identities.insert(identity.user_id.clone(), leader);
        }
        self.redirects.insert(gone.core.id, leader);
        self.profiles.remove(&gone.core.id);
    }

    /// Whether `profile`, which the caller found by `user_id` and has locked since, still is that of the id:
    /// it may have been merged away in between, or the id may have gone with a profile that was split off.
    #[must_use]
    pub fn owns(&self, profile: &Profile, user_id: &str) -> bool {
        let linked = || self.identities.get(user_id).is_some_and(|id| *id == profile.core.id);
        profile.gone.is_none() && (!profile.parted || linked())
    }

    /// Brings back a profile that a merge had taken, under its own id, with the ids that are its. The
    /// caller holds its lock, and that of the profile which it is split off from: nobody has seen the new one
    /// before, so nobody waits in a circle.
    pub fn separate(&self, shared: &Shared, profile: &Profile) {
        let id = profile.core.id;
        for absorbed in &profile.core.absorbed {
            self.redirects.insert(*absorbed, id);
        }
        self.profiles.insert(id, shared.clone());
        self.redirects.remove(&id);
        for identity in &profile.core.identities {
            self.identities.insert(identity.user_id.clone(), id);
        }
    }

    /// A redirect as recovery found it.
    pub fn restore_redirect(&self, gone: ProfileId, leader: ProfileId) {
        self.redirects.insert(gone, leader);
    }

    /// How many profiles there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// How many user ids are linked.
    #[must_use]
    pub fn identities_len(&self) -> usize {
        self.identities.len()
    }

    /// The ids of all profiles, in no order.
    #[must_use]
    pub fn ids(&self) -> Vec<ProfileId> {
        self.profiles.iter().map(|entry| *entry.key()).collect()
    }

    /// Every profile, in no order. Holds one shard's lock at a time, and only to copy its handles.
    #[must_use]
    pub fn all(&self) -> Vec<Shared> {
        self.profiles.iter().map(|entry| entry.value().clone()).collect()
    }
}

/// Locks several profiles in ascending id order, whatever order they are named in, so that two merges of
/// the same people cannot wait for each other. Guards come back in the order named.
#[must_use]
pub fn lock_all(profiles: &[Shared]) -> Vec<MutexGuard<'_, Profile>> {
    // Ids never change, so reading them needs no order.
    let mut order: Vec<(ProfileId, usize)> = profiles.iter().enumerate().map(|(i, p)| (p.lock().core.id, i)).collect();
    order.sort_unstable();
    let mut guards: Vec<Option<MutexGuard<'_, Profile>>> = profiles.iter().map(|_| None).collect();
    for (_, i) in order {
        guards[i] = Some(profiles[i].lock());
    }
    guards.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Millis;

    fn profile(id: u128) -> Profile {
        Profile::new(ProfileId(id), Millis(0), 0)
    }

    /// I-32: many first sights of one id make one profile.
    #[test]
    fn one_id_is_one_profile_under_concurrency() {
        let store = Store::default();
        let next = std::sync::atomic::AtomicU64::new(1);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for user in 0..500 {
                        let make = || profile(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed).into());
                        store.find_or_create(&format!("u{user}"), make);
                    }
                });
            }
        });
        assert_eq!(store.len(), 500);
        assert_eq!(store.identities_len(), 500);
    }

    /// I-25: the id of a merged-away profile keeps resolving to the survivor, over chains too.
    #[test]
    fn redirects_chain_to_the_survivor() {
        let store = Store::default();
        for id in 1..=3 {
            store.restore(profile(id));
        }
        store.redirect(&profile(1), ProfileId(2));
        store.redirect(&profile(2), ProfileId(3));
        let found = store.get(ProfileId(1)).expect("resolves");
        assert_eq!(found.lock().core.id, ProfileId(3));
        assert_eq!((store.resolve(ProfileId(1)), store.resolve(ProfileId(9))), (ProfileId(3), ProfileId(9)));
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn two_merges_of_the_same_people_do_not_deadlock() {
        let a: Shared = Arc::new(Mutex::new(profile(1)));
        let b: Shared = Arc::new(Mutex::new(profile(2)));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..10_000).for_each(|_| drop(lock_all(&[a.clone(), b.clone()]))));
            scope.spawn(|| (0..10_000).for_each(|_| drop(lock_all(&[b.clone(), a.clone()]))));
        });
    }
}
