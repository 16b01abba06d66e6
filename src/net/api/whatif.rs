//! Actions over the past: what was decided, decided again.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use lodestone_state::ids::Millis;
use lodestone_state::issue::Issue;
use lodestone_state::time::parse_rfc3339;
use serde::Deserialize;

use super::explain::{ask, fields};
use super::{Answer, Shared, admin, read_json};
use crate::engine::replay::Period;
use crate::net::problem::Problem;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/actions/replay", post(replay))
}

const DAY_MS: i64 = 86_400_000;

/// Days that can be asked for.
const DAYS_MAX: i64 = 3660;

/// Rows of an answer, if nothing is said, and at most.
const ROWS: usize = 100;
const ROWS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplayBody {
    from: Option<String>,
    to: Option<String>,
    days: Option<i64>,
    limit: Option<usize>,
}

/// The part of the past that is asked for: `days` up to now, or from one instant to another; everything if
/// nothing is said.
fn period(from: Option<&str>, to: Option<&str>, days: Option<i64>, now: Millis) -> Result<Period, Problem> {
    let mut issues = Vec::new();
    let mut wrong = |pointer: &str, message: String| issues.push(Issue::new(pointer, "period_invalid", message));
    let mut instant = |pointer: &str, text: Option<&str>| {
        let read = text.and_then(parse_rfc3339);
        if text.is_some() && read.is_none() {
            wrong(pointer, format!("{} is no RFC 3339 time", &pointer[1..]));
        }
        read
    };
    let (from, given_to) = (instant("/from", from), instant("/to", to));
    // Up to now, and what happens at this very millisecond.
    let to = given_to.unwrap_or(now.plus(1));
    let from = match (days, from) {
        (Some(_), Some(_)) => {
            wrong("/days", "days and from say the same thing twice".to_owned());
            to
        }
        (Some(days), None) if (1..=DAYS_MAX).contains(&days) => to.minus(days * DAY_MS),
        (Some(days), None) => {
            wrong("/days", format!("days is from 1 to {DAYS_MAX}, not {days}"));
            to
        }
        (None, from) => from.unwrap_or(Millis(0)),
    };
    if issues.is_empty() && from >= to {
        issues.push(Issue::new("/from", "period_invalid", "the period ends before it begins"));
    }
    if issues.is_empty() { Ok(Period { from, to }) } else { Err(Problem::invalid("period_invalid", issues)) }
}

async fn replay(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let body: ReplayBody = fields(read_json(&shared, &headers, body).await?.1)?;
    let period = period(body.from.as_deref(), body.to.as_deref(), body.days, shared.engine.now())?;
    let limit = body.limit.unwrap_or(ROWS).min(ROWS_MAX);
    ask(&shared, move |engine, cancel| engine.replay_decisions(period, limit, cancel)).await
}
