//! Conditions, compiled once and evaluated without parsing, allocating or failing.
//!
//! One semantics everywhere: computed traits, audiences, funnels and actions. An operand is absent when
//! its path does not resolve, is null, or has a JSON type that does not fit; every operator but
//! `not_exists` is false on an absent operand, unless the condition says `orMissing`.

mod compile;
mod eval;
mod explain;
mod fold;
mod source;

pub use compile::{DEPTH_MAX, EarlierStep, LEAVES_MAX, Place, Resolve, compile};
pub use eval::Truth;
pub(crate) use explain::instant;
pub use explain::{Explained, Freedom, Remedies, Wish, Wished};
pub use source::{Facts, NoFacts, PathRef, Source, descend};

use crate::ids::Millis;
use crate::time::Zone;
use crate::value::Value;
use compact_str::CompactString;

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Expr {
    node: Node,
    /// For dates without an offset in data that no schema has cast.
    zone: Zone,
}

#[derive(Clone, Debug)]
enum Node {
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    Leaf(Box<Leaf>),
}

/// One clause. `source` is `None` where the definition names something that does not exist (any
/// more): its operand is always absent.
#[derive(Clone, Debug)]
struct Leaf {
    source: Option<Source>,
    or_missing: bool,
    test: Test,
    /// How the definition says it, for explanations.
    clause: Box<str>,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    NotExists,
    /// The literal, and its folded characters when case is ignored.
    Text(TextOp, CompactString, Option<Box<[char]>>),
    /// `whole`: the type is integer, so that 3.5 is mistyped.
    Number {
        op: Order,
        literal: Value,
        whole: bool,
    },
    Bool(bool),
    /// The literal as `[start, end)`: one millisecond, or a local day.
    Time {
        op: TimeOp,
        start: Millis,
        end: Millis,
    },
    Relative {
        op: Relative,
        ms: i64,
    },
    /// Some element is the literal, or (`negated`) none is. `instant`: the literal read as an instant.
    Element {
        literal: Value,
        instant: Option<Millis>,
        negated: bool,
    },
    Against(Against, Option<Source>),
}

/// Comparison of two properties.
#[derive(Clone, Copy, Debug)]
enum Against {
    Text(TextOp, bool),
    Number { op: Order, whole: bool },
    Bool { equal: bool },
    Time(TimeOp),
    Array(SetOp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextOp {
    Equals,
    NotEquals,
    Contains,
    DoesNotContain,
    StartsWith,
    EndsWith,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equals,
    NotEquals,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimeOp {
    Before,
    After,
    Equals,
    NotEquals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relative {
    WithinLast,
    BeforeLast,
    WithinNext,
    AfterNext,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SetOp {
    /// The source holds every element of the target.
    All,
    NotAll,
    Any,
    None,
}

impl Expr {
    /// The condition that always holds.
    #[must_use]
    pub fn always() -> Self {
        Self { node: Node::All(Box::default()), zone: Zone::utc() }
    }

    /// Whether nothing is asked at all.
    #[must_use]
    pub fn is_always(&self) -> bool {
        matches!(&self.node, Node::All(parts) if parts.is_empty())
    }

    /// Both conditions.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self.is_always() {
            return other;
        }
        if other.is_always() {
            return self;
        }
        Self { node: Node::All(Box::new([self.node, other.node])), zone: self.zone }
    }

    /// Calls `f` with everything that the condition reads, in the order written; repeats included.
    pub fn sources(&self, f: &mut impl FnMut(&Source)) {
        self.node.leaves(&mut |leaf| {
            leaf.source.iter().for_each(&mut *f);
            if let Test::Against(_, Some(other)) = &leaf.test {
                f(other);
            }
        });
    }

    /// Whether time alone can change the answer.
    #[must_use]
    pub fn relative(&self) -> bool {
        let mut found = false;
        self.node.leaves(&mut |leaf| found |= matches!(leaf.test, Test::Relative { .. }));
        found
    }

    /// Whether two properties are compared, one of which may be a trait read as of the event.
    #[must_use]
    pub fn compares(&self) -> bool {
        let mut found = false;
        self.node.leaves(&mut |leaf| found |= matches!(leaf.test, Test::Against(..)));
        found
    }
}

impl Default for Expr {
    fn default() -> Self {
        Self::always()
    }
}

impl Node {
    fn leaves(&self, f: &mut impl FnMut(&Leaf)) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.leaves(f)),
            Self::Not(part) => part.leaves(f),
            Self::Leaf(leaf) => f(leaf),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
