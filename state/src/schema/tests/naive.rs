//! The rules of casting and validation over generic JSON trees, one after the other, against random
//! structures and documents.

use super::*;
use crate::time::{DateTimeLit, format_instant, parse_instant};
use proptest::prelude::*;
use std::collections::BTreeSet;

type Errors = BTreeSet<(String, &'static str)>;

/// The stored form of an object, and what is wrong with it.
fn object(nodes: &[Node], json: &Json, name: &str, unknown: UnknownKeys, errors: &mut Errors) -> Json {
    let mut stored = serde_json::Map::new();
    let document = json.as_object().unwrap();
    let named = |key: &str| {
        if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
    };
    for node in nodes {
        let key = node.properties.key.as_str();
        match document.get(key) {
            None | Some(Json::Null) => {
                if node.properties.is_required {
                    errors.insert((named(key), "required"));
                }
            }
            Some(value) => {
                if let Some(value) = field(node, value, &named(key), unknown, errors) {
                    stored.insert(key.to_owned(), value);
                }
            }
        }
    }
    for (key, value) in document {
        if nodes.iter().all(|node| node.properties.key != *key) {
            match unknown {
                UnknownKeys::Strict => {
                    errors.insert((named(key), "unknown"));
                }
                UnknownKeys::Strip => {}
                UnknownKeys::Open if value.is_null() => {}
                UnknownKeys::Open => {
                    stored.insert(key.clone(), value.clone());
                }
            }
        }
    }
    stored.into()
}

fn field(node: &Node, value: &Json, name: &str, unknown: UnknownKeys, errors: &mut Errors) -> Option<Json> {
    let kind = node.data_type().unwrap();
    let text = match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Number(number) => {
            Some(number.as_i64().map_or_else(|| (number.as_f64().unwrap() + 0.0).to_string(), |int| int.to_string()))
        }
        _ => None,
    };
    let wrong = |errors: &mut Errors, rule| {
        errors.insert((name.to_owned(), rule));
        None
    };
    let scalar = !matches!(kind, DataType::Array | DataType::Object);
    if let (Some(text), Some(pattern)) = (&text, node.pattern().unwrap())
        && scalar
        && !pattern.is_match(text)
    {
        return wrong(errors, "pattern");
    }
    let whole = |value: &Json| value.as_i64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64));
    let cast = match kind {
        DataType::String => text.map(Json::from),
        DataType::Integer => match value {
            Json::String(text) => text.trim().parse::<i64>().ok().map(Json::from),
            other => whole(other).map(Json::from),
        },
        DataType::Float => match value {
            Json::String(text) => {
                serde_json::from_str::<serde_json::Number>(text).ok().filter(|_| text.trim() == text).map(Json::from)
            }
            other => other.is_number().then(|| other.clone()),
        },
        DataType::Boolean => match value {
            Json::Bool(flag) => Some(json!(flag)),
            Json::String(text) => match text.to_lowercase().as_str() {
                "true" | "1" => Some(json!(true)),
                "false" | "0" => Some(json!(false)),
                _ => None,
            },
            other => match other.as_f64() {
                Some(1.0) => Some(json!(true)),
                Some(0.0) => Some(json!(false)),
                _ => None,
            },
        },
        DataType::DateTime => match value {
            Json::String(text) => parse_instant(text, &berlin()).map(DateTimeLit::start),
            other => whole(other).filter(|_| other.is_number()).and_then(crate::time::from_epoch),
        }
        .map(|t| json!(format_instant(t).as_str())),
        DataType::Array => match (value, &node.properties.items) {
            (Json::Array(list), Some(items)) => {
                let before = errors.len();
                let list: Vec<_> = list
                    .iter()
                    .enumerate()
                    .map(|(i, item)| {
                        let name = format!("{name}[{i}]");
                        if item.is_null() {
                            if items.properties.is_required {
                                errors.insert((name, "required"));
                            }
                            return Json::Null;
                        }
                        field(items, item, &name, unknown, errors).unwrap_or(Json::Null)
                    })
                    .collect();
                return (errors.len() == before).then(|| list.into());
            }
            (Json::Array(_), None) => Some(value.clone()),
            _ => None,
        },
        DataType::Object if node.children.is_empty() => value.is_object().then(|| value.clone()),
        DataType::Object => {
            if value.is_object() {
                let inner = object(&node.children, value, name, unknown, errors);
                // Properties are kept as leaves, so an object without any leaves no trace, but in arrays.
                let kept = name.contains('[') || inner.as_object().is_some_and(|o| !o.is_empty());
                return kept.then_some(inner);
            }
            None
        }
    };
    if cast.is_none() { wrong(errors, "type") } else { cast }
}

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn any_node(depth: u32) -> BoxedStrategy<Json> {
    let types = prop::sample::select(vec!["string", "integer", "float", "boolean", "dateTime", "array", "object"]);
    let pattern = prop_oneof![3 => Just(""), 1 => Just("[1t]"), 1 => Just("^.{1,3}$")];
    let leaf = (types, pattern, any::<bool>()).prop_map(
        |(data_type, pattern, required)| json!({"properties":{"type":data_type,"pattern":pattern,"isRequired":required}}),
    );
    if depth == 0 {
        return leaf.boxed();
    }
    let list = (any_node(depth - 1), any::<bool>())
        .prop_map(|(items, required)| json!({"properties":{"type":"array","isRequired":required,"items":items}}));
    let parent = (any_level(depth - 1), any::<bool>())
        .prop_map(|(children, required)| json!({"properties":{"type":"object","isRequired":required},"children":children}));
    prop_oneof![4 => leaf, 1 => list, 2 => parent].boxed()
}

fn any_level(depth: u32) -> BoxedStrategy<Json> {
    let keys = prop::sample::subsequence(KEYS.to_vec(), 1..4).prop_shuffle();
    (keys, prop::collection::vec(any_node(depth), 3))
        .prop_map(|(keys, nodes)| {
            let keyed = keys.into_iter().zip(nodes).map(|(key, mut node)| {
                node["properties"]["key"] = key.into();
                node
            });
            keyed.collect::<Json>()
        })
        .boxed()
}

fn any_json() -> impl Strategy<Value = Json> {
    let text = prop::sample::select(vec![
        "",
        "1",
        "0",
        "true",
        "False",
        "1.5",
        "-2",
        " 3",
        "t",
        "2026-07-01",
        "2026-07-01T10:00:00Z",
        "long text",
    ]);
    let leaf = prop_oneof![
        text.prop_map(Json::from),
        (-3i64..1_000).prop_map(Json::from),
        (-6i64..6).prop_map(|q| json!(q as f64 / 4.0)),
        any::<bool>().prop_map(Json::from),
        Just(Json::Null),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..3).prop_map(Json::from), any_object(inner),]
    })
}

fn any_object(inner: impl Strategy<Value = Json>) -> impl Strategy<Value = Json> {
    prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), inner, 0..4).prop_map(|map| json!(map))
}

/// A document that mostly fits: for each declared key a value of about the declared type.
fn fitting(nodes: &Json, noise: &Json, salt: usize) -> Json {
    let mut document = noise.as_object().cloned().unwrap_or_default();
    for (i, node) in nodes.as_array().unwrap().iter().enumerate() {
        let key = node["properties"]["key"].as_str().unwrap().to_owned();
        let salt = salt / 3 + i;
        if node.get("children").is_some() {
            document.insert(key, fitting(&node["children"], &json!({}), salt));
        } else if !salt.is_multiple_of(4) {
            let value = match node["properties"]["type"].as_str().unwrap() {
                "string" => json!("t1"),
                "integer" => json!(100 + salt),
                "float" => json!(1.25),
                "boolean" => json!(true),
                "dateTime" => json!(1_700_000_000 + salt),
                "array" => json!([]),
                _ => json!({"x": salt}),
            };
            document.insert(key, value);
        }
    }
    document.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn one_pass_equals_naive(
        nodes in any_level(2), noise in any_object(any_json()), fit in any::<bool>(), salt in 0usize..1000,
        unknown in prop::sample::select(vec![UnknownKeys::Strict, UnknownKeys::Strip, UnknownKeys::Open]),
    ) {
        let structure = structure(&nodes);
        let document = if fit { fitting(&nodes, &noise, salt) } else { noise };
        let mut errors = Errors::new();
        let stored = object(&structure.0, &document, "", unknown, &mut errors);
        let got = run(&structure, true, unknown, &document.to_string());
        match got {
            Ok(json) => {
                prop_assert!(errors.is_empty(), "{:?}", errors);
                prop_assert!(Value::from_json(&json).same(&Value::from_json(&stored)), "{} is not {}", json, stored);
            }
            Err(found) => {
                let listed: Errors = found.iter().map(|e| (e.path.clone(), e.rule)).collect();
                prop_assert_eq!(listed.len(), found.len());
                if found.len() < ERRORS_MAX { prop_assert_eq!(listed, errors) } else { prop_assert!(listed.is_subset(&errors)) }
            }
        }
    }
}
