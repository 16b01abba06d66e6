//! Which fields may stand where in a definition, so that a typo never passes silently.
//!
//! Only names are checked here. What a field may say is checked by the part that compiles it.

use super::document::{at, unknown};
use crate::issue::Issue;
use serde_json::Value;

/// What may stand at one place.
pub(super) enum Shape {
    /// An object with these fields.
    Fields(&'static [&'static str], &'static [(&'static str, Shape)]),
    /// A list of these.
    List(&'static Shape),
    /// A list of conditions, or groups of them, with these fields each.
    Conditions(&'static [&'static str]),
}

use Shape::{Conditions, Fields, List};

/// Fields that an exported definition carries and that nobody can set.
pub(super) const READ_ONLY: [&str; 12] = [
    "organizationId",
    "createdAt",
    "updatedAt",
    "createdBy",
    "updatedBy",
    "refreshedAt",
    "profileCount",
    "revision",
    "isInUse",
    "archivedAt",
    "lastUsedAt",
    "structureVersion",
];

const AMOUNT: Shape = Fields(&["amount", "unit"], &[]);

/// On the properties of the one event that a computed trait, a rule or a goal is about.
const PROPERTY_CONDITION: &[&str] =
    &["property", "key", "type", "dataType", "operator", "value", "target", "traitKey", "orMissing", "ignoreCase"];

/// On the properties of a step of an audience.
const EVENT_CONDITION: &[&str] = &[
    "target",
    "key",
    "property",
    "dataType",
    "type",
    "operator",
    "value",
    "traitKey",
    "eventId",
    "internalEventId",
    "eventProperty",
    "orMissing",
    "ignoreCase",
];

const AUDIENCE_CONDITION: &[&str] = &[
    "source",
    "key",
    "property",
    "dataType",
    "type",
    "operator",
    "target",
    "value",
    "traitKey",
    "eventId",
    "internalEventId",
    "eventProperty",
    "orMissing",
    "ignoreCase",
    "readAt",
];

const ACTION_CONDITION: &[&str] =
    &["source", "key", "property", "type", "dataType", "operator", "value", "orMissing", "ignoreCase"];

const CONTEXT_CONDITION: &[&str] =
    &["channel", "key", "property", "type", "dataType", "operator", "value", "orMissing", "ignoreCase"];

/// A computed trait.
pub(super) static TRAIT: Shape = Fields(
    &["id", "version", "name", "description", "key", "type", "eventId"],
    &[
        ("conditions", Conditions(PROPERTY_CONDITION)),
        (
            "properties",
            Fields(
                &["property", "type", "aggregationType", "minFrequency", "useTimestamp", "channels", "maxValues"],
                &[("window", AMOUNT)],
            ),
        ),
    ],
);

/// An audience.
pub(super) static AUDIENCE: Shape = Fields(
    &["id", "version", "name", "description", "key", "type", "includeAnonymous", "anchor", "reentry"],
    &[
        ("windowFromFirst", AMOUNT),
        (
            "events",
            List(&Fields(
                &[
                    "id",
                    "eventId",
                    "internalId",
                    "parentId",
                    "exclude",
                    "channels",
                    "operator",
                    "count",
                    "timeWindowOperator",
                    "timeWindowStart",
                    "timeWindowEnd",
                    "timeWindowUnit",
                    "anchor",
                ],
                &[
                    ("properties", Conditions(EVENT_CONDITION)),
                    ("forAtLeast", AMOUNT),
                    ("within", AMOUNT),
                    ("windowFromFirst", AMOUNT),
                    ("withinPrevious", Fields(&[], &[("min", AMOUNT), ("max", AMOUNT)])),
                ],
            )),
        ),
        ("traits", Conditions(AUDIENCE_CONDITION)),
    ],
);

const PROPERTY: Shape = Fields(&["channels", "type", "name", "value", "sourceKey", "sourceType", "omitMissing"], &[]);

/// An action type.
pub(super) static ACTION_TYPE: Shape =
    Fields(&["id", "name", "version", "description", "isArchived"], &[("properties", List(&PROPERTY))]);

/// An action.
pub(super) static ACTION: Shape = Fields(
    &[
        "id",
        "version",
        "name",
        "description",
        "type",
        "typeName",
        "typeVersion",
        "typeProperties",
        "state",
        "tags",
        "priority",
        "slot",
        "campaign",
        "acceptGraceSec",
    ],
    &[
        ("properties", List(&PROPERTY)),
        (
            "targeting",
            Fields(
                &["channels", "audiences", "weekdays", "onEvent"],
                &[
                    ("traitConditions", Conditions(ACTION_CONDITION)),
                    ("contextConditions", Conditions(CONTEXT_CONDITION)),
                    ("start", Fields(&["date", "time"], &[])),
                    ("end", Fields(&["date", "time"], &[])),
                ],
            ),
        ),
        ("capping", List(&Fields(&["channels", "event", "group", "count", "within", "withinUnit"], &[]))),
        (
            "hooks",
            List(&Fields(
                &["channels", "event", "type"],
                &[("properties", Fields(&["url", "returnResult", "params", "eventId"], &[]))],
            )),
        ),
        ("testUsers", List(&Fields(&["userId", "channels", "description", "skipTargeting"], &[]))),
        ("cost", Fields(&["fixed", "perDelivered", "perAccepted", "currency"], &[])),
    ],
);

/// A rule.
pub(super) static RULE: Shape = Fields(
    &["id", "version", "name", "description", "key", "eventId", "channels", "operator", "threshold", "onUnmet", "fireOnBackfill"],
    &[
        ("conditions", Conditions(PROPERTY_CONDITION)),
        ("metric", Fields(&["sum", "avg", "min", "max", "unique", "trait", "count"], &[])),
        ("period", Fields(&["start", "end", "calendar"], &[("last", AMOUNT)])),
        ("fire", Fields(&["every"], &[])),
        ("then", List(&OPEN_EFFECT)),
    ],
);

const OPEN_EFFECT: Shape = Fields(&["type", "key", "value", "event", "url", "params", "properties"], &[]);

/// A goal.
pub(super) static GOAL: Shape = Fields(
    &[
        "id",
        "version",
        "name",
        "description",
        "key",
        "eventId",
        "currency",
        "model",
        "touches",
        "channels",
        "actions",
        "dedupe",
        "expose",
    ],
    &[("conditions", Conditions(PROPERTY_CONDITION)), ("value", Fields(&["property", "fixed"], &[])), ("lookback", AMOUNT)],
);

/// A budget.
pub(super) static BUDGET: Shape = Fields(
    &["id", "version", "name", "description", "key", "tags", "slot", "channels", "event", "count", "within", "withinUnit"],
    &[("quietHours", Fields(&["start", "end", "weekdays"], &[]))],
);

/// An experiment.
pub(super) static EXPERIMENT: Shape = Fields(
    &["id", "version", "name", "description", "key", "actions", "tag", "holdout", "salt", "goal", "state", "confidence"],
    &[("variants", List(&Fields(&["key", "name", "weight"], &[("properties", List(&PROPERTY))]))), ("window", AMOUNT)],
);

impl Shape {
    /// Reports every field of `value` that has no place in this shape.
    pub(super) fn check(&self, value: &Value, pointer: &str, issues: &mut Vec<Issue>) {
        self.walk(value, pointer, true, issues);
    }

    fn walk(&self, value: &Value, pointer: &str, top: bool, issues: &mut Vec<Issue>) {
        match (self, value) {
            (Fields(plain, nested), Value::Object(map)) => {
                for (key, value) in map {
                    if let Some((_, shape)) = nested.iter().find(|(name, _)| name == key) {
                        shape.walk(value, &at(pointer, key), false, issues);
                    } else if !(plain.contains(&key.as_str()) || top && READ_ONLY.contains(&key.as_str())) {
                        let known: Vec<&str> = plain.iter().copied().chain(nested.iter().map(|(name, _)| *name)).collect();
                        issues.push(unknown(pointer, key, &known));
                    }
                }
            }
            (List(shape), Value::Array(list)) => {
                for (i, value) in list.iter().enumerate() {
                    shape.walk(value, &at(pointer, i), false, issues);
                }
            }
            (Conditions(leaf), Value::Array(list)) => {
                for (i, value) in list.iter().enumerate() {
                    condition(leaf, value, &at(pointer, i), issues);
                }
            }
            // A value of the wrong JSON type is the business of whoever reads it.
            (Fields(..) | List(_) | Conditions(_), _) => {}
        }
    }
}

fn condition(leaf: &'static [&'static str], value: &Value, pointer: &str, issues: &mut Vec<Issue>) {
    let Value::Object(map) = value else { return };
    let group = map.keys().any(|key| matches!(key.as_str(), "any" | "all" | "not"));
    for (key, value) in map {
        let pointer_here = at(pointer, key);
        match (group, key.as_str(), value) {
            (true, "any" | "all" | "not", Value::Array(list)) => {
                for (i, value) in list.iter().enumerate() {
                    condition(leaf, value, &at(&pointer_here, i), issues);
                }
            }
            (true, "not", value) => condition(leaf, value, &pointer_here, issues),
            (true, "any" | "all", _) => {}
            (true, ..) => issues.push(unknown(pointer, key, &["any", "all", "not"])),
            (false, ..) if leaf.contains(&key.as_str()) => {}
            (false, ..) => issues.push(unknown(pointer, key, leaf)),
        }
    }
}
