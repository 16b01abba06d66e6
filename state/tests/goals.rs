//! Attribution and experiments against a naive recomputation over the whole log, which shares no code with
//! the machine: after late events and reactions, merges, erasure and edits of goals, in any order.

use lodestone_state::event::{Absorbed, Arm, Entry, EntryKind, Identified, Occurrence, Props, Reacted, Reaction};
use lodestone_state::goal::report::{By, Question, Rows, Tally};
use lodestone_state::goal::{Micros, Model};
use lodestone_state::ids::{ActionSlot, ChannelSlot, ExperimentSlot, Millis, Moment, ProfileId, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, CatalogDocument, Plan};
use lodestone_state::profile::{Profile, TailOnly};
use lodestone_state::rollup::bucket::{Dates, Resolution, buckets};
use lodestone_state::time::parse_date;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const MINUTE: i64 = 60_000;
/// 2024-03-31T00:30:00Z: half an hour before the clocks of Berlin change.
const START: i64 = 1_711_845_000_000;

/// One goal as the oracle reads it; [`Goal::json`] is the same for the catalog.
#[derive(Clone)]
struct Goal {
    key: &'static str,
    lookback: i64,
    dedupe: &'static str,
    kinds: Vec<Reaction>,
    /// Touches on channel 1 only.
    app_only: bool,
    /// Touches of action 0 only.
    first_only: bool,
    /// Only purchases above the person's limit, a custom trait.
    above_limit: bool,
    fixed: Option<i64>,
}

impl Goal {
    fn json(&self) -> Value {
        let kind = |reaction: &Reaction| lodestone_state::action::reaction_word(*reaction);
        let condition = json!([{"property": "amount", "type": "integer", "operator": "greater_than", "target": "custom_trait", "traitKey": "limit"}]);
        json!({
            "key": self.key, "name": self.key, "eventId": "Buy", "currency": "EUR", "dedupe": self.dedupe,
            "lookback": {"amount": self.lookback / 1000, "unit": "seconds"},
            "touches": self.kinds.iter().map(kind).collect::<Vec<_>>(),
            "channels": if self.app_only { json!(["app"]) } else { json!([]) },
            "actions": if self.first_only { json!(["X"]) } else { json!([]) },
            "conditions": if self.above_limit { condition } else { json!([]) },
            "value": self.fixed.map_or(json!({"property": "amount"}), |fixed| json!({"fixed": fixed})),
        })
    }
}

/// Two sets of goals under the same keys: an edit leads from one to the other.
fn goals(edited: bool) -> Vec<Goal> {
    let goal = |key, lookback, dedupe| Goal {
        key,
        lookback,
        dedupe,
        kinds: vec![Reaction::Accepted],
        app_only: false,
        first_only: false,
        above_limit: false,
        fixed: None,
    };
    let minutes = |n: i64| n * MINUTE;
    if edited {
        return vec![
            goal("every", minutes(3), "once_per_touch"),
            Goal { kinds: vec![Reaction::Accepted, Reaction::Shown], ..goal("once", minutes(20), "every") },
            goal("per_touch", minutes(9), "once_per_profile"),
            Goal { app_only: false, ..goal("narrow", minutes(30), "every") },
        ];
    }
    vec![
        goal("every", minutes(10), "every"),
        Goal { above_limit: true, ..goal("once", minutes(5), "once_per_profile") },
        Goal {
            kinds: vec![Reaction::Accepted, Reaction::Shown],
            fixed: Some(7),
            ..goal("per_touch", minutes(8), "once_per_touch")
        },
        Goal { app_only: true, first_only: true, ..goal("narrow", minutes(30), "every") },
    ]
}

/// The experiments: on which goal, and how long after an exposure conversions count.
const TRIALS: [(&str, usize, Option<i64>); 3] = [("plain", 0, None), ("first", 1, None), ("window", 3, Some(15 * MINUTE))];

fn plan(goals: &[Goal]) -> Plan {
    let action = |name: &str| {
        json!({"name": name, "type": "banner", "state": "active", "tags": [], "properties": [],
        "targeting": {"channels": ["web", "app"]}, "capping": []})
    };
    let trial = |(key, goal, window): &(&str, usize, Option<i64>)| {
        let mut body = json!({"key": key, "name": key, "tag": key, "goal": goals[*goal].key, "state": "running",
            "variants": [{"key": "a"}, {"key": "b"}], "holdout": 20});
        if let Some(ms) = window {
            body["window"] = json!({"amount": ms / 1000, "unit": "seconds"});
        }
        body
    };
    let document = json!({
        "organization": {"name": "Shop", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
        "events": [
            {"name": "Buy", "structure": [{"id": "amount", "name": "amount", "properties": {"key": "amount", "type": "integer"}}]},
            {"name": "Look", "structure": []}],
        "customTraits": {"structure": [{"id": "limit", "name": "limit", "properties": {"key": "limit", "type": "integer"}}]},
        "actionTypes": [{"name": "banner", "properties": []}],
        "actions": [action("X"), action("Y"), action("Z")],
        "goals": goals.iter().map(Goal::json).collect::<Vec<_>>(),
        "experiments": TRIALS.iter().map(trial).collect::<Vec<_>>(),
    });
    let (catalog, _) = Catalog::default()
        .apply(&CatalogDocument::from_json(&document).expect("a document"))
        .unwrap_or_else(|issues| panic!("{issues:#?}"));
    Plan::compile(Arc::new(catalog)).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

#[derive(Clone, Debug)]
enum Step {
    Buy { profile: usize, amount: Option<i64>, late: i64, pass: i64 },
    React { profile: usize, action: u32, kind: usize, app: bool, test: bool, late: i64, pass: i64, arm: Option<(u32, u16)> },
    Limit { profile: usize, limit: i64, pass: i64 },
    Merge,
    Erase { profile: usize, nth: usize },
    Edit,
}

fn step() -> impl Strategy<Value = Step> {
    let late = || prop_oneof![3 => Just(0_i64), 2 => 0..20 * MINUTE];
    let pass = || 0..4 * MINUTE;
    let arm = prop::option::of((0..3_u32, prop_oneof![Just(0_u16), Just(1), Just(Arm::HOLDOUT)]));
    prop_oneof![
        8 => (0..2_usize, prop::option::weighted(0.9, -20..100_i64), late(), pass())
            .prop_map(|(profile, amount, late, pass)| Step::Buy { profile, amount, late, pass }),
        8 => (0..2_usize, 0..3_u32, 0..4_usize, any::<bool>(), prop::bool::weighted(0.1), late(), pass(), arm)
            .prop_map(|(profile, action, kind, app, test, late, pass, arm)| Step::React { profile, action, kind, app, test, late, pass, arm }),
        1 => (0..2_usize, 0..60_i64, pass()).prop_map(|(profile, limit, pass)| Step::Limit { profile, limit, pass }),
        1 => Just(Step::Merge),
        1 => (0..2_usize, 0..40_usize).prop_map(|(profile, nth)| Step::Erase { profile, nth }),
        1 => Just(Step::Edit),
    ]
}

struct World {
    goals: Vec<Goal>,
    edited: bool,
    plan: Plan,
    profiles: Vec<Profile>,
    now: i64,
    seq: u64,
}

const KINDS: [Reaction; 4] = [Reaction::Accepted, Reaction::Shown, Reaction::Delivered, Reaction::Withheld];

impl World {
    fn new() -> Self {
        let goals = goals(false);
        let plan = plan(&goals);
        let profiles = (1..=2).map(|id| {
            let mut profile = Profile::new(ProfileId(id), Millis(START), plan.generation);
            machine::born(&plan, &mut profile, Millis(START), &mut Changes::default());
            profile
        });
        Self { profiles: profiles.collect(), goals, edited: false, plan, now: START, seq: 0 }
    }

    fn put(&mut self, profile: usize, t: i64, kind: EntryKind) {
        self.seq += 1;
        let moment = Moment { t: Millis(t), seq: Seq(self.seq) };
        let entry = Entry { moment, at: Millis(self.now), user_id: "u".into(), message_id: None, id: 0, kind };
        let at = profile.min(self.profiles.len() - 1);
        machine::apply(&self.plan, &mut self.profiles[at], entry, &mut TailOnly, &mut Changes::default());
    }

    fn limited(&mut self, profile: usize, limit: i64, absorbed: Vec<Absorbed>) {
        let schema = self.plan.custom_schema().expect("custom traits");
        let custom = schema.validate(&json!({"limit": limit}).to_string(), &self.plan.zone).expect("valid");
        let own = (!absorbed.is_empty()).then(|| custom.clone());
        let identified = Identified { identities: Vec::new(), custom: Some(custom), absorbed, own };
        self.put(profile, self.now, EntryKind::Identified(identified));
    }

    fn step(&mut self, step: &Step) {
        match step.clone() {
            Step::Buy { profile, amount, late, pass } => {
                self.now += pass;
                let event = self.plan.event_by_name("Buy").expect("an event");
                let body = amount.map_or(json!({}), |amount| json!({"amount": amount}));
                let props = event.schema.validate(&body.to_string(), &self.plan.zone).expect("valid");
                let (event, channel) = (event.slot, ChannelSlot(0));
                let occurrence =
                    Occurrence { event, version: 1, channel, props, context: Props::default(), chain: Box::default() };
                self.put(profile, (self.now - late).max(START), EntryKind::Event(occurrence));
            }
            Step::React { profile, action, kind, app, test, late, pass, arm } => {
                self.now += pass;
                let reacted = Reacted {
                    action: ActionSlot(action),
                    reaction: KINDS[kind],
                    channel: ChannelSlot(u16::from(app)),
                    delivery: None,
                    test,
                    properties: None,
                    context: Props::default(),
                    variant: arm.map(|(experiment, variant)| Arm { experiment: ExperimentSlot(experiment), variant }),
                    result: None,
                };
                self.put(profile, (self.now - late).max(START), EntryKind::Reacted(reacted));
            }
            Step::Limit { profile, limit, pass } => {
                self.now += pass;
                self.limited(profile, limit, Vec::new());
            }
            Step::Merge if self.profiles.len() == 2 => {
                let follower = self.profiles.pop().expect("two");
                let leader = &mut self.profiles[0];
                let gone = follower.absorbed_by(leader.core.id);
                machine::absorb(&self.plan, leader, vec![follower], Millis(self.now), &mut TailOnly, &mut Changes::default());
                // One log in memory, whoever wrote what: erasing takes entries out of it.
                leader.tail.extend(leader.inherited.drain(..).map(|(_, entry)| entry));
                leader.tail.sort_by_key(|entry| entry.moment);
                self.limited(0, 10, vec![gone]);
            }
            Step::Merge => {}
            Step::Erase { profile, nth } => {
                let at = profile.min(self.profiles.len() - 1);
                let profile = &mut self.profiles[at];
                let erasable = |entry: &Entry| matches!(entry.kind, EntryKind::Event(_) | EntryKind::Reacted(_));
                let places: Vec<usize> = (0..profile.tail.len()).filter(|i| erasable(&profile.tail[*i])).collect();
                if let Some(place) = places.get(nth % places.len().max(1)) {
                    profile.tail.remove(*place);
                    machine::rebuild(&self.plan, profile, false, &mut TailOnly, &mut Changes::default());
                }
            }
            Step::Edit => {
                self.edited = !self.edited;
                self.goals = goals(self.edited);
                self.plan = plan(&self.goals);
                for profile in &mut self.profiles {
                    machine::rebuild(&self.plan, profile, false, &mut TailOnly, &mut Changes::default());
                }
            }
        }
    }
}

/// What the oracle says of one conversion: when, what it is worth, and the touches that share it.
#[derive(Clone, Debug, PartialEq)]
struct Naive {
    moment: Moment,
    value: Option<i64>,
    touches: Vec<(u32, u16)>,
}

/// Everything that converts for a goal, in order, before any dedupe.
fn converting(goal: &Goal, log: &[Entry], plan: &Plan) -> Vec<(Moment, Option<i64>)> {
    let path = |props: &Props, key: &str| {
        let told = plan.paths.render(props);
        told.get(key).and_then(Value::as_i64)
    };
    let mut limit = None;
    let mut found = Vec::new();
    for entry in log {
        match &entry.kind {
            EntryKind::Identified(identified) => {
                limit = identified.custom.as_ref().map_or(limit, |custom| path(custom, "limit"));
            }
            EntryKind::Event(event) => {
                let amount = path(&event.props, "amount");
                let above = matches!((amount, limit), (Some(amount), Some(limit)) if amount > limit);
                if !goal.above_limit || above {
                    found.push((entry.moment, goal.fixed.or(amount)));
                }
            }
            _ => {}
        }
    }
    found
}

fn touches(goal: &Goal, log: &[Entry]) -> Vec<(Moment, u32, u16)> {
    let touch = |entry: &Entry| match &entry.kind {
        EntryKind::Reacted(reacted) => {
            let fits = goal.kinds.contains(&reacted.reaction)
                && !reacted.test
                && (!goal.app_only || reacted.channel == ChannelSlot(1))
                && (!goal.first_only || reacted.action == ActionSlot(0));
            fits.then_some((entry.moment, reacted.action.0, reacted.channel.0))
        }
        _ => None,
    };
    log.iter().filter_map(touch).collect()
}

fn naive(goal: &Goal, log: &[Entry], plan: &Plan) -> Vec<Naive> {
    let touches = touches(goal, log);
    let mut used: Vec<Moment> = Vec::new();
    let mut found: Vec<Naive> = Vec::new();
    for (moment, value) in converting(goal, log, plan) {
        let seen = touches.iter().filter(|(at, ..)| *at < moment && moment.t.0 < at.t.0 + goal.lookback);
        let seen: Vec<_> = seen.collect();
        let mut fresh = seen.clone();
        match goal.dedupe {
            "once_per_profile" if !found.is_empty() => continue,
            "once_per_touch" => {
                fresh.retain(|(at, ..)| !used.contains(at));
                if fresh.is_empty() && !seen.is_empty() {
                    continue;
                }
                used.extend(seen.iter().map(|(at, ..)| *at));
            }
            _ => {}
        }
        found.push(Naive { moment, value, touches: fresh.iter().map(|(_, action, channel)| (*action, *channel)).collect() });
    }
    found
}

/// Shares of an amount by action, in millionths, by the letter of the specification.
fn shares(touches: &[(u32, u16)], model: Model, amount: i64) -> BTreeMap<u32, i64> {
    let mut units: Vec<u32> = touches.iter().map(|(action, _)| *action).collect();
    match model {
        Model::LastTouch => units = units.last().copied().into_iter().collect(),
        Model::FirstTouch => units.truncate(1),
        Model::Linear => {}
        Model::LinearActions => {
            // Distinct actions in the order of their latest touch.
            let mut distinct: Vec<u32> = Vec::new();
            for action in units {
                distinct.retain(|other| *other != action);
                distinct.push(action);
            }
            units = distinct;
        }
    }
    let mut shares = BTreeMap::new();
    let n = units.len() as i64;
    for (i, action) in units.iter().enumerate() {
        let rest = if i as i64 + 1 == n { amount - amount / n * n } else { 0 };
        *shares.entry(*action).or_default() += amount / n + rest;
    }
    shares
}

const MODELS: [Model; 4] = [Model::LastTouch, Model::FirstTouch, Model::Linear, Model::LinearActions];

fn sorted(profile: &Profile) -> Vec<Entry> {
    let mut log = profile.tail.clone();
    log.sort_by_key(|entry| entry.moment);
    log
}

impl World {
    fn check(&mut self) -> Result<(), TestCaseError> {
        for profile in &self.profiles {
            let log = sorted(profile);
            let fold = machine::fold(&self.plan, profile.core.id, &log, Millis(self.now));
            prop_assert_eq!(&profile.core.goals, &fold.core.goals, "live goals are the fold's");
            prop_assert_eq!(&profile.core.trials, &fold.core.trials, "live trials are the fold's");
            let mut derived = profile.clone();
            machine::rebuild(&self.plan, &mut derived, true, &mut TailOnly, &mut Changes::default());
            prop_assert_eq!(machine::differences(&self.plan, profile, &mut derived, &[]), []);
            for goal in &self.goals {
                self.check_goal(profile, goal, &log)?;
            }
            for (key, goal, window) in TRIALS {
                self.check_trial(profile, key, &self.goals[goal], window, &log)?;
            }
        }
        for goal in &self.goals {
            self.check_report(goal)?;
        }
        Ok(())
    }

    fn check_goal(&self, profile: &Profile, goal: &Goal, log: &[Entry]) -> Result<(), TestCaseError> {
        let slot = self.plan.goal_by_key(goal.key).expect("a goal").slot;
        let state = profile.core.goals.get(slot.0).cloned().unwrap_or_default();
        let expect = naive(goal, log, &self.plan);
        prop_assert_eq!(state.conversions().count(), expect.len(), "conversions of {}", goal.key);
        for (conversion, expect) in state.conversions().zip(&expect) {
            let value = conversion.value.map(|value| value.0 / 1_000_000);
            prop_assert_eq!((conversion.moment, value), (expect.moment, expect.value), "{}", goal.key);
            for model in MODELS {
                let mut told = BTreeMap::new();
                let worth = Micros(1_000_000 * expect.value.unwrap_or(0) + 1);
                conversion.seen.share(model, worth, &mut |group, share| *told.entry(group.action.0).or_default() += share.0);
                prop_assert_eq!(told, shares(&expect.touches, model, worth.0), "{} by {}", goal.key, model.word());
            }
        }
        Ok(())
    }

    fn check_trial(
        &self,
        profile: &Profile,
        key: &str,
        goal: &Goal,
        window: Option<i64>,
        log: &[Entry],
    ) -> Result<(), TestCaseError> {
        let slot = self.plan.experiment_by_key(key).expect("an experiment").slot;
        let exposures = log.iter().filter_map(|entry| match &entry.kind {
            EntryKind::Reacted(Reacted { variant: Some(arm), test: false, .. }) if arm.experiment == slot => {
                Some((entry.moment, arm.variant))
            }
            _ => None,
        });
        let exposures: Vec<_> = exposures.collect();
        let state = profile.core.trials.get(slot.0).cloned().unwrap_or_default();
        let first = exposures.first().copied();
        prop_assert_eq!(state.exposure().map(|exposure| (exposure.moment, exposure.variant)), first, "{}", key);
        let Some((exposed, _)) = first else { return Ok(()) };
        prop_assert_eq!(state.is_mixed(), exposures.iter().any(|(_, arm)| Some(*arm) != first.map(|(_, arm)| arm)));
        let counts = |moment: &Moment| *moment > exposed && window.is_none_or(|ms| moment.t.0 < exposed.t.0 + ms);
        let mut after: Vec<_> = converting(goal, log, &self.plan).into_iter().filter(|(moment, _)| counts(moment)).collect();
        if goal.dedupe == "once_per_profile" {
            after.truncate(1);
        }
        let value: i64 = after.iter().map(|(_, value)| value.unwrap_or(0)).sum();
        prop_assert_eq!(state.conversions(), after.len() as u64, "conversions of {}", key);
        prop_assert_eq!(state.value(), i128::from(value) * 1_000_000, "value of {}", key);
        prop_assert_eq!(state.first_conversion(), after.first().map(|(moment, _)| *moment), "first of {}", key);
        Ok(())
    }

    /// The report over both profiles, by hour around the change of clocks.
    fn check_report(&self, goal: &Goal) -> Result<(), TestCaseError> {
        let plan = self.plan.goal_by_key(goal.key).expect("a goal");
        let day = parse_date("2024-03-31").expect("a date");
        let buckets = buckets(&self.plan.zone, Dates { start: day, end: day }, Resolution::Hour).expect("few");
        prop_assert_eq!(buckets.len(), 23);
        let rows = Rows::new(By::Action, std::iter::empty());
        for model in MODELS {
            let question = Question { def: &plan.def, model, rows: &rows, buckets: &buckets };
            let (mut tally, mut expect) = (Tally::default(), BTreeMap::<(u32, usize), (i128, i128, u64)>::new());
            let (mut unattributed, mut all) = (0, 0);
            for profile in &self.profiles {
                let log = sorted(profile);
                let mut part = Tally::default();
                profile.core.goals.get(plan.slot.0).into_iter().for_each(|state| part.add(&question, state));
                tally.merge(&part);
                let bucket = |t: Millis| buckets.iter().position(|bucket| bucket.start <= t && t < bucket.end);
                let mut touched: Vec<(u32, usize)> =
                    touches(goal, &log).iter().filter_map(|(at, action, _)| Some((*action, bucket(at.t)?))).collect();
                touched.sort_unstable();
                touched.dedup();
                touched.into_iter().for_each(|key| expect.entry(key).or_default().2 += 1);
                for one in naive(goal, &log, &self.plan) {
                    let Some(at) = bucket(one.moment.t) else { continue };
                    all += 1;
                    unattributed += u64::from(one.touches.is_empty());
                    if one.touches.is_empty() {
                        continue;
                    }
                    for (action, share) in shares(&one.touches, model, 1_000_000) {
                        expect.entry((action, at)).or_default().0 += i128::from(share);
                    }
                    for (action, share) in shares(&one.touches, model, one.value.unwrap_or(0) * 1_000_000) {
                        expect.entry((action, at)).or_default().1 += i128::from(share);
                    }
                }
            }
            let mut told = BTreeMap::new();
            for (row, line) in &tally.rows {
                for (at, sums) in &line.buckets {
                    told.insert((*row, *at), (sums.credited, sums.revenue, sums.touched));
                }
            }
            prop_assert_eq!(told, expect, "{} by {}", goal.key, model.word());
            prop_assert_eq!((tally.all.all.conversions, tally.unattributed.all.conversions), (all, unattributed));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// T-91 to T-93, T-95, T-96: credits, exposures and reports equal the recomputation after every step.
    #[test]
    fn attribution_and_experiments_equal_the_naive_recomputation(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check()?;
        }
    }
}
