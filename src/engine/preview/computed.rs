//! What a computed trait that nobody has saved would be for some people, and by which events.

use super::user_ids;
use crate::engine::Engine;
use crate::engine::draft::Drafted;
use crate::engine::explain::Unanswered;
use crate::engine::scan::{Cancel, Taken};
use lodestone_state::explain::{Case, Evidence, Needs, explain_trait, narrow};
use lodestone_state::ids::{Millis, ProfileId, TraitSlot};
use lodestone_state::issue::Issue;
use lodestone_state::machine;
use lodestone_state::plan::{Kind, Plan};
use lodestone_state::store::Shared;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// People who are told of at the most.
pub const PEOPLE_MAX: usize = 50;

/// For whom.
#[derive(Clone, Debug)]
pub enum People {
    /// These, by profile id.
    Named(Vec<String>),
    /// The first so many, by profile id, who have an event that counts.
    First(usize),
}

impl Engine {
    /// The value of the computed trait that `definition` describes for some people, each with the newest events
    /// that make it and that do not. One that names a saved trait by `id` or `key` is told beside its value.
    /// Reads each person's log; stops after about `time`.
    ///
    /// # Errors
    /// [`Unanswered`]; `profile_not_found` for every profile that does not exist, by its place in `profileIds`.
    pub fn preview_trait(&self, definition: Json, people: &People, time: Duration, cancel: &Cancel) -> Result<Json, Unanswered> {
        let began = Instant::now();
        let draft = self.draft(Kind::ComputedTrait, definition, None).map_err(|error| error.below("/definition"))?;
        let question = Question::new(draft, self.clock.now());
        let (all, enough) = match people {
            People::Named(ids) => (self.named(ids)?, usize::MAX),
            People::First(n) => {
                let mut ids = self.store.ids();
                ids.sort_unstable();
                (ids.into_iter().filter_map(|id| self.store.get(id)).collect(), *n)
            }
        };
        let scan = self.begin_scan(cancel)?.within(time);
        let (mut rows, mut looked, mut complete) = (Vec::new(), 0_u64, true);
        for shared in &all {
            if rows.len() >= enough {
                break;
            }
            if scan.over() {
                complete = false;
                break;
            }
            looked += 1;
            rows.extend(self.taken(shared).and_then(|taken| question.row(taken, enough < usize::MAX)));
        }
        self.unchanged(&question.base)?;
        Ok(json!({
            "executionTimeMs": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "complete": complete,
            "looked": looked,
            "total": rows.len(),
            "nextCursor": null,
            "data": rows,
        }))
    }

    fn named(&self, ids: &[String]) -> Result<Vec<Shared>, Unanswered> {
        let find = |id: &String| self.store.get(id.parse::<ProfileId>().ok()?);
        let found: Vec<Option<Shared>> = ids.iter().map(find).collect();
        let missing = found.iter().zip(ids).enumerate().filter(|(_, (found, _))| found.is_none());
        let issues: Vec<Issue> = missing
            .map(|(i, (_, id))| {
                Issue::new(format!("/profileIds/{i}"), "profile_not_found", format!("there is no profile {id:?}"))
            })
            .collect();
        if issues.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(Unanswered::Invalid(issues)) }
    }
}

/// What everybody is asked.
struct Question {
    base: Arc<Plan>,
    /// With the draft, and only what it depends on.
    plan: Plan,
    slot: TraitSlot,
    needs: Needs,
    /// Whether it would replace the saved trait in its slot.
    replaces: bool,
    now: Millis,
}

impl Question {
    fn new(draft: Drafted, now: Millis) -> Self {
        let Drafted { base, mut plan, slot, replaces, .. } = draft;
        let slot = TraitSlot(u32::try_from(slot).unwrap_or(u32::MAX));
        let needs = Needs::of_trait(&plan, slot);
        narrow(&mut plan, &needs);
        Self { base, plan, slot, needs, replaces, now }
    }

    /// One person; nothing for one without any event that counts, where only those with one are asked for.
    fn row(&self, mut taken: Taken, only_with_events: bool) -> Option<Json> {
        let now = self.now.max(taken.profile.core.clock);
        let evidence = Evidence::gather_for(&self.plan, taken.profile.core.id, &taken.entries, now, &self.needs);
        if only_with_events && evidence.traits.get(&self.slot).is_none_or(|tally| tally.count == 0) {
            return None;
        }
        let drafted = taken.under(&self.plan, now);
        let mut told = explain_trait(&Case::new(&self.plan, &drafted, &taken.entries, now, &evidence), self.slot)?;
        if let Json::Object(map) = &mut told {
            // What is the same for all of them stands in the definition that was sent.
            map.retain(|field, _| {
                !matches!(field.as_str(), "kind" | "id" | "key" | "name" | "definition" | "event" | "where" | "windowMs")
            });
            map.insert("profileId".into(), drafted.core.id.to_string().into());
            map.insert("userIds".into(), user_ids(&drafted).into());
            if self.replaces {
                taken.bring_to(&self.base, now);
                let saved = machine::trait_value(&self.base, &taken.profile, self.slot);
                map.insert("saved".into(), saved.map_or(Json::Null, |value| value.to_json()));
            }
        }
        Some(told)
    }
}
