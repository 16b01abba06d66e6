//! Who is in an audience, and how each profile came and went.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use lodestone_state::ids::ProfileId;
use serde::Deserialize;

use super::{Answer, Shared, admin, json_response, off_task, parsed};
use crate::net::problem::Problem;

/// Rows of one page unless the query says otherwise, and at most.
const ROWS: (usize, usize) = (100, 1000);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/audiences/{key}/members", get(members))
        .route("/api/v1/profiles/{id}/memberships", get(memberships))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn members(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(key): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let page = parsed(page)?;
    let after = match page.cursor.filter(|cursor| !cursor.is_empty()) {
        None => None,
        Some(cursor) => Some(
            cursor
                .parse::<ProfileId>()
                .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", "cursor is what nextCursor said"))?,
        ),
    };
    let limit = page.limit.unwrap_or(ROWS.0).clamp(1, ROWS.1);
    let found = off_task(&shared, move |engine| engine.members_json(&key, after, limit)).await?;
    let found = found.ok_or_else(|| Problem::not_found("audience_not_found", "the audience"))?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn memberships(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    page: Result<Query<Page>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let limit = parsed(page)?.limit.unwrap_or(ROWS.0).clamp(1, ROWS.1);
    let found = match id.parse::<ProfileId>() {
        Ok(id) => off_task(&shared, move |engine| engine.memberships_json(id, limit)).await?,
        Err(_) => None,
    };
    let found = found.ok_or_else(|| Problem::not_found("profile_not_found", "the profile"))?;
    Ok(json_response(StatusCode::OK, &found))
}
