//! Acceptance items T-1 to T-15: operands, operators and literals.

use super::*;
use serde_json::json;

pub(super) fn holds_at(condition: &Json, event: &Json, now: &str) -> bool {
    let expr = try_compile(&json!([condition]), EVENT).unwrap_or_else(|issues| panic!("{issues:?}"));
    let facts = Docs { event: Value::from_json(event), ..Docs::default() };
    let truth = expr.eval(&facts, instant(now));
    assert_eq!(expr.explain(&facts, instant(now)).holds, truth.holds);
    truth.holds
}

fn holds(condition: &Json, event: &Json) -> bool {
    holds_at(condition, event, "2024-03-01T12:00:00Z")
}

/// `key type operator value`, with each document and what is expected of it.
pub(super) fn check(key: &str, data_type: &str, operator: &str, value: Json, cases: &[(Json, bool)]) {
    let condition = json!({"property": key, "type": data_type, "operator": operator, "value": value});
    for (event, expect) in cases {
        assert_eq!(holds(&condition, event), *expect, "{condition} on {event}");
    }
}

#[test]
fn t1_a_missing_operand_fails_even_what_is_negative() {
    check(
        "country",
        "string",
        "not_equals",
        json!("DE"),
        &[
            (json!({}), false),
            (json!({"country": null}), false),
            (json!({"country": 5}), false),
            (json!({"country": "FR"}), true),
        ],
    );
    let or_missing = json!({"property":"country","type":"string","operator":"not_equals","value":"DE","orMissing":true});
    assert!(holds(&or_missing, &json!({})));
    assert!(holds(&or_missing, &json!({"country": 5})));
    assert!(!holds(&or_missing, &json!({"country": "DE"})));
    for (data_type, operator, value) in [
        ("string", "does_not_contain", json!("a")),
        ("integer", "not_equals", json!(1)),
        ("float", "less_than", json!(5)),
        ("boolean", "false", json!(null)),
        ("array", "does_not_contain", json!("a")),
        ("dateTime", "after_next_days", json!(1)),
    ] {
        check("x", data_type, operator, value, &[(json!({}), false), (json!({"x": {}}), false)]);
    }
}

#[test]
fn t2_not_exists() {
    for data_type in ["boolean", "string", "dateTime", "array", "integer", "float"] {
        check(
            "vip",
            data_type,
            "not_exists",
            json!(""),
            &[(json!({}), true), (json!({"vip": null}), true), (json!({"vip": false}), false)],
        );
        check(
            "vip",
            data_type,
            "exists",
            json!(null),
            &[
                (json!({}), false),
                (json!({"vip": null}), false),
                (json!({"vip": ""}), true),
                (json!({"vip": []}), true),
                (json!({"vip": 0}), true),
                (json!({"vip": false}), true),
                (json!({"vip": {}}), true),
            ],
        );
    }
    assert!(holds(&json!({"key":"vip","operator":"not_exists"}), &json!({})));
    let action =
        try_compile(&json!([{"source":"custom","key":"vip","type":"boolean","operator":"not_exists"}]), Place::ActionTrait)
            .unwrap();
    assert!(action.eval(&NoFacts, Millis(0)).holds);
}

#[test]
fn t3_numbers_and_their_look_alikes() {
    check("n", "integer", "less_than", json!(5), &[(json!({}), false), (json!({"n": 4}), true), (json!({"n": "4"}), false)]);
    check("n", "integer", "exists", json!(""), &[(json!({"n": "4"}), true)]);
    check("n", "float", "less_than", json!("5"), &[(json!({"n": 4.9}), true), (json!({"n": true}), false)]);
}

#[test]
fn t4_no_wildcards() {
    check(
        "code",
        "string",
        "contains",
        json!("50%"),
        &[(json!({"code":"save 50% now"}), true), (json!({"code":"save 500 now"}), false)],
    );
    check("code", "string", "starts_with", json!("a_"), &[(json!({"code":"abc"}), false), (json!({"code":"a_c"}), true)]);
    check("code", "string", "ends_with", json!("_c"), &[(json!({"code":"abc"}), false), (json!({"code":"a_c"}), true)]);
    check("code", "string", "contains", json!(""), &[(json!({"code":""}), true), (json!({}), false)]);
    check("code", "string", "equals", json!("é"), &[(json!({"code":"e\u{301}"}), false), (json!({"code":" é"}), false)]);
}

#[test]
fn t5_case() {
    check("size", "string", "equals", json!("XL"), &[(json!({"size":"xl"}), false), (json!({"size":"XL"}), true)]);
    for (operator, literal, text, expect) in [
        ("equals", "XL", "xl", true),
        ("not_equals", "XL", "xl", false),
        ("contains", "ÄR", "bär", true),
        ("contains", "är", "BÄREN", true),
        ("does_not_contain", "är", "BÄR", false),
        ("starts_with", "Σ", "ςa", true),
        ("ends_with", "Σ", "aς", true),
        ("ends_with", "ab", "b", false),
        ("equals", "strasse", "straße", false),
    ] {
        let condition = json!({"property":"size","type":"string","operator":operator,"value":literal,"ignoreCase":true});
        assert_eq!(holds(&condition, &json!({"size": text})), expect, "{condition} on {text}");
        let compared = json!({"key":"size","dataType":"string","operator":operator,"target":"custom_trait","traitKey":"s","ignoreCase":true});
        let expr = try_compile(&json!([compared]), EVENT).unwrap();
        let facts = Docs {
            event: Value::from_json(&json!({"size": text})),
            custom: Value::from_json(&json!({"s": literal})),
            ..Docs::default()
        };
        assert_eq!(expr.eval(&facts, Millis(0)).holds, expect, "{compared} on {text}");
    }
    let compared = json!([{"key":"size","dataType":"string","operator":"contains","target":"custom_trait","traitKey":"s"}]);
    let facts =
        Docs { event: Value::from_json(&json!({"size": "xl"})), custom: Value::from_json(&json!({"s": "X"})), ..Docs::default() };
    assert!(!try_compile(&compared, EVENT).unwrap().eval(&facts, Millis(0)).holds);
}

#[test]
fn t6_integers_beyond_2_to_53() {
    for literal in [json!(9_007_199_254_740_993_i64), json!("9007199254740993")] {
        check(
            "n",
            "integer",
            "equals",
            literal,
            &[
                (json!({"n": 9_007_199_254_740_992_i64}), false),
                (json!({"n": 9_007_199_254_740_993_i64}), true),
                (json!({"n": 9_007_199_254_740_992.0}), false),
            ],
        );
    }
    check("n", "float", "greater_than", json!(9_007_199_254_740_992.0), &[(json!({"n": 9_007_199_254_740_993_i64}), true)]);
}

#[test]
fn t7_whole_numbers() {
    for literal in [json!(3), json!(3.0), json!("3"), json!("+3"), json!("3.0"), json!(" 3 ")] {
        check(
            "n",
            "integer",
            "equals",
            literal,
            &[(json!({"n": 3}), true), (json!({"n": 3.0}), true), (json!({"n": 3.5}), false)],
        );
    }
    check("n", "integer", "not_equals", json!(3), &[(json!({"n": 3.5}), false), (json!({"n": 4}), true)]);
    check("n", "float", "equals", json!("3.5"), &[(json!({"n": 3.5}), true), (json!({"n": 3}), false)]);
}

#[test]
fn t11_elements_are_typed() {
    let list = json!({"a": [1, "2", true, "a\"b"]});
    for (literal, expect) in [
        (json!(1), true),
        (json!(1.0), true),
        (json!("1"), false),
        (json!("2"), true),
        (json!(2), false),
        (json!(true), true),
        (json!("true"), false),
        (json!("a\"b"), true),
    ] {
        check("a", "array", "contains", literal.clone(), &[(list.clone(), expect)]);
        check(
            "a",
            "array",
            "does_not_contain",
            literal,
            &[(list.clone(), !expect), (json!({"a": []}), true), (json!({"a": "x"}), false)],
        );
    }
}

#[test]
fn t15_paths() {
    check(
        "a.b",
        "integer",
        "equals",
        json!(1),
        &[(json!({"a":{"b":1}}), true), (json!({"a.b":1}), false), (json!({"a":[{"b":1}]}), false), (json!({"a":"b"}), false)],
    );
    check("a\\.b", "integer", "equals", json!(1), &[(json!({"a.b":1}), true), (json!({"a":{"b":1}}), false)]);
    check("a.0", "integer", "exists", json!(""), &[(json!({"a":[1]}), false)]);
}
