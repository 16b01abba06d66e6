//! `POST /audiences/preview`.

use serde_json::{Value, json};

use crate::common::{TA, TS};
use crate::dice::Dice;
use crate::site::Site;
use crate::town::{audience, audiences, built, count, live, post, posted, some_audience, start, state, stir};

const PEOPLE: u64 = 24;

fn pairs(rows: &Value, since: &str) -> Vec<(String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}")).to_owned();
    rows.as_array().expect("a list").iter().map(|row| (text(row, "id"), text(row, since))).collect()
}

async fn save(site: &Site, key: &str, definition: &Value) -> String {
    let mut body = definition.clone();
    body["name"] = key.into();
    body["key"] = key.into();
    let id = posted(site, "audiences", &body).await["id"].as_str().expect("an id").to_owned();
    built(site).await;
    id
}

/// What a preview says of each audience is what saving it then gives: how many, who, and since when; and once it
/// is saved, the same again from what is live.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_what_saving_then_gives() {
    let site = start(&json!({})).await;
    live(&site, PEOPLE, 0..4320).await;
    let mut sizes = Vec::new();
    for (key, definition) in audiences() {
        let told = posted(&site, "audiences/preview", &definition).await;
        save(&site, key, &definition).await;
        let members = site.read(&format!("audiences/{key}/members?limit=1000")).await;
        assert_eq!(pairs(&told["sample"], "matchedSince"), pairs(&members["data"], "enteredAt"), "{key}");
        assert_eq!((&told["count"], &told["exact"]), (&members["total"], &json!(true)), "{key}");
        assert_eq!((&told["looked"], &told["margin"], &told["change"]), (&told["profiles"], &Value::Null, &Value::Null), "{key}");
        let mut again = definition.clone();
        again["key"] = key.into();
        let again = posted(&site, "audiences/preview", &again).await;
        assert_eq!(pairs(&again["sample"], "matchedSince"), pairs(&told["sample"], "matchedSince"), "{key}");
        assert_eq!((&again["change"]["added"], &again["change"]["removed"]), (&json!(0), &json!(0)), "{key}");
        sizes.push(told["count"].as_u64().expect("a count"));
    }
    let telling = sizes.iter().filter(|size| (1..PEOPLE).contains(size)).count();
    assert!(telling >= 10, "most of them divide the town: {sizes:?}");
}

/// The same for audiences at random, where events came late and people turned out to be one.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_of_anything_is_what_saving_then_gives() {
    let site = start(&json!({})).await;
    live(&site, PEOPLE, 0..2880).await;
    stir(&site, PEOPLE, 2880).await;
    let (mut dice, mut telling) = (Dice(11), 0);
    for n in 0..40 {
        let (key, definition) = (format!("a{n}"), some_audience(&mut dice));
        let told = posted(&site, "audiences/preview", &definition).await;
        save(&site, &key, &definition).await;
        let members = site.read(&format!("audiences/{key}/members?limit=1000")).await;
        assert_eq!(pairs(&told["sample"], "matchedSince"), pairs(&members["data"], "enteredAt"), "{key} {definition}");
        assert_eq!((&told["count"], &told["exact"]), (&members["total"], &json!(true)), "{key} {definition}");
        telling += usize::from(told["count"] != 0 && told["count"] != told["profiles"]);
    }
    assert!(telling >= 20, "{telling} of them divide the town");
}

/// Conditions that are live in different audiences, put together, are told without anybody's log: the same people as
/// those who are in all of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_is_put_together() {
    let site = start(&json!({})).await;
    live(&site, PEOPLE, 0..4320).await;
    let all = audiences();
    let of = |name: &str| all.iter().find(|(key, _)| *key == name).expect("it is there").1.clone();
    let mut members = Vec::new();
    for key in ["lately", "often", "older", "funnel"] {
        save(&site, key, &of(key)).await;
        let list = site.read(&format!("audiences/{key}/members?limit=1000")).await;
        members.push(pairs(&list["data"], "id").into_iter().map(|(id, _)| id).collect::<Vec<_>>());
    }
    for parts in [&["lately", "often"][..], &["often", "older"], &["funnel", "older"], &["lately", "often", "older"]] {
        let mut draft = of(parts[0]);
        for part in &parts[1..] {
            for field in ["events", "traits"] {
                let more = of(part)[field].as_array().expect("a list").clone();
                draft[field].as_array_mut().expect("a list").extend(more);
            }
        }
        let told = posted(&site, "audiences/preview", &draft).await;
        let lists = ["lately", "often", "older", "funnel"].iter().zip(&members).filter(|(key, _)| parts.contains(key));
        let mut both = members.concat();
        both.sort_unstable();
        both.dedup();
        lists.for_each(|(_, list)| both.retain(|id| list.contains(id)));
        let ids: Vec<String> = pairs(&told["sample"], "id").into_iter().map(|(id, _)| id).collect();
        assert_eq!((ids, &told["count"]), (both.clone(), &json!(both.len())), "{parts:?}");
        assert!(!both.is_empty(), "{parts:?}");
    }
}

/// T-58: the member of the funnel of T-45, with traits and the events that are why; nothing is different afterwards,
/// in memory, in the journal or on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn t58_the_member_is_told_with_traits_and_nothing_changes() {
    let site = start(&json!({})).await;
    live(&site, PEOPLE, 0..1440).await;
    let step = |event: &str, properties: Value| json!({"userId": "t45", "event": event, "properties": properties, "context": {"country": "DE"}});
    for (now, token, body) in [
        ("03-02T10:00", TS, step("Page Viewed", json!({"page": "/"}))),
        ("03-02T10:01", TA, step("Checkout Started", json!({"total": 5, "items": 1}))),
    ] {
        site.set(now);
        let (status, code, _) = site.call(token, "/v1/track", &body).await;
        assert_eq!((status, code.as_str()), (204, ""));
    }
    state(&site, PEOPLE).await;
    site.profile("t45").await;
    site.checkpoint().await;
    let before = state(&site, PEOPLE).await;
    assert_eq!(before[2], json!(0), "a checkpoint has everything: {before:?}");
    let mut told_of = 0;
    for (key, definition) in audiences() {
        let told = posted(&site, "audiences/preview", &definition).await;
        for row in told["sample"].as_array().expect("a list") {
            let user = row["userIds"][0].as_str().expect("a user id");
            let profile = site.profile(user).await;
            for field in ["id", "customTraits", "computedTraits", "createdAt"] {
                assert_eq!(row[field], profile[field], "{key} {user} {field}");
            }
            let why = row["why"].as_array().expect("clauses");
            if (key, user) == ("funnel", "t45") {
                assert_eq!(
                    (&row["matchedSince"], &row["computedTraits"]["views"]),
                    (&json!("2024-03-02T10:01:00.000Z"), &json!(1))
                );
                let steps = why.iter().find(|clause| clause["type"] == "chain").expect("the chain")["steps"].clone();
                let times = [0, 1].map(|i| steps[i]["events"][0]["timestamp"].clone());
                assert_eq!(times, ["2024-03-02T10:00:00.000Z", "2024-03-02T10:01:00.000Z"].map(|at| json!(at)));
                told_of += 1;
            }
            assert!(!why.is_empty() && why.iter().all(|clause| clause["holds"] == true), "{key} {user}: {why:?}");
        }
    }
    assert_eq!((told_of, state(&site, PEOPLE).await), (1, before));
}

/// Against the audience that it would replace: who would come, who would go; and whom else it meets.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_is_held_against_what_is_saved() {
    let site = start(&json!({})).await;
    live(&site, PEOPLE, 0..2880).await;
    let all = audiences();
    let of = |name: &str| all.iter().find(|(key, _)| *key == name).expect("it is there").1.clone();
    let ids = |told: &Value| pairs(&told["sample"], "id").into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    for (saved, other) in [("often", "lately"), ("older", "known"), ("lately", "older"), ("everybody", "never")] {
        let id = save(&site, saved, &of(saved)).await;
        let before = ids(&posted(&site, "audiences/preview", &of(saved)).await);
        let mut draft = of(other);
        draft["id"] = id.clone().into();
        let told = posted(&site, "audiences/preview", &draft).await;
        let after = ids(&told);
        let added = after.iter().filter(|id| !before.contains(id)).count();
        let removed = before.iter().filter(|id| !after.contains(id)).count();
        let change = &told["change"];
        assert_eq!((&change["id"], &change["key"]), (&json!(id), &json!(saved)));
        assert_eq!((&change["added"], &change["removed"]), (&json!(added), &json!(removed)), "{saved} → {other}");
        assert!(added + removed > 0, "{saved} and {other} differ");
        // The one that it replaces is no overlap.
        assert!(told["overlap"].as_array().expect("a list").iter().all(|one| one["key"] != saved), "{told}");
        let met = |key: &str| {
            told["overlap"]
                .as_array()
                .expect("a list")
                .iter()
                .find(|one| one["key"] == key)
                .map_or(0, |one| one["count"].as_u64().expect("a count"))
        };
        let lookers = site.read("audiences/lookers/members?limit=1000").await;
        let both = pairs(&lookers["data"], "id").iter().filter(|(id, _)| after.contains(id)).count() as u64;
        assert_eq!(met("lookers"), both, "{saved} → {other}");
    }
}

/// Everything that saving would find wrong, at the same places; what does not exist; who may not ask.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_as_saving_tells_it() {
    let site = start(&json!({})).await;
    let wrong = json!({"name": "w", "key": "w", "includeAnonymous": "yes", "nonsense": 1, "traits": [
        {"source": "computed", "key": "nothing", "dataType": "integer", "operator": "greater_than", "target": "static", "value": 1}],
        "events": [{"eventId": "Nobody Knows", "operator": "more_or_exactly", "count": 1}]});
    let saving = post(&site, "audiences", &wrong).await;
    let asking = post(&site, "audiences/preview", &wrong).await;
    assert_eq!((saving.0, asking.0), (422, 422), "{saving:?} {asking:?}");
    assert_eq!((&saving.1["code"], &saving.1["errors"]), (&asking.1["code"], &asking.1["errors"]));
    let errors = asking.1["errors"].as_array().expect("a list");
    assert!(errors.len() >= 3 && errors.iter().any(|error| error["pointer"] == "/events/0/eventId"), "{errors:?}");
    // A name or key is not needed, and whose it is does not matter.
    let right = json!({"name": "Lookers", "includeAnonymous": true, "events": [], "traits": []});
    let told = posted(&site, "audiences/preview", &right).await;
    assert_eq!((&told["count"], &told["change"]), (&json!(0), &Value::Null));
    let (status, answer) = post(&site, "audiences/preview?within=1", &right).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("invalid_query")), "{answer}");
    let (status, _, _) = site.call(TS, "/api/v1/audiences/preview", &right).await;
    assert_eq!(status, 403);
}

/// I-27: at most 50 are told, those with the smallest ids; and without time for everybody, an estimate.
#[tokio::test(flavor = "multi_thread")]
async fn i27_a_sample_and_an_estimate() {
    let site = start(&json!({})).await;
    for n in 0..60 {
        site.track(&format!("u{n}"), "Page Viewed", json!({"page": "/"}), None).await;
    }
    let everybody = audiences().remove(0).1;
    let told = posted(&site, "audiences/preview", &everybody).await;
    let all =
        posted(&site, "audiences", &json!({"name": "all", "key": "all", "includeAnonymous": true, "events": [], "traits": []}))
            .await;
    built(&site).await;
    let first = site.read("audiences/all/members?limit=50").await;
    assert_eq!((&told["count"], &told["profiles"]), (&json!(60), &json!(60)), "{all}");
    assert_eq!(pairs(&told["sample"], "id"), pairs(&first["data"], "id"));
    // Whatever there was time for: all of them, or an estimate that says how far it may be off.
    let within = json!({"timeWindowOperator": "within", "timeWindowEnd": 9});
    let folded = audience(true, json!([count("Page Viewed", "exactly", 1, within)]), json!([]));
    for ms in [1, 2, 4, 8, 16, 2000] {
        let told = posted(&site, &format!("audiences/preview?withinMs={ms}"), &folded).await;
        let number = |field: &str| told[field].as_u64().expect("a number");
        assert_eq!(told["exact"], json!(number("looked") == number("profiles")), "{told}");
        assert_eq!(told["margin"].is_null(), told["exact"] == true, "{told}");
        if number("looked") > 0 {
            // Everybody is a member, so whoever was looked at says so of all.
            assert_eq!((number("count"), number("profiles")), (60, 60), "{told}");
        }
    }
    // No time at all: nobody was looked at, and the answer says so.
    let none = posted(&site, "audiences/preview?withinMs=0", &everybody).await;
    assert_eq!((&none["exact"], &none["looked"], &none["profiles"]), (&json!(false), &json!(0), &json!(60)));
    assert_eq!((&none["count"], &none["margin"], &none["sample"]), (&json!(0), &json!(60), &json!([])));
}
