//! Experiments over HTTP and sockets, on a server whose clock the test sets.

mod common;
#[path = "common/site.rs"]
mod site;

use common::{ADMIN, TA, organisation, with};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use site::Site;
use tokio_tungstenite::tungstenite::Message;

/// An action whose title an experiment changes, another one beside it, and a goal.
fn catalog(experiments: Value) -> Value {
    let title = |text: &str| json!([{"channels": ["web", "app"], "type": "text", "name": "title", "value": text}]);
    let action = |name: &str, tags: Value| {
        json!({"name": name, "type": "banner", "state": "active", "tags": tags, "properties": title("plain"),
            "targeting": {"channels": ["web", "app"]}, "capping": []})
    };
    organisation(&json!({
        "events": [{"name": "Buy", "structure": [{"id": "total", "name": "total", "properties": {"key": "total", "type": "float"}}]}],
        "actionTypes": [{"name": "banner", "properties": []}],
        "actions": [action("Offer", json!(["tried"])), action("Other", json!([]))],
        "goals": [{"key": "purchase", "name": "Purchase", "eventId": "Buy", "value": {"property": "total"}, "currency": "EUR"}],
        "experiments": experiments,
    }))
}

fn experiment(more: Value) -> Value {
    let title = |text: &str| json!([{"channels": ["web", "app"], "type": "text", "name": "title", "value": text}]);
    let body = json!({"key": "loud", "name": "Loud", "actions": ["Offer"], "holdout": 40, "goal": "purchase", "state": "running",
        "variants": [{"key": "plain", "weight": 1}, {"key": "loud", "weight": 1, "properties": title("LOUD")}]});
    with(body, &more)
}

/// What somebody gets of the offer: its title, or `-`.
async fn offered(site: &Site, user: &str) -> String {
    let due = site.poll(user, Some("s")).await;
    assert!(due.iter().any(|(name, _)| name == "Other"), "what is not in the experiment is for everybody");
    let offer = due.iter().find(|(name, _)| name == "Offer");
    offer.map_or("-".to_owned(), |(_, properties)| properties["title"].as_str().expect("a title").to_owned())
}

/// Explanation and simulation decide about the offer as polls do, and say who is held back.
async fn explained(site: &Site, user: &str, shown: bool) {
    let why = site.read(&format!("explain?userId={user}&action=Offer&channel=web")).await;
    assert_eq!(why["display"], shown, "{user}: {why}");
    let (status, _, body) =
        site.call(ADMIN, "/api/v1/actions/simulate", &json!({"userId": user, "actionId": "Offer", "channel": "web"})).await;
    assert_eq!((status, &body["data"][0]["display"]), (200, &json!(shown)), "{user}: {body}");
    assert_eq!(why.to_string().contains("held back by experiment"), !shown, "{user}: {why}");
}

fn arm<'r>(report: &'r Value, key: &str) -> &'r Value {
    report["arms"].as_array().expect("arms").iter().find(|arm| arm["key"] == key).expect("an arm")
}

fn logged<'p>(profile: &'p Value, action: &str, kind: &str) -> Vec<&'p Value> {
    let all = profile["reactions"].as_array().expect("reactions").iter();
    all.filter(|one| one["action"] == action && one["event"] == kind).collect()
}

async fn report(site: &Site) -> Value {
    site.read("experiments/loud/report").await
}

/// Everybody is in one arm and stays there: over polls, restarts and a checkpoint. Who is held back gets
/// nothing, cannot accept, and is recorded once in a session.
#[tokio::test(flavor = "multi_thread")]
async fn arms_decide_what_is_offered_and_stay() {
    let mut site = Site::start("03-01T10:00", &catalog(json!([experiment(json!({}))]))).await;
    let mut seen = Vec::new();
    for i in 0..40 {
        seen.push(offered(&site, &format!("u{i}")).await);
    }
    let count = |what: &str| seen.iter().filter(|title| *title == what).count();
    assert!(count("-") > 5 && count("plain") > 3 && count("LOUD") > 3, "{seen:?}");
    let told = report(&site).await;
    let exposed = |told: &Value, key: &str| arm(told, key)["exposed"].as_u64().expect("a number");
    assert_eq!(
        [exposed(&told, "holdout"), exposed(&told, "plain"), exposed(&told, "loud")].map(|n| n as usize),
        [count("-"), count("plain"), count("LOUD")]
    );
    assert_eq!((&arm(&told, "holdout")["control"], &told["sampleRatio"]["ok"]), (&json!(true), &json!(true)));
    for (i, title) in seen.iter().enumerate() {
        let user = format!("u{i}");
        assert_eq!(&offered(&site, &user).await, title);
        explained(&site, &user, title != "-").await;
        let (status, code) = site.try_act(&user, "Offer", "accept").await;
        let profile = site.profile(&user).await;
        let (withheld, delivered) = (logged(&profile, "Offer", "withheld"), logged(&profile, "Offer", "delivered"));
        if title == "-" {
            assert_eq!((status, code.as_str()), (400, "action_not_allowed"), "{user}");
            assert_eq!((withheld.len(), delivered.len()), (1, 0));
            assert_eq!((&withheld[0]["experiment"], &withheld[0]["variant"]), (&json!("loud"), &json!("holdout")));
        } else {
            assert_eq!(status, 200, "{user}: {code}");
            assert_eq!((withheld.len(), delivered.len()), (0, 1));
            let variant = if title == "LOUD" { "loud" } else { "plain" };
            assert_eq!(delivered[0]["variant"], variant);
            assert_eq!(logged(&profile, "Offer", "accepted")[0]["variant"], variant);
        }
        assert_eq!(logged(&profile, "Other", "delivered")[0]["variant"], Value::Null);
    }
    let before = report(&site).await;
    site.restart().await;
    assert_eq!(report(&site).await, before, "replayed");
    site.checkpoint().await;
    site.restart().await;
    assert_eq!(report(&site).await, before, "loaded");
    for (i, title) in seen.iter().enumerate() {
        assert_eq!(&offered(&site, &format!("u{i}")).await, title, "after a restart");
    }
}

/// Conversions count after the exposure, for its arm; with a window only those within it, and people only once
/// it is over.
#[tokio::test(flavor = "multi_thread")]
async fn conversions_count_after_the_exposure() {
    let site = Site::start("03-01T10:00", &catalog(json!([experiment(json!({}))]))).await;
    site.track("u", "Buy", json!({"total": 7}), None).await;
    site.set("03-01T11:00");
    let title = offered(&site, "u").await;
    let key = match title.as_str() {
        "-" => "holdout",
        "LOUD" => "loud",
        _ => "plain",
    };
    site.set("03-01T12:00");
    site.track("u", "Buy", json!({"total": 10}), None).await;
    site.track("u", "Buy", json!({"total": 5}), None).await;
    // It comes late, from before the exposure, and another from after it.
    site.track("u", "Buy", json!({"total": 100}), Some("03-01T10:30")).await;
    site.track("u", "Buy", json!({"total": 1}), Some("03-01T11:30")).await;
    let told = report(&site).await;
    let one = arm(&told, key);
    assert_eq!(
        (&one["converters"], &one["conversions"], &one["value"], &one["rate"]),
        (&json!(1), &json!(3), &json!(16.0), &json!(1.0))
    );
    assert_eq!(told["firstExposure"], "2024-03-01T11:00:00.000Z");
    // Stopped and started again with a window of 45 minutes: only the purchase at 11:30 is within.
    let stop = |more: Value| json!({"experiments": [experiment(more)]});
    site.apply(&stop(json!({"state": "stopped"}))).await;
    site.apply(&stop(json!({"window": {"amount": 45, "unit": "minutes"}}))).await;
    let one = report(&site).await;
    assert_eq!((&arm(&one, key)["observed"], &arm(&one, key)["conversions"]), (&json!(1), &json!(1)));
    offered(&site, "v").await;
    let told = report(&site).await;
    let sum = |field: &str| {
        told["arms"].as_array().expect("arms").iter().map(|arm| arm[field].as_u64().expect("a number")).sum::<u64>()
    };
    assert_eq!((sum("exposed"), sum("observed")), (2, 1), "v's window is not over");
}

/// A merge moves nobody who was there first: the arm of the exposure stays, and without one that of the older
/// profile. Whoever was two people in two arms counts once, for the first, and is told apart.
#[tokio::test(flavor = "multi_thread")]
async fn merges_keep_arms() {
    let site = Site::start("03-01T10:00", &catalog(json!([experiment(json!({}))]))).await;
    let mut titles = Vec::new();
    for i in 0..30 {
        site.set(&format!("03-01T10:{:02}", i + 1));
        titles.push((format!("old{i}"), offered(&site, &format!("old{i}")).await));
    }
    for (i, (user, title)) in titles.iter().enumerate() {
        site.set(&format!("03-01T11:{:02}", i + 1));
        // Younger, and exposed to whatever it is.
        offered(&site, &format!("young{i}")).await;
        site.identify(user, &format!("young{i}")).await;
        assert_eq!(&offered(&site, user).await, title, "{user}");
    }
    let told = report(&site).await;
    let exposed: u64 = told["arms"].as_array().expect("arms").iter().map(|arm| arm["exposed"].as_u64().expect("a number")).sum();
    assert_eq!(exposed, 30, "two profiles are one person");
    assert!(told["mixed"].as_u64().expect("a number") > 5, "{}", told["mixed"]);
    // The younger is merged into is the leader here: what the older saw first stays as well.
    site.set("03-01T12:00");
    let first = offered(&site, "elder").await;
    site.set("03-01T12:10");
    site.track("leader", "Buy", json!({}), None).await;
    site.identify("leader", "elder").await;
    assert_eq!(offered(&site, "leader").await, first);
}

/// Sockets, polls and acts agree, also when an experiment starts or stops under open connections.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_see_the_same() {
    let site = Site::start("03-01T10:00", &catalog(json!([experiment(json!({"state": "stopped"}))]))).await;
    let engine = site.engine();
    std::thread::spawn(move || engine.run_fanout());
    for i in 0..12 {
        let user = format!("u{i}");
        let (mut socket, _) = tokio_tungstenite::connect_async(site.socket_url()).await.expect("a socket");
        let mut seq = 0;
        socket
            .send(Message::text(json!({"t": "hello", "v": 1, "token": TA, "anonymousId": user}).to_string()))
            .await
            .expect("sent");
        socket.send(Message::text(json!({"t": "subscribe", "id": "s", "sub": "s"}).to_string())).await.expect("sent");
        let titles = |frame: &Value| -> Vec<String> {
            let list = frame["actions"].as_array().expect("actions").iter();
            list.map(|action| action["properties"]["title"].as_str().expect("a title").to_owned()).collect()
        };
        let first = next(&mut socket, "subscribed", &mut seq).await;
        assert_eq!(titles(&first), ["plain", "plain"], "nothing is tried yet");
        // While this one is connected the experiment starts; afterwards it is stopped for the next.
        site.apply(&json!({"experiments": [experiment(json!({}))]})).await;
        let title = offered(&site, &user).await;
        match title.as_str() {
            "-" => assert_eq!(next(&mut socket, "action_revoked", &mut seq).await["reason"], "targeting"),
            "LOUD" => assert_eq!(next(&mut socket, "action", &mut seq).await["action"]["properties"]["title"], "LOUD"),
            _ => {}
        }
        let profile = site.profile(&user).await;
        let withheld = logged(&profile, "Offer", "withheld").len();
        // Once for the connection and once for the session that the poll names.
        assert_eq!(withheld, if title == "-" { 2 } else { 0 }, "{user}");
        site.apply(&json!({"experiments": [experiment(json!({"state": "stopped"}))]})).await;
        if title != "plain" {
            assert_eq!(next(&mut socket, "action", &mut seq).await["action"]["properties"]["title"], "plain");
        }
        assert_eq!(offered(&site, &user).await, "plain");
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// The next frame of one type.
async fn next(socket: &mut Socket, kind: &str, seq: &mut u64) -> Value {
    loop {
        let frame = tokio::time::timeout(std::time::Duration::from_secs(10), socket.next()).await.expect("a frame in time");
        let Some(Ok(Message::Text(text))) = frame else { continue };
        let frame: Value = serde_json::from_str(&text).expect("JSON");
        *seq = frame["seq"].as_u64().unwrap_or(*seq);
        if frame["t"] == kind {
            return frame;
        }
    }
}

/// A holdout that helps nobody is found out: 700 people, of whom the variants' buy more often.
#[tokio::test(flavor = "multi_thread")]
async fn lift_is_told_with_its_interval() {
    let trial = experiment(json!({"holdout": 50, "variants": [{"key": "loud"}]}));
    let site = Site::start("03-01T10:00", &catalog(json!([trial]))).await;
    for i in 0..400 {
        let user = format!("u{i}");
        let title = offered(&site, &user).await;
        if i % 10 < if title == "-" { 1 } else { 6 } {
            site.track(&user, "Buy", json!({"total": 20}), None).await;
        }
        if i == 20 {
            assert_eq!(arm(&report(&site).await, "loud")["lift"]["rate"], Value::Null, "too few to tell");
        }
    }
    let told = report(&site).await;
    let (control, tried) = (arm(&told, "holdout"), arm(&told, "loud"));
    assert_eq!(control["lift"], Value::Null);
    let (low, high) = (control["rate"].as_f64().expect("a rate"), tried["rate"].as_f64().expect("a rate"));
    let lift = &tried["lift"]["rate"];
    let number = |value: &Value| value.as_f64().expect("a number");
    assert!((number(&lift["difference"]["estimate"]) - (high - low)).abs() < 1e-12);
    assert!((number(&lift["relative"]["estimate"]) - (high / low - 1.0)).abs() < 1e-9);
    assert!(number(&lift["difference"]["low"]) > 0.0 && lift["clear"] == true, "{lift}");
    assert!(number(&tried["lift"]["value"]["difference"]["low"]) > 0.0);
    assert!((number(&tried["valuePerPerson"]) - 20.0 * high).abs() < 1e-9);
    let (status, body) = site.ask("experiments/nothing/report").await;
    assert_eq!((status, &body["code"]), (404, &json!("experiment_not_found")));
}

/// One action is in one running experiment, and a running one stays as it is: 422 with the place, over REST as
/// in a document.
#[tokio::test(flavor = "multi_thread")]
async fn conflicts_and_changes_are_refused_with_their_place() {
    let site = Site::start("03-01T10:00", &catalog(json!([experiment(json!({}))]))).await;
    let second = experiment(json!({"key": "second", "name": "Second", "actions": null, "tag": "tried"}));
    let refused = site.try_apply(&json!({"experiments": [second]})).await;
    assert_eq!(refused, Err(vec!["/experiments/0/tag experiment_conflict".to_owned()]));
    let (status, _, body) = site.call(ADMIN, "/api/v1/experiments", &second).await;
    assert_eq!(
        (status, &body["errors"][0]["code"], &body["errors"][0]["pointer"]),
        (422, &json!("experiment_conflict"), &json!("/tag"))
    );
    let wider = experiment(json!({"holdout": 50}));
    assert_eq!(
        site.try_apply(&json!({"experiments": [wider]})).await,
        Err(vec!["/experiments/0/holdout experiment_running".to_owned()])
    );
}
