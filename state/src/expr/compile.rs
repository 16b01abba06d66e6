//! From the JSON of a definition to a compiled condition: literals are parsed here, and everything
//! that is wrong is reported at once.

use super::{Against, Expr, Leaf, Node, PathRef, SetOp, Source, Test};
use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, EventSlot, GoalSlot, TraitSlot};
use crate::issue::{INVALID_CONDITION, Issue};
use crate::schema::{DataType, FieldError};
use crate::time::Zone;
use crate::value::Value;
use serde_json::Value as Json;

mod literal;

/// Groups inside groups.
pub const DEPTH_MAX: usize = 4;
/// Clauses of one list, in all its groups together.
pub const LEAVES_MAX: usize = 64;

/// Where a condition stands, which decides what it may read and how it says so.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A property of an event, outside audiences and traits (goals, rules).
    EventProperty {
        /// The event.
        event: EventSlot,
    },
    /// A condition of a computed trait on its event's properties.
    ComputedTrait {
        /// The event.
        event: EventSlot,
    },
    /// A condition of an audience step; the target may be an earlier step's property.
    AudienceStep {
        /// The step's event.
        event: EventSlot,
        /// The positive steps before this one in the same chain.
        earlier: &'a [EarlierStep<'a>],
    },
    /// A trait condition of an audience.
    AudienceTrait {
        /// All positive steps whose captures outlive the run.
        earlier: &'a [EarlierStep<'a>],
    },
    /// A trait condition of an action.
    ActionTrait,
    /// A context condition of an action; the caller sorts conditions by channel.
    ActionContext {
        /// The channel of the context.
        channel: ChannelSlot,
    },
}

/// A step that `funnel_property` may name.
#[derive(Clone, Copy, Debug)]
pub struct EarlierStep<'a> {
    /// `internalId` in the definition.
    pub internal_id: &'a str,
    /// Its event.
    pub event: EventSlot,
    /// Its number among the positive steps of the chain, from 0.
    pub step: u16,
}

/// What the catalog knows about names. `None` means that nothing of that name exists.
pub trait Resolve {
    /// An event by id or name.
    fn event(&self, id_or_name: &str) -> Option<EventSlot>;
    /// A channel by id or key.
    fn channel(&self, id_or_key: &str) -> Option<ChannelSlot>;
    /// An audience by id, key or name.
    fn audience(&self, id_or_key: &str) -> Option<AudienceSlot>;
    /// An action by id or name.
    fn action(&self, _id_or_name: &str) -> Option<ActionSlot> {
        None
    }
    /// A goal by id, key or name.
    fn goal(&self, _id_or_key: &str) -> Option<GoalSlot> {
        None
    }
    /// Where a property of an event is found, in any version of its structure.
    fn event_path(&self, event: EventSlot, dotted: &str) -> Option<PathRef>;
    /// The declared type of a property of an event.
    fn event_type(&self, event: EventSlot, dotted: &str) -> Option<DataType>;
    /// Where a custom trait is found.
    fn custom_path(&self, dotted: &str) -> Option<PathRef>;
    /// The declared type of a custom trait, where the catalog knows it.
    fn custom_type(&self, _dotted: &str) -> Option<DataType> {
        None
    }
    /// A value as the custom trait at this path holds it.
    ///
    /// # Errors
    /// A fragment that says why the trait's definition does not take it.
    fn custom_value(&self, _dotted: &str, json: &Json, _zone: &Zone) -> Result<Value, String> {
        Ok(Value::from_json(json))
    }
    /// What is wrong with JSON text as the properties of an event; nothing where the event is not known.
    fn check_event(&self, _event: EventSlot, _properties: &str, _zone: &Zone) -> Vec<FieldError> {
        Vec::new()
    }
    /// Where a key of a channel's context is found.
    fn context_path(&self, channel: ChannelSlot, dotted: &str) -> Option<PathRef>;
    /// A computed trait by key, and the type of its value.
    fn computed(&self, key: &str) -> Option<(TraitSlot, DataType)>;
}

/// Compiles a list of conditions and groups, all of which must hold.
///
/// A name that resolves to nothing is no error: its operand is absent, as after a forced delete.
///
/// # Errors
/// `None`, with every problem pushed to `issues` under code `invalid_condition`; `pointer` is where the
/// list stands in its document.
pub fn compile(
    list: &[Json],
    place: Place<'_>,
    resolve: &dyn Resolve,
    zone: &Zone,
    pointer: &str,
    issues: &mut Vec<Issue>,
) -> Option<Expr> {
    let before = issues.len();
    let mut compiler = Compiler { place, resolve, zone, issues, leaves: 0 };
    let parts = compiler.list(list, pointer, 0);
    let leaves = compiler.leaves;
    if leaves > LEAVES_MAX {
        compiler.refuse(pointer, format!("{leaves} clauses, limit is {LEAVES_MAX}"));
    }
    if issues.len() > before {
        return None;
    }
    let node = match <[Node; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => Node::All(parts.into()),
    };
    Some(Expr { node, zone: zone.clone() })
}

struct Compiler<'a> {
    place: Place<'a>,
    resolve: &'a dyn Resolve,
    zone: &'a Zone,
    issues: &'a mut Vec<Issue>,
    leaves: usize,
}

/// The right-hand side of a condition.
enum Target {
    Literal,
    Other(Option<Source>),
}

impl Compiler<'_> {
    fn refuse(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.issues.push(Issue::new(pointer, INVALID_CONDITION, message));
    }

    fn list(&mut self, list: &[Json], pointer: &str, depth: usize) -> Vec<Node> {
        // Every entry is looked at, so that all problems are found.
        let parts = list.iter().enumerate().map(|(i, json)| self.entry(json, &format!("{pointer}/{i}"), depth));
        parts.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    fn entry(&mut self, json: &Json, pointer: &str, depth: usize) -> Option<Node> {
        let Some(fields) = json.as_object() else {
            self.refuse(pointer, "a condition is an object");
            return None;
        };
        let groups: Vec<&str> = ["any", "all", "not"].into_iter().filter(|key| fields.contains_key(*key)).collect();
        let group = match groups[..] {
            [] => return self.leaf(fields, pointer),
            [one] if fields.len() == 1 => one,
            [one, ..] => {
                self.refuse(pointer, "a group has one key, any, all or not, and nothing else");
                one
            }
        };
        let pointer = format!("{pointer}/{group}");
        if depth >= DEPTH_MAX {
            self.refuse(pointer, format!("groups are nested deeper than {DEPTH_MAX}"));
            return None;
        }
        let inner = &fields[group];
        if group == "not" && inner.is_object() {
            return self.entry(inner, &pointer, depth + 1).map(|part| Node::Not(Box::new(part)));
        }
        let Some(list) = inner.as_array() else {
            self.refuse(pointer, if group == "not" { "a condition is an object" } else { "a group is a list" });
            return None;
        };
        if list.is_empty() {
            self.refuse(pointer, "an empty group says nothing");
            return None;
        }
        let parts = self.list(list, &pointer, depth + 1).into();
        Some(match group {
            "any" => Node::Any(parts),
            "all" => Node::All(parts),
            _ => Node::Not(Box::new(Node::All(parts))),
        })
    }

    fn leaf(&mut self, fields: &serde_json::Map<String, Json>, pointer: &str) -> Option<Node> {
        self.leaves += 1;
        let before = self.issues.len();
        let (source, name) = self.source(fields, pointer);
        let target = self.target(fields, pointer);
        let or_missing = self.flag(fields, "orMissing", pointer);
        let ignore_case = self.flag(fields, "ignoreCase", pointer);
        let (type_field, data_type) = self.data_type(fields, pointer);
        let operator = self.text(fields, "operator", pointer)?;
        // What is held against a type that is none, or against a target that is none, cannot be judged.
        let judged = |issue: &Issue| [type_field, "target"].iter().all(|field| issue.pointer != format!("{pointer}/{field}"));
        if !self.issues[before..].iter().all(judged) {
            return None;
        }
        let spec = literal::Spec { fields, pointer, type_field, data_type, operator, ignore_case };
        let test = match (&target, operator) {
            (Target::Literal, "exists") => Test::Exists,
            (Target::Literal, "not_exists") => Test::NotExists,
            (Target::Literal, _) => self.literal(&spec)?,
            (Target::Other(other), _) => Test::Against(self.against(&spec)?, other.clone()),
        };
        let right = match &target {
            Target::Literal => fields.get("value").filter(|v| !v.is_null() && *v != "").map(ToString::to_string),
            Target::Other(_) => Some(target_name(fields)),
        };
        let missing = if or_missing { Some("or missing".to_owned()) } else { None };
        if self.issues.len() > before {
            return None;
        }
        let clause = [Some(name), Some(operator.to_owned()), right, missing];
        let clause = clause.into_iter().flatten().collect::<Vec<_>>().join(" ").into();
        Some(Node::Leaf(Box::new(Leaf { source, or_missing, test, clause })))
    }

    /// The left-hand side, and how explanations name it.
    fn source(&mut self, fields: &serde_json::Map<String, Json>, pointer: &str) -> (Option<Source>, String) {
        let field = if fields.contains_key("key") { "key" } else { "property" };
        let Some(key) = self.text(fields, field, pointer) else {
            return (None, String::new());
        };
        if key.is_empty() {
            self.refuse(format!("{pointer}/{field}"), "the key is empty");
        }
        match self.place {
            Place::EventProperty { event } | Place::ComputedTrait { event } | Place::AudienceStep { event, .. } => {
                (self.resolve.event_path(event, key).map(Source::Event), format!("event {key}"))
            }
            Place::ActionContext { channel } => {
                (self.resolve.context_path(channel, key).map(Source::Context), format!("context {key}"))
            }
            Place::AudienceTrait { .. } | Place::ActionTrait => match self.text(fields, "source", pointer) {
                Some("custom" | "custom_trait") => (self.custom(key), format!("custom {key}")),
                Some("computed" | "computed_trait") => (self.computed(key), format!("computed {key}")),
                Some("audience") => (self.resolve.audience(key).map(Source::Member), format!("audience {key}")),
                Some(other) => {
                    self.refuse(format!("{pointer}/source"), format!("source {other:?} is none of custom, computed, audience"));
                    (None, String::new())
                }
                None => (None, String::new()),
            },
        }
    }

    fn custom(&self, key: &str) -> Option<Source> {
        self.resolve.custom_path(key).map(Source::Custom)
    }

    fn computed(&self, key: &str) -> Option<Source> {
        self.resolve.computed(key).map(|(slot, _)| Source::Computed(slot))
    }

    fn target(&mut self, fields: &serde_json::Map<String, Json>, pointer: &str) -> Target {
        let name = match fields.get("target") {
            None | Some(Json::Null) => "",
            Some(Json::String(name)) => name.as_str(),
            Some(_) => "?",
        };
        let at = format!("{pointer}/target");
        if let Some(read_at) = fields.get("readAt").filter(|json| !json.is_null()) {
            let now = matches!(self.place, Place::AudienceTrait { .. });
            if read_at != "event" && !(read_at == "now" && now) {
                let message = if read_at == "now" { "only audience trait conditions read now" } else { "readAt is event or now" };
                self.refuse(format!("{pointer}/readAt"), message);
            }
        }
        match name {
            "" | "static" => Target::Literal,
            "custom_trait" => Target::Other(self.text(fields, "traitKey", pointer).and_then(|key| self.custom(key))),
            "computed_trait" => Target::Other(self.text(fields, "traitKey", pointer).and_then(|key| self.computed(key))),
            "funnel_property" => Target::Other(self.captured(fields, pointer)),
            other => {
                let names = "static, custom_trait, computed_trait, funnel_property";
                self.refuse(at, format!("target {other:?} is none of {names}"));
                Target::Literal
            }
        }
    }

    fn captured(&mut self, fields: &serde_json::Map<String, Json>, pointer: &str) -> Option<Source> {
        let (Place::AudienceStep { earlier, .. } | Place::AudienceTrait { earlier }) = self.place else {
            self.refuse(format!("{pointer}/target"), "funnel_property is for conditions of a funnel");
            return None;
        };
        let id = self.text(fields, "internalEventId", pointer);
        let property = self.text(fields, "eventProperty", pointer);
        let (id, property) = (id?, property?);
        let Some(step) = earlier.iter().find(|step| step.internal_id == id) else {
            self.refuse(format!("{pointer}/internalEventId"), format!("{id:?} is no earlier step that must happen"));
            return None;
        };
        let path = self.resolve.event_path(step.event, property)?;
        Some(Source::Captured { step: step.step, path })
    }

    fn data_type(&mut self, fields: &serde_json::Map<String, Json>, pointer: &str) -> (&'static str, Option<DataType>) {
        let field = if fields.contains_key("dataType") { "dataType" } else { "type" };
        let data_type = match fields.get(field) {
            // Only exists and not_exists can do without; the others say so themselves.
            None | Some(Json::Null) => None,
            Some(Json::String(name)) if name.is_empty() => None,
            Some(json) => {
                let known = json.as_str().and_then(DataType::parse);
                if known.is_none() {
                    let names = "string, integer, float, boolean, dateTime, array";
                    self.refuse(format!("{pointer}/{field}"), format!("type {json} is none of {names}"));
                }
                known
            }
        };
        (field, data_type)
    }

    fn flag(&mut self, fields: &serde_json::Map<String, Json>, field: &str, pointer: &str) -> bool {
        match fields.get(field) {
            None | Some(Json::Null) => false,
            Some(Json::Bool(flag)) => *flag,
            Some(_) => {
                self.refuse(format!("{pointer}/{field}"), format!("{field} is true or false"));
                false
            }
        }
    }

    fn text<'j>(&mut self, fields: &'j serde_json::Map<String, Json>, field: &str, pointer: &str) -> Option<&'j str> {
        let text = fields.get(field).and_then(Json::as_str);
        if text.is_none() {
            self.refuse(format!("{pointer}/{field}"), format!("{field} is missing or no text"));
        }
        text
    }
}

fn target_name(fields: &serde_json::Map<String, Json>) -> String {
    let text = |field: &str| fields.get(field).and_then(Json::as_str).unwrap_or_default();
    match text("target") {
        "custom_trait" => format!("custom {}", text("traitKey")),
        "computed_trait" => format!("computed {}", text("traitKey")),
        _ => format!("earlier {}", text("eventProperty")),
    }
}
