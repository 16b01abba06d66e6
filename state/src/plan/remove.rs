//! Taking a definition out of force, and who depends on it.

use super::catalog::{Catalog, Kind};
use super::compile::{Compiler, Pointers};
use super::diff::Diff;
use super::document::{issue, tidy};
use super::lookup::{Finder, Missing};
use super::refs::{self, Target};
use crate::ids::DefId;
use crate::issue::Issue;
use serde_json::Value;

/// A definition that names another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// Of which sort.
    pub kind: Kind,
    /// Which one.
    pub id: DefId,
    /// Its name; of a token its prefix.
    pub name: String,
}

/// Says in the record of a rule that is gone that the attributes it set go too.
pub(super) const PURGE: &str = "purgeAttributes";

impl Catalog {
    /// The definitions in force that name the one in `slot`, contexts and tokens of a channel included. One that
    /// names itself, as a trait that compares each event with its own value, depends on nobody else.
    #[must_use]
    pub fn dependents(&self, kind: Kind, slot: usize) -> Vec<Dependent> {
        let mut found = Vec::new();
        let finder = Finder::new(self, kind);
        for naming in Kind::DEFINED {
            for (_, definition) in self.live(naming).filter(|(other, _)| (naming, *other) != (kind, slot)) {
                let names = |named: &refs::Named| match (&named.target, kind) {
                    (Target::Definition(target), _) => *target == kind && finder.seek_any(&named.text) == Some(slot),
                    (Target::Context(channel), Kind::Context) => {
                        self.contexts.get(slot).is_some_and(|context| context.name == *channel)
                    }
                    _ => false,
                };
                if refs::list(naming, &definition.json()).iter().any(names) {
                    found.push(Dependent { kind: naming, id: definition.id, name: definition.name.clone() });
                }
            }
        }
        if kind == Kind::Channel {
            let tokens = self.tokens.iter().filter(|token| token.channel.is_some_and(|channel| channel.index() == slot));
            found.extend(tokens.map(|token| Dependent { kind: Kind::Token, id: token.id, name: token.prefix.clone() }));
        }
        found
    }

    /// The catalog without one definition, and what that changed.
    ///
    /// The record stays as removed: history refers to it, its slot is not used again, and what names
    /// it (with `force`) sees it as absent. A channel takes its tokens and its context with it and
    /// keeps its key reserved. An action type is archived with all its versions and serves its actions
    /// on. Applying a document that names it again brings it back.
    ///
    /// # Errors
    /// `not_found`; `in_use` with one issue per dependent, its pointer `/<section>/<id>`, unless
    /// `force`; `immutable` for the custom traits, which are emptied by applying an empty structure.
    pub fn remove(&self, kind: Kind, id_or_key: &str, force: bool) -> Result<(Self, Diff), Vec<Issue>> {
        let mut new = self.clone();
        if kind == Kind::CustomTraits {
            return Err(vec![issue("", "immutable", "the custom traits are not removed but changed")]);
        }
        if kind == Kind::Token {
            let id = id_or_key.parse::<DefId>().ok();
            new.tokens.retain(|token| Some(token.id) != id);
            if new.tokens.len() == self.tokens.len() {
                return Err(vec![issue("", "not_found", format!("there is no token {id_or_key:?}"))]);
            }
            return Ok(new.after(self));
        }
        let slot = self.seek(kind, id_or_key).map_err(|missing| {
            let message = match missing {
                Missing::Unknown => format!("there is no {kind} {id_or_key:?}"),
                Missing::Ambiguous(n) => format!("{n} definitions of kind {kind} are named {id_or_key:?}: use the id"),
            };
            vec![issue("", "not_found", message)]
        })?;
        if !force && kind != Kind::ActionType {
            let dependents = self.dependents(kind, slot);
            if !dependents.is_empty() {
                return Err(dependents.iter().map(|one| in_use(kind, &self.definitions(kind)[slot].name, one)).collect());
            }
        }
        match kind {
            Kind::ActionType => {
                let name = self.action_types[slot].name.clone();
                new.action_types.iter_mut().filter(|known| known.name == name).for_each(|known| known.removed = true);
            }
            Kind::Channel => {
                new.channels[slot].removed = true;
                let key = &self.channels[slot].key;
                new.contexts.iter_mut().filter(|context| context.name == *key).for_each(|context| context.removed = true);
                new.tokens.retain(|token| token.channel.is_none_or(|channel| channel.index() != slot));
            }
            _ => new.definitions_mut(kind)[slot].removed = true,
        }
        let none = Pointers::new();
        let mut compiler = Compiler::new(&new, &none, true);
        compiler.run();
        let (_, issues) = compiler.finish(self);
        if issues.is_empty() { Ok(new.after(self)) } else { Err(tidy(issues)) }
    }

    /// As [`Catalog::remove`] for a rule, with the attributes that it set on profiles: whoever holds one
    /// lets go of it.
    ///
    /// # Errors
    /// As [`Catalog::remove`].
    pub fn remove_rule_and_attributes(&self, id_or_key: &str, force: bool) -> Result<(Self, Diff), Vec<Issue>> {
        let (mut new, diff) = self.remove(Kind::Rule, id_or_key, force)?;
        if let Ok(slot) = self.seek(Kind::Rule, id_or_key) {
            let rule = &mut new.rules[slot];
            let mut body = rule.json();
            body[PURGE] = Value::Bool(true);
            rule.body = body.to_string();
        }
        Ok((new, diff))
    }

    fn after(self, old: &Self) -> (Self, Diff) {
        let diff = Diff::between(old, &self);
        (self.stamped(old, &diff), diff)
    }
}

fn in_use(kind: Kind, name: &str, dependent: &Dependent) -> Issue {
    let pointer = format!("/{}/{}", dependent.kind.section(), dependent.id);
    issue(pointer, "in_use", format!("{kind} {name:?} is used by {} {:?}", dependent.kind, dependent.name))
}
