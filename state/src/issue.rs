//! What is wrong with a definition, and where.

use serde::Serialize;
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
