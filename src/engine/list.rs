//! Polling for actions, for clients without a socket.

use super::Engine;
use super::api::{Caller, ListInput, Listed};
use super::evaluate::PlanActions;
use super::mint;
use super::sessions::valid_context;
use super::track::{check_context, check_ids};
use crate::wire::{Rejection, limits};
use compact_str::{CompactString, format_compact};
use lodestone_state::action::push::{Filter, LiveSet, World};
use lodestone_state::event::Reaction;
use lodestone_state::ids::{ActionSlot, ChannelSlot, ProfileId};
use lodestone_state::machine::{Changes, ProfileFacts, ProfilePerson};

impl Engine {
    /// The actions due now. Each is recorded as delivered: once per `session_id` if the poll names one,
    /// else once per call. The profile is made if there is none.
    ///
    /// # Errors
    /// A user id or filter out of bounds.
    pub fn list_actions(&self, caller: &Caller, input: &ListInput<'_>) -> Result<Listed, Rejection> {
        check_ids(input.user_id, None)?;
        limits::tags(input.tags.iter().copied())?;
        let filter = Filter {
            type_name: input.action_type.map(Into::into),
            version: None,
            tags: input.tags.iter().map(|tag| (*tag).into()).collect(),
        };
        let (offered, once, profile_id, context_invalid) = loop {
            let (shared, _) = self.store.find_or_create(input.user_id, || self.new_profile(&self.plan.load()));
            let mut profile = shared.lock();
            if !self.store.owns(&profile, input.user_id) {
                continue;
            }
            let plan = self.plan.load();
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, &mut profile, &mut changes);
            self.ensure_identity(&plan, &shared, &mut profile, caller.channel, input.user_id, &mut changes);
            let now = self.clock.now().max(profile.core.clock);
            self.catch_up(&plan, &shared, &mut profile, now, &mut changes);
            self.after(&plan, &shared, &mut profile, &changes);
            let context_invalid = input.context.is_some() && check_context(&plan, caller, input.context).is_err();
            let context = valid_context(&plan, caller, input.context);
            let actions = PlanActions(&plan);
            let person = ProfilePerson(ProfileFacts::of(&plan, &profile));
            let world = World { actions: &actions, person: &person, totals: &self.totals, now };
            let mut live = LiveSet::new(caller.channel, Some(context.clone()));
            let id = profile.core.id;
            let poller = Poller { profile: id, channel: caller.channel, session: input.session_id };
            // Only where an earlier delivery would speak against this one is it asked for.
            let known = |action: ActionSlot| {
                let asked = plan.action_plan(action).is_some_and(|action| {
                    action.def.caps.iter().any(|cap| cap.reaction == Reaction::Delivered)
                        || !plan.budgets_of(action.slot).is_empty()
                });
                let once = poller.once(action).filter(|_| asked);
                once.is_some_and(|once| self.dedupe.find(&self.disk, &once, now).is_some())
            };
            let offered = live.poll(&filter, Some(&context), &world, &known, &mut mint);
            let withheld = live.take_withheld();
            for offer in offered.iter().filter(|offer| offer.first) {
                self.delivery_begins(&plan, id, caller.channel, offer.slot, offer.action.delivery_id);
            }
            let once: Vec<_> = offered.iter().map(|offer| poller.once(offer.slot)).collect();
            self.record_unpolled(&plan, &shared, &mut profile, caller.channel, input.user_id, input.session_id, withheld);
            break (offered, once, id, context_invalid);
        };
        for (offer, once) in offered.iter().zip(once).filter(|(offer, _)| offer.first) {
            let delivery = offer.action.delivery_id;
            self.record_delivered(caller.channel, input.user_id, offer.slot, delivery, once);
            // Nobody else says of a poll that it is over, recorded or not.
            self.totals.delivery_over(profile_id, delivery);
        }
        self.follow_up();
        let actions = offered.into_iter().map(|offer| offer.action).collect();
        Ok(Listed { actions, seq: self.journal.last(), context_invalid })
    }
}

/// Who polls: with a session of their own they are delivered to once, however often they ask.
struct Poller<'a> {
    profile: ProfileId,
    channel: ChannelSlot,
    session: Option<&'a str>,
}

impl Poller<'_> {
    /// The message id of the one `delivered` of this session; none for polls without a session.
    fn once(&self, action: ActionSlot) -> Option<CompactString> {
        let Self { profile, channel, session } = self;
        session.map(|session| format_compact!("delivered/{profile}/{}/{}/{session}", action.0, channel.0))
    }
}
