//! Acts whose webhooks decide: reserve, call, then commit or release.
//!
//! The reservation is taken under the profile's lock, the lock is let go of for the calls, and the commit
//! takes it again: by then the profile may have been merged, and the definitions may have changed. The
//! work is a task of its own. Whoever sent the act may be gone by the time it ends; what a webhook agreed
//! to is recorded all the same.

use super::act::find_again;
use super::acts::{ActKey, Answers, Outcome};
use super::api::{Acted, Caller, Waiting};
use super::outbox::reason;
use super::track::Draft;
use super::{Engine, mint};
use crate::hooks::{Answer, Call, Fault, Reply, sign};
use crate::telemetry::metrics as m;
use crate::wire::Rejection;
use lodestone_state::action::hooks::Body;
use lodestone_state::action::{Reservation, Webhook, gated};
use lodestone_state::event::{EntryKind, Link, Reacted, Reaction};
use lodestone_state::ids::{ChannelSlot, ProfileId};
use lodestone_state::job::{act_id, endpoint_of, job_id};
use lodestone_state::machine::Changes;
use lodestone_state::plan::{ActionPlan, Plan};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// A webhook to call, with its place among the hooks of its action.
pub(super) type Planned = (usize, Webhook);

/// The place that an act has taken in the caps.
pub(super) struct Held {
    /// None for a reaction that no cap can refuse.
    pub(super) totals: Option<Reservation>,
    /// Whose.
    pub(super) profile: ProfileId,
}

/// An admitted act that waits for its webhooks.
pub(super) struct HookedAct {
    pub(super) caller: Caller,
    /// The plan that admitted it.
    pub(super) plan: Arc<Plan>,
    pub(super) draft: Draft,
    pub(super) held: Held,
    pub(super) hooks: Vec<Planned>,
    /// Its message id as a number.
    pub(super) id: Option<u128>,
    pub(super) session: Option<u64>,
}

/// The hooks whose answers decide about a reaction, in order.
pub(super) fn blocking_hooks(action: &ActionPlan, reaction: Reaction, channel: ChannelSlot) -> Vec<Planned> {
    let hooks = action.def.hooks_on(reaction, channel);
    hooks.filter_map(|(place, hook)| Some((place, hook.blocking()?.clone()))).collect()
}

/// What an act that waits leaves behind however it ends: its place given back, and nobody waiting for it.
struct Cleanup {
    engine: Arc<Engine>,
    held: Held,
    id: Option<u128>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(reservation) = self.held.totals.take() {
            self.engine.totals.release(reservation);
        }
        if let Some(id) = self.id {
            self.engine.acts.end(id);
        }
        m::acts_waiting(-1.0);
    }
}

impl Engine {
    /// A place among the acts that wait for their hooks.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Rejection> {
        self.hooks.place().ok_or_else(|| Rejection::rate_limited(1000))
    }

    /// Sets an admitted act going. The caller holds the profile's lock.
    pub(super) fn begin_hooked(self: &Arc<Self>, act: HookedAct, place: OwnedSemaphorePermit) -> Result<Waiting, Rejection> {
        let HookedAct { caller, plan, draft, held, hooks, id, session } = act;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.release_place(held);
            return Err(Rejection::internal());
        };
        let (tell, waiting) = match self.acts.begin(id) {
            Ok(begun) => begun,
            // The same id a moment ago, for another person: that one is the first.
            Err(other) => {
                self.release_place(held);
                return Ok(other);
            }
        };
        m::acts_waiting(1.0);
        let cleanup = Cleanup { engine: self.clone(), held, id, _place: place };
        let task = Task { caller, plan, draft, hooks, session, entry_id: mint() };
        runtime.spawn(run(task, cleanup, tell));
        Ok(waiting)
    }

    fn release_place(&self, held: Held) {
        if let Some(reservation) = held.totals {
            self.totals.release(reservation);
        }
    }
}

/// What the task works with.
struct Task {
    caller: Caller,
    plan: Arc<Plan>,
    draft: Draft,
    hooks: Vec<Planned>,
    session: Option<u64>,
    entry_id: u128,
}

async fn run(task: Task, mut cleanup: Cleanup, tell: watch::Sender<Option<Outcome>>) {
    let outcome = match task.call_hooks(&cleanup).await {
        Ok(answers) => task.commit(&mut cleanup, answers),
        Err(answer) => Err(Rejection::hook_failed(answer)),
    };
    // Before anybody hears of it: whoever tries again because of this outcome finds the place free.
    drop(cleanup);
    tell.send_replace(Some(outcome));
}

impl Task {
    fn reacted(&self) -> &Reacted {
        match &self.draft.kind {
            EntryKind::Reacted(reacted) => reacted,
            _ => unreachable!("an act's draft is a reaction"),
        }
    }

    fn key(&self, id: Option<u128>) -> Option<ActKey> {
        let reacted = self.reacted();
        Some(ActKey { id: id?, action: reacted.action, reaction: reacted.reaction })
    }

    /// Calls the hooks in order and stops at the first that does not agree. Those that agreed to this very
    /// act before are not called again.
    async fn call_hooks(&self, cleanup: &Cleanup) -> Result<Answers, Answer> {
        let engine = &cleanup.engine;
        let key = self.key(cleanup.id);
        let mut agreed = key.as_ref().map(|key| engine.acts.recall(key)).unwrap_or_default();
        // A reservation outlives this by some seconds.
        let deadline = Instant::now() + engine.hooks.options().timeout;
        for (place, webhook) in &self.hooks {
            if agreed.iter().any(|(known, _)| known == place) {
                continue;
            }
            let answer = self.call(engine, *place, webhook, cleanup.id, deadline).await;
            if !answer.is_success() {
                if let Some(key) = key {
                    engine.acts.remember(key, agreed, engine.clock.now());
                }
                return Err(answer);
            }
            agreed.push((*place, answer));
        }
        Ok(agreed)
    }

    async fn call(&self, engine: &Engine, place: usize, webhook: &Webhook, id: Option<u128>, deadline: Instant) -> Answer {
        let reacted = self.reacted();
        let action = self.plan.action_plan(reacted.action);
        let body = Body {
            reaction: reacted.reaction,
            action: action.map(|action| action.id).unwrap_or_default(),
            user_id: &self.draft.user_id,
            channel: self.plan.channel_key(reacted.channel),
            properties: reacted.properties.as_deref(),
            params: webhook.params.as_deref(),
            at: self.draft.at,
            test: false,
        }
        .to_json();
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        // Stays the same when the act is sent again under its id, which the entry's own does not.
        let call_id = uuid::Uuid::from_u128(job_id(id.unwrap_or(self.entry_id), place)).to_string();
        let act_id = act_id(self.draft.message_id.as_deref(), self.entry_id);
        let keys = engine.plan.load().signing_keys();
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let turn = tokio::time::timeout(left(deadline), engine.hooks.turn(&endpoint_of(&webhook.url))).await;
        let reply = match turn {
            Ok(Some(_turn)) => {
                let call = Call {
                    url: &webhook.url,
                    body: &body,
                    id: &call_id,
                    act_id: Some(&act_id),
                    test: reacted.test,
                    keys: &keys,
                    timeout: left(deadline),
                };
                engine.hooks.client().call(&call).await
            }
            _ => Reply::fault(Fault::Busy, Duration::ZERO),
        };
        m::act_called(&reply);
        let failure = (!reply.is_success()).then(|| reason(&reply));
        engine.outbox.health().note((Link::Action(reacted.action), place), engine.clock.now(), failure.as_deref());
        Answer::of(reply, keys.first().map(|key| sign::over_body(key, &body)))
    }

    /// Records the reaction, with what the last hook answered. If that is not possible any more, the
    /// answers are kept for another try.
    fn commit(self, cleanup: &mut Cleanup, answers: Answers) -> Outcome {
        let engine = cleanup.engine.clone();
        let key = self.key(cleanup.id);
        let last = answers.last().map(|(_, answer)| answer.clone());
        let outcome = self.try_commit(&engine, cleanup, last);
        if let (Err(_), Some(key)) = (&outcome, key) {
            engine.acts.remember(key, answers, engine.clock.now());
        }
        outcome
    }

    fn try_commit(mut self, engine: &Arc<Engine>, cleanup: &mut Cleanup, result: Option<Answer>) -> Outcome {
        if engine.stopping.load(Ordering::Relaxed) {
            return Err(Rejection::unavailable("the server is stopping; send it again"));
        }
        if let EntryKind::Reacted(reacted) = &mut self.draft.kind {
            reacted.result = result.as_ref().map(|answer| answer.to_json().into());
        }
        loop {
            // Merged in the meantime, the profile's id leads to who took it over.
            let found = engine.store.get(cleanup.held.profile).or_else(|| engine.store.find(&self.draft.user_id));
            let shared = found.ok_or_else(|| Rejection::new("action_not_allowed", "nobody is known by this user id any more"))?;
            let mut profile = shared.lock();
            if profile.gone.is_some() {
                continue;
            }
            let plan = engine.plan.load_full();
            if let Some(first) = self.draft.message_id.as_ref().and_then(|id| engine.dedupe.find_recent(id, self.draft.at)) {
                return Ok(engine.acted_as_logged(&self.caller, &profile, &first));
            }
            let action = find_again(&plan, &self.plan, self.reacted().action)?;
            let mut changes = Changes::default();
            engine.bring_up_to_date(&plan, &mut profile, &mut changes);
            let at = engine.clock.now().max(profile.core.clock);
            engine.advance(&plan, &shared, &mut profile, at, &mut changes);
            (self.draft.t, self.draft.at) = (at, at);
            let reacted = self.reacted();
            let reservation = if reacted.test || !gated(reacted.reaction) {
                None
            } else {
                let held = cleanup.held.totals.take().filter(|held| engine.totals.renew(held, at));
                // Its time ran out; if nobody has taken the place since, it is as good as before.
                let again = || engine.reserve(&plan, &profile, action, reacted.reaction, reacted.channel, at);
                Some(held.map_or_else(again, Ok)?)
            };
            let Self { draft, entry_id, session, .. } = self;
            let acted: Acted = engine.record(&plan, &shared, profile, draft, entry_id, action, reservation, session, changes);
            return Ok(acted);
        }
    }
}
