//! Structures of events, contexts and custom traits: their definition, and the validator that reads
//! JSON straight into typed, cast properties.

mod cast;
mod compile;
mod structure;
mod validate;

pub use compile::Schema;
pub use structure::{DEPTH_MAX, DataType, KEY_LEN_MAX, NODES_MAX, Node, NodeProperties, Property, Structure};
pub use validate::{Checked, ERRORS_MAX, FieldError};

use serde::{Deserialize, Serialize};

/// What happens to a key that the structure does not declare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UnknownKeys {
    /// It is an error.
    #[default]
    Strict,
    /// It is dropped and counted.
    Strip,
    /// It is kept as it came, in the extras of its object (see [`crate::paths::extras`]).
    Open,
}

#[cfg(test)]
mod tests;
