//! The HTTP side over real requests: the Attractify dialect, the read side, probes and pages.

mod common;

use std::time::Duration;

use common::{ADMIN, Server, TA, TS, TW, http_client, page};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// Calls one server.
struct Http {
    server: Server,
    client: reqwest::Client,
}

impl Http {
    async fn start() -> Self {
        Self::of(Server::start().await)
    }

    fn of(server: Server) -> Self {
        Self { server, client: http_client() }
    }

    fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    fn post(&self, path: &str, token: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(token).body(body.to_string())
    }

    /// Status and error code of one call.
    async fn call(&self, path: &str, token: &str, body: Value) -> (u16, String) {
        outcome(self.post(path, token, &body).send().await.unwrap()).await
    }

    async fn track(&self, token: &str, body: Value) -> (u16, String) {
        self.call("/v1/track", token, body).await
    }

    async fn admin(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(self.url(path)).bearer_auth(ADMIN).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn invalid(&self) -> Vec<Value> {
        let (_, body) = self.admin("/api/v1/invalid-events").await;
        body["data"].as_array().unwrap().clone()
    }

    async fn actions(&self, body: Value) -> Vec<Value> {
        let answer = self.post("/v1/actions", TA, &body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }
}

/// Status and error code. Errors of this dialect have no body unless JSON was asked for.
async fn outcome(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let code = answer.headers().get("x-lodestone-error").map(|code| code.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = answer.text().await.unwrap();
    if status >= 400 {
        assert_eq!(body, "", "an error of this dialect is empty");
    }
    (status, code)
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn ok() -> (u16, String) {
    refused(204, "")
}

fn viewed(user: &str) -> Value {
    json!({"userId": user, "event": "Page Viewed", "properties": {"page": "/"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_i2_credentials() {
    let http = Http::start().await;
    let without = http.client.post(http.url("/v1/track")).body(viewed("a").to_string()).send().await.unwrap();
    assert_eq!(outcome(without).await, refused(401, "unauthorized"));
    for header in ["bearer ls_wk_web", "xBearer ls_wk_web", "Bearer nobody", "Bearer", "Digest ls_wk_web"] {
        let answer = http.client.post(http.url("/v1/track")).header("authorization", header).body("{}").send().await.unwrap();
        assert_eq!(outcome(answer).await, refused(401, "unauthorized"), "{header}");
    }
    assert_eq!(http.track(ADMIN, viewed("a")).await, refused(401, "unauthorized"));
    let basic = http.client.post(http.url("/v1/track")).basic_auth(TA, None::<&str>).body("{}").send().await.unwrap();
    assert_eq!(outcome(basic).await, refused(501, "unsupported_dialect"));
    let write_key = http.client.post(http.url("/v1/track")).body(json!({"writeKey": TA}).to_string()).send().await.unwrap();
    assert_eq!(outcome(write_key).await, refused(501, "unsupported_dialect"));
    assert_eq!(http.call("/v1/batch", TA, json!({})).await, refused(501, "unsupported_dialect"));
    assert_eq!(http.call("/segment/v1/track", TA, json!({})).await, refused(501, "unsupported_dialect"));
    assert_eq!(http.call("/attractify/v1/track", TA, viewed("a")).await, ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_track_makes_a_profile() {
    let http = Http::start().await;
    assert_eq!(http.track(TA, viewed("a1")).await, ok());
    let profile = http.server.profile("a1").await.unwrap();
    let identities = profile["identities"].as_array().unwrap();
    assert_eq!(identities.len(), 1);
    let identity = &identities[0];
    assert_eq!(
        (identity["channel"].as_str(), identity["userId"].as_str(), identity["type"].as_str(), identity["isAnonymous"].as_bool()),
        (Some("app"), Some("a1"), Some("anonymous_id"), Some(true))
    );
    let event = &profile["events"][0];
    assert_eq!((&event["context"], &event["properties"]), (&json!({}), &json!({"page": "/"})), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_field_names_match_in_any_case() {
    let http = Http::start().await;
    assert_eq!(http.track(TA, json!({"USERID": "a1", "Event": "Page Viewed", "properties": {"page": "/"}})).await, ok());
    assert!(http.server.profile("a1").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_who_and_what_are_required() {
    let http = Http::start().await;
    for body in [
        json!({"event": "Page Viewed"}),
        json!({"userId": "", "event": "Page Viewed"}),
        json!({"userId": null, "event": "Page Viewed"}),
        json!({"userId": "a1"}),
        json!({"userId": "a1", "event": ""}),
    ] {
        assert_eq!(http.track(TA, body.clone()).await, refused(400, "missing_field"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_unknown_event_is_kept_aside() {
    let http = Http::start().await;
    assert_eq!(http.track(TA, json!({"userId": "a1", "event": "Foo"})).await, refused(400, "unknown_event"));
    assert!(http.server.profile("a1").await.is_none());
    let rows = http.invalid().await;
    assert_eq!((rows[0]["type"].as_str(), rows[0]["name"].as_str()), (Some("unknown_event"), Some("Foo")), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_an_unknown_property_is_refused_whatever_the_encoding() {
    let http = Http::start().await;
    let body = json!({"userId": "a1", "event": "Page Viewed", "properties": {"page": "/", "x": 1}});
    assert_eq!(http.track(TA, body.clone()).await, refused(400, "event_properties_invalid"));
    let gzip = http.post("/v1/track", TA, &body).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(outcome(gzip).await, refused(400, "event_properties_invalid"));
    let rows = http.invalid().await;
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0]["type"].as_str(), &rows[0]["context"]), (Some("properties"), &json!({})), "{rows:?}");
    assert_eq!((rows[0]["errors"][0]["path"].as_str(), rows[0]["errors"][0]["rule"].as_str()), (Some("x"), Some("unknown")));
}

/// The first error of a call that asks for JSON.
async fn first_error(http: &Http, token: &str, body: Value) -> (u16, String, String) {
    let answer = http.post("/v1/track", token, &body).header("accept", "application/json").send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let detail = &body["error"]["details"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (status, text(&detail["path"]), text(&detail["rule"]))
}

fn at(path: &str, rule: &str) -> (u16, String, String) {
    (400, path.to_owned(), rule.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_required_holds_for_absent_properties() {
    let http = Http::start().await;
    let error = first_error(&http, TA, json!({"userId": "a1", "event": "Page Viewed"})).await;
    assert_eq!(error, at("page", "required"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_i10_i11_values_are_cast() {
    let http = Http::start().await;
    let checkout = |properties: Value| json!({"userId": "a1", "event": "Checkout Started", "properties": properties});
    assert_eq!(http.track(TA, checkout(json!({"total": "19.90", "items": "2"}))).await, ok());
    let profile = http.server.profile("a1").await.unwrap();
    assert_eq!(profile["events"][0]["properties"], json!({"total": 19.9, "items": 2}));
    assert_eq!(first_error(&http, TA, checkout(json!({"total": 1, "items": 2.5}))).await, at("items", "type"));
    assert_eq!(http.track(TA, checkout(json!({"total": 1, "items": 2.0}))).await, ok());
    assert_eq!(first_error(&http, TA, checkout(json!({"total": null, "items": 1}))).await, at("total", "required"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i18_contexts_are_held_against_the_channel() {
    let http = Http::start().await;
    let with = |context: Value| json!({"userId": "a1", "event": "Page Viewed", "properties": {"page": "/"}, "context": context});
    assert_eq!(http.track(TW, with(json!({"country": "de"}))).await, refused(400, "context_invalid"));
    assert_eq!(first_error(&http, TW, viewed("a1")).await, at("country", "required"));
    assert_eq!(http.track(TW, with(json!({"country": "DE"}))).await, ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn i20_i21_identify_replaces_or_merges_traits() {
    let http = Http::start().await;
    let identify = |extra: Value| {
        let mut body = json!({"userId": "u1", "type": "user_id"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let call = |body: Value| http.call("/v1/identify", TA, body);
    assert_eq!(call(identify(json!({"traits": {"department": "m"}}))).await, ok());
    let profile = http.server.profile("u1").await.unwrap();
    assert_eq!(profile["customTraits"], json!({"department": "m"}));
    assert_eq!(profile["identities"][0]["isAnonymous"], false);
    assert_eq!(call(identify(json!({"traits": {"age": "30"}}))).await, ok());
    assert_eq!(http.server.profile("u1").await.unwrap()["customTraits"], json!({"age": 30}));
    assert_eq!(call(identify(json!({"traits": {"department": "m"}, "traitsMode": "merge"}))).await, ok());
    assert_eq!(http.server.profile("u1").await.unwrap()["customTraits"], json!({"department": "m", "age": 30}));
    assert_eq!(call(identify(json!({"traits": {"age": "x"}}))).await, refused(400, "traits_invalid"));
    assert_eq!(call(identify(json!({"traits": {}, "traitsMode": "sometimes"}))).await, refused(400, "invalid_frame"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i22_identify_wants_a_type() {
    let http = Http::start().await;
    for body in [json!({"userId": "u1"}), json!({"userId": "u1", "isAnonymous": true}), json!({"userId": "u1", "type": ""})] {
        assert_eq!(http.call("/v1/identify", TA, body).await, refused(400, "missing_field"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i25_i30_identify_absorbs_who_is_anonymous_and_nobody_else() {
    let http = Http::start().await;
    for _ in 0..3 {
        assert_eq!(http.track(TA, viewed("an1")).await, ok());
    }
    let identify = |user: &str, previous: &str| json!({"userId": user, "type": "user_id", "previousUserId": previous});
    assert_eq!(http.call("/v1/identify", TA, identify("u2", "an1")).await, ok());
    assert_eq!(http.server.events("u2", "Page Viewed").await, 3);
    let other = http.post("/v1/identify", TA, &identify("u3", "u2")).send().await.unwrap();
    assert_eq!(
        (other.status(), other.headers()["x-lodestone-merge"].to_str().unwrap()),
        (StatusCode::NO_CONTENT, "refused_known_user")
    );
    assert_ne!(http.server.profile("u3").await.unwrap()["id"], http.server.profile("u2").await.unwrap()["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn i40_listing_makes_the_profile_and_filters() {
    let http = Http::start().await;
    assert_eq!(http.actions(json!({"userId": "new"})).await, Vec::<Value>::new());
    assert!(http.server.profile("new").await.is_some());
    assert_eq!(http.track(TA, viewed("new")).await, ok());
    assert_eq!(http.track(TA, viewed("new")).await, ok());
    let titles =
        |list: Vec<Value>| list.iter().map(|a| a["properties"]["title"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let table = [
        (json!({"userId": "new"}), vec!["Hello", "Again"]),
        (json!({"userId": "new", "tags": []}), vec!["Hello", "Again"]),
        (json!({"userId": "new", "tags": null}), vec!["Hello", "Again"]),
        (json!({"userId": "new", "tags": ["home"]}), vec!["Hello", "Again"]),
        (json!({"userId": "new", "tags": ["home", "top"]}), vec!["Hello"]),
        (json!({"userId": "new", "tags": ["home", "none"]}), vec![]),
        (json!({"userId": "new", "type": "banner"}), vec![]),
        (json!({"userId": "new", "type": "notification", "tags": ["top"]}), vec!["Hello"]),
    ];
    for (body, expect) in table {
        assert_eq!(titles(http.actions(body.clone()).await), expect, "{body}");
    }
    let by_query = http
        .client
        .get(http.url("/v1/actions?userId=new&type=notification&tags=home&tags=top"))
        .bearer_auth(TA)
        .send()
        .await
        .unwrap();
    let list: Vec<Value> = by_query.json().await.unwrap();
    assert_eq!(titles(list.clone()), ["Hello"]);
    assert_eq!((list[0]["version"].as_u64(), &list[0]["tags"]), (Some(1), &json!(["home", "top"])));
    assert!(list[0]["deliveryId"].as_str().unwrap().starts_with("im_"));
    assert_eq!(http.call("/v1/actions", TA, json!({"userId": "new", "tags": [""]})).await, refused(400, "invalid_frame"));
    assert_eq!(http.call("/v1/actions", TA, json!({})).await, refused(400, "missing_field"));
}

/// How many reactions of one kind a profile has.
async fn reactions(http: &Http, user: &str, kind: &str) -> usize {
    let profile = http.server.profile(user).await.unwrap();
    profile["reactions"].as_array().unwrap().iter().filter(|reaction| reaction["event"] == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn i41_a_session_is_delivered_to_once() {
    let http = Http::start().await;
    for user in ["a", "b"] {
        assert_eq!(http.track(TA, viewed(user)).await, ok());
    }
    for _ in 0..2 {
        assert_eq!(http.actions(json!({"userId": "a", "sessionId": "s1"})).await.len(), 1);
        assert_eq!(http.actions(json!({"userId": "b"})).await.len(), 1);
    }
    assert_eq!(reactions(&http, "a", "delivered").await, 1);
    assert_eq!(reactions(&http, "b", "delivered").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn i42_reactions() {
    let http = Http::start().await;
    assert_eq!(http.track(TA, viewed("a")).await, ok());
    let id = http.actions(json!({"userId": "a"})).await[0]["id"].as_str().unwrap().to_owned();
    let act = |user: &str, action: &str, event: &str| json!({"userId": user, "actionId": action, "event": event});
    let call = |body: Value| http.call("/v1/actions/act", TA, body);
    let status = async |body: Value| call(body).await.0;
    assert_eq!(status(act("a", &id, "click")).await, 400);
    assert_eq!(status(act("never-seen", &id, "show")).await, 400);
    assert!(http.server.profile("never-seen").await.is_none());
    assert_eq!(call(act("a", "00000000-0000-0000-0000-000000000000", "show")).await, refused(404, "action_not_found"));
    assert_eq!(call(act("a", "nonsense", "show")).await, refused(404, "action_not_found"));
    // One that never ran for anybody is refused; one that was delivered may be shown when it is off.
    let plan = http.server.engine.plan();
    let paused = plan.actions.iter().flatten().find(|action| action.name == "Paused").unwrap().id.to_string();
    assert_eq!(call(act("a", &paused, "show")).await, refused(400, "action_not_allowed"));
    let mut off = common::catalog();
    off["actions"][0]["state"] = "inactive".into();
    http.server.engine.apply_catalog(&off.to_string()).unwrap();
    let shown = http.post("/v1/actions/act", TA, &act("a", &id, "show")).send().await.unwrap();
    assert_eq!((shown.status().as_u16(), shown.text().await.unwrap().as_str()), (200, "{}"));
    assert_eq!(reactions(&http, "a", "shown").await, 1);
    assert_eq!(call(act("a", &id, "accept")).await, refused(400, "action_not_allowed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i47_errors_are_empty_unless_json_is_asked_for() {
    let http = Http::start().await;
    assert_eq!(http.track(TA, json!({"userId": "a1", "event": "Foo"})).await, refused(400, "unknown_event"));
    let asked = http
        .post("/v1/track", TA, &json!({"userId": "a1", "event": "Foo"}))
        .header("accept", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.headers()["x-lodestone-error"], "unknown_event");
    let body: Value = asked.json().await.unwrap();
    assert_eq!(body["error"]["code"], "unknown_event");
    assert!(body["error"]["message"].is_string() && body["error"]["details"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn i48_a_message_id_counts_once_over_all_transports() {
    let http = Http::start().await;
    let mut socket = http.server.app("a1").await;
    socket.send(page("m1")).await;
    assert_eq!(socket.results(1).await, ["m1:stored"]);
    let mut body = viewed("a1");
    body["messageId"] = "m1".into();
    assert_eq!(http.track(TA, body).await, ok());
    assert_eq!(http.server.events("a1", "Page Viewed").await, 1);
    let mut bad = viewed("a1");
    bad["messageId"] = "not an id".into();
    assert_eq!(http.track(TA, bad).await, refused(400, "invalid_frame"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_and_sizes() {
    let http = Http::start().await;
    let raw = async |body: Vec<u8>| {
        outcome(http.client.post(http.url("/v1/track")).bearer_auth(TA).body(body).send().await.unwrap()).await
    };
    assert_eq!(raw(b"{".to_vec()).await, refused(400, "invalid_json"));
    assert_eq!(raw(Vec::new()).await, refused(400, "invalid_json"));
    assert_eq!(raw(b"[]".to_vec()).await, refused(400, "invalid_frame"));
    assert_eq!(raw(br#"{"userId":7}"#.to_vec()).await, refused(400, "invalid_frame"));
    let sized = |len: usize| {
        let body = viewed("a1").to_string();
        let pad = " ".repeat(len - body.len());
        (body + &pad).into_bytes()
    };
    assert_eq!(raw(sized(32_768)).await, ok());
    assert_eq!(raw(sized(32_769)).await, refused(413, "payload_too_large"));
    assert_eq!(http.track(TA, viewed(&"x".repeat(257))).await, refused(413, "payload_too_large"));
    let list = http.client.get(http.url("/v1/track")).bearer_auth(TA).send().await.unwrap();
    assert_eq!(list.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_may_call_from_anywhere() {
    let http = Http::start().await;
    let preflight = http
        .client
        .request(Method::OPTIONS, http.url("/v1/track"))
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .await
        .unwrap();
    assert!(preflight.status().is_success());
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert!(!preflight.headers().contains_key("access-control-allow-credentials"));
    let answer = http.post("/v1/track", TA, &json!({})).header("origin", "https://shop.example").send().await.unwrap();
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase();
    assert!(["x-lodestone-error", "x-lodestone-merge", "retry-after"].iter().all(|name| exposed.contains(name)), "{exposed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_at_once_are_told_to_wait() {
    let server = Server::configured(|config| config.server.http.in_flight_max = 0).await;
    let http = Http::of(server);
    let answer = http.post("/v1/track", TA, &viewed("a1")).send().await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(outcome(answer).await, refused(429, "rate_limited"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_side_is_for_administrators() {
    let http = Http::start().await;
    assert_eq!(http.track(TA, viewed("a1")).await, ok());
    for (token, status, code) in [(TA, 403, "forbidden"), (TS, 403, "forbidden"), ("nobody", 401, "unauthorized")] {
        let answer = http.client.get(http.url("/api/v1/status")).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
    }
    let (status, found) = http.admin("/api/v1/profiles?userId=a1").await;
    assert_eq!((status, found["total"].as_u64(), found["data"][0]["computedTraits"]["views"].as_u64()), (200, Some(1), Some(1)));
    let id = found["data"][0]["id"].as_str().unwrap();
    let (status, one) = http.admin(&format!("/api/v1/profiles/{id}")).await;
    assert_eq!((status, &one["id"]), (200, &found["data"][0]["id"]));
    let (status, none) = http.admin("/api/v1/profiles?userId=nobody").await;
    assert_eq!((status, &none["data"]), (200, &json!([])));
    for path in [
        "/api/v1/profiles/nonsense",
        "/api/v1/profiles/00000000-0000-0000-0000-000000000000",
        "/api/v1/audiences/none",
        "/api/v1/else",
    ] {
        let (status, body) = http.admin(path).await;
        assert_eq!((status, body["status"].as_u64()), (404, Some(404)), "{path}");
        assert!(body["code"].as_str().unwrap().ends_with("not_found"), "{body}");
    }
    let (status, body) = http.admin("/api/v1/profiles").await;
    assert_eq!((status, body["code"].as_str()), (400, Some("missing_field")));
    let (status, body) = http.admin("/api/v1/invalid-events?limit=many").await;
    assert_eq!((status, body["code"].as_str()), (400, Some("invalid_query")));
    assert_eq!(http.admin("/api/v1/status").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_applied_whole_or_not_at_all() {
    let http = Http::start().await;
    let apply = async |body: String| {
        let answer = http.client.post(http.url("/api/v1/catalog")).bearer_auth(ADMIN).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, same) = apply(common::catalog().to_string()).await;
    assert_eq!((status, same["changed"].as_bool()), (200, Some(false)), "{same}");
    let mut more = common::catalog();
    more["events"].as_array_mut().unwrap().push(json!({"name": "More", "description": "", "structure": []}));
    let (status, changed) = apply(more.to_string()).await;
    assert_eq!((status, changed["changed"].as_bool()), (200, Some(true)));
    assert_eq!(changed["version"].as_u64(), same["version"].as_u64().map(|version| version + 1));
    let mut bad = common::catalog();
    bad["events"][0]["structure"][0]["properties"]["pattern"] = "(".into();
    bad["computedTraits"][0]["eventId"] = "Nowhere".into();
    let (status, problem) = apply(bad.to_string()).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("catalog_invalid")), "{problem}");
    let errors = problem["errors"].as_array().unwrap();
    assert!(
        errors.len() >= 2 && errors.iter().all(|e| e["pointer"].is_string() && e["code"].is_string() && e["message"].is_string()),
        "{errors:?}"
    );
    assert_eq!(apply("{".into()).await.1["code"], "invalid_json");
    assert_eq!(http.server.engine.plan().version, u32::try_from(changed["version"].as_u64().unwrap()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_status() {
    let http = Http::start().await;
    assert_eq!(http.track(TA, viewed("secret-person")).await, ok());
    let get = async |path: &str| http.client.get(http.url(path)).send().await.unwrap();
    for path in ["/livez", "/readyz", "/healthz", "/version"] {
        assert_eq!(get(path).await.status(), 200, "{path}");
    }
    let ready: Value = get("/readyz").await.json().await.unwrap();
    assert!(ready["ready"] == true && ready["checks"].is_array());
    let metrics = get("/metrics").await.text().await.unwrap();
    for name in [
        "lodestone_ingest_events_total{outcome=\"stored\"}",
        "lodestone_profiles",
        "lodestone_build_info{",
        "lodestone_http_requests_total{",
    ] {
        assert!(metrics.contains(name), "{name} is missing in\n{metrics}");
    }
    assert!(!metrics.contains("secret-person"));
    let status: Value = get("/status.json").await.json().await.unwrap();
    for key in [
        "version",
        "serverTime",
        "uptimeMs",
        "ready",
        "shop",
        "plan",
        "events",
        "profiles",
        "sessions",
        "journal",
        "checkpoint",
        "pushes",
        "reactions",
        "ackMs",
    ] {
        assert!(status.get(key).is_some(), "{key} is missing in {status}");
    }
    assert_eq!((status["events"]["total"].as_u64(), status["shop"].as_bool()), (Some(1), Some(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_strict_and_the_shop_is_off_unless_asked_for() {
    let http = Http::start().await;
    let get = async |http: &Http, path: &str| http.client.get(http.url(path)).send().await.unwrap();
    let home = get(&http, "/").await;
    assert_eq!(home.status(), 200);
    let policy = home.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(home.headers()["x-content-type-options"], "nosniff");
    if let Some(etag) = home.headers().get("etag") {
        let again = http.client.get(http.url("/")).header("if-none-match", etag.clone()).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
    for path in ["/shop", "/shop/api/profile?userId=a", "/assets/../Cargo.toml", "/assets/none.js", "/nowhere"] {
        assert_eq!(get(&http, path).await.status(), 404, "{path}");
    }
    let shop = Http::of(Server::configured(|config| config.server.shop = true).await);
    assert_eq!(get(&shop, "/shop").await.status(), 200);
    assert_eq!(get(&shop, "/shop/api/profile?userId=a").await.status(), 404);
    assert_eq!(shop.track(TA, viewed("a")).await, ok());
    let profile: Value = get(&shop, "/shop/api/profile?userId=a").await.json().await.unwrap();
    assert_eq!(profile["computedTraits"]["views"], 1);
}

/// Connections that send nothing, half a head or half a body are cut, and cost nobody else anything.
#[tokio::test(flavor = "multi_thread")]
async fn slow_requests_are_cut() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::configured(|config| {
        config.server.http.header_timeout = Duration::from_millis(300);
        config.server.http.body_timeout = Duration::from_millis(300);
    })
    .await;
    let http = Http::of(server);
    let head = format!(
        "POST /v1/track HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TA}\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{{"
    );
    for start in ["", "POST /v1/track HT", head.as_str()] {
        let mut stream = tokio::net::TcpStream::connect(http.server.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{start:?} is still open");
    }
    assert_eq!(http.track(TA, viewed("a1")).await, ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_past_the_limit_are_closed() {
    use tokio::io::AsyncReadExt;
    let http = Http::of(Server::configured(|config| config.server.connections_max = 2).await);
    let first = http.server.app("a1").await;
    let second = http.server.app("a2").await;
    let mut third = tokio::net::TcpStream::connect(http.server.address).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), third.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    first.cut();
    second.cut();
    for _ in 0..50 {
        if http.post("/v1/track", TA, &viewed("a1")).send().await.is_ok_and(|answer| answer.status() == 204) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the slots do not come back");
}
