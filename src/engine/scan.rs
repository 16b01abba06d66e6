//! Questions that read many profiles: few at a time, one lock at a time, and given up when nobody waits.

use super::Engine;
use lodestone_state::event::Entry;
use lodestone_state::ids::{Millis, ProfileId};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::Plan;
use lodestone_state::profile::{History, Profile};
use lodestone_state::store::Shared;
use parking_lot::Mutex;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Scans at one time; more are told to come again.
const SCANS_MAX: usize = 2;
/// Threads of one scan.
const THREADS: usize = 2;
/// How long one scan may take; what it has found by then is told, as truncated.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Counts the scans under way.
#[derive(Default)]
pub(super) struct Scans(AtomicUsize);

/// Says that nobody waits for the answer any more.
#[derive(Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A guard that cancels when it is dropped: held by the request.
    #[must_use]
    pub fn on_drop(&self) -> impl Drop + Send + use<> {
        struct Guard(Cancel);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        Guard(self.clone())
    }
}

/// As many scans as may be are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBusy;

/// One scan. Its place is free again when it is dropped.
pub(super) struct Scan<'e> {
    engine: &'e Engine,
    cancel: Cancel,
    until: Instant,
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        self.engine.scans.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A profile and its whole log, taken at one moment.
pub(super) struct Taken {
    /// Up to date with the plan that it was taken under.
    pub(super) profile: Profile,
    /// Its log, in order; none of what came after.
    pub(super) entries: Vec<Entry>,
}

impl Engine {
    /// Takes a place for a scan.
    pub(super) fn begin_scan(&self, cancel: &Cancel) -> Result<Scan<'_>, TooBusy> {
        let place = self.scans.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < SCANS_MAX).then_some(n + 1));
        place.map_err(|_| TooBusy)?;
        Ok(Scan { engine: self, cancel: cancel.clone(), until: Instant::now() + TIME_MAX })
    }

    /// A copy of a profile as it is now, with its log. The lock is held for the copy alone. `None` for one
    /// that was merged away meanwhile.
    pub(super) fn taken(&self, shared: &Shared) -> Option<Taken> {
        let (profile, owned) = self.taken_owned(shared)?;
        Some(Taken { profile, entries: owned.into_iter().map(|(_, entry)| entry).collect() })
    }

    /// As [`Engine::taken`], each entry with the profile in whose log it was written.
    pub(super) fn taken_owned(&self, shared: &Shared) -> Option<(Profile, Vec<(ProfileId, Entry)>)> {
        let profile = {
            let profile = shared.lock();
            if profile.gone.is_some() {
                return None;
            }
            profile.clone()
        };
        // A checkpoint may write newer entries between the copy and the reading: they are not of this copy.
        let mut owned = self.history().load_owned(&profile);
        owned.retain(|(_, entry)| entry.moment.seq <= profile.core.applied);
        Some((profile, owned))
    }
}

impl Taken {
    /// Brings the copy under `plan`, which is in force or was, and up to `now`.
    pub(super) fn bring_to(&mut self, plan: &Plan, now: Millis) {
        let other = self.profile.core.generation != plan.generation;
        fold_under(plan, &mut self.profile, &self.entries, other, now);
        self.profile.core.generation = plan.generation;
    }

    /// The profile as it would be at `now` had `plan` come into force just then: a draft's, that no profile
    /// was ever folded under.
    pub(super) fn under(&self, plan: &Plan, now: Millis) -> Profile {
        let mut profile = self.profile.clone();
        fold_under(plan, &mut profile, &self.entries, true, now);
        profile
    }
}

fn fold_under(plan: &Plan, profile: &mut Profile, entries: &[Entry], anew: bool, now: Millis) {
    let mut known = lodestone_state::explain::Known(entries);
    let mut changes = Changes::default();
    if anew && profile.core.clock > Millis::MIN {
        machine::rebuild(plan, profile, false, &mut known, &mut changes);
    }
    if profile.core.clock == Millis::MIN {
        machine::born(plan, profile, now, &mut changes);
    }
    machine::advance(plan, profile, now, &mut known, &mut changes);
}

impl Scan<'_> {
    /// Whether to stop: nobody waits, the server ends, or the time is up.
    pub(super) fn over(&self) -> bool {
        let stopping = self.engine.stopping.load(Ordering::Relaxed);
        stopping || self.cancel.0.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// The same scan with less time.
    pub(super) fn within(mut self, time: Duration) -> Self {
        self.until = self.until.min(Instant::now() + time);
        self
    }

    /// Calls `work` for every profile, on two threads, and gives what it found in order of profile ids.
    /// False where it had to stop before the end.
    pub(super) fn each<T: Send>(&self, work: impl Fn(&Shared) -> Option<T> + Sync) -> (Vec<(ProfileId, T)>, bool) {
        let keep = |found: &mut Vec<(ProfileId, T)>, shared: &Shared| {
            let id = shared.lock().core.id;
            found.extend(work(shared).map(|one| (id, one)));
        };
        let (parts, complete) = self.walk(&self.engine.store.all(), keep);
        let mut found: Vec<_> = parts.into_iter().flatten().collect();
        found.sort_by_key(|(id, _)| *id);
        (found, complete)
    }

    /// Calls `work` for `all`, in their order, on two threads, each of which gathers in a place of its own. False
    /// where it had to stop before the end.
    pub(super) fn walk<A: Default + Send>(&self, all: &[Shared], work: impl Fn(&mut A, &Shared) + Sync) -> (Vec<A>, bool) {
        let next = AtomicUsize::new(0);
        let parts: Mutex<Vec<A>> = Mutex::new(Vec::new());
        let complete = AtomicBool::new(true);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut mine = A::default();
                    while let Some(shared) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.over() {
                            complete.store(false, Ordering::Relaxed);
                            break;
                        }
                        work(&mut mine, shared);
                    }
                    parts.lock().push(mine);
                });
            }
        });
        (parts.into_inner(), complete.into_inner())
    }

    /// Everybody in an order of chance, so that those a walk came to before it had to stop are a fair sample of
    /// all: shuffled (Fisher and Yates) by hashes under a key that is drawn for each scan.
    pub(super) fn shuffled(&self) -> Vec<Shared> {
        let mut all = self.engine.store.all();
        let chance = std::hash::RandomState::new();
        for i in (1..all.len()).rev() {
            let draw = chance.hash_one(i) % (i as u64 + 1);
            all.swap(i, usize::try_from(draw).unwrap_or(i));
        }
        all
    }
}
