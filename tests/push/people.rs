//! Other identities: a merge, a reset, somebody else's socket.

use crate::rig::{NONE, Stage, TEN, action, cap, goes};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn i63_an_identify_sends_the_difference() {
    let known = action("Everybody", &json!({}));
    let far = action("Far", &json!({"targeting": goes(3)}));
    let near = action(
        "Near",
        &json!({"targeting": {"traitConditions": [
        {"source": "computed", "key": "goes", "type": "integer", "operator": "less_than", "value": 3}]}}),
    );
    let stage = Stage::new(TEN, &[known, far, near]).await;
    let (mut old, _) = stage.visitor("u1").await;
    for _ in 0..2 {
        old.go().await;
    }
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Everybody", "Near"]);
    assert_eq!(visitor.go().await, NONE);
    let identify = json!({"t": "identify", "id": "i1", "userId": "u1", "type": "user_id", "previousUserId": "a1"});
    let (mut told, answer) = visitor.ask(identify).await;
    assert_eq!(answer["merged"], json!(["a1"]));
    told.extend(visitor.fence().await);
    // Three goes together: one is not for them any more, and another is.
    assert_eq!(told, ["-Near identity_changed", "+Far"]);
    let mut heard = old.fence().await;
    heard.sort();
    assert_eq!(heard, ["+Far", "-Near identity_changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_starts_as_somebody_else() {
    let stage = Stage::new(TEN, &[action("Everybody", &json!({})), action("Went", &json!({"targeting": goes(1)}))]).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    assert_eq!(visitor.go().await, ["+Went"]);
    let (mut told, answer) = visitor.ask(json!({"t": "reset", "id": "r1", "anonymousId": "a2"})).await;
    assert_eq!(answer["userId"], "a2");
    told.extend(visitor.fence().await);
    assert_eq!(told, ["-Everybody identity_changed", "-Went identity_changed", "+Everybody"]);
    // What was delivered before was delivered to the first, though it is acknowledged now.
    visitor.seen().await;
    assert_eq!(stage.reactions("a1", "delivered", "Everybody").await, 1);
    assert_eq!(stage.reactions("a1", "delivered", "Went").await, 1);
    assert_eq!(stage.reactions("a2", "delivered", "Everybody").await, 1);
    assert_eq!(stage.reactions("a2", "delivered", "Went").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tabs_are_decided_each_by_itself() {
    let stage =
        Stage::new(TEN, &[action("Offer", &json!({"targeting": goes(1), "capping": cap("accepted", "user", 1, 0)}))]).await;
    let (mut one, _) = stage.visitor("a1").await;
    let (mut other, _) = stage.visitor("a1").await;
    assert_eq!(one.go().await, ["+Offer"]);
    assert_eq!(other.fence().await, ["+Offer"], "the other tab hears of it at once");
    assert_ne!(one.delivery["Offer"].0, other.delivery["Offer"].0, "each has a delivery of its own");
    assert_eq!(one.react("Offer", "decline").await, NONE);
    assert_eq!(other.fence().await, NONE, "declined in one tab");
    assert_eq!(other.react("Offer", "accept").await, NONE, "and accepted in the other");
    assert_eq!(one.fence().await, NONE);
}
