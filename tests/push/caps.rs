//! T-64, T-66 to T-68 and T-81: caps of one person and of all.

use crate::common::TS;
use crate::rig::{NONE, Stage, TEN, action, cap, goes};
use serde_json::{Value, json};
use std::collections::HashMap;

const SOCKETS: usize = 20;
const EACH: usize = 50;

// A thousand people on twenty sockets, every socket with all its accepts in flight at once.
#[tokio::test(flavor = "multi_thread")]
async fn t64_a_hundred_places_are_a_hundred_places() {
    let stage = Stage::new(TEN, &[action("Coupon", &json!({"capping": cap("accepted", "all", 100, 0)}))]).await;
    let coupon = stage.id("Coupon");
    let mut tasks = tokio::task::JoinSet::new();
    for socket in 0..SOCKETS {
        let (mut client, _) = stage.server.hello(json!({"token": TS, "anonymousId": format!("feed-{socket}")})).await;
        let coupon = coupon.clone();
        tasks.spawn(async move {
            let user = |n: usize| format!("u-{socket}-{n}");
            let tracks: Vec<Value> = (0..EACH)
                .map(|n| json!({"t": "track", "id": format!("t-{socket}-{n}"), "event": "Go", "userId": user(n)}))
                .collect();
            client.send(json!({"t": "batch", "messages": tracks})).await;
            assert_eq!(client.results(EACH).await.len(), EACH);
            for n in 0..EACH {
                let id = format!("a-{socket}-{n}");
                client.send(json!({"t": "act", "id": id, "actionId": coupon, "event": "accept", "userId": user(n)})).await;
            }
            let mut answers: HashMap<String, usize> = HashMap::new();
            while answers.values().sum::<usize>() < EACH {
                let frame = client.frame().await;
                let word = match frame["t"].as_str() {
                    Some("acted") => "acted",
                    Some("error") => frame["code"].as_str().expect("a code"),
                    _ => continue,
                };
                *answers.entry(word.to_owned()).or_default() += 1;
            }
            answers
        });
    }
    let mut all: HashMap<String, usize> = HashMap::new();
    while let Some(answers) = tasks.join_next().await {
        for (word, n) in answers.expect("no socket fails") {
            *all.entry(word).or_default() += n;
        }
    }
    assert_eq!(all, HashMap::from([("acted".to_owned(), 100), ("action_cap_reached".to_owned(), 900)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn t66_shown_twice_in_a_week_and_again_to_the_millisecond() {
    let stage = Stage::new(TEN, &[action("Twice", &json!({"capping": cap("shown", "user", 2, 7)}))]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Twice"]);
    assert_eq!(visitor.react("Twice", "show").await, NONE);
    stage.pass("2024-03-02T10:00:00Z");
    assert_eq!(visitor.react("Twice", "show").await, ["-Twice capped"]);
    let (_, refused) = visitor.try_react("Twice", "show").await;
    assert_eq!((refused["code"].as_str(), refused["details"][0]["rule"].as_str()), (Some("action_cap_reached"), Some("capped")));
    stage.pass("2024-03-08T09:59:59.999Z");
    assert_eq!(visitor.fence().await, NONE);
    stage.pass("2024-03-08T10:00:00Z");
    assert_eq!(visitor.fence().await, ["+Twice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t67_one_act_id_is_one_reaction() {
    let stage = Stage::new(TEN, &[action("Once", &json!({"capping": cap("accepted", "all", 5, 0)}))]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    let (_, id) = visitor.delivery["Once"].clone();
    let act = json!({"t": "act", "id": "the-one", "actionId": id, "event": "accept"});
    let first = visitor.ask(act.clone()).await.1;
    assert_eq!(visitor.ask(act).await.1, first, "the same answer");
    // Without an id of its own a second accept of one delivery is the duplicate.
    let (delivery, id) = visitor.delivery["Once"].clone();
    let of_delivery = json!({"t": "batch", "messages": [
        {"t": "act", "actionId": id, "deliveryId": delivery, "event": "accept"},
        {"t": "act", "actionId": id, "deliveryId": delivery, "event": "accept"}]});
    visitor.client.send(of_delivery).await;
    assert_eq!(visitor.client.results(2).await, ["-:stored", "-:duplicate"]);
    assert_eq!(stage.reactions("a1", "accepted", "Once").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn t68_merged_people_have_seen_what_both_have_seen() {
    let stage = Stage::new(TEN, &[action("Twice", &json!({"capping": cap("shown", "user", 2, 0)}))]).await;
    let (mut one, _) = stage.visitor("a1").await;
    let (mut other, _) = stage.visitor("u1").await;
    assert_eq!(one.react("Twice", "show").await, NONE);
    assert_eq!(other.react("Twice", "show").await, NONE);
    let id = one.next_id("identify");
    let merge = json!({"t": "identify", "id": id, "userId": "u1", "type": "user_id", "previousUserId": "a1"});
    let (mut told, answer) = one.ask(merge).await;
    assert_eq!(answer["merged"], json!(["a1"]));
    told.extend(one.fence().await);
    assert_eq!(told, ["-Twice identity_changed"]);
    // The other socket of the one person hears of it as well.
    let mut heard = other.fence().await;
    heard.retain(|told| told.starts_with('-'));
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(one.try_react("Twice", "show").await.1["code"], "action_cap_reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn t81_the_last_place_is_taken_and_all_hear_of_it() {
    let coupon = action("Coupon", &json!({"targeting": goes(1), "capping": cap("accepted", "all", 2, 0)}));
    let stage = Stage::new(TEN, &[coupon, action("Free", &json!({"priority": 5}))]).await;
    let mut visitors = Vec::new();
    for n in 0..5 {
        let (mut visitor, first) = stage.visitor(&format!("a{n}")).await;
        assert_eq!(first, ["Free"]);
        assert_eq!(visitor.go().await, ["+Coupon"]);
        visitors.push(visitor);
    }
    // Nobody there, and somebody who does not hold it.
    let (mut idle, _) = stage.visitor("idle").await;
    let mut last = visitors.split_off(3);
    assert_eq!(last[0].react("Coupon", "accept").await, NONE);
    for visitor in &mut visitors {
        assert!(visitor.is_left_alone().await, "one place is left");
    }
    assert_eq!(last[1].react("Coupon", "accept").await, NONE, "those who took it have closed it");
    for visitor in &mut visitors {
        assert_eq!(visitor.wait_for(1).await, ["-Coupon capped"]);
        let refused = visitor.try_react("Coupon", "accept").await.1;
        assert_eq!(refused["code"], "action_cap_reached", "{refused}");
    }
    assert!(idle.is_left_alone().await);
    assert_eq!(idle.go().await, NONE, "and it comes up for nobody any more");
}

// The window of a shared cap opens for everybody at its millisecond, with nobody doing anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_cap_opens_for_all_by_itself() {
    let stage = Stage::new(TEN, &[action("Daily", &json!({"capping": cap("accepted", "all", 1, 1)}))]).await;
    let (mut first, _) = stage.visitor("a1").await;
    let (mut other, _) = stage.visitor("a2").await;
    first.react("Daily", "accept").await;
    assert_eq!(other.wait_for(1).await, ["-Daily capped"]);
    stage.pass("2024-03-02T09:59:59.999Z");
    assert_eq!(other.fence().await, NONE);
    stage.pass("2024-03-02T10:00:00Z");
    assert_eq!(other.fence().await, ["+Daily"]);
    assert_eq!(first.fence().await, ["+Daily"], "out of its cap and in again: what was closed opens");
}
