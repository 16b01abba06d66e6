//! The core without sockets: (a) what applying an event costs, stage by stage, and (d) how that grows with
//! the number of actions.
//!
//! `cargo bench --bench apply`. One thread, the demo shop's definitions, everything in memory. The yardstick
//! is a bare loop over the same store: find the profile by user id, lock it, add one.

mod support;

use lodestone::engine::api::{Caller, Hello, Stored, SubscribeInput, TrackInput};
use lodestone::engine::{Engine, Options};
use lodestone::journal::SyncMode;
use lodestone::runtime::clock::SystemClock;
use lodestone_state::event::{Entry, EntryKind, Occurrence};
use lodestone_state::ids::{Millis, Moment, ProfileId, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, CatalogDocument, Plan};
use lodestone_state::profile::{Profile, TailOnly};
use lodestone_state::store::Store;
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const USERS: u64 = 10_000;
const SHOP: &str = include_str!("../web/shop/catalog.json");
/// Entries that a profile keeps in memory before the bench drops them, as a checkpoint would.
const TAIL_MAX: usize = 64;
const EVENT: &str = "Product Viewed";
const PROPERTIES: &str = r#"{"product":"Dusk table lamp","price":94.5,"category":"Light"}"#;

#[expect(clippy::print_stdout, reason = "a bench reports on stdout")]
fn main() {
    if !support::wanted() {
        return;
    }
    println!("machine: {}; one thread, {USERS} profiles, {} s each", support::machine(), support::seconds(3).as_secs());
    let core = core();
    support::table("(a) one event of the demo shop: ns per event", "ns", &core);
    let rates: Vec<_> = core.iter().map(|(name, ns)| (name.clone(), 1e9 / ns)).collect();
    support::table("(a) the same as a rate", "events/s", &rates);
    let mut growth = Vec::new();
    for (name, same_trait) in [("on other traits", false), ("on the trait that changed", true)] {
        let rows: Vec<_> = [1, 10, 100, 1000].map(|n| (format!("{n} actions {name}"), actions(n, same_trait))).into();
        support::table(&format!("(d) one event, one action due, the rest {name}: ns per event"), "ns", &rows);
        growth.push(json!({"others": name, "nsPerEvent": rows.iter().map(|(_, ns)| *ns).collect::<Vec<_>>()}));
    }
    let stages: Value = core.iter().map(|(name, ns)| json!({"stage": name, "nsPerEvent": ns, "ratio": ns / core[0].1})).collect();
    support::write("apply", json!({"core": stages, "actions": {"counts": [1, 10, 100, 1000], "growth": growth}}));
}

/// Nanoseconds per call, from as many calls as fit into the time of a measurement.
fn measure(mut call: impl FnMut(u64)) -> f64 {
    let time = support::seconds(3);
    let warm_up = USERS * 2;
    for number in 0..warm_up {
        call(number);
    }
    // Numbers go on, and with them the events' times: a late event is another measurement.
    let (started, mut number) = (Instant::now(), warm_up);
    // The clock is read once per thousand calls, so that it is no part of the result.
    while started.elapsed() < time {
        for _ in 0..1000 {
            call(number);
            number += 1;
        }
    }
    started.elapsed().as_nanos() as f64 / (number - warm_up) as f64
}

/// The stages of an event, each with everything before it left out.
fn core() -> Vec<(String, f64)> {
    let document = CatalogDocument::parse(SHOP).expect("the demo's catalog is valid");
    let (catalog, _) = Catalog::default().apply(&document).expect("the demo's catalog is valid");
    let plan = Plan::compile(Arc::new(catalog)).expect("the demo's catalog compiles");
    let event = plan.event_by_name(EVENT).expect("the demo has views");
    let channel = plan.channel_by_key("web").expect("the demo has a channel").slot;
    let users: Vec<String> = (0..USERS).map(|n| format!("0192a7c4-0000-7000-8000-{n:012}")).collect();
    let user = |number: u64| users[scatter(number)].as_str();
    let validate = || event.schema.validate(PROPERTIES, &plan.zone).expect("the properties are valid");
    let context = || {
        plan.context_schema(channel).map(|schema| schema.validate(r#"{"path":"/"}"#, &plan.zone).expect("the context is valid"))
    };
    let occurrence = || Occurrence {
        event: event.slot,
        version: event.version,
        channel,
        props: validate(),
        context: context().unwrap_or_default(),
        chain: Box::default(),
    };

    let store = Store::default();
    let bare = measure(|number| {
        let (shared, _) = store.find_or_create(user(number), || profile(number));
        shared.lock().core.events += 1;
    });
    let parse = measure(|_| {
        black_box(occurrence());
    });
    let store = Store::default();
    let ready = occurrence();
    let apply = measure(|number| one(&plan, &store, user(number), number, ready.clone()));
    let store = Store::default();
    let both = measure(|number| one(&plan, &store, user(number), number, occurrence()));
    let whole = engine(SHOP, "ls_wk_demo", |engine, caller| {
        let mut id = String::new();
        measure(|number| {
            use std::fmt::Write;
            id.clear();
            let _ = write!(id, "m{number}");
            track(
                engine,
                caller,
                &TrackInput {
                    user_id: user(number),
                    event: EVENT,
                    properties: Some(PROPERTIES),
                    context: Some(r#"{"path":"/"}"#),
                    ..TrackInput::default()
                },
            );
        })
    });
    vec![
        ("bare loop over the store".into(), bare),
        ("validate and cast the JSON".into(), parse),
        ("find the profile and apply".into(), apply),
        ("validate, find, apply".into(), both),
        ("the engine: that, journaled and decided (no sync)".into(), whole),
    ]
}

/// A walk over the users that the cache cannot foresee.
fn scatter(number: u64) -> usize {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % USERS as usize
}

fn profile(number: u64) -> Profile {
    Profile::new(ProfileId(u128::from(number) + 1), Millis(1_700_000_000_000), 0)
}

fn one(plan: &Plan, store: &Store, user: &str, number: u64, occurrence: Occurrence) {
    let now = Millis(1_700_000_000_000 + number as i64);
    let (shared, _) = store.find_or_create(user, || profile(number));
    let mut profile = shared.lock();
    let entry = Entry {
        moment: Moment { t: now, seq: Seq(number + 1) },
        at: now,
        user_id: user.into(),
        message_id: None,
        id: u128::from(number),
        kind: EntryKind::Event(occurrence),
    };
    let mut changes = Changes::default();
    machine::apply(plan, &mut profile, entry, &mut TailOnly, &mut changes);
    black_box(&changes);
    if profile.tail.len() >= TAIL_MAX {
        profile.tail.clear();
    }
}

/// Runs something with an engine on a fresh folder; the journal is written but not synced.
fn engine<T>(catalog: &str, token: &str, run: impl FnOnce(&Engine, &Caller) -> T) -> T {
    let folder = tempfile::tempdir_in(support::disk()).expect("a folder for the data");
    let mut options = Options::default();
    options.journal.sync = SyncMode::None;
    let engine = Engine::open(folder.path(), options, Arc::new(SystemClock::default()), &|_| {}).expect("a fresh folder opens");
    engine.apply_catalog(catalog).expect("the catalog is valid");
    let grant = engine.authenticate(token).expect("the token is in the catalog");
    let channel = grant.channel.expect("the token has a channel");
    run(&engine, &Caller { grant, channel })
}

fn track(engine: &Engine, caller: &Caller, input: &TrackInput<'_>) {
    while engine.pressure() {
        std::thread::yield_now();
    }
    let stored = engine.track(caller, input);
    assert!(matches!(stored, Stored::Stored { .. }), "{stored:?}");
}

/// Nanoseconds per event for a person with an open subscription when there are so many actions, of which
/// one is due. The others wait for traits of other events, or for impossible values of the same trait.
fn actions(count: usize, same_trait: bool) -> f64 {
    let others = if same_trait { 0 } else { count.saturating_sub(1) };
    let views = |n: usize| {
        let name = if n == 0 { EVENT.to_owned() } else { format!("Event {n}") };
        let key = if n == 0 { "views".to_owned() } else { format!("views{n}") };
        json!({"name": key, "key": key, "type": "count_events", "eventId": name, "conditions": [], "properties": {}})
    };
    let event = |n: usize| {
        let name = if n == 0 { EVENT.to_owned() } else { format!("Event {n}") };
        let node = |key: &str, kind: &str| json!({"id": key, "name": key, "properties": {"key": key, "type": kind, "isRequired": false}});
        json!({"name": name, "description": "", "structure": [node("product", "string"), node("price", "float"), node("category", "string")]})
    };
    let action = |n: usize| {
        let key = if n == 0 || same_trait { "views".to_owned() } else { format!("views{n}") };
        let (operator, value) = if n == 0 { ("greater_than_or_equal", 0) } else { ("less_than", 0) };
        json!({"name": format!("Action {n}"), "type": "banner", "state": "active", "tags": [], "priority": 0,
            "properties": [{"channels": ["web"], "type": "text", "name": "title", "value": "Hi", "sourceKey": "", "sourceType": ""}],
            "targeting": {"channels": ["web"], "audiences": [], "contextConditions": [],
                "traitConditions": [{"source": "computed", "key": key, "type": "integer", "operator": operator, "value": value}]},
            "capping": [], "hooks": [], "testUsers": []})
    };
    let catalog = json!({
        "organization": {"name": "Bench", "timezone": "UTC"},
        "channels": [{"name": "Web", "key": "web"}],
        "tokens": [{"token": "token-bench", "channel": "web", "kind": "public"}],
        "events": (0..=others).map(event).collect::<Value>(),
        "computedTraits": (0..=others).map(views).collect::<Value>(),
        "actionTypes": [{"name": "banner", "version": 1, "properties": []}],
        "actions": (0..count).map(action).collect::<Value>(),
    });
    engine(&catalog.to_string(), "token-bench", |engine, caller| {
        let user = "somebody";
        let hello = Hello { user_id: user, is_anonymous: true, context: None };
        let session = engine.connect(caller, &hello).expect("the session opens");
        engine
            .subscribe(caller, &session, "s", &SubscribeInput { sub: "s1", ..SubscribeInput::default() })
            .expect("the subscription stands");
        let input = TrackInput {
            user_id: user,
            event: EVENT,
            properties: Some(PROPERTIES),
            session: Some(session.id()),
            ..TrackInput::default()
        };
        let ns = measure(|_| track(engine, caller, &input));
        let mut frames = Vec::new();
        session.drain(&session.holder(), &mut frames);
        assert_eq!(frames.len(), 1, "the one action came with the subscription and stayed due");
        ns
    })
}
