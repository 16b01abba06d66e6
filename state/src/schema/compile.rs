//! A structure compiled for validation: keys, patterns, paths and required keys at hand.

use super::{DataType, Node, Structure, UnknownKeys};
use crate::expr::PathRef;
use crate::ids::PathId;
use crate::issue::Issue;
use crate::paths::{self, PathTable};
use compact_str::CompactString;
use regex::Regex;

/// A compiled structure. Immutable; validation takes it by reference from any thread.
#[derive(Clone, Debug)]
pub struct Schema {
    pub(super) root: Level,
    pub(super) cast: bool,
    pub(super) unknown: UnknownKeys,
}

/// The keys of one object.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) fields: Box<[Field]>,
    /// The places in `fields` by key, for levels too wide to scan; empty for the others.
    pub(super) by_key: Box<[u16]>,
    /// Where undeclared keys go when they are kept.
    pub(super) extras: PathId,
    /// Path of this object as errors name it; empty at the root.
    pub(super) name: CompactString,
}

/// Up to here a scan is faster than a search.
const SCAN_MAX: usize = 16;

impl Level {
    /// The place of a key. `hint` is where it is when documents keep the order of the structure.
    pub(super) fn find(&self, key: &str, hint: usize) -> Option<usize> {
        if self.fields.get(hint).is_some_and(|field| field.key == key) {
            return Some(hint);
        }
        if self.by_key.is_empty() {
            return self.fields.iter().position(|field| field.key == key);
        }
        let at = |place: &u16| &self.fields[usize::from(*place)].key;
        let found = self.by_key.binary_search_by(|place| at(place).as_str().cmp(key)).ok()?;
        Some(usize::from(self.by_key[found]))
    }
}

/// One declared property.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) key: CompactString,
    /// Path as errors name it; `[]` stands for the index in each array around it.
    pub(super) name: CompactString,
    pub(super) required: bool,
    pub(super) pattern: Option<Regex>,
    pub(super) kind: Kind,
    /// Where the value goes; unused inside array elements and for objects with children.
    pub(super) path: PathId,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    String,
    Integer,
    Float,
    Boolean,
    DateTime,
    Array(Option<Box<Field>>),
    /// An object without declared children: any JSON object.
    Open,
    Object(Level),
}

impl Schema {
    /// Compiles a structure; its leaves get their numbers in `paths`.
    ///
    /// # Errors
    /// All problems that [`Structure::check`] finds, with pointers relative to the structure.
    pub fn compile(structure: &Structure, cast: bool, unknown: UnknownKeys, paths: &mut PathTable) -> Result<Self, Vec<Issue>> {
        let mut issues = Vec::new();
        structure.check("", &mut issues);
        if !issues.is_empty() {
            return Err(issues);
        }
        Ok(Self { root: level(&structure.0, "", "", paths), cast, unknown })
    }

    /// What becomes of undeclared keys when the caller has no policy of its own.
    #[must_use]
    pub fn unknown_keys(&self) -> UnknownKeys {
        self.unknown
    }

    /// Where conditions find the value of a dotted path: a declared leaf, a place inside an open
    /// object, or (`open`) a key that only an open policy lets through. `None` when no document of this
    /// structure can have it.
    #[must_use]
    pub fn locate(&self, dotted: &str, open: bool) -> Option<PathRef> {
        let segments = paths::split(dotted);
        let mut level = &self.root;
        let mut rest = &segments[..];
        loop {
            let (first, after) = rest.split_first()?;
            let Some(field) = level.fields.iter().find(|field| field.key == *first) else {
                return open.then(|| PathRef { path: level.extras, rest: rest.into() });
            };
            match &field.kind {
                Kind::Object(inner) if !after.is_empty() => (level, rest) = (inner, after),
                Kind::Object(_) => return None,
                Kind::Open => {
                    return Some(PathRef { path: field.path, rest: after.into() });
                }
                _ => return after.is_empty().then(|| PathRef::leaf(field.path)),
            }
        }
    }
}

fn level(nodes: &[Node], path: &str, name: &str, paths: &mut PathTable) -> Level {
    let fields: Box<[Field]> = nodes
        .iter()
        .map(|node| {
            let key = node.properties.key.as_str();
            let name = if name.is_empty() { key.into() } else { compact_str::format_compact!("{name}.{key}") };
            field(node, &paths::join(path, key), name, paths)
        })
        .collect();
    let wide = if fields.len() > SCAN_MAX { fields.len() } else { 0 };
    // `check` bounds the fields far below 2^16.
    let mut by_key: Box<[u16]> = (0..wide).filter_map(|place| u16::try_from(place).ok()).collect();
    by_key.sort_unstable_by(|a, b| fields[usize::from(*a)].key.cmp(&fields[usize::from(*b)].key));
    Level { fields, by_key, extras: paths.intern(&paths::extras(path)), name: name.into() }
}

fn field(node: &Node, path: &str, name: CompactString, paths: &mut PathTable) -> Field {
    let kind = match node.data_type() {
        Some(DataType::Object) if node.children.is_empty() => Kind::Open,
        Some(DataType::Object) => Kind::Object(level(&node.children, path, &name, paths)),
        Some(DataType::Integer) => Kind::Integer,
        Some(DataType::Float) => Kind::Float,
        Some(DataType::Boolean) => Kind::Boolean,
        Some(DataType::DateTime) => Kind::DateTime,
        Some(DataType::Array) => Kind::Array(node.properties.items.as_ref().map(|items| {
            let name = compact_str::format_compact!("{name}[]");
            Box::new(field(items, &paths::join(path, "[]"), name, paths))
        })),
        // `check` refused every other type.
        Some(DataType::String) | None => Kind::String,
    };
    Field {
        key: node.properties.key.as_str().into(),
        name,
        required: node.properties.is_required,
        pattern: node.pattern().ok().flatten(),
        path: paths.intern(path),
        kind,
    }
}
