//! A goal's definition, from JSON to what the fold works with.

use super::cost::currency;
use super::{Micros, Model};
use crate::event::{Occurrence, Reacted, Reaction};
use crate::expr::{self, Expr, Facts, PathRef, Place, Resolve, descend};
use crate::ids::{ActionSlot, ChannelSlot, EventSlot, Millis};
use crate::issue::Issue;
use crate::schema::DataType;
use crate::time::{DAY_MS, Zone};
use crate::traits::definition::{NO_EVENT, Reader, reads_profile};
use crate::value::Value;
use compact_str::CompactString;
use serde_json::Value as Json;

/// How long a touch is remembered unless the goal says otherwise.
const LOOKBACK_MS: i64 = 7 * DAY_MS;

/// What converts, what is credited, and what it is worth.
#[derive(Clone, Debug)]
pub struct GoalDef {
    /// The event that converts.
    pub event: EventSlot,
    /// What its properties must satisfy.
    pub condition: Expr,
    /// What a conversion is worth.
    pub value: GoalValue,
    /// In which money.
    pub currency: Option<CompactString>,
    /// A touch at `u` is seen by conversions at `t < u + lookback`.
    pub lookback_ms: i64,
    /// How credit is shared unless a question says otherwise.
    pub model: Model,
    /// Reactions that are touches.
    pub touches: Box<[Reaction]>,
    /// Where they must have happened; empty for anywhere.
    pub channels: Box<[ChannelSlot]>,
    /// To which actions; empty for any.
    pub actions: Box<[ActionSlot]>,
    /// Which conversions count.
    pub dedupe: Dedupe,
    /// Whether profiles show their last touch.
    pub expose: bool,
    reads_profile: bool,
}

/// What a conversion is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum GoalValue {
    /// Nothing is said.
    None,
    /// Always this.
    Fixed(Micros),
    /// A number of the event. `None` for a property that does not exist (any more): nothing is said.
    Property(Option<PathRef>),
}

/// Which conversions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// All.
    Every,
    /// The first of a profile.
    OncePerProfile,
    /// All without a touch, and of those with touches the ones that see a touch which no counted conversion
    /// saw before; such touches share the credit.
    OncePerTouch,
}

const DEDUPES: [(&str, Dedupe); 3] =
    [("every", Dedupe::Every), ("once_per_profile", Dedupe::OncePerProfile), ("once_per_touch", Dedupe::OncePerTouch)];

const TOUCHES: [(&str, Reaction); 5] = [
    ("accepted", Reaction::Accepted),
    ("delivered", Reaction::Delivered),
    ("shown", Reaction::Shown),
    ("hidden", Reaction::Hidden),
    ("declined", Reaction::Declined),
];

impl GoalDef {
    /// Compiles a definition. `pointer` is where it stands in its document.
    ///
    /// # Errors
    /// `None`, with every problem pushed to `issues`: `definition_invalid`, `event_not_found`,
    /// `channel_not_found`, `action_not_found`, and `invalid_condition` for the conditions.
    pub fn compile(json: &Json, resolve: &dyn Resolve, zone: &Zone, pointer: &str, issues: &mut Vec<Issue>) -> Option<Self> {
        let before = issues.len();
        let mut reader = Reader { issues };
        let event = reader.event(json, "eventId", resolve, pointer);
        let channels = reader.channels(json, resolve, pointer);
        let lookback_ms = reader.duration(json, "lookback", pointer).unwrap_or(LOOKBACK_MS);
        let list = reader.list(json, "conditions", pointer);
        let place = Place::EventProperty { event: event.unwrap_or(NO_EVENT) };
        let condition = expr::compile(list, place, resolve, zone, &format!("{pointer}/conditions"), reader.issues);
        let value = value(json, event, resolve, pointer, &mut reader);
        let model = word(json, "model", &Model::WORDS, pointer, &mut reader);
        let dedupe = word(json, "dedupe", &DEDUPES, pointer, &mut reader);
        let touches = touches(json, pointer, &mut reader);
        // Whether all names exist is the catalog's to check; one that is gone stands for itself, so that the list
        // does not become an empty one, which would mean all.
        let actions = reader.actions(json, resolve, pointer).into_iter().map(|(_, slot)| slot).collect();
        let expose = reader.flag(json, "expose", pointer, false);
        let currency = currency(json, pointer, issues);
        if issues.len() > before {
            return None;
        }
        let condition = condition?;
        let reads_profile = reads_profile(&condition);
        Some(Self {
            event: event?,
            condition,
            value,
            currency,
            lookback_ms,
            model: model.unwrap_or(Model::LastTouch),
            touches,
            channels,
            actions,
            dedupe: dedupe.unwrap_or(Dedupe::Every),
            expose,
            reads_profile,
        })
    }

    /// A goal without filters, credited for acceptances.
    #[cfg(test)]
    pub(super) fn new(event: EventSlot, condition: Expr, value: GoalValue, lookback_ms: i64, dedupe: Dedupe) -> Self {
        Self {
            event,
            condition,
            value,
            currency: None,
            lookback_ms,
            model: Model::LastTouch,
            touches: Box::new([Reaction::Accepted]),
            channels: Box::default(),
            actions: Box::default(),
            dedupe,
            expose: false,
            reads_profile: false,
        }
    }

    /// Whether conditions read traits of the profile as of the event, so that a late event of any kind may
    /// change what converts.
    #[must_use]
    pub fn reads_profile(&self) -> bool {
        self.reads_profile
    }

    /// Whether a reaction is a touch. Those of test users in staging are none, and what was withheld
    /// touched nobody.
    #[must_use]
    pub fn touched_by(&self, reacted: &Reacted) -> bool {
        !reacted.test && self.touches.contains(&reacted.reaction) && self.takes(reacted.action, reacted.channel)
    }

    /// Whether the goal is about this action on this channel.
    #[must_use]
    pub fn takes(&self, action: ActionSlot, channel: ChannelSlot) -> bool {
        (self.actions.is_empty() || self.actions.contains(&action))
            && (self.channels.is_empty() || self.channels.contains(&channel))
    }

    /// What an event of the goal's kind converts for; `None` if it does not convert. `t` is when it
    /// happened: relative dates are decided as of then, for good.
    #[must_use]
    pub fn conversion<F: Facts + ?Sized>(&self, occurrence: &Occurrence, facts: &F, t: Millis) -> Option<Option<Micros>> {
        if !self.condition.eval(facts, t).holds {
            return None;
        }
        Some(match &self.value {
            GoalValue::None => None,
            GoalValue::Fixed(value) => Some(*value),
            GoalValue::Property(path) => {
                let path = path.as_ref();
                let found = path.and_then(|path| descend(occurrence.props.get(path.path)?, &path.rest));
                found.and_then(Micros::of)
            }
        })
    }

    /// The first instant at which a touch at `t` is not seen any more.
    #[must_use]
    pub fn expires(&self, t: Millis) -> Millis {
        t.plus(self.lookback_ms)
    }
}

fn value(json: &Json, event: Option<EventSlot>, resolve: &dyn Resolve, pointer: &str, reader: &mut Reader<'_>) -> GoalValue {
    let at = format!("{pointer}/value");
    let value = match json.get("value") {
        None | Some(Json::Null) => return GoalValue::None,
        Some(value) if value.is_object() => value,
        Some(other) => {
            reader.refuse(at, format!("value is {{\"property\"}} or {{\"fixed\"}}, not {other}"));
            return GoalValue::None;
        }
    };
    let given = |key: &str| value.get(key).filter(|value| !value.is_null() && *value != "");
    match (given("property"), given("fixed")) {
        (None, None) => GoalValue::None,
        (Some(Json::String(path)), None) => {
            let declared = event.and_then(|event| resolve.event_type(event, path));
            if let Some(other) = declared.filter(|kind| !matches!(kind, DataType::Integer | DataType::Float | DataType::Object)) {
                reader.refuse(format!("{at}/property"), format!("a property of type {} is no amount", other.name()));
            }
            GoalValue::Property(event.and_then(|event| resolve.event_path(event, path)))
        }
        (None, Some(fixed)) => {
            let fits = fixed.as_f64().filter(|amount| amount.abs() <= Micros::WHOLES_MAX);
            match fits.and_then(|_| Micros::of(&Value::from_json(fixed))) {
                Some(micros) => GoalValue::Fixed(micros),
                None => {
                    reader.refuse(format!("{at}/fixed"), format!("fixed is a number from -9e12 to 9e12, not {fixed}"));
                    GoalValue::None
                }
            }
        }
        (Some(other), None) => {
            reader.refuse(format!("{at}/property"), format!("property names a number of the event, not {other}"));
            GoalValue::None
        }
        (Some(_), Some(_)) => {
            reader.refuse(at, "value is a property or a fixed amount, not both");
            GoalValue::None
        }
    }
}

fn touches(json: &Json, pointer: &str, reader: &mut Reader<'_>) -> Box<[Reaction]> {
    let mut kinds = Vec::new();
    for (i, kind) in reader.list(json, "touches", pointer).iter().enumerate() {
        match TOUCHES.iter().find(|(word, _)| kind == word) {
            Some((_, reaction)) if !kinds.contains(reaction) => kinds.push(*reaction),
            Some(_) => {}
            None => {
                let message = format!("a touch is accepted, delivered, shown, hidden or declined, not {kind}");
                reader.refuse(format!("{pointer}/touches/{i}"), message);
            }
        }
    }
    if kinds.is_empty() {
        kinds.push(Reaction::Accepted);
    }
    kinds.into()
}

/// An optional word out of a closed list.
fn word<T: Copy>(json: &Json, key: &str, words: &[(&str, T)], pointer: &str, reader: &mut Reader<'_>) -> Option<T> {
    let value = json.get(key).filter(|value| !value.is_null() && *value != "")?;
    let found = words.iter().find(|(word, _)| value == word).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        reader.refuse(format!("{pointer}/{key}"), format!("{key} {value} is none of {known}"));
    }
    found
}
