//! One pass over a profile's log: which events count for what, and which nearly did.

use super::needs::Needs;
use crate::audience::{AudienceDef, Noted};
use crate::event::{Entry, EntryKind, Occurrence};
use crate::expr::{Explained, Expr};
use crate::ids::{AudienceSlot, Millis, Moment, ProfileId, TraitSlot};
use crate::machine::{self, ProfileFacts, Watch};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::time::format_instant;
use crate::traits::window::spans;
use crate::traits::{AsOf, TraitDef};
use crate::value::Value;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, VecDeque};

/// Events told of each condition or trait, the newest.
pub const TOLD_MAX: usize = 20;
/// Events told that are of the right kind and do not count, the newest.
pub const MISSED_MAX: usize = 5;

/// An event, and from when until when it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// Its own id.
    pub id: u128,
    /// When it happened.
    pub moment: Moment,
    /// It counts from here on.
    pub from: Millis,
    /// It ceases to here; [`Millis::MAX`] for never.
    pub until: Millis,
    /// What it brings to a trait.
    pub value: Option<Value>,
}

/// An event of the right kind that does not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed {
    /// Its own id.
    pub id: u128,
    /// When it happened.
    pub moment: Moment,
    /// Why not.
    pub because: Because,
}

/// Why an event does not count.
#[derive(Clone, Debug, PartialEq)]
pub enum Because {
    /// Not this channel.
    Channel,
    /// The property is not there, or of another type.
    Property,
    /// These clauses, with what they saw.
    Clauses(Explained),
    /// It did, until its window was over.
    Over(Millis),
}

/// The events of one condition or trait.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many count now.
    pub count: u64,
    /// The newest of them, oldest first.
    pub counted: VecDeque<Counted>,
    /// The newest that will count later, oldest first.
    pub waiting: VecDeque<Counted>,
    /// The newest of the right kind that do not count, oldest first.
    pub missed: VecDeque<Missed>,
    /// When the first of all that count ceases to.
    pub next_end: Option<Millis>,
}

/// Everything that a log says about some definitions.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// By audience and condition.
    pub counts: BTreeMap<(AudienceSlot, usize), Tally>,
    /// By audience and chain: the events that the chain looks at.
    pub chains: BTreeMap<(AudienceSlot, usize), Vec<Noted>>,
    /// By trait.
    pub traits: BTreeMap<TraitSlot, Tally>,
}

impl Evidence {
    /// Reads a log, in order, for these definitions, as of `now`.
    #[must_use]
    pub fn gather(
        plan: &Plan,
        id: ProfileId,
        entries: &[Entry],
        now: Millis,
        audiences: &[AudienceSlot],
        traits: &[TraitSlot],
    ) -> Self {
        let mut reader = Reader { now, audiences, traits, evidence: Self::default() };
        for &slot in audiences {
            let Some(audience) = plan.audience_plan(slot) else { continue };
            for i in 0..audience.def.conditions.len() {
                reader.evidence.counts.insert((slot, i), Tally::default());
            }
            for i in 0..audience.def.chains.len() {
                reader.evidence.chains.insert((slot, i), Vec::new());
            }
        }
        for &slot in traits {
            reader.evidence.traits.insert(slot, Tally::default());
        }
        machine::fold_watched(plan, id, entries, now, &mut reader);
        reader.evidence
    }
}

impl Evidence {
    /// As [`Evidence::gather`], for everything in `needs`.
    #[must_use]
    pub fn gather_for(plan: &Plan, id: ProfileId, entries: &[Entry], now: Millis, needs: &Needs) -> Self {
        let audiences: Vec<AudienceSlot> = needs.audiences.iter().copied().collect();
        let traits: Vec<TraitSlot> = needs.traits.iter().copied().collect();
        Self::gather(plan, id, entries, now, &audiences, &traits)
    }
}

struct Reader<'a> {
    now: Millis,
    audiences: &'a [AudienceSlot],
    traits: &'a [TraitSlot],
    evidence: Evidence,
}

impl Watch for Reader<'_> {
    fn before(&mut self, plan: &Plan, profile: &Profile, entry: &Entry) {
        let EntryKind::Event(occurrence) = &entry.kind else { return };
        let facts = ProfileFacts { plan, profile, event: Some(occurrence), context: None };
        for slot in self.audiences {
            if let Some(audience) = plan.audience_plan(*slot) {
                self.audience(*slot, &audience.def, entry, occurrence, &facts);
            }
        }
        for slot in self.traits {
            if let (Some(trait_plan), Some(tally)) = (plan.trait_plan(*slot), self.evidence.traits.get_mut(slot)) {
                read_trait(tally, &trait_plan.def, entry, occurrence, &facts, self.now);
            }
        }
    }
}

impl Reader<'_> {
    fn audience(
        &mut self,
        slot: AudienceSlot,
        def: &AudienceDef,
        entry: &Entry,
        occurrence: &Occurrence,
        facts: &ProfileFacts<'_>,
    ) {
        for (i, condition) in def.conditions.iter().enumerate() {
            let Some(tally) = self.evidence.counts.get_mut(&(slot, i)) else { continue };
            let matcher = &condition.matcher;
            if matcher.event != occurrence.event {
                continue;
            }
            if !matcher.takes(occurrence.event, occurrence.channel) {
                tally.miss(entry, Because::Channel);
                continue;
            }
            let (from, until) = condition.window.interval(entry.moment.t);
            let facts = AsOf { occurrence, profile: facts };
            tally.take(entry, &matcher.condition, &facts, (from, until), None, self.now);
        }
        for (i, chain) in def.chains.iter().enumerate() {
            let facts = AsOf { occurrence, profile: facts };
            let noted = chain.note(entry.moment, entry.id, occurrence, &facts);
            if let Some(notes) = self.evidence.chains.get_mut(&(slot, i)) {
                notes.extend(noted);
            }
        }
    }
}

fn read_trait(tally: &mut Tally, def: &TraitDef, entry: &Entry, occurrence: &Occurrence, facts: &ProfileFacts<'_>, now: Millis) {
    if def.event != occurrence.event {
        return;
    }
    if !def.takes(occurrence.channel) {
        tally.miss(entry, Because::Channel);
        return;
    }
    let Some(value) = def.contribution(occurrence) else {
        tally.miss(entry, Because::Property);
        return;
    };
    let until = def.window_ms.map_or(Millis::MAX, |window| entry.moment.t.plus(window));
    let value = Some(value.into_owned()).filter(|value| *value != Value::Null);
    let facts = AsOf { occurrence, profile: facts };
    tally.take(entry, &def.condition, &facts, (entry.moment.t, until), value, now);
}

impl Tally {
    /// Takes in an event that is of the right kind and place.
    fn take<F: crate::expr::Facts + ?Sized>(
        &mut self,
        entry: &Entry,
        condition: &Expr,
        facts: &F,
        (from, until): (Millis, Millis),
        value: Option<Value>,
        now: Millis,
    ) {
        let moment = entry.moment;
        let spans = spans(condition, facts, moment.t.max(from), until);
        let counted = |(from, until): (Millis, Millis)| Counted { id: entry.id, moment, from, until, value: value.clone() };
        if let Some(span) = spans.iter().find(|(from, until)| *from <= now && now < *until) {
            self.count += 1;
            if span.1 != Millis::MAX {
                self.next_end = Some(self.next_end.map_or(span.1, |end| end.min(span.1)));
            }
            push(&mut self.counted, counted(*span), TOLD_MAX);
        } else if let Some(span) = spans.iter().find(|(from, _)| *from > now) {
            push(&mut self.waiting, counted(*span), TOLD_MAX);
        } else if let Some((_, end)) = spans.last() {
            self.miss(entry, Because::Over(*end));
        } else {
            self.miss(entry, Because::Clauses(condition.explain(facts, moment.t)));
        }
    }

    fn miss(&mut self, entry: &Entry, because: Because) {
        push(&mut self.missed, Missed { id: entry.id, moment: entry.moment, because }, MISSED_MAX);
    }

    /// The lists as people read them, newest first.
    pub(super) fn lists(&self) -> (Vec<Json>, Vec<Json>, Vec<Json>) {
        let counted = self.counted.iter().rev().map(Counted::to_json).collect();
        let waiting = self.waiting.iter().rev().map(Counted::to_json).collect();
        (counted, waiting, self.missed.iter().rev().map(Missed::to_json).collect())
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, max: usize) {
    if list.len() == max {
        list.pop_front();
    }
    list.push_back(item);
}

pub(super) fn uuid_text(id: u128) -> String {
    uuid::Uuid::from_u128(id).to_string()
}

/// An instant as people read it; null for never.
pub(super) fn instant_json(t: Millis) -> Json {
    if t == Millis::MAX || t == Millis::MIN { Json::Null } else { format_instant(t).as_str().into() }
}

impl Counted {
    fn to_json(&self) -> Json {
        let mut told = json!({
            "id": uuid_text(self.id), "timestamp": format_instant(self.moment.t), "seq": self.moment.seq.0,
            "leaves": instant_json(self.until),
        });
        if let Some(value) = &self.value {
            told["value"] = value.to_json();
        }
        if self.from > self.moment.t {
            told["countsFrom"] = instant_json(self.from);
        }
        told
    }
}

impl Missed {
    fn to_json(&self) -> Json {
        let because = match &self.because {
            Because::Channel => json!({"clause": "channel"}),
            Because::Property => json!({"clause": "property"}),
            Because::Clauses(clauses) => json!(clauses),
            Because::Over(end) => json!({"clause": "window", "left": instant_json(*end)}),
        };
        let timestamp = format_instant(self.moment.t);
        json!({"id": uuid_text(self.id), "timestamp": timestamp, "seq": self.moment.seq.0, "because": because})
    }
}
