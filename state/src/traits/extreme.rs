//! The smallest or the greatest number.

use super::sum::rounded;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The extreme so far, unrounded; `None` before the first contributor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extreme(Option<Value>);

impl Extreme {
    /// Takes `value` in if it is more extreme; `want` is `Less` for a minimum, `Greater` for a maximum.
    /// Returns whether the extreme moved.
    pub fn offer(&mut self, value: &Value, want: Ordering) -> bool {
        let better = self.0.as_ref().is_none_or(|have| is_beyond(value, have, want));
        if better {
            self.0 = Some(value.clone());
        }
        better
    }

    /// The extreme of both.
    pub fn merge(&mut self, other: &Self, want: Ordering) {
        if let Some(value) = &other.0 {
            self.offer(value, want);
        }
    }

    /// The unrounded extreme.
    #[must_use]
    pub fn get(&self) -> Option<&Value> {
        self.0.as_ref()
    }

    /// As users see it.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        rounded(self.0.as_ref()?)
    }
}

/// Whether `a` is strictly more extreme than `b`.
#[must_use]
pub fn is_beyond(a: &Value, b: &Value, want: Ordering) -> bool {
    Value::cmp_number(a, b) == Some(want)
}
