//! What follows when a rule fires.

use super::definition::said;
use crate::action::hooks::{check_params, check_url};
use crate::expr::{PathRef, Resolve};
use crate::ids::EventSlot;
use crate::issue::{DEFINITION_INVALID, Issue, pointer_into};
use crate::time::Zone;
use crate::traits::VALUE_BYTES_MAX;
use crate::traits::definition::NO_EVENT;
use crate::value::Value;
use serde_json::Value as Json;

/// Effects of one rule.
pub const EFFECTS_MAX: usize = 16;
/// Characters of an attribute's key.
const KEY_LEN_MAX: usize = 200;
/// Bytes of the properties of an emitted event.
const PROPERTIES_BYTES_MAX: usize = 16 * 1024;

/// One thing that follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A custom trait gets a value.
    Attribute {
        /// Its dotted path, as it was written.
        key: Box<str>,
        /// Where that stands.
        path: PathRef,
        /// The value.
        value: Value,
    },
    /// An event is tracked for the person.
    Emit {
        /// Which.
        event: EventSlot,
        /// JSON object text.
        properties: Box<str>,
    },
    /// Somebody else's server is called.
    Webhook {
        /// Where to: `https` or `http`, with a host.
        url: Box<str>,
        /// Extra JSON.
        params: Option<Box<str>>,
    },
}

/// The effects of a rule, in the order in which they happen.
pub(super) fn effects(json: &Json, resolve: &dyn Resolve, zone: &Zone, pointer: &str, issues: &mut Vec<Issue>) -> Box<[Effect]> {
    let pointer = format!("{pointer}/then");
    let list = match said(json, "then") {
        Some(Json::Array(list)) => list.as_slice(),
        _ => {
            issues.push(Issue::new(pointer, DEFINITION_INVALID, "then lists what follows: at least one effect"));
            return Box::default();
        }
    };
    if list.len() > EFFECTS_MAX {
        let message = format!("{} effects, limit is {EFFECTS_MAX}", list.len());
        issues.push(Issue::new(pointer.clone(), DEFINITION_INVALID, message));
    }
    let mut effects = Vec::new();
    for (i, json) in list.iter().enumerate() {
        let mut one = One { json, resolve, zone, pointer: format!("{pointer}/{i}"), issues };
        effects.extend(one.effect());
    }
    effects.into()
}

struct One<'a> {
    json: &'a Json,
    resolve: &'a dyn Resolve,
    zone: &'a Zone,
    pointer: String,
    issues: &'a mut Vec<Issue>,
}

impl One<'_> {
    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        self.refuse_as(field, DEFINITION_INVALID, message);
    }

    fn refuse_as(&mut self, field: &str, code: &'static str, message: impl Into<String>) {
        let pointer = format!("{}/{field}", self.pointer);
        self.issues.push(Issue::new(pointer, code, message));
    }

    fn effect(&mut self) -> Option<Effect> {
        match self.json.get("type").and_then(Json::as_str) {
            Some("set_attribute") => {
                self.only("set_attribute", &["key", "value"]);
                self.attribute()
            }
            Some("emit_event") => {
                self.only("emit_event", &["event", "properties"]);
                self.emit()
            }
            Some("webhook") => {
                self.only("webhook", &["url", "params"]);
                self.webhook()
            }
            _ => {
                self.refuse("type", "type is one of set_attribute, emit_event, webhook");
                None
            }
        }
    }

    /// What belongs to another sort of effect would do nothing here, so it is told.
    fn only(&mut self, sort: &str, allowed: &[&str]) {
        for field in ["key", "value", "event", "properties", "url", "params"] {
            if !allowed.contains(&field) && said(self.json, field).is_some() {
                self.refuse(field, format!("{sort} has no {field}"));
            }
        }
    }

    fn text(&mut self, field: &str) -> Option<&str> {
        let text = self.json.get(field).and_then(Json::as_str).filter(|text| !text.is_empty());
        if text.is_none() {
            self.refuse(field, format!("{field} is required and is text"));
        }
        self.json.get(field).and_then(Json::as_str).filter(|text| !text.is_empty())
    }

    fn attribute(&mut self) -> Option<Effect> {
        let key = self.text("key").map(str::to_owned);
        let json = self.json.get("value").unwrap_or(&Json::Null);
        let scalar = |json: &Json| matches!(json, Json::String(_) | Json::Number(_) | Json::Bool(_));
        if !(scalar(json) || json.as_array().is_some_and(|list| list.iter().all(scalar))) {
            self.refuse("value", "value is text, a number, true or false, or a list of these");
            return None;
        }
        let key = key?;
        if key.chars().count() > KEY_LEN_MAX || key.chars().any(char::is_control) {
            self.refuse("key", format!("key has at most {KEY_LEN_MAX} characters and no control characters"));
            return None;
        }
        let Some(path) = self.resolve.custom_path(&key) else {
            let message = format!("the custom traits have no place for {key:?}: declare it");
            self.refuse_as("key", "property_not_found", message);
            return None;
        };
        let value = match self.resolve.custom_value(&key, json, self.zone) {
            Ok(value) => value,
            Err(message) => {
                self.refuse("value", message);
                return None;
            }
        };
        if value.weight() > VALUE_BYTES_MAX {
            self.refuse("value", format!("value takes {} bytes, limit is {VALUE_BYTES_MAX}", value.weight()));
            return None;
        }
        Some(Effect::Attribute { key: key.into(), path, value })
    }

    fn emit(&mut self) -> Option<Effect> {
        let name = self.text("event").map(str::to_owned);
        let properties = match self.json.get("properties") {
            None | Some(Json::Null) => "{}".to_owned(),
            Some(json @ Json::Object(_)) => json.to_string(),
            Some(_) => {
                self.refuse("properties", "properties is an object");
                return None;
            }
        };
        if properties.len() > PROPERTIES_BYTES_MAX {
            let message = format!("properties take {} bytes, limit is {PROPERTIES_BYTES_MAX}", properties.len());
            self.refuse("properties", message);
            return None;
        }
        // A name that leads nowhere is the catalog's to report; here it is an event that never comes.
        let event = self.resolve.event(&name?).unwrap_or(NO_EVENT);
        for error in self.resolve.check_event(event, &properties, self.zone) {
            let pointer = format!("properties{}", pointer_into(self.json.get("properties"), &error.path));
            self.refuse(&pointer, error.message);
        }
        Some(Effect::Emit { event, properties: properties.into() })
    }

    fn webhook(&mut self) -> Option<Effect> {
        let url = self.text("url").map(str::to_owned);
        if let Some(Err(why)) = url.as_deref().map(check_url) {
            self.refuse("url", why);
        }
        let params = match self.json.get("params") {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) => text.clone(),
            Some(json) => json.to_string(),
        };
        match check_params(&params) {
            Ok(params) => Some(Effect::Webhook { url: url?.into(), params: params.map(Into::into) }),
            Err(why) => {
                self.refuse("params", why);
                None
            }
        }
    }
}
