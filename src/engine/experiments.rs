//! What became of an experiment's people, arm by arm, with intervals that may be looked at any time.
//!
//! Like attribution: a look at every profile in memory, nothing counted on the way.

use super::Engine;
use super::attribution::{NoReport, decimal};
use lodestone_state::event::Arm;
use lodestone_state::experiment::stats::{self, Comparison, Estimate, Sample};
use lodestone_state::experiment::{ExperimentDef, TrialState};
use lodestone_state::ids::Millis;
use lodestone_state::plan::{ExperimentPlan, Kind, Plan};
use lodestone_state::time::format_instant;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Below this chance the sizes of the arms cannot be as intended.
const SAMPLE_RATIO_MIN: f64 = 0.001;

/// The sums of one arm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct People {
    /// All who were exposed.
    exposed: u64,
    /// Those of them whose window is over; all of them where there is none. The rest says nothing yet.
    observed: u64,
    converters: u64,
    conversions: u64,
    value: i128,
    /// The sum of the squares of what each is worth.
    squares: f64,
}

/// What a report adds up.
#[derive(Clone, Debug, Default)]
struct Count {
    arms: BTreeMap<u16, People>,
    /// People who were seen in more than one arm.
    mixed: u64,
    first: Option<Millis>,
}

#[expect(clippy::cast_precision_loss, reason = "for statistics")]
fn units(micros: i128) -> f64 {
    micros as f64 / 1e6
}

impl Count {
    fn add(&mut self, def: &ExperimentDef, trial: &TrialState, now: Millis) {
        let Some(exposure) = trial.exposure() else { return };
        self.mixed += u64::from(trial.is_mixed());
        self.first = Some(self.first.map_or(exposure.moment.t, |first| first.min(exposure.moment.t)));
        let people = self.arms.entry(exposure.variant).or_default();
        people.exposed += 1;
        if def.window_ms.is_some_and(|window_ms| exposure.moment.t.plus(window_ms) > now) {
            return;
        }
        people.observed += 1;
        people.converters += u64::from(trial.conversions() > 0);
        people.conversions += trial.conversions();
        people.value += trial.value();
        people.squares += units(trial.value()) * units(trial.value());
    }

    fn merge(&mut self, other: Self) {
        for (variant, more) in other.arms {
            let people = self.arms.entry(variant).or_default();
            people.exposed += more.exposed;
            people.observed += more.observed;
            people.converters += more.converters;
            people.conversions += more.conversions;
            people.value += more.value;
            people.squares += more.squares;
        }
        self.mixed += other.mixed;
        self.first = match (self.first, other.first) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

impl People {
    fn rate(&self) -> Sample {
        Sample::share(self.observed, self.converters)
    }

    fn worth(&self) -> Sample {
        Sample::mean(self.observed, self.converters, units(self.value), self.squares)
    }
}

impl Engine {
    /// An experiment's arms and how they compare. Blocks: call it off the async tasks.
    ///
    /// # Errors
    /// [`NoReport::Unknown`].
    pub fn experiment_json(&self, id_or_key: &str) -> Result<Value, NoReport> {
        let plan = self.plan.load_full();
        let found = plan.catalog.experiment_slot(id_or_key).and_then(|slot| plan.experiment_plan(slot));
        let experiment = found.ok_or(NoReport::Unknown)?;
        let now = self.clock.now();
        let count = self.scan(
            &plan,
            |count: &mut Count, profile| {
                if let Some(trial) = profile.core.trials.get(experiment.slot.0) {
                    count.add(&experiment.def, trial, now);
                }
            },
            Count::merge,
        );
        Ok(report(&plan, experiment, &count, now))
    }
}

/// The places of all arms, the holdout first: it is the control where there is one, else the first variant.
fn arms(def: &ExperimentDef, count: &Count) -> Vec<u16> {
    let holdout = def.holdout > 0.0 || count.arms.contains_key(&Arm::HOLDOUT);
    let variants = (0..).zip(&def.variants).map(|(place, _)| place);
    holdout.then_some(Arm::HOLDOUT).into_iter().chain(variants).collect()
}

fn report(plan: &Plan, experiment: &ExperimentPlan, count: &Count, now: Millis) -> Value {
    let def = &experiment.def;
    let places = arms(def, count);
    let of = |place: u16| count.arms.get(&place).copied().unwrap_or_default();
    let control = places.first().copied().unwrap_or_default();
    // Each of several comparisons may be wrong only so often that all together are right.
    let comparisons = u32::try_from(places.len() - 1).unwrap_or(u32::MAX).max(1);
    let alpha = (1.0 - def.confidence) / f64::from(comparisons);
    let told: Vec<Value> = places
        .iter()
        .map(|&place| {
            let (people, against) = (of(place), (place != control).then(|| of(control)));
            let lift = against.map(|control| {
                json!({
                    "rate": comparison(stats::compare(&control.rate(), &people.rate(), alpha)),
                    "value": comparison(stats::compare(&control.worth(), &people.worth(), alpha)),
                })
            });
            let variant = def.variants.get(usize::from(place));
            json!({
                "key": variant.map_or("holdout", |variant| variant.key.as_str()),
                "name": variant.map_or("holdout", |variant| variant.name.as_str()),
                "holdout": place == Arm::HOLDOUT,
                "control": place == control,
                "share": def.share(place),
                "exposed": people.exposed,
                "observed": people.observed,
                "converters": people.converters,
                "conversions": people.conversions,
                "rate": mean(people.observed, people.rate()),
                "value": decimal(people.value),
                "valuePerPerson": mean(people.observed, people.worth()),
                "lift": lift,
            })
        })
        .collect();
    let sizes: Vec<(u64, f64)> = places.iter().map(|&place| (of(place).exposed, def.share(place))).collect();
    let chance = stats::sample_ratio(&sizes);
    let goal = plan.goal_plan(def.goal);
    let known = plan.catalog.definitions(Kind::Goal).get(def.goal.index());
    json!({
        "experiment": {"id": experiment.id.to_string(), "key": experiment.key.as_str(), "name": experiment.name.as_str()},
        "state": if def.running { "running" } else { "stopped" },
        "goal": {
            "id": known.map(|goal| goal.id.to_string()),
            "key": known.map(|goal| goal.key.as_str()),
            "currency": goal.and_then(|goal| goal.def.currency.as_deref()),
            "removed": goal.is_none(),
        },
        "confidence": def.confidence,
        "windowMs": def.window_ms,
        "firstExposure": count.first.map(format_instant),
        "asOf": format_instant(now),
        "mixed": count.mixed,
        "sampleRatio": {"chance": chance, "ok": chance >= SAMPLE_RATIO_MIN},
        "arms": told,
    })
}

fn mean(people: u64, sample: Sample) -> Value {
    if people == 0 { Value::Null } else { json!(sample.average()) }
}

fn comparison(found: Option<Comparison>) -> Value {
    let ends = |estimate: &Estimate| json!({"estimate": estimate.value, "low": estimate.low, "high": estimate.high});
    found.map_or(Value::Null, |found| {
        json!({
            "difference": ends(&found.difference),
            "relative": found.lift.as_ref().map(ends),
            "clear": found.is_clear(),
        })
    })
}
