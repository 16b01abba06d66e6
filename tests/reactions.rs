//! The reaction log over HTTP.

mod common;

use common::{ADMIN, Server, TA, http_client};
use reqwest::Client;
use serde_json::{Value, json};

struct Http {
    server: Server,
    client: Client,
}

impl Http {
    async fn start() -> Self {
        Self { server: Server::start().await, client: http_client() }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = self.server.url(path);
        let answer = self.client.post(url).bearer_auth(TA).body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    async fn log(&self, query: &str) -> (u16, Value) {
        let url = self.server.url(&format!("/api/v1/reactions?{query}"));
        let answer = self.client.get(url).bearer_auth(ADMIN).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// `user event` of each row, newest first.
    async fn rows(&self, query: &str) -> Vec<String> {
        let (status, body) = self.log(query).await;
        assert_eq!(status, 200, "{body}");
        let row = |row: &Value| format!("{} {}", row["userId"].as_str().unwrap(), row["event"].as_str().unwrap());
        body["data"].as_array().unwrap().iter().map(row).collect()
    }
}

/// Reactions are kept with what was sent along, and found by action, person, kind and time.
#[tokio::test(flavor = "multi_thread")]
async fn reactions_are_listed_newest_first_with_their_properties() {
    let http = Http::start().await;
    let mut hello = String::new();
    for user in ["ada", "bob"] {
        let body = json!({"userId": user, "event": "Page Viewed", "properties": {"page": "/"}});
        assert_eq!(http.post("/v1/track", body).await.0, 204);
        let (_, due) = http.post("/v1/actions", json!({"userId": user})).await;
        hello = due[0]["id"].as_str().expect("an action is due").to_owned();
        let act = json!({"userId": user, "actionId": hello, "event": "show", "properties": {"size": user}});
        assert_eq!(http.post("/v1/actions/act", act).await.0, 200);
    }
    let accept = json!({"userId": "ada", "actionId": hello, "event": "accept"});
    assert_eq!(http.post("/v1/actions/act", accept).await.0, 200);

    let all = format!("actionId={hello}");
    assert_eq!(http.rows(&all).await, ["ada accepted", "bob shown", "bob delivered", "ada shown", "ada delivered"]);
    assert_eq!(http.rows(&format!("{all}&events=shown,accepted")).await, ["ada accepted", "bob shown", "ada shown"]);
    assert_eq!(http.rows(&format!("{all}&userId=bob")).await, ["bob shown", "bob delivered"]);
    assert_eq!(http.rows("userId=ada&events=accepted").await, ["ada accepted"]);
    let today = http.server.engine.now();
    let future = lodestone_state::time::format_instant(today.plus(60_000));
    assert!(http.rows(&format!("{all}&start={future}")).await.is_empty());
    assert_eq!(http.rows(&format!("{all}&end={future}")).await.len(), 5);

    let (_, page) = http.log(&format!("{all}&limit=2")).await;
    assert_eq!((page["total"].as_u64(), page["nextCursor"].as_str()), (Some(5), Some("2")));
    assert_eq!(http.rows(&format!("{all}&limit=2&cursor=2")).await, ["bob delivered", "ada shown"]);
    let (_, last) = http.log(&format!("{all}&limit=2&cursor=4")).await;
    assert!(last["nextCursor"].is_null(), "{last}");
    let (_, shown) = http.log("userId=bob&events=shown").await;
    assert_eq!(shown["data"][0]["properties"], json!({"size": "bob"}));

    // A checkpoint moves the log to disk and changes nothing that is read.
    let engine = http.server.engine.clone();
    tokio::task::spawn_blocking(move || engine.checkpoint()).await.unwrap().expect("a checkpoint");
    assert_eq!(http.rows(&all).await.len(), 5);

    assert_eq!(http.log("actionId=nothing").await.1["code"], "action_not_found");
    assert_eq!(http.log("userId=nobody").await.1["code"], "profile_not_found");
    for bad in ["events=clicked", "start=yesterday", "cursor=x"] {
        let (status, body) = http.log(bad).await;
        assert_eq!((status, body["code"].as_str()), (400, Some("invalid_query")), "{bad}");
    }
}
