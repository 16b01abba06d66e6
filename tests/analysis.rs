//! The analysis over HTTP, on a server whose clock the test sets.

mod common;
#[path = "common/site.rs"]
mod site;

use std::time::{Duration, Instant};

use common::{ADMIN, TA, TW, catalog};
use serde_json::{Value, json};
use site::Site;

/// Every answer that a restart must not change.
const QUESTIONS: [&str; 7] = [
    "events?start=2024-02-28&end=2024-04-02",
    "events?start=2024-03-31&end=2024-03-31&resolution=hour",
    "events?start=2024-02-28&end=2024-04-02&cyclic=hour_of_day&channel=app",
    "rates?start=2024-02-01&end=2024-04-30&resolution=month",
    "reach?start=2024-02-28&end=2024-04-02&resolution=week",
    "reach?start=2024-02-28&end=2024-04-02&channel=web",
    "dashboard",
];

/// A page view, which makes "Hello" due.
async fn view(site: &Site, user: &str) {
    site.track(user, "Page Viewed", json!({"page": "/"}), None).await;
}

/// A poll on app; "Hello" is due.
async fn poll(site: &Site, user: &str) {
    assert_eq!(site.poll(user, None).await[0].0, "Hello");
}

async fn read(site: &Site, question: &str) -> Value {
    site.read(&format!("analysis/{question}")).await
}

/// `bucket:count` of one reaction where it is not 0.
async fn filled(site: &Site, question: &str, reaction: &str) -> Vec<String> {
    let body = read(site, question).await;
    let rows = body["data"].as_array().unwrap().iter();
    let row = |row: &Value| format!("{}:{}", row["bucket"].as_str().unwrap(), row[reaction]);
    rows.filter(|row| row[reaction] != 0).map(row).collect()
}

/// T-83: buckets are local and real; what is empty is 0, and a change of the zone changes them on reading.
#[tokio::test(flavor = "multi_thread")]
async fn t_83_buckets_are_local() {
    let site = Site::start("02-29T22:59", &catalog()).await;
    view(&site, "ada").await;
    view(&site, "bob").await;
    poll(&site, "ada").await;
    let hello = site.action_id("Hello");
    site.act("ada", "Hello", "show").await;
    site.set("02-29T23:00");
    poll(&site, "bob").await;
    site.act("bob", "Hello", "show").await;
    let two_days = format!("events?actionId={hello}&start=2024-02-29&end=2024-03-01");
    assert_eq!(filled(&site, &two_days, "shown").await, ["2024-02-29:1", "2024-03-01:1"]);
    let body = read(&site, &format!("{two_days}&resolution=hour")).await;
    assert_eq!(body["data"].as_array().unwrap().len(), 48);
    assert_eq!((&body["data"][23]["bucket"], &body["data"][23]["shown"]), (&json!("2024-02-29T23:00+01:00"), &json!(1)));
    assert_eq!((&body["data"][0]["shown"], &body["totals"]["shown"]), (&json!(0), &json!(2)));
    let spring = read(&site, "events?start=2024-03-31&end=2024-03-31&resolution=hour").await;
    assert_eq!(spring["data"].as_array().unwrap().len(), 23);
    let autumn = read(&site, "events?start=2024-10-27&end=2024-10-27&resolution=hour").await;
    assert_eq!(autumn["data"].as_array().unwrap().len(), 25);
    assert_eq!(filled(&site, &format!("{two_days}&resolution=month"), "shown").await, ["2024-02:1", "2024-03:1"]);
    assert_eq!(filled(&site, &format!("{two_days}&cyclic=weekday"), "shown").await, ["thursday:1", "friday:1"]);
    assert_eq!(filled(&site, &format!("{two_days}&cyclic=hour_of_day"), "shown").await, ["00:1", "23:1"]);
    // Thirty days up to today when nothing is said.
    let (defaults, nothing) = (read(&site, "events").await, read(&site, "events?start=2023-01-01&end=2023-01-03").await);
    assert_eq!(
        (&defaults["start"], &defaults["end"], &defaults["total"]),
        (&json!("2024-02-01"), &json!("2024-03-01"), &json!(30))
    );
    assert_eq!((&nothing["totals"]["total"], nothing["data"].as_array().unwrap().len()), (&json!(0), 3));

    let mut moved = catalog();
    moved["organization"]["timezone"] = "Asia/Kathmandu".into();
    site.apply(&moved).await;
    assert_eq!(filled(&site, &two_days, "shown").await, ["2024-03-01:2"]);
    let hours = read(&site, &format!("{two_days}&resolution=hour")).await;
    assert_eq!(hours["data"][28]["bucket"], "2024-03-01T04:00+05:45");
    assert_eq!(hours["data"][28]["shown"], 2);
}

/// T-84: rates are parts of what came before, and of nothing there is none.
#[tokio::test(flavor = "multi_thread")]
async fn t_84_rates_of_nothing_are_null() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    let hello = site.action_id("Hello");
    for number in 0..10 {
        let user = format!("u{number}");
        view(&site, &user).await;
        poll(&site, &user).await;
        if number < 5 {
            site.act(&user, "Hello", "show").await;
        }
    }
    let body = read(&site, &format!("rates?actionId={hello}")).await;
    let totals = &body["totals"];
    assert_eq!((&totals["delivered"], &totals["shown"], &totals["accepted"]), (&json!(10), &json!(5), &json!(0)));
    assert_eq!(totals["rates"], json!({"shown": 0.5, "hidden": 0.0, "declined": 0.0, "accepted": 0.0}));
    assert_eq!(body["data"][29]["rates"]["shown"], 0.5);
    assert_eq!(body["data"][28]["rates"], json!({"shown": null, "hidden": null, "declined": null, "accepted": null}));
}

/// T-85: three deliveries to one person reach one, on however many channels; people who turn out to be one
/// are one.
#[tokio::test(flavor = "multi_thread")]
async fn t_85_reach_is_people() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    let row = |body: &Value| (body["total"].as_i64().unwrap(), body["unique"].as_u64().unwrap(), body["approximate"] == false);
    view(&site, "ada").await;
    poll(&site, "ada").await;
    let hello = site.action_id("Hello");
    poll(&site, "ada").await;
    site.set("03-02T10:00");
    poll(&site, "ada").await;
    let question = format!("reach?actionId={hello}");
    let body = read(&site, &question).await;
    assert_eq!((row(&body["all"]), &body["data"][0]["channel"]), ((3, 1, true), &json!("app")));
    assert_eq!((row(&body["buckets"][28]), row(&body["buckets"][29])), ((2, 1, true), (1, 1, true)));

    let on_web = json!({"userId": "ada", "context": {"country": "DE"}});
    assert_eq!(site.call(TW, "/v1/actions", &on_web).await.2[0]["id"], hello);
    site.checkpoint().await;
    view(&site, "bob").await;
    poll(&site, "bob").await;
    let body = read(&site, &question).await;
    assert_eq!(row(&body["all"]), (5, 2, true));
    let channels: Vec<_> = body["data"].as_array().unwrap().iter().map(|c| (c["channel"].as_str().unwrap(), row(c))).collect();
    assert_eq!(channels, [("web", (1, 1, true)), ("app", (4, 2, true))]);
    assert_eq!(row(&read(&site, &format!("{question}&channel=web")).await["all"]), (1, 1, true));

    site.identify("ada@shop", "ada").await;
    site.identify("ada@shop", "bob").await;
    assert_eq!(row(&read(&site, &question).await["all"]), (5, 1, true));
    site.refuses(&format!("analysis/{question}&cyclic=weekday"), 400, "invalid_query").await;
}

/// Every answer stays what it is over restarts with and without a checkpoint, and a staging reaction is in none.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_change_nothing() {
    let mut definitions = catalog();
    let mut trial = definitions["actions"][0].clone();
    trial["name"] = "Trial".into();
    trial["properties"][0]["value"] = "Trial".into();
    trial["state"] = "staging".into();
    trial["testUsers"] = json!([{"channels": ["app"], "userId": "tester", "description": ""}]);
    definitions["actions"].as_array_mut().unwrap().push(trial);
    let mut site = Site::start("02-28T08:10", &definitions).await;
    let answers = async |site: &Site| {
        let mut answers = Vec::new();
        for question in QUESTIONS {
            answers.push(read(site, question).await);
        }
        answers
    };
    let mut delivered = 0;
    for (number, now) in ["02-28T08:10", "02-29T22:59", "03-30T23:00", "03-31T00:59:59", "03-31T01:00"].iter().enumerate() {
        site.set(now);
        for user in ["ada", &format!("u{number}")] {
            view(&site, user).await;
            let due = site.poll(user, None).await;
            delivered += due.len();
            for (action, _) in due {
                site.act(user, &action, "show").await;
            }
        }
        view(&site, "tester").await;
        let due = site.poll("tester", None).await;
        assert!(due.iter().any(|(action, _)| action == "Trial"), "the tester gets what is tried: {due:?}");
        delivered += due.len() - 1;
        let before = answers(&site).await;
        assert_eq!(before[0]["totals"]["delivered"], delivered, "after {now}");
        // Rows and journal take turns, so that each restart adds up both.
        if number % 2 == 1 {
            site.checkpoint().await;
            assert_eq!(answers(&site).await, before, "after {now}, from rows");
        }
        site.restart().await;
        assert_eq!(answers(&site).await, before, "after {now}, over a restart");
    }
    let dashboard = read(&site, "dashboard").await;
    let count =
        |part: &str| dashboard[part].as_array().unwrap().iter().map(|row| row["count"].as_i64().unwrap()).collect::<Vec<_>>();
    // The last day, in three-hour buckets that end with the present quarter of an hour; nobody is mixed in
    // from before.
    assert_eq!(dashboard["events"].as_array().unwrap().len(), 8);
    assert_eq!(
        (&dashboard["start"], &dashboard["end"]),
        (&json!("2024-03-30T02:15:00+01:00"), &json!("2024-03-31T03:15:00+02:00"))
    );
    assert_eq!((count("events"), count("profiles")), (vec![0, 0, 0, 0, 0, 0, 0, 9], vec![0, 0, 0, 0, 0, 0, 0, 3]));
    assert_eq!((&dashboard["totals"]["profiles"], &dashboard["totals"]["activeActions"]), (&json!(7), &json!(3)));
}

/// What makes no sense is refused, with a reason.
#[tokio::test(flavor = "multi_thread")]
async fn questions_are_checked() {
    let site = Site::start("03-01T10:00", &catalog()).await;
    for (question, status, code) in [
        ("events?resolution=decade", 400, "invalid_query"),
        ("events?cyclic=month", 400, "invalid_query"),
        ("events?resolution=day&cyclic=weekday", 400, "invalid_query"),
        ("events?start=01.03.2024", 400, "invalid_query"),
        ("events?start=2024-03-02&end=2024-03-01", 400, "invalid_query"),
        ("events?start=2020-01-01&resolution=hour", 400, "invalid_query"),
        ("events?start=1900-01-01", 400, "invalid_query"),
        ("events?interval=day", 400, "invalid_query"),
        ("rates?actionId=nothing", 404, "action_not_found"),
        ("reach?channel=fax", 404, "channel_not_found"),
    ] {
        site.refuses(&format!("analysis/{question}"), status, code).await;
    }
    for path in ["events", "rates", "reach", "dashboard", "live"] {
        let url = site.url(&format!("/api/v1/analysis/{path}"));
        assert_eq!(site.client.get(&url).send().await.unwrap().status(), 401, "{path}");
        assert_eq!(site.client.get(&url).bearer_auth(TA).send().await.unwrap().status(), 403, "{path}");
    }
}

/// Differences come at most once a second, and add up to what happened.
#[tokio::test(flavor = "multi_thread")]
async fn the_live_view_gets_at_most_one_difference_a_second() {
    let mut site = Site::start("03-01T10:00", &catalog()).await;
    let mut stream = site.client.get(site.url("/api/v1/analysis/live")).bearer_auth(ADMIN).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let (mut text, mut came) = (String::new(), Vec::new());
    let mut wait = async |text: &mut String, deltas: usize| {
        while text.matches("event: delta").count() < deltas || !text.ends_with("\n\n") {
            let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.expect("in time").unwrap();
            let before = text.matches("event: delta").count();
            text.push_str(std::str::from_utf8(&chunk.expect("it goes on")).unwrap());
            came.extend((before..text.matches("event: delta").count()).map(|_| Instant::now()));
        }
    };
    wait(&mut text, 0).await;
    assert_eq!(text, "event: ready\ndata: {}\n\n");
    for _ in 0..20 {
        view(&site, "ada").await;
    }
    wait(&mut text, 1).await;
    poll(&site, "ada").await;
    let hello = site.action_id("Hello");
    site.act("ada", "Hello", "show").await;
    wait(&mut text, 2).await;
    view(&site, "ada").await;
    wait(&mut text, 3).await;
    let deltas: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(deltas.iter().map(|delta| delta["events"].as_u64().unwrap()).sum::<u64>(), 21);
    let of_hello = |event: &str| -> u64 {
        let all = deltas.iter().flat_map(|delta| delta["reactions"].as_array().unwrap());
        all.filter(|row| row["actionId"] == hello.as_str() && row["event"] == event)
            .map(|row| row["count"].as_u64().unwrap())
            .sum()
    };
    assert_eq!((of_hello("delivered"), of_hello("shown")), (1, 1));
    // A little less than a second: what is measured is the arrival, not the sending.
    assert!(came.windows(2).all(|pair| pair[1] - pair[0] > Duration::from_millis(900)), "{came:?}");
    // The server can stop though the stream is open.
    tokio::time::timeout(Duration::from_secs(5), site.stop()).await.expect("the stream keeps the server");
}
