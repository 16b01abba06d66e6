//! Deriving traits, audiences and profiles again from the log, to see that they are right.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use lodestone_state::ids::ProfileId;
use lodestone_state::plan::Kind;
use serde_json::json;

use super::definitions::missing;
use super::reply::Reply;
use super::{admin, off_task};
use crate::engine::Refreshed;
use crate::net::Shared;
use crate::net::problem::Problem;

pub(super) fn routes() -> Router<Arc<Shared>> {
    let computed = |shared, headers, id| definition(Kind::ComputedTrait, shared, headers, id);
    let audience = |shared, headers, id| definition(Kind::Audience, shared, headers, id);
    Router::new()
        .route("/api/v1/computed-traits/{id}/refresh", post(computed))
        .route("/api/v1/audiences/{id}/refresh", post(audience).put(audience))
        .route("/api/v1/profiles/{id}/refresh", post(profile))
}

async fn definition(
    kind: Kind,
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Reply, Problem> {
    admin(&shared, &headers)?;
    let began = Instant::now();
    let done = off_task(&shared, move |engine| {
        let known = engine.definition(kind, &id).ok_or_else(|| missing(kind))?;
        match engine.refresh(kind, known.id) {
            Ok(found) => found.ok_or_else(|| missing(kind)),
            Err(_) => Err(Problem::new(StatusCode::CONFLICT, "refresh_busy", "another refresh is under way")),
        }
    });
    Ok(answer(done.await??, began))
}

async fn profile(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Result<Reply, Problem> {
    admin(&shared, &headers)?;
    let began = Instant::now();
    let found = match id.parse::<ProfileId>() {
        Ok(id) => off_task(&shared, move |engine| engine.refresh_profile(id)).await?,
        Err(_) => None,
    };
    let found = found.ok_or_else(|| Problem::not_found("profile_not_found", "the profile"))?;
    Ok(answer(found, began))
}

fn answer(found: Refreshed, began: Instant) -> Reply {
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Reply::json(&json!({"profiles": found.profiles, "drift": found.drift, "executionTime": ms}))
}
