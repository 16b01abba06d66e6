//! A value as a key of a set: hashable, ordered, with numbers in one canonical form.

use super::{Value, whole};
use crate::ids::Millis;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

/// A value in canonical form, so that `1` and `1.0` are one key while `1` and `"1"` are two.
///
/// Ordered by [`Value::total_cmp`]; the entries of an object are sorted by key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ValueKey(Value);

impl ValueKey {
    /// The key of a value.
    #[must_use]
    pub fn new(value: &Value) -> Self {
        Self(canonical(value))
    }

    /// The value, in canonical form.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The value, given up.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }
}

impl From<&Value> for ValueKey {
    fn from(value: &Value) -> Self {
        Self::new(value)
    }
}

fn canonical(value: &Value) -> Value {
    match value {
        // Includes -0.0, which becomes the integer 0.
        Value::Float(float) => whole(*float).map_or(Value::Float(*float), Value::Int),
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        Value::Object(entries) => {
            let mut entries: Vec<(CompactString, Value)> =
                entries.iter().map(|(key, value)| (key.clone(), canonical(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries)
        }
        other => other.clone(),
    }
}

impl PartialEq for ValueKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ValueKey {}

impl PartialOrd for ValueKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ValueKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Hash for ValueKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    value.rank().hash(state);
    match value {
        Value::Null => {}
        Value::Bool(flag) => flag.hash(state),
        Value::Int(int) => int.hash(state),
        Value::Float(float) => float.to_bits().hash(state),
        Value::Str(text) => text.hash(state),
        Value::Time(Millis(t)) => t.hash(state),
        Value::Array(items) => {
            items.len().hash(state);
            items.iter().for_each(|item| hash(item, state));
        }
        Value::Object(entries) => {
            entries.len().hash(state);
            for (key, value) in entries {
                key.hash(state);
                hash(value, state);
            }
        }
    }
}
