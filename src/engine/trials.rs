//! Experiments at the edge: which arm a reaction belongs to, and the record of what was held back.

use super::track::Draft;
use super::{Engine, mint};
use crate::push::Session;
use crate::telemetry::metrics as m;
use compact_str::CompactString;
use lodestone_state::action::State;
use lodestone_state::event::{Arm, EntryKind, Props, Reacted, Reaction};
use lodestone_state::ids::{ActionSlot, ChannelSlot};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{ActionPlan, Plan};
use lodestone_state::profile::Profile;
use lodestone_state::store::Shared;
use std::sync::Arc;

/// The arm in which a profile is as to an action; `None` where no experiment runs.
pub(super) fn arm_of(plan: &Plan, profile: &Profile, action: &ActionPlan) -> Option<Arm> {
    let experiment = action.def.trial.as_ref()?.experiment;
    Some(Arm { experiment, variant: machine::arm(plan, profile, experiment)? })
}

/// The keys of an arm's experiment and of its variant, as far as they are still defined.
pub(super) fn named(plan: &Plan, arm: Arm) -> (Option<&str>, Option<&str>) {
    let experiment = plan.experiment_plan(arm.experiment);
    let variant = experiment.and_then(|experiment| experiment.def.variants.get(usize::from(arm.variant)));
    let variant = if arm.is_holdout() { Some("holdout") } else { variant.map(|variant| variant.key.as_str()) };
    (experiment.map(|experiment| experiment.key.as_str()), variant)
}

impl Engine {
    /// Records what experiments have held back from these sessions since this was last asked: once per
    /// action in the life of a session, as a delivery would have been. The caller holds the profile's lock and
    /// no session's.
    pub(super) fn record_withheld(&self, plan: &Plan, shared: &Shared, profile: &mut Profile, sessions: &[Arc<Session>]) {
        let mut changes = Changes::default();
        let mut any = false;
        for session in sessions {
            let (user_id, withheld) = {
                let mut inner = session.lock();
                let withheld = inner.live.take_withheld();
                if withheld.is_empty() {
                    continue;
                }
                (CompactString::from(&inner.user_id), withheld)
            };
            for action in withheld {
                any |= self.write_withheld(plan, shared, profile, session.channel(), user_id.clone(), action, None, &mut changes);
            }
        }
        if any {
            // Timers may have fired on the way. Each session tells an action once, so this ends.
            self.after(plan, shared, profile, &changes);
        }
    }

    /// Records what a poll did not get: once per session that the poll names, or once within the dedupe
    /// window. The caller holds the profile's lock.
    #[expect(clippy::too_many_arguments, reason = "one call site under the profile's lock")]
    pub(super) fn record_unpolled(
        &self,
        plan: &Plan,
        shared: &Shared,
        profile: &mut Profile,
        channel: ChannelSlot,
        user_id: &str,
        session: Option<&str>,
        withheld: Vec<ActionSlot>,
    ) {
        let mut changes = Changes::default();
        let mut any = false;
        for action in withheld {
            let id = profile.core.id;
            let once = format!("withheld/{id}/{}/{}/{}", action.0, channel.0, session.unwrap_or_default());
            any |= self.write_withheld(plan, shared, profile, channel, user_id.into(), action, Some(once.into()), &mut changes);
        }
        if any {
            self.after(plan, shared, profile, &changes);
        }
    }

    /// Writes one `withheld` reaction. Gives whether it did: not while nothing can be stored, nor where `once`
    /// was there before, nor where the action is not held back any more.
    #[expect(clippy::too_many_arguments, reason = "the parts of one record, under the profile's lock")]
    fn write_withheld(
        &self,
        plan: &Plan,
        shared: &Shared,
        profile: &mut Profile,
        channel: ChannelSlot,
        user_id: CompactString,
        action: ActionSlot,
        once: Option<CompactString>,
        changes: &mut Changes,
    ) -> bool {
        let Some(action) = plan.action_plan(action) else { return false };
        let Some(arm) = arm_of(plan, profile, action).filter(|arm| arm.is_holdout()) else { return false };
        let at = self.clock.now().max(profile.core.clock);
        let known = |id: &CompactString| self.dedupe.find(&self.disk, id, at).is_some();
        if self.writable().is_err() || once.as_ref().is_some_and(known) {
            return false;
        }
        let reacted = Reacted {
            action: action.slot,
            reaction: Reaction::Withheld,
            channel,
            delivery: None,
            test: action.def.state == State::Staging,
            properties: None,
            context: Props::default(),
            variant: Some(arm),
            result: None,
        };
        let draft = Draft { t: at, at, user_id, message_id: once, kind: EntryKind::Reacted(reacted) };
        self.commit(plan, shared, profile, draft, mint(), changes);
        m::reacted(Reaction::Withheld);
        true
    }
}
