//! Audiences of audiences, who is in one, and the log of how each profile came and went.

mod common;

use common::{ADMIN, Server, TA, http_client};
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

struct Http {
    server: Server,
    client: Client,
}

impl Http {
    /// A server that knows `audiences` beside the definitions of all tests.
    async fn with(audiences: Value) -> Self {
        let http = Self { server: Server::start().await, client: http_client() };
        let (status, body) = http.apply(json!({"audiences": audiences})).await;
        assert_eq!(status, 200, "{body}");
        http
    }

    fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    async fn apply(&self, document: Value) -> (u16, Value) {
        let call = self.client.post(self.url("/api/v1/catalog")).bearer_auth(ADMIN).body(document.to_string());
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(self.url(path)).bearer_auth(ADMIN).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn view(&self, user: &str, timestamp: Option<&str>) {
        let mut body = json!({"userId": user, "event": "Page Viewed", "properties": {"page": "/"}});
        if let Some(timestamp) = timestamp {
            body["timestamp"] = timestamp.into();
        }
        let call = self.client.post(self.url("/v1/track")).bearer_auth(TA).body(body.to_string());
        assert_eq!(call.send().await.unwrap().status(), 204);
    }

    /// The membership log of a user, oldest first, as `audience kind cause`, and the times.
    async fn moves(&self, user: &str) -> (Vec<String>, Vec<String>) {
        let id = self.server.profile(user).await.expect("a profile")["id"].as_str().unwrap().to_owned();
        let log = self.get(&format!("/api/v1/profiles/{id}/memberships")).await;
        let rows = log["data"].as_array().unwrap().iter().rev();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        let mut began = HashMap::new();
        rows.map(|row| {
            // Who enters again without having left is a member since the first time.
            let since = began.entry(text(row, "audience")).or_insert_with(|| text(row, "at")).clone();
            if row["kind"] == "left" {
                began.remove(row["audience"].as_str().unwrap());
            }
            assert_eq!(since, text(row, "since"), "{row}");
            let what = format!("{} {} {}", text(row, "audience"), text(row, "kind"), text(row, "cause"));
            (what, text(row, "at"))
        })
        .unzip()
    }
}

/// Viewed a page within the last hour and one second.
fn recent() -> Value {
    json!({"name": "Recent", "key": "recent", "includeAnonymous": true, "traits": [], "events": [{
        "eventId": "Page Viewed", "operator": "more_or_exactly", "count": 1,
        "timeWindowOperator": "within", "timeWindowEnd": 3601, "timeWindowUnit": "seconds"}]})
}

fn reads(name: &str, other: &str, operator: &str) -> Value {
    json!({"name": name, "key": name, "includeAnonymous": true, "events": [], "traits": [
        {"source": "audience", "key": other, "dataType": "boolean", "operator": operator}]})
}

/// Rule 7 of 3.3: with `reentry: each` a member who completes a chain again enters again, by an event or when a wait is
/// over; nobody is counted twice for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_completes_a_chain_again_enters_again_where_that_is_asked_for() {
    let chain = |name: &str, second: Value| {
        let mut events = json!([{"eventId": "Page Viewed", "internalId": "a"}, second]);
        events[1]["parentId"] = "a".into();
        json!({"name": name, "key": name, "includeAnonymous": true, "traits": [], "reentry": "each", "events": events})
    };
    let twice = chain("twice", json!({"eventId": "Page Viewed"}));
    let wait = json!({"amount": 2, "unit": "seconds"});
    let quiet = chain("quiet", json!({"eventId": "Checkout Started", "exclude": true, "forAtLeast": wait}));
    let http = Http::with(json!([twice, quiet])).await;
    http.view("ada", None).await;
    for _ in 0..2 {
        http.view("ada", None).await;
        tokio::time::sleep(Duration::from_millis(2300)).await;
    }
    let (what, at) = http.moves("ada").await;
    let told = ["twice entered input", "quiet entered time", "twice entered input", "quiet entered time"];
    assert_eq!(what, told, "{at:?}");
    for (key, definition, times) in [("twice", &twice, [&at[0], &at[2]]), ("quiet", &quiet, [&at[1], &at[3]])] {
        assert_eq!(http.get(&format!("/api/v1/audiences/{key}")).await["profileCount"], 1);
        let body = json!({"definition": definition, "days": 1}).to_string();
        let call = http.client.post(http.url("/api/v1/audiences/dry-run")).bearer_auth(ADMIN).body(body);
        let run: Value = call.send().await.unwrap().json().await.unwrap();
        assert_eq!(
            (&run["entered"], &run["days"][0]["size"], &run["moments"]["total"]),
            (&json!(1), &json!(1), &json!(2)),
            "{run}"
        );
        let moments: Vec<&str> =
            run["moments"]["data"].as_array().unwrap().iter().map(|row| row["at"].as_str().unwrap()).collect();
        assert_eq!(moments, times);
    }
}

/// Entering and leaving are entries of a log, at the exact time, whether an event or only time caused them;
/// audiences that read others follow in the same instant.
#[tokio::test(flavor = "multi_thread")]
async fn memberships_begin_and_end_at_their_own_millisecond() {
    let http = Http::with(json!([recent(), reads("engaged", "recent", "true"), reads("lapsed", "recent", "false")])).await;
    let now = http.server.engine.now();
    // An hour ago: one second is left of its window.
    let t = now.minus(3_600_000);
    http.view("ada", Some(&lodestone_state::time::format_instant(t))).await;
    let leaves = t.plus(3_601_000);
    while http.server.engine.now() < leaves.plus(200) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (what, at) = http.moves("ada").await;
    assert_eq!(
        what,
        [
            // Nobody who is new has viewed anything; that ends with the very first event, in the same input.
            "recent entered input",
            "engaged entered input",
            "recent left time",
            "engaged left time",
            "lapsed entered time"
        ]
        .map(str::to_owned)
        .to_vec(),
        "{at:?}"
    );
    assert_eq!(at[2], lodestone_state::time::format_instant(leaves), "to the millisecond");
    assert_eq!(at[2], at[3]);
    assert_eq!(at[3], at[4]);

    // Somebody else is in; the lists say so and count.
    http.view("bob", None).await;
    http.view("cyd", None).await;
    let members = http.get("/api/v1/audiences/recent/members?limit=1").await;
    assert_eq!(members["total"], 2);
    let cursor = members["nextCursor"].as_str().expect("there is more").to_owned();
    let rest = http.get(&format!("/api/v1/audiences/recent/members?limit=5&cursor={cursor}")).await;
    assert!(rest["nextCursor"].is_null());
    let mut users: Vec<&str> = [&members, &rest]
        .iter()
        .flat_map(|page| page["data"].as_array().unwrap())
        .map(|m| m["userId"].as_str().unwrap())
        .collect();
    users.sort_unstable();
    assert_eq!(users, ["bob", "cyd"]);
    assert_eq!(http.get("/api/v1/audiences/lapsed").await["profileCount"], 1);
    assert_eq!(http.get("/api/v1/audiences/engaged").await["profileCount"], 2);
}

/// The log outlives a checkpoint and a restart, each change once.
#[tokio::test(flavor = "multi_thread")]
async fn the_membership_log_survives_checkpoints() {
    let http = Http::with(json!([recent(), reads("engaged", "recent", "true")])).await;
    http.view("ada", None).await;
    let before = http.moves("ada").await;
    assert_eq!(before.0.len(), 2, "{before:?}");
    let engine = http.server.engine.clone();
    tokio::task::spawn_blocking(move || engine.checkpoint()).await.unwrap().expect("a checkpoint");
    assert_eq!(http.moves("ada").await, before);
    http.view("ada", None).await;
    assert_eq!(http.moves("ada").await, before, "another view changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_do_not_read_each_other_in_a_circle() {
    let http = Http::with(json!([recent()])).await;
    let circle = json!({"audiences": [reads("a", "b", "true"), reads("b", "c", "true"), reads("c", "a", "false")]});
    let (status, body) = http.apply(circle).await;
    assert_eq!(status, 422, "{body}");
    let codes: Vec<&str> = body["errors"].as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["audience_circle"; 3], "{body}");
    assert_eq!(body["errors"][0]["pointer"], "/audiences/0/traits");
    let (status, body) = http.apply(json!({"audiences": [reads("self", "self", "true")]})).await;
    assert_eq!((status, body["errors"][0]["code"].as_str()), (422, Some("audience_circle")), "{body}");
    // A circle that closes by an edit is refused as well, and names what it would break.
    assert_eq!(http.apply(json!({"audiences": [reads("x", "recent", "true"), reads("y", "x", "true")]})).await.0, 200);
    let (status, body) = http.apply(json!({"audiences": [reads("x", "y", "true")]})).await;
    let codes: Vec<&str> = body["errors"].as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap()).collect();
    assert_eq!((status, codes), (422, vec!["definition_in_use", "audience_circle"]), "{body}");
    let (status, body) = http.apply(json!({"audiences": [reads("z", "nobody", "true")]})).await;
    assert_eq!((status, body["errors"][0]["code"].as_str()), (422, Some("audience_not_found")), "{body}");
}
