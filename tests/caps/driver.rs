//! The connections of the storm, and the book that is kept of what they were told.

use crate::server::Server;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

pub(crate) const CONNECTIONS: usize = 64;
pub(crate) const TOKEN: &str = "ls_sk_storm";
const USERS: usize = 500;
/// Accepts in flight on one connection.
const WINDOW: usize = 100;
/// Accepts in one frame, on every second connection.
const BATCH: usize = 20;
/// Parts of the storm after which the server is killed.
const KILLS: [f64; 4] = [0.1, 0.35, 0.6, 0.85];
/// Between two tries to reach a server that is not there.
const AGAIN: Duration = Duration::from_millis(20);
/// Longer than a restart takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A stream of numbers that is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).expect("below a usize")
    }
}

/// The limits, and how many accepts of each were granted.
pub(crate) struct Limits {
    count: Vec<usize>,
    granted: Vec<AtomicUsize>,
    /// Whether one too many is an error at once.
    strict: bool,
}

impl Limits {
    /// Every limit is asked for more often than it has places, some by one, some by a hundred times.
    pub(crate) fn new(limits: usize, accepts: usize) -> Self {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let asked = accepts / limits;
        assert!(asked >= 2, "{accepts} accepts are too few for {limits} limits");
        let count: Vec<usize> = (0..limits).map(|_| 1 + dice.below(asked - 1)).collect();
        Self { granted: count.iter().map(|_| AtomicUsize::new(0)).collect(), count, strict: true }
    }

    /// The same, for somebody who is expected to get it wrong.
    pub(crate) fn loose(limits: usize, accepts: usize) -> Self {
        Self { strict: false, ..Self::new(limits, accepts) }
    }

    pub(crate) fn len(&self) -> usize {
        self.count.len()
    }

    pub(crate) fn count(&self, limit: usize) -> usize {
        self.count[limit]
    }

    pub(crate) fn places(&self) -> usize {
        self.count.iter().sum()
    }

    fn grant(&self, limit: usize) {
        let granted = self.granted[limit].fetch_add(1, SeqCst) + 1;
        assert!(!self.strict || granted <= self.count[limit], "limit {limit} of {} was granted once more", self.count[limit]);
    }

    /// How many too many were granted.
    pub(crate) fn over(&self) -> usize {
        let over = |(count, granted): (&usize, &AtomicUsize)| granted.load(SeqCst).saturating_sub(*count);
        self.count.iter().zip(&self.granted).map(over).sum()
    }

    pub(crate) fn assert_exact(&self) {
        for (limit, (count, granted)) in self.count.iter().zip(&self.granted).enumerate() {
            assert_eq!(granted.load(SeqCst), *count, "limit {limit}: granted, and there were");
        }
    }

    fn id(limit: usize) -> String {
        format!("00000000-0000-4000-8000-{limit:012x}")
    }

    /// An action for every limit.
    pub(crate) fn catalog(&self) -> Value {
        let action = |(limit, count): (usize, &usize)| {
            json!({"id": Self::id(limit), "name": format!("Limit {limit}"), "type": "coupon", "state": "active", "tags": [],
                "properties": [], "targeting": {"channels": ["web"]}, "hooks": [], "testUsers": [],
                "capping": [{"channels": [], "event": "accepted", "group": "all", "count": count, "within": 0}]})
        };
        json!({
            "organization": {"name": "Storm", "timezone": "UTC"},
            "channels": [{"name": "Web", "key": "web"}],
            "tokens": [{"token": TOKEN, "channel": "web", "kind": "secret"}],
            "events": [{"name": "Here", "description": "", "structure": []}],
            "actionTypes": [{"name": "coupon", "version": 1, "properties": []}],
            "actions": self.count.iter().enumerate().map(action).collect::<Vec<_>>(),
        })
    }
}

const PENDING: u8 = 0;
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 2;

/// What is asked for, in which order, and what became of each.
pub(crate) struct Plan {
    limits: Vec<usize>,
    outcome: Vec<AtomicU8>,
    answered: AtomicUsize,
    /// Tells the ids of one plan from those of another.
    name: &'static str,
}

impl Plan {
    fn of(limits: Vec<usize>, name: &'static str) -> Self {
        let outcome = limits.iter().map(|_| AtomicU8::new(PENDING)).collect();
        Self { limits, outcome, answered: AtomicUsize::new(0), name }
    }

    /// Every limit equally often, in a random order with a crowd at the door: runs of one limit are asked
    /// for on all connections at once.
    pub(crate) fn shuffled(limits: &Limits, accepts: usize) -> Self {
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        let mut asked: Vec<usize> = (0..accepts).map(|n| n % limits.len()).collect();
        for at in (1..asked.len()).rev() {
            // Every other stays where it is: neighbours go for neighbours.
            if at.is_multiple_of(2) {
                let other = dice.below(at + 1);
                asked.swap(at, other);
            }
        }
        Self::of(asked, "s")
    }

    /// Every limit once.
    pub(crate) fn one_each(limits: &Limits) -> Self {
        Self::of((0..limits.len()).collect(), "r")
    }

    pub(crate) fn accepted(&self) -> usize {
        self.outcome.iter().filter(|outcome| outcome.load(SeqCst) == ACCEPTED).count()
    }

    fn act(&self, n: usize) -> Value {
        let (name, user) = (self.name, n % USERS);
        json!({"t": "act", "id": format!("{name}-{n}"), "actionId": Limits::id(self.limits[n]), "event": "accept",
            "userId": format!("u{user}")})
    }

    /// Notes an answer. An accept that was granted before a crash is granted once.
    fn answer(&self, limits: &Limits, id: &str, granted: bool) -> usize {
        let n: usize = id.split_once('-').and_then(|(_, n)| n.parse().ok()).expect("an id of ours");
        let outcome = if granted { ACCEPTED } else { REFUSED };
        let before = self.outcome[n].swap(outcome, SeqCst);
        assert_eq!(before, PENDING, "{id} was answered twice");
        self.answered.fetch_add(1, SeqCst);
        if granted {
            limits.grant(self.limits[n]);
        }
        n
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection that was let in; tries until there is a server.
async fn connect(url: &str, name: &str) -> Socket {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(socket) = try_connect(url, name).await {
            return socket;
        }
        assert!(began.elapsed() < PATIENCE, "nobody answers at {url}");
        tokio::time::sleep(AGAIN).await;
    }
}

async fn try_connect(url: &str, name: &str) -> Option<Socket> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.ok()?;
    let hello = json!({"t": "hello", "v": 1, "token": TOKEN, "anonymousId": name});
    socket.send(Message::text(hello.to_string())).await.ok()?;
    let welcome = socket.next().await?.ok()?;
    let welcome: Value = serde_json::from_str(welcome.to_text().ok()?).ok()?;
    (welcome["t"] == "welcome").then_some(socket)
}

/// Makes everybody known, so that they may react.
async fn introduce(url: &str) {
    let mut socket = connect(url, "usher").await;
    for chunk in (0..USERS).collect::<Vec<_>>().chunks(100) {
        let track = |n: &usize| json!({"t": "track", "id": format!("here-{n}"), "event": "Here", "userId": format!("u{n}")});
        let frame = json!({"t": "batch", "messages": chunk.iter().map(track).collect::<Vec<_>>()});
        socket.send(Message::text(frame.to_string())).await.expect("the server reads");
        let mut stored = 0;
        while stored < chunk.len() {
            let message = socket.next().await.expect("an answer").expect("a message");
            let frame: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
            stored += frame["results"].as_array().map_or(0, Vec::len);
        }
    }
}

/// Has everything asked for, with no harm done to the server.
pub(crate) async fn ask(url: &str, plan: &Arc<Plan>, limits: &Arc<Limits>) {
    let mut tasks = spawn(url, plan, limits);
    while let Some(done) = tasks.join_next().await {
        done.expect("a connection does not fail");
    }
}

/// Has everything asked for while the server is killed and started again. Returns how often.
pub(crate) async fn storm(server: &mut Server, plan: &Arc<Plan>, limits: &Arc<Limits>) -> usize {
    introduce(&server.url()).await;
    let mut tasks = spawn(&server.url(), plan, limits);
    let mut kills = 0;
    for part in KILLS {
        while plan.answered.load(SeqCst) < (plan.limits.len() as f64 * part) as usize {
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(!tasks.is_empty(), "all connections have ended");
            // A connection that failed is told now and not when it is waited for.
            while let Some(done) = tasks.try_join_next() {
                done.expect("a connection does not fail");
            }
        }
        tokio::task::block_in_place(|| {
            server.kill();
            server.launch();
        });
        kills += 1;
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a connection does not fail");
    }
    kills
}

fn spawn(url: &str, plan: &Arc<Plan>, limits: &Arc<Limits>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for index in 0..CONNECTIONS {
        let (url, plan, limits) = (url.to_owned(), plan.clone(), limits.clone());
        tasks.spawn(async move { Asker { index, plan, limits }.run(&url).await });
    }
    tasks
}

/// One connection with its share of the plan.
struct Asker {
    index: usize,
    plan: Arc<Plan>,
    limits: Arc<Limits>,
}

impl Asker {
    async fn run(&self, url: &str) {
        let mut left: VecDeque<usize> = (self.index..self.plan.limits.len()).step_by(CONNECTIONS).collect();
        while !left.is_empty() {
            let socket = connect(url, &format!("asker-{}", self.index)).await;
            self.ask(socket, &mut left).await;
        }
    }

    /// Asks until nothing is left or the connection breaks. What was not answered is left, and will be
    /// asked for again with the same id.
    async fn ask(&self, mut socket: Socket, left: &mut VecDeque<usize>) {
        let mut flying: HashSet<usize> = HashSet::new();
        loop {
            while flying.len() < WINDOW && !left.is_empty() {
                let size = if self.index.is_multiple_of(2) { 1 } else { BATCH };
                let next: Vec<usize> = left.drain(..size.min(left.len())).collect();
                flying.extend(&next);
                let mut acts: Vec<Value> = next.iter().map(|n| self.plan.act(*n)).collect();
                let frame = if size == 1 { acts.remove(0) } else { json!({"t": "batch", "messages": acts}) };
                if socket.feed(Message::text(frame.to_string())).await.is_err() {
                    break;
                }
            }
            if flying.is_empty() {
                return;
            }
            let answer = match socket.flush().await {
                Ok(()) => tokio::time::timeout(PATIENCE, socket.next()).await.expect("an answer in time"),
                Err(_) => None,
            };
            let Some(Ok(Message::Text(text))) = answer else {
                if matches!(answer, Some(Ok(Message::Ping(_) | Message::Pong(_)))) {
                    continue;
                }
                left.extend(flying);
                return;
            };
            self.note(&serde_json::from_str(&text).expect("frames are JSON"), &mut flying);
        }
    }

    fn note(&self, frame: &Value, flying: &mut HashSet<usize>) {
        let id = |value: &Value| value["id"].as_str().expect("an id").to_owned();
        match frame["t"].as_str() {
            Some("acted") => {
                flying.remove(&self.plan.answer(&self.limits, &id(frame), true));
            }
            Some("error") => {
                assert_eq!(frame["code"], "action_cap_reached", "{frame}");
                flying.remove(&self.plan.answer(&self.limits, &id(frame), false));
            }
            Some("ack") => {
                for result in frame["results"].as_array().expect("results") {
                    let granted = match result["status"].as_str() {
                        Some("stored" | "duplicate") => true,
                        _ => {
                            assert_eq!(result["code"], "action_cap_reached", "{result}");
                            false
                        }
                    };
                    flying.remove(&self.plan.answer(&self.limits, &id(result), granted));
                }
            }
            _ => {}
        }
    }
}
