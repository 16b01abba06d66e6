//! `POST /computed-traits/preview`.

use serde_json::{Value, json};

use crate::town::{built, live, post, posted, start, state};

const PEOPLE: u64 = 12;

/// Computed traits of several sorts, without name and key.
fn traits() -> Vec<(&'static str, Value)> {
    let of = |kind: &str, event: &str, conditions: Value, properties: Value| json!({"type": kind, "eventId": event, "conditions": conditions, "properties": properties});
    let total = |kind: &str| json!({"property": "total", "type": "float", "aggregationType": kind});
    let day = json!({"window": {"amount": 1, "unit": "days"}});
    let dear = json!([{"property": "total", "type": "float", "operator": "greater_than", "value": 40}]);
    vec![
        ("pages", of("count_events", "Page Viewed", json!([]), json!({}))),
        ("pages_today", of("count_events", "Page Viewed", json!([]), day)),
        ("spent", of("aggregation", "Checkout Started", json!([]), total("sum"))),
        ("dearest", of("aggregation", "Checkout Started", json!([]), total("max"))),
        ("dear", of("count_events", "Checkout Started", dear.clone(), json!({}))),
        ("last_dear", of("last_event", "Checkout Started", dear, json!({"property": "total", "type": "float"}))),
    ]
}

/// The value told of everybody is the one that saving gives, with the events that make it; and a change of a saved one
/// is told beside its value.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_the_value_that_saving_then_gives() {
    let site = start(&json!({})).await;
    live(&site, PEOPLE, 0..2880).await;
    let mut ids = Vec::new();
    for n in 0..PEOPLE {
        ids.push(site.profile(&format!("u{n}")).await["id"].clone());
    }
    site.checkpoint().await;
    for (key, definition) in traits() {
        let before = state(&site, PEOPLE).await;
        let told = posted(&site, "computed-traits/preview", &json!({"definition": definition, "profileIds": ids})).await;
        assert_eq!(state(&site, PEOPLE).await, before, "{key}");
        let rows = told["data"].as_array().expect("a list");
        assert_eq!((rows.len(), &told["complete"]), (ids.len(), &json!(true)), "{key}");
        let mut body = definition.clone();
        body["name"] = key.into();
        body["key"] = key.into();
        posted(&site, "computed-traits", &body).await;
        built(&site).await;
        let mut valued = 0;
        for (row, id) in rows.iter().zip(&ids) {
            let profile = site.profile(row["userIds"][0].as_str().expect("a user")).await;
            assert_eq!((&row["profileId"], &profile["id"]), (id, id));
            assert_eq!(row["value"], profile["computedTraits"][key], "{key} {row}");
            let (made_by, listed) =
                (row["contributing"].as_u64().expect("a number"), row["contributors"].as_array().map_or(0, Vec::len));
            assert_eq!(made_by.min(20), listed as u64, "{key} {row}");
            valued += u64::from(made_by > 0);
        }
        assert!(valued > 0, "{key}");
        let sample = posted(&site, "computed-traits/preview", &json!({"definition": body, "sample": 50})).await;
        assert_eq!(sample["total"], json!(valued), "{key}: those who have events that count");
        for row in sample["data"].as_array().expect("a list") {
            assert_eq!(row["value"], row["saved"], "{key}");
        }
        let three = posted(&site, "computed-traits/preview", &json!({"definition": definition, "sample": 1})).await;
        assert_eq!(three["data"][0]["profileId"], sample["data"][0]["profileId"], "{key}: the first by their ids");
        assert_eq!((&three["total"], three["data"][0].get("saved")), (&json!(1), None), "{key}");
    }
    // Held against what is saved: three days instead of one.
    let mut longer = traits().remove(1).1;
    (longer["key"], longer["properties"]["window"]["amount"]) = ("pages_today".into(), 3.into());
    let told = posted(&site, "computed-traits/preview", &json!({"definition": longer, "profileIds": ids})).await;
    let differ = told["data"].as_array().expect("a list").iter().filter(|row| row["value"] != row["saved"]).count();
    assert!(differ > 0, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told() {
    let site = start(&json!({})).await;
    site.track("u0", "Page Viewed", json!({"page": "/"}), None).await;
    let id = site.profile("u0").await["id"].clone();
    let wrong = json!({"type": "count_events", "eventId": "Nobody Knows", "conditions": [], "properties": {}});
    let right = traits().remove(0).1;
    let nobody = "00000000-0000-4000-8000-000000000000";
    for (body, at) in [
        (json!({"definition": wrong, "profileIds": [id]}), vec!["/definition/eventId event_not_found"]),
        (
            json!({"definition": right, "profileIds": ["x", id, nobody]}),
            vec!["/profileIds/0 profile_not_found", "/profileIds/2 profile_not_found"],
        ),
        (json!({"definition": right, "profileIds": [id], "sample": 1}), vec!["/profileIds definition_invalid"]),
        (json!({"definition": right, "sample": 51}), vec!["/profileIds definition_invalid"]),
        (json!({"definition": right, "people": 3}), vec!["/people unknown_field"]),
    ] {
        let (status, answer) = post(&site, "computed-traits/preview", &body).await;
        let of = |error: &Value| format!("{} {}", error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap());
        let errors: Vec<String> = answer["errors"].as_array().expect("a list").iter().map(of).collect();
        assert_eq!((status, errors), (422, at.into_iter().map(str::to_owned).collect()), "{body}");
    }
}
