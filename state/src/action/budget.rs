//! Frequency budgets: a cap over several actions, and quiet hours.

use crate::expr::Resolve;
use crate::issue::Issue;
use crate::time::Zone;
use serde_json::Value as Json;

/// A compiled budget.
#[derive(Clone, Debug)]
pub struct BudgetDef {}

impl BudgetDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    pub fn compile(_json: &Json, _resolve: &dyn Resolve, _zone: &Zone, _pointer: &str, _issues: &mut Vec<Issue>) -> Option<Self> {
        Some(Self {})
    }
}
