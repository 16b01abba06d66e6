//! The same semantics written as plainly as possible over generic JSON, with no compiled form, against
//! random conditions and documents.

use super::*;
use crate::time::{DAY_MS, DateTimeLit, parse_instant};
use proptest::prelude::*;
use serde_json::json;

/// What a condition means, read off the specification.
fn naive(condition: &Json, event: &Json, custom: &Json, now: i64) -> bool {
    if let Some(list) = condition["any"].as_array() {
        return list.iter().any(|part| naive(part, event, custom, now));
    }
    if let Some(list) = condition["all"].as_array() {
        return list.iter().all(|part| naive(part, event, custom, now));
    }
    if condition.get("not").is_some() {
        return !naive(&condition["not"], event, custom, now);
    }
    let operator = condition["operator"].as_str().unwrap();
    let operand = find(event, condition["property"].as_str().unwrap());
    if operator == "not_exists" {
        return operand.is_null();
    }
    if operator == "exists" {
        return !operand.is_null() || condition["orMissing"] == true;
    }
    let kind = condition["type"].as_str().unwrap();
    let answer = match condition["traitKey"].as_str() {
        Some(key) => compare(kind, operator, operand, find(custom, key)),
        None => against_literal(kind, operator, operand, &condition["value"], now),
    };
    answer.unwrap_or(condition["orMissing"] == true)
}

fn find<'j>(document: &'j Json, path: &str) -> &'j Json {
    path.split('.').fold(document, |at, key| at.get(key).unwrap_or(&Json::Null))
}

/// Numbers as fractions over four, which hold all the numbers generated here exactly.
fn quarters(json: &Json, kind: &str) -> Option<i128> {
    let quarters = match json.as_i64() {
        Some(int) => i128::from(int) * 4,
        None => (json.as_f64()? * 4.0) as i128,
    };
    (kind != "integer" || quarters % 4 == 0).then_some(quarters)
}

fn start(json: &Json) -> Option<i64> {
    parse_instant(json.as_str()?, &berlin()).map(|lit| lit.start().0)
}

fn sizes(operator: &str, a: i128, b: i128) -> bool {
    match operator {
        "equals" => a == b,
        "not_equals" => a != b,
        "less_than" => a < b,
        "greater_than" => a > b,
        "less_than_or_equal" => a <= b,
        "greater_than_or_equal" => a >= b,
        _ => panic!("{operator}"),
    }
}

fn texts(operator: &str, a: &str, b: &str) -> bool {
    match operator {
        "equals" => a == b,
        "not_equals" => a != b,
        "contains" => a.contains(b),
        "does_not_contain" => !a.contains(b),
        "starts_with" => a.starts_with(b),
        "ends_with" => a.ends_with(b),
        _ => panic!("{operator}"),
    }
}

fn alike(a: &Json, b: &Json) -> bool {
    match (a.is_number(), b.is_number()) {
        (true, true) => quarters(a, "float") == quarters(b, "float"),
        _ => a == b,
    }
}

fn against_literal(kind: &str, operator: &str, operand: &Json, literal: &Json, now: i64) -> Option<bool> {
    Some(match kind {
        "string" => texts(operator, operand.as_str()?, literal.as_str()?),
        "integer" | "float" => {
            let operand = if operand.is_number() {
                quarters(operand, kind)?
            } else {
                return None;
            };
            let literal = literal.as_str().map_or_else(|| literal.clone(), |text| serde_json::from_str(text).unwrap());
            sizes(operator, operand, quarters(&literal, "float")?)
        }
        "boolean" => operand.as_bool()? == (operator == "true"),
        "array" => operand.as_array()?.iter().any(|item| alike(item, literal)) == (operator == "contains"),
        "dateTime" => {
            let v = start(operand)?;
            if let Some(days) = literal.as_i64() {
                let n = days * DAY_MS;
                return Some(match operator {
                    "within_last_days" => v <= now && now < v + n,
                    "before_last_days" => now >= v + n,
                    "within_next_days" => v - n <= now && now < v,
                    "after_next_days" => now < v - n,
                    _ => panic!("{operator}"),
                });
            }
            match (operator, parse_instant(literal.as_str()?, &berlin())?) {
                ("before_date", lit) => v < lit.start().0,
                ("after_date", DateTimeLit::Instant(d)) => v > d.0,
                ("after_date", DateTimeLit::Day { end, .. }) => v >= end.0,
                ("equals", DateTimeLit::Instant(d)) => v == d.0,
                ("equals", DateTimeLit::Day { start, end }) => start.0 <= v && v < end.0,
                _ => panic!("{operator}"),
            }
        }
        _ => panic!("{kind}"),
    })
}

fn compare(kind: &str, operator: &str, a: &Json, b: &Json) -> Option<bool> {
    Some(match kind {
        "string" => texts(operator, a.as_str()?, b.as_str()?),
        "integer" | "float" if a.is_number() && b.is_number() => sizes(operator, quarters(a, kind)?, quarters(b, "float")?),
        "integer" | "float" => return None,
        "boolean" => (a.as_bool()? == b.as_bool()?) == (operator == "equals"),
        "dateTime" => {
            let (a, b) = (start(a)?, start(b)?);
            match operator {
                "before_date" => a < b,
                "after_date" => a > b,
                "equals" => a == b,
                "not_equals" => a != b,
                _ => panic!("{operator}"),
            }
        }
        "array" => {
            let (a, b) = (a.as_array()?, b.as_array()?);
            let has = |item: &Json| a.iter().any(|own| alike(own, item));
            match operator {
                "contains" => b.iter().all(has),
                "does_not_contain" => !b.iter().all(has),
                "contains_any" => b.iter().any(has),
                "contains_none" => !b.iter().any(has),
                _ => panic!("{operator}"),
            }
        }
        _ => panic!("{kind}"),
    })
}

const TEXT: [&str; 6] = ["equals", "not_equals", "contains", "does_not_contain", "starts_with", "ends_with"];
const NUMBER: [&str; 6] = ["equals", "not_equals", "less_than", "greater_than", "less_than_or_equal", "greater_than_or_equal"];
const RELATIVE: [&str; 4] = ["within_last_days", "before_last_days", "within_next_days", "after_next_days"];
/// 2024-02-28T00:00Z; everything dated here lies in the eight days after it.
const BASE: i64 = 1_709_078_400_000;

fn one_of<const N: usize>(names: [&'static str; N]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(names.to_vec())
}

fn any_number() -> impl Strategy<Value = Json> {
    prop_oneof![
        (-6i64..6).prop_map(|q| json!(q as f64 / 4.0)),
        (-3i64..3).prop_map(|i| json!(i)),
        (9_007_199_254_740_990i64..9_007_199_254_740_996).prop_map(|i| json!(i)),
        Just(json!(9_007_199_254_740_992.0)),
    ]
}

fn any_date() -> impl Strategy<Value = Json> {
    let offset = one_of(["Z", "", "+01:00", "-05:30"]);
    prop_oneof![
        (1u8..8).prop_map(|day| json!(format!("2024-03-{day:02}"))),
        (1u8..8, 0u8..24, offset).prop_map(|(day, hour, offset)| json!(format!("2024-03-{day:02}T{hour:02}:00:00{offset}"))),
    ]
}

fn any_scalar() -> impl Strategy<Value = Json> {
    prop_oneof![any_number(), any_date(), "[ab]{0,3}".prop_map(Json::from), any::<bool>().prop_map(Json::from), Just(Json::Null)]
}

fn any_operand() -> impl Strategy<Value = Json> {
    prop_oneof![
        4 => any_scalar(),
        1 => prop::collection::vec(any_scalar(), 0..4).prop_map(Json::from),
        1 => any_scalar().prop_map(|inner| json!({"a": inner})),
    ]
}

pub(crate) fn any_document() -> impl Strategy<Value = Json> {
    prop::collection::btree_map("[abc]", any_operand(), 0..4).prop_map(|map| json!(map))
}

fn any_leaf() -> impl Strategy<Value = Json> {
    let literal = prop_oneof![
        (one_of(TEXT), "[ab]{0,2}").prop_map(|(op, lit)| json!({"type":"string","operator":op,"value":lit})),
        (one_of(NUMBER), any_number()).prop_map(|(op, lit)| json!({"type":"float","operator":op,"value":lit})),
        (one_of(NUMBER), -3i64..3).prop_map(|(op, lit)| json!({"type":"integer","operator":op,"value":lit})),
        (one_of(NUMBER), 9_007_199_254_740_991i64..9_007_199_254_740_995)
            .prop_map(|(op, lit)| json!({"type":"integer","operator":op,"value":lit.to_string()})),
        one_of(["true", "false"]).prop_map(|op| json!({"type":"boolean","operator":op})),
        (one_of(["before_date", "after_date", "equals"]), any_date())
            .prop_map(|(op, lit)| json!({"type":"dateTime","operator":op,"value":lit})),
        (one_of(RELATIVE), 0i64..4).prop_map(|(op, days)| json!({"type":"dateTime","operator":op,"value":days})),
        (one_of(["contains", "does_not_contain"]), any_scalar().prop_filter("a literal", |lit| !lit.is_null()))
            .prop_map(|(op, lit)| json!({"type":"array","operator":op,"value":lit})),
        one_of(["exists", "not_exists"]).prop_map(|op| json!({"type":"string","operator":op})),
    ];
    let other = prop_oneof![
        one_of(TEXT).prop_map(|op| ("string", op)),
        (one_of(["integer", "float"]), one_of(NUMBER)),
        one_of(["equals", "not_equals"]).prop_map(|op| ("boolean", op)),
        one_of(["before_date", "after_date", "equals", "not_equals"]).prop_map(|op| ("dateTime", op)),
        one_of(["contains", "does_not_contain", "contains_any", "contains_none"]).prop_map(|op| ("array", op)),
    ];
    let comparison = (other, "[abc](\\.a)?")
        .prop_map(|((kind, op), key)| json!({"type":kind,"operator":op,"target":"custom_trait","traitKey":key}));
    (prop_oneof![literal, comparison], "[abc](\\.a)?", any::<bool>()).prop_map(|(mut leaf, key, or_missing)| {
        leaf["property"] = key.into();
        leaf["orMissing"] = or_missing.into();
        leaf
    })
}

pub(crate) fn any_condition() -> impl Strategy<Value = Json> {
    any_leaf().prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| json!({"any": parts})),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| json!({"all": parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

pub(crate) fn facts(event: &Json, custom: &Json) -> Docs {
    Docs { event: Value::from_json(event), custom: Value::from_json(custom), ..Docs::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn compiled_equals_naive(condition in any_condition(), event in any_document(), custom in any_document(), hours in 0i64..400) {
        let now = BASE + hours * 3_600_000;
        let expr = try_compile(&json!([condition]), EVENT).unwrap();
        let got = expr.eval(&facts(&event, &custom), Millis(now));
        prop_assert_eq!(got.holds, naive(&condition, &event, &custom, now));
        prop_assert!(got.until > Millis(now));
        prop_assert_eq!(expr.explain(&facts(&event, &custom), Millis(now)).holds, got.holds);
    }

    // Until `until` the answer stands; following it from instant to instant visits every change.
    #[test]
    fn until_is_never_late(condition in any_condition(), event in any_document(), custom in any_document()) {
        let expr = try_compile(&json!([condition]), EVENT).unwrap();
        let facts = facts(&event, &custom);
        let mut now = Millis(BASE - 10 * DAY_MS);
        let end = Millis(BASE + 30 * DAY_MS);
        let mut steps = 0;
        while now < end {
            let truth = expr.eval(&facts, now);
            let until = truth.until.min(end);
            let mut probe = now;
            while probe < until {
                prop_assert_eq!(naive(&condition, &event, &custom, probe.0), truth.holds, "at {:?}", probe);
                probe = probe.plus(6 * 3_600_000);
            }
            prop_assert_eq!(naive(&condition, &event, &custom, until.0 - 1), truth.holds);
            now = until;
            steps += 1;
            prop_assert!(steps < 100, "until does not get on");
        }
    }

    // For equal N exactly one of the four relative operators holds.
    #[test]
    fn relative_operators_divide_time(days in 0i64..5, v in -20i64..20, now in -20i64..20) {
        let event = facts(&json!({}), &json!({}));
        let event = Docs { event: Value::Object(vec![("d".into(), Value::Time(Millis(v * DAY_MS / 4)))]), ..event };
        let holding = RELATIVE.iter().filter(|op| {
            let list = json!([{"property":"d","type":"dateTime","operator":op,"value":days}]);
            try_compile(&list, EVENT).unwrap().eval(&event, Millis(now * DAY_MS / 4)).holds
        });
        prop_assert_eq!(holding.count(), 1);
    }
}
