//! However the definitions came about, everyone is as if they had been there from the start.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{ADMIN, TA};
use crate::dice::Dice;
use crate::rig::{Api, at_least, counting};

/// A server's token for web that may bring history.
const IMPORT: &str = "ls_sk_import";

/// How long ago the times of one run begin. They are half an hour past whole hours before now, so that none
/// is near the edge of a window while a run is compared.
const HOURS: i64 = 84;

fn catalog() -> Value {
    let property = |key: &str, kind: &str| json!({"id": key, "name": key, "properties": {"key": key, "type": kind}});
    json!({
        "organization": {"name": "Cold", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
        "tokens": [{"token": TA, "channel": "app", "kind": "public"}, {"token": ADMIN, "kind": "admin"},
                   {"token": IMPORT, "channel": "web", "kind": "secret", "import": true}],
        "events": [
            {"name": "View", "description": "", "structure": [property("product", "string"), property("price", "float")]},
            {"name": "Cart", "description": "", "structure": [property("product", "string")]},
            {"name": "Buy", "description": "", "structure": [property("product", "string"), property("amount", "float")]}],
        "customTraits": {"structure": [property("age", "integer"), property("favourite", "string")]},
    })
}

/// What is sent while the definitions change.
#[derive(Debug)]
struct Input {
    path: &'static str,
    body: Value,
}

fn input(dice: &mut Dice, at: i64, origin: i64) -> Input {
    // Mostly in order, sometimes late by up to a day; never at a time that an earlier input had.
    let late = if dice.roll(4) == 0 { dice.roll(24) } else { 0 };
    let hour = (at / 4 - i64::try_from(late).expect("small")).clamp(0, HOURS - 12);
    let t = origin + hour * 3_600_000 + 1_800_000 + at % 600_000;
    let timestamp = jiff::Timestamp::from_millisecond(t).expect("a time").to_string();
    let user = format!("u{}", dice.roll(10));
    let product = ["a", "b", "c"][dice.roll(3)];
    if dice.roll(8) == 0 {
        let mut body = json!({"userId": user, "type": "user_id", "isAnonymous": dice.roll(2) == 0, "timestamp": timestamp,
            "traits": {"age": dice.roll(40), "favourite": product}});
        if dice.roll(4) == 0 {
            body["previousUserId"] = format!("u{}", dice.roll(10)).into();
        }
        return Input { path: "identify", body };
    }
    let (event, properties) = match dice.roll(5) {
        0 | 1 => ("View", json!({"product": product, "price": dice.roll(50)})),
        2 | 3 => ("Cart", json!({"product": product})),
        _ => ("Buy", json!({"product": product, "amount": dice.roll(100)})),
    };
    Input { path: "track", body: json!({"userId": user, "event": event, "properties": properties, "timestamp": timestamp}) }
}

/// A computed trait, one of many.
fn some_trait(dice: &mut Dice, key: &str) -> Value {
    let event = ["View", "Cart", "Buy"][dice.roll(3)];
    let mut body = match dice.roll(6) {
        0 => counting(key, event),
        1 => json!({"type": "aggregation", "eventId": "View", "properties": {
            "property": "price", "type": "float", "aggregationType": (["sum", "avg", "min", "max"][dice.roll(4)])}}),
        2 => json!({"type": "unique_list", "eventId": event, "properties": {"property": "product", "type": "string"}}),
        3 => json!({"type": "last_event", "eventId": event, "properties": {"property": "product", "type": "string"}}),
        4 => {
            json!({"type": "most_frequent", "eventId": event, "properties": {"property": "product", "type": "string", "minFrequency": 2}})
        }
        _ => json!({"type": "first_event", "eventId": event, "properties": {"property": "product", "type": "string"}}),
    };
    adjust_trait(dice, &mut body);
    body["name"] = key.into();
    body["key"] = key.into();
    body
}

/// What may change about a trait: its condition and its window.
fn adjust_trait(dice: &mut Dice, body: &mut Value) {
    let product = ["a", "b", "c"][dice.roll(3)];
    body["conditions"] = match dice.roll(3) {
        0 => json!([{"property": "product", "type": "string", "operator": "equals", "value": product}]),
        _ => json!([]),
    };
    match dice.roll(3) {
        0 => body["properties"]["window"] = json!({"amount": 1 + dice.roll(3), "unit": "days"}),
        _ => drop(body["properties"].as_object_mut().expect("properties").remove("window")),
    }
}

/// An audience, one of many. `traits` are keys of traits that count.
fn some_audience(dice: &mut Dice, key: &str, counts: &[String]) -> Value {
    let step = |event: &str, id: u8, parent: Option<u8>| {
        let uuid = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02}");
        json!({"id": event, "internalId": uuid(id), "parentId": parent.map(uuid), "exclude": false, "operator": "more_or_exactly", "count": 1})
    };
    let mut body = match dice.roll(5) {
        0 => {
            let mut events = vec![step("View", 1, None), step("Cart", 2, Some(1)), step("Buy", 3, Some(2))];
            events.truncate(2 + dice.roll(2));
            json!({"events": events, "traits": []})
        }
        1 => {
            let mut left = step("Buy", 2, Some(1));
            left["exclude"] = true.into();
            json!({"events": [step("Cart", 1, None), left], "traits": []})
        }
        2 => {
            let mut events = step(["View", "Cart"][dice.roll(2)], 1, None);
            events["count"] = (1 + dice.roll(3)).into();
            events["operator"] = ["exactly", "less_than", "more_or_exactly"][dice.roll(3)].into();
            events["timeWindowOperator"] = "within".into();
            events["timeWindowStart"] = (1 + dice.roll(3)).into();
            if dice.roll(3) == 0 {
                // Compared with what was known of the person just before the event.
                events["properties"] = json!([{"key": "product", "dataType": "string", "operator": "equals",
                    "target": "custom_trait", "traitKey": "favourite"}]);
            }
            json!({"events": [events], "traits": []})
        }
        3 if !counts.is_empty() => {
            at_least(key, &counts[dice.roll(counts.len())], 1 + u32::try_from(dice.roll(3)).expect("small"))
        }
        _ => json!({"events": [], "traits": [{"source": "custom", "key": "age", "dataType": "integer",
            "operator": "greater_than", "target": "static", "value": (dice.roll(40)).to_string()}]}),
    };
    body["name"] = key.into();
    body["key"] = key.into();
    body["includeAnonymous"] = (dice.roll(3) > 0).into();
    body
}

/// Makes, edits or removes a definition; what is refused is refused as it should be.
async fn edit(dice: &mut Dice, api: &Api, turn: usize) {
    let listed = async |kind: &str| api.get(&format!("/api/v1/{kind}?limit=200")).await.expect(200).body["data"].take();
    let (traits, audiences) = (listed("computed-traits").await, listed("audiences").await);
    let rows = |list: &Value| list.as_array().expect("rows").clone();
    let (traits, audiences) = (rows(&traits), rows(&audiences));
    let pick = |dice: &mut Dice, list: &[Value]| (!list.is_empty()).then(|| list[dice.roll(list.len())].clone());
    let counts: Vec<String> = traits
        .iter()
        .filter(|row| row["type"] == "count_events")
        .map(|row| row["key"].as_str().expect("a key").to_owned())
        .collect();
    match dice.roll(8) {
        0..=2 => drop(api.post("/api/v1/computed-traits", &some_trait(dice, &format!("t{turn}"))).await.expect(201)),
        3 => drop(api.post("/api/v1/audiences", &some_audience(dice, &format!("a{turn}"), &counts)).await.expect(201)),
        4 | 5 => {
            let Some(mut row) = pick(dice, &traits) else { return };
            adjust_trait(dice, &mut row);
            api.put(&format!("/api/v1/computed-traits/{}", row["id"].as_str().expect("an id")), &row).await.expect(200);
        }
        6 => {
            let Some(row) = pick(dice, &audiences) else { return };
            let mut other = some_audience(dice, row["key"].as_str().expect("a key"), &counts);
            other["name"] = row["name"].clone();
            let answer = api.put(&format!("/api/v1/audiences/{}", row["id"].as_str().expect("an id")), &other).await;
            // From counts to a chain or back is the one thing that an audience does not do.
            assert!(answer.status == 200 || answer.errors() == "/type immutable\n", "{}", answer.body);
        }
        _ => {
            let (kind, list) = if dice.roll(2) == 0 { ("computed-traits", &traits) } else { ("audiences", &audiences) };
            let Some(row) = pick(dice, list) else { return };
            let path = format!("/api/v1/{kind}/{}", row["id"].as_str().expect("an id"));
            let answer = api.delete(&path).await;
            assert!(answer.status == 204 || answer.problem() == (409, "in_use"), "{}", answer.body);
            if answer.status == 409 && dice.roll(2) == 0 {
                for user in answer.body["dependents"].as_array().expect("dependents") {
                    api.delete(&format!("/api/v1/audiences/{}", user["id"].as_str().expect("an id"))).await.expect(204);
                }
                api.delete(&path).await.expect(204);
            }
        }
    }
}

/// What everyone is, by user id: everything that follows from the log, nothing that follows from when it
/// was looked at.
async fn everyone(api: &Api) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for user in (0..10).map(|i| format!("u{i}")) {
        let found = api.get(&format!("/api/v1/profiles?userId={user}")).await.expect(200).body;
        let Some(profile) = found["data"].get(0) else { continue };
        let mut audiences: Vec<&str> =
            profile["audiences"].as_array().unwrap().iter().map(|a| a["key"].as_str().unwrap()).collect();
        audiences.sort_unstable();
        let mut funnels: Vec<String> =
            profile["funnels"].as_array().unwrap().iter().map(|f| format!("{} {}", f["key"], f["step"])).collect();
        funnels.sort_unstable();
        let mut ids: Vec<String> = profile["identities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| format!("{} {} {}", i["channel"], i["userId"], i["isAnonymous"]))
            .collect();
        ids.sort_unstable();
        let facts = json!({"computed": profile["computedTraits"], "custom": profile["customTraits"], "events": profile["eventCount"],
            "audiences": audiences, "funnels": funnels, "ids": ids});
        all.insert(user, facts);
    }
    all
}

async fn counts(api: &Api) -> BTreeMap<String, u64> {
    let rows = api.get("/api/v1/audiences?limit=200").await.expect(200).body["data"].take();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| (row["key"].as_str().unwrap().to_owned(), row["profileCount"].as_u64().unwrap()))
        .collect()
}

async fn live_equals_cold(seed: u64) {
    let mut dice = Dice(seed);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis()).expect("a time");
    let origin = now - HOURS * 3_600_000;
    let live = Api::with(&catalog()).await;
    let mut inputs = Vec::new();
    for turn in 0..280 {
        if dice.roll(4) == 0 {
            edit(&mut dice, &live, turn).await;
        }
        let input = input(&mut dice, i64::try_from(turn).expect("small"), origin);
        live.ingest_with(IMPORT, input.path, input.body.clone()).await;
        inputs.push(input);
    }
    live.settled().await;
    let mut document = live.server.engine.plan().catalog.to_document().to_json();
    document["tokens"] = catalog()["tokens"].clone();
    let cold = Api::with(&document).await;
    for input in &inputs {
        cold.ingest_with(IMPORT, input.path, input.body.clone()).await;
    }
    let (was, is) = (everyone(&live).await, everyone(&cold).await);
    for (user, facts) in &is {
        assert_eq!(was.get(user), Some(facts), "seed {seed}, {user}: live on the left, cold on the right");
    }
    assert_eq!(was.len(), is.len(), "seed {seed}");
    assert_eq!(counts(&live).await, counts(&cold).await, "seed {seed}");
    // And neither is anything but the fold of its log (T-58).
    for api in [&live, &cold] {
        for user in is.keys() {
            let id = api.profile(user).await["id"].as_str().unwrap().to_owned();
            let found = api.call(Method::POST, &format!("/api/v1/profiles/{id}/refresh"), &[], None).await.expect(200).body;
            assert_eq!(found["drift"], 0, "seed {seed}, {user}");
        }
    }
}

/// The result equals a cold start, after any edits in between.
#[tokio::test(flavor = "multi_thread")]
async fn live_edits_end_where_a_cold_start_ends() {
    futures_util::future::join_all((1..=6).map(live_equals_cold)).await;
}

/// A comparison with a trait reads it as of the event, also where the event arrives after a newer identify.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_event_is_compared_with_what_was_known_then() {
    let api = Api::with(&catalog()).await;
    let mut audience = json!({"name": "Fans", "key": "fans", "includeAnonymous": true, "traits": [], "events": [
        {"id": "Cart", "internalId": "00000000-0000-4000-8000-000000000001", "exclude": false, "operator": "more_or_exactly", "count": 1}]});
    audience["events"][0]["properties"] = json!([
        {"key": "product", "dataType": "string", "operator": "equals", "target": "custom_trait", "traitKey": "favourite"}]);
    api.post("/api/v1/audiences", &audience).await.expect(201);
    let now = jiff::Timestamp::now();
    let ago = |hours: i64| (now - jiff::SignedDuration::from_hours(hours)).to_string();
    for (hours, favourite) in [(50, "b"), (10, "a")] {
        let body = json!({"userId": "ada", "type": "user_id", "traits": {"favourite": favourite}, "timestamp": ago(hours)});
        api.ingest_with(IMPORT, "identify", body).await;
    }
    let body = json!({"userId": "ada", "event": "Cart", "properties": {"product": "b"}, "timestamp": ago(30)});
    api.ingest_with(IMPORT, "track", body).await;
    assert_eq!(api.profile("ada").await["audiences"][0]["key"], "fans");
    let found = api.call(Method::POST, "/api/v1/audiences/fans/refresh", &[], None).await.expect(200).body;
    assert_eq!(found["drift"], 0, "{found}");
}
