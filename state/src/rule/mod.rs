//! Rules: when a metric of a profile meets a threshold, something follows.

use crate::expr::Resolve;
use crate::issue::Issue;
use crate::time::Zone;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A compiled rule.
#[derive(Clone, Debug)]
pub struct RuleDef {}

/// What a profile holds of one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleState {}

impl RuleDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    pub fn compile(_json: &Json, _resolve: &dyn Resolve, _zone: &Zone, _pointer: &str, _issues: &mut Vec<Issue>) -> Option<Self> {
        Some(Self {})
    }
}
