//! Profiles: who they are, what left their logs, whom they were merged with.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use lodestone_state::ids::ProfileId;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Shared, admin, durably, json_response, off_task, parsed, read_json, read_text};
use crate::engine::{EraseError, SplitError};
use crate::net::problem::Problem;

/// Characters of a reason.
const REASON_MAX: usize = 500;
/// Bytes of the body of a deletion.
const BODY_MAX: usize = 16 << 10;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/profiles", get(profiles))
        .route("/api/v1/profiles/{id}", get(profile))
        .route("/api/v1/profiles/{id}/events/{event}", delete(erase_event))
        .route("/api/v1/event-log/{event}", delete(erase_event_of))
        .route("/api/v1/profiles/{id}/merges", get(merges))
        .route("/api/v1/profiles/{id}/split", post(split))
}

/// What the demo shop's side panel reads, without a token.
pub(in crate::net) fn shop_routes() -> Router<Arc<Shared>> {
    Router::new().route("/shop/api/profile", get(shop_profile))
}

fn no_profile() -> Problem {
    Problem::not_found("profile_not_found", "the profile")
}

fn profile_id(text: &str) -> Result<ProfileId, Problem> {
    text.parse().map_err(|_| no_profile())
}

async fn profile(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let id = profile_id(&id)?;
    let found = off_task(&shared, move |engine| engine.profile_json(id)).await?.ok_or_else(no_profile)?;
    Ok(json_response(StatusCode::OK, &found))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByUser {
    user_id: Option<String>,
    reason: Option<String>,
}

fn wanted_user(user_id: Option<String>) -> Result<String, Problem> {
    let user_id = user_id.filter(|id| !id.is_empty());
    user_id.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "missing_field", "userId is required"))
}

async fn profiles(State(shared): State<Arc<Shared>>, headers: HeaderMap, query: Result<Query<ByUser>, QueryRejection>) -> Answer {
    admin(&shared, &headers)?;
    let user_id = wanted_user(parsed(query)?.user_id)?;
    let found = off_task(&shared, move |engine| engine.profile_json_by_user(&user_id)).await?;
    let data: Vec<Value> = found.into_iter().collect();
    let total = data.len();
    Ok(json_response(StatusCode::OK, &json!({"data": data, "nextCursor": null, "total": total})))
}

async fn shop_profile(State(shared): State<Arc<Shared>>, query: Result<Query<ByUser>, QueryRejection>) -> Answer {
    let user_id = wanted_user(parsed(query)?.user_id)?;
    let found = off_task(&shared, move |engine| engine.profile_json_by_user(&user_id)).await?.ok_or_else(no_profile)?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn erase_event(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path((id, event)): Path<(String, String)>,
    query: Result<Query<ByUser>, QueryRejection>,
    body: Body,
) -> Answer {
    admin(&shared, &headers)?;
    let id = profile_id(&id)?;
    let event = event_id(&event)?;
    let reason = reason(&shared, parsed(query)?.reason, body).await?;
    erased(&shared, off_task(&shared, move |engine| engine.erase_event(id, event, reason.as_deref())).await?).await
}

async fn erase_event_of(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(event): Path<String>,
    query: Result<Query<ByUser>, QueryRejection>,
    body: Body,
) -> Answer {
    admin(&shared, &headers)?;
    let query = parsed(query)?;
    let user_id = wanted_user(query.user_id)?;
    let event = event_id(&event)?;
    let reason = reason(&shared, query.reason, body).await?;
    erased(&shared, off_task(&shared, move |engine| engine.erase_event_of(&user_id, event, reason.as_deref())).await?).await
}

fn no_event() -> Problem {
    Problem::not_found("event_not_found", "the event")
}

fn event_id(text: &str) -> Result<u128, Problem> {
    Uuid::parse_str(text).map(|id| id.as_u128()).map_err(|_| no_event())
}

/// The reason given in the query, or else in a body `{"reason": "…"}`.
async fn reason(shared: &Shared, in_query: Option<String>, body: Body) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    struct Because {
        reason: Option<String>,
    }
    let text = read_text(shared, body, BODY_MAX).await?;
    let in_body = match text.trim() {
        "" => None,
        text => {
            let because: Because = serde_json::from_str(text)
                .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()))?;
            because.reason
        }
    };
    let reason = in_query.or(in_body).filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_MAX) {
        let detail = format!("a reason has at most {REASON_MAX} characters");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "reason_too_long", detail));
    }
    Ok(reason)
}

async fn erased(shared: &Shared, done: Result<lodestone_state::ids::Seq, EraseError>) -> Answer {
    let seq = done.map_err(|error| match error {
        EraseError::NoProfile => no_profile(),
        EraseError::NoEvent => no_event(),
        EraseError::Unavailable(rejection) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", rejection.message),
    })?;
    durably(shared, seq).await?;
    Ok(nothing())
}

fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn merges(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let id = profile_id(&id)?;
    let found = off_task(&shared, move |engine| engine.merges_json(id)).await?.ok_or_else(no_profile)?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn split(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let id = profile_id(&id)?;
    let (_, body) = read_json(&shared, &headers, body).await?;
    let Some(target) = body["profileId"].as_str() else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "missing_field", "profileId is required"));
    };
    let not_merged = || Problem::new(StatusCode::CONFLICT, "not_merged", "that profile is no part of this one");
    let target: ProfileId = target.parse().map_err(|_| not_merged())?;
    let done = off_task(&shared, move |engine| {
        let done = engine.split(id, target)?;
        Ok((done, engine.profile_json(done.profile), engine.profile_json(done.returned)))
    });
    let (done, profile, returned) = done.await?.map_err(|error| match error {
        SplitError::NoProfile => no_profile(),
        SplitError::NotMerged => not_merged(),
        SplitError::Unavailable(rejection) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", rejection.message),
    })?;
    durably(&shared, done.seq).await?;
    Ok(json_response(StatusCode::OK, &json!({"profile": profile, "returned": returned})))
}
