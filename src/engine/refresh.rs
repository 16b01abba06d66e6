//! Deriving state again from the log, to prove that it is right (T-58).
//!
//! A refresh is never needed: what it finds is a defect of this server. It says so, counts it, and puts the
//! derived state in place of the wrong one.

use super::Engine;
use crate::telemetry::metrics as m;
use lodestone_state::ids::{AudienceSlot, DefId, ProfileId, TraitSlot};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Kind, Plan};
use lodestone_state::profile::Profile;
use lodestone_state::store::Shared;
use std::sync::atomic::Ordering;

/// What a refresh found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Profiles looked at.
    pub profiles: u64,
    /// Values and memberships that were not what the log says. Anything but 0 is a defect.
    pub drift: u64,
}

/// Another refresh is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// What is compared.
#[derive(Clone, Copy)]
enum Scope {
    Trait(TraitSlot),
    Audience(AudienceSlot),
    All,
}

impl Engine {
    /// Derives one computed trait or audience again for every profile, one lock at a time while events keep
    /// flowing. Takes as long as reading the whole history. `None` for what is not in force, and for other
    /// kinds.
    ///
    /// # Errors
    /// [`Busy`] while another refresh of a definition is under way.
    pub fn refresh(&self, kind: Kind, id: DefId) -> Result<Option<Refreshed>, Busy> {
        let Some(_one_at_a_time) = self.refresh_gate.try_lock() else { return Err(Busy) };
        let plan = self.plan.load_full();
        let scope = match kind {
            Kind::ComputedTrait => plan.traits.iter().flatten().find(|one| one.id == id).map(|one| Scope::Trait(one.slot)),
            Kind::Audience => plan.audiences.iter().flatten().find(|one| one.id == id).map(|one| Scope::Audience(one.slot)),
            _ => None,
        };
        let Some(scope) = scope else { return Ok(None) };
        let mut found = Refreshed::default();
        for shared in self.store.all() {
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
            if let Some(drift) = self.refresh_one(&shared, scope) {
                found = Refreshed { profiles: found.profiles + 1, drift: found.drift + drift };
            }
        }
        Ok(Some(found))
    }

    /// Derives everything about one profile again. `None` when there is no such profile.
    #[must_use]
    pub fn refresh_profile(&self, id: ProfileId) -> Option<Refreshed> {
        let drift = self.refresh_one(&self.store.get(id)?, Scope::All)?;
        Some(Refreshed { profiles: 1, drift })
    }

    /// How much of `scope` was not what the log says; `None` for a profile that is gone.
    fn refresh_one(&self, shared: &Shared, scope: Scope) -> Option<u64> {
        let mut profile = shared.lock();
        if profile.gone.is_some() {
            return None;
        }
        let plan = self.plan.load();
        self.bring_along(&plan, shared, &mut profile);
        let mut changes = Changes::default();
        self.catch_up(&plan, shared, &mut profile, self.clock.now(), &mut changes);
        self.after(&plan, shared, &mut profile, &changes);
        let mut derived = profile.clone();
        let mut changes = Changes::default();
        machine::rebuild(&plan, &mut derived, true, &mut self.history(), &mut changes);
        let drift = drift(&plan, &profile, &derived, scope);
        if drift > 0 {
            tracing::error!(profile = %profile.core.id, drift, "state is not the fold of its log; repaired");
            m::drifted(drift);
            *profile = derived;
            self.mark_dirty(shared, &mut profile);
            self.after(&plan, shared, &mut profile, &changes);
        }
        Some(drift)
    }
}

/// Values and memberships in which the two differ.
fn drift(plan: &Plan, profile: &Profile, derived: &Profile, scope: Scope) -> u64 {
    let value =
        |slot: TraitSlot| u64::from(machine::trait_value(plan, profile, slot) != machine::trait_value(plan, derived, slot));
    let member = |slot: AudienceSlot| u64::from(profile.member_since(slot).is_some() != derived.member_since(slot).is_some());
    match scope {
        Scope::Trait(slot) => value(slot),
        Scope::Audience(slot) => member(slot),
        Scope::All => {
            let traits: u64 = plan.traits.iter().flatten().map(|one| value(one.slot)).sum();
            traits + plan.audience_slots().map(member).sum::<u64>()
        }
    }
}

#[cfg(test)]
mod tests;
