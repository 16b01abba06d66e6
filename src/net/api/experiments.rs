//! What became of experiments.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;

use super::attribution::no_report;
use super::{Answer, admin, json_response, off_task};
use crate::net::Shared;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/experiments/{id}/report", get(report))
}

async fn report(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(id): Path<String>) -> Answer {
    admin(&shared, &headers)?;
    let told = off_task(&shared, move |engine| engine.experiment_json(&id)).await?;
    told.map(|told| json_response(StatusCode::OK, &told))
        .map_err(|error| no_report(&error, "experiment_not_found", "the experiment"))
}
