//! Pushes: (c) the time from an event to the frame that it pushes, and (d) the time until everybody knows that a
//! shared cap is used up.
//!
//! `cargo bench --bench push`. The load and the server share the machine's cores. (c) is open loop: a schedule
//! says when each event is due, and its clock starts then, however late it is sent. The yardstick of (d) runs in
//! the same minute: a bare process that sends a frame of the same length to as many sockets, in a loop.
//! `LODESTONE_BENCH_SOCKETS` changes how many there are.

mod support;

use futures_util::{SinkExt, StreamExt, stream};
use hdrhistogram::Histogram;
use lodestone::client::connection::Connection;
use lodestone::client::frame::{self, Frame, PushedAction, Track};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use support::Server;
use support::catalog::{PUBLIC, shop};
use support::load::{acknowledged, collect, pace, rate, subscribe};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

/// The argument that makes this the yardstick's process.
const BROADCAST: &str = "--broadcast";
/// Shared caps that are used up one after the other.
const ROUNDS: usize = 5;
/// Connections that are opened at one time.
const OPENING: usize = 64;

/// Who visits, and how much of what they do is answered.
#[derive(Clone, Copy)]
struct Crowd {
    visitors: usize,
    /// One event of so many pushes.
    every: u64,
    /// Events in flight on one connection while the highest rate is sought.
    window: usize,
    /// How many times as long as usual it is watched, for enough pushes to tell of.
    patience: u32,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if std::env::args().any(|argument| argument == BROADCAST) {
        runtime.block_on(broadcast());
    } else if support::wanted() {
        runtime.block_on(bench());
    }
}

#[expect(clippy::print_stdout, reason = "a bench reports on stdout")]
async fn bench() {
    let time = support::seconds(5);
    println!("machine: {}; {} s each", support::machine(), time.as_secs());
    let mut results = Vec::new();
    for (crowd, shares) in [
        (Crowd { visitors: 1000, every: 100, window: 4, patience: 4 }, &[0.25, 0.5, 0.75][..]),
        (Crowd { visitors: 64, every: 1, window: 4, patience: 1 }, &[0.5][..]),
    ] {
        let server = Server::start(&catalog());
        let capacity = saturate(&server, crowd, time).await;
        let Crowd { visitors, every, .. } = crowd;
        println!(
            "\n(c) event to pushed frame: 20 traits, 10 funnels, 50 actions, {visitors} visitors, 1 event in {every} pushes"
        );
        println!("  highest rate {capacity:.0} events/s");
        let mut loads = Vec::new();
        for share in shares {
            let waited = open_loop(&server, crowd, capacity * share, time).await;
            println!("  at {:.0} % of it: {}", share * 100.0, support::quantiles_text(&waited));
            loads.push(json!({"share": share, "waited": support::quantiles(&waited)}));
        }
        results
            .push(json!({"visitors": visitors, "oneEventPushesOf": every, "capacityEventsPerSecond": capacity, "loads": loads}));
    }
    let sockets = std::env::var("LODESTONE_BENCH_SOCKETS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let plain = plain_fan_out(sockets).await;
    let capped = fan_out(sockets).await;
    println!("\n(d) from one act to the last of {sockets} sockets, {ROUNDS} rounds");
    println!("  a loop over bare sockets:            {}", support::quantiles_text(&plain));
    println!("  a shared cap used up, all revoked:   {}", support::quantiles_text(&capped));
    let ratio = |q| capped.value_at_quantile(q) as f64 / plain.value_at_quantile(q).max(1) as f64;
    println!("  ratio: p50 {:.2}, p99 {:.2}, last {:.2}", ratio(0.5), ratio(0.99), ratio(1.0));
    support::write(
        "push",
        json!({"seconds": time.as_secs(), "eventToPush": results, "fanOut": {
            "sockets": sockets, "bare": support::quantiles(&plain), "capped": support::quantiles(&capped), "ratioLast": ratio(1.0)}}),
    );
}

/// 20 traits, 10 funnels and 50 actions. Events of the session `push` change the one action that is ever due;
/// half of the others are asked by every event, as they read a trait that it changes.
fn catalog() -> Value {
    let mut catalog = shop();
    let condition = json!({"property": "session", "type": "string", "operator": "equals", "value": "push"});
    catalog["computedTraits"][0]["conditions"] = json!([condition]);
    let other = |n: usize| {
        let above = json!({"source": "computed", "key": format!("t{}", 1 + n % 4), "type": "float", "operator": "greater_than", "value": 1e15});
        let (audiences, conditions) =
            if n.is_multiple_of(2) { (vec![format!("f{}", n % 10)], vec![]) } else { (vec![], vec![above]) };
        action(
            &format!("Action {n}"),
            json!([]),
            json!({"channels": ["web"], "audiences": audiences, "traitConditions": conditions}),
            json!([]),
        )
    };
    let mut actions = vec![action(
        "Banner",
        json!([{"channels": ["web"], "type": "computed_trait", "name": "count", "value": "", "sourceKey": "t0", "sourceType": "integer"}]),
        json!({"channels": ["web"], "audiences": [], "traitConditions": [
            {"source": "computed", "key": "t0", "type": "integer", "operator": "greater_than", "value": 0}]}),
        json!([]),
    )];
    actions.extend((1..50).map(other));
    catalog["actions"] = actions.into();
    catalog
}

fn action(name: &str, properties: Value, targeting: Value, capping: Value) -> Value {
    json!({"name": name, "type": "banner", "state": "active", "tags": [], "priority": 0, "properties": properties,
        "targeting": targeting, "capping": capping, "hooks": [], "testUsers": []})
}

/// Somebody with the shop open, who is shown actions.
struct Visitor {
    connection: Connection,
    name: String,
    every: u64,
    /// Events so far. Visitors start at different ones, so that they are not answered in step.
    number: u64,
    plain: Box<RawValue>,
    pushing: Box<RawValue>,
}

impl Visitor {
    async fn come(server: &Server, run: &str, index: usize, every: u64) -> Self {
        let properties = |session: &str| {
            let properties = json!({"product": "Dusk table lamp", "price": 94.5, "session": session});
            serde_json::value::to_raw_value(&properties).expect("JSON is JSON")
        };
        let name = format!("{run}-{index}");
        let (connection, due) = subscribe(server, PUBLIC, &name).await;
        assert!(due.is_empty(), "nothing is due before the first event");
        Self { connection, name, every, number: index as u64, plain: properties("s1"), pushing: properties("push") }
    }

    /// Sends the next event; says whether it pushes.
    async fn act(&mut self) -> bool {
        self.number += 1;
        let pushes = self.number.is_multiple_of(self.every);
        let id = format!("{}-{}", self.name, self.number);
        let mut track = Track::new(&id, "Event 0");
        track.properties = Some(if pushes { &self.pushing } else { &self.plain });
        self.connection.spend(1, track.to_text()).await.expect("the server reads");
        pushes
    }
}

/// Acknowledged events per second when every visitor's window is full.
async fn saturate(server: &Server, crowd: Crowd, time: Duration) -> f64 {
    let counter = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for visitor in visitors(server, "most", crowd).await {
        let (clock, due) = mpsc::unbounded_channel();
        (0..crowd.window).for_each(|_| clock.send(Instant::now()).expect("the channel is open"));
        tasks.spawn(visit(visitor, due, Some(clock), Arc::clone(&counter)));
    }
    let rate = rate(&counter, time).await;
    tasks.shutdown().await;
    rate
}

/// Microseconds from the scheduled moment of an event to the push that shows it.
async fn open_loop(server: &Server, crowd: Crowd, events_per_second: f64, time: Duration) -> Histogram<u64> {
    let counter = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let mut clocks = Vec::new();
    for visitor in visitors(server, &format!("at{events_per_second:.0}"), crowd).await {
        let (clock, due) = mpsc::unbounded_channel();
        clocks.push(clock);
        tasks.spawn(visit(visitor, due, None, Arc::clone(&counter)));
    }
    pace(clocks, events_per_second, time * crowd.patience);
    collect(tasks).await
}

async fn visitors(server: &Server, run: &str, crowd: Crowd) -> Vec<Visitor> {
    let come = (0..crowd.visitors).map(|index| Visitor::come(server, run, index, crowd.every));
    stream::iter(come).buffer_unordered(OPENING).collect().await
}

/// Sends events when due and waits for the pushes that show them. A push shows how many events push, and so
/// everything up to that number, should the server have skipped one. With `again` every acknowledgement makes
/// the next event due.
async fn visit(
    mut visitor: Visitor,
    mut due: mpsc::UnboundedReceiver<Instant>,
    again: Option<mpsc::UnboundedSender<Instant>>,
    counter: Arc<AtomicU64>,
) -> Histogram<u64> {
    let mut waited = support::histogram();
    let mut unseen: VecDeque<Instant> = VecDeque::new();
    let (mut shown, mut unanswered, mut open) = (0, 0, true);
    while open || unanswered > 0 || !unseen.is_empty() {
        tokio::select! {
            next = visitor.connection.next() => match next.expect("the server answers") {
                Frame::Action { seq, action } => {
                    let count = action.properties["count"].as_u64().expect("the banner shows a count");
                    while shown < count {
                        shown += 1;
                        let scheduled = unseen.pop_front().expect("only what was sent is shown");
                        waited.saturating_record(scheduled.elapsed().as_micros() as u64);
                    }
                    if seq % 64 == 0 {
                        visitor.connection.send(frame::seen(seq)).await.expect("the server reads");
                    }
                }
                other => {
                    let answered = acknowledged(&other);
                    unanswered -= answered;
                    counter.fetch_add(answered, Relaxed);
                    for again in again.iter().take(answered as usize) {
                        let _ = again.send(Instant::now());
                    }
                }
            },
            next = due.recv(), if open && visitor.connection.credit() >= 1 => match next {
                Some(scheduled) => {
                    unanswered += 1;
                    if visitor.act().await {
                        unseen.push_back(scheduled);
                    }
                }
                None => open = false,
            },
        }
    }
    waited
}

/// Microseconds from an act that uses up a cap of everybody to the revocation, over all who hold the action.
async fn fan_out(sockets: usize) -> Histogram<u64> {
    let mut catalog = shop();
    let everybody = json!({"channels": ["web"], "audiences": [], "traitConditions": []});
    let once = json!([{"channels": [], "event": "accepted", "group": "all", "count": 1, "within": 0}]);
    catalog["actions"] =
        (0..ROUNDS).map(|n| action(&format!("Last one {n}"), json!([]), everybody.clone(), once.clone())).collect();
    let server = Server::start(&catalog);
    let come = (0..sockets).map(|index| {
        let (server, name) = (&server, format!("holder-{index}"));
        async move { subscribe(server, PUBLIC, &name).await }
    });
    let mut holders: Vec<(Connection, Vec<PushedAction>)> = stream::iter(come).buffer_unordered(OPENING).collect().await;
    let (mut first, coupons) = holders.pop().expect("there are holders");
    assert_eq!(coupons.len(), ROUNDS);
    let mut others: Vec<Connection> = holders.into_iter().map(|(connection, _)| connection).collect();
    let mut waited = support::histogram();
    for (round, coupon) in coupons.iter().enumerate() {
        let mut tasks = JoinSet::new();
        for mut other in others {
            tasks.spawn(async move {
                while !matches!(other.next().await.expect("the server answers"), Frame::Revoked { .. }) {}
                (other, Instant::now())
            });
        }
        let began = Instant::now();
        first.spend(1, frame::act(&format!("act-{round}"), coupon, "accept")).await.expect("the server reads");
        others = told(tasks, began, &mut waited).await;
        // The taker's own answer, and its own revocation.
        while !matches!(first.next().await.expect("the server answers"), Frame::Acted { .. }) {}
    }
    waited
}

/// The same with a frame of the same length and a process that does nothing else.
async fn plain_fan_out(sockets: usize) -> Histogram<u64> {
    let yardstick = Yardstick::start();
    let come = (0..sockets).map(|_| async {
        let (mut socket, _) = tokio_tungstenite::connect_async(&yardstick.url).await.expect("it answers");
        assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))), "it says that it knows the socket");
        socket
    });
    let mut others: Vec<_> = stream::iter(come).buffer_unordered(OPENING).collect().await;
    let mut first = others.pop().expect("there are sockets");
    let mut waited = support::histogram();
    for _ in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        for mut other in others {
            tasks.spawn(async move {
                while !matches!(other.next().await, Some(Ok(Message::Text(_)))) {}
                (other, Instant::now())
            });
        }
        let began = Instant::now();
        first.send(Message::text("go")).await.expect("it reads");
        others = told(tasks, began, &mut waited).await;
        while !matches!(first.next().await, Some(Ok(Message::Text(_)))) {}
    }
    waited
}

/// Waits for all of them.
async fn told<C: 'static>(mut tasks: JoinSet<(C, Instant)>, began: Instant, waited: &mut Histogram<u64>) -> Vec<C> {
    let mut told = Vec::with_capacity(tasks.len());
    while let Some(one) = tasks.join_next().await {
        let (one, at) = one.expect("a socket does not panic");
        waited.saturating_record((at - began).as_micros() as u64);
        told.push(one);
    }
    told
}

/// The process of [`broadcast`]; killed when dropped.
struct Yardstick {
    child: Child,
    url: String,
}

impl Yardstick {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program).arg(BROADCAST).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output is piped");
        BufReader::new(output).read_line(&mut line).expect("it says where it listens");
        Self { child, url: line.trim().to_owned() }
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends everybody a frame as long as a revocation whenever anybody sends something.
#[expect(clippy::print_stdout, reason = "it says where it listens")]
async fn broadcast() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("ws://{}", listener.local_addr().expect("an address"));
    let all = Arc::new(Mutex::new(Vec::new()));
    while let Ok((stream, _)) = listener.accept().await {
        let all = Arc::clone(&all);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
            let (mut sink, mut stream) = socket.split();
            let mut known = all.lock().await;
            sink.send(Message::text("known")).await.expect("it is read");
            known.push(sink);
            drop(known);
            while let Some(Ok(message)) = stream.next().await {
                if message.is_text() {
                    for sink in all.lock().await.iter_mut() {
                        sink.send(Message::text("x".repeat(160))).await.expect("it is read");
                    }
                }
            }
        });
    }
}
