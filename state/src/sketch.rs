//! How many different things there were, in bounded memory.

use datasketches::hll::{HllSketch, HllType, HllUnion};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::hash::Hash;

/// `2^14` registers: a standard error of 0.8 % in 16 KiB.
const PRECISION: u8 = 14;

/// `HyperLogLog` with `2^14` one-byte registers; merging is exact, the register-wise maximum.
///
/// # Reference
/// Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog", AofA 2007.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch(HllSketch);

impl Default for Sketch {
    fn default() -> Self {
        Self(HllSketch::new(PRECISION, HllType::Hll8).expect("the precision is in range"))
    }
}

impl Sketch {
    pub(crate) fn add(&mut self, value: impl Hash) {
        self.0.update(value);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let mut union = HllUnion::new(PRECISION).expect("the precision is in range");
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll8);
    }

    /// The estimate that depends on the registers only, so that order and merges cannot show.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded, non-negative estimate")]
    pub(crate) fn count(&self) -> u64 {
        self.0.composite_estimate().round() as u64
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        HllSketch::deserialize(&bytes).map(Self).map_err(|error| D::Error::custom(error.to_string()))
    }
}
