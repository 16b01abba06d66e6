//! Random conditions, as JSON for the engine and evaluated naively for the oracle.

use super::names::path;
use super::rig::Custom;
use lodestone_state::event::Occurrence;
use lodestone_state::ids::Millis;
use lodestone_state::value::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

pub(crate) const DAY: i64 = 86_400_000;

#[derive(Clone, Debug)]
pub(crate) enum Cond {
    /// `n` is greater.
    Above(i64),
    /// `product` is this one.
    Product(char),
    /// The date is within the last so many days.
    Last(i64),
    /// The date is within the next so many days.
    Next(i64),
    /// `product` equals the custom trait `fav`, as of the event.
    Favourite,
    /// `n` is greater than a computed trait that counts, as of the event: which one, and by what key.
    AboveComputed(usize, String),
    /// `product` equals that of the earlier step with this index in `events`.
    SameAs(usize),
    Any(Vec<Cond>),
    Not(Box<Cond>),
}

impl Cond {
    /// `ids` are the internal ids of the steps.
    pub(crate) fn json(&self) -> Json {
        let clause = |key: &str, data_type: &str, operator: &str, value: Json| json!({"key": key, "dataType": data_type, "operator": operator, "value": value, "target": "static"});
        match self {
            Self::Above(n) => clause("n", "integer", "greater_than", json!(n.to_string())),
            Self::Product(product) => clause("product", "string", "equals", json!(product.to_string())),
            Self::Last(days) => clause("when", "dateTime", "within_last_days", json!(days.to_string())),
            Self::Next(days) => clause("when", "dateTime", "within_next_days", json!(days.to_string())),
            Self::Favourite => {
                json!({"key": "product", "dataType": "string", "operator": "equals", "target": "custom_trait", "traitKey": "fav"})
            }
            Self::AboveComputed(_, key) => {
                json!({"key": "n", "dataType": "integer", "operator": "greater_than", "target": "computed_trait", "traitKey": key})
            }
            Self::SameAs(step) => {
                json!({"key": "product", "dataType": "string", "operator": "equals", "target": "funnel_property",
                "internalEventId": format!("s{step}"), "eventProperty": "product"})
            }
            Self::Any(parts) => json!({"any": parts.iter().map(Self::json).collect::<Vec<_>>()}),
            Self::Not(part) => json!({"not": part.json()}),
        }
    }

    /// Whether an event satisfies it at `now`; `earlier` gives the product that a step captured.
    pub(crate) fn holds(&self, event: &Occurrence, custom: &Custom, now: i64, earlier: &dyn Fn(usize) -> Option<Value>) -> bool {
        let get = |name: &str| event.props.get(path(name));
        let when = || match get("when") {
            Some(Value::Time(Millis(t))) => Some(*t),
            _ => None,
        };
        match self {
            Self::Above(n) => matches!(get("n"), Some(Value::Int(have)) if have > n),
            Self::Product(product) => get("product") == Some(&Value::from(product.to_string().as_str())),
            Self::Last(days) => when().is_some_and(|t| t <= now && now < t + days * DAY),
            Self::Next(days) => when().is_some_and(|t| t - days * DAY <= now && now < t),
            Self::Favourite => matches!((get("product"), custom.custom.get(path("fav"))), (Some(a), Some(b)) if a == b),
            Self::AboveComputed(place, _) => {
                let computed = custom.computed.get(*place).copied().flatten();
                matches!((get("n"), computed), (Some(Value::Int(have)), Some(than)) if *have > than)
            }
            Self::SameAs(step) => matches!((get("product"), earlier(*step)), (Some(a), Some(b)) if *a == b),
            Self::Any(parts) => parts.iter().any(|part| part.holds(event, custom, now, earlier)),
            Self::Not(part) => !part.holds(event, custom, now, earlier),
        }
    }
}

/// Conditions of one event, all of which must hold. `earlier` are the steps that may be named.
pub(crate) fn conditions(earlier: Vec<usize>, dates: bool) -> impl Strategy<Value = Vec<Cond>> {
    let plain = prop_oneof![(0..4_i64).prop_map(Cond::Above), prop::sample::select(vec!['x', 'y']).prop_map(Cond::Product)];
    let mut leaves = vec![(6, plain.boxed()), (1, Just(Cond::Favourite).boxed())];
    if dates {
        let relative = prop_oneof![(0..4_i64).prop_map(Cond::Last), (0..4_i64).prop_map(Cond::Next)];
        leaves.push((2, relative.boxed()));
    }
    if !earlier.is_empty() {
        leaves.push((8, prop::sample::select(earlier).prop_map(Cond::SameAs).boxed()));
    }
    let leaf = prop::strategy::Union::new_weighted(leaves);
    let group = leaf.clone().prop_recursive(2, 4, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Cond::Any),
            inner.prop_map(|part| Cond::Not(Box::new(part))),
        ]
    });
    prop_oneof![4 => Just(Vec::new()), 3 => leaf.prop_map(|one| vec![one]), 1 => prop::collection::vec(group, 1..3)]
}
