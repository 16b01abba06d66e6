//! Probes, metrics, and the numbers of the status page. None of it holds personal data.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Shared;
use crate::engine::Engine;
use crate::telemetry::metrics as m;
use crate::telemetry::status::{ACK, Snapshot};

/// Rates are taken over about this long.
const WINDOW: Duration = Duration::from_secs(2);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/startupz", get(ready))
        .route("/healthz", get(ready))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .route("/status.json", get(status))
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let readiness = shared.engine.ready();
    let ready = readiness.ready && !shared.control.borrow().draining;
    let checks: Vec<Value> =
        readiness.checks.iter().map(|(name, ok, detail)| json!({"name": name, "ok": ok, "detail": detail})).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &json!({"ready": ready, "checks": checks}))
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], value.to_string()).into_response()
}

async fn version() -> Response {
    let commit = option_env!("LODESTONE_COMMIT").unwrap_or("unknown");
    answer(StatusCode::OK, &json!({"version": env!("CARGO_PKG_VERSION"), "commit": commit}))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let status = shared.engine.public_status_json();
    let number = |key: &str| status[key].as_u64();
    let (backfill_profiles, building) = shared.engine.backfill_left();
    m::levels(&m::Levels {
        backfill_profiles,
        building,
        profiles: number("profiles").unwrap_or_default(),
        plan_version: number("planVersion").unwrap_or_default(),
        checkpoint_age_seconds: number("checkpointAgeSeconds"),
        position: number("journalSeq").unwrap_or_default(),
        durable: number("durableSeq").unwrap_or_default(),
        uptime_seconds: number("uptimeSeconds").unwrap_or_default(),
    });
    match m::recorder() {
        Some(recorder) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render()).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "metrics are not recorded\n").into_response(),
    }
}

/// Counters of the last few seconds, for rates.
#[derive(Default)]
pub(super) struct Rates(Mutex<Samples>);

#[derive(Default)]
struct Samples {
    /// Oldest first, at least [`WINDOW`] long once there are enough.
    list: std::collections::VecDeque<Sample>,
}

struct Sample {
    at: Instant,
    events: u64,
    pushes: u64,
    acks: Snapshot,
}

impl Rates {
    /// Notes the counters as they are now.
    pub(super) fn sample(&self, engine: &Engine) {
        let status = engine.public_status_json();
        let count = |key: &str| status[key].as_u64().unwrap_or_default();
        let (events, pushes) = (count("events"), count("pushes"));
        let sample = Sample { at: Instant::now(), events, pushes, acks: ACK.snapshot() };
        let mut samples = self.0.lock();
        while samples.list.len() > 1 && samples.list[1].at.elapsed() >= WINDOW {
            samples.list.pop_front();
        }
        samples.list.push_back(sample);
    }

    /// Events and pushes per second, and latency percentiles in milliseconds, over the last seconds.
    fn read(&self) -> (Value, Value, Value) {
        let samples = self.0.lock();
        let (Some(first), Some(last)) = (samples.list.front(), samples.list.back()) else {
            return (Value::Null, Value::Null, Value::Null);
        };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return (Value::Null, Value::Null, Value::Null);
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = |now: u64, then: u64| json!((now.saturating_sub(then) as f64 / seconds * 10.0).round() / 10.0);
        let ack = match last.acks.percentiles_since(&first.acks, [0.5, 0.99]) {
            Some([p50, p99]) => json!({"p50": p50, "p99": p99}),
            None => json!({"p50": null, "p99": null}),
        };
        (rate(last.events, first.events), rate(last.pushes, first.pushes), ack)
    }
}

/// What the status page shows to anyone.
async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let engine = &shared.engine;
    let numbers = engine.public_status_json();
    let (events_per_second, pushes_per_second, ack) = shared.rates.read();
    let scaled = |key: &str| numbers[key].as_u64().map(|seconds| seconds * 1000);
    answer(
        StatusCode::OK,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "serverTime": lodestone_state::time::format_instant(engine.now()),
            "uptimeMs": scaled("uptimeSeconds"),
            "ready": engine.ready().ready && !shared.control.borrow().draining,
            "shop": shared.options.shop,
            "plan": {"version": numbers["planVersion"]},
            "events": {"total": numbers["events"], "rejected": numbers["rejected"], "perSecond": events_per_second},
            "profiles": numbers["profiles"],
            "sessions": numbers["sessions"],
            "journal": {"seq": numbers["journalSeq"], "durable": numbers["durableSeq"]},
            "checkpoint": {"seq": numbers["checkpointSeq"], "ageMs": scaled("checkpointAgeSeconds")},
            "pushes": {"total": numbers["pushes"], "perSecond": pushes_per_second},
            "reactions": {"total": numbers["reactions"]},
            "ackMs": ack,
            "backfill": numbers["backfill"],
        }),
    )
}
