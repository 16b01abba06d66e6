//! `/api/v1`: profiles, audiences, the status and the catalog, for the bearer of an admin token.

mod members;
mod reactions;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http_body_util::{BodyExt, Limited};
use lodestone_state::ids::ProfileId;
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
        .merge(members::routes())
        .merge(reactions::routes())
        .route("/api/v1/profiles/{id}", get(profile))
        .route("/api/v1/profiles", get(profiles))
        .route("/api/v1/audiences/{key}", get(audience))
        .route("/api/v1/invalid-events", get(invalid_events))
        .route("/api/v1/status", get(status))
        .route("/api/v1/catalog", post(move |state, headers, body| catalog(state, headers, body, catalog_bytes_max)))
        .route("/api/{*path}", any(unknown))
}

/// What the demo shop's side panel reads, without a token.
pub(super) fn shop_routes() -> Router<Arc<Shared>> {
    Router::new().route("/shop/api/profile", get(shop_profile))
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

async fn profile(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let found = match id.parse::<ProfileId>() {
        Ok(id) => off_task(&shared, move |engine| engine.profile_json(id)).await?,
        Err(_) => None,
    };
    let found = found.ok_or_else(|| Problem::not_found("profile_not_found", "the profile"))?;
    Ok(json_response(StatusCode::OK, &found))
}

/// The query, or what is wrong with it as a problem document.
fn parsed<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|query| query.0).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByUser {
    user_id: Option<String>,
}

fn wanted_user(query: ByUser) -> Result<String, Problem> {
    let user_id = query.user_id.filter(|id| !id.is_empty());
    user_id.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "missing_field", "userId is required"))
}

async fn profiles(State(shared): State<Arc<Shared>>, headers: HeaderMap, query: Result<Query<ByUser>, QueryRejection>) -> Answer {
    admin(&shared, &headers)?;
    let user_id = wanted_user(parsed(query)?)?;
    let found = off_task(&shared, move |engine| engine.profile_json_by_user(&user_id)).await?;
    let data: Vec<Value> = found.into_iter().collect();
    let total = data.len();
    Ok(json_response(StatusCode::OK, &json!({"data": data, "nextCursor": null, "total": total})))
}

async fn shop_profile(State(shared): State<Arc<Shared>>, query: Result<Query<ByUser>, QueryRejection>) -> Answer {
    let user_id = wanted_user(parsed(query)?)?;
    let found = off_task(&shared, move |engine| engine.profile_json_by_user(&user_id)).await?;
    let found = found.ok_or_else(|| Problem::not_found("profile_not_found", "the profile"))?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn audience(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(key): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let found = off_task(&shared, move |engine| engine.audience_json(&key)).await?;
    let found = found.ok_or_else(|| Problem::not_found("audience_not_found", "the audience"))?;
    Ok(json_response(StatusCode::OK, &found))
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
    let read = tokio::time::timeout(shared.options.http.body_timeout, Limited::new(body, max).collect()).await;
    let document = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                format!("the document is over {max} bytes"),
            ));
        }
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "the body broke off")),
    };
    let Ok(document) = String::from_utf8(document.to_vec()) else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "the body is not UTF-8"));
    };
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&document) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()));
    }
    let applied = off_task(&shared, move |engine| engine.apply_catalog(&document)).await?;
    let CatalogApplied { version, changed, summary, seq } = applied.map_err(refused)?;
    let mut durable = shared.engine.durable();
    let wait = tokio::time::timeout(shared.options.http.durable_timeout, durable.wait_for(|position| *position >= seq.0)).await;
    if !matches!(wait, Ok(Ok(_))) {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "not durable in time; apply it again"));
    }
    Ok(json_response(StatusCode::OK, &json!({"version": version, "changed": changed, "summary": summary})))
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
