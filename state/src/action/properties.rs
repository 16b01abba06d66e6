//! What an action says: texts, and placeholders filled with the person's traits.
//!
//! An action type's properties are defaults. They stand before the action's own, and in each channel the
//! last entry of a name wins. An entry without channels is sent nowhere.

use super::json::{INVALID, Node};
use super::{NO_CHANNEL, channel_list};
use crate::expr::{Facts, Resolve, Source};
use crate::ids::ChannelSlot;
use crate::issue::Issue;
use crate::schema::DataType;
use crate::time::format_instant;
use crate::value::{Value, whole};
use compact_str::CompactString;

/// Entries of one action or type.
pub const PROPERTIES_MAX: usize = 256;

/// One entry as written: a name, where it is sent, and what.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    name: CompactString,
    channels: Box<[ChannelSlot]>,
    content: Content,
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    Fixed(Value),
    Trait {
        /// `None` when the trait does not exist (any more): always missing.
        source: Option<Source>,
        /// `None` when nobody knows: the value is sent as it is.
        wanted: Option<DataType>,
        omit_missing: bool,
    },
}

/// The properties of an action, by channel, with the type's defaults merged in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(Box<[(ChannelSlot, Named)]>);

/// What one channel gets, in the order of first mention.
type Named = Box<[(CompactString, Content)]>;

/// Reads a list of properties.
pub(super) fn entries(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Vec<Entry> {
    let nodes = node.objects("properties", issues);
    if nodes.len() > PROPERTIES_MAX {
        let message = format!("{} properties, limit is {PROPERTIES_MAX}", nodes.len());
        issues.push(Issue::new(node.at("properties"), INVALID, message));
    }
    nodes.iter().filter_map(|node| entry(node, resolve, issues)).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Custom,
    Computed,
}

fn entry(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Option<Entry> {
    let kinds = [("text", Kind::Text), ("custom_trait", Kind::Custom), ("computed_trait", Kind::Computed)];
    let kind = node.required_word("type", &kinds, issues);
    let name = node.text("name", issues).filter(|name| !name.is_empty());
    if name.is_none() {
        issues.push(Issue::new(node.at("name"), INVALID, "name is required"));
    }
    let channels = channel_list(node, resolve, issues).into();
    let omit_missing = node.flag("omitMissing", issues);
    let content = match kind? {
        Kind::Text => Content::Fixed(node.get("value").map_or_else(|| "".into(), Value::from_json)),
        kind => {
            let key = node.text("sourceKey", issues).unwrap_or_default();
            if key.is_empty() {
                issues.push(Issue::new(node.at("sourceKey"), INVALID, "sourceKey names the trait to fill in"));
            }
            let (source, known) = match kind {
                Kind::Custom => (resolve.custom_path(key).map(Source::Custom), resolve.custom_type(key)),
                _ => match resolve.computed(key) {
                    Some((slot, data_type)) => (Some(Source::Computed(slot)), Some(data_type)),
                    None => (None, None),
                },
            };
            let named = node.text("sourceType", issues).unwrap_or_default();
            let wanted = if named.is_empty() { known } else { DataType::parse(named).or(known) };
            Content::Trait { source, wanted, omit_missing }
        }
    };
    Some(Entry { name: name?.into(), channels, content })
}

impl Properties {
    /// Reads the list of properties of something else than an action or its type: of a variant.
    pub(crate) fn compile(json: &serde_json::Value, resolve: &dyn Resolve, pointer: &str, issues: &mut Vec<Issue>) -> Self {
        Self::merge(&[], entries(&Node::new(json, pointer), resolve, issues))
    }

    /// These properties with `over` in the place of those of the same channel and name.
    #[must_use]
    pub fn overlaid(&self, over: &Self) -> Self {
        let mut channels: Vec<(ChannelSlot, Vec<(CompactString, Content)>)> =
            self.0.iter().map(|(channel, list)| (*channel, list.to_vec())).collect();
        for (channel, list) in &over.0 {
            let at = channels.iter().position(|(other, _)| other == channel).unwrap_or_else(|| {
                channels.push((*channel, Vec::new()));
                channels.len() - 1
            });
            for (name, content) in list {
                match channels[at].1.iter_mut().find(|(other, _)| other == name) {
                    Some((_, place)) => *place = content.clone(),
                    None => channels[at].1.push((name.clone(), content.clone())),
                }
            }
        }
        Self(channels.into_iter().map(|(channel, list)| (channel, list.into())).collect())
    }

    /// Merges the type's entries and the action's: per channel the last of a name wins, in the place of
    /// the first.
    pub(super) fn merge(defaults: &[Entry], own: Vec<Entry>) -> Self {
        let mut channels: Vec<(ChannelSlot, Vec<(CompactString, Content)>)> = Vec::new();
        for entry in defaults.iter().chain(&own) {
            for channel in entry.channels.iter().filter(|channel| **channel != NO_CHANNEL) {
                let at = channels.iter().position(|(other, _)| other == channel).unwrap_or_else(|| {
                    channels.push((*channel, Vec::new()));
                    channels.len() - 1
                });
                let list = &mut channels[at].1;
                match list.iter_mut().find(|(name, _)| *name == entry.name) {
                    Some((_, content)) => *content = entry.content.clone(),
                    None => list.push((entry.name.clone(), entry.content.clone())),
                }
            }
        }
        Self(channels.into_iter().map(|(channel, list)| (channel, list.into())).collect())
    }

    /// What is sent in `channel`, with placeholders filled.
    #[must_use]
    pub fn render<F: Facts + ?Sized>(&self, channel: ChannelSlot, facts: &F) -> Vec<(CompactString, Value)> {
        let list = self.0.iter().find(|(other, _)| *other == channel).map_or(&[][..], |(_, list)| list);
        list.iter().filter_map(|(name, content)| Some((name.clone(), content.render(facts)?))).collect()
    }

    /// Whether nothing that is sent in `channel` depends on the person.
    #[must_use]
    pub fn is_fixed(&self, channel: ChannelSlot) -> bool {
        let here = self.0.iter().find(|(other, _)| *other == channel);
        here.is_none_or(|(_, list)| list.iter().all(|(_, content)| matches!(content, Content::Fixed(_))))
    }

    /// Calls `f` with every trait that a placeholder shows.
    pub fn sources(&self, f: &mut impl FnMut(&Source)) {
        for (_, content) in self.0.iter().flat_map(|(_, list)| list.iter()) {
            if let Content::Trait { source: Some(source), .. } = content {
                f(source);
            }
        }
    }
}

impl Content {
    fn render<F: Facts + ?Sized>(&self, facts: &F) -> Option<Value> {
        let (source, wanted, omit_missing) = match self {
            Self::Fixed(value) => return Some(value.clone()),
            Self::Trait { source, wanted, omit_missing } => (source, wanted, *omit_missing),
        };
        let seen = source.as_ref().and_then(|source| facts.get(source)).filter(|value| **value != Value::Null);
        let fitting = seen.and_then(|value| fit(value.into_owned(), *wanted));
        match fitting {
            None if omit_missing => None,
            None => Some(default(*wanted)),
            some => some,
        }
    }
}

/// What a missing trait becomes, so that the client's template always finds a value of the type.
fn default(wanted: Option<DataType>) -> Value {
    match wanted {
        Some(DataType::Integer) => Value::Int(0),
        Some(DataType::Float) => Value::Float(0.0),
        Some(DataType::Boolean) => Value::Bool(false),
        Some(DataType::Array) => Value::Array(Vec::new()),
        Some(DataType::Object) => Value::Object(Vec::new()),
        Some(DataType::String | DataType::DateTime) | None => "".into(),
    }
}

/// The value as the wanted type; `None` where it is of another and has no faithful form in it.
fn fit(value: Value, wanted: Option<DataType>) -> Option<Value> {
    match (wanted, value) {
        (None, value) => Some(value),
        (Some(DataType::Integer), Value::Float(float)) => whole(float).map(Value::Int),
        #[expect(clippy::cast_precision_loss, reason = "a float is asked for")]
        (Some(DataType::Float), Value::Int(int)) => Some(Value::Float(int as f64)),
        (Some(DataType::String | DataType::DateTime), Value::Time(t)) => Some(Value::Str(format_instant(t))),
        (Some(DataType::String), Value::Int(int)) => Some(Value::Str(int.to_string().into())),
        (Some(DataType::String), Value::Float(float)) => Some(Value::Str(float.to_string().into())),
        (Some(DataType::String), Value::Bool(flag)) => Some(Value::Str(flag.to_string().into())),
        // An exported definition says string for every trait whose type its editor did not know.
        (Some(DataType::String), value @ (Value::Array(_) | Value::Object(_))) => Some(value),
        (Some(wanted), value) => {
            let fits = matches!(
                (wanted, &value),
                (DataType::Integer, Value::Int(_))
                    | (DataType::Float, Value::Float(_))
                    | (DataType::Boolean, Value::Bool(_))
                    | (DataType::String | DataType::DateTime, Value::Str(_))
                    | (DataType::Array, Value::Array(_))
                    | (DataType::Object, Value::Object(_))
            );
            fits.then_some(value)
        }
    }
}

#[cfg(test)]
mod tests;
