//! The rules that hold for definitions of every kind.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{TA, TS};
use crate::rig::{Api, counting};

/// Something valid of every kind: where it is, what to send, and by which names it is found.
fn samples() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let title = json!([{"channels": ["web"], "type": "text", "name": "title", "value": "x", "sourceKey": "", "sourceType": ""}]);
    let page = json!([{"id": "a", "name": "a", "properties": {"key": "a", "type": "string", "isRequired": false}}]);
    vec![
        ("channels", json!({"name": "Kiosk", "key": "kiosk"}), &["kiosk", "Kiosk"]),
        ("events", json!({"name": "Bell Rung", "description": "", "structure": page}), &["Bell%20Rung"]),
        ("contexts", json!({"channel": "app", "structure": page}), &["app"]),
        ("computed-traits", counting("visits", "Page Viewed"), &["visits"]),
        (
            "audiences",
            json!({"name": "All of them", "includeAnonymous": true, "events": [], "traits": []}),
            &["all-of-them", "All%20of%20them"],
        ),
        ("action-types", json!({"name": "popup", "properties": title}), &["popup"]),
        (
            "actions",
            json!({"name": "Greet", "type": "notification", "state": "inactive", "tags": ["a"], "properties": title,
                   "targeting": {"channels": ["web"], "audiences": [], "traitConditions": [], "contextConditions": []}}),
            &["Greet"],
        ),
        (
            "rules",
            json!({"name": "Big spender", "key": "big", "eventId": "Checkout Started", "conditions": [], "metric": {"sum": "total"},
                   "operator": "greater_than_or_equal", "threshold": 500, "fire": "once", "onUnmet": "keep",
                   "then": [{"type": "set_attribute", "key": "department", "value": "vip"}]}),
            &["big", "Big%20spender"],
        ),
        (
            "goals",
            json!({"name": "Purchase", "key": "purchase", "eventId": "Checkout Started", "conditions": [],
                   "value": {"property": "total"}, "currency": "EUR", "lookback": {"amount": 7, "unit": "days"},
                   "model": "last_touch", "touches": ["accepted"], "channels": [], "actions": [], "dedupe": "every"}),
            &["purchase"],
        ),
        (
            "budgets",
            json!({"name": "Calm", "key": "calm", "tags": ["home"], "channels": ["web"], "event": "shown", "count": 3,
                   "within": 1, "withinUnit": "days"}),
            &["calm"],
        ),
        (
            "experiments",
            json!({"name": "Headline", "key": "headline", "actions": ["Hello"], "holdout": 10, "state": "running", "goal": "sales",
                   "variants": [{"key": "a", "name": "A", "weight": 1}, {"key": "b", "name": "B", "weight": 1}]}),
            &["headline"],
        ),
    ]
}

/// A server that knows a goal, for the experiments.
async fn start() -> Api {
    let api = Api::start().await;
    let sales = json!({"name": "Sales", "key": "sales", "eventId": "Checkout Started", "conditions": [],
        "lookback": {"amount": 7, "unit": "days"}, "model": "last_touch", "touches": ["accepted"], "dedupe": "every"});
    api.post("/api/v1/goals", &sales).await.expect(201);
    api
}

/// P-1, P-4: made, found, read, listed, sent back, patched, removed; and gone then.
#[tokio::test(flavor = "multi_thread")]
async fn p1_p4_every_kind_has_the_same_life() {
    let api = start().await;
    for (kind, body, names) in samples() {
        let path = format!("/api/v1/{kind}");
        let before = api.get(&path).await.expect(200).body["total"].as_u64().unwrap();
        let made = api.post(&path, &body).await.expect(201);
        let one = format!("{path}/{}", made.id());
        assert_eq!(made.header("location"), one);
        let got = api.get(&one).await.expect(200);
        assert_eq!((&got.body["name"], got.header("content-type")), (&made.body["name"], "application/json"), "{kind}");
        for name in names {
            assert_eq!(api.get(&format!("{path}/{name}")).await.expect(200).body["id"], got.body["id"], "{kind} {name}");
        }
        for field in body.as_object().unwrap().keys().filter(|field| *field != "description") {
            assert!(got.body.get(field).is_some(), "{kind} has no {field}: {}", got.body);
        }
        assert!(got.body["createdAt"].is_string() && got.body["updatedAt"].is_string(), "{}", got.body);
        let listed = api.get(&path).await.expect(200);
        assert_eq!(listed.body["total"].as_u64(), Some(before + 1), "{kind}");
        let row = listed.body["data"].as_array().unwrap().iter().find(|row| row["id"] == got.body["id"]);
        assert_eq!(row.map(|row| &row["version"]), Some(&got.body["version"]), "{kind}");

        // What is shown can be sent back, and changes nothing.
        let same = api.put(&one, &got.body).await.expect(200);
        assert_eq!((revision(&same.body), &same.body["updatedAt"]), (revision(&got.body), &got.body["updatedAt"]), "{kind}");
        let patched = api
            .call(Method::PATCH, &one, &[("if-match", &same.etag())], Some(json!({"description": "why"}).to_string()))
            .await
            .expect(200);
        assert_eq!((revision(&patched.body), &patched.body["description"]), (revision(&got.body) + 1, &json!("why")), "{kind}");
        let put = api.call(Method::PUT, &one, &[("if-match", &patched.etag())], Some(body.to_string())).await.expect(200);
        assert!(put.body.get("description").is_none() && revision(&put.body) == revision(&got.body) + 2, "{kind}: {}", put.body);

        assert_eq!(api.delete(&one).await.expect(204).body, Value::Null, "{kind}");
        let code = format!("{}_not_found", kind.trim_end_matches('s').replace('-', "_"));
        if kind != "action-types" {
            assert_eq!(api.get(&one).await.problem(), (404, code.as_str()));
            assert_eq!(api.put(&one, &body).await.problem(), (404, code.as_str()));
        }
        assert_eq!(api.delete(&one).await.problem(), (404, code.as_str()));
        let patch = api.call(Method::PATCH, &one, &[("if-match", "*")], Some("{}".into())).await;
        match kind {
            // Archived, it can still be read and changed by its id, and stays archived.
            "action-types" => assert_eq!((patch.status, &patch.body["isArchived"]), (200, &json!(true))),
            _ => assert_eq!(patch.problem(), (404, code.as_str())),
        }
        assert_eq!(api.get(&path).await.body["total"].as_u64(), Some(before), "{kind}");
    }
}

/// The revision of an object: of an action type's version it stands beside the version.
fn revision(body: &Value) -> u64 {
    body.get("revision").unwrap_or(&body["version"]).as_u64().unwrap()
}

/// P-1, P-2: who may not, what is not JSON, what is too long, what does not exist: problem documents all.
#[tokio::test(flavor = "multi_thread")]
async fn p2_errors_are_problem_documents() {
    let api = start().await;
    for (kind, body, _) in samples() {
        let path = format!("/api/v1/{kind}");
        let text = || Some(body.to_string());
        for (token, expect) in [
            ("Bearer nobody".to_owned(), (401, "unauthorized")),
            ("Basic eA==".to_owned(), (401, "unauthorized")),
            (format!("Bearer {TA}"), (403, "forbidden")),
            (format!("Bearer {TS}"), (403, "forbidden")),
        ] {
            let auth = [("authorization", token.as_str()), ("if-match", "*")];
            let one = format!("{path}/x");
            for (method, path) in [
                (Method::GET, &path),
                (Method::POST, &path),
                (Method::GET, &one),
                (Method::PUT, &one),
                (Method::PATCH, &one),
                (Method::DELETE, &one),
            ] {
                assert_eq!(api.call(method.clone(), path, &auth, text()).await.problem(), expect, "{method} {path}");
            }
        }
        assert_eq!(api.call(Method::POST, &path, &[], Some("{".into())).await.problem(), (400, "invalid_json"));
        assert_eq!(api.call(Method::POST, &path, &[], None).await.problem(), (400, "invalid_json"));
        let form = [("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(api.call(Method::POST, &path, &form, text()).await.problem(), (415, "unsupported_media_type"));
        let long = Some(format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20)));
        assert_eq!(api.call(Method::POST, &path, &[], long).await.problem(), (413, "payload_too_large"));
        for wrong in [json!([]), json!("x"), json!(null)] {
            assert_eq!(api.post(&path, &wrong).await.problem(), (422, "definition_invalid"), "{kind} {wrong}");
        }
        assert_eq!(api.call(Method::DELETE, &path, &[], None).await.problem(), (405, "method_not_allowed"));
        for query in ["limit=0", "limit=201", "limit=x", "cursor=x"] {
            assert_eq!(api.get(&format!("{path}?{query}")).await.problem(), (400, "invalid_query"), "{query}");
        }
    }
    assert_eq!(api.get("/api/v1/nothing").await.problem(), (404, "not_found"));
    let json = [("content-type", "application/json; charset=utf-8")];
    let body = Some(counting("plain", "Page Viewed").to_string());
    assert_eq!(api.call(Method::POST, "/api/v1/computed-traits", &json, body).await.status, 201);
}

/// P-5: whoever has the name or key is named, and nothing is changed.
#[tokio::test(flavor = "multi_thread")]
async fn p5_duplicates_are_refused() {
    let api = start().await;
    for (kind, body, _) in samples() {
        let path = format!("/api/v1/{kind}");
        let made = api.post(&path, &body).await.expect(201);
        let again = api.post(&path, &body).await;
        match kind {
            // Names of actions are for people; a version of a type follows the one before.
            "actions" => {
                let again = again.expect(201);
                assert_ne!(again.id(), made.id());
                assert_eq!(api.get(&format!("{path}/{}", made.id())).await.expect(200).body["name"], body["name"]);
            }
            "action-types" => assert_eq!(again.expect(201).body["version"], 2),
            _ => {
                let (status, code) = again.problem();
                assert!(status == 409 && (code.ends_with("_taken") || code == "context_exists"), "{kind}: {code}");
                let pointer = again.body["errors"][0]["pointer"].as_str().unwrap();
                assert!(body.get(&pointer[1..]).is_some(), "{kind}: {pointer}");
            }
        }
        let mut same_id = body.clone();
        same_id["id"] = made.body["id"].clone();
        assert_eq!(api.post(&path, &same_id).await.status, 409, "{kind}");
        let now = api.get(&format!("{path}/{}", made.id())).await.expect(200);
        assert_eq!(revision(&now.body), 1, "{kind} was changed");
    }
    let shouted = json!({"name": "PAGE VIEWED", "description": "", "structure": []});
    assert_eq!(api.post("/api/v1/events", &shouted).await.problem(), (409, "event_name_taken"));
    let other_key = json!({"name": "All of them", "key": "other", "includeAnonymous": true, "events": [], "traits": []});
    assert_eq!(api.post("/api/v1/audiences", &other_key).await.problem(), (409, "name_taken"));
    // By a rename as well.
    let renamed = json!({"name": "Page Viewed", "description": "", "structure": []});
    assert_eq!(api.put("/api/v1/events/Bell%20Rung", &renamed).await.problem(), (409, "event_name_taken"));
}

/// P-8: of two edits that saw the same, one succeeds. What was not seen is not overwritten or removed.
#[tokio::test(flavor = "multi_thread")]
async fn p8_a_write_must_have_seen_the_newest() {
    let api = start().await;
    for (kind, body, _) in samples() {
        let path = format!("/api/v1/{kind}");
        let made = api.post(&path, &body).await.expect(201);
        let one = format!("{path}/{}", made.id());
        let text = || Some(body.to_string());
        for (method, body) in [(Method::PUT, text()), (Method::PATCH, text()), (Method::DELETE, None)] {
            assert_eq!(
                api.call(method.clone(), &one, &[], body.clone()).await.problem(),
                (428, "precondition_required"),
                "{kind}"
            );
            for stale in ["\"0\"", "\"99-00000000\"", &format!("W/{}", made.etag()), "x"] {
                let answer = api.call(method.clone(), &one, &[("if-match", stale)], body.clone()).await;
                assert_eq!(answer.problem(), (412, "precondition_failed"), "{kind} {method} {stale}");
            }
        }
        let etag = made.etag();
        let edit = async |text: &str| {
            let body = json!({"description": text}).to_string();
            api.call(Method::PATCH, &one, &[("if-match", &etag)], Some(body)).await.status
        };
        let mut both = [tokio::join!(edit("a"), edit("b"))].map(|(a, b)| [a, b])[0];
        both.sort_unstable();
        assert_eq!(both, [200, 412], "{kind}");
        let plain = format!("\"{}\"", made.body.get("revision").unwrap_or(&made.body["version"]).as_u64().unwrap() + 1);
        assert_eq!(api.call(Method::DELETE, &one, &[("if-match", &plain)], None).await.status, 204, "{kind}");
    }
}

/// A definition that comes back under an id that was there before counts on: an old tag never fits it.
#[tokio::test(flavor = "multi_thread")]
async fn tags_of_what_is_gone_stay_stale() {
    let api = start().await;
    let path = "/api/v1/computed-traits";
    let first = api.post(path, &counting("visits", "Page Viewed")).await.expect(201);
    api.delete(&format!("{path}/visits")).await.expect(204);
    let second = api.post(path, &counting("visits", "Checkout Started")).await.expect(201);
    assert_eq!(first.id(), second.id());
    let answer = api.call(Method::DELETE, &format!("{path}/visits"), &[("if-match", &first.etag())], None).await;
    assert_eq!(answer.problem(), (412, "precondition_failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_have_it_hear_so() {
    let api = start().await;
    api.ingest("track", viewed_by("a1")).await;
    for path in [
        "/api/v1/audiences/all-of-them",
        "/api/v1/audiences",
        "/api/v1/events/Page%20Viewed",
        "/api/v1/events/Page%20Viewed/properties",
        "/api/v1/organization",
        "/api/v1/custom-traits",
    ] {
        if path.ends_with("all-of-them") {
            let body = json!({"name": "All of them", "includeAnonymous": true, "events": [], "traits": []});
            api.post("/api/v1/audiences", &body).await.expect(201);
            api.live(path).await;
        }
        let first = api.get(path).await.expect(200);
        let again = api.call(Method::GET, path, &[("if-none-match", &first.etag())], None).await;
        assert_eq!((again.status, again.etag(), again.body), (304, first.etag(), Value::Null), "{path}");
    }
    // A live number is part of what is read.
    let first = api.get("/api/v1/audiences/all-of-them").await.expect(200);
    api.ingest("track", viewed_by("a2")).await;
    let again = api.call(Method::GET, "/api/v1/audiences/all-of-them", &[("if-none-match", &first.etag())], None).await;
    assert_eq!((again.status, again.body["profileCount"].as_u64()), (200, Some(2)));
    // And no part of what a write must have seen.
    let edit = json!({"description": "everybody"}).to_string();
    let patched = api.call(Method::PATCH, "/api/v1/audiences/all-of-them", &[("if-match", &first.etag())], Some(edit)).await;
    assert_eq!(patched.status, 200, "{}", patched.body);
}

fn viewed_by(user: &str) -> Value {
    crate::rig::viewed(user)
}

/// P-9: a POST that comes again has one effect.
#[tokio::test(flavor = "multi_thread")]
async fn p9_a_repeated_post_has_one_effect() {
    let api = start().await;
    for (kind, body, _) in samples() {
        let path = format!("/api/v1/{kind}");
        let key = [("idempotency-key", "once")];
        let first = api.call(Method::POST, &path, &key, Some(body.to_string())).await.expect(201);
        let again = api.call(Method::POST, &path, &key, Some(body.to_string())).await.expect(201);
        assert_eq!((&first.body, first.etag(), first.header("location")), (&again.body, again.etag(), again.header("location")));
        let other = Some(json!({"name": "other"}).to_string());
        assert_eq!(api.call(Method::POST, &path, &key, other).await.problem(), (422, "idempotency_key_reused"), "{kind}");
    }
    let long = "x".repeat(256);
    for key in ["", long.as_str()] {
        let answer = api.call(Method::POST, "/api/v1/events", &[("idempotency-key", key)], Some("{}".into())).await;
        assert_eq!(answer.problem(), (400, "invalid_header"));
    }
    // What was refused may be mended under its key.
    let key = [("idempotency-key", "mended")];
    let path = "/api/v1/computed-traits";
    let wrong = counting("mended", "Nowhere").to_string();
    assert_eq!(api.call(Method::POST, path, &key, Some(wrong)).await.problem().0, 422);
    api.call(Method::POST, path, &key, Some(counting("mended", "Page Viewed").to_string())).await.expect(201);
    // At the same time: one of them makes it, the others hear of it or that it is being made.
    let action = samples().into_iter().find(|(kind, ..)| *kind == "actions").unwrap().1.to_string();
    let before = api.get("/api/v1/actions").await.body["total"].as_u64().unwrap();
    let key = [("idempotency-key", "together")];
    let calls = (0..8).map(|_| api.call(Method::POST, "/api/v1/actions", &key, Some(action.clone())));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|a| a.status == 201 || a.problem() == (409, "idempotency_key_busy")), "{answers:?}");
    assert_eq!(api.get("/api/v1/actions").await.body["total"].as_u64(), Some(before + 1));
}

/// P-10: pages hold each row once, whatever is made meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn p10_paging_is_stable() {
    let api = start().await;
    let path = "/api/v1/computed-traits";
    for i in 0..25 {
        api.post(path, &counting(&format!("Paged{i}"), "Page Viewed")).await.expect(201);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = api.get(&format!("{path}?q=pAGED&limit=7{cursor}")).await.expect(200).body;
        assert_eq!(page["total"].as_u64(), Some(25 + pages), "{page}");
        seen.extend(page["data"].as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()));
        pages += 1;
        api.post(path, &counting(&format!("Paged late {pages}"), "Page Viewed")).await.expect(201);
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expect: Vec<String> = (0..25).map(|i| format!("Paged{i}")).collect();
    assert_eq!(&seen[..25], &expect[..]);
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "{seen:?}");
    // P-3: nothing found is an empty list.
    let none = api.get(&format!("{path}?q=nothing-like-it")).await.expect(200).body;
    assert_eq!(none, json!({"data": [], "nextCursor": null, "total": 0}));
}

/// What cannot be read is told as a problem document too, and every field of a question that is wrong by its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_is_told_so() {
    let api = Api::start().await;
    for path in ["/api/v1/actions/%ff", "/api/v1/audiences/%C3/members", "/api/v1/nothing/%fe"] {
        assert_eq!(api.get(path).await.problem(), (400, "invalid_path"), "{path}");
    }
    for path in ["/api/v1/actions/%C3%A9", "/api/v1/actions/%zz%"] {
        assert_eq!(api.get(path).await.problem(), (404, "action_not_found"), "{path}");
    }
    let dry_run = json!({"days": "x", "limit": -1, "a/b": 1});
    let told = api.post("/api/v1/audiences/dry-run", &dry_run).await;
    assert_eq!(told.errors(), "/a~1b unknown_field\n/days definition_invalid\n/limit definition_invalid\n definition_invalid\n");
    let simulation = |given: Value| json!({"channel": "web", "customTraits": given});
    let told = api.post("/api/v1/actions/simulate", &simulation(json!(7))).await;
    assert_eq!(told.errors(), "/customTraits traits_invalid\n");
    let told = api.post("/api/v1/actions/simulate", &simulation(json!({"no/thing": 1, "x.y": 1}))).await;
    assert_eq!(told.errors(), "/customTraits/no~1thing traits_invalid\n/customTraits/x.y traits_invalid\n");
}
