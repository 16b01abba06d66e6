//! Definitions as the admin API shows them: what they say, since when, and how far they are built.

use super::Engine;
use lodestone_state::ids::{AudienceSlot, DefId};
use lodestone_state::plan::{Catalog, Definition, Kind, Plan};
use lodestone_state::time::format_instant;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One definition, or the settings of the organisation.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Which one.
    pub id: DefId,
    /// Grows by one with every change of it.
    pub revision: u32,
    /// As it is shown. It can be sent back: what nobody can set is skipped.
    pub json: Value,
}

/// Which definitions of a kind are wanted.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// A part of the name or key, in any case.
    pub q: Option<String>,
    /// The first slot to look at.
    pub from: usize,
    /// Rows at most.
    pub limit: usize,
    /// Archived versions of action types too.
    pub archived: bool,
}

/// A page of definitions.
#[derive(Clone, Debug)]
pub struct Listed {
    /// In the order in which they were made.
    pub rows: Vec<Value>,
    /// The slot at which the next page begins, if there is more.
    pub next: Option<usize>,
    /// Rows of all pages.
    pub total: usize,
}

impl Engine {
    /// A definition in force by id, key or name; an archived version of an action type by its id.
    #[must_use]
    pub fn definition(&self, kind: Kind, text: &str) -> Option<Shown> {
        let plan = self.plan.load();
        let slot = find(&plan.catalog, kind, text)?;
        let mut shown = self.show(&plan, kind, slot);
        if kind == Kind::Rule
            && let Some(fired) = self.rule_counts(&plan, shown.id)
        {
            shown.json["fired"] = fired;
        }
        Some(shown)
    }

    /// The definition with this id as it is under `plan`.
    #[must_use]
    pub fn definition_by_id(&self, plan: &Plan, kind: Kind, id: DefId) -> Option<Shown> {
        let slot = plan.catalog.definitions(kind).iter().rposition(|known| known.id == id)?;
        Some(self.show(plan, kind, slot))
    }

    /// One page of the definitions of a kind.
    #[must_use]
    pub fn definitions(&self, kind: Kind, listing: &Listing) -> Listed {
        let plan = self.plan.load();
        let catalog = &plan.catalog;
        let q = listing.q.as_deref().map(str::to_lowercase);
        let wanted = |known: &Definition| {
            let here = !known.removed || listing.archived && kind == Kind::ActionType;
            let named = |text: &str| q.as_deref().is_none_or(|q| text.to_lowercase().contains(q));
            here && (named(&known.name) || kind != Kind::ActionType && named(&known.key))
        };
        let found: Vec<usize> =
            catalog.definitions(kind).iter().enumerate().filter(|(_, known)| wanted(known)).map(|(slot, _)| slot).collect();
        let page: Vec<usize> = found.iter().copied().filter(|slot| *slot >= listing.from).take(listing.limit + 1).collect();
        let used = if kind == Kind::ActionType { types_in_use(catalog) } else { BTreeSet::new() };
        let rows = page.iter().take(listing.limit).map(|slot| self.show_with(&plan, kind, *slot, &used).json).collect();
        Listed { rows, next: page.get(listing.limit).copied(), total: found.len() }
    }

    fn show(&self, plan: &Plan, kind: Kind, slot: usize) -> Shown {
        let used = if kind == Kind::ActionType { types_in_use(&plan.catalog) } else { BTreeSet::new() };
        self.show_with(plan, kind, slot, &used)
    }

    fn show_with(&self, plan: &Plan, kind: Kind, slot: usize, used: &BTreeSet<DefId>) -> Shown {
        let catalog = &plan.catalog;
        let known = &catalog.definitions(kind)[slot];
        let mut map = match known.json() {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        map.insert("id".into(), known.id.to_string().into());
        map.insert("version".into(), known.revision.into());
        if let Some(at) = catalog.time_of(known.created) {
            map.entry("createdAt").or_insert_with(|| format_instant(at).as_str().into());
        }
        if let Some(at) = catalog.time_of(known.changed) {
            map.insert("updatedAt".into(), format_instant(at).as_str().into());
        }
        match kind {
            Kind::Event | Kind::Context | Kind::CustomTraits => {
                let structure: Value = serde_json::from_str(known.structure()).unwrap_or_default();
                map.insert("properties".into(), properties(&structure));
                map.insert("structure".into(), structure);
                map.insert("structureVersion".into(), known.version().into());
            }
            Kind::ActionType => {
                map.insert("version".into(), known.key.parse::<u32>().unwrap_or(1).into());
                map.insert("revision".into(), known.revision.into());
                map.insert("isArchived".into(), known.removed.into());
                map.insert("isInUse".into(), used.contains(&known.id).into());
            }
            Kind::Action => name_type(catalog, &mut map),
            Kind::Audience => {
                let members = u32::try_from(slot).map_or(0, |slot| self.members.count(AudienceSlot(slot)));
                map.insert("profileCount".into(), members.into());
            }
            _ => {}
        }
        if self.refolds(plan, kind, known.id) {
            // An action and an experiment have a state of their own; there the build stands beside it.
            let field = if map.get("state").is_some_and(Value::is_string) { "build" } else { "state" };
            map.insert(field.into(), self.backfill.state_json(kind, known.id));
        }
        Shown { id: known.id, revision: known.revision, json: Value::Object(map) }
    }

    /// Whether profiles hold state of it.
    fn refolds(&self, plan: &Plan, kind: Kind, id: DefId) -> bool {
        match kind {
            Kind::Channel | Kind::Token | Kind::Event | Kind::Context | Kind::CustomTraits | Kind::ActionType => false,
            Kind::Action => plan.action_by_id(id).is_some_and(|action| !action.def.caps.is_empty()),
            _ => true,
        }
    }

    /// Settings of the organisation.
    #[must_use]
    pub fn organization(&self) -> Shown {
        self.organization_of(&self.plan.load())
    }

    /// Settings of the organisation as they are under `plan`.
    #[must_use]
    pub fn organization_of(&self, plan: &Plan) -> Shown {
        let organization = plan.catalog.organization();
        let id = DefId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, b"lodestone/organization").as_u128());
        let mut json = plan.catalog.to_document().organization.unwrap_or_default();
        if let Value::Object(map) = &mut json {
            map.entry("name").or_insert_with(|| "".into());
            map.insert("id".into(), id.to_string().into());
            map.insert("version".into(), organization.revision.into());
        }
        Shown { id, revision: organization.revision, json }
    }

    /// Profiles that the sweep has still to visit, and definitions that wait for it.
    #[must_use]
    pub fn backfill_left(&self) -> (u64, u64) {
        self.backfill.left()
    }

    /// What is being built, for the status.
    pub(super) fn building_json(&self, plan: &Plan) -> Vec<Value> {
        let named = |(kind, id, state): (Kind, DefId, Value)| {
            let (_, known) = plan.catalog.live(kind).find(|(_, known)| known.id == id)?;
            Some(json!({"type": word(kind), "id": id.to_string(), "name": known.name.as_str(), "state": state}))
        };
        self.backfill.building().into_iter().filter_map(named).collect()
    }
}

/// What a kind is called in answers: `computed-trait`, `action-type`.
#[must_use]
pub(crate) fn word(kind: Kind) -> String {
    kind.to_string().replace(' ', "-")
}

/// The slot of a definition in force, or of an archived version of an action type that `text` is the id of.
pub(crate) fn find(catalog: &Catalog, kind: Kind, text: &str) -> Option<usize> {
    let archived = || {
        let id = text.parse::<DefId>().ok().filter(|_| kind == Kind::ActionType)?;
        catalog.definitions(kind).iter().rposition(|known| known.id == id)
    };
    catalog.slot(kind, text).or_else(archived)
}

fn types_in_use(catalog: &Catalog) -> BTreeSet<DefId> {
    let named = |action: &Definition| action.json().get("type")?.as_str()?.parse().ok();
    catalog.live(Kind::Action).filter_map(|(_, action)| named(action)).collect()
}

/// The name and version of an action's type, beside its id.
fn name_type(catalog: &Catalog, map: &mut Map<String, Value>) {
    let id = map.get("type").and_then(Value::as_str).and_then(|text| text.parse::<DefId>().ok());
    let found = id.and_then(|id| catalog.definitions(Kind::ActionType).iter().rfind(|known| known.id == id));
    if let Some(kind) = found {
        map.insert("typeName".into(), kind.name.as_str().into());
        map.insert("typeVersion".into(), kind.key.parse::<u32>().unwrap_or(1).into());
    }
}

/// The leaves of a structure as dotted keys with their types.
fn properties(structure: &Value) -> Value {
    let mut found = Vec::new();
    walk(structure, "", &mut found);
    Value::Array(found)
}

fn walk(nodes: &Value, prefix: &str, found: &mut Vec<Value>) {
    for node in nodes.as_array().into_iter().flatten() {
        let text = |name: &str| node.pointer(&format!("/properties/{name}")).and_then(Value::as_str).unwrap_or_default();
        let key = format!("{prefix}{}", text("key").replace('.', "\\."));
        match node.get("children").filter(|children| children.as_array().is_some_and(|list| !list.is_empty())) {
            Some(children) => walk(children, &format!("{key}."), found),
            None => found.push(json!({"key": key, "type": text("type")})),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-16: the properties of a structure, nested ones with dots.
    #[test]
    fn p16_leaves_have_dotted_keys() {
        let leaf = |key: &str, kind: &str| json!({"properties": {"key": key, "type": kind}});
        let cart =
            json!({"properties": {"key": "cart", "type": "object"}, "children": [leaf("total", "float"), leaf("a.b", "string")]});
        let structure = json!([leaf("page", "string"), cart]);
        assert_eq!(
            properties(&structure),
            json!([{"key": "page", "type": "string"}, {"key": "cart.total", "type": "float"}, {"key": "cart.a\\.b", "type": "string"}])
        );
        assert_eq!(properties(&json!([])), json!([]));
    }
}
