//! Frequency budgets and quiet hours, over the sockets of one person.

use crate::common::{TA, with};
use crate::rig::{NONE, Stage, TEN, Visitor, action, document, goes};
use serde_json::{Value, json};

fn of(title: &str, priority: i64, tags: &[&str]) -> Value {
    action(title, &json!({"priority": priority, "tags": tags, "targeting": goes(1)}))
}

fn budget(event: &str, count: u32, more: &Value) -> Value {
    with(json!({"name": format!("{count} {event}"), "event": event, "count": count, "within": 1, "withinUnit": "days"}), more)
}

async fn stage(now: &str, actions: &[Value], budgets: &[Value]) -> Stage {
    Stage::with(now, document(actions, budgets), |_| ()).await
}

// One delivery a day: of two actions at one moment the better one, and on no other socket of the person.
#[tokio::test(flavor = "multi_thread")]
async fn one_delivery_a_day_is_one() {
    let actions = [of("Low", 1, &["offer"]), of("High", 9, &["offer"]), of("Free", 0, &[])];
    let stage = stage(TEN, &actions, &[budget("delivered", 1, &json!({"tags": ["offer"]}))]).await;
    let (mut one, _) = stage.visitor("a1").await;
    let (mut other, _) = stage.visitor("a1").await;
    let mut app = Visitor::new(stage.server.hello(json!({"token": TA, "anonymousId": "a1"})).await);
    assert_eq!(app.subscribe("s", &json!({})).await, NONE);
    let mut all = one.go().await;
    all.extend(other.fence().await);
    all.extend(app.fence().await);
    all.sort();
    assert_eq!(all, ["+Free", "+Free", "+Free", "+High"]);
    // Acknowledged or not, a place that is taken is taken; and what stands is not taken back by it.
    for visitor in [&mut one, &mut other, &mut app] {
        visitor.seen().await;
        assert_eq!(visitor.fence().await, NONE);
    }
    assert_eq!(stage.reactions("a1", "delivered", "High").await, 1);
    assert_eq!(stage.reactions("a1", "delivered", "Low").await, 0);
    stage.pass("2024-03-02T09:59:59.999Z");
    assert_eq!(one.fence().await, NONE);
    stage.pass("2024-03-02T10:00:00Z");
    let mut next = Vec::new();
    for visitor in [&mut one, &mut other, &mut app] {
        next.extend(visitor.fence().await);
    }
    assert_eq!(next.len(), 1, "one more, on one of the sockets: {next:?}");
}

// Nobody ever acknowledged it, and nobody comes back: it was not delivered, and the place is another's.
#[tokio::test(flavor = "multi_thread")]
async fn what_never_arrived_gives_its_place_back() {
    let actions = [of("High", 9, &[]), of("Low", 1, &[])];
    let stage = stage(TEN, &actions, &[budget("delivered", 1, &json!({}))]).await;
    let (mut lost, _) = stage.visitor("a1").await;
    assert_eq!(lost.go().await, ["+High"]);
    let (mut here, first) = stage.visitor("a1").await;
    assert_eq!(first, NONE);
    lost.client.cut();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    stage.pass("2024-03-01T10:01:59Z");
    assert_eq!(stage.server.engine.expire_sessions(), 0);
    assert_eq!(here.fence().await, NONE, "it can still be resumed");
    stage.pass("2024-03-01T10:02:01Z");
    assert_eq!(stage.server.engine.expire_sessions(), 1);
    assert_eq!(here.fence().await, ["+High"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn shown_twice_a_day_over_all_actions() {
    let actions = [of("A", 3, &[]), of("B", 2, &[]), of("C", 1, &[])];
    let stage = stage(TEN, &actions, &[budget("shown", 2, &json!({}))]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    assert_eq!(visitor.go().await, ["+A", "+B", "+C"], "to come up is not to be shown");
    assert_eq!(visitor.react("A", "show").await, NONE);
    stage.pass("2024-03-01T12:00:00Z");
    assert_eq!(visitor.react("B", "show").await, ["-A capped", "-B capped", "-C capped"]);
    let (_, refused) = visitor.try_react("C", "show").await;
    assert_eq!((refused["code"].as_str(), refused["details"][0]["rule"].as_str()), (Some("action_cap_reached"), Some("budget")));
    stage.pass("2024-03-02T09:59:59.999Z");
    assert_eq!(visitor.fence().await, NONE);
    stage.pass("2024-03-02T10:00:00Z");
    assert_eq!(visitor.fence().await, ["+A", "+B", "+C"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn accepted_once_of_one_slot() {
    let slotted = |title: &str| action(title, &json!({"slot": "deal", "targeting": goes(1)}));
    let budgets = [budget("accepted", 1, &json!({"slot": "deal", "within": 0}))];
    let stage = stage(TEN, &[slotted("First"), slotted("Second"), of("Free", 0, &[])], &budgets).await;
    let (mut one, _) = stage.visitor("a1").await;
    let (mut other, _) = stage.visitor("a1").await;
    assert_eq!(one.go().await, ["+First", "+Free"]);
    other.fence().await;
    assert_eq!(one.react("First", "accept").await, NONE);
    assert_eq!(other.fence().await, ["-First capped"], "and the second does not take its place");
    let id = stage.id("Second");
    let (_, refused) = one.ask(json!({"t": "act", "id": "x", "actionId": id, "event": "accept"})).await;
    assert_eq!(refused["code"], "action_cap_reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_take_back_and_bring_again() {
    let quiet = json!({"name": "Night", "tags": ["loud"], "quietHours": {"start": "22:00", "end": "08:00"}});
    let stage = stage("2024-03-30T20:00:00Z", &[of("Loud", 1, &["loud"]), of("Soft", 0, &[])], &[quiet]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    assert_eq!(visitor.go().await, ["+Loud", "+Soft"]);
    stage.pass("2024-03-30T20:59:59.999Z");
    assert_eq!(visitor.fence().await, NONE);
    stage.pass("2024-03-30T21:00:00Z");
    assert_eq!(visitor.fence().await, ["-Loud expired"]);
    let (mut late, _) = stage.visitor("a2").await;
    assert_eq!(late.go().await, ["+Soft"]);
    assert_eq!(visitor.try_react("Loud", "accept").await.1["t"], "acted", "nobody is refused for the hour");
    // The clocks go forward that night: 08:00 is at 06:00 UTC.
    stage.pass("2024-03-31T05:59:59.999Z");
    assert_eq!(late.fence().await, NONE);
    stage.pass("2024-03-31T06:00:00Z");
    assert_eq!(late.fence().await, ["+Loud"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_people_have_spent_what_both_have_spent() {
    let stage = stage(TEN, &[of("A", 1, &[]), of("B", 0, &[])], &[budget("shown", 2, &json!({}))]).await;
    let (mut one, _) = stage.visitor("a1").await;
    let (mut other, _) = stage.visitor("u1").await;
    one.go().await;
    other.go().await;
    assert_eq!(one.react("A", "show").await, NONE);
    assert_eq!(other.react("B", "show").await, NONE);
    let merge = json!({"t": "identify", "id": "m", "userId": "u1", "type": "user_id", "previousUserId": "a1"});
    let (mut told, _) = one.ask(merge).await;
    told.extend(one.fence().await);
    assert_eq!(told, ["-A identity_changed", "-B identity_changed"]);
    assert_eq!(other.try_react("A", "show").await.1["code"], "action_cap_reached");
}

// A poll that says who it is keeps what was delivered to it; another one finds the place taken.
#[tokio::test(flavor = "multi_thread")]
async fn polls_keep_what_they_have() {
    use lodestone::engine::api::{Caller, ListInput};
    let stage =
        stage(TEN, &[action("Only", &json!({})), action("Other", &json!({}))], &[budget("delivered", 1, &json!({}))]).await;
    let grant = stage.server.engine.authenticate(TA).expect("a token");
    let caller = Caller { channel: grant.channel.expect("a channel"), grant };
    let poll = |session| {
        let input = ListInput { user_id: "a1", session_id: session, ..ListInput::default() };
        stage.server.engine.list_actions(&caller, &input).expect("a list").actions.len()
    };
    for _ in 0..3 {
        assert_eq!(poll(Some("s-1")), 1);
    }
    assert_eq!(poll(Some("s-2")), 0);
    assert_eq!(poll(None), 0);
    assert_eq!(stage.reactions("a1", "delivered", "Only").await, 1);
    stage.pass("2024-03-02T10:00:00Z");
    assert_eq!(poll(Some("s-2")), 1);
}
