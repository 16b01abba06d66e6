//! A server whose clock the test sets, over HTTP, that can be started again on its folder.

#![allow(dead_code, reason = "shared by several test binaries")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::{self, ADMIN, Server, TA, TS, http_client};
use lodestone::config::Config;
use lodestone::engine::Engine;
use lodestone::runtime::clock::ManualClock;
use lodestone_state::ids::Millis;
use lodestone_state::time::parse_rfc3339;
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// `03-01T10:00` of 2024, UTC; seconds and more may follow.
pub(crate) fn at(time: &str) -> String {
    format!("2024-{time}{}Z", if time.len() == 11 { ":00" } else { "" })
}

fn millis(time: &str) -> Millis {
    parse_rfc3339(&at(time)).unwrap_or_else(|| panic!("{time} is no time"))
}

/// A server, and the folder that it is started on again.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    config: Config,
    pub(crate) client: Client,
    running: Option<Server>,
}

impl Site {
    pub(crate) async fn start(now: &str, catalog: &Value) -> Self {
        Self::configured(now, catalog, |_| ()).await
    }

    pub(crate) async fn configured(now: &str, catalog: &Value, adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (clock, config) = (Arc::new(ManualClock::at(millis(now))), common::config(adjust));
        let mut site = Self { folder, clock, config, client: http_client(), running: None };
        site.open().await;
        site.apply(catalog).await;
        site
    }

    async fn open(&mut self) {
        self.running = Some(Server::on(self.folder.path(), self.clock.clone(), &self.config).await);
    }

    /// The server goes without a checkpoint and comes back: what is not in the store comes from the journal.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.open().await;
    }

    pub(crate) async fn stop(&mut self) {
        let mut server = self.running.take().expect("it runs");
        server.stop().await;
        tokio::task::spawn_blocking(move || drop(server)).await.expect("it is dropped");
    }

    /// Another server on a copy of the folder as it is now. This one is started again on its own.
    pub(crate) async fn twin(&mut self) -> Self {
        self.stop().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let from = self.folder.path().join(".");
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(folder.path()).status();
        assert!(copied.expect("cp runs").success());
        let (clock, config, client) = (self.clock.clone(), self.config.clone(), self.client.clone());
        let mut twin = Self { folder, clock, config, client, running: None };
        twin.open().await;
        self.open().await;
        twin
    }

    fn server(&self) -> &Server {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.server().engine.clone()
    }

    /// Applies a document, whose problems come back as `pointer code`.
    pub(crate) async fn try_apply(&self, catalog: &Value) -> Result<(), Vec<String>> {
        let (engine, text) = (self.engine(), catalog.to_string());
        let applied = tokio::task::spawn_blocking(move || engine.apply_catalog(&text)).await.expect("it runs");
        applied.map(drop).map_err(|issues| issues.iter().map(|issue| format!("{} {}", issue.pointer, issue.code)).collect())
    }

    pub(crate) async fn apply(&self, catalog: &Value) {
        self.try_apply(catalog).await.expect("the catalog is valid");
    }

    pub(crate) async fn checkpoint(&self) {
        let engine = self.engine();
        tokio::task::spawn_blocking(move || engine.checkpoint()).await.expect("it runs").expect("a checkpoint");
    }

    /// Time goes on.
    pub(crate) fn set(&self, now: &str) {
        self.clock.set(millis(now));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.server().url(path)
    }

    /// Address of the server, for a socket.
    pub(crate) fn socket_url(&self) -> String {
        self.url("/v1/ws").replacen("http", "ws", 1)
    }

    /// Posts in the tracking dialect: status, error code and answer.
    pub(crate) async fn call(&self, token: &str, path: &str, body: &Value) -> (u16, String, Value) {
        let sent = self.client.post(self.url(path)).bearer_auth(token).body(body.to_string()).send().await.expect("an answer");
        let code = sent.headers().get("x-lodestone-error").map(|code| code.to_str().expect("text").to_owned());
        let status = sent.status().as_u16();
        let text = sent.text().await.expect("a body");
        (status, code.unwrap_or_default(), serde_json::from_str(&text).unwrap_or_default())
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        let (status, code, answer) = self.call(token, path, &body).await;
        assert!(status < 300, "{path} {body}: {status} {code}");
        answer
    }

    /// An event on app, now or at an earlier time.
    pub(crate) async fn track(&self, user: &str, event: &str, properties: Value, when: Option<&str>) {
        let mut body = json!({"userId": user, "event": event, "properties": properties});
        if let Some(when) = when {
            body["timestamp"] = at(when).into();
        }
        self.post(TA, "/v1/track", body).await;
    }

    /// A reaction on app, now.
    pub(crate) async fn act(&self, user: &str, action: &str, verb: &str) {
        let (status, code) = self.try_act(user, action, verb).await;
        assert!(status < 300, "{verb} of {action} by {user}: {status} {code}");
    }

    pub(crate) async fn try_act(&self, user: &str, action: &str, verb: &str) -> (u16, String) {
        let body = json!({"userId": user, "actionId": self.action_id(action), "event": verb});
        let (status, code, _) = self.call(TA, "/v1/actions/act", &body).await;
        (status, code)
    }

    /// A poll on app: the properties of the actions that are due, by name.
    pub(crate) async fn poll(&self, user: &str, session: Option<&str>) -> Vec<(String, Value)> {
        let mut body = json!({"userId": user});
        if let Some(session) = session {
            body["sessionId"] = session.into();
        }
        let due = self.post(TA, "/v1/actions", body).await;
        let named = |one: &Value| {
            let id = one["id"].as_str().expect("an id");
            let plan = self.engine().plan();
            let action = plan.actions.iter().flatten().find(|action| action.id.to_string() == id).expect("an action");
            (action.name.clone(), one["properties"].clone())
        };
        due.as_array().expect("a list").iter().map(named).collect()
    }

    /// Makes `known` known, with what `previous` did before.
    pub(crate) async fn identify(&self, known: &str, previous: &str) {
        let body = json!({"userId": known, "type": "user_id", "previousUserId": previous});
        self.post(TS, "/v1/identify", body).await;
    }

    /// The id of an action by its name.
    pub(crate) fn action_id(&self, name: &str) -> String {
        let plan = self.engine().plan();
        plan.actions.iter().flatten().find(|action| action.name == name).expect("an action").id.to_string()
    }

    /// Starts what goes on by itself: webhooks are called, timers fire. No checkpoints.
    pub(crate) fn begin(&self) {
        drop(lodestone::engine::spawn_background(&self.engine(), Duration::from_secs(3600)));
    }

    /// Reads below `/api/v1`.
    pub(crate) async fn ask(&self, path: &str) -> (u16, Value) {
        self.admin(Method::GET, path).await
    }

    /// Calls what is below `/api/v1`; no content is `null`.
    pub(crate) async fn admin(&self, method: Method, path: &str) -> (u16, Value) {
        let call = self.client.request(method, self.url(&format!("/api/v1/{path}"))).bearer_auth(ADMIN);
        let answer = call.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
    }

    /// The metrics, which all servers of this process share.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.client.get(self.url("/metrics")).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    pub(crate) async fn read(&self, path: &str) -> Value {
        let (status, body) = self.ask(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A question below `/api/v1` is refused like this.
    pub(crate) async fn refuses(&self, question: &str, status: u16, code: &str) {
        let (got, body) = self.ask(question).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{question}: {body}");
    }

    /// A person's profile.
    pub(crate) async fn profile(&self, user: &str) -> Value {
        let found = self.read(&format!("profiles?userId={user}")).await;
        found["data"][0].clone()
    }
}
