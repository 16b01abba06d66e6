//! Dates: absolute, relative, and until when an answer stands.

use super::table::{check, holds_at};
use super::*;
use serde_json::json;

#[track_caller]
fn dated(operator: &str, value: Json, d: &str, cases: &[(&str, bool)]) {
    let condition = json!({"property":"d","type":"dateTime","operator":operator,"value":value});
    for (now, expect) in cases {
        assert_eq!(holds_at(&condition, &json!({"d": d}), now), *expect, "{condition} for {d} at {now}");
    }
}

#[test]
fn t8_within_last_days() {
    for days in [json!(7), json!("7")] {
        dated(
            "within_last_days",
            days,
            "2024-03-01T10:00:00Z",
            &[
                ("2024-03-08T09:59:59.999Z", true),
                ("2024-03-08T10:00:00Z", false),
                ("2024-02-29T10:00:00Z", false),
                ("2024-03-01T10:00:00Z", true),
            ],
        );
    }
}

#[test]
fn t9_within_next_days() {
    dated(
        "within_next_days",
        json!(2),
        "2024-03-10T00:00:00Z",
        &[
            ("2024-03-07T23:59:59.999Z", false),
            ("2024-03-08T00:00:00Z", true),
            ("2024-03-09T23:59:59.999Z", true),
            ("2024-03-10T00:00:00Z", false),
        ],
    );
}

#[test]
fn t10_date_literals_are_local_days() {
    let at = |operator: &str, literal: &str, cases: &[(&str, bool)]| {
        let cases: Vec<_> = cases.iter().map(|(d, expect)| (json!({"d": d}), *expect)).collect();
        check("d", "dateTime", operator, json!(literal), &cases);
    };
    at("before_date", "2024-03-01", &[("2024-02-29T22:59:59Z", true), ("2024-02-29T23:00:00Z", false)]);
    at(
        "equals",
        "2024-03-01",
        &[
            ("2024-02-29T22:59:59.999Z", false),
            ("2024-02-29T23:00:00Z", true),
            ("2024-03-01T22:59:59.999Z", true),
            ("2024-03-01T23:00:00Z", false),
        ],
    );
    at(
        "after_date",
        "2024-03-01",
        &[("2024-03-01T22:59:00Z", false), ("2024-03-01T23:00:00Z", true), ("2024-03-02", true), ("2024-03-01", false)],
    );
    // An instant, and local time without offset.
    at(
        "after_date",
        "2024-03-01T10:00:00Z",
        &[("2024-03-01T10:00:00Z", false), ("2024-03-01T10:00:00.001Z", true), ("2024-03-01T11:00:00.001", true)],
    );
    at(
        "equals",
        "2024-03-01T11:00:00",
        &[("2024-03-01T10:00:00Z", true), ("2024-03-01T11:00:00+01:00", true), ("yesterday", false)],
    );
    at("before_date", "2024-03-01T10:00:00Z", &[("2024-03-01T09:59:59.999Z", true), ("2024-03-01T10:00:00Z", false)]);
    check("d", "dateTime", "exists", json!(""), &[(json!({"d": "yesterday"}), true)]);
    check("d", "dateTime", "before_date", json!("2024-03-01"), &[(json!({"d": 0}), false)]);
    // A declared dateTime is an instant already.
    let expr = try_compile(&json!([{"key":"d","type":"dateTime","operator":"equals","value":"2024-03-01"}]), EVENT).unwrap();
    let facts =
        Docs { event: Value::Object(vec![("d".into(), Value::Time(instant("2024-03-01T10:00:00Z")))]), ..Docs::default() };
    assert!(expr.eval(&facts, Millis(0)).holds);
    let text = try_compile(&json!([{"key":"d","type":"string","operator":"starts_with","value":"2024-03-01T10:00:00.0"}]), EVENT)
        .unwrap();
    assert!(text.eval(&facts, Millis(0)).holds);
}

#[test]
fn until_is_the_next_instant_that_matters() {
    let day = crate::time::DAY_MS;
    let last = |key: &str, days: i64| json!({"property":key,"type":"dateTime","operator":"within_last_days","value":days});
    let facts = Docs {
        event: Value::Object(vec![("a".into(), Value::Time(Millis(0))), ("b".into(), Value::Time(Millis(day)))]),
        ..Docs::default()
    };
    let at = |list: Json, now: i64| try_compile(&list, EVENT).unwrap().eval(&facts, Millis(now));
    assert_eq!(at(json!([last("a", 2)]), -5), Truth { holds: false, until: Millis(0) });
    assert_eq!(at(json!([last("a", 2)]), 5), Truth { holds: true, until: Millis(2 * day) });
    assert_eq!(at(json!([last("a", 2)]), 2 * day), Truth::forever(false));
    // Both start false: the whole stays false until the later one starts.
    assert_eq!(at(json!([last("a", 2), last("b", 2)]), -5), Truth { holds: false, until: Millis(day) });
    assert_eq!(at(json!([last("a", 2), last("b", 2)]), day), Truth { holds: true, until: Millis(2 * day) });
    assert_eq!(at(json!([{"any":[last("a", 2), last("b", 2)]}]), day), Truth { holds: true, until: Millis(3 * day) });
    assert_eq!(at(json!([{"not": last("a", 2)}]), 0), Truth { holds: false, until: Millis(2 * day) });
    // Nothing to wait for: another clause is false for ever.
    assert_eq!(at(json!([last("a", 2), {"property":"c","operator":"exists"}]), -5), Truth::forever(false));
    assert_eq!(at(json!([last("a", 0)]), -5), Truth::forever(false));
    assert!(try_compile(&json!([last("a", 2)]), EVENT).unwrap().relative());
}
