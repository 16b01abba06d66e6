//! What no structure declares in detail: open objects, plain arrays and kept extras.

use super::Run;
use crate::value::{Value, from_u64, put_entry};
use compact_str::CompactString;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads a list to its end for nothing.
pub(super) fn drain_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Reads any value as it came, within the limits of the document.
pub(super) struct OpenSeed<'r, 's>(pub(super) &'r mut Run<'s>);

impl<'de> DeserializeSeed<'de> for OpenSeed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OpenSeed<'_, '_> {
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

    fn visit_f64<E>(self, float: f64) -> Result<Value, E> {
        Ok(Value::Float(float))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.0.enter()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(OpenSeed(self.0))? {
            items.push(item);
        }
        self.0.leave();
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        open_map(map, self.0)
    }
}

/// Reads an object as it came.
pub(super) fn open_map<'de, A: MapAccess<'de>>(mut map: A, run: &mut Run<'_>) -> Result<Value, A::Error> {
    run.enter()?;
    let mut entries = Vec::new();
    while let Some(key) = map.next_key::<CompactString>()? {
        run.key()?;
        let value = map.next_value_seed(OpenSeed(run))?;
        put_entry(&mut entries, key, value);
    }
    run.leave();
    Ok(Value::Object(entries))
}
