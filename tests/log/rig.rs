//! A server with a clock that the test sets, whose folder can be taken as a crash would leave it.

use lodestone::config::Config;
use lodestone::engine::Engine;
use lodestone::runtime::clock::{Clock, ManualClock};
use lodestone::storage::Store;
use lodestone_state::ids::{Millis, ProfileId};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

use crate::common::{ADMIN, Server, TS, TW, http_client, organisation};

/// 2026-03-02T10:00:00Z, a Monday.
pub(crate) const START: i64 = 1_772_445_600_000;
pub(crate) const MINUTE: i64 = 60_000;
pub(crate) const DAY: i64 = 86_400_000;

pub(crate) fn catalog() -> Value {
    let property = |key: &str, kind: &str| json!({"id": key, "name": key, "properties": {"key": key, "type": kind}});
    let trait_of = |key: &str, kind: &str, event: &str, properties: Value| json!({"name": key, "key": key, "type": kind, "eventId": event, "conditions": [], "properties": properties});
    let at_least = |event: &str, id: &str, parent: Option<&str>| json!({"id": event, "internalId": id, "parentId": parent, "exclude": false, "operator": "more_or_exactly", "count": 1});
    let within = |event: &str, minutes: u32| {
        json!({"id": event, "exclude": false, "operator": "more_or_exactly", "count": 1,
               "timeWindowOperator": "within", "timeWindowStart": minutes, "timeWindowUnit": "minutes"})
    };
    let (one, two) = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002");
    let title =
        json!([{"channels": ["web", "app"], "type": "text", "name": "title", "value": "x", "sourceKey": "", "sourceType": ""}]);
    let action = |name: &str, capping: Value| {
        json!({"name": name, "type": "coupon", "state": "active", "tags": [], "properties": title,
               "targeting": {"channels": ["web", "app"], "audiences": [], "contextConditions": [], "traitConditions": []},
               "capping": capping, "hooks": [], "testUsers": []})
    };
    let cap = |event: &str, group: &str, count: u32, within: u64| json!({"channels": [], "event": event, "group": group, "count": count, "within": within});
    organisation(&json!({
        "events": [
            {"name": "View", "description": "", "structure": [property("page", "string"), property("price", "float")]},
            {"name": "Buy", "description": "", "structure": [property("amount", "float")]}],
        "customTraits": {"structure": [property("city", "string"), property("age", "integer"), property("fav", "string")]},
        "computedTraits": [
            trait_of("views", "count_events", "View", json!({})),
            trait_of("dearest", "aggregation", "View", json!({"property": "price", "type": "float", "aggregationType": "max"})),
            trait_of("spent", "aggregation", "Buy", json!({"property": "amount", "type": "float", "aggregationType": "sum"})),
            trait_of("pages", "unique_list", "View", json!({"property": "page", "type": "string"})),
            trait_of("views10m", "count_events", "View", json!({"window": {"amount": 10, "unit": "minutes"}}))],
        "audiences": [
            {"name": "Viewers", "key": "viewers", "includeAnonymous": true, "events": [at_least("View", one, None)], "traits": []},
            {"name": "Known viewers", "key": "known_viewers", "includeAnonymous": false, "events": [at_least("View", one, None)], "traits": []},
            {"name": "Recent", "key": "recent", "includeAnonymous": true, "events": [within("View", 5)], "traits": []},
            {"name": "Buyers", "key": "buyers", "includeAnonymous": true, "events": [
                at_least("View", one, None), at_least("Buy", two, Some(one))], "traits": []},
            {"name": "Quick", "key": "quick", "includeAnonymous": true, "events": [
                {"id": "View", "internalId": one, "exclude": false, "operator": "more_or_exactly", "count": 1,
                 "timeWindowOperator": "within", "timeWindowStart": 10, "timeWindowUnit": "minutes"},
                at_least("Buy", two, Some(one))], "traits": []},
            {"name": "Favs", "key": "favs", "includeAnonymous": true, "traits": [], "events": [
                {"id": "View", "exclude": false, "operator": "more_or_exactly", "count": 1, "properties": [
                    {"target": "custom_trait", "key": "page", "dataType": "string", "operator": "equals", "traitKey": "fav"}]}]},
            {"name": "Never bought", "key": "never_bought", "includeAnonymous": true, "events": [{"id": "Buy", "exclude": true}], "traits": []},
            {"name": "Berlin", "key": "berlin", "includeAnonymous": true, "events": [], "traits": [
                {"source": "custom", "key": "city", "dataType": "string", "operator": "equals", "target": "static", "value": "Berlin"}]},
            {"name": "Busy Berlin", "key": "busy_berlin", "includeAnonymous": true, "events": [], "traits": [
                {"source": "audience", "key": "berlin", "dataType": "boolean", "operator": "true"},
                {"source": "computed", "key": "views10m", "dataType": "integer", "operator": "greater_than", "target": "static", "value": "1"}]}],
        "actionTypes": [{"name": "coupon", "version": 1, "properties": title}],
        "actions": [
            action("Once", json!([cap("accepted", "user", 1, 0)])),
            action("Two in all", json!([cap("accepted", "all", 2, 0)])),
            action("Two an hour", json!([cap("accepted", "all", 2, 3600)]))],
    }))
}

pub(crate) struct Shop {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    pub(crate) server: Server,
    client: Client,
}

fn config(adjust: impl FnOnce(&mut Config)) -> Config {
    crate::common::config(|config| {
        config.journal.segment_bytes = 1 << 20;
        adjust(config);
    })
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self::configured(|_| ()).await
    }

    pub(crate) async fn configured(adjust: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shop = Self::on(dir, Arc::new(ManualClock::at(Millis(START))), config(adjust)).await;
        shop.engine.apply_catalog(&catalog().to_string()).expect("the catalog is valid");
        shop
    }

    async fn on(dir: TempDir, clock: Arc<ManualClock>, config: Config) -> Self {
        let server = Server::on(dir.path(), clock.clone(), &config).await;
        let engine = server.engine.clone();
        // No checkpoints and no sweeps: they happen when a test wants them.
        let (timers, fanout) = (engine.clone(), engine.clone());
        std::thread::spawn(move || fanout.run_fanout());
        std::thread::spawn(move || timers.run_timers());
        Self { engine, clock, dir, config, server, client: http_client() }
    }

    /// Another server on what a crash of this one would leave behind right now.
    pub(crate) async fn crashed(&self) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        copy(self.dir.path(), dir.path());
        Self::on(dir, Arc::new(ManualClock::at(self.clock.now())), self.config.clone()).await
    }

    pub(crate) async fn checkpoint(&self) {
        let engine = self.engine.clone();
        tokio::task::spawn_blocking(move || engine.checkpoint().expect("a checkpoint")).await.expect("no panic");
    }

    pub(crate) fn pass(&self, ms: i64) {
        self.clock.set(Millis(self.clock.now().0 + ms));
        self.engine.fire_due(&mut Vec::new());
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> (u16, Value) {
        let mut call = self.client.request(method, self.server.url(path)).bearer_auth(token);
        if let Some(body) = body {
            call = call.header("content-type", "application/json").body(body.to_string());
        }
        let answer = call.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call(method, path, ADMIN, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.admin(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> u16 {
        self.call(Method::POST, path, token, Some(body)).await.0
    }

    /// An event that happened so many milliseconds ago.
    pub(crate) async fn track_late(&self, token: &str, user: &str, event: &str, properties: Value, late_ms: i64) {
        let timestamp = lodestone_state::time::format_instant(Millis(self.now() - late_ms)).to_string();
        let body = json!({"userId": user, "event": event, "properties": properties, "timestamp": timestamp});
        assert_eq!(self.post("/v1/track", token, body).await, 204);
    }

    pub(crate) async fn track(&self, user: &str, event: &str, properties: Value) {
        self.track_late(TW, user, event, properties, 0).await;
    }

    pub(crate) async fn view(&self, user: &str, page: &str, price: f64) {
        self.track(user, "View", json!({"page": page, "price": price})).await;
    }

    /// An identify that may absorb even those who are known.
    pub(crate) async fn identify(&self, user: &str, previous: Option<&str>, traits: Option<Value>) {
        let body = json!({"userId": user, "type": "user_id", "previousUserId": previous, "traits": traits,
                          "traitsMode": "merge", "mergeKnown": true});
        assert_eq!(self.post("/v1/identify", TS, body).await, 204);
    }

    pub(crate) async fn act(&self, user: &str, action: &str, verb: &str) -> u16 {
        let id = self.action(action);
        self.post("/v1/actions/act", TW, json!({"userId": user, "actionId": id, "event": verb})).await
    }

    pub(crate) fn action(&self, name: &str) -> String {
        let plan = self.engine.plan();
        plan.actions.iter().flatten().find(|action| action.name == name).expect("an action").id.to_string()
    }

    pub(crate) async fn profile(&self, user: &str) -> Value {
        self.get(&format!("/api/v1/profiles?userId={user}")).await["data"][0].clone()
    }

    pub(crate) async fn id(&self, user: &str) -> String {
        self.profile(user).await["id"].as_str().expect("a profile").to_owned()
    }

    pub(crate) async fn value(&self, user: &str, key: &str) -> Value {
        self.profile(user).await["computedTraits"][key].clone()
    }

    /// Keys of the audiences that a user is in, sorted.
    pub(crate) async fn audiences(&self, user: &str) -> Vec<String> {
        let profile = self.profile(user).await;
        let audiences = profile["audiences"].as_array().expect("a list");
        let mut keys: Vec<String> = audiences.iter().map(|a| a["key"].as_str().expect("a key").to_owned()).collect();
        keys.sort();
        keys
    }

    /// Ids of a profile, sorted.
    pub(crate) async fn ids(&self, user: &str) -> Vec<String> {
        let profile = self.profile(user).await;
        let identities = profile["identities"].as_array().expect("a list");
        let mut ids: Vec<String> = identities.iter().map(|i| i["userId"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// The entries of a profile that `pick` wants: their ids, oldest first.
    pub(crate) async fn entries(&self, user: &str, pick: impl Fn(&Value) -> bool) -> Vec<String> {
        let profile = self.profile(user).await;
        let events = profile["events"].as_array().expect("a list");
        let wanted = events.iter().rev().filter(|event| pick(event));
        wanted.map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// When a user entered and left audiences, oldest first: `key kind +ms`, counted from the start.
    pub(crate) async fn moves(&self, user: &str) -> Vec<String> {
        let id = self.id(user).await;
        let log = self.get(&format!("/api/v1/profiles/{id}/memberships")).await;
        let rows = log["data"].as_array().expect("rows").iter().rev();
        rows.map(|row| {
            let at = lodestone_state::time::parse_rfc3339(row["at"].as_str().expect("a time")).expect("a time").0 - START;
            format!("{} {} +{at}", row["audience"].as_str().expect("a key"), row["kind"].as_str().expect("a kind"))
        })
        .collect()
    }

    pub(crate) async fn split(&self, profile: &str, other: &str) -> (u16, Value) {
        self.admin(Method::POST, &format!("/api/v1/profiles/{profile}/split"), Some(json!({"profileId": other}))).await
    }

    pub(crate) async fn members(&self, key: &str) -> i64 {
        self.get(&format!("/api/v1/audiences/{key}/members")).await["total"].as_i64().expect("a count")
    }

    /// Derives every profile again: nothing may differ.
    pub(crate) async fn assert_no_drift(&self, users: &[&str]) {
        for user in users {
            let id = self.id(user).await;
            let (status, found) = self.admin(Method::POST, &format!("/api/v1/profiles/{id}/refresh"), None).await;
            assert_eq!((status, &found["drift"]), (200, &json!(0)), "{user}: {found}");
        }
    }
}

/// Rows of history in a data folder that nobody has open, by profile.
pub(crate) fn rows(dir: &Path, profile: &str) -> usize {
    let store = Store::open(&dir.join("store"), &lodestone::storage::Options::default()).expect("the store opens");
    let id: ProfileId = profile.parse().expect("an id");
    store.history(id).expect("history").len()
}

/// Copies a data folder that is in use. A file that goes while it is copied (the journal lets go of its
/// segments on a thread of its own) makes it begin anew.
pub(crate) fn copy(from: &Path, to: &Path) {
    for _ in 0..100 {
        match copy_all(from, to) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::remove_dir_all(to).expect("the copy goes");
                std::fs::create_dir(to).expect("a folder");
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("files keep going from {}", from.display());
}

fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target)?;
            copy_all(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Waits until something holds, for what happens on another thread.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not happen");
}
