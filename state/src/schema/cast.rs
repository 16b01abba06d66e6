//! Scalars as they came, and what each declared type makes of them.

use super::compile::Kind;
use crate::time::{DateTimeLit, Zone, from_epoch, parse_instant, parse_rfc3339};
use crate::value::{Value, whole};
use compact_str::{CompactString, ToCompactString, format_compact};
use std::borrow::Cow;

/// The largest integer that every JSON reader keeps: 2^53 − 1.
const INTEGER_MAX: i64 = (1 << 53) - 1;

/// A JSON scalar other than null.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(&'a str),
}

impl<'a> Scalar<'a> {
    /// The canonical text: what patterns look at, and what a `string` property stores.
    pub(super) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Str(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(int) => Cow::Owned(int.to_string()),
            Self::Float(float) => Cow::Owned(float_text(float).into()),
        }
    }

    /// The value under a declared type. Without `cast` only what the type accepts as it is.
    ///
    /// # Errors
    /// What the type would have taken.
    pub(super) fn cast(self, kind: &Kind, cast: bool, zone: &Zone) -> Result<Value, &'static str> {
        match kind {
            Kind::String => self.string(cast),
            Kind::Integer => self.integer(cast),
            Kind::Float => self.float(cast),
            Kind::Boolean => self.boolean(cast),
            Kind::DateTime => self.date_time(cast, zone),
            Kind::Array(_) => Err("an array"),
            Kind::Open | Kind::Object(_) => Err("an object"),
        }
    }

    fn string(self, cast: bool) -> Result<Value, &'static str> {
        match self {
            Self::Str(text) => Ok(Value::Str(text.into())),
            Self::Bool(flag) if cast => Ok(Value::Str(flag.to_compact_string())),
            Self::Int(int) if cast => Ok(Value::Str(int.to_compact_string())),
            Self::Float(float) if cast => Ok(Value::Str(float_text(float))),
            _ => Err("text"),
        }
    }

    fn integer(self, cast: bool) -> Result<Value, &'static str> {
        let int = match self {
            Self::Int(int) => Some(int),
            Self::Float(float) => whole(float),
            // Signs and digits only, which is what the parser of i64 takes.
            Self::Str(text) if cast => text.trim().parse().ok(),
            _ => None,
        };
        int.filter(|int| (-INTEGER_MAX..=INTEGER_MAX).contains(int)).map(Value::Int).ok_or("a whole number within ±(2^53 − 1)")
    }

    fn float(self, cast: bool) -> Result<Value, &'static str> {
        match self {
            // An integer stays one, so that it stays exact.
            Self::Int(int) => Ok(Value::Int(int)),
            Self::Float(float) if float.is_finite() => Ok(Value::Float(float)),
            Self::Str(text) if cast => number(text).ok_or("a finite number"),
            _ => Err("a finite number"),
        }
    }

    fn boolean(self, cast: bool) -> Result<Value, &'static str> {
        let flag = match self {
            Self::Bool(flag) => Some(flag),
            _ if !cast => None,
            Self::Int(1) => Some(true),
            Self::Int(0) => Some(false),
            Self::Float(1.0) => Some(true),
            Self::Float(0.0) => Some(false),
            Self::Str(text) if text == "1" || text.eq_ignore_ascii_case("true") => Some(true),
            Self::Str(text) if text == "0" || text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        };
        flag.map(Value::Bool).ok_or("a boolean")
    }

    fn date_time(self, cast: bool, zone: &Zone) -> Result<Value, &'static str> {
        let t = match self {
            Self::Str(text) if cast => parse_instant(text, zone).map(DateTimeLit::start),
            Self::Str(text) => parse_rfc3339(text),
            Self::Int(int) if cast => from_epoch(int),
            Self::Float(float) if cast => whole(float).and_then(from_epoch),
            _ => None,
        };
        t.map(Value::Time).ok_or("an RFC 3339 time or a date")
    }
}

/// The shortest decimal text that reads back as this double; with an exponent where plain digits
/// would be long.
fn float_text(float: f64) -> CompactString {
    let size = float.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        return format_compact!("{float:e}");
    }
    // Adding zero turns -0 into 0.
    format_compact!("{}", float + 0.0)
}

/// A number in the JSON grammar, without spaces around it.
fn number(text: &str) -> Option<Value> {
    let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_digit() || *b == b'-');
    if !edge(text.as_bytes().first()) || !edge(text.as_bytes().last()) {
        return None;
    }
    let number: serde_json::Number = serde_json::from_str(text).ok()?;
    Some(Value::from_json(&number.into()))
}
