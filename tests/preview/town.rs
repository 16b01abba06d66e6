//! People who live through a few days on a server, the same way every time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{ADMIN, TA, catalog};
use crate::dice::Dice;
use crate::site::Site;

/// Minutes after the first of March 2024, as the server's time.
pub(crate) fn minute(n: u64) -> String {
    format!("03-{:02}T{:02}:{:02}", 1 + n / 1440, n / 60 % 24, n % 60)
}

/// A condition on how often an event happened.
pub(crate) fn count(event: &str, operator: &str, n: u32, more: Value) -> Value {
    let mut condition = json!({"eventId": event, "operator": operator, "count": n, "timeWindowOperator": "any_time"});
    condition.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    condition
}

/// An audience of these conditions, without name and key.
pub(crate) fn audience(include_anonymous: bool, events: Value, traits: Value) -> Value {
    json!({"includeAnonymous": include_anonymous, "events": events, "traits": traits})
}

fn custom(key: &str, kind: &str, operator: &str, value: Value) -> Value {
    json!({"source": "custom", "key": key, "dataType": kind, "operator": operator, "target": "static", "value": value})
}

fn steps(first: &str, second: &str, more: Value) -> Value {
    let one = json!({"eventId": first, "internalId": "00000000-0000-4000-8000-000000000001", "operator": "more_or_exactly", "count": 1});
    let mut two = json!({"eventId": second, "internalId": "00000000-0000-4000-8000-000000000002",
        "parentId": "00000000-0000-4000-8000-000000000001", "operator": "more_or_exactly", "count": 1});
    two.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!([one, two])
}

/// Audiences of every sort: counts with and without windows, chains, traits, other audiences, and together.
pub(crate) fn audiences() -> Vec<(&'static str, Value)> {
    let page = |operator: &str, n: u32, more: Value| count("Page Viewed", operator, n, more);
    let within = |days: u32| json!({"timeWindowOperator": "within", "timeWindowEnd": days});
    let expensive = json!({"properties": [{"key": "total", "dataType": "float", "operator": "greater_than", "value": "50"}]});
    let views = json!({"source": "computed", "key": "views", "dataType": "integer", "operator": "greater_than", "target": "static", "value": 6});
    let member = json!({"source": "audience", "key": "lookers", "dataType": "boolean", "operator": "false"});
    let pause = json!({"exclude": true, "forAtLeast": {"amount": 90, "unit": "minutes"}});
    vec![
        ("everybody", audience(true, json!([]), json!([]))),
        ("known", audience(false, json!([]), json!([]))),
        ("often", audience(true, json!([page("more_or_exactly", 6, json!({}))]), json!([]))),
        ("lately", audience(true, json!([page("more_or_exactly", 1, within(1))]), json!([]))),
        (
            "before",
            audience(
                true,
                json!([page(
                    "more_than",
                    0,
                    json!({"timeWindowOperator": "in_between", "timeWindowStart": 1, "timeWindowEnd": 2})
                )]),
                json!([]),
            ),
        ),
        ("never", audience(true, json!([count("Checkout Started", "exactly", 0, json!({}))]), json!([]))),
        ("expensive", audience(true, json!([count("Checkout Started", "more_than", 0, expensive)]), json!([]))),
        ("funnel", audience(true, steps("Page Viewed", "Checkout Started", json!({})), json!([]))),
        ("abandoned", audience(true, steps("Page Viewed", "Checkout Started", pause), json!([]))),
        ("older", audience(true, json!([]), json!([custom("age", "integer", "greater_than", json!(30))]))),
        ("viewers", audience(true, json!([]), json!([views]))),
        ("others", audience(true, json!([]), json!([member]))),
        (
            "all-of-it",
            audience(
                false,
                json!([page("more_or_exactly", 1, within(2)), count("Checkout Started", "less_than", 3, json!({}))]),
                json!([custom("age", "integer", "greater_than", json!(18))]),
            ),
        ),
    ]
}

/// An audience, one of many: counts and chains of every form, and conditions on traits, with windows of hours.
pub(crate) fn some_audience(dice: &mut Dice) -> Value {
    let event = |dice: &mut Dice| ["Page Viewed", "Checkout Started"][dice.roll(2)];
    let expensive = |dice: &mut Dice| {
        let total = json!([{"key": "total", "dataType": "float", "operator": "less_than", "value": dice.roll(100).to_string()}]);
        (dice.roll(3) == 0).then_some(total)
    };
    let mut events = Vec::new();
    for _ in 0..dice.roll(3) {
        let operator = ["exactly", "less_than", "more_than", "less_or_exactly", "more_or_exactly"][dice.roll(5)];
        let event = event(dice);
        let (from, to) = (dice.roll(30), 31 + dice.roll(40));
        let mut one = match dice.roll(3) {
            0 => count(event, operator, 1, json!({})),
            1 => count(event, operator, 1, json!({"timeWindowOperator": "within", "timeWindowEnd": to})),
            _ => count(
                event,
                operator,
                1,
                json!({"timeWindowOperator": "in_between", "timeWindowStart": from, "timeWindowEnd": to}),
            ),
        };
        one["timeWindowUnit"] = "hours".into();
        one["count"] = dice.roll(4).max(usize::from(operator == "less_than")).into();
        if let ("Checkout Started", Some(total)) = (event, expensive(dice)) {
            one["properties"] = total;
        }
        events.push(one);
    }
    if dice.roll(2) == 0 {
        let gap = json!({"withinPrevious": {"max": {"amount": 1 + dice.roll(20), "unit": "hours"}}});
        let pause = json!({"exclude": true, "forAtLeast": {"amount": 1 + dice.roll(300), "unit": "minutes"}});
        let never = json!({"exclude": true});
        let more = [json!({}), gap, pause, never][dice.roll(4)].clone();
        let mut chain = steps(event(dice), event(dice), more);
        if dice.roll(2) == 0 {
            chain[0]["timeWindowOperator"] = "within".into();
            chain[0]["timeWindowEnd"] = (1 + dice.roll(40)).into();
            chain[0]["timeWindowUnit"] = "hours".into();
        }
        events.extend(chain.as_array().expect("a list").clone());
    }
    let condition = match dice.roll(6) {
        0 => Some(custom("age", "integer", ["greater_than", "less_than"][dice.roll(2)], json!(10 + dice.roll(50)))),
        1 => Some(json!({"source": "computed", "key": "views", "dataType": "integer", "operator": "greater_than",
            "target": "static", "value": dice.roll(9)})),
        2 => Some(
            json!({"source": "audience", "key": "lookers", "dataType": "boolean", "operator": (["true", "false"][dice.roll(2)])}),
        ),
        _ => None,
    };
    audience(dice.roll(3) > 0, events.into(), condition.into_iter().collect())
}

/// Everything that does not come in order: events that are late by hours, and people who turn out to be one.
pub(crate) async fn stir(site: &Site, people: u64, minute_now: u64) {
    let mut dice = Dice(people);
    for n in 0..people {
        let (user, late) = (format!("u{}", dice.roll(usize::try_from(people).expect("small"))), dice.roll(600) as u64);
        let when = minute(minute_now - 1 - late);
        match n % 3 {
            0 => site.track(&user, "Page Viewed", json!({"page": "/"}), Some(&when)).await,
            1 => site.track(&user, "Checkout Started", json!({"total": dice.roll(100), "items": 1}), Some(&when)).await,
            _ => site.identify(&format!("known{n}"), &user).await,
        }
    }
    for pair in 0..people / 6 {
        // Two who came anonymously, and then by one name.
        for side in 0..2 {
            let guest = format!("guest{pair}-{side}");
            site.track(&guest, "Page Viewed", json!({"page": "/"}), Some(&minute(minute_now - 90 + 30 * side))).await;
            site.identify(&format!("guest{pair}"), &guest).await;
        }
    }
}

/// A server at midnight that knows an audience beside the definitions of all tests.
pub(crate) async fn start(more: &Value) -> Site {
    let site = Site::start("03-01T00:00", &catalog()).await;
    let mut lookers = audience(true, json!([count("Page Viewed", "more_or_exactly", 5, json!({}))]), json!([]));
    lookers["name"] = "Lookers".into();
    lookers["key"] = "lookers".into();
    site.apply(&json!({"audiences": [lookers]})).await;
    site.apply(more).await;
    site
}

/// Three days in the lives of `people`: views, checkouts, names and ages, each at a minute of its own.
pub(crate) async fn live(site: &Site, people: u64, minutes: std::ops::Range<u64>) {
    let mut dice = Dice(7 + minutes.start);
    let mut chance = |below: u64| dice.roll(usize::try_from(below).expect("small")) as u64;
    let mut now = minutes.start;
    while now < minutes.end {
        site.set(&minute(now));
        let user = format!("u{}", chance(people));
        match chance(10) {
            0 | 1 => site.track(&user, "Checkout Started", json!({"total": chance(100), "items": 1}), None).await,
            2 => {
                let traits = json!({"age": 10 + chance(50)});
                let body = json!({"userId": user, "type": "user_id", "isAnonymous": chance(2) == 0, "traits": traits});
                assert!(site.call(TA, "/v1/identify", &body).await.0 < 300);
            }
            _ => site.track(&user, "Page Viewed", json!({"page": "/"}), None).await,
        }
        now += 1 + chance(40);
    }
    site.set(&minute(minutes.end));
}

/// Asks by POST below `/api/v1` as an administrator.
pub(crate) async fn post(site: &Site, path: &str, body: &Value) -> (u16, Value) {
    let (status, _, answer) = site.call(ADMIN, &format!("/api/v1/{path}"), body).await;
    (status, answer)
}

pub(crate) async fn posted(site: &Site, path: &str, body: &Value) -> Value {
    let (status, answer) = post(site, path, body).await;
    assert!(status < 300, "{path} {body}: {status} {answer}");
    answer
}

/// Waits until nothing is being built.
pub(crate) async fn built(site: &Site) {
    let began = Instant::now();
    while site.engine().backfill_left() != (0, 0) {
        assert!(began.elapsed() < Duration::from_secs(30), "still building");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Everything that a question must leave as it is.
pub(crate) async fn state(site: &Site, people: u64) -> Vec<Value> {
    let status = site.read("status").await;
    let held = ["planVersion", "journalSeq", "dirtyProfiles", "timers", "identities", "events", "building"]
        .map(|name| status[name].clone());
    let mut state = held.to_vec();
    let audiences = site.read("audiences").await;
    state.extend(audiences["data"].as_array().expect("a list").iter().map(|one| one["profileCount"].clone()));
    let hashes = (0..people).map(|n| format!("u{n}"));
    for user in hashes {
        state.push(site.profile(&user).await);
    }
    state
}
