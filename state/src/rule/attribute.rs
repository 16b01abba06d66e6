//! One custom trait inside a document of them: where it stands, put there, taken out.

use crate::event::Props;
use crate::expr::{PathRef, descend};
use crate::value::Value;
use compact_str::CompactString;

/// The value at `path`, if present.
#[must_use]
pub fn find<'a>(props: &'a Props, path: &PathRef) -> Option<&'a Value> {
    descend(props.get(path.path)?, &path.rest)
}

/// The document with `value` at `path`; open objects on the way are made, and what is no object there gives
/// way to one.
#[must_use]
pub fn put(props: &Props, path: &PathRef, value: Value) -> Props {
    let mut pairs = props.clone().into_vec();
    let at = match pairs.iter().position(|(known, _)| *known == path.path) {
        Some(at) => at,
        None => {
            pairs.push((path.path, Value::Null));
            pairs.len() - 1
        }
    };
    put_in(&mut pairs[at].1, &path.rest, value);
    Props::new(pairs)
}

fn put_in(place: &mut Value, rest: &[CompactString], value: Value) {
    let Some((first, rest)) = rest.split_first() else {
        *place = value;
        return;
    };
    if !matches!(place, Value::Object(_)) {
        *place = Value::Object(Vec::new());
    }
    let Value::Object(entries) = place else { return };
    let at = match entries.iter().position(|(key, _)| key == first) {
        Some(at) => at,
        None => {
            entries.push((first.clone(), Value::Null));
            entries.len() - 1
        }
    };
    put_in(&mut entries[at].1, rest, value);
}

/// The document with each of `attributes` set to its value, or taken out where it has none.
#[must_use]
pub fn set(props: &Props, attributes: &[(PathRef, Option<Value>)]) -> Props {
    attributes.iter().fold(props.clone(), |props, (path, value)| match value {
        Some(value) => put(&props, path, value.clone()),
        None => remove(&props, path),
    })
}

/// The document without what stands at `path`. Open objects that this empties go too.
#[must_use]
pub fn remove(props: &Props, path: &PathRef) -> Props {
    let mut pairs = props.clone().into_vec();
    if let Some(at) = pairs.iter().position(|(known, _)| *known == path.path)
        && remove_in(&mut pairs[at].1, &path.rest)
    {
        pairs.remove(at);
    }
    Props::new(pairs)
}

/// Whether nothing is left of `place`.
fn remove_in(place: &mut Value, rest: &[CompactString]) -> bool {
    let Some((first, rest)) = rest.split_first() else { return true };
    let Value::Object(entries) = place else { return false };
    let Some(at) = entries.iter().position(|(key, _)| key == first) else { return false };
    if remove_in(&mut entries[at].1, rest) {
        entries.remove(at);
    }
    entries.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PathId;

    fn path(id: u32, rest: &[&str]) -> PathRef {
        PathRef { path: PathId(id), rest: rest.iter().map(|segment| (*segment).into()).collect() }
    }

    #[test]
    fn a_leaf_is_put_and_taken() {
        let props = Props::new(vec![(PathId(3), "x".into())]);
        let with = put(&props, &path(1, &[]), 5.into());
        assert_eq!(find(&with, &path(1, &[])), Some(&5.into()));
        assert_eq!(find(&with, &path(3, &[])), Some(&"x".into()));
        assert_eq!(remove(&with, &path(1, &[])), props);
        assert_eq!(remove(&props, &path(1, &[])), props);
    }

    #[test]
    fn open_objects_are_made_and_go_when_empty() {
        let one = put(&Props::default(), &path(0, &["a", "b"]), 1.into());
        let two = put(&one, &path(0, &["c"]), 2.into());
        assert_eq!(find(&two, &path(0, &["a", "b"])), Some(&1.into()));
        assert_eq!(remove(&two, &path(0, &["c"])), one);
        assert_eq!(remove(&one, &path(0, &["a", "b"])), Props::default());
        assert_eq!(remove(&one, &path(0, &["a", "x"])), one);
        // What is in the way gives way.
        let over = put(&two, &path(0, &["c", "d"]), 3.into());
        assert_eq!(find(&over, &path(0, &["c", "d"])), Some(&3.into()));
    }
}
