//! What concerns the sessions of many people at once: a shared count that is used up, definitions that
//! changed.
//!
//! A thread of its own carries it out, so that nobody's event and nobody's timer waits for it. It asks only
//! the sessions that hold such an action or may come to, one profile's lock at a time, and steps aside
//! between batches: the connections that it wakes share the cores with those that bring events.

use super::Engine;
use super::evaluate::Decided;
use crate::push::Session;
use lodestone_state::action::push::{Candidates, Cause, Input};
use lodestone_state::ids::{ActionSlot, ChannelSlot};
use lodestone_state::plan::Plan;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;

/// Sessions between two breaths. A decision takes microseconds and the frame that may follow ten times
/// that on its connection's task, so that many keep the cores busy for a millisecond or two.
const BATCH: usize = 64;

/// Merges that a session may be moved by while it is looked for; the merge decides for it anyway.
const TRIES: usize = 8;

/// A change that other people's sessions have to hear of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fanout {
    /// Who hears of it.
    who: Who,
    /// Which actions are decided again; `None` for all of them.
    actions: Option<Arc<[ActionSlot]>>,
    cause: Cause,
}

#[derive(Clone, Debug, PartialEq)]
enum Who {
    /// Everybody.
    All,
    /// Sessions of these channels.
    Channels(Arc<[ChannelSlot]>),
    /// Sessions that hold the actions.
    Holders,
}

impl Fanout {
    /// Everything is decided again.
    pub(super) fn all() -> Self {
        Self { who: Who::All, actions: None, cause: Cause::Config }
    }

    /// A total cap of this action closed.
    pub(super) fn capped(action: ActionSlot) -> Self {
        Self { who: Who::Holders, actions: Some(Arc::new([action])), cause: Cause::Time }
    }

    /// What a change of definitions means for those who are connected; `None` for nothing.
    pub(super) fn between(before: &Plan, after: &Plan) -> Option<Self> {
        if before.generation != after.generation {
            return Some(Self::all());
        }
        let slots = before.actions.len().max(after.actions.len());
        let (mut actions, mut channels) = (Vec::new(), Vec::new());
        for slot in (0..).map(ActionSlot).take(slots) {
            let (old, new) = (before.action_plan(slot), after.action_plan(slot));
            if old.map(|action| action.fingerprint) != new.map(|action| action.fingerprint) {
                actions.push(slot);
                channels.extend(old.into_iter().chain(new).flat_map(|action| action.def.channels.iter().copied()));
            }
        }
        channels.sort_unstable();
        channels.dedup();
        let some = !actions.is_empty();
        some.then(|| Self { who: Who::Channels(channels.into()), actions: Some(actions.into()), cause: Cause::Config })
    }
}

/// What is still to be carried out, oldest first.
#[derive(Default)]
pub(super) struct Fanouts {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Fanout>,
    stopped: bool,
}

impl Fanouts {
    /// Has it carried out soon. What waits already is not noted twice.
    pub(super) fn push(&self, fanout: impl Into<Option<Fanout>>) {
        let Some(fanout) = fanout.into() else { return };
        let mut queue = self.queue.lock();
        if !queue.waiting.contains(&fanout) {
            queue.waiting.push_back(fanout);
            self.more.notify_one();
        }
    }

    /// Waits for the next one; `None` once stopped.
    fn next(&self) -> Option<Fanout> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(fanout) = queue.waiting.pop_front() {
                return Some(fanout);
            }
            self.more.wait(&mut queue);
        }
    }

    pub(super) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.more.notify_all();
    }
}

impl Engine {
    /// The fan-out thread: carries out what concerns many until [`Engine::stop_background`].
    pub fn run_fanout(&self) {
        while let Some(fanout) = self.fanout.next() {
            self.carry_out(&fanout);
        }
    }

    fn carry_out(&self, fanout: &Fanout) {
        for batch in self.concerned(fanout).chunks(BATCH) {
            for session in batch {
                self.decide_again(session, fanout);
            }
            std::thread::yield_now();
        }
    }

    fn concerned(&self, fanout: &Fanout) -> Vec<Arc<Session>> {
        match (&fanout.who, &fanout.actions) {
            (Who::Holders, Some(actions)) => actions.iter().flat_map(|action| self.hub.holders(*action)).collect(),
            (Who::Channels(channels), _) => self.hub.sessions(|session| channels.contains(&session.channel())),
            _ => self.hub.sessions(|_| true),
        }
    }

    /// Decides for a session whose own profile saw no input.
    fn decide_again(&self, session: &Arc<Session>, fanout: &Fanout) {
        for _ in 0..TRIES {
            let Some(id) = session.lock().profile else { return };
            let Some(shared) = self.store.get(id) else { return };
            let mut profile = shared.lock();
            // Merged away in between: the session goes on with the survivor.
            if profile.gone.is_some() {
                continue;
            }
            let plan = self.plan.load();
            self.bring_along(&plan, &shared, &mut profile);
            let candidates = fanout.actions.as_deref().map_or(Candidates::All, Candidates::These);
            let input = Input { cause: fanout.cause, candidates, event: None };
            let mut decided = Decided::default();
            self.decide(&plan, &profile, session, &input, &mut decided);
            self.settle(&plan, &mut profile, decided);
            self.record_withheld(&plan, &shared, &mut profile, std::slice::from_ref(session));
            return;
        }
    }
}
