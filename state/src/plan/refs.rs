//! Where definitions name each other.
//!
//! One walk over a definition finds every reference in it. It serves four ends: names and keys are
//! replaced by what stays the same when something is renamed, `in_use` lists the dependents, the
//! plan's inverted indexes say who must look when something changes, and a fingerprint covers what
//! is read.

use super::catalog::Kind;
use super::document::at;
use serde_json::Value;

/// What kind of thing is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// Another definition. Channels and computed traits are named by key, all others by id.
    Definition(Kind),
    /// A dotted path in the custom traits.
    Custom,
    /// A dotted path in the properties of the event that this text names.
    Property(String),
    /// A dotted path in the context of the channel that this text names.
    Context(String),
}

/// Why it is named, which says when a change of it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Its occurrence is input: the event of a trait or a step.
    Feed,
    /// It makes an action a candidate for this moment (`targeting.onEvent`).
    Trigger,
    /// Its current value decides or is shown: a change must be looked at.
    Current,
    /// Its value is read when an event is applied and then fixed: a change matters to later events only.
    AsOfEvent,
    /// It narrows where something applies, or is named for something else: a channel list, a hook.
    Mention,
}

/// One reference.
pub(super) struct Reference<'a> {
    pub(super) pointer: String,
    pub(super) target: Target,
    pub(super) role: Role,
    /// The text that names it; replaced when the reference is made canonical.
    pub(super) value: &'a mut Value,
    /// The type that a condition expects there, and the field that says so.
    pub(super) expects: Option<(&'static str, String)>,
}

/// A reference taken out of its definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) target: Target,
    pub(super) role: Role,
    pub(super) text: String,
}

/// All references of a canonical definition, sorted and without repeats.
pub(super) fn list(kind: Kind, body: &Value) -> Vec<Named> {
    let mut scratch = body.clone();
    let mut named = Vec::new();
    visit(kind, &mut scratch, "", &mut |reference| {
        if let Some(text) = reference.value.as_str() {
            named.push(Named { target: reference.target.clone(), role: reference.role, text: text.to_owned() });
        }
    });
    named.sort();
    named.dedup();
    named
}

type Visitor<'f> = dyn FnMut(Reference<'_>) + 'f;

/// Calls `visitor` with every reference of one definition, in document order of the fields read here.
pub(super) fn visit(kind: Kind, body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    match kind {
        Kind::Context => one(body, "channel", pointer, Target::Definition(Kind::Channel), Role::Mention, visitor),
        Kind::ComputedTrait => computed_trait(body, pointer, visitor),
        Kind::Audience => audience(body, pointer, visitor),
        Kind::ActionType => each(body, "properties", pointer, &mut |item, pointer| property(item, pointer, visitor)),
        Kind::Action => action(body, pointer, visitor),
        Kind::Rule => rule(body, pointer, visitor),
        Kind::Goal => goal(body, pointer, visitor),
        Kind::Budget => channels(body, pointer, visitor),
        Kind::Experiment => experiment(body, pointer, visitor),
        Kind::Channel | Kind::Token | Kind::Event | Kind::CustomTraits => {}
    }
}

fn computed_trait(body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    one(body, "eventId", pointer, Target::Definition(Kind::Event), Role::Feed, visitor);
    let event = text(body, "eventId");
    conditions(body, "conditions", pointer, &mut |leaf, pointer| {
        left(leaf, pointer, Target::Property(event.clone()), Role::AsOfEvent, visitor);
        comparison(leaf, pointer, Role::AsOfEvent, &[], visitor);
    });
    // A count reads no property, whatever its editor left there.
    let reads = text(body, "type") != "count_events";
    if let Some(properties) = body.get_mut("properties") {
        let pointer = at(pointer, "properties");
        channels(properties, &pointer, visitor);
        if reads && properties.get("useTimestamp") != Some(&Value::Bool(true)) {
            left(properties, &pointer, Target::Property(event), Role::AsOfEvent, visitor);
        }
    }
}

/// Conditions on the properties of the event that `body` is about.
fn event_conditions(body: &mut Value, event: &str, pointer: &str, visitor: &mut Visitor<'_>) {
    conditions(body, "conditions", pointer, &mut |leaf, pointer| {
        left(leaf, pointer, Target::Property(event.to_owned()), Role::AsOfEvent, visitor);
        comparison(leaf, pointer, Role::AsOfEvent, &[], visitor);
    });
}

fn rule(body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    one(body, "eventId", pointer, Target::Definition(Kind::Event), Role::Feed, visitor);
    let event = text(body, "eventId");
    event_conditions(body, &event, pointer, visitor);
    channels(body, pointer, visitor);
    if let Some(metric) = body.get_mut("metric").filter(|metric| metric.is_object()) {
        let pointer = at(pointer, "metric");
        for field in ["sum", "avg", "min", "max", "unique"] {
            one(metric, field, &pointer, Target::Property(event.clone()), Role::AsOfEvent, visitor);
        }
        one(metric, "trait", &pointer, Target::Definition(Kind::ComputedTrait), Role::Current, visitor);
    }
    each(body, "then", pointer, &mut |effect, pointer| {
        one(effect, "event", pointer, Target::Definition(Kind::Event), Role::Mention, visitor);
    });
}

fn goal(body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    one(body, "eventId", pointer, Target::Definition(Kind::Event), Role::Feed, visitor);
    let event = text(body, "eventId");
    event_conditions(body, &event, pointer, visitor);
    if let Some(value) = body.get_mut("value").filter(|value| value.is_object()) {
        one(value, "property", &at(pointer, "value"), Target::Property(event), Role::AsOfEvent, visitor);
    }
    channels(body, pointer, visitor);
    texts(body, "actions", pointer, Target::Definition(Kind::Action), Role::Mention, visitor);
}

fn experiment(body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    texts(body, "actions", pointer, Target::Definition(Kind::Action), Role::Mention, visitor);
    one(body, "goal", pointer, Target::Definition(Kind::Goal), Role::Mention, visitor);
    each(body, "variants", pointer, &mut |variant, pointer| {
        each(variant, "properties", pointer, &mut |item, pointer| property(item, pointer, visitor));
    });
}

fn audience(body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    let mut steps = Vec::new();
    each(body, "events", pointer, &mut |step, pointer| {
        let name = step_event(step);
        one(step, name, pointer, Target::Definition(Kind::Event), Role::Feed, visitor);
        steps.push((text(step, "internalId"), text(step, name)));
    });
    each(body, "events", pointer, &mut |step, pointer| {
        channels(step, pointer, visitor);
        let event = text(step, step_event(step));
        conditions(step, "properties", pointer, &mut |leaf, pointer| {
            left(leaf, pointer, Target::Property(event.clone()), Role::AsOfEvent, visitor);
            comparison(leaf, pointer, Role::AsOfEvent, &steps, visitor);
        });
    });
    conditions(body, "traits", pointer, &mut |leaf, pointer| {
        source(leaf, pointer, visitor);
        comparison(leaf, pointer, Role::Current, &steps, visitor);
    });
}

/// The field of a step that names its event.
fn step_event(step: &Value) -> &'static str {
    if step.get("id").is_some_and(|id| !id.is_null()) { "id" } else { "eventId" }
}

fn action(body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    one(body, "type", pointer, Target::Definition(Kind::ActionType), Role::Mention, visitor);
    each(body, "properties", pointer, &mut |item, pointer| property(item, pointer, visitor));
    if let Some(targeting) = body.get_mut("targeting") {
        let pointer = at(pointer, "targeting");
        channels(targeting, &pointer, visitor);
        texts(targeting, "audiences", &pointer, Target::Definition(Kind::Audience), Role::Current, visitor);
        texts(targeting, "onEvent", &pointer, Target::Definition(Kind::Event), Role::Trigger, visitor);
        conditions(targeting, "traitConditions", &pointer, &mut |leaf, pointer| source(leaf, pointer, visitor));
        conditions(targeting, "contextConditions", &pointer, &mut |leaf, pointer| {
            one(leaf, "channel", pointer, Target::Definition(Kind::Channel), Role::Current, visitor);
            let channel = text(leaf, "channel");
            left(leaf, pointer, Target::Context(channel), Role::Current, visitor);
        });
    }
    each(body, "capping", pointer, &mut |cap, pointer| channels(cap, pointer, visitor));
    each(body, "hooks", pointer, &mut |hook, pointer| {
        channels(hook, pointer, visitor);
        if let Some(properties) = hook.get_mut("properties") {
            let pointer = at(pointer, "properties");
            one(properties, "eventId", &pointer, Target::Definition(Kind::Event), Role::Mention, visitor);
        }
    });
    each(body, "testUsers", pointer, &mut |user, pointer| channels(user, pointer, visitor));
}

/// An action property: a placeholder shows the current value of a trait.
fn property(item: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    channels(item, pointer, visitor);
    match item.get("type").and_then(Value::as_str) {
        Some("computed_trait") => {
            one(item, "sourceKey", pointer, Target::Definition(Kind::ComputedTrait), Role::Current, visitor);
        }
        Some("custom_trait") => one(item, "sourceKey", pointer, Target::Custom, Role::Current, visitor),
        _ => {}
    }
}

/// The left side of a condition on a trait.
fn source(leaf: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    let target = match leaf.get("source").and_then(Value::as_str) {
        Some("computed" | "computed_trait") => Target::Definition(Kind::ComputedTrait),
        Some("custom" | "custom_trait") => Target::Custom,
        Some("audience") => Target::Definition(Kind::Audience),
        _ => return,
    };
    left(leaf, pointer, target, Role::Current, visitor);
}

/// The key of a condition, with the type that it expects there. `exists` takes any type.
fn left(leaf: &mut Value, pointer: &str, target: Target, role: Role, visitor: &mut Visitor<'_>) {
    let name = if leaf.get("key").is_some() { "key" } else { "property" };
    let typed = !matches!(text(leaf, "operator").as_str(), "exists" | "not_exists");
    let field = if leaf.get("dataType").is_some() { "dataType" } else { "type" };
    let expects = Some((field, text(leaf, field))).filter(|(_, expected)| typed && !expected.is_empty());
    if let Some(value) = leaf.get_mut(name).filter(|value| value.as_str().is_some_and(|text| !text.is_empty())) {
        visitor(Reference { pointer: at(pointer, name), target, role, value, expects });
    }
}

/// The right side of a condition, where it is not a literal. `steps`: internal id and event of each
/// step of the audience.
fn comparison(leaf: &mut Value, pointer: &str, role: Role, steps: &[(String, String)], visitor: &mut Visitor<'_>) {
    match text(leaf, "target").as_str() {
        "computed_trait" => {
            one(leaf, "traitKey", pointer, Target::Definition(Kind::ComputedTrait), role, visitor);
        }
        "custom_trait" => one(leaf, "traitKey", pointer, Target::Custom, role, visitor),
        "funnel_property" => {
            one(leaf, "eventId", pointer, Target::Definition(Kind::Event), Role::Mention, visitor);
            let step = text(leaf, "internalEventId");
            if let Some((_, event)) = steps.iter().find(|(id, _)| *id == step) {
                one(leaf, "eventProperty", pointer, Target::Property(event.clone()), Role::AsOfEvent, visitor);
            }
        }
        _ => {}
    }
}

/// The text in a field; empty where there is none.
fn text(body: &Value, name: &str) -> String {
    body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn channels(body: &mut Value, pointer: &str, visitor: &mut Visitor<'_>) {
    texts(body, "channels", pointer, Target::Definition(Kind::Channel), Role::Mention, visitor);
}

/// One reference in a field. Empty text is how exported definitions say "none".
fn one(body: &mut Value, name: &str, pointer: &str, target: Target, role: Role, visitor: &mut Visitor<'_>) {
    if let Some(value) = body.get_mut(name)
        && value.as_str().is_some_and(|text| !text.is_empty())
    {
        visitor(Reference { pointer: at(pointer, name), target, role, value, expects: None });
    }
}

/// A list of references in a field.
fn texts(body: &mut Value, name: &str, pointer: &str, target: Target, role: Role, visitor: &mut Visitor<'_>) {
    let Some(Value::Array(list)) = body.get_mut(name) else { return };
    let pointer = at(pointer, name);
    for (i, value) in list.iter_mut().enumerate() {
        if value.is_string() {
            visitor(Reference { pointer: at(&pointer, i), target: target.clone(), role, value, expects: None });
        }
    }
}

fn each(body: &mut Value, name: &str, pointer: &str, f: &mut dyn FnMut(&mut Value, &str)) {
    let Some(Value::Array(list)) = body.get_mut(name) else { return };
    let pointer = at(pointer, name);
    for (i, item) in list.iter_mut().enumerate() {
        f(item, &at(&pointer, i));
    }
}

/// Every leaf of a list of conditions, through its groups.
fn conditions(body: &mut Value, name: &str, pointer: &str, f: &mut dyn FnMut(&mut Value, &str)) {
    each(body, name, pointer, &mut |value, pointer| leaves(value, pointer, f));
}

fn leaves(value: &mut Value, pointer: &str, f: &mut dyn FnMut(&mut Value, &str)) {
    if value.get("any").is_some() || value.get("all").is_some() || value.get("not").is_some() {
        for group in ["any", "all", "not"] {
            each(value, group, pointer, &mut |value, pointer| leaves(value, pointer, f));
        }
        if let Some(inner) = value.get_mut("not").filter(|inner| inner.is_object()) {
            leaves(inner, &at(pointer, "not"), f);
        }
    } else {
        f(value, pointer);
    }
}
