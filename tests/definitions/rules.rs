//! The rules of each kind: what may not change, what is in use, what is wrong with a definition.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::TA;
use crate::rig::{Api, at_least, counting, viewed};

/// All that is wrong is told at once, by its place in what was sent; nothing has changed then.
#[tokio::test(flavor = "multi_thread")]
async fn everything_wrong_is_told_with_its_place() {
    let api = Api::start().await;
    let version = api.server.engine.plan().version;
    let computed = json!({"name": "", "key": "k", "type": "count", "eventId": "Nowhere", "colour": 1,
        "conditions": [], "properties": {}});
    let answer = api.post("/api/v1/computed-traits", &computed).await;
    assert_eq!(answer.problem(), (422, "definition_invalid"));
    let errors = answer.errors();
    assert_eq!(errors, "/colour unknown_field\n/eventId event_not_found\n/name definition_invalid\n/type definition_invalid\n");
    let mut conditions = counting("k", "Page Viewed");
    conditions["conditions"] = json!([
        {"property": "page", "type": "string", "operator": "like", "value": "x"},
        {"any": [{"property": "pag", "type": "string", "operator": "equals", "value": "x"}, {"property": "page", "type": "integer", "operator": "equals", "value": "x"}]}]);
    let errors = api.post("/api/v1/computed-traits", &conditions).await.errors();
    for pointer in ["/conditions/0/operator ", "/conditions/1/any/0/property ", "/conditions/1/any/1/"] {
        assert!(errors.lines().any(|line| line.starts_with(pointer)), "{pointer} is missing in\n{errors}");
    }
    // T-13
    let condition = |value: &str| json!([{"property": "items", "type": "integer", "operator": "equals", "value": value}]);
    let mut count = counting("safe", "Checkout Started");
    count["conditions"] = condition("1 OR 1=1");
    assert_eq!(api.post("/api/v1/computed-traits", &count).await.errors(), "/conditions/0/value invalid_condition\n");
    let action = json!({"name": "A", "type": "notification", "state": "on", "properties": [], "targeting": {
        "channels": ["nowhere"], "audiences": ["nobody"], "traitConditions": [], "contextConditions": []}});
    let errors = api.post("/api/v1/actions", &action).await.errors();
    for line in
        ["/state definition_invalid", "/targeting/channels/0 channel_not_found", "/targeting/audiences/0 audience_not_found"]
    {
        assert!(errors.lines().any(|l| l == line), "{line} is missing in\n{errors}");
    }
    // P-15
    let node = |key: &str, pattern: &str| json!({"properties": {"key": key, "type": "string", "pattern": pattern}});
    let event = json!({"name": "E", "structure": [node("a", "("), node("a", "")]});
    let errors = api.post("/api/v1/events", &event).await.errors();
    assert!(errors.contains("/structure/0/properties/pattern ") && errors.contains("/structure/1/properties/key "), "{errors}");
    let mut deep = node("leaf", "");
    for _ in 0..8 {
        deep = json!({"properties": {"key": "inner", "type": "object"}, "children": [deep]});
    }
    assert_eq!(api.post("/api/v1/events", &json!({"name": "E", "structure": [deep]})).await.problem().0, 422);
    assert_eq!(api.put("/api/v1/events/Page%20Viewed", &event).await.problem().0, 422);
    let wrong_list = api.post("/api/v1/audiences", &json!({"name": "A", "events": 1, "traits": []})).await;
    assert_eq!(wrong_list.problem(), (422, "definition_invalid"));
    assert!(wrong_list.errors().contains("/events "), "{}", wrong_list.body);
    assert_eq!(api.server.engine.plan().version, version, "something was changed");
}

/// P-6, and what else is for ever.
#[tokio::test(flavor = "multi_thread")]
async fn p6_keys_and_ids_stay() {
    let api = Api::start().await;
    let answer = api.put("/api/v1/channels/web", &json!({"name": "Web", "key": "www"})).await;
    assert_eq!((answer.problem(), answer.errors().as_str()), ((422, "definition_invalid"), "/key channel_key_immutable\n"));
    let mut other = counting("views", "Page Viewed");
    other["id"] = "00000000-0000-4000-8000-000000000001".into();
    let answer = api.put("/api/v1/computed-traits/views", &other).await;
    assert_eq!((answer.problem().0, answer.errors().as_str()), (422, "/id immutable\n"));
    let mut sum = counting("views", "Checkout Started");
    sum["type"] = "aggregation".into();
    sum["properties"] = json!({"property": "total", "type": "float", "aggregationType": "sum"});
    assert_eq!(api.put("/api/v1/computed-traits/views", &sum).await.errors(), "/type immutable\n");
    let moved = api.put("/api/v1/contexts/web", &json!({"channel": "app", "structure": []})).await;
    assert_eq!(moved.errors(), "/channel immutable\n");
    // Conditions name a trait by its key: one that is named keeps it.
    let renamed = counting("looks", "Page Viewed");
    assert_eq!(api.put("/api/v1/computed-traits/views", &renamed).await.problem(), (409, "in_use"));
    api.post("/api/v1/computed-traits", &counting("free", "Page Viewed")).await.expect(201);
    assert_eq!(api.put("/api/v1/computed-traits/free", &renamed).await.expect(200).body["key"], "looks");
}

/// P-7: what is in use is not removed, and who uses it is told; afterwards it goes.
#[tokio::test(flavor = "multi_thread")]
async fn p7_what_is_in_use_stays() {
    let api = Api::start().await;
    api.post("/api/v1/audiences", &at_least("fans", "views", 3)).await.expect(201);
    let mut action = api.get("/api/v1/actions/Paused").await.expect(200).body;
    action["targeting"]["audiences"] = json!(["fans"]);
    action["targeting"]["traitConditions"] = json!([]);
    let paused = api.put("/api/v1/actions/Paused", &action).await.expect(200).id();
    let answer = api.delete("/api/v1/audiences/fans").await;
    assert_eq!(answer.problem(), (409, "in_use"));
    assert_eq!(answer.body["dependents"], json!([{"type": "action", "id": paused, "name": "Paused"}]));
    let answer = api.delete("/api/v1/computed-traits/views").await;
    assert_eq!(answer.problem(), (409, "in_use"));
    let users: Vec<String> = answer.body["dependents"].as_array().unwrap().iter().map(named).collect();
    assert_eq!(users, ["audience fans", "action Hello", "action Again", "action Third"]);
    let answer = api.delete("/api/v1/events/Page%20Viewed").await;
    assert_eq!(answer.body["dependents"].as_array().unwrap().iter().map(named).collect::<Vec<_>>(), ["computed-trait Views"]);
    let users: Vec<String> =
        api.delete("/api/v1/channels/app").await.body["dependents"].as_array().unwrap().iter().map(named).collect();
    assert!(users.contains(&"action-type banner".to_owned()) && users.iter().any(|user| user.starts_with("token ")), "{users:?}");
    // A property that is read stays too.
    let mut sum = counting("spent", "Checkout Started");
    sum["type"] = "aggregation".into();
    sum["properties"] = json!({"property": "total", "type": "float", "aggregationType": "sum"});
    api.post("/api/v1/computed-traits", &sum).await.expect(201);
    let without = json!({"name": "Checkout Started", "description": "", "structure": []});
    assert_eq!(api.put("/api/v1/events/Checkout%20Started", &without).await.problem(), (409, "in_use"));

    for path in ["actions/Paused", "actions/Hello", "actions/Again", "actions/Third", "audiences/fans", "computed-traits/views"] {
        api.delete(&format!("/api/v1/{path}")).await.expect(204);
    }
    api.delete("/api/v1/events/Page%20Viewed").await.expect(204);
}

fn named(user: &Value) -> String {
    format!("{} {}", user["type"].as_str().unwrap(), user["name"].as_str().unwrap())
}

/// P-18, P-19: versions of action types are given by the server; what is in use is not changed.
#[tokio::test(flavor = "multi_thread")]
async fn p18_p19_versions_of_action_types() {
    let api = Api::start().await;
    let path = "/api/v1/action-types";
    let body = |text: &str| {
        json!({"name": "popup", "version": 1, "properties": [
            {"channels": ["web"], "type": "text", "name": "title", "value": text, "sourceKey": "", "sourceType": ""}]})
    };
    let bodies: Vec<Value> = (0..50).map(|i| body(&i.to_string())).collect();
    let answers = futures_util::future::join_all(bodies.iter().map(|body| api.post(path, body))).await;
    let mut versions: Vec<u64> = answers.into_iter().map(|a| a.expect(201).body["version"].as_u64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<_>>());

    let in_use = api.get(&format!("{path}/notification")).await.expect(200);
    assert_eq!((&in_use.body["isInUse"], &in_use.body["isArchived"]), (&json!(true), &json!(false)));
    let mut changed = in_use.body.clone();
    changed["properties"] = json!([]);
    let answer = api.put(&format!("{path}/{}", in_use.id()), &changed).await;
    assert_eq!(answer.problem(), (409, "in_use"));
    assert_eq!(answer.body["dependents"].as_array().map(Vec::len), Some(3));
    api.put(&format!("{path}/{}", in_use.id()), &in_use.body).await.expect(200);

    // Archived as a whole; actions that have it are served on, new ones cannot have it by name.
    assert_eq!(api.get(&format!("{path}/exists/popup")).await.body, json!(true));
    api.delete(&format!("{path}/popup")).await.expect(204);
    assert_eq!(api.get(&format!("{path}?q=popup")).await.body["total"], 0);
    let archived = api.get(&format!("{path}?q=popup&archived=true")).await.body;
    assert_eq!((archived["total"].as_u64(), &archived["data"][0]["isArchived"]), (Some(50), &json!(true)));
    let by_id = format!("{path}/{}", archived["data"][0]["id"].as_str().unwrap());
    assert_eq!(api.get(&by_id).await.expect(200).body["isArchived"], true);
    assert_eq!(api.get(&format!("{path}/popup")).await.problem(), (404, "action_type_not_found"));
    // A new version of it brings back no old one.
    assert_eq!(api.post(path, &body("new")).await.expect(201).body["version"], 51);
    assert_eq!(api.get(&format!("{path}?q=popup")).await.body["total"], 1);
    let back = api.call(Method::POST, &format!("{path}/popup/unarchive"), &[], None).await.expect(200);
    assert_eq!((&back.body["version"], &back.body["isArchived"]), (&json!(51), &json!(false)));
    assert_eq!(api.get(&format!("{path}?q=popup")).await.body["total"], 51);
    api.delete(&format!("{path}/popup?version=7")).await.expect(204);
    assert_eq!(api.get(&format!("{path}?q=popup")).await.body["total"], 50);
    assert_eq!(api.delete(&format!("{path}/popup?version=7")).await.problem().0, 404);
    let none = api.call(Method::POST, &format!("{path}/none/unarchive"), &[], None).await;
    assert_eq!(none.problem(), (404, "action_type_not_found"));
}

/// T-73, P-21: a copy is a new action that runs nowhere; nothing counts against its caps.
#[tokio::test(flavor = "multi_thread")]
async fn t73_p21_a_copy_begins_at_zero() {
    let api = Api::start().await;
    let mut hello = api.get("/api/v1/actions/Hello").await.expect(200).body;
    hello["testUsers"] = json!([{"userId": "u1", "channels": ["web"], "description": "QA", "skipTargeting": true}]);
    hello["capping"] = json!([{"channels": [], "event": "shown", "group": "user", "count": 1, "within": 0},
                              {"channels": [], "event": "shown", "group": "all", "count": 1, "within": 0}]);
    let hello = api.put("/api/v1/actions/Hello", &hello).await.expect(200);
    let user = json!({"userId": "a1", "event": "Page Viewed", "properties": {"page": "/"}});
    api.ingest_with(TA, "track", user).await;
    let due = async || -> Vec<String> {
        let url = api.server.url("/v1/actions");
        let body = json!({"userId": "a1", "tags": ["top"]}).to_string();
        let answer = api.client.post(url).bearer_auth(TA).body(body).send().await.unwrap();
        let due: Vec<Value> = answer.json().await.unwrap();
        due.iter().map(|action| action["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(due().await, [hello.id()]);
    let show = json!({"userId": "a1", "actionId": hello.id(), "event": "show"}).to_string();
    let url = api.server.url("/v1/actions/act");
    assert!(api.client.post(url).bearer_auth(TA).body(show).send().await.unwrap().status().is_success());
    assert_eq!(due().await, [""; 0], "both caps are reached");

    let copy = api.call(Method::POST, &format!("/api/v1/actions/{}/duplicate", hello.id()), &[], None).await.expect(201);
    assert_ne!(copy.id(), hello.id());
    assert_eq!(copy.header("location"), format!("/api/v1/actions/{}", copy.id()));
    assert_eq!((&copy.body["name"], &copy.body["state"]), (&json!("Hello (copy)"), &json!("inactive")));
    assert!(copy.body.get("testUsers").is_none(), "{}", copy.body);
    for same in ["type", "tags", "properties", "targeting", "capping"] {
        assert_eq!(copy.body[same], hello.body[same], "{same}");
    }
    let with = api.call(Method::POST, "/api/v1/actions/Hello/duplicate?withTestUsers=true", &[], None).await.expect(201);
    assert_eq!(with.body["testUsers"], hello.body["testUsers"]);
    assert_eq!(due().await, [""; 0], "copies do not run");
    let state = format!("/api/v1/actions/{}/state", copy.id());
    assert_eq!(api.put(&state, &json!({"state": "active"})).await.expect(200).body["state"], "active");
    assert_eq!(due().await, [copy.id()], "nothing counts against the copy");
    assert_eq!(api.put(&state, &json!({"state": "on"})).await.errors(), "/state definition_invalid\n");
    assert_eq!(api.put(&state, &json!({})).await.problem().0, 422);
    let body = Some(json!({"state": "inactive"}).to_string());
    assert_eq!(api.call(Method::PUT, &state, &[], body).await.problem(), (428, "precondition_required"));
    assert_eq!(api.put(&state, &json!({"state": "inactive"})).await.expect(200).body["state"], "inactive");
    assert_eq!(due().await, [""; 0]);
    assert_eq!(api.call(Method::POST, "/api/v1/actions/none/duplicate", &[], None).await.problem().0, 404);
}

/// P-16, P-17: structures, their leaves and their versions.
#[tokio::test(flavor = "multi_thread")]
async fn p16_p17_structures_have_properties_and_versions() {
    let api = Api::start().await;
    let page = json!([{"key": "page", "type": "string"}]);
    assert_eq!(api.get("/api/v1/events/Page%20Viewed").await.body["properties"], page);
    assert_eq!(api.get("/api/v1/events?q=page").await.body["data"][0]["properties"], page);
    assert_eq!(api.get("/api/v1/events/Page%20Viewed/properties").await.body, page);
    let country = json!([{"key": "country", "type": "string"}]);
    let context = api.get("/api/v1/contexts/web").await.expect(200);
    for name in ["web".to_owned(), context.id()] {
        assert_eq!(api.get(&format!("/api/v1/contexts/{name}/properties")).await.body, country, "{name}");
    }
    // I-17: a structure that means something else is a new version; the old ones stay readable.
    let mut event = api.get("/api/v1/events/Page%20Viewed").await.body;
    assert_eq!(event["structureVersion"], 1);
    event["structure"].as_array_mut().unwrap().push(json!({"properties": {"key": "title", "type": "string"}}));
    assert_eq!(api.put("/api/v1/events/Page%20Viewed", &event).await.expect(200).body["structureVersion"], 2);
    let versions = api.get("/api/v1/events/Page%20Viewed/versions").await.expect(200).body;
    assert_eq!((versions["total"].as_u64(), versions["data"][0]["structure"].as_array().map(Vec::len)), (Some(2), Some(1)));
    api.ingest(
        "track",
        json!({"userId": "a", "event": "Page Viewed", "properties": {"page": "/", "title": "x"}, "context": {"country": "DE"}}),
    )
    .await;

    let custom = api.get("/api/v1/custom-traits").await.expect(200);
    assert_eq!(custom.body["properties"][0], json!({"key": "department", "type": "string"}));
    let mut more = custom.body.clone();
    more["structure"].as_array_mut().unwrap().push(json!({"properties": {"key": "vip", "type": "boolean"}}));
    let text = Some(more.to_string());
    assert_eq!(api.call(Method::PUT, "/api/v1/custom-traits", &[], text.clone()).await.problem().0, 428);
    let put = api.call(Method::PUT, "/api/v1/custom-traits", &[("if-match", &custom.etag())], text.clone()).await.expect(200);
    assert_eq!((&put.body["structureVersion"], put.body["properties"].as_array().map(Vec::len)), (&json!(2), Some(3)));
    assert_eq!(api.call(Method::PUT, "/api/v1/custom-traits", &[("if-match", &custom.etag())], text).await.problem().0, 412);
    assert_eq!(api.put("/api/v1/custom-traits", &json!({"structure": 1})).await.errors(), "/structure definition_invalid\n");

    let bare = Api::with(&json!({"tokens": [{"token": crate::common::ADMIN, "kind": "admin"}]})).await;
    let none = bare.get("/api/v1/custom-traits").await.expect(200).body;
    assert_eq!((&none["structure"], &none["properties"]), (&json!([]), &json!([])));
    assert_eq!(bare.get("/api/v1/custom-traits/properties").await.body, json!([]));
    assert_eq!(bare.get("/api/v1/organization").await.expect(200).body["timezone"], "UTC");
}

/// P-49: settings of the organisation; what is not named stays.
#[tokio::test(flavor = "multi_thread")]
async fn p49_the_organisation() {
    let api = Api::start().await;
    let path = "/api/v1/organization";
    let before = api.get(path).await.expect(200);
    assert_eq!((&before.body["name"], &before.body["timezone"]), (&json!("Test"), &json!("Europe/Berlin")));
    assert!(before.body["id"].is_string() && before.body.get("key").is_none());
    let wrong = api.put(path, &json!({"timezone": "Europe/Nowhere", "color": 1})).await;
    assert_eq!(wrong.problem(), (422, "definition_invalid"));
    assert_eq!(wrong.errors(), "/color unknown_field\n/timezone timezone_invalid\n");
    assert_eq!(api.call(Method::PUT, path, &[], Some("{}".into())).await.problem(), (428, "precondition_required"));
    let new = json!({"name": "Shop"}).to_string();
    let after = api.call(Method::PUT, path, &[("if-match", &before.etag())], Some(new.clone())).await.expect(200);
    assert_eq!((&after.body["name"], &after.body["timezone"]), (&json!("Shop"), &json!("Europe/Berlin")));
    assert_eq!(after.body["version"].as_u64(), before.body["version"].as_u64().map(|version| version + 1));
    assert_eq!(api.call(Method::PUT, path, &[("if-match", &before.etag())], Some(new)).await.problem().0, 412);
    api.put(path, &after.body).await.expect(200);
    api.ingest("track", viewed("a1")).await;
}
