//! History that is not kept for ever.

use crate::rig::{DAY, MINUTE, Shop, copy, rows};
use serde_json::json;
use std::time::Duration;

const KEPT: Duration = Duration::from_secs(30 * 86_400);

async fn shop() -> Shop {
    Shop::configured(|config| config.retention.history = Some(KEPT)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_leaves_and_everything_is_computed_from_the_rest() {
    let shop = shop().await;
    shop.identify("a", None, Some(json!({"city": "Bonn", "fav": "/x"}))).await;
    shop.pass(MINUTE);
    shop.identify("a", None, Some(json!({"city": "Hamburg"}))).await;
    shop.pass(MINUTE);
    shop.identify("a", None, Some(json!({"city": "Berlin"}))).await;
    shop.view("a", "/x", 9.0).await;
    shop.track("a", "Buy", json!({"amount": 2})).await;
    assert_eq!(shop.act("a", "Once", "accept").await, 200);
    shop.checkpoint().await;
    shop.pass(20 * DAY);
    shop.view("a", "/x", 4.0).await;
    // The day of the first events is the oldest that is kept.
    shop.pass(10 * DAY);
    assert_eq!(shop.engine.sweep_history().entries, 0);
    assert_eq!(shop.value("a", "views").await, json!(2));
    shop.pass(DAY);
    let swept = shop.engine.sweep_history();
    // The view, the purchase, the reaction, and the older of two identifies that only set traits.
    assert_eq!((swept.profiles, swept.entries), (1, 4));
    assert_eq!(shop.engine.sweep_history().profiles, 0, "once");
    let profile = shop.id("a").await;
    for shop in [&shop, &shop.crashed().await] {
        let seen = shop.profile("a").await;
        assert_eq!(seen["computedTraits"]["views"], json!(1));
        assert_eq!(seen["computedTraits"]["dearest"], json!(4));
        assert_eq!(seen["customTraits"], json!({"city": "Berlin", "fav": "/x"}));
        assert_eq!(shop.ids("a").await, ["a"]);
        // The view that is left is compared with the favourite of then, which an older identify set.
        assert_eq!(shop.audiences("a").await, ["berlin", "favs", "known_viewers", "never_bought", "viewers"]);
        assert_eq!(shop.act("a", "Once", "accept").await, 200, "the reaction is forgotten too");
        shop.assert_no_drift(&["a"]).await;
    }
    shop.checkpoint().await;
    let folder = tempfile::tempdir().unwrap();
    copy(shop.dir.path(), folder.path());
    // Who it is, the newest custom traits, the view of day 20, the reaction just now.
    assert_eq!(rows(folder.path(), &profile), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_whose_log_is_empty_stays() {
    let shop = shop().await;
    shop.view("a", "/", 1.0).await;
    let id = shop.id("a").await;
    shop.pass(40 * DAY);
    assert_eq!(shop.engine.sweep_history().entries, 1);
    shop.checkpoint().await;
    let crashed = shop.crashed().await;
    assert_eq!(crashed.id("a").await, id);
    assert_eq!(crashed.ids("a").await, ["a"]);
    assert_eq!(crashed.audiences("a").await, ["never_bought"]);
    crashed.view("a", "/", 2.0).await;
    assert_eq!(crashed.value("a", "views").await, json!(1));
}

/// A total is not given out again because history went.
#[tokio::test(flavor = "multi_thread")]
async fn total_caps_remember() {
    let shop = shop().await;
    for user in ["a", "b"] {
        shop.view(user, "/", 1.0).await;
        assert_eq!(shop.act(user, "Two in all", "accept").await, 200);
    }
    shop.pass(40 * DAY);
    assert_eq!(shop.engine.sweep_history().profiles, 2);
    shop.view("c", "/", 1.0).await;
    assert_eq!(shop.act("c", "Two in all", "accept").await, 400);
    // An edit that makes the totals be filled from the log again does not forget them either.
    let mut catalog = crate::rig::catalog();
    catalog["actions"][1]["capping"] = json!([
        {"channels": [], "event": "accepted", "group": "all", "count": 2, "within": 0},
        {"channels": [], "event": "accepted", "group": "all", "count": 5, "within": 7200}]);
    shop.engine.apply_catalog(&catalog.to_string()).expect("the catalog is valid");
    assert_eq!(shop.act("c", "Two in all", "accept").await, 400);
    shop.checkpoint().await;
    assert_eq!(shop.crashed().await.act("c", "Two in all", "accept").await, 400);
}
