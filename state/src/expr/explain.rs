//! The same evaluation, told clause by clause with the values that it saw.

use super::eval::{Run, present};
use super::{Expr, Facts, Node, Test};
use crate::ids::Millis;
use crate::time::format_instant;
use crate::value::Value;
use serde::{Serialize, Serializer};

mod remedy;

pub use remedy::{Freedom, Remedies, Wish, Wished};

/// One clause or group, with its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The clause as the definition says it, or `all`, `any`, `not`.
    pub clause: String,
    /// Whether it holds.
    pub holds: bool,
    /// When that may change by itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "instant")]
    pub until: Option<Millis>,
    /// The operand, if it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<serde_json::Value>,
    /// The other operand of a comparison, if it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<serde_json::Value>,
    /// The parts of a group; all of them, also past the deciding one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Explained>,
}

/// An instant as people read it: RFC 3339.
pub(crate) fn instant<S: Serializer>(t: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    t.map(format_instant).serialize(serializer)
}

impl Expr {
    /// Evaluates like [`Expr::eval`] and says why. Allocates; for people.
    pub fn explain<F: Facts + ?Sized>(&self, facts: &F, now: Millis) -> Explained {
        self.node.explain(&Run { facts, now, zone: &self.zone })
    }
}

impl Node {
    fn explain<F: Facts + ?Sized>(&self, run: &Run<'_, F>) -> Explained {
        let truth = self.eval(run);
        let mut told = Explained {
            clause: String::new(),
            holds: truth.holds,
            until: (truth.until != Millis::MAX).then_some(truth.until),
            seen: None,
            against: None,
            parts: Vec::new(),
        };
        let explain = |parts: &[Self]| parts.iter().map(|part| part.explain(run)).collect();
        let shown = |value: std::borrow::Cow<'_, Value>| value.to_json();
        match self {
            Self::All(parts) => (told.clause, told.parts) = ("all".into(), explain(parts)),
            Self::Any(parts) => (told.clause, told.parts) = ("any".into(), explain(parts)),
            Self::Not(part) => (told.clause, told.parts) = ("not".into(), explain(std::slice::from_ref(part))),
            Self::Leaf(leaf) => {
                told.clause = leaf.clause.to_string();
                told.seen = present(leaf.source.as_ref(), run.facts).map(shown);
                if let Test::Against(_, other) = &leaf.test {
                    told.against = present(other.as_ref(), run.facts).map(shown);
                }
            }
        }
        told
    }
}
