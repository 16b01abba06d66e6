//! What conditions may name, looked up in the catalog and its structures.

use super::attributes::{self, Attributes};
use super::catalog::{Catalog, Kind};
use super::document::{at, issue};
use super::lookup::Finders;
use super::structure;
use crate::expr::{PathRef, Resolve};
use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, EventSlot, GoalSlot, TraitSlot};
use crate::issue::Issue;
use crate::paths::{self, PathTable};
use crate::schema::{DataType, FieldError, Schema, Structure, UnknownKeys};
use crate::time::Zone;
use serde_json::Value;

/// One structure version, compiled.
pub(super) struct Version {
    pub(super) structure: Structure,
    pub(super) schema: Schema,
}

/// The names of a catalog. Removed definitions still answer where nothing in force has the name, so
/// that what depended on them compiles and sees them as absent.
pub(super) struct Names<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) finders: Finders<'a>,
    /// By event slot, oldest version first.
    pub(super) events: Vec<Vec<Version>>,
    /// By context slot.
    pub(super) contexts: Vec<Vec<Version>>,
    /// Empty where no schema is defined.
    pub(super) custom: Vec<Version>,
    /// Custom traits that rules set and that schema does not declare.
    attributes: Attributes,
    /// Lets everything through: contexts and custom traits that nobody has defined.
    pub(super) open: Schema,
    /// Types of computed traits by slot.
    types: Vec<DataType>,
}

impl<'a> Names<'a> {
    /// Compiles all structures. Problems are reported through `refuse` with their definition's place and
    /// a pointer inside it.
    pub(super) fn new(catalog: &'a Catalog, paths: &mut PathTable, refuse: &mut dyn FnMut(Kind, usize, Issue)) -> Self {
        let open = Schema::compile(&Structure::default(), true, UnknownKeys::Open, paths);
        let mut all = |kind: Kind| -> Vec<Vec<Version>> {
            let definitions = catalog.definitions(kind).iter().enumerate();
            definitions.map(|(slot, _)| versions(catalog, kind, slot, paths, refuse)).collect()
        };
        let mut names = Self {
            catalog,
            finders: Finders::new(catalog),
            events: all(Kind::Event),
            contexts: all(Kind::Context),
            custom: all(Kind::CustomTraits).pop().unwrap_or_default(),
            attributes: Attributes::new(),
            open: open.expect("the empty structure is valid"),
            types: Vec::new(),
        };
        names.attributes = attributes::of_rules(catalog, &names.custom, paths);
        names.types = catalog.computed_traits.iter().map(|known| names.trait_type(&known.json())).collect();
        names
    }

    /// The context definition in force of a channel.
    pub(super) fn context_of(&self, channel: ChannelSlot) -> Option<usize> {
        let key = &self.catalog.channels.get(channel.index())?.key;
        self.catalog.live(Kind::Context).find(|(_, context)| context.name == *key).map(|(slot, _)| slot)
    }

    /// The type of a computed trait's value.
    fn trait_type(&self, body: &Value) -> DataType {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let properties = body.get("properties").unwrap_or(&Value::Null);
        match text(body, "type").as_str() {
            "count_events" | "unique_list_count" => DataType::Integer,
            "aggregation" => DataType::Float,
            "unique_list" => DataType::Array,
            _ if properties.get("useTimestamp") == Some(&Value::Bool(true)) => DataType::DateTime,
            _ => {
                let said = DataType::parse(&text(properties, "type"));
                let declared = || {
                    let event = self.event(&text(body, "eventId"))?;
                    self.event_type(event, &text(properties, "property"))
                };
                said.or_else(declared).unwrap_or(DataType::String)
            }
        }
    }
}

fn versions(
    catalog: &Catalog,
    kind: Kind,
    slot: usize,
    paths: &mut PathTable,
    refuse: &mut dyn FnMut(Kind, usize, Issue),
) -> Vec<Version> {
    let definition = &catalog.definitions(kind)[slot];
    let cast = definition.json().get("cast") != Some(&Value::Bool(false));
    let mut versions = Vec::new();
    for text in &definition.structures {
        let structure: Structure = match serde_json::from_value(structure::parse(text)) {
            Ok(structure) => structure,
            Err(error) => {
                refuse(kind, slot, issue("/structure", crate::issue::DEFINITION_INVALID, error.to_string()));
                continue;
            }
        };
        match Schema::compile(&structure, cast, UnknownKeys::Strict, paths) {
            Ok(schema) => versions.push(Version { structure, schema }),
            Err(issues) => {
                for one in issues {
                    refuse(kind, slot, issue(format!("/structure{}", one.pointer), one.code, one.message));
                }
            }
        }
    }
    versions
}

fn locate(versions: &[Version], dotted: &str) -> Option<PathRef> {
    versions.iter().rev().find_map(|version| version.schema.locate(dotted, false))
}

fn declared(versions: &[Version], dotted: &str) -> Option<DataType> {
    versions.iter().rev().find_map(|version| version.structure.data_type(dotted))
}

impl Resolve for Names<'_> {
    fn event(&self, id_or_name: &str) -> Option<EventSlot> {
        let slot = self.finders.seek_any(Kind::Event, id_or_name)?;
        u32::try_from(slot).ok().map(EventSlot)
    }

    fn channel(&self, id_or_key: &str) -> Option<ChannelSlot> {
        let slot = self.finders.seek_any(Kind::Channel, id_or_key)?;
        u16::try_from(slot).ok().map(ChannelSlot)
    }

    fn audience(&self, id_or_key: &str) -> Option<AudienceSlot> {
        let slot = self.finders.seek_any(Kind::Audience, id_or_key)?;
        u32::try_from(slot).ok().map(AudienceSlot)
    }

    fn action(&self, id_or_name: &str) -> Option<ActionSlot> {
        let slot = self.finders.seek_any(Kind::Action, id_or_name)?;
        u32::try_from(slot).ok().map(ActionSlot)
    }

    fn goal(&self, id_or_key: &str) -> Option<GoalSlot> {
        let slot = self.finders.seek_any(Kind::Goal, id_or_key)?;
        u32::try_from(slot).ok().map(GoalSlot)
    }

    fn event_path(&self, event: EventSlot, dotted: &str) -> Option<PathRef> {
        locate(self.events.get(event.index())?, dotted)
    }

    fn event_type(&self, event: EventSlot, dotted: &str) -> Option<DataType> {
        declared(self.events.get(event.index())?, dotted)
    }

    fn custom_path(&self, dotted: &str) -> Option<PathRef> {
        if self.custom.is_empty() {
            return self.open.locate(dotted, true);
        }
        self.attributes.get(dotted).map(|(path, _)| path.clone()).or_else(|| locate(&self.custom, dotted))
    }

    fn custom_type(&self, dotted: &str) -> Option<DataType> {
        self.attributes.get(dotted).map(|(_, data_type)| *data_type).or_else(|| declared(&self.custom, dotted))
    }

    fn custom_value(&self, dotted: &str, json: &Value, zone: &Zone) -> Result<crate::value::Value, String> {
        if let Some((_, wanted)) = self.attributes.get(dotted) {
            let fits = attributes::type_of(json) == Some(*wanted);
            let other = || format!("another rule sets {dotted:?} to a value of type {}", wanted.name());
            return if fits { Ok(crate::value::Value::from_json(json)) } else { Err(other()) };
        }
        let Some(newest) = self.custom.last() else { return Ok(crate::value::Value::from_json(json)) };
        let segments = paths::split(dotted);
        let document = segments.iter().rev().fold(json.clone(), |inner, key| serde_json::json!({ key.as_str(): inner }));
        // What else the structure requires is not this value's business.
        let checked = newest.schema.check(&document.to_string(), zone, UnknownKeys::Strict);
        let name = segments.join(".");
        let here =
            |error: &&FieldError| error.path.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('['));
        if let Some(error) = checked.errors.iter().find(here) {
            return Err(error.message.clone());
        }
        let place = newest.schema.locate(dotted, false);
        let value = place.and_then(|place| crate::rule::find(&checked.props, &place).cloned());
        value.ok_or_else(|| format!("the custom traits take no value at {dotted:?}"))
    }

    fn check_event(&self, event: EventSlot, properties: &str, zone: &Zone) -> Vec<FieldError> {
        let newest = self.events.get(event.index()).and_then(|versions| versions.last());
        newest.and_then(|newest| newest.schema.validate(properties, zone).err()).unwrap_or_default()
    }

    fn context_path(&self, channel: ChannelSlot, dotted: &str) -> Option<PathRef> {
        match self.context_of(channel) {
            Some(slot) => locate(self.contexts.get(slot)?, dotted),
            None => self.open.locate(dotted, true),
        }
    }

    fn computed(&self, key: &str) -> Option<(TraitSlot, DataType)> {
        let slot = self.finders.seek_any(Kind::ComputedTrait, key)?;
        Some((TraitSlot(u32::try_from(slot).ok()?), *self.types.get(slot)?))
    }
}

/// Whether the newest structure still has what a definition reads, and in the type that it expects.
///
/// The expression compiler takes a name that leads nowhere as absent, which is right after a forced
/// removal and wrong for a typo; here the typo is told.
pub(super) fn check_paths(names: &Names<'_>, kind: Kind, body: &Value, pointer: &str, issues: &mut Vec<Issue>) {
    use super::refs::{Target, visit};
    let mut body = body.clone();
    visit(kind, &mut body, pointer, &mut |reference| {
        let Some(path) = reference.value.as_str() else { return };
        let (versions, place) = match &reference.target {
            Target::Property(event) => {
                let Some(slot) = names.event(event) else { return };
                (names.events.get(slot.index()), format!("event {:?}", names.catalog.events[slot.index()].name))
            }
            Target::Custom if names.custom.is_empty() => return,
            Target::Custom if names.attributes.contains_key(path) => {
                if let (Some(found), Some((field, expected))) = (names.custom_type(path), &reference.expects) {
                    fits(found, expected, field, &reference.pointer, path, issues);
                }
                return;
            }
            Target::Custom => (Some(&names.custom), "the custom traits".to_owned()),
            Target::Context(channel) => {
                let Some(slot) = names.channel(channel).and_then(|slot| names.context_of(slot)) else { return };
                (names.contexts.get(slot), format!("the context of channel {channel:?}"))
            }
            Target::Definition(Kind::ComputedTrait) => {
                if let (Some((_, found)), Some((field, expected))) = (names.computed(path), &reference.expects) {
                    fits(found, expected, field, &reference.pointer, path, issues);
                }
                return;
            }
            Target::Definition(_) => return,
        };
        // A structure that does not compile has been reported where it stands.
        let Some(newest) = versions.and_then(|versions| versions.last()) else { return };
        if newest.schema.locate(path, false).is_none() {
            issues.push(issue(&reference.pointer, "property_not_found", format!("{place} has no property {path:?}")));
        } else if let (Some(found), Some((field, expected))) = (newest.structure.data_type(path), &reference.expects) {
            fits(found, expected, field, &reference.pointer, path, issues);
        }
    });
}

/// Numbers compare with numbers, text may hold dates, and an open object may hold anything.
fn fits(found: DataType, expected: &str, field: &str, pointer: &str, path: &str, issues: &mut Vec<Issue>) {
    use DataType::{DateTime, Float, Integer, Object, String};
    let Some(wanted) = DataType::parse(expected) else { return };
    let fine =
        found == wanted || matches!((found, wanted), (Object, _) | (Integer | Float, Integer | Float) | (String, DateTime));
    if !fine {
        let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        let message = format!("{path:?} is of type {}, not {expected}", found.name());
        issues.push(issue(at(parent, field), crate::issue::INVALID_CONDITION, message));
    }
}
