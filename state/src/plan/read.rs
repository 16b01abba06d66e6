//! What a document says of each kind of definition: names, keys, versions, and what may not change.

use super::apply::{Draft, body};
use super::catalog::Kind;
use super::document::Fields;
use super::shape;
use crate::issue::DEFINITION_INVALID;
use crate::time::Zone;
use serde_json::Value;

impl Draft<'_> {
    pub(super) fn organization(&mut self, value: &Value) {
        let pointer = "/organization";
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        let own = [
            "id",
            "version",
            "name",
            "timezone",
            "unknownEvents",
            "traitsWithoutSchema",
            "requireUserHash",
            "key",
            "previousKey",
            "primaryIdType",
        ];
        self.only(&fields, &own);
        if fields.get("name").is_some() {
            self.new.organization.name = self.name(&fields, "name");
        }
        if let Some(zone) = fields.text("timezone", &mut self.issues) {
            if Zone::parse(zone).is_err() {
                self.refuse(fields.at("timezone"), "timezone_invalid", format!("there is no time zone {zone:?}"));
            }
            zone.clone_into(&mut self.new.organization.timezone);
        }
        match fields.text("unknownEvents", &mut self.issues) {
            None | Some("reject") => {}
            Some("accept") => {
                self.refuse(
                    fields.at("unknownEvents"),
                    "unsupported",
                    "events are defined before they are tracked: only reject is supported",
                );
            }
            Some(other) => {
                self.refuse(
                    fields.at("unknownEvents"),
                    DEFINITION_INVALID,
                    format!("unknownEvents is reject or accept, not {other:?}"),
                );
            }
        }
        match fields.text("traitsWithoutSchema", &mut self.issues) {
            None => {}
            Some(choice @ ("reject" | "accept")) => self.new.organization.traits_without_schema = choice == "accept",
            Some(other) => {
                self.refuse(
                    fields.at("traitsWithoutSchema"),
                    DEFINITION_INVALID,
                    format!("traitsWithoutSchema is reject or accept, not {other:?}"),
                );
            }
        }
        if let Some(flag) = fields.flag("requireUserHash", &mut self.issues) {
            self.new.organization.require_user_hash = flag;
        }
        if let Some(key) = fields.text("key", &mut self.issues) {
            match hex_key(key) {
                Some(key) => self.new.organization.key = Some(key),
                None => self.refuse(fields.at("key"), DEFINITION_INVALID, "key is 32 bytes as 64 hex digits"),
            }
        }
        // Null takes it away: then the rotation is over.
        if value.get("previousKey").is_some_and(Value::is_null) {
            self.new.organization.previous_key = None;
        }
        if let Some(key) = fields.text("previousKey", &mut self.issues) {
            match hex_key(key) {
                Some(key) => self.new.organization.previous_key = Some(key),
                None => self.refuse(fields.at("previousKey"), DEFINITION_INVALID, "previousKey is 32 bytes as 64 hex digits"),
            }
        }
        if fields.get("primaryIdType").is_some() {
            self.new.organization.primary_id_type = self.name(&fields, "primaryIdType");
        }
        if self.new.organization.require_user_hash && self.new.organization.key.is_none() {
            self.refuse(fields.at("requireUserHash"), DEFINITION_INVALID, "requireUserHash needs a key to check against");
        }
    }

    pub(super) fn channel(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        self.only(&fields, &["id", "version", "name", "key", "description"]);
        let id = fields.id(&mut self.issues);
        let name = self.name(&fields, "name");
        let known = self.known(Kind::Channel, id);
        let mut key = match (fields.get("key"), known) {
            (None, Some(slot)) => self.old.channels[slot].key.clone(),
            _ => self.name(&fields, "key"),
        };
        if let Some(slot) = known
            && self.old.channels[slot].key != key
        {
            let message = format!("channel {:?} cannot change its key to {key:?}", self.old.channels[slot].key);
            self.refuse(fields.at("key"), "channel_key_immutable", message);
            key.clone_from(&self.old.channels[slot].key);
        }
        let slot = self.claim(Kind::Channel, id, &name, &key, pointer);
        // A key that was made elsewhere comes with its id and is taken as it is.
        if id.is_none() && slot >= self.old.channels.len() && !is_channel_key(&key) {
            let message = format!("key {key:?} must match ^[a-z0-9][a-z0-9_-]{{0,63}}$");
            self.refuse(fields.at("key"), DEFINITION_INVALID, message);
        }
        self.take(Kind::Channel, slot, value, pointer);
    }

    pub(super) fn event(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        self.only(&fields, &["id", "version", "name", "description", "structure", "properties", "cast"]);
        fields.flag("cast", &mut self.issues);
        let id = fields.id(&mut self.issues);
        let name = self.name(&fields, "name");
        if name.starts_with('$') {
            let message = format!("event name {name:?} is reserved: names that start with $ are the system's own");
            self.refuse(fields.at("name"), DEFINITION_INVALID, message);
        }
        let slot = self.claim(Kind::Event, id, &name, "", pointer);
        self.structure(Kind::Event, slot, &fields);
        self.take(Kind::Event, slot, value, pointer);
    }

    pub(super) fn context(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        self.only(&fields, &["id", "version", "channel", "structure", "properties", "cast", "description"]);
        fields.flag("cast", &mut self.issues);
        let id = fields.id(&mut self.issues);
        let text = self.name(&fields, "channel");
        // An unknown channel is reported with all other references; its text stands in until then.
        let mut key = self.new.seek(Kind::Channel, &text).map_or(text, |slot| self.new.channels[slot].key.clone());
        if let Some(slot) = self.known(Kind::Context, id)
            && self.old.contexts[slot].name != key
        {
            let message = format!("context of channel {:?} cannot move to {key:?}", self.old.contexts[slot].name);
            self.refuse(fields.at("channel"), "immutable", message);
            key.clone_from(&self.old.contexts[slot].name);
        }
        let slot = self.claim(Kind::Context, id, &key, "", pointer);
        self.structure(Kind::Context, slot, &fields);
        self.take(Kind::Context, slot, value, pointer);
    }

    pub(super) fn custom_traits(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        self.only(&fields, &["id", "version", "structure", "properties", "cast", "description"]);
        fields.flag("cast", &mut self.issues);
        let slot = self.claim(Kind::CustomTraits, None, "custom traits", "", pointer);
        self.structure(Kind::CustomTraits, slot, &fields);
        self.take(Kind::CustomTraits, slot, value, pointer);
    }

    pub(super) fn computed_trait(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        shape::TRAIT.check(value, pointer, &mut self.issues);
        let id = fields.id(&mut self.issues);
        let name = self.name(&fields, "name");
        let key = self.name(&fields, "key");
        let slot = self.claim(Kind::ComputedTrait, id, &name, &key, pointer);
        let sort = fields.text("type", &mut self.issues).unwrap_or_default();
        self.same_type(Kind::ComputedTrait, slot, sort, &fields);
        self.take(Kind::ComputedTrait, slot, value, pointer);
    }

    pub(super) fn audience(&mut self, value: &Value, pointer: &str) {
        if let Some(slot) = self.keyed(Kind::Audience, &shape::AUDIENCE, value, pointer)
            && let Some(fields) = Fields::open(value, pointer, &mut self.issues)
        {
            self.same_type(Kind::Audience, slot, audience_type(value), &fields);
        }
    }

    /// A version in use is immutable. Without a version, a change makes the next one.
    pub(super) fn action_type(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        shape::ACTION_TYPE.check(value, pointer, &mut self.issues);
        let id = fields.id(&mut self.issues);
        let name = self.name(&fields, "name");
        let given = fields.get("version").map(|version| version.as_u64().filter(|v| (1..=u64::from(u32::MAX)).contains(v)));
        if given == Some(None) {
            self.refuse(fields.at("version"), DEFINITION_INVALID, "version is a whole number from 1");
        }
        let version = match (given.flatten(), self.known(Kind::ActionType, id)) {
            (Some(version), _) => version.to_string(),
            (None, Some(slot)) => self.old.action_types[slot].key.clone(),
            (None, None) => self.next_version(&name, value),
        };
        let slot = self.claim(Kind::ActionType, id, &name, &version, pointer);
        self.take(Kind::ActionType, slot, value, pointer);
        let archived = fields.flag("isArchived", &mut self.issues).unwrap_or(false);
        self.new.action_types[slot].removed = archived;
        if let Some(old) = self.old.action_types.get(slot)
            && (&old.name, &old.key) != (&name, &version)
        {
            self.refuse(pointer, "immutable", format!("action type {:?} version {} cannot be renamed", old.name, old.key));
        }
    }

    /// The version that a definition without one means: the newest where it says the same or is not in
    /// use, else the next.
    fn next_version(&self, name: &str, value: &Value) -> String {
        let Some(slot) = self.old.seek(Kind::ActionType, name).ok() else { return "1".to_owned() };
        let newest = &self.old.action_types[slot];
        let same = body_text(Kind::ActionType, name, &newest.key, value) == newest.body;
        if same || self.old.dependents(Kind::ActionType, slot).is_empty() {
            return newest.key.clone();
        }
        (newest.key.parse::<u32>().unwrap_or(0).saturating_add(1)).to_string()
    }

    pub(super) fn action(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        shape::ACTION.check(value, pointer, &mut self.issues);
        let id = fields.id(&mut self.issues);
        let name = self.name(&fields, "name");
        let namesakes = self.old.live(Kind::Action).filter(|(_, action)| action.name == name).count();
        if id.is_none() && namesakes > 1 {
            let message = format!("{namesakes} actions are named {name:?}: give the id of the one that is meant");
            self.refuse(fields.at("name"), "duplicate", message);
        }
        let slot = self.claim(Kind::Action, id, &name, "", pointer);
        self.take(Kind::Action, slot, value, pointer);
    }

    fn same_type(&mut self, kind: Kind, slot: usize, sort: &str, fields: &Fields<'_>) {
        let Some(old) = self.old.definitions(kind).get(slot) else { return };
        let body = old.json();
        let was = match kind {
            Kind::Audience => audience_type(&body),
            _ => body.get("type").and_then(Value::as_str).unwrap_or_default(),
        };
        if was != sort && !sort.is_empty() {
            let message = format!("{kind} {:?} is of type {was:?} for ever, not {sort:?}", old.name);
            self.refuse(fields.at("type"), "immutable", message);
        }
    }
}

fn body_text(kind: Kind, name: &str, key: &str, value: &Value) -> String {
    body(kind, name, key, value).to_string()
}

/// `funnel` where any step follows another, else `events`, unless it is said.
fn audience_type(value: &Value) -> &str {
    if let Some(said) = value.get("type").and_then(Value::as_str).filter(|said| !said.is_empty()) {
        return said;
    }
    let steps = value.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let chained = steps.iter().any(|step| step.get("parentId").and_then(Value::as_str).is_some_and(|id| !id.is_empty()));
    if chained { "funnel" } else { "events" }
}

fn is_channel_key(key: &str) -> bool {
    let mut chars = key.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
    first && rest && key.len() <= 64
}

fn hex_key(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(key)
}
