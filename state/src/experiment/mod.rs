//! Experiments: variants and a holdout, assigned by a salted hash.

use crate::expr::Resolve;
use crate::issue::Issue;
use crate::time::Zone;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A compiled experiment.
#[derive(Clone, Debug)]
pub struct ExperimentDef {}

/// What a profile holds of one experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialState {}

impl ExperimentDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    pub fn compile(_json: &Json, _resolve: &dyn Resolve, _zone: &Zone, _pointer: &str, _issues: &mut Vec<Issue>) -> Option<Self> {
        Some(Self {})
    }
}
