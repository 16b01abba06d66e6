//! The value of a computed trait, recomputed from the whole log by its definition.

use super::conditions::{Cond, conditions};
use super::names::{compile_trait, path};
use super::random::{TICK, history, play};
use super::rig::{Custom, Entry, Rig};
use lodestone_state::event::Occurrence;
use lodestone_state::ids::{Millis, Moment};
use lodestone_state::traits::TraitDef;
use lodestone_state::value::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::cmp::Reverse;

#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) kind: &'static str,
    aggregation: &'static str,
    property: &'static str,
    min_frequency: u64,
    max_values: usize,
    use_timestamp: bool,
    window_ticks: Option<i64>,
    web_only: bool,
    pub(crate) conditions: Vec<Cond>,
}

impl Spec {
    /// Whether its value is a whole number whatever happens.
    pub(crate) fn counts(&self) -> bool {
        matches!(self.kind, "count_events" | "unique_list_count")
    }

    pub(crate) fn json(&self) -> Json {
        let data_type = match self.property {
            "product" => "string",
            "price" => "float",
            "n" => "integer",
            "tags" => "array",
            _ => "dateTime",
        };
        let conditions: Vec<Json> = self.conditions.iter().map(Cond::json).collect();
        json!({"name": "T", "key": "t", "type": self.kind, "eventId": "P", "conditions": conditions, "properties": {
            "property": self.property, "type": data_type, "aggregationType": self.aggregation,
            "minFrequency": self.min_frequency, "maxValues": self.max_values, "useTimestamp": self.use_timestamp,
            "window": self.window_ticks.map(|ticks| json!({"amount": ticks * 6, "unit": "hours"})),
            "channels": if self.web_only { json!(["web"]) } else { json!([]) },
        }})
    }

    /// The value at `now`, from every event of the log.
    pub(crate) fn value(&self, log: &[(Moment, Entry)], now: Millis) -> Json {
        let mut found: Vec<(Moment, Option<Value>)> = Vec::new();
        let mut custom = Custom::default();
        for (moment, entry) in log.iter().filter(|(moment, _)| moment.t <= now) {
            custom.become_as(entry);
            if let Entry::Event(event) = entry
                && self.contributes(event, &custom, moment.t.0, now.0)
            {
                found.push((*moment, event.props.get(path(self.property)).cloned()));
            }
        }
        if self.kind != "count_events" && !(self.use_timestamp && self.kind.ends_with("_event")) {
            found.retain(|(_, value)| value.is_some());
        }
        self.reduce(&found)
    }

    fn contributes(&self, event: &Occurrence, custom: &Custom, t: i64, now: i64) -> bool {
        event.event == super::names::event("P")
            && (!self.web_only || event.channel == super::names::channel("web"))
            && self.window_ticks.is_none_or(|ticks| now < t + ticks * TICK)
            && self.conditions.iter().all(|cond| cond.holds(event, custom, now, &|_| None))
    }

    fn reduce(&self, found: &[(Moment, Option<Value>)]) -> Json {
        // Prices are tenths of thousandths and numbers are whole: all of them are integers in this unit.
        let units: Vec<i128> =
            found.iter().filter_map(|(_, v)| v.as_ref()?.as_f64()).map(|f| (f * 10_000.0).round() as i128).collect();
        let total: i128 = units.iter().sum();
        match (self.kind, self.aggregation) {
            ("count_events", _) => json!(found.len()),
            ("aggregation", "sum") => rounded(total, 10),
            ("aggregation", "avg") => {
                if units.is_empty() {
                    Json::Null
                } else {
                    rounded(total, 10 * units.len() as i128)
                }
            }
            ("aggregation", "min") => units.iter().min().map_or(Json::Null, |unit| rounded(*unit, 10)),
            ("aggregation", _) => units.iter().max().map_or(Json::Null, |unit| rounded(*unit, 10)),
            ("first_event", _) => self.edge(found.first()),
            ("last_event", _) => self.edge(found.last()),
            ("most_frequent", _) => self.most_frequent(found),
            ("unique_list", _) => {
                json!(distinct(found, self.window_ticks.is_some())[..].iter().take(self.max_values).collect::<Vec<_>>())
            }
            _ => json!(distinct(found, false).len()),
        }
    }

    fn edge(&self, found: Option<&(Moment, Option<Value>)>) -> Json {
        let Some((moment, value)) = found else { return Json::Null };
        if self.use_timestamp { Value::Time(moment.t).to_json() } else { value.as_ref().unwrap().to_json() }
    }

    fn most_frequent(&self, found: &[(Moment, Option<Value>)]) -> Json {
        let mut ranked: Vec<(usize, Moment, Reverse<String>, Json)> = Vec::new();
        for value in distinct(found, false) {
            let having: Vec<Moment> = found.iter().filter(|(_, v)| elements(v).contains(&value)).map(|(m, _)| *m).collect();
            // Zero-padded text orders numbers from -3 to 6 like the numbers themselves.
            let order = value.as_i64().map_or_else(|| value.to_string(), |n| format!("{:02}", n + 10));
            ranked.push((having.len(), *having.last().unwrap(), Reverse(order), value));
        }
        ranked.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
        ranked.last().filter(|best| best.0 as u64 >= self.min_frequency).map_or(Json::Null, |best| best.3.clone())
    }
}

fn elements(value: &Option<Value>) -> Vec<Json> {
    match value.as_ref().unwrap().to_json() {
        Json::Array(items) => items,
        one => vec![one],
    }
}

/// Distinct values by first occurrence, or by last; of one event in the order of the values.
fn distinct(found: &[(Moment, Option<Value>)], by_last: bool) -> Vec<Json> {
    let mut order: Vec<Json> = Vec::new();
    for (_, value) in found {
        let mut items = elements(value);
        items.sort_by_key(Json::to_string);
        items.dedup();
        for item in items {
            if by_last {
                order.retain(|known| *known != item);
            }
            if !order.contains(&item) {
                order.push(item);
            }
        }
    }
    order
}

/// `units / per` thousandths, rounded half away from zero.
fn rounded(units: i128, per: i128) -> Json {
    let thousandths = (units.abs() * 2 + per) / (2 * per) * units.signum();
    if thousandths % 1000 == 0 { json!((thousandths / 1000) as i64) } else { json!(thousandths as f64 / 1000.0) }
}

pub(crate) fn spec() -> impl Strategy<Value = Spec> {
    let kinds = [
        ("count_events", "", vec!["product"]),
        ("aggregation", "sum", vec!["price", "n"]),
        ("aggregation", "avg", vec!["price", "n"]),
        ("aggregation", "min", vec!["price", "n"]),
        ("aggregation", "max", vec!["price", "n"]),
        ("first_event", "", vec!["product", "when"]),
        ("last_event", "", vec!["product", "n"]),
        ("most_frequent", "", vec!["product", "tags", "n"]),
        ("unique_list", "", vec!["product", "n", "tags"]),
        ("unique_list_count", "", vec!["product", "n", "tags"]),
    ];
    let kind = prop::sample::select(kinds.to_vec())
        .prop_flat_map(|(kind, aggregation, properties)| (Just(kind), Just(aggregation), prop::sample::select(properties)));
    let window = prop::option::of(1..12_i64);
    (kind, 1..3_u64, 1..5_usize, prop::bool::weighted(0.2), window, prop::bool::weighted(0.2), conditions(vec![], true)).prop_map(
        |((kind, aggregation, property), min_frequency, max_values, use_timestamp, window_ticks, web_only, conditions)| Spec {
            kind,
            aggregation,
            property,
            min_frequency,
            max_values,
            use_timestamp,
            window_ticks,
            web_only,
            conditions,
        },
    )
}

/// Traits that tell values apart, whose first and last occurrences come and go by their dates.
fn dated_spec() -> impl Strategy<Value = Spec> {
    let date = prop_oneof![(1..6_i64).prop_map(Cond::Last), (1..6_i64).prop_map(Cond::Next)];
    let kind = prop::sample::select(vec!["most_frequent", "unique_list", "first_event", "last_event"]);
    (spec(), kind, prop::bool::weighted(0.2), date).prop_map(|(spec, kind, windowed, date)| Spec {
        kind,
        aggregation: "",
        property: "product",
        max_values: 10,
        min_frequency: 1,
        window_ticks: spec.window_ticks.filter(|_| windowed),
        conditions: vec![date],
        ..spec
    })
}

fn seen(def: &TraitDef, rig: &Rig<'_, TraitDef>) -> Json {
    def.value(&rig.state).map_or(Json::Null, |value| value.to_json())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 2, failure_persistence: None, ..ProptestConfig::default() })]

    /// T-1, T-96: after every input, at every deadline and a millisecond before it, the value is the one
    /// that the whole log gives; and so it is after the state was stored, and after the log was folded anew.
    #[test]
    fn values_equal_the_oracle(spec in prop_oneof![4 => spec().boxed(), 1 => dated_spec().boxed()], history in history("PPPQ", 40)) {
        let def = compile_trait(&spec.json()).unwrap();
        let mut rig = Rig::new(&def);
        play(&mut rig, &history, &mut |rig, now| {
            assert_eq!(seen(&def, rig), spec.value(&rig.log, now), "at {now:?}, log {:?}", rig.log.len());
        });
        let stored = bincode::serialize(&rig.state).unwrap();
        prop_assert_eq!(&bincode::deserialize::<lodestone_state::traits::TraitState>(&stored).unwrap(), &rig.state);
        prop_assert_eq!(def.value(&rig.folded()), def.value(&rig.state));
        prop_assert!(rig.refolds == 0 || def.reads_profile(), "late events cost nothing here");
    }

    /// T-34: the merged state is the state of the union log.
    #[test]
    fn merging_equals_the_union(spec in spec(), a in history("PPQ", 15), b in history("PPQ", 15)) {
        let def = compile_trait(&spec.json()).unwrap();
        let (mut left, mut right) = (Rig::new(&def), Rig::new(&def));
        play(&mut left, &a, &mut |_, _| {});
        // The other profile's log positions follow.
        right.skip(1000);
        play(&mut right, &b, &mut |_, _| {});
        let mut merged = left.state.clone();
        if !def.merge(&mut merged, &right.state) {
            // Windows, dates and comparisons with traits need the union log, which the other test covers.
            prop_assert!(!def.commutative());
            return Ok(());
        }
        left.log.append(&mut right.log);
        left.log.sort_by_key(|(moment, _)| *moment);
        prop_assert_eq!(def.value(&merged), def.value(&left.folded()));
        prop_assert_eq!(def.value(&merged).map_or(Json::Null, |v| v.to_json()), spec.value(&left.log, Millis(i64::MAX)));
    }
}
