//! Accepts connections, serves HTTP/1.1 on them, and stops in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{Control, Shared, api, health, ingest, pages, ws};
use crate::config::options::Server;
use crate::engine::Engine;
use crate::telemetry::metrics as m;

/// How often new definitions are looked for, so that a revoked token ends its sockets.
const PLAN_CHECK: Duration = Duration::from_millis(250);
/// A pause after the system refused a connection, for lack of descriptors most often.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then leaves in order: no new connections, sockets get the answers that become
/// durable and a close with 1001, requests get theirs. Ends after at most `options.shutdown_grace`.
pub async fn serve(engine: Arc<Engine>, listener: TcpListener, options: Server, shutdown: CancellationToken) {
    let plan_version = engine.plan().version;
    let (control_tx, control) = watch::channel(Control { draining: false, plan_version });
    let grace = options.shutdown_grace;
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let sockets = TaskTracker::new();
    let shared = Arc::new(Shared {
        settings: Arc::new(options.socket.settings()),
        in_flight: Semaphore::new(options.in_flight_max()),
        engine,
        options,
        control,
        sockets: sockets.clone(),
        rates: health::Rates::default(),
        replays: api::Replays::default(),
        epoch: Instant::now(),
    });
    let app = router(&shared);
    let requests = TaskTracker::new();
    let steward = tokio::spawn(steward(shared.clone(), control_tx, shutdown.clone()));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Full: closing at once says so faster than a queue that nobody serves.
                let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
                requests.spawn(connection(stream, slot, app.clone(), shared.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    sockets.close();
    requests.close();
    let drained = tokio::time::timeout(grace, async {
        sockets.wait().await;
        requests.wait().await;
    });
    if drained.await.is_err() {
        tracing::warn!(sockets = sockets.len(), requests = requests.len(), "connections did not leave in time");
    }
    steward.abort();
}

impl Server {
    fn in_flight_max(&self) -> usize {
        self.http.in_flight_max.min(Semaphore::MAX_PERMITS)
    }
}

/// Everything that is served.
fn router(shared: &Arc<Shared>) -> Router {
    let mut app = Router::new()
        .merge(ws::routes())
        .merge(ingest::routes())
        .merge(api::routes(shared.options.http.catalog_bytes_max))
        .merge(health::routes())
        .merge(pages::routes());
    if shared.options.shop {
        app = app.merge(pages::shop_routes()).merge(api::shop_routes());
    }
    app.with_state(shared.clone())
}

/// Tells connections about new definitions and the stop, and keeps the metrics fresh.
async fn steward(shared: Arc<Shared>, control: watch::Sender<Control>, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(PLAN_CHECK);
    let mut ticks = 0_u32;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => {
                control.send_modify(|control| control.draining = true);
                // Kept until the last connection has left: without its sender the channel reads as closed.
                return std::future::pending().await;
            }
            _ = tick.tick() => {
                let plan_version = shared.engine.plan().version;
                control.send_if_modified(|control| std::mem::replace(&mut control.plan_version, plan_version) != plan_version);
                shared.rates.sample(&shared.engine);
                ticks += 1;
                if ticks.is_multiple_of(20) && let Some(recorder) = m::recorder() {
                    // Histogram samples pile up between two scrapes unless they are folded.
                    recorder.run_upkeep();
                }
            }
        }
    }
}

/// One TCP connection: requests one after another, perhaps an upgrade at the end.
async fn connection(
    stream: TcpStream,
    slot: OwnedSemaphorePermit,
    app: Router,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let open = Arc::new(Open::new(slot));
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let app = app.clone();
        // A socket outlives the request that opened it, and keeps the slot.
        request.extensions_mut().insert(open.clone());
        async move {
            let began = Instant::now();
            let answer = app.oneshot(request.map(Body::new)).await;
            if let Ok(response) = &answer {
                m::http(response.status().as_u16(), began.elapsed());
            }
            answer
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(shared.options.http.header_timeout).max_buf_size(64 * 1024);
    let serving = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // A client that hangs up or talks nonsense is its own problem.
        tracing::debug!(%error, "connection ended");
    }
}

/// A slot among the connections, counted while it is held. An upgraded socket takes it along.
pub(super) struct Open {
    _slot: OwnedSemaphorePermit,
}

impl Open {
    fn new(slot: OwnedSemaphorePermit) -> Self {
        m::connections(1.0);
        Self { _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        m::connections(-1.0);
    }
}
