//! A broken webhook or an absent trait never hides an action silently: it is offered, or the explanation says
//! what is in the way; and what fails is counted.

use super::common::{TA, TS};
use super::{ACTION, Stage, offer, track, webhook};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

async fn explained(stage: &Stage, user: &str) -> Value {
    let path = format!("/api/v1/explain?userId={user}&action={ACTION}&channel=app");
    let (status, told) = stage.admin(Method::GET, &path, None).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    told
}

/// The names of what somebody is offered.
async fn offered(stage: &Stage, user: &str) -> usize {
    let (status, due, _) = stage.post("/v1/actions", TA, &json!({"userId": user, "type": "banner"})).await;
    assert_eq!(status, StatusCode::OK, "{due}");
    due.as_array().expect("a list").len()
}

const BLOCKED: &str = "lodestone_hook_calls_total{mode=\"blocking\",outcome=\"5xx\"} ";
const QUEUED: &str = "lodestone_hook_calls_total{mode=\"queued\",outcome=\"5xx\"} ";
const REFUSED: &str = "lodestone_outbox_given_up_total{kind=\"event\",reason=\"other\"} ";

#[tokio::test(flavor = "multi_thread")]
async fn broken_hooks_hide_nothing() {
    let stage = Stage::configured(|config| config.outbox.tries = 2).await;
    stage.sink.answer("blocking", &[(500, "")]);
    stage.sink.answer("queued", &[(502, "")]);
    let hooks = json!([
        webhook("accepted", &stage.sink.url("blocking"), true),
        webhook("shown", &stage.sink.url("queued"), false),
        track("shown", "Strict")
    ]);
    stage.offer(hooks, json!([]));
    stage.meet("a").await;
    assert_eq!(explained(&stage, "a").await["hooks"], json!([]), "nothing has run yet");
    let before = [stage.metric(BLOCKED).await, stage.metric(QUEUED).await, stage.metric(REFUSED).await];
    assert_eq!(stage.accept("a", None).await.0, StatusCode::INTERNAL_SERVER_ERROR, "who accepts is told");
    let show = json!({"userId": "a", "actionId": ACTION, "event": "show"});
    assert_eq!(stage.post("/v1/actions/act", TA, &show).await.0, StatusCode::OK);
    // The webhook is given up after two tries, the event because its structure wants more than it has.
    stage.outbox("dead", 2).await;
    assert_eq!(offered(&stage, "a").await, 1, "it is offered all the same");
    let told = explained(&stage, "a").await;
    assert_eq!((&told["display"], &told["blockedBy"]), (&json!(true), &json!([])), "{told:#}");
    let mut failed: Vec<(u64, u64, &str)> = told["hooks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|hook| {
            let number = |key: &str| hook[key].as_u64().expect("a number");
            (number("hook"), number("failed"), hook["lastFailure"]["reason"].as_str().expect("a reason"))
        })
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, [(0, 1, "500"), (1, 2, "502"), (2, 1, "event_properties_invalid")]);
    let after = [stage.metric(BLOCKED).await, stage.metric(QUEUED).await, stage.metric(REFUSED).await];
    let counted: Vec<bool> =
        before.iter().zip(after).zip([1.0, 2.0, 1.0]).map(|((before, after), by)| after - before >= by).collect();
    assert_eq!(counted, [true; 3], "{before:?} {after:?}");
}

/// A condition on a trait that is absent stands in the way and is named; a placeholder for one does not.
#[tokio::test(flavor = "multi_thread")]
async fn an_absent_trait_is_told() {
    let stage = Stage::new().await;
    let mut document = offer(&json!([]), &json!([]));
    let action = &mut document["actions"][0];
    action["properties"] =
        json!([{"channels": ["app"], "type": "custom_trait", "name": "size", "sourceKey": "department", "sourceType": "string"}]);
    stage.define(&document);
    stage.meet("a").await;
    assert_eq!((offered(&stage, "a").await, &explained(&stage, "a").await["display"]), (1, &json!(true)));

    document["actions"][0]["targeting"]["traitConditions"] =
        json!([{"source": "custom", "key": "department", "type": "string", "operator": "not_equals", "value": "toys"}]);
    stage.define(&document);
    assert_eq!(offered(&stage, "a").await, 0);
    let told = explained(&stage, "a").await;
    assert_eq!((&told["display"], &told["blockedBy"]), (&json!(false), &json!(["Customtrait Conditions"])));
    let step = told["steps"].as_array().expect("steps").iter().find(|step| step["name"] == "Customtrait Conditions");
    let step = step.expect("it is a step");
    assert_eq!(step["state"], "fail");
    // A clause that saw nothing says so by saying nothing.
    assert_eq!(step["clauses"], json!([{"clause": "custom department not_equals \"toys\"", "holds": false}]));
    // What it proposes is what was absent.
    assert_eq!(told["flip"]["now"]["changes"][0]["key"], "department", "{told:#}");
    let identify = json!({"userId": "a", "type": "user_id", "isAnonymous": true, "traits": {"department": "toys"}});
    assert_eq!(stage.post("/v1/identify", TS, &identify).await.0, StatusCode::NO_CONTENT);
    let told = explained(&stage, "a").await;
    let step = told["steps"].as_array().expect("steps").iter().find(|step| step["name"] == "Customtrait Conditions");
    assert_eq!(step.expect("a step")["clauses"][0]["seen"], "toys", "{told:#}");
}
