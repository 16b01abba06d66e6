//! Who would belong to an audience that nobody has saved.

use super::share::Share;
use super::user_ids;
use crate::engine::Engine;
use crate::engine::draft::Drafted;
use crate::engine::explain::Unanswered;
use crate::engine::read::computed_json;
use crate::engine::scan::{Cancel, Taken};
use lodestone_state::audience::{AudienceDef, Lent};
use lodestone_state::explain::{Case, Evidence, Needs, audience_clauses, narrow};
use lodestone_state::ids::{AudienceSlot, DefId, Millis, ProfileId};
use lodestone_state::machine::ProfileFacts;
use lodestone_state::plan::{Kind, Plan};
use lodestone_state::profile::Profile;
use lodestone_state::store::Shared;
use lodestone_state::time::format_instant;
use serde_json::{Value as Json, json};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Members that are told one by one.
const SAMPLE_MAX: usize = 50;
/// Saved audiences that are told for their overlap, those with the most first.
const OVERLAP_MAX: usize = 20;

impl Engine {
    /// Who would be in the audience that `definition` describes, right now. It is a definition as it is sent to
    /// be saved; one that names a saved audience by `id` or `key` is held against it.
    ///
    /// Looks at all profiles in an order of chance for at most about `time`; what it has seen by then is a fair
    /// sample, and the counts are estimates then. Where the conditions are live already, under the profile's
    /// lock and without its history; otherwise each log is folded.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn preview_audience(&self, definition: Json, time: Duration, cancel: &Cancel) -> Result<Json, Unanswered> {
        let began = Instant::now();
        let question = Question::new(self.draft(Kind::Audience, definition, None)?, self.clock.now());
        // A part of the time is for telling of the sample.
        let scan = self.begin_scan(cancel)?.within(time.mul_f64(0.8));
        let all = scan.shuffled();
        let (parts, exact) = scan.walk(&all, |tally, shared| self.look(&question, tally, shared));
        let tally = parts.into_iter().fold(Tally::default(), Tally::join);
        let share = Share { looked: tally.looked, of: all.len() as u64 - tally.gone, exact };
        let sample = self.sample(&question, &tally, began + time);
        self.unchanged(&question.base)?;
        Ok(json!({
            "executionTimeMs": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "count": share.whole(tally.members),
            "exact": exact,
            "margin": share.margin(tally.members),
            "profiles": share.of,
            "looked": share.looked,
            "sample": sample,
            "overlap": question.overlap(&tally, &share, |slot| self.members.count(slot)),
            "change": question.change(&tally, &share),
        }))
    }

    /// Counts one profile.
    fn look(&self, question: &Question, tally: &mut Tally, shared: &Shared) {
        {
            let profile = shared.lock();
            if profile.gone.is_some() {
                tally.gone += 1;
                return;
            }
            if let Some(member) = question.live(&profile) {
                tally.count(question, &profile, member);
                return;
            }
        }
        let Some(mut taken) = self.taken(shared) else {
            tally.gone += 1;
            return;
        };
        let now = question.now.max(taken.profile.core.clock);
        let member = taken.under(&question.plan, now).member_since(question.slot).is_some();
        taken.bring_to(&question.base, now);
        tally.count(question, &taken.profile, member);
    }

    /// Members by their ids, and why they are; without the reasons once it is `until`.
    fn sample(&self, question: &Question, tally: &Tally, until: Instant) -> Vec<Json> {
        let mut ids = tally.sample.clone().into_vec();
        ids.sort_unstable();
        let taken = ids.into_iter().filter_map(|id| self.store.get(id)).filter_map(|shared| self.taken(&shared));
        taken.filter_map(|taken| question.row(taken, Instant::now() >= until)).collect()
    }

    /// What a profile tells in the terms of a plan that is in force no more may mean something else in a draft.
    pub(in crate::engine) fn unchanged(&self, base: &Plan) -> Result<(), Unanswered> {
        if self.plan.load().version == base.version { Ok(()) } else { Err(Unanswered::Outdated) }
    }
}

/// What everybody is asked.
struct Question {
    base: Arc<Plan>,
    /// With the draft, and only what it depends on.
    plan: Plan,
    id: DefId,
    slot: AudienceSlot,
    needs: Needs,
    /// Whether it would replace the saved audience in its slot.
    replaces: bool,
    lent: Option<Lent>,
    now: Millis,
}

impl Question {
    fn new(draft: Drafted, now: Millis) -> Self {
        let Drafted { base, mut plan, id, slot, replaces } = draft;
        let slot = AudienceSlot(u32::try_from(slot).unwrap_or(u32::MAX));
        let needs = Needs::of_audience(&plan, slot);
        narrow(&mut plan, &needs);
        let live = base.audiences.iter().flatten().map(|audience| (audience.slot, &audience.def));
        let lent = plan.audience_plan(slot).and_then(|audience| Lent::find(&audience.def, live));
        Self { base, plan, id, slot, needs, replaces, lent, now }
    }

    fn def(&self) -> Option<&AudienceDef> {
        self.plan.audience_plan(self.slot).map(|audience| &audience.def)
    }

    /// Whether somebody is a member, where that can be told without their log.
    fn live(&self, profile: &Profile) -> Option<bool> {
        let (lent, def) = (self.lent.as_ref()?, self.def()?);
        let core = &profile.core;
        let current = core.generation == self.base.generation && core.clock > Millis::MIN && profile.deadline() > self.now;
        let state = current.then(|| lent.state(def, profile))?;
        let facts = ProfileFacts::of(&self.plan, profile);
        Some(def.membership(&state, &facts, profile.is_known(), self.now.max(core.clock)).holds)
    }

    /// One member; nothing for one who has left meanwhile.
    fn row(&self, mut taken: Taken, hurried: bool) -> Option<Json> {
        let now = self.now.max(taken.profile.core.clock);
        let drafted = taken.under(&self.plan, now);
        let since = drafted.member_since(self.slot)?;
        let why = (!hurried).then(|| {
            let evidence = Evidence::gather_for(&self.plan, drafted.core.id, &taken.entries, now, &self.needs);
            audience_clauses(&Case::new(&self.plan, &drafted, &taken.entries, now, &evidence), self.slot)
        });
        taken.bring_to(&self.base, now);
        let profile = &taken.profile;
        Some(json!({
            "id": profile.core.id.to_string(),
            "userIds": user_ids(profile),
            "customTraits": self.base.paths.render(&profile.core.custom),
            "computedTraits": computed_json(&self.base, profile),
            "createdAt": format_instant(profile.core.created_at),
            "matchedSince": format_instant(since),
            "why": why,
        }))
    }

    /// Saved audiences that members of the draft are in.
    fn overlap(&self, tally: &Tally, share: &Share, members: impl Fn(AudienceSlot) -> i64) -> Vec<Json> {
        let counted = |audience: &AudienceSlot| tally.overlap.get(audience.index()).copied().unwrap_or(0);
        let others = self.base.audience_slots().filter(|slot| !(self.replaces && *slot == self.slot));
        let mut met: Vec<AudienceSlot> = others.filter(|slot| counted(slot) > 0).collect();
        met.sort_by_key(|slot| std::cmp::Reverse(counted(slot)));
        let told = met.iter().take(OVERLAP_MAX).filter_map(|slot| self.base.audience_plan(*slot));
        told.map(|audience| {
            json!({
                "id": audience.id.to_string(), "key": audience.key, "name": audience.name,
                "count": share.whole(counted(&audience.slot)), "members": members(audience.slot),
            })
        })
        .collect()
    }

    /// What would be different from the saved audience; null for a new one.
    fn change(&self, tally: &Tally, share: &Share) -> Json {
        let saved = self.base.audience_plan(self.slot).filter(|_| self.replaces);
        saved.map_or(Json::Null, |saved| {
            json!({
                "id": self.id.to_string(), "key": saved.key, "name": saved.name,
                "added": share.whole(tally.added), "removed": share.whole(tally.removed),
            })
        })
    }
}

/// What one thread has counted.
#[derive(Default)]
struct Tally {
    looked: u64,
    gone: u64,
    members: u64,
    /// Members of the draft who are not in the audience that it would replace, and the other way round.
    added: u64,
    removed: u64,
    /// Members of the draft by the saved audiences that they are in.
    overlap: Vec<u64>,
    /// The members with the smallest ids.
    sample: BinaryHeap<ProfileId>,
}

impl Tally {
    /// Counts somebody who is up to date with the plan in force.
    fn count(&mut self, question: &Question, profile: &Profile, member: bool) {
        self.looked += 1;
        if question.replaces {
            let saved = profile.member_since(question.slot).is_some();
            self.added += u64::from(member && !saved);
            self.removed += u64::from(saved && !member);
        }
        if !member {
            return;
        }
        self.members += 1;
        self.keep(profile.core.id);
        for (slot, _) in profile.core.audiences.iter().filter(|(_, cell)| cell.since.is_some()) {
            self.add_overlap(AudienceSlot(slot).index(), 1);
        }
    }

    fn keep(&mut self, id: ProfileId) {
        self.sample.push(id);
        if self.sample.len() > SAMPLE_MAX {
            self.sample.pop();
        }
    }

    fn add_overlap(&mut self, at: usize, by: u64) {
        if self.overlap.len() <= at {
            self.overlap.resize(at + 1, 0);
        }
        self.overlap[at] += by;
    }

    fn join(mut self, other: Self) -> Self {
        self.looked += other.looked;
        self.gone += other.gone;
        self.members += other.members;
        self.added += other.added;
        self.removed += other.removed;
        other.overlap.iter().enumerate().for_each(|(at, by)| self.add_overlap(at, *by));
        other.sample.into_iter().for_each(|id| self.keep(id));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::Rig;

    /// What an audience in force asks for, and traits, are told from what a profile holds; the rest is not.
    #[test]
    fn what_is_live_needs_no_log() {
        let rig = Rig::new();
        rig.view("ada");
        let viewed = |count: u32, traits: Json| json!({"includeAnonymous": true, "traits": traits, "events": [{"eventId": "View", "operator": "more_or_exactly", "count": count}]});
        let views = json!([{"source": "computed", "key": "views", "dataType": "integer", "operator": "less_than", "target": "static", "value": 1}]);
        let shared = rig.engine.store.find("ada").expect("a profile");
        let asked = |definition: Json| {
            let draft = rig.engine.draft(Kind::Audience, definition, None).map_err(|e| format!("{e:?}")).unwrap();
            Question::new(draft, rig.engine.clock.now()).live(&shared.lock())
        };
        assert_eq!(asked(viewed(1, json!([]))), Some(true));
        assert_eq!(asked(viewed(1, views.clone())), Some(false));
        assert_eq!(asked(json!({"includeAnonymous": true, "traits": views, "events": []})), Some(false));
        assert_eq!(asked(json!({"includeAnonymous": false, "traits": [], "events": []})), Some(false));
        assert_eq!(asked(viewed(2, json!([]))), None, "nobody counts to two");
        // Folded under definitions that are in force no more, it holds nothing that counts.
        let question = Question::new(
            rig.engine.draft(Kind::Audience, viewed(1, json!([])), None).map_err(|e| format!("{e:?}")).unwrap(),
            rig.engine.clock.now(),
        );
        let mut profile = shared.lock().clone();
        profile.core.generation -= 1;
        assert_eq!(question.live(&profile), None);
    }

    /// An estimate is as good as the sample is fair: everybody once, in another order each time.
    #[test]
    fn an_order_of_chance_has_everybody_once() {
        let rig = Rig::new();
        (0..200).for_each(|n| rig.view(&format!("u{n}")));
        let scan = rig.engine.begin_scan(&Cancel::default()).expect("nobody asks anything");
        let draw = || scan.shuffled().iter().map(|shared| shared.lock().core.id).collect::<Vec<_>>();
        let (one, other) = (draw(), draw());
        assert_ne!(one, other);
        let sorted = |mut ids: Vec<ProfileId>| {
            ids.sort_unstable();
            ids
        };
        let all = sorted(rig.engine.store.ids());
        // Ids grow with time: whoever is looked at first is not older than the others.
        let rank = |id: &ProfileId| all.binary_search(id).expect("a profile");
        let mean = one.iter().take(100).map(rank).sum::<usize>() / 100;
        assert!((70..130).contains(&mean), "{mean} of 200, seven deviations from the middle");
        assert_eq!((sorted(one), sorted(other)), (all.clone(), all));
    }
}
