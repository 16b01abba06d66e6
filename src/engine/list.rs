//! Polling for actions, for clients without a socket.

use super::Engine;
use super::api::{Caller, ListInput, Listed};
use super::evaluate::{PlanActions, ProfilePerson};
use super::mint;
use super::sessions::valid_context;
use super::track::{check_context, check_ids};
use crate::wire::{Rejection, limits};
use lodestone_state::action::push::{Filter, LiveSet, World};
use lodestone_state::machine::{self, Changes, ProfileFacts};

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
        let (offered, profile_id, context_invalid) = loop {
            let (shared, _) = self.store.find_or_create(input.user_id, || self.new_profile(&self.plan.load()));
            let mut profile = shared.lock();
            if profile.gone.is_some() {
                continue;
            }
            let plan = self.plan.load();
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, &mut profile, &mut changes);
            self.ensure_identity(&plan, &shared, &mut profile, caller.channel, input.user_id, &mut changes);
            let now = self.clock.now().max(profile.core.clock);
            if profile.deadline() <= now {
                machine::advance(&plan, &mut profile, now, &mut self.history(), &mut changes);
                self.mark_dirty(&shared, &mut profile);
            }
            self.after(&plan, &shared, &mut profile, &changes);
            let context_invalid = input.context.is_some() && check_context(&plan, caller, input.context).is_err();
            let context = valid_context(&plan, caller, input.context);
            let actions = PlanActions(&plan);
            let person = ProfilePerson(ProfileFacts::of(&plan, &profile));
            let world = World { actions: &actions, person: &person, totals: &self.totals, now };
            let mut live = LiveSet::new(caller.channel, Some(context.clone()));
            break (live.poll(&filter, Some(&context), &world, &mut mint), profile.core.id, context_invalid);
        };
        for offer in &offered {
            let once =
                input.session_id.map(|session| format!("delivered/{profile_id}/{}/{}/{session}", offer.slot.0, caller.channel.0));
            self.record_delivered(caller.channel, input.user_id, offer.slot, offer.action.delivery_id, once);
        }
        let actions = offered.into_iter().map(|offer| offer.action).collect();
        Ok(Listed { actions, seq: self.journal.last(), context_invalid })
    }
}
