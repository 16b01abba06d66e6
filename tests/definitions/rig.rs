//! A server and a client of its admin API.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lodestone::engine::api::{Caller, Stored, TrackInput};
use lodestone::engine::{self, Engine};
use lodestone::runtime::clock::SystemClock;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{ADMIN, Server, TS, config, http_client};

/// What a call gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header is text"))
    }

    pub(crate) fn etag(&self) -> String {
        self.header("etag").to_owned()
    }

    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("an id: {}", self.body)).to_owned()
    }

    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, &str) {
        assert!(self.status >= 400, "{} {}", self.status, self.body);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.body);
        assert_eq!(self.body["status"].as_u64(), Some(u64::from(self.status)));
        (self.status, self.body["code"].as_str().expect("a code"))
    }

    /// Pointers and codes of what is wrong, one a line.
    pub(crate) fn errors(&self) -> String {
        let line = |e: &Value| format!("{} {}\n", e["pointer"].as_str().expect("a pointer"), e["code"].as_str().expect("a code"));
        self.body["errors"].as_array().expect("errors").iter().map(line).collect()
    }

    /// Fails with everything there is to see unless the status is this one.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// A running server, and a client.
pub(crate) struct Api {
    pub(crate) server: Server,
    pub(crate) client: Client,
    background: Vec<std::thread::JoinHandle<()>>,
}

impl Api {
    /// On a fresh folder, with the definitions of the acceptance list.
    pub(crate) async fn start() -> Self {
        Self::with(&crate::common::catalog()).await
    }

    /// On a fresh folder, with these definitions.
    pub(crate) async fn with(catalog: &Value) -> Self {
        let server = Server::with(Arc::new(SystemClock::default()), catalog, |_| ()).await;
        Self::of(server)
    }

    /// On a folder that is there.
    pub(crate) async fn open(folder: &Path) -> Self {
        Self::of(Server::on(folder, Arc::new(SystemClock::default()), &config(|_| ())).await)
    }

    fn of(server: Server) -> Self {
        let background = engine::spawn_background(&server.engine, config(|_| ()).storage.checkpoint_interval);
        Self { server, client: http_client(), background }
    }

    /// Stops in order, with a checkpoint, and gives the folder back.
    pub(crate) async fn stop(mut self) -> TempDir {
        let folder = self.server.folder.take().expect("a folder of its own");
        self.server.stop().await;
        let engine = self.server.engine.clone();
        tokio::task::spawn_blocking(move || {
            self.background.into_iter().for_each(|thread| thread.join().expect("a thread ends"));
            engine.close().expect("closes");
        })
        .await
        .expect("closes");
        folder
    }

    pub(crate) async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Answer {
        let mut request = self.client.request(method, self.server.url(path));
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(ADMIN);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("text");
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Answer { status, headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, &[], Some(body.to_string())).await
    }

    /// Replaces whatever there is.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::PUT, path, &[("if-match", "*")], Some(body.to_string())).await
    }

    /// Removes whatever there is.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[("if-match", "*")], None).await
    }

    /// One call of the ingestion API; it is accepted.
    pub(crate) async fn ingest(&self, path: &str, body: Value) {
        self.ingest_with(TS, path, body).await;
    }

    pub(crate) async fn ingest_with(&self, token: &str, path: &str, body: Value) {
        let url = self.server.url(&format!("/v1/{path}"));
        let answer = self.client.post(url).bearer_auth(token).body(body.to_string()).send().await.expect("an answer");
        let code = answer.headers().get("x-lodestone-error").cloned();
        assert_eq!(answer.status().as_u16(), 204, "{body}: {code:?}");
    }

    /// The profile of a user id, as the API shows it.
    pub(crate) async fn profile(&self, user: &str) -> Value {
        let mut found = self.get(&format!("/api/v1/profiles?userId={user}")).await.expect(200).body;
        assert_eq!(found["total"], 1, "{user} is unknown");
        found["data"][0].take()
    }

    /// Waits until a definition is live, and gives it.
    pub(crate) async fn live(&self, path: &str) -> Value {
        let began = Instant::now();
        loop {
            let body = self.get(path).await.expect(200).body;
            match body["state"]["name"].as_str() {
                Some("live") => return body,
                Some("building") => check_building(&body["state"]),
                _ => panic!("no state: {body}"),
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{body}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until nothing is being built.
    pub(crate) async fn settled(&self) {
        let began = Instant::now();
        while self.get("/api/v1/status").await.expect(200).body["backfill"]["of"] != 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "still building");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What `building` says adds up.
pub(crate) fn check_building(state: &Value) {
    let number = |name: &str| state[name].as_f64().unwrap_or_else(|| panic!("{name} in {state}"));
    let (done, of) = (number("done"), number("of"));
    assert!(done <= of, "{state}");
    assert!((number("progress") - done / of.max(1.0)).abs() < 0.002, "{state}");
    assert!(number("version") >= 1.0, "{state}");
    assert!(state["etaSeconds"].is_null() || state["etaSeconds"].as_f64() >= Some(0.0), "{state}");
}

/// A computed trait that counts an event.
pub(crate) fn counting(key: &str, event: &str) -> Value {
    json!({"name": key, "key": key, "type": "count_events", "eventId": event, "conditions": [], "properties": {}})
}

/// An audience of those for whom a computed trait is at least `least`.
pub(crate) fn at_least(key: &str, of: &str, least: u32) -> Value {
    json!({"name": key, "key": key, "includeAnonymous": true, "events": [], "traits": [
        {"source": "computed", "key": of, "dataType": "integer", "operator": "greater_than_or_equal", "target": "static",
         "value": least.to_string()}]})
}

/// One view of a page.
pub(crate) fn viewed(user: &str) -> Value {
    json!({"userId": user, "event": "Page Viewed", "properties": {"page": "/"}, "context": {"country": "DE"}})
}

/// Puts `each` page views into the log of each of `users` other people, so that a sweep has something to do.
pub(crate) fn crowd(engine: &Engine, users: usize, each: usize) {
    let grant = engine.authenticate(TS).expect("a known token");
    let caller = Caller { channel: grant.channel.expect("a channel"), grant };
    for user in 0..users {
        for _ in 0..each {
            let user_id = format!("crowd{user}");
            let input = TrackInput {
                user_id: &user_id,
                event: "Page Viewed",
                properties: Some(r#"{"page":"/"}"#),
                context: Some(r#"{"country":"DE"}"#),
                ..TrackInput::default()
            };
            assert!(matches!(engine.track(&caller, &input), Stored::Stored { .. }));
        }
    }
}
