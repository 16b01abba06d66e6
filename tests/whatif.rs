//! What would have been: an action over history, held against what happened on the same server.

mod common;
#[path = "common/site.rs"]
mod site;

use common::{ADMIN, catalog};
use serde_json::{Value, json};
use site::Site;
use std::collections::BTreeMap;

const PERIOD: [&str; 2] = ["2024-03-01", "2024-03-03"];
const PEOPLE: usize = 10;
/// So many can be taken in all.
const COUPONS: usize = 11;

fn cap(event: &str, group: &str, count: u32, days: u32) -> Value {
    json!({"channels": [], "event": event, "group": group, "count": count, "within": days})
}

/// For those who saw two pages within a day, on web and app.
fn coupon(name: &str, capping: Value) -> Value {
    json!({"name": name, "type": "banner", "state": "active", "tags": [], "properties": [], "hooks": [], "testUsers": [],
        "targeting": {"channels": ["web", "app"], "audiences": ["keen"]}, "capping": capping})
}

/// Once a day for each, and as long as there are any.
fn few() -> Value {
    json!([cap("delivered", "user", 1, 1), cap("accepted", "all", COUPONS as u32, 0)])
}

fn definitions() -> Value {
    let mut all = catalog();
    all["audiences"] = json!([{"name": "Keen", "key": "keen", "includeAnonymous": true, "traits": [], "events": [
        {"eventId": "Page Viewed", "operator": "more_or_exactly", "count": 2,
         "timeWindowOperator": "within", "timeWindowEnd": 1, "timeWindowUnit": "days"}]}]);
    all["actions"].as_array_mut().expect("actions").push(coupon("Coupon", few()));
    all
}

/// Ten people over two days. They poll right after every event, with an id for each session of theirs, and every
/// second one takes the coupon on sight: the last is gone on the second morning.
async fn live(site: &Site) {
    let mut came: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let rounds = ["03-01T09:00", "03-01T09:20", "03-01T09:45", "03-01T18:00", "03-02T08:00", "03-02T09:21", "03-02T09:50"];
    let minutes = [540, 560, 585, 1080, 1920, 2001, 2030];
    for (round, (time, minute)) in rounds.iter().zip(minutes).enumerate() {
        site.set(time);
        for who in (0..PEOPLE).filter(|who| (who + round) % 4 != 3) {
            let user = format!("u{who}");
            site.track(&user, "Page Viewed", json!({"page": "/"}), None).await;
            let (last, session) = came.get(&who).copied().unwrap_or((minute, 0));
            let session = session + usize::from(minute - last >= 30);
            came.insert(who, (minute, session));
            let due = site.poll(&user, Some(&format!("session {session}"))).await;
            if who % 2 == 0 && due.iter().any(|(name, _)| name == "Coupon") {
                site.act(&user, "Coupon", "accept").await;
            }
        }
    }
}

async fn what_if(site: &Site, asked: Value) -> Value {
    let mut body = json!({"from": PERIOD[0], "to": PERIOD[1]});
    asked.as_object().expect("fields").iter().for_each(|(key, value)| body[key] = value.clone());
    let (status, _, told) = site.call(ADMIN, "/api/v1/actions/what-if", &body).await;
    assert_eq!(status, 200, "{told}");
    assert_eq!((&told["complete"], &told["assumptions"]["sessionMinutes"]), (&json!(true), &json!(30)));
    told
}

/// Who, and when.
fn deliveries(told: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().expect("text").to_owned();
    told["data"].as_array().expect("rows").iter().map(|row| (text(row, "userId"), text(row, "at"))).collect()
}

/// The logged reactions of a kind, oldest first.
async fn logged(site: &Site, kind: &str) -> Vec<(String, String)> {
    let id = site.action_id("Coupon");
    let log = site.read(&format!("reactions?actionId={id}&events={kind}&limit=100")).await;
    assert_eq!(log["nextCursor"], Value::Null);
    let text = |row: &Value, field: &str| row[field].as_str().expect("text").to_owned();
    let rows = log["data"].as_array().expect("rows").iter().rev();
    rows.map(|row| (text(row, "userId"), text(row, "timestamp"))).collect()
}

/// Everything that a question could have changed.
async fn everything(site: &Site) -> Value {
    let mut all = json!({"version": site.engine().plan().version, "log": site.read("reactions?limit=100").await});
    for who in 0..PEOPLE {
        let user = format!("u{who}");
        all[&user] = site.profile(&user).await;
        // Caps and totals, as a decision sees them.
        all[format!("{user} coupon")] = site.read(&format!("explain?userId={user}&action=Coupon&channel=app")).await;
    }
    all["invalid"] = site.read("invalid-events").await;
    all["journal"] = json!(site.engine().durable().borrow().to_string());
    all
}

/// Item 10: asked about the very action that ran, it finds the same people at the same instants, with a cap of
/// each person and a total that runs out in between.
#[tokio::test(flavor = "multi_thread")]
async fn the_action_that_ran_is_found_as_it_was() {
    let mut site = Site::start("03-01T08:00", &definitions()).await;
    live(&site).await;
    let told = what_if(&site, json!({"action": "Coupon"})).await;
    let (delivered, accepted) = (logged(&site, "delivered").await, logged(&site, "accepted").await);
    assert!(delivered.len() > PEOPLE && accepted.len() == COUPONS, "{delivered:?} {accepted:?}");
    assert_eq!(deliveries(&told), delivered);
    assert_eq!((&told["deliveries"], &told["total"]), (&json!(delivered.len()), &json!(delivered.len())));
    let days = told["days"].as_array().expect("days");
    assert_eq!(days.iter().map(|day| day["deliveries"].as_u64().expect("a number")).sum::<u64>(), delivered.len() as u64);
    let happened = &told["happened"];
    assert_eq!((&happened["deliveries"], &happened["days"]), (&told["deliveries"], &told["days"]));
    assert_eq!((&happened["both"], &happened["onlyHere"], &happened["onlyThen"]), (&told["people"], &json!(0), &json!(0)));
    assert_eq!((&told["reactions"]["taken"]["accepted"], &told["reactions"]["lost"]), (&json!(COUPONS), &json!({})));
    let [user, total] = [0, 1].map(|at| &told["caps"][at]);
    assert!(user["hits"].as_u64() > Some(0) && total["hits"].as_u64() > Some(0), "both mattered: {}", told["caps"]);
    assert_eq!(
        (&total["used"], &total["count"], &total["ranOutAt"]),
        (&json!(COUPONS), &json!(COUPONS), &json!(accepted[COUPONS - 1].1))
    );
    assert!(told["blocked"]["times"]["audience"].as_u64() > Some(0) && told["blocked"]["times"]["total_cap"].as_u64() > Some(0));
    // What everybody had taken by a past moment, as an explanation tells it.
    for (at, taken) in [("03-01T18:00", 8), ("03-02T09:40", COUPONS)] {
        let why = site.read(&format!("explain?userId=u1&action=Coupon&channel=app&at={}", site::at(at))).await;
        assert!(why.to_string().contains(&format!("accepted by all: {taken} of {COUPONS}")), "{why}");
    }
    let (_, _, replayed) = site.call(ADMIN, "/api/v1/actions/replay", &json!({})).await;
    assert_eq!((&replayed["reactions"]["mismatches"], &replayed["reactions"]["unknown"]), (&json!(0), &json!(0)));
    site.checkpoint().await;
    site.restart().await;
    assert_eq!(what_if(&site, json!({"action": "Coupon"})).await, told, "out of the store");
}

/// A stricter draft of a saved action gives fewer, a looser one more, and both are told beside what happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_action_is_held_against_what_happened() {
    let site = Site::start("03-01T08:00", &definitions()).await;
    live(&site).await;
    let before = everything(&site).await;
    let same = what_if(&site, json!({"action": "Coupon"})).await;
    let (all, people) = (deliveries(&same), &same["people"]);
    let mut stricter = coupon("Coupon", few());
    stricter["targeting"]["traitConditions"] =
        json!([{"source": "computed", "key": "views", "type": "integer", "operator": "greater_than_or_equal", "value": 4}]);
    let told = what_if(&site, json!({"action": "Coupon", "definition": stricter})).await;
    assert!(told["deliveries"].as_u64() < same["deliveries"].as_u64() && told["deliveries"].as_u64() > Some(0), "{told}");
    assert!(told["blocked"]["times"]["traits"].as_u64() > Some(0));
    assert_eq!((&told["happened"]["deliveries"], &told["happened"]["people"]), (&json!(all.len()), people));
    assert_eq!((&told["action"]["saved"], &told["action"]["changed"]), (&json!(true), &json!(true)));

    let sooner = coupon("Coupon", json!([cap("delivered", "user", 1, 1), cap("accepted", "all", 2, 0)]));
    let told = what_if(&site, json!({"action": "Coupon", "definition": sooner})).await;
    let accepted = logged(&site, "accepted").await;
    assert_eq!(told["caps"][1]["ranOutAt"], accepted[1].1);
    assert_eq!(told["reactions"], json!({"taken": {"accepted": 2}, "lost": {"accepted": COUPONS - 2}}));
    let fewer: Vec<_> = all.iter().filter(|(_, at)| *at <= accepted[1].1).cloned().collect();
    assert!(deliveries(&told).len() < all.len() && deliveries(&told).iter().all(|one| fewer.contains(one)));

    // Without caps nobody who is keen has to wait: once in every session.
    let told = what_if(&site, json!({"action": "Coupon", "definition": coupon("Coupon", json!([]))})).await;
    assert!(told["deliveries"].as_u64() > same["deliveries"].as_u64());
    assert!(all.iter().all(|one| deliveries(&told).contains(one)));
    assert_eq!(everything(&site).await, before, "nothing of it stays");
}

/// An action that nobody saved: what is delivered is taken to be shown, so that its caps mean something.
#[tokio::test(flavor = "multi_thread")]
async fn an_unsaved_action_can_be_asked_about() {
    let site = Site::start("03-01T08:00", &definitions()).await;
    live(&site).await;
    let before = everything(&site).await;
    let draft = coupon("New", json!([cap("shown", "user", 1, 0), cap("shown", "all", 3, 0)]));
    let told = what_if(&site, json!({"definition": draft})).await;
    assert_eq!((&told["deliveries"], &told["people"], &told["happened"]), (&json!(3), &json!(3), &Value::Null));
    assert_eq!(told["caps"][1]["ranOutAt"], told["data"][2]["at"]);
    assert_eq!(told["blocked"]["people"]["total_cap"], json!(PEOPLE - 3), "{}", told["blocked"]);
    let told = what_if(&site, json!({"definition": draft, "shown": "logged"})).await;
    assert!(told["deliveries"].as_u64() > Some(3), "nobody has seen it");
    assert_eq!(told["caps"][1]["used"], 0);
    let told = what_if(&site, json!({"definition": draft, "channel": "web"})).await;
    assert_eq!((&told["deliveries"], &told["reachable"]["people"]), (&json!(0), &json!(0)), "they came by the app");
    let told = what_if(&site, json!({"definition": draft, "shown": "logged", "limit": 2})).await;
    assert_eq!(told["data"].as_array().map(Vec::len), Some(2));
    assert!(told["total"].as_u64() > Some(2));
    assert_eq!(everything(&site).await, before, "nothing of it stays");
}

/// A simulation takes a draft as well, and decides about it as about the same action once it is saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_is_simulated_as_it_would_decide() {
    let site = Site::start("03-01T08:00", &definitions()).await;
    live(&site).await;
    let before = everything(&site).await;
    let simulate = async |user: &str, more: Value| {
        let mut body = json!({"userId": user, "channel": "app"});
        more.as_object().expect("fields").iter().for_each(|(key, value)| body[key] = value.clone());
        site.call(ADMIN, "/api/v1/actions/simulate", &body).await
    };
    let display =
        |told: &Value| told["data"].as_array().expect("rows").iter().map(|row| row["display"].clone()).collect::<Vec<_>>();
    // Windows that nothing was counted for so far, of each and of all.
    let open = COUPONS + 1;
    let drafts = [
        json!([cap("accepted", "user", 2, 7)]),
        json!([cap("accepted", "all", open as u32, 7)]),
        json!([cap("accepted", "all", COUPONS as u32, 7)]),
        few(),
    ];
    let mut told = Vec::new();
    for draft in &drafts {
        for who in 0..PEOPLE {
            let more = json!({"actionId": "Coupon", "draft": coupon("Coupon", draft.clone())});
            let (status, _, body) = simulate(&format!("u{who}"), more).await;
            assert_eq!((status, &body["total"]), (200, &json!(1)), "{body}");
            told.push(display(&body));
        }
    }
    assert!([true, false].iter().all(|shown| told.iter().filter(|one| **one == [json!(shown)]).count() > 5), "{told:?}");
    let (_, _, unsaved) = simulate("u1", json!({"draft": coupon("New", json!([cap("accepted", "all", 1, 0)]))})).await;
    assert_eq!(display(&unsaved), [json!(true)], "nobody has accepted what nobody has seen");
    let (status, _, wrong) = simulate("u1", json!({"draft": {"name": "New", "type": "nothing"}})).await;
    assert_eq!((status, &wrong["errors"][0]["pointer"]), (422, &json!("/draft/type")), "{wrong}");
    assert_eq!(everything(&site).await, before, "nothing of it stays");
    for (at, draft) in drafts.iter().enumerate() {
        let mut saved = definitions();
        *saved["actions"].as_array_mut().expect("actions").last_mut().expect("an action") = coupon("Coupon", draft.clone());
        site.apply(&saved).await;
        for who in 0..PEOPLE {
            let (_, _, body) = simulate(&format!("u{who}"), json!({"actionId": "Coupon"})).await;
            assert_eq!(display(&body), told[at * PEOPLE + who], "u{who} {draft}");
        }
    }
}

/// What is wrong is told as where it is saved, by place; what does not exist is not found.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_as_when_saving() {
    let site = Site::start("03-01T08:00", &definitions()).await;
    let path = "/api/v1/actions/what-if";
    let mut lost = coupon("New", json!([]));
    lost["targeting"]["audiences"] = json!(["nobody"]);
    for (body, pointer, code) in [
        (json!({"definition": lost}), "/definition/targeting/audiences/0", "audience_not_found"),
        (json!({"definition": coupon("New", few()), "channel": "fax"}), "/channel", "channel_not_found"),
        (json!({"days": 3}), "", "definition_invalid"),
        (json!({"action": "Coupon", "days": 0}), "/days", "invalid_range"),
        (json!({"action": "Coupon", "shown": "maybe"}), "/shown", "definition_invalid"),
    ] {
        let (status, _, told) = site.call(ADMIN, path, &body).await;
        let error = &told["errors"][0];
        assert_eq!((status, &error["pointer"], &error["code"]), (422, &json!(pointer), &json!(code)), "{body}: {told}");
    }
    for body in [json!({"action": "Nothing"}), json!({"action": "Nothing", "definition": coupon("New", few())})] {
        let (status, _, told) = site.call(ADMIN, path, &body).await;
        assert_eq!((status, &told["code"]), (404, &json!("action_not_found")));
    }
    assert_eq!(site.call(common::TA, path, &json!({"action": "Coupon"})).await.0, 403);
}
