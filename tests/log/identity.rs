//! T-43, T-55: what an identify over HTTP does to memberships.

use crate::rig::{MINUTE, Shop};
use serde_json::json;

/// T-43: who was anonymous enters at the identify, not at the event.
#[tokio::test(flavor = "multi_thread")]
async fn t_43_anonymous_events_count_once_known() {
    let shop = Shop::open().await;
    shop.view("a", "/", 1.0).await;
    shop.pass(MINUTE);
    assert!(!shop.audiences("a").await.contains(&"known_viewers".to_owned()));
    shop.identify("a", None, None).await;
    assert!(shop.audiences("a").await.contains(&"known_viewers".to_owned()));
    assert!(shop.moves("a").await.contains(&format!("known_viewers entered +{MINUTE}")));
}

/// T-55: a funnel that two profiles made together is entered when they are merged; one whose window has
/// closed is not.
#[tokio::test(flavor = "multi_thread")]
async fn t_55_a_funnel_of_two_profiles_is_entered_at_the_merge() {
    let shop = Shop::open().await;
    shop.view("p", "/", 1.0).await;
    shop.pass(MINUTE);
    shop.track("q", "Buy", json!({"amount": 2})).await;
    shop.pass(14 * MINUTE);
    shop.identify("q", Some("p"), None).await;
    let moves = shop.moves("q").await;
    assert!(moves.contains(&format!("buyers entered +{}", 15 * MINUTE)), "{moves:?}");
    assert!(!moves.iter().any(|change| change.starts_with("quick")), "its window closed five minutes ago: {moves:?}");
    let crashed = shop.crashed().await;
    assert_eq!(crashed.moves("q").await, moves);
    crashed.assert_no_drift(&["q"]).await;
}
