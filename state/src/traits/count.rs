//! How many events contributed.

use crate::value::Value;
use serde::{Deserialize, Serialize};

/// A number of contributors, 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count(u64);

impl Count {
    /// One more.
    pub fn add(&mut self) {
        self.0 += 1;
    }

    /// One fewer.
    pub fn remove(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// Those of another profile as well.
    pub fn merge(&mut self, other: Self) {
        self.0 += other.0;
    }

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// As users see it.
    #[must_use]
    pub fn value(self) -> Value {
        Value::Int(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}
