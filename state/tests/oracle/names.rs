//! A catalog of a few names, for compiling definitions.

use lodestone_state::audience::AudienceDef;
use lodestone_state::expr::{PathRef, Resolve};
use lodestone_state::ids::{AudienceSlot, ChannelSlot, EventSlot, PathId, TraitSlot};
use lodestone_state::issue::Issue;
use lodestone_state::schema::DataType;
use lodestone_state::time::Zone;
use lodestone_state::traits::TraitDef;
use serde_json::Value as Json;

/// Events are single capital letters, channels are `web` and `app`, every event has every property.
pub(crate) struct Names;

const PROPERTIES: [(&str, DataType); 9] = [
    ("price", DataType::Float),
    ("n", DataType::Integer),
    ("page", DataType::String),
    ("product", DataType::String),
    ("flag", DataType::Boolean),
    ("when", DataType::DateTime),
    ("tags", DataType::Array),
    ("fav", DataType::String),
    ("any", DataType::Object),
];

pub(crate) fn path(name: &str) -> PathId {
    let at = PROPERTIES.iter().position(|(known, _)| *known == name).expect("a known property");
    PathId(u32::try_from(at).unwrap())
}

pub(crate) fn event(name: &str) -> EventSlot {
    EventSlot(u32::from(name.as_bytes()[0]))
}

pub(crate) fn channel(name: &str) -> ChannelSlot {
    ChannelSlot(if name == "web" { 0 } else { 1 })
}

impl Resolve for Names {
    fn event(&self, name: &str) -> Option<EventSlot> {
        (name.len() == 1 && name.as_bytes()[0].is_ascii_uppercase()).then(|| event(name))
    }

    fn channel(&self, name: &str) -> Option<ChannelSlot> {
        matches!(name, "web" | "app").then(|| channel(name))
    }

    fn audience(&self, _: &str) -> Option<AudienceSlot> {
        None
    }

    fn event_path(&self, _: EventSlot, dotted: &str) -> Option<PathRef> {
        PROPERTIES.iter().any(|(name, _)| *name == dotted).then(|| path(dotted).into())
    }

    fn event_type(&self, _: EventSlot, dotted: &str) -> Option<DataType> {
        PROPERTIES.iter().find(|(name, _)| *name == dotted).map(|(_, data_type)| *data_type)
    }

    fn custom_path(&self, dotted: &str) -> Option<PathRef> {
        self.event_path(EventSlot(0), dotted)
    }

    fn context_path(&self, _: ChannelSlot, _: &str) -> Option<PathRef> {
        None
    }

    fn computed(&self, _: &str) -> Option<(TraitSlot, DataType)> {
        None
    }
}

pub(crate) fn compile_trait(json: &Json) -> Result<TraitDef, Vec<Issue>> {
    let mut issues = Vec::new();
    let zone = Zone::parse("Europe/Berlin").unwrap();
    TraitDef::compile(json, &Names, &zone, "", &mut issues).ok_or(issues)
}

pub(crate) fn compile_audience(json: &Json) -> Result<AudienceDef, Vec<Issue>> {
    let mut issues = Vec::new();
    let zone = Zone::parse("Europe/Berlin").unwrap();
    AudienceDef::compile(json, &Names, &zone, "", &mut issues).ok_or(issues)
}
