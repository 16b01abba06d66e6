//! What happens with no event arriving: deadlines that come due.

use super::Engine;
use crate::telemetry::metrics as m;
use lodestone_state::ids::{Millis, ProfileId};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::Plan;
use lodestone_state::profile::Profile;
use lodestone_state::store::Shared;
use std::sync::Arc;

/// Profiles woken before the clock is read again.
const WAVE: usize = 1024;

impl Engine {
    /// The timer thread: fires deadlines as they come due until [`Engine::stop_background`].
    pub fn run_timers(&self) {
        let mut due = Vec::with_capacity(WAVE);
        while self.timers.wait(self.clock.now()) {
            self.fire_due(&mut due);
            self.follow_up();
        }
    }

    /// Fires everything that is due now; for tests that set the clock. Returns how many profiles woke.
    pub fn fire_due(&self, due: &mut Vec<(Millis, ProfileId)>) -> usize {
        let mut woken = 0;
        loop {
            let now = self.clock.now();
            due.clear();
            self.timers.due(now, WAVE, due);
            if due.is_empty() {
                return woken;
            }
            woken += due.len();
            for &(deadline, id) in due.iter() {
                self.wake(id, now);
                m::timer_late(now.0 - deadline.0);
            }
        }
    }

    fn wake(&self, id: ProfileId, now: Millis) {
        let Some(shared) = self.store.get(id) else { return };
        let mut profile = shared.lock();
        profile.scheduled = Millis::MAX;
        if profile.gone.is_some() {
            return;
        }
        let plan = self.plan.load();
        let mut changes = Changes::default();
        self.bring_up_to_date(&plan, &mut profile, &mut changes);
        // Also what could not be written down when it was due.
        machine::all_due(&plan, &profile, &mut changes);
        self.catch_up(&plan, &shared, &mut profile, now, &mut changes);
        self.after(&plan, &shared, &mut profile, &changes);
        drop(profile);
        self.follow_up();
    }

    /// Brings a profile under the definitions in force, if they changed since its state was folded: by a
    /// fold of its log, or where definitions only went, by letting go of their state. The caller holds its
    /// lock.
    pub(super) fn bring_up_to_date(&self, plan: &Plan, profile: &mut Profile, changes: &mut Changes) {
        if profile.core.generation == plan.generation {
            return;
        }
        let before = std::mem::replace(&mut profile.core.generation, plan.generation);
        if profile.core.clock == Millis::MIN {
            return;
        }
        if self.backfill.only_less(before, plan.generation) {
            machine::forget(plan, profile, changes);
        } else {
            machine::rebuild(plan, profile, false, &mut self.history(), changes);
        }
        if let Some(shared) = self.store.get(profile.core.id) {
            self.mark_dirty(&shared, profile);
        }
    }

    /// As [`Self::bring_up_to_date`], with everything that follows from it.
    pub(super) fn bring_along(&self, plan: &Plan, shared: &Shared, profile: &mut Profile) {
        if profile.gone.is_some() || profile.core.generation == plan.generation {
            return;
        }
        let mut changes = Changes::default();
        self.bring_up_to_date(plan, profile, &mut changes);
        self.advance(plan, shared, profile, self.clock.now(), &mut changes);
        self.after(plan, shared, profile, &changes);
    }

    /// Fires what came due while nobody ran, before any connection is taken, and tells the timers about the
    /// rest. Profiles folded under older definitions with nothing due are the sweep's.
    pub(super) fn wake_all_overdue(&self, plan: &Plan) {
        let now = self.clock.now();
        for shared in self.store.all() {
            let mut profile = shared.lock();
            let mut changes = Changes::default();
            if profile.deadline() <= now {
                self.bring_up_to_date(plan, &mut profile, &mut changes);
            }
            if profile.core.generation == plan.generation {
                // A rule whose firing a crash took: the entry that made it due is the last one.
                machine::all_due(plan, &profile, &mut changes);
                changes.applied = Some(profile.core.applied);
                self.catch_up(plan, &shared, &mut profile, now, &mut changes);
            }
            self.note_members(&mut profile, &changes);
            self.schedule(&mut profile, Millis::MAX);
        }
    }

    /// Ends the background threads and refuses new writes.
    pub fn stop_background(&self) {
        self.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        self.timers.stop();
        self.fanout.stop();
        self.outbox.poke();
    }
}

/// Spawns the timer thread, the fan-out thread and the checkpointer of an engine, and the outbox on the
/// caller's runtime.
pub fn spawn_background(engine: &Arc<Engine>, checkpoint_every: std::time::Duration) -> Vec<std::thread::JoinHandle<()>> {
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.into()).spawn(work).expect("a thread can be started")
    };
    engine.start_outbox();
    let timers = engine.clone();
    let fanout = engine.clone();
    let checkpoints = engine.clone();
    let retention = engine.clone();
    vec![
        spawn("timers", Box::new(move || timers.run_timers())),
        spawn("fanout", Box::new(move || fanout.run_fanout())),
        spawn("retention", Box::new(move || retention.run_retention())),
        spawn("checkpoints", Box::new(move || checkpoints.run_checkpoints(checkpoint_every))),
    ]
}
