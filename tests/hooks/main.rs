//! Hooks over real sockets and HTTP: what an act does elsewhere, and what elsewhere does to an act.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/site.rs"]
mod site;

mod act;
mod chain;
mod erase;
mod outbox;
mod rules;
mod sink;
mod socket;
mod visible;

use common::{ADMIN, Server, TA};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sink::Sink;
use std::time::Duration;

/// The signing key of these tests: bytes 00 to 1f.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The action that they react to.
pub(crate) const ACTION: &str = "11111111-1111-4111-8111-111111111111";

/// A server whose one offer has hooks, and the receiver that they call.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) sink: Sink,
    http: reqwest::Client,
}

/// A webhook on a reaction.
pub(crate) fn webhook(event: &str, url: &str, blocking: bool) -> Value {
    json!({"channels": [], "event": event, "type": "execute_webhook",
           "properties": {"url": url, "returnResult": blocking, "params": "{\"code\":\"X1\"}"}})
}

/// An event on a reaction.
pub(crate) fn track(event: &str, name: &str) -> Value {
    json!({"channels": [], "event": event, "type": "track_event", "properties": {"eventId": name}})
}

/// A cap on what is accepted.
pub(crate) fn cap(group: &str, count: u32) -> Value {
    json!([{"channels": [], "event": "accepted", "group": group, "count": count, "within": 0}])
}

/// The offer: an action that is due for everybody on every channel.
pub(crate) fn offer(hooks: &Value, capping: &Value) -> Value {
    json!({
        "organization": {"key": KEY},
        "events": [{"name": "Redeemed", "structure": []}, {"name": "Strict", "structure": [
            {"id": "p", "name": "p", "properties": {"key": "p", "type": "integer", "isRequired": true}}]}],
        "computedTraits": [
            {"name": "Redeemed", "key": "redeemed", "type": "count_events", "eventId": "Redeemed", "conditions": [], "properties": {}}],
        "audiences": [{"name": "Redeemers", "key": "redeemers", "includeAnonymous": true, "events": [], "traits": [
            {"source": "computed", "key": "redeemed", "type": "integer", "operator": "greater_than", "value": 0}]}],
        "actions": [{"id": ACTION, "name": "Offer", "type": "banner", "state": "active", "tags": ["offer"], "properties": [],
            "targeting": {"channels": ["web", "app"], "audiences": [], "traitConditions": [], "contextConditions": []},
            "capping": capping, "hooks": hooks, "testUsers": []}],
    })
}

/// A receiver on this machine may be called, and is called again soon.
pub(crate) fn near(config: &mut lodestone::config::Config) {
    config.hooks.allow = vec!["127.0.0.1".to_owned()];
    config.outbox.backoff = Duration::from_millis(20);
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::configured(|_| ()).await
    }

    pub(crate) async fn configured(adjust: impl FnOnce(&mut lodestone::config::Config)) -> Self {
        let server = Server::configured(|config| {
            near(config);
            adjust(config);
        })
        .await;
        // Another test of this process may have done it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { server, sink: Sink::start().await, http }
    }

    /// Defines the offer.
    #[expect(clippy::needless_pass_by_value, reason = "tests write the hooks in place")]
    pub(crate) fn offer(&self, hooks: Value, capping: Value) {
        self.define(&offer(&hooks, &capping));
    }

    pub(crate) fn define(&self, document: &Value) {
        self.server.engine.apply_catalog(&document.to_string()).unwrap_or_else(|issues| panic!("{issues:#?}"));
    }

    /// The value of one line of the metrics, which all servers of this process share.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let answer = self.http.get(format!("http://{}/metrics", self.server.address)).send().await.expect("metrics");
        let text = answer.text().await.expect("text");
        let value = text.lines().find_map(|one| one.strip_prefix(line)).unwrap_or_else(|| panic!("no {line}"));
        value.trim().parse().expect("a number")
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> (StatusCode, Value, Option<String>) {
        let answer = self.http.post(format!("http://{}{path}", self.server.address)).bearer_auth(token).json(body);
        let answer = answer.send().await.expect("the server answers");
        let status = answer.status();
        let error = answer.headers().get("x-lodestone-error").map(|code| code.to_str().expect("text").to_owned());
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_default(), error)
    }

    /// A call of the admin API.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut call = self.http.request(method, format!("http://{}{path}", self.server.address)).bearer_auth(ADMIN);
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await.expect("the server answers");
        let status = answer.status();
        (status, answer.json().await.unwrap_or_default())
    }

    /// Makes somebody known to the server.
    pub(crate) async fn meet(&self, user: &str) {
        let body = json!({"userId": user, "event": "Page Viewed", "properties": {"page": "/"}});
        assert_eq!(self.post("/v1/track", TA, &body).await.0, StatusCode::NO_CONTENT);
    }

    /// Accepts the offer over HTTP, on the channel app.
    pub(crate) async fn accept(&self, user: &str, message_id: Option<&str>) -> (StatusCode, Value, Option<String>) {
        let body = json!({"userId": user, "actionId": ACTION, "event": "accept", "messageId": message_id});
        self.post("/v1/actions/act", TA, &body).await
    }

    /// How often somebody's log says that they reacted so.
    pub(crate) async fn reactions(&self, user: &str, kind: &str) -> usize {
        let profile = self.server.profile(user).await.expect("the profile exists");
        profile["reactions"].as_array().expect("a list").iter().filter(|reaction| reaction["event"] == kind).count()
    }

    /// The outbox, once it is as wanted; what it is in the end if it does not come to that.
    pub(crate) async fn outbox(&self, state: &str, count: u64) -> Vec<Value> {
        let mut found = Value::Null;
        for _ in 0..2000 {
            found = self.admin(Method::GET, &format!("/api/v1/outbox?state={state}"), None).await.1;
            if found["total"] == count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(found["total"], count, "{found:#}");
        found["data"].as_array().expect("a list").clone()
    }
}
