//! `POST /audiences/dry-run`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::catalog;
use crate::dice::Dice;
use crate::site::Site;
use crate::town::{audience, audiences, count, live, post, posted, some_audience, start, state};

const PEOPLE: u64 = 16;
const MINUTES: u64 = 4 * 1440;

/// Who came or went, and when: `(at, user, kind)`.
type Moment = (String, String, String);

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_else(|| panic!("{key} of {row}")).to_owned()
}

fn told(run: &Value) -> Vec<Moment> {
    let rows = run["moments"]["data"].as_array().expect("a list");
    rows.iter().map(|row| (text(row, "at"), row["userIds"][0].as_str().expect("a user").to_owned(), text(row, "kind"))).collect()
}

/// Those of every sort, and some at random.
fn all_sorts() -> Vec<(String, Value)> {
    let mut dice = Dice(23);
    let random = (0..20).map(|n| (format!("a{n}"), some_audience(&mut dice)));
    let sorts = audiences().into_iter().map(|(key, definition)| (key.to_owned(), definition));
    sorts.chain(random).collect()
}

/// Definitions as a catalog document.
fn saved() -> Value {
    let all = all_sorts().into_iter().map(|(key, mut definition)| {
        definition["name"] = key.as_str().into();
        definition["key"] = key.into();
        definition
    });
    json!({"audiences": all.collect::<Vec<_>>()})
}

/// The logs of memberships of everybody, by audience.
async fn lived(site: &Site) -> BTreeMap<String, Vec<Moment>> {
    let mut all: BTreeMap<String, Vec<Moment>> = BTreeMap::new();
    for user in (0..PEOPLE).map(|n| format!("u{n}")) {
        let id = text(&site.profile(&user).await, "id");
        let log = site.read(&format!("profiles/{id}/memberships?limit=1000")).await;
        for row in log["data"].as_array().expect("a list") {
            all.entry(text(row, "audience")).or_default().push((text(row, "at"), user.clone(), text(row, "kind")));
        }
    }
    all.values_mut().for_each(|log| log.sort());
    all
}

/// The same days on two servers: on one the audiences are there from the start, on the other they are only asked
/// about. Every moment of the dry run is one of the log of memberships, to the millisecond, and none is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_is_what_would_have_been() {
    let (with, without) = (start(&saved()).await, start(&json!({})).await);
    live(&with, PEOPLE, 0..MINUTES).await;
    live(&without, PEOPLE, 0..MINUTES).await;
    let before = state(&without, PEOPLE).await;
    let lived = lived(&with).await;
    let mut moved = 0;
    for (key, definition) in all_sorts() {
        let run = posted(&without, "audiences/dry-run", &json!({"definition": definition, "days": 30, "limit": 1000})).await;
        let mut moments = told(&run);
        assert!(moments.is_sorted_by_key(|(at, ..)| at.clone()), "{key}");
        moments.sort();
        let log = lived.get(&key).cloned().unwrap_or_default();
        assert_eq!(moments, log, "{key}");
        assert_eq!(run["moments"]["total"], json!(log.len()), "{key}");
        let size = with.read(&format!("audiences/{key}")).await["profileCount"].clone();
        let days = run["days"].as_array().expect("days");
        assert_eq!((days.len(), &days[29]["size"], &run["sizeAtStart"]), (30, &size, &json!(0)), "{key}: {days:?}");
        assert_eq!((&run["exact"], &run["looked"]), (&json!(true), &run["profiles"]), "{key}");
        moved += log.len();
    }
    assert!(moved > 300, "there is something to compare: {moved}");
    assert_eq!(state(&without, PEOPLE).await, before);
}

/// Days are those of the organisation (Europe/Berlin, an hour ahead of UTC), and pages put together are the whole.
#[tokio::test(flavor = "multi_thread")]
async fn days_are_local_and_pages_are_parts() {
    let site = start(&json!({})).await;
    live(&site, PEOPLE, 0..MINUTES).await;
    for (key, definition) in audiences() {
        let all = told(&posted(&site, "audiences/dry-run", &json!({"definition": definition, "limit": 1000})).await);
        let body = json!({"definition": definition, "from": "2024-03-02", "to": "2024-03-03", "limit": 7});
        let run = posted(&site, "audiences/dry-run", &body).await;
        assert_eq!((&run["from"], &run["to"]), (&json!("2024-03-01T23:00:00.000Z"), &json!("2024-03-03T23:00:00.000Z")));
        let (from, to) = (text(&run, "from"), text(&run, "to"));
        let within: Vec<Moment> = all.iter().filter(|(at, ..)| (&from..&to).contains(&at)).cloned().collect();
        let (mut pages, mut page) = (told(&run), run.clone());
        while let Some(cursor) = page["moments"]["nextCursor"].as_str() {
            assert_eq!(page["moments"]["data"].as_array().map(Vec::len), Some(7), "{key}");
            let mut next = body.clone();
            next["cursor"] = cursor.into();
            page = posted(&site, "audiences/dry-run", &next).await;
            pages.extend(told(&page));
        }
        let sorted = |mut moments: Vec<Moment>| {
            moments.sort();
            moments
        };
        assert_eq!(sorted(pages), sorted(within.clone()), "{key}");
        let of = |kind: &str, from: &str, to: &str| {
            within.iter().filter(|(at, _, is)| is == kind && at.as_str() >= from && at.as_str() < to).count()
        };
        let mut size =
            all.iter().filter(|(at, ..)| *at < from).map(|(_, _, kind)| if kind == "entered" { 1 } else { -1 }).sum::<i64>();
        assert_eq!(run["sizeAtStart"], json!(size), "{key}");
        for (day, (from, to)) in [("2024-03-01T23", "2024-03-02T23"), ("2024-03-02T23", "2024-03-03T23")].into_iter().enumerate()
        {
            let (entered, left) = (of("entered", from, to), of("left", from, to));
            size += i64::try_from(entered).unwrap() - i64::try_from(left).unwrap();
            let row = json!({"date": format!("2024-03-0{}", day + 2), "entered": entered, "left": left, "size": size});
            assert_eq!(run["days"][day], row, "{key}");
        }
        let mut people: Vec<&str> =
            within.iter().filter(|(.., kind)| kind == "entered").map(|(_, user, _)| user.as_str()).collect();
        people.sort_unstable();
        people.dedup();
        assert_eq!(run["people"], json!(people.len()), "{key}");
    }
}

/// What is not kept is not known: from when on the answer is exact, and that some of it is not.
#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_gone_is_told() {
    let kept = Duration::from_secs(10 * 86_400);
    let site = Site::configured("03-01T12:00", &catalog(), |config| config.retention.history = Some(kept)).await;
    let page = |user: &'static str| site.track(user, "Page Viewed", json!({"page": "/"}), None);
    page("u0").await;
    site.set("03-09T12:00");
    page("u0").await;
    let within = json!({"timeWindowOperator": "within", "timeWindowEnd": 2});
    let often = |n: u32, more: Value| audience(true, json!([count("Page Viewed", "more_or_exactly", n, more)]), json!([]));
    let ask = |definition: Value| json!({"definition": definition, "days": 30});
    // Nobody is older than what is kept: all is known.
    let run = posted(&site, "audiences/dry-run", &ask(often(2, json!({})))).await;
    assert_eq!((&run["exact"], &run["history"]["profilesOlder"], &run["entered"]), (&json!(true), &json!(0), &json!(1)));
    site.set("03-15T12:00");
    page("u1").await;
    assert_eq!(site.engine().sweep_history().entries, 1);
    let run = posted(&site, "audiences/dry-run", &ask(often(2, json!({})))).await;
    let history = json!({"keptFrom": "2024-03-05T00:00:00.000Z", "profilesOlder": 1, "exactFrom": null});
    assert_eq!((&run["exact"], &run["history"], &run["entered"]), (&json!(false), &history, &json!(0)), "it counts what is gone");
    // Whoever belongs before anything happens has done so since they were first seen, not since what is kept of them.
    let run = posted(&site, "audiences/dry-run", &ask(audience(true, json!([]), json!([])))).await;
    let seen = [("2024-03-01T12:00:00.000Z", "u0"), ("2024-03-15T12:00:00.000Z", "u1")];
    assert_eq!(told(&run), seen.map(|(at, user)| (at.to_owned(), user.to_owned(), "entered".to_owned())));
    // Two days after the oldest that is kept nothing older matters to a window of two days.
    let run = posted(&site, "audiences/dry-run", &ask(often(1, within.clone()))).await;
    assert_eq!((&run["exact"], &run["history"]["exactFrom"]), (&json!(false), &json!("2024-03-07T00:00:00.000Z")));
    let late = json!({"definition": often(1, within), "from": "2024-03-08"});
    let run = posted(&site, "audiences/dry-run", &late).await;
    assert_eq!((&run["exact"], &run["entered"], &run["left"]), (&json!(true), &json!(2), &json!(1)), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told() {
    let site = start(&json!({})).await;
    let definition = audience(true, json!([{"eventId": "Nobody Knows", "operator": "more_or_exactly", "count": 1}]), json!([]));
    let all = audience(true, json!([]), json!([]));
    for (body, status, pointer, code) in [
        (json!({"definition": definition}), 422, "/definition/events/0/eventId", "event_not_found"),
        (json!({"definition": all, "days": 401}), 422, "/days", "invalid_range"),
        (json!({"definition": all, "from": "2024-03-02"}), 422, "/from", "invalid_range"),
        (json!({"definition": all, "from": "2020-01-01"}), 422, "/from", "invalid_range"),
        (json!({"definition": all, "cursor": "x"}), 422, "/cursor", "definition_invalid"),
        (json!({"definition": all, "days": 3, "from": "2024-01-01"}), 422, "/days", "definition_invalid"),
        (json!({"days": 3}), 422, "", "definition_invalid"),
    ] {
        let (is, answer) = post(&site, "audiences/dry-run", &body).await;
        let error = &answer["errors"][0];
        assert_eq!((is, &error["pointer"], &error["code"]), (status, &json!(pointer), &json!(code)), "{body}: {answer}");
    }
    let (is, answer) = post(&site, "audiences/dry-run", &json!({"definition": all, "from": "soon"})).await;
    assert_eq!((is, &answer["code"]), (400, &json!("invalid_query")));
}
