//! Custom traits that rules set and no structure declares.
//!
//! Where custom traits have a structure, a rule declares its attribute by setting it: conditions can read it
//! at once, clients cannot send it. Without a structure everything is open and nothing needs declaring.

use super::catalog::{Catalog, Kind};
use super::resolve::Version;
use crate::expr::PathRef;
use crate::paths::{self, PathTable};
use crate::schema::DataType;
use serde_json::Value;
use std::collections::BTreeMap;

/// By dotted path as it is written: where the attribute stands, and its type.
pub(super) type Attributes = BTreeMap<String, (PathRef, DataType)>;

/// The attributes of all rules that `custom`, which has a structure, does not declare. What a removed rule
/// set stays known, so that conditions on it still compile.
pub(super) fn of_rules(catalog: &Catalog, custom: &[Version], table: &mut PathTable) -> Attributes {
    let mut found = Attributes::new();
    let Some(newest) = custom.last() else { return found };
    let rules = catalog.definitions(Kind::Rule);
    let (removed, live): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| rule.removed);
    for rule in live.into_iter().chain(removed) {
        let body = rule.json();
        for effect in body.get("then").and_then(Value::as_array).into_iter().flatten() {
            let (Some("set_attribute"), Some(key)) = (text(effect, "type"), text(effect, "key")) else { continue };
            let segments = paths::split(key);
            let [segment] = segments.as_slice() else { continue };
            let taken = newest.structure.0.iter().any(|node| node.properties.key == *segment);
            let Some(data_type) = effect.get("value").and_then(type_of).filter(|_| !taken && !segment.is_empty()) else {
                continue;
            };
            if !found.contains_key(key) {
                let path = PathRef::leaf(table.intern(&paths::join("", segment)));
                found.insert(key.to_owned(), (path, data_type));
            }
        }
    }
    found
}

/// The type that a literal gives its attribute.
pub(super) fn type_of(value: &Value) -> Option<DataType> {
    Some(match value {
        Value::String(_) => DataType::String,
        Value::Bool(_) => DataType::Boolean,
        Value::Number(number) if number.is_i64() => DataType::Integer,
        Value::Number(_) => DataType::Float,
        Value::Array(_) => DataType::Array,
        Value::Null | Value::Object(_) => return None,
    })
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}
