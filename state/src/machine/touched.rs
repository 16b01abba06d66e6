//! Which actions have to be decided again because of what changed.

use super::Changes;
use crate::ids::{ActionSlot, BudgetSlot};
use crate::plan::Plan;
use smallvec::SmallVec;

/// The actions whose decision a change can touch, each once; `None` for all of them. What only the passing of
/// time touches is told by [`crate::action::Decision::until`].
#[must_use]
pub fn touched(plan: &Plan, changes: &Changes) -> Option<SmallVec<[ActionSlot; 8]>> {
    if changes.identity || changes.refolded {
        return None;
    }
    let mut actions: SmallVec<[ActionSlot; 8]> = SmallVec::new();
    if let Some(event) = changes.event.and_then(|slot| plan.event_plan(slot)) {
        actions.extend(event.actions.iter().copied());
    }
    for slot in &changes.traits {
        actions.extend(plan.trait_plan(*slot).into_iter().flat_map(|t| t.actions.iter().copied()));
    }
    for path in &changes.custom {
        actions.extend(plan.custom_touch(*path).actions.iter().copied());
    }
    for change in &changes.members {
        actions.extend(plan.audience_plan(change.audience).into_iter().flat_map(|a| a.actions.iter().copied()));
    }
    actions.extend(changes.reacted);
    actions.extend(governed(plan, &changes.budgets));
    actions.sort_unstable();
    actions.dedup();
    Some(actions)
}

/// The actions that budgets govern.
pub fn governed<'a>(plan: &'a Plan, budgets: &'a [BudgetSlot]) -> impl Iterator<Item = ActionSlot> + 'a {
    budgets.iter().filter_map(|slot| plan.budget_plan(*slot)).flat_map(|budget| budget.actions.iter().copied())
}
