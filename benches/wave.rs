//! The wave: a million people leave an audience at one instant, while others go on.
//!
//! `cargo bench --bench wave`. One process; every event is journaled and synced, and its acknowledgement is
//! the moment in which it is durable. People all have one event of the same time; the clock is set to a
//! second before their window ends. Latencies are open loop: a schedule says when each live event is due, and
//! its clock starts then, however late it is sent. `LODESTONE_BENCH_PROFILES` changes how many people there are.

mod support;

use hdrhistogram::Histogram;
use lodestone::engine::api::{Caller, Stored, TrackInput};
use lodestone::engine::{self, Engine, Options};
use lodestone::runtime::clock::{Clock, SystemClock};
use lodestone_state::ids::Millis;
use lodestone_state::time::format_instant;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Live events per second, and the people that they are about.
const RATE: u64 = 2000;
const LIVE: u64 = 5000;
/// The window that everybody leaves.
const WINDOW_MS: i64 = 86_400_000;
const TOKEN: &str = "token-secret";

/// The machine's time, moved.
#[derive(Default)]
struct MovedClock {
    system: SystemClock,
    by: AtomicI64,
}

impl Clock for MovedClock {
    fn now(&self) -> Millis {
        self.system.now().plus(self.by.load(Relaxed))
    }
}

#[expect(clippy::print_stdout, reason = "a bench reports on stdout")]
fn main() {
    if !support::wanted() {
        return;
    }
    let people = std::env::var("LODESTONE_BENCH_PROFILES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000_u64);
    println!("machine: {}; {people} people, {RATE} live events/s", support::machine());
    let folder = tempfile::tempdir_in(support::disk()).expect("a folder for the data");
    let clock = Arc::new(MovedClock::default());
    let engine = Engine::open(folder.path(), Options::default(), clock.clone(), &|_| {}).expect("a fresh folder opens");
    engine.apply_catalog(&catalog().to_string()).expect("the catalog is valid");
    let grant = engine.authenticate(TOKEN).expect("the token is in the catalog");
    let caller = Caller { channel: grant.channel.expect("the token has a channel"), grant };
    let before = rss();
    let (happened, created) = (clock.now(), Instant::now());
    let stamp = format_instant(happened);
    for number in 0..people {
        track(&engine, &caller, &format!("crowd-{number}"), "Came", Some(&stamp));
    }
    let created = created.elapsed();
    assert_eq!(members(&engine), people as i64);
    engine.checkpoint().expect("a checkpoint");
    let memory = (rss().saturating_sub(before)) as f64 / people as f64;
    println!("made in {:.1} s, {memory:.0} bytes each in memory, journal's and store's buffers included", created.as_secs_f64());

    let background = engine::spawn_background(&engine, Duration::from_secs(3600));
    let time = support::seconds(10);
    let calm = live(&engine, &caller, "calm", &|begun| begun.elapsed() < time);
    let end = happened.plus(WINDOW_MS);
    clock.by.store(end.0 - 1000 - SystemClock::default().now().0, Relaxed);
    let late = AtomicI64::new(-1);
    let over = AtomicBool::new(false);
    let wave = std::thread::scope(|scope| {
        scope.spawn(|| {
            while members(&engine) > 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            late.store(clock.now().0 - end.0, Relaxed);
            over.store(true, Relaxed);
        });
        live(&engine, &caller, "wave", &|_| !over.load(Relaxed))
    });
    let late = late.load(Relaxed);
    println!("\nacknowledgement of live events, in ms");
    println!("  without a wave  {}", support::quantiles_text(&calm));
    println!("  during the wave {}", support::quantiles_text(&wave));
    println!("the last left {late} ms after the window ended: {:.0}/s", people as f64 * 1000.0 / late.max(1) as f64);
    engine.stop_background();
    background.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
    support::write(
        "wave",
        json!({
            "people": people, "liveEventsPerSecond": RATE, "bytesPerPerson": memory,
            "calm": support::quantiles(&calm), "wave": support::quantiles(&wave),
            "ratioP99": wave.value_at_quantile(0.99) as f64 / calm.value_at_quantile(0.99).max(1) as f64,
            "lastLeftAfterMs": late,
        }),
    );
}

fn members(engine: &Engine) -> i64 {
    engine.member_count("crowd").expect("the audience is there")
}

fn track(engine: &Engine, caller: &Caller, user: &str, event: &str, timestamp: Option<&str>) -> u64 {
    while engine.pressure() {
        std::thread::yield_now();
    }
    let input = TrackInput { user_id: user, event, timestamp, ..TrackInput::default() };
    match engine.track(caller, &input) {
        Stored::Stored { seq, .. } => seq.0,
        other => panic!("{other:?}"),
    }
}

/// Microseconds from the moment in which an event is due until it is durable, while `go_on`.
fn live(engine: &Engine, caller: &Caller, run: &str, go_on: &dyn Fn(Instant) -> bool) -> Histogram<u64> {
    let (sent, acknowledged) = std::sync::mpsc::channel::<(Instant, u64)>();
    let mut durable = engine.durable();
    let follower = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut waited = support::histogram();
        for (due, seq) in acknowledged {
            runtime.block_on(durable.wait_for(|position| *position >= seq)).expect("the journal goes on");
            waited.saturating_record(due.elapsed().as_micros() as u64);
        }
        waited
    });
    let gap = Duration::from_secs_f64(1.0 / RATE as f64);
    let begun = Instant::now();
    for number in 0..u32::MAX {
        let due = begun + gap * number;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        if !go_on(begun) {
            break;
        }
        let user = format!("{run}-{}", u64::from(number) % LIVE);
        sent.send((due, track(engine, caller, &user, "Viewed", None))).expect("the follower listens");
    }
    drop(sent);
    follower.join().expect("the follower does not panic")
}

/// Resident bytes of this process.
fn rss() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn catalog() -> Value {
    let step = json!({"id": "Came", "internalId": "a", "parentId": null, "exclude": false, "channels": [], "operator": "more_or_exactly",
        "count": 1, "timeWindowOperator": "within", "timeWindowStart": 1, "timeWindowEnd": 1, "properties": []});
    json!({
        "organization": {"name": "Bench", "timezone": "UTC"},
        "channels": [{"name": "Web", "key": "web"}],
        "tokens": [{"token": TOKEN, "channel": "web", "kind": "secret", "import": true}],
        "events": [{"name": "Came", "description": "", "structure": []}, {"name": "Viewed", "description": "", "structure": []}],
        "computedTraits": [
            {"name": "Views", "key": "views", "type": "count_events", "eventId": "Viewed", "conditions": [],
             "properties": {"window": {"amount": 2, "unit": "days"}}}],
        "audiences": [{"name": "Crowd", "key": "crowd", "description": "", "includeAnonymous": true, "type": "events",
            "events": [step], "traits": []}],
    })
}
