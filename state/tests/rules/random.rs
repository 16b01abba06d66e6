//! Random events, late events, merges, erasures, edits of definitions and jumps of the clock (T-96): metrics,
//! firings and attributes equal the oracle's after each step.

use super::driver::{World, at};
use super::oracle::{Number, Often, Oracle, Rule, Span, word};
use lodestone_state::value::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const HOUR: i64 = 3_600_000;

/// Everything happens on this grid, so that events, windows and days meet often.
const TICK: i64 = HOUR / 2;

/// In Berlin the clocks change in the night to the 31st.
fn start() -> i64 {
    at("03-30T09:00")
}

/// The local 31st of March 2024.
fn the_31st() -> Span {
    Span::Dates(at("03-30T23:00"), at("03-31T22:00"))
}

fn menu() -> Vec<Rule> {
    let rule = |event, number, span, threshold, often| Rule {
        key: String::new(),
        event,
        number,
        is_trait: None,
        span,
        at_least: true,
        threshold,
        often,
        clears: false,
        on_backfill: true,
        emits: None,
    };
    let views = |span| Some(span);
    vec![
        rule("View", Number::Count, Span::Ever, 3, Often::Once),
        Rule { clears: true, ..rule("View", Number::Count, Span::Last(2 * HOUR), 2, Often::Crossing) },
        Rule { clears: true, at_least: false, ..rule("View", Number::Count, Span::Last(3 * HOUR), 1, Often::Crossing) },
        rule("Buy", Number::Sum, the_31st(), 8, Often::Once),
        Rule { clears: true, ..rule("Buy", Number::Sum, Span::Day, 5, Often::Period) },
        Rule { emits: Some("Ping"), ..rule("Buy", Number::Sum, Span::Ever, 4, Often::Every(4)) },
        Rule { on_backfill: false, ..rule("Buy", Number::Avg, Span::Ever, 2, Often::Crossing) },
        Rule { clears: true, at_least: false, ..rule("Buy", Number::Min, Span::Last(4 * HOUR), 0, Often::Once) },
        rule("View", Number::Unique, Span::Day, 2, Often::Crossing),
        Rule { emits: Some("Ping"), ..rule("Ping", Number::Count, Span::Ever, 1, Often::Every(1)) },
        Rule { emits: Some("View"), ..rule("Ping", Number::Count, Span::Last(2 * HOUR), 2, Often::Crossing) },
        Rule { at_least: false, clears: true, ..rule("Buy", Number::Count, Span::Day, 2, Often::Period) },
        rule("View", Number::Count, Span::Day, 3, Often::Every(3)),
        Rule {
            is_trait: views(Span::Last(2 * HOUR)),
            clears: true,
            ..rule("View", Number::Count, the_31st(), 2, Often::Crossing)
        },
        Rule { is_trait: views(Span::Ever), on_backfill: false, ..rule("View", Number::Count, Span::Day, 2, Often::Period) },
        Rule { is_trait: views(Span::Ever), emits: Some("Buy"), ..rule("View", Number::Count, Span::Ever, 2, Often::Every(2)) },
    ]
}

/// The rule as people write it.
fn definition(rule: &Rule) -> Json {
    let date = |ms: i64| lodestone_state::time::format_instant(lodestone_state::ids::Millis(ms))[..10].to_owned();
    let metric = match (rule.is_trait, rule.number) {
        (Some(Span::Ever), _) => json!({"trait": "views"}),
        (Some(_), _) => json!({"trait": "views2h"}),
        (None, Number::Count) => json!("count"),
        (None, Number::Sum) => json!({"sum": "n"}),
        (None, Number::Avg) => json!({"avg": "n"}),
        (None, Number::Min) => json!({"min": "n"}),
        (None, Number::Unique) => json!({"unique": "p"}),
    };
    let mut then = vec![json!({"type": "set_attribute", "key": rule.key, "value": true})];
    if let Some(name) = rule.emits {
        then.push(json!({"type": "emit_event", "event": name}));
    }
    json!({
        "key": rule.key,
        "eventId": if rule.is_trait.is_none() { json!(rule.event) } else { Json::Null },
        "metric": metric,
        "operator": if rule.at_least { "greater_than_or_equal" } else { "less_than" },
        "threshold": rule.threshold,
        "period": match rule.span {
            Span::Ever => Json::Null,
            // From the evening before in UTC, to the evening of the day itself.
            Span::Dates(_, to) => json!({"start": date(to - 1), "end": date(to - 1)}),
            Span::Last(ms) => json!({"last": {"amount": ms / HOUR, "unit": "hours"}}),
            Span::Day => json!({"calendar": "day"}),
        },
        "fire": match rule.often {
            Often::Once => json!("once"),
            Often::Period => json!("each_period"),
            Often::Crossing => json!("each_crossing"),
            Often::Every(n) => json!({"every": n}),
        },
        "onUnmet": if rule.clears { "clear" } else { "keep" },
        "fireOnBackfill": rule.on_backfill,
        "then": then,
    })
}

#[derive(Clone, Debug)]
enum Step {
    Track {
        who: usize,
        event: usize,
        n: Option<i64>,
        p: Option<char>,
        late: i64,
    },
    Pass(i64),
    Merge,
    Erase {
        who: usize,
        which: usize,
    },
    /// One more rule of the menu, or another threshold for one that is there.
    Add(usize),
    Change {
        which: usize,
        threshold: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let late = prop_oneof![3 => Just(0_i64), 1 => 1..10_i64];
    let n = prop::option::weighted(0.9, -3..7_i64);
    let p = prop::option::weighted(0.8, prop::sample::select(vec!['a', 'b']));
    let track = (0..2_usize, 0..3_usize, n, p, late).prop_map(|(who, event, n, p, late)| Step::Track { who, event, n, p, late });
    prop_oneof![
        12 => track,
        6 => (0..5_i64).prop_map(Step::Pass),
        1 => (10..70_i64).prop_map(Step::Pass),
        1 => Just(Step::Merge),
        1 => (0..2_usize, 0..9_usize).prop_map(|(who, which)| Step::Erase { who, which }),
        1 => (0..16_usize).prop_map(Step::Add),
        1 => (0..8_usize, -1..7_i64).prop_map(|(which, threshold)| Step::Change { which, threshold }),
    ]
}

fn check(world: &World, oracle: &Oracle, at: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(world.profiles.len(), oracle.people());
    for who in 0..oracle.people() {
        let mut fired: Vec<(i64, String, &str, i64)> = world
            .fired_log(who)
            .into_iter()
            .map(|(t, key, what, marker)| {
                let steps = oracle.rules.iter().any(|rule| rule.key == key && matches!(rule.often, Often::Every(_)));
                (t, key, word(what), if steps { marker } else { 0 })
            })
            .collect();
        fired.sort();
        prop_assert_eq!(&fired, &oracle.fired(who), "fired of {} after step {}", who, at);
        let attributes = world.attributes(who);
        let set: Vec<&str> = attributes.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)).collect();
        let mut expect = oracle.set(who);
        expect.sort();
        prop_assert_eq!(set, expect, "attributes of {} after step {}", who, at);
        for (i, rule) in oracle.rules.iter().enumerate() {
            let value = world.metric(who, &rule.key).as_ref().and_then(Value::as_f64);
            let expect = oracle.metric(who, i).map(|value| (value * 1000.0).round() / 1000.0);
            prop_assert_eq!(value, expect, "metric of {} for {} after step {}", &rule.key, who, at);
        }
        // F-1: what is kept of a person is the fold of the log.
        let profile = &world.profiles[who];
        let mut derived = profile.clone();
        lodestone_state::machine::rebuild(
            &world.plan,
            &mut derived,
            true,
            &mut lodestone_state::profile::TailOnly,
            &mut lodestone_state::machine::Changes::default(),
        );
        let differ = lodestone_state::machine::differences(&world.plan, profile, &mut derived, &[]);
        prop_assert_eq!(differ, [], "of {} after step {}", who, at);
    }
    Ok(())
}

fn play(first: &[usize], steps: &[Step]) -> Result<(), TestCaseError> {
    let mut menu = menu();
    for (i, rule) in menu.iter_mut().enumerate() {
        rule.key = format!("r{i:02}");
    }
    let mut rules: Vec<Rule> = Vec::new();
    for which in first {
        if rules.iter().all(|rule| rule.key != menu[*which].key) {
            rules.push(menu[*which].clone());
        }
    }
    let definitions: Vec<Json> = rules.iter().map(definition).collect();
    let mut world = World::new(definitions.into(), start(), 2);
    let mut oracle = Oracle::new(rules.clone(), start(), 2);
    check(&world, &oracle, 0)?;
    for (i, step) in steps.iter().enumerate() {
        match *step {
            Step::Track { who, event, n, p, late } => {
                let who = who.min(oracle.people() - 1);
                let name = ["View", "Buy", "Ping"][event];
                let t = (world.now - late * TICK).max(start());
                world.track(who, name, t, &json!({"n": n, "p": p}));
                oracle.track(who, name, t, n, p);
            }
            Step::Pass(ticks) => {
                let now = world.now + ticks * TICK;
                world.pass(now);
                oracle.pass(now);
            }
            Step::Merge if oracle.people() == 2 => {
                world.merge();
                oracle.merge();
            }
            Step::Merge => {}
            Step::Erase { who, which } => {
                let who = who.min(oracle.people() - 1);
                // Both count the events in the order in which they came.
                world.pass(world.now);
                world.profiles[who].tail.sort_by_key(|entry| entry.moment.seq);
                world.erase(who, which);
                oracle.erase(who, which);
            }
            Step::Add(which) => {
                if rules.iter().all(|rule| rule.key != menu[which].key) {
                    rules.push(menu[which].clone());
                    world.edit(&json!({"rules": [definition(&menu[which])]}));
                    oracle.edit(rules.clone());
                }
            }
            Step::Change { which, threshold } => {
                let which = which % rules.len();
                if rules[which].threshold != threshold {
                    rules[which].threshold = threshold;
                    world.edit(&json!({"rules": [definition(&rules[which])]}));
                    oracle.edit(rules.clone());
                }
            }
        }
        check(&world, &oracle, i + 1)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t96_rules_equal_the_oracle(
        first in prop::collection::vec(0..16_usize, 1..6),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        play(&first, &steps)?;
    }
}
