//! Property paths by number.
//!
//! A path is written as segments joined by dots; a dot or a backslash inside a segment is escaped
//! with a backslash. The *extras* path of an object (`page.`, or the empty path at the root) holds what
//! an open structure let through without declaring it, as one open object.

use crate::event::Props;
use crate::ids::PathId;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Every path that any definition has ever named. Append-only, so a number never changes meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<CompactString>", into = "Vec<CompactString>")]
pub struct PathTable {
    names: Vec<CompactString>,
    index: Index,
}

type Index = HashMap<CompactString, PathId, foldhash::quality::RandomState>;

impl PathTable {
    /// The number of a path, given out now if it is new.
    ///
    /// # Panics
    /// After 2^32 paths, which the limits of the catalog rule out.
    pub fn intern(&mut self, path: &str) -> PathId {
        if let Some(id) = self.index.get(path) {
            return *id;
        }
        let id = PathId(u32::try_from(self.names.len()).expect("the catalog bounds its paths"));
        self.names.push(path.into());
        self.index.insert(path.into(), id);
        id
    }

    /// The number of a path, if it has one.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<PathId> {
        self.index.get(path).copied()
    }

    /// The path of a number; empty for one that this table never gave out.
    #[must_use]
    pub fn name(&self, id: PathId) -> &str {
        self.names.get(id.index()).map_or("", CompactString::as_str)
    }

    /// How many paths there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Properties as the nested JSON object that they came from.
    #[must_use]
    pub fn render(&self, props: &Props) -> serde_json::Value {
        let mut root = serde_json::Map::new();
        for (path, value) in props.iter() {
            let segments = split(self.name(*path));
            if let Some((last, parents)) = segments.split_last() {
                put(&mut root, parents, last, value.to_json());
            }
        }
        root.into()
    }
}

/// Puts a value at its place; under the empty segment stand the extras of its object.
fn put(at: &mut serde_json::Map<String, serde_json::Value>, parents: &[CompactString], last: &str, value: serde_json::Value) {
    if let Some((first, rest)) = parents.split_first() {
        let child = at.entry(first.as_str()).or_insert_with(|| serde_json::Map::new().into());
        if let Some(child) = child.as_object_mut() {
            put(child, rest, last, value);
        }
        return;
    }
    match value {
        serde_json::Value::Object(extras) if last.is_empty() => {
            // What is declared wins over an extra of an older structure.
            for (key, value) in extras {
                at.entry(key).or_insert(value);
            }
        }
        value => {
            at.insert(last.to_owned(), value);
        }
    }
}

impl From<Vec<CompactString>> for PathTable {
    fn from(names: Vec<CompactString>) -> Self {
        let number = |i: usize| PathId(u32::try_from(i).unwrap_or(u32::MAX));
        let index = names.iter().enumerate().map(|(i, name)| (name.clone(), number(i))).collect();
        Self { names, index }
    }
}

impl From<PathTable> for Vec<CompactString> {
    fn from(table: PathTable) -> Self {
        table.names
    }
}

/// The segments of a written path. `\.` is a dot inside a segment, `\\` a backslash; any other
/// backslash stands for itself. The empty path is one empty segment.
#[must_use]
pub fn split(path: &str) -> Vec<CompactString> {
    let mut segments = Vec::new();
    let mut segment = CompactString::const_new("");
    let mut chars = path.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '.' => segments.push(std::mem::take(&mut segment)),
            '\\' if matches!(chars.peek(), Some('.' | '\\')) => segment.extend(chars.next()),
            c => segment.push(c),
        }
    }
    segments.push(segment);
    segments
}

/// The path under `parent` (empty: the root) of one more segment, escaped where needed.
#[must_use]
pub fn join(parent: &str, segment: &str) -> CompactString {
    let mut path = CompactString::from(parent);
    if !parent.is_empty() {
        path.push('.');
    }
    for c in segment.chars() {
        if matches!(c, '.' | '\\') {
            path.push('\\');
        }
        path.push(c);
    }
    path
}

/// The path of what an open object at `parent` holds undeclared.
#[must_use]
pub fn extras(parent: &str) -> CompactString {
    if parent.is_empty() { CompactString::const_new("") } else { join(parent, "") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_given_once_and_survive_storage() {
        let mut table = PathTable::default();
        let url = table.intern("page.url");
        assert_eq!(table.intern("page.title").0, url.0 + 1);
        assert_eq!(table.intern("page.url"), url);
        assert_eq!(table.get("page"), None);
        let stored: PathTable = bincode::deserialize(&bincode::serialize(&table).unwrap()).unwrap();
        assert_eq!(stored, table);
        assert_eq!(stored.name(url), "page.url");
        assert_eq!(stored.name(PathId(99)), "");
    }

    // T-15: a literal dot is written `\.`.
    #[test]
    fn t15_segments() {
        assert_eq!(split("a.b"), ["a", "b"]);
        assert_eq!(split("a\\.b"), ["a.b"]);
        assert_eq!(split("a\\\\.b\\c"), ["a\\", "b\\c"]);
        assert_eq!(split(""), [""]);
        assert_eq!(split("a."), ["a", ""]);
    }

    #[test]
    fn render_nests_and_spreads_extras() {
        let mut table = PathTable::default();
        let open = |text| Value::parse(text).unwrap();
        let props = Props::new(vec![
            (table.intern("page.url"), "/".into()),
            (table.intern("page.q.page"), 2.into()),
            (table.intern("meta"), open(r#"{"x":{"y":[1,null]}}"#)),
            (table.intern("page."), open(r#"{"more":true,"url":"shadowed"}"#)),
            (table.intern(""), open(r#"{"top":1.5}"#)),
        ]);
        assert_eq!(
            table.render(&props),
            serde_json::json!({"page":{"url":"/","q":{"page":2},"more":true},"meta":{"x":{"y":[1,null]}},"top":1.5})
        );
    }

    proptest! {
        #[test]
        fn joined_segments_split_again(segments in prop::collection::vec("[a.\\\\]{1,4}", 1..5)) {
            let path = segments.iter().fold(CompactString::default(), |path, s| join(&path, s));
            prop_assert_eq!(split(&path), segments);
        }
    }
}
