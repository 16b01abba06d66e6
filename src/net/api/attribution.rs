//! What actions are credited with.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use lodestone_state::goal::Model;
use lodestone_state::goal::report::By;
use lodestone_state::rollup::bucket::Resolution;
use serde::Deserialize;

use super::analysis::{bad, dates};
use super::{Answer, admin, json_response, off_task, parsed};
use crate::engine::{AttributionQuery, NoReport};
use crate::net::Shared;
use crate::net::problem::Problem;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/attribution/{goal}", get(report))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    model: Option<String>,
    start: Option<String>,
    end: Option<String>,
    resolution: Option<String>,
    group_by: Option<String>,
}

async fn report(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(goal): Path<String>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let asked = parsed(query)?;
    let zone = shared.engine.plan().zone.clone();
    let query = AttributionQuery {
        goal,
        model: word(asked.model, Model::parse, "model is last_touch, first_touch, linear or linear_actions")?,
        by: word(asked.group_by, By::parse, "groupBy is action, campaign or channel")?,
        dates: dates(given(asked.start), given(asked.end), zone.date(shared.engine.now()))?,
        resolution: word(asked.resolution, Resolution::parse, "resolution is hour, day, week, month or year")?,
    };
    let told = off_task(&shared, move |engine| engine.attribution_json(&query)).await?;
    told.map(|told| json_response(StatusCode::OK, &told)).map_err(|error| no_report(&error, "goal_not_found", "the goal"))
}

pub(super) fn no_report(error: &NoReport, code: &'static str, what: &str) -> Problem {
    match error {
        NoReport::Unknown => Problem::not_found(code, what),
        NoReport::TooLong(_) => bad(error.to_string()),
        NoReport::Storage(_) => Problem::internal(),
    }
}

/// A parameter that is left empty is left out.
fn given(asked: Option<String>) -> Option<String> {
    asked.filter(|text| !text.is_empty())
}

fn word<T>(asked: Option<String>, parse: fn(&str) -> Option<T>, detail: &str) -> Result<Option<T>, Problem> {
    given(asked).map(|word| parse(&word).ok_or_else(|| bad(detail))).transpose()
}
