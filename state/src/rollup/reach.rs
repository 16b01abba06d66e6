//! Who was reached: exactly up to a bound, then by a sketch.

use crate::ids::ProfileId;
use crate::sketch::Sketch;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// People that one slot holds by name; beyond, it only estimates how many there are.
pub const PEOPLE_MAX: usize = 10_000;

/// People that a question holds by name.
const ASKED_MAX: usize = 1_000_000;

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
            Self::Sketch(sketch) if by > 0 => sketch.add(profile.0),
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
                let mut sketch = sketched(people);
                sketch.merge(more);
                *self = Self::Sketch(sketch);
            }
            (Self::Sketch(sketch), Self::Exact(more)) => sketch.merge(&sketched(more)),
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
            *self = Self::Sketch(sketched(people));
        }
    }
}

/// The people who have deliveries left.
fn sketched(people: &BTreeMap<ProfileId, i64>) -> Sketch {
    let mut sketch = Sketch::default();
    people.iter().filter(|(_, deliveries)| **deliveries > 0).for_each(|(profile, _)| sketch.add(profile.0));
    sketch
}

/// How many different people some [`Reach`]es hold together.
#[derive(Default)]
pub struct Unique {
    people: HashSet<ProfileId, foldhash::fast::RandomState>,
    sketch: Option<Sketch>,
}

impl Unique {
    /// Takes in the people of `reach`, each under the id that `now` gives: the one that they were merged
    /// into.
    pub fn add(&mut self, reach: &Reach, now: &mut dyn FnMut(ProfileId) -> ProfileId) {
        match reach {
            Reach::Exact(people) => {
                for profile in people.iter().filter(|(_, deliveries)| **deliveries > 0).map(|(profile, _)| now(*profile)) {
                    match &mut self.sketch {
                        Some(sketch) => sketch.add(profile.0),
                        None => _ = self.people.insert(profile),
                    }
                }
                if self.people.len() > ASKED_MAX {
                    self.estimate();
                }
            }
            Reach::Sketch(sketch) => self.estimate().merge(sketch),
        }
    }

    /// The number, and whether it is an estimate.
    #[must_use]
    pub fn count(&self) -> (u64, bool) {
        match &self.sketch {
            Some(sketch) => (sketch.count(), true),
            None => (self.people.len() as u64, false),
        }
    }

    /// From here on people are only counted.
    fn estimate(&mut self) -> &mut Sketch {
        let people = std::mem::take(&mut self.people);
        let sketch = self.sketch.get_or_insert_with(Sketch::default);
        people.iter().for_each(|profile| sketch.add(profile.0));
        sketch
    }
}
