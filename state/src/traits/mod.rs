//! Computed traits: one accumulator a file, fed event by event and never recomputed from all of history
//! on the event path.
//!
//! Without a window and without relative dates a state is a plain accumulator that does not care about
//! the order of events. Otherwise contributions come and go at known instants, and [`window::Timed`]
//! keeps those that will.

pub mod count;
pub mod definition;
pub mod extreme;
pub mod first_last;
pub mod frequent;
pub mod sum;
pub mod tally;
pub mod unique;
pub mod window;

pub use definition::{Input, TraitDef, TraitKind};

use crate::event::Occurrence;
use crate::expr::{Facts, Source, descend};
use crate::ids::{Millis, Moment};
use crate::schema::DataType;
use crate::value::{Value, ValueKey};
use count::Count;
use extreme::Extreme;
use first_last::Edge;
use frequent::Frequent;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;
use sum::Sum;
use unique::{Order, Unique};
use window::Timed;

/// A larger value does not contribute: it bounds what a profile holds of first, last, frequent and
/// distinct values. In bytes.
pub const VALUE_BYTES_MAX: usize = 4096;

/// What a profile holds of one trait.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TraitState {
    /// `count_events`.
    Count(Count),
    /// `sum` and `avg`: the exact sum and how many went into it.
    Total(Sum, Count),
    /// `min` and `max`.
    Extreme(Extreme),
    /// `first_event` and `last_event`.
    Edge(Edge),
    /// `most_frequent`.
    Frequent(Box<Frequent>),
    /// `unique_list` and `unique_list_count`.
    Unique(Box<Unique>),
    /// Any of them, with a window or a relative date.
    Timed(Box<Timed>),
}

impl Default for TraitState {
    fn default() -> Self {
        Self::Count(Count::default())
    }
}

/// What one event did to a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// The value may differ from before.
    pub changed: bool,
    /// Only the whole log can answer: fold it into a fresh state (see [`TraitDef::fold_state`]).
    pub needs_history: bool,
}

/// What the passing of time did to a state.
pub type Advanced = Fed;

impl Fed {
    fn or(self, other: Self) -> Self {
        Self { changed: self.changed || other.changed, needs_history: self.needs_history || other.needs_history }
    }
}

/// The facts as of an event: its own properties and context, and whatever the profile had just before.
pub(crate) struct AsOf<'a, F: ?Sized> {
    pub(crate) occurrence: &'a Occurrence,
    pub(crate) profile: &'a F,
}

impl<F: Facts + ?Sized> Facts for AsOf<'_, F> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        let (props, path) = match source {
            Source::Event(path) => (&self.occurrence.props, path),
            Source::Context(path) => (&self.occurrence.context, path),
            _ => return self.profile.get(source),
        };
        descend(props.get(path.path)?, &path.rest).map(Cow::Borrowed)
    }
}

impl TraitDef {
    /// The state of a profile that no event has touched.
    #[must_use]
    pub fn new_state(&self) -> TraitState {
        let plain = self.plain_state();
        if self.timed() { TraitState::Timed(Box::new(Timed::new(plain, window::ITEMS_MAX))) } else { plain }
    }

    /// A fresh state to fold a whole log into, in `(t, seq)` order, advancing between entries as they come.
    /// It is not bounded while the fold runs; [`TraitDef::settle`] makes it fit for a profile.
    #[must_use]
    pub fn fold_state(&self) -> TraitState {
        let plain = self.plain_state();
        if self.timed() { TraitState::Timed(Box::new(Timed::new(plain, usize::MAX))) } else { plain }
    }

    /// Bounds a state that a fold has filled. Does nothing to any other.
    pub fn settle(&self, state: &mut TraitState) {
        if let TraitState::Timed(timed) = state {
            timed.settle(self);
        }
    }

    /// Takes in one event, which may be late; `now` is its arrival, or its own time in a fold. `facts`
    /// answers for traits as they were just before the event.
    ///
    /// Cost: constant for counts, sums, extremes, first and last; a search among distinct values otherwise.
    pub fn feed<F: Facts + ?Sized>(
        &self,
        state: &mut TraitState,
        moment: Moment,
        occurrence: &Occurrence,
        facts: &F,
        now: Millis,
    ) -> Fed {
        let ignored = Fed::default();
        if occurrence.event != self.event || !self.takes(occurrence.channel) {
            return ignored;
        }
        let Some(value) = self.contribution(occurrence) else { return ignored };
        let value = &*value;
        let facts = AsOf { occurrence, profile: facts };
        let now = now.max(moment.t);
        if let TraitState::Timed(timed) = state {
            return timed.feed(self, moment, value, &facts, now);
        }
        if !self.condition.is_always() && !self.condition.eval(&facts, now).holds {
            return ignored;
        }
        let mut changed = false;
        self.each(value, |value| changed |= state.add(self, moment, value));
        Fed { changed, needs_history: false }
    }

    /// Lets what is due at or before `now` come and go. Afterwards the deadline lies after `now`.
    pub fn advance(&self, state: &mut TraitState, now: Millis) -> Advanced {
        match state {
            TraitState::Timed(timed) => timed.advance(self, now),
            _ => Advanced::default(),
        }
    }

    /// The next instant at which the value may change by itself; [`Millis::MAX`] for never.
    #[must_use]
    pub fn deadline(&self, state: &TraitState) -> Millis {
        match state {
            TraitState::Timed(timed) => timed.deadline(),
            _ => Millis::MAX,
        }
    }

    /// The value as users see it, rounded, with the virtual default; `None` when absent.
    #[must_use]
    pub fn value(&self, state: &TraitState) -> Option<Value> {
        match state {
            TraitState::Timed(timed) => timed.value(self),
            plain => plain.value(self),
        }
    }

    /// The value of a profile that no event has touched.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        match self.kind {
            TraitKind::Count | TraitKind::Sum | TraitKind::UniqueCount => Some(Value::Int(0)),
            TraitKind::UniqueList { .. } => Some(Value::Array(Vec::new())),
            _ => None,
        }
    }

    /// Whether the value is an estimate, because a bound was reached.
    #[must_use]
    pub fn approx(&self, state: &TraitState) -> bool {
        match state {
            TraitState::Frequent(frequent) => frequent.approx(),
            TraitState::Unique(unique) => unique.approx(),
            TraitState::Timed(timed) => timed.approx(self),
            _ => false,
        }
    }

    /// Whether the value is absent because it is beyond the range of a double.
    #[must_use]
    pub fn overflow(&self, state: &TraitState) -> bool {
        let total = match state {
            TraitState::Timed(timed) => timed.total(),
            plain => plain,
        };
        matches!(total, TraitState::Total(_, count) if count.get() > 0) && self.value(state).is_none()
    }

    /// Adds the state of a merged profile. Returns false when only the union of both logs can answer: with
    /// a window, a relative date, or a comparison with a trait as of the event.
    #[must_use]
    pub fn merge(&self, into: &mut TraitState, from: &TraitState) -> bool {
        !self.reads_profile() && into.merge(self, from)
    }

    /// What went into a sum or mean: its exact total, rounded, and how many. `None` for other kinds.
    #[must_use]
    pub fn parts(&self, state: &TraitState) -> Option<(f64, u64)> {
        let total = match state {
            TraitState::Timed(timed) => timed.total(),
            plain => plain,
        };
        match total {
            TraitState::Total(sum, count) => Some((sum.total()?.as_f64()?, count.get())),
            _ => None,
        }
    }

    /// What an event brings, if it has what the trait asks for.
    pub(crate) fn contribution<'a>(&self, occurrence: &'a Occurrence) -> Option<Cow<'a, Value>> {
        match &self.input {
            Input::Event | Input::Timestamp => Some(Cow::Borrowed(&Value::Null)),
            Input::Property { path, data_type } => {
                let path = path.as_ref()?;
                let value = descend(occurrence.props.get(path.path)?, &path.rest)?;
                if let (Value::Str(_), Some(DataType::DateTime)) = (value, data_type) {
                    // An open object holds dates as text; what a condition reads as one is one here.
                    return self.condition.instant(value).map(|t| Cow::Owned(Value::Time(t)));
                }
                self.fits(value, *data_type).then_some(Cow::Borrowed(value))
            }
        }
    }

    fn fits(&self, value: &Value, data_type: Option<DataType>) -> bool {
        let typed = match (value, data_type) {
            (Value::Null, _) => false,
            (Value::Float(float), Some(DataType::Integer)) => float.fract() == 0.0,
            (Value::Int(_), Some(DataType::Integer))
            | (Value::Int(_) | Value::Float(_), Some(DataType::Float))
            | (Value::Str(_), Some(DataType::String))
            | (Value::Bool(_), Some(DataType::Boolean))
            | (Value::Time(_), Some(DataType::DateTime))
            | (Value::Array(_), Some(DataType::Array))
            | (Value::Object(_), Some(DataType::Object)) => true,
            (_, Some(_)) => false,
            (value, None) => !self.kind.wants_number() || value.is_number(),
        };
        typed
            && match value {
                Value::Str(_) | Value::Array(_) | Value::Object(_) => value.content_bytes() <= VALUE_BYTES_MAX,
                _ => true,
            }
    }

    fn edge_value(&self, moment: Moment, value: &Value) -> Value {
        if self.input == Input::Timestamp { Value::Time(moment.t) } else { value.clone() }
    }

    /// Calls `f` with what counts on its own: the distinct elements of an array where values are told
    /// apart, the value itself otherwise.
    fn each(&self, value: &Value, mut f: impl FnMut(&Value)) {
        match value {
            Value::Array(items) if self.kind.tells_apart() => {
                let mut seen: SmallVec<[ValueKey; 8]> = SmallVec::new();
                for item in items.iter().filter(|item| !matches!(item, Value::Null)) {
                    let key = ValueKey::new(item);
                    if !seen.contains(&key) {
                        f(key.value());
                        seen.push(key);
                    }
                }
            }
            value => f(value),
        }
    }

    /// Values in a window are listed by last occurrence, others by first.
    fn order(&self) -> Order {
        if self.window_ms.is_some() { Order::Last } else { Order::First }
    }
}

impl TraitState {
    /// The last instant at which a contributor came or went by itself; [`Millis::MIN`] for never. What the
    /// value was as of an earlier instant only the log can tell.
    #[must_use]
    pub fn turned(&self) -> Millis {
        match self {
            Self::Timed(timed) => timed.turned(),
            _ => Millis::MIN,
        }
    }
}

impl TraitKind {
    fn tells_apart(self) -> bool {
        matches!(self, Self::MostFrequent { .. } | Self::UniqueList { .. } | Self::UniqueCount)
    }

    /// The direction of a kind that keeps one best contributor.
    fn want(self) -> Ordering {
        match self {
            Self::Min | Self::First => Ordering::Less,
            _ => Ordering::Greater,
        }
    }
}

impl TraitState {
    /// Takes in a contributor for good. Returns whether the value may differ.
    fn add(&mut self, def: &TraitDef, moment: Moment, value: &Value) -> bool {
        match self {
            Self::Count(count) => {
                count.add();
                true
            }
            Self::Total(sum, count) => {
                sum.add(value);
                count.add();
                true
            }
            Self::Extreme(extreme) => extreme.offer(value, def.kind.want()),
            Self::Edge(edge) => edge.offer(moment, value, def.kind.want()),
            Self::Frequent(frequent) => frequent.add(value, moment),
            Self::Unique(unique) => unique.add(value, moment, def.kind == TraitKind::UniqueCount),
            Self::Timed(_) => false,
        }
    }

    fn value(&self, def: &TraitDef) -> Option<Value> {
        match (self, def.kind) {
            (Self::Count(count), _) => Some(count.value()),
            (Self::Total(sum, count), TraitKind::Avg) => (count.get() > 0).then(|| sum.mean(count.get()))?,
            (Self::Total(sum, _), _) => sum.total(),
            (Self::Extreme(extreme), _) => extreme.value(),
            (Self::Edge(edge), _) => edge.get().map(|(moment, value)| def.edge_value(moment, value)),
            (Self::Frequent(frequent), TraitKind::MostFrequent { min_frequency }) => frequent.value(min_frequency),
            (Self::Unique(unique), TraitKind::UniqueList { max_values }) => Some(unique.list(max_values, def.order())),
            (Self::Unique(unique), _) => Some(unique.count()),
            (Self::Frequent(_) | Self::Timed(_), _) => None,
        }
    }

    fn merge(&mut self, def: &TraitDef, from: &Self) -> bool {
        match (self, from) {
            (Self::Count(into), Self::Count(from)) => into.merge(*from),
            (Self::Total(into, count), Self::Total(from, more)) => {
                into.merge(from);
                count.merge(*more);
            }
            (Self::Extreme(into), Self::Extreme(from)) => into.merge(from, def.kind.want()),
            (Self::Edge(into), Self::Edge(from)) => into.merge(from, def.kind.want()),
            (Self::Frequent(into), Self::Frequent(from)) => into.merge(from),
            (Self::Unique(into), Self::Unique(from)) => into.merge(from, def.kind == TraitKind::UniqueCount),
            _ => return false,
        }
        true
    }
}
