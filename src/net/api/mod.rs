//! `/api/v1`: profiles, definitions, the status and the catalog, for the bearer of an admin token.

mod attribution;
mod definitions;
mod edit;
mod experiments;
mod idempotency;
mod organization;
mod precondition;
mod refresh;
mod reply;

pub(super) use idempotency::Replays;

mod analysis;
mod explain;
mod members;
mod outbox;
mod preview;
mod profiles;
mod reactions;
mod whatif;

pub(super) use profiles::shop_routes;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http_body_util::{BodyExt, Limited};
use lodestone_state::ids::Seq;
use lodestone_state::issue::Issue;
use lodestone_state::plan::TokenKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::dialect::{self, Credential};
use super::problem::Problem;
use crate::engine::CatalogApplied;
use crate::engine::Engine;

type Answer = Result<Response, Problem>;

pub(super) fn routes(catalog_bytes_max: usize) -> Router<Arc<Shared>> {
    Router::new()
        .merge(analysis::routes())
        .merge(explain::routes())
        .merge(members::routes())
        .merge(reactions::routes())
        .merge(outbox::routes())
        .merge(preview::routes())
        .merge(profiles::routes())
        .merge(whatif::routes())
        .route("/api/v1/invalid-events", get(invalid_events))
        .route("/api/v1/status", get(status))
        .route("/api/v1/catalog", post(move |state, headers, body| catalog(state, headers, body, catalog_bytes_max)))
        .merge(definitions::routes())
        .merge(attribution::routes())
        .merge(experiments::routes())
        .merge(organization::routes())
        .merge(refresh::routes())
        .route("/api/{*path}", any(unknown))
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn(readable))
}

/// Refuses a path that no name can be read from, before a route makes an answer of its own of it.
async fn readable(request: Request, next: Next) -> Result<Response, Problem> {
    let path = request.uri().path().as_bytes();
    let (mut text, mut at) = (Vec::with_capacity(path.len()), 0);
    while let Some(byte) = path.get(at) {
        let escaped = path.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        text.push(decoded.unwrap_or(*byte));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    if std::str::from_utf8(&text).is_err() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_path", "the path is not UTF-8"));
    }
    Ok(next.run(request).await)
}

/// Lets the bearer of an admin token through.
fn admin(shared: &Shared, headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let token = match dialect::credential(headers) {
        Ok(Credential::Bearer(token)) => token,
        _ => return Err(refuse("Authorization must be \"Bearer <admin token>\"")),
    };
    match shared.engine.authenticate(token) {
        None => Err(refuse("the token is not known")),
        Some(grant) if grant.kind == TokenKind::Admin => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "this needs an admin token")),
    }
}

/// Runs what may read from the disk away from the tasks that serve sockets.
async fn off_task<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&Arc<Engine>) -> T + Send + 'static,
) -> Result<T, Problem> {
    let engine = shared.engine.clone();
    tokio::task::spawn_blocking(move || work(&engine)).await.map_err(|_| Problem::internal())
}

fn json_response(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], value.to_string()).into_response()
}

/// The query, or what is wrong with it as a problem document.
fn parsed<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|query| query.0).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
}

async fn invalid_events(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let limit = parsed(page)?.limit.unwrap_or(50).clamp(1, 500);
    let found = off_task(&shared, move |engine| engine.invalid_json(limit)).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn status(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    admin(&shared, &headers)?;
    let status = off_task(&shared, |engine| engine.status_json()).await?;
    Ok(json_response(StatusCode::OK, &status))
}

async fn catalog(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body, max: usize) -> Answer {
    admin(&shared, &headers)?;
    let document = read_text(&shared, body, max).await?;
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&document) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()));
    }
    let applied = off_task(&shared, move |engine| engine.apply_catalog(&document)).await?;
    let CatalogApplied { version, changed, summary, seq, .. } = applied.map_err(refused)?;
    durably(&shared, seq).await?;
    Ok(json_response(StatusCode::OK, &json!({"version": version, "changed": changed, "summary": summary})))
}

/// The body of a request as text of at most `max` bytes.
async fn read_text(shared: &Shared, body: Body, max: usize) -> Result<String, Problem> {
    let invalid = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid_json", detail);
    let read = tokio::time::timeout(shared.options.http.body_timeout, Limited::new(body, max).collect()).await;
    let body = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let detail = format!("the document is over {max} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail));
        }
        _ => return Err(invalid("the body broke off")),
    };
    String::from_utf8(body.to_vec()).map_err(|_| invalid("the body is not UTF-8"))
}

/// Bytes of one definition.
const DEFINITION_BYTES_MAX: usize = 1 << 20;

/// The body of a request as JSON, with its text.
async fn read_json(shared: &Shared, headers: &HeaderMap, body: Body) -> Result<(String, Value), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if essence.is_some_and(|kind| kind != "application/json" && !kind.ends_with("+json")) {
        let detail = "Content-Type must be application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
    }
    let text = read_text(shared, body, DEFINITION_BYTES_MAX).await?;
    match serde_json::from_str(&text) {
        Ok(value) => Ok((text, value)),
        Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string())),
    }
}

/// Waits until what stands at `seq` is durable.
async fn durably(shared: &Shared, seq: Seq) -> Result<(), Problem> {
    let mut durable = shared.engine.durable();
    let wait = tokio::time::timeout(shared.options.http.durable_timeout, durable.wait_for(|position| *position >= seq.0)).await;
    if matches!(wait, Ok(Ok(_))) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not durable in time; read it before you repeat it"))
}

/// A document that could not be stored is not wrong.
fn refused(issues: Vec<Issue>) -> Problem {
    match issues.iter().find(|issue| issue.code == "unavailable") {
        Some(issue) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", issue.message.clone()),
        None => Problem::invalid("catalog_invalid", issues),
    }
}

async fn unknown() -> Problem {
    Problem::not_found("not_found", "this path")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
}
