//! Experiments: who is in which arm, who was exposed, and what they did then.

use super::Dry;
use crate::event::Reacted;
use crate::experiment::TrialState;
use crate::goal::Micros;
use crate::ids::{ExperimentSlot, Moment};
use crate::plan::{GoalPlan, Plan};
use crate::profile::Profile;

/// The profile's arm of an experiment, as [`crate::experiment::ExperimentDef::arm`] says it; `None` unless
/// the experiment runs.
#[must_use]
pub fn arm(plan: &Plan, profile: &Profile, experiment: ExperimentSlot) -> Option<u16> {
    let def = &plan.experiment_plan(experiment)?.def;
    def.running.then(|| def.arm(profile.core.root.1, profile.core.trials.get(experiment.0)))
}

/// Counts a conversion of `goal` for the experiments that the profile was exposed to.
pub(super) fn convert(plan: &Plan, profile: &mut Profile, goal: &GoalPlan, moment: Moment, value: Option<Micros>) {
    for &slot in &goal.experiments {
        if let (Some(experiment), Some(trial)) = (plan.experiment_plan(slot), profile.core.trials.get_mut(slot.0)) {
            trial.convert(&experiment.def, goal.def.dedupe, moment, value);
        }
    }
}

/// Notes the arm that a reaction has. Those of test users in staging are not part of an experiment.
pub(super) fn expose(plan: &Plan, profile: &mut Profile, moment: Moment, reacted: &Reacted, dry: &mut Dry) {
    let Some(arm) = reacted.variant.filter(|arm| !reacted.test && plan.experiment_plan(arm.experiment).is_some()) else {
        return;
    };
    let newest = profile.core.newest;
    let trial = profile.core.trials.get_or_insert_with(arm.experiment.0, TrialState::default);
    if trial.expose(moment, arm.variant, newest).needs_history {
        dry.trials.push(arm.experiment);
    }
}
