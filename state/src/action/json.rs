//! Reading a definition's JSON with every problem reported where it stands. Null counts as absent.

use crate::issue::{Issue, pointer_token};
use serde_json::Value as Json;

/// A value of the wrong type or out of range.
pub(super) const INVALID: &str = "definition_invalid";

/// One value of the document and where it stands.
pub(super) struct Node<'a> {
    pub(super) json: &'a Json,
    pub(super) pointer: String,
}

/// A problem with one field of an object.
pub(super) fn field_issue(node: &Node<'_>, key: &str, message: impl Into<String>) -> Issue {
    Issue::new(node.at(key), INVALID, message)
}

impl<'a> Node<'a> {
    pub(super) fn new(json: &'a Json, pointer: impl Into<String>) -> Self {
        Self { json, pointer: pointer.into() }
    }

    pub(super) fn at(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, pointer_token(key))
    }

    pub(super) fn issue(&self, message: impl Into<String>) -> Issue {
        Issue::new(self.pointer.clone(), INVALID, message)
    }

    /// The field, if it is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Json> {
        self.json.get(key).filter(|json| !json.is_null())
    }

    fn typed<T>(&self, key: &str, wanted: &str, read: fn(&'a Json) -> Option<T>, issues: &mut Vec<Issue>) -> Option<T> {
        let json = self.get(key)?;
        let value = read(json);
        if value.is_none() {
            issues.push(field_issue(self, key, format!("{key} must be {wanted}, not {json}")));
        }
        value
    }

    pub(super) fn text(&self, key: &str, issues: &mut Vec<Issue>) -> Option<&'a str> {
        self.typed(key, "text", Json::as_str, issues)
    }

    pub(super) fn flag(&self, key: &str, issues: &mut Vec<Issue>) -> bool {
        self.typed(key, "true or false", Json::as_bool, issues).unwrap_or(false)
    }

    /// A whole number within `range`; `3.0` is one.
    pub(super) fn int(&self, key: &str, range: std::ops::RangeInclusive<i64>, issues: &mut Vec<Issue>) -> Option<i64> {
        let json = self.get(key)?;
        let value = json.as_i64().or_else(|| json.as_f64().and_then(crate::value::whole));
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = range.into_inner();
            let message = format!("{key} must be a whole number from {low} to {high}, not {json}");
            issues.push(field_issue(self, key, message));
        }
        value
    }

    pub(super) fn object(&self, key: &str, issues: &mut Vec<Issue>) -> Option<Node<'a>> {
        let wanted = |json: &'a Json| json.is_object().then_some(json);
        self.typed(key, "an object", wanted, issues).map(|json| Node::new(json, self.at(key)))
    }

    /// The entries of a list; none if it is absent.
    pub(super) fn list(&self, key: &str, issues: &mut Vec<Issue>) -> Vec<Node<'a>> {
        let list = self.typed(key, "a list", Json::as_array, issues).map_or(&[][..], Vec::as_slice);
        let pointer = self.at(key);
        list.iter().enumerate().map(|(i, json)| Node::new(json, format!("{pointer}/{i}"))).collect()
    }

    /// The entries of a list of objects.
    pub(super) fn objects(&self, key: &str, issues: &mut Vec<Issue>) -> Vec<Node<'a>> {
        let mut nodes = self.list(key, issues);
        nodes.retain(|node| {
            let fits = node.json.is_object();
            if !fits {
                issues.push(node.issue(format!("an entry of {key} must be an object, not {}", node.json)));
            }
            fits
        });
        nodes
    }

    /// The entries of a list of texts.
    pub(super) fn texts(&self, key: &str, issues: &mut Vec<Issue>) -> Vec<&'a str> {
        let mut texts = Vec::new();
        for node in self.list(key, issues) {
            match node.json.as_str() {
                Some(text) => texts.push(text),
                None => issues.push(node.issue(format!("an entry of {key} must be text, not {}", node.json))),
            }
        }
        texts
    }

    /// A word out of a closed list.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], issues: &mut Vec<Issue>) -> Option<T> {
        let text = self.text(key, issues)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            issues.push(field_issue(self, key, format!("{key} {text:?} is none of {known}")));
        }
        found
    }

    /// A word that must be there.
    pub(super) fn required_word<T: Copy>(&self, key: &str, words: &[(&str, T)], issues: &mut Vec<Issue>) -> Option<T> {
        if self.get(key).is_none() {
            issues.push(field_issue(self, key, format!("{key} is required")));
        }
        self.word(key, words, issues)
    }
}
