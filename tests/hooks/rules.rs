//! Webhooks of rules, at a receiver: what they say, signed, once for each firing, over restarts as well.

use super::common;
use super::outbox::assert_signed;
use super::sink::{Got, Sink};
use super::site::Site;
use super::{KEY, Stage, near};
use serde_json::{Value, json};
use std::time::Duration;

/// A rule on pages seen, with a webhook to the sink.
fn rule(sink: &Sink, more: &Value) -> Value {
    let mut rule = json!({
        "key": "reader", "name": "Reader", "eventId": "Page Viewed", "metric": "count",
        "operator": "greater_than_or_equal", "threshold": 2,
        "then": [{"type": "set_attribute", "key": "reader", "value": true},
                 {"type": "webhook", "url": sink.url("rule"), "params": {"source": "shop"}}],
    });
    for (key, value) in more.as_object().expect("fields") {
        rule[key] = value.clone();
    }
    json!({"organization": {"key": KEY}, "rules": [rule]})
}

/// The body as the documentation shows it.
fn body(got: &Got, profile: &Value, cause: &str, metric: u32) -> Value {
    let rules = profile["rules"].as_array().expect("a list");
    json!({"event": "rule_fired", "rule": "reader", "ruleId": rules[0]["id"], "profileId": profile["id"], "userId": "a",
           "metric": metric, "threshold": 2, "cause": cause, "timestamp": got.json()["timestamp"],
           "customProperties": {"source": "shop"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_calls_its_webhook() {
    let stage = Stage::new().await;
    stage.define(&rule(&stage.sink, &json!({})));
    for _ in 0..5 {
        stage.meet("a").await;
    }
    let got = stage.sink.wait("rule", 1).await.remove(0);
    stage.outbox("pending", 0).await;
    assert_eq!(stage.sink.got("rule").len(), 1, "once, however often the page is seen");
    assert_signed(&got);
    assert_eq!(got.header("x-lodestone-act-id"), "", "no act was behind it");
    let profile = stage.server.profile("a").await.expect("a profile");
    assert_eq!(got.json(), body(&got, &profile, "met", 2));
    assert_eq!(got.json()["timestamp"], profile["rules"][0]["firedAt"]);
    assert_eq!(profile["customTraits"], json!({"reader": true}));
}

/// Who is above when the rule comes: the webhook says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_comes_later_calls_as_well() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        stage.meet("a").await;
    }
    stage.define(&rule(&stage.sink, &json!({})));
    let got = stage.sink.wait("rule", 1).await.remove(0);
    let profile = stage.server.profile("a").await.expect("a profile");
    assert_eq!(got.json(), body(&got, &profile, "backfill", 3));
}

/// Every second page: each firing is a call of its own, which says which one it is.
#[tokio::test(flavor = "multi_thread")]
async fn each_firing_is_a_call() {
    let stage = Stage::new().await;
    stage.define(&rule(&stage.sink, &json!({"fire": {"every": 2}})));
    for _ in 0..7 {
        stage.meet("a").await;
    }
    let got = stage.sink.wait("rule", 3).await;
    stage.outbox("pending", 0).await;
    let mut said: Vec<_> = got.iter().map(|got| (got.json()["multiple"].clone(), got.json()["metric"].clone())).collect();
    said.sort_by_key(|(multiple, _)| multiple.as_u64());
    assert_eq!(said, [(json!(1), json!(2)), (json!(2), json!(4)), (json!(3), json!(6))]);
    let ids: std::collections::HashSet<&str> = got.iter().map(|got| got.header("webhook-id")).collect();
    assert_eq!(ids.len(), 3);
}

/// A receiver that is down while the server goes and comes: one call under one id, and none after it was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_firing_is_called_over_restarts() {
    let sink = Sink::start().await;
    sink.answer("rule", &[(503, "")]);
    let mut site = Site::configured("03-01T10:00", &common::catalog(), near).await;
    site.apply(&rule(&sink, &json!({}))).await;
    site.begin();
    for _ in 0..2 {
        site.track("a", "Page Viewed", json!({"page": "/"}), None).await;
    }
    assert_eq!(sink.wait("rule", 1).await.len(), 1);
    site.restart().await;
    site.checkpoint().await;
    site.restart().await;
    sink.answer("rule", &[(200, "")]);
    site.set("03-01T10:10");
    site.begin();
    let got = sink.wait("rule", 2).await;
    for _ in 0..1000 {
        if site.read("outbox?state=pending").await["total"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    site.restart().await;
    site.begin();
    site.set("03-01T10:20");
    site.track("a", "Page Viewed", json!({"page": "/"}), None).await;
    assert_eq!(site.read("outbox?state=pending").await["total"], 0);
    assert_eq!(sink.got("rule").len(), 2, "it has been taken");
    assert_eq!((got[0].header("webhook-id"), &got[0].text), (got[1].header("webhook-id"), &got[1].text));
    assert_eq!(got[1].json(), body(&got[1], &site.profile("a").await, "met", 2));
}
