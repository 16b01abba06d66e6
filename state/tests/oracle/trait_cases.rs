//! The acceptance items on computed traits.

use super::names::{compile_trait, path};
use super::rig::{Custom, Rig, at, occurrence};
use lodestone_state::event::Props;
use lodestone_state::ids::{Millis, Moment, Seq};
use lodestone_state::traits::{Input, TraitDef, TraitKind};
use lodestone_state::value::Value;
use serde_json::{Value as Json, json};

/// A trait over event P.
fn def(kind: &str, properties: Json, conditions: Json) -> TraitDef {
    let json = json!({"name": "T", "key": "t", "type": kind, "eventId": "P", "conditions": conditions, "properties": properties});
    compile_trait(&json).unwrap_or_else(|issues| panic!("{issues:?}"))
}

fn aggregation(what: &str) -> TraitDef {
    def("aggregation", json!({"property": "price", "type": "float", "aggregationType": what}), json!([]))
}

/// The value after events P with these properties, one a minute.
fn after(def: &TraitDef, events: &[Json]) -> Option<Value> {
    let mut rig = Rig::new(def);
    for (minute, properties) in events.iter().enumerate() {
        rig.track("P", &format!("10:{minute:02}"), properties.clone());
    }
    rig.value()
}

fn json_of(value: Option<Value>) -> Json {
    value.map_or(Json::Null, |value| value.to_json())
}

#[test]
fn t_16_counts_what_the_condition_lets_through() {
    let count = def(
        "count_events",
        json!({}),
        json!([{"property": "price", "type": "float", "operator": "greater_than", "value": "10"}]),
    );
    assert_eq!(json_of(after(&count, &[json!({"price": 5}), json!({"price": 11}), json!({"price": 20})])), 2);
    assert_eq!(json_of(after(&count, &[])), 0);
    assert_eq!(count.default_value(), Some(Value::Int(0)));
}

#[test]
fn t_17_sums_are_exact_in_every_order() {
    assert_eq!(json_of(after(&aggregation("sum"), &vec![json!({"price": 0.1}); 10])), 1);
    let orders = [[1e16, 1.0, -1e16], [1e16, -1e16, 1.0], [1.0, 1e16, -1e16], [-1e16, 1.0, 1e16]];
    for order in orders {
        assert_eq!(json_of(after(&aggregation("sum"), &order.map(|v| json!({"price": v})))), 1);
    }
}

#[test]
fn t_18_the_mean_ignores_what_is_missing() {
    let avg = aggregation("avg");
    assert_eq!(json_of(after(&avg, &[1, 2, 2].map(|v| json!({"price": v})))), 1.667);
    assert_eq!(json_of(after(&avg, &[json!({}), json!({"price": 4})])), 4);
    assert_eq!(after(&avg, &[]), None);
    assert_eq!(avg.default_value(), None);
}

#[test]
fn t_19_extremes_and_rounding() {
    let min = aggregation("min");
    assert_eq!(json_of(after(&min, &[json!({"price": 3}), json!({"price": -2}), json!({})])), -2);
    assert_eq!(json_of(after(&aggregation("sum"), &[json!({"price": 1.0005})])), 1.001);
    assert_eq!(json_of(after(&aggregation("sum"), &[json!({"price": -1.0005})])), -1.001);
    assert_eq!(json_of(after(&aggregation("max"), &[json!({"price": 2.0005})])), 2.001);
}

#[test]
fn t_20_most_frequent_has_a_minimum_and_breaks_ties() {
    let frequent = def("most_frequent", json!({"property": "page", "type": "string", "minFrequency": 2}), json!([]));
    let pages = |pages: &[&str]| pages.iter().map(|p| json!({"page": p})).collect::<Vec<_>>();
    assert_eq!(after(&frequent, &pages(&["M", "L"])), None);
    assert_eq!(json_of(after(&frequent, &pages(&["M", "L", "L"]))), "L");
    assert_eq!(json_of(after(&frequent, &pages(&["M", "L", "L", "M"]))), "M");
}

#[test]
fn t_21_an_array_element_counts_once_per_event() {
    let frequent = def("most_frequent", json!({"property": "tags", "type": "array", "minFrequency": 1}), json!([]));
    assert_eq!(json_of(after(&frequent, &[json!({"tags": ["a", "a", "b"]}), json!({"tags": ["b"]})])), "b");
}

#[test]
fn t_22_first_and_last_go_by_event_time() {
    for (kind, expect) in [("first_event", "/b"), ("last_event", "/a")] {
        let edge = def(kind, json!({"property": "page", "type": "string"}), json!([]));
        let mut rig = Rig::new(&edge);
        rig.track("P", "10:05", json!({"page": "/a"}));
        rig.event(occurrence("P", "web", &json!({"page": "/b"})), at("10:00"), at("10:06"), &mut |_, _| {});
        assert_eq!(json_of(rig.value()), expect);
        assert_eq!(rig.refolds, 0, "a late event costs first and last nothing");
    }
}

#[test]
fn t_23_the_time_of_the_last_event() {
    let last = def("last_event", json!({"useTimestamp": true}), json!([]));
    let mut rig = Rig::new(&last);
    rig.track("P", "10:00:00.123", json!({}));
    assert_eq!(json_of(rig.value()), "2024-03-01T10:00:00.123Z");
}

#[test]
fn t_24_equal_times_are_ordered_by_log_position() {
    for (kind, expect) in [("first_event", "x"), ("last_event", "y")] {
        let edge = def(kind, json!({"property": "page", "type": "string"}), json!([]));
        for order in [[(7, "x"), (8, "y")], [(8, "y"), (7, "x")]] {
            let mut state = edge.new_state();
            for (seq, page) in order {
                let moment = Moment { t: at("10:00"), seq: Seq(seq) };
                edge.feed(&mut state, moment, &occurrence("P", "web", &json!({"page": page})), &Custom::default(), at("10:00"));
            }
            assert_eq!(json_of(edge.value(&state)), expect);
        }
    }
}

#[test]
fn t_25_distinct_values_are_typed() {
    // Without a declared type, so that numbers and text can meet.
    let untyped = |kind| {
        let mut def = def(kind, json!({"property": "page", "type": "string"}), json!([]));
        def.input = Input::Property { path: Some(path("any").into()), data_type: None };
        def
    };
    let events = [json!("b"), json!("a"), json!("b"), json!(1), json!("1"), json!(1.0)].map(|v| json!({"any": v}));
    assert_eq!(json_of(after(&untyped("unique_list"), &events)), json!(["b", "a", 1, "1"]));
    assert_eq!(json_of(after(&untyped("unique_list_count"), &events)), 4);
    assert_eq!(json_of(after(&untyped("unique_list"), &[])), json!([]));
}

#[test]
fn t_26_a_window_lets_go_to_the_millisecond() {
    let count = def("count_events", json!({"window": {"amount": 1, "unit": "hours"}}), json!([]));
    let mut rig = Rig::new(&count);
    rig.track("P", "10:00", json!({})).track("P", "10:30", json!({}));
    assert_eq!(json_of(rig.value_at("10:59:59.999")), 2);
    assert_eq!(json_of(rig.value_at("11:00:00.000")), 1);
    assert_eq!(json_of(rig.value_at("11:29:59.999")), 1);
    assert_eq!(json_of(rig.value_at("11:30")), 0);
    assert_eq!(count.deadline(&rig.state), Millis::MAX);
}

#[test]
fn t_27_the_maximum_of_a_window() {
    let properties =
        json!({"property": "price", "type": "float", "aggregationType": "max", "window": {"amount": 1, "unit": "hours"}});
    let max = def("aggregation", properties, json!([]));
    let mut rig = Rig::new(&max);
    for (price, time) in [(9, "10:00"), (5, "10:10"), (7, "10:20")] {
        rig.track("P", time, json!({"price": price}));
    }
    assert_eq!(json_of(rig.value()), 9);
    assert_eq!(json_of(rig.value_at("10:59:59.999")), 9);
    assert_eq!(json_of(rig.value_at("11:00")), 7);
    assert_eq!(rig.value_at("11:20"), None);
}

#[test]
fn t_28_a_late_event_joins_its_window() {
    let properties =
        json!({"property": "price", "type": "float", "aggregationType": "sum", "window": {"amount": 1, "unit": "hours"}});
    let sum = def("aggregation", properties, json!([]));
    let mut rig = Rig::new(&sum);
    rig.event(occurrence("P", "web", &json!({"price": 4})), at("10:00"), at("10:50"), &mut |_, _| {});
    assert_eq!(json_of(rig.value()), 4);
    assert_eq!(json_of(rig.value_at("10:59:59.999")), 4);
    assert_eq!(json_of(rig.value_at("11:00")), 0);
}

#[test]
fn t_29_an_event_counts_while_its_date_is_near() {
    let count = def(
        "count_events",
        json!({}),
        json!([{"property": "when", "type": "dateTime", "operator": "within_next_days", "value": "1"}]),
    );
    let mut rig = Rig::new(&count);
    rig.track("P", "03-01T10:00", json!({"when": "2024-03-03T00:00:00Z"}));
    assert_eq!(json_of(rig.value()), 0);
    assert_eq!(json_of(rig.value_at("03-01T23:59:59.999")), 0);
    assert_eq!(json_of(rig.value_at("03-02T00:00")), 1);
    assert_eq!(json_of(rig.value_at("03-02T23:59:59.999")), 1);
    assert_eq!(json_of(rig.value_at("03-03T00:00")), 0);
}

#[test]
fn t_30_an_event_that_fails_the_condition_changes_nothing() {
    let condition = json!([{"property": "price", "type": "float", "operator": "greater_than", "value": "1"}]);
    let first = def("first_event", json!({"property": "page", "type": "string"}), condition);
    let mut rig = Rig::new(&first);
    rig.track("P", "10:00", json!({"page": "/a", "price": 1}));
    assert_eq!(rig.value(), None);
    assert_eq!(rig.state, first.new_state());
}

#[test]
fn t_34_states_of_two_profiles_merge() {
    let history = |events: &[(&str, &str)], def: &TraitDef| {
        let mut rig = Rig::new(def);
        events.iter().for_each(|(time, page)| {
            rig.track("P", time, json!({"page": page, "price": 0.1}));
        });
        rig.state
    };
    let (a, b) = ([("09:00", "x"), ("09:30", "y"), ("09:40", "x")], [("08:00", "y"), ("08:30", "z")]);
    let mut union = [&b[..], &a[..]].concat();
    union.sort_unstable();
    let page = json!({"property": "page", "type": "string"});
    let cases = [
        (def("count_events", json!({}), json!([])), json!(5)),
        (def("unique_list", page.clone(), json!([])), json!(["y", "z", "x"])),
        (def("unique_list_count", page.clone(), json!([])), json!(3)),
        (def("first_event", page.clone(), json!([])), json!("y")),
        (def("last_event", page.clone(), json!([])), json!("x")),
        (def("most_frequent", page, json!([])), json!("x")),
        (aggregation("sum"), json!(0.5)),
        (aggregation("avg"), json!(0.1)),
        (aggregation("min"), json!(0.1)),
    ];
    for (def, expect) in cases {
        let mut merged = history(&a, &def);
        assert!(def.merge(&mut merged, &history(&b, &def)));
        assert_eq!(json_of(def.value(&merged)), expect, "{:?}", def.kind);
        assert_eq!(def.value(&merged), def.value(&history(&union, &def)));
    }
    let windowed = def("count_events", json!({"window": {"amount": 1, "unit": "days"}}), json!([]));
    assert!(!windowed.merge(&mut windowed.new_state(), &windowed.new_state()), "a window needs the union log");
}

#[test]
fn t_36_without_the_event_the_next_value_is_the_maximum() {
    let max = aggregation("max");
    let mut rig = Rig::new(&max);
    for (price, time) in [(9, "10:00"), (5, "10:10"), (7, "10:20")] {
        rig.track("P", time, json!({"price": price}));
    }
    rig.log.remove(0);
    assert_eq!(json_of(max.value(&rig.folded())), 7);
}

#[test]
fn a_date_in_an_open_object_is_a_date() {
    // Section 1.2: RFC 3339 or a local day; T-23 shows instants in UTC. What is no date does not contribute.
    for (kind, text, expect) in [
        ("first_event", "2024-03-01T11:00:00+01:00", json!("2024-03-01T10:00:00.000Z")),
        ("last_event", "2024-03-01", json!("2024-02-29T23:00:00.000Z")),
        ("last_event", "soon", Json::Null),
    ] {
        let date = def(kind, json!({"property": "any", "type": "dateTime"}), json!([]));
        assert_eq!(json_of(after(&date, &[json!({"any": text}), json!({"any": 5})])), expect, "{text}");
    }
}

#[test]
fn a_value_has_at_most_4_kib() {
    let last = def("last_event", json!({"property": "product", "type": "string"}), json!([]));
    let of = |bytes: usize| "x".repeat(bytes);
    for (bytes, kept) in [(23, 23), (4096, 4096), (4097, 1)] {
        let seen = json_of(after(&last, &[json!({"product": "y"}), json!({"product": of(bytes)})]));
        assert_eq!(seen.as_str().map(str::len), Some(kept), "{bytes}");
    }
}

#[test]
fn an_estimate_follows_what_leaves_the_window() {
    // Section 2.2: past 10 000 values the count is a sketch, which cannot let go of what leaves.
    let total = 12_000;
    let distinct = def(
        "unique_list_count",
        json!({"property": "n", "type": "integer", "window": {"amount": 1, "unit": "hours"}}),
        json!([]),
    );
    let mut rig = Rig::new(&distinct);
    for n in 0..total {
        let t = at("10:00").plus(n);
        rig.event(occurrence("P", "web", &json!({"n": n})), t, t, &mut |_, _| {});
    }
    for left in [12_000, 11_400, 10_700, 10_100, 9_900, 5_000] {
        rig.pass(at("11:00").plus(total - left - 1), &mut |_, _| {});
        let Some(Value::Int(seen)) = rig.value() else { panic!("no count") };
        let off = if left < 9_500 { 0 } else { left / 12 };
        assert!((seen - left).abs() <= off, "{seen} of {left}");
    }
}

#[test]
fn channels_narrow_what_contributes() {
    let count = def("count_events", json!({"channels": ["app"]}), json!([]));
    let mut rig = Rig::new(&count);
    for channel in ["web", "app", "web"] {
        rig.event(occurrence("P", channel, &json!({})), at("10:00"), at("10:00"), &mut |_, _| {});
    }
    assert_eq!(json_of(rig.value()), 1);
}

#[test]
fn a_comparison_with_a_trait_is_as_of_the_event() {
    let condition =
        json!([{"property": "product", "type": "string", "operator": "equals", "target": "custom_trait", "traitKey": "fav"}]);
    let count = def("count_events", json!({}), condition);
    let fav = |v: &str| Props::new(vec![(path("fav"), v.into())]);
    let mut rig = Rig::new(&count);
    rig.identify(fav("a"), at("10:00"), &mut |_, _| {});
    rig.track("P", "10:01", json!({"product": "a"}));
    rig.identify(fav("b"), at("10:02"), &mut |_, _| {});
    assert_eq!(json_of(rig.value()), 1, "it was so when it happened");
    // Late, from when the favourite was another.
    rig.event(occurrence("P", "web", &json!({"product": "a"})), at("10:01"), at("10:05"), &mut |_, _| {});
    rig.event(occurrence("P", "web", &json!({"product": "b"})), at("10:01"), at("10:05"), &mut |_, _| {});
    assert_eq!(json_of(rig.value()), 2);
}

#[test]
fn a_full_window_asks_the_history_when_its_list_runs_dry() {
    let total = 10_000;
    for (kind, properties) in [
        ("count_events", json!({})),
        ("aggregation", json!({"property": "n", "type": "integer", "aggregationType": "sum"})),
        ("aggregation", json!({"property": "n", "type": "integer", "aggregationType": "min"})),
        ("first_event", json!({"property": "n", "type": "integer"})),
        ("unique_list_count", json!({"property": "n", "type": "integer"})),
        ("most_frequent", json!({"property": "n", "type": "integer"})),
    ] {
        let mut properties = properties;
        properties["window"] = json!({"amount": 1, "unit": "hours"});
        let windowed = def(kind, properties, json!([]));
        let mut rig = Rig::new(&windowed);
        for n in 0..total {
            let t = at("10:00").plus(n);
            rig.event(occurrence("P", "web", &json!({"n": n})), t, t, &mut |_, _| {});
        }
        for left in [5000, 1200, 3, 1] {
            rig.pass(at("11:00").plus(total - left - 1), &mut |_, _| {});
            let first = total - left;
            let expect = match kind {
                "count_events" | "unique_list_count" => left,
                "aggregation" if windowed.kind == TraitKind::Sum => (first..total).sum(),
                "most_frequent" => total - 1,
                _ => first,
            };
            assert_eq!(json_of(rig.value()), expect, "{kind} with {left} left");
        }
        rig.pass(at("11:00").plus(total), &mut |_, _| {});
        assert_eq!(rig.value(), windowed.default_value(), "{kind}");
        assert!(rig.refolds <= 4, "{kind} asked {} times", rig.refolds);
    }
}

#[test]
fn every_problem_of_a_definition_is_told_at_once() {
    let json = json!({"type": "aggregation", "eventId": "nothing", "conditions": {},
        "properties": {"aggregationType": "median", "channels": ["tv"], "window": {"amount": 0, "unit": "moons"}}});
    let issues = compile_trait(&json).unwrap_err();
    let mut told: Vec<(&str, &str)> = issues.iter().map(|i| (i.pointer.as_str(), i.code)).collect();
    told.sort_unstable();
    let expect = [
        ("/conditions", "definition_invalid"),
        ("/eventId", "event_not_found"),
        ("/properties/aggregationType", "definition_invalid"),
        ("/properties/channels/0", "channel_not_found"),
        ("/properties/property", "definition_invalid"),
        ("/properties/window/amount", "definition_invalid"),
        ("/properties/window/unit", "definition_invalid"),
    ];
    assert_eq!(told, expect);
    // T-13 for traits: the literal is read when the definition is saved.
    let conditions = json!([{"property": "n", "type": "integer", "operator": "equals", "value": "1 OR 1=1"}]);
    let json = json!({"type": "count_events", "eventId": "P", "conditions": conditions});
    let issues = compile_trait(&json).unwrap_err();
    assert_eq!((issues[0].pointer.as_str(), issues[0].code), ("/conditions/0/value", "invalid_condition"));
}
