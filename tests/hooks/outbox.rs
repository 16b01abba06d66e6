//! Hooks that nobody waits for.

use super::sink::{Behaviour, Got};
use super::{ACTION, KEY, Stage, track, webhook};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Method, StatusCode};
use serde_json::json;
use sha2::Sha256;
use std::time::Duration;

fn hex_hmac(text: &str) -> String {
    let key: Vec<u8> = (0..32).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request is signed over exactly what was sent (T-69).
pub(crate) fn assert_signed(got: &Got) {
    assert_eq!(got.header("x-attractify-signature"), hex_hmac(&got.text));
    let (t, v1) = got.header("x-lodestone-signature").split_once(",v1=").expect("two parts");
    let t = t.strip_prefix("t=").expect("a time");
    assert_eq!((v1, t), (hex_hmac(&format!("{t}.{}", got.text)).as_str(), got.header("webhook-timestamp")));
    assert!(got.header("webhook-signature").starts_with("v1,"));
}

/// A queued webhook says what the specification says, and is signed over exactly those bytes (T-69).
#[tokio::test]
async fn t69_a_queued_webhook_is_signed_as_it_is_sent() {
    let stage = Stage::new().await;
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), false)]), json!([]));
    stage.meet("u1").await;
    let (status, body, _) = stage.accept("u1", Some("m1")).await;
    assert_eq!((status.as_u16(), body), (200, json!({})), "nobody waits for it");
    let got = stage.sink.wait("hook", 1).await.remove(0);
    let body = got.json();
    assert_eq!(
        body,
        json!({"event": "accepted", "actionId": ACTION, "userId": "u1", "channel": "app", "userProperties": null,
               "customProperties": {"code": "X1"}, "timestamp": body["timestamp"]})
    );
    assert_signed(&got);
    assert_eq!(got.header("x-lodestone-act-id"), "m1");
    stage.outbox("pending", 0).await;
}

/// A server without a key of its own gets one, and shows it when it is asked for.
#[tokio::test]
async fn a_signing_key_is_made_and_replaced() {
    let stage = Stage::new().await;
    let key = || stage.admin(Method::GET, "/api/v1/organization/signing-key", None);
    let (status, made) = key().await;
    assert_eq!((status.as_u16(), made["key"].as_str().map(str::len)), (200, Some(64)));
    assert!(made["secret"].as_str().is_some_and(|secret| secret.starts_with("whsec_")), "{made}");
    let old = "ff".repeat(32);
    let rotate = json!({"organization": {"key": KEY, "previousKey": old}});
    stage.server.engine.apply_catalog(&rotate.to_string()).expect("valid");
    let (_, both) = key().await;
    assert_eq!((&both["key"], &both["previousKey"]), (&json!(KEY), &json!(old)));
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), false)]), json!([]));
    stage.meet("a").await;
    stage.accept("a", None).await;
    let got = stage.sink.wait("hook", 1).await.remove(0);
    assert_eq!(got.header("webhook-signature").split(' ').count(), 2, "both sign");
    stage.server.engine.apply_catalog(r#"{"organization": {"previousKey": null}}"#).expect("valid");
    assert_eq!(key().await.1["previousKey"], json!(null));
    let shown = stage.admin(Method::GET, "/api/v1/organization", None).await.1.to_string();
    assert!(!shown.contains(KEY), "{shown}");
}

/// A-3: what is not a 2xx is tried again, five times in all, under one id; then it is kept, and an operator
/// can send it again or take it out.
#[tokio::test]
async fn a3_five_tries_and_then_an_operator() {
    let stage = Stage::new().await;
    stage.sink.answer("hook", &[(500, ""), (302, ""), (404, ""), (503, ""), (500, ""), (200, "")]);
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), false)]), json!([]));
    stage.meet("a").await;
    stage.accept("a", None).await;
    let dead = stage.outbox("dead", 1).await;
    assert_eq!((&dead[0]["tries"], &dead[0]["lastFailure"], &dead[0]["userId"]), (&json!(5), &json!("500"), &json!("a")));
    assert_eq!((&dead[0]["cause"]["name"], &dead[0]["hook"]), (&json!("Offer"), &json!(0)));
    let got = stage.sink.got("hook");
    assert_eq!(got.len(), 5);
    assert!(got.iter().all(|one| one.header("webhook-id") == got[0].header("webhook-id") && one.text == got[0].text));
    let pauses: Vec<u128> = got.windows(2).map(|two| (two[1].at - two[0].at).as_millis()).collect();
    assert!(pauses.iter().zip([20, 40, 80, 160]).all(|(pause, least)| *pause >= least), "{pauses:?}");
    let health = stage.admin(Method::GET, "/api/v1/outbox/hooks", None).await.1;
    assert_eq!((&health["data"][0]["failed"], &health["data"][0]["lastFailure"]["reason"]), (&json!(5), &json!("500")));
    let id = dead[0]["id"].as_str().expect("an id").to_owned();
    let (status, shown) = stage.admin(Method::GET, &format!("/api/v1/outbox/{id}"), None).await;
    assert_eq!((status.as_u16(), &shown["body"]["event"]), (200, &json!("accepted")));
    let (status, _) = stage.admin(Method::POST, &format!("/api/v1/outbox/{id}/replay"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    stage.outbox("dead", 0).await;
    assert_eq!(stage.sink.wait("hook", 6).await[5].header("webhook-id"), id);
    stage.outbox("pending", 0).await;
    let (status, problem) = stage.admin(Method::DELETE, &format!("/api/v1/outbox/{id}"), None).await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("job_not_found")));
}

#[tokio::test]
async fn given_up_jobs_are_sent_again_by_endpoint_or_taken_out() {
    let stage = Stage::configured(|config| config.outbox.tries = 1).await;
    stage.sink.answer("hook", &[(500, "")]);
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), false)]), json!([]));
    for user in ["a", "b", "c"] {
        stage.meet(user).await;
        stage.accept(user, None).await;
    }
    let dead = stage.outbox("dead", 3).await;
    let (_, page) = stage.admin(Method::GET, "/api/v1/outbox?state=dead&limit=2", None).await;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(2));
    let cursor = page["nextCursor"].as_str().expect("more").to_owned();
    let (_, rest) = stage.admin(Method::GET, &format!("/api/v1/outbox?state=dead&cursor={cursor}"), None).await;
    assert_eq!((&rest["data"][0]["userId"], &rest["nextCursor"]), (&json!("a"), &json!(null)), "the oldest comes last");
    let first = dead[0]["id"].as_str().expect("an id");
    assert_eq!(stage.admin(Method::DELETE, &format!("/api/v1/outbox/{first}"), None).await.0, StatusCode::NO_CONTENT);
    let elsewhere = stage.admin(Method::POST, "/api/v1/outbox/replay?endpoint=https://other.example", None).await.1;
    assert_eq!(elsewhere["replayed"], 0);
    stage.sink.answer("hook", &[(200, "")]);
    let path = format!("/api/v1/outbox/replay?endpoint=http://{}", stage.sink.address);
    assert_eq!(stage.admin(Method::POST, &path, None).await.1, json!({"replayed": 2, "left": 0}));
    assert_eq!(stage.sink.wait("hook", 5).await.len(), 5);
    stage.outbox("dead", 0).await;
}

/// A server that asks for a pause gets it.
#[tokio::test]
async fn retry_after_is_honoured() {
    let stage = Stage::new().await;
    let answers = vec![(429, String::new()), (200, String::new())];
    stage.sink.behave("hook", Behaviour { answers, retry_after: Some(1), ..Behaviour::default() });
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), false)]), json!([]));
    stage.meet("a").await;
    stage.accept("a", None).await;
    let got = stage.sink.wait("hook", 2).await;
    assert!(got[1].at - got[0].at >= Duration::from_millis(990), "{:?}", got[1].at - got[0].at);
}

/// O-3: endpoints that hang hold up nobody else, even where there are enough of them to take every place.
#[tokio::test]
async fn o3_bad_endpoints_do_not_delay_the_others() {
    let configure = |config: &mut lodestone::config::Config| (config.outbox.running_max, config.outbox.per_endpoint) = (16, 8);
    let stage = Stage::configured(configure).await;
    let mut hooks = vec![webhook("accepted", &stage.sink.url("hook"), false)];
    let mut hung = Vec::new();
    for _ in 0..4 {
        let sink = super::sink::Sink::start().await;
        sink.behave("hook", Behaviour { delay: Duration::from_secs(60), ..Behaviour::default() });
        hooks.push(webhook("accepted", &sink.url("hook"), false));
        hung.push(sink);
    }
    stage.offer(json!(hooks), json!([]));
    stage.meet("a").await;
    let began = std::time::Instant::now();
    for _ in 0..50 {
        stage.accept("a", None).await;
    }
    assert_eq!(stage.sink.wait("hook", 50).await.len(), 50);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let taken: Vec<usize> = hung.iter().map(|sink| sink.got("hook").len()).collect();
    assert!(taken.iter().all(|calls| (1..=8).contains(calls)) && taken.iter().sum::<usize>() >= 15, "{taken:?}");
}

/// Hooks on `delivered` run although no client acts; nobody waits for their answer.
#[tokio::test]
async fn hooks_on_delivered_are_queued() {
    let stage = Stage::new().await;
    stage.sink.answer("hook", &[(500, ""), (200, "")]);
    stage.offer(json!([webhook("delivered", &stage.sink.url("hook"), true), track("delivered", "Redeemed")]), json!([]));
    let mut client = stage.server.app("a").await;
    client.send(json!({"t": "subscribe", "id": "s", "sub": "s1", "type": "banner"})).await;
    let subscribed = client.frame_of("subscribed").await;
    assert_eq!(subscribed["actions"].as_array().map(Vec::len), Some(1), "{subscribed}");
    client.send(json!({"t": "seen", "seq": subscribed["seq"]})).await;
    assert_eq!(stage.sink.wait("hook", 2).await[1].json()["event"], "delivered");
    assert_eq!(stage.server.events("a", "Redeemed").await, 1);
    assert_eq!(stage.reactions("a", "delivered").await, 1);
}

/// P-22: trying a webhook sends what would be sent, marked as a test, and leaves no trace.
#[tokio::test]
async fn p22_a_webhook_can_be_tried() {
    let stage = Stage::new().await;
    stage.sink.answer("hook", &[(201, &"x".repeat(10_000))]);
    stage.offer(json!([track("accepted", "Redeemed"), webhook("accepted", &stage.sink.url("hook"), true)]), json!([]));
    stage.meet("a").await;
    let path = format!("/api/v1/actions/{ACTION}/test-webhook");
    let asked = json!({"event": "accepted", "userId": "a", "channel": "app", "properties": {"size": "M"}});
    let (status, tested) = stage.admin(Method::POST, &path, Some(asked)).await;
    assert_eq!((status.as_u16(), &tested["statusCode"], &tested["hook"]), (200, &json!(201), &json!(1)));
    assert_eq!(tested["body"].as_str().map(str::len), Some(8192));
    let got = stage.sink.got("hook").remove(0);
    assert_eq!((got.json()["test"].clone(), got.json()["userProperties"].clone()), (json!(true), json!({"size": "M"})));
    assert_eq!(
        (tested["requestBody"].as_str(), tested["signature"].as_str()),
        (Some(got.text.as_str()), Some(hex_hmac(&got.text).as_str()))
    );
    assert_eq!(stage.reactions("a", "accepted").await, 0);
    let (status, problem) = stage.admin(Method::POST, &path, Some(json!({"event": "shown"}))).await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("webhook_not_found")));
    let (status, _) = stage.admin(Method::POST, &path, Some(json!({"properties": 7}))).await;
    assert_eq!(status.as_u16(), 422);
}
