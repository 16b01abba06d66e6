//! A change that somebody could make, and what a profile would be after it.

use crate::event::{Entry, EntryKind, Identified, Identity, Occurrence, Props};
use crate::expr::PathRef;
use crate::ids::{ChannelSlot, EventSlot, Millis, Moment, ProfileId, Seq};
use crate::machine::{self, Changes};
use crate::plan::Plan;
use crate::profile::{History, Profile, sort_entries};
use crate::time::format_instant;
use crate::value::Value;
use compact_str::CompactString;
use serde_json::{Value as Json, json};

/// One thing that would have to happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An event, so many times.
    Track {
        /// Which.
        event: EventSlot,
        /// Where.
        channel: ChannelSlot,
        /// Properties that do; an example where `asks` leaves a choice.
        props: Props,
        /// How often.
        times: u32,
        /// What the properties have to satisfy; empty for anything.
        asks: String,
        /// Later than this it would not be enough any more.
        before: Option<Millis>,
    },
    /// A custom trait becomes this; `None` for absent.
    Custom {
        /// Which.
        path: PathRef,
        /// An example, where the clause leaves a choice.
        value: Option<Value>,
        /// The clause that asks for it.
        clause: String,
        /// Whether that clause has to hold then, or not to hold.
        holds: bool,
    },
    /// The person becomes known.
    Identify,
    /// A key of the connection's context becomes this.
    Context {
        /// Which.
        path: PathRef,
        /// An example, where the clause leaves a choice.
        value: Option<Value>,
        /// The clause that asks for it.
        clause: String,
        /// Whether that clause has to hold then, or not to hold.
        holds: bool,
    },
    /// Nothing that a person does helps: the definition would have to say something else.
    Define {
        /// What, as code: `state`, `channel`, `test_user`.
        what: &'static str,
    },
}

/// A change, and when it is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub at: Millis,
    /// What.
    pub change: Change,
}

/// Changes that together bring something about.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// When it has come about.
    pub at: Millis,
    /// In order of time; none where waiting is enough.
    pub steps: Vec<Step>,
    /// How many things change: traits, counts of events, chains.
    pub cost: usize,
    /// No way that flips fewer clauses was left out; false where the search was cut short.
    pub exact: bool,
}

/// What a profile would be, and the context of its connection.
#[derive(Clone, Debug)]
pub struct Supposed {
    /// The profile.
    pub profile: Profile,
    /// The context, if there is a connection.
    pub context: Option<Props>,
    /// What [`Change::Define`] would have changed.
    pub defined: Vec<&'static str>,
}

/// A log that was read before, with whatever the profile's tail has beyond it.
pub struct Known<'a>(pub &'a [Entry]);

impl History for Known<'_> {
    /// Whoever wrote them: second copies are dropped.
    fn rows(&mut self, _: ProfileId) -> Vec<Entry> {
        self.0.to_vec()
    }

    fn load(&mut self, profile: &Profile) -> Vec<Entry> {
        let mut entries = [self.0, &profile.tail].concat();
        sort_entries(&mut entries);
        entries
    }
}

impl Supposed {
    /// Lets time pass to `at`.
    pub fn advance(&mut self, plan: &Plan, log: &[Entry], at: Millis) {
        let mut ignored = Changes::default();
        machine::advance(plan, &mut self.profile, at, &mut Known(log), &mut ignored);
    }

    /// Makes the changes, each at its time, and lets time pass to `at`.
    pub fn take(&mut self, plan: &Plan, log: &[Entry], steps: &[Step], at: Millis) {
        for step in steps {
            self.make(plan, log, step);
        }
        if at > self.profile.core.clock {
            self.advance(plan, log, at);
        }
    }

    fn make(&mut self, plan: &Plan, log: &[Entry], Step { at, change }: &Step) {
        let at = (*at).max(self.profile.core.clock);
        match change {
            Change::Track { event, channel, props, times, .. } => {
                let version = plan.event_plan(*event).map_or(1, |event| event.version);
                for _ in 0..*times {
                    let occurrence = Occurrence {
                        event: *event,
                        version,
                        channel: *channel,
                        props: props.clone(),
                        context: self.context.clone().unwrap_or_default(),
                        chain: Box::default(),
                    };
                    self.apply(plan, log, at, EntryKind::Event(occurrence));
                }
            }
            Change::Custom { path, value, .. } => {
                let custom = put(&self.profile.core.custom, path, value.clone());
                let identified = Identified { custom: Some(custom), ..Identified::default() };
                self.apply(plan, log, at, EntryKind::Identified(identified));
            }
            Change::Identify => {
                let channel = self.profile.core.identities.first().map_or(ChannelSlot(0), |identity| identity.channel);
                let identity =
                    Identity { channel, kind: "user_id".into(), user_id: "known".into(), is_anonymous: false, created_at: at };
                let identified = Identified { identities: vec![identity], ..Identified::default() };
                self.apply(plan, log, at, EntryKind::Identified(identified));
            }
            Change::Context { path, value, .. } => {
                let context = self.context.take().unwrap_or_default();
                self.context = Some(put(&context, path, value.clone()));
            }
            Change::Define { what } => self.defined.push(what),
        }
    }

    fn apply(&mut self, plan: &Plan, log: &[Entry], at: Millis, kind: EntryKind) {
        let core = &self.profile.core;
        let user_id = core.identities.first().map_or_else(|| CompactString::from("someone"), |i| i.user_id.clone());
        let moment = Moment { t: at, seq: Seq(core.applied.0 + 1) };
        let entry = Entry { moment, at, user_id, message_id: None, id: 0, kind };
        if core.applied == Seq(0) && core.clock == Millis::MIN {
            machine::born(plan, &mut self.profile, at, &mut Changes::default());
        }
        machine::apply(plan, &mut self.profile, entry, &mut Known(log), &mut Changes::default());
    }
}

/// `props` with another value at `path`, also inside an open object.
pub(super) fn put(props: &Props, path: &PathRef, value: Option<Value>) -> Props {
    let mut pairs = props.clone().into_vec();
    let at = pairs.iter().position(|(known, _)| *known == path.path);
    match (path.rest.split_first(), at) {
        (None, at) => {
            if let Some(at) = at {
                pairs.remove(at);
            }
            pairs.extend(value.map(|value| (path.path, value)));
        }
        (Some((first, rest)), Some(at)) => put_inside(&mut pairs[at].1, first, rest, value),
        (Some((first, rest)), None) => {
            let mut object = Value::Object(Vec::new());
            put_inside(&mut object, first, rest, value);
            pairs.push((path.path, object));
        }
    }
    Props::new(pairs)
}

fn put_inside(object: &mut Value, key: &CompactString, rest: &[CompactString], value: Option<Value>) {
    if !matches!(object, Value::Object(_)) {
        *object = Value::Object(Vec::new());
    }
    let Value::Object(entries) = object else { return };
    let at = entries.iter().position(|(known, _)| known == key);
    match (rest.split_first(), at, value) {
        (None, Some(at), None) => drop(entries.remove(at)),
        (None, None, None) => {}
        (None, Some(at), Some(value)) => entries[at].1 = value,
        (None, None, Some(value)) => entries.push((key.clone(), value)),
        (Some((next, rest)), at, value) => {
            let at = at.unwrap_or_else(|| {
                entries.push((key.clone(), Value::Object(Vec::new())));
                entries.len() - 1
            });
            put_inside(&mut entries[at].1, next, rest, value);
        }
    }
}

impl Proposal {
    /// As people read it. `now` is when the question was asked.
    #[must_use]
    pub fn to_json(&self, plan: &Plan, now: Millis) -> Json {
        let mut changes = Vec::new();
        let mut clock = now;
        let mut wait = |until: Millis, changes: &mut Vec<Json>| {
            if until > clock {
                clock = until;
                let until = format_instant(until);
                changes.push(json!({"type": "wait", "until": until, "text": format!("wait until {until}")}));
            }
        };
        for step in &self.steps {
            wait(step.at, &mut changes);
            changes.push(step.change.to_json(plan));
        }
        wait(self.at, &mut changes);
        json!({"at": format_instant(self.at), "changes": changes, "minimal": self.exact})
    }
}

impl Change {
    fn to_json(&self, plan: &Plan) -> Json {
        match self {
            Self::Track { event, channel, props, times, asks, before } => {
                let name = plan.event_name(*event);
                let mut text = if *times == 1 { format!("one more {name}") } else { format!("{times} more {name}") };
                if !asks.is_empty() {
                    text += &format!(" with {asks}");
                }
                if let Some(before) = before {
                    text += &format!(" before {}", format_instant(*before));
                }
                json!({
                    "type": "event", "event": name, "channel": plan.channel_key(*channel), "times": times,
                    "properties": plan.paths.render(props), "where": asks, "before": before.map(format_instant), "text": text,
                })
            }
            Self::Custom { path, value, clause, holds } => {
                placed("customTrait", "custom trait", plan, path, value.as_ref(), clause, *holds)
            }
            Self::Context { path, value, clause, holds } => {
                placed("context", "context", plan, path, value.as_ref(), clause, *holds)
            }
            Self::Identify => json!({"type": "identify", "text": "identify the person"}),
            Self::Define { what } => {
                let text = match *what {
                    "state" => "activate the action",
                    "channel" => "let the action run in this channel",
                    _ => "list the person as a test user",
                };
                json!({"type": "definition", "what": what, "text": text})
            }
        }
    }
}

fn placed(kind: &str, noun: &str, plan: &Plan, path: &PathRef, value: Option<&Value>, clause: &str, holds: bool) -> Json {
    let key = key(plan, path);
    let value = value.map(Value::to_json);
    let text = match (&value, holds) {
        (None, _) => format!("remove {noun} {key}"),
        (Some(value), true) => format!("set {noun} {key} so that {clause}, for example to {value}"),
        (Some(value), false) => format!("set {noun} {key} so that it is not true that {clause}, for example to {value}"),
    };
    json!({"type": kind, "key": key, "value": value, "clause": clause, "holds": holds, "text": text})
}

/// The dotted key of a path, as people write it.
pub(super) fn key(plan: &Plan, path: &PathRef) -> String {
    let name = plan.paths.name(path.path);
    let parent = name.trim_end_matches('.');
    let mut key = CompactString::from(if path.rest.is_empty() { name } else { parent });
    for segment in &path.rest {
        key = crate::paths::join(&key, segment);
    }
    key.into()
}
