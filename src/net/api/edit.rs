//! From what somebody sends about one definition to the next catalog, or to a problem that names every
//! place in what was sent.

use axum::http::StatusCode;
use lodestone_state::ids::DefId;
use lodestone_state::issue::{DEFINITION_INVALID, Issue};
use lodestone_state::plan::{Catalog, CatalogDocument, Definition, Diff, Kind};
use serde_json::{Map, Value, json};

use super::refused as unavailable_or_invalid;
use crate::engine::{draft, word};
use crate::net::problem::Problem;

/// A change that is not made.
#[derive(Debug)]
pub(super) struct Refusal(Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Vec<Issue>> for Refusal {
    fn from(issues: Vec<Issue>) -> Self {
        Self(unavailable_or_invalid(issues))
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

/// Codes of issues that say that another definition has the name or key.
const TAKEN: [&str; 7] =
    ["channel_key_taken", "event_name_taken", "context_exists", "key_taken", "name_taken", "id_taken", "duplicate"];

/// What follows a name that was copied.
const COPY: &str = " (copy)";
/// Characters of a name.
const NAME_MAX: usize = 200;

/// One thing that is wrong with what was sent.
pub(super) fn wrong(pointer: &str, message: &str) -> Problem {
    Problem::invalid(DEFINITION_INVALID, vec![Issue::new(pointer, DEFINITION_INVALID, message)])
}

/// The catalog with one definition as `value` says. `slot` is the one that is meant; without it, it is new
/// or the only one of its kind.
///
/// # Errors
/// Everything that is wrong with `value`, by its places in it; 409 where only others are in the way.
pub(super) fn apply(catalog: &Catalog, kind: Kind, slot: Option<usize>, value: Value) -> Result<(Catalog, Diff), Refusal> {
    draft::changed(catalog, kind, slot, value).map_err(|issues| refused(catalog, kind, slot, issues))
}

/// What was sent to make a definition, once it is sure that it makes one: nothing in force is changed by it.
///
/// # Errors
/// 409 where its id, key or name is taken.
pub(super) fn new(catalog: &Catalog, kind: Kind, mut value: Value) -> Result<Value, Refusal> {
    let Value::Object(map) = &mut value else { return Ok(value) };
    map.retain(|field, _| field != "createdAt");
    let text = |field: &str| map.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    let live = || catalog.live(kind).map(|(_, known)| known);
    let taken = |field: &str, code: &'static str, by: Option<&Definition>| {
        by.map(|by| Issue::new(format!("/{field}"), code, format!("{field} belongs to the {kind} {:?} ({})", by.name, by.id)))
    };
    let (name, key) = (text("name"), text("key"));
    let id = text("id").and_then(|id| id.parse::<DefId>().ok());
    let mut issues: Vec<Issue> = Vec::new();
    issues.extend(taken("id", "id_taken", live().find(|known| Some(known.id) == id)));
    match kind {
        Kind::Channel => issues.extend(taken("key", "channel_key_taken", live().find(|known| Some(&*known.key) == key))),
        Kind::Event => {
            let same = |known: &&Definition| name.is_some_and(|name| known.name.to_lowercase() == name.to_lowercase());
            issues.extend(taken("name", "event_name_taken", live().find(same)));
        }
        Kind::Context => {
            let channel = text("channel").and_then(|channel| catalog.find(Kind::Channel, channel));
            let same = |known: &&Definition| channel.is_some_and(|channel| channel.key == known.name);
            issues.extend(taken("channel", "context_exists", live().find(same)));
        }
        Kind::ComputedTrait => issues.extend(taken("key", "key_taken", live().find(|known| Some(&*known.key) == key))),
        Kind::Action | Kind::ActionType | Kind::CustomTraits | Kind::Token => {}
        _ => {
            issues.extend(taken("key", "key_taken", live().find(|known| Some(&*known.key) == key)));
            issues.extend(taken("name", "name_taken", live().find(|known| Some(&*known.name) == name)));
        }
    }
    if !issues.is_empty() {
        return Err(refused(catalog, kind, None, issues));
    }
    match kind {
        // Actions may share a name, so a new one is told from the others by an id of its own.
        Kind::Action if id.is_none() => drop(map.insert("id".into(), fresh_id())),
        Kind::ActionType => {
            let next = name.map(|name| next_version(catalog, name));
            map.extend(next.map(|next| ("version".to_owned(), next.into())));
            map.remove("isArchived");
        }
        _ => {}
    }
    Ok(value)
}

fn fresh_id() -> Value {
    uuid::Uuid::new_v4().to_string().into()
}

/// The version after the newest of a type, archived ones included.
fn next_version(catalog: &Catalog, name: &str) -> u32 {
    let versions = catalog.definitions(Kind::ActionType).iter().filter(|known| known.name == name);
    versions.filter_map(|known| known.key.parse::<u32>().ok()).max().unwrap_or(0).saturating_add(1)
}

/// The slot of one version in force of an action type.
pub(super) fn type_version(catalog: &Catalog, name: &str, version: u32) -> Option<usize> {
    let wanted = |known: &Definition| known.name == name && known.key == version.to_string();
    catalog.live(Kind::ActionType).find(|(_, known)| wanted(known)).map(|(slot, _)| slot)
}

/// The catalog with versions of action types taken out of force, or put into it again.
///
/// # Errors
/// Those of applying a document.
pub(super) fn archive(catalog: &Catalog, slots: &[usize], archived: bool) -> Result<(Catalog, Diff), Refusal> {
    let versions = slots.iter().map(|slot| {
        let mut value = export(catalog, Kind::ActionType, *slot);
        value["isArchived"] = archived.into();
        value
    });
    let document = CatalogDocument { action_types: versions.collect(), ..CatalogDocument::default() };
    Ok(catalog.apply(&document)?)
}

/// What a definition says, as it can be sent back.
pub(super) fn export(catalog: &Catalog, kind: Kind, slot: usize) -> Value {
    let known = &catalog.definitions(kind)[slot];
    let mut value = known.json();
    if let Value::Object(map) = &mut value {
        map.insert("id".into(), known.id.to_string().into());
        match kind {
            Kind::Event | Kind::Context | Kind::CustomTraits => {
                map.insert("structure".into(), serde_json::from_str(known.structure()).unwrap_or_default());
            }
            Kind::ActionType => drop(map.insert("version".into(), known.key.parse::<u32>().unwrap_or(1).into())),
            _ => {}
        }
    }
    value
}

/// An action as a new one that runs nowhere.
pub(super) fn copy(mut value: Value, with_test_users: bool) -> Value {
    if let Value::Object(map) = &mut value {
        let name = map.get("name").and_then(Value::as_str).unwrap_or_default();
        let name: String = name.chars().take(NAME_MAX - COPY.len()).chain(COPY.chars()).collect();
        map.insert("name".into(), name.into());
        map.insert("id".into(), fresh_id());
        map.insert("state".into(), "inactive".into());
        map.remove("createdAt");
        if !with_test_users {
            map.remove("testUsers");
        }
    }
    value
}

/// `value` with a JSON merge patch (RFC 7396) applied.
pub(super) fn merged(value: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut map = match value {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (field, value) in patch {
        if value.is_null() {
            map.remove(field);
        } else {
            let before = map.remove(field).unwrap_or_default();
            map.insert(field.clone(), merged(before, value));
        }
    }
    Value::Object(map)
}

/// Which problem a definition's issues add up to: with their places in what was sent, and with the
/// definitions that are in the way where those are all that is wrong.
pub(super) fn refused(catalog: &Catalog, kind: Kind, slot: Option<usize>, issues: Vec<Issue>) -> Refusal {
    let all = |wanted: &dyn Fn(&str) -> bool| issues.iter().all(|issue| wanted(issue.code));
    let first = issues.first().map_or(DEFINITION_INVALID, |issue| issue.code);
    if issues.iter().any(|issue| issue.code == "unavailable") {
        return issues.into();
    }
    if all(&|code| code == "not_found") {
        return super::definitions::missing(kind).into();
    }
    if all(&|code| TAKEN.contains(&code)) {
        let detail = issues.first().map_or_else(String::new, |issue| issue.message.clone());
        return Problem::new(StatusCode::CONFLICT, first, detail).because(issues).into();
    }
    if all(&|code| matches!(code, "in_use" | "definition_in_use")) {
        let users = slot.map(|slot| catalog.dependents(kind, slot)).unwrap_or_default();
        let dependents: Vec<Value> =
            users.iter().map(|user| json!({"type": word(user.kind), "id": user.id.to_string(), "name": user.name})).collect();
        let detail = format!("the {kind} is in use by {} definition(s)", dependents.len());
        let problem = Problem::new(StatusCode::CONFLICT, "in_use", detail).because(issues);
        return problem.with("dependents", dependents.into()).into();
    }
    Problem::invalid(DEFINITION_INVALID, issues).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_patch_changes_what_it_names() {
        let before = json!({"name": "a", "targeting": {"channels": ["web"], "audiences": ["x"]}, "tags": [1, 2]});
        let patch = json!({"targeting": {"audiences": null, "weekdays": [1]}, "tags": [3], "slot": "top"});
        let after = json!({"name": "a", "targeting": {"channels": ["web"], "weekdays": [1]}, "tags": [3], "slot": "top"});
        assert_eq!(merged(before, &patch), after);
        assert_eq!(merged(json!({"a": 1}), &json!([1])), json!([1]));
    }

    /// T-73: everything but what makes it run.
    #[test]
    fn t73_a_copy_runs_nowhere() {
        let action = json!({"id": "1", "name": "X", "state": "active", "capping": [1], "testUsers": [2], "createdAt": "then"});
        let plain = copy(action.clone(), false);
        assert_eq!((&plain["name"], &plain["state"], &plain["capping"]), (&json!("X (copy)"), &json!("inactive"), &json!([1])));
        assert!(plain.get("testUsers").is_none() && plain.get("createdAt").is_none() && plain["id"] != "1");
        assert_eq!(copy(action, true)["testUsers"], json!([2]));
        let long = copy(json!({"name": "ä".repeat(200)}), false);
        assert_eq!(long["name"].as_str().map(|name| name.chars().count()), Some(200));
    }
}
