//! A server whose time the test sets, and visitors who tell in a line what they are told.

use crate::common::{Client, Server, TW, organisation, with};
use lodestone::config::Config;
use lodestone::runtime::clock::ManualClock;
use lodestone_state::ids::Millis;
use lodestone_state::time::parse_rfc3339;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than a frame takes that another thread causes.
const PATIENCE: Duration = Duration::from_secs(10);

/// 11:00 in Berlin.
pub(crate) const TEN: &str = "2024-03-01T10:00:00Z";

/// A server at a moment.
pub(crate) struct Stage {
    pub(crate) server: Server,
    clock: Arc<ManualClock>,
    document: Value,
}

pub(crate) fn at(text: &str) -> Millis {
    parse_rfc3339(text).unwrap_or_else(|| panic!("{text} is no instant"))
}

/// An action named by its title, active on web and app, with more fields.
pub(crate) fn action(title: &str, more: &Value) -> Value {
    let text = |key: &str, value: &str| json!({"channels": ["web", "app"], "type": "text", "name": key, "value": value, "sourceKey": "", "sourceType": ""});
    let mut action = json!({"name": title, "type": "banner", "state": "active", "tags": [], "properties": [text("title", title)],
        "targeting": {}, "capping": [], "hooks": [], "testUsers": []});
    for (key, value) in more.as_object().expect("fields") {
        match (key.as_str(), value) {
            ("properties", Value::Array(list)) => {
                action["properties"].as_array_mut().expect("a list").extend(list.iter().cloned())
            }
            _ => action[key] = value.clone(),
        }
    }
    if action["targeting"].get("channels").is_none() {
        action["targeting"]["channels"] = json!(["web", "app"]);
    }
    action
}

/// Due once somebody went at least so often.
pub(crate) fn goes(count: u32) -> Value {
    json!({"traitConditions": [
        {"source": "computed", "key": "goes", "type": "integer", "operator": "greater_than_or_equal", "value": count}]})
}

/// A cap of one person or of all.
pub(crate) fn cap(event: &str, group: &str, count: u32, within: u32) -> Value {
    json!([{"channels": [], "event": event, "group": group, "count": count, "within": within}])
}

/// Definitions around these actions.
pub(crate) fn document(actions: &[Value], budgets: &[Value]) -> Value {
    let leaf =
        |key: &str, kind: &str| json!({"id": key, "name": key, "properties": {"key": key, "type": kind, "isRequired": false}});
    let went = |name: &str, operator: &str, count: u32| {
        json!({"name": name, "includeAnonymous": true, "traits": [], "events": [
            {"id": "Go", "exclude": false, "operator": operator, "count": count,
             "timeWindowOperator": "within", "timeWindowStart": 1, "timeWindowUnit": "hours"}]})
    };
    organisation(&json!({
        "events": [{"name": "Go", "description": "", "structure": [leaf("n", "integer")]}],
        "contexts": [{"channel": "web", "structure": [leaf("page", "string")]}],
        "customTraits": {"structure": [leaf("age", "integer"), leaf("city", "string"), leaf("vip", "boolean"),
            leaf("likes", "array"), leaf("born", "dateTime"), leaf("score", "float")]},
        "computedTraits": [
            {"name": "Goes", "key": "goes", "type": "count_events", "eventId": "Go", "conditions": [], "properties": {}},
            {"name": "Best", "key": "best", "type": "aggregation", "eventId": "Go", "conditions": [],
             "properties": {"property": "n", "type": "integer", "aggregationType": "max"}},
            {"name": "Numbers", "key": "numbers", "type": "unique_list", "eventId": "Go", "conditions": [],
             "properties": {"property": "n", "type": "integer"}},
            {"name": "Last time", "key": "lastTime", "type": "last_event", "eventId": "Go", "conditions": [],
             "properties": {"useTimestamp": true}}],
        "audiences": [went("Goers", "more_or_exactly", 1), went("Once", "exactly", 1)],
        "actionTypes": [
            {"name": "banner", "version": 1, "properties": []}, {"name": "notification", "version": 1, "properties": []}],
        "actions": actions,
        "budgets": budgets,
    }))
}

impl Stage {
    pub(crate) async fn new(now: &str, actions: &[Value]) -> Self {
        Self::with(now, document(actions, &[]), |_| ()).await
    }

    pub(crate) async fn with(now: &str, document: Value, adjust: impl FnOnce(&mut Config)) -> Self {
        let clock = Arc::new(ManualClock::at(at(now)));
        let server = Server::with(clock.clone(), &document, adjust).await;
        let engine = server.engine.clone();
        std::thread::spawn(move || engine.run_fanout());
        Self { server, clock, document }
    }

    /// Time goes on, and nobody has looked yet.
    pub(crate) fn set(&self, now: &str) {
        self.clock.set(at(now));
    }

    /// Time goes on, and what is due by then happens.
    pub(crate) fn pass(&self, now: &str) {
        self.set(now);
        self.server.engine.fire_due(&mut Vec::new());
    }

    /// Other definitions of the actions.
    pub(crate) fn define(&mut self, actions: &[Value]) {
        self.document["actions"] = Value::from(actions.to_vec());
        self.server.engine.apply_catalog(&self.document.to_string()).unwrap_or_else(|issues| panic!("{issues:#?}"));
    }

    /// Takes an action out of force.
    pub(crate) fn remove(&self, title: &str) {
        let kind = lodestone_state::plan::Kind::Action;
        let change = |catalog: &lodestone_state::plan::Catalog| catalog.remove(kind, title, false);
        self.server.engine.change_catalog(change).unwrap_or_else(|issues: Vec<_>| panic!("{issues:#?}"));
    }

    /// A visitor of the shop who has not subscribed yet.
    pub(crate) async fn web(&self, user: &str) -> Visitor {
        Visitor::new(self.server.hello(json!({"token": TW, "anonymousId": user})).await)
    }

    /// A visitor of the shop, and what they get first.
    pub(crate) async fn visitor(&self, user: &str) -> (Visitor, Vec<String>) {
        let mut visitor = self.web(user).await;
        let first = visitor.subscribe("s", &json!({})).await;
        (visitor, first)
    }

    /// How often a person's log has a reaction to an action.
    pub(crate) async fn reactions(&self, user: &str, kind: &str, title: &str) -> usize {
        let profile = self.server.profile(user).await.unwrap_or_default();
        let all = profile["reactions"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|one| one["event"] == kind && one["action"] == title).count()
    }

    /// The id of an action.
    pub(crate) fn id(&self, title: &str) -> String {
        let plan = self.server.engine.plan();
        plan.actions.iter().flatten().find(|action| action.name == title).expect("an action").id.to_string()
    }
}

/// One socket. Frames about actions are told as `+title` (a delivery begins), `=title` (it is sent again, for
/// another subscription or with another content), `-title reason`.
pub(crate) struct Visitor {
    pub(crate) client: Client,
    pub(crate) welcome: Value,
    titles: HashMap<String, String>,
    /// The last delivery of each title, and its action.
    pub(crate) delivery: HashMap<String, (String, String)>,
    /// What each title last said.
    pub(crate) said: HashMap<String, Value>,
    pub(crate) seq: u64,
    turn: u32,
}

impl Visitor {
    pub(crate) fn new((client, welcome): (Client, Value)) -> Self {
        let (titles, delivery, said) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { client, welcome, titles, delivery, said, seq: 0, turn: 0 }
    }

    /// A message id that nobody else uses.
    pub(crate) fn next_id(&mut self, what: &str) -> String {
        self.turn += 1;
        format!("{what}-{}-{}", self.welcome["connectionId"].as_str().expect("a name"), self.turn)
    }

    pub(crate) async fn subscribe(&mut self, sub: &str, more: &Value) -> Vec<String> {
        let id = self.next_id("subscribe");
        self.client.send(with(json!({"t": "subscribe", "id": id, "sub": sub}), more)).await;
        let answer = self.client.frame_of("subscribed").await;
        self.note_seq(&answer);
        answer["actions"].as_array().expect("a list").iter().map(|action| self.name(action)).collect()
    }

    fn note_seq(&mut self, frame: &Value) {
        if let Some(seq) = frame["seq"].as_u64() {
            assert_eq!(seq, self.seq + 1, "sequence numbers rise by one: {frame}");
            self.seq = seq;
        }
    }

    fn name(&mut self, action: &Value) -> String {
        let title = action["properties"]["title"].as_str().expect("a title").to_owned();
        let delivery = action["deliveryId"].as_str().expect("a delivery").to_owned();
        self.titles.insert(delivery.clone(), title.clone());
        self.delivery.insert(title.clone(), (delivery, action["id"].as_str().expect("an id").to_owned()));
        self.said.insert(title.clone(), action["properties"].clone());
        title
    }

    fn told(&mut self, frame: &Value) -> Option<String> {
        self.note_seq(frame);
        match frame["t"].as_str()? {
            "action" => {
                let delivery = frame["action"]["deliveryId"].as_str()?;
                let sign = if self.titles.contains_key(delivery) { "=" } else { "+" };
                Some(format!("{sign}{}", self.name(&frame["action"])))
            }
            "action_revoked" => {
                let title = self.titles.get(frame["deliveryId"].as_str()?).expect("only what it has is taken back");
                Some(format!("-{title} {}", frame["reason"].as_str()?))
            }
            _ => None,
        }
    }

    /// Sends a frame with an id and gives what it is told until the answer, and the answer.
    pub(crate) async fn ask(&mut self, frame: Value) -> (Vec<String>, Value) {
        let id = frame["id"].clone();
        self.ask_for(frame, &id).await
    }

    /// As [`Self::ask`], for the answer about another id: a message of a batch.
    pub(crate) async fn ask_for(&mut self, frame: Value, id: &Value) -> (Vec<String>, Value) {
        self.client.send(frame).await;
        let mut told = Vec::new();
        loop {
            let frame = self.client.frame().await;
            let results = frame["results"].as_array().map_or(&[][..], Vec::as_slice);
            let mine = frame["id"] == *id || results.iter().any(|one| one["id"] == *id);
            if mine && frame["t"] != "action" {
                self.note_seq(&frame);
                return (told, frame);
            }
            told.extend(self.told(&frame));
        }
    }

    /// Tracks an event; what it causes here comes before its acknowledgement.
    pub(crate) async fn go(&mut self) -> Vec<String> {
        self.go_with(&json!({})).await
    }

    pub(crate) async fn go_with(&mut self, properties: &Value) -> Vec<String> {
        let id = self.next_id("go");
        let (told, ack) = self.ask(json!({"t": "track", "id": id, "event": "Go", "properties": properties})).await;
        assert_eq!(ack["results"][0]["status"], "stored", "{ack}");
        told
    }

    /// Reacts to an action that it has, and gives what follows before the answer, which must be good.
    pub(crate) async fn react(&mut self, title: &str, verb: &str) -> Vec<String> {
        let (told, answer) = self.try_react(title, verb).await;
        assert_eq!(answer["t"], "acted", "{answer}");
        told
    }

    pub(crate) async fn try_react(&mut self, title: &str, verb: &str) -> (Vec<String>, Value) {
        let (delivery, action) = self.delivery[title].clone();
        let id = self.next_id("act");
        self.ask(json!({"t": "act", "id": id, "actionId": action, "deliveryId": delivery, "event": verb})).await
    }

    /// Acknowledges everything so far.
    pub(crate) async fn seen(&mut self) {
        let seq = self.seq;
        self.client.send(json!({"t": "seen", "seq": seq})).await;
        let _told = self.fence().await;
    }

    /// What has been said to it by now: a ping is answered after what the turn before it wrote.
    pub(crate) async fn fence(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..2 {
            let id = self.next_id("ping");
            told.extend(self.ask(json!({"t": "ping", "id": id})).await.0);
        }
        told
    }

    /// Waits until so much was told, by whatever thread; then nothing more may follow at once.
    pub(crate) async fn wait_for(&mut self, count: usize) -> Vec<String> {
        let (mut told, began) = (self.fence().await, Instant::now());
        while told.len() < count {
            assert!(began.elapsed() < PATIENCE, "only {told:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            told.extend(self.fence().await);
        }
        told
    }

    /// Whether nothing is said for a while, also by other threads.
    pub(crate) async fn is_left_alone(&mut self) -> bool {
        tokio::time::sleep(Duration::from_millis(150)).await;
        self.fence().await.is_empty()
    }
}

pub(crate) const NONE: [&str; 0] = [];
