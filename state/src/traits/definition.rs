//! The definition of a computed trait, from its JSON to what the accumulators work with.

use super::{TraitState, tally};
use crate::expr::{self, Expr, PathRef, Place, Resolve, Source};
use crate::ids::{ActionSlot, ChannelSlot, EventSlot};
use crate::issue::{DEFINITION_INVALID, Issue};
use crate::schema::DataType;
use crate::time::Zone;
use serde_json::Value as Json;

/// Values that a list shows unless it says otherwise.
const MAX_VALUES: usize = 1000;
/// The longest window, in days: a hundred years.
const WINDOW_DAYS_MAX: i64 = 36_525;

/// Stands for an event that does not exist, so that what reads it is still checked.
pub(crate) const NO_EVENT: EventSlot = EventSlot(u32::MAX);

/// A compiled computed trait.
#[derive(Clone, Debug)]
pub struct TraitDef {
    /// The event that contributes.
    pub event: EventSlot,
    /// What its properties must satisfy.
    pub condition: Expr,
    /// The channels that count; empty for all.
    pub channels: Box<[ChannelSlot]>,
    /// What is computed.
    pub kind: TraitKind,
    /// From what.
    pub input: Input,
    /// Only events of the last so many milliseconds count.
    pub window_ms: Option<i64>,
    timed: bool,
    reads_profile: bool,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraitKind {
    /// How many events.
    Count,
    /// The sum of a number.
    Sum,
    /// Its mean.
    Avg,
    /// Its smallest value.
    Min,
    /// Its greatest value.
    Max,
    /// The value that occurred most often.
    MostFrequent {
        /// Absent below this count.
        min_frequency: u64,
    },
    /// The value, or time, of the first event.
    First,
    /// The value, or time, of the last event.
    Last,
    /// The distinct values.
    UniqueList {
        /// The list is cut to this length.
        max_values: usize,
    },
    /// How many distinct values.
    UniqueCount,
}

/// What of an event goes into the trait.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// That it happened.
    Event,
    /// When it happened.
    Timestamp,
    /// One of its properties.
    Property {
        /// Where; `None` for a property that does not exist (any more), which is always absent.
        path: Option<PathRef>,
        /// A value of another type is absent too.
        data_type: Option<DataType>,
    },
}

impl TraitKind {
    pub(super) fn wants_number(self) -> bool {
        matches!(self, Self::Sum | Self::Avg | Self::Min | Self::Max)
    }
}

impl TraitDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    ///
    /// # Errors
    /// `None`, with every problem pushed to `issues`: `definition_invalid`, `event_not_found`,
    /// `channel_not_found`, and `invalid_condition` for the conditions.
    pub fn compile(json: &Json, resolve: &dyn Resolve, zone: &Zone, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        let mut reader = Reader { issues };
        let properties = reader.object(json, "properties", pointer);
        let inner = format!("{pointer}/properties");
        let event = reader.event(json, "eventId", resolve, pointer);
        let kind = reader.kind(json, properties, pointer);
        let channels = reader.channels(properties, resolve, &inner);
        let window_ms = reader.duration(properties, "window", &inner);
        let input = kind.and_then(|kind| reader.input(kind, properties, event, resolve, &inner));
        let list = reader.list(json, "conditions", pointer);
        let place = Place::ComputedTrait { event: event.unwrap_or(NO_EVENT) };
        let condition = expr::compile(list, place, resolve, zone, &format!("{pointer}/conditions"), reader.issues);
        if issues.len() > before {
            return None;
        }
        Some(Self::new(event?, condition?, channels, kind?, input?, window_ms))
    }

    /// A definition from its parts.
    #[must_use]
    pub fn new(
        event: EventSlot,
        condition: Expr,
        channels: Box<[ChannelSlot]>,
        kind: TraitKind,
        input: Input,
        window_ms: Option<i64>,
    ) -> Self {
        let timed = window_ms.is_some() || condition.relative();
        let reads_profile = reads_profile(&condition);
        Self { event, condition, channels, kind, input, window_ms, timed, reads_profile }
    }

    /// The type of the value, for conditions and placeholders.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match (self.kind, &self.input) {
            (TraitKind::Count | TraitKind::UniqueCount, _) => DataType::Integer,
            (TraitKind::UniqueList { .. }, _) => DataType::Array,
            (_, Input::Timestamp) => DataType::DateTime,
            (kind, _) if kind.wants_number() => DataType::Float,
            (_, Input::Property { data_type: Some(data_type), .. }) => *data_type,
            _ => DataType::String,
        }
    }

    /// Whether a late event costs nothing special: true for every state without a window, a relative date
    /// or a comparison with a trait.
    #[must_use]
    pub fn commutative(&self) -> bool {
        !self.timed && !self.reads_profile
    }

    /// Whether conditions read traits of the profile as of the event. Such a trait depends on everything
    /// that was before an event, so a late event of any kind may change it.
    #[must_use]
    pub fn reads_profile(&self) -> bool {
        self.reads_profile
    }

    /// Whether time alone can change the value.
    #[must_use]
    pub fn timed(&self) -> bool {
        self.timed
    }

    /// Whether events of `channel` count.
    #[must_use]
    pub fn takes(&self, channel: ChannelSlot) -> bool {
        self.channels.is_empty() || self.channels.contains(&channel)
    }

    pub(super) fn plain_state(&self) -> TraitState {
        match self.kind {
            TraitKind::Count => TraitState::Count(Default::default()),
            TraitKind::Sum | TraitKind::Avg => TraitState::Total(Default::default(), Default::default()),
            TraitKind::Min | TraitKind::Max => TraitState::Extreme(Default::default()),
            TraitKind::First | TraitKind::Last => TraitState::Edge(Default::default()),
            TraitKind::MostFrequent { .. } => TraitState::Frequent(Default::default()),
            TraitKind::UniqueList { .. } | TraitKind::UniqueCount => TraitState::Unique(Default::default()),
        }
    }
}

/// Whether a condition reads custom or computed traits.
pub(crate) fn reads_profile(condition: &Expr) -> bool {
    let mut found = false;
    condition.sources(&mut |source| found |= matches!(source, Source::Custom(_) | Source::Computed(_)));
    found
}

/// Reads the fields that traits and audiences share.
pub(crate) struct Reader<'a> {
    pub(crate) issues: &'a mut Vec<Issue>,
}

impl Reader<'_> {
    pub(crate) fn refuse(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.issues.push(Issue::new(pointer, DEFINITION_INVALID, message));
    }

    pub(crate) fn event(&mut self, json: &Json, key: &str, resolve: &dyn Resolve, pointer: &str) -> Option<EventSlot> {
        let Some(name) = json.get(key).and_then(Json::as_str) else {
            self.refuse(format!("{pointer}/{key}"), format!("{key} is missing or no text"));
            return None;
        };
        let event = resolve.event(name);
        if event.is_none() {
            self.issues.push(Issue::new(format!("{pointer}/{key}"), "event_not_found", format!("no event {name:?}")));
        }
        event
    }

    pub(crate) fn channels(&mut self, json: &Json, resolve: &dyn Resolve, pointer: &str) -> Box<[ChannelSlot]> {
        let mut slots = Vec::new();
        for (i, channel) in self.list(json, "channels", pointer).iter().enumerate() {
            let pointer = format!("{pointer}/channels/{i}");
            match channel.as_str().map(|name| resolve.channel(name)) {
                Some(Some(slot)) => slots.push(slot),
                Some(None) => self.issues.push(Issue::new(pointer, "channel_not_found", format!("no channel {channel}"))),
                None => self.refuse(pointer, format!("a channel is named by id or key, not {channel}")),
            }
        }
        slots.into()
    }

    /// An optional list of actions, by id or name, each with its place in it.
    pub(crate) fn actions(&mut self, json: &Json, resolve: &dyn Resolve, pointer: &str) -> Vec<(usize, ActionSlot)> {
        let mut slots = Vec::new();
        for (i, action) in self.list(json, "actions", pointer).iter().enumerate() {
            let pointer = format!("{pointer}/actions/{i}");
            match action.as_str().map(|name| resolve.action(name)) {
                Some(Some(slot)) => slots.push((i, slot)),
                Some(None) => self.issues.push(Issue::new(pointer, "action_not_found", format!("no action {action}"))),
                None => self.refuse(pointer, format!("an action is named by id or name, not {action}")),
            }
        }
        slots
    }

    /// An optional object; null where there is none.
    pub(crate) fn object<'j>(&mut self, json: &'j Json, key: &str, pointer: &str) -> &'j Json {
        match json.get(key) {
            None => &Json::Null,
            Some(found @ (Json::Null | Json::Object(_))) => found,
            Some(other) => {
                self.refuse(format!("{pointer}/{key}"), format!("{key} is an object, not {other}"));
                &Json::Null
            }
        }
    }

    /// An optional text; empty is absent.
    pub(crate) fn text<'j>(&mut self, json: &'j Json, key: &str, pointer: &str) -> Option<&'j str> {
        match json.get(key) {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(text.as_str()).filter(|text| !text.is_empty()),
            Some(other) => {
                self.refuse(format!("{pointer}/{key}"), format!("{key} is text, not {other}"));
                None
            }
        }
    }

    /// An optional `true` or `false`.
    pub(crate) fn flag(&mut self, json: &Json, key: &str, pointer: &str, default: bool) -> bool {
        match json.get(key) {
            None | Some(Json::Null) => default,
            Some(Json::Bool(flag)) => *flag,
            Some(other) => {
                self.refuse(format!("{pointer}/{key}"), format!("{key} is true or false, not {other}"));
                default
            }
        }
    }

    /// An optional list.
    pub(crate) fn list<'j>(&mut self, json: &'j Json, key: &str, pointer: &str) -> &'j [Json] {
        match json.get(key) {
            None | Some(Json::Null) => &[],
            Some(Json::Array(list)) => list,
            Some(_) => {
                self.refuse(format!("{pointer}/{key}"), format!("{key} is a list"));
                &[]
            }
        }
    }

    /// An optional whole number, also as text.
    pub(crate) fn whole(&mut self, json: &Json, key: &str, pointer: &str, max: u64) -> Option<u64> {
        let value = match json.get(key) {
            None | Some(Json::Null) => return None,
            Some(Json::String(text)) if text.is_empty() => return None,
            Some(Json::String(text)) => text.parse().ok(),
            Some(json) => json.as_u64().or_else(|| json.as_f64().filter(|f| f.fract() == 0.0).and_then(in_range)),
        };
        let value = value.filter(|value| *value <= max);
        if value.is_none() {
            self.refuse(format!("{pointer}/{key}"), format!("{key} is a whole number from 0 to {max}"));
        }
        value
    }

    /// An optional `{amount, unit}`, in milliseconds; more than nothing.
    pub(crate) fn duration(&mut self, json: &Json, key: &str, pointer: &str) -> Option<i64> {
        let json = Some(self.object(json, key, pointer)).filter(|json| !json.is_null())?;
        let pointer = format!("{pointer}/{key}");
        let unit = match json.get("unit").map(|unit| unit.as_str().unwrap_or_default()) {
            None => unit_ms("days"),
            Some(name) => unit_ms(name),
        };
        if unit.is_none() {
            self.refuse(format!("{pointer}/unit"), "unit is one of seconds, minutes, hours, days, weeks");
        }
        // Without a unit the amount is held against the greatest of any.
        let max = WINDOW_DAYS_MAX * crate::time::DAY_MS / unit.unwrap_or(1000);
        let amount = self.whole(json, "amount", &pointer, max.unsigned_abs()).and_then(|n| i64::try_from(n).ok());
        if amount.is_none_or(|amount| amount == 0) {
            self.refuse(format!("{pointer}/amount"), format!("amount is a whole number from 1 to {max}"));
            return None;
        }
        Some(amount? * unit?)
    }

    fn kind(&mut self, json: &Json, properties: &Json, pointer: &str) -> Option<TraitKind> {
        let inner = format!("{pointer}/properties");
        let name = json.get("type").and_then(Json::as_str).unwrap_or_default();
        Some(match name {
            "count_events" => TraitKind::Count,
            "aggregation" => match properties.get("aggregationType").and_then(Json::as_str).unwrap_or_default() {
                "sum" => TraitKind::Sum,
                "avg" => TraitKind::Avg,
                "min" => TraitKind::Min,
                "max" => TraitKind::Max,
                other => {
                    let message = format!("aggregationType {other:?} is none of sum, avg, min, max");
                    self.refuse(format!("{inner}/aggregationType"), message);
                    // Any of them, so that the property is looked at as well.
                    TraitKind::Sum
                }
            },
            "most_frequent" => {
                let min_frequency = self.whole(properties, "minFrequency", &inner, u64::from(u32::MAX));
                TraitKind::MostFrequent { min_frequency: min_frequency.unwrap_or(1).max(1) }
            }
            "first_event" => TraitKind::First,
            "last_event" => TraitKind::Last,
            "unique_list" => {
                let max_values = self.whole(properties, "maxValues", &inner, tally::DISTINCT_MAX as u64);
                if max_values == Some(0) {
                    self.refuse(format!("{inner}/maxValues"), "a list shows at least one value");
                }
                let max_values = max_values.and_then(|max| usize::try_from(max).ok());
                TraitKind::UniqueList { max_values: max_values.unwrap_or(MAX_VALUES) }
            }
            "unique_list_count" => TraitKind::UniqueCount,
            other => {
                let names = "count_events, aggregation, most_frequent, first_event, last_event, unique_list, unique_list_count";
                self.refuse(format!("{pointer}/type"), format!("type {other:?} is none of {names}"));
                return None;
            }
        })
    }

    fn input(
        &mut self,
        kind: TraitKind,
        properties: &Json,
        event: Option<EventSlot>,
        resolve: &dyn Resolve,
        pointer: &str,
    ) -> Option<Input> {
        let edge = matches!(kind, TraitKind::First | TraitKind::Last);
        if kind == TraitKind::Count {
            return Some(Input::Event);
        }
        if edge && self.flag(properties, "useTimestamp", pointer, false) {
            return Some(Input::Timestamp);
        }
        let key = properties.get("property").and_then(Json::as_str).filter(|key| !key.is_empty());
        if key.is_none() {
            self.refuse(format!("{pointer}/property"), "property is missing or no text");
        }
        let data_type = match self.text(properties, "type", pointer) {
            None => event.and_then(|event| resolve.event_type(event, key?)),
            Some(name) => {
                let known = DataType::parse(name);
                if known.is_none() {
                    self.refuse(format!("{pointer}/type"), format!("type {name:?} is not known"));
                    return None;
                }
                known
            }
        };
        if let Some(data_type) = data_type
            && !allows(kind, data_type)
        {
            self.refuse(format!("{pointer}/type"), format!("a property of type {} cannot go into this trait", data_type.name()));
            return None;
        }
        Some(Input::Property { path: resolve.event_path(event?, key?), data_type })
    }
}

fn allows(kind: TraitKind, data_type: DataType) -> bool {
    use DataType::{Array, Float, Integer, String};
    match kind {
        _ if kind.wants_number() => matches!(data_type, Integer | Float),
        TraitKind::MostFrequent { .. } | TraitKind::UniqueList { .. } | TraitKind::UniqueCount => {
            matches!(data_type, String | Integer | Float | Array | DataType::Boolean | DataType::DateTime)
        }
        _ => true,
    }
}

/// One of a unit of time, in milliseconds.
pub(crate) fn unit_ms(name: &str) -> Option<i64> {
    Some(match name {
        "second" | "seconds" => 1000,
        "minute" | "minutes" => 60_000,
        "hour" | "hours" => 3_600_000,
        "day" | "days" => crate::time::DAY_MS,
        "week" | "weeks" => 7 * crate::time::DAY_MS,
        _ => return None,
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn in_range(float: f64) -> Option<u64> {
    (0.0..=9e15).contains(&float).then_some(float as u64)
}
