//! The catalog as people write it: one JSON document, and the reader that collects every problem.

use crate::ids::DefId;
use crate::issue::Issue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A catalog document: what an operator applies, and what an export gives back.
///
/// Each section holds the definitions as JSON. They are read one by one when the document is
/// applied, so that one bad definition does not hide the problems of the next. An absent section
/// says nothing about its definitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CatalogDocument {
    /// Settings of the organisation; absent fields stay as they are.
    pub organization: Option<Value>,
    /// `{name, key}`.
    pub channels: Vec<Value>,
    /// `{token, channel, kind, import}`.
    pub tokens: Vec<Value>,
    /// `{name, description, structure}`.
    pub events: Vec<Value>,
    /// `{channel, structure}`.
    pub contexts: Vec<Value>,
    /// `{structure}`, one for the organisation.
    pub custom_traits: Option<Value>,
    /// `{name, key, type, eventId, conditions, properties}`.
    pub computed_traits: Vec<Value>,
    /// `{name, key, includeAnonymous, events, traits}`.
    pub audiences: Vec<Value>,
    /// `{name, version, properties}`.
    pub action_types: Vec<Value>,
    /// `{name, type, state, properties, targeting, capping, hooks, testUsers}`.
    pub actions: Vec<Value>,
    /// `{name, key, eventId, conditions, metric, operator, threshold, period, fire, onUnmet, then}`.
    pub rules: Vec<Value>,
    /// `{name, key, eventId, conditions, value, currency, lookback, model, touches, channels, actions, dedupe}`.
    pub goals: Vec<Value>,
    /// `{name, key, tags, slot, channels, event, count, within, withinUnit, quietHours}`.
    pub budgets: Vec<Value>,
    /// `{name, key, actions, tag, variants, holdout, salt, goal, state}`.
    pub experiments: Vec<Value>,
    /// Sections that do not exist or are of the wrong JSON type. They are reported together with what
    /// is wrong inside the others when the document is applied, and make it fail.
    pub problems: Vec<Issue>,
}

/// What stands in a section.
enum Section<'a> {
    One(&'a Value),
    List(&'a [Value]),
}

/// The sections in the order in which they are read, exported and reported.
pub(super) const SECTIONS: [&str; 14] = [
    "organization",
    "channels",
    "tokens",
    "events",
    "contexts",
    "customTraits",
    "computedTraits",
    "audiences",
    "actionTypes",
    "actions",
    "goals",
    "rules",
    "budgets",
    "experiments",
];

impl CatalogDocument {
    /// Reads a document from JSON text.
    ///
    /// # Errors
    /// `malformed_json` with line and column, or `definition_invalid` where the text is no object.
    pub fn parse(text: &str) -> Result<Self, Vec<Issue>> {
        match serde_json::from_str::<Value>(text) {
            Ok(value) => Self::from_json(&value),
            Err(error) => Err(vec![issue("", "malformed_json", error.to_string())]),
        }
    }

    /// Reads a document from parsed JSON.
    ///
    /// # Errors
    /// As [`CatalogDocument::parse`].
    pub fn from_json(value: &Value) -> Result<Self, Vec<Issue>> {
        let mut issues = Vec::new();
        let Some(fields) = Fields::open(value, "", &mut issues) else { return Err(issues) };
        fields.only(&SECTIONS, &mut issues);
        let section = |name: &str, issues: &mut Vec<Issue>| {
            fields.list(name, issues).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        Ok(Self {
            organization: fields.object("organization", &mut issues),
            channels: section("channels", &mut issues),
            tokens: section("tokens", &mut issues),
            events: section("events", &mut issues),
            contexts: section("contexts", &mut issues),
            custom_traits: fields.object("customTraits", &mut issues),
            computed_traits: section("computedTraits", &mut issues),
            audiences: section("audiences", &mut issues),
            action_types: section("actionTypes", &mut issues),
            actions: section("actions", &mut issues),
            rules: section("rules", &mut issues),
            goals: section("goals", &mut issues),
            budgets: section("budgets", &mut issues),
            experiments: section("experiments", &mut issues),
            problems: issues,
        })
    }

    /// `pointer` as far as it leads into this document, with at most one field behind it that is missing: what
    /// is looked for inside something that is absent, or of another type, is told where that should stand.
    pub(super) fn anchor<'p>(&self, pointer: &'p str) -> &'p str {
        let mut tokens = pointer.split('/').skip(1);
        let Some(section) = tokens.next() else { return pointer };
        let mut end = 1 + section.len();
        let mut here = match self.section(section) {
            Some(Section::One(value)) => value,
            Some(Section::List(list)) => {
                let Some(place) = tokens.next() else { return pointer };
                end += 1 + place.len();
                match place.parse().ok().and_then(|place: usize| list.get(place)) {
                    Some(value) => value,
                    None => return pointer,
                }
            }
            None => return pointer,
        };
        for token in tokens {
            let name = token.replace("~1", "/").replace("~0", "~");
            let inner = match here {
                Value::Object(map) => Some(map.get(&name)),
                Value::Array(list) => name.parse().ok().and_then(|place: usize| list.get(place)).map(Some),
                _ => None,
            };
            let Some(inner) = inner else { break };
            end += 1 + token.len();
            let Some(inner) = inner else { break };
            here = inner;
        }
        &pointer[..end]
    }

    fn section(&self, name: &str) -> Option<Section<'_>> {
        Some(match name {
            "organization" => Section::One(self.organization.as_ref()?),
            "customTraits" => Section::One(self.custom_traits.as_ref()?),
            "channels" => Section::List(&self.channels),
            "tokens" => Section::List(&self.tokens),
            "events" => Section::List(&self.events),
            "contexts" => Section::List(&self.contexts),
            "computedTraits" => Section::List(&self.computed_traits),
            "audiences" => Section::List(&self.audiences),
            "actionTypes" => Section::List(&self.action_types),
            "actions" => Section::List(&self.actions),
            "rules" => Section::List(&self.rules),
            "goals" => Section::List(&self.goals),
            "budgets" => Section::List(&self.budgets),
            "experiments" => Section::List(&self.experiments),
            _ => return None,
        })
    }

    /// The document as JSON, empty sections left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |section: &str, list: &Vec<Value>| {
            if !list.is_empty() {
                map.insert(section.to_owned(), Value::Array(list.clone()));
            }
        };
        put("channels", &self.channels);
        put("tokens", &self.tokens);
        put("events", &self.events);
        put("contexts", &self.contexts);
        put("computedTraits", &self.computed_traits);
        put("audiences", &self.audiences);
        put("actionTypes", &self.action_types);
        put("actions", &self.actions);
        put("rules", &self.rules);
        put("goals", &self.goals);
        put("budgets", &self.budgets);
        put("experiments", &self.experiments);
        if let Some(organization) = &self.organization {
            map.insert("organization".to_owned(), organization.clone());
        }
        if let Some(structure) = &self.custom_traits {
            map.insert("customTraits".to_owned(), structure.clone());
        }
        Value::Object(map)
    }
}

/// One problem at one place.
pub(super) fn issue(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Issue {
    Issue { pointer: pointer.into(), code, message: message.into() }
}

/// `pointer` extended by one reference token, escaped as RFC 6901 wants it.
pub(super) fn at(pointer: &str, token: impl std::fmt::Display) -> String {
    let token = token.to_string();
    if token.contains(['~', '/']) {
        return format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"));
    }
    format!("{pointer}/{token}")
}

/// Puts issues in document order and drops repeats: two checks may meet at the same place, and the
/// first one to speak knows best (an event that is not found makes every path in it unknown too).
pub(super) fn tidy(mut issues: Vec<Issue>) -> Vec<Issue> {
    let mut seen: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    issues.retain(|one| {
        let codes = seen.entry(one.pointer.clone()).or_default();
        // One change may break several definitions, and each is worth a line.
        let repeat = !one.code.ends_with("in_use")
            && codes.iter().any(|code| *code == one.code || code.ends_with("_not_found") || *code == "unknown_field");
        codes.push(one.code);
        !repeat || one.pointer.is_empty()
    });
    issues.sort_by_cached_key(|one| {
        let mut tokens = one.pointer.split('/').skip(1);
        let section = tokens.next().unwrap_or("");
        let rank = SECTIONS.iter().position(|name| *name == section).unwrap_or(SECTIONS.len());
        let place: Vec<(usize, String)> = tokens.map(|token| (token.parse().unwrap_or(usize::MAX), token.to_owned())).collect();
        (rank, place)
    });
    issues
}

/// A JSON object being read field by field. Null counts as absent throughout.
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    pointer: String,
}

impl<'a> Fields<'a> {
    pub(super) fn open(value: &'a Value, pointer: impl Into<String>, issues: &mut Vec<Issue>) -> Option<Self> {
        let pointer = pointer.into();
        match value {
            Value::Object(map) => Some(Self { map, pointer }),
            other => {
                let message = format!("must be an object, not {}", noun(other));
                issues.push(issue(pointer, "definition_invalid", message));
                None
            }
        }
    }

    /// Reports every field that is not in `allowed`.
    pub(super) fn only(&self, allowed: &[&str], issues: &mut Vec<Issue>) {
        for key in self.map.keys().filter(|key| !allowed.contains(&key.as_str())) {
            issues.push(unknown(&self.pointer, key, allowed));
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn pointer(&self) -> &str {
        &self.pointer
    }

    pub(super) fn at(&self, key: &str) -> String {
        at(&self.pointer, key)
    }

    pub(super) fn text(&self, key: &str, issues: &mut Vec<Issue>) -> Option<&'a str> {
        let value = self.get(key)?;
        if value.as_str().is_none() {
            self.mistyped(key, "text", value, issues);
        }
        value.as_str()
    }

    /// A text that must be there, of 1 to `max` characters without control characters.
    pub(super) fn name(&self, key: &str, max: usize, issues: &mut Vec<Issue>) -> Option<&'a str> {
        if self.get(key).is_none() {
            issues.push(issue(self.at(key), "definition_invalid", format!("{key} is required")));
            return None;
        }
        let text = self.text(key, issues)?;
        let len = text.chars().count();
        if len == 0 || len > max || text.chars().any(char::is_control) {
            let message = format!("{key} must have 1 to {max} characters and no control characters, it has {len}");
            issues.push(issue(self.at(key), "definition_invalid", message));
            return None;
        }
        Some(text)
    }

    pub(super) fn flag(&self, key: &str, issues: &mut Vec<Issue>) -> Option<bool> {
        let value = self.get(key)?;
        if value.as_bool().is_none() {
            self.mistyped(key, "true or false", value, issues);
        }
        value.as_bool()
    }

    /// The definition's own id, if it brings one.
    pub(super) fn id(&self, issues: &mut Vec<Issue>) -> Option<DefId> {
        let text = self.text("id", issues)?;
        let id = text.parse().ok();
        if id.is_none() {
            issues.push(issue(self.at("id"), "definition_invalid", format!("id is a UUID, not {text:?}")));
        }
        id
    }

    fn object(&self, key: &str, issues: &mut Vec<Issue>) -> Option<Value> {
        let value = self.get(key)?;
        if !value.is_object() {
            self.mistyped(key, "an object", value, issues);
            return None;
        }
        Some(value.clone())
    }

    pub(super) fn list(&self, key: &str, issues: &mut Vec<Issue>) -> Option<&'a Value> {
        let value = self.get(key)?;
        if !value.is_array() {
            self.mistyped(key, "a list", value, issues);
            return None;
        }
        Some(value)
    }

    fn mistyped(&self, key: &str, wanted: &str, value: &Value, issues: &mut Vec<Issue>) {
        let message = format!("{key} must be {wanted}, not {}", noun(value));
        issues.push(issue(self.at(key), "definition_invalid", message));
    }
}

/// `unknown_field`, with the field that was probably meant.
pub(super) fn unknown(pointer: &str, key: &str, allowed: &[&str]) -> Issue {
    let near = allowed.iter().copied().find(|name| one_slip_apart(name, key));
    let message = match near {
        Some(name) => format!("there is no field {key:?} here; did you mean {name:?}?"),
        None => format!("there is no field {key:?} here"),
    };
    issue(at(pointer, key), "unknown_field", message)
}

/// Whether the two names differ by case, or by one letter added, lost, changed or swapped.
fn one_slip_apart(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase().into_bytes(), b.to_lowercase().into_bytes());
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (&a[same..], &b[same..]);
    match (rest_a, rest_b) {
        ([], []) | ([], [_]) | ([_], []) => true,
        ([x, y, tail_a @ ..], [v, w, tail_b @ ..]) if x == w && y == v && tail_a == tail_b => true,
        ([_, tail_a @ ..], [_, tail_b @ ..]) => tail_a == tail_b || tail_a == rest_b || rest_a == tail_b,
        _ => false,
    }
}

fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
