//! The analysis over HTTP, on a server whose clock the test sets.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{ADMIN, TA, TW, catalog};
use lodestone::config::Config;
use lodestone::engine::Engine;
use lodestone::net;
use lodestone::runtime::clock::ManualClock;
use lodestone_state::ids::Millis;
use lodestone_state::time::parse_rfc3339;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

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

fn at(text: &str) -> Millis {
    parse_rfc3339(text).expect("a time")
}

/// A server, and the folder that it is started on again.
struct Site {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    client: Client,
    running: Option<Running>,
}

struct Running {
    engine: Arc<Engine>,
    url: String,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Site {
    async fn start(now: &str, catalog: &Value) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        // Connections are not kept, so that nothing holds the engine of a server that has stopped.
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut site = Self { folder, clock: Arc::new(ManualClock::at(at(now))), client, running: None };
        site.open().await;
        site.apply(catalog).await;
        site
    }

    async fn open(&mut self) {
        let config = Config::layered(None, std::iter::empty()).expect("the defaults are valid");
        let (folder, options, clock) = (self.folder.path().to_owned(), config.engine_options(), self.clock.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let patience = Instant::now() + Duration::from_secs(10);
            loop {
                match Engine::open(&folder, options.clone(), clock.clone(), &|_| ()) {
                    // The engine before this one is being dropped by a thread that still had it.
                    Err(error) if error.to_string().contains("lock hold") && Instant::now() < patience => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    opened => break opened,
                }
            }
        });
        let engine = opened.await.unwrap().expect("the folder opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(net::serve(engine.clone(), listener, config.server, stop.clone()));
        self.running = Some(Running { engine, url, stop, serving });
    }

    /// The server goes without a checkpoint and comes back: what is not in the store comes from the journal.
    async fn restart(&mut self) {
        let Running { engine, stop, serving, .. } = self.running.take().expect("it runs");
        stop.cancel();
        serving.await.unwrap();
        engine.stop_background();
        tokio::task::spawn_blocking(move || drop(engine)).await.unwrap();
        self.open().await;
    }

    fn engine(&self) -> Arc<Engine> {
        self.running.as_ref().expect("it runs").engine.clone()
    }

    async fn apply(&self, catalog: &Value) {
        let (engine, text) = (self.engine(), catalog.to_string());
        tokio::task::spawn_blocking(move || engine.apply_catalog(&text)).await.unwrap().expect("the catalog is valid");
    }

    async fn checkpoint(&self) {
        let engine = self.engine();
        tokio::task::spawn_blocking(move || engine.checkpoint()).await.unwrap().expect("a checkpoint");
    }

    fn set(&self, now: &str) {
        self.clock.set(at(now));
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.as_ref().expect("it runs").url)
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        let sent = self.client.post(self.url(path)).bearer_auth(token).body(body.to_string()).send().await.unwrap();
        let status = sent.status().as_u16();
        let text = sent.text().await.unwrap();
        assert!(status < 300, "{path} {body}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// A page view, which makes "Hello" due.
    async fn view(&self, user: &str) {
        self.post(TA, "/v1/track", json!({"userId": user, "event": "Page Viewed", "properties": {"page": "/"}})).await;
    }

    /// A poll: delivers what is due; gives the id of "Hello".
    async fn poll(&self, token: &str, user: &str) -> String {
        let mut body = json!({"userId": user});
        if token == TW {
            body["context"] = json!({"country": "DE"});
        }
        let due = self.post(token, "/v1/actions", body).await;
        due[0]["id"].as_str().expect("an action is due").to_owned()
    }

    async fn act(&self, user: &str, action: &str, event: &str) {
        self.post(TA, "/v1/actions/act", json!({"userId": user, "actionId": action, "event": event})).await;
    }

    async fn ask(&self, question: &str) -> (u16, Value) {
        let url = self.url(&format!("/api/v1/analysis/{question}"));
        let answer = self.client.get(url).bearer_auth(ADMIN).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn read(&self, question: &str) -> Value {
        let (status, body) = self.ask(question).await;
        assert_eq!(status, 200, "{question}: {body}");
        body
    }

    /// `bucket:count` of one reaction where it is not 0.
    async fn filled(&self, question: &str, reaction: &str) -> Vec<String> {
        let body = self.read(question).await;
        let rows = body["data"].as_array().unwrap().iter();
        let row = |row: &Value| format!("{}:{}", row["bucket"].as_str().unwrap(), row[reaction]);
        rows.filter(|row| row[reaction] != 0).map(row).collect()
    }
}

/// T-83: buckets are local and real; what is empty is 0, and a change of the zone changes them on reading.
#[tokio::test(flavor = "multi_thread")]
async fn t_83_buckets_are_local() {
    let site = Site::start("2024-02-29T22:59:00Z", &catalog()).await;
    site.view("ada").await;
    site.view("bob").await;
    let hello = site.poll(TA, "ada").await;
    site.act("ada", &hello, "show").await;
    site.set("2024-02-29T23:00:00Z");
    site.poll(TA, "bob").await;
    site.act("bob", &hello, "show").await;
    let two_days = format!("events?actionId={hello}&start=2024-02-29&end=2024-03-01");
    assert_eq!(site.filled(&two_days, "shown").await, ["2024-02-29:1", "2024-03-01:1"]);
    let body = site.read(&format!("{two_days}&resolution=hour")).await;
    assert_eq!(body["data"].as_array().unwrap().len(), 48);
    assert_eq!((&body["data"][23]["bucket"], &body["data"][23]["shown"]), (&json!("2024-02-29T23:00+01:00"), &json!(1)));
    assert_eq!((&body["data"][0]["shown"], &body["totals"]["shown"]), (&json!(0), &json!(2)));
    let spring = site.read("events?start=2024-03-31&end=2024-03-31&resolution=hour").await;
    assert_eq!(spring["data"].as_array().unwrap().len(), 23);
    let autumn = site.read("events?start=2024-10-27&end=2024-10-27&resolution=hour").await;
    assert_eq!(autumn["data"].as_array().unwrap().len(), 25);
    assert_eq!(site.filled(&format!("{two_days}&resolution=month"), "shown").await, ["2024-02:1", "2024-03:1"]);
    assert_eq!(site.filled(&format!("{two_days}&cyclic=weekday"), "shown").await, ["thursday:1", "friday:1"]);
    assert_eq!(site.filled(&format!("{two_days}&cyclic=hour_of_day"), "shown").await, ["00:1", "23:1"]);
    // Thirty days up to today when nothing is said.
    let (defaults, nothing) = (site.read("events").await, site.read("events?start=2023-01-01&end=2023-01-03").await);
    assert_eq!(
        (&defaults["start"], &defaults["end"], &defaults["total"]),
        (&json!("2024-02-01"), &json!("2024-03-01"), &json!(30))
    );
    assert_eq!((&nothing["totals"]["total"], nothing["data"].as_array().unwrap().len()), (&json!(0), 3));

    let mut moved = catalog();
    moved["organization"]["timezone"] = "Asia/Kathmandu".into();
    site.apply(&moved).await;
    assert_eq!(site.filled(&two_days, "shown").await, ["2024-03-01:2"]);
    let hours = site.read(&format!("{two_days}&resolution=hour")).await;
    assert_eq!(hours["data"][28]["bucket"], "2024-03-01T04:00+05:45");
    assert_eq!(hours["data"][28]["shown"], 2);
}

/// T-84: rates are parts of what came before, and of nothing there is none.
#[tokio::test(flavor = "multi_thread")]
async fn t_84_rates_of_nothing_are_null() {
    let site = Site::start("2024-03-01T10:00:00Z", &catalog()).await;
    let mut hello = String::new();
    for number in 0..10 {
        let user = format!("u{number}");
        site.view(&user).await;
        hello = site.poll(TA, &user).await;
        if number < 5 {
            site.act(&user, &hello, "show").await;
        }
    }
    let body = site.read(&format!("rates?actionId={hello}")).await;
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
    let site = Site::start("2024-03-01T10:00:00Z", &catalog()).await;
    let row = |body: &Value| (body["total"].as_i64().unwrap(), body["unique"].as_u64().unwrap(), body["approximate"] == false);
    site.view("ada").await;
    let hello = site.poll(TA, "ada").await;
    site.poll(TA, "ada").await;
    site.set("2024-03-02T10:00:00Z");
    site.poll(TA, "ada").await;
    let question = format!("reach?actionId={hello}");
    let body = site.read(&question).await;
    assert_eq!((row(&body["all"]), &body["data"][0]["channel"]), ((3, 1, true), &json!("app")));
    assert_eq!((row(&body["buckets"][28]), row(&body["buckets"][29])), ((2, 1, true), (1, 1, true)));

    site.poll(TW, "ada").await;
    site.checkpoint().await;
    site.view("bob").await;
    site.poll(TA, "bob").await;
    let body = site.read(&question).await;
    assert_eq!(row(&body["all"]), (5, 2, true));
    let channels: Vec<_> = body["data"].as_array().unwrap().iter().map(|c| (c["channel"].as_str().unwrap(), row(c))).collect();
    assert_eq!(channels, [("web", (1, 1, true)), ("app", (4, 2, true))]);
    assert_eq!(row(&site.read(&format!("{question}&channel=web")).await["all"]), (1, 1, true));

    let merge = json!({"userId": "ada@shop", "type": "user_id", "previousUserId": "ada"});
    site.post(TA, "/v1/identify", merge).await;
    let merge = json!({"userId": "ada@shop", "type": "user_id", "previousUserId": "bob"});
    site.post(TA, "/v1/identify", merge).await;
    assert_eq!(row(&site.read(&question).await["all"]), (5, 1, true));
    assert_eq!(site.ask(&format!("{question}&cyclic=weekday")).await.0, 400);
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
    let mut site = Site::start("2024-02-28T08:10:00Z", &definitions).await;
    let answers = async |site: &Site| {
        let mut answers = Vec::new();
        for question in QUESTIONS {
            answers.push(site.read(question).await);
        }
        answers
    };
    let mut delivered = 0;
    for (number, now) in
        ["2024-02-28T08:10:00Z", "2024-02-29T22:59:00Z", "2024-03-30T23:00:00Z", "2024-03-31T00:59:59Z", "2024-03-31T01:00:00Z"]
            .iter()
            .enumerate()
    {
        site.set(now);
        for user in ["ada", &format!("u{number}")] {
            site.view(user).await;
            let due = site.post(TA, "/v1/actions", json!({"userId": user})).await;
            delivered += due.as_array().unwrap().len();
            for action in due.as_array().unwrap() {
                site.act(user, action["id"].as_str().unwrap(), "show").await;
            }
        }
        site.view("tester").await;
        let due = site.post(TA, "/v1/actions", json!({"userId": "tester"})).await;
        let due = due.as_array().unwrap();
        assert!(due.iter().any(|action| action["properties"]["title"] == "Trial"), "the tester gets what is tried: {due:?}");
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
    let dashboard = site.read("dashboard").await;
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
    let site = Site::start("2024-03-01T10:00:00Z", &catalog()).await;
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
        let (got, body) = site.ask(question).await;
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{question}: {body}");
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
    let site = Site::start("2024-03-01T10:00:00Z", &catalog()).await;
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
        site.view("ada").await;
    }
    wait(&mut text, 1).await;
    let hello = site.poll(TA, "ada").await;
    site.act("ada", &hello, "show").await;
    wait(&mut text, 2).await;
    site.view("ada").await;
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
    let running = site.running.as_ref().expect("it runs");
    running.stop.cancel();
    let patience = Instant::now() + Duration::from_secs(5);
    while !running.serving.is_finished() {
        assert!(Instant::now() < patience, "the stream keeps the server");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
