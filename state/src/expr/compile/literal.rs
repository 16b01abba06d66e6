//! Operators by type, and the literals that they take.

use super::{Against, Compiler, DataType, Json, SetOp, Test};
use crate::expr::{Order, Relative, TextOp, TimeOp, fold};
use crate::ids::Millis;
use crate::time::{DAY_MS, DateTimeLit, parse_instant, parse_rfc3339};
use crate::value::{Value, whole};

/// Days of a relative date; far beyond every instant that can be read.
const DAYS_MAX: i64 = 4_000_000;

/// One clause as far as its type, operator and literal go.
pub(super) struct Spec<'a> {
    pub(super) fields: &'a serde_json::Map<String, Json>,
    pub(super) pointer: &'a str,
    pub(super) type_field: &'static str,
    pub(super) data_type: Option<DataType>,
    pub(super) operator: &'a str,
    pub(super) ignore_case: bool,
}

impl Spec<'_> {
    fn value(&self) -> &Json {
        self.fields.get("value").unwrap_or(&Json::Null)
    }
}

impl Compiler<'_> {
    fn typed(&mut self, spec: &Spec<'_>) -> Option<DataType> {
        match spec.data_type {
            None => {
                self.refuse(format!("{}/{}", spec.pointer, spec.type_field), "type is missing");
                None
            }
            Some(DataType::Object) => {
                let message = "an object only takes exists and not_exists";
                self.refuse(format!("{}/operator", spec.pointer), message);
                None
            }
            known => known,
        }
    }

    fn no_operator<T>(&mut self, spec: &Spec<'_>, data_type: DataType) -> Option<T> {
        let message = format!("operator {:?} is not for type {}", spec.operator, data_type.name());
        self.refuse(format!("{}/operator", spec.pointer), message);
        None
    }

    fn bad_value<T>(&mut self, spec: &Spec<'_>, expected: &str) -> Option<T> {
        let message = format!("value {} is not {expected}", spec.value());
        self.refuse(format!("{}/value", spec.pointer), message);
        None
    }

    /// A test against the literal under `value`.
    pub(super) fn literal(&mut self, spec: &Spec<'_>) -> Option<Test> {
        let data_type = self.typed(spec)?;
        match data_type {
            DataType::String => {
                let op = text_op(spec.operator).or_else(|| self.no_operator(spec, data_type));
                let text = spec.value().as_str().or_else(|| self.bad_value(spec, "text"))?;
                let folded = spec.ignore_case.then(|| fold::chars(text).collect());
                Some(Test::Text(op?, text.into(), folded))
            }
            DataType::Integer | DataType::Float => {
                let op = order(spec.operator).or_else(|| self.no_operator(spec, data_type));
                let only_whole = data_type == DataType::Integer;
                let literal = number(spec.value(), only_whole).or_else(|| {
                    let expected = if only_whole { "a whole number of 64 bits" } else { "a number" };
                    self.bad_value(spec, expected)
                });
                Some(Test::Number { op: op?, literal: literal?, whole: only_whole })
            }
            DataType::Boolean => match spec.operator {
                "true" => Some(Test::Bool(true)),
                "false" => Some(Test::Bool(false)),
                _ => self.no_operator(spec, data_type),
            },
            DataType::DateTime => self.date(spec),
            DataType::Array => {
                let negated = match spec.operator {
                    "contains" => Some(false),
                    "does_not_contain" => Some(true),
                    _ => self.no_operator(spec, data_type),
                };
                match spec.value() {
                    json @ (Json::Bool(_) | Json::Number(_) | Json::String(_)) => {
                        let instant = json.as_str().and_then(parse_rfc3339);
                        Some(Test::Element { literal: Value::from_json(json), instant, negated: negated? })
                    }
                    _ => self.bad_value(spec, "text, a number or a boolean"),
                }
            }
            DataType::Object => None,
        }
    }

    fn date(&mut self, spec: &Spec<'_>) -> Option<Test> {
        if let Some(op) = relative(spec.operator) {
            let days = number(spec.value(), true);
            return match days {
                Some(Value::Int(days)) if (0..=DAYS_MAX).contains(&days) => Some(Test::Relative { op, ms: days * DAY_MS }),
                _ => self.bad_value(spec, &format!("a number of days, 0 to {DAYS_MAX}")),
            };
        }
        let Some(op) = time_op(spec.operator).filter(|op| *op != TimeOp::NotEquals) else {
            return self.no_operator(spec, DataType::DateTime);
        };
        let literal = spec.value().as_str().and_then(|text| parse_instant(text.trim(), self.zone));
        match literal {
            Some(DateTimeLit::Instant(t)) => Some(Test::Time { op, start: t, end: Millis(t.0 + 1) }),
            Some(DateTimeLit::Day { start, end }) => Some(Test::Time { op, start, end }),
            None => self.bad_value(spec, "a date or an RFC 3339 time"),
        }
    }

    /// A test against another property.
    pub(super) fn against(&mut self, spec: &Spec<'_>) -> Option<Against> {
        let data_type = self.typed(spec)?;
        let test = match data_type {
            DataType::String => text_op(spec.operator).map(|op| Against::Text(op, spec.ignore_case)),
            DataType::Integer | DataType::Float => {
                order(spec.operator).map(|op| Against::Number { op, whole: data_type == DataType::Integer })
            }
            DataType::Boolean => match spec.operator {
                "equals" => Some(Against::Bool { equal: true }),
                "not_equals" => Some(Against::Bool { equal: false }),
                _ => None,
            },
            DataType::DateTime => time_op(spec.operator).map(Against::Time),
            DataType::Array => match spec.operator {
                "contains" => Some(Against::Array(SetOp::All)),
                "does_not_contain" => Some(Against::Array(SetOp::NotAll)),
                "contains_any" => Some(Against::Array(SetOp::Any)),
                "contains_none" => Some(Against::Array(SetOp::None)),
                _ => None,
            },
            DataType::Object => None,
        };
        if test.is_none() { self.no_operator(spec, data_type) } else { test }
    }
}

fn text_op(name: &str) -> Option<TextOp> {
    Some(match name {
        "equals" => TextOp::Equals,
        "not_equals" => TextOp::NotEquals,
        "contains" => TextOp::Contains,
        "does_not_contain" => TextOp::DoesNotContain,
        "starts_with" => TextOp::StartsWith,
        "ends_with" => TextOp::EndsWith,
        _ => return None,
    })
}

fn order(name: &str) -> Option<Order> {
    Some(match name {
        "equals" => Order::Equals,
        "not_equals" => Order::NotEquals,
        "less_than" => Order::Less,
        "greater_than" => Order::Greater,
        "less_than_or_equal" => Order::LessOrEqual,
        "greater_than_or_equal" => Order::GreaterOrEqual,
        _ => return None,
    })
}

fn time_op(name: &str) -> Option<TimeOp> {
    Some(match name {
        "before_date" => TimeOp::Before,
        "after_date" => TimeOp::After,
        "equals" => TimeOp::Equals,
        "not_equals" => TimeOp::NotEquals,
        _ => return None,
    })
}

fn relative(name: &str) -> Option<Relative> {
    Some(match name {
        "within_last_days" => Relative::WithinLast,
        "before_last_days" => Relative::BeforeLast,
        "within_next_days" => Relative::WithinNext,
        "after_next_days" => Relative::AfterNext,
        _ => return None,
    })
}

/// A number literal, native or as text in the JSON grammar (with an optional plus sign and spaces
/// around it, as forms send it). Integers stay exact.
fn number(json: &Json, only_whole: bool) -> Option<Value> {
    let value = match json {
        Json::Number(_) => Value::from_json(json),
        Json::String(text) => {
            let text = text.trim();
            match text.parse::<i64>() {
                Ok(int) => Value::Int(int),
                Err(_) => Value::from_json(&serde_json::from_str::<serde_json::Number>(text).ok()?.into()),
            }
        }
        _ => return None,
    };
    match value {
        Value::Float(float) if only_whole => whole(float).map(Value::Int),
        other => Some(other),
    }
}
