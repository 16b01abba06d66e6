//! Distinct values with how often, when first and when last they occurred.

use crate::ids::Moment;
use crate::value::{Value, ValueKey};
use serde::{Deserialize, Serialize};

/// Distinct values that a profile keeps of one trait.
pub const DISTINCT_MAX: usize = 10_000;

/// What is known of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Occurrences; at least 1.
    pub count: u64,
    /// The first of them.
    pub first: Moment,
    /// The last of them.
    pub last: Moment,
}

/// What became of a value after one of its occurrences was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was not kept.
    Unknown,
    /// That was its only occurrence.
    Gone,
    /// Others are left; of what is known of them, these were set by the one taken out.
    Left {
        /// `first` may be a later one now.
        first: bool,
        /// `last` may be an earlier one now.
        last: bool,
    },
}

/// A sorted vector from value to [`Cell`]: compact for the few values that most profiles have, and at the
/// cap of [`DISTINCT_MAX`] a search is 14 comparisons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(Vec<(ValueKey, Cell)>);

impl Tally {
    /// Where `value` is, or where it would go.
    ///
    /// # Errors
    /// The place to insert it when it is not there.
    pub fn find(&self, value: &Value) -> Result<usize, usize> {
        self.0.binary_search_by(|(key, _)| key.value().total_cmp(value))
    }

    /// What is known of `value`.
    #[must_use]
    pub fn get(&self, value: &Value) -> Option<&Cell> {
        self.find(value).ok().map(|at| &self.0[at].1)
    }

    /// Adds `count` occurrences. Returns the place, and whether the value is new.
    pub fn add(&mut self, value: &Value, added: Cell) -> (usize, bool) {
        match self.find(value) {
            Ok(at) => {
                let cell = &mut self.0[at].1;
                cell.count += added.count;
                cell.first = cell.first.min(added.first);
                cell.last = cell.last.max(added.last);
                (at, false)
            }
            Err(at) => {
                self.0.insert(at, (ValueKey::new(value), added));
                (at, true)
            }
        }
    }

    /// Takes out the occurrence at `moment`.
    pub fn remove(&mut self, value: &Value, moment: Moment) -> Removed {
        self.find(value).map_or(Removed::Unknown, |at| self.remove_at(at, moment))
    }

    /// Takes out the occurrence at `moment` of the value at a place that [`Tally::find`] gave.
    pub fn remove_at(&mut self, at: usize, moment: Moment) -> Removed {
        let cell = &mut self.0[at].1;
        if cell.count <= 1 {
            self.0.remove(at);
            return Removed::Gone;
        }
        cell.count -= 1;
        Removed::Left { first: cell.first == moment, last: cell.last == moment }
    }

    /// Takes a value out altogether.
    pub fn evict(&mut self, at: usize) -> (ValueKey, Cell) {
        self.0.remove(at)
    }

    /// Corrects what [`Tally::remove`] left open.
    pub fn set(&mut self, value: &Value, first: Moment, last: Moment) {
        if let Ok(at) = self.find(value) {
            (self.0[at].1.first, self.0[at].1.last) = (first, last);
        }
    }

    /// The cell at a place that [`Tally::find`] gave.
    #[must_use]
    pub fn at(&self, at: usize) -> Option<(&Value, &Cell)> {
        self.0.get(at).map(|(key, cell)| (key.value(), cell))
    }

    /// All values in their own order.
    pub fn iter(&self) -> impl Iterator<Item = (&Value, &Cell)> {
        self.0.iter().map(|(key, cell)| (key.value(), cell))
    }

    /// How many distinct values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
