//! What an event costs as definitions and history grow: neither may show.
//!
//! `cargo bench --bench definitions`. (a) ns per event against the number of definitions of which one matches;
//! (b) ns per event against the length of the person's history; (c) bytes of a profile under 20 traits and
//! 10 funnels; (d) events per second of a backfill from the disk. One thread; the journal is not synced. (a) and
//! (b) are processor time of that thread, so that whatever else the machine does cannot look like growth.

mod support;

use lodestone::engine::api::{Caller, Stored, TrackInput};
use lodestone::engine::{Engine, Options};
use lodestone::journal::SyncMode;
use lodestone::runtime::clock::{Clock, ManualClock};
use lodestone_state::codec;
use lodestone_state::event::{Entry, EntryKind, Occurrence};
use lodestone_state::ids::{Millis, Moment, ProfileId, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, CatalogDocument, Plan};
use lodestone_state::profile::{Profile, TailOnly};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::catalog::{SECRET, a_trait, base, shop, step};

const COUNTS: [usize; 4] = [1, 10, 100, 1000];
const LENGTHS: [u64; 5] = [10, 100, 1000, 10_000, 100_000];
const PROPERTIES: &str = r#"{"product":"Dusk table lamp","price":94.5,"session":"s1"}"#;
const START: i64 = 1_700_000_000_000;

#[expect(clippy::print_stdout, reason = "a bench reports on stdout")]
fn main() {
    if !support::wanted() {
        return;
    }
    println!("machine: {}; {} s each", support::machine(), support::seconds(2).as_secs());
    let mut growth = Vec::new();
    for kind in ["computedTraits", "audiences", "rules", "goals", "actions"] {
        let rows: Vec<_> = COUNTS.map(|n| (format!("{n} {kind}, one matches"), definitions(kind, n))).into();
        support::table(&format!("(a) {kind}: ns per event"), "ns", &rows);
        growth.push(json!({"kind": kind, "counts": COUNTS, "nsPerEvent": rows.iter().map(|(_, ns)| *ns).collect::<Vec<_>>()}));
    }
    let mut histories = Vec::new();
    for (name, written) in [("in memory", false), ("written by a checkpoint", true)] {
        let rows: Vec<_> = LENGTHS.map(|n| (format!("{n} events before, {name}"), history(n, written))).into();
        support::table(&format!("(b) history {name}: ns per event"), "ns", &rows);
        histories
            .push(json!({"history": name, "lengths": LENGTHS, "nsPerEvent": rows.iter().map(|(_, ns)| *ns).collect::<Vec<_>>()}));
    }
    let (memory, encoded) = bytes(100_000);
    println!("\n(c) a profile with 20 traits and 10 funnels, 12 events: {memory:.0} bytes in memory, {encoded:.0} encoded");
    let backfill = backfill(5000, 40);
    println!("\n(d) a new trait over history on disk: {backfill:.0} events/s");
    support::write(
        "definitions",
        json!({"definitions": growth, "history": histories, "bytesInMemory": memory, "bytesEncoded": encoded,
            "backfillEventsPerSecond": backfill}),
    );
}

/// An engine on a fresh folder with a clock of ours; the journal is written but not synced.
struct Site {
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    caller: Caller,
    _folder: tempfile::TempDir,
}

impl Site {
    fn open(catalog: &Value) -> Self {
        let folder = tempfile::tempdir_in(support::disk()).expect("a folder for the data");
        let clock = Arc::new(ManualClock::at(Millis(START)));
        let mut options = Options::default();
        options.journal.sync = SyncMode::None;
        let engine = Engine::open(folder.path(), options, clock.clone(), &|_| {}).expect("a fresh folder opens");
        engine.apply_catalog(&catalog.to_string()).expect("the catalog is valid");
        let grant = engine.authenticate(SECRET).expect("the token is in the catalog");
        let caller = Caller { channel: grant.channel.expect("the token has a channel"), grant };
        Self { engine, clock, caller, _folder: folder }
    }

    /// One event of a second after the one before.
    fn track(&self, user: &str) {
        while self.engine.pressure() {
            std::thread::yield_now();
        }
        self.clock.set(self.clock.now().plus(1000));
        let input = TrackInput { user_id: user, event: "Event 0", properties: Some(PROPERTIES), ..TrackInput::default() };
        let stored = self.engine.track(&self.caller, &input);
        assert!(matches!(stored, Stored::Stored { .. }), "{stored:?}");
    }
}

/// Nanoseconds per event of 1000 people when there are so many definitions of a kind, of which one reads the
/// event.
fn definitions(kind: &str, count: usize) -> f64 {
    let site = Site::open(&catalog(kind, count));
    let users: Vec<String> = (0..1000).map(|n| format!("user-{n}")).collect();
    let mut number = 0;
    let mut next = || {
        site.track(&users[number * 7919 % users.len()]);
        number += 1;
    };
    (0..5000).for_each(|_| next());
    let (began, time) = (worked(), support::seconds(2));
    let mut events = 0;
    while worked() - began < time {
        (0..500).for_each(|_| next());
        events += 500;
    }
    (worked() - began).as_nanos() as f64 / f64::from(events)
}

/// Nanoseconds per event of people who have `length` events already; a tenth more is measured.
fn history(length: u64, written: bool) -> f64 {
    let people = if length > 10_000 { 10 } else { 100 };
    let more = (length / 10).max(1);
    let rounds = (5000 / (people * more)).max(1);
    let site = Site::open(&shop());
    let users = |round: u64| (0..people).map(move |n| format!("user-{round}-{n}")).collect::<Vec<_>>();
    for round in 0..rounds {
        let users = users(round);
        (0..length).for_each(|_| users.iter().for_each(|user| site.track(user)));
    }
    if written {
        site.engine.checkpoint().expect("a checkpoint");
    }
    let began = worked();
    for round in 0..rounds {
        let users = users(round);
        (0..more).for_each(|_| users.iter().for_each(|user| site.track(user)));
    }
    (worked() - began).as_nanos() as f64 / (rounds * more * people) as f64
}

/// Bytes per profile: by the memory of the process, and as a checkpoint writes it.
fn bytes(people: u64) -> (f64, f64) {
    let (catalog, _) =
        Catalog::default().apply(&CatalogDocument::parse(&shop().to_string()).expect("it parses")).expect("it is valid");
    let plan = Plan::compile(Arc::new(catalog)).expect("it compiles");
    let event = plan.event_by_name("Event 0").expect("there is one");
    let channel = plan.channel_by_key("web").expect("there is one").slot;
    let props = event.schema.validate(PROPERTIES, &plan.zone).expect("it fits");
    let before = rss();
    let mut all = Vec::with_capacity(people as usize);
    let mut encoded = 0;
    for number in 0..people {
        let mut profile = Profile::new(ProfileId(u128::from(number)), Millis(START), plan.generation);
        for at in 0..12 {
            let now = Millis(START + at * 600_000);
            let occurrence = Occurrence {
                event: event.slot,
                version: event.version,
                channel,
                props: props.clone(),
                context: <_>::default(),
                chain: Box::default(),
            };
            let entry = Entry {
                moment: Moment { t: now, seq: Seq(number * 12 + at as u64 + 1) },
                at: now,
                user_id: "0192a7c4-0000-7000-8000-000000000000".into(),
                message_id: None,
                id: 1,
                kind: EntryKind::Event(occurrence),
            };
            machine::apply(&plan, &mut profile, entry, &mut TailOnly, &mut Changes::default());
        }
        // A checkpoint has it.
        profile.tail = Vec::new();
        profile.moves = Vec::new();
        encoded += codec::encode(1, &profile.core).len();
        all.push(profile);
    }
    let memory = rss().saturating_sub(before) as f64 / people as f64;
    (memory, encoded as f64 / people as f64)
}

/// Processor time of this thread, as the kernel counts it.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds come first");
    Duration::from_nanos(ns)
}

/// Resident bytes of this process.
fn rss() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// Events per second that a new trait is built from, out of what checkpoints have written.
fn backfill(people: u64, events: u64) -> f64 {
    let site = Site::open(&catalog("computedTraits", 1));
    let users: Vec<String> = (0..people).map(|n| format!("user-{n}")).collect();
    for _ in 0..events {
        users.iter().for_each(|user| site.track(user));
    }
    site.engine.checkpoint().expect("a checkpoint");
    let mut more = catalog("computedTraits", 1);
    more["computedTraits"].as_array_mut().expect("a list").push(a_trait(0, "sum", Some((30, "days"))));
    let began = Instant::now();
    site.engine.apply_catalog(&more.to_string()).expect("the catalog is valid");
    let building = || {
        let status = site.engine.public_status_json();
        status["backfill"]["done"] != status["backfill"]["of"]
    };
    while building() {
        std::thread::sleep(Duration::from_millis(2));
    }
    (people * events) as f64 / began.elapsed().as_secs_f64()
}

/// The first definition reads Event 0, the others Event 1, or a trait of it.
fn catalog(kind: &str, count: usize) -> Value {
    let mut catalog = base(2);
    let traits = |count| (0..count).map(|n| a_trait(usize::from(n > 0), &format!("views{n}"), None)).collect::<Value>();
    match kind {
        "computedTraits" => catalog["computedTraits"] = traits(count),
        "audiences" => {
            let one = |n: usize| {
                let step = step("a", None, usize::from(n > 0), Some(7));
                json!({"name": format!("a{n}"), "key": format!("a{n}"), "description": "", "includeAnonymous": true, "type": "events",
                    "events": [step], "traits": []})
            };
            catalog["audiences"] = (0..count).map(one).collect();
        }
        "rules" => {
            let one = |n: usize| {
                json!({"key": format!("r{n}"), "name": format!("r{n}"), "eventId": format!("Event {}", usize::from(n > 0)),
                    "metric": {"sum": "price"}, "operator": "greater_than", "threshold": 1e15,
                    "then": [{"type": "set_attribute", "key": format!("a{n}"), "value": true}]})
            };
            catalog["rules"] = (0..count).map(one).collect();
        }
        "goals" => {
            let one = |n: usize| json!({"key": format!("g{n}"), "name": format!("g{n}"), "eventId": format!("Event {}", usize::from(n > 0))});
            catalog["goals"] = (0..count).map(one).collect();
        }
        _ => {
            catalog["computedTraits"] = traits(2);
            let one = |n: usize| {
                let key = format!("views{}", usize::from(n > 0));
                json!({"name": format!("Action {n}"), "type": "banner", "state": "active", "tags": [], "priority": 0, "properties": [],
                    "targeting": {"channels": ["web"], "audiences": [], "contextConditions": [], "traitConditions": [
                        {"source": "computed", "key": key, "type": "integer", "operator": "greater_than", "value": 1}]},
                    "capping": [], "hooks": [], "testUsers": []})
            };
            catalog["actions"] = (0..count).map(one).collect();
        }
    }
    catalog
}
