//! Drives one definition over one profile's inputs, the way the engine does: due deadlines first, one by
//! one, then the event; late events of a state that cannot take them fold the log again.

use super::names::{channel, event, path};
use lodestone_state::audience::{AudienceDef, AudienceState};
use lodestone_state::event::{Occurrence, Props};
use lodestone_state::expr::{Facts, Source, Truth, descend};
use lodestone_state::ids::{Millis, Moment, Seq};
use lodestone_state::time::parse_rfc3339;
use lodestone_state::traits::{TraitDef, TraitState};
use lodestone_state::value::Value;
use serde_json::Value as Json;
use std::borrow::Cow;

/// `10:00`, `03-05T10:00`, `10:00:00.123` as an instant, on 2024-03-01 unless dated.
pub(crate) fn at(text: &str) -> Millis {
    let (date, time) = text.split_once('T').unwrap_or(("03-01", text));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    parse_rfc3339(&format!("2024-{date}T{time}Z")).unwrap_or_else(|| panic!("{text} is no time"))
}

/// An event with JSON properties, `dateTime` as the schema would have cast it.
pub(crate) fn occurrence(name: &str, on: &str, properties: &Json) -> Occurrence {
    let object = properties.as_object().cloned().unwrap_or_default();
    let props = object.iter().filter(|(_, json)| !json.is_null()).map(|(key, json)| {
        let cast = json.as_str().filter(|_| key == "when").and_then(parse_rfc3339).map(Value::Time);
        (path(key), cast.unwrap_or_else(|| Value::from_json(json)))
    });
    let props = Props::new(props.collect());
    Occurrence { event: event(name), version: 1, channel: channel(on), props, context: Props::default(), chain: Box::default() }
}

/// What the engine asks of a definition.
pub(crate) trait Machine {
    type State: Clone;
    fn fresh(&self, folding: bool) -> Self::State;
    fn feed(&self, state: &mut Self::State, moment: Moment, occurrence: &Occurrence, facts: &Custom, now: Millis) -> bool;
    fn advance(&self, state: &mut Self::State, now: Millis) -> bool;
    fn deadline(&self, state: &Self::State) -> Millis;
    fn settle(&self, state: &mut Self::State);
    fn reads_profile(&self) -> bool;
}

impl Machine for TraitDef {
    type State = TraitState;
    fn fresh(&self, folding: bool) -> TraitState {
        if folding { self.fold_state() } else { self.new_state() }
    }
    fn feed(&self, state: &mut TraitState, moment: Moment, occurrence: &Occurrence, facts: &Custom, now: Millis) -> bool {
        let before = self.value(state);
        let fed = TraitDef::feed(self, state, moment, occurrence, facts, now);
        assert!(fed.changed || self.value(state) == before, "a change was not told");
        fed.needs_history
    }
    fn advance(&self, state: &mut TraitState, now: Millis) -> bool {
        let before = self.value(state);
        let fed = TraitDef::advance(self, state, now);
        assert!(fed.changed || self.value(state) == before, "a change was not told");
        fed.needs_history
    }
    fn deadline(&self, state: &TraitState) -> Millis {
        TraitDef::deadline(self, state)
    }
    fn settle(&self, state: &mut TraitState) {
        TraitDef::settle(self, state);
    }
    fn reads_profile(&self) -> bool {
        TraitDef::reads_profile(self)
    }
}

impl Machine for AudienceDef {
    type State = AudienceState;
    fn fresh(&self, folding: bool) -> AudienceState {
        if folding { self.fold_state() } else { self.new_state() }
    }
    fn feed(&self, state: &mut AudienceState, moment: Moment, occurrence: &Occurrence, facts: &Custom, now: Millis) -> bool {
        let fed = AudienceDef::feed(self, state, moment, occurrence, facts, now);
        fed.needs_history
    }
    fn advance(&self, state: &mut AudienceState, now: Millis) -> bool {
        AudienceDef::advance(self, state, now).needs_history
    }
    fn deadline(&self, state: &AudienceState) -> Millis {
        AudienceDef::deadline(self, state)
    }
    fn settle(&self, state: &mut AudienceState) {
        AudienceDef::settle(self, state);
    }
    fn reads_profile(&self) -> bool {
        AudienceDef::reads_profile(self)
    }
}

/// What a person is like at one moment.
#[derive(Clone, Default)]
pub(crate) struct Custom {
    pub(crate) custom: Props,
    /// Computed traits that count, by their place; where nobody is told of them, there are none.
    pub(crate) computed: Vec<Option<i64>>,
}

impl Custom {
    /// Becomes what an entry says, if it says anything of the person.
    pub(crate) fn become_as(&mut self, entry: &Entry) {
        match entry {
            Entry::Custom(custom) => self.custom.clone_from(custom),
            Entry::Computed(computed) => self.computed.clone_from(computed),
            Entry::Event(_) => {}
        }
    }
}

impl Facts for Custom {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        let Source::Custom(path) = source else { return None };
        descend(self.custom.get(path.path)?, &path.rest).map(Cow::Borrowed)
    }
}

/// One entry of the log.
#[derive(Clone)]
pub(crate) enum Entry {
    Event(Occurrence),
    Custom(Props),
    /// Not written by anybody: what computed traits are from here on.
    Computed(Vec<Option<i64>>),
}

impl Entry {
    /// Whom somebody likes best from here on, if the entry says it.
    pub(crate) fn favourite(&self) -> Option<Option<char>> {
        let Self::Custom(custom) = self else { return None };
        Some(match custom.get(path("fav")) {
            Some(Value::Str(text)) => text.chars().next(),
            _ => None,
        })
    }
}

pub(crate) struct Rig<'a, M: Machine> {
    pub(crate) def: &'a M,
    pub(crate) state: M::State,
    pub(crate) log: Vec<(Moment, Entry)>,
    pub(crate) custom: Custom,
    pub(crate) clock: Millis,
    pub(crate) refolds: usize,
    newest: Moment,
    seq: u64,
}

/// Before everything in a test.
pub(crate) const BEGINNING: Millis = Millis(0);

impl<'a, M: Machine> Rig<'a, M> {
    pub(crate) fn new(def: &'a M) -> Self {
        let newest = Moment { t: BEGINNING, seq: Seq(0) };
        Self {
            def,
            state: def.fresh(false),
            log: Vec::new(),
            custom: Custom::default(),
            clock: BEGINNING,
            refolds: 0,
            newest,
            seq: 0,
        }
    }

    /// Leaves out log positions.
    pub(crate) fn skip(&mut self, positions: u64) {
        self.seq += positions;
    }

    /// An event in time.
    pub(crate) fn track(&mut self, name: &str, time: &str, properties: Json) -> &mut Self {
        self.event(occurrence(name, "web", &properties), at(time), at(time), &mut |_, _| {});
        self
    }

    /// Applies an event of time `t` that arrives at `now`. `watch` sees the state at each instant.
    pub(crate) fn event(&mut self, occurrence: Occurrence, t: Millis, now: Millis, watch: &mut impl FnMut(&Self, Millis)) {
        self.pass(now, watch);
        self.seq += 1;
        let moment = Moment { t, seq: Seq(self.seq) };
        let late = moment < self.newest;
        let mut dry = self.def.feed(&mut self.state, moment, &occurrence, &self.custom, now);
        dry |= late && self.def.reads_profile();
        self.newest = self.newest.max(moment);
        self.enter(moment, Entry::Event(occurrence));
        if dry {
            self.refold();
        }
        watch(self, now);
    }

    /// The custom traits become these.
    pub(crate) fn identify(&mut self, custom: Props, now: Millis, watch: &mut impl FnMut(&Self, Millis)) {
        self.pass(now, watch);
        self.seq += 1;
        let moment = Moment { t: now, seq: Seq(self.seq) };
        self.enter(moment, Entry::Custom(custom.clone()));
        self.newest = self.newest.max(moment);
        self.custom.custom = custom;
        watch(self, now);
    }

    /// Time passes: every deadline fires at its own instant.
    pub(crate) fn pass(&mut self, now: Millis, watch: &mut impl FnMut(&Self, Millis)) {
        loop {
            let due = self.def.deadline(&self.state);
            if due > now || due == Millis::MAX {
                break;
            }
            assert!(due > self.clock, "a deadline must lie ahead: {due:?} at {:?}", self.clock);
            watch(self, due.minus(1));
            let dry = self.def.advance(&mut self.state, due);
            self.clock = due;
            if dry {
                self.refold();
            }
            watch(self, due);
        }
        self.clock = self.clock.max(now);
        watch(self, now);
    }

    /// The state of the whole log in order, as of the clock.
    pub(crate) fn folded(&self) -> M::State {
        let mut state = self.def.fresh(true);
        let mut custom = Custom::default();
        for (moment, entry) in &self.log {
            self.step(&mut state, moment.t);
            custom.become_as(entry);
            if let Entry::Event(occurrence) = entry {
                let dry = self.def.feed(&mut state, *moment, occurrence, &custom, moment.t);
                assert!(!dry, "nothing is late in a fold");
            }
        }
        self.step(&mut state, self.clock);
        self.def.settle(&mut state);
        state
    }

    fn step(&self, state: &mut M::State, now: Millis) {
        while self.def.deadline(state) <= now {
            let due = self.def.deadline(state);
            if due == Millis::MAX {
                break;
            }
            assert!(!self.def.advance(state, due), "a fold needs no history");
        }
    }

    fn enter(&mut self, moment: Moment, entry: Entry) {
        let at = self.log.partition_point(|(other, _)| *other < moment);
        self.log.insert(at, (moment, entry));
    }

    fn refold(&mut self) {
        self.refolds += 1;
        self.state = self.folded();
    }
}

impl Rig<'_, TraitDef> {
    pub(crate) fn value(&self) -> Option<Value> {
        self.def.value(&self.state)
    }

    /// The value once time has passed to `time`.
    pub(crate) fn value_at(&mut self, time: &str) -> Option<Value> {
        self.pass(at(time), &mut |_, _| {});
        self.value()
    }
}

impl Rig<'_, AudienceDef> {
    pub(crate) fn truth(&self, now: Millis) -> Truth {
        self.def.membership(&self.state, &self.custom, true, now)
    }

    pub(crate) fn member(&self) -> bool {
        self.truth(self.clock).holds
    }

    /// Whether the profile is a member once time has passed to `time`.
    pub(crate) fn member_at(&mut self, time: &str) -> bool {
        self.pass(at(time), &mut |_, _| {});
        self.member()
    }

    /// When membership changes next by itself.
    pub(crate) fn next(&self) -> Millis {
        self.truth(self.clock).until.min(self.def.deadline(&self.state))
    }
}
