//! T-86 to T-90 and what section 7 says beside them, one case each.

use super::driver::{World, at};
use lodestone_state::event::Firing;
use serde_json::{Value as Json, json};

fn ready() -> Json {
    json!([{"type": "set_attribute", "key": "Checkout Completed", "value": "Ready"}])
}

fn rule(changes: Json) -> Json {
    let mut rule = json!({
        "key": "big", "eventId": "Buy", "metric": {"sum": "n"}, "operator": "greater_than_or_equal", "threshold": 500,
        "fire": "once", "then": ready(),
    });
    for (key, value) in changes.as_object().expect("an object") {
        rule[key] = value.clone();
    }
    rule
}

/// One profile from the start of 2024-03-01 in Berlin, one rule.
fn world(changes: Json) -> World {
    World::new(json!([rule(changes)]), at("02-29T23:00"), 1)
}

fn buy(world: &mut World, time: &str, n: i64) {
    world.pass(world.now.max(at(time)));
    world.track(0, "Buy", at(time), &json!({"n": n}));
}

fn times(world: &World) -> Vec<(i64, Firing)> {
    world.fired_log(0).into_iter().map(|(t, _, what, _)| (t, what)).collect()
}

#[test]
fn t86_dates_include_both_days_by_local_time() {
    let march = json!({"period": {"start": "2024-03-01", "end": "2024-03-31"}});
    let mut w = world(march.clone());
    buy(&mut w, "10:00", 300);
    assert_eq!(w.attributes(0), json!({}));
    buy(&mut w, "11:00", 200);
    assert_eq!(w.attributes(0), json!({"Checkout Completed": "Ready"}));
    assert_eq!(times(&w), [(at("11:00"), Firing::Met)]);
    let mut w = world(march.clone());
    buy(&mut w, "03-31T21:59:59", 500);
    assert_eq!(times(&w).len(), 1, "the last second of the last day counts");
    let mut w = world(march.clone());
    buy(&mut w, "03-31T22:00", 500);
    assert_eq!(times(&w).len(), 0, "the day after does not");
    // What arrives later and happened in time counts when it arrives.
    w.pass(at("04-02T10:00"));
    w.track(0, "Buy", at("03-31T21:59:59"), &json!({"n": 500}));
    assert_eq!(times(&w), [(at("04-02T10:00"), Firing::Met)]);
}

#[test]
fn t87_once_emits_once_and_a_rule_that_counts_its_own_event_does_not_loop() {
    let emit = json!([{"type": "emit_event", "event": "Ping", "properties": {"n": 1}}]);
    let mut w = world(json!({"then": emit}));
    for (i, n) in [300, 200, 700, 900].into_iter().enumerate() {
        buy(&mut w, &format!("1{i}:00"), n);
    }
    assert_eq!(w.events(0, "Ping"), 1);
    let own =
        json!({"eventId": "Ping", "metric": "count", "operator": null, "threshold": null, "fire": {"every": 1}, "then": emit});
    let mut w = world(own);
    w.track(0, "Ping", w.now, &json!({}));
    assert_eq!((w.events(0, "Ping"), w.refused), (2, 0), "one tracked, one emitted");
    assert_eq!(times(&w).iter().map(|(_, what)| *what).collect::<Vec<_>>(), [Firing::Met, Firing::Quiet]);
    w.pass(at("23:00"));
    w.track(0, "Ping", w.now, &json!({}));
    assert_eq!(w.events(0, "Ping"), 4, "the next one from outside fires again");
}

/// Rules that set each other off: each fires once for one event from outside, none in its own chain.
#[test]
fn t87_circles_end() {
    let pair = |key: &str, counts: &str, emits: &str| {
        json!({"key": key, "eventId": counts, "metric": "count", "fire": {"every": 1},
               "then": [{"type": "emit_event", "event": emits, "properties": {}}]})
    };
    let mut w = World::new(json!([pair("a", "View", "Buy"), pair("b", "Buy", "View")]), at("10:00"), 1);
    w.track(0, "View", w.now, &json!({}));
    assert_eq!((w.events(0, "View"), w.events(0, "Buy")), (2, 1));
    // Ten rules that all count and emit one event: chains end at the eighth link.
    let many: Vec<Json> = (0..10).map(|i| pair(&format!("r{i}"), "Ping", "Ping")).collect();
    let mut w = World::new(json!(many[..3]), at("10:00"), 1);
    w.track(0, "Ping", w.now, &json!({}));
    assert!(w.events(0, "Ping") < 20 && w.refused == 0);
}

#[test]
fn t88_removal_leaves_attributes_unless_they_are_purged() {
    for purge in [false, true] {
        let mut w = world(json!({}));
        buy(&mut w, "10:00", 600);
        w.remove("big", purge);
        assert_eq!(w.profiles[0].core.rules.len(), 0, "its state is gone at once");
        let expect = if purge { json!({}) } else { json!({"Checkout Completed": "Ready"}) };
        assert_eq!(w.attributes(0), expect);
        // Made again it starts over.
        w.edit(&json!({"rules": [rule(json!({}))]}));
        assert_eq!(times(&w).last(), Some(&(at("10:00"), Firing::Backfill)));
    }
}

#[test]
fn t89_who_is_above_already_fires_once_when_the_rule_comes() {
    for (fire_on_backfill, what) in [(true, Firing::Backfill), (false, Firing::Quiet)] {
        let mut w = World::new(json!([]), at("09:00"), 1);
        buy(&mut w, "10:00", 600);
        w.pass(at("11:00"));
        let hook = json!([ready()[0], {"type": "webhook", "url": "https://x", "params": {"a": 1}}]);
        w.edit(&json!({"rules": [rule(json!({"fireOnBackfill": fire_on_backfill, "then": hook}))]}));
        assert_eq!(times(&w), [(at("11:00"), what)]);
        assert_eq!(w.attributes(0) == json!({}), !fire_on_backfill);
        assert_eq!(w.calls.len(), usize::from(fire_on_backfill));
        if let Some(call) = w.calls.first() {
            assert_eq!(
                (&call["cause"], &call["metric"], &call["rule"], &call["customProperties"]),
                (&json!("backfill"), &json!(600), &json!("big"), &json!({"a": 1}))
            );
        }
        buy(&mut w, "12:00", 600);
        assert_eq!(times(&w).len(), 1, "once");
    }
}

#[test]
fn t90_a_sliding_window_clears_at_its_millisecond() {
    let day = json!({"period": {"last": {"amount": 24, "unit": "hours"}}, "onUnmet": "clear", "fire": "each_crossing"});
    let mut w = world(day);
    buy(&mut w, "10:00", 500);
    w.pass(at("03-02T09:59:59.999"));
    assert_eq!(w.attributes(0), json!({"Checkout Completed": "Ready"}));
    assert_eq!(w.profiles[0].deadline().0, at("03-02T10:00"));
    w.pass(at("03-02T10:00"));
    assert_eq!(w.attributes(0), json!({}));
    // However late anybody looks, it happened then; and it may be met again.
    buy(&mut w, "03-02T12:00", 500);
    buy(&mut w, "03-05T12:00", 500);
    let expect = [
        (at("10:00"), Firing::Met),
        (at("03-02T10:00"), Firing::Cleared),
        (at("03-02T12:00"), Firing::Met),
        (at("03-03T12:00"), Firing::Cleared),
        (at("03-05T12:00"), Firing::Met),
    ];
    assert_eq!(times(&w), expect);
}

#[test]
fn calendar_periods_reset_at_local_boundaries() {
    let day = json!({"period": {"calendar": "day"}, "fire": "each_period", "onUnmet": "clear"});
    let mut w = World::new(json!([rule(day)]), at("03-30T10:00"), 1);
    buy(&mut w, "03-30T12:00", 400);
    buy(&mut w, "03-30T22:59:59.999", 100);
    // The 31st has 23 hours.
    buy(&mut w, "03-31T21:59:59.999", 500);
    buy(&mut w, "03-31T22:00", 499);
    buy(&mut w, "04-01T21:00", 1);
    let expect = [
        (at("03-30T22:59:59.999"), Firing::Met),
        (at("03-30T23:00"), Firing::Cleared),
        (at("03-31T21:59:59.999"), Firing::Met),
        (at("03-31T22:00"), Firing::Cleared),
        (at("04-01T21:00"), Firing::Met),
    ];
    assert_eq!(times(&w), expect);
}

#[test]
fn every_fires_at_each_further_multiple() {
    let mut w = world(json!({"fire": {"every": 100}, "operator": null, "threshold": null}));
    for (i, n) in [50, 49, 1, 250, -200, 199, 1].into_iter().enumerate() {
        buy(&mut w, &format!("1{i}:00"), n);
    }
    let markers: Vec<i64> = w.fired_log(0).into_iter().map(|(_, _, _, marker)| marker).collect();
    // 100; 350 passes two at once; 150 and 349 none; 350 again none.
    assert_eq!(markers, [1, 3]);
}

#[test]
fn merging_fires_once_and_never_what_has_fired() {
    let two = |changes: Json| World::new(json!([rule(changes)]), at("09:00"), 2);
    let mut w = two(json!({}));
    w.track(0, "Buy", w.now, &json!({"n": 300}));
    w.track(1, "Buy", w.now, &json!({"n": 250}));
    w.pass(at("10:00"));
    w.merge();
    assert_eq!(times(&w), [(at("10:00"), Firing::Met)], "rise through merging");
    assert_eq!(w.metric(0, "big"), Some(550.into()));
    for fire in [json!("once"), json!("each_period"), json!("each_crossing")] {
        let mut w = two(json!({"fire": fire}));
        w.track(1, "Buy", w.now, &json!({"n": 600}));
        w.pass(at("10:00"));
        w.merge();
        assert_eq!(times(&w), [(at("09:00"), Firing::Met)], "{fire}");
        assert_eq!(w.attributes(0), json!({"Checkout Completed": "Ready"}), "{fire}");
        assert_eq!(w.profiles[0].core.set_by.len(), 1, "{fire}");
    }
}

/// The state of a rule is what the log gives, also after a merge; and nothing is kept for nothing.
#[test]
fn idle_rules_take_no_room() {
    let mut w = world(json!({}));
    assert_eq!(w.profiles[0].core.rules.len(), 0);
    w.track(0, "View", w.now, &json!({}));
    assert_eq!(w.profiles[0].core.rules.len(), 0);
    assert!(std::mem::size_of::<lodestone_state::rule::RuleState>() <= 320);
}
