//! What is wrong with a definition, and where.

use serde::Serialize;
use serde_json::Value as Json;
use std::fmt;

/// A structure (events, contexts, custom traits) that cannot be used.
pub const DEFINITION_INVALID: &str = "definition_invalid";
/// A condition whose operator, type, literal or shape is not allowed.
pub const INVALID_CONDITION: &str = "invalid_condition";

/// One problem of a definition. Checks collect all of them before they answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// JSON pointer (RFC 6901) to the offending part of the document.
    pub pointer: String,
    /// Stable code; the message may change, this does not.
    pub code: &'static str,
    /// A lowercase fragment that names the value and the limit.
    pub message: String,
}

impl Issue {
    /// A problem at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, message: message.into() }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.pointer, self.message, self.code)
    }
}

/// One reference token of a JSON pointer, escaped.
#[must_use]
pub fn pointer_token(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

/// The pointer of a path with dots and `[i]` for elements of lists, as a check of `json` against a
/// structure tells it. A key may
/// look like a path itself: the longest that is there is meant.
#[must_use]
pub fn pointer_into(json: Option<&Json>, path: &str) -> String {
    let (mut here, mut rest, mut pointer) = (json, path, String::new());
    while !rest.is_empty() {
        let element = rest.strip_prefix('[').and_then(|inner| inner.split_once(']'));
        let (token, behind) = match (here, element) {
            (Some(Json::Array(_)), Some(element)) => element,
            _ => {
                let marks = rest.match_indices(['.', '[']).map(|(at, _)| at).filter(|at| *at > 0);
                let there = |end: &usize| here.is_some_and(|json| json.get(&rest[..*end]).is_some());
                let known = std::iter::once(rest.len()).chain(marks.rev()).find(there);
                rest.split_at(known.or_else(|| rest.find('.')).unwrap_or(rest.len()))
            }
        };
        pointer.push('/');
        pointer.push_str(&pointer_token(token));
        here = here.and_then(|json| json.get(token).or_else(|| json.get(token.parse::<usize>().ok()?)));
        rest = behind.strip_prefix('.').unwrap_or(behind);
    }
    pointer
}
