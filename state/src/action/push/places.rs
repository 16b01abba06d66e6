//! Places in frequency budgets that the deliveries of one evaluation take.
//!
//! Targeting has asked whether there is a place at all; of those who all heard yes, the best get them.

use crate::action::budget::Held;
use crate::action::targeting::View;
use crate::action::{ActionDef, State};
use crate::event::Reaction;
use crate::ids::{BudgetSlot, Millis};
use smallvec::SmallVec;

/// What was taken so far.
#[derive(Debug, Default)]
pub(super) struct Places(SmallVec<[BudgetSlot; 4]>);

impl Places {
    /// Takes a place in every budget that counts a delivery of this action here, or in none.
    ///
    /// # Errors
    /// When all of them have a place again; [`Millis::MAX`] if that does not come by itself.
    pub(super) fn take(&mut self, def: &ActionDef, view: &View<'_>) -> Result<(), Millis> {
        // What happens in staging counts nowhere.
        if def.state == State::Staging {
            return Ok(());
        }
        let mut wanted: SmallVec<[BudgetSlot; 4]> = SmallVec::new();
        let mut opens = None;
        view.person.budgets(view.action, &mut |budget| {
            let Some(limit) = budget.def.limit_on(Reaction::Delivered, view.channel) else { return };
            let taken = self.0.iter().filter(|slot| **slot == budget.slot).map(|_| view.now);
            let held: Held = budget.pushed(limit, view).into_iter().chain(taken).collect();
            let open = budget.open(limit, &held, view.now);
            if open.holds {
                wanted.push(budget.slot);
            } else {
                opens = opens.max(Some(open.until));
            }
        });
        match opens {
            Some(opens) => Err(opens),
            None => {
                self.0.extend(wanted);
                Ok(())
            }
        }
    }
}
