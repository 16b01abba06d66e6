//! Versions of a structure: a new one only where it means something else than the one before.

use super::document::{Fields, at};
use crate::issue::Issue;
use crate::schema::Structure;
use serde_json::Value;

/// Makes `structure` the newest of `versions`. A change of what editors alone see (labels, an empty
/// pattern, `isRequired` spelled out) replaces the newest; any other change adds a version.
pub(super) fn put(versions: &mut Vec<String>, structure: &Value) {
    let mut canonical = structure.clone();
    canonical.sort_all_objects();
    let text = canonical.to_string();
    match versions.last_mut() {
        Some(newest) if *newest == text => {}
        Some(newest) if meaning(&parse(newest)) == meaning(&canonical) => *newest = text,
        _ => versions.push(text),
    }
}

/// Whether every node of a structure has the fields that a node has, in their JSON types. What they say
/// is the schema compiler's to check; where a structure does not get so far, it is checked here as far as it
/// can be, so that all problems are told at once.
pub(super) fn well_formed(nodes: &Value, pointer: &str, issues: &mut Vec<Issue>) -> bool {
    let before = issues.len();
    check_nodes(nodes, pointer, issues);
    let fine = issues.len() == before;
    if !fine && let Ok(rest) = serde_json::from_value::<Structure>(mended(nodes, &mut 0)) {
        rest.check(pointer, issues);
    }
    fine
}

fn check_nodes(nodes: &Value, pointer: &str, issues: &mut Vec<Issue>) {
    for (i, value) in nodes.as_array().into_iter().flatten().enumerate() {
        check_node(value, &at(pointer, i), issues);
    }
}

/// The nodes with something right in the place of all that is of the wrong JSON type.
fn mended(nodes: &Value, nth: &mut usize) -> Value {
    Value::Array(nodes.as_array().into_iter().flatten().map(|node| mended_node(node, nth)).collect())
}

fn mended_node(value: &Value, nth: &mut usize) -> Value {
    *nth += 1;
    let given = |name: &str| value.get(name).filter(|value| !value.is_null());
    let wrong = !value.is_object() || given("properties").is_some_and(|properties| !properties.is_object());
    let text = |name: &str, right: &str| match given("properties").and_then(|properties| properties.get(name)) {
        _ if wrong => right.into(),
        Some(Value::String(text)) => text.as_str().into(),
        None | Some(Value::Null) => Value::Null,
        Some(_) => Value::from(right),
    };
    let items = given("properties").and_then(|properties| properties.get("items")).filter(|items| items.is_object());
    serde_json::json!({
        "properties": {
            "key": text("key", &format!("stand-in {nth}")),
            "type": text("type", if items.is_some() { "array" } else { "string" }),
            "pattern": text("pattern", ""),
            "items": items.map(|items| mended_node(items, nth)),
        },
        "children": given("children").filter(|children| children.is_array()).map(|children| mended(children, nth)),
    })
}

fn check_node(value: &Value, pointer: &str, issues: &mut Vec<Issue>) {
    let Some(fields) = Fields::open(value, pointer, issues) else { return };
    fields.only(&["id", "name", "properties", "children"], issues);
    fields.text("id", issues);
    fields.text("name", issues);
    if let Some(children) = fields.list("children", issues) {
        check_nodes(children, &fields.at("children"), issues);
    }
    let Some(properties) = fields.get("properties") else { return };
    let Some(properties) = Fields::open(properties, fields.at("properties"), issues) else { return };
    properties.only(&["key", "type", "pattern", "isRequired", "items"], issues);
    properties.text("key", issues);
    properties.text("type", issues);
    properties.text("pattern", issues);
    properties.flag("isRequired", issues);
    if let Some(items) = properties.get("items") {
        check_node(items, &properties.at("items"), issues);
    }
}

/// A stored structure; it was written by [`put`] and reads back.
pub(super) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// What validation reads of a structure.
fn meaning(structure: &Value) -> Value {
    Value::Array(structure.as_array().into_iter().flatten().map(node).collect())
}

fn node(value: &Value) -> Value {
    let properties = value.get("properties").unwrap_or(&Value::Null);
    let children = meaning(value.get("children").unwrap_or(&Value::Null));
    let inner = children.as_array().is_some_and(|list| !list.is_empty());
    let text = |name: &str| properties.get(name).and_then(Value::as_str).unwrap_or_default();
    serde_json::json!({
        "key": text("key"),
        "type": if inner { "object" } else { text("type") },
        "pattern": text("pattern"),
        "isRequired": properties.get("isRequired").and_then(Value::as_bool).unwrap_or(false),
        "items": properties.get("items").filter(|items| !items.is_null()).map(node),
        "children": children,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // I-17: the version counts what changes the structure, not what changes its looks.
    #[test]
    fn i17_versions_count_changes_of_meaning() {
        let mut versions = Vec::new();
        let plain = json!([{"properties": {"key": "a", "type": "string"}}]);
        put(&mut versions, &plain);
        put(&mut versions, &plain);
        put(
            &mut versions,
            &json!([{"id": "a", "name": "A!", "properties": {"key": "a", "type": "string", "isRequired": false, "pattern": ""}, "children": []}]),
        );
        assert_eq!(versions.len(), 1);
        assert!(versions[0].contains("A!"));
        put(&mut versions, &json!([{"properties": {"key": "a", "type": "string", "isRequired": true}}]));
        put(&mut versions, &json!([]));
        assert_eq!(versions.len(), 3);
        assert_eq!(versions[2], "[]");
    }
}
