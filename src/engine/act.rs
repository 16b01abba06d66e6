//! Reactions: shown, hidden, declined, accepted, with caps that hold exactly.

use super::acting::{Held, HookedAct, blocking_hooks};
use super::api::{ActInput, Acted, Acting, Caller};
use super::dedupe::{self, First};
use super::evaluate::Fanout;
use super::sessions::valid_context;
use super::track::{Draft, check_ids};
use super::trials::arm_of;
use super::{Engine, mint};
use crate::hooks::Answer;
use crate::telemetry::metrics as m;
use crate::wire::Rejection;
use compact_str::CompactString;
use lodestone_state::action::push::parse_delivery;
use lodestone_state::action::{Claim, Full, Proof, Refusal, Reservation, State, View, gated, reaction_of_verb};
use lodestone_state::codec;
use lodestone_state::event::{Entry, EntryKind, Props, Reacted, Reaction};
use lodestone_state::ids::{ActionSlot, ChannelSlot, DefId, Millis, Seq};
use lodestone_state::machine::{Changes, ProfileFacts, ProfilePerson, spendings};
use lodestone_state::plan::{ActionPlan, Plan, TokenKind};
use lodestone_state::profile::Profile;
use lodestone_state::store::Shared;
use parking_lot::MutexGuard;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Engine {
    /// Records a reaction. The answer may be given once it is durable: a coupon accepted is worth money.
    ///
    /// A reaction with hooks whose answer decides takes its place in the caps, lets go of the profile and
    /// goes on by itself; [`Acting::Waiting`] tells the outcome. Without such hooks it is done on return.
    ///
    /// # Errors
    /// `action_not_found`, `action_not_allowed` with the reason, `action_cap_reached`, `rate_limited` where
    /// too many wait for hooks; later also `hook_failed`.
    pub fn act(self: &Arc<Self>, caller: &Caller, input: &ActInput<'_>) -> Result<Acting, Rejection> {
        check_ids(input.user_id, input.message_id)?;
        let Some(reaction) = reaction_of_verb(input.event) else {
            return Err(Rejection::invalid_frame("event", "event must be show, hide, decline or accept"));
        };
        self.writable()?;
        let at = self.clock.now();
        let delivery = input.delivery_id.and_then(parse_delivery);
        // Without an id of its own, a second accept of one delivery is the duplicate. The slash keeps
        // the key apart from any id that a client may choose.
        let message_id = match (input.message_id, delivery, reaction) {
            (Some(id), _, _) => Some(CompactString::from(id)),
            (None, Some(delivery), Reaction::Accepted) => Some(format!("accept/{delivery:032x}").into()),
            _ => None,
        };
        if let Some(first) = message_id.as_ref().and_then(|id| self.dedupe.find(&self.disk, id, at)) {
            return Ok(Acting::Done(self.acted_before(caller, input.user_id, &first)));
        }
        loop {
            let Some(shared) = self.store.find(input.user_id) else {
                return Err(Rejection::new("action_not_allowed", "nobody is known by this user id"));
            };
            let mut profile = shared.lock();
            if !self.store.owns(&profile, input.user_id) {
                continue;
            }
            let plan = self.plan.load_full();
            let action = find_action(&plan, input.action_id)?;
            if let Some(first) = message_id.as_ref().and_then(|id| self.dedupe.find_recent(id, at)) {
                return Ok(Acting::Done(self.acted_as_logged(caller, &profile, &first)));
            }
            let id = message_id.as_deref().map(dedupe::key);
            if let Some(waiting) = id.and_then(|id| self.acts.join(id)) {
                return Ok(Acting::Waiting(waiting.seen_by(caller)));
            }
            let hooks = blocking_hooks(action, reaction, caller.channel);
            let place = if hooks.is_empty() { None } else { Some(self.place()?) };
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, &mut profile, &mut changes);
            let at = at.max(profile.core.clock);
            self.advance(&plan, &shared, &mut profile, at, &mut changes);
            let context = self.act_context(&plan, caller, input);
            let admitted = self.admit(&plan, &profile, action, reaction, caller.channel, &context, delivery, at);
            let (test, reservation) = admitted.inspect_err(|_| {
                // Timers that fired on the way are effects of their own.
                self.after(&plan, &shared, &mut profile, &changes);
            })?;
            let reacted = Reacted {
                action: action.slot,
                reaction,
                channel: caller.channel,
                delivery,
                test,
                properties: input.properties.map(Into::into),
                context,
                variant: arm_of(&plan, &profile, action),
                result: None,
            };
            let draft = Draft { t: at, at, user_id: input.user_id.into(), message_id, kind: EntryKind::Reacted(reacted) };
            let Some(place) = place else {
                let acted = self.record(&plan, &shared, profile, draft, mint(), action, reservation, input.session, changes);
                return Ok(Acting::Done(acted));
            };
            self.after(&plan, &shared, &mut profile, &changes);
            let held = Held { totals: reservation, profile: profile.core.id };
            let acting = HookedAct { caller: caller.clone(), plan: plan.clone(), draft, held, hooks, id, session: input.session };
            // Under the lock: who comes next under the same id finds it waiting.
            let waiting = self.begin_hooked(acting, place)?;
            drop(profile);
            return Ok(Acting::Waiting(waiting.seen_by(caller)));
        }
    }

    /// Journals and applies an admitted reaction, and does what follows. Lets go of the profile.
    #[expect(clippy::too_many_arguments, reason = "what two call sites have found out about one reaction")]
    pub(super) fn record(
        &self,
        plan: &Plan,
        shared: &Shared,
        mut profile: MutexGuard<'_, Profile>,
        draft: Draft,
        id: u128,
        action: &ActionPlan,
        reservation: Option<Reservation>,
        session: Option<u64>,
        mut changes: Changes,
    ) -> Acted {
        let (reaction, delivery, result) = match &draft.kind {
            EntryKind::Reacted(reacted) => (reacted.reaction, reacted.delivery, reacted.result.clone()),
            _ => unreachable!("a reaction's draft is a reaction"),
        };
        let (seq, exhausted) = self.commit_reserved(plan, shared, &mut profile, draft, id, action, reservation, &mut changes);
        self.close_delivery(&profile, action.slot, reaction, session, delivery);
        self.after(plan, shared, &mut profile, &changes);
        drop(profile);
        self.tell_everyone(action.slot, exhausted);
        self.stats.reactions.fetch_add(1, Ordering::Relaxed);
        m::reacted(reaction);
        let result = result.and_then(|text| serde_json::from_str(&text).ok()).map(Box::new);
        Acted { seq: seq.max(self.follow_up()), duplicate: false, result }
    }

    /// The answer to an act that was recorded before.
    fn acted_before(&self, caller: &Caller, user_id: &str, first: &First) -> Acted {
        match self.store.find(user_id) {
            Some(shared) => self.acted_as_logged(caller, &shared.lock(), first),
            None => Acted { seq: first.seq, duplicate: true, result: None },
        }
    }

    /// The same, out of the profile's log. Another person's act under the same id tells nothing.
    pub(super) fn acted_as_logged(&self, caller: &Caller, profile: &Profile, first: &First) -> Acted {
        let result = self.entry_at(profile, first).and_then(|entry| match entry.kind {
            EntryKind::Reacted(reacted) => serde_json::from_str::<Answer>(&reacted.result?).ok(),
            _ => None,
        });
        let public = caller.grant.kind == TokenKind::Public;
        let result = result.map(|answer| Box::new(if public { answer.unsigned() } else { answer }));
        Acted { seq: first.seq, duplicate: true, result }
    }

    /// The log entry of an act, by its position and arrival; an act happens when it arrives.
    fn entry_at(&self, profile: &Profile, first: &First) -> Option<Entry> {
        if let Some(entry) = profile.tail.iter().rev().find(|entry| entry.moment.seq == first.seq) {
            return Some(entry.clone());
        }
        let ids = std::iter::once(&profile.core.id).chain(&profile.core.absorbed);
        ids.filter_map(|id| self.disk.history_range(*id, first.at..first.at.plus(1)).ok())
            .flatten()
            .find(|(moment, _)| moment.seq == first.seq)
            .and_then(|(_, bytes)| codec::decode::<Entry>(&bytes).ok())
            .map(|(_, entry)| entry)
    }

    /// The delivery is over where the person dealt with it: on the connection that says so, and wherever
    /// that very delivery is live. Without either it is over everywhere. Other tabs are decided as usual.
    fn close_delivery(
        &self,
        profile: &Profile,
        action: ActionSlot,
        reaction: Reaction,
        session: Option<u64>,
        delivery: Option<u128>,
    ) {
        for holder in self.hub.of(profile.core.id) {
            let mut inner = holder.lock();
            let named = delivery.is_some() && inner.live.delivery(action) == delivery;
            if named || session == Some(holder.id()) || (session.is_none() && delivery.is_none()) {
                inner.live.close(action, reaction);
            }
        }
    }

    /// Writes one `delivered` reaction; a repeat of `once` within the dedupe window writes none.
    pub(super) fn record_delivered(
        &self,
        channel: ChannelSlot,
        user_id: &str,
        action: ActionSlot,
        delivery: u128,
        once: Option<CompactString>,
    ) {
        // Nobody waits for this one; a full disk refuses it like anything else.
        if self.writable().is_err() {
            return;
        }
        let message_id = once;
        loop {
            let Some(shared) = self.store.find(user_id) else { return };
            let mut profile = shared.lock();
            if !self.store.owns(&profile, user_id) {
                continue;
            }
            let plan = self.plan.load();
            let Some(action) = plan.action_plan(action) else { return };
            let at = self.clock.now().max(profile.core.clock);
            if message_id.as_ref().is_some_and(|id| self.dedupe.find(&self.disk, id, at).is_some()) {
                return;
            }
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, &mut profile, &mut changes);
            self.catch_up(&plan, &shared, &mut profile, at, &mut changes);
            let test = action.def.state == State::Staging;
            let reacted = Reacted {
                action: action.slot,
                reaction: Reaction::Delivered,
                channel,
                delivery: Some(delivery),
                test,
                properties: None,
                context: Props::default(),
                variant: arm_of(&plan, &profile, action),
                result: None,
            };
            let draft = Draft { t: at, at, user_id: user_id.into(), message_id, kind: EntryKind::Reacted(reacted) };
            let (_, exhausted) = self.commit_reserved(&plan, &shared, &mut profile, draft, mint(), action, None, &mut changes);
            // The log has it now, so its place in the budgets is counted there.
            self.totals.delivery_over(profile.core.id, delivery);
            self.after(&plan, &shared, &mut profile, &changes);
            drop(profile);
            self.tell_everyone(action.slot, exhausted);
            m::reacted(Reaction::Delivered);
            self.follow_up();
            return;
        }
    }

    /// A total cap closed: every other holder of the action has to hear of it.
    pub(super) fn tell_everyone(&self, action: ActionSlot, exhausted: bool) {
        if exhausted {
            self.fanout.push(Fanout::capped(action));
        }
    }

    /// Whether the reaction may be taken, and its place in the caps if it needs one.
    #[expect(clippy::too_many_arguments, reason = "one call site under the profile's lock")]
    fn admit(
        &self,
        plan: &Plan,
        profile: &Profile,
        action: &ActionPlan,
        reaction: Reaction,
        channel: ChannelSlot,
        context: &Props,
        delivery: Option<u128>,
        now: Millis,
    ) -> Result<(bool, Option<Reservation>), Rejection> {
        let person = ProfilePerson(ProfileFacts::of(plan, profile));
        let view = View { action: action.slot, channel, now, person: &person, context: Some(context), totals: &self.totals };
        let proof = Proof {
            delivered: profile.core.caps.get(action.slot.0).is_some_and(|c| c.total(Reaction::Delivered, &[]) > 0),
            valid_at: delivery.and_then(|delivery| self.valid_at(profile, action.slot, delivery, now)),
        };
        let admitted = action.def.admit(reaction, &view, proof).map_err(refused)?;
        if admitted.test || !gated(reaction) {
            return Ok((admitted.test, None));
        }
        self.reserve(plan, profile, action, reaction, channel, now).map(|place| (false, Some(place)))
    }

    /// A place in every cap and budget that counts the reaction. The caller holds the profile's lock.
    pub(super) fn reserve(
        &self,
        plan: &Plan,
        profile: &Profile,
        action: &ActionPlan,
        reaction: Reaction,
        channel: ChannelSlot,
        now: Millis,
    ) -> Result<Reservation, Rejection> {
        let budgets: SmallVec<[_; 2]> = spendings(plan, profile, action.slot).collect();
        let claim = Claim {
            action: action.slot,
            caps: &action.def.caps,
            profile: profile.core.id,
            user: profile.core.caps.get(action.slot.0),
            budgets: &budgets,
            reaction,
            channel,
            now,
        };
        self.totals.reserve(&claim).map_err(|capped| match capped.full {
            Full::Cap(..) => refused(Refusal::Capped),
            Full::Budget(_) => refused(Refusal::Budget),
        })
    }

    /// The reaction's own context, else the connection's.
    fn act_context(&self, plan: &Plan, caller: &Caller, input: &ActInput<'_>) -> Props {
        if input.context.is_some() {
            return valid_context(plan, caller, input.context);
        }
        let session = input.session.and_then(|id| self.hub.get(id));
        session.and_then(|s| s.lock().live.context().cloned()).unwrap_or_default()
    }

    fn valid_at(&self, profile: &Profile, action: ActionSlot, delivery: u128, now: Millis) -> Option<Millis> {
        self.hub.of(profile.core.id).iter().find_map(|session| session.lock().live.valid_at(action, delivery, now))
    }

    /// Journals and applies a reaction. Its place in the totals is committed in the moment the journal
    /// stamps it, so that every position which the journal calls durable has been counted.
    #[expect(clippy::too_many_arguments, reason = "one call site under the profile's lock")]
    fn commit_reserved(
        &self,
        plan: &Plan,
        shared: &Shared,
        profile: &mut Profile,
        draft: Draft,
        id: u128,
        action: &ActionPlan,
        reservation: Option<Reservation>,
        changes: &mut Changes,
    ) -> (Seq, bool) {
        let mut exhausted = false;
        let caps = &action.def.caps;
        let reacted = match &draft.kind {
            EntryKind::Reacted(reacted) => reacted.clone(),
            _ => unreachable!("a reaction's draft is a reaction"),
        };
        let seq = self.commit_with(plan, shared, profile, draft, id, changes, |moment| {
            let committed = match reservation {
                // Taken a moment ago under this very lock: it cannot have expired.
                Some(reservation) => self.totals.commit(caps, reservation, moment).unwrap_or_default(),
                None => self.totals.count(caps, &reacted, moment),
            };
            exhausted = committed.exhausted;
        });
        (seq, exhausted)
    }
}

fn find_action<'p>(plan: &'p Plan, id: &str) -> Result<&'p ActionPlan, Rejection> {
    let found = id.parse::<DefId>().ok().and_then(|id| plan.action_by_id(id));
    found.ok_or_else(|| Rejection::new("action_not_found", "no action has this id"))
}

/// An action that was there a moment ago: as it is now, or as it was if it has been removed since.
pub(super) fn find_again<'p>(now: &'p Plan, then: &'p Plan, slot: ActionSlot) -> Result<&'p ActionPlan, Rejection> {
    let found = now.action_plan(slot).or_else(|| then.action_plan(slot));
    found.ok_or_else(|| Rejection::new("action_not_found", "no action has this id"))
}

fn refused(refusal: Refusal) -> Rejection {
    let often_enough = matches!(refusal, Refusal::Capped | Refusal::Budget);
    let code = if often_enough { "action_cap_reached" } else { "action_not_allowed" };
    Rejection::field(code, "event", refusal.code(), refusal.to_string())
}
