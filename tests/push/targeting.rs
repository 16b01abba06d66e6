//! T-59 to T-63 and T-72: times, tags, staging, placeholders.

use crate::rig::{NONE, Stage, TEN, action, cap, document, goes};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn t59_an_end_date_is_through_the_day() {
    let may = action("May", &json!({"targeting": {"end": {"date": "2024-05-31", "time": null}}}));
    let stage = Stage::new("2024-05-31T21:00:00Z", &[may]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["May"]);
    stage.pass("2024-05-31T21:59:59.999Z");
    assert_eq!(visitor.fence().await, NONE);
    stage.pass("2024-05-31T22:00:00Z");
    assert_eq!(visitor.fence().await, ["-May expired"]);
    assert_eq!(stage.visitor("a2").await.1, NONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn t60_hours_of_the_day() {
    let night = action("Night", &json!({"targeting": {"start": {"time": "22:00"}, "end": {"time": "06:00"}}}));
    let late = action("Late", &json!({"targeting": {"start": {"time": "00:30"}}}));
    let stage = Stage::new("2024-03-01T20:59:00Z", &[night, late]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Late"], "from half past midnight to midnight");
    stage.pass("2024-03-01T20:59:59.999Z");
    assert_eq!(visitor.fence().await, NONE);
    stage.pass("2024-03-01T21:00:00Z");
    assert_eq!(visitor.fence().await, ["+Night"]);
    stage.pass("2024-03-01T23:00:00Z");
    assert_eq!(visitor.fence().await, ["-Late expired"]);
    stage.pass("2024-03-01T23:30:00Z");
    assert_eq!(visitor.fence().await, ["+Late"]);
    stage.pass("2024-03-02T04:59:59.999Z");
    assert_eq!(visitor.fence().await, NONE);
    stage.pass("2024-03-02T05:00:00Z");
    assert_eq!(visitor.fence().await, ["-Night expired"]);
    stage.pass("2024-03-02T12:00:00Z");
    assert_eq!(visitor.fence().await, NONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn t61_a_start_in_the_missing_hour() {
    let early = action("Early", &json!({"targeting": {"start": {"time": "02:30"}}}));
    let sunday =
        action("Sunday", &json!({"targeting": {"start": {"time": "02:30"}, "end": {"time": "04:00"}, "weekdays": ["sun"]}}));
    let stage = Stage::new("2024-03-31T00:00:00Z", &[early, sunday]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, NONE);
    stage.pass("2024-03-31T00:59:59.999Z");
    assert_eq!(visitor.fence().await, NONE);
    stage.pass("2024-03-31T01:00:00Z");
    assert_eq!(visitor.fence().await, ["+Early", "+Sunday"]);
    stage.pass("2024-03-31T02:00:00Z");
    assert_eq!(visitor.fence().await, ["-Sunday expired"], "04:00 is two hours after midnight UTC by now");
    // The next Monday: Early again, the other waits for its weekday.
    stage.pass("2024-03-31T22:00:00Z");
    assert_eq!(visitor.fence().await, ["-Early expired"]);
    stage.pass("2024-04-01T00:30:00Z");
    assert_eq!(visitor.fence().await, ["+Early"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t62_all_tags_that_are_asked_for() {
    let stage = Stage::new(TEN, &[action("Tagged", &json!({"tags": ["home", "top"]}))]).await;
    let mut visitor = stage.web("a1").await;
    assert_eq!(visitor.subscribe("one", &json!({"tags": ["home"]})).await, ["Tagged"]);
    assert_eq!(visitor.subscribe("two", &json!({"tags": ["home", "x"]})).await, NONE);
    assert_eq!(visitor.subscribe("three", &json!({"tags": []})).await, ["Tagged"]);
    assert_eq!(visitor.subscribe("four", &json!({"tags": ["top", "home"]})).await, ["Tagged"]);
    assert_eq!(visitor.subscribe("five", &json!({"type": "notification"})).await, NONE);
    assert_eq!(visitor.subscribe("six", &json!({"type": "banner", "tags": ["top"]})).await, ["Tagged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t63_staging_is_for_its_test_users_and_counts_nowhere() {
    let offer = |state: &str| {
        let tester = json!({"userId": "u1", "channels": ["web"], "description": "QA", "skipTargeting": true});
        action(
            "Offer",
            &json!({"state": state, "targeting": {"audiences": ["Goers"], "end": {"date": "2024-01-01"}},
            "capping": cap("accepted", "all", 0, 0), "testUsers": [tester]}),
        )
    };
    let counted = |state: &str| {
        let tester = json!({"userId": "u1", "channels": ["web"]});
        action("Counted", &json!({"state": state, "capping": cap("accepted", "all", 1, 0), "testUsers": [tester]}))
    };
    let mut stage = Stage::new(TEN, &[offer("staging"), counted("staging")]).await;
    let (mut tester, first) = stage.visitor("u1").await;
    assert_eq!(first, ["Offer", "Counted"], "targeting is skipped, and a cap of none at all");
    assert_eq!(stage.visitor("u2").await.1, NONE);
    for title in ["Offer", "Counted"] {
        assert_eq!(tester.react(title, "show").await, NONE);
        assert_eq!(tester.react(title, "accept").await, NONE);
    }
    // A second accept, with another id: nothing was counted.
    let (delivery, action) = tester.delivery["Counted"].clone();
    let again = json!({"t": "act", "id": "again", "actionId": action, "deliveryId": delivery, "event": "accept"});
    assert_eq!(tester.ask(again).await.1["t"], "acted");
    let profile = stage.server.profile("u1").await.expect("a profile");
    let tested = profile["reactions"].as_array().expect("a list").iter().filter(|one| one["event"] == "accepted");
    assert!(tested.into_iter().all(|one| one["test"] == true), "{profile}");
    // For everybody now: the one place is still there.
    stage.define(&[offer("active"), counted("active")]);
    let (mut visitor, first) = stage.visitor("u2").await;
    assert_eq!(first, ["Counted"]);
    assert_eq!(visitor.react("Counted", "accept").await, NONE);
    assert!(tester.is_left_alone().await, "who has answered is told no more");
    assert_eq!(stage.visitor("u1").await.1, NONE, "and has no privileges any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn t72_placeholders_have_the_type_that_is_asked_for() {
    let hole = |name: &str, kind: &str, key: &str, of: &str, omit: bool| json!({"channels": ["web"], "type": kind, "name": name, "value": "", "sourceKey": key, "sourceType": of, "omitMissing": omit});
    let text =
        |name: &str, value: &str, channel: &str| json!({"channels": [channel], "type": "text", "name": name, "value": value});
    let properties = json!([
        hole("best", "computed_trait", "best", "integer", false),
        hole("bestFloat", "computed_trait", "best", "float", false),
        hole("bestText", "computed_trait", "best", "string", false),
        hole("bestOmitted", "computed_trait", "best", "integer", true),
        hole("goes", "computed_trait", "goes", "", false),
        hole("numbers", "computed_trait", "numbers", "array", false),
        hole("last", "computed_trait", "lastTime", "dateTime", false),
        hole("age", "custom_trait", "age", "integer", false),
        hole("city", "custom_trait", "city", "string", false),
        hole("vip", "custom_trait", "vip", "boolean", false),
        hole("likes", "custom_trait", "likes", "array", false),
        hole("score", "custom_trait", "score", "float", false),
        hole("born", "custom_trait", "born", "dateTime", false),
        hole("cityOmitted", "custom_trait", "city", "string", true),
        text("twice", "first", "web"),
        text("elsewhere", "app only", "app"),
        text("twice", "last", "web"),
    ]);
    let stage = Stage::new(TEN, &[action("Holes", &json!({ "properties": properties }))]).await;
    let (mut visitor, first) = stage.visitor("a1").await;
    assert_eq!(first, ["Holes"]);
    let missing = json!({"title": "Holes", "best": 0, "bestFloat": 0.0, "bestText": "", "goes": 0, "numbers": [], "last": "", "age": 0,
        "city": "", "vip": false, "likes": [], "score": 0.0, "born": "", "twice": "last"});
    assert_eq!(visitor.said["Holes"], missing);
    let traits = json!({"age": 41, "city": "Ulm", "vip": true, "likes": ["a", 2], "score": 7, "born": "1983-02-01"});
    let id = visitor.next_id("identify");
    let frame = json!({"t": "identify", "id": id, "userId": "a1", "type": "anonymous_id", "isAnonymous": true, "traits": traits});
    visitor.ask(frame).await;
    visitor.go_with(&json!({"n": 3})).await;
    visitor.fence().await;
    let there = json!({"title": "Holes", "best": 3, "bestFloat": 3.0, "bestText": "3", "bestOmitted": 3, "goes": 1, "numbers": [3],
        "last": "2024-03-01T10:00:00.000Z", "age": 41, "city": "Ulm", "vip": true, "likes": ["a", 2], "score": 7.0,
        "born": "1983-01-31T23:00:00.000Z", "cityOmitted": "Ulm", "twice": "last"});
    assert_eq!(visitor.said["Holes"], there);
}

/// The defaults of a type are merged on the server, an archived type serves on, and one in use is immutable.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_gives_its_defaults_and_serves_on_when_archived() {
    let default = |name: &str, value: &str| json!({"channels": ["web"], "type": "text", "name": name, "value": value});
    let mut definitions = document(&[action("Typed", &json!({"type": "card", "targeting": goes(1)}))], &[]);
    let card = json!({"name": "card", "version": 1, "properties": [default("title", "Default"), default("color", "red")]});
    definitions["actionTypes"].as_array_mut().expect("a list").push(card.clone());
    let stage = Stage::with(TEN, definitions.clone(), |_| ()).await;
    let (mut visitor, _) = stage.visitor("a1").await;
    assert_eq!(visitor.go().await, ["+Typed"]);
    assert_eq!(visitor.said["Typed"], json!({"title": "Typed", "color": "red"}), "the action's own text wins");
    // In use: another text is refused.
    let mut changed = definitions.clone();
    changed["actionTypes"][2]["properties"][1]["value"] = "blue".into();
    let issues = stage.server.engine.apply_catalog(&changed.to_string()).err().expect("it is in use");
    assert_eq!((issues[0].pointer.as_str(), issues[0].code), ("/actionTypes/2", "in_use"));
    // Archived: those who use it go on.
    let kind = lodestone_state::plan::Kind::ActionType;
    stage
        .server
        .engine
        .change_catalog(|catalog| catalog.remove(kind, "card", false))
        .unwrap_or_else(|issues: Vec<_>| panic!("{issues:?}"));
    assert!(visitor.is_left_alone().await);
    let (mut other, _) = stage.visitor("a2").await;
    assert_eq!(other.go().await, ["+Typed"]);
    assert_eq!(other.said["Typed"]["color"], "red");
}
