//! Deriving again from the log (T-58).

use reqwest::Method;
use serde_json::json;

use crate::common::{TA, TS};
use crate::rig::{Api, at_least, crowd, viewed};

/// T-58: a refresh finds no drift while events flow, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn t58_a_refresh_finds_no_drift() {
    let api = Api::start().await;
    let engine = api.server.engine.clone();
    tokio::task::spawn_blocking(move || crowd(&engine, 300, 5)).await.expect("a crowd");
    let body = json!({"name": "Funnel", "includeAnonymous": true, "events": [
        {"id": "Page Viewed", "internalId": "00000000-0000-4000-8000-000000000001", "exclude": false, "operator": "more_or_exactly", "count": 1},
        {"id": "Checkout Started", "internalId": "00000000-0000-4000-8000-000000000002",
         "parentId": "00000000-0000-4000-8000-000000000001", "exclude": false, "operator": "more_or_exactly", "count": 1}], "traits": []});
    api.post("/api/v1/audiences", &body).await.expect(201);
    api.post("/api/v1/audiences", &at_least("fans", "views", 5)).await.expect(201);
    let checkout = json!({"userId": "crowd1", "event": "Checkout Started", "properties": {"total": 5, "items": 1}, "context": {"country": "DE"}});
    api.ingest("track", checkout).await;
    let before =
        (api.live("/api/v1/audiences/funnel").await, api.live("/api/v1/audiences/fans").await, api.profile("crowd1").await);
    let refresh = async |path: &str, method: Method| {
        let done = api.call(method, &format!("/api/v1/{path}/refresh"), &[], None).await.expect(200).body;
        assert!(done["executionTime"].is_u64(), "{done}");
        (done["profiles"].as_u64().unwrap(), done["drift"].as_u64().unwrap())
    };
    assert_eq!(refresh("audiences/funnel", Method::POST).await, (300, 0));
    assert_eq!(refresh("audiences/fans", Method::PUT).await, (300, 0));
    assert_eq!(refresh("computed-traits/views", Method::POST).await, (300, 0));
    let id = before.2["id"].as_str().unwrap().to_owned();
    assert_eq!(refresh(&format!("profiles/{id}"), Method::POST).await, (1, 0));
    let after =
        (api.live("/api/v1/audiences/funnel").await, api.live("/api/v1/audiences/fans").await, api.profile("crowd1").await);
    assert_eq!(after, before);
    assert_eq!((&after.0["profileCount"], &after.1["profileCount"]), (&json!(1), &json!(300)));

    // While events flow, by whatever way they come.
    let flow = async {
        for i in 0..200 {
            api.ingest("track", viewed(&format!("crowd{}", i % 300))).await;
        }
    };
    let refreshes = async {
        for _ in 0..5 {
            assert_eq!(refresh("computed-traits/views", Method::POST).await, (300, 0));
            assert_eq!(refresh("audiences/fans", Method::POST).await, (300, 0));
        }
    };
    tokio::join!(flow, refreshes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_is_for_administrators_and_of_what_exists() {
    let api = Api::start().await;
    for (path, code) in [
        ("computed-traits/none", "computed_trait_not_found"),
        ("audiences/none", "audience_not_found"),
        ("profiles/none", "profile_not_found"),
        ("profiles/00000000-0000-0000-0000-000000000000", "profile_not_found"),
    ] {
        let path = format!("/api/v1/{path}/refresh");
        assert_eq!(api.call(Method::POST, &path, &[], None).await.problem(), (404, code));
        for token in [TA, TS] {
            let auth = [("authorization", &*format!("Bearer {token}"))];
            assert_eq!(api.call(Method::POST, &path, &auth, None).await.problem(), (403, "forbidden"));
        }
    }
}
