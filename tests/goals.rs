//! Attribution over HTTP, on a server whose clock the test sets.

mod common;
#[path = "common/site.rs"]
mod site;

use common::{TA, organisation, with};
use serde_json::{Value, json};
use site::{Site, at};

/// Two actions that anybody gets on app, with costs and a campaign, and goals on a purchase.
fn catalog() -> Value {
    let action = |name: &str, more: Value| {
        let action = json!({"name": name, "type": "banner", "state": "active", "tags": [], "properties": [],
            "targeting": {"channels": ["web", "app"]}, "capping": []});
        with(action, &more)
    };
    let goal = |key: &str, more: Value| {
        let goal = json!({"key": key, "name": key, "eventId": "Buy", "value": {"property": "total"}, "currency": "EUR",
            "lookback": {"amount": 7, "unit": "days"}});
        with(goal, &more)
    };
    organisation(&json!({
        "events": [{"name": "Buy", "structure": [{"id": "total", "name": "total", "properties": {"key": "total", "type": "float"}}]}],
        "actionTypes": [{"name": "banner", "properties": []}],
        "actions": [
            action("X", json!({"campaign": "spring", "cost": {"fixed": 100, "currency": "EUR"}})),
            action("Y", json!({"campaign": "spring"})),
            action("Z", json!({"cost": {"perDelivered": 0.01, "perAccepted": 0.5, "currency": "USD"}})),
        ],
        "goals": [
            goal("purchase", json!({"expose": true})),
            goal("first", json!({"dedupe": "once_per_profile"})),
            goal("touch", json!({"dedupe": "once_per_touch", "value": {"fixed": 1}})),
            goal("visits", json!({"value": null, "currency": null, "touches": ["delivered", "shown"]})),
        ],
    }))
}

const MARCH: &str = "start=2024-03-01&end=2024-03-31&resolution=month";

/// `X 90 1` for each action that is credited: revenue and credited conversions.
fn credited(report: &Value) -> Vec<String> {
    let rows = report["data"].as_array().expect("rows").iter().filter(|row| row["conversions"] != 0);
    rows.map(|row| {
        format!("{} {} {}", row["action"]["name"].as_str().expect("a name"), row["revenue"], row["creditedConversions"])
    })
    .collect()
}

/// T-91: accept X, accept Y, buy 90: by every model; the goal's own is the last touch.
#[tokio::test(flavor = "multi_thread")]
async fn t91_models() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    site.act_anew("u", "X").await;
    site.set("03-02T10:00");
    site.act("u", "Y", "accept").await;
    site.set("03-03T10:00");
    site.track("u", "Buy", json!({"total": 90}), None).await;
    for (model, expect) in [
        ("", vec!["Y 90.0 1.0"]),
        ("&model=last_touch", vec!["Y 90.0 1.0"]),
        ("&model=first_touch", vec!["X 90.0 1.0"]),
        ("&model=linear", vec!["X 45.0 0.5", "Y 45.0 0.5"]),
        ("&model=linear_actions", vec!["X 45.0 0.5", "Y 45.0 0.5"]),
    ] {
        let report = site.read(&format!("attribution/purchase?{MARCH}{model}")).await;
        assert_eq!(credited(&report), expect, "{model}");
        assert_eq!(report["summary"]["revenue"], 90.0);
    }
    let by_campaign = site.read(&format!("attribution/purchase?{MARCH}&model=linear&groupBy=campaign")).await;
    assert_eq!(by_campaign["data"][0]["campaign"], "spring");
    assert_eq!((&by_campaign["data"][0]["conversions"], &by_campaign["data"][0]["revenue"]), (&json!(1), &json!(90.0)));
    let by_channel = site.read(&format!("attribution/purchase?{MARCH}&groupBy=channel")).await;
    assert_eq!((&by_channel["data"][0]["channel"], &by_channel["total"]), (&json!("app"), &json!(1)));
}

impl Site {
    /// A person is first met by a poll, which delivers what is due, and accepts.
    async fn act_anew(&self, user: &str, action: &str) {
        self.poll(user, None).await;
        self.act(user, action, "accept").await;
    }
}

/// T-92: the touch counts to its last millisecond, and is shown in the profile exactly as long.
#[tokio::test(flavor = "multi_thread")]
async fn t92_lookback() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    site.act_anew("in", "X").await;
    site.act_anew("out", "X").await;
    let shown = site.profile("in").await["computedTraits"]["attribution.purchase"].clone();
    assert_eq!((&shown["name"], &shown["channel"]), (&json!("X"), &json!("app")));
    assert_eq!(shown["expiresAt"], "2024-03-08T10:00:00.000Z");
    site.set("03-08T09:59:59.999");
    site.track("in", "Buy", json!({"total": 1}), None).await;
    assert!(site.profile("in").await["computedTraits"]["attribution.purchase"].is_object());
    site.set("03-08T10:00");
    assert!(site.profile("in").await["computedTraits"]["attribution.purchase"].is_null());
    site.track("out", "Buy", json!({"total": 2}), None).await;
    let report = site.read(&format!("attribution/purchase?{MARCH}")).await;
    assert_eq!(credited(&report), ["X 1.0 1.0"]);
    assert_eq!((&report["unattributed"]["conversions"], &report["unattributed"]["revenue"]), (&json!(1), &json!(2.0)));
    // Only the goal that says so is shown.
    assert!(site.profile("in").await["computedTraits"].get("attribution.first").is_none());
}

/// T-93: 100 over three touches; what is left over goes to the latest, and numbers have six decimals.
#[tokio::test(flavor = "multi_thread")]
async fn t93_shares_add_up() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    for (hour, action) in [("11:00", "X"), ("12:00", "Y"), ("13:00", "Z")] {
        site.set(&format!("03-01T{hour}"));
        site.act_anew("u", action).await;
    }
    site.track("u", "Buy", json!({"total": 100}), None).await;
    let report = site.read(&format!("attribution/purchase?{MARCH}&model=linear")).await;
    // The last acceptance lies at the same millisecond and before the purchase by its position.
    assert_eq!(credited(&report), ["X 33.333333 0.333333", "Y 33.333333 0.333333", "Z 33.333334 0.333334"]);
}

/// T-94: a cost of 100 with a revenue of 250 returns 1.5; without cost there is no return. Other money is not
/// added; a goal worth nothing has no return.
#[tokio::test(flavor = "multi_thread")]
async fn t94_return_on_cost() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    for (user, action, total) in [("a", "X", 250.0), ("b", "Y", 40.0), ("c", "Z", 10.0)] {
        site.act_anew(user, action).await;
        site.set("03-02T10:00");
        site.track(user, "Buy", json!({"total": total}), None).await;
    }
    let report = site.read("attribution/purchase?start=2024-03-01&end=2024-03-02").await;
    let row = |name: &str| {
        report["data"].as_array().expect("rows").iter().find(|row| row["action"]["name"] == name).expect("a row").clone()
    };
    let told = |row: &Value| (row["revenue"].clone(), row["cost"].clone(), row["roi"].clone(), row["conversionRate"].clone());
    assert_eq!(told(&row("X")), (json!(250.0), json!(100.0), json!(1.5), json!(1.0)));
    assert_eq!(told(&row("Y")), (json!(40.0), json!(0.0), Value::Null, json!(1.0)));
    assert_eq!(told(&row("Z")), (json!(10.0), json!(0.0), Value::Null, json!(1.0)));
    // Three polls delivered Z three times, one accepted: 3 · 0.01 + 0.5 dollars.
    assert_eq!(row("Z")["otherCosts"], json!([{"currency": "USD", "cost": 0.53}]));
    assert_eq!((&report["summary"]["revenue"], &report["summary"]["cost"]), (&json!(300.0), &json!(100.0)));
    assert_eq!(report["summary"]["otherCosts"], json!([{"currency": "USD", "cost": 0.53}]));
    // The fixed cost lies where the action first had anything, so the buckets add up to the row.
    let costs: Vec<&Value> =
        report["data"][0]["buckets"].as_array().expect("buckets").iter().map(|bucket| &bucket["cost"]).collect();
    assert_eq!(costs, [&json!(100.0), &json!(0.0)]);
    let visits = site.read(&format!("attribution/visits?{MARCH}")).await;
    let row = &visits["data"][0];
    assert_eq!((&row["revenue"], &row["roi"]), (&Value::Null, &Value::Null));
}

/// T-95: an anonymous purchase, an acceptance of somebody known before it, then they are one. A late purchase,
/// a restart and a checkpoint in between change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn t95_merge_late_and_restart() {
    let mut site = Site::start("03-01T10:00", &catalog()).await;
    site.act_anew("known", "X").await;
    site.set("03-02T10:00");
    site.track("anonymous", "Buy", json!({"total": 90}), None).await;
    let question = format!("attribution/purchase?{MARCH}");
    assert_eq!(credited(&site.read(&question).await), Vec::<String>::new());
    site.identify("known", "anonymous").await;
    assert_eq!(credited(&site.read(&question).await), ["X 90.0 1.0"]);
    site.set("03-03T10:00");
    site.act("known", "Y", "accept").await;
    // It came later, but happened between X and Y; for the goal of first purchases it is the first now.
    site.track("known", "Buy", json!({"total": 5}), Some("03-01T12:00")).await;
    assert_eq!(credited(&site.read(&question).await), ["X 95.0 2.0"]);
    let first = format!("attribution/first?{MARCH}");
    assert_eq!(credited(&site.read(&first).await), ["X 5.0 1.0"]);
    let touch = format!("attribution/touch?{MARCH}&model=linear");
    let mut before = Vec::new();
    for question in [&question, &first, &touch] {
        before.push(site.read(question).await);
    }
    site.restart().await;
    for (question, before) in [&question, &first, &touch].into_iter().zip(&before) {
        assert_eq!(&site.read(question).await, before, "replayed: {question}");
    }
    site.checkpoint().await;
    site.restart().await;
    for (question, before) in [&question, &first, &touch].into_iter().zip(&before) {
        assert_eq!(&site.read(question).await, before, "loaded: {question}");
    }
}

/// An edit builds the goal anew from the log: a shorter lookback, other touches, a condition.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_built_from_the_log() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    site.act_anew("u", "X").await;
    site.act("u", "Y", "show").await;
    site.set("03-03T10:00");
    site.track("u", "Buy", json!({"total": 90}), None).await;
    let question = format!("attribution/purchase?{MARCH}");
    assert_eq!(credited(&site.read(&question).await), ["X 90.0 1.0"]);
    for (field, value, expect) in [
        ("touches", json!(["accepted", "shown"]), vec!["Y 90.0 1.0"]),
        ("actions", json!(["X"]), vec!["X 90.0 1.0"]),
        ("lookback", json!({"amount": 1, "unit": "days"}), vec![]),
        ("lookback", json!({"amount": 49, "unit": "hours"}), vec!["X 90.0 1.0"]),
        ("channels", json!(["web"]), vec![]),
        ("channels", json!([]), vec!["X 90.0 1.0"]),
        ("value", json!({"fixed": 3}), vec!["X 3.0 1.0"]),
    ] {
        let mut body = catalog()["goals"][0].clone();
        body[field] = value.clone();
        site.apply(&json!({"goals": [body]})).await;
        if field == "actions" {
            // Said alone it goes with acceptances only; see above for the others.
            assert_eq!(credited(&site.read(&question).await), expect, "{field} {value}");
            continue;
        }
        assert_eq!(credited(&site.read(&question).await), expect, "{field} {value}");
    }
}

/// Buckets are local: a purchase at 22:59 UTC lies in the day before midnight in Berlin, 31 March has 23 hours.
#[tokio::test(flavor = "multi_thread")]
async fn buckets_are_local_and_empty_ones_are_there() {
    let site = Site::start("03-30T10:00", &catalog()).await;
    site.act_anew("u", "Y").await;
    site.set("03-30T22:59");
    site.track("u", "Buy", json!({"total": 1}), None).await;
    site.set("03-30T23:00");
    site.track("u", "Buy", json!({"total": 2}), None).await;
    let report = site.read("attribution/purchase?start=2024-03-29&end=2024-04-01").await;
    let row = report["data"].as_array().expect("rows").iter().find(|row| row["action"]["name"] == "Y").expect("Y");
    let revenue: Vec<&Value> = row["buckets"].as_array().expect("buckets").iter().map(|bucket| &bucket["revenue"]).collect();
    assert_eq!(revenue, [&json!(0.0), &json!(1.0), &json!(2.0), &json!(0.0)]);
    assert_eq!(report["buckets"][2]["bucket"], "2024-03-31");
    let hours = site.read("attribution/purchase?start=2024-03-31&end=2024-03-31&resolution=hour").await;
    assert_eq!(hours["buckets"].as_array().map(Vec::len), Some(23));
    let default = site.read("attribution/purchase").await;
    assert_eq!(
        (&default["start"], &default["end"], &default["resolution"]),
        (&json!("2024-03-02"), &json!("2024-03-31"), &json!("day"))
    );
}

/// Test users in staging touch nobody, and neither does what was withheld.
#[tokio::test(flavor = "multi_thread")]
async fn staging_touches_nobody() {
    let mut document = catalog();
    document["actions"][0]["state"] = "staging".into();
    document["actions"][0]["testUsers"] =
        json!([{"userId": "qa", "channels": ["app"], "description": "", "skipTargeting": false}]);
    let site = Site::start("03-01T10:00", &document).await;
    site.act_anew("qa", "X").await;
    site.track("qa", "Buy", json!({"total": 90}), None).await;
    let report = site.read(&format!("attribution/purchase?{MARCH}")).await;
    assert_eq!((credited(&report), &report["unattributed"]["conversions"]), (vec![], &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    for (question, status, code) in [
        ("attribution/nothing", 404, "goal_not_found"),
        ("attribution/purchase?model=magic", 400, "invalid_query"),
        ("attribution/purchase?groupBy=weather", 400, "invalid_query"),
        ("attribution/purchase?resolution=minute", 400, "invalid_query"),
        ("attribution/purchase?start=2024-03-02&end=2024-03-01", 400, "invalid_query"),
        ("attribution/purchase?start=yesterday", 400, "invalid_query"),
        ("attribution/purchase?start=2016-01-01&end=2024-03-01&resolution=hour", 400, "invalid_query"),
        ("attribution/purchase?modle=linear", 400, "invalid_query"),
    ] {
        site.refuses(question, status, code).await;
    }
    let (status, _, _) = site.call(TA, "/api/v1/attribution/purchase", &json!({})).await;
    assert!(status >= 400, "a report is read by administrators: {status} at {}", at("03-01T10:00"));
}
