//! T-75 to T-82: what comes up, stays, is taken back, in which order, and why.

use crate::common::TW;
use crate::rig::{NONE, Stage, TEN, Visitor, action, goes};
use lodestone::engine::api::{Caller, ListInput};
use serde_json::{Value, json};

fn poll(stage: &Stage, user: &str, session: Option<&str>) -> Vec<String> {
    let grant = stage.server.engine.authenticate(TW).expect("a token");
    let caller = Caller { channel: grant.channel.expect("a channel"), grant };
    let input = ListInput { user_id: user, session_id: session, ..ListInput::default() };
    let listed = stage.server.engine.list_actions(&caller, &input).expect("a list");
    let title = |action: &lodestone_state::action::push::DeliveredAction| {
        serde_json::to_value(action).expect("JSON")["properties"]["title"].as_str().expect("a title").to_owned()
    };
    listed.actions.iter().map(title).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn t75_one_push_and_one_delivery() {
    let stage = Stage::new(TEN, &[action("Hello", &json!({}))]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Hello"]);
    visitor.seen().await;
    visitor.seen().await;
    assert_eq!(stage.reactions("a1", "delivered", "Hello").await, 1);
    for _ in 0..3 {
        assert_eq!(visitor.go().await, NONE);
    }
    assert_eq!(stage.reactions("a1", "delivered", "Hello").await, 1);
    for _ in 0..5 {
        assert_eq!(poll(&stage, "a2", Some("s-1")), ["Hello"]);
    }
    assert_eq!(stage.reactions("a2", "delivered", "Hello").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn t76_a_trait_crosses_and_crosses_back() {
    let best = |operator: &str| json!({"traitConditions": [{"source": "computed", "key": "best", "type": "float", "operator": operator, "value": 100}]});
    let few = json!({"traitConditions": [
        {"source": "computed", "key": "goes", "type": "integer", "operator": "less_than", "value": 2}]});
    let actions = [action("Rich", &json!({"targeting": best("greater_than")})), action("New", &json!({"targeting": few}))];
    let stage = Stage::new(TEN, &actions).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["New"]);
    assert_eq!(visitor.go_with(&json!({"n": 150})).await, ["+Rich"], "before the acknowledgement of its event");
    assert_eq!(visitor.go_with(&json!({"n": 3})).await, ["-New targeting"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t77_answered_it_stays_away_until_it_comes_anew() {
    for verb in ["decline", "hide", "accept"] {
        let stage = Stage::new(TEN, &[action("Offer", &json!({"targeting": {"audiences": ["Goers"]}}))]).await;
        let (mut visitor, _) = stage.visitor("a1").await;
        assert_eq!(visitor.go().await, ["+Offer"]);
        assert_eq!(visitor.react("Offer", "show").await, NONE);
        assert_eq!(visitor.react("Offer", verb).await, NONE, "closed without a revoke");
        assert_eq!(visitor.go().await, NONE, "not on further events");
        assert_eq!(stage.visitor("a1").await.1, ["Offer"], "another connection is another matter");
        // The hour passes: out of the audience without a word, and in again.
        stage.pass("2024-03-01T11:00:00Z");
        assert_eq!(visitor.fence().await, NONE);
        assert_eq!(visitor.go().await, ["+Offer"], "after {verb}");
        // To subscribe anew opens it too.
        visitor.react("Offer", verb).await;
        assert_eq!(visitor.subscribe("s", &json!({})).await, ["Offer"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t78_a_resume_within_ten_seconds_sends_nothing_again() {
    let stage = Stage::new(TEN, &[action("Hello", &json!({}))]).await;
    let (visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Hello"]);
    // Not acknowledged before the cut; the resume says so.
    let Visitor { client, welcome, seq, .. } = visitor;
    client.cut();
    stage.pass("2024-03-01T10:00:10Z");
    let resume = json!({"token": welcome["resumeToken"], "lastSeq": seq});
    let mut again = Visitor::new(stage.server.hello(json!({"token": TW, "anonymousId": "a1", "resume": resume})).await);
    assert_eq!(again.welcome["resumed"], true);
    again.seq = seq;
    assert_eq!(again.fence().await, NONE);
    assert_eq!(again.go().await, NONE);
    again.seen().await;
    assert_eq!(stage.reactions("a1", "delivered", "Hello").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn t79_order_and_slots() {
    let of = |title: &str, priority: i64, more: &Value| {
        let mut one = action(title, more);
        one["priority"] = priority.into();
        one
    };
    let actions = [of("Low", 1, &json!({})), of("Older", 5, &json!({})), of("Younger", 5, &json!({}))];
    let mut stage = Stage::new(TEN, &actions).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Older", "Younger", "Low"]);
    // One slot for all of them: the older of the best.
    let hero = json!({"slot": "hero"});
    let slotted = |state: &str| {
        let mut older = of("Older", 5, &hero);
        older["state"] = state.into();
        [of("Low", 1, &hero), older, of("Younger", 5, &hero)]
    };
    stage.define(&slotted("active"));
    let mut told = visitor.wait_for(3).await;
    told.sort();
    assert_eq!(told, ["-Low superseded", "-Younger superseded", "=Older"]);
    stage.define(&slotted("inactive"));
    assert_eq!(visitor.wait_for(2).await, ["-Older inactive", "+Younger"]);
    stage.define(&slotted("active"));
    assert_eq!(visitor.wait_for(2).await, ["-Younger superseded", "+Older"]);
    // Several that come up at once come best first.
    let sudden = |title: &str, priority: i64| of(title, priority, &json!({"targeting": goes(1)}));
    stage.define(&[sudden("C", 1), sudden("A", 9), sudden("B", 9)]);
    assert_eq!(visitor.go().await, ["+A", "+B", "+C"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t80_state_and_time() {
    let soon = action("Soon", &json!({"targeting": {"start": {"date": "2024-03-01", "time": "12:00"}}}));
    let mut stage = Stage::new(TEN, &[action("Hello", &json!({})), soon.clone()]).await;
    let (mut one, first) = stage.visitor("a1").await;
    let (mut other, _) = stage.visitor("a2").await;
    assert_eq!(first, ["Hello"]);
    stage.define(&[action("Hello", &json!({"state": "inactive"})), soon.clone()]);
    for visitor in [&mut one, &mut other] {
        assert_eq!(visitor.wait_for(1).await, ["-Hello inactive"]);
    }
    stage.define(&[action("Hello", &json!({})), soon]);
    for visitor in [&mut one, &mut other] {
        assert_eq!(visitor.wait_for(1).await, ["+Hello"]);
    }
    stage.pass("2024-03-01T10:59:59.999Z");
    assert_eq!(one.fence().await, NONE);
    stage.pass("2024-03-01T11:00:00Z");
    for visitor in [&mut one, &mut other] {
        assert_eq!(visitor.fence().await, ["+Soon"]);
    }
    stage.remove("Hello");
    for visitor in [&mut one, &mut other] {
        assert_eq!(visitor.wait_for(1).await, ["-Hello deleted"]);
    }
}

// The timer and the event are one input: what the timer makes true, the event makes false again.
#[tokio::test(flavor = "multi_thread")]
async fn t82_only_the_net_effect_of_an_input() {
    let stage = Stage::new(TEN, &[action("Once", &json!({"targeting": {"audiences": ["Once"]}}))]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    assert_eq!(visitor.go().await, ["+Once"]);
    stage.pass("2024-03-01T10:30:00Z");
    assert_eq!(visitor.go().await, ["-Once audience"]);
    // At 11:00 the first of the two is too old: one is left until the third comes, at that very instant.
    stage.set("2024-03-01T11:00:00Z");
    assert_eq!(visitor.go().await, NONE);
    // At 11:30 the second is too old; nobody comes.
    stage.pass("2024-03-01T11:30:00Z");
    assert_eq!(visitor.fence().await, ["+Once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_say_where() {
    let cart = json!({"contextConditions": [{"channel": "web", "key": "page", "type": "string", "operator": "starts_with", "value": "/cart"}]});
    let stage = Stage::new(TEN, &[action("Cart", &json!({"targeting": cart}))]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, NONE);
    let context = |page: &str, id: &str| json!({"t": "context", "id": id, "context": {"page": page}});
    assert_eq!(visitor.ask(context("/cart", "c1")).await.0, ["+Cart"]);
    assert_eq!(visitor.ask(context("/cart/2", "c2")).await.0, NONE);
    assert_eq!(visitor.ask(context("/home", "c3")).await.0, ["-Cart targeting"]);
}

// acceptGraceSec: what ended a moment ago may still be accepted; without it, or later, it may not.
#[tokio::test(flavor = "multi_thread")]
async fn a_grace_for_those_who_were_about_to() {
    let until = |title: &str, grace: u32| {
        action(title, &json!({"acceptGraceSec": grace, "targeting": {"end": {"date": "2024-03-01", "time": "12:00"}}}))
    };
    let stage = Stage::new(TEN, &[until("Strict", 0), until("Kind", 60)]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Strict", "Kind"]);
    stage.pass("2024-03-01T11:00:00Z");
    assert_eq!(visitor.fence().await, ["-Strict expired", "-Kind expired"]);
    stage.pass("2024-03-01T11:00:59Z");
    let (_, refused) = visitor.try_react("Strict", "accept").await;
    assert_eq!(
        (refused["code"].as_str(), refused["details"][0]["rule"].as_str()),
        (Some("action_not_allowed"), Some("wrong_time"))
    );
    assert_eq!(visitor.try_react("Kind", "accept").await.1["t"], "acted");
    stage.pass("2024-03-01T11:01:01Z");
    assert_eq!(visitor.try_react("Kind", "accept").await.1["code"], "action_not_allowed");
}
