//! Effects of effects: hooks and rules that set each other off end after eight steps, for everybody to see.

use super::{Stage, offer, track, webhook};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Longer than a chain may be.
const RULES: usize = 10;

/// Each rule counts one event and tracks the next; what else it does shows that it fired.
fn rules(stage: &Stage) -> Value {
    let rule = |n: usize| {
        json!({"key": format!("r{n}"), "name": format!("R{n}"), "eventId": format!("E{n}"), "metric": "count", "fire": {"every": 1},
               "then": [{"type": "emit_event", "event": format!("E{}", n + 1), "properties": {}},
                        {"type": "set_attribute", "key": format!("fired{n}"), "value": true},
                        {"type": "webhook", "url": stage.sink.url("fired"), "params": {"n": n}}]})
    };
    (1..=RULES).map(rule).collect()
}

fn define(stage: &Stage, first: &str) {
    let hooks = json!([track("accepted", first), webhook("accepted", &stage.sink.url("hook"), false)]);
    let mut document = offer(&hooks, &json!([]));
    let events = document["events"].as_array_mut().expect("a list");
    events.extend((1..=RULES + 1).map(|n| json!({"name": format!("E{n}"), "structure": []})));
    document["rules"] = rules(stage);
    stage.define(&document);
}

const GIVEN_UP: &str = "lodestone_outbox_given_up_total{kind=\"event\",reason=\"chain_too_deep\"} ";

/// The hook of an act is the first step, seven rules follow, and the event of the eighth is refused: counted,
/// kept where an operator looks, with its definition and its person. Everything else happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_ends_after_eight_steps() {
    let stage = Stage::new().await;
    define(&stage, "E1");
    stage.meet("a").await;
    let before = stage.metric(GIVEN_UP).await;
    assert_eq!(stage.accept("a", None).await.0, StatusCode::OK);
    // All of it is a part of the act's input: nothing to wait for.
    for n in 1..=RULES + 1 {
        let expected = usize::from(n <= 8);
        assert_eq!(stage.server.events("a", &format!("E{n}")).await, expected, "E{n}");
    }
    let profile = stage.server.profile("a").await.expect("a profile");
    let fired: Vec<bool> = (1..=RULES).map(|n| profile["customTraits"][format!("fired{n}")] == true).collect();
    assert_eq!(fired, [true, true, true, true, true, true, true, true, false, false], "rule 8 fired, with all but its event");
    let mut called: Vec<u64> = stage
        .sink
        .wait("fired", 8)
        .await
        .iter()
        .map(|got| got.json()["customProperties"]["n"].as_u64().expect("a number"))
        .collect();
    called.sort_unstable();
    assert_eq!(called, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(stage.sink.wait("hook", 1).await.len(), 1);

    let dead = stage.outbox("dead", 1).await;
    let shown = (&dead[0]["lastFailure"], &dead[0]["event"], &dead[0]["userId"], &dead[0]["cause"]["name"], &dead[0]["kind"]);
    assert_eq!(shown, (&json!("chain_too_deep"), &json!("E9"), &json!("a"), &json!("R8"), &json!("event")));
    assert!((stage.metric(GIVEN_UP).await - before - 1.0).abs() < 0.5, "counted once");
    let hooks = stage.admin(Method::GET, "/api/v1/outbox/hooks", None).await.1;
    let failed: Vec<&Value> = hooks["data"].as_array().expect("a list").iter().filter(|hook| hook["failed"] != 0).collect();
    assert_eq!(failed.len(), 1, "{hooks:#}");
    assert_eq!((&failed[0]["cause"]["name"], &failed[0]["lastFailure"]["reason"]), (&json!("R8"), &json!("chain_too_deep")));
}

/// Sent again it is refused again; and the person goes on as everybody does.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_step_stays_refused() {
    let stage = Stage::new().await;
    define(&stage, "E1");
    stage.meet("a").await;
    stage.accept("a", None).await;
    let id = stage.outbox("dead", 1).await[0]["id"].as_str().expect("an id").to_owned();
    let (status, _) = stage.admin(Method::POST, &format!("/api/v1/outbox/{id}/replay"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(stage.outbox("dead", 1).await[0]["id"], id.as_str());
    assert_eq!(stage.server.events("a", "E9").await, 0);
    // What a client sends begins a chain of its own.
    let sent = json!({"userId": "a", "event": "E9"});
    assert_eq!(stage.post("/v1/track", super::common::TA, &sent).await.0, StatusCode::NO_CONTENT);
    assert_eq!((stage.server.events("a", "E9").await, stage.server.events("a", "E11").await), (1, 1));
    stage.outbox("dead", 1).await;
}

/// A circle of rules ends by itself: a rule does not fire for an event in whose chain it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_circle_ends_where_it_began() {
    let stage = Stage::new().await;
    let mut document = offer(&json!([track("accepted", "Ping")]), &json!([]));
    document["events"] = json!([{"name": "Ping", "structure": []}, {"name": "Pong", "structure": []}]);
    let rule = |on: &str, next: &str| {
        json!({"key": on.to_lowercase(), "name": on, "eventId": on, "metric": "count", "fire": {"every": 1},
               "then": [{"type": "emit_event", "event": next, "properties": {}}]})
    };
    document["rules"] = json!([rule("Ping", "Pong"), rule("Pong", "Ping")]);
    document["computedTraits"] = json!([]);
    document["audiences"] = json!([]);
    stage.define(&document);
    stage.meet("a").await;
    for round in 1..=2 {
        assert_eq!(stage.accept("a", None).await.0, StatusCode::OK);
        // The hook's, and that of the second rule; the first rule is marked for it, and that is all.
        assert_eq!((stage.server.events("a", "Ping").await, stage.server.events("a", "Pong").await), (2 * round, round));
    }
    stage.outbox("dead", 0).await;
}
