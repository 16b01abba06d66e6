//! A profile as targeting reads it: one answer for pushes, polls, reactions and explanations alike.

use super::{ProfileFacts, arm};
use crate::action::{CapState, Person, Spending};
use crate::expr::{Facts, Source};
use crate::ids::{ActionSlot, AudienceSlot, BudgetSlot, ExperimentSlot, ProfileId};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::value::Value;
use std::borrow::Cow;

/// A profile under a plan, as one whom an action may be for.
pub struct ProfilePerson<'a>(pub ProfileFacts<'a>);

impl Facts for ProfilePerson<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        self.0.get(source)
    }
}

impl Person for ProfilePerson<'_> {
    fn owns(&self, user_id: &str) -> bool {
        self.0.profile.core.identities.iter().any(|i| i.user_id == user_id)
    }

    fn member(&self, audience: AudienceSlot) -> bool {
        self.0.profile.member_since(audience).is_some()
    }

    fn caps(&self, action: ActionSlot) -> Option<&CapState> {
        self.0.profile.core.caps.get(action.0)
    }

    fn profile(&self) -> ProfileId {
        self.0.profile.core.id
    }

    fn budgets(&self, action: ActionSlot, f: &mut dyn FnMut(Spending<'_>)) {
        spendings(self.0.plan, self.0.profile, action).for_each(f);
    }

    fn arm(&self, experiment: ExperimentSlot) -> Option<u16> {
        arm(self.0.plan, self.0.profile, experiment)
    }
}

/// The budgets that govern an action, with what the person has spent of them.
pub fn spendings<'a>(plan: &'a Plan, profile: &'a Profile, action: ActionSlot) -> impl Iterator<Item = Spending<'a>> {
    spendings_of(plan, action, |budget| profile.core.budgets.get(budget.0))
}

/// As [`spendings`], where `spent` says what the person has spent of a budget.
pub fn spendings_of<'a>(
    plan: &'a Plan,
    action: ActionSlot,
    spent: impl Fn(BudgetSlot) -> Option<&'a CapState>,
) -> impl Iterator<Item = Spending<'a>> {
    let all = plan.budgets_of(action).iter().filter_map(|slot| plan.budget_plan(*slot));
    all.map(move |budget| Spending { slot: budget.slot, name: &budget.name, def: &budget.def, spent: spent(budget.slot) })
}
