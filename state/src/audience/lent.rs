//! Conditions of a draft that audiences in force hold the state of already: nobody's log has to be read.

use super::count::CountDef;
use super::definition::AudienceDef;
use super::funnel::ChainDef;
use super::member::AudienceState;
use crate::ids::AudienceSlot;
use crate::profile::Profile;

/// For each condition and each chain of a draft, an identical one that is in force.
#[derive(Clone, Debug, Default)]
pub struct Lent {
    counts: Vec<(AudienceSlot, usize)>,
    chains: Vec<(AudienceSlot, usize)>,
}

impl Lent {
    /// Finds them; `None` where one is missing. A draft that asks for no events needs none.
    ///
    /// Conditions are the same where all that decides is, which is everything but their place in the definition.
    #[must_use]
    pub fn find<'a>(draft: &AudienceDef, live: impl Iterator<Item = (AudienceSlot, &'a AudienceDef)>) -> Option<Self> {
        let live: Vec<_> = live.collect();
        let counts = texts(&live, |def| &def.conditions, count_text);
        let chains = texts(&live, |def| &def.chains, chain_text);
        let seek = |all: &[(String, (AudienceSlot, usize))], text: &str| {
            all.iter().find(|(known, _)| known == text).map(|(_, place)| *place)
        };
        Some(Self {
            counts: draft.conditions.iter().map(|def| seek(&counts, &count_text(def))).collect::<Option<_>>()?,
            chains: draft.chains.iter().map(|def| seek(&chains, &chain_text(def))).collect::<Option<_>>()?,
        })
    }

    /// What `profile` holds of the draft's conditions. It is up to date with the plan in force.
    #[must_use]
    pub fn state(&self, draft: &AudienceDef, profile: &Profile) -> AudienceState {
        let fresh = draft.new_state();
        let cell = |slot: AudienceSlot| profile.core.audiences.get(slot.0).map(|cell| &cell.state);
        let counts = self.counts.iter().zip(fresh.counts()).map(|((slot, i), fresh)| {
            let held = cell(*slot).and_then(|state| state.counts().get(*i));
            held.unwrap_or(fresh).clone()
        });
        let chains = self.chains.iter().zip(fresh.chains()).map(|((slot, i), fresh)| {
            let held = cell(*slot).and_then(|state| state.chains().get(*i));
            held.unwrap_or(fresh).clone()
        });
        AudienceState::of(counts.collect(), chains.collect())
    }
}

/// Where each condition of every audience is, by its text.
fn texts<T>(
    live: &[(AudienceSlot, &AudienceDef)],
    parts: impl Fn(&AudienceDef) -> &[T],
    text: impl Fn(&T) -> String,
) -> Vec<(String, (AudienceSlot, usize))> {
    let mut all = Vec::new();
    for (slot, def) in live {
        all.extend(parts(def).iter().enumerate().map(|(i, part)| (text(part), (*slot, i))));
    }
    all
}

fn count_text(CountDef { matcher, lo, hi, window, number: _ }: &CountDef) -> String {
    format!("{:?}", (matcher, lo, hi, window))
}

fn chain_text(def: &ChainDef) -> String {
    format!("{def:?}")
}
