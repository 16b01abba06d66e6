//! Effects: which of a profile's sessions get which actions because of what changed.

use super::Engine;
pub(super) use super::fanout::Fanout;
use crate::push::outbox::Unseen;
use crate::push::session::Inner;
use crate::push::{PushFrame, Session};
use crate::telemetry::metrics as m;
use lodestone_state::action::State;
use lodestone_state::action::push::{ActionRef, Actions, Candidates, Cause, Input, PushOp, World};
use lodestone_state::event::Reaction;
use lodestone_state::ids::{ActionSlot, BudgetSlot, ChannelSlot, Millis, ProfileId};
use lodestone_state::machine::{Changes, ProfileFacts, ProfilePerson, governed, touched};
use lodestone_state::plan::Plan;
use lodestone_state::profile::Profile;
use lodestone_state::store::Shared;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The plan's actions, as decisions look them up.
pub(super) struct PlanActions<'a>(pub(super) &'a Plan);

impl Actions for PlanActions<'_> {
    fn action(&self, slot: ActionSlot) -> Option<ActionRef<'_>> {
        let action = self.0.action_plan(slot)?;
        Some(ActionRef { slot, id: action.id, version: action.fingerprint, def: &action.def })
    }

    fn of_channel(&self, channel: ChannelSlot) -> &[ActionSlot] {
        self.0.actions_of_channel(channel)
    }
}

/// The word for why actions are looked at: what the person did, if anything, else time.
fn cause(changes: &Changes) -> Cause {
    if changes.event.is_some() {
        Cause::Event
    } else if changes.identity {
        Cause::Identity
    } else if changes.refolded {
        Cause::Config
    } else if !changes.custom.is_empty() {
        Cause::Trait
    } else {
        Cause::Time
    }
}

/// What evaluations leave behind.
pub(super) struct Decided {
    /// When a decision flips by itself next.
    pub(super) until: Millis,
    /// Budgets that got a place back: what was to be delivered never will be.
    pub(super) freed: SmallVec<[BudgetSlot; 2]>,
}

impl Default for Decided {
    fn default() -> Self {
        Self { until: Millis::MAX, freed: SmallVec::new() }
    }
}

/// A place that comes free may make another one free, when what takes it stands in a slot. Each time an
/// action comes up that waited, so this ends; it is cut off where only a mistake could lead.
const FREED_ROUNDS: usize = 8;

impl Engine {
    /// What follows from one input, still under the profile's lock: counts, deadlines, pushes.
    pub(super) fn after(&self, plan: &Plan, shared: &Shared, profile: &mut Profile, changes: &Changes) {
        let mut settled;
        let mut changes = changes;
        if !changes.due.is_empty() {
            settled = changes.clone();
            self.settle_rules(plan, shared, profile, &mut settled);
            changes = &settled;
        }
        self.note_members(profile, changes);
        m::funnel_runs_evicted(changes.evicted);
        m::goal_records_dropped(changes.unkept);
        let mut decided = Decided::default();
        let sessions = self.hub.of(profile.core.id);
        if !sessions.is_empty() {
            let touched = touched(plan, changes);
            let candidates = touched.as_deref().map_or(Candidates::All, Candidates::These);
            let input = Input { cause: cause(changes), candidates, event: changes.event };
            for session in &sessions {
                self.decide(plan, profile, session, &input, &mut decided);
            }
        }
        self.settle(plan, profile, decided);
        self.record_withheld(plan, shared, profile, &sessions);
    }

    /// Gives places that came free to whoever waits for one, and schedules the next flip. The caller holds
    /// the profile's lock.
    pub(super) fn settle(&self, plan: &Plan, profile: &mut Profile, mut decided: Decided) {
        for _ in 0..FREED_ROUNDS {
            if decided.freed.is_empty() {
                break;
            }
            let freed = std::mem::take(&mut decided.freed);
            let waiting: SmallVec<[ActionSlot; 8]> = governed(plan, &freed).collect();
            let input = Input { cause: Cause::Time, candidates: Candidates::These(&waiting), event: None };
            for session in self.hub.of(profile.core.id) {
                self.decide(plan, profile, &session, &input, &mut decided);
            }
        }
        self.schedule(profile, decided.until);
    }

    /// Decides for one session and queues the difference. [`Engine::settle`] follows, with the same lock.
    pub(super) fn decide(
        &self,
        plan: &Plan,
        profile: &Profile,
        session: &Arc<Session>,
        input: &Input<'_>,
        decided: &mut Decided,
    ) {
        let mut guard = session.lock();
        let inner = &mut *guard;
        if inner.live.is_idle() {
            return;
        }
        let now = self.clock.now().max(profile.core.clock);
        let ripe;
        let candidates = match input.candidates {
            Candidates::These(named) => {
                let mut all = inner.live.ripe(now);
                all.extend_from_slice(named);
                if all.is_empty() {
                    decided.until = decided.until.min(inner.live.deadline());
                    return;
                }
                ripe = all;
                Candidates::These(&ripe)
            }
            Candidates::All => Candidates::All,
        };
        let actions = PlanActions(plan);
        let person = ProfilePerson(ProfileFacts::of(plan, profile));
        let world = World { actions: &actions, person: &person, totals: &self.totals, now };
        let ops = inner.live.evaluate(&world, &Input { candidates, ..*input }, &mut super::mint);
        let any = !ops.is_empty();
        for op in ops {
            if let PushOp::Enter { slot, action, first: true, .. } = &op {
                self.delivery_begins(plan, profile.core.id, session.channel(), *slot, action.delivery_id);
            }
            self.queue(inner, op, input.cause);
        }
        if inner.outbox.take_resync() {
            self.resync(inner, &world);
        }
        let lost = inner.outbox.take_lost();
        self.index(plan, session, inner, input.cause == Cause::Config);
        decided.until = decided.until.min(inner.live.deadline());
        drop(guard);
        decided.freed.extend(self.give_back(profile.core.id, &lost));
        if any {
            session.wake();
        }
    }

    /// Gives back the places of deliveries that will never be recorded.
    pub(super) fn give_back(&self, profile: ProfileId, lost: &[Unseen]) -> SmallVec<[BudgetSlot; 2]> {
        let over = |one: &Unseen| {
            let holder = one.of.as_ref().map_or(profile, |(profile, _)| *profile);
            self.totals.delivery_over(holder, one.delivery)
        };
        lost.iter().flat_map(over).collect()
    }

    /// Tells the hub for which shared counts it has to find a session.
    pub(super) fn index(&self, plan: &Plan, session: &Arc<Session>, inner: &mut Inner, changed: bool) {
        if inner.live.take_reshaped() || changed {
            let shared = |slot: &ActionSlot| plan.action_plan(*slot).is_some_and(|action| action.def.has_total_caps());
            let actions = inner.live.known().filter(shared).collect();
            self.hub.index(session, inner, actions);
        }
    }

    /// A delivery begins. Budgets that count deliveries hold a place for it until the log has it. The caller
    /// holds the profile's lock.
    pub(super) fn delivery_begins(
        &self,
        plan: &Plan,
        profile: ProfileId,
        channel: ChannelSlot,
        action: ActionSlot,
        delivery: u128,
    ) {
        let runs = plan.action_plan(action).is_some_and(|action| action.def.state == State::Active);
        let counts = |slot: &&BudgetSlot| {
            plan.budget_plan(**slot).is_some_and(|budget| budget.def.limit_on(Reaction::Delivered, channel).is_some())
        };
        let budgets = plan.budgets_of(action).iter().filter(counts).copied();
        if runs {
            self.totals.delivery_begins(profile, delivery, budgets, self.clock.now());
        }
    }

    pub(super) fn queue(&self, inner: &mut Inner, op: PushOp, cause: Cause) {
        self.stats.pushes.fetch_add(1, Ordering::Relaxed);
        m::actions_due(usize::from(matches!(op, PushOp::Enter { .. })));
        inner.outbox.push(op, cause, Instant::now());
    }

    /// Says that frames were dropped, and what every subscription holds now.
    fn resync(&self, inner: &mut Inner, world: &World<'_>) {
        let subs: Vec<String> = inner.live.subscriptions().map(|s| s.sub.to_string()).collect();
        // What waited is in the snapshots.
        let mut first = inner.outbox.take_waiting();
        inner.queue(|seq| PushFrame::Resync { seq, subs: subs.clone() });
        for sub in subs {
            let actions = inner.live.holdings(&sub, world);
            let first = std::mem::take(&mut first);
            inner.queue(|seq| PushFrame::Subscribed { seq, id: None, sub, actions, first });
        }
    }
}
