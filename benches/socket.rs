//! Sockets: (b) events per second from a socket to a durable acknowledgement.
//!
//! `cargo bench --bench socket`. The load and the server share the machine's cores. Latencies are open
//! loop: a schedule says when each frame is due, and the clock starts then, however late it is sent. The
//! yardsticks run in the same process right before: a WebSocket echo with the same frames and windows,
//! and a plain loop of append and sync on the same disk.

mod support;

use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use lodestone::client::connection::Connection;
use lodestone::client::frame::{self, Track};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::Server;
use support::catalog::SECRET;
use support::load::{acknowledged, collect, connect, pace, rate};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const CONNECTIONS: usize = 64;
const USERS: u64 = 10_000;
/// Items in flight on one connection; the server's default credit.
const WINDOW: usize = 200;

fn main() {
    if !support::wanted() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(bench());
}

#[expect(clippy::print_stdout, reason = "a bench reports on stdout")]
async fn bench() {
    let time = support::seconds(5);
    println!("machine: {}; {CONNECTIONS} connections, {} s each", support::machine(), time.as_secs());
    let log = [64, 1024].map(|group| (group, append_and_sync(group, time)));
    let mut results = Vec::new();
    for items in [1, 64] {
        let echo = echo(items, time).await;
        let server = Server::start(&catalog());
        let capacity = saturate(&server, items, time).await;
        let half = open_loop(&server, items, capacity / 2.0, time).await;
        drop(server);
        let rows = [
            ("socket echo, nothing stored".to_owned(), echo),
            ("append + sync, groups of 64, no socket".to_owned(), log[0].1),
            ("append + sync, groups of 1024, no socket".to_owned(), log[1].1),
            ("socket to durable acknowledgement".to_owned(), capacity),
        ];
        support::table(&format!("(b) frames of {items} event(s), {CONNECTIONS} connections"), "events/s", &rows);
        println!("  acknowledgement at half of that: {}", support::quantiles_text(&half));
        results.push(json!({"itemsPerFrame": items, "echoEventsPerSecond": echo, "durableEventsPerSecond": capacity,
            "ratioToEcho": capacity / echo, "ackAtHalfLoad": support::quantiles(&half)}));
    }
    let log = log.map(|(group, rate)| json!({"group": group, "eventsPerSecond": rate}));
    support::write(
        "socket",
        json!({"connections": CONNECTIONS, "seconds": time.as_secs(), "appendAndSync": log,
        "toDurable": results}),
    );
}

/// One event, four traits of it, and an action whose property changes with every event.
fn catalog() -> Value {
    let node =
        |key: &str, kind: &str| json!({"id": key, "name": key, "properties": {"key": key, "type": kind, "isRequired": true}});
    let text = |kind: &str, name: &str, key: &str, of: &str| json!({"channels": ["web"], "type": kind, "name": name, "value": "Hi", "sourceKey": key, "sourceType": of});
    json!({
        "organization": {"name": "Bench", "timezone": "UTC"},
        "channels": [{"name": "Web", "key": "web"}],
        "tokens": [{"token": "token-public", "channel": "web", "kind": "public"}, {"token": "token-secret", "channel": "web", "kind": "secret"}],
        "events": [{"name": "Product Viewed", "description": "", "structure": [node("product", "string"), node("price", "float"), node("category", "string")]}],
        "computedTraits": [
            {"name": "Views", "key": "views", "type": "count_events", "eventId": "Product Viewed", "conditions": [], "properties": {}},
            {"name": "Average", "key": "average", "type": "aggregation", "eventId": "Product Viewed", "conditions": [], "properties": {"property": "price", "type": "float", "aggregationType": "avg"}},
            {"name": "Last", "key": "last", "type": "last_event", "eventId": "Product Viewed", "conditions": [], "properties": {"property": "product", "type": "string"}},
            {"name": "Favourite", "key": "favourite", "type": "most_frequent", "eventId": "Product Viewed", "conditions": [], "properties": {"property": "category", "type": "string", "minFrequency": 1}},
        ],
        "actionTypes": [{"name": "banner", "version": 1, "properties": []}],
        "actions": [{"name": "Banner", "type": "banner", "state": "active", "tags": [], "priority": 0,
            "properties": [text("text", "title", "", ""), text("computed_trait", "views", "views", "integer")],
            "targeting": {"channels": ["web"], "audiences": [], "traitConditions": [
                {"source": "computed", "key": "views", "type": "integer", "operator": "greater_than_or_equal", "value": 1}], "contextConditions": []},
            "capping": [], "hooks": [], "testUsers": []}],
    })
}

/// Writes the frames of one connection: every message id is used once in a run.
struct Writer {
    prefix: String,
    items: usize,
    next: u64,
    properties: Box<RawValue>,
}

impl Writer {
    fn new(run: &str, connection: usize, items: usize) -> Self {
        let properties = json!({"product": "Dusk table lamp", "price": 94.5, "category": "Light"});
        let properties = serde_json::value::to_raw_value(&properties).expect("JSON is JSON");
        // Connections start at different users, so that they do not walk in step.
        let next = connection as u64 * (USERS / CONNECTIONS as u64);
        Self { prefix: format!("{run}-{connection}"), items, next, properties }
    }

    fn frame(&mut self) -> String {
        let items: Vec<String> = (0..self.items).map(|_| self.item()).collect();
        if self.items == 1 {
            items.into_iter().next().unwrap_or_default()
        } else {
            frame::batch(self.next, items.iter().map(String::as_str))
        }
    }

    fn item(&mut self) -> String {
        self.next += 1;
        let id = format!("{}-{}", self.prefix, self.next);
        let user = format!("user-{}", self.next % USERS);
        let mut track = Track::new(&id, "Product Viewed");
        track.properties = Some(&self.properties);
        track.user_id = Some(&user);
        track.to_text()
    }
}

/// Acknowledged events per second when every connection keeps its window full.
async fn saturate(server: &Server, items: usize, time: Duration) -> f64 {
    let counter = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for index in 0..CONNECTIONS {
        let mut connection = connect(server, SECRET, &format!("loader-{index}")).await;
        let mut writer = Writer::new(&format!("sat{items}"), index, items);
        let counter = Arc::clone(&counter);
        tasks.spawn(async move {
            loop {
                while connection.credit() as usize >= items {
                    connection.spend(items as u32, writer.frame()).await.expect("the server reads");
                }
                let frame = connection.next().await.expect("the server answers");
                counter.fetch_add(acknowledged(&frame), Relaxed);
            }
        });
    }
    let rate = rate(&counter, time).await;
    tasks.shutdown().await;
    rate
}

/// Time from the scheduled moment of an event to its acknowledgement, in microseconds.
async fn open_loop(server: &Server, items: usize, events_per_second: f64, time: Duration) -> Histogram<u64> {
    let mut tasks = JoinSet::new();
    let mut clocks = Vec::new();
    for index in 0..CONNECTIONS {
        let connection = connect(server, SECRET, &format!("loader-{index}")).await;
        let writer = Writer::new(&format!("open{items}"), index, items);
        let (clock, due) = mpsc::unbounded_channel();
        clocks.push(clock);
        tasks.spawn(follow(connection, writer, due));
    }
    pace(clocks, events_per_second / items as f64, time);
    collect(tasks).await
}

/// Sends a frame whenever one is due and credit allows; ends when the schedule does.
async fn follow(mut connection: Connection, mut writer: Writer, mut due: mpsc::UnboundedReceiver<Instant>) -> Histogram<u64> {
    let mut waited = support::histogram();
    let mut sent: VecDeque<(Instant, u64)> = VecDeque::new();
    let items = writer.items as u32;
    let mut open = true;
    while open || !sent.is_empty() {
        tokio::select! {
            next = connection.next() => {
                let mut acked = acknowledged(&next.expect("the server answers"));
                while acked > 0 {
                    let (scheduled, left) = sent.front_mut().expect("only what was sent is acknowledged");
                    let now = acked.min(*left);
                    waited.saturating_record_n(scheduled.elapsed().as_micros() as u64, now);
                    *left -= now;
                    acked -= now;
                    if *left == 0 {
                        sent.pop_front();
                    }
                }
            }
            next = due.recv(), if open && connection.credit() >= items => match next {
                Some(scheduled) => {
                    sent.push_back((scheduled, u64::from(items)));
                    connection.spend(items, writer.frame()).await.expect("the server reads");
                }
                None => open = false,
            },
        }
    }
    waited
}

/// Frames through a WebSocket echo, as events per second: the same texts, connections and windows.
async fn echo(items: usize, time: Duration) -> f64 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = tokio::spawn(async move {
        let mut sockets = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            sockets.spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
                while let Some(Ok(message)) = socket.next().await {
                    if !message.is_text() || socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let counter = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for index in 0..CONNECTIONS {
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}")).await.expect("the echo answers");
        let mut writer = Writer::new("echo", index, items);
        let counter = Arc::clone(&counter);
        tasks.spawn(async move {
            for _ in 0..WINDOW / items {
                socket.send(Message::text(writer.frame())).await.expect("the echo reads");
            }
            while let Some(Ok(_)) = socket.next().await {
                counter.fetch_add(items as u64, Relaxed);
                socket.send(Message::text(writer.frame())).await.expect("the echo reads");
            }
        });
    }
    let rate = rate(&counter, time).await;
    tasks.shutdown().await;
    server.abort();
    rate
}

/// Events per second of a plain loop: append a group of events to a file, sync, repeat.
fn append_and_sync(group: usize, time: Duration) -> f64 {
    let mut file = tempfile::tempfile_in(support::disk()).expect("a file");
    let mut writer = Writer::new("log", 0, 1);
    let bytes: Vec<u8> = (0..group).flat_map(|_| writer.frame().into_bytes()).collect();
    let started = Instant::now();
    let mut groups = 0u64;
    while started.elapsed() < time {
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the disk takes it");
        groups += 1;
    }
    (groups * group as u64) as f64 / started.elapsed().as_secs_f64()
}
