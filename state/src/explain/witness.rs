//! Events that would do: properties that satisfy a condition, and as many as bring a trait to a value.

use super::Case;
use super::change::{Change, Step, put};
use crate::event::{EntryKind, Occurrence, Props};
use crate::expr::{Expr, Facts, Freedom, Source, descend};
use crate::ids::{ChannelSlot, EventSlot, Millis, Moment, TraitSlot};
use crate::machine::{self, ProfileFacts};
use crate::plan::Kind;
use crate::schema::{DataType, Structure};
use crate::traits::{Input, TraitDef, TraitKind};
use crate::value::Value;
use std::borrow::Cow;

/// Events of one proposal for one trait.
const TIMES_MAX: u64 = 1000;

/// An event that would do, and what has to be true of the person before it.
pub(super) struct Witness {
    pub(super) before: Vec<Step>,
    /// What earlier steps that are still to come would have to have said.
    pub(super) earlier: Vec<(Source, Option<Value>)>,
    pub(super) channel: ChannelSlot,
    pub(super) props: Props,
}

/// What an event of ours would say, over what the person is, and what a run has captured.
struct Imagined<'a> {
    props: &'a Props,
    person: ProfileFacts<'a>,
    captured: &'a [(Source, Value)],
}

impl Facts for Imagined<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match source {
            Source::Event(path) => descend(self.props.get(path.path)?, &path.rest).map(Cow::Borrowed),
            Source::Captured { .. } => self.captured.iter().find(|(known, _)| known == source).map(|(_, v)| Cow::Borrowed(v)),
            Source::Context(_) => None,
            other => self.person.get(other),
        }
    }
}

/// Properties may be anything; custom traits may be set before the event.
struct Sender<'a, 'c> {
    case: &'a Case<'c>,
    event: EventSlot,
    /// Steps of a chain that are still to come as well, by their numbers.
    to_come: &'a [u16],
}

impl Freedom for Sender<'_, '_> {
    fn may_change(&mut self, source: &Source) -> bool {
        match source {
            Source::Event(_) | Source::Custom(_) => true,
            Source::Captured { step, .. } => self.to_come.contains(step),
            _ => false,
        }
    }

    fn can_become(&mut self, source: &Source, value: Option<&Value>) -> bool {
        fits(self.data_type(source), value)
    }

    fn sample(&mut self, source: &Source) -> Value {
        sample(self.data_type(source), self.case.now)
    }
}

impl Sender<'_, '_> {
    fn data_type(&self, source: &Source) -> Option<DataType> {
        let (kind, slot) =
            if matches!(source, Source::Event(_)) { (Kind::Event, self.event.index()) } else { (Kind::CustomTraits, 0) };
        declared(self.case, kind, slot, source)
    }
}

/// The declared type of an event property or custom trait, where a structure says so.
pub(super) fn declared(case: &Case<'_>, kind: Kind, slot: usize, source: &Source) -> Option<DataType> {
    let (Source::Event(path) | Source::Custom(path) | Source::Context(path)) = source else { return None };
    if !path.rest.is_empty() {
        return None;
    }
    structure(case, kind, slot)?.data_type(case.plan.paths.name(path.path))
}

fn structure(case: &Case<'_>, kind: Kind, slot: usize) -> Option<Structure> {
    let text = case.plan.catalog.definitions(kind).get(slot)?.structures.last()?;
    serde_json::from_str(text).ok()
}

/// Whether validation would let `value` stand at a place of this type.
pub(super) fn fits(data_type: Option<DataType>, value: Option<&Value>) -> bool {
    let (Some(data_type), Some(value)) = (data_type, value) else { return true };
    match data_type {
        DataType::String => matches!(value, Value::Str(_)),
        DataType::Integer => matches!(value, Value::Int(_)),
        DataType::Float => value.is_number(),
        DataType::Boolean => matches!(value, Value::Bool(_)),
        DataType::DateTime => matches!(value, Value::Time(_)),
        DataType::Array => matches!(value, Value::Array(_)),
        DataType::Object => matches!(value, Value::Object(_)),
    }
}

/// Some value of a type.
pub(super) fn sample(data_type: Option<DataType>, now: Millis) -> Value {
    match data_type {
        Some(DataType::Integer) => Value::Int(1),
        Some(DataType::Float) => Value::Float(1.0),
        Some(DataType::Boolean) => Value::Bool(true),
        Some(DataType::DateTime) => Value::Time(now),
        Some(DataType::Array) => Value::Array(vec!["x".into()]),
        Some(DataType::Object) => Value::Object(Vec::new()),
        Some(DataType::String) | None => "x".into(),
    }
}

/// An event on which `condition` holds: like the person's last one of its kind where there is one, with
/// as few properties changed as need be.
pub(super) fn witness(
    case: &Case<'_>,
    event: EventSlot,
    channels: &[ChannelSlot],
    condition: &Expr,
    (captured, to_come): (&[(Source, Value)], &[u16]),
) -> Option<Witness> {
    let (channel, base) = likely(case, event, channels);
    let person = ProfileFacts::of(case.plan, case.profile);
    let facts = Imagined { props: &base, person, captured };
    let mut way = condition.remedies(&facts, case.now, true, &mut Sender { case, event, to_come }).ways.into_iter().next()?;
    // As many of the things to avoid as can be avoided together.
    let mut picky = condition.clone();
    for (_, avoid) in case.avoid.iter().filter(|(other, _)| *other == event) {
        let pickier = picky.clone().and(avoid.clone().negated());
        if let Some(found) =
            pickier.remedies(&facts, case.now, true, &mut Sender { case, event, to_come }).ways.into_iter().next()
        {
            (picky, way) = (pickier, found);
        }
    }
    let (mut props, mut before, mut earlier) = (base, Vec::new(), Vec::new());
    for wish in way {
        match wish.source {
            Source::Event(path) => props = put(&props, &path, wish.value),
            Source::Custom(path) => {
                let change = Change::Custom { path, value: wish.value, clause: wish.clause, holds: wish.holds };
                before.push(Step { at: case.now, change });
            }
            source => earlier.push((source, wish.value)),
        }
    }
    Some(Witness { before, earlier, channel, props })
}

/// Where the person would send an event, and what they said in the last one of its kind; of one who never
/// did, only what is required.
fn likely(case: &Case<'_>, event: EventSlot, channels: &[ChannelSlot]) -> (ChannelSlot, Props) {
    let takes = |channel: ChannelSlot| channels.is_empty() || channels.contains(&channel);
    let last = case.entries.iter().rev().find_map(|entry| match &entry.kind {
        EntryKind::Event(occurrence) if occurrence.event == event && takes(occurrence.channel) => Some(occurrence),
        _ => None,
    });
    if let Some(last) = last {
        return (last.channel, if case.bare { required(case, event) } else { last.props.clone() });
    }
    let seen = case.profile.core.identities.iter().map(|identity| identity.channel).find(|channel| takes(*channel));
    let channel = seen.or_else(|| channels.first().copied()).unwrap_or(ChannelSlot(0));
    (channel, required(case, event))
}

/// Samples of the properties that an event must have.
fn required(case: &Case<'_>, event: EventSlot) -> Props {
    let mut pairs = Vec::new();
    let structure = structure(case, Kind::Event, event.index()).unwrap_or_default();
    let mut levels = vec![(compact_str::CompactString::default(), &structure.0)];
    while let Some((parent, level)) = levels.pop() {
        for node in level.iter().filter(|node| node.properties.is_required) {
            let key = crate::paths::join(&parent, &node.properties.key);
            if !node.children.is_empty() {
                levels.push((key, &node.children));
            } else if let Some(path) = case.plan.paths.get(&key) {
                pairs.push((path, sample(node.data_type(), case.now)));
            }
        }
    }
    Props::new(pairs)
}

/// Events that bring the trait to `value`, if events can.
pub(super) fn reach(case: &Case<'_>, slot: TraitSlot, value: &Value) -> Option<Vec<Step>> {
    let trait_plan = case.plan.trait_plan(slot)?;
    let def = &trait_plan.def;
    let current = machine::trait_value(case.plan, case.profile, slot);
    let steps = inputs(case, slot, def, current.as_ref(), value)?;
    (arrives(case, slot, def, &steps).as_ref()?.same(value)).then_some(steps)
}

/// Values that the trait has after one, two and three events that contribute, with the events.
pub(super) fn nearby(case: &Case<'_>, slot: TraitSlot) -> Vec<(Value, Vec<Step>)> {
    let Some(trait_plan) = case.plan.trait_plan(slot) else { return Vec::new() };
    let def = &trait_plan.def;
    let Some(witness) = contributor(case, def, None) else { return Vec::new() };
    let after = |times: u32| {
        let steps = witness.steps(case, def.event, times, def.condition.describe());
        Some((arrives(case, slot, def, &steps)?, steps))
    };
    (1..=3).filter_map(after).collect()
}

impl Witness {
    /// The event, so many times, now.
    pub(super) fn steps(&self, case: &Case<'_>, event: EventSlot, times: u32, asks: String) -> Vec<Step> {
        let (channel, props) = (self.channel, self.props.clone());
        let track = Change::Track { event, channel, props, times, asks, before: None };
        self.before.iter().cloned().chain([Step { at: case.now, change: track }]).collect()
    }
}

/// An event that contributes, with `value` as its input.
fn contributor(case: &Case<'_>, def: &TraitDef, value: Option<Value>) -> Option<Witness> {
    let mut witness = witness(case, def.event, &def.channels, &def.condition, (&[], &[]))?;
    if let Input::Property { path, data_type } = &def.input {
        let path = path.as_ref()?;
        let there = witness.props.get(path.path).and_then(|value| descend(value, &path.rest)).is_some();
        let data_type = data_type.or_else(|| declared(case, Kind::Event, def.event.index(), &Source::Event(path.clone())));
        let value = match value {
            Some(value) if fits(data_type, Some(&value)) => value,
            Some(Value::Float(float)) => Value::Int(crate::value::whole(float)?),
            Some(_) => return None,
            None if there => return Some(witness),
            None => sample(data_type, case.now),
        };
        witness.props = put(&witness.props, path, Some(value));
    }
    Some(witness)
}

/// The events that should do it.
fn inputs(case: &Case<'_>, slot: TraitSlot, def: &TraitDef, current: Option<&Value>, wanted: &Value) -> Option<Vec<Step>> {
    let one = |value: Option<Value>, times: u32| {
        let witness = contributor(case, def, value)?;
        Some(witness.steps(case, def.event, times, def.condition.describe()))
    };
    let more = || {
        let (have, wanted) = (current.and_then(Value::as_f64).unwrap_or(0.0), wanted.as_f64()?);
        let more = wanted - have;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        (more >= 1.0 && more <= TIMES_MAX as f64 && more.fract() == 0.0).then_some(more as u32)
    };
    match def.kind {
        TraitKind::Count => one(None, more()?),
        TraitKind::Sum => {
            let delta = wanted.as_f64()? - current.and_then(Value::as_f64).unwrap_or(0.0);
            one(Some(Value::Float(delta)), 1)
        }
        TraitKind::Avg => {
            let target = wanted.as_f64()?;
            let (sum, count) = case.profile.trait_state(slot).and_then(|state| def.parts(state)).unwrap_or((0.0, 0));
            #[expect(clippy::cast_precision_loss, reason = "an example of a value")]
            one(Some(Value::Float(target * (count as f64 + 1.0) - sum)), 1)
        }
        TraitKind::Min | TraitKind::Max | TraitKind::First | TraitKind::Last if def.input == Input::Timestamp => one(None, 1),
        TraitKind::Min | TraitKind::Max | TraitKind::First | TraitKind::Last => one(Some(wanted.clone()), 1),
        TraitKind::MostFrequent { .. } => {
            for times in 1..=100 {
                let steps = one(Some(wanted.clone()), times)?;
                if arrives(case, slot, def, &steps).is_some_and(|value| value.same(wanted)) {
                    return Some(steps);
                }
            }
            None
        }
        TraitKind::UniqueList { .. } => {
            let (Value::Array(wanted), have) = (wanted, current) else { return None };
            let have = if let Some(Value::Array(items)) = have { items.as_slice() } else { &[] };
            let missing = wanted.iter().filter(|item| !have.iter().any(|own| own.same(item)));
            missing.map(|item| one(Some(item.clone()), 1)).collect::<Option<Vec<_>>>().map(|steps| steps.concat())
        }
        TraitKind::UniqueCount => {
            let data_type = if let Input::Property { data_type, .. } = &def.input { *data_type } else { None };
            let fresh = |n: u32| match data_type {
                Some(DataType::Integer | DataType::Float) => Value::Int(1_000_000_007 + i64::from(n)),
                Some(DataType::Boolean) => Value::Bool(n == 1),
                Some(DataType::DateTime) => Value::Time(case.now.plus(i64::from(n))),
                Some(DataType::Array) => Value::Array(vec![format!("new {n}").as_str().into()]),
                _ => format!("new {n}").as_str().into(),
            };
            (1..=more()?).map(|n| one(Some(fresh(n)), 1)).collect::<Option<Vec<_>>>().map(|steps| steps.concat())
        }
    }
}

/// The value after these events.
fn arrives(case: &Case<'_>, slot: TraitSlot, def: &TraitDef, steps: &[Step]) -> Option<Value> {
    let mut state = case.profile.trait_state(slot).cloned().unwrap_or_else(|| def.new_state());
    let mut seq = case.profile.core.applied;
    for step in steps {
        let Change::Track { event, channel, props, times, .. } = &step.change else { continue };
        let occurrence = Occurrence {
            event: *event,
            version: 1,
            channel: *channel,
            props: props.clone(),
            context: Props::default(),
            chain: Box::default(),
        };
        for _ in 0..*times {
            seq.0 += 1;
            let moment = Moment { t: case.now, seq };
            let person = ProfileFacts { plan: case.plan, profile: case.profile, event: Some(&occurrence), context: None };
            def.feed(&mut state, moment, &occurrence, &person, case.now);
        }
    }
    def.value(&state)
}
