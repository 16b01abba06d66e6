//! What would have to be otherwise for a condition to come out otherwise.
//!
//! A condition asks only a few things of an operand, so a handful of values stand for all that it can
//! have: each literal, the values just beside and between literals, and absence. The search changes one
//! operand more at a time, each time to mend a clause that every answer has to mend, so the first answer
//! has the fewest operands.

use super::super::eval::{Run, instant, present, text};
use super::super::{Against, Expr, Facts, Leaf, Node, Relative, Source, Test};
use crate::ids::{AudienceSlot, Millis};
use crate::time::Zone;
use crate::value::{Value, whole};
use std::borrow::Cow;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

/// Sets of wishes that are looked at before the search gives up being exact.
const LOOKED_AT_MAX: usize = 4000;
/// Clauses that are evaluated before it does.
const EVALUATED_MAX: usize = 100_000;
/// Answers told, the smallest first.
const REMEDIES_MAX: usize = 16;
/// Values that stand for all of one operand.
const VALUES_MAX: usize = 100;
/// How far a value is handed on over comparisons.
const ROUNDS: usize = 2;

/// One operand, and what it would have to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Which operand.
    pub source: Source,
    /// Its value; `None` for absent.
    pub value: Option<Value>,
    /// The clause that asks for it, as the definition says it.
    pub clause: String,
    /// Whether that clause has to hold then, or not to hold.
    pub holds: bool,
}

/// Facts with some operands as wished for.
pub struct Wished<'a, F: ?Sized> {
    /// What stands.
    pub facts: &'a F,
    /// What is laid over it.
    pub wishes: &'a [Wish],
}

impl<F: Facts + ?Sized> Facts for Wished<'_, F> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match self.wishes.iter().find(|wish| wish.source == *source) {
            Some(wish) => wish.value.as_ref().map(Cow::Borrowed),
            None => self.facts.get(source),
        }
    }
}

/// Ways to make a condition come out as wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remedies {
    /// Each a set of operands to change together, the smallest sets first; one empty set where nothing has
    /// to change. At most 16.
    pub ways: Vec<Vec<Wish>>,
    /// No smaller set exists among the operands that may change. False where the search was cut short.
    pub exact: bool,
}

/// Which operands may be changed, and to what.
pub trait Freedom {
    /// Whether `source` may be changed at all.
    fn may_change(&mut self, source: &Source) -> bool;
    /// Whether it can become `value`.
    fn can_become(&mut self, _source: &Source, _value: Option<&Value>) -> bool {
        true
    }
    /// Values that it can easily have, besides those that the clauses ask for.
    fn offers(&mut self, _source: &Source) -> Vec<Value> {
        Vec::new()
    }
    /// Some value of the operand's type, for a clause that only asks whether it is there.
    fn sample(&mut self, _source: &Source) -> Value {
        Value::Str("x".into())
    }
}

impl Expr {
    /// The smallest sets of operands that, changed, make the condition come out as `want` at `now`.
    ///
    /// Every set is checked by evaluation. Cost: at most some thousand evaluations, for people.
    pub fn remedies<F: Facts + ?Sized>(&self, facts: &F, now: Millis, want: bool, freedom: &mut dyn Freedom) -> Remedies {
        let mut search = Search { expr: self, facts, now, freedom, values: Vec::new(), evaluated: Cell::new(0), cut: false };
        search.collect();
        search.run(want)
    }

    /// The condition with those about membership replaced by what the audience asks, where `asks` knows it.
    #[must_use]
    pub fn inlined(&self, asks: &dyn Fn(AudienceSlot) -> Option<Self>) -> Self {
        Self { node: self.node.inlined(asks), zone: self.zone.clone() }
    }

    /// The opposite condition.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { node: Node::Not(Box::new(self.node)), zone: self.zone }
    }

    /// The condition in one line, for people; empty where nothing is asked.
    #[must_use]
    pub fn describe(&self) -> String {
        self.node.describe(true)
    }
}

impl Node {
    fn inlined(&self, asks: &dyn Fn(AudienceSlot) -> Option<Expr>) -> Self {
        let all = |parts: &[Self]| parts.iter().map(|part| part.inlined(asks)).collect();
        match self {
            Self::All(parts) => Self::All(all(parts)),
            Self::Any(parts) => Self::Any(all(parts)),
            Self::Not(part) => Self::Not(Box::new(part.inlined(asks))),
            Self::Leaf(leaf) => match (&leaf.source, &leaf.test) {
                (Some(Source::Member(slot)), Test::Bool(wanted)) => match asks(*slot) {
                    Some(asked) if *wanted => asked.node,
                    Some(asked) => Self::Not(Box::new(asked.node)),
                    None => self.clone(),
                },
                _ => self.clone(),
            },
        }
    }

    fn describe(&self, outermost: bool) -> String {
        let joined = |parts: &[Self], word: &str| {
            let text = parts.iter().map(|part| part.describe(false)).collect::<Vec<_>>().join(word);
            if outermost || parts.len() < 2 { text } else { format!("({text})") }
        };
        match self {
            Self::All(parts) => joined(parts, " and "),
            Self::Any(parts) => joined(parts, " or "),
            Self::Not(part) => format!("not {}", part.describe(false)),
            Self::Leaf(leaf) => leaf.clause.to_string(),
        }
    }
}

/// The clauses that may be flipped next, each with the answer wanted of it.
type Open<'e> = Vec<(&'e Leaf, bool)>;

struct Search<'a, F: ?Sized> {
    expr: &'a Expr,
    facts: &'a F,
    now: Millis,
    freedom: &'a mut dyn Freedom,
    /// The values that stand for all of an operand that may change.
    values: Vec<(Source, Vec<Option<Value>>)>,
    evaluated: Cell<usize>,
    /// An operand has more values than are looked at.
    cut: bool,
}

/// A set of operands to change, as places in [`Search::values`] and in the list there.
type Picks = Vec<(usize, usize)>;

impl<F: Facts + ?Sized> Search<'_, F> {
    /// Finds the operands and the values that stand for them.
    fn collect(&mut self) {
        let mut sources: Vec<Source> = Vec::new();
        self.expr.sources(&mut |source| {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        });
        sources.retain(|source| self.freedom.may_change(source));
        self.values = sources.into_iter().map(|source| (source, Vec::new())).collect();
        // What one side of a comparison can become is a value to look at for the other side, and so on.
        let rounds = if self.expr.compares() { ROUNDS } else { 1 };
        for _ in 0..rounds {
            for at in 0..self.values.len() {
                let kept = self.values_of(&self.values[at].0.clone());
                self.values[at].1 = kept;
            }
        }
    }

    fn values_of(&mut self, source: &Source) -> Vec<Option<Value>> {
        let mut values: Vec<Option<Value>> = Vec::new();
        let expr = self.expr;
        expr.node.leaves(&mut |leaf| self.offer(leaf, source, &mut values));
        between(&mut values);
        values.extend(self.freedom.offers(source).into_iter().map(Some));
        expr.node.leaves(&mut |leaf| self.hand_on(leaf, source, &mut values));
        // What people would say comes before what only just fits.
        values.sort_by_key(|value| matches!(value, Some(Value::Float(n)) if n.to_string().len() > 12));
        let mut kept: Vec<Option<Value>> = Vec::new();
        for value in values {
            let same = |other: &Option<Value>| match (other, &value) {
                (Some(a), Some(b)) => a.same(b),
                (None, None) => true,
                _ => false,
            };
            if kept.iter().any(same) || !self.freedom.can_become(source, value.as_ref()) {
                continue;
            }
            if kept.len() == VALUES_MAX {
                self.cut = true;
                break;
            }
            kept.push(value);
        }
        if self.freedom.can_become(source, None) {
            kept.push(None);
        }
        kept
    }

    /// Offers what suits the values that the other side of a comparison can become.
    fn hand_on(&self, leaf: &Leaf, source: &Source, values: &mut Vec<Option<Value>>) {
        let Test::Against(op, other) = &leaf.test else { return };
        let theirs = if leaf.source.as_ref() == Some(source) { other.as_ref() } else { leaf.source.as_ref() };
        if leaf.source.as_ref() != Some(source) && other.as_ref() != Some(source) {
            return;
        }
        let known = self.values.iter().find(|(source, _)| Some(source) == theirs).map_or(&[][..], |(_, values)| values);
        for theirs in known.iter().flatten() {
            let mine = present(Some(source), self.facts).map(Cow::into_owned);
            let mut put = |value: Value| values.push(Some(value));
            against_values(*op, Some(theirs.clone()), mine, &self.expr.zone, &mut put);
        }
    }

    fn offer(&mut self, leaf: &Leaf, source: &Source, values: &mut Vec<Option<Value>>) {
        let mine = leaf.source.as_ref() == Some(source);
        let now = self.now;
        let current = || present(Some(source), self.facts).map(Cow::into_owned);
        let mut put = |value: Value| values.push(Some(value));
        match &leaf.test {
            Test::Against(op, other) => {
                let theirs = if mine { other.as_ref() } else { leaf.source.as_ref() };
                if !mine && other.as_ref() != Some(source) {
                    return;
                }
                let theirs = present(theirs, self.facts).map(Cow::into_owned);
                against_values(*op, theirs, current(), &self.expr.zone, &mut put);
            }
            _ if !mine => {}
            Test::Exists | Test::NotExists => put(self.freedom.sample(source)),
            Test::Text(_, literal, _) => {
                for text in [literal.to_string(), format!("{literal}x"), format!("x{literal}"), "x".into(), String::new()] {
                    put(Value::Str(text.into()));
                }
            }
            Test::Number { literal, whole, .. } => beside(literal, *whole, &mut put),
            Test::Bool(_) => [true, false].into_iter().for_each(|flag| put(Value::Bool(flag))),
            Test::Time { start, end, .. } => {
                [*start, end.minus(1), *end, start.minus(1)].into_iter().for_each(|t| put(Value::Time(t)));
            }
            Test::Relative { op, ms } => {
                // In the middle of the interval first, so that the answer stands for a while.
                let first = match op {
                    Relative::WithinLast => now,
                    Relative::BeforeLast => now.minus(ms.saturating_mul(2)),
                    Relative::WithinNext => now.plus(*ms),
                    Relative::AfterNext => now.plus(ms.saturating_mul(2)).plus(1),
                };
                for t in [first, now, now.minus(*ms), now.plus(*ms), now.plus(*ms).plus(1), now.minus(*ms).minus(1)] {
                    put(Value::Time(t));
                }
            }
            Test::Element { literal, .. } => {
                let items = match current() {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                };
                let mut with = items.clone();
                with.push(literal.clone());
                put(Value::Array(with));
                put(Value::Array(items.into_iter().filter(|item| !item.same(literal)).collect()));
                put(Value::Array(Vec::new()));
            }
        }
    }

    fn run(&mut self, want: bool) -> Remedies {
        let mut found = Remedies { exact: true, ..Remedies::default() };
        // The smallest set first; of equals the one that was thought of first.
        let mut queue = BinaryHeap::from([Reverse((0, 0, Vec::new()))]);
        let mut seen: BTreeSet<Picks> = BTreeSet::new();
        let mut looked_at = 0;
        while let Some(Reverse((_, _, picks))) = queue.pop() {
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX || self.evaluated.get() > EVALUATED_MAX {
                found.exact = false;
                break;
            }
            if found.ways.len() >= REMEDIES_MAX {
                break;
            }
            let wishes = self.wishes(&picks);
            let facts = Wished { facts: self.facts, wishes: &wishes };
            let run = Run { facts: &facts, now: self.now, zone: &self.expr.zone };
            if self.expr.node.eval(&run).holds == want {
                found.ways.push(wishes);
                continue;
            }
            let mut open = Open::new();
            self.expr.node.open(&run, want, &mut open);
            for next in self.steps(&picks, &open, &run) {
                if seen.insert(next.clone()) {
                    queue.push(Reverse((next.len(), seen.len(), next)));
                }
            }
        }
        found.exact &= self.evaluated.get() <= EVALUATED_MAX && !self.cut;
        self.name_clauses(&mut found.ways);
        found
    }

    /// The sets with one clause mended.
    fn steps<G: Facts + ?Sized>(&self, picks: &Picks, open: &Open<'_>, run: &Run<'_, G>) -> Vec<Picks> {
        let mut steps = Vec::new();
        let place = |source: Option<&Source>| {
            let at = self.values.iter().position(|(known, _)| Some(known) == source)?;
            picks.iter().all(|(taken, _)| *taken != at).then_some(at)
        };
        for (leaf, want) in open {
            let mends = |more: &[(usize, usize)]| {
                self.evaluated.set(self.evaluated.get() + 1);
                if self.evaluated.get() > EVALUATED_MAX {
                    return false;
                }
                let wishes = self.wishes(more);
                let facts = Wished { facts: run.facts, wishes: &wishes };
                leaf.eval(&Run { facts: &facts, now: run.now, zone: run.zone }).holds == *want
            };
            let mut push = |more: &[(usize, usize)]| {
                let mut next: Picks = picks.iter().chain(more).copied().collect();
                next.sort_unstable();
                steps.push(next);
            };
            let other = if let Test::Against(_, other) = &leaf.test { other.as_ref() } else { None };
            let (left, right) = (place(leaf.source.as_ref()), place(other));
            let mut alone = 0;
            for at in [left, right].into_iter().flatten() {
                for value in 0..self.values[at].1.len() {
                    if mends(&[(at, value)]) {
                        push(&[(at, value)]);
                        alone += 1;
                    }
                }
            }
            // Two operands that are both absent have to come into being together; and where another clause
            // reads one of them, what suits this one alone may not suit both.
            if let (Some(left), Some(right)) = (left, right)
                && left != right
                && (alone == 0 || self.readers(left) > 1 || self.readers(right) > 1)
            {
                for a in 0..self.values[left].1.len() {
                    for b in 0..self.values[right].1.len() {
                        if mends(&[(left, a), (right, b)]) {
                            push(&[(left, a), (right, b)]);
                        }
                    }
                }
            }
        }
        steps
    }

    /// How many clauses read an operand.
    fn readers(&self, at: usize) -> usize {
        let mut readers = 0;
        let source = Some(&self.values[at].0);
        self.expr.node.leaves(&mut |leaf| {
            let other = if let Test::Against(_, other) = &leaf.test { other.as_ref() } else { None };
            readers += usize::from(leaf.source.as_ref() == source || other == source);
        });
        readers
    }

    fn wishes(&self, picks: &[(usize, usize)]) -> Vec<Wish> {
        let wish = |(at, value): &(usize, usize)| {
            let (source, values) = &self.values[*at];
            Wish { source: source.clone(), value: values[*value].clone(), clause: String::new(), holds: true }
        };
        picks.iter().map(wish).collect()
    }

    /// Says for each wish which clause asks for it: the first that comes out otherwise by it.
    fn name_clauses(&self, ways: &mut [Vec<Wish>]) {
        let before = Run { facts: self.facts, now: self.now, zone: &self.expr.zone };
        for way in ways {
            let all = way.clone();
            let facts = Wished { facts: self.facts, wishes: &all };
            let after = Run { facts: &facts, now: self.now, zone: &self.expr.zone };
            for wish in way {
                self.expr.node.leaves(&mut |leaf| {
                    let mut reads = leaf.source.as_ref() == Some(&wish.source);
                    if let Test::Against(_, other) = &leaf.test {
                        reads |= other.as_ref() == Some(&wish.source);
                    }
                    let holds = leaf.eval(&after).holds;
                    if reads && wish.clause.is_empty() && holds != leaf.eval(&before).holds {
                        wish.clause = leaf.clause.to_string();
                        wish.holds = holds;
                    }
                });
            }
        }
    }
}

impl Node {
    /// The clauses of which at least one has to be flipped for this to come out as `want`, if it does not.
    fn open<'e, F: Facts + ?Sized>(&'e self, run: &Run<'_, F>, want: bool, open: &mut Open<'e>) {
        if self.eval(run).holds == want {
            return;
        }
        match self {
            Self::Leaf(leaf) => open.push((leaf, want)),
            Self::Not(part) => part.open(run, !want, open),
            Self::All(parts) | Self::Any(parts) => {
                let all = matches!(self, Self::All(_));
                if all == want {
                    // Every part has to come out so: the first that does not is as good a start as any.
                    if let Some(part) = parts.iter().find(|part| part.eval(run).holds != want) {
                        part.open(run, want, open);
                    }
                } else {
                    parts.iter().for_each(|part| part.open(run, want, open));
                }
            }
        }
    }
}

/// A number and its neighbours.
fn beside(number: &Value, only_whole: bool, put: &mut dyn FnMut(Value)) {
    put(number.clone());
    let int = match number {
        Value::Int(n) => Some(*n),
        Value::Float(n) => whole(*n),
        _ => return,
    };
    if let Some(n) = int {
        [n.saturating_add(1), n.saturating_sub(1)].into_iter().for_each(|n| put(Value::Int(n)));
    } else if let Value::Float(n) = number {
        [n.ceil(), n.floor()].into_iter().for_each(|n| put(Value::Float(n)));
        if !only_whole {
            [n + 1.0, n - 1.0, n.next_up(), n.next_down()].into_iter().for_each(|n| put(Value::Float(n)));
        }
    }
}

/// Adds what lies between two numbers, or two instants, that were offered.
fn between(values: &mut Vec<Option<Value>>) {
    let mut numbers: Vec<f64> = values.iter().flatten().filter_map(Value::as_f64).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let middles = numbers.windows(2).map(|pair| Some(Value::Float(pair[0].midpoint(pair[1])))).collect::<Vec<_>>();
    let mut instants: Vec<i64> =
        values.iter().flatten().filter_map(|v| if let Value::Time(t) = v { Some(t.0) } else { None }).collect();
    instants.sort_unstable();
    let moments = instants.windows(2).map(|pair| Some(Value::Time(Millis(pair[0].midpoint(pair[1]))))).collect::<Vec<_>>();
    values.extend(middles.into_iter().chain(moments));
}

/// Values of one side of a comparison, given the other.
fn against_values(op: Against, theirs: Option<Value>, mine: Option<Value>, zone: &Zone, put: &mut dyn FnMut(Value)) {
    match op {
        Against::Text(..) => {
            let text = theirs.as_ref().and_then(text).map_or_else(|| "x".to_owned(), |text| text.to_owned());
            for text in [text.clone(), format!("{text}x"), text.chars().skip(1).collect(), "x".into(), "y".into(), String::new()]
            {
                put(Value::Str(text.into()));
            }
        }
        Against::Number { whole, .. } => beside(&theirs.filter(Value::is_number).unwrap_or(Value::Int(0)), whole, put),
        Against::Bool { .. } => [true, false].into_iter().for_each(|flag| put(Value::Bool(flag))),
        Against::Time(_) => {
            let t = theirs.and_then(|theirs| instant(&theirs, zone)).unwrap_or(Millis(0));
            [t, t.plus(1), t.minus(1)].into_iter().for_each(|t| put(Value::Time(t)));
        }
        Against::Array(_) => {
            let theirs = if let Some(Value::Array(items)) = theirs { items } else { Vec::new() };
            let mut union = if let Some(Value::Array(items)) = mine { items } else { Vec::new() };
            union.extend(theirs.iter().cloned());
            put(Value::Array(theirs));
            put(Value::Array(union));
            put(Value::Array(Vec::new()));
            put(Value::Array(vec!["x".into()]));
            put(Value::Array(vec!["y".into()]));
        }
    }
}

#[cfg(test)]
mod tests;
