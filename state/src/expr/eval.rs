//! Evaluation: whether a condition holds now, and until when that answer stands by itself.

use super::fold;
use super::{Against, Expr, Facts, Leaf, Node, Order, Relative, SetOp, Source, Test, TextOp, TimeOp};
use crate::ids::Millis;
use crate::time::{DateTimeLit, Zone, format_instant, parse_instant};
use crate::value::Value;
use compact_str::CompactString;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Deref;

/// An answer and how long it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// Whether the condition holds.
    pub holds: bool,
    /// The first instant after now at which it may be otherwise with the same facts;
    /// [`Millis::MAX`] for never. It is never late, and at that instant asking again is enough.
    pub until: Millis,
}

impl Truth {
    /// An answer that time does not change.
    #[must_use]
    pub fn forever(holds: bool) -> Self {
        Self { holds, until: Millis::MAX }
    }

    /// Holds when both do. A false part keeps the whole false until it changes itself.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let until = match (self.holds, other.holds) {
            (true, true) => self.until.min(other.until),
            (false, true) => self.until,
            (true, false) => other.until,
            (false, false) => self.until.max(other.until),
        };
        Self { holds: self.holds && other.holds, until }
    }

    /// Holds when one does.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    /// The opposite, for as long.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "`and`, `or` and `not` belong together")]
    pub fn not(self) -> Self {
        Self { holds: !self.holds, until: self.until }
    }
}

impl Expr {
    /// Evaluates against `facts` at `now`. Cost: linear in the clauses up to the deciding one; no
    /// allocation unless `facts` makes one, no parsing but of dates that no schema has cast.
    pub fn eval<F: Facts + ?Sized>(&self, facts: &F, now: Millis) -> Truth {
        self.node.eval(&Run { facts, now, zone: &self.zone })
    }

    /// A value as the instant that a date clause of this condition sees in it; `None` where it sees none.
    pub(crate) fn instant(&self, value: &Value) -> Option<Millis> {
        instant(value, &self.zone)
    }
}

pub(super) struct Run<'a, F: ?Sized> {
    pub(super) facts: &'a F,
    pub(super) now: Millis,
    pub(super) zone: &'a Zone,
}

impl Node {
    pub(super) fn eval<F: Facts + ?Sized>(&self, run: &Run<'_, F>) -> Truth {
        match self {
            Self::All(parts) => decide(parts, false, run),
            Self::Any(parts) => decide(parts, true, run),
            Self::Not(part) => part.eval(run).not(),
            Self::Leaf(leaf) => leaf.eval(run),
        }
    }
}

/// Combines parts where one answer (`deciding`) settles the whole: false for `all`, true for `any`.
/// A part that settles it for ever ends the search; one that does so only for a while does not, as a
/// later part may settle it for longer.
fn decide<F: Facts + ?Sized>(parts: &[Node], deciding: bool, run: &Run<'_, F>) -> Truth {
    let mut total = Truth::forever(!deciding);
    for part in parts {
        let truth = part.eval(run);
        total = if deciding { total.or(truth) } else { total.and(truth) };
        if total.holds == deciding && total.until == Millis::MAX {
            break;
        }
    }
    total
}

impl Leaf {
    pub(super) fn eval<F: Facts + ?Sized>(&self, run: &Run<'_, F>) -> Truth {
        let seen = present(self.source.as_ref(), run.facts);
        match &self.test {
            Test::Exists => Truth::forever(seen.is_some() || self.or_missing),
            Test::NotExists => Truth::forever(seen.is_none()),
            Test::Against(op, other) => {
                let other = present(other.as_ref(), run.facts);
                let known = seen.zip(other).and_then(|(a, b)| against(*op, &a, &b, run.zone));
                Truth::forever(known.unwrap_or(self.or_missing))
            }
            Test::Relative { op, ms } => match seen.and_then(|v| instant(&v, run.zone)) {
                Some(t) => relative(*op, t, *ms, run.now),
                None => Truth::forever(self.or_missing),
            },
            test => {
                let known = seen.and_then(|value| literal(test, &value, run.zone));
                Truth::forever(known.unwrap_or(self.or_missing))
            }
        }
    }
}

/// The operand, unless it is absent or null.
pub(super) fn present<'a, F: Facts + ?Sized>(source: Option<&Source>, facts: &'a F) -> Option<Cow<'a, Value>> {
    facts.get(source?).filter(|value| !matches!(**value, Value::Null))
}

/// A test against a literal; `None` when the operand is mistyped.
fn literal(test: &Test, value: &Value, zone: &Zone) -> Option<bool> {
    match test {
        Test::Text(op, literal, None) => Some(op.plain(&text(value)?, literal)),
        Test::Text(op, _, Some(folded)) => Some(op.folded(&text(value)?, folded.iter().copied())),
        Test::Number { op, literal, whole } => op.holds(number(value, *whole)?, literal),
        Test::Bool(expect) => match value {
            Value::Bool(flag) => Some(flag == expect),
            _ => None,
        },
        Test::Time { op, start, end } => {
            let t = instant(value, zone)?;
            Some(match op {
                TimeOp::Before => t < *start,
                TimeOp::After => t >= *end,
                TimeOp::Equals => *start <= t && t < *end,
                TimeOp::NotEquals => t < *start || *end <= t,
            })
        }
        Test::Element { literal, instant, negated } => match value {
            Value::Array(items) => {
                let is = |item: &Value| item.same(literal) || matches!((item, instant), (Value::Time(t), Some(i)) if t == i);
                Some(items.iter().any(is) != *negated)
            }
            _ => None,
        },
        Test::Exists | Test::NotExists | Test::Relative { .. } | Test::Against(..) => None,
    }
}

/// Two operands; `None` when one is mistyped.
fn against(op: Against, a: &Value, b: &Value, zone: &Zone) -> Option<bool> {
    match op {
        Against::Text(op, ignore_case) => {
            let (a, b) = (text(a)?, text(b)?);
            Some(if ignore_case { op.folded(&a, fold::chars(&b)) } else { op.plain(&a, &b) })
        }
        Against::Number { op, whole } => op.holds(number(a, whole)?, b),
        Against::Bool { equal } => match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Some((a == b) == equal),
            _ => None,
        },
        Against::Time(op) => {
            let (a, b) = (instant(a, zone)?, instant(b, zone)?);
            Some(match op {
                TimeOp::Before => a < b,
                TimeOp::After => a > b,
                TimeOp::Equals => a == b,
                TimeOp::NotEquals => a != b,
            })
        }
        Against::Array(op) => match (a, b) {
            (Value::Array(a), Value::Array(b)) => {
                let holds = |wanted: &Value| a.iter().any(|item| item.same(wanted));
                Some(match op {
                    SetOp::All => b.iter().all(holds),
                    SetOp::NotAll => !b.iter().all(holds),
                    SetOp::Any => b.iter().any(holds),
                    SetOp::None => !b.iter().any(holds),
                })
            }
            _ => None,
        },
    }
}

/// Text, or an instant in the form in which it is sent back to people.
pub(super) fn text(value: &Value) -> Option<Text<'_>> {
    match value {
        Value::Str(text) => Some(Text::Given(text)),
        Value::Time(t) => Some(Text::Written(format_instant(*t))),
        _ => None,
    }
}

/// Like `Cow<str>`, but an instant's 24 bytes stay off the heap.
pub(super) enum Text<'a> {
    Given(&'a str),
    Written(CompactString),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Given(text) => text,
            Self::Written(text) => text,
        }
    }
}

fn number(value: &Value, only_whole: bool) -> Option<&Value> {
    match value {
        Value::Int(_) => Some(value),
        Value::Float(float) if !only_whole || float.fract() == 0.0 => Some(value),
        _ => None,
    }
}

pub(super) fn instant(value: &Value, zone: &Zone) -> Option<Millis> {
    match value {
        Value::Time(t) => Some(*t),
        Value::Str(text) => parse_instant(text, zone).map(DateTimeLit::start),
        _ => None,
    }
}

/// The four relative operators as intervals of now; for one `ms` exactly one of them holds.
fn relative(op: Relative, v: Millis, ms: i64, now: Millis) -> Truth {
    let (start, end) = match op {
        Relative::WithinLast => (v, v.plus(ms)),
        Relative::BeforeLast => (v.plus(ms), Millis::MAX),
        Relative::WithinNext => (v.minus(ms), v),
        Relative::AfterNext => (Millis::MIN, v.minus(ms)),
    };
    if now < start {
        // An empty interval is never entered.
        Truth { holds: false, until: if start < end { start } else { Millis::MAX } }
    } else if now < end {
        Truth { holds: true, until: end }
    } else {
        Truth::forever(false)
    }
}

impl Order {
    fn holds(self, a: &Value, b: &Value) -> Option<bool> {
        let order = Value::cmp_number(a, b)?;
        Some(match self {
            Self::Equals => order == Ordering::Equal,
            Self::NotEquals => order != Ordering::Equal,
            Self::Less => order == Ordering::Less,
            Self::Greater => order == Ordering::Greater,
            Self::LessOrEqual => order != Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
        })
    }
}

impl TextOp {
    fn plain(self, text: &str, literal: &str) -> bool {
        match self {
            Self::Equals => text == literal,
            Self::NotEquals => text != literal,
            Self::Contains => text.contains(literal),
            Self::DoesNotContain => !text.contains(literal),
            Self::StartsWith => text.starts_with(literal),
            Self::EndsWith => text.ends_with(literal),
        }
    }

    /// As `plain`, character by character after simple folding.
    fn folded(self, text: &str, literal: impl DoubleEndedIterator<Item = char> + Clone) -> bool {
        let chars = fold::chars(text);
        match self {
            Self::Equals => chars.eq(literal),
            Self::NotEquals => !chars.eq(literal),
            Self::Contains => fold::contains(text, literal),
            Self::DoesNotContain => !fold::contains(text, literal),
            Self::StartsWith => fold::starts_with(chars, literal),
            Self::EndsWith => fold::starts_with(chars.rev(), literal.rev()),
        }
    }
}
