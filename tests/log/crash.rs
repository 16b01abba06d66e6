//! Everything at random, and after every few steps what a crash would leave: recovery gives the same
//! profiles, memberships, merges and totals, and nothing differs from the fold of its log.

use crate::common::{ADMIN, TA, TS, TW, config};
use crate::rig::{DAY, MINUTE, START, catalog, copy};
use lodestone::engine::Engine;
use lodestone::engine::api::{ActInput, Acting, Caller, IdentifyInput, Stored, TrackInput};
use lodestone::runtime::clock::{Clock, ManualClock};
use lodestone_state::ids::{Millis, ProfileId};
use lodestone_state::time::format_instant;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const USERS: [&str; 7] = ["a", "b", "c", "d", "x1", "x2", "x3"];

struct Dice(u64);

impl Dice {
    /// Xorshift, as good as needed here.
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn user(&mut self) -> &'static str {
        USERS[usize::try_from(self.below(USERS.len() as u64)).unwrap()]
    }
}

struct World {
    engine: Arc<Engine>,
    clock: Arc<ManualClock>,
    dir: TempDir,
    dice: Dice,
    /// The newest log position that anybody was told.
    newest: u64,
    done: BTreeMap<&'static str, u32>,
}

fn open(dir: &Path, clock: &Arc<ManualClock>) -> Arc<Engine> {
    let config = config(|config| {
        config.journal.segment_bytes = 1 << 16;
        config.storage.dedupe_keep = 0;
        config.retention.history = Some(Duration::from_secs(3 * 86_400));
    });
    Engine::open(dir, config.engine_options(), clock.clone(), &|_| ()).expect("the folder opens")
}

impl World {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let clock = Arc::new(ManualClock::at(Millis(START)));
        let engine = open(dir.path(), &clock);
        engine.apply_catalog(&catalog().to_string()).expect("the catalog is valid");
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { engine, clock, dir, dice, newest: 0, done: BTreeMap::new() }
    }

    fn caller(&self, token: &str) -> Caller {
        let grant = self.engine.authenticate(token).expect("a token");
        Caller { channel: grant.channel.expect("a channel"), grant }
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..45 => self.track(),
            45..57 => self.identify(),
            57..65 => self.act(),
            65..75 => self.erase(),
            75..85 => self.undo(),
            85..93 => {
                let ms = match self.dice.below(8) {
                    0 => i64::try_from(self.dice.below(20)).unwrap() * DAY / 10,
                    _ => i64::try_from(self.dice.below(5)).unwrap() * MINUTE,
                };
                self.clock.set(Millis(self.clock.now().0 + ms));
                self.engine.fire_due(&mut Vec::new());
            }
            93..96 => {
                let swept = self.engine.sweep_history();
                self.count("sweeps that took something", swept.entries > 0);
            }
            _ => {
                self.engine.checkpoint().expect("a checkpoint");
            }
        }
    }

    fn count(&mut self, what: &'static str, happened: bool) {
        *self.done.entry(what).or_default() += u32::from(happened);
    }

    fn track(&mut self) {
        let token = if self.dice.below(3) == 0 { TA } else { TW };
        let user = self.dice.user();
        let page = ["/a", "/b", "/c"][usize::try_from(self.dice.below(3)).unwrap()];
        let (event, properties) = match self.dice.below(4) {
            0 => ("Buy", json!({"amount": self.dice.below(9)})),
            _ => ("View", json!({"page": page, "price": self.dice.below(50)})),
        };
        let late = if self.dice.below(4) == 0 { i64::try_from(self.dice.below(60)).unwrap() * 3 * MINUTE } else { 0 };
        let timestamp = format_instant(Millis(self.clock.now().0 - late)).to_string();
        let message_id = (self.dice.below(3) == 0).then(|| format!("m{}", self.dice.below(60)));
        let properties = properties.to_string();
        let input = TrackInput {
            user_id: user,
            event,
            properties: Some(&properties),
            timestamp: Some(&timestamp),
            message_id: message_id.as_deref(),
            ..TrackInput::default()
        };
        match self.engine.track(&self.caller(token), &input) {
            Stored::Stored { seq, .. } => self.newest = self.newest.max(seq.0),
            Stored::Duplicate { .. } => self.count("duplicates", true),
            other => panic!("{other:?}"),
        }
    }

    fn identify(&mut self) {
        let (user, previous) = (self.dice.user(), self.dice.user());
        let previous = (self.dice.below(3) > 0).then_some(previous);
        let city = ["Berlin", "Bonn"][usize::try_from(self.dice.below(2)).unwrap()];
        let traits = match self.dice.below(4) {
            0 => Some(json!({"city": city})),
            1 => Some(json!({"fav": "/a", "city": null})),
            2 => Some(json!({"age": self.dice.below(90)})),
            _ => None,
        };
        let traits = traits.map(|traits| traits.to_string());
        let input = IdentifyInput {
            user_id: user,
            kind: "user_id",
            is_anonymous: user.starts_with('x'),
            previous_user_id: previous,
            traits: traits.as_deref(),
            merge_traits: self.dice.below(3) > 0,
            merge_known: true,
            ..IdentifyInput::default()
        };
        let done = self.engine.identify(&self.caller(TS), &input).expect("an identify");
        self.newest = self.newest.max(done.seq.0);
        self.count("merges", !done.merged.is_empty());
    }

    fn act(&mut self) {
        let plan = self.engine.plan();
        let actions: Vec<String> = plan.actions.iter().flatten().map(|action| action.id.to_string()).collect();
        let action = &actions[usize::try_from(self.dice.below(actions.len() as u64)).unwrap()];
        let event = ["accept", "accept", "show", "decline"][usize::try_from(self.dice.below(4)).unwrap()];
        let input = ActInput { user_id: self.dice.user(), action_id: action, event, ..ActInput::default() };
        if let Ok(Acting::Done(acted)) = self.engine.act(&self.caller(TW), &input) {
            self.newest = self.newest.max(acted.seq.0);
            self.count("reactions", true);
        }
    }

    fn erase(&mut self) {
        let user = self.dice.user();
        let Some(profile) = self.engine.profile_json_by_user(user) else { return };
        let events: Vec<&str> = profile["events"].as_array().unwrap().iter().filter_map(|event| event["id"].as_str()).collect();
        if events.is_empty() {
            return;
        }
        let event = events[usize::try_from(self.dice.below(events.len() as u64)).unwrap()];
        let event = uuid::Uuid::parse_str(event).unwrap().as_u128();
        if let Ok(seq) = self.engine.erase_event_of(user, event, None) {
            self.newest = self.newest.max(seq.0);
            self.count("erasures", true);
        }
    }

    fn undo(&mut self) {
        let user = self.dice.user();
        let Some(profile) = self.engine.profile_json_by_user(user) else { return };
        let id: ProfileId = profile["id"].as_str().unwrap().parse().unwrap();
        let merges = self.engine.merges_json(id).unwrap();
        let live = merges["data"].as_array().unwrap().iter().filter(|merge| merge["undoable"] == true);
        let targets: Vec<ProfileId> = live.map(|merge| merge["profileId"].as_str().unwrap().parse().unwrap()).collect();
        if targets.is_empty() {
            return;
        }
        let target = targets[usize::try_from(self.dice.below(targets.len() as u64)).unwrap()];
        let undone = self.engine.split(id, target).expect("it is merged");
        self.newest = self.newest.max(undone.seq.0);
        self.count("merges undone", true);
    }

    /// What a crash would leave, once everything that was acknowledged is durable.
    fn crash(&self) -> TempDir {
        for _ in 0..2000 {
            if self.engine.durable_now() >= self.newest {
                let dir = tempfile::tempdir().expect("a temporary folder");
                copy(self.dir.path(), dir.path());
                return dir;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("the journal does not get on");
    }
}

/// The membership log without what came and went in one instant: a timer and an input of that instant are
/// told as one change when they are replayed, and as two when the timer was there first.
fn net(log: Value) -> Vec<Value> {
    let rows = log["data"].as_array().unwrap();
    let same = |a: &Value, b: &Value| (&a["audience"], &a["at"]) == (&b["audience"], &b["at"]);
    let mut rows: Vec<Value> =
        rows.iter().filter(|row| rows.iter().filter(|other| same(row, other)).count() == 1).cloned().collect();
    rows.sort_by_key(Value::to_string);
    rows
}

/// Everything that can be seen of everybody.
fn seen(engine: &Engine) -> Value {
    let mut people = BTreeMap::new();
    for user in USERS {
        let Some(mut profile) = engine.profile_json_by_user(user) else { continue };
        let id: ProfileId = profile["id"].as_str().unwrap().parse().unwrap();
        for list in ["identities", "funnels"] {
            if let Some(rows) = profile[list].as_array_mut() {
                rows.sort_by_key(Value::to_string);
            }
        }
        let moves = net(engine.memberships_json(id, 10_000).unwrap());
        let drift = engine.refresh_profile(id).unwrap().drift;
        assert_eq!(drift, 0, "{user} is not the fold of the log");
        people.insert(user, json!({"profile": profile, "merges": engine.merges_json(id), "moves": moves}));
    }
    let audiences: Vec<Value> = ["viewers", "recent", "buyers", "never_bought", "berlin", "busy_berlin"]
        .iter()
        .map(|key| engine.members_json(key, None, 1000).map_or(Value::Null, |page| page["total"].clone()))
        .collect();
    json!({"people": people, "audiences": audiences})
}

fn assert_same(have: &Value, want: &Value, what: &str) {
    if have == want {
        return;
    }
    for (user, one) in want["people"].as_object().unwrap() {
        for part in ["profile", "merges", "moves"] {
            let (have, want) = (&have["people"][user][part], &one[part]);
            assert_eq!(have, want, "{what}: {part} of {user}");
        }
    }
    assert_eq!(have, want, "{what}");
}

fn run(seed: u64, steps: usize) -> BTreeMap<&'static str, u32> {
    let mut world = World::new(seed);
    for step in 0..steps {
        world.step();
        if world.dice.below(12) > 0 {
            continue;
        }
        let crashed = world.crash();
        let recovered = open(crashed.path(), &world.clock);
        let what = format!("seed {seed}, step {step}");
        assert_same(&seen(&recovered), &seen(&world.engine), &what);
        // A second crash right after recovery, with a checkpoint in between or without.
        if world.dice.below(2) == 0 {
            recovered.checkpoint().expect("a checkpoint");
        }
        let twice = tempfile::tempdir().expect("a temporary folder");
        copy(crashed.path(), twice.path());
        let again = open(twice.path(), &world.clock);
        assert_same(&seen(&again), &seen(&recovered), &format!("{what}, twice"));
        // Now and then it is the recovered one that goes on.
        if world.dice.below(2) == 0 {
            world.engine = recovered;
            world.dir = crashed;
        }
    }
    assert!(world.engine.authenticate(ADMIN).is_some());
    world.done
}

/// F-1, J-3, K-1 with erasures, merges undone and history that goes.
#[test]
fn recovery_gives_the_same_whatever_happened() {
    let seeds = std::env::var("LOG_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let first = std::env::var("LOG_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut done: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in first..first + seeds {
        for (what, count) in run(seed, 250) {
            *done.entry(what).or_default() += count;
        }
    }
    println!("{done:?}");
    for what in ["merges", "merges undone", "erasures", "reactions", "sweeps that took something"] {
        assert!(done.get(what).is_some_and(|count| *count > 0), "{what} never happened: {done:?}");
    }
}
