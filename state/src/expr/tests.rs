//! The conditions of the specification as tables, and a naive evaluator beside the compiled one.

mod comparisons;
mod dates;
mod definitions;
pub(crate) mod naive;
mod table;

use super::*;
use crate::ids::{AudienceSlot, ChannelSlot, EventSlot, PathId, TraitSlot};
use crate::issue::Issue;
use crate::paths;
use crate::schema::DataType;
use serde_json::Value as Json;
use std::borrow::Cow;

/// Reads operands straight from JSON documents: every path is open, under path 0.
pub(crate) struct Docs {
    pub(crate) event: Value,
    pub(crate) custom: Value,
    pub(crate) context: Value,
    pub(crate) computed: Vec<Value>,
    pub(crate) captured: Vec<Value>,
}

impl Default for Docs {
    fn default() -> Self {
        let empty = Value::Object(Vec::new());
        let (computed, captured) = (Vec::new(), Vec::new());
        Self { event: empty.clone(), custom: empty.clone(), context: empty, computed, captured }
    }
}

impl Facts for Docs {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        let (document, rest) = match source {
            Source::Event(path) => (&self.event, &path.rest),
            Source::Custom(path) => (&self.custom, &path.rest),
            Source::Context(path) => (&self.context, &path.rest),
            Source::Computed(slot) => return self.computed.get(slot.index()).map(Cow::Borrowed),
            Source::Member(_) => return None,
            Source::Captured { step, path } => (self.captured.get(usize::from(*step))?, &path.rest),
        };
        descend(document, rest).map(Cow::Borrowed)
    }
}

/// A catalog in which everything exists but what starts with `gone`.
pub(super) struct AnyName;

impl AnyName {
    fn path(dotted: &str) -> Option<PathRef> {
        (!dotted.starts_with("gone")).then(|| PathRef { path: PathId(0), rest: paths::split(dotted).into() })
    }
}

impl Resolve for AnyName {
    fn event(&self, _: &str) -> Option<EventSlot> {
        Some(EventSlot(0))
    }
    fn channel(&self, _: &str) -> Option<ChannelSlot> {
        Some(ChannelSlot(0))
    }
    fn audience(&self, _: &str) -> Option<AudienceSlot> {
        None
    }
    fn event_path(&self, _: EventSlot, dotted: &str) -> Option<PathRef> {
        Self::path(dotted)
    }
    fn event_type(&self, _: EventSlot, _: &str) -> Option<DataType> {
        None
    }
    fn custom_path(&self, dotted: &str) -> Option<PathRef> {
        Self::path(dotted)
    }
    fn context_path(&self, _: ChannelSlot, dotted: &str) -> Option<PathRef> {
        Self::path(dotted)
    }
    fn computed(&self, key: &str) -> Option<(TraitSlot, DataType)> {
        key.strip_prefix('t')?.parse().ok().map(|slot| (TraitSlot(slot), DataType::Float))
    }
}

pub(super) fn berlin() -> Zone {
    Zone::parse("Europe/Berlin").unwrap()
}

pub(crate) const EVENT: Place<'static> = Place::ComputedTrait { event: EventSlot(0) };

pub(crate) fn try_compile(list: &Json, place: Place<'_>) -> Result<Expr, Vec<Issue>> {
    let mut issues = Vec::new();
    let expr = compile(list.as_array().unwrap(), place, &AnyName, &berlin(), "/conditions", &mut issues);
    assert_eq!(expr.is_none(), !issues.is_empty());
    expr.ok_or(issues)
}

pub(super) fn instant(text: &str) -> Millis {
    crate::time::parse_rfc3339(text).unwrap_or_else(|| panic!("{text}"))
}
