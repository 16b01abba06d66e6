//! Typed values of properties and traits, with their one equality and their one order.

use crate::ids::Millis;
use crate::time::format_instant;
use compact_str::CompactString;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::fmt;

mod key;
pub use key::ValueKey;

/// One value. Stored with bincode, so no variant is untagged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// JSON null; only inside arrays and open objects, elsewhere null is absence.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits i64.
    Int(i64),
    /// Any other finite number.
    Float(f64),
    /// Text.
    Str(CompactString),
    /// A declared `dateTime`, as an instant.
    Time(Millis),
    /// Elements in order.
    Array(Vec<Value>),
    /// An open object, keys in the order received.
    Object(Vec<(CompactString, Value)>),
}

impl Value {
    /// The value of a JSON tree: integers that fit i64 stay exact, other numbers become doubles.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(b) => Self::Bool(*b),
            serde_json::Value::Number(n) => match n.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Float(n.as_f64().unwrap_or(f64::MAX)),
            },
            serde_json::Value::String(s) => Self::Str(s.as_str().into()),
            serde_json::Value::Array(items) => Self::Array(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => {
                Self::Object(map.iter().map(|(k, v)| (k.as_str().into(), Self::from_json(v))).collect())
            }
        }
    }

    /// The value of a piece of JSON text, read in one pass.
    ///
    /// # Errors
    /// When the text is not JSON, or holds a number beyond the range of a double.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = JsonSeed.deserialize(&mut json)?;
        json.end()?;
        Ok(value)
    }

    /// The value of JSON text that was checked for syntax before.
    ///
    /// # Errors
    /// When it holds a number beyond the range of a double.
    pub fn from_raw(raw: &RawValue) -> Result<Self, serde_json::Error> {
        Self::parse(raw.get())
    }

    /// As JSON; an instant becomes RFC 3339 UTC with milliseconds.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(i) => (*i).into(),
            Self::Float(f) => (*f).into(),
            Self::Str(s) => s.as_str().into(),
            Self::Time(t) => format_instant(*t).as_str().into(),
            Self::Array(items) => items.iter().map(Self::to_json).collect::<Vec<_>>().into(),
            Self::Object(entries) => {
                entries.iter().map(|(k, v)| (k.to_string(), v.to_json())).collect::<serde_json::Map<_, _>>().into()
            }
        }
    }

    /// Whether this is an integer or a double.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Float(_))
    }

    /// A number as a double (an integer beyond 2^53 is rounded); `None` for anything else.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "callers that need exactness use cmp_number")]
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// Text, if this is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Typed equality: `1` is `1.0`, `1` is not `"1"`. Objects compare as sets of entries.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(a), Self::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| b.iter().any(|(other_key, other)| key == other_key && value.same(other)))
            }
            _ if self.is_number() => Self::cmp_number(self, other) == Some(Ordering::Equal),
            _ => self == other,
        }
    }

    /// Compares two numbers mathematically, an integer with a double without rounding.
    /// `None` unless both are numbers.
    #[must_use]
    pub fn cmp_number(a: &Self, b: &Self) -> Option<Ordering> {
        match (a, b) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Float(b)) => cmp_int_float(*a, *b),
            (Self::Float(a), Self::Int(b)) => cmp_int_float(*b, *a).map(Ordering::reverse),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b),
            _ => None,
        }
    }

    /// A total order for sorting and ties: null, booleans, numbers by size, text by code point,
    /// instants, arrays element by element, objects entry by entry. Equal here is [`Value::same`],
    /// but for objects, whose entries count in the order received.
    #[must_use]
    pub fn total_cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Str(a), Self::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => {
                let first = a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Self::Object(a), Self::Object(b)) => {
                let first = a.iter().zip(b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| a.1.total_cmp(&b.1)));
                first.into_iter().find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            _ => Self::cmp_number(self, other).unwrap_or_else(|| self.rank().cmp(&other.rank())),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) => 2,
            Self::Str(_) => 3,
            Self::Time(_) => 4,
            Self::Array(_) => 5,
            Self::Object(_) => 6,
        }
    }

    /// Bytes of what it says, however it is kept: of text its length, of lists and objects that of all that is
    /// in them, 8 of anything else.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        match self {
            Self::Str(s) => s.len(),
            Self::Array(items) => items.iter().map(Self::content_bytes).sum(),
            Self::Object(entries) => entries.iter().map(|(k, v)| k.len() + v.content_bytes()).sum(),
            _ => size_of::<u64>(),
        }
    }

    /// Bytes on the heap and in place, roughly: what a memory budget charges for this value.
    #[must_use]
    pub fn weight(&self) -> usize {
        let own = size_of::<Self>();
        own + match self {
            Self::Str(s) if s.is_heap_allocated() => s.capacity(),
            Self::Array(items) => items.iter().map(Self::weight).sum(),
            Self::Object(entries) => entries.iter().map(|(k, v)| size_of_val(k) + k.len() + v.weight()).sum(),
            _ => 0,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<Millis> for Value {
    fn from(t: Millis) -> Self {
        Self::Time(t)
    }
}

/// Doubles at or above this are greater than every i64.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// Compares without converting the integer to a double, which rounds above 2^53. `None` for NaN.
#[must_use]
pub(crate) fn cmp_int_float(int: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    if float >= TWO_63 {
        return Some(Ordering::Less);
    }
    if float < -TWO_63 {
        return Some(Ordering::Greater);
    }
    // In this range the whole part of a double is an i64 exactly.
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    let whole = float.trunc() as i64;
    Some(int.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal)))
}

/// The integer that a double stands for, when its fraction is zero and it fits i64.
#[must_use]
pub(crate) fn whole(float: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (float.fract() == 0.0 && (-TWO_63..TWO_63).contains(&float)).then_some(float as i64)
}

/// Reads any JSON value into a [`Value`].
pub(crate) struct JsonSeed;

impl<'de> DeserializeSeed<'de> for JsonSeed {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, int: i64) -> Result<Value, E> {
        Ok(Value::Int(int))
    }

    fn visit_u64<E>(self, int: u64) -> Result<Value, E> {
        Ok(from_u64(int))
    }

    fn visit_f64<E: serde::de::Error>(self, float: f64) -> Result<Value, E> {
        if float.is_finite() { Ok(Value::Float(float)) } else { Err(E::custom("number out of range")) }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(JsonSeed)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(CompactString, Value)> = Vec::new();
        while let Some(key) = map.next_key::<CompactString>()? {
            let value = map.next_value_seed(JsonSeed)?;
            put_entry(&mut entries, key, value);
            if entries.len() > OBJECT_KEYS_MAX {
                return Err(A::Error::custom("object has too many keys"));
            }
        }
        Ok(Value::Object(entries))
    }
}

/// Keys of one object; keeps the search for a repeated key short.
const OBJECT_KEYS_MAX: usize = 4096;

/// Adds an entry; of a repeated key the later value wins.
pub(crate) fn put_entry(entries: &mut Vec<(CompactString, Value)>, key: CompactString, value: Value) {
    match entries.iter_mut().find(|(k, _)| *k == key) {
        Some(entry) => entry.1 = value,
        None => entries.push((key, value)),
    }
}

/// Unsigned numbers come from the JSON reader for every non-negative integer.
pub(crate) fn from_u64(int: u64) -> Value {
    match i64::try_from(int) {
        Ok(int) => Value::Int(int),
        #[expect(clippy::cast_precision_loss, reason = "beyond i64 a number is a double by definition")]
        Err(_) => Value::Float(int as f64),
    }
}

#[cfg(test)]
mod tests;
