//! T-36, I-38: an event or a reaction leaves the log, and with it everything that was computed from it.

use crate::common::TW;
use crate::rig::{MINUTE, Shop, copy, rows};
use reqwest::Method;
use serde_json::{Value, json};

async fn erase(shop: &Shop, user: &str, event: &str) -> (u16, Value) {
    let id = shop.id(user).await;
    shop.admin(Method::DELETE, &format!("/api/v1/profiles/{id}/events/{event}"), None).await
}

async fn priced(shop: &Shop, user: &str, price: f64) -> String {
    shop.entries(user, |event| event["properties"]["price"] == json!(price)).await.remove(0)
}

fn accepted(event: &Value) -> bool {
    event["event"] == "accepted"
}

/// T-36, I-38, over a crash before and after the checkpoint that takes the row from the disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_maximum_leaves_and_the_next_one_stands() {
    let shop = Shop::open().await;
    for price in [5.0, 9.0, 7.0] {
        shop.view("a", &format!("/{price}"), price).await;
    }
    shop.pass(MINUTE);
    shop.checkpoint().await;
    let event = priced(&shop, "a", 9.0).await;
    let profile = shop.id("a").await;
    assert_eq!(erase(&shop, "a", &event).await, (204, Value::Null));
    let check = async |shop: &Shop| {
        let seen = shop.profile("a").await;
        assert_eq!((&seen["computedTraits"]["dearest"], &seen["computedTraits"]["views"]), (&json!(7), &json!(2)));
        assert_eq!(seen["computedTraits"]["pages"], json!(["/5", "/7"]));
        assert_eq!(seen["eventCount"], json!(2));
        assert_eq!(shop.entries("a", |event| event["type"] == "event").await.len(), 2);
        assert_eq!(shop.entries("a", |event| event["type"] == "erased").await.len(), 1);
        assert_eq!(erase(shop, "a", &event).await.1["code"], "event_not_found");
        shop.assert_no_drift(&["a"]).await;
    };
    check(&shop).await;
    let crashed = shop.crashed().await;
    check(&crashed).await;
    // Two views and what says that one left; the third row is gone.
    shop.checkpoint().await;
    check(&shop.crashed().await).await;
    let folder = tempfile::tempdir().unwrap();
    copy(shop.dir.path(), folder.path());
    assert_eq!(rows(folder.path(), &profile), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_erased() {
    let shop = Shop::open().await;
    shop.view("a", "/", 1.0).await;
    shop.view("b", "/", 1.0).await;
    shop.identify("a", None, Some(json!({"city": "Berlin"}))).await;
    let of_b = priced(&shop, "b", 1.0).await;
    let identify = shop.entries("a", |event| event["type"] == "identify").await.remove(0);
    for event in [of_b.as_str(), &identify, "nonsense", "00000000-0000-4000-8000-000000000009"] {
        let (status, body) = erase(&shop, "a", event).await;
        assert_eq!((status, body["code"].as_str()), (404, Some("event_not_found")), "{event}");
    }
    let nobody = "/api/v1/profiles/00000000-0000-4000-8000-000000000009/events/00000000-0000-4000-8000-000000000009";
    assert_eq!(shop.admin(Method::DELETE, nobody, None).await.1["code"], "profile_not_found");
    let path = format!("/api/v1/event-log/{of_b}");
    assert_eq!(shop.admin(Method::DELETE, &path, None).await.1["code"], "missing_field");
    assert_eq!(shop.call(Method::DELETE, &format!("{path}?userId=b"), TW, None).await.0, 403);
    let long = json!({"reason": "x".repeat(501)});
    assert_eq!(shop.admin(Method::DELETE, &format!("{path}?userId=b"), Some(long)).await.0, 422);
    let because = json!({"reason": "asked for by mail"});
    assert_eq!(shop.admin(Method::DELETE, &format!("{path}?userId=b"), Some(because)).await.0, 204);
    assert_eq!(shop.value("b", "views").await, json!(0));
    let log = shop.profile("b").await;
    assert_eq!(log["events"][0]["reason"], "asked for by mail");
}

/// A retry of an erased message does not bring it back, whether a checkpoint had written it or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_resurrect() {
    for checkpoint_first in [false, true] {
        let shop = Shop::configured(|config| config.storage.dedupe_keep = 0).await;
        let message = json!({"userId": "a", "event": "View", "properties": {"page": "/", "price": 3.0}, "messageId": "m-1"});
        assert_eq!(shop.post("/v1/track", TW, message.clone()).await, 204);
        if checkpoint_first {
            shop.checkpoint().await;
        }
        assert_eq!(erase(&shop, "a", &priced(&shop, "a", 3.0).await).await.0, 204);
        shop.checkpoint().await;
        shop.checkpoint().await;
        for shop in [&shop, &shop.crashed().await] {
            assert_eq!(shop.post("/v1/track", TW, message.clone()).await, 204);
            assert_eq!(shop.value("a", "views").await, json!(0), "checkpoint first: {checkpoint_first}");
        }
    }
}

/// An event of somebody absorbed may stand under the absorbed profile's id on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_absorbed_profile() {
    let shop = Shop::open().await;
    shop.view("an", "/old", 4.0).await;
    let absorbed = shop.id("an").await;
    shop.checkpoint().await;
    shop.view("u", "/new", 2.0).await;
    shop.identify("u", Some("an"), None).await;
    let event = priced(&shop, "u", 4.0).await;
    assert_eq!(erase(&shop, "u", &event).await.0, 204);
    assert_eq!(shop.value("u", "dearest").await, json!(2));
    shop.checkpoint().await;
    let crashed = shop.crashed().await;
    assert_eq!(crashed.value("an", "dearest").await, json!(2));
    let folder = tempfile::tempdir().unwrap();
    copy(shop.dir.path(), folder.path());
    assert_eq!(rows(folder.path(), &absorbed), 0);
}

/// Members leave as of now, and enter as of now.
#[tokio::test(flavor = "multi_thread")]
async fn memberships_follow_as_of_now() {
    let shop = Shop::open().await;
    shop.view("a", "/", 1.0).await;
    shop.pass(MINUTE);
    shop.track("a", "Buy", json!({"amount": 3})).await;
    shop.pass(MINUTE);
    assert_eq!(shop.audiences("a").await, ["buyers", "quick", "recent", "viewers"]);
    assert_eq!(shop.members("buyers").await, 1);
    let bought = shop.entries("a", |event| event["event"] == "Buy").await.remove(0);
    assert_eq!(erase(&shop, "a", &bought).await.0, 204);
    assert_eq!(shop.audiences("a").await, ["never_bought", "recent", "viewers"]);
    assert_eq!(shop.members("buyers").await, 0);
    let moves = shop.moves("a").await;
    assert_eq!(&moves[moves.len() - 3..], ["buyers left +120000", "quick left +120000", "never_bought entered +120000"]);
    let crashed = shop.crashed().await;
    assert_eq!(crashed.moves("a").await, moves);
}

/// User caps and total caps go down, the totals exactly once however often the journal is replayed.
#[tokio::test(flavor = "multi_thread")]
async fn reactions_free_their_caps() {
    let shop = Shop::open().await;
    for user in ["a", "b", "c"] {
        shop.view(user, "/", 1.0).await;
    }
    assert_eq!(shop.act("a", "Once", "accept").await, 200);
    assert_eq!(shop.act("a", "Once", "accept").await, 400, "once is enough");
    assert_eq!(shop.act("a", "Two in all", "accept").await, 200);
    assert_eq!(shop.act("b", "Two in all", "accept").await, 200);
    assert_eq!(shop.act("c", "Two in all", "accept").await, 400, "all are gone");
    for action in ["a", "b"] {
        assert_eq!(shop.act(action, "Two an hour", "accept").await, 200);
    }
    assert_eq!(shop.act("c", "Two an hour", "accept").await, 400);
    shop.checkpoint().await;
    for reaction in shop.entries("a", accepted).await {
        assert_eq!(erase(&shop, "a", &reaction).await.0, 204);
    }
    // Before a checkpoint, after one, and after a crash right behind it: one place in each, never two.
    let before = shop.crashed().await;
    shop.checkpoint().await;
    let after = shop.crashed().await;
    let again = after.crashed().await;
    for shop in [&before, &after, &again, &shop] {
        assert_eq!(shop.profile("a").await["reactions"], json!([]));
        assert_eq!(shop.act("a", "Once", "accept").await, 200);
        assert_eq!(shop.act("a", "Once", "accept").await, 400);
        for action in ["Two in all", "Two an hour"] {
            assert_eq!(shop.act("c", action, "accept").await, 200, "{action}");
            assert_eq!(shop.act("a", action, "accept").await, 400, "{action}");
        }
        shop.assert_no_drift(&["a", "b", "c"]).await;
    }
}
