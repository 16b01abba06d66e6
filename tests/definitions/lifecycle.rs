//! Definitions that come, change and go while events keep flowing.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::common::{Client, TA};
use crate::rig::{Api, at_least, check_building, counting, crowd, viewed};

/// Enough people for a sweep to be seen at work.
const CROWD: usize = 4000;

async fn crowded() -> Api {
    let api = Api::start().await;
    let engine = api.server.engine.clone();
    tokio::task::spawn_blocking(move || crowd(&engine, CROWD, 8)).await.expect("a crowd");
    api
}

fn computed(profile: &Value, key: &str) -> Option<u64> {
    profile["computedTraits"][key].as_u64()
}

/// T-31: a count over 1000 logged events while 10 more arrive is 1010, and never less once it is live.
#[tokio::test(flavor = "multi_thread")]
async fn t31_a_new_trait_misses_nothing_that_arrives_meanwhile() {
    let api = crowded().await;
    for _ in 0..1000 {
        api.ingest("track", viewed("ada")).await;
    }
    let path = "/api/v1/computed-traits/seen";
    let before = api.profile("ada").await;
    assert_eq!(computed(&before, "seen"), None);
    let made = api.post("/api/v1/computed-traits", &counting("seen", "Page Viewed")).await.expect(201);
    assert_eq!(made.body["state"]["name"], "building", "{}", made.body);
    check_building(&made.body["state"]);
    api.post("/api/v1/audiences", &at_least("regulars", "seen", 8)).await.expect(201);
    let mut last = 0;
    let mut check = |profile: &Value| {
        let seen = computed(profile, "seen").expect("a value from the first moment on");
        assert!(seen >= 1000.max(last), "{seen} after {last}");
        last = seen;
    };
    for _ in 0..10 {
        api.ingest("track", viewed("ada")).await;
        check(&api.profile("ada").await);
    }
    let live = api.live(path).await;
    assert_eq!(live["state"], json!({"name": "live"}));
    for _ in 0..20 {
        let profile = api.profile("ada").await;
        check(&profile);
        assert_eq!(computed(&profile, "seen"), Some(1010));
    }
    assert_eq!(computed(&api.profile("crowd7").await, "seen"), Some(8));
    assert_eq!(api.live("/api/v1/audiences/regulars").await["profileCount"].as_u64(), Some(CROWD as u64 + 1));
    let again = api.call(Method::POST, &format!("{path}/refresh"), &[], None).await.expect(200).body;
    assert_eq!((again["profiles"].as_u64(), again["drift"].as_u64()), (Some(CROWD as u64 + 1), Some(0)), "{again}");
}

/// T-32: an edited trait has its old value until the switch and the new one from then on; never none, and
/// never one between.
#[tokio::test(flavor = "multi_thread")]
async fn t32_an_edit_switches_at_once() {
    let api = crowded().await;
    api.ingest(
        "track",
        json!({"userId": "ada", "event": "Page Viewed", "properties": {"page": "/cart"}, "context": {"country": "DE"}}),
    )
    .await;
    for _ in 0..4 {
        api.ingest("track", viewed("ada")).await;
    }
    let path = "/api/v1/computed-traits/views";
    api.live(path).await;
    let mut narrow = counting("views", "Page Viewed");
    narrow["conditions"] = json!([{"property": "page", "type": "string", "operator": "equals", "value": "/cart"}]);
    let watched = ["ada", "crowd0", "crowd1999", "crowd3999"];
    let mut seen: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let edit = api.put(path, &narrow);
    tokio::pin!(edit);
    let mut version = None;
    loop {
        tokio::select! {
            biased;
            answer = &mut edit, if version.is_none() => version = Some(answer.expect(200).body["version"].clone()),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        for user in watched {
            let value = computed(&api.profile(user).await, "views").expect("a value at all times");
            let values = seen.entry(user).or_default();
            if values.last() != Some(&value) {
                values.push(value);
            }
        }
        let now = api.get(path).await.expect(200).body;
        if let Some(version) = &version {
            assert_eq!(now["version"], *version);
            if now["state"]["name"] == "live" {
                break;
            }
            assert_eq!(now["state"]["version"], *version, "{now}");
        }
    }
    for (user, values) in seen {
        let (old, new) = if user == "ada" { (5, 1) } else { (8, 0) };
        assert!(values == [old, new] || values == [new], "{user}: {values:?}");
    }
}

/// T-33: a removed trait is gone from everyone at once; one that is in use stays.
#[tokio::test(flavor = "multi_thread")]
async fn t33_a_removed_trait_is_gone() {
    let api = crowded().await;
    assert_eq!(api.delete("/api/v1/computed-traits/views").await.problem(), (409, "in_use"));
    api.post("/api/v1/computed-traits", &counting("seen", "Page Viewed")).await.expect(201);
    api.live("/api/v1/computed-traits/seen").await;
    assert_eq!(computed(&api.profile("crowd5").await, "seen"), Some(8));
    api.delete("/api/v1/computed-traits/seen").await.expect(204);
    for user in ["crowd0", "crowd5", "crowd3999"] {
        let profile = api.profile(user).await;
        assert_eq!((profile["computedTraits"].get("seen"), computed(&profile, "views")), (None, Some(8)));
    }
    api.settled().await;
    // Under the same key it begins anew, from the log.
    let mut again = counting("seen", "Page Viewed");
    again["conditions"] = json!([{"property": "page", "type": "string", "operator": "equals", "value": "/nothing"}]);
    api.post("/api/v1/computed-traits", &again).await.expect(201);
    assert_eq!(computed(&api.profile("crowd5").await, "seen"), Some(0));
}

async fn socket(api: &Api, user: &str) -> Client {
    let request = format!("ws://{}/v1/ws", api.server.address).into_client_request().expect("a URL");
    let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("the server lets sockets in");
    let mut client = Client { socket, selected: None };
    client.greet(json!({"token": TA, "anonymousId": user})).await;
    client.send(json!({"t": "subscribe", "id": "s1", "sub": "home", "tags": []})).await;
    client
}

/// Changes of definitions reach the people who are connected once and whole: what stays due is not taken
/// back, what becomes due comes with its cause.
#[tokio::test(flavor = "multi_thread")]
async fn connected_people_see_whole_changes_only() {
    let api = crowded().await;
    api.ingest_with(TA, "track", json!({"userId": "ada", "event": "Page Viewed", "properties": {"page": "/"}})).await;
    let mut ada = socket(&api, "ada").await;
    let subscribed = ada.frame_of("subscribed").await;
    let names: Vec<&str> =
        subscribed["actions"].as_array().unwrap().iter().map(|a| a["properties"]["title"].as_str().unwrap()).collect();
    assert_eq!(names, ["Hello"]);
    // The same value by another definition: folded anew, and nothing to say.
    let mut same = counting("views", "Page Viewed");
    same["properties"] = json!({"channels": ["web", "app"]});
    api.put("/api/v1/computed-traits/views", &same).await.expect(200);
    api.live("/api/v1/computed-traits/views").await;
    still_due(&mut ada, &subscribed["actions"][0]).await;
    // A new trait, and an action that needs it.
    api.post("/api/v1/computed-traits", &counting("seen", "Page Viewed")).await.expect(201);
    let mut action = api.get("/api/v1/actions/Hello").await.body;
    action["name"] = "Fresh".into();
    action["targeting"]["traitConditions"][0]["key"] = "seen".into();
    action["properties"][0]["value"] = "Fresh".into();
    action.as_object_mut().unwrap().remove("id");
    let fresh = api.post("/api/v1/actions", &action).await.expect(201).id();
    let pushed = ada.frame_of("action").await;
    assert_eq!((&pushed["action"]["id"], &pushed["cause"]), (&json!(fresh), &json!("config")), "{pushed}");
    // An edit by which it is not due any more.
    let mut none = counting("seen", "Checkout Started");
    none["name"] = "Seen".into();
    api.put("/api/v1/computed-traits/seen", &none).await.expect(200);
    let revoked = ada.frame_of("action_revoked").await;
    assert_eq!(revoked["actionId"], json!(fresh), "{revoked}");
    api.live("/api/v1/computed-traits/seen").await;
    still_due(&mut ada, &subscribed["actions"][0]).await;
}

/// Until it is quiet, nothing comes but what is due already, with the delivery that it has.
async fn still_due(client: &mut Client, due: &Value) {
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(300), client.frame()).await {
        let action = &frame["action"];
        if !matches!(frame["t"].as_str(), Some("action" | "action_revoked")) {
            continue;
        }
        let same =
            frame["t"] == "action" && action["deliveryId"] == due["deliveryId"] && action["properties"] == due["properties"];
        assert!(same, "{frame}");
    }
}

/// T-57: an action whose audience was removed by force matches nobody; conditions on a trait that was
/// removed by force see it as absent.
#[tokio::test(flavor = "multi_thread")]
async fn t57_what_was_removed_by_force_is_absent() {
    let api = Api::start().await;
    let views = json!({"userId": "ada", "event": "Page Viewed", "properties": {"page": "/"}});
    for _ in 0..3 {
        api.ingest_with(TA, "track", views.clone()).await;
    }
    api.post("/api/v1/audiences", &at_least("fans", "views", 3)).await.expect(201);
    let without = json!({"name": "No views", "includeAnonymous": true, "events": [], "traits": [
        {"source": "computed", "key": "views", "dataType": "integer", "operator": "not_exists"}]});
    api.post("/api/v1/audiences", &without).await.expect(201);
    let mut third = api.get("/api/v1/actions/Third").await.body;
    third["targeting"]["traitConditions"] = json!([]);
    third["targeting"]["audiences"] = json!(["fans"]);
    api.put("/api/v1/actions/Third", &third).await.expect(200);
    let due = async || -> Vec<String> {
        let url = api.server.url("/v1/actions");
        let answer = api.client.post(url).bearer_auth(TA).body(json!({"userId": "ada"}).to_string()).send().await.unwrap();
        let due: Vec<Value> = answer.json().await.unwrap();
        due.iter().map(|action| action["properties"]["title"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(due().await, ["Hello", "Again", "Third"]);
    let mut ada = socket(&api, "ada").await;
    ada.frame_of("subscribed").await;

    api.delete("/api/v1/audiences/fans?force=true").await.expect(204);
    assert_eq!(due().await, ["Hello", "Again"], "no restriction would match everybody");
    let revoked = ada.frame_of("action_revoked").await;
    assert_eq!(revoked["actionId"], third["id"], "{revoked}");
    // It may keep naming what is gone, and be mended.
    let kept = api.get("/api/v1/actions/Third").await.expect(200).body;
    api.put("/api/v1/actions/Third", &kept).await.expect(200);
    assert_eq!(due().await, ["Hello", "Again"]);

    api.live("/api/v1/audiences/no-views").await;
    assert_eq!(api.get("/api/v1/audiences/no-views").await.body["profileCount"], 0);
    api.delete("/api/v1/computed-traits/views?force=true").await.expect(204);
    assert_eq!(due().await, [""; 0]);
    let mut gone: Vec<Value> = vec![ada.frame_of("action_revoked").await, ada.frame_of("action_revoked").await];
    gone.sort_by_key(|frame| frame["actionId"].to_string());
    assert_ne!(gone[0]["actionId"], gone[1]["actionId"]);
    assert_eq!(api.live("/api/v1/audiences/no-views").await["profileCount"], 1);
    let profile = api.profile("ada").await;
    assert_eq!((profile["computedTraits"].get("views"), &profile["audiences"][0]["key"]), (None, &json!("no-views")));
    // It comes back under its key, and what names it sees it.
    api.post("/api/v1/computed-traits", &counting("views", "Page Viewed")).await.expect(201);
    assert_eq!(due().await, ["Hello", "Again"]);
    assert_eq!(api.live("/api/v1/audiences/no-views").await["profileCount"], 0);
}

/// Several changes in a row: each is live in its turn, and a newer one costs an older one nothing.
#[tokio::test(flavor = "multi_thread")]
async fn changes_in_a_row_are_built_together() {
    let api = crowded().await;
    let keys: Vec<String> = (0..6).map(|i| format!("seen{i}")).collect();
    let mut done: BTreeMap<String, u64> = BTreeMap::new();
    let mut check = |key: &str, state: &Value| {
        if state["name"] == "live" {
            done.insert(key.into(), u64::MAX);
            return;
        }
        check_building(state);
        let now = state["done"].as_u64().unwrap();
        let before = done.insert(key.into(), now).unwrap_or_default();
        assert!(now >= before, "{key} went back from {before} to {now}");
    };
    for (i, key) in keys.iter().enumerate() {
        api.post("/api/v1/computed-traits", &counting(key, "Page Viewed")).await.expect(201);
        for key in &keys[..=i] {
            check(key, &api.get(&format!("/api/v1/computed-traits/{key}")).await.expect(200).body["state"]);
        }
    }
    // One that is removed while it is built is not waited for.
    api.delete("/api/v1/computed-traits/seen3").await.expect(204);
    let status = api.get("/api/v1/status").await.expect(200).body;
    let names: Vec<&str> = status["building"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(!names.contains(&"seen3"), "{names:?}");
    assert_eq!(status["backfill"]["building"].as_u64(), Some(names.len() as u64), "{status}");
    for row in api.get("/api/v1/computed-traits?q=seen").await.expect(200).body["data"].as_array().unwrap() {
        check(row["key"].as_str().unwrap(), &row["state"]);
    }
    for key in keys.iter().filter(|key| *key != "seen3") {
        api.live(&format!("/api/v1/computed-traits/{key}")).await;
        assert_eq!(computed(&api.profile("crowd3").await, key), Some(8));
    }
    api.settled().await;
    let status = api.get("/api/v1/status").await.expect(200).body;
    assert_eq!((&status["building"], &status["backfill"]["profilesPerSecond"]), (&json!([]), &Value::Null), "{status}");
    // What no state of a profile depends on builds nothing.
    let version = api.server.engine.plan().version;
    let mut label = counting("seen0", "Page Viewed");
    label["name"] = "A better name".into();
    assert_eq!(api.put("/api/v1/computed-traits/seen0", &label).await.expect(200).body["state"]["name"], "live");
    let text = json!({"name": "Quiet", "description": "", "structure": []});
    api.post("/api/v1/events", &text).await.expect(201);
    assert_eq!(api.server.engine.plan().version, version + 2);
    assert_eq!(api.get("/api/v1/status").await.body["backfill"]["of"], 0);
}

/// A sweep that a restart interrupts is taken up again, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_resumes_the_sweep() {
    let api = crowded().await;
    api.settled().await;
    let made = api.post("/api/v1/computed-traits", &counting("seen", "Page Viewed")).await.expect(201);
    api.server.engine.stop_background();
    assert_eq!(made.body["state"]["name"], "building");
    let folder = api.stop().await;
    let api = Api::open(folder.path()).await;
    let status = api.server.engine.status_json();
    assert_eq!((&status["backfill"]["resumed"], &status["backfill"]["building"]), (&json!(true), &json!(1)), "{status}");
    let building = &status["building"][0];
    assert_eq!((&building["type"], &building["name"]), (&json!("computed-trait"), &json!("seen")), "{status}");
    check_building(&building["state"]);
    assert_eq!(building["state"]["version"], made.body["version"]);
    api.live("/api/v1/computed-traits/seen").await;
    api.settled().await;
    for user in ["crowd0", "crowd1999", "crowd3999"] {
        assert_eq!(computed(&api.profile(user).await, "seen"), Some(8));
    }
    let again = api.call(Method::POST, "/api/v1/computed-traits/seen/refresh", &[], None).await.expect(200).body;
    assert_eq!((again["profiles"].as_u64(), again["drift"].as_u64()), (Some(CROWD as u64), Some(0)));
    api.server.engine.stop_background();
    let folder = {
        let engine = api.server.engine.clone();
        drop(api);
        tokio::task::spawn_blocking(move || engine.close()).await.expect("closes").expect("closes");
        folder
    };
    // Once it is done there is nothing to take up.
    let api = Api::open(folder.path()).await;
    let status = api.server.engine.status_json();
    assert_eq!((&status["backfill"]["resumed"], &status["building"]), (&json!(false), &json!([])), "{status}");
}

/// How fast it goes is told while it goes, and counted.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_is_told() {
    let api = crowded().await;
    api.settled().await;
    let counter = async |name: &str| -> f64 {
        let text = api.get("/metrics").await.body.as_str().expect("text").to_owned();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.split(' ').next_back().unwrap().parse().unwrap()
    };
    let before = (counter("lodestone_backfill_profiles_total").await, counter("lodestone_backfill_events_total").await);
    api.post("/api/v1/computed-traits", &counting("seen", "Page Viewed")).await.expect(201);
    let mut rates = Vec::new();
    loop {
        let backfill = api.get("/api/v1/status").await.expect(200).body["backfill"].take();
        if backfill["of"] == 0 {
            break;
        }
        if let Some(rate) = backfill["profilesPerSecond"].as_f64().filter(|rate| *rate > 0.0) {
            rates.push(rate);
            assert!(backfill["eventsPerSecond"].as_f64() >= Some(rate), "{backfill}");
            assert!(backfill["etaSeconds"].as_f64() >= Some(0.0), "{backfill}");
        }
    }
    assert!(!rates.is_empty(), "the sweep was never seen at work");
    let after = (counter("lodestone_backfill_profiles_total").await, counter("lodestone_backfill_events_total").await);
    assert!(after.0 - before.0 >= CROWD as f64 && after.1 - before.1 >= 8.0 * CROWD as f64, "{before:?} {after:?}");
}
