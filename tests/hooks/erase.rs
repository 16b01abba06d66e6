//! What is erased is not sent any more: jobs go with the entry that they came from, whatever state they are in.

use super::common;
use super::sink::{Behaviour, Sink};
use super::site::Site;
use super::{near, offer, webhook};
use lodestone::config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const START: &str = "03-01T10:00";
const LATER: &str = "03-01T10:30";

/// A server whose offer has a webhook to the sink, on a clock that only the test moves: nothing is tried
/// again before it does.
async fn site(sink: &Sink, adjust: impl FnOnce(&mut Config)) -> Site {
    let configure = |config: &mut Config| {
        near(config);
        adjust(config);
    };
    let site = Site::configured(START, &common::catalog(), configure).await;
    site.apply(&offer(&json!([webhook("accepted", &sink.url("hook"), false)]), &json!([]))).await;
    site.begin();
    site
}

async fn accept(site: &Site, user: &str) {
    site.track(user, "Page Viewed", json!({"page": "/"}), None).await;
    site.act(user, "Offer", "accept").await;
}

/// Erases what somebody accepted.
async fn erase(site: &Site, user: &str) {
    let profile = site.profile(user).await;
    let accepted = profile["events"].as_array().expect("a list").iter().find(|event| event["event"] == "accepted");
    let id = accepted.expect("it is in the log")["id"].as_str().expect("an id");
    let path = format!("profiles/{}/events/{id}", profile["id"].as_str().expect("an id"));
    assert_eq!(site.admin(Method::DELETE, &path).await, (204, Value::Null));
}

/// Waits until so many jobs are in a state: whose they are, sorted.
async fn outbox(site: &Site, state: &str, count: usize) -> Vec<String> {
    for _ in 0..1000 {
        let found = site.read(&format!("outbox?state={state}")).await;
        let jobs = found["data"].as_array().expect("a list");
        // Called, and told what came of it.
        if jobs.len() == count && jobs.iter().all(|job| job["state"] != "running" && job["tries"] != 0) {
            let mut users: Vec<String> = jobs.iter().map(|job| job["userId"].as_str().expect("a user").to_owned()).collect();
            users.sort();
            return users;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {count} {state}: {:#}", site.read(&format!("outbox?state={state}")).await);
}

/// Whose calls the sink got.
fn callers(sink: &Sink) -> Vec<String> {
    sink.got("hook").iter().map(|got| got.json()["userId"].as_str().expect("a user").to_owned()).collect()
}

async fn erased(site: &Site, state: &str) -> f64 {
    let line = format!("lodestone_outbox_erased_total{{state=\"{state}\"}} ");
    let text = site.metrics().await;
    let value = text.lines().find_map(|one| one.strip_prefix(&line)).expect("a metric");
    value.parse().expect("a number")
}

/// The receiver is down, the reaction is erased, the receiver comes back: the call never comes, neither from
/// the journal nor from what a checkpoint wrote before the erasure or after it. Those of others do.
#[tokio::test(flavor = "multi_thread")]
async fn a_queued_webhook_goes_with_its_reaction() {
    for written in [false, true] {
        let sink = Sink::start().await;
        sink.answer("hook", &[(503, "")]);
        let mut site = site(&sink, |_| ()).await;
        for user in ["a", "b"] {
            accept(&site, user).await;
        }
        assert_eq!(outbox(&site, "pending", 2).await, ["a", "b"]);
        if written {
            site.checkpoint().await;
        }
        let before = erased(&site, "pending").await;
        erase(&site, "a").await;
        assert!(erased(&site, "pending").await > before, "it is counted");
        assert_eq!(outbox(&site, "pending", 1).await, ["b"]);
        // From the journal, over the rows that the checkpoint wrote, if there was one.
        site.restart().await;
        assert_eq!(outbox(&site, "pending", 1).await, ["b"], "written: {written}");
        site.checkpoint().await;
        site.restart().await;
        assert_eq!(outbox(&site, "pending", 1).await, ["b"], "written: {written}");
        sink.answer("hook", &[(200, "")]);
        let down = callers(&sink).len();
        site.set(LATER);
        site.begin();
        outbox(&site, "pending", 0).await;
        outbox(&site, "dead", 0).await;
        assert_eq!(callers(&sink)[down..], ["b"], "written: {written}");
    }
}

/// A call that is under way when its reaction is erased ends as it ends. It is not repeated, nor is it kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_not_repeated() {
    let sink = Sink::start().await;
    let slow = Behaviour { answers: vec![(503, String::new())], delay: Duration::from_millis(400), ..Behaviour::default() };
    sink.behave("hook", slow);
    let mut site = site(&sink, |config| config.outbox.tries = 2).await;
    accept(&site, "a").await;
    assert_eq!(sink.wait("hook", 1).await.len(), 1);
    let before = erased(&site, "running").await;
    erase(&site, "a").await;
    assert!(erased(&site, "running").await > before, "it is counted");
    outbox(&site, "pending", 0).await;
    sink.answer("hook", &[(200, "")]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    site.set(LATER);
    accept(&site, "b").await;
    outbox(&site, "pending", 0).await;
    outbox(&site, "dead", 0).await;
    assert_eq!(callers(&sink), ["a", "b"]);
    site.restart().await;
    site.begin();
    accept(&site, "c").await;
    assert_eq!(sink.wait("hook", 3).await.len(), 3);
    outbox(&site, "pending", 0).await;
    assert_eq!(callers(&sink), ["a", "b", "c"]);
}

/// What was given up goes as well, so that nobody can send it again; and so does what is older than history.
#[tokio::test(flavor = "multi_thread")]
async fn given_up_jobs_go_with_their_entries() {
    let sink = Sink::start().await;
    sink.answer("hook", &[(410, "")]);
    let mut site = site(&sink, |config| config.retention.history = Some(Duration::from_secs(2 * 86_400))).await;
    for user in ["a", "b"] {
        accept(&site, user).await;
    }
    assert_eq!(outbox(&site, "dead", 2).await, ["a", "b"]);
    let dead = site.read("outbox?state=dead").await;
    let of_a = dead["data"].as_array().expect("a list").iter().find(|job| job["userId"] == "a").expect("a job");
    let path = format!("outbox/{}", of_a["id"].as_str().expect("an id"));
    erase(&site, "a").await;
    assert_eq!(outbox(&site, "dead", 1).await, ["b"]);
    assert_eq!(site.admin(Method::POST, &format!("{path}/replay")).await.0, 404);
    site.set("03-03T10:00");
    accept(&site, "c").await;
    assert_eq!(outbox(&site, "dead", 2).await, ["b", "c"], "two days are kept");
    site.set("03-04T10:00");
    let engine = site.engine();
    let swept = tokio::task::spawn_blocking(move || engine.sweep_history()).await.expect("it runs");
    assert!(swept.entries > 0, "{swept:?}");
    assert_eq!(outbox(&site, "dead", 1).await, ["c"]);
    site.restart().await;
    assert_eq!(outbox(&site, "dead", 1).await, ["c"]);
    assert_eq!(sink.got("hook").len(), 3);
}
