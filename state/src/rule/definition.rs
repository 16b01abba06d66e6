//! The definition of a rule, from its JSON to what the machine works with.

use super::effect::{self, Effect};
use super::metric::{Metric, multiple};
use super::period::{Calendar, Period};
use crate::expr::{self, Place, Resolve};
use crate::ids::{ChannelSlot, EventSlot, Millis};
use crate::issue::Issue;
use crate::schema::DataType;
use crate::time::{Zone, parse_date};
use crate::traits::definition::{NO_EVENT, Reader};
use crate::traits::{Input, TraitDef, TraitKind};
use crate::value::Value;
use serde_json::Value as Json;
use std::cmp::Ordering;

/// A compiled rule.
#[derive(Clone, Debug)]
pub struct RuleDef {
    /// What is measured.
    pub metric: Metric,
    /// How it is held against the threshold.
    pub operator: Operator,
    /// A number.
    pub threshold: Value,
    /// The time that the metric covers; of a computed trait, the time in which the rule looks at it.
    pub period: Period,
    /// How often it fires.
    pub fire: Fire,
    /// What happens when the metric falls below again.
    pub on_unmet: OnUnmet,
    /// Whether it fires for those who were above before it was defined.
    pub fire_on_backfill: bool,
    /// What follows, in order.
    pub effects: Box<[Effect]>,
    /// The zone that calendar periods begin and end in.
    pub zone: Zone,
}

/// How a number is held against the threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`.
    Equals,
    /// `≠`.
    NotEquals,
    /// `<`.
    Less,
    /// `>`.
    Greater,
    /// `≤`.
    LessOrEqual,
    /// `≥`.
    GreaterOrEqual,
}

/// How often a rule fires.
#[derive(Clone, Debug, PartialEq)]
pub enum Fire {
    /// Once per profile.
    Once,
    /// Once in each period.
    EachPeriod,
    /// Each time that the condition becomes true after it was false.
    EachCrossing,
    /// Each time that the metric passes a further multiple of this number, which is more than 0.
    Every(Value),
}

/// What happens when the metric falls below again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnmet {
    /// Attributes stay.
    Keep,
    /// Attributes are taken back.
    Clear,
}

const OPERATORS: [(&str, Operator); 6] = [
    ("equals", Operator::Equals),
    ("not_equals", Operator::NotEquals),
    ("less_than", Operator::Less),
    ("greater_than", Operator::Greater),
    ("less_than_or_equal", Operator::LessOrEqual),
    ("greater_than_or_equal", Operator::GreaterOrEqual),
];

const CALENDARS: [(&str, Calendar); 5] = [
    ("day", Calendar::Day),
    ("week", Calendar::Week),
    ("month", Calendar::Month),
    ("quarter", Calendar::Quarter),
    ("year", Calendar::Year),
];

const AGGREGATES: [(&str, TraitKind); 5] = [
    ("sum", TraitKind::Sum),
    ("avg", TraitKind::Avg),
    ("min", TraitKind::Min),
    ("max", TraitKind::Max),
    ("unique", TraitKind::UniqueCount),
];

impl RuleDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    ///
    /// # Errors
    /// `None`, with every problem pushed to `issues`: `definition_invalid`, `event_not_found`,
    /// `channel_not_found`, `property_not_found` for an attribute that cannot be set, and
    /// `invalid_condition` for the conditions.
    pub fn compile(json: &Json, resolve: &dyn Resolve, zone: &Zone, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        let mut compiler = Compiler { json, resolve, zone, pointer, reader: Reader { issues } };
        let period = compiler.period();
        let metric = compiler.metric(period);
        let fire = compiler.fire(period);
        let (operator, threshold) = compiler.condition(fire.as_ref());
        let on_unmet =
            compiler.word(json, "onUnmet", pointer, &[("keep", OnUnmet::Keep), ("clear", OnUnmet::Clear)], OnUnmet::Keep);
        let fire_on_backfill = compiler.reader.flag(json, "fireOnBackfill", pointer, true);
        let effects = effect::effects(json, resolve, zone, pointer, compiler.reader.issues);
        if issues.len() > before {
            return None;
        }
        Some(Self {
            metric: metric?,
            operator: operator?,
            threshold: threshold?,
            period: period?,
            fire: fire?,
            on_unmet: on_unmet?,
            fire_on_backfill,
            effects,
            zone: zone.clone(),
        })
    }

    /// Whether the condition holds of a value at `now`; never for one that is absent or no number, nor for a
    /// computed trait outside the rule's dates.
    #[must_use]
    pub fn holds(&self, value: Option<&Value>, now: Millis) -> bool {
        self.looks(now) && self.meets(value)
    }

    /// Whether the condition is true of a value, whatever the time.
    #[must_use]
    pub fn meets(&self, value: Option<&Value>) -> bool {
        let order = value.and_then(|value| Value::cmp_number(value, &self.threshold));
        order.is_some_and(|order| match self.operator {
            Operator::Equals => order == Ordering::Equal,
            Operator::NotEquals => order != Ordering::Equal,
            Operator::Less => order == Ordering::Less,
            Operator::Greater => order == Ordering::Greater,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
        })
    }

    /// Whether the rule looks at its metric at `now` at all. Dates narrow an aggregate by its events, which
    /// stay in it for ever; a computed trait they can narrow only by the time of looking.
    pub(super) fn looks(&self, now: Millis) -> bool {
        match (&self.metric, self.period) {
            (Metric::Trait { .. }, Period::Fixed { from, to }) => from <= now && now < to,
            _ => true,
        }
    }

    /// The value of a profile that no event of the metric has touched; absent for a computed trait, which
    /// knows its own.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        self.metric.events().and_then(TraitDef::default_value)
    }

    /// Which multiple of its step the metric has reached; 0 for rules that do not step.
    #[must_use]
    pub fn multiple(&self, value: Option<&Value>) -> i64 {
        match (&self.fire, value) {
            (Fire::Every(n), Some(value)) => multiple(value, n),
            _ => 0,
        }
    }

    /// Whether the rule fires again after its metric was seen below: that is then an entry of the log.
    pub(super) fn rearms(&self) -> bool {
        self.fire == Fire::EachCrossing
    }
}

struct Compiler<'a> {
    json: &'a Json,
    resolve: &'a dyn Resolve,
    zone: &'a Zone,
    pointer: &'a str,
    reader: Reader<'a>,
}

/// A field that says something: there, not null, not empty.
pub(super) fn said<'j>(json: &'j Json, key: &str) -> Option<&'j Json> {
    json.get(key).filter(|value| match value {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(list) => !list.is_empty(),
        _ => true,
    })
}

impl Compiler<'_> {
    fn at(&self, field: &str) -> String {
        format!("{}/{field}", self.pointer)
    }

    fn metric(&mut self, period: Option<Period>) -> Option<Metric> {
        let metric = said(self.json, "metric");
        let name = |metric: &Json| metric.as_object().filter(|map| map.len() == 1).and_then(|map| map.keys().next().cloned());
        match metric {
            Some(Json::String(text)) if text == "count" => self.aggregate(TraitKind::Count, None, period),
            Some(metric) => match name(metric).as_deref() {
                Some("trait") => self.computed(metric, period),
                Some(name) => match AGGREGATES.iter().find(|(known, _)| *known == name) {
                    Some((_, kind)) => self.aggregate(*kind, Some((name, &metric[name])), period),
                    None => self.no_metric(),
                },
                None => self.no_metric(),
            },
            None => self.no_metric(),
        }
    }

    fn no_metric(&mut self) -> Option<Metric> {
        let message =
            "metric is \"count\", or one of {\"sum\"|\"avg\"|\"min\"|\"max\"|\"unique\": property}, or {\"trait\": key}";
        self.reader.refuse(self.at("metric"), message);
        None
    }

    fn aggregate(&mut self, kind: TraitKind, property: Option<(&str, &Json)>, period: Option<Period>) -> Option<Metric> {
        let event = self.reader.event(self.json, "eventId", self.resolve, self.pointer);
        let channels: Box<[ChannelSlot]> = self.reader.channels(self.json, self.resolve, self.pointer);
        let list = self.reader.list(self.json, "conditions", self.pointer);
        let (pointer, known) = (self.at("conditions"), event.unwrap_or(NO_EVENT));
        let place = Place::ComputedTrait { event: known };
        let condition = expr::compile(list, place, self.resolve, self.zone, &pointer, self.reader.issues);
        let input = match property {
            None => Some(Input::Event),
            Some((name, path)) => self.input(kind, name, path, known),
        };
        let window_ms = match period? {
            Period::Last { ms } => Some(ms),
            _ => None,
        };
        Some(Metric::Events(Box::new(TraitDef::new(event?, condition?, channels, kind, input?, window_ms))))
    }

    fn input(&mut self, kind: TraitKind, name: &str, path: &Json, event: EventSlot) -> Option<Input> {
        let pointer = self.at(&format!("metric/{name}"));
        let Some(path) = path.as_str().filter(|path| !path.is_empty()) else {
            self.reader.refuse(pointer, format!("{name} names a property of the event"));
            return None;
        };
        let data_type = self.resolve.event_type(event, path);
        let counted = kind == TraitKind::UniqueCount;
        let wrong = |found: &DataType| match found {
            DataType::Integer | DataType::Float => false,
            DataType::Object => true,
            _ => !counted,
        };
        if let Some(found) = data_type.filter(wrong) {
            self.reader.refuse(pointer, format!("{path:?} is of type {}, which has no {name}", found.name()));
            return None;
        }
        Some(Input::Property { path: self.resolve.event_path(event, path), data_type })
    }

    fn computed(&mut self, metric: &Json, period: Option<Period>) -> Option<Metric> {
        for field in ["eventId", "conditions", "channels"] {
            if said(self.json, field).is_some() {
                self.reader.refuse(self.at(field), format!("a metric that is a computed trait has no {field} of its own"));
            }
        }
        if matches!(period, Some(Period::Last { .. })) {
            self.reader.refuse(self.at("period/last"), "a computed trait brings its own window");
        }
        let Some(key) = self.reader.text(metric, "trait", &self.at("metric")) else {
            self.reader.refuse(self.at("metric/trait"), "trait names a computed trait");
            return None;
        };
        match self.resolve.computed(key) {
            Some((slot, DataType::Integer | DataType::Float)) => Some(Metric::Trait { slot }),
            Some((_, found)) => {
                let message = format!("computed trait {key:?} is of type {}, a metric is a number", found.name());
                self.reader.refuse(self.at("metric/trait"), message);
                None
            }
            // A key that leads nowhere is the catalog's to report; after a forced removal it is absent.
            None => Some(Metric::Nothing),
        }
    }

    fn period(&mut self) -> Option<Period> {
        let Some(json) = said(self.json, "period") else { return Some(Period::Ever) };
        let pointer = self.at("period");
        let has = |field: &str| said(json, field).is_some();
        match (has("start") || has("end"), has("last"), has("calendar")) {
            (true, false, false) => self.fixed(json, &pointer),
            (false, true, false) => self.reader.duration(json, "last", &pointer).map(|ms| Period::Last { ms }),
            (false, false, true) => self.word(json, "calendar", &pointer, &CALENDARS, Calendar::Day).map(Period::Calendar),
            _ => {
                self.reader.refuse(pointer, "period is one of {start, end}, {last: {amount, unit}} and {calendar}");
                None
            }
        }
    }

    fn fixed(&mut self, json: &Json, pointer: &str) -> Option<Period> {
        let mut date = |field: &str| match said(json, field) {
            None => Some(None),
            Some(text) => {
                let date = text.as_str().and_then(parse_date);
                if date.is_none() {
                    self.reader.refuse(format!("{pointer}/{field}"), format!("{field} is a date YYYY-MM-DD, not {text}"));
                }
                date.map(Some)
            }
        };
        let (start, end) = (date("start"), date("end"));
        let (start, end) = (start?, end?);
        if let (Some(start), Some(end)) = (start, end)
            && end < start
        {
            self.reader.refuse(format!("{pointer}/end"), format!("the period ends on {end}, before it starts on {start}"));
            return None;
        }
        let from = start.map_or(Millis::MIN, |date| self.zone.start_of_day(date));
        let to = end.map_or(Millis::MAX, |date| self.zone.end_of_day(date));
        Some(Period::Fixed { from, to })
    }

    fn fire(&mut self, period: Option<Period>) -> Option<Fire> {
        let pointer = self.at("fire");
        let words = [("once", Fire::Once), ("each_period", Fire::EachPeriod), ("each_crossing", Fire::EachCrossing)];
        let fire = match said(self.json, "fire") {
            None => Some(Fire::Once),
            Some(Json::String(text)) => words.into_iter().find(|(word, _)| word == text).map(|(_, fire)| fire),
            Some(Json::Object(map)) if map.len() == 1 && map.contains_key("every") => {
                let step = number(&map["every"]).filter(positive_thousandths);
                if step.is_none() {
                    let message = "every is a number above 0 of at most three decimals";
                    self.reader.refuse(format!("{pointer}/every"), message);
                    return None;
                }
                step.map(Fire::Every)
            }
            Some(_) => None,
        };
        if fire.is_none() {
            self.reader.refuse(pointer, "fire is once, each_period, each_crossing or {\"every\": n}");
        } else if fire == Some(Fire::EachPeriod) && matches!(period, Some(Period::Last { .. })) {
            self.reader.refuse(pointer, "a sliding window has no periods to fire in: use each_crossing");
            return None;
        }
        fire
    }

    /// Operator and threshold. A rule that fires at multiples may leave them out: from the first one on.
    fn condition(&mut self, fire: Option<&Fire>) -> (Option<Operator>, Option<Value>) {
        let step = match fire {
            Some(Fire::Every(step)) => Some(step.clone()),
            _ => None,
        };
        let (operator, threshold) = (said(self.json, "operator"), said(self.json, "threshold"));
        if let (Some(step), None, None) = (step, operator, threshold) {
            return (Some(Operator::GreaterOrEqual), Some(step));
        }
        let found = operator.and_then(Json::as_str).and_then(|text| OPERATORS.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let names = OPERATORS.map(|(word, _)| word).join(", ");
            self.reader.refuse(self.at("operator"), format!("operator is one of {names}"));
        }
        let value = threshold.and_then(number);
        if value.is_none() {
            self.reader.refuse(self.at("threshold"), "threshold is a number");
        }
        (found.map(|(_, operator)| *operator), value)
    }

    /// A word out of a closed list; `default` where nothing is said.
    fn word<T: Copy>(&mut self, json: &Json, key: &str, pointer: &str, words: &[(&str, T)], default: T) -> Option<T> {
        let Some(value) = said(json, key) else { return Some(default) };
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            self.reader.refuse(format!("{pointer}/{key}"), format!("{key} is one of {known}, not {value}"));
        }
        found.map(|(_, value)| *value)
    }
}

/// A finite number, also as text.
fn number(json: &Json) -> Option<Value> {
    match json {
        Json::Number(_) => Some(Value::from_json(json)),
        Json::String(text) => text.parse().map(Value::Int).ok().or_else(|| {
            let float = text.parse().ok().filter(|float: &f64| float.is_finite());
            float.map(Value::Float)
        }),
        _ => None,
    }
}

fn positive_thousandths(value: &Value) -> bool {
    let Some(n) = value.as_f64() else { return false };
    let thousandths = (n * 1000.0).round();
    (1.0..9e15).contains(&thousandths) && (n - thousandths / 1000.0).abs() <= n * 1e-12
}
