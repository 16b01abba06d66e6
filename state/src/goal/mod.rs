//! Goals: conversions, and the actions that they are credited to.

use crate::expr::Resolve;
use crate::issue::Issue;
use crate::time::Zone;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A compiled goal.
#[derive(Clone, Debug)]
pub struct GoalDef {}

/// What a profile holds of one goal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoalState {}

impl GoalDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    pub fn compile(_json: &Json, _resolve: &dyn Resolve, _zone: &Zone, _pointer: &str, _issues: &mut Vec<Issue>) -> Option<Self> {
        Some(Self {})
    }
}
