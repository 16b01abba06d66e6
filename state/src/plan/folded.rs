//! Which definitions the state of a profile is folded under, and what of it a change touches.

use super::Plan;
use super::catalog::Kind;
use crate::ids::DefId;
use std::collections::BTreeMap;

/// One definition that profiles hold state of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// Of which sort.
    pub kind: Kind,
    /// Its slot.
    pub slot: u32,
    /// Which one.
    pub id: DefId,
    /// Differs where the state has to be built anew.
    pub fingerprint: u64,
}

/// What a change of definitions means for the state of profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refold {
    /// Nothing: every state is right under both.
    None,
    /// Some definitions are gone and the others are as they were: their state is let go of.
    Less,
    /// These are new or say something else: profiles are folded anew.
    Built(Vec<(Kind, DefId)>),
}

impl Plan {
    /// Every definition that a profile's state is folded under: traits, audiences, the caps of actions,
    /// rules, goals, budgets and experiments.
    #[must_use]
    pub fn folded(&self) -> Vec<Folded> {
        let mut all = Vec::new();
        let mut add = |kind, slot, id, fingerprint| all.push(Folded { kind, slot, id, fingerprint });
        self.traits.iter().flatten().for_each(|one| add(Kind::ComputedTrait, one.slot.0, one.id, one.fingerprint));
        self.audiences.iter().flatten().for_each(|one| add(Kind::Audience, one.slot.0, one.id, one.fingerprint));
        // Of an action only its caps count what a person did.
        for one in self.actions.iter().flatten().filter(|one| !one.def.caps.is_empty()) {
            let caps = crc32c::crc32c(format!("{:?}", one.def.caps).as_bytes());
            add(Kind::Action, one.slot.0, one.id, u64::from(caps));
        }
        self.rules.iter().flatten().for_each(|one| add(Kind::Rule, one.slot.0, one.id, one.fingerprint));
        self.goals.iter().flatten().for_each(|one| add(Kind::Goal, one.slot.0, one.id, one.fingerprint));
        self.budgets.iter().flatten().for_each(|one| add(Kind::Budget, one.slot.0, one.id, one.fingerprint));
        // Of an experiment only what counts as a success: who is in which arm stands in the log.
        for one in self.experiments.iter().flatten() {
            let counts = crc32c::crc32c(format!("{:?} {:?}", one.def.goal, one.def.window_ms).as_bytes());
            add(Kind::Experiment, one.slot.0, one.id, u64::from(counts));
        }
        all
    }

    /// Stands for all of [`Plan::folded`]. A profile folded under another generation is folded anew.
    pub(super) fn fold_generation(&self) -> u32 {
        self.folded().iter().fold(0, |crc, one| {
            let crc = crc32c::crc32c_append(crc, one.kind.section().as_bytes());
            let crc = crc32c::crc32c_append(crc, &one.slot.to_le_bytes());
            crc32c::crc32c_append(crc, &one.fingerprint.to_le_bytes())
        })
    }

    /// What leads from the state of profiles under `old` to their state under this plan.
    #[must_use]
    pub fn refold_from(&self, old: &Self) -> Refold {
        if self.generation == old.generation {
            return Refold::None;
        }
        let before: BTreeMap<(Kind, u32), u64> =
            old.folded().into_iter().map(|one| ((one.kind, one.slot), one.fingerprint)).collect();
        let differs = |one: &Folded| before.get(&(one.kind, one.slot)) != Some(&one.fingerprint);
        let built: Vec<(Kind, DefId)> = self.folded().into_iter().filter(differs).map(|one| (one.kind, one.id)).collect();
        if built.is_empty() { Refold::Less } else { Refold::Built(built) }
    }
}
