//! A receiver of webhooks that does as it is told, and remembers what it got.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// How a path answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// Status and body of the first calls; the last one goes on.
    pub(crate) answers: Vec<(u16, String)>,
    /// Before it answers.
    pub(crate) delay: Duration,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) at: Instant,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("bodies are JSON")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }
}

#[derive(Default)]
struct Inner {
    behaviours: HashMap<String, Behaviour>,
    got: Vec<Got>,
}

/// A receiver on a port of its own.
#[derive(Clone)]
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let inner = Arc::<Mutex<Inner>>::default();
        let app = Router::new().route("/{path}", post(receive)).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, inner }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// A path answers like this from now on; 200 without a body unless it is told.
    pub(crate) fn answer(&self, path: &str, answers: &[(u16, &str)]) {
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        self.behave(path, Behaviour { answers, ..Behaviour::default() });
    }

    pub(crate) fn behave(&self, path: &str, behaviour: Behaviour) {
        self.inner.lock().behaviours.insert(path.to_owned(), behaviour);
    }

    /// What a path got so far.
    pub(crate) fn got(&self, path: &str) -> Vec<Got> {
        self.inner.lock().got.iter().filter(|got| got.path == path).cloned().collect()
    }

    /// What a path got, once that is `count` requests; fewer if they do not come.
    pub(crate) async fn wait(&self, path: &str, count: usize) -> Vec<Got> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.got(path).len() < count && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.got(path)
    }
}

async fn receive(State(inner): State<Arc<Mutex<Inner>>>, Path(path): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let text = String::from_utf8(body.to_vec()).expect("bodies are text");
    let behaviour = {
        let mut inner = inner.lock();
        let behaviour = inner.behaviours.entry(path.clone()).or_default();
        let now = behaviour.clone();
        if behaviour.answers.len() > 1 {
            behaviour.answers.remove(0);
        }
        inner.got.push(Got { path, headers, text, at: Instant::now() });
        now
    };
    tokio::time::sleep(behaviour.delay).await;
    let (status, body) = behaviour.answers.into_iter().next().unwrap_or((200, String::new()));
    let mut response = (StatusCode::from_u16(status).expect("a status"), body).into_response();
    if let Some(seconds) = behaviour.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
