//! What one profile holds of one experiment.

use super::ExperimentDef;
use crate::event::Arm;
use crate::goal::{Dedupe, Fed, Micros};
use crate::ids::Moment;
use serde::{Deserialize, Serialize};

/// The first time that a person was, or would have been, delivered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposure {
    /// When.
    pub moment: Moment,
    /// In which arm: a place among the variants, or [`Arm::HOLDOUT`].
    pub variant: u16,
}

/// The exposure of a person, and what they did after it. Some 80 B.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialState {
    exposure: Option<Exposure>,
    /// One bit for each arm that the person was ever seen in.
    arms: u32,
    conversions: u64,
    /// The sum of what they are worth, in millionths.
    value: i128,
    first: Option<Moment>,
}

impl TrialState {
    /// The first exposure.
    #[must_use]
    pub fn exposure(&self) -> Option<Exposure> {
        self.exposure
    }

    /// Whether the person was seen in more than one arm: two people until they were merged, or an arm that
    /// was closed.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.arms.count_ones() > 1
    }

    /// How many conversions since the exposure.
    #[must_use]
    pub fn conversions(&self) -> u64 {
        self.conversions
    }

    /// What they are worth together, in millionths.
    #[must_use]
    pub fn value(&self) -> i128 {
        self.value
    }

    /// The first of them.
    #[must_use]
    pub fn first_conversion(&self) -> Option<Moment> {
        self.first
    }

    /// Takes in a reaction with an arm. `newest` is the newest event of the profile: conversions up to it
    /// were judged by the exposure known until now.
    pub fn expose(&mut self, moment: Moment, variant: u16, newest: Moment) -> Fed {
        self.arms |= if variant == Arm::HOLDOUT { 1 << 31 } else { 1 << variant.min(30) };
        if self.exposure.is_some_and(|known| known.moment <= moment) {
            return Fed::default();
        }
        self.exposure = Some(Exposure { moment, variant });
        Fed { needs_history: moment < newest }
    }

    /// Takes in a conversion of the experiment's goal. It counts after the exposure, and within the
    /// experiment's window if it has one; only the first where the goal counts one per profile.
    pub fn convert(&mut self, def: &ExperimentDef, dedupe: Dedupe, moment: Moment, value: Option<Micros>) {
        let Some(exposure) = self.exposure else { return };
        let over = def.window_ms.is_some_and(|window_ms| exposure.moment.t.plus(window_ms) <= moment.t);
        if moment <= exposure.moment || over {
            return;
        }
        if dedupe == Dedupe::OncePerProfile {
            if self.first.is_some_and(|first| first < moment) {
                return;
            }
            (self.conversions, self.value) = (0, 0);
        }
        self.conversions += 1;
        self.value += i128::from(value.unwrap_or_default().0);
        self.first = Some(self.first.map_or(moment, |first| first.min(moment)));
    }
}

#[cfg(test)]
mod tests;
