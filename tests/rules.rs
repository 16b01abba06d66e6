//! Rules over HTTP and sockets (T-86, T-88, T-89): made by REST, fired by events, seen by whoever is connected.

mod common;

use std::time::Duration;

use common::{ADMIN, Server, TA, http_client, page};
use serde_json::{Value, json};

struct Http {
    server: Server,
    client: reqwest::Client,
}

impl Http {
    async fn start() -> Self {
        Self { server: Server::start().await, client: http_client() }
    }

    /// Status, ETag and body of an admin call.
    async fn admin(&self, method: &str, path: &str, body: Option<&Value>, seen: Option<&str>) -> (u16, String, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, self.server.url(path)).bearer_auth(ADMIN);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(seen) = seen {
            request = request.header("if-match", seen);
        }
        let answer = request.send().await.expect("an answer");
        let etag = answer.headers().get("etag").map(|etag| etag.to_str().expect("text").to_owned()).unwrap_or_default();
        let status = answer.status().as_u16();
        (status, etag, serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or_default())
    }

    async fn eventually(&self, user: &str, field: &str, expect: Value) {
        for _ in 0..200 {
            if self.server.profile(user).await.expect("a profile")[field] == expect {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{field} of {user} never became {expect}");
    }
}

fn viewer() -> Value {
    json!({
        "key": "viewer", "name": "Viewer", "eventId": "Page Viewed", "metric": "count",
        "operator": "greater_than_or_equal", "threshold": 2,
        "then": [{"type": "set_attribute", "key": "Looked Twice", "value": true}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_made_fires_and_is_purged() {
    let http = Http::start().await;
    let mut before = http.server.app("early").await;
    before.send(page("1")).await;
    before.send(page("2")).await;
    assert_eq!(before.results(2).await.len(), 2);
    let (status, _, made) = http.admin("POST", "/api/v1/rules", Some(&viewer()), None).await;
    assert_eq!(status, 201, "{made}");
    // T-89: who is above already.
    http.eventually("early", "customTraits", json!({"Looked Twice": true})).await;
    assert_eq!(http.server.profile("early").await.unwrap()["events"][0]["cause"], "backfill");

    let (status, etag, shown) = http.admin("GET", "/api/v1/rules/viewer", None, None).await;
    assert_eq!((status, &shown["fired"]["profiles"], &shown["fired"]["times"]), (200, &json!(1), &json!(1)));

    let mut client = http.server.app("late").await;
    client.send(page("3")).await;
    client.send(page("4")).await;
    client.send(page("5")).await;
    client.results(3).await;
    let profile = http.server.profile("late").await.unwrap();
    let rule = &profile["rules"][0];
    assert_eq!((&rule["key"], &rule["metric"], &rule["threshold"]), (&json!("viewer"), &json!(3), &json!(2)));
    assert_eq!(
        (&rule["fired"], &rule["fires"], &rule["met"], &rule["period"]),
        (&json!(true), &json!(1), &json!(true), &Value::Null)
    );
    assert!(rule["firedAt"].is_string());
    assert_eq!(profile["customTraitsSetBy"], json!({"Looked Twice": "rule:viewer"}));
    assert_eq!(http.admin("GET", "/api/v1/rules/viewer", None, None).await.2["fired"]["profiles"], 2);

    // T-88.
    let (status, ..) = http.admin("DELETE", "/api/v1/rules/viewer?purgeAttributes=true", None, Some(&etag)).await;
    assert_eq!(status, 204);
    for user in ["early", "late"] {
        http.eventually(user, "customTraits", json!({})).await;
        assert_eq!(http.server.profile(user).await.unwrap()["rules"], json!([]));
    }
    assert_eq!(http.admin("GET", "/api/v1/rules/viewer", None, None).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn t88_attributes_stay_without_a_purge() {
    let http = Http::start().await;
    let (_, etag, _) = http.admin("POST", "/api/v1/rules", Some(&viewer()), None).await;
    let mut client = http.server.app("ada").await;
    client.send(page("1")).await;
    client.send(page("2")).await;
    client.results(2).await;
    assert_eq!(http.admin("DELETE", "/api/v1/rules/viewer", None, Some(&etag)).await.0, 204);
    let profile = http.server.profile("ada").await.unwrap();
    assert_eq!((&profile["customTraits"], &profile["rules"]), (&json!({"Looked Twice": true}), &json!([])));
}

/// An attribute is a trait like any other: the action that asks for it is pushed in the same input.
#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_decides_an_action_in_the_same_input() {
    let http = Http::start().await;
    let (status, _, answer) = http.admin("POST", "/api/v1/rules", Some(&viewer()), None).await;
    assert_eq!(status, 201, "{answer}");
    let action = json!({
        "name": "For those who look twice", "type": "banner", "state": "active", "tags": ["twice"], "properties": [],
        "targeting": {"channels": ["app"], "audiences": [], "contextConditions": [], "traitConditions": [
            {"source": "custom", "key": "Looked Twice", "type": "boolean", "operator": "true"}]},
        "capping": [], "hooks": [], "testUsers": []});
    let (status, _, answer) = http.admin("POST", "/api/v1/actions", Some(&action), None).await;
    assert_eq!(status, 201, "{answer}");
    let mut client = http.server.app("ada").await;
    client.send(json!({"t": "subscribe", "id": "s", "sub": "main", "type": "banner", "tags": ["twice"]})).await;
    assert_eq!(client.frame_of("subscribed").await["actions"], json!([]));
    client.send(page("1")).await;
    client.send(page("2")).await;
    let pushed = client.frame_of("action").await;
    assert_eq!(pushed["action"]["tags"], json!(["twice"]), "{pushed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_pointers() {
    let http = Http::start().await;
    let mut rule = viewer();
    rule["threshold"] = "lots".into();
    rule["period"] = json!({"calendar": "moon"});
    let (status, _, problem) = http.admin("POST", "/api/v1/rules", Some(&rule), None).await;
    let pointers: Vec<&str> = problem["errors"].as_array().unwrap().iter().filter_map(|e| e["pointer"].as_str()).collect();
    assert_eq!((status, pointers), (422, vec!["/period/calendar", "/threshold"]), "{problem}");
    let unauthorized = http.client.get(http.server.url("/api/v1/rules")).bearer_auth(TA);
    assert_eq!(unauthorized.send().await.unwrap().status(), 403);
}
