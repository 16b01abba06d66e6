//! Comparison of two properties.

use super::table::check;
use super::*;
use serde_json::json;

fn compare(data_type: &str, operator: &str, source: Json, target: Json) -> bool {
    let condition = json!({"key":"x","dataType":data_type,"operator":operator,"target":"computed_trait","traitKey":"t0"});
    let expr = try_compile(&json!([condition]), EVENT).unwrap_or_else(|issues| panic!("{condition}: {issues:?}"));
    assert!(expr.compares());
    let facts = Docs {
        event: Value::from_json(&json!({"x": source})),
        computed: if target.is_null() { vec![] } else { vec![Value::from_json(&target)] },
        ..Docs::default()
    };
    expr.eval(&facts, Millis(0)).holds
}

#[test]
fn t12_arrays_against_arrays() {
    let source = json!(["a", "b"]);
    for (operator, target, expect) in [
        ("contains", json!(["a"]), true),
        ("contains", json!(["a", "c"]), false),
        ("contains", json!([]), true),
        ("does_not_contain", json!(["a", "c"]), true),
        ("does_not_contain", json!(["a"]), false),
        ("does_not_contain", json!([]), false),
        ("contains_any", json!(["a", "c"]), true),
        ("contains_any", json!(["c"]), false),
        ("contains_any", json!([]), false),
        ("contains_none", json!(["c"]), true),
        ("contains_none", json!(["a", "c"]), false),
        ("contains_none", json!([]), true),
        ("contains", json!(null), false),
        ("does_not_contain", json!(null), false),
        ("contains", json!("a"), false),
    ] {
        assert_eq!(compare("array", operator, source.clone(), target.clone()), expect, "{operator} {target}");
    }
    assert!(compare("array", "contains", json!([1, "2"]), json!([1.0])));
    assert!(!compare("array", "contains", json!([1, "2"]), json!([2])));
}

#[test]
fn t14_booleans_against_booleans() {
    assert!(compare("boolean", "not_equals", json!(true), json!(false)));
    assert!(!compare("boolean", "not_equals", json!(true), json!(true)));
    assert!(compare("boolean", "equals", json!(true), json!(true)));
    assert!(!compare("boolean", "not_equals", json!(true), json!(null)));
    assert!(!compare("boolean", "not_equals", json!(null), json!(true)));
    check(
        "b",
        "boolean",
        "true",
        json!(""),
        &[(json!({"b": true}), true), (json!({"b": false}), false), (json!({"b": "true"}), false), (json!({"b": 1}), false)],
    );
    check("b", "boolean", "false", json!(null), &[(json!({"b": false}), true), (json!({"b": true}), false), (json!({}), false)]);
}

#[test]
fn comparisons_of_each_type() {
    for (data_type, operator, source, target, expect) in [
        ("integer", "less_than", json!(3), json!(3.5), true),
        ("integer", "equals", json!(3.5), json!(3.5), false),
        ("float", "greater_than_or_equal", json!(3.5), json!(3), true),
        ("float", "equals", json!(3), json!("3"), false),
        ("string", "ends_with", json!("abc"), json!("bc"), true),
        ("string", "equals", json!("1"), json!(1), false),
        ("dateTime", "before_date", json!("2024-03-01"), json!("2024-03-01T00:00:00.001+01:00"), true),
        ("dateTime", "equals", json!("2024-03-01"), json!("2024-02-29T23:00:00Z"), true),
        ("dateTime", "not_equals", json!("2024-03-01"), json!("2024-02-29T23:00:00Z"), false),
        ("dateTime", "after_date", json!("2024-03-02"), json!("2024-03-01"), true),
    ] {
        assert_eq!(compare(data_type, operator, source.clone(), target.clone()), expect, "{source} {operator} {target}");
    }
}
