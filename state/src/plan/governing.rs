//! Which budgets govern which actions.

use super::catalog::{Catalog, Definition};
use super::plan::ActionPlan;
use crate::action::{BudgetDef, State};
use crate::ids::{ActionSlot, BudgetSlot};
use serde_json::Value;

/// By [`ActionSlot`], removed ones included: what a person has used of a budget counts on. Empty where
/// there is no budget.
pub(super) struct Governing(Vec<Box<[BudgetSlot]>>);

impl Governing {
    pub(super) fn new(catalog: &Catalog, budgets: &[Option<BudgetDef>]) -> Self {
        if budgets.iter().all(Option::is_none) {
            return Self(Vec::new());
        }
        let of = |known: &Definition| {
            let body = known.json();
            let tags = body.get("tags").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let slot = body.get("slot").and_then(Value::as_str).filter(|slot| !slot.is_empty());
            let governs = |def: &BudgetDef| def.governs(tags.iter().filter_map(Value::as_str), slot);
            let all = (0..).zip(budgets).filter(|(_, def)| def.as_ref().is_some_and(governs));
            all.map(|(at, _)| BudgetSlot(at)).collect()
        };
        Self(catalog.actions.iter().map(of).collect())
    }

    /// The actions that a budget governs, removed ones included.
    fn all(&self, budget: BudgetSlot) -> impl Iterator<Item = ActionSlot> {
        (0..).zip(&self.0).filter(move |(_, budgets)| budgets.contains(&budget)).map(|(slot, _)| ActionSlot(slot))
    }

    /// Those of them that can come up.
    pub(super) fn in_force(&self, budget: BudgetSlot, actions: &[Option<ActionPlan>]) -> Box<[ActionSlot]> {
        let runs = |slot: &ActionSlot| {
            actions.get(slot.index()).and_then(Option::as_ref).is_some_and(|action| action.def.state != State::Inactive)
        };
        self.all(budget).filter(runs).collect()
    }

    /// The fingerprint of a budget: also another choice of actions makes another tally. One that governs
    /// all governs those to come, whose reactions nobody has yet.
    pub(super) fn print(&self, budget: BudgetSlot, def: &BudgetDef, print: u64) -> u64 {
        if def.governs_all() {
            return print;
        }
        let crc = self.all(budget).fold(0, |crc, slot| crc32c::crc32c_append(crc, &slot.0.to_le_bytes()));
        print.rotate_left(32) ^ u64::from(crc)
    }

    pub(super) fn into_table(self) -> Vec<Box<[BudgetSlot]>> {
        self.0
    }
}
