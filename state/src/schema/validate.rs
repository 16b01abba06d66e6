//! One pass over JSON text into typed, cast properties.
//!
//! Keys stay borrowed and no generic tree is built but inside open objects and arrays, whose values
//! are kept as they came. Cost: about one comparison per key in the order of the structure, one
//! allocation for the list of properties, and one per text longer than 24 bytes.

use super::UnknownKeys;
use super::cast::Scalar;
use super::compile::{Field, Kind, Level, Schema};
use crate::event::Props;
use crate::ids::PathId;
use crate::time::Zone;
use crate::value::{Value, from_u64, put_entry};
use compact_str::{CompactString, format_compact};
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;
use std::fmt;

mod open;
mod root;
use open::{OpenSeed, drain_seq, open_map};
use root::Root;

/// Errors reported for one document; the rest is not.
pub const ERRORS_MAX: usize = 20;
/// Objects and arrays inside each other, the document included.
const NESTING_MAX: usize = 16;
/// Keys of one document, on all levels together.
const KEYS_MAX: usize = 256;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Dotted path, with `[i]` for elements of arrays; empty for the document itself.
    pub path: String,
    /// `required`, `type`, `pattern` or `unknown`; `limit` when the document is too deep or has too many
    /// keys, which ends the check.
    pub rule: &'static str,
    /// A lowercase fragment for people.
    pub message: String,
}

/// A document read to its end, whatever was wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// The fields that are right.
    pub props: Props,
    /// What is wrong, in the order met, at most [`ERRORS_MAX`].
    pub errors: Vec<FieldError>,
    /// Undeclared keys that were dropped.
    pub stripped: u32,
}

impl Schema {
    /// Reads a document under the schema's own policy for unknown keys. `raw` is the JSON text of the
    /// object; empty text and `null` are the empty object.
    ///
    /// # Errors
    /// Everything that is wrong, at most [`ERRORS_MAX`].
    pub fn validate(&self, raw: &str, zone: &Zone) -> Result<Props, Vec<FieldError>> {
        self.validate_as(raw, zone, self.unknown)
    }

    /// Reads a document under the caller's policy for unknown keys.
    ///
    /// # Errors
    /// As [`Schema::validate`].
    pub fn validate_as(&self, raw: &str, zone: &Zone, unknown: UnknownKeys) -> Result<Props, Vec<FieldError>> {
        let checked = self.check(raw, zone, unknown);
        if checked.errors.is_empty() { Ok(checked.props) } else { Err(checked.errors) }
    }

    /// Reads a document and keeps what is right beside what is wrong.
    #[must_use]
    pub fn check(&self, raw: &str, zone: &Zone, unknown: UnknownKeys) -> Checked {
        let mut run = Run {
            cast: self.cast,
            unknown,
            zone,
            out: Vec::with_capacity(self.root.fields.len().min(16)),
            errors: Vec::new(),
            stripped: 0,
            keys: 0,
            nesting: 0,
            indexes: SmallVec::new(),
            at: None,
        };
        let raw = if raw.trim_ascii().is_empty() { "{}" } else { raw };
        let mut json = serde_json::Deserializer::from_str(raw);
        let read = Root { level: &self.root, run: &mut run }.deserialize(&mut json).and_then(|()| json.end());
        if let Err(error) = read
            && !run.errors.iter().any(|e| e.rule == "limit")
        {
            let path = run.at.map_or(CompactString::const_new(""), |field| run.place(&field.name));
            run.errors.truncate(ERRORS_MAX - 1);
            run.errors.push(FieldError { path: path.into(), rule: "type", message: error.to_string() });
        }
        Checked { props: Props::new(run.out), errors: run.errors, stripped: run.stripped }
    }
}

/// One document being read.
struct Run<'s> {
    cast: bool,
    unknown: UnknownKeys,
    zone: &'s Zone,
    out: Vec<(PathId, Value)>,
    errors: Vec<FieldError>,
    stripped: u32,
    keys: usize,
    nesting: usize,
    /// Places in the arrays around the current field.
    indexes: SmallVec<[usize; 4]>,
    /// The field last begun, for errors of the reader itself.
    at: Option<&'s Field>,
}

impl Run<'_> {
    fn wrong(&mut self, name: &str, rule: &'static str, message: impl FnOnce() -> String) {
        if self.errors.len() < ERRORS_MAX {
            let path = self.place(name).into();
            self.errors.push(FieldError { path, rule, message: message() });
        }
    }

    /// The name with the indexes of the arrays around it.
    fn place(&self, name: &str) -> CompactString {
        let mut parts = name.split("[]");
        let mut path = CompactString::from(parts.next().unwrap_or_default());
        for (i, part) in parts.enumerate() {
            match self.indexes.get(i) {
                Some(index) => path.push_str(&format_compact!("[{index}]{part}")),
                None => path.push_str(&format_compact!("[]{part}")),
            }
        }
        path
    }

    /// Counts one more key.
    fn key<E: Error>(&mut self) -> Result<(), E> {
        self.keys += 1;
        if self.keys > KEYS_MAX { Err(self.limit(format!("document has more than {KEYS_MAX} keys"))) } else { Ok(()) }
    }

    /// Goes one object or array deeper.
    fn enter<E: Error>(&mut self) -> Result<(), E> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX { Err(self.limit(format!("document is nested deeper than {NESTING_MAX}"))) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.nesting -= 1;
    }

    fn limit<E: Error>(&mut self, message: String) -> E {
        self.errors.truncate(ERRORS_MAX - 1);
        self.errors.push(FieldError { path: String::new(), rule: "limit", message });
        E::custom("limit")
    }
}

/// Where values go.
enum Target<'t> {
    /// To the document's own properties, each by its path.
    Flat,
    /// Into an object inside an array.
    Entries(&'t mut Vec<(CompactString, Value)>),
    /// Into an array.
    Elements(&'t mut Vec<Value>),
}

impl Target<'_> {
    fn put(&mut self, field: &Field, value: Value, run: &mut Run<'_>) {
        match self {
            Self::Flat => run.out.push((field.path, value)),
            Self::Entries(entries) => put_entry(entries, field.key.clone(), value),
            Self::Elements(items) => items.push(value),
        }
    }

    /// Forgets a field whose key comes a second time.
    fn forget(&mut self, field: &Field, run: &mut Run<'_>) {
        match self {
            Self::Flat => run.out.retain(|(path, _)| !field.covers(*path)),
            Self::Entries(entries) => entries.retain(|(key, _)| *key != field.key),
            Self::Elements(_) => {}
        }
    }
}

impl Field {
    fn covers(&self, path: PathId) -> bool {
        match &self.kind {
            Kind::Object(level) => level.extras == path || level.fields.iter().any(|field| field.covers(path)),
            _ => self.path == path,
        }
    }
}

/// Reads one object with declared keys.
fn read_level<'de, 's, A: MapAccess<'de>>(
    level: &'s Level,
    mut map: A,
    run: &mut Run<'s>,
    target: &mut Target<'_>,
) -> Result<(), A::Error> {
    run.enter()?;
    let mut seen: SmallVec<[u64; 2]> = SmallVec::from_elem(0, level.fields.len().div_ceil(64));
    let mut extras = Vec::new();
    let mut hint = 0;
    while let Some(key) = map.next_key_seed(KeySeed { level, hint })? {
        run.key()?;
        let place = match key {
            Key::Declared(place) => place,
            Key::Unknown(key) => {
                match run.unknown {
                    UnknownKeys::Open => {
                        let value = map.next_value_seed(OpenSeed(run))?;
                        put_entry(&mut extras, key, value);
                        continue;
                    }
                    UnknownKeys::Strip => run.stripped += 1,
                    UnknownKeys::Strict => {
                        let name = if level.name.is_empty() { key } else { format_compact!("{}.{key}", level.name) };
                        run.wrong(&name, "unknown", || "this key is not declared".into());
                    }
                }
                map.next_value::<IgnoredAny>()?;
                continue;
            }
        };
        hint = place + 1;
        let field = &level.fields[place];
        let (word, bit) = (place / 64, 1 << (place % 64));
        if seen[word] & bit != 0 {
            target.forget(field, run);
        }
        let present = map.next_value_seed(FieldSeed { field, run, target })?;
        if present { seen[word] |= bit } else { seen[word] &= !bit }
    }
    missing(level, run, &seen);
    // Null is absence here as everywhere at the top of a document.
    extras.retain(|(_, value)| !matches!(value, Value::Null));
    if !extras.is_empty() {
        match target {
            Target::Flat => run.out.push((level.extras, Value::Object(extras))),
            Target::Entries(entries) => entries.extend(extras),
            Target::Elements(_) => {}
        }
    }
    run.leave();
    Ok(())
}

/// Reports the required fields that `seen` has no bit for.
fn missing(level: &Level, run: &mut Run<'_>, seen: &[u64]) {
    for (place, field) in level.fields.iter().enumerate() {
        if field.required && seen.get(place / 64).is_none_or(|word| word & (1 << (place % 64)) == 0) {
            run.wrong(&field.name, "required", || "this field is required".into());
        }
    }
}

enum Key {
    Declared(usize),
    Unknown(CompactString),
}

struct KeySeed<'s> {
    level: &'s Level,
    hint: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Key, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(self.level.find(key, self.hint).map_or_else(|| Key::Unknown(key.into()), Key::Declared))
    }
}

/// Reads one declared field; the answer is whether it was there and not null.
struct FieldSeed<'r, 's, 't, 'u> {
    field: &'s Field,
    run: &'r mut Run<'s>,
    target: &'u mut Target<'t>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_, '_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        self.run.at = Some(self.field);
        json.deserialize_any(self)
    }
}

impl FieldSeed<'_, '_, '_, '_> {
    fn scalar(self, scalar: Scalar<'_>) -> bool {
        let Self { field, run, target } = self;
        if let Some(pattern) = &field.pattern
            && !matches!(field.kind, Kind::Array(_) | Kind::Open | Kind::Object(_))
            && !pattern.is_match(&scalar.text())
        {
            run.wrong(&field.name, "pattern", || format!("text does not match {pattern}"));
            return true;
        }
        match scalar.cast(&field.kind, run.cast, run.zone) {
            Ok(value) => target.put(field, value, run),
            Err(expected) => run.wrong(&field.name, "type", || format!("value is not {expected}")),
        }
        true
    }

    fn mistyped(self) -> bool {
        let expected = match &self.field.kind {
            Kind::String => "text",
            Kind::Integer => "a whole number",
            Kind::Float => "a number",
            Kind::Boolean => "a boolean",
            Kind::DateTime => "a time",
            Kind::Array(_) => "an array",
            Kind::Open | Kind::Object(_) => "an object",
        };
        self.run.wrong(&self.field.name, "type", || format!("value is not {expected}"));
        true
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, '_, '_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Bool(flag)))
    }

    fn visit_i64<E>(self, int: i64) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Int(int)))
    }

    fn visit_u64<E>(self, int: u64) -> Result<bool, E> {
        Ok(match from_u64(int) {
            Value::Float(float) => self.scalar(Scalar::Float(float)),
            Value::Int(int) => self.scalar(Scalar::Int(int)),
            _ => false,
        })
    }

    fn visit_f64<E>(self, float: f64) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Float(float)))
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        Ok(self.scalar(Scalar::Str(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let Kind::Array(items) = &self.field.kind else {
            drain_seq(seq)?;
            return Ok(self.mistyped());
        };
        let Self { field, run, target } = self;
        let mut elements = Vec::new();
        let Some(items) = items else {
            run.enter()?;
            while let Some(element) = seq.next_element_seed(OpenSeed(run))? {
                elements.push(element);
            }
            run.leave();
            target.put(field, Value::Array(elements), run);
            return Ok(true);
        };
        run.enter()?;
        let errors = run.errors.len();
        run.indexes.push(0);
        let mut into = Target::Elements(&mut elements);
        while let Some(present) = seq.next_element_seed(FieldSeed { field: items, run, target: &mut into })? {
            if !present && items.required {
                run.wrong(&items.name, "required", || "this element is required".into());
            } else if !present {
                into.put(items, Value::Null, run);
            }
            if let Some(index) = run.indexes.last_mut() {
                *index += 1;
            }
        }
        run.indexes.pop();
        run.leave();
        // A list without its wrong elements would be another list.
        if run.errors.len() == errors && errors < ERRORS_MAX {
            target.put(field, Value::Array(elements), run);
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        match &self.field.kind {
            Kind::Open => {
                let value = open_map(map, self.run)?;
                self.target.put(self.field, value, self.run);
                Ok(true)
            }
            Kind::Object(level) => {
                if matches!(self.target, Target::Flat) {
                    read_level(level, map, self.run, &mut Target::Flat)?;
                } else {
                    let mut entries = Vec::new();
                    read_level(level, map, self.run, &mut Target::Entries(&mut entries))?;
                    self.target.put(self.field, Value::Object(entries), self.run);
                }
                Ok(true)
            }
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.mistyped())
            }
        }
    }
}
