//! Which traits and audiences a definition depends on, and a plan with nothing else in it.

use crate::audience::AudienceDef;
use crate::expr::{Expr, Source};
use crate::ids::{ActionSlot, AudienceSlot, TraitSlot};
use crate::plan::Plan;
use std::collections::BTreeSet;

/// Everything that has to be folded for an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Traits.
    pub traits: BTreeSet<TraitSlot>,
    /// Audiences.
    pub audiences: BTreeSet<AudienceSlot>,
    /// Actions, for what was reacted to them.
    pub actions: BTreeSet<ActionSlot>,
}

impl Needs {
    /// What an audience depends on, itself included.
    #[must_use]
    pub fn of_audience(plan: &Plan, slot: AudienceSlot) -> Self {
        let mut needs = Self::default();
        needs.add_audience(plan, slot);
        needs
    }

    /// What a trait depends on, itself included.
    #[must_use]
    pub fn of_trait(plan: &Plan, slot: TraitSlot) -> Self {
        let mut needs = Self::default();
        needs.add_trait(plan, slot);
        needs
    }

    /// What the targeting of an action depends on.
    #[must_use]
    pub fn of_action(plan: &Plan, slot: ActionSlot) -> Self {
        let mut needs = Self::default();
        needs.add_action(plan, slot);
        needs
    }

    /// Adds what an action depends on.
    pub fn add_action(&mut self, plan: &Plan, slot: ActionSlot) {
        let Some(action) = plan.action_plan(slot) else { return };
        self.actions.insert(slot);
        action.def.sources(&mut |source| self.add_source(plan, source));
        action.def.audiences.iter().flatten().for_each(|audience| self.add_audience(plan, *audience));
    }

    /// Adds what an audience depends on.
    pub fn add_audience(&mut self, plan: &Plan, slot: AudienceSlot) {
        if let (Some(audience), true) = (plan.audience_plan(slot), self.audiences.insert(slot)) {
            self.add_def(plan, &audience.def);
        }
    }

    fn add_def(&mut self, plan: &Plan, def: &AudienceDef) {
        self.add_expr(plan, &def.traits);
        def.matchers().for_each(|matcher| self.add_expr(plan, &matcher.condition));
    }

    /// Adds what a trait depends on.
    pub fn add_trait(&mut self, plan: &Plan, slot: TraitSlot) {
        if let (Some(trait_plan), true) = (plan.trait_plan(slot), self.traits.insert(slot)) {
            self.add_expr(plan, &trait_plan.def.condition);
        }
    }

    /// Adds what a condition reads.
    pub(super) fn add_expr(&mut self, plan: &Plan, expr: &Expr) {
        expr.sources(&mut |source| self.add_source(plan, source));
    }

    fn add_source(&mut self, plan: &Plan, source: &Source) {
        match source {
            Source::Computed(slot) => self.add_trait(plan, *slot),
            Source::Member(slot) => self.add_audience(plan, *slot),
            Source::Event(_) | Source::Context(_) | Source::Custom(_) | Source::Captured { .. } => {}
        }
    }
}

/// Takes everything out of a plan that is not needed, so that a fold under it costs only what is asked.
/// Events, structures, channels and budgets stay. What rules did is in the log, so rules are not needed.
pub fn narrow(plan: &mut Plan, needs: &Needs) {
    plan.traits.iter_mut().for_each(|place| drop(place.take_if(|one| !needs.traits.contains(&one.slot))));
    plan.audiences.iter_mut().for_each(|place| drop(place.take_if(|one| !needs.audiences.contains(&one.slot))));
    plan.rules.iter_mut().for_each(|place| *place = None);
    plan.goals.iter_mut().for_each(|place| *place = None);
    plan.experiments.iter_mut().for_each(|place| *place = None);
    plan.actions.iter_mut().for_each(|place| drop(place.take_if(|one| !needs.actions.contains(&one.slot))));
}
