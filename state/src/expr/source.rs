//! Where a condition reads its operands.

use crate::ids::{AudienceSlot, PathId, TraitSlot};
use crate::value::Value;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// One operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A property of the event at hand.
    Event(PathRef),
    /// A key of the current context.
    Context(PathRef),
    /// A custom trait of the profile.
    Custom(PathRef),
    /// A computed trait of the profile, as users see it (rounded, with its virtual default).
    Computed(TraitSlot),
    /// Whether the profile is a member of an audience: true or false; absent where the audience is gone.
    Member(AudienceSlot),
    /// A property captured by an earlier step of the same funnel run.
    Captured {
        /// The step, counted from 0 among the positive steps of its chain.
        step: u16,
        /// Which property of the event that completed the step.
        path: PathRef,
    },
}

/// A path in the catalog's table, and the segments inside the open object that stands there.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathRef {
    /// The declared leaf, or the extras of an open structure.
    pub path: PathId,
    /// Segments inside an open object; empty for the leaf itself.
    pub rest: Box<[CompactString]>,
}

impl PathRef {
    /// The leaf itself.
    #[must_use]
    pub fn leaf(path: PathId) -> Self {
        Self { path, rest: Box::default() }
    }
}

impl From<PathId> for PathRef {
    fn from(path: PathId) -> Self {
        Self::leaf(path)
    }
}

impl fmt::Debug for PathRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.path.0)?;
        self.rest.iter().try_for_each(|segment| write!(f, ".{segment}"))
    }
}

/// What can answer for operands.
pub trait Facts {
    /// The whole value of `source`, with [`PathRef::rest`] applied (see [`descend`]); `None` if absent.
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>>;
}

impl<F: Facts + ?Sized> Facts for &F {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        (**self).get(source)
    }
}

/// Facts of nothing: every operand is absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFacts;

impl Facts for NoFacts {
    fn get<'a>(&'a self, _: &Source) -> Option<Cow<'a, Value>> {
        None
    }
}

/// The value at `rest` inside an open object; `None` where a segment meets no object or no such key.
#[must_use]
pub fn descend<'a>(value: &'a Value, rest: &[CompactString]) -> Option<&'a Value> {
    let mut at = value;
    for segment in rest {
        let Value::Object(entries) = at else {
            return None;
        };
        at = entries.iter().find(|(key, _)| key == segment).map(|(_, value)| value)?;
    }
    Some(at)
}
