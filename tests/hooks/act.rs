//! Hooks whose answer decides about the act.

use super::common::{TA, TS, TW};
use super::sink::Behaviour;
use super::{ACTION, Stage, cap, track, webhook};
use reqwest::StatusCode;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// T-64: a limit of 100, a thousand accepts at once: 100 are taken, 900 refused, the webhook called 100 times.
#[tokio::test(flavor = "multi_thread")]
async fn t64_a_total_cap_holds_with_hooks_under_way() {
    let stage = Arc::new(Stage::new().await);
    stage.sink.behave("hook", Behaviour { delay: Duration::from_millis(50), ..Behaviour::default() });
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), cap("all", 100));
    for user in 0..1000 {
        stage.meet(&format!("u{user}")).await;
    }
    let mut accepts = tokio::task::JoinSet::new();
    for user in 0..1000 {
        let stage = stage.clone();
        accepts.spawn(async move { stage.accept(&format!("u{user}"), None).await });
    }
    let (mut taken, mut capped) = (0, 0);
    while let Some(answer) = accepts.join_next().await {
        match answer.expect("an answer") {
            (StatusCode::OK, ..) => taken += 1,
            (StatusCode::BAD_REQUEST, _, Some(code)) if code == "action_cap_reached" => capped += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((taken, capped, stage.sink.got("hook").len()), (100, 900, 100));
}

/// T-65: a webhook that says no gives the place back.
#[tokio::test]
async fn t65_a_place_that_a_webhook_refused_goes_to_the_next() {
    let stage = Stage::new().await;
    stage.sink.answer("hook", &[(500, "no"), (200, "yes")]);
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), cap("all", 1));
    for user in ["a", "b", "c"] {
        stage.meet(user).await;
    }
    let (status, body, code) = stage.accept("a", None).await;
    assert_eq!((status.as_u16(), code.as_deref()), (500, Some("hook_failed")));
    assert_eq!((&body["statusCode"], &body["body"]), (&json!(500), &json!("no")));
    assert_eq!(stage.reactions("a", "accepted").await, 0);
    let (status, body, _) = stage.accept("b", None).await;
    assert_eq!((status.as_u16(), &body["body"]), (200, &json!("yes")));
    assert_eq!(stage.reactions("b", "accepted").await, 1);
    let (status, _, code) = stage.accept("c", None).await;
    assert_eq!((status.as_u16(), code.as_deref()), (400, Some("action_cap_reached")));
}

/// A user's own cap counts what is under way as well.
#[tokio::test]
async fn a_user_cap_counts_what_waits_for_its_hook() {
    let stage = Stage::new().await;
    stage.sink.behave("hook", Behaviour { delay: Duration::from_millis(200), ..Behaviour::default() });
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), cap("user", 1));
    stage.meet("a").await;
    let (one, two) = tokio::join!(stage.accept("a", Some("m1")), stage.accept("a", Some("m2")));
    let mut statuses = [one.0.as_u16(), two.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!((statuses, stage.sink.got("hook").len()), ([200, 400], 1));
}

/// T-67, I-45: one id is one reaction and one call, whether it comes again later or while the first waits.
#[tokio::test]
async fn t67_i45_one_id_is_one_reaction_and_one_call() {
    let stage = Stage::new().await;
    let answers = vec![(200, "first".to_owned()), (200, "second".to_owned())];
    stage.sink.behave("hook", Behaviour { answers, delay: Duration::from_millis(150), ..Behaviour::default() });
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), json!([]));
    stage.meet("a").await;
    let at_once = futures_util::future::join_all((0..10).map(|_| stage.accept("a", Some("m1")))).await;
    for (status, body, _) in &at_once {
        assert_eq!((status.as_u16(), &body["body"]), (200, &json!("first")));
    }
    assert_eq!(stage.accept("a", Some("m1")).await, at_once[0]);
    // Out of the history on disk as well as out of memory.
    let engine = stage.server.engine.clone();
    tokio::task::spawn_blocking(move || engine.checkpoint()).await.expect("runs").expect("a checkpoint is written");
    assert_eq!(stage.accept("a", Some("m1")).await, at_once[0]);
    assert_eq!((stage.reactions("a", "accepted").await, stage.sink.got("hook").len()), (1, 1));
    assert_eq!(stage.sink.got("hook")[0].header("x-lodestone-act-id"), "m1");
    // The same id under another name says nothing about the first person's answer.
    stage.meet("b").await;
    let (status, body, _) = stage.accept("b", Some("m1")).await;
    assert_eq!((status.as_u16(), body), (200, json!({})));
}

/// T-70: the first webhook that says no ends it.
#[tokio::test]
async fn t70_the_first_failure_stops_the_chain() {
    let stage = Stage::new().await;
    stage.sink.answer("one", &[(500, "no")]);
    let hooks = json!([webhook("accepted", &stage.sink.url("one"), true), webhook("accepted", &stage.sink.url("two"), true)]);
    stage.offer(hooks, json!([]));
    stage.meet("a").await;
    assert_eq!(stage.accept("a", None).await.0.as_u16(), 500);
    assert_eq!((stage.sink.got("one").len(), stage.sink.got("two").len()), (1, 0));
    assert_eq!(stage.reactions("a", "accepted").await, 0);
}

/// A-2, B-56: a hook that agreed is not called again for the same act because a later one did not.
#[tokio::test]
async fn b56_a_retry_does_not_repeat_what_agreed() {
    let stage = Stage::new().await;
    stage.sink.answer("one", &[(200, "1")]);
    stage.sink.answer("two", &[(503, "later"), (200, "2")]);
    let hooks = json!([webhook("accepted", &stage.sink.url("one"), true), webhook("accepted", &stage.sink.url("two"), true)]);
    stage.offer(hooks, json!([]));
    stage.meet("a").await;
    assert_eq!(stage.accept("a", Some("m1")).await.0.as_u16(), 503);
    let (status, body, _) = stage.accept("a", Some("m1")).await;
    assert_eq!((status.as_u16(), &body["body"]), (200, &json!("2")), "the answer of the last one");
    let (one, two) = (stage.sink.got("one"), stage.sink.got("two"));
    assert_eq!((one.len(), two.len()), (1, 2));
    assert_eq!(two[0].header("webhook-id"), two[1].header("webhook-id"), "the receiver knows the repeat");
}

/// T-71: an event that a hook tracks is a part of the act: trait and audience follow before its answer.
#[tokio::test]
async fn t71_an_event_of_a_hook_belongs_to_the_act() {
    let stage = Stage::new().await;
    stage.offer(json!([track("accepted", "Redeemed")]), json!([]));
    stage.meet("a").await;
    assert_eq!(stage.accept("a", None).await.0, StatusCode::OK);
    let profile = stage.server.profile("a").await.expect("exists");
    assert_eq!(profile["computedTraits"]["redeemed"], 1);
    assert_eq!(profile["audiences"][0]["key"], "redeemers");
    assert_eq!(stage.server.events("a", "Redeemed").await, 1);
    stage.outbox("pending", 0).await;
}

/// it is validated like any other, and what is refused is seen.
#[tokio::test]
async fn a8_an_event_of_a_hook_is_validated() {
    let stage = Stage::new().await;
    stage.offer(json!([track("accepted", "Strict")]), json!([]));
    stage.meet("a").await;
    assert_eq!(stage.accept("a", None).await.0, StatusCode::OK);
    assert_eq!(stage.server.events("a", "Strict").await, 0);
    let dead = stage.outbox("dead", 1).await;
    assert_eq!((&dead[0]["kind"], &dead[0]["lastFailure"]), (&json!("event"), &json!("event_properties_invalid")));
    // With what it asks for it passes: the properties of the act are those of the event.
    let body = json!({"userId": "a", "actionId": ACTION, "event": "accept", "properties": {"p": 3}});
    assert_eq!(stage.post("/v1/actions/act", TA, &body).await.0, StatusCode::OK);
    assert_eq!(stage.server.events("a", "Strict").await, 1);
}

/// I-43: 500 accepts at once for 100 places, without hooks.
#[tokio::test(flavor = "multi_thread")]
async fn i43_a_total_cap_holds() {
    let stage = Arc::new(Stage::new().await);
    stage.offer(json!([]), cap("all", 100));
    for user in 0..500 {
        stage.meet(&format!("u{user}")).await;
    }
    let mut accepts = tokio::task::JoinSet::new();
    for user in 0..500 {
        let stage = stage.clone();
        accepts.spawn(async move { stage.accept(&format!("u{user}"), None).await.0 });
    }
    let answers = accepts.join_all().await;
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(StatusCode::OK), count(StatusCode::BAD_REQUEST)), (100, 400));
}

/// I-44, B-54: the webhook's status is the answer's; nothing is recorded; a browser gets no signature.
#[tokio::test]
async fn i44_the_status_of_the_webhook_is_that_of_the_act() {
    let stage = Stage::new().await;
    stage.sink.answer("hook", &[(409, "taken")]);
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), json!([]));
    let body = json!({"userId": "a", "event": "Page Viewed", "properties": {"page": "/"}, "context": {"country": "DE"}});
    assert_eq!(stage.post("/v1/track", TW, &body).await.0, StatusCode::NO_CONTENT);
    let act = json!({"userId": "a", "actionId": ACTION, "event": "accept"});
    let (status, body, _) = stage.post("/v1/actions/act", TW, &act).await;
    assert_eq!((status.as_u16(), body), (409, json!({"statusCode": 409, "body": "taken", "error": ""})));
    let (status, body, _) = stage.post("/v1/actions/act", TS, &act).await;
    assert_eq!(status.as_u16(), 409);
    let sent = stage.sink.got("hook")[1].header("x-attractify-signature").to_owned();
    assert_eq!(body["signature"], sent, "a server gets it");
    assert_eq!(stage.reactions("a", "accepted").await, 0);
}

/// Nobody there, or no address that may be called: 502, and nothing is recorded.
#[tokio::test]
async fn a_webhook_without_an_answer_refuses_the_act() {
    let stage = Stage::new().await;
    stage.meet("a").await;
    for url in ["http://127.0.0.1:1/", "http://127.0.0.2/", "http://169.254.169.254/", "http://[::1]/"] {
        stage.offer(json!([webhook("accepted", url, true)]), cap("all", 1));
        let (status, body, _) = stage.accept("a", None).await;
        assert_eq!((status.as_u16(), &body["statusCode"]), (502, &json!(-1)), "{url}");
        assert_ne!(body["error"], "", "{url}");
    }
    assert_eq!(stage.reactions("a", "accepted").await, 0);
}

/// All hooks of an act together have the time of one.
#[tokio::test]
async fn an_act_does_not_wait_for_ever() {
    let stage = Stage::configured(|config| config.hooks.timeout = Duration::from_millis(300)).await;
    stage.sink.behave("slow", Behaviour { delay: Duration::from_millis(200), ..Behaviour::default() });
    let slow = webhook("accepted", &stage.sink.url("slow"), true);
    stage.offer(json!([slow, slow, slow]), cap("all", 1));
    stage.meet("a").await;
    let began = std::time::Instant::now();
    assert_eq!(stage.accept("a", None).await.0.as_u16(), 502);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(stage.reactions("a", "accepted").await, 0);
}

/// The person is merged into another while the webhook is called: the reaction goes along.
#[tokio::test]
async fn a_merge_in_between_takes_the_reaction_along() {
    let stage = Stage::new().await;
    stage.sink.behave("hook", Behaviour { delay: Duration::from_millis(300), ..Behaviour::default() });
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), cap("user", 1));
    stage.meet("anon").await;
    stage.meet("ada").await;
    let identify = async {
        stage.sink.wait("hook", 1).await;
        let body = json!({"userId": "ada", "type": "user_id", "previousUserId": "anon"});
        assert_eq!(stage.post("/v1/identify", TA, &body).await.0, StatusCode::NO_CONTENT);
        stage.accept("ada", None).await.2
    };
    let (accepted, meanwhile) = tokio::join!(stage.accept("anon", None), identify);
    assert_eq!(accepted.0, StatusCode::OK);
    assert_eq!(meanwhile.as_deref(), Some("action_cap_reached"), "the place is held by the one who took over");
    assert_eq!(stage.reactions("ada", "accepted").await, 1);
}

/// More acts that wait than there may be are sent away at once, and take no place.
#[tokio::test]
async fn too_many_that_wait_are_sent_away() {
    let stage = Stage::configured(|config| config.hooks.acts_max = 1).await;
    stage.sink.behave("hook", Behaviour { delay: Duration::from_millis(300), ..Behaviour::default() });
    stage.offer(json!([webhook("accepted", &stage.sink.url("hook"), true)]), cap("all", 2));
    stage.meet("a").await;
    stage.meet("b").await;
    let second = async {
        stage.sink.wait("hook", 1).await;
        stage.accept("b", None).await.0
    };
    let (first, second) = tokio::join!(stage.accept("a", None), second);
    assert_eq!((first.0.as_u16(), second.as_u16()), (200, 429));
    assert_eq!(stage.accept("b", None).await.0, StatusCode::OK);
}
