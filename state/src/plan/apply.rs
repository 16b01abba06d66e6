//! Applying a document: adds or changes what it names, leaves the rest, all or nothing.

use super::catalog::{Catalog, Definition, Kind};
use super::compile::{Compiler, Pointers};
use super::diff::Diff;
use super::document::{CatalogDocument, Fields, at, issue, tidy};
use super::lookup::{Finders, Missing, made_id};
use super::refs::{self, Target};
use super::shape::READ_ONLY;
use super::structure;
use crate::ids::DefId;
use crate::issue::{DEFINITION_INVALID, Issue};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// At most this many definitions of one kind, removed ones included: slots are 32 bits and plans are
/// tables, but an organisation past this is a programme gone wrong. Channels: 1 000.
pub const DEFINITIONS_MAX: usize = 10_000;
const CHANNELS_MAX: usize = 1_000;
const NAME_MAX: usize = 200;
/// Bytes of all definitions and old structures together; well under what a stored catalog may have.
const TEXT_BYTES_MAX: usize = 32 << 20;

/// A definition of the document that has found its slot.
pub(super) struct Incoming {
    kind: Kind,
    slot: usize,
    pointer: String,
    body: Value,
}

pub(super) struct Draft<'a> {
    pub(super) old: &'a Catalog,
    pub(super) new: Catalog,
    pub(super) issues: Vec<Issue>,
    incoming: Vec<Incoming>,
    pub(super) claimed: BTreeSet<(Kind, usize)>,
}

impl Catalog {
    /// The catalog with `document` applied, and what that changed.
    ///
    /// A definition is found by its id, else by its natural key (channel, trait and audience key, event
    /// and action name, name and version of an action type, the channel of a context); where nothing is
    /// found it is new. What the document says of a definition replaces all that it said before;
    /// organisation settings that are absent stay. An identical document gives an empty [`Diff`] and
    /// the same version.
    ///
    /// # Errors
    /// Every problem of the document at once, in document order, with JSON pointers; nothing is changed.
    pub fn apply(&self, document: &CatalogDocument) -> Result<(Self, Diff), Vec<Issue>> {
        let mut draft = Draft {
            old: self,
            new: self.clone(),
            issues: document.problems.clone(),
            incoming: Vec::new(),
            claimed: BTreeSet::new(),
        };
        if let Some(organization) = &document.organization {
            draft.organization(organization);
        }
        draft.each(&document.channels, Kind::Channel, Draft::channel);
        draft.each(&document.tokens, Kind::Token, Draft::token);
        draft.each(&document.events, Kind::Event, Draft::event);
        draft.each(&document.contexts, Kind::Context, Draft::context);
        if let Some(structure) = &document.custom_traits {
            draft.custom_traits(structure, "/customTraits");
        }
        draft.each(&document.computed_traits, Kind::ComputedTrait, Draft::computed_trait);
        draft.each(&document.audiences, Kind::Audience, Draft::audience);
        draft.each(&document.action_types, Kind::ActionType, Draft::action_type);
        draft.each(&document.actions, Kind::Action, Draft::action);
        draft.each(&document.goals, Kind::Goal, Draft::goal);
        draft.each(&document.rules, Kind::Rule, Draft::rule);
        draft.each(&document.budgets, Kind::Budget, Draft::budget);
        draft.each(&document.experiments, Kind::Experiment, Draft::experiment);
        draft.finish().map_err(|mut issues| {
            for issue in &mut issues {
                let end = document.anchor(&issue.pointer).len();
                issue.pointer.truncate(end);
            }
            tidy(issues)
        })
    }
}

impl Draft<'_> {
    fn each(&mut self, list: &[Value], kind: Kind, read: fn(&mut Self, &Value, &str)) {
        for (i, value) in list.iter().enumerate() {
            read(self, value, &format!("/{}/{i}", kind.section()));
        }
    }

    pub(super) fn refuse(&mut self, pointer: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.issues.push(issue(pointer, code, message));
    }

    pub(super) fn only(&mut self, fields: &Fields<'_>, allowed: &[&str]) {
        let all: Vec<&str> = allowed.iter().chain(&READ_ONLY).copied().collect();
        fields.only(&all, &mut self.issues);
    }

    /// A required name or key. Where it is missing the pointer stands in, so that the rest of the
    /// definition is still checked; the draft cannot succeed any more.
    pub(super) fn name(&mut self, fields: &Fields<'_>, key: &str) -> String {
        let text = fields.name(key, NAME_MAX, &mut self.issues);
        text.map_or_else(|| nameless(fields.pointer()), str::to_owned)
    }

    /// The definition that an id names, in force or removed.
    pub(super) fn known(&self, kind: Kind, id: Option<DefId>) -> Option<usize> {
        let id = id?;
        let all = self.old.definitions(kind);
        let live = all.iter().position(|known| known.id == id && !known.removed);
        live.or_else(|| all.iter().rposition(|known| known.id == id))
    }

    /// Finds the slot of a definition, or gives it a new one.
    ///
    /// What was removed and is named again comes back in its old slot where history belongs to it
    /// (channels, events, contexts, versions of action types). Traits, audiences and actions start over
    /// in a new slot, so that no state of the old one is taken for theirs.
    pub(super) fn claim(&mut self, kind: Kind, id: Option<DefId>, name: &str, key: &str, pointer: &str) -> usize {
        let natural = |known: &Definition| match kind {
            Kind::ActionType => known.name == name && known.key == key,
            Kind::CustomTraits => true,
            _ if kind.keyed() => known.key == key,
            _ => known.name == name,
        };
        let revives = matches!(kind, Kind::Channel | Kind::Event | Kind::Context | Kind::CustomTraits | Kind::ActionType);
        let all = self.old.definitions(kind);
        let place = |wanted: &dyn Fn(&Definition) -> bool| {
            all.iter().position(|known| !known.removed && wanted(known)).or_else(|| {
                let removed = |known: &Definition| known.removed && wanted(known);
                if revives { all.iter().rposition(removed) } else { None }
            })
        };
        let found = match id {
            Some(id) => place(&|known| known.id == id),
            None => place(&natural).or_else(|| {
                // The same new definition twice in one document.
                let new = self.new.definitions(kind);
                (all.len()..new.len()).find(|slot| natural(&new[*slot]))
            }),
        };
        let found = found.or_else(|| {
            let new = self.new.definitions(kind);
            (all.len()..new.len()).find(|slot| Some(new[*slot].id) == id)
        });
        let slot = found.unwrap_or_else(|| self.add(kind, id, name, key, pointer));
        if !self.claimed.insert((kind, slot)) {
            self.refuse(pointer, "duplicate", format!("{kind} {name:?} is in this document twice"));
            // It is checked under a name that nothing has, so that it does not stand in for the first.
            let nameless = nameless(pointer);
            return self.add(kind, None, &nameless, &nameless, pointer);
        }
        let record = &mut self.new.definitions_mut(kind)[slot];
        record.removed = false;
        name.clone_into(&mut record.name);
        key.clone_into(&mut record.key);
        slot
    }

    fn add(&mut self, kind: Kind, id: Option<DefId>, name: &str, key: &str, pointer: &str) -> usize {
        let slot = self.new.definitions(kind).len();
        let max = if kind == Kind::Channel { CHANNELS_MAX } else { DEFINITIONS_MAX };
        if slot >= max {
            self.refuse(pointer, "too_many", format!("{} are at their limit of {max}", kind.section()));
        }
        let natural = match kind {
            Kind::ActionType => format!("{name}@{key}"),
            _ if kind.keyed() => key.to_owned(),
            _ => name.to_owned(),
        };
        let taken = |id: DefId| self.new.live(kind).any(|(_, known)| known.id == id);
        // A renamed definition keeps the id that was made from its old name; whoever takes that name
        // next gets the next id in line.
        let id = id.unwrap_or_else(|| {
            let mut id = made_id(kind, &natural);
            let mut turn = 2;
            while taken(id) {
                id = made_id(kind, &format!("{natural}#{turn}"));
                turn += 1;
            }
            id
        });
        let version = self.old.version + 1;
        // What had this id before and is gone counts on, so that a revision never names two things.
        let revision = self.new.definitions(kind).iter().filter(|known| known.id == id).map(|known| known.revision).max();
        self.new.definitions_mut(kind).push(Definition {
            id,
            name: name.to_owned(),
            key: key.to_owned(),
            body: String::new(),
            structures: Vec::new(),
            revision: revision.unwrap_or(0),
            created: version,
            changed: version,
            removed: false,
        });
        slot
    }

    /// Notes what the document says of the definition in `slot`.
    pub(super) fn take(&mut self, kind: Kind, slot: usize, value: &Value, pointer: &str) {
        if let Some(other) = value.get("description").filter(|text| !text.is_null() && !text.is_string()) {
            self.refuse(at(pointer, "description"), DEFINITION_INVALID, format!("description is text, not {other}"));
        }
        let record = &self.new.definitions(kind)[slot];
        let mut body = body(kind, &record.name, &record.key, value);
        if kind == Kind::Action && slot < self.old.actions.len() {
            keep_created_at(&mut body, &self.old.actions[slot].json());
        }
        self.incoming.push(Incoming { kind, slot, pointer: pointer.to_owned(), body });
    }

    /// Takes over a structure; a new version where it means something else than the one before.
    pub(super) fn structure(&mut self, kind: Kind, slot: usize, fields: &Fields<'_>) {
        let Some(structure) = fields.get("structure").filter(|structure| structure.is_array()) else {
            self.refuse(fields.at("structure"), DEFINITION_INVALID, "structure is required and is a list of nodes");
            return;
        };
        if !structure::well_formed(structure, &fields.at("structure"), &mut self.issues) {
            return;
        }
        let record = &mut self.new.definitions_mut(kind)[slot];
        structure::put(&mut record.structures, structure);
    }

    fn finish(mut self) -> Result<(Catalog, Diff), Vec<Issue>> {
        let incoming = std::mem::take(&mut self.incoming);
        let mut pointers = Pointers::new();
        let mut bodies = Vec::with_capacity(incoming.len());
        let finders = Finders::new(&self.new);
        for Incoming { kind, slot, pointer, mut body } in incoming {
            let before = self.old.definitions(kind).get(slot);
            resolve(&self.new, &finders, before, kind, &mut body, &pointer, &mut self.issues);
            pointers.insert((kind, slot), pointer);
            body.sort_all_objects();
            bodies.push((kind, slot, body.to_string()));
        }
        for (kind, slot, body) in bodies {
            self.new.definitions_mut(kind)[slot].body = body;
        }
        self.unique(&pointers);
        self.in_use_types(&pointers);
        self.in_use_keys(&pointers);
        self.kept_experiments(&pointers);
        let mut compiler = Compiler::new(&self.new, &pointers, true);
        compiler.run();
        let (paths, issues) = compiler.finish(self.old);
        self.issues.extend(issues);
        let bytes = self.new.text_bytes();
        if bytes > TEXT_BYTES_MAX {
            let message = format!("the definitions with their history take {bytes} bytes, limit is {TEXT_BYTES_MAX}");
            self.issues.push(issue("", "too_many", message));
        }
        if !self.issues.is_empty() {
            return Err(self.issues);
        }
        self.new.paths = paths;
        let diff = Diff::between(self.old, &self.new);
        if diff.is_empty() {
            return Ok((self.old.clone(), diff));
        }
        Ok((self.new.stamped(self.old, &diff), diff))
    }

    /// Natural keys are unique among what is in force.
    fn unique(&mut self, pointers: &Pointers) {
        for (kind, field, code) in [
            (Kind::Channel, "key", "channel_key_taken"),
            (Kind::Event, "name", "event_name_taken"),
            (Kind::Context, "channel", "context_exists"),
            (Kind::ComputedTrait, "key", "key_taken"),
            (Kind::Audience, "key", "key_taken"),
            (Kind::Rule, "key", "key_taken"),
            (Kind::Goal, "key", "key_taken"),
            (Kind::Budget, "key", "key_taken"),
            (Kind::Experiment, "key", "key_taken"),
            (Kind::ActionType, "version", "duplicate"),
        ] {
            let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            let mut found = Vec::new();
            for (slot, definition) in self.new.live(kind) {
                let natural = match kind {
                    Kind::Event | Kind::Context => (definition.name.as_str(), ""),
                    Kind::ActionType => (definition.name.as_str(), definition.key.as_str()),
                    _ => (definition.key.as_str(), ""),
                };
                if let Some(other) = seen.insert(natural, slot) {
                    let here = pointers.get(&(kind, slot)).or_else(|| pointers.get(&(kind, other)));
                    let pointer = here.map_or_else(String::new, |pointer| at(pointer, field));
                    let message = format!("{field} {:?} belongs to another {kind}", natural.0);
                    found.push(issue(pointer, code, message));
                }
            }
            self.issues.extend(found);
        }
    }

    /// Conditions name computed traits by key, so a key that is named elsewhere cannot change.
    fn in_use_keys(&mut self, pointers: &Pointers) {
        for ((_, slot), pointer) in pointers.iter().filter(|((kind, _), _)| *kind == Kind::ComputedTrait) {
            let Some(old) = self.old.computed_traits.get(*slot).filter(|old| !old.removed) else { continue };
            if old.key == self.new.computed_traits[*slot].key {
                continue;
            }
            let target = Target::Definition(Kind::ComputedTrait);
            for kind in Kind::DEFINED {
                // What stands in the document has been looked at.
                for (_, user) in self.new.live(kind).filter(|(slot, _)| !pointers.contains_key(&(kind, *slot))) {
                    if refs::list(kind, &user.json()).iter().any(|named| named.target == target && named.text == old.key) {
                        let message =
                            format!("key {:?} is named by {kind} {:?}: change both in one document", old.key, user.name);
                        self.issues.push(issue(at(pointer, "key"), "in_use", message));
                    }
                }
            }
        }
    }

    fn in_use_types(&mut self, pointers: &Pointers) {
        for ((_, slot), pointer) in pointers.iter().filter(|((kind, _), _)| *kind == Kind::ActionType) {
            let Some(old) = self.old.action_types.get(*slot) else { continue };
            let users = self.old.dependents(Kind::ActionType, *slot);
            if old.body != self.new.action_types[*slot].body && !users.is_empty() {
                let message = format!(
                    "version {} of action type {:?} is in use by {} actions: leave the version out to make a new one",
                    old.key,
                    old.name,
                    users.len()
                );
                self.issues.push(issue(pointer.clone(), "in_use", message));
            }
        }
    }
}

/// Replaces what names other definitions by what never changes, and reports what leads nowhere.
fn resolve(
    new: &Catalog,
    finders: &Finders<'_>,
    old: Option<&Definition>,
    kind: Kind,
    body: &mut Value,
    pointer: &str,
    issues: &mut Vec<Issue>,
) {
    // What was removed by force may stay named where it was named before.
    let before = old.map(|old| refs::list(kind, &old.json())).unwrap_or_default();
    refs::visit(kind, body, pointer, &mut |reference| {
        let Target::Definition(target) = reference.target else { return };
        let text = reference.value.as_str().unwrap_or_default().to_owned();
        // A context's name is its channel, so a stand-in may be there, and what was wrong with it has been told.
        if kind == Kind::Context && text.starts_with(NAMELESS) {
            return;
        }
        match finders.seek(target, &text) {
            Ok(found) => {
                let found = &new.definitions(target)[found];
                *reference.value = Value::String(canonical_name(target, found));
            }
            // An archived version of an action type serves whoever names it by its id.
            Err(_)
                if target == Kind::ActionType
                    && text.parse().is_ok_and(|id: DefId| new.action_types.iter().any(|version| version.id == id)) => {}
            Err(_)
                if finders.seek_any(target, &text).is_some()
                    && before.iter().any(|named| named.target == reference.target && named.text == text) => {}
            Err(Missing::Unknown) => {
                issues.push(issue(reference.pointer, target.not_found(), format!("there is no {target} {text:?}")));
            }
            Err(Missing::Ambiguous(n)) => {
                let message = format!("{n} definitions of kind {target} are named {text:?}: use the id or key");
                issues.push(issue(reference.pointer, target.not_found(), message));
            }
        }
    });
}

/// Begins the stand-in for a name that is missing or taken; no name has a control character.
const NAMELESS: char = '\u{0}';

fn nameless(pointer: &str) -> String {
    format!("{NAMELESS}{pointer}")
}

/// How a reference is written in canonical form.
fn canonical_name(kind: Kind, definition: &Definition) -> String {
    match kind {
        Kind::Channel | Kind::ComputedTrait => definition.key.clone(),
        _ => definition.id.to_string(),
    }
}

/// What a definition says, without what is kept beside it and without what says nothing.
pub(super) fn body(kind: Kind, name: &str, key: &str, value: &Value) -> Value {
    let mut map = value.as_object().cloned().unwrap_or_default();
    map.retain(|field, value| {
        // When an action was made decides its order among its equals, also where it was made elsewhere.
        let kept = kind == Kind::Action && field == "createdAt";
        let aside = matches!(field.as_str(), "id" | "version" | "structure") || READ_ONLY.contains(&field.as_str());
        let derived = match kind {
            Kind::Event | Kind::Context | Kind::CustomTraits => field == "properties",
            Kind::ActionType => field == "isArchived",
            Kind::Action => matches!(field.as_str(), "typeName" | "typeVersion" | "typeProperties"),
            _ => false,
        };
        let silent = value.is_null() || field == "description" && value == "" || field == "cast" && *value == Value::Bool(true);
        (kept || !aside) && !derived && !silent
    });
    let mut put = |field: &str, text: &str| map.insert(field.to_owned(), Value::String(text.to_owned()));
    match kind {
        Kind::Context => drop(put("channel", name)),
        Kind::CustomTraits => {}
        _ if kind.keyed() => {
            put("name", name);
            put("key", key);
        }
        _ => drop(put("name", name)),
    }
    let mut body = Value::Object(map);
    body.sort_all_objects();
    body
}

/// The time at which an action was made is the first one ever said, if any.
fn keep_created_at(body: &mut Value, before: &Value) {
    if let Value::Object(map) = body {
        match before.get("createdAt") {
            Some(first) => drop(map.insert("createdAt".to_owned(), first.clone())),
            None => drop(map.remove("createdAt")),
        }
    }
}
