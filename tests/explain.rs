//! Why, and what would be, over a running server: explanations whose proposals are carried out over HTTP,
//! simulations (T-74), and past moments.

mod common;

use common::{ADMIN, Server, TA, TS, TW, catalog, http_client};
use lodestone::runtime::clock::ManualClock;
use lodestone_state::ids::Millis;
use lodestone_state::time::{format_instant, parse_rfc3339};
use reqwest::Client;
use serde_json::{Value, json};
use std::sync::Arc;

const DAY: i64 = 86_400_000;

struct Http {
    server: Server,
    client: Client,
    clock: Arc<ManualClock>,
}

fn at(text: &str) -> Millis {
    parse_rfc3339(text).expect("an instant")
}

impl Http {
    /// A server at noon of 2024-03-01 that knows `more` beside the definitions of all tests.
    async fn with(more: Value) -> Self {
        let clock = Arc::new(ManualClock::at(at("2024-03-01T10:00:00Z")));
        let server = Server::with(clock.clone(), &catalog(), |_| ()).await;
        let http = Self { server, client: http_client(), clock };
        let (status, body) = http.post("/api/v1/catalog", ADMIN, more).await;
        assert_eq!(status, 200, "{body}");
        http
    }

    async fn post(&self, path: &str, token: &str, body: Value) -> (u16, Value) {
        let url = self.server.url(path);
        let answer = self.client.post(url).bearer_auth(token).body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
        let mut url = reqwest::Url::parse(&self.server.url(path)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.client.get(url).bearer_auth(ADMIN).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn explain(&self, user: &str, what: (&str, &str)) -> Value {
        let (status, told) = self.get("/api/v1/explain", &[("userId", user), what]).await;
        assert_eq!(status, 200, "{told}");
        told
    }

    async fn track(&self, user: &str, event: &str, properties: Value) {
        let body = json!({"userId": user, "event": event, "properties": properties});
        assert_eq!(self.post("/v1/track", TA, body).await.0, 204);
    }

    fn set(&self, time: &str) {
        self.clock.set(at(time));
        self.server.engine.fire_due(&mut Vec::new());
    }

    /// Carries out what an explanation proposes, as a client would.
    async fn carry_out(&self, user: &str, proposal: &Value) {
        for change in proposal["changes"].as_array().expect("changes") {
            match change["type"].as_str().expect("a type") {
                "event" => {
                    for _ in 0..change["times"].as_u64().expect("times") {
                        self.track(user, change["event"].as_str().expect("a name"), change["properties"].clone()).await;
                    }
                }
                "customTrait" => {
                    let traits = json!({change["key"].as_str().expect("a key"): change["value"]});
                    let body = json!({"userId": user, "type": "user_id", "isAnonymous": true, "customTraits": traits});
                    assert_eq!(self.post("/v1/identify", TA, body).await.0, 200);
                }
                "identify" => {
                    let body = json!({"userId": user, "type": "user_id", "isAnonymous": false});
                    assert_eq!(self.post("/v1/identify", TA, body).await.0, 200);
                }
                "wait" => self.set(change["until"].as_str().expect("a time")),
                other => panic!("{other} is nothing that a client does"),
            }
        }
    }
}

fn page() -> Value {
    json!({"page": "/"})
}

/// Two pages within an hour, and a checkout over 10.
fn keen() -> Value {
    json!({"name": "Keen", "key": "keen", "includeAnonymous": true, "traits": [], "events": [
        {"eventId": "Page Viewed", "operator": "more_or_exactly", "count": 2,
         "timeWindowOperator": "within", "timeWindowEnd": 1, "timeWindowUnit": "hours"},
        {"eventId": "Checkout Started", "operator": "more_or_exactly", "count": 1,
         "properties": [{"key": "total", "dataType": "float", "operator": "greater_than", "value": "10"}]}]})
}

/// I17: each clause with the events that it rests on, and a smallest change that works when a client makes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_audience_is_told_clause_by_clause_and_the_proposal_works() {
    let http = Http::with(json!({"audiences": [keen()]})).await;
    http.track("u1", "Page Viewed", page()).await;
    http.track("u1", "Checkout Started", json!({"total": 5.0, "items": 1})).await;
    let told = http.explain("u1", ("audience", "keen")).await;
    assert_eq!((&told["member"], &told["asOf"]["moment"]), (&json!(false), &json!("now")));
    let clauses = told["clauses"].as_array().expect("clauses");
    assert_eq!(clauses.iter().map(|c| c["type"].as_str().unwrap()).collect::<Vec<_>>(), ["anonymity", "count", "count"]);
    assert_eq!((&clauses[1]["count"], &clauses[1]["needs"]["atLeast"]), (&json!(1), &json!(2)));
    assert_eq!(clauses[1]["events"][0]["leaves"], "2024-03-01T11:00:00.000Z");
    assert_eq!(clauses[2]["others"][0]["because"]["clause"], "event total greater_than \"10\"");
    assert_eq!(clauses[2]["others"][0]["because"]["seen"], 5.0);
    let flip = &told["flip"]["now"];
    assert_eq!(flip["changes"].as_array().map(Vec::len), Some(2), "{flip}");
    assert_eq!(flip["changes"][0]["text"], "one more Page Viewed before 2024-03-01T11:00:00.000Z");
    http.carry_out("u1", flip).await;
    let told = http.explain("u1", ("audience", "keen")).await;
    assert_eq!((&told["member"], &told["memberSince"]), (&json!(true), &json!("2024-03-01T10:00:00.000Z")));
    assert_eq!(told["until"], "2024-03-01T11:00:00.000Z");
    http.carry_out("u1", &told["flip"]["later"]).await;
    assert_eq!(http.explain("u1", ("audience", "keen")).await["member"], false);
}

/// A funnel step by step: reached by which event, what is awaited, until when; one event completes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_funnel_is_told_step_by_step() {
    let step = |event: &str, id: &str, parent: Value| json!({"eventId": event, "internalId": id, "parentId": parent, "operator": "more_or_exactly", "count": 1});
    let mut second = step("Checkout Started", "b", json!("a"));
    second["withinPrevious"] = json!({"max": {"amount": 30, "unit": "minutes"}});
    let funnel = json!({"name": "Buying", "key": "buying", "includeAnonymous": true, "traits": [],
        "events": [step("Page Viewed", "a", Value::Null), second]});
    let http = Http::with(json!({"audiences": [funnel]})).await;
    http.track("u1", "Page Viewed", page()).await;
    let told = http.explain("u1", ("audience", "buying")).await;
    let chain = &told["clauses"][1];
    assert_eq!((&chain["steps"][0]["reached"], &chain["steps"][1]["reached"]), (&json!(true), &json!(false)));
    assert_eq!(chain["steps"][0]["events"][0]["timestamp"], "2024-03-01T10:00:00.000Z");
    assert_eq!(
        (&chain["awaits"]["event"], &chain["awaits"]["before"]),
        (&json!("Checkout Started"), &json!("2024-03-01T10:30:00.001Z"))
    );
    http.carry_out("u1", &told["flip"]["now"]).await;
    assert_eq!(http.explain("u1", ("audience", "buying")).await["member"], true);
}

/// A trait with the events behind it, those that do not count and why, and its next value.
#[tokio::test(flavor = "multi_thread")]
async fn a_trait_is_told_event_by_event() {
    let spent = json!({"name": "Spent", "key": "spent", "type": "aggregation", "eventId": "Checkout Started",
        "conditions": [{"property": "items", "type": "integer", "operator": "greater_than", "value": 1}],
        "properties": {"property": "total", "type": "float", "aggregationType": "sum", "window": {"amount": 1, "unit": "hours"}}});
    let http = Http::with(json!({"computedTraits": [spent]})).await;
    for (total, items) in [(3.0, 2), (4.0, 1), (5.0, 3)] {
        http.track("u1", "Checkout Started", json!({"total": total, "items": items})).await;
    }
    let told = http.explain("u1", ("trait", "spent")).await;
    assert_eq!((&told["value"], &told["contributing"]), (&json!(8), &json!(2)));
    let values: Vec<_> = told["contributors"].as_array().unwrap().iter().map(|c| c["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [5.0, 3.0], "the newest first");
    assert_eq!(told["others"][0]["because"]["clause"], "event items greater_than 1");
    assert_eq!(told["next"], json!({"at": "2024-03-01T11:00:00.000Z", "value": 0}));
}

/// The past is told from the log up to then, the definitions being those of today.
#[tokio::test(flavor = "multi_thread")]
async fn a_past_moment_is_told_from_the_log() {
    let http = Http::with(json!({"audiences": [keen()]})).await;
    http.track("u1", "Page Viewed", page()).await;
    http.set("2024-03-01T10:30:00Z");
    http.track("u1", "Page Viewed", page()).await;
    http.track("u1", "Checkout Started", json!({"total": 50.0, "items": 1})).await;
    http.set("2024-03-02T00:00:00Z");
    let query = |at: &'static str| [("userId", "u1"), ("audience", "keen"), ("at", at)];
    let (_, before) = http.get("/api/v1/explain", &query("2024-03-01T10:29:59.999Z")).await;
    let (_, during) = http.get("/api/v1/explain", &query("2024-03-01T10:59:59.999Z")).await;
    let (_, after) = http.get("/api/v1/explain", &query("2024-03-01T11:00:00Z")).await;
    assert_eq!([&before["member"], &during["member"], &after["member"]], [&json!(false), &json!(true), &json!(false)]);
    assert_eq!((&before["asOf"]["moment"], &before["asOf"]["entries"]), (&json!("past"), &json!(1)));
}

/// What stands in an action's way, and what would move it.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_told_with_what_would_show_it() {
    let http = Http::with(json!({})).await;
    http.track("u1", "Page Viewed", page()).await;
    let query = [("userId", "u1"), ("action", "Third"), ("channel", "app")];
    let (status, told) = http.get("/api/v1/explain", &query).await;
    assert_eq!((status, &told["display"], &told["blockedBy"]), (200, &json!(false), &json!(["Computedtrait Conditions"])));
    http.carry_out("u1", &told["flip"]["now"]).await;
    assert_eq!(http.get("/api/v1/explain", &query).await.1["display"], true);
    let (_, paused) = http.get("/api/v1/explain", &[("userId", "u1"), ("action", "Paused"), ("channel", "app")]).await;
    assert_eq!(paused["flip"]["now"]["changes"][0]["what"], "state");
}

/// T-74: item 66 two days later is capped; on the 8th, to the millisecond, it is not.
#[tokio::test(flavor = "multi_thread")]
async fn t74_a_simulation_sees_caps_open_again() {
    let capped = json!({"name": "Twice", "type": "notification", "state": "active", "tags": [], "properties": [], "hooks": [], "testUsers": [],
        "targeting": {"channels": ["app"]}, "capping": [{"channels": [], "event": "shown", "group": "user", "count": 2, "within": 7}]});
    let http = Http::with(json!({"actions": [capped]})).await;
    http.track("u1", "Page Viewed", page()).await;
    let id = http.get("/api/v1/actions/Twice", &[]).await.1["id"].as_str().expect("an id").to_owned();
    for time in ["2024-03-01T10:00:00Z", "2024-03-02T10:00:00Z"] {
        http.set(time);
        let shown = http.post("/v1/actions/act", TA, json!({"userId": "u1", "actionId": id, "event": "show"})).await;
        assert!(shown.0 < 300, "{shown:?}");
    }
    http.set("2024-03-03T00:00:00Z");
    let simulate = |at: &str| json!({"userId": "u1", "channel": "app", "actionId": id, "at": at});
    for (time, display, state) in [
        ("2024-03-03T00:00:00Z", false, "error"),
        ("2024-03-08T09:59:59.999Z", false, "error"),
        ("2024-03-08T10:00:00Z", true, "correct"),
        // The past as well: before the second show.
        ("2024-03-02T09:59:59.999Z", true, "correct"),
    ] {
        let (status, told) = http.post("/api/v1/actions/simulate", ADMIN, simulate(time)).await;
        assert_eq!(status, 200, "{told}");
        let row = &told["data"][0];
        let capping = row["steps"].as_array().unwrap().iter().find(|step| step["name"] == "Capping").unwrap();
        assert_eq!((&row["display"], &capping["state"]), (&json!(display), &json!(state)), "{time}");
    }
    // Reading changed nothing.
    assert_eq!(http.explain("u1", ("action", "Twice")).await["display"], false);
}

/// Given traits stand instead of the person's; without anybody it is somebody new.
#[tokio::test(flavor = "multi_thread")]
async fn simulations_take_given_traits() {
    let http = Http::with(json!({})).await;
    let (_, nobody) = http.post("/api/v1/actions/simulate", ADMIN, json!({"channel": "app", "actionId": "Again"})).await;
    assert_eq!(nobody["data"][0]["display"], false);
    let given = json!({"channel": "app", "actionId": "Again", "computedTraits": {"views": 2}});
    assert_eq!(http.post("/api/v1/actions/simulate", ADMIN, given).await.1["data"][0]["display"], true);
    let all = http.post("/api/v1/actions/simulate", ADMIN, json!({"channel": "app"})).await.1;
    assert_eq!(all["total"], 4, "every action, also those that do not run");
}

/// What is wrong is told as problems with stable codes.
#[tokio::test(flavor = "multi_thread")]
async fn questions_that_cannot_be_answered() {
    let http = Http::with(json!({})).await;
    http.track("u1", "Page Viewed", page()).await;
    let code = async |query: &[(&str, &str)]| {
        let (status, told) = http.get("/api/v1/explain", query).await;
        (status, told["code"].as_str().unwrap_or_default().to_owned())
    };
    let told = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(code(&[("userId", "nobody"), ("trait", "views")]).await, told(404, "profile_not_found"));
    assert_eq!(code(&[("userId", "u1"), ("trait", "gone")]).await, told(404, "computed_trait_not_found"));
    assert_eq!(code(&[("userId", "u1"), ("audience", "gone")]).await, told(404, "audience_not_found"));
    assert_eq!(code(&[("userId", "u1")]).await, told(400, "invalid_query"));
    assert_eq!(code(&[("userId", "u1"), ("trait", "views"), ("at", "yesterday")]).await, told(400, "invalid_query"));
    let given = json!({"channel": "app", "computedTraits": {"gone": 1}, "userId": "u1"});
    let (status, body) = http.post("/api/v1/actions/simulate", ADMIN, given).await;
    assert_eq!((status, &body["errors"][0]["pointer"]), (422, &json!("/computedTraits/gone")));
    for token in [TW, TS] {
        assert_eq!(http.post("/api/v1/actions/simulate", token, json!({"channel": "app"})).await.0, 403);
    }
    let soon = format_instant(at("2024-03-01T10:00:00Z").plus(DAY));
    assert_eq!(code(&[("userId", "u1"), ("trait", "views"), ("at", soon.as_str())]).await.0, 200, "the future is time passing");
}
