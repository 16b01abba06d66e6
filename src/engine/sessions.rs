//! Sessions: connect, resume, subscribe, change context, acknowledge.

use super::api::{Caller, Hello, Identified, SubscribeInput};
use super::evaluate::{Decided, PlanActions};
use super::track::{check_context, check_ids};
use super::{Engine, mint};
use crate::push::outbox::Unseen;
use crate::push::session::Inner;
use crate::push::{PushFrame, Session};
use crate::wire::{Rejection, limits};
use lodestone_state::action::push::{Candidates, Cause, Filter, Input, LiveSet, Offered, RevokeReason, Subscription, World};
use lodestone_state::event::Props;
use lodestone_state::ids::{ChannelSlot, ProfileId};
use lodestone_state::machine::{Changes, ProfileFacts, ProfilePerson};
use lodestone_state::plan::Plan;
use lodestone_state::profile::Profile;
use lodestone_state::schema::UnknownKeys;
use std::sync::Arc;

impl Engine {
    /// Opens a session. No profile is made by this alone.
    ///
    /// # Errors
    /// A user id that is missing or too long.
    pub fn connect(&self, caller: &Caller, hello: &Hello<'_>) -> Result<Arc<Session>, Rejection> {
        check_ids(hello.user_id, None)?;
        let plan = self.plan.load();
        let context = valid_context(&plan, caller, hello.context);
        let live = LiveSet::new(caller.channel, Some(context));
        let mut inner = Inner::new(hello.user_id.into(), hello.is_anonymous, caller.grant.id, live, self.push_rate);
        inner.context_raw = hello.context.map(Into::into);
        let session = self.hub.insert(caller.channel, inner);
        if let Some(shared) = self.store.find(hello.user_id) {
            let profile = shared.lock();
            if self.store.owns(&profile, hello.user_id) {
                self.hub.bind(&session, profile.core.id);
            }
        }
        Ok(session)
    }

    /// Takes over a session that another connection left, or still holds. `None` when the token is
    /// unknown, used or another's, or when frames after `last_seq` are not kept any more.
    #[must_use]
    pub fn resume(&self, caller: &Caller, token: &str, last_seq: u64) -> Option<Arc<Session>> {
        let session = self.hub.take_over(token, caller.grant.id, last_seq, self.clock.now())?;
        // What it says that it has was delivered, whether it came to say so before or not.
        self.seen(&session, last_seq);
        Some(session)
    }

    /// The connection is gone; the session stays resumable for a while.
    pub fn disconnect(&self, session: &Session) {
        self.hub.leave(session, self.clock.now());
    }

    /// Binds the session to a profile if its identity is the one that the input was about.
    pub(super) fn bind_session(&self, session: Option<u64>, profile: &Profile, user_id: &str) {
        let Some(session) = session.and_then(|id| self.hub.get(id)) else { return };
        let bound = {
            let inner = session.lock();
            inner.profile == Some(profile.core.id) || inner.user_id != user_id
        };
        if !bound {
            self.hub.bind(&session, profile.core.id);
        }
    }

    /// Adds or replaces a subscription; the answer is queued with the actions that are due now. The
    /// profile is made if there is none.
    ///
    /// # Errors
    /// Too many subscriptions, a filter out of bounds, or an invalid context.
    pub fn subscribe(
        &self,
        caller: &Caller,
        session: &Arc<Session>,
        id: &str,
        input: &SubscribeInput<'_>,
    ) -> Result<(), Rejection> {
        limits::short("sub", Some(input.sub))?;
        limits::tags(input.tags.iter().copied())?;
        let (user_id, _) = session.user_id();
        let filter = Filter {
            type_name: input.action_type.map(Into::into),
            version: None,
            tags: input.tags.iter().map(|tag| (*tag).into()).collect(),
        };
        self.with_profile(caller.channel, &user_id, |plan, profile| {
            self.hub.bind(session, profile.core.id);
            let context =
                input.context.map(|_| check_context(plan, caller, input.context)).transpose().map_err(context_invalid)?;
            let subscription = Subscription { sub: input.sub.into(), filter, context };
            let actions = PlanActions(plan);
            let person = ProfilePerson(ProfileFacts::of(plan, profile));
            let world =
                World { actions: &actions, person: &person, totals: &self.totals, now: self.clock.now().max(profile.core.clock) };
            let mut inner = session.lock();
            // Begun anew: what waits for the old one is not sent.
            inner.outbox.forget(input.sub);
            let offered = inner
                .live
                .subscribe(subscription, &world, &mut mint)
                .map_err(|e| Rejection::invalid_frame("sub", e.to_string()))?;
            for offer in offered.iter().filter(|offer| offer.first) {
                self.delivery_begins(plan, profile.core.id, caller.channel, offer.slot, offer.action.delivery_id);
            }
            // A delivery whose own frame still waits for its turn begins with this one.
            let begins = |o: &&Offered| o.first || inner.outbox.claim_first(o.slot);
            let first = offered.iter().filter(begins).map(|o| (o.slot, o.action.delivery_id)).collect();
            let actions = offered.into_iter().map(|o| o.action).collect();
            let (id, sub) = (Some(id.into()), input.sub.into());
            inner.queue(|seq| PushFrame::Subscribed { seq, id, sub, actions, first });
            let lost = inner.outbox.take_lost();
            self.index(plan, session, &mut inner, false);
            let until = inner.live.deadline();
            drop(inner);
            session.wake();
            let freed = self.give_back(profile.core.id, &lost);
            self.settle(plan, profile, Decided { until, freed });
            Ok(())
        })
    }

    /// Ends a subscription. What it held is not revoked: the client asked for no more.
    pub fn unsubscribe(&self, session: &Arc<Session>, sub: &str) {
        let (user_id, lost) = {
            let mut inner = session.lock();
            inner.live.unsubscribe(sub, self.clock.now());
            inner.outbox.forget(sub);
            (inner.user_id.clone(), inner.outbox.take_lost())
        };
        self.release(&user_id, &lost);
    }

    /// Deliveries to a person will never be recorded: their places in budgets are others' now.
    fn release(&self, user_id: &str, lost: &[Unseen]) {
        let Some(shared) = self.store.find(user_id).filter(|_| !lost.is_empty()) else { return };
        let mut profile = shared.lock();
        let plan = self.plan.load();
        let freed = self.give_back(profile.core.id, lost);
        if profile.gone.is_none() {
            self.bring_along(&plan, &shared, &mut profile);
            self.settle(&plan, &mut profile, Decided { freed, ..Decided::default() });
        }
    }

    /// Forgets sessions that nobody resumed in time. What was pushed to them and never acknowledged was
    /// not delivered. Returns how many.
    pub fn expire_sessions(&self) -> usize {
        let old = self.hub.expire(self.clock.now());
        for session in &old {
            let (user_id, lost) = {
                let mut inner = session.lock();
                (inner.user_id.clone(), inner.outbox.give_up())
            };
            self.release(&user_id, &lost);
        }
        old.len()
    }

    /// Replaces the connection context and decides again what its conditions touch.
    ///
    /// # Errors
    /// `context_invalid`; the old context stays.
    pub fn set_context(&self, caller: &Caller, session: &Arc<Session>, context: Option<&str>) -> Result<(), Rejection> {
        let (user_id, _) = session.user_id();
        let plan = self.plan.load();
        let props = check_context(&plan, caller, context).map_err(context_invalid)?;
        {
            let mut inner = session.lock();
            inner.context_raw = context.map(Into::into);
            inner.live.set_context(Some(props));
        }
        loop {
            let Some(shared) = self.store.find(&user_id) else { return Ok(()) };
            let mut profile = shared.lock();
            if profile.gone.is_some() {
                continue;
            }
            let plan = self.plan.load();
            self.bring_along(&plan, &shared, &mut profile);
            let candidates = Candidates::These(plan.context_touch(caller.channel));
            let input = Input { cause: Cause::Context, candidates, event: None };
            let mut decided = Decided::default();
            self.decide(&plan, &profile, session, &input, &mut decided);
            self.settle(&plan, &mut profile, decided);
            self.record_withheld(&plan, &shared, &mut profile, std::slice::from_ref(session));
            return Ok(());
        }
    }

    /// The client has every frame up to `seq`: deliveries that begin with one of them are recorded.
    pub fn seen(&self, session: &Arc<Session>, seq: u64) {
        let (user_id, newly) = {
            let mut inner = session.lock();
            (inner.user_id.clone(), inner.outbox.seen(seq))
        };
        for Unseen { action, delivery, of, .. } in newly {
            let user_id = of.as_ref().map_or(&user_id, |(_, user_id)| user_id);
            self.record_delivered(session.channel(), user_id, action, delivery, None);
        }
    }

    /// Runs `work` on the profile of `user_id`, made if there is none, with the plan in force.
    fn with_profile<T>(
        &self,
        channel: ChannelSlot,
        user_id: &str,
        work: impl FnOnce(&Plan, &mut Profile) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        loop {
            let (shared, _) = self.store.find_or_create(user_id, || self.new_profile(&self.plan.load()));
            let mut profile = shared.lock();
            if !self.store.owns(&profile, user_id) {
                continue;
            }
            let plan = self.plan.load();
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, &mut profile, &mut changes);
            self.ensure_identity(&plan, &shared, &mut profile, channel, user_id, &mut changes);
            self.after(&plan, &shared, &mut profile, &changes);
            let done = work(&plan, &mut profile);
            let sessions = self.hub.of(profile.core.id);
            self.record_withheld(&plan, &shared, &mut profile, &sessions);
            drop(profile);
            self.follow_up();
            return done;
        }
    }

    /// After an identify: the session acts for the new identity, and its actions are decided anew.
    pub(super) fn switch_session(&self, session: Option<u64>, frame_id: Option<&str>, identified: &Identified) {
        let Some(session) = session.and_then(|id| self.hub.get(id)) else { return };
        let before = session.lock().profile;
        self.hub.bind(&session, identified.profile);
        let mut inner = session.lock();
        if let Some(before) = before.filter(|before| *before != identified.profile) {
            let user_id = inner.user_id.clone();
            inner.outbox.disown(before, &user_id);
        }
        inner.user_id.clone_from(&identified.user_id);
        inner.is_anonymous = identified.is_anonymous;
        inner.queue(|seq| PushFrame::Identified {
            seq,
            id: frame_id.map(Into::into),
            user_id: identified.user_id.clone(),
            is_anonymous: identified.is_anonymous,
            merged: identified.merged.clone(),
            skipped: identified.skipped.clone(),
            durable: identified.seq.0,
        });
        drop(inner);
        session.wake();
        let Some(shared) = self.store.get(identified.profile) else { return };
        let mut profile = shared.lock();
        let plan = self.plan.load();
        self.bring_along(&plan, &shared, &mut profile);
        if let Some(before) = before.filter(|before| !same_person(&profile, *before)) {
            self.revoke_all(&session, before, RevokeReason::IdentityChanged);
        }
        let input = Input { cause: Cause::Identity, candidates: Candidates::All, event: None };
        let mut decided = Decided::default();
        self.decide(&plan, &profile, &session, &input, &mut decided);
        self.settle(&plan, &mut profile, decided);
        self.record_withheld(&plan, &shared, &mut profile, std::slice::from_ref(&session));
    }

    /// Sessions of absorbed profiles, other than the one that asked, learn whom they act for now.
    pub(super) fn tell_absorbed(&self, leader: &Profile, asked: Option<u64>, durable: u64) {
        for session in self.hub.of(leader.core.id) {
            if Some(session.id()) == asked {
                continue;
            }
            let mut inner = session.lock();
            let is_anonymous = !leader.core.identities.iter().any(|i| i.user_id == inner.user_id && !i.is_anonymous);
            inner.now_acts(is_anonymous, durable);
            drop(inner);
            session.wake();
        }
    }

    /// Takes back everything that the session held as somebody else.
    fn revoke_all(&self, session: &Session, before: ProfileId, reason: RevokeReason) {
        let mut inner = session.lock();
        let ops = inner.live.revoke_all(reason, self.clock.now());
        for op in ops {
            self.queue(&mut inner, op, Cause::Identity);
        }
        let lost = inner.outbox.take_lost();
        drop(inner);
        // Whoever waits for these places on another socket of that person is told when next decided for.
        self.give_back(before, &lost);
    }
}

fn same_person(profile: &Profile, before: ProfileId) -> bool {
    profile.core.id == before || profile.core.absorbed.contains(&before)
}

fn context_invalid(errors: Vec<lodestone_state::schema::FieldError>) -> Rejection {
    Rejection::new("context_invalid", format!("{} context field(s) do not fit their definition", errors.len()))
        .with_details(errors)
}

/// The part of a context that fits its definition: an invalid context does not keep anyone out.
pub(super) fn valid_context(plan: &Plan, caller: &Caller, context: Option<&str>) -> Props {
    match plan.context_schema(caller.channel) {
        Some(schema) => schema.check(context.unwrap_or(""), &plan.zone, schema.unknown_keys()).props,
        None => plan.open_schema().check(context.unwrap_or(""), &plan.zone, UnknownKeys::Open).props,
    }
}
