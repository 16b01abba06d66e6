//! Profiles driven the way the engine drives them: due timers first, each at its own instant and with what
//! they make due; then the entry; then what that makes due; then the events that came of it.

use lodestone_state::event::{CHAIN_MAX, Entry, EntryKind, Fired, Firing, Identified, Link, Occurrence, Props};
use lodestone_state::expr::PathRef;
use lodestone_state::ids::{ChannelSlot, Millis, Moment, ProfileId, RuleSlot, Seq};
use lodestone_state::job::{self, Work};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, CatalogDocument, Kind, Plan};
use lodestone_state::profile::{Profile, TailOnly};
use lodestone_state::rule::{self, Due, Effect};
use lodestone_state::time::parse_rfc3339;
use lodestone_state::value::Value;
use serde_json::{Value as Json, json};
use std::collections::VecDeque;
use std::sync::Arc;

/// `10:00`, `03-05T10:00`, `10:00:00.123` as an instant, on 2024-03-01 unless dated.
pub(crate) fn at(text: &str) -> i64 {
    let (date, time) = text.split_once('T').unwrap_or(("03-01", text));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    parse_rfc3339(&format!("2024-{date}T{time}Z")).unwrap_or_else(|| panic!("{text} is no time")).0
}

/// Events with a number `n` and a text `p`, and computed traits over them.
pub(crate) fn base() -> Json {
    let structure = json!([
        {"properties": {"key": "n", "type": "float"}}, {"properties": {"key": "p", "type": "string"}}]);
    let event = |name: &str| json!({"name": name, "structure": structure});
    json!({
        "organization": {"name": "Shop", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}],
        "events": [event("View"), event("Buy"), event("Ping")],
        "computedTraits": [
            {"name": "Views", "key": "views", "type": "count_events", "eventId": "View"},
            {"name": "Views 2h", "key": "views2h", "type": "count_events", "eventId": "View",
             "properties": {"window": {"amount": 2, "unit": "hours"}}}],
    })
}

pub(crate) fn apply(catalog: &Catalog, document: &Json) -> Catalog {
    let document = CatalogDocument::parse(&document.to_string()).expect("a document");
    catalog.apply(&document).unwrap_or_else(|issues| panic!("{issues:#?}")).0
}

pub(crate) fn compile(catalog: Catalog) -> Plan {
    Plan::compile(Arc::new(catalog)).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) now: i64,
    seq: u64,
    /// Events that came of what fired, to be tracked when the input at hand is through: whose, and what.
    waiting: VecDeque<(ProfileId, Work)>,
    /// Webhooks that left: their bodies.
    pub(crate) calls: Vec<Json>,
    /// Events refused because their chain was too long.
    pub(crate) refused: usize,
}

impl World {
    pub(crate) fn new(rules: Json, now: i64, profiles: u128) -> Self {
        let mut document = base();
        document["rules"] = rules;
        let plan = compile(apply(&Catalog::default(), &document));
        let mut world = Self { plan, profiles: Vec::new(), now, seq: 0, waiting: VecDeque::new(), calls: Vec::new(), refused: 0 };
        for id in 1..=profiles {
            let mut profile = Profile::new(ProfileId(id), Millis(now), world.plan.generation);
            let mut changes = Changes::default();
            machine::born(&world.plan, &mut profile, Millis(now), &mut changes);
            world.profiles.push(profile);
            world.settle(world.profiles.len() - 1, &mut changes);
        }
        world.follow();
        world
    }

    fn entry(&mut self, t: i64, at: Millis, kind: EntryKind) -> Entry {
        self.seq += 1;
        let moment = Moment { t: Millis(t), seq: Seq(self.seq) };
        Entry { moment, at, user_id: "u".into(), message_id: None, id: u128::from(self.seq), kind }
    }

    /// Everything that time has made due until now.
    fn catch_up(&mut self, profile: usize) {
        let mut changes = Changes::default();
        loop {
            let now = Millis(self.now);
            if !machine::advance_to_due(&self.plan, &mut self.profiles[profile], now, &mut TailOnly, &mut changes) {
                return;
            }
            self.settle(profile, &mut changes);
        }
    }

    fn put(&mut self, profile: usize, entry: Entry, changes: &mut Changes) {
        machine::apply(&self.plan, &mut self.profiles[profile], entry, &mut TailOnly, changes);
    }

    /// Fires what is due.
    fn settle(&mut self, at: usize, changes: &mut Changes) {
        let mut slots = std::mem::take(&mut changes.due);
        slots.sort_unstable();
        let profile = &self.profiles[at];
        let cause = changes.applied.and_then(|seq| profile.tail.iter().rev().find(|entry| entry.moment.seq == seq));
        let chain: Box<[Link]> = match cause.map(|entry| &entry.kind) {
            Some(EntryKind::Event(event)) => event.chain.clone(),
            _ => Box::default(),
        };
        for slot in slots {
            let Some(due) = machine::due(&self.plan, &self.profiles[at], slot) else { continue };
            let fired = self.fired(at, slot, due, &chain);
            let clock = self.profiles[at].core.clock;
            let entry = self.entry(clock.0, clock, EntryKind::Fired(fired));
            let id = self.profiles[at].core.id;
            for job in job::of(&self.plan, id, &entry) {
                match job.work {
                    Work::Webhook { ref body, .. } => self.calls.push(serde_json::from_str(body).expect("JSON")),
                    work => self.waiting.push_back((id, work)),
                }
            }
            self.put(at, entry, changes);
        }
    }

    fn fired(&self, at: usize, slot: RuleSlot, due: Due, chain: &[Link]) -> Fired {
        let profile = &self.profiles[at];
        let rule = self.plan.rule_plan(slot);
        let (what, marker) = match due {
            Due::Fire { marker, .. } if chain.contains(&Link::Rule(slot)) => (Firing::Quiet, marker),
            Due::Fire { what, marker } => (what, marker),
            _ => (Firing::Cleared, 0),
        };
        let mut attributes: Vec<(PathRef, Option<Value>)> = Vec::new();
        if matches!(what, Firing::Met | Firing::Backfill) {
            for effect in rule.into_iter().flat_map(|rule| &rule.def.effects) {
                if let Effect::Attribute { path, value, .. } = effect {
                    attributes.push((path.clone(), Some(value.clone())));
                }
            }
        }
        if matches!(due, Due::Clear { attributes: true } | Due::Purge) {
            attributes.extend(profile.core.set_by.iter().filter(|(_, by)| *by == slot).map(|(path, _)| (path.clone(), None)));
        }
        Fired {
            rule: slot,
            what,
            marker,
            metric: machine::metric(&self.plan, profile, slot),
            attributes: attributes.into(),
            chain: chain.into(),
            channel: ChannelSlot(0),
            context: Props::default(),
        }
    }

    /// Tracks the events that what fired has brought about, and those that these bring about.
    fn follow(&mut self) {
        while let Some((id, work)) = self.waiting.pop_front() {
            let Work::Track { event, properties, t, chain, .. } = work else { continue };
            if chain.len() > CHAIN_MAX {
                self.refused += 1;
                continue;
            }
            let at = self.profiles.iter().position(|p| p.core.id == id || p.core.absorbed.contains(&id)).expect("a profile");
            let schema = &self.plan.event_plan(event).expect("an event").schema;
            let props = schema.validate(properties.as_deref().unwrap_or(""), &self.plan.zone).expect("valid");
            let occurrence = Occurrence { event, version: 1, channel: ChannelSlot(0), props, context: Props::default(), chain };
            self.input(at, t.0, EntryKind::Event(occurrence));
        }
    }

    fn input(&mut self, profile: usize, t: i64, kind: EntryKind) {
        self.catch_up(profile);
        let mut changes = Changes::default();
        let entry = self.entry(t, Millis(self.now), kind);
        self.put(profile, entry, &mut changes);
        self.settle(profile, &mut changes);
    }

    pub(crate) fn track(&mut self, profile: usize, name: &str, t: i64, properties: &Json) {
        let def = self.plan.event_by_name(name).expect("an event");
        let props = def.schema.validate(&properties.to_string(), &self.plan.zone).expect("valid");
        let (event, context, chain) = (def.slot, Props::default(), Box::default());
        let occurrence = Occurrence { event, version: 1, channel: ChannelSlot(0), props, context, chain };
        self.input(profile, t, EntryKind::Event(occurrence));
        self.follow();
    }

    /// Time passes to `now`.
    pub(crate) fn pass(&mut self, now: i64) {
        self.now = now;
        for profile in 0..self.profiles.len() {
            self.catch_up(profile);
        }
        self.follow();
    }

    /// The second profile becomes part of the first.
    pub(crate) fn merge(&mut self) {
        self.catch_up(0);
        self.catch_up(1);
        self.follow();
        let follower = self.profiles.remove(1);
        let mut custom = self.profiles[0].core.custom.clone();
        for (path, _) in &follower.core.set_by {
            if rule::find(&custom, path).is_none()
                && let Some(value) = rule::find(&follower.core.custom, path)
            {
                custom = rule::put(&custom, path, value.clone());
            }
        }
        let absorbed = vec![follower.absorbed_by(self.profiles[0].core.id)];
        let own = Some(self.profiles[0].core.custom.clone());
        let mut changes = Changes::default();
        let now = Millis(self.now);
        machine::absorb(&self.plan, &mut self.profiles[0], vec![follower], now, &mut TailOnly, &mut changes);
        // One log in memory, whoever wrote what: the driver takes entries out of it.
        let leader = &mut self.profiles[0];
        leader.tail.extend(leader.inherited.drain(..).map(|(_, entry)| entry));
        leader.tail.sort_by_key(|entry| entry.moment);
        let identified = Identified { identities: Vec::new(), custom: Some(custom), absorbed, own };
        let entry = self.entry(self.now, now, EntryKind::Identified(identified));
        self.put(0, entry, &mut changes);
        self.settle(0, &mut changes);
        self.follow();
    }

    /// The event number `which` of a profile has never happened. False where it has none.
    pub(crate) fn erase(&mut self, profile: usize, which: usize) -> Option<Moment> {
        self.catch_up(profile);
        self.follow();
        let tail = &mut self.profiles[profile].tail;
        let events: Vec<usize> = (0..tail.len()).filter(|i| matches!(tail[*i].kind, EntryKind::Event(_))).collect();
        let gone = tail.remove(*events.get(which % events.len().max(1))?);
        self.refold(profile);
        Some(gone.moment)
    }

    fn refold(&mut self, profile: usize) {
        let mut changes = Changes::default();
        machine::rebuild(&self.plan, &mut self.profiles[profile], false, &mut TailOnly, &mut changes);
        self.settle(profile, &mut changes);
        self.follow();
    }

    /// Definitions change.
    pub(crate) fn edit(&mut self, document: &Json) {
        let catalog = apply(&self.plan.catalog, document);
        self.swap(catalog);
    }

    pub(crate) fn remove(&mut self, key: &str, purge: bool) {
        let removed = if purge {
            self.plan.catalog.remove_rule_and_attributes(key, false)
        } else {
            self.plan.catalog.remove(Kind::Rule, key, false)
        };
        self.swap(removed.expect("goes").0);
    }

    fn swap(&mut self, catalog: Catalog) {
        self.pass(self.now);
        self.plan = compile(catalog);
        for profile in 0..self.profiles.len() {
            if self.profiles[profile].core.generation != self.plan.generation {
                self.profiles[profile].core.generation = self.plan.generation;
                self.refold(profile);
            }
        }
    }

    /// What fired, as `(time, key, how, multiple or period)`, in the order of the log.
    pub(crate) fn fired_log(&self, profile: usize) -> Vec<(i64, String, Firing, i64)> {
        let mut entries: Vec<&Entry> = self.profiles[profile].tail.iter().collect();
        entries.sort_by_key(|entry| entry.moment);
        let rules = self.plan.catalog.definitions(Kind::Rule);
        let fired = entries.into_iter().filter_map(|entry| match &entry.kind {
            EntryKind::Fired(fired) => Some((entry.moment.t.0, rules[fired.rule.index()].key.clone(), fired.what, fired.marker)),
            _ => None,
        });
        fired.collect()
    }

    pub(crate) fn attributes(&self, profile: usize) -> Json {
        self.plan.paths.render(&self.profiles[profile].core.custom)
    }

    pub(crate) fn metric(&self, profile: usize, key: &str) -> Option<Value> {
        machine::metric(&self.plan, &self.profiles[profile], self.plan.rule_by_key(key)?.slot)
    }

    pub(crate) fn events(&self, profile: usize, name: &str) -> usize {
        let slot = self.plan.event_by_name(name).expect("an event").slot;
        let is = |entry: &&Entry| matches!(&entry.kind, EntryKind::Event(event) if event.event == slot);
        self.profiles[profile].tail.iter().filter(is).count()
    }
}
