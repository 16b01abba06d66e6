//! The value of the first or the last contributor in `(t, seq)` order.

use crate::ids::Moment;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The contributor at one end of the order, with the value it brought (`Null` where the time is asked).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edge(Option<Box<(Moment, Value)>>);

impl Edge {
    /// Takes a contributor in if it lies further out; `want` is `Less` for the first, `Greater` for the
    /// last. Late contributors need nothing special. Returns whether the edge moved.
    pub fn offer(&mut self, moment: Moment, value: &Value, want: Ordering) -> bool {
        match &mut self.0 {
            None => self.0 = Some(Box::new((moment, value.clone()))),
            Some(have) if moment.cmp(&have.0) == want => **have = (moment, value.clone()),
            Some(_) => return false,
        }
        true
    }

    /// The edge of both.
    pub fn merge(&mut self, other: &Self, want: Ordering) {
        if let Some(edge) = &other.0 {
            self.offer(edge.0, &edge.1, want);
        }
    }

    /// The contributor.
    #[must_use]
    pub fn get(&self) -> Option<(Moment, &Value)> {
        self.0.as_ref().map(|edge| (edge.0, &edge.1))
    }
}
