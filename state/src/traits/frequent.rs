//! The value that occurred most often.

use super::tally::{Cell, DISTINCT_MAX, Removed, Tally};
use crate::ids::Moment;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Counts per value, at most [`DISTINCT_MAX`] of them.
///
/// Past that a new value takes the place of the rarest one and inherits its count plus one, so that a
/// value that is truly frequent is never lost; the answer is then approximate.
///
/// # Reference
/// Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements" (space-saving), 2005.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequent {
    tally: Tally,
    /// The place of the winner, so that reading does not search; `None` when it has to be looked for.
    best: Option<u32>,
    approx: bool,
}

impl Frequent {
    /// One occurrence. Returns whether the winner or its count may differ.
    pub fn add(&mut self, value: &Value, moment: Moment) -> bool {
        self.put(value, Cell { count: 1, first: moment, last: moment })
    }

    /// Takes out one occurrence.
    pub fn remove(&mut self, value: &Value, moment: Moment) -> Removed {
        let Ok(at) = self.tally.find(value) else { return Removed::Unknown };
        let removed = self.tally.remove_at(at, moment);
        // Only the winner can lose by it; another one that goes moves those behind it up.
        match self.best {
            Some(best) if best as usize != at => {
                let moves = removed == Removed::Gone && best as usize > at;
                self.best = Some(best - u32::from(moves));
            }
            _ => self.best = self.search(),
        }
        removed
    }

    /// Corrects first and last of a value.
    pub fn set(&mut self, value: &Value, first: Moment, last: Moment) {
        self.tally.set(value, first, last);
        self.best = self.search();
    }

    /// The occurrences of another profile as well.
    pub fn merge(&mut self, other: &Self) {
        self.approx |= other.approx;
        for (value, cell) in other.tally.iter() {
            self.put(value, *cell);
        }
    }

    /// The value with the highest count of at least `min`; of equals the one that occurred last, then the
    /// smallest.
    #[must_use]
    pub fn value(&self, min: u64) -> Option<Value> {
        let (value, cell) = self.tally.at(self.best? as usize)?;
        (cell.count >= min).then(|| value.clone())
    }

    /// Whether values had to be given up.
    #[must_use]
    pub fn approx(&self) -> bool {
        self.approx
    }

    fn put(&mut self, value: &Value, cell: Cell) -> bool {
        let full = self.tally.len() >= DISTINCT_MAX;
        let cell = if full && self.tally.get(value).is_none() {
            self.approx = true;
            Cell { count: cell.count + self.give_up_rarest(), ..cell }
        } else {
            cell
        };
        let (at, new) = self.tally.add(value, cell);
        let best = self.best.map(|best| if new && best as usize >= at { best as usize + 1 } else { best as usize });
        let wins = best.is_none_or(|best| at == best || self.rank(at, best) == Ordering::Greater);
        let best = if wins { Some(at) } else { best };
        self.best = best.and_then(|best| u32::try_from(best).ok());
        wins
    }

    /// Makes room, and returns the count that the value given up had.
    fn give_up_rarest(&mut self) -> u64 {
        let rarest = self.tally.iter().enumerate().min_by_key(|(_, (_, cell))| (cell.count, cell.last)).map(|(at, _)| at);
        let given_up = rarest.map_or(0, |at| self.tally.evict(at).1.count);
        self.best = self.search();
        given_up
    }

    fn search(&self) -> Option<u32> {
        let best = (0..self.tally.len()).max_by(|a, b| self.rank(*a, *b))?;
        u32::try_from(best).ok()
    }

    fn rank(&self, a: usize, b: usize) -> Ordering {
        let key = |at| self.tally.at(at).map(|(_, cell)| (cell.count, cell.last));
        // The tally is in value order: of full equals the smaller value has the smaller place.
        key(a).cmp(&key(b)).then(b.cmp(&a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Millis, Seq};

    fn at(t: i64) -> Moment {
        Moment { t: Millis(t), seq: Seq(t.unsigned_abs()) }
    }

    fn said(values: &[&str]) -> Frequent {
        let mut state = Frequent::default();
        for (t, value) in (1..).zip(values) {
            state.add(&Value::from(*value), at(t));
        }
        state
    }

    #[test]
    fn t_20_ties_go_to_the_later_last_occurrence() {
        assert_eq!(said(&["M", "L"]).value(2), None);
        assert_eq!(said(&["M", "L", "L"]).value(2), Some("L".into()));
        assert_eq!(said(&["M", "L", "L", "M"]).value(2), Some("M".into()));
    }

    #[test]
    fn equal_in_all_the_smallest_wins() {
        let mut state = Frequent::default();
        for value in ["c", "a", "b"] {
            state.add(&Value::from(value), at(1));
        }
        assert_eq!(state.value(1), Some("a".into()));
    }

    #[test]
    fn the_winner_is_found_again_after_removals() {
        let mut state = said(&["a", "b", "b"]);
        state.remove(&"b".into(), at(2));
        assert_eq!(state.value(1), Some("b".into()));
        state.remove(&"b".into(), at(3));
        assert_eq!(state.value(1), Some("a".into()));
        state.remove(&"a".into(), at(1));
        assert_eq!(state, Frequent::default());
    }

    #[test]
    fn past_the_cap_the_frequent_stay() {
        let mut state = Frequent::default();
        for round in 0..3 {
            state.add(&"often".into(), at(round));
        }
        for n in 0..i64::try_from(DISTINCT_MAX).unwrap() + 5 {
            state.add(&n.into(), at(10 + n));
        }
        assert!(state.approx());
        assert_eq!(state.value(3), Some("often".into()));
    }
}
