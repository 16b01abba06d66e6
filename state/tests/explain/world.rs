//! One person, random audiences and a random history.

use lodestone_state::event::{Entry, EntryKind, Identified, Identity, Occurrence, Props};
use lodestone_state::explain::{Case, Change, Evidence, Known, Needs, Proposal};
use lodestone_state::ids::{AudienceSlot, ChannelSlot, Millis, Moment, PathId, ProfileId, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, CatalogDocument, Plan};
use lodestone_state::profile::Profile;
use lodestone_state::value::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::sync::Arc;

pub(crate) const START: i64 = 1_709_251_200_000;
const MINUTE: i64 = 60_000;

fn property(key: &str, kind: &str) -> Json {
    json!({"id": key, "name": key, "properties": {"key": key, "type": kind}})
}

/// A plan with one audience, `x`, beside two that it may name.
pub(crate) fn plan(audience: &Json) -> Plan {
    let structure = json!([property("n", "integer"), property("s", "string"), property("price", "float")]);
    let event = |name: &str| json!({"name": name, "structure": structure});
    let counted = |key: &str, event: &str, conditions: Json, properties: Json| json!({"name": key, "key": key, "type": "count_events", "eventId": event, "conditions": conditions, "properties": properties});
    let of = |key: &str, kind: &str, event: &str, properties: Json| json!({"name": key, "key": key, "type": kind, "eventId": event, "conditions": [], "properties": properties});
    let big = json!([{"property": "n", "type": "integer", "operator": "greater_than", "value": 3}]);
    let grown = json!([{"source": "custom", "key": "age", "dataType": "integer", "operator": "greater_than", "value": 30}]);
    let document = json!({
        "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
        "events": [event("A"), event("B"), event("C")],
        "customTraits": {"structure": [property("age", "integer"), property("city", "string"), property("vip", "boolean")]},
        "computedTraits": [
            counted("countA", "A", json!([]), json!({})),
            counted("bigA", "A", big, json!({})),
            counted("recentB", "B", json!([]), json!({"window": {"amount": 90, "unit": "minutes"}})),
            of("spent", "aggregation", "B", json!({"property": "price", "type": "float", "aggregationType": "sum"})),
            of("mean", "aggregation", "B", json!({"property": "price", "type": "float", "aggregationType": "avg"})),
            of("most", "aggregation", "A", json!({"property": "n", "type": "integer", "aggregationType": "max",
                "window": {"amount": 120, "unit": "minutes"}})),
            of("lastS", "last_event", "A", json!({"property": "s", "type": "string"})),
            of("firstS", "first_event", "C", json!({"property": "s", "type": "string"})),
            of("oftenS", "most_frequent", "C", json!({"property": "s", "type": "string", "minFrequency": 2})),
            of("listS", "unique_list", "B", json!({"property": "s", "type": "string"})),
            of("kinds", "unique_list_count", "C", json!({"property": "s", "type": "string"}))],
        "audiences": [
            {"name": "grown", "key": "grown", "includeAnonymous": true, "events": [], "traits": grown},
            {"name": "active", "key": "active", "includeAnonymous": true, "traits": [], "events": [
                {"id": "A", "operator": "more_or_exactly", "count": 2, "timeWindowOperator": "within", "timeWindowStart": 2, "timeWindowUnit": "hours"}]},
            audience],
    });
    let document = CatalogDocument::from_json(&document).expect("a document");
    let (catalog, _) = Catalog::default().apply(&document).unwrap_or_else(|issues| panic!("{issues:#?}"));
    Plan::compile(Arc::new(catalog)).expect("compiles")
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words.to_vec())
}

const ORDER: &[&str] = &["equals", "not_equals", "less_than", "greater_than", "less_than_or_equal", "greater_than_or_equal"];
const TEXT: &[&str] = &["equals", "not_equals", "contains", "starts_with"];

fn property_leaf() -> impl Strategy<Value = Json> {
    prop_oneof![
        (word(ORDER), -1..6_i64).prop_map(|(op, n)| json!({"key": "n", "dataType": "integer", "operator": op, "value": n})),
        (word(TEXT), word(&["x", "y"])).prop_map(|(op, s)| json!({"key": "s", "dataType": "string", "operator": op, "value": s})),
        word(&["exists", "not_exists"]).prop_map(|op| json!({"key": "price", "dataType": "float", "operator": op})),
        (word(ORDER), Just("age")).prop_map(|(op, key)| json!({"key": "n", "dataType": "integer", "operator": op,
            "target": "custom_trait", "traitKey": key})),
    ]
}

fn trait_leaf() -> impl Strategy<Value = Json> {
    let custom = prop_oneof![
        (word(ORDER), 15..35_i64).prop_map(|(op, n)| json!({"key": "age", "dataType": "integer", "operator": op, "value": n})),
        (word(TEXT), word(&["x", "y"]))
            .prop_map(|(op, s)| json!({"key": "city", "dataType": "string", "operator": op, "value": s})),
        word(&["true", "false", "exists", "not_exists"])
            .prop_map(|op| json!({"key": "vip", "dataType": "boolean", "operator": op})),
    ]
    .prop_map(|mut leaf| {
        leaf["source"] = "custom".into();
        leaf
    });
    let number = prop_oneof![
        (word(&["countA", "bigA", "recentB", "kinds"]), 0..5_i64).prop_map(|(key, n)| (key, "integer", json!(n))),
        (word(&["spent", "mean", "most"]), -3..9_i64).prop_map(|(key, n)| (key, "float", json!(n as f64 + 0.5))),
    ];
    let computed = prop_oneof![
        3 => (number, word(ORDER)).prop_map(|((key, kind, n), op)| json!({"key": key, "dataType": kind, "operator": op, "value": n})),
        1 => (word(&["lastS", "firstS", "oftenS"]), word(TEXT), word(&["x", "y"]))
            .prop_map(|(key, op, s)| json!({"key": key, "dataType": "string", "operator": op, "value": s})),
        1 => (word(&["contains", "does_not_contain"]), word(&["x", "y"]))
            .prop_map(|(op, s)| json!({"key": "listS", "dataType": "array", "operator": op, "value": s})),
    ]
    .prop_map(|mut leaf| {
        leaf["source"] = "computed".into();
        leaf
    });
    let member = (word(&["grown", "active"]), word(&["true", "false"]))
        .prop_map(|(key, op)| json!({"source": "audience", "key": key, "dataType": "boolean", "operator": op}));
    prop_oneof![4 => custom, 4 => computed, 1 => member]
}

fn trait_condition() -> impl Strategy<Value = Json> {
    trait_leaf().prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| json!({"any": parts})),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| json!({"all": parts})),
            inner.prop_map(|part| json!({"not": part})),
        ]
    })
}

fn windowed() -> impl Strategy<Value = Json> {
    prop_oneof![
        3 => Just(json!({})),
        2 => (1..4_i64).prop_map(|n| json!({"timeWindowOperator": "within", "timeWindowStart": n, "timeWindowUnit": "hours"})),
        1 => (0..3_i64, 1..3_i64).prop_map(|(from, len)| json!({"timeWindowOperator": "in_between", "timeWindowStart": from,
            "timeWindowEnd": from + len, "timeWindowUnit": "hours"})),
    ]
}

fn over(mut base: Json, more: &Json) -> Json {
    for (key, value) in more.as_object().expect("an object") {
        base[key] = value.clone();
    }
    base
}

const EVENTS: &[&str] = &["A", "B", "C"];
const COUNTS: &[&str] = &["exactly", "less_than", "more_than", "less_or_exactly", "more_or_exactly"];

fn count() -> impl Strategy<Value = Json> {
    let properties = prop::collection::vec(property_leaf(), 0..2);
    (word(EVENTS), word(COUNTS), 1..4_u32, prop::bool::weighted(0.15), windowed(), properties, prop::bool::weighted(0.2)).prop_map(
        |(event, op, count, exclude, window, properties, only_app)| {
            let channels = if only_app { json!(["app"]) } else { json!([]) };
            let base = json!({"id": event, "operator": op, "count": count, "exclude": exclude, "properties": properties, "channels": channels});
            over(base, &window)
        },
    )
}

fn id(i: usize) -> String {
    format!("00000000-0000-4000-8000-{i:012}")
}

fn chain() -> impl Strategy<Value = Vec<Json>> {
    let gap = prop_oneof![
        3 => Just(json!({})),
        1 => (1..90_i64).prop_map(|n| json!({"withinPrevious": {"max": {"amount": n, "unit": "minutes"}}})),
        1 => (1..60_i64).prop_map(|n| json!({"withinPrevious": {"min": {"amount": n, "unit": "minutes"}}})),
    ];
    let step = (
        word(EVENTS),
        1..3_u32,
        windowed(),
        gap,
        prop::collection::vec(property_leaf(), 0..2),
        word(&["more_or_exactly", "more_or_exactly", "exactly"]),
    );
    let guard = (word(EVENTS), prop::option::of(1..60_i64), word(&["within", "forAtLeast"]));
    let compares = prop::bool::weighted(0.25);
    (prop::collection::vec(step, 2..4), prop::option::weighted(0.4, (0..3_usize, guard)), compares).prop_map(|(steps, guard, compares)| {
        let mut list = Vec::new();
        let last = steps.len() - 1;
        let mut parent = None;
        for (i, (event, count, window, gap, mut properties, operator)) in steps.into_iter().enumerate() {
            if compares && i == last {
                properties.push(json!({"key": "s", "dataType": "string", "operator": "equals", "target": "funnel_property",
                    "internalEventId": id(100), "eventProperty": "s"}));
            }
            let own = id(100 + list.len());
            let base = json!({"id": event, "internalId": own, "parentId": parent, "operator": operator, "count": count, "properties": properties});
            list.push(over(over(base, &window), if i == 0 { &EMPTY } else { &gap }));
            parent = Some(own);
            if let Some((at, (event, minutes, kind))) = &guard
                && (*at).min(last) == i
            {
                let own = id(100 + list.len());
                let mut exclusion = json!({"id": event, "internalId": own, "parentId": parent, "exclude": true});
                if let Some(minutes) = minutes
                    && (i == last || *kind == "within")
                {
                    exclusion[*kind] = json!({"amount": minutes, "unit": "minutes"});
                }
                list.push(exclusion);
                parent = Some(own);
            }
        }
        list
    })
}

static EMPTY: std::sync::LazyLock<Json> = std::sync::LazyLock::new(|| json!({}));

/// An audience of any form.
pub(crate) fn audience() -> impl Strategy<Value = Json> {
    let counts = prop::collection::vec(count(), 0..3);
    let chains = prop::option::weighted(0.4, chain());
    let traits = prop::collection::vec(trait_condition(), 0..3);
    (counts, chains, traits, prop::bool::weighted(0.8)).prop_map(|(counts, chain, traits, include_anonymous)| {
        let events: Vec<Json> = counts.into_iter().chain(chain.unwrap_or_default()).collect();
        json!({"name": "x", "key": "x", "includeAnonymous": include_anonymous, "events": events, "traits": traits})
    })
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Event { event: &'static str, app: bool, n: Option<i64>, s: Option<&'static str>, price: Option<i64>, after: i64 },
    Custom { age: Option<i64>, city: Option<&'static str>, vip: Option<bool>, known: bool },
}

pub(crate) fn history() -> impl Strategy<Value = Vec<Input>> {
    let event = (
        word(EVENTS),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.8, -1..7_i64),
        prop::option::weighted(0.8, word(&["x", "y", "xy"])),
        prop::option::weighted(0.8, -3..9_i64),
        0..70_i64,
    )
        .prop_map(|(event, app, n, s, price, after)| Input::Event { event, app, n, s, price, after });
    let custom =
        (prop::option::of(15..35_i64), prop::option::of(word(&["x", "y"])), prop::option::of(any::<bool>()), any::<bool>())
            .prop_map(|(age, city, vip, known)| Input::Custom { age, city, vip, known });
    prop::collection::vec(prop_oneof![6 => event, 1 => custom], 0..14)
}

/// One person under one plan.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) x: AudienceSlot,
    pub(crate) profile: Profile,
    pub(crate) entries: Vec<Entry>,
    pub(crate) now: Millis,
}

impl World {
    pub(crate) fn new(audience: &Json, inputs: &[Input], rest: i64) -> Self {
        let plan = plan(audience);
        let x = plan.audience_by_key("x").expect("the audience").slot;
        let mut profile = Profile::new(ProfileId(1), Millis(START), plan.generation);
        machine::born(&plan, &mut profile, Millis(START), &mut Changes::default());
        let mut world = Self { plan, x, profile, entries: Vec::new(), now: Millis(START) };
        for input in inputs {
            match input {
                Input::Event { event, app, n, s, price, after } => {
                    world.now = world.now.plus(after * MINUTE);
                    let mut pairs = Vec::new();
                    pairs.extend(n.map(|n| (world.path("n"), Value::Int(n))));
                    pairs.extend(s.map(|s| (world.path("s"), s.into())));
                    pairs.extend(price.map(|price| (world.path("price"), Value::Float(price as f64 + 0.25))));
                    let kind = world.event(event, ChannelSlot(u16::from(*app)), Props::new(pairs));
                    world.apply(kind);
                }
                Input::Custom { age, city, vip, known } => {
                    let mut pairs = Vec::new();
                    pairs.extend(age.map(|age| (world.path("age"), Value::Int(age))));
                    pairs.extend(city.map(|city| (world.path("city"), city.into())));
                    pairs.extend(vip.map(|vip| (world.path("vip"), Value::Bool(vip))));
                    let identified = Identified {
                        identities: vec![identity(*known)],
                        custom: Some(Props::new(pairs)),
                        absorbed: Vec::new(),
                        own: None,
                    };
                    world.apply(EntryKind::Identified(identified));
                }
            }
        }
        let end = world.now.plus(rest * MINUTE);
        world.pass(end);
        world.entries = world.profile.tail.clone();
        world
    }

    pub(crate) fn path(&self, key: &str) -> PathId {
        self.plan.paths.get(key).expect("a known path")
    }

    pub(crate) fn event(&self, name: &str, channel: ChannelSlot, props: Props) -> EntryKind {
        let event = self.plan.event_by_name(name).expect("an event").slot;
        EntryKind::Event(Occurrence { event, version: 1, channel, props, context: Props::default(), chain: Box::default() })
    }

    pub(crate) fn apply(&mut self, kind: EntryKind) {
        let moment = Moment { t: self.now, seq: Seq(self.profile.core.applied.0 + 1) };
        let entry = Entry { moment, at: self.now, user_id: "u1".into(), message_id: None, id: moment.seq.0.into(), kind };
        machine::apply(&self.plan, &mut self.profile, entry, &mut Known(&[]), &mut Changes::default());
    }

    pub(crate) fn pass(&mut self, to: Millis) {
        machine::advance(&self.plan, &mut self.profile, to, &mut Known(&[]), &mut Changes::default());
        self.now = self.now.max(to);
    }

    pub(crate) fn member(&self) -> bool {
        self.profile.member_since(self.x).is_some()
    }

    /// The question, as an explanation takes it.
    pub(crate) fn asked<T>(&self, work: impl FnOnce(&Case<'_>) -> T) -> T {
        let needs = Needs::of_audience(&self.plan, self.x);
        let audiences: Vec<_> = needs.audiences.into_iter().collect();
        let evidence = Evidence::gather(&self.plan, self.profile.core.id, &self.entries, self.now, &audiences, &[]);
        let case = Case::new(&self.plan, &self.profile, &self.entries, self.now, &evidence);
        work(&case)
    }

    /// Another world in which the proposal came true. The changes are made here by themselves, not by the
    /// code that tried them.
    pub(crate) fn after(&self, proposal: &Proposal) -> Self {
        let mut world = self.copy();
        for step in &proposal.steps {
            world.pass(step.at.max(world.now));
            match &step.change {
                Change::Track { event, channel, props, times, .. } => {
                    for _ in 0..*times {
                        let name = world.plan.event_name(*event).to_owned();
                        let kind = world.event(&name, *channel, props.clone());
                        world.apply(kind);
                    }
                }
                Change::Custom { path, value, .. } => {
                    let others = world.profile.core.custom.iter().filter(|(known, _)| *known != path.path).cloned();
                    let pairs = others.chain(value.clone().map(|value| (path.path, value))).collect();
                    let identified = Identified { custom: Some(Props::new(pairs)), ..Identified::default() };
                    world.apply(EntryKind::Identified(identified));
                }
                Change::Identify => {
                    world.apply(EntryKind::Identified(Identified { identities: vec![identity(true)], ..Identified::default() }));
                }
                other => panic!("{other:?} is for actions"),
            }
        }
        world.pass(proposal.at.max(world.now));
        world
    }

    pub(crate) fn copy(&self) -> Self {
        Self {
            plan: plan_again(&self.plan),
            x: self.x,
            profile: self.profile.clone(),
            entries: self.entries.clone(),
            now: self.now,
        }
    }

    /// Membership by the fold of the whole log.
    pub(crate) fn member_by_fold(&self) -> bool {
        let mut entries = self.profile.tail.clone();
        entries.sort_by_key(|entry| entry.moment);
        machine::fold(&self.plan, self.profile.core.id, &entries, self.now).member_since(self.x).is_some()
    }
}

fn plan_again(plan: &Plan) -> Plan {
    Plan::compile(plan.catalog.clone()).expect("compiled before")
}

fn identity(known: bool) -> Identity {
    Identity {
        channel: ChannelSlot(0),
        kind: "user_id".into(),
        user_id: "u1".into(),
        is_anonymous: !known,
        created_at: Millis(START),
    }
}
