//! An action in a running experiment: what each variant says, and who is held back.

use super::definition::{ActionDef, State};
use super::properties::Properties;
use super::targeting::View;
use crate::event::Arm;
use crate::experiment::ExperimentDef;
use crate::ids::ExperimentSlot;
use compact_str::CompactString;

/// The part of an experiment that an action's decisions read.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Which experiment.
    pub experiment: ExperimentSlot,
    /// Its name, for explanations.
    pub name: CompactString,
    /// The variants in their places: name, and all that the action then says.
    variants: Box<[(CompactString, Properties)]>,
}

impl Trial {
    /// The trial of an action that says `own` by itself.
    #[must_use]
    pub fn new(experiment: ExperimentSlot, name: &str, def: &ExperimentDef, own: &Properties) -> Self {
        let variants = def.variants.iter().map(|variant| (variant.name.clone(), own.overlaid(&variant.properties)));
        Self { experiment, name: name.into(), variants: variants.collect() }
    }
}

impl ActionDef {
    /// The arm of a person; `None` where no experiment runs. In staging everything is shown.
    #[must_use]
    pub fn arm(&self, view: &View<'_>) -> Option<Arm> {
        let trial = self.trial.as_ref()?;
        let variant = view.person.arm(trial.experiment)?;
        Some(Arm { experiment: trial.experiment, variant })
    }

    /// Whether an experiment holds the action back. Asked last: only who is due for it otherwise is part of
    /// the experiment.
    pub(super) fn is_withheld(&self, view: &View<'_>) -> bool {
        self.state == State::Active && self.arm(view).is_some_and(Arm::is_holdout)
    }

    /// What the action says to a person: the properties of their variant, else its own.
    #[must_use]
    pub fn says(&self, view: &View<'_>) -> &Properties {
        let variant = self.arm(view).and_then(|arm| self.trial.as_ref()?.variants.get(usize::from(arm.variant)));
        variant.map_or(&self.properties, |(_, properties)| properties)
    }

    /// Whether nothing that is sent to anybody in this channel depends on the person.
    pub(super) fn is_fixed(&self, channel: crate::ids::ChannelSlot) -> bool {
        self.trial.is_none() && self.properties.is_fixed(channel)
    }

    /// The experiment's step of an explanation: whether it lets the action through, and what is told.
    pub(super) fn trial_step(&self, view: &View<'_>) -> Option<(bool, String)> {
        let trial = self.trial.as_ref()?;
        let arm = self.arm(view)?;
        if arm.is_holdout() && self.state != State::Active {
            return Some((true, format!("in the holdout of experiment {}, which staging leaves alone", trial.name)));
        }
        if arm.is_holdout() {
            return Some((false, format!("held back by experiment {}", trial.name)));
        }
        let (variant, _) = trial.variants.get(usize::from(arm.variant))?;
        Some((true, format!("variant {variant} of experiment {}", trial.name)))
    }
}

#[cfg(test)]
mod tests;
