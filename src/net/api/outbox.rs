//! The outbox: what waits to be done elsewhere, what was given up, and trying out a webhook.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use lodestone_state::ids::{DefId, Seq};
use lodestone_state::issue::{DEFINITION_INVALID, Issue};
use lodestone_state::plan::Kind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared, admin, durably, json_response, off_task, parsed, read_json};
use crate::engine::{Untestable, WebhookTest};
use crate::net::problem::Problem;

/// Rows of one page unless the query says otherwise, and at most.
const ROWS: (usize, usize) = (50, 500);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/outbox", get(list))
        .route("/api/v1/outbox/hooks", get(hooks))
        .route("/api/v1/outbox/replay", post(replay_all))
        .route("/api/v1/outbox/{id}", get(show).delete(remove))
        .route("/api/v1/outbox/{id}/replay", post(replay))
        .route("/api/v1/organization/signing-key", get(signing_key))
        .route("/api/v1/actions/{id}/test-webhook", post(test_webhook))
}

#[derive(Deserialize)]
struct Page {
    state: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

fn invalid(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
}

fn position(cursor: &str) -> Option<(Seq, u16)> {
    let (seq, place) = cursor.split_once('-')?;
    Some((Seq(seq.parse().ok()?), place.parse().ok()?))
}

async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap, page: Result<Query<Page>, QueryRejection>) -> Answer {
    admin(&shared, &headers)?;
    let page = parsed(page)?;
    let dead = match page.state.as_deref() {
        None | Some("pending") => false,
        Some("dead") => true,
        Some(_) => return Err(invalid("state is pending or dead")),
    };
    let cursor = page.cursor.filter(|cursor| !cursor.is_empty());
    let after = cursor.map(|cursor| position(&cursor).ok_or_else(|| invalid("cursor is what nextCursor said"))).transpose()?;
    let limit = page.limit.unwrap_or(ROWS.0).clamp(1, ROWS.1);
    let found = off_task(&shared, move |engine| engine.outbox_json(dead, after, limit)).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn hooks(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    admin(&shared, &headers)?;
    let found = off_task(&shared, |engine| engine.hooks_json()).await?;
    Ok(json_response(StatusCode::OK, &found))
}

fn job_not_found() -> Problem {
    Problem::not_found("job_not_found", "the job, or it is done,")
}

fn job(text: &str) -> Result<u128, Problem> {
    uuid::Uuid::parse_str(text).map(|id| id.as_u128()).map_err(|_| job_not_found())
}

async fn show(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let id = job(&id)?;
    let found = off_task(&shared, move |engine| engine.job_json(id)).await?;
    Ok(json_response(StatusCode::OK, &found.ok_or_else(job_not_found)?))
}

async fn replay(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let id = job(&id)?;
    let seq = off_task(&shared, move |engine| engine.send_again(id)).await?.ok_or_else(job_not_found)?;
    durably(&shared, seq).await?;
    Ok(json_response(StatusCode::ACCEPTED, &json!({"id": uuid::Uuid::from_u128(id).to_string()})))
}

#[derive(Deserialize)]
struct Which {
    endpoint: Option<String>,
}

async fn replay_all(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    which: Result<Query<Which>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let endpoint = parsed(which)?.endpoint.filter(|endpoint| !endpoint.is_empty());
    let sent = off_task(&shared, move |engine| engine.send_all_again(endpoint.as_deref())).await?;
    let (replayed, left, seq) = sent;
    durably(&shared, seq).await?;
    Ok(json_response(StatusCode::ACCEPTED, &json!({"replayed": replayed, "left": left})))
}

async fn remove(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let id = job(&id)?;
    let seq = off_task(&shared, move |engine| engine.drop_job(id)).await?.ok_or_else(job_not_found)?;
    durably(&shared, seq).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Asked for by itself only: no list and no export shows a key.
async fn signing_key(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    admin(&shared, &headers)?;
    Ok(json_response(StatusCode::OK, &shared.engine.signing_key_json()))
}

async fn test_webhook(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let (_, asked) = read_json(&shared, &headers, body).await?;
    let test = read_test(&asked)?;
    let action = shared.engine.definition(Kind::Action, &id).map(|shown| shown.id);
    let action: DefId = action.ok_or_else(|| Problem::not_found("action_not_found", "the action"))?;
    let tested = shared.engine.test_webhook(action, &test).await.map_err(|error| match error {
        Untestable::NoAction => Problem::not_found("action_not_found", "the action"),
        Untestable::NoWebhook => Problem::not_found("webhook_not_found", "a webhook for this event and channel"),
    })?;
    Ok(json_response(StatusCode::OK, &tested))
}

fn read_test(asked: &Value) -> Result<WebhookTest, Problem> {
    let wrong = |field: &str, wanted: &str| {
        let issue = Issue::new(format!("/{field}"), DEFINITION_INVALID, format!("{field} must be {wanted}"));
        Problem::invalid(DEFINITION_INVALID, vec![issue])
    };
    let text = |field: &str| match asked.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(field, "text")),
    };
    if !asked.is_object() {
        return Err(Problem::invalid(DEFINITION_INVALID, vec![Issue::new("", DEFINITION_INVALID, "must be an object")]));
    }
    let properties = match asked.get("properties") {
        None | Some(Value::Null) => None,
        Some(object @ Value::Object(_)) => Some(object.to_string()),
        Some(_) => return Err(wrong("properties", "an object")),
    };
    let hook = match asked.get("hook") {
        None | Some(Value::Null) => None,
        Some(nth) => {
            let nth = nth.as_u64().and_then(|nth| usize::try_from(nth).ok());
            Some(nth.ok_or_else(|| wrong("hook", "the place of a hook, counted from 0"))?)
        }
    };
    Ok(WebhookTest { hook, event: text("event")?, user_id: text("userId")?, channel: text("channel")?, properties })
}
