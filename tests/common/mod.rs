//! A whole server in this process, on a port of its own, and a plain client for its socket.

// Each test binary uses its own part of this.
#![allow(dead_code, reason = "shared by several test binaries")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use lodestone::config::Config;
use lodestone::engine::{self, Engine};
use lodestone::net;
use lodestone::runtime::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

/// Public tokens of the channels web and app, a server's token for web, and an administrator's.
pub(crate) const TW: &str = "ls_wk_web";
pub(crate) const TA: &str = "ls_wk_app";
pub(crate) const TS: &str = "ls_sk_web";
pub(crate) const ADMIN: &str = "ls_ad_test";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// `base` with the fields of `more`, which win.
pub(crate) fn with(mut base: Value, more: &Value) -> Value {
    let fields = base.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("fields").clone());
    base
}

/// Who is asking in all tests: an organisation in Berlin, its channels and their tokens; with `more` definitions.
pub(crate) fn organisation(more: &Value) -> Value {
    let base = json!({
        "organization": {"name": "Test", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
        "tokens": [
            {"token": TW, "channel": "web", "kind": "public"}, {"token": TA, "channel": "app", "kind": "public"},
            {"token": TS, "channel": "web", "kind": "secret"}, {"token": ADMIN, "kind": "admin"}],
    });
    with(base, more)
}

/// The definitions of the acceptance list, and an action that is due once somebody saw a page.
pub(crate) fn catalog() -> Value {
    let property = |key: &str, kind: &str, required: bool| json!({"id": key, "name": key, "properties": {"key": key, "type": kind, "isRequired": required}});
    let title = |text: &str| json!([{"channels": ["web", "app"], "type": "text", "name": "title", "value": text, "sourceKey": "", "sourceType": ""}]);
    let action = |name: &str, kind: &str, tags: &[&str], targeting: Value, capping: Value| {
        json!({"name": name, "type": kind, "state": "active", "tags": tags, "properties": title(name),
               "targeting": targeting, "capping": capping, "hooks": [], "testUsers": []})
    };
    let viewed = |count: u32| {
        json!({"channels": ["web", "app"], "audiences": [], "contextConditions": [], "traitConditions": [
            {"source": "computed", "key": "views", "type": "integer", "operator": "greater_than_or_equal", "value": count}]})
    };
    let once = |event: &str| json!([{"channels": [], "event": event, "group": "user", "count": 1, "within": 0}]);
    organisation(&json!({
        "events": [
            {"name": "Page Viewed", "description": "", "structure": [property("page", "string", true)]},
            {"name": "Checkout Started", "description": "", "structure": [property("total", "float", true), property("items", "integer", true)]}],
        "contexts": [{"channel": "web", "structure": [
            {"id": "country", "name": "country", "properties": {"key": "country", "type": "string", "pattern": "^[A-Z]{2}$", "isRequired": true}}]}],
        "customTraits": {"structure": [property("department", "string", false), property("age", "integer", false)]},
        "computedTraits": [
            {"name": "Views", "key": "views", "type": "count_events", "eventId": "Page Viewed", "conditions": [], "properties": {}}],
        "audiences": [],
        "actionTypes": [
            {"name": "notification", "version": 1, "properties": title("")}, {"name": "banner", "version": 1, "properties": title("")}],
        "actions": [
            action("Hello", "notification", &["home", "top"], viewed(1), once("shown")),
            action("Again", "notification", &["home"], viewed(2), json!([])),
            action("Third", "notification", &[], viewed(3), json!([])),
            {"name": "Paused", "type": "banner", "state": "inactive", "tags": [], "properties": title("x"),
             "targeting": viewed(1), "capping": [], "hooks": [], "testUsers": []}],
    }))
}

/// The default configuration, with what `adjust` changes.
pub(crate) fn config(adjust: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::layered(None, std::iter::empty()).expect("the defaults are valid");
    adjust(&mut config);
    config
}

/// A client for HTTP. It keeps no connections, so that nothing holds the engine of a server that has stopped.
pub(crate) fn http_client() -> reqwest::Client {
    // TLS is not used; the client wants a provider all the same, and another test may have installed it.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build().expect("a client")
}

/// A running server, which ends when it is dropped.
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    /// Goes away with the server, where it is the server's own.
    pub(crate) folder: Option<TempDir>,
}

impl Server {
    /// With the default configuration.
    pub(crate) async fn start() -> Self {
        Self::configured(|_| ()).await
    }

    /// With a configuration that `adjust` changed.
    pub(crate) async fn configured(adjust: impl FnOnce(&mut Config)) -> Self {
        let checkpoints = config(|_| ()).storage.checkpoint_interval;
        let server = Self::with(Arc::new(SystemClock::default()), &catalog(), adjust).await;
        engine::spawn_background(&server.engine, checkpoints);
        server
    }

    /// With a clock and definitions of its own, and without background threads: nothing happens by itself.
    pub(crate) async fn with(clock: Arc<dyn Clock>, catalog: &Value, adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self::on(folder.path(), clock, &config(adjust)).await;
        server.engine.apply_catalog(&catalog.to_string()).unwrap_or_else(|issues| panic!("{issues:#?}"));
        server.folder = Some(folder);
        server
    }

    /// On a folder of somebody's, as it is. The engine before may still be letting go of it: its threads end one by one.
    pub(crate) async fn on(folder: &Path, clock: Arc<dyn Clock>, config: &Config) -> Self {
        lodestone::telemetry::metrics::install();
        let (folder, options) = (folder.to_owned(), config.engine_options());
        let opened = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            loop {
                match Engine::open(&folder, options.clone(), clock.clone(), &|_| ()) {
                    // Both tidy up old log files of the store meanwhile, and may come by the same one.
                    Err(error)
                        if ["lock hold", "LOG.old"].iter().any(|held| error.to_string().contains(held))
                            && began.elapsed() < 2 * PATIENCE =>
                    {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    opened => break opened,
                }
            }
        });
        let engine = opened.await.expect("it runs").expect("the folder opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(net::serve(engine.clone(), listener, config.server.clone(), shutdown.clone()));
        Self { engine, address, shutdown, serving, folder: None }
    }

    /// Stops in order, without a checkpoint: nobody is served and nothing goes on by itself.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        (&mut self.serving).await.expect("it served");
        self.engine.stop_background();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A socket before its hello.
    pub(crate) async fn connect(&self) -> Client {
        self.connect_offering(None).await
    }

    /// A socket that offers a subprotocol.
    pub(crate) async fn connect_offering(&self, subprotocol: Option<&str>) -> Client {
        let mut request = format!("ws://{}/v1/ws", self.address).into_client_request().expect("a URL");
        if let Some(name) = subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", name.parse().expect("a header value"));
        }
        let config = WebSocketConfig::default();
        let (socket, response) =
            tokio_tungstenite::connect_async_with_config(request, Some(config), true).await.expect("the server lets sockets in");
        let selected = response.headers().get("sec-websocket-protocol").map(|name| name.to_str().expect("text").to_owned());
        Client { socket, selected }
    }

    /// A socket that said hello and was let in.
    pub(crate) async fn hello(&self, hello: Value) -> (Client, Value) {
        let mut client = self.connect().await;
        let welcome = client.greet(hello).await;
        (client, welcome)
    }

    /// An anonymous socket on the channel app, which asks for no context.
    pub(crate) async fn app(&self, user: &str) -> Client {
        self.hello(json!({"token": TA, "anonymousId": user})).await.0
    }

    /// One profile, as the read side shows it.
    pub(crate) async fn profile(&self, user_id: &str) -> Option<Value> {
        let engine = self.engine.clone();
        let user_id = user_id.to_owned();
        tokio::task::spawn_blocking(move || engine.profile_json_by_user(&user_id)).await.expect("reading does not fail")
    }

    /// How often a profile saw an event.
    pub(crate) async fn events(&self, user_id: &str, name: &str) -> usize {
        let profile = self.profile(user_id).await.unwrap_or_default();
        profile["events"].as_array().into_iter().flatten().filter(|event| event["event"] == name).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.engine.stop_background();
    }
}

/// How a frame can come.
#[derive(Debug)]
pub(crate) enum Got {
    Frame(Value),
    /// The server's close code.
    Closed(u16),
    /// The connection ended without a close.
    Cut,
}

/// One socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) selected: Option<String>,
}

impl Client {
    /// Sends a hello and gives the welcome.
    pub(crate) async fn greet(&mut self, mut hello: Value) -> Value {
        hello["t"] = "hello".into();
        hello["v"] = 1.into();
        self.send(hello).await;
        let welcome = self.frame().await;
        assert_eq!(welcome["t"], "welcome", "{welcome}");
        welcome
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("the socket takes a frame");
    }

    /// What comes next, but for protocol pings.
    pub(crate) async fn next(&mut self) -> Got {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("an answer in time");
            return match next {
                Some(Ok(Message::Text(text))) => Got::Frame(serde_json::from_str(&text).expect("frames are JSON")),
                Some(Ok(Message::Close(Some(close)))) => Got::Closed(close.code.into()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Err(Error::ConnectionClosed)) | None => Got::Cut,
                Some(Err(_)) => Got::Cut,
                other => panic!("unexpected {other:?}"),
            };
        }
    }

    /// The next frame.
    pub(crate) async fn frame(&mut self) -> Value {
        match self.next().await {
            Got::Frame(frame) => frame,
            other => panic!("a frame was due, got {other:?}"),
        }
    }

    /// The next frame of one type; others before it are passed over.
    pub(crate) async fn frame_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.frame().await;
            if frame["t"] == kind {
                return frame;
            }
        }
    }

    /// The close code, past all frames.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Got::Frame(_) => {}
                Got::Closed(code) => return code,
                Got::Cut => panic!("cut without a close"),
            }
        }
    }

    /// Results of acks until there are `count`, as `id:status` or `id:code`.
    pub(crate) async fn results(&mut self, count: usize) -> Vec<String> {
        let mut results = Vec::new();
        while results.len() < count {
            let ack = self.frame_of("ack").await;
            results.extend(ack["results"].as_array().expect("results").iter().map(|r| {
                let what = r["code"].as_str().or(r["status"].as_str()).expect("a status");
                format!("{}:{what}", r["id"].as_str().unwrap_or("-"))
            }));
        }
        results
    }

    /// Whether nothing comes for a moment.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.socket.next()).await.is_err()
    }

    /// Goes away without a word.
    pub(crate) fn cut(self) {
        drop(self.socket);
    }
}

/// An event that is fine on every channel.
pub(crate) fn page(id: &str) -> Value {
    json!({"t": "track", "id": id, "event": "Page Viewed", "properties": {"page": "/"}})
}
