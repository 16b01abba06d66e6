//! Every decision taken again over the log: counted, hashed, and held against what was logged.

use super::Engine;
use super::explain::Unanswered;
use super::scan::{Cancel, Scan};
use crate::hooks::sign;
use lodestone_state::action::reaction_word;
use lodestone_state::event::{EntryKind, Reacted};
use lodestone_state::ids::{ActionSlot, Millis, Moment, ProfileId, Seq};
use lodestone_state::machine;
use lodestone_state::plan::Plan;
use lodestone_state::replay::{Decisions, Doubt, Doubts, Found, Misfit, PastTotals, Setting, decides_since};
use lodestone_state::time::format_instant;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Findings that are kept of one replay, over all profiles.
const KEPT_MAX: usize = 10_000;

/// A part of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// From here on.
    pub from: Millis,
    /// Before this.
    pub to: Millis,
}

/// What a replay found out about the profiles that one profile is made of.
struct Replayed {
    decisions: Vec<(ProfileId, u64, [u8; 32])>,
    found: Found,
}

/// What has to be known of all profiles before one of them can be decided for.
#[derive(Default)]
pub(super) struct SharedPast {
    /// To actions with total caps.
    pub(super) reactions: Vec<(Moment, Reacted)>,
    /// Who came back from a merge, and when.
    returned: HashMap<ProfileId, Seq>,
}

impl Engine {
    /// Decides every action anew wherever its decision can have changed in `period`, for everybody, under the
    /// definitions in force. At most `limit` rows of each sort are told; all are counted. Reads only.
    ///
    /// # Errors
    /// [`Unanswered::Busy`].
    pub fn replay_decisions(&self, period: Period, limit: usize, cancel: &Cancel) -> Result<Json, Unanswered> {
        let plan = self.plan.load_full();
        let scan = self.begin_scan(cancel)?;
        // What comes in while this runs is no part of it.
        let to = period.to.min(self.clock.now().plus(1));
        let (shared, first) = self.shared_past(&scan, &plan, to);
        let past = PastTotals::new(&plan, shared.reactions);
        let changed: HashMap<ActionSlot, Millis> =
            plan.actions.iter().flatten().map(|action| (action.slot, decides_since(&plan, action))).collect();
        let setting = Setting { from: period.from, to, past: &past, changed: &changed };
        let forgotten = self.kept_from(self.clock.now());
        let kept = AtomicUsize::new(0);
        let (found, second) = scan.each(|shared_profile| {
            let (profile, log) = self.taken_owned(shared_profile)?;
            let core = &profile.core;
            let aged = forgotten.is_some_and(|before| core.created_at.min(core.born) < before);
            let doubts = Doubts::of(&log, shared.returned.get(&core.id).copied(), aged);
            let watch = |id| Decisions::new(id, &setting, &doubts);
            let mut replayed = Replayed { decisions: Vec::new(), found: Found::default() };
            for (id, decisions) in machine::arrivals(&plan, log, (core.id, core.born), to, watch) {
                let (noted, hash) = decisions.hash();
                if noted > 0 {
                    replayed.decisions.push((id, noted, hash));
                }
                replayed.found.add(decisions.found());
            }
            if kept.fetch_add(replayed.found.kept.len(), Ordering::Relaxed) >= KEPT_MAX {
                replayed.found.kept.clear();
            }
            Some(replayed)
        });
        let told = Told { plan: &plan, period: Period { to, ..period }, limit, complete: first && second };
        Ok(told.json(found.into_iter().map(|(_, replayed)| replayed)))
    }

    /// Reads every log, up to the arrival `to`, for what decisions about one person need to know of others.
    pub(super) fn shared_past(&self, scan: &Scan<'_>, plan: &Plan, to: Millis) -> (SharedPast, bool) {
        let totalled = |slot: ActionSlot| plan.action_plan(slot).is_some_and(|action| action.def.has_total_caps());
        let (found, complete) = scan.each(|shared| {
            let (_, log) = self.taken_owned(shared)?;
            let mut known = SharedPast::default();
            for (_, entry) in log.into_iter().filter(|(_, entry)| entry.at < to) {
                match entry.kind {
                    EntryKind::Reacted(reacted) if totalled(reacted.action) => known.reactions.push((entry.moment, reacted)),
                    EntryKind::Split(split) => drop(known.returned.insert(split.profile, entry.moment.seq)),
                    _ => {}
                }
            }
            Some(known)
        });
        let mut all = SharedPast::default();
        for (_, known) in found {
            all.reactions.extend(known.reactions);
            all.returned.extend(known.returned);
        }
        (all, complete)
    }
}

/// How a replay is told.
struct Told<'a> {
    plan: &'a Plan,
    period: Period,
    limit: usize,
    complete: bool,
}

impl Told<'_> {
    fn json(&self, found: impl Iterator<Item = Replayed>) -> Json {
        let (mut decisions, mut all) = (Vec::new(), Found::default());
        for replayed in found {
            decisions.extend(replayed.decisions);
            all.add(replayed.found);
        }
        // A profile of a person who is merged now is found with that person: by id, so that it does not matter.
        decisions.sort_unstable_by_key(|(id, ..)| *id);
        let mut hash = Sha256::new();
        for (id, _, own) in &decisions {
            hash.update(id.0.to_be_bytes());
            hash.update(own);
        }
        let hash: [u8; 32] = hash.finalize().into();
        all.kept.sort_by_key(|misfit| (misfit.at, misfit.profile));
        let (unknown, mismatches): (Vec<Misfit>, Vec<Misfit>) = all.kept.into_iter().partition(|misfit| misfit.unknown.is_some());
        let unknowns: u64 = all.unknown.values().sum();
        let by: BTreeMap<Doubt, u64> = all.unknown;
        let profiles = decisions.len();
        let rows = decisions.iter().take(self.limit);
        let rows: Vec<Json> =
            rows.map(|(id, n, hash)| json!({"profileId": id.to_string(), "decisions": n, "hash": hex(hash)})).collect();
        json!({
            "from": format_instant(self.period.from),
            "to": format_instant(self.period.to),
            "catalogVersion": self.plan.version,
            "complete": self.complete,
            "decisions": decisions.iter().map(|(_, noted, _)| noted).sum::<u64>(),
            // Of a part there is nothing to compare with.
            "hash": self.complete.then(|| hex(&hash)),
            "reactions": {
                "compared": all.compared,
                "consistent": all.compared - all.mismatches - unknowns,
                "mismatches": all.mismatches,
                "unknown": unknowns,
                "unknownBecause": by,
            },
            "mismatches": self.misfits(&mismatches),
            "unknown": self.misfits(&unknown),
            "data": rows,
            "nextCursor": null,
            "total": profiles,
        })
    }

    fn misfits(&self, all: &[Misfit]) -> Vec<Json> {
        let told = |misfit: &Misfit| {
            let action = self.plan.action_plan(misfit.action);
            let mut row = json!(misfit);
            row["profileId"] = misfit.profile.to_string().into();
            row["actionId"] = action.map(|action| action.id.to_string()).into();
            row["action"] = action.map(|action| action.name.as_str()).into();
            row["reaction"] = reaction_word(misfit.reaction).into();
            row["at"] = format_instant(misfit.at).as_str().into();
            row
        };
        all.iter().take(self.limit).map(told).collect()
    }
}

fn hex(hash: &[u8; 32]) -> String {
    format!("sha256:{}", sign::hex(hash))
}
