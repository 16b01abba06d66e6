//! An experiment's definition, from its JSON.

use crate::action::{ActionDef, Properties};
use crate::expr::Resolve;
use crate::ids::{ActionSlot, GoalSlot};
use crate::issue::Issue;
use crate::time::Zone;
use crate::traits::definition::Reader;
use compact_str::CompactString;
use serde_json::Value as Json;

/// Variants of one experiment.
pub const VARIANTS_MAX: usize = 20;
/// Characters of a variant's key: every reaction in a log says it.
const KEY_LEN_MAX: usize = 200;

/// A compiled experiment.
#[derive(Clone, Debug)]
pub struct ExperimentDef {
    /// Part of what is hashed.
    pub key: CompactString,
    /// Part of what is hashed: two experiments with one salt and key would assign alike.
    pub salt: CompactString,
    /// The actions that it is about; empty where a tag says so.
    pub actions: Box<[ActionSlot]>,
    /// It is about all actions with this tag.
    pub tag: Option<CompactString>,
    /// The variants, at least one. Their places are logged and never change.
    pub variants: Box<[Variant]>,
    /// Share of people who are held back, from 0 to below 1.
    pub holdout: f64,
    /// What counts as a success.
    pub goal: GoalSlot,
    /// Whether people are assigned now.
    pub running: bool,
    /// How sure an interval is, whenever it is looked at.
    pub confidence: f64,
    /// Conversions count for so long after the exposure, in milliseconds; `None` for ever.
    pub window_ms: Option<i64>,
}

/// One way to say it.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Names it in reports.
    pub key: CompactString,
    /// For people.
    pub name: CompactString,
    /// Its share of those not held back, against the other variants' weights.
    pub weight: f64,
    /// What it says in place of the action's own properties of the same names.
    pub properties: Properties,
}

impl ExperimentDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    ///
    /// # Errors
    /// `None`, with every problem pushed to `issues`: `definition_invalid`, `action_not_found` and
    /// `goal_not_found`.
    pub fn compile(json: &Json, resolve: &dyn Resolve, _zone: &Zone, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        let mut reader = Reader { issues };
        let actions = actions(json, resolve, pointer, &mut reader);
        let tag = reader.text(json, "tag", pointer).map(CompactString::from);
        // A name that leads nowhere has been told; it is not the same as no name.
        let listed = !reader.list(json, "actions", pointer).is_empty();
        if listed == tag.is_some() {
            let message = "an experiment names its actions or a tag, one of the two";
            reader.refuse(format!("{pointer}/{}", if tag.is_some() { "tag" } else { "actions" }), message);
        }
        let variants = variants(json, resolve, pointer, &mut reader);
        let holdout = number(json, "holdout", pointer, 0.0, 99.0, 0.0, &mut reader) / 100.0;
        if variants.iter().all(|variant| variant.weight <= 0.0) {
            reader.refuse(format!("{pointer}/variants"), "some variant must have a weight above 0");
        }
        if variants.len() == 1 && holdout <= 0.0 {
            reader.refuse(format!("{pointer}/holdout"), "one variant and no holdout leave nothing to compare");
        }
        let goal = reader.text(json, "goal", pointer);
        let goal = match goal {
            None => {
                reader.refuse(format!("{pointer}/goal"), "goal is required: it says what counts as a success");
                None
            }
            Some(name) => {
                let found = resolve.goal(name);
                if found.is_none() {
                    reader.issues.push(Issue::new(format!("{pointer}/goal"), "goal_not_found", format!("no goal {name:?}")));
                }
                found
            }
        };
        let running = match reader.text(json, "state", pointer) {
            None | Some("stopped") => false,
            Some("running") => true,
            Some(other) => {
                reader.refuse(format!("{pointer}/state"), format!("state is running or stopped, not {other:?}"));
                false
            }
        };
        let confidence = number(json, "confidence", pointer, 0.5, 0.9999, 0.95, &mut reader);
        let window_ms = reader.duration(json, "window", pointer);
        let key = reader.text(json, "key", pointer).unwrap_or_default().into();
        let salt = reader.text(json, "salt", pointer).unwrap_or_default().into();
        if issues.len() > before {
            return None;
        }
        let goal = goal?;
        Some(Self { key, salt, actions, tag, variants, holdout, goal, running, confidence, window_ms })
    }

    /// Whether it is about this action.
    #[must_use]
    pub fn covers(&self, slot: ActionSlot, action: &ActionDef) -> bool {
        self.actions.contains(&slot) || self.tag.as_ref().is_some_and(|tag| action.tags.contains(tag))
    }
}

/// The actions that it is about, each once.
fn actions(json: &Json, resolve: &dyn Resolve, pointer: &str, reader: &mut Reader<'_>) -> Box<[ActionSlot]> {
    let mut slots = Vec::new();
    for (i, slot) in reader.actions(json, resolve, pointer) {
        if slots.contains(&slot) {
            let action = &json["actions"][i];
            reader.refuse(format!("{pointer}/actions/{i}"), format!("action {action} is named twice"));
        } else {
            slots.push(slot);
        }
    }
    slots.into()
}

/// Without any, there is one: the action as it is, to be held against the holdout.
fn variants(json: &Json, resolve: &dyn Resolve, pointer: &str, reader: &mut Reader<'_>) -> Box<[Variant]> {
    let mut variants: Vec<Variant> = Vec::new();
    let list = reader.list(json, "variants", pointer);
    if list.len() > VARIANTS_MAX {
        reader.refuse(format!("{pointer}/variants"), format!("{} variants, limit is {VARIANTS_MAX}", list.len()));
    }
    for (i, json) in list.iter().enumerate() {
        let pointer = format!("{pointer}/variants/{i}");
        if !json.is_object() {
            reader.refuse(pointer, format!("a variant is an object, not {json}"));
            continue;
        }
        let key = reader.text(json, "key", &pointer).unwrap_or_default();
        if key.is_empty() || key == "holdout" {
            reader.refuse(format!("{pointer}/key"), "a variant has a key, and holdout is none");
        } else if key.chars().count() > KEY_LEN_MAX || key.chars().any(char::is_control) {
            reader
                .refuse(format!("{pointer}/key"), format!("key has at most {KEY_LEN_MAX} characters and no control characters"));
        } else if variants.iter().any(|other| other.key == key) {
            reader.refuse(format!("{pointer}/key"), format!("key {key:?} is another variant's"));
        }
        let name = reader.text(json, "name", &pointer).unwrap_or(key);
        let weight = number(json, "weight", &pointer, 0.0, 1e9, 1.0, reader);
        let properties = Properties::compile(json, resolve, &pointer, reader.issues);
        variants.push(Variant { key: key.into(), name: name.into(), weight, properties });
    }
    if variants.is_empty() {
        let (key, name) = ("treatment".into(), "treatment".into());
        variants.push(Variant { key, name, weight: 1.0, properties: Properties::default() });
    }
    variants.into()
}

/// An optional number from `min` to `max`.
fn number(json: &Json, key: &str, pointer: &str, min: f64, max: f64, default: f64, reader: &mut Reader<'_>) -> f64 {
    let Some(value) = json.get(key).filter(|value| !value.is_null()) else { return default };
    match value.as_f64().filter(|number| (min..=max).contains(number)) {
        Some(number) => number,
        None => {
            reader.refuse(format!("{pointer}/{key}"), format!("{key} is a number from {min} to {max}, not {value}"));
            default
        }
    }
}
