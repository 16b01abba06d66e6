//! Who is in which arm.
//!
//! ```text
//! digest  = SHA-256( salt | "|" | key | "|" | root )     root: UUID text, lower case, with dashes
//! u       = first 8 bytes, big endian, without the last 11 bits, over 2^53          in [0, 1)
//! v       = next 8 bytes likewise                                                   in [0, 1)
//! holdout   where u < holdout
//! variant i where weights before i ≤ v · all weights < weights up to and with i
//! ```
//!
//! `root` is the oldest of the profiles that a person is made of, so a merge moves nobody who was there
//! first. Two independent draws, so that another holdout moves nobody between variants, and other weights
//! move nobody into or out of the holdout. Weights and holdout do not change while an experiment runs.

use super::{ExperimentDef, TrialState};
use crate::event::Arm;
use crate::ids::ProfileId;
use sha2::{Digest, Sha256};

impl ExperimentDef {
    /// The arm of a person, as a place among the variants or [`Arm::HOLDOUT`].
    ///
    /// Whoever was exposed stays in the arm of that exposure as long as it is open (has a weight, or the
    /// experiment a holdout), also when their profile is merged into an older one.
    #[must_use]
    pub fn arm(&self, root: ProfileId, trial: Option<&TrialState>) -> u16 {
        let exposed = trial.and_then(TrialState::exposure).map(|exposure| exposure.variant);
        exposed.filter(|variant| self.is_open(*variant)).unwrap_or_else(|| self.draw(root))
    }

    fn is_open(&self, variant: u16) -> bool {
        match variant {
            Arm::HOLDOUT => self.holdout > 0.0,
            place => self.variants.get(usize::from(place)).is_some_and(|variant| variant.weight > 0.0),
        }
    }

    /// The arm that the hash gives.
    #[must_use]
    pub fn draw(&self, root: ProfileId) -> u16 {
        let digest = Sha256::digest(format!("{}|{}|{root}", self.salt, self.key));
        if fraction(&digest[..8]) < self.holdout {
            return Arm::HOLDOUT;
        }
        let at = fraction(&digest[8..16]) * self.variants.iter().map(|variant| variant.weight).sum::<f64>();
        let mut upto = 0.0;
        let mut last = 0;
        for (place, variant) in (0_u16..).zip(&self.variants).filter(|(_, variant)| variant.weight > 0.0) {
            upto += variant.weight;
            last = place;
            if at < upto {
                break;
            }
        }
        last
    }

    /// The share of people that an arm is meant to have.
    #[must_use]
    pub fn share(&self, variant: u16) -> f64 {
        if variant == Arm::HOLDOUT {
            return self.holdout;
        }
        let all: f64 = self.variants.iter().map(|variant| variant.weight).sum();
        let own = self.variants.get(usize::from(variant)).map_or(0.0, |variant| variant.weight);
        (1.0 - self.holdout) * own / all
    }
}

/// Eight bytes as a number in `[0, 1)` with 53 bits.
fn fraction(bytes: &[u8]) -> f64 {
    let whole = bytes.iter().fold(0_u64, |whole, byte| whole << 8 | u64::from(*byte)) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double")]
    let fraction = whole as f64 / (1_u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests;
