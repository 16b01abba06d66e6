//! What an action costs.

use super::Micros;
use crate::issue::{DEFINITION_INVALID, Issue};
use crate::value::Value;
use compact_str::CompactString;
use serde_json::Value as Json;

/// What an action costs: once, and for each delivery and acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Once.
    pub fixed: Micros,
    /// For each delivery.
    pub per_delivered: Micros,
    /// For each acceptance.
    pub per_accepted: Micros,
    /// In which money; `None` if nobody says.
    pub currency: Option<CompactString>,
}

impl Cost {
    /// Reads `{"fixed", "perDelivered", "perAccepted", "currency"}`; an amount that is absent is nothing.
    /// `pointer` is where it stands.
    ///
    /// # Errors
    /// `None`, with everything that is wrong pushed to `issues`.
    pub fn compile(json: &Json, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        if !json.is_object() {
            issues.push(Issue::new(pointer, DEFINITION_INVALID, format!("cost is an object, not {json}")));
            return None;
        }
        let fixed = amount(json, "fixed", pointer, issues);
        let per_delivered = amount(json, "perDelivered", pointer, issues);
        let per_accepted = amount(json, "perAccepted", pointer, issues);
        let currency = currency(json, pointer, issues);
        (issues.len() == before).then_some(Self { fixed, per_delivered, per_accepted, currency })
    }
}

fn amount(json: &Json, key: &str, pointer: &str, issues: &mut Vec<Issue>) -> Micros {
    match json.get(key) {
        None | Some(Json::Null) => Micros(0),
        Some(value) => {
            let fits = Micros::of(&Value::from_json(value)).filter(|amount| (0..9_000_000_000_000_000_000).contains(&amount.0));
            fits.unwrap_or_else(|| {
                let message = format!("{key} is a number from 0 to below 9e12, not {value}");
                issues.push(Issue::new(format!("{pointer}/{key}"), DEFINITION_INVALID, message));
                Micros(0)
            })
        }
    }
}

/// The code of a currency: three capital letters, as in ISO 4217. `None` where none is given.
pub(super) fn currency(json: &Json, pointer: &str, issues: &mut Vec<Issue>) -> Option<CompactString> {
    let value = json.get("currency").filter(|value| !value.is_null() && *value != "")?;
    let code = value.as_str().filter(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
    if code.is_none() {
        let message = format!("currency is a code of three capital letters such as EUR, not {value}");
        issues.push(Issue::new(format!("{pointer}/currency"), DEFINITION_INVALID, message));
    }
    code.map(Into::into)
}
