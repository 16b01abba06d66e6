//! How fast frames about actions leave, and that answers never wait for them.

use crate::rig::{NONE, Stage, TEN, action, document, goes};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Says how often the visitor went, so that every event changes it.
fn counter() -> Value {
    let hole =
        json!({"channels": ["web"], "type": "computed_trait", "name": "goes", "sourceKey": "goes", "sourceType": "integer"});
    action("Counter", &json!({"properties": [hole], "targeting": goes(1)}))
}

async fn stage(rate: u32, actions: &[Value]) -> Stage {
    Stage::with(TEN, document(actions, &[]), |config| config.server.socket.push_rate = rate).await
}

// Fifty changes in one frame: every event is acknowledged at once, and of its states the client gets few, the
// last one among them.
#[tokio::test(flavor = "multi_thread")]
async fn what_flaps_is_sent_in_its_newest_state() {
    let stage = stage(2, &[counter()]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    let began = Instant::now();
    let events: Vec<Value> = (0..50).map(|n| json!({"t": "track", "id": format!("m{n}"), "event": "Go"})).collect();
    let (told, ack) = visitor.ask_for(json!({"t": "batch", "messages": events}), &json!("m49")).await;
    assert_eq!(ack["results"].as_array().map(Vec::len), Some(50));
    assert_eq!(told, ["+Counter", "=Counter"], "two a second, before or with the acknowledgement");
    assert_eq!(visitor.said["Counter"]["goes"], 2);
    assert!(began.elapsed() < Duration::from_millis(450), "{:?}", began.elapsed());
    assert_eq!(visitor.wait_for(1).await, ["=Counter"]);
    assert_eq!(visitor.said["Counter"]["goes"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_never_waits_for_a_push() {
    let stage = stage(1, &[counter()]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    let began = Instant::now();
    let mut told = Vec::new();
    for _ in 0..8 {
        told.extend(visitor.go().await);
    }
    assert!(began.elapsed() < Duration::from_millis(900), "eight round trips took {:?}", began.elapsed());
    assert_eq!(told, ["+Counter"], "the first comes with its event; the others wait");
    assert_eq!(visitor.said["Counter"]["goes"], 1);
    assert_eq!(visitor.wait_for(1).await, ["=Counter"]);
    assert_eq!(visitor.said["Counter"]["goes"], 8, "one frame for seven changes");
    assert!(began.elapsed() >= Duration::from_millis(990), "not before its turn: {:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(visitor.fence().await, NONE);
}

// An action that came and went while it waited was never there; what is there is taken back at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_does_not_wait() {
    let now = |title: &str, page: &str| {
        action(
            title,
            &json!({"targeting": {"contextConditions": [
            {"channel": "web", "key": "page", "type": "string", "operator": "equals", "value": page}]}}),
        )
    };
    let stage = stage(1, &[now("One", "/1"), now("Two", "/2")]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    let at = |page: &str, id: &str| json!({"t": "context", "id": id, "context": {"page": page}});
    assert_eq!(visitor.ask(at("/1", "c1")).await.0, ["+One"]);
    let began = Instant::now();
    assert_eq!(visitor.ask(at("/2", "c2")).await.0, ["-One targeting"]);
    assert_eq!(visitor.ask(at("/3", "c3")).await.0, NONE, "two came and went");
    assert_eq!(visitor.ask(at("/2", "c4")).await.0, NONE);
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(visitor.wait_for(1).await, ["+Two"]);
    assert!(began.elapsed() >= Duration::from_millis(990), "{:?}", began.elapsed());
    visitor.seen().await;
    assert_eq!(stage.reactions("a1", "delivered", "Two").await, 1, "of two deliveries one began");
}

// Many at once within the default rate: nobody waits.
#[tokio::test(flavor = "multi_thread")]
async fn ten_at_once_do_not_wait() {
    let actions: Vec<Value> = (0..10).map(|n| action(&format!("A{n}"), &json!({"targeting": goes(1)}))).collect();
    let stage = Stage::new(TEN, &actions).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    assert_eq!(visitor.go().await.len(), 10);
}
