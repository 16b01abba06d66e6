//! The sweep that brings every profile under definitions that changed, and how far it is.
//!
//! A profile is folded under its own lock, for all definitions at once, so nobody ever sees half of a
//! change; one that is needed sooner is folded when it is touched. The sweep finds the rest, those with a
//! connection first. It goes through the profiles in the order of their ids, lap after lap: a definition
//! that comes while it is under way is built when the sweep has come round to where it was, so a newer
//! change takes nothing away from an older one.

use super::Engine;
use crate::telemetry::metrics as m;
use lodestone_state::ids::{DefId, ProfileId};
use lodestone_state::plan::{Kind, Plan, Refold};
use lodestone_state::store::Shared;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Profiles between two looks at what is asked for.
const CHUNK: usize = 64;
/// Rates are taken over about this long.
const WINDOW: Duration = Duration::from_secs(1);
/// How long the sweep leaves the processor to the journal when that is behind.
const REST: Duration = Duration::from_millis(2);
/// Removals that are remembered as such; a profile that missed more of them is folded anew.
const REMOVALS_MAX: usize = 64;

/// A place of the sweep: the lap, and the profile visited last in it.
type Place = (u64, Option<ProfileId>);

/// What is being built.
#[derive(Default)]
pub(super) struct Backfill(Mutex<State>);

#[derive(Default)]
struct State {
    /// A thread is at it.
    running: bool,
    /// Something came that the thread has not seen.
    fresh: bool,
    at: Place,
    builds: Vec<Build>,
    /// The catalog version that is in force everywhere once nothing is left to build.
    target: u32,
    /// The catalog version that was.
    built: u32,
    /// Begun by an earlier run of the process.
    resumed: bool,
    rate: Rate,
    /// From the first generation to the second, definitions only went.
    removals: Vec<(u32, u32)>,
}

struct Build {
    /// `None` where there is only state to let go of.
    what: Option<(Kind, DefId)>,
    /// The definition's revision.
    revision: u32,
    done: usize,
    of: usize,
    /// Built when the sweep gets here; `None` until the sweep has seen it.
    until: Option<Place>,
}

/// Per second, over the last moment.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    visited: f64,
    folded: f64,
    events: f64,
}

#[derive(Default)]
struct Rate {
    since: Option<Instant>,
    visited: u64,
    folded: u64,
    events: u64,
    last: Option<Rates>,
}

impl Rate {
    fn add(&mut self, step: &Step) {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.visited += step.visited;
        self.folded += step.folded;
        self.events += step.events;
        if since.elapsed() >= WINDOW {
            *self = Self { last: self.now(), ..Self::default() };
        }
    }

    fn now(&self) -> Option<Rates> {
        let seconds = self.since?.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "rates for people")]
        let per = |count: u64| count as f64 / seconds.max(1e-6);
        Some(Rates { visited: per(self.visited), folded: per(self.folded), events: per(self.events) })
    }

    fn read(&self) -> Option<Rates> {
        self.last.or_else(|| self.now())
    }
}

/// What one chunk did.
#[derive(Default)]
struct Step {
    visited: u64,
    folded: u64,
    events: u64,
}

impl State {
    fn eta_seconds(&self, left: usize) -> Value {
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        match self.rate.read() {
            Some(rates) if rates.visited > 0.0 => json!((left as f64 / rates.visited).ceil()),
            _ => Value::Null,
        }
    }

    /// The sweep sees what came since it last looked, if anything did: that is built one lap from here.
    fn take_note(&mut self, profiles: usize) -> Option<Place> {
        if !std::mem::take(&mut self.fresh) {
            return None;
        }
        let (lap, last) = self.at;
        for build in self.builds.iter_mut().filter(|build| build.until.is_none()) {
            build.until = Some((lap + 1, last));
            build.of = profiles;
        }
        Some(self.at)
    }

    /// Moves on to the profile `last`, or to the next lap; true when nothing is left to build.
    fn advance(&mut self, step: &Step, last: Option<ProfileId>, wrapped: bool) -> bool {
        self.at = if wrapped { (self.at.0 + 1, None) } else { (self.at.0, last.or(self.at.1)) };
        self.rate.add(step);
        let at = self.at;
        for build in self.builds.iter_mut().filter(|build| build.until.is_some()) {
            build.done = (build.done + usize::try_from(step.visited).unwrap_or(usize::MAX)).min(build.of);
        }
        self.builds.retain(|build| build.until.is_none_or(|until| at < until));
        if !self.builds.is_empty() || self.fresh {
            return false;
        }
        (self.running, self.resumed) = (false, false);
        (self.at, self.rate) = (Place::default(), Rate::default());
        self.built = self.target;
        true
    }
}

impl Backfill {
    /// Notes what a change of definitions asks for. Returns whether a sweep has to be started.
    pub(super) fn swapped(&self, before: &Plan, plan: &Plan, refold: &Refold, profiles: usize) -> bool {
        let state = &mut *self.0.lock();
        state.target = plan.version;
        // What is gone is not being built any more.
        state.builds.retain(|build| build.what.is_none_or(|(kind, id)| revision(plan, kind, id).is_some()));
        match refold {
            Refold::None => {
                if !state.running {
                    state.built = plan.version;
                }
                return false;
            }
            Refold::Less => {
                if state.removals.len() >= REMOVALS_MAX {
                    state.removals.remove(0);
                }
                state.removals.push((before.generation, plan.generation));
                state.want(None, 0, profiles);
            }
            Refold::Built(definitions) => {
                for &(kind, id) in definitions {
                    state.want(Some((kind, id)), revision(plan, kind, id).unwrap_or_default(), profiles);
                }
            }
        }
        state.fresh = true;
        !std::mem::replace(&mut state.running, true)
    }

    /// Notes what an earlier run of the process left unfinished.
    pub(super) fn resume(&self, plan: &Plan, definitions: &[(Kind, DefId)], profiles: usize) {
        let state = &mut *self.0.lock();
        for &(kind, id) in definitions {
            state.want(Some((kind, id)), revision(plan, kind, id).unwrap_or_default(), profiles);
        }
        state.want(None, 0, profiles);
        (state.target, state.fresh, state.running, state.resumed) = (plan.version, true, true, true);
    }

    /// Everything is folded under this catalog version already.
    pub(super) fn settled(&self, version: u32) {
        let state = &mut *self.0.lock();
        (state.target, state.built) = (version, version);
    }

    /// The catalog version that every profile has been folded under.
    pub(super) fn built(&self) -> u32 {
        self.0.lock().built
    }

    /// Whether from generation `from` to `to` definitions only went, so that no fold is needed.
    pub(super) fn only_less(&self, from: u32, to: u32) -> bool {
        let state = self.0.lock();
        let mut at = from;
        for _ in 0..state.removals.len() {
            let Some((_, next)) = state.removals.iter().find(|(before, _)| *before == at) else { return false };
            at = *next;
            if at == to {
                return true;
            }
        }
        false
    }

    /// `{"name": "building", …}` or `{"name": "live"}`.
    pub(super) fn state_json(&self, kind: Kind, id: DefId) -> Value {
        let state = self.0.lock();
        match state.builds.iter().find(|build| build.what == Some((kind, id))) {
            None => json!({"name": "live"}),
            Some(build) => building(&state, build),
        }
    }

    /// What is being built: `(kind, id, state)`.
    pub(super) fn building(&self) -> Vec<(Kind, DefId, Value)> {
        let state = self.0.lock();
        let named = state.builds.iter().filter_map(|build| Some((build.what?, build)));
        named.map(|((kind, id), build)| (kind, id, building(&state, build))).collect()
    }

    /// How far the sweep is as a whole: that of what takes longest.
    pub(super) fn json(&self) -> Value {
        let state = self.0.lock();
        let longest = state.builds.iter().max_by_key(|build| build.of - build.done);
        let rates = state.rate.read().filter(|_| state.running);
        json!({
            "done": longest.map_or(0, |build| build.done),
            "of": longest.map_or(0, |build| build.of),
            "building": state.builds.iter().filter(|build| build.what.is_some()).count(),
            "etaSeconds": longest.map_or(Value::Null, |build| state.eta_seconds(build.of - build.done)),
            "profilesPerSecond": rates.map(|rates| rates.folded.round()),
            "eventsPerSecond": rates.map(|rates| rates.events.round()),
            "resumed": state.resumed,
        })
    }

    /// Profiles that are still to be visited, and definitions that wait for it.
    pub(super) fn left(&self) -> (u64, u64) {
        let state = self.0.lock();
        let profiles = state.builds.iter().map(|build| build.of - build.done).max().unwrap_or(0);
        (profiles as u64, state.builds.iter().filter(|build| build.what.is_some()).count() as u64)
    }
}

impl State {
    /// Adds a build, in place of one of the same definition that is under way.
    fn want(&mut self, what: Option<(Kind, DefId)>, revision: u32, profiles: usize) {
        self.builds.retain(|build| build.what != what || what.is_none());
        self.builds.push(Build { what, revision, done: 0, of: profiles, until: None });
    }
}

fn revision(plan: &Plan, kind: Kind, id: DefId) -> Option<u32> {
    plan.catalog.live(kind).find(|(_, known)| known.id == id).map(|(_, known)| known.revision)
}

fn building(state: &State, build: &Build) -> Value {
    let of = build.of.max(1);
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let progress = (build.done as f64 / of as f64 * 1000.0).floor() / 1000.0;
    json!({
        "name": "building",
        "progress": progress,
        "done": build.done,
        "of": build.of,
        "etaSeconds": state.eta_seconds(build.of - build.done),
        "version": build.revision,
    })
}

impl Engine {
    /// Starts the thread of the sweep; it ends when nothing is left to build.
    pub(super) fn spawn_sweep(self: &Arc<Self>) {
        let engine = self.clone();
        if let Err(error) = std::thread::Builder::new().name("backfill".into()).spawn(move || engine.sweep()) {
            tracing::warn!(%error, "backfill thread cannot start; profiles are folded when next touched");
            self.backfill.0.lock().running = false;
        }
    }

    /// Takes up what an earlier run left unfinished, if any profile is folded under other definitions than
    /// those in force. `built` is the catalog version that they all had been folded under.
    pub(super) fn resume_sweep(self: &Arc<Self>, plan: &Plan, built: u32) {
        let stale = self.store.all().iter().filter(|shared| shared.lock().core.generation != plan.generation).count();
        if stale == 0 {
            self.backfill.settled(plan.version);
            return;
        }
        let before = self.disk.catalog_get(built).ok().flatten();
        let before =
            before.and_then(|bytes| Plan::compile(Arc::new(lodestone_state::plan::Catalog::from_bytes(&bytes).ok()?)).ok());
        let definitions: Vec<(Kind, DefId)> = match before.map(|before| plan.refold_from(&before)) {
            Some(Refold::Built(definitions)) => definitions,
            Some(Refold::None | Refold::Less) => Vec::new(),
            // That version is not known any more: whatever changed since is taken for new.
            None => plan
                .folded()
                .into_iter()
                .map(|one| (one.kind, one.id))
                .filter(|(kind, id)| changed_since(plan, *kind, *id, built))
                .collect(),
        };
        tracing::info!(stale, definitions = definitions.len(), "backfill resumes");
        self.backfill.resume(plan, &definitions, self.store.len());
        self.spawn_sweep();
    }

    /// Waits until a sweep that was told to stop has stopped.
    pub(super) fn await_sweep(&self) {
        while self.stopping.load(Ordering::Relaxed) && self.backfill.0.lock().running {
            std::thread::sleep(REST);
        }
    }

    fn sweep(&self) {
        let began = Instant::now();
        let (mut folded, mut events) = (0, 0);
        let mut count = |step: &Step| (folded, events) = (folded + step.folded, events + step.events);
        let mut ring: Vec<(ProfileId, Shared)> = Vec::new();
        let mut next = 0;
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                self.backfill.0.lock().running = false;
                return;
            }
            // Noted before the profiles are listed: one that the list lacks was made under the new plan.
            let noted = self.backfill.0.lock().take_note(self.store.len());
            if let Some((_, last)) = noted {
                ring = self.ring();
                next = last.map_or(0, |last| ring.partition_point(|(id, _)| *id <= last));
                self.visit_connected(&mut count);
            }
            let chunk = &ring[next..(next + CHUNK).min(ring.len())];
            let mut step = Step::default();
            for (_, shared) in chunk {
                let one = self.visit(shared);
                step = Step { visited: step.visited + 1, folded: step.folded + one.folded, events: step.events + one.events };
            }
            count(&step);
            next += chunk.len();
            let wrapped = next >= ring.len();
            if wrapped {
                next = 0;
            }
            if self.backfill.0.lock().advance(&step, chunk.last().map(|(id, _)| *id), wrapped) {
                break;
            }
            if self.pressure() {
                std::thread::sleep(REST);
            }
        }
        tracing::info!(folded, events, ms = began.elapsed().as_millis(), "backfill done");
    }

    /// The people who are here wait for what the change means to them: they go first.
    fn visit_connected(&self, count: &mut dyn FnMut(&Step)) {
        for session in self.hub.sessions(|_| true) {
            let Some(id) = session.lock().profile else { continue };
            if let Some(shared) = self.store.get(id) {
                count(&self.visit(&shared));
            }
        }
    }

    /// Every profile, in the order of their ids.
    fn ring(&self) -> Vec<(ProfileId, Shared)> {
        let with_id = |shared: Shared| {
            let id = shared.lock().core.id;
            (id, shared)
        };
        let mut ring: Vec<(ProfileId, Shared)> = self.store.all().into_iter().map(with_id).collect();
        ring.sort_unstable_by_key(|(id, _)| *id);
        ring
    }

    /// Brings one profile under the plan in force, with everything that follows for its sessions.
    fn visit(&self, shared: &Shared) -> Step {
        let mut profile = shared.lock();
        let plan = self.plan.load();
        if profile.gone.is_some() || profile.core.generation == plan.generation {
            return Step::default();
        }
        self.bring_along(&plan, shared, &mut profile);
        let events = profile.core.events;
        drop(profile);
        self.follow_up();
        m::backfilled(events);
        Step { visited: 1, folded: 1, events }
    }
}

fn changed_since(plan: &Plan, kind: Kind, id: DefId, version: u32) -> bool {
    plan.catalog.live(kind).any(|(_, known)| known.id == id && known.changed > version)
}

#[cfg(test)]
mod tests;
