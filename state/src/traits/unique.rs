//! Which distinct values occurred, and how many.

use super::tally::{Cell, DISTINCT_MAX, Removed, Tally};
use crate::ids::Moment;
use crate::sketch::Sketch;
use crate::value::{Value, ValueKey};
use serde::{Deserialize, Serialize};

/// Distinct values, exactly up to [`DISTINCT_MAX`].
///
/// Past that a list keeps those that occurred first (it shows at most that many), and a count moves to a
/// sketch; the answer is then approximate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unique {
    tally: Tally,
    sketch: Option<Box<Sketch>>,
    approx: bool,
}

/// In which order a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By first occurrence.
    First,
    /// By last occurrence, oldest first: what a window shows.
    Last,
}

impl Unique {
    /// One occurrence; `counting` says that only the number of values is asked. Returns whether the set,
    /// or its order, may differ.
    pub fn add(&mut self, value: &Value, moment: Moment, counting: bool) -> bool {
        self.put(value, Cell { count: 1, first: moment, last: moment }, counting)
    }

    /// Takes out one occurrence.
    pub fn remove(&mut self, value: &Value, moment: Moment) -> Removed {
        self.tally.remove(value, moment)
    }

    /// Whether values are only counted any more, so that none can be taken out.
    #[must_use]
    pub fn only_counts(&self) -> bool {
        self.sketch.is_some()
    }

    /// Corrects first and last of a value.
    pub fn set(&mut self, value: &Value, first: Moment, last: Moment) {
        self.tally.set(value, first, last);
    }

    /// The last occurrence of a value.
    #[must_use]
    pub fn last(&self, value: &Value) -> Option<Moment> {
        self.tally.get(value).map(|cell| cell.last)
    }

    /// The values of another profile as well.
    pub fn merge(&mut self, other: &Self, counting: bool) {
        self.approx |= other.approx;
        if let Some(sketch) = &other.sketch {
            self.only_count().merge(sketch);
        }
        for (value, cell) in other.tally.iter() {
            self.put(value, *cell, counting);
        }
    }

    /// How many distinct values there are.
    #[must_use]
    pub fn count(&self) -> Value {
        let count = self.sketch.as_ref().map_or(self.tally.len() as u64, |sketch| sketch.count());
        Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// The first `max` values in `order`.
    #[must_use]
    pub fn list(&self, max: usize, order: Order) -> Value {
        let at = |cell: &Cell| if order == Order::First { cell.first } else { cell.last };
        // Values of one event share a moment and are told apart by their own order.
        let mut cells: Vec<(Moment, usize, &Value)> =
            self.tally.iter().enumerate().map(|(i, (value, cell))| (at(cell), i, value)).collect();
        if cells.len() > max {
            cells.select_nth_unstable_by_key(max, |(moment, i, _)| (*moment, *i));
            cells.truncate(max);
        }
        cells.sort_unstable_by_key(|(moment, i, _)| (*moment, *i));
        Value::Array(cells.into_iter().map(|(_, _, value)| value.clone()).collect())
    }

    /// Whether values had to be given up.
    #[must_use]
    pub fn approx(&self) -> bool {
        self.approx
    }

    fn put(&mut self, value: &Value, cell: Cell, counting: bool) -> bool {
        if let Some(sketch) = &mut self.sketch {
            let before = sketch.count();
            sketch.add(ValueKey::new(value));
            return before != sketch.count();
        }
        if self.tally.len() < DISTINCT_MAX || self.tally.get(value).is_some() {
            let known = self.tally.get(value).copied();
            self.tally.add(value, cell);
            return known.is_none_or(|known| cell.first < known.first || cell.last > known.last);
        }
        self.approx = true;
        if counting {
            self.only_count().add(ValueKey::new(value));
        } else {
            let latest = self.tally.iter().enumerate().max_by_key(|(at, (_, cell))| (cell.first, *at));
            if let Some((at, (_, latest))) = latest
                && cell.first < latest.first
            {
                self.tally.evict(at);
                self.tally.add(value, cell);
            }
        }
        true
    }

    /// From here on values are only counted.
    fn only_count(&mut self) -> &mut Sketch {
        self.approx = true;
        let tally = std::mem::take(&mut self.tally);
        let sketch = self.sketch.get_or_insert_with(Box::default);
        tally.iter().for_each(|(value, _)| sketch.add(ValueKey::new(value)));
        sketch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Millis, Seq};

    fn at(t: i64) -> Moment {
        Moment { t: Millis(t), seq: Seq(t.unsigned_abs()) }
    }

    #[test]
    fn t_25_values_are_typed_and_listed_by_first_occurrence() {
        let values = ["b".into(), "a".into(), "b".into(), Value::Int(1), "1".into(), Value::Float(1.0)];
        let mut state = Unique::default();
        for (t, value) in (1..).zip(&values) {
            state.add(value, at(t), false);
        }
        assert_eq!(state.list(1000, Order::First), Value::Array(vec!["b".into(), "a".into(), 1.into(), "1".into()]));
        assert_eq!(state.list(2, Order::First), Value::Array(vec!["b".into(), "a".into()]));
        assert_eq!(state.list(9, Order::Last), Value::Array(vec!["a".into(), "b".into(), "1".into(), 1.into()]));
        assert_eq!(state.count(), Value::Int(4));
    }

    #[test]
    fn past_the_cap_a_count_is_a_sketch_and_a_list_keeps_the_first() {
        let total = i64::try_from(DISTINCT_MAX).unwrap() * 3;
        let (mut count, mut list) = (Unique::default(), Unique::default());
        for n in (0..total).rev() {
            count.add(&n.into(), at(n), true);
            list.add(&n.into(), at(n), false);
        }
        assert!(count.approx() && list.approx());
        let Value::Int(estimate) = count.count() else { panic!("no integer") };
        assert!((estimate - total).abs() < total / 30, "{estimate}");
        assert_eq!(list.list(3, Order::First), Value::Array(vec![0.into(), 1.into(), 2.into()]));
        let bytes = bincode::serialize(&count).unwrap();
        assert_eq!(bincode::deserialize::<Unique>(&bytes).unwrap(), count);
    }

    #[test]
    fn merging_sketches_is_seeing_both() {
        let mut parts = [Unique::default(), Unique::default(), Unique::default()];
        for n in 0..30_000 {
            parts[usize::try_from(n % 2).unwrap()].add(&n.into(), at(n), true);
            parts[2].add(&n.into(), at(n), true);
        }
        let [mut a, b, both] = parts;
        a.merge(&b, true);
        assert_eq!(a.count(), both.count());
    }
}
