//! What applying a document changed.

use super::catalog::{Catalog, Definition, Kind};
use crate::ids::DefId;

/// What happened to one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// It is new, or back.
    Added,
    /// It says something else than before.
    Changed,
    /// It is no longer in force.
    Removed,
}

impl What {
    /// As people read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// One change of one definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which sort.
    pub kind: Kind,
    /// Which one.
    pub id: DefId,
    /// Its name; of a token its prefix.
    pub name: String,
    /// What happened.
    pub what: What,
}

/// The difference between two versions of a catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Settings of the organisation differ.
    pub organization: bool,
    /// Changes by kind, in slot order.
    pub changes: Vec<Change>,
}

impl Diff {
    /// Whether both catalogs say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.organization && self.changes.is_empty()
    }

    /// What leads from `old` to `new`, which was made from it.
    #[must_use]
    pub fn between(old: &Catalog, new: &Catalog) -> Self {
        let mut changes = Vec::new();
        for kind in Kind::DEFINED {
            let before = old.definitions(kind);
            for (slot, definition) in new.definitions(kind).iter().enumerate() {
                if let Some(what) = what(before.get(slot), definition) {
                    changes.push(Change { kind, id: definition.id, name: definition.name.clone(), what });
                }
            }
        }
        let change = |token: &super::Token, what| Change { kind: Kind::Token, id: token.id, name: token.prefix.clone(), what };
        for token in &new.tokens {
            match old.tokens.iter().find(|known| known.id == token.id) {
                None => changes.push(change(token, What::Added)),
                Some(known) if known != token => changes.push(change(token, What::Changed)),
                Some(_) => {}
            }
        }
        for token in old.tokens.iter().filter(|known| new.tokens.iter().all(|token| token.id != known.id)) {
            changes.push(change(token, What::Removed));
        }
        Self { organization: old.organization != new.organization, changes }
    }
}

fn what(old: Option<&Definition>, new: &Definition) -> Option<What> {
    let Some(old) = old else { return (!new.removed).then_some(What::Added) };
    match (old.removed, new.removed) {
        (true, false) => Some(What::Added),
        (false, true) => Some(What::Removed),
        _ if (&old.name, &old.key, &old.body, &old.structures) == (&new.name, &new.key, &new.body, &new.structures) => None,
        _ => Some(What::Changed),
    }
}

impl Catalog {
    /// This catalog as the version that follows `old`, with revisions counted.
    pub(super) fn stamped(mut self, old: &Self, diff: &Diff) -> Self {
        self.version = old.version + 1;
        let version = self.version;
        if diff.organization {
            self.organization.revision = old.organization.revision + 1;
        }
        for change in diff.changes.iter().filter(|change| change.kind != Kind::Token) {
            // Of definitions with one id the last is the one at hand; the others were removed before.
            let before = old.definitions(change.kind);
            let all = self.definitions_mut(change.kind).iter_mut().enumerate();
            for (slot, definition) in all.filter(|(_, definition)| definition.id == change.id) {
                if what(before.get(slot), definition).is_some() {
                    definition.revision += 1;
                    definition.changed = version;
                }
            }
        }
        self
    }
}
