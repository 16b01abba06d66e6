//! Rules in a whole engine: time that a test sets, folders that a crash leaves behind, many threads.

use super::super::api::{Caller, IdentifyInput, Stored, TrackInput};
use super::super::track::Draft;
use super::super::{Engine, Options, mint};
use crate::runtime::clock::ManualClock;
use lodestone_state::event::{EntryKind, Occurrence, Props};
use lodestone_state::ids::Millis;
use lodestone_state::machine::Changes;
use lodestone_state::plan::CatalogDocument;
use lodestone_state::time::parse_rfc3339;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOKEN: &str = "ls_sk_rig";

struct Rig {
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

fn at(text: &str) -> Millis {
    parse_rfc3339(text).expect("an instant")
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Arc<Engine> {
    crate::telemetry::metrics::install();
    Engine::open(folder, Options::default(), clock.clone(), &|_| ()).expect("it opens")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("a file");
        }
    }
}

fn big(changes: &Value) -> Value {
    let mut rule = json!({
        "key": "big", "eventId": "Buy", "metric": {"sum": "total"}, "operator": "greater_than_or_equal", "threshold": 500,
        "then": [{"type": "set_attribute", "key": "Checkout Completed", "value": "Ready"}],
    });
    for (key, value) in changes.as_object().expect("an object") {
        rule[key] = value.clone();
    }
    rule
}

impl Rig {
    fn new(custom: Value, rules: Value) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(ManualClock::at(at("2024-03-01T09:00:00Z")));
        let rig = Self { engine: open(folder.path(), &clock), clock, folder };
        rig.apply(&json!({
            "organization": {"name": "Shop", "timezone": "Europe/Berlin"},
            "channels": [{"name": "Web", "key": "web"}],
            "tokens": [{"token": TOKEN, "channel": "web", "kind": "secret"}],
            "events": [
                {"name": "Buy", "structure": [{"properties": {"key": "total", "type": "float"}}]}, {"name": "Ping", "structure": []}],
            "customTraits": {"structure": custom},
            "rules": rules,
        }));
        rig
    }

    fn plain(rules: Value) -> Self {
        Self::new(json!([{"properties": {"key": "tier", "type": "string"}}]), rules)
    }

    fn apply(&self, document: &Value) {
        let document = CatalogDocument::from_json(document).expect("a document");
        self.engine.change_catalog(|catalog| catalog.apply(&document)).unwrap_or_else(|issues| panic!("{issues:#?}"));
        self.built();
    }

    fn built(&self) {
        let began = Instant::now();
        while self.engine.backfill.built() != self.engine.plan().version {
            assert!(began.elapsed() < Duration::from_secs(30), "still building");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn caller(&self) -> Caller {
        let grant = self.engine.authenticate(TOKEN).expect("a known token");
        Caller { channel: grant.channel.expect("a channel"), grant }
    }

    fn buy(&self, user: &str, total: i64) {
        let properties = json!({"total": total}).to_string();
        let input = TrackInput { user_id: user, event: "Buy", properties: Some(&properties), ..TrackInput::default() };
        let stored = self.engine.track(&self.caller(), &input);
        assert!(matches!(stored, Stored::Stored { .. }), "{stored:?}");
    }

    fn identify(&self, user: &str, previous: Option<&str>, traits: &Value, merge: bool) -> Result<(), &'static str> {
        let traits = traits.to_string();
        let input = IdentifyInput {
            user_id: user,
            kind: "user_id",
            previous_user_id: previous,
            traits: Some(&traits),
            merge_traits: merge,
            ..IdentifyInput::default()
        };
        self.engine.identify(&self.caller(), &input).map(|_| ()).map_err(|rejection| rejection.code)
    }

    fn profile(&self, user: &str) -> Value {
        self.engine.profile_json_by_user(user).expect("a profile")
    }

    fn traits(&self, user: &str) -> Value {
        self.profile(user)["customTraits"].clone()
    }

    /// What fired, oldest first: `type@timestamp`.
    fn log(&self, user: &str) -> Vec<String> {
        let profile = self.profile(user);
        let events = profile["events"].as_array().expect("a list").iter().rev();
        let fired = events.filter(|entry| entry["type"].as_str().is_some_and(|kind| kind.starts_with("rule_")));
        fired.map(|entry| format!("{}@{}", entry["type"].as_str().unwrap(), entry["timestamp"].as_str().unwrap())).collect()
    }

    /// An event is written down and the process dies before anything follows from it.
    fn buy_and_die(&self, user: &str, total: f64) {
        let shared = self.engine.store.find(user).expect("a profile");
        let mut profile = shared.lock();
        let plan = self.engine.plan();
        let event = plan.event_by_name("Buy").expect("an event");
        let occurrence = Occurrence {
            event: event.slot,
            version: 1,
            channel: self.caller().channel,
            props: Props::new(vec![(event.schema.locate("total", false).expect("declared").path, total.into())]),
            context: Props::default(),
            chain: Box::default(),
        };
        let now = self.clock_now();
        let draft = Draft { t: now, at: now, user_id: user.into(), message_id: None, kind: EntryKind::Event(occurrence) };
        self.engine.commit(&plan, &shared, &mut profile, draft, mint(), &mut Changes::default());
    }

    fn clock_now(&self) -> Millis {
        self.engine.now()
    }

    /// What a process that is killed now leaves behind, opened again.
    fn crash(self) -> Self {
        // The sweep stops where it is: a copy of files that are being written is no picture of one moment.
        self.engine.stop_background();
        self.engine.await_sweep();
        self.engine.journal.sync().expect("durable");
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy(self.folder.path(), folder.path());
        let rig = Self { engine: open(folder.path(), &self.clock), clock: self.clock.clone(), folder };
        rig.built();
        rig
    }
}

/// T-90: at that very millisecond, also when nobody looked for days.
#[test]
fn t90_a_window_ends_at_its_millisecond() {
    let day = json!({"period": {"last": {"amount": 24, "unit": "hours"}}, "onUnmet": "clear", "fire": "each_crossing"});
    let rig = Rig::plain(json!([big(&day)]));
    rig.clock.set(at("2024-03-01T10:00:00Z"));
    rig.buy("ada", 500);
    rig.clock.set(at("2024-03-02T09:59:59.999Z"));
    assert_eq!(rig.engine.fire_due(&mut Vec::new()), 0);
    assert_eq!(rig.traits("ada"), json!({"Checkout Completed": "Ready"}));
    rig.clock.set(at("2024-03-02T10:00:00Z"));
    assert_eq!(rig.engine.fire_due(&mut Vec::new()), 1);
    assert_eq!(rig.engine.store.find("ada").unwrap().lock().core.custom, Props::default(), "no event, nobody asked");
    rig.buy("ada", 500);
    rig.clock.set(at("2024-03-09T07:00:00Z"));
    // The next event finds a week of silence behind it: what was due in it has its own time.
    rig.buy("ada", 500);
    let expect = [
        "rule_fired@2024-03-01T10:00:00.000Z",
        "rule_cleared@2024-03-02T10:00:00.000Z",
        "rule_fired@2024-03-02T10:00:00.000Z",
        "rule_cleared@2024-03-03T10:00:00.000Z",
        "rule_fired@2024-03-09T07:00:00.000Z",
    ];
    assert_eq!(rig.log("ada"), expect);
}

/// Exactly once over crashes: before the firing is written down, and after.
#[test]
fn a_crash_between_the_event_and_the_firing_is_mended() {
    let rig = Rig::plain(json!([big(&json!({}))]));
    rig.buy("ada", 300);
    rig.buy_and_die("ada", 200.0);
    let rig = rig.crash();
    assert_eq!(rig.log("ada"), ["rule_fired@2024-03-01T09:00:00.000Z"]);
    assert_eq!(rig.traits("ada"), json!({"Checkout Completed": "Ready"}));
    let rig = rig.crash();
    rig.buy("ada", 900);
    assert_eq!(rig.log("ada").len(), 1);
    // The same with a checkpoint in between.
    rig.engine.checkpoint().expect("written");
    let rig = rig.crash();
    rig.buy("ada", 900);
    assert_eq!(rig.log("ada").len(), 1);
    assert_eq!(rig.profile("ada")["rules"][0]["fires"], 1);
}

#[test]
fn windows_that_ended_while_nobody_ran_end_when_they_did() {
    let day = json!({"period": {"calendar": "day"}, "onUnmet": "clear", "fire": "each_period"});
    let rig = Rig::plain(json!([big(&day)]));
    rig.buy("ada", 500);
    rig.clock.set(at("2024-03-05T12:00:00Z"));
    let rig = rig.crash();
    assert_eq!(rig.engine.store.find("ada").unwrap().lock().core.custom, Props::default(), "before anyone connects");
    assert_eq!(rig.log("ada"), ["rule_fired@2024-03-01T09:00:00.000Z", "rule_cleared@2024-03-01T23:00:00.000Z"]);
}

/// Not the client's to replace; to overwrite by name it is.
#[test]
fn identify_leaves_a_rules_attribute_alone() {
    let rig = Rig::plain(json!([big(&json!({"then": [
        {"type": "set_attribute", "key": "tier", "value": "gold"}, {"type": "set_attribute", "key": "Ready", "value": true}]}))]));
    rig.identify("ada", None, &json!({"tier": "new"}), false).expect("fits");
    rig.buy("ada", 500);
    assert_eq!(rig.traits("ada"), json!({"tier": "gold", "Ready": true}));
    assert_eq!(rig.profile("ada")["customTraitsSetBy"], json!({"tier": "rule:big", "Ready": "rule:big"}));
    for replacing in [json!({}), json!({"tier": "silver"})] {
        rig.identify("ada", None, &replacing, false).expect("fits");
        assert_eq!(rig.traits("ada"), json!({"tier": "gold", "Ready": true}), "{replacing}");
    }
    assert_eq!(rig.identify("ada", None, &json!({"Ready": 1}), true), Err("traits_invalid"), "nobody declared it for clients");
    rig.identify("ada", None, &json!({"tier": "silver"}), true).expect("a document that merges names it");
    assert_eq!(rig.traits("ada"), json!({"tier": "silver", "Ready": true}));
    assert_eq!(rig.profile("ada")["customTraitsSetBy"], json!({"Ready": "rule:big"}));
    rig.identify("ada", None, &json!({"Ready": null}), true).expect("taken away by name");
    assert_eq!(rig.traits("ada"), json!({"tier": "silver"}));
    let rig = rig.crash();
    assert_eq!(rig.traits("ada"), json!({"tier": "silver"}));
    assert_eq!(rig.log("ada").len(), 1);
}

/// I-26 and section 7: what a merged profile's rule set comes along and stays the rule's.
#[test]
fn a_merge_brings_the_attribute_and_fires_once() {
    let rig = Rig::plain(json!([big(&json!({}))]));
    rig.buy("anon", 600);
    rig.buy("ada", 100);
    rig.identify("ada", Some("anon"), &json!({"tier": "x"}), false).expect("merges");
    assert_eq!(rig.traits("ada"), json!({"tier": "x", "Checkout Completed": "Ready"}));
    assert_eq!(rig.log("ada").len(), 1);
    let rig = rig.crash();
    rig.identify("ada", None, &json!({}), false).expect("fits");
    assert_eq!(rig.traits("ada"), json!({"Checkout Completed": "Ready"}));
    // Neither was above, both together are: once, after the merge is written down.
    rig.buy("bob", 300);
    rig.buy("anon2", 300);
    rig.identify("bob", Some("anon2"), &json!({}), true).expect("merges");
    let profile = rig.profile("bob");
    let types: Vec<&str> = profile["events"].as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(types[..2], ["rule_fired", "identify"]);
    assert_eq!(rig.crash().log("bob").len(), 1);
}

/// T-88, T-89 over many people, some of them busy, with a crash in the middle.
#[test]
fn t88_t89_backfill_and_purge_reach_everybody_once() {
    const PEOPLE: usize = 300;
    let rig = Rig::plain(json!([]));
    let name = |i: usize| format!("u{i}");
    (0..PEOPLE).for_each(|i| rig.buy(&name(i), 600));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..PEOPLE).rev().for_each(|i| rig.buy(&name(i), 1)));
        scope.spawn(|| rig.apply(&json!({"rules": [big(&json!({}))]})));
    });
    let rig = rig.crash();
    for i in 0..PEOPLE {
        let profile = rig.profile(&name(i));
        assert_eq!(rig.log(&name(i)).len(), 1, "once for {i}");
        assert_eq!(profile["customTraits"], json!({"Checkout Completed": "Ready"}));
    }
    let counts = rig.engine.definition(lodestone_state::plan::Kind::Rule, "big").expect("a rule").json["fired"].clone();
    assert_eq!((&counts["profiles"], &counts["times"]), (&json!(PEOPLE), &json!(PEOPLE)));
    rig.engine
        .change_catalog(|catalog| catalog.remove_rule_and_attributes("big", false))
        .unwrap_or_else(|issues| panic!("{issues:#?}"));
    // Wherever the sweep is: a restart takes it up.
    let rig = rig.crash();
    for i in 0..PEOPLE {
        assert_eq!(rig.traits(&name(i)), json!({}), "{i}");
        assert_eq!(rig.profile(&name(i))["rules"], json!([]));
    }
}

/// The hundredth event of many threads is one event: each multiple fires once.
#[test]
fn many_threads_pass_each_multiple_once() {
    let every = json!({"metric": "count", "fire": {"every": 10}, "operator": null, "threshold": null});
    let rig = Rig::plain(json!([big(&every)]));
    std::thread::scope(|scope| {
        (0..8).for_each(|_| drop(scope.spawn(|| (0..50).for_each(|_| rig.buy("ada", 1)))));
    });
    let rule = rig.profile("ada")["rules"][0].clone();
    assert_eq!((&rule["metric"], &rule["fires"]), (&json!(400), &json!(40)));
    assert_eq!(rig.crash().profile("ada")["rules"][0]["fires"], 40);
}

/// A quiet rule: marked for those above when it came, and it fires for those who rise later.
#[test]
fn no_backfill_when_it_asks_for_silence() {
    let rig = Rig::plain(json!([]));
    rig.buy("ada", 600);
    rig.buy("bob", 100);
    rig.apply(&json!({"rules": [big(&json!({"fireOnBackfill": false}))]}));
    rig.buy("ada", 600);
    rig.buy("bob", 600);
    assert_eq!((rig.traits("ada"), rig.traits("bob")), (json!({}), json!({"Checkout Completed": "Ready"})));
    assert_eq!(rig.log("ada"), ["rule_marked@2024-03-01T09:00:00.000Z"]);
    assert_eq!(rig.profile("ada")["rules"][0]["fired"], false);
}

fn emits(changes: &Value) -> Value {
    let mut rule = big(&json!({"then": [
        {"type": "emit_event", "event": "Ping"}, {"type": "webhook", "url": "https://hooks.example.com/rule"}]}));
    for (key, value) in changes.as_object().expect("an object") {
        rule[key] = value.clone();
    }
    rule
}

impl Rig {
    fn pings(&self, user: &str) -> usize {
        let profile = self.profile(user);
        profile["events"].as_array().expect("a list").iter().filter(|entry| entry["event"] == "Ping").count()
    }

    /// Webhooks that wait, by id.
    fn waiting(&self) -> Vec<u128> {
        self.engine.outbox.list(false, None, 1000).into_iter().map(|listed| listed.id).collect()
    }

    /// As [`Rig::buy_and_die`], but the firing is written down, and nothing that follows from it.
    fn fire_and_die(&self, user: &str, total: f64) {
        self.buy_and_die(user, total);
        let shared = self.engine.store.find(user).expect("a profile");
        let mut profile = shared.lock();
        let plan = self.engine.plan();
        let mut changes = Changes { applied: Some(profile.core.applied), ..Changes::default() };
        lodestone_state::machine::all_due(&plan, &profile, &mut changes);
        assert_eq!(changes.due.len(), 1);
        self.engine.settle_rules(&plan, &shared, &mut profile, &mut changes);
    }
}

/// T-87: one event in, one out, in the same input; further ones bring none.
#[test]
fn t87_the_event_follows_at_once_and_once() {
    let rig = Rig::plain(json!([emits(&json!({}))]));
    rig.buy("ada", 500);
    assert_eq!(rig.pings("ada"), 1);
    (0..5).for_each(|_| rig.buy("ada", 500));
    assert_eq!((rig.pings("ada"), rig.waiting().len()), (1, 1));
    // Emitted by time and by a merge as well, by whatever finds them due.
    let day = json!({"key": "quiet", "metric": "count", "operator": "equals", "threshold": 0, "fire": "each_crossing",
        "period": {"last": {"amount": 24, "unit": "hours"}}, "then": [{"type": "emit_event", "event": "Ping"}]});
    rig.apply(&json!({"rules": [big(&day)]}));
    rig.clock.set(at("2024-03-02T09:00:00Z"));
    rig.engine.fire_due(&mut Vec::new());
    assert_eq!(rig.pings("ada"), 2);
    let profile = rig.profile("ada");
    assert_eq!(profile["events"][0]["timestamp"], "2024-03-02T09:00:00.000Z");
    assert_eq!(profile["events"][0]["userId"], "ada");
}

/// T-87: a rule that counts what it emits stops at once.
#[test]
fn t87_no_loop() {
    let own = json!({"eventId": "Ping", "metric": "count", "operator": null, "threshold": null, "fire": {"every": 1}});
    let rig = Rig::plain(json!([emits(&own)]));
    let track = || {
        let input = TrackInput { user_id: "ada", event: "Ping", ..TrackInput::default() };
        assert!(matches!(rig.engine.track(&rig.caller(), &input), Stored::Stored { .. }));
    };
    track();
    assert_eq!((rig.pings("ada"), rig.log("ada").len()), (2, 2));
    track();
    assert_eq!((rig.pings("ada"), rig.log("ada").len(), rig.waiting().len()), (4, 4, 2));
}

/// Exactly once for emitted events and for the id of a webhook, wherever the crash is.
#[test]
fn what_follows_survives_crashes_exactly_once() {
    // Between the event and the firing.
    let rig = Rig::plain(json!([emits(&json!({}))]));
    rig.buy("ada", 300);
    rig.buy_and_die("ada", 200.0);
    let rig = rig.crash();
    let hooks = rig.waiting();
    assert_eq!((rig.pings("ada"), hooks.len()), (1, 1));
    let rig = rig.crash();
    assert_eq!((rig.pings("ada"), rig.waiting()), (1, hooks));

    // Between the firing and what follows from it.
    let rig = Rig::plain(json!([emits(&json!({}))]));
    rig.buy("ada", 300);
    rig.fire_and_die("ada", 200.0);
    let hooks = rig.waiting();
    let rig = rig.crash();
    assert_eq!((rig.pings("ada"), rig.waiting().len()), (1, 1));
    assert!(hooks.contains(&rig.waiting()[0]), "under the id that it had");
    // The definition changes after the firing: what follows is what it said then.
    let rig = Rig::plain(json!([emits(&json!({}))]));
    rig.buy("ada", 300);
    rig.fire_and_die("ada", 200.0);
    rig.apply(&json!({"rules": [big(&json!({}))]}));
    let rig = rig.crash();
    assert_eq!((rig.pings("ada"), rig.waiting().len()), (1, 1));
    rig.engine.checkpoint().expect("written");
    let rig = rig.crash();
    assert_eq!((rig.pings("ada"), rig.waiting().len()), (1, 1));
}
