//! What a document says of the kinds that are named by a key: audiences, rules, goals, budgets, experiments.

use super::apply::Draft;
use super::catalog::{Definition, Kind};
use super::document::Fields;
use super::lookup::slug;
use super::shape::{self, Shape};
use crate::issue::DEFINITION_INVALID;
use serde_json::Value;

impl Draft<'_> {
    pub(super) fn rule(&mut self, value: &Value, pointer: &str) {
        self.keyed(Kind::Rule, &shape::RULE, value, pointer);
    }

    pub(super) fn goal(&mut self, value: &Value, pointer: &str) {
        self.keyed(Kind::Goal, &shape::GOAL, value, pointer);
    }

    pub(super) fn budget(&mut self, value: &Value, pointer: &str) {
        self.keyed(Kind::Budget, &shape::BUDGET, value, pointer);
    }

    pub(super) fn experiment(&mut self, value: &Value, pointer: &str) {
        self.keyed(Kind::Experiment, &shape::EXPERIMENT, value, pointer);
    }

    /// Claims the slot of a definition that has a name and a key, and notes what is said of it.
    pub(super) fn keyed(&mut self, kind: Kind, shape: &Shape, value: &Value, pointer: &str) -> Option<usize> {
        let fields = Fields::open(value, pointer, &mut self.issues)?;
        shape.check(value, pointer, &mut self.issues);
        let id = fields.id(&mut self.issues);
        let named_by_key = fields.get("name").is_none() && fields.get("key").is_some();
        let name = self.name(&fields, if named_by_key { "key" } else { "name" });
        let key = if fields.get("key").is_some() {
            let key = self.name(&fields, "key");
            if key.contains(['/', ' ']) {
                self.refuse(fields.at("key"), DEFINITION_INVALID, format!("key {key:?} stands in paths: no / and no spaces"));
            }
            key
        } else {
            // A key that was made from a name stays when the name changes.
            let known = self.known(kind, id).or_else(|| {
                let named = |(_, known): &(usize, &Definition)| known.name == name;
                self.old.live(kind).find(named).map(|(slot, _)| slot)
            });
            match known {
                Some(slot) => self.old.definitions(kind)[slot].key.clone(),
                None => self.free_slug(kind, &name, pointer),
            }
        };
        let slot = self.claim(kind, id, &name, &key, pointer);
        self.take(kind, slot, value, pointer);
        Some(slot)
    }

    /// A key for a new definition. Another one's key is not taken over by chance.
    fn free_slug(&mut self, kind: Kind, name: &str, pointer: &str) -> String {
        let key = slug(name);
        let other = self.old.live(kind).find(|(_, known)| known.key == key).map(|(_, known)| known.name.clone());
        if let Some(other) = other {
            let message = format!("the key {key:?} made from this name belongs to {other:?}: give a key");
            self.refuse(format!("{pointer}/key"), "key_taken", message);
        }
        key
    }
}
