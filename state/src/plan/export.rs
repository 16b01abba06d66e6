//! From the catalog back to a document.

use super::catalog::{Catalog, Definition, Kind};
use super::document::CatalogDocument;
use super::structure;
use serde_json::{Map, Value, json};

impl Catalog {
    /// The document that says what is in force, ids included. Applied to this catalog it changes
    /// nothing; applied to an empty one it makes the same definitions with the same ids.
    ///
    /// Secrets stay here: the organisation's key is left out, and tokens appear with id, prefix, kind
    /// and channel only, so a document for another server needs their values put in or left out.
    #[must_use]
    pub fn to_document(&self) -> CatalogDocument {
        let all = |kind| self.live(kind).map(|(_, definition)| export(kind, definition)).collect();
        let organization = &self.organization;
        let mut settings = json!({
            "timezone": organization.timezone,
            "traitsWithoutSchema": if organization.traits_without_schema { "accept" } else { "reject" },
            "requireUserHash": organization.require_user_hash,
            "primaryIdType": organization.primary_id_type,
        });
        if !organization.name.is_empty() {
            settings["name"] = Value::String(organization.name.clone());
        }
        // Archived versions go along: they serve the actions that use them.
        let archived = self.action_types.iter().filter(|version| version.removed).map(|version| {
            let mut value = export(Kind::ActionType, version);
            value["isArchived"] = Value::Bool(true);
            value
        });
        CatalogDocument {
            organization: Some(settings),
            channels: all(Kind::Channel),
            tokens: self.tokens.iter().map(|token| self.export_token(token)).collect(),
            events: all(Kind::Event),
            contexts: all(Kind::Context),
            custom_traits: self.live(Kind::CustomTraits).map(|(_, traits)| export(Kind::CustomTraits, traits)).next(),
            computed_traits: all(Kind::ComputedTrait),
            audiences: all(Kind::Audience),
            action_types: self
                .live(Kind::ActionType)
                .map(|(_, version)| export(Kind::ActionType, version))
                .chain(archived)
                .collect(),
            actions: all(Kind::Action),
            rules: all(Kind::Rule),
            goals: all(Kind::Goal),
            budgets: all(Kind::Budget),
            experiments: all(Kind::Experiment),
            problems: Vec::new(),
        }
    }

    fn export_token(&self, token: &super::Token) -> Value {
        let mut map = Map::new();
        map.insert("id".to_owned(), token.id.to_string().into());
        map.insert("prefix".to_owned(), token.prefix.clone().into());
        map.insert("kind".to_owned(), token.kind.as_str().into());
        if let Some(channel) = token.channel.and_then(|slot| self.channels.get(slot.index())) {
            map.insert("channel".to_owned(), channel.key.clone().into());
        }
        if token.import {
            map.insert("import".to_owned(), true.into());
        }
        Value::Object(map)
    }
}

fn export(kind: Kind, definition: &Definition) -> Value {
    let mut value = definition.json();
    if let Value::Object(map) = &mut value {
        if kind != Kind::CustomTraits {
            map.insert("id".to_owned(), definition.id.to_string().into());
        }
        if kind == Kind::ActionType {
            map.insert("version".to_owned(), definition.key.parse::<u32>().unwrap_or(1).into());
        }
        if matches!(kind, Kind::Event | Kind::Context | Kind::CustomTraits) {
            map.insert("structure".to_owned(), structure::parse(definition.structure()));
        }
    }
    value
}
