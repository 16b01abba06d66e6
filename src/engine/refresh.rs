//! Deriving state again from the log, to prove that it is right (T-58).
//!
//! A refresh is never needed: what it finds is a defect of this server. It says so, counts it, and puts the
//! derived state in place of the wrong one.

use super::Engine;
use crate::telemetry::metrics as m;
use lodestone_state::ids::{DefId, ProfileId};
use lodestone_state::machine::{self, Changes, Part};
use lodestone_state::plan::Kind;
use lodestone_state::store::Shared;
use std::sync::atomic::Ordering;

/// What a refresh found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// Profiles looked at.
    pub profiles: u64,
    /// Parts of profiles ([`Part`]) that were not what the log says. Anything but 0 is a defect.
    pub drift: u64,
}

/// Another refresh is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

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
        let part = match kind {
            Kind::ComputedTrait => plan.traits.iter().flatten().find(|one| one.id == id).map(|one| Part::Trait(one.slot)),
            Kind::Audience => plan.audiences.iter().flatten().find(|one| one.id == id).map(|one| Part::Audience(one.slot)),
            _ => None,
        };
        let Some(part) = part else { return Ok(None) };
        let mut found = Refreshed::default();
        for shared in self.store.all() {
            if self.stopping.load(Ordering::Relaxed) {
                break;
            }
            if let Some(drift) = self.refresh_one(&shared, Some(part)) {
                found = Refreshed { profiles: found.profiles + 1, drift: found.drift + drift };
            }
        }
        Ok(Some(found))
    }

    /// Derives everything about one profile again. `None` when there is no such profile.
    #[must_use]
    pub fn refresh_profile(&self, id: ProfileId) -> Option<Refreshed> {
        let drift = self.refresh_one(&self.store.get(id)?, None)?;
        Some(Refreshed { profiles: 1, drift })
    }

    /// How many parts were not what the log says, of `part` alone if one is named; `None` for a profile that
    /// is gone.
    fn refresh_one(&self, shared: &Shared, part: Option<Part>) -> Option<u64> {
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
        let mut parts = machine::differences(&plan, &profile, &mut derived, &self.moves_of(&profile));
        parts.retain(|found| part.is_none_or(|part| part == *found));
        let drift = parts.len() as u64;
        if drift > 0 {
            tracing::error!(profile = %profile.core.id, ?parts, "state is not the fold of its log; repaired");
            m::drifted(drift);
            *profile = derived;
            self.settle_rules(&plan, shared, &mut profile, &mut changes);
            self.mark_dirty(shared, &mut profile);
            self.after(&plan, shared, &mut profile, &changes);
        }
        Some(drift)
    }
}

#[cfg(test)]
mod tests;
