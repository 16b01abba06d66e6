//! Who was reached: exactly up to a bound, then by a sketch.

use crate::ids::ProfileId;
use datasketches::hll::{HllSketch, HllType, HllUnion};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, HashSet};

/// People that one slot holds by name; beyond, it only estimates how many there are.
pub const PEOPLE_MAX: usize = 10_000;

/// People that a question holds by name.
const ASKED_MAX: usize = 1_000_000;

/// `2^14` registers: a standard error of 0.8 % in 16 KiB.
const PRECISION: u8 = 14;

/// The people whom one action was delivered to on one channel in one slot, and how often.
///
/// Counts may be negative while they are a difference to a row. Past [`PEOPLE_MAX`] people it is a sketch:
/// nobody can be taken out of it any more, and nobody can be found in it either.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reach {
    /// Deliveries per person.
    Exact(BTreeMap<ProfileId, i64>),
    /// An estimate.
    Sketch(Sketch),
}

impl Default for Reach {
    fn default() -> Self {
        Self::Exact(BTreeMap::new())
    }
}

impl Reach {
    /// `by` deliveries more, or less.
    pub fn add(&mut self, profile: ProfileId, by: i64) {
        match self {
            Self::Exact(people) => {
                *people.entry(profile).or_default() += by;
                self.bound();
            }
            Self::Sketch(sketch) if by > 0 => sketch.add(profile),
            Self::Sketch(_) => {}
        }
    }

    /// What another one counted as well.
    pub fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Exact(people), Self::Exact(more)) => {
                for (profile, by) in more {
                    *people.entry(*profile).or_default() += by;
                }
                people.retain(|_, deliveries| *deliveries != 0);
                self.bound();
            }
            (Self::Exact(people), Self::Sketch(more)) => {
                let mut sketch = Sketch::of(people);
                sketch.merge(more);
                *self = Self::Sketch(sketch);
            }
            (Self::Sketch(sketch), Self::Exact(more)) => sketch.merge(&Sketch::of(more)),
            (Self::Sketch(sketch), Self::Sketch(more)) => sketch.merge(more),
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Exact(people) if people.is_empty())
    }

    fn bound(&mut self) {
        if let Self::Exact(people) = self
            && people.len() > PEOPLE_MAX
        {
            *self = Self::Sketch(Sketch::of(people));
        }
    }
}

/// `HyperLogLog` with `2^14` registers; merging is exact, the register-wise maximum.
///
/// # Reference
/// Flajolet, Fusy, Gandouet, Meunier, "HyperLogLog", AofA 2007.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch(HllSketch);

impl Sketch {
    fn new() -> Self {
        Self(HllSketch::new(PRECISION, HllType::Hll8).expect("the precision is in range"))
    }

    fn of(people: &BTreeMap<ProfileId, i64>) -> Self {
        let mut sketch = Self::new();
        people.iter().filter(|(_, deliveries)| **deliveries > 0).for_each(|(profile, _)| sketch.add(*profile));
        sketch
    }

    fn add(&mut self, profile: ProfileId) {
        self.0.update(profile.0);
    }

    fn merge(&mut self, other: &Self) {
        let mut union = union();
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll8);
    }
}

fn union() -> HllUnion {
    HllUnion::new(PRECISION).expect("the precision is in range")
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

/// How many different people some [`Reach`]es hold together.
#[derive(Default)]
pub struct Unique {
    people: HashSet<ProfileId, foldhash::fast::RandomState>,
    sketch: Option<Box<HllUnion>>,
}

impl Unique {
    /// Takes in the people of `reach`, each under the id that `now` gives: the one that they were merged
    /// into.
    pub fn add(&mut self, reach: &Reach, now: &mut dyn FnMut(ProfileId) -> ProfileId) {
        match reach {
            Reach::Exact(people) => {
                for profile in people.iter().filter(|(_, deliveries)| **deliveries > 0).map(|(profile, _)| now(*profile)) {
                    match &mut self.sketch {
                        Some(sketch) => sketch.update_value(profile.0),
                        None => _ = self.people.insert(profile),
                    }
                }
                if self.people.len() > ASKED_MAX {
                    self.estimate();
                }
            }
            Reach::Sketch(sketch) => self.estimate().update(&sketch.0),
        }
    }

    /// The number, and whether it is an estimate.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rounded, non-negative estimate")]
    pub fn count(&self) -> (u64, bool) {
        match &self.sketch {
            // By the registers only, so that order cannot show.
            Some(sketch) => (sketch.composite_estimate().round() as u64, true),
            None => (self.people.len() as u64, false),
        }
    }

    /// From here on people are only counted.
    fn estimate(&mut self) -> &mut HllUnion {
        let people = std::mem::take(&mut self.people);
        let sketch = self.sketch.get_or_insert_with(|| Box::new(union()));
        people.iter().for_each(|profile| sketch.update_value(profile.0));
        sketch
    }
}
