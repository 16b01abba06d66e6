//! The definition of a structure, in the JSON shape that people edit and export.

use crate::issue::{DEFINITION_INVALID, Issue};
use crate::paths;
use compact_str::CompactString;
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;

/// Levels of a structure.
pub const DEPTH_MAX: usize = 8;
/// Nodes of a structure, on all levels together.
pub const NODES_MAX: usize = 500;
/// Characters of a key.
pub const KEY_LEN_MAX: usize = 64;
/// Bytes of a compiled pattern, so that one definition cannot take the memory of all.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The type of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DataType {
    /// An object: open when it has no children.
    Object,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any finite number.
    Float,
    /// True or false.
    Boolean,
    /// An instant.
    DateTime,
    /// A list.
    Array,
}

impl DataType {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Object, Self::String, Self::Integer, Self::Float, Self::Boolean, Self::DateTime, Self::Array];

    /// The name in definitions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::DateTime => "dateTime",
            Self::Array => "array",
        }
    }

    /// The type of a name in definitions.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A tree of declared properties. JSON only: the shape is lenient and not for bincode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Structure(pub Vec<Node>);

/// One declared property.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The editor's id; equal to the key and ignored.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub id: String,
    /// The editor's label; equal to the key and ignored.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub name: String,
    /// What is declared.
    #[serde(default, deserialize_with = "or_default")]
    pub properties: NodeProperties,
    /// Nested nodes; with any, the property is a closed object whatever its type says.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub children: Vec<Node>,
}

/// The declaration of one property.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeProperties {
    /// The key of the property in its object.
    #[serde(default, deserialize_with = "or_default")]
    pub key: String,
    /// The name of a [`DataType`]; kept as text so that a wrong one is reported with its place.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub data_type: String,
    /// A regular expression that must match somewhere in the text of the value before casting.
    #[serde(default, skip_serializing_if = "String::is_empty", deserialize_with = "or_default")]
    pub pattern: String,
    /// Whether absence is an error.
    #[serde(default, deserialize_with = "or_default")]
    pub is_required: bool,
    /// The type of an array's elements; absent for any. Its key is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<Node>>,
}

/// Exports write null where they mean nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(json: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

/// A leaf as pickers list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// The dotted path.
    pub key: CompactString,
    /// Its type.
    #[serde(rename = "type")]
    pub data_type: DataType,
}

impl Node {
    /// The type, as far as it is known.
    #[must_use]
    pub fn data_type(&self) -> Option<DataType> {
        if self.children.is_empty() { DataType::parse(&self.properties.data_type) } else { Some(DataType::Object) }
    }

    /// The compiled pattern; `None` where there is none.
    ///
    /// # Errors
    /// When it is no regular expression, or compiles to more than 1 MiB.
    pub(crate) fn pattern(&self) -> Result<Option<Regex>, regex::Error> {
        match self.properties.pattern.as_str() {
            "" => Ok(None),
            pattern => RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().map(Some),
        }
    }
}

impl Structure {
    /// Finds everything that is wrong with this structure. `pointer` is where it stands in the document.
    pub fn check(&self, pointer: &str, errors: &mut Vec<Issue>) {
        let mut nodes = 0;
        check_level(&self.0, pointer, 1, &mut nodes, errors);
        if nodes > NODES_MAX {
            let message = format!("structure has {nodes} nodes, limit is {NODES_MAX}");
            errors.push(Issue::new(pointer, DEFINITION_INVALID, message));
        }
    }

    /// The leaves by dotted path, in the order written.
    #[must_use]
    pub fn properties(&self) -> Vec<Property> {
        let mut leaves = Vec::new();
        collect(&self.0, "", &mut leaves);
        leaves
    }

    /// The type at a dotted path: of a leaf, or object for a node with children.
    #[must_use]
    pub fn data_type(&self, dotted: &str) -> Option<DataType> {
        let segments = paths::split(dotted);
        let (last, parents) = segments.split_last()?;
        let mut level = &self.0;
        for parent in parents {
            level = &level.iter().find(|node| node.properties.key == *parent)?.children;
        }
        level.iter().find(|node| node.properties.key == *last)?.data_type()
    }
}

fn collect(level: &[Node], parent: &str, leaves: &mut Vec<Property>) {
    for node in level {
        let key = paths::join(parent, &node.properties.key);
        if !node.children.is_empty() {
            collect(&node.children, &key, leaves);
        } else if let Some(data_type) = node.data_type() {
            leaves.push(Property { key, data_type });
        }
    }
}

fn check_level(level: &[Node], pointer: &str, depth: usize, nodes: &mut usize, errors: &mut Vec<Issue>) {
    if depth > DEPTH_MAX {
        let message = format!("structure is more than {DEPTH_MAX} levels deep");
        errors.push(Issue::new(pointer, DEFINITION_INVALID, message));
        return;
    }
    let mut seen = HashSet::new();
    for (i, node) in level.iter().enumerate() {
        let at = format!("{pointer}/{i}");
        let key = node.properties.key.as_str();
        let mut refuse = |field: &str, message: String| {
            errors.push(Issue::new(format!("{at}/properties/{field}"), DEFINITION_INVALID, message));
        };
        if key.is_empty() {
            refuse("key", "key is empty".into());
        } else if key.contains('.') {
            refuse("key", format!("key {key:?} contains a dot"));
        } else if key.chars().count() > KEY_LEN_MAX {
            refuse("key", format!("key {key:?} is longer than {KEY_LEN_MAX} characters"));
        } else if key.chars().any(char::is_control) {
            refuse("key", format!("key {key:?} contains a control character"));
        } else if !seen.insert(key) {
            refuse("key", format!("key {key:?} is declared twice on one level"));
        }
        check_node(node, &at, depth, nodes, errors);
    }
}

fn check_node(node: &Node, at: &str, depth: usize, nodes: &mut usize, errors: &mut Vec<Issue>) {
    *nodes += 1;
    let mut refuse = |field: &str, message: String| {
        errors.push(Issue::new(format!("{at}/properties/{field}"), DEFINITION_INVALID, message));
    };
    let name = node.properties.data_type.as_str();
    // Children make the type object, also where the editor left it empty.
    let left_to_children = name.is_empty() && !node.children.is_empty();
    if DataType::parse(name).is_none() && !left_to_children {
        refuse("type", format!("type {name:?} is none of object, string, integer, float, boolean, dateTime, array"));
    }
    if let Err(error) = node.pattern() {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        refuse("pattern", format!("pattern {:?} does not compile: {reason}", node.properties.pattern));
    }
    if let Some(items) = &node.properties.items {
        let pointer = format!("{at}/properties/items");
        if node.data_type() != Some(DataType::Array) {
            refuse("items", "only an array has items".into());
        } else if depth >= DEPTH_MAX {
            refuse("items", format!("structure is more than {DEPTH_MAX} levels deep"));
        } else {
            check_node(items, &pointer, depth + 1, nodes, errors);
        }
    }
    if !node.children.is_empty() {
        check_level(&node.children, &format!("{at}/children"), depth + 1, nodes, errors);
    }
}
