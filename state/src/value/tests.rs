use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn json(text: &str) -> Value {
    Value::parse(text).unwrap()
}

#[test]
fn numbers_keep_i64_exactness() {
    assert_eq!(json("9007199254740993"), Value::Int(9_007_199_254_740_993));
    assert_eq!(json("9223372036854775807"), Value::Int(i64::MAX));
    assert_eq!(json("9223372036854775808"), Value::Float(TWO_63));
    assert_eq!(json("-9223372036854775808"), Value::Int(i64::MIN));
    assert_eq!(json("1.0"), Value::Float(1.0));
    assert!(Value::parse("1e400").is_err());
    assert!(Value::parse("1 2").is_err());
}

#[test]
fn equality_is_typed() {
    assert!(json("1").same(&json("1.0")));
    assert!(!json("1").same(&json("\"1\"")));
    assert!(!json("1").same(&json("true")));
    assert!(json("[1,{\"a\":2,\"b\":3}]").same(&json("[1.0,{\"b\":3.0,\"a\":2}]")));
    assert!(!json("9007199254740993").same(&json("9007199254740992.0")));
    assert!(!json("null").same(&json("0")));
}

#[test]
fn integers_and_doubles_compare_without_rounding() {
    let order = |a: &str, b: &str| Value::cmp_number(&json(a), &json(b));
    assert_eq!(order("9007199254740993", "9007199254740992.0"), Some(Ordering::Greater));
    assert_eq!(order("9223372036854775807", "9223372036854775807.0"), Some(Ordering::Less));
    assert_eq!(order("-3", "-2.5"), Some(Ordering::Less));
    assert_eq!(order("-2", "-2.5"), Some(Ordering::Greater));
    assert_eq!(order("1e300", "5"), Some(Ordering::Greater));
    assert_eq!(order("-1e300", "5"), Some(Ordering::Less));
    assert_eq!(order("1", "\"1\""), None);
}

// T-25: 1 and "1" are two values, 1 and 1.0 are one.
#[test]
fn t25_distinct_keys() {
    let set: HashSet<ValueKey> = ["\"b\"", "\"a\"", "\"b\"", "1", "\"1\"", "1.0"].map(|t| ValueKey::new(&json(t))).into();
    assert_eq!(set.len(), 4);
    assert_eq!(ValueKey::new(&Value::Float(-0.0)), ValueKey::new(&Value::Int(0)));
    let pair = ["{\"a\":1,\"b\":[2.0]}", "{\"b\":[2],\"a\":1.0}"].map(|t| ValueKey::new(&json(t)));
    assert_eq!(pair[0], pair[1]);
}

#[test]
fn instants_render_as_utc_with_milliseconds() {
    assert_eq!(Value::Time(Millis(1_709_287_200_123)).to_json(), serde_json::json!("2024-03-01T10:00:00.123Z"));
}

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        prop_oneof![-3i64..4, any::<i64>()].prop_map(Value::Int),
        prop_oneof![(-8i32..8).prop_map(|i| f64::from(i) / 2.0), any::<f64>().prop_filter("finite", |f| f.is_finite())]
            .prop_map(Value::Float),
        "[ab1]{0,2}".prop_map(|s| Value::Str(s.into())),
        (-3i64..3).prop_map(|t| Value::Time(Millis(t))),
    ];
    leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn order_is_total_and_agrees_with_equality(a in any_value(), b in any_value(), c in any_value()) {
        prop_assert_eq!(a.total_cmp(&b), b.total_cmp(&a).reverse());
        prop_assert_eq!(a.total_cmp(&b).is_eq(), a.same(&b));
        if a.total_cmp(&b).is_le() && b.total_cmp(&c).is_le() {
            prop_assert!(a.total_cmp(&c).is_le());
        }
        prop_assert_eq!(ValueKey::new(&a) == ValueKey::new(&b), a.same(&b));
    }

    #[test]
    fn keys_that_are_equal_hash_alike(a in any_value(), b in any_value()) {
        let hash = |v: &Value| { let mut h = std::hash::DefaultHasher::new(); std::hash::Hash::hash(&ValueKey::new(v), &mut h); std::hash::Hasher::finish(&h) };
        if a.same(&b) { prop_assert_eq!(hash(&a), hash(&b)); }
    }

    #[test]
    fn both_ways_of_reading_json_agree(a in any_value()) {
        // Through text first: the reader may be one unit in the last place off for long doubles.
        let text = a.to_json().to_string();
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        let read = Value::parse(&text).unwrap();
        prop_assert!(read.same(&Value::from_json(&tree)));
        prop_assert_eq!(read.to_json(), tree);
    }

    #[test]
    fn bytes_keep_the_value(a in any_value()) {
        prop_assert_eq!(bincode::deserialize::<Value>(&bincode::serialize(&a).unwrap()).unwrap(), a);
    }
}
