//! Decisions taken again over history, over HTTP: they are what was decided, and their hash says so.

mod common;
#[path = "common/site.rs"]
mod site;

use common::{ADMIN, catalog};
use serde_json::{Value, json};
use site::Site;

const PERIOD: [&str; 2] = ["2024-03-01T00:00:00Z", "2024-03-03T00:00:00Z"];

fn title() -> Value {
    json!([{"channels": ["web", "app"], "type": "text", "name": "title", "value": "Hi"}])
}

fn action(name: &str, targeting: Value, capping: Value) -> Value {
    let mut targeting = targeting;
    targeting["channels"] = json!(["web", "app"]);
    json!({"name": name, "type": "banner", "state": "active", "tags": [], "properties": title(),
           "targeting": targeting, "capping": capping, "hooks": [], "testUsers": []})
}

fn cap(event: &str, group: &str, count: u32, days: u32) -> Value {
    json!({"channels": [], "event": event, "group": group, "count": count, "within": days})
}

/// Everything that decides: an audience with a window, hours of the day, an event's moment, caps of people and
/// of all, a budget, an experiment.
fn definitions(coupons: u32) -> Value {
    let mut all = catalog();
    let keen = json!({"name": "Keen", "key": "keen", "includeAnonymous": true, "traits": [], "events": [
        {"eventId": "Page Viewed", "operator": "more_or_exactly", "count": 1,
         "timeWindowOperator": "within", "timeWindowEnd": 1, "timeWindowUnit": "hours"}]});
    all["audiences"] = json!([keen]);
    let more = [
        action(
            "Coupon",
            json!({"audiences": ["keen"]}),
            json!([cap("accepted", "all", coupons, 0), cap("accepted", "user", 1, 0)]),
        ),
        action("Daily", json!({}), json!([cap("delivered", "user", 1, 1), cap("delivered", "all", 4, 1)])),
        action("Lunch", json!({"start": {"date": null, "time": "12:00"}, "end": {"date": null, "time": "14:00"}}), json!([])),
        action("Moment", json!({"onEvent": ["Checkout Started"]}), json!([])),
        action("Tried", json!({}), json!([])),
    ];
    all["actions"].as_array_mut().expect("actions").extend(more);
    all["budgets"] = json!([{"name": "Calm", "key": "calm", "event": "shown", "count": 3, "within": 1, "withinUnit": "days"}]);
    all["goals"] = json!([{"key": "buy", "name": "Buy", "eventId": "Checkout Started"}]);
    all["experiments"] = json!([{"key": "loud", "name": "Loud", "actions": ["Tried"], "holdout": 40, "goal": "buy", "state": "running",
        "variants": [{"key": "plain", "weight": 1}, {"key": "loud", "weight": 1}]}]);
    all
}

/// Two days of eight people: they come at their own times, poll, accept what they get, show and hide; two turn
/// out to be one, and some events come late.
async fn live(site: &Site) {
    for (round, time) in
        ["03-01T09:00", "03-01T09:20", "03-01T11:30", "03-01T12:10", "03-02T08:55", "03-02T09:10"].iter().enumerate()
    {
        site.set(time);
        for who in 0..8 {
            let user = format!("u{who}");
            if (who + round) % 3 == 2 {
                continue;
            }
            site.track(&user, "Page Viewed", json!({"page": "/"}), None).await;
            if who == round {
                site.track(&user, "Checkout Started", json!({"total": 5.0, "items": 1}), None).await;
            }
            if (who + round) % 5 == 0 {
                // Came late: what it brings about is known from now on, not from then.
                site.track(&user, "Page Viewed", json!({"page": "/late"}), Some("03-01T08:59")).await;
            }
            let due = site.poll(&user, Some(&format!("s{round}"))).await;
            for (name, _) in &due {
                let verb = if (who + round) % 2 == 0 { "accept" } else { "show" };
                site.try_act(&user, name, verb).await;
            }
        }
        if round == 2 {
            site.identify("u1", "u4").await;
        }
    }
}

async fn replay(site: &Site, body: Value) -> Value {
    let mut asked = json!({"from": PERIOD[0], "to": PERIOD[1]});
    body.as_object().expect("fields").iter().for_each(|(key, value)| asked[key] = value.clone());
    let (status, _, told) = site.call(ADMIN, "/api/v1/actions/replay", &asked).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["complete"], true);
    told
}

/// Issue 4, proof of item 10: a replay of unchanged definitions gives the same decisions, and every reaction
/// that was logged could have been decided. Also after a restart, out of the store, and on another server.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_what_was_decided_wherever_it_runs() {
    let mut site = Site::start("03-01T08:00", &definitions(3)).await;
    live(&site).await;
    let first = replay(&site, json!({})).await;
    let compared = first["reactions"]["compared"].as_u64().expect("a number");
    assert!(compared > 100, "{}", first["reactions"]);
    assert_eq!(first["reactions"]["mismatches"], 0, "{}", first["mismatches"]);
    assert_eq!(first["reactions"]["unknown"], 0, "{}", first["unknown"]);
    assert!(first["decisions"].as_u64() > Some(50) && first["total"].as_u64() >= Some(7), "{first}");
    assert_eq!(replay(&site, json!({})).await, first, "once more");
    let twin = site.twin().await;
    assert_eq!(replay(&twin, json!({})).await, first, "another server with the same journal");
    assert_eq!(replay(&site, json!({})).await, first, "after a restart");
    site.checkpoint().await;
    assert_eq!(replay(&site, json!({})).await, first, "after a checkpoint");
    site.restart().await;
    assert_eq!(replay(&site, json!({})).await, first, "out of the store");
}

/// The hash is about what is decided: it differs when a definition does that somebody's decision rests on, and
/// is the old one when that is taken back. What was logged before a change is told as unknown, not as wrong.
#[tokio::test(flavor = "multi_thread")]
async fn the_hash_differs_when_a_definition_that_matters_does() {
    let site = Site::start("03-01T08:00", &definitions(3)).await;
    live(&site).await;
    // Past the end of what is asked for: time goes on and changes nothing.
    site.set("03-03T08:00");
    let first = replay(&site, json!({})).await;
    site.set("03-03T10:00");
    let mut other = definitions(3);
    other["actions"][0]["properties"][0]["value"] = "another title".into();
    site.apply(&other).await;
    assert_eq!(replay(&site, json!({})).await["hash"], first["hash"], "what an action says decides nothing");
    let mut stricter = definitions(1);
    stricter["audiences"][0]["events"][0]["count"] = 5.into();
    site.apply(&stricter).await;
    let told = replay(&site, json!({})).await;
    assert_ne!(told["hash"], first["hash"]);
    assert_eq!(told["reactions"]["mismatches"], 0, "{}", told["mismatches"]);
    assert!(told["reactions"]["unknownBecause"]["definition_changed"].as_u64() > Some(0), "{}", told["reactions"]);
    assert_eq!(told["unknown"][0]["unknown"], "definition_changed");
    site.apply(&definitions(3)).await;
    assert_eq!(replay(&site, json!({})).await["hash"], first["hash"]);
}

/// A reaction that the definitions could never have brought about is found: the log has it, the replay not.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_have_been_decided_is_told() {
    let site = Site::start("03-01T08:00", &definitions(3)).await;
    // Ten past one in Berlin.
    site.set("03-01T12:10");
    for user in ["u1", "u2"] {
        let due = site.poll(user, None).await;
        assert!(due.iter().any(|(name, _)| name == "Lunch"), "{due:?}");
    }
    assert_eq!(replay(&site, json!({})).await["reactions"]["mismatches"], 0);
    // Elsewhere it was not noon: the same log under the clock of another place, of which nothing is dated.
    site.apply(&json!({"organization": {"name": "Test", "timezone": "Asia/Tokyo"}})).await;
    let told = replay(&site, json!({})).await;
    let rows = told["mismatches"].as_array().expect("rows");
    assert_eq!(
        (rows.len(), &told["reactions"]["mismatches"], &told["reactions"]["unknown"]),
        (2, &json!(2), &json!(0)),
        "{told}"
    );
    for (row, user) in rows.iter().zip(["u1", "u2"]) {
        let known = ["userId", "action", "reaction", "reason", "at"].map(|field| row[field].as_str().expect("text"));
        assert_eq!(known, [user, "Lunch", "delivered", "Time Range", "2024-03-01T12:10:00.000Z"]);
        assert_eq!(row["actionId"], site.action_id("Lunch"));
        assert_eq!(row["profileId"], site.profile(user).await["id"]);
    }
    assert_eq!(replay(&site, json!({"limit": 1})).await["mismatches"].as_array().map(Vec::len), Some(1));
}

/// Entries taken out of the log, and a merge undone, take away what decisions rested on: what does not fit then is
/// told as unknown.
#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_log_is_told_as_unknown() {
    let site = Site::start("03-01T08:00", &definitions(3)).await;
    site.set("03-01T09:00");
    for user in ["u1", "u2"] {
        site.track(user, "Page Viewed", json!({"page": "/"}), None).await;
    }
    site.identify("u1", "u2").await;
    site.poll("u2", None).await;
    site.act("u2", "Coupon", "accept").await;
    let told = replay(&site, json!({})).await;
    let compared = &told["reactions"]["compared"];
    assert_eq!((&told["reactions"]["mismatches"], &told["reactions"]["unknown"]), (&json!(0), &json!(0)), "{told}");
    site.set("03-01T10:00");
    let profile = site.profile("u1").await;
    let entries = profile["events"].as_array().expect("entries");
    for event in entries.iter().filter(|entry| entry["type"] == "event") {
        let [person, event] = [&profile, event].map(|one| one["id"].as_str().expect("an id"));
        let url = site.url(&format!("/api/v1/profiles/{person}/events/{event}"));
        let answer = site.client.delete(url).bearer_auth(ADMIN).send().await.expect("an answer");
        assert_eq!(answer.status(), 204, "{event}");
    }
    let told = replay(&site, json!({})).await;
    assert_eq!((&told["reactions"]["mismatches"], &told["reactions"]["compared"]), (&json!(0), compared), "{told}");
    assert_eq!(
        told["reactions"]["unknownBecause"].as_object().map(|by| by.keys().collect::<Vec<_>>()),
        Some(vec![&"erased".to_owned()])
    );
    assert!(
        told["unknown"]
            .as_array()
            .expect("rows")
            .iter()
            .any(|row| row["action"] == "Coupon" && row["reason"] == "not_in_audience")
    );
}

/// Many at once: whatever order two threads got through in, everything that was logged could have been decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_replayed_without_a_mismatch() {
    let site = std::sync::Arc::new(Site::start("03-01T08:00", &definitions(20)).await);
    let rounds = ["03-01T09:00", "03-01T09:01", "03-01T11:59", "03-01T12:01", "03-02T07:00", "03-02T09:01"];
    let gate = std::sync::Arc::new(tokio::sync::Barrier::new(24));
    let mut crowd = tokio::task::JoinSet::new();
    for who in 0..24 {
        let (site, gate) = (site.clone(), gate.clone());
        crowd.spawn(async move {
            let user = format!("u{who}");
            for (round, time) in rounds.into_iter().enumerate() {
                // Hours do not pass while somebody is being answered.
                if gate.wait().await.is_leader() {
                    site.set(time);
                }
                gate.wait().await;
                site.track(&user, "Page Viewed", json!({"page": "/"}), None).await;
                for (name, _) in site.poll(&user, Some(&format!("s{round}"))).await {
                    site.try_act(&user, &name, ["accept", "show", "hide"][(who + round) % 3]).await;
                }
                if round == 3 && who % 6 == 5 {
                    site.identify(&user, &format!("u{}", who - 1)).await;
                }
            }
        });
    }
    while let Some(done) = crowd.join_next().await {
        done.expect("it ran");
    }
    let told = replay(&site, json!({})).await;
    assert!(told["reactions"]["compared"].as_u64() > Some(300), "{}", told["reactions"]);
    assert_eq!(told["reactions"]["mismatches"], 0, "{}", told["mismatches"]);
    assert_eq!(replay(&site, json!({})).await["hash"], told["hash"]);
}

/// Bad periods are refused by place, and nobody without the token is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_checked() {
    let site = Site::start("03-01T08:00", &catalog()).await;
    for (body, pointer) in [
        (json!({"from": "yesterday"}), "/from"),
        (json!({"to": "2024-13-01"}), "/to"),
        (json!({"from": "2024-03-02", "to": "2024-03-01"}), "/from"),
        (json!({"days": 0}), "/days"),
        (json!({"days": 3, "from": PERIOD[0]}), "/days"),
        (json!({"from": PERIOD[1], "to": PERIOD[0]}), "/from"),
        (json!({"since": 3}), "/since"),
    ] {
        let (status, _, told) = site.call(ADMIN, "/api/v1/actions/replay", &body).await;
        assert_eq!((status, &told["errors"][0]["pointer"]), (422, &json!(pointer)), "{body}: {told}");
    }
    let (status, ..) = site.call(common::TA, "/api/v1/actions/replay", &json!({})).await;
    assert_eq!(status, 403);
}
