//! Hooks as a socket sees them.

use super::common::page;
use super::sink::Behaviour;
use super::{ACTION, Stage, cap, webhook};
use serde_json::{Value, json};
use std::time::Duration;

fn act(id: &str) -> Value {
    json!({"t": "act", "id": id, "actionId": ACTION, "event": "accept"})
}

async fn stage(delay_ms: u64, answers: &[(u16, &str)], capping: Value) -> Stage {
    let stage = Stage::new().await;
    let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    stage.sink.behave("hook", Behaviour { answers, delay: Duration::from_millis(delay_ms), retry_after: None });
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), capping);
    stage
}

/// While a hook runs the socket serves everything else; the answer comes when it is done.
#[tokio::test]
async fn a_socket_goes_on_while_a_hook_runs() {
    let stage = stage(300, &[(200, "{\"code\":\"X1\"}")], json!([])).await;
    let mut client = stage.server.app("a").await;
    client.send(page("m0")).await;
    client.frame_of("ack").await;
    client.send(act("m1")).await;
    client.send(page("m2")).await;
    client.send(json!({"t": "ping", "id": "p"})).await;
    let mut order = Vec::new();
    while !order.iter().any(|kind| kind == "acted") {
        let frame = client.frame().await;
        if frame["t"] == "acted" {
            let result = json!({"statusCode": 200, "body": "{\"code\":\"X1\"}", "error": ""});
            assert_eq!(frame, json!({"t": "acted", "id": "m1", "status": "recorded", "httpStatus": 200, "result": result}));
        }
        order.push(frame["t"].as_str().expect("a type").to_owned());
    }
    order.sort_unstable();
    order.retain(|kind| kind != "credit");
    assert_eq!(order, ["ack", "acted", "pong"]);
    // A repeat gets the same answer and calls nobody.
    client.send(act("m1")).await;
    assert_eq!(client.frame_of("acted").await["result"]["statusCode"], 200);
    assert_eq!((stage.sink.got("hook").len(), stage.reactions("a", "accepted").await), (1, 1));
}

#[tokio::test]
async fn a_webhook_that_says_no_is_an_error_with_its_answer() {
    let stage = stage(0, &[(409, "taken")], json!([])).await;
    let mut client = stage.server.app("a").await;
    client.send(page("m0")).await;
    client.frame_of("ack").await;
    client.send(act("m1")).await;
    let error = client.frame_of("error").await;
    assert_eq!((&error["id"], &error["code"], &error["retryable"]), (&json!("m1"), &json!("hook_failed"), &json!(true)));
    assert_eq!((&error["httpStatus"], &error["result"]["body"]), (&json!(409), &json!("taken")));
    assert!(error["result"].get("signature").is_none(), "{error}");
}

/// A batch is answered by one ack, when the last of its acts is done; what is sent after it is not held up.
#[tokio::test]
async fn a_batch_waits_for_its_acts_and_nobody_waits_for_it() {
    let stage = stage(300, &[(200, "one"), (500, "two")], json!([])).await;
    let mut client = stage.server.app("a").await;
    client.send(page("m0")).await;
    client.frame_of("ack").await;
    client.send(json!({"t": "batch", "messages": [page("m1"), act("m2"), act("m3"), page("m4")]})).await;
    client.send(page("m5")).await;
    assert_eq!(client.frame_of("ack").await["results"][0]["id"], "m5");
    let ack = client.frame_of("ack").await;
    let results = ack["results"].as_array().expect("results");
    let lines: Vec<String> = results.iter().map(|r| format!("{}:{}", r["id"], r["status"]).replace('"', "")).collect();
    assert_eq!((lines[0].as_str(), lines[3].as_str(), lines.len()), ("m1:stored", "m4:stored", 4));
    let mut acted: Vec<&Value> = vec![&results[1], &results[2]];
    acted.sort_by_key(|result| result["status"] == "rejected");
    assert_eq!((&acted[0]["status"], &acted[0]["result"]["body"]), (&json!("stored"), &json!("one")));
    assert_eq!((&acted[1]["code"], &acted[1]["httpStatus"]), (&json!("hook_failed"), &json!(500)));
    assert_eq!(ack["credit"], 4);
}

/// The one who asked is gone before the webhook answers: what it agreed to is recorded all the same.
#[tokio::test]
async fn a_socket_that_leaves_does_not_undo_its_act() {
    let stage = stage(200, &[(200, "")], cap("all", 1)).await;
    let mut client = stage.server.app("a").await;
    client.send(page("m0")).await;
    client.frame_of("ack").await;
    client.send(act("m1")).await;
    stage.sink.wait("hook", 1).await;
    client.cut();
    let mut recorded = 0;
    for _ in 0..1000 {
        recorded = stage.reactions("a", "accepted").await;
        if recorded == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(recorded, 1);
    // Who comes back with the same id gets the answer.
    let mut again = stage.server.app("a").await;
    again.send(act("m1")).await;
    assert_eq!(again.frame_of("acted").await["httpStatus"], 200);
    assert_eq!(stage.sink.got("hook").len(), 1);
}
