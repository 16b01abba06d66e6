//! Effects: which of a profile's sessions get which actions because of what changed.

use super::Engine;
use crate::push::session::Inner;
use crate::push::{PushFrame, Session};
use crate::telemetry::metrics as m;
use lodestone_state::action::push::{ActionRef, Actions, Candidates, Cause, Input, PushOp, World};
use lodestone_state::action::{CapState, Person, Spending, State};
use lodestone_state::event::Reaction;
use lodestone_state::expr::{Facts, Source};
use lodestone_state::ids::{ActionSlot, AudienceSlot, BudgetSlot, ChannelSlot, Millis, ProfileId};
use lodestone_state::machine::{Changes, ProfileFacts};
use lodestone_state::plan::Plan;
use lodestone_state::profile::Profile;
use lodestone_state::store::Shared;
use lodestone_state::value::Value;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A change that other people's sessions have to hear of.
#[derive(Clone, Debug)]
pub(super) struct Fanout {
    action: Option<ActionSlot>,
    cause: Cause,
}

impl Fanout {
    /// Definitions changed: everything is decided again.
    pub(super) fn all() -> Self {
        Self { action: None, cause: Cause::Config }
    }

    /// A total cap of this action closed.
    pub(super) fn capped(action: ActionSlot) -> Self {
        Self { action: Some(action), cause: Cause::Time }
    }
}

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

/// A profile as targeting reads it.
pub(super) struct ProfilePerson<'a>(pub(super) ProfileFacts<'a>);

impl Facts for ProfilePerson<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        self.0.get(source)
    }
}

impl Person for ProfilePerson<'_> {
    fn owns(&self, user_id: &str) -> bool {
        self.0.profile.core.identities.iter().any(|i| i.user_id == user_id)
    }

    fn member(&self, audience: AudienceSlot) -> bool {
        self.0.profile.member_since(audience).is_some()
    }

    fn caps(&self, action: ActionSlot) -> Option<&CapState> {
        self.0.profile.core.caps.get(action.0)
    }

    fn profile(&self) -> ProfileId {
        self.0.profile.core.id
    }

    fn budgets(&self, action: ActionSlot, f: &mut dyn FnMut(Spending<'_>)) {
        spendings(self.0.plan, self.0.profile, action).for_each(f);
    }
}

/// The budgets that govern an action, with what the person has spent of them.
pub(super) fn spendings<'a>(plan: &'a Plan, profile: &'a Profile, action: ActionSlot) -> impl Iterator<Item = Spending<'a>> {
    let all = plan.budgets_of(action).iter().filter_map(|slot| plan.budget_plan(*slot));
    all.map(|budget| Spending {
        slot: budget.slot,
        name: &budget.name,
        def: &budget.def,
        spent: profile.core.budgets.get(budget.slot.0),
    })
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

/// The actions that a change can touch; `None` for all of them.
fn touched(plan: &Plan, changes: &Changes) -> Option<SmallVec<[ActionSlot; 8]>> {
    if changes.identity || changes.refolded {
        return None;
    }
    let mut actions: SmallVec<[ActionSlot; 8]> = SmallVec::new();
    if let Some(event) = changes.event.and_then(|slot| plan.event_plan(slot)) {
        actions.extend(event.actions.iter().copied());
    }
    for slot in &changes.traits {
        actions.extend(plan.trait_plan(*slot).into_iter().flat_map(|t| t.actions.iter().copied()));
    }
    for path in &changes.custom {
        actions.extend(plan.custom_touch(*path).actions.iter().copied());
    }
    for change in &changes.members {
        actions.extend(plan.audience_plan(change.audience).into_iter().flat_map(|a| a.actions.iter().copied()));
    }
    actions.extend(changes.reacted);
    actions.extend(governed(plan, &changes.budgets));
    actions.sort_unstable();
    actions.dedup();
    Some(actions)
}

/// The actions that budgets govern.
fn governed<'a>(plan: &'a Plan, budgets: &'a [BudgetSlot]) -> impl Iterator<Item = ActionSlot> + 'a {
    budgets.iter().filter_map(|slot| plan.budget_plan(*slot)).flat_map(|budget| budget.actions.iter().copied())
}

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
        let mut until = Millis::MAX;
        let sessions = self.hub.of(profile.core.id);
        if !sessions.is_empty() {
            let touched = touched(plan, changes);
            for session in &sessions {
                let candidates = touched.as_deref().map_or(Candidates::All, Candidates::These);
                let input = Input { cause: cause(changes), candidates, event: changes.event };
                until = until.min(self.decide(plan, profile, session, &input));
            }
        }
        self.schedule(profile, until);
    }

    /// Decides for one session, queues the difference, and tells when a decision flips by itself next.
    pub(super) fn decide(&self, plan: &Plan, profile: &Profile, session: &Arc<Session>, input: &Input<'_>) -> Millis {
        let mut guard = session.lock();
        let inner = &mut *guard;
        if inner.live.is_idle() {
            return Millis::MAX;
        }
        let now = self.clock.now().max(profile.core.clock);
        let ripe;
        let candidates = match input.candidates {
            Candidates::These(named) => {
                let mut all = inner.live.ripe(now);
                all.extend_from_slice(named);
                if all.is_empty() {
                    return inner.live.deadline();
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
            self.queue(inner, op, input.cause);
        }
        if inner.take_resync() {
            self.resync(inner, &world);
        }
        let until = inner.live.deadline();
        drop(guard);
        if any {
            session.wake();
        }
        until
    }

    /// Decides again for a session whose own profile saw no input.
    pub(super) fn decide_again(&self, plan: &Plan, profile: &mut Profile, session: &Arc<Session>, fanout: &Fanout) {
        let one;
        let candidates = match fanout.action {
            Some(action) => {
                one = [action];
                Candidates::These(&one)
            }
            None => Candidates::All,
        };
        let until = self.decide(plan, profile, session, &Input { cause: fanout.cause, candidates, event: None });
        self.schedule(profile, until);
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
        let seq = inner.next_seq();
        let names = |subs: &[compact_str::CompactString]| subs.iter().map(ToString::to_string).collect();
        self.stats.pushes.fetch_add(1, Ordering::Relaxed);
        m::actions_due(usize::from(matches!(op, PushOp::Enter { .. })));
        inner.queue(match op {
            PushOp::Enter { slot, subs, action, first } => {
                PushFrame::Action { seq, subs: names(&subs), cause, action, slot, first }
            }
            // What an action says comes from traits, so that is why it says something else now.
            PushOp::Update { slot, subs, action } => {
                PushFrame::Action { seq, subs: names(&subs), cause: Cause::Trait, action, slot, first: false }
            }
            PushOp::Revoke { id, subs, delivery_id, reason, .. } => {
                PushFrame::Revoked { seq, subs: names(&subs), action_id: id, delivery_id, reason }
            }
        });
    }

    /// Says that frames were dropped, and what every subscription holds now.
    fn resync(&self, inner: &mut Inner, world: &World<'_>) {
        let subs: Vec<String> = inner.live.subscriptions().map(|s| s.sub.to_string()).collect();
        let seq = inner.next_seq();
        inner.queue(PushFrame::Resync { seq, subs: subs.clone() });
        for sub in subs {
            let actions = inner.live.holdings(&sub, world);
            let seq = inner.next_seq();
            inner.queue(PushFrame::Subscribed { seq, id: None, sub, actions, first: Vec::new() });
        }
    }
}
