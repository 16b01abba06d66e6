//! Audiences: generated ones before generated people.

use super::world::{World, audience, history};
use lodestone_state::event::{EntryKind, Identified, Props};
use lodestone_state::explain::{Change, Proposal, audience_clauses, explain_audience};
use lodestone_state::ids::{ChannelSlot, Millis};
use lodestone_state::time::parse_rfc3339;
use lodestone_state::value::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// The proposal without one of its changes, or with one event fewer.
fn smaller(proposal: &Proposal) -> Vec<Proposal> {
    let mut all = Vec::new();
    for i in 0..proposal.steps.len() {
        let mut fewer = proposal.clone();
        match &mut fewer.steps[i].change {
            Change::Track { times, .. } if *times > 1 => *times -= 1,
            _ => drop(fewer.steps.remove(i)),
        }
        all.push(fewer);
    }
    all
}

/// Whether each clause holds, those inside groups one by one.
fn answers(clauses: &Json) -> Vec<bool> {
    let each = clauses.as_array().into_iter().flatten().map(|clause| match clause.get("parts") {
        Some(parts) => answers(parts),
        None => vec![clause["holds"] == true],
    });
    each.flatten().collect()
}

/// When each clause is said to turn by itself, in the order of [`answers`].
fn turns(clauses: &Json) -> Vec<Option<Millis>> {
    let each = clauses.as_array().into_iter().flatten().map(|clause| match clause.get("parts") {
        Some(parts) => turns(parts),
        None => vec![clause["until"].as_str().map(|at| parse_rfc3339(at).expect("an instant"))],
    });
    each.flatten().collect()
}

fn clauses(world: &World) -> Json {
    world.asked(|case| audience_clauses(case, world.x)).into()
}

/// What could happen to a person in one go, now.
fn single_changes(world: &World) -> Vec<EntryKind> {
    let mut all = Vec::new();
    let (n, s, price) = (world.path("n"), world.path("s"), world.path("price"));
    for event in ["A", "B", "C"] {
        for channel in [0, 1] {
            for number in [-2, 0, 1, 2, 3, 4, 5, 6, 18, 25, 36] {
                for text in ["x", "y", "z"] {
                    for amount in [None, Some(-20.0), Some(0.5), Some(20.0)] {
                        let mut pairs = vec![(n, Value::Int(number)), (s, text.into())];
                        pairs.extend(amount.map(|amount| (price, Value::Float(amount))));
                        all.push(world.event(event, ChannelSlot(channel), Props::new(pairs)));
                    }
                }
            }
        }
    }
    let mut custom = |key: &str, value: Option<Value>| {
        let path = world.path(key);
        let others = world.profile.core.custom.iter().filter(|(known, _)| *known != path).cloned();
        let pairs = others.chain(value.map(|value| (path, value))).collect();
        all.push(EntryKind::Identified(Identified { custom: Some(Props::new(pairs)), ..Identified::default() }));
    };
    (14..36).for_each(|age| custom("age", Some(Value::Int(age))));
    ["x", "y", "z", "xy"].into_iter().for_each(|city| custom("city", Some(city.into())));
    [true, false].into_iter().for_each(|vip| custom("vip", Some(Value::Bool(vip))));
    ["age", "city", "vip"].into_iter().for_each(|key| custom(key, None));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_proposed_flips_the_answer(audience in audience(), inputs in history(), rest in 0..150_i64) {
        let world = World::new(&audience, &inputs, rest);
        let told = world.asked(|case| explain_audience(case, world.x)).expect("in force");
        prop_assert_eq!(told.member, world.member());
        let all_hold = told.json["clauses"].as_array().expect("clauses").iter().all(|clause| clause["holds"] == true);
        prop_assert_eq!(told.member, all_hold, "{}", told.json);
        for proposal in [&told.flip.now, &told.flip.later].into_iter().flatten() {
            let after = world.after(proposal);
            prop_assert_ne!(after.member(), told.member, "{:?} in {}", proposal, audience);
            prop_assert_eq!(after.member(), after.member_by_fold());
            for fewer in smaller(proposal) {
                prop_assert_eq!(world.after(&fewer).member(), told.member, "{:?} is enough of {:?}", fewer, proposal);
            }
        }
    }

    /// Minimal in clauses: a single event or trait that flips the answer, by flipping so many clauses, is
    /// matched by a proposal that flips no more.
    #[test]
    fn no_single_change_flips_fewer_clauses(audience in audience(), inputs in history(), rest in 0..150_i64) {
        let world = World::new(&audience, &inputs, rest);
        let told = world.asked(|case| explain_audience(case, world.x)).expect("in force");
        let cost = told.flip.now.as_ref().map_or(usize::MAX, |now| now.cost);
        if cost == 1 {
            return Ok(());
        }
        let before = answers(&told.json["clauses"]);
        let mut copy = world.copy();
        for change in single_changes(&world) {
            copy.profile.clone_from(&world.profile);
            copy.apply(change.clone());
            if copy.member() == told.member {
                continue;
            }
            copy.entries.clone_from(&copy.profile.tail);
            let after = copy.asked(|case| explain_audience(case, copy.x)).expect("in force");
            let flipped = before.iter().zip(answers(&after.json["clauses"])).filter(|(was, is)| *was != is).count();
            prop_assert!(cost <= flipped, "{:?} flips {} of {}, told {:?}", change, flipped, audience, told.flip);
        }
    }

    /// What changes by itself does so at that very instant, and not a moment earlier.
    #[test]
    fn waiting_is_told_to_the_millisecond(audience in audience(), inputs in history(), rest in 0..150_i64) {
        let world = World::new(&audience, &inputs, rest);
        let told = world.asked(|case| explain_audience(case, world.x)).expect("in force");
        let Some(at) = told.flip.by_itself() else {
            let mut later = world.copy();
            for _ in 0..60 {
                later.pass(later.now.plus(7 * 60_000));
                prop_assert_eq!(later.member(), told.member, "at {:?} by itself", later.now);
            }
            return Ok(());
        };
        let mut later = world.copy();
        later.pass(at.minus(1).max(world.now));
        prop_assert_eq!(later.member(), told.member);
        later.pass(at);
        prop_assert_ne!(later.member(), told.member);
    }

    /// Of each clause as of the whole: it turns when it is said to, not where its count only moves, and also when it is a
    /// windowed trait or another audience that turns it.
    #[test]
    fn each_clause_turns_when_it_is_said_to(audience in audience(), inputs in history(), rest in 0..150_i64) {
        let world = World::new(&audience, &inputs, rest);
        let told = clauses(&world);
        let (now, turns) = (answers(&told), turns(&told));
        let mut edges: Vec<Millis> = turns.iter().flatten().flat_map(|at| [at.minus(1).max(world.now), *at]).collect();
        edges.extend((0..60).map(|i| world.now.plus(i * 7 * 60_000)));
        edges.sort_unstable();
        let mut later = world.copy();
        for at in edges {
            later.pass(at);
            for ((turn, was), is) in turns.iter().zip(&now).zip(answers(&clauses(&later))) {
                match turn {
                    Some(turn) if at < *turn => prop_assert_eq!(*was, is, "at {:?} of {}", at, told),
                    Some(turn) if at == *turn => prop_assert_ne!(*was, is, "at {:?} of {}", at, told),
                    Some(_) => {}
                    None => prop_assert_eq!(*was, is, "at {:?} by itself, of {}", at, told),
                }
            }
        }
    }
}

/// However much leaves its window before: here the last but one of 600 events, one a millisecond.
#[test]
fn what_turns_late_is_told_too() {
    let recent = json!({"source": "computed", "key": "recentB", "dataType": "integer", "operator": "greater_than", "value": 1});
    let counted = json!({"id": "A", "operator": "more_or_exactly", "count": 1, "timeWindowOperator": "within", "timeWindowEnd": 3,
        "timeWindowUnit": "hours"});
    let audience = json!({"name": "x", "key": "x", "includeAnonymous": true, "events": [counted], "traits": [recent]});
    let mut world = World::new(&audience, &[], 0);
    let began = world.now;
    world.apply(world.event("A", ChannelSlot(0), Props::default()));
    for _ in 0..600 {
        world.now = world.now.plus(1);
        world.apply(world.event("B", ChannelSlot(0), Props::default()));
    }
    world.entries.clone_from(&world.profile.tail);
    let told = world.asked(|case| explain_audience(case, world.x)).expect("in force");
    let minutes = |n: i64| n * 60_000;
    assert_eq!((told.member, told.flip.by_itself()), (true, Some(began.plus(599 + minutes(90)))));
    assert_eq!(
        turns(&told.json["clauses"]),
        [None, Some(began.plus(minutes(180))), Some(began.plus(599 + minutes(90)))],
        "{}",
        told.json
    );
}
