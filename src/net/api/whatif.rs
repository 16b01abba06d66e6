//! Actions over the past: what was decided, decided again; and what would have been, had they been others.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use lodestone_state::ids::Millis;
use lodestone_state::issue::Issue;
use lodestone_state::time::{DateTimeLit, parse_instant};
use lodestone_state::whatif::Shown;
use serde::Deserialize;
use serde_json::Value;

use super::edit::wrong;
use super::explain::{ask, fields};
use super::{Answer, Shared, admin, read_json};
use crate::engine::Engine;
use crate::engine::replay::Period;
use crate::engine::whatif::WhatIf;
use crate::net::problem::Problem;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/actions/replay", post(replay)).route("/api/v1/actions/what-if", post(what_if))
}

/// Local days that can be asked for.
const DAYS_MAX: u32 = 3660;

/// Local days of a what-if, if nothing is said.
const DAYS: u32 = 30;

/// Rows of an answer, if nothing is said, and at most.
const ROWS: usize = 100;
const ROWS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplayBody {
    from: Option<String>,
    to: Option<String>,
    days: Option<u32>,
    limit: Option<usize>,
}

/// The part of the past that is asked for: from one instant or local date to another, or so many local days,
/// the last included; everything if nothing is said.
fn period(from: Option<&str>, to: Option<&str>, days: Option<u32>, engine: &Engine) -> Result<Period, Problem> {
    let zone = engine.plan().zone.clone();
    let mut issues = Vec::new();
    let mut wrong = |pointer: &str, message: String| issues.push(Issue::new(pointer, "invalid_range", message));
    let mut read = |pointer: &str, text: Option<&str>| {
        let read = text.and_then(|text| parse_instant(text, &zone));
        if text.is_some() && read.is_none() {
            wrong(pointer, format!("{} is neither an RFC 3339 time nor a date", &pointer[1..]));
        }
        read
    };
    let (first, last) = (read("/from", from), read("/to", to));
    // Up to now, and what happens at this very millisecond.
    let to = last.map_or(engine.now().plus(1), |to| match to {
        DateTimeLit::Instant(at) | DateTimeLit::Day { end: at, .. } => at,
    });
    let since = |days: u32| {
        let date = (1..days).fold(zone.date(to.minus(1)), |date, _| date.yesterday().unwrap_or(date));
        zone.start_of_day(date)
    };
    let from = match (days, first) {
        (Some(_), Some(_)) => {
            wrong("/days", "days and from say the same thing twice".to_owned());
            to
        }
        (Some(days), None) if (1..=DAYS_MAX).contains(&days) => since(days),
        (Some(days), None) => {
            wrong("/days", format!("days is from 1 to {DAYS_MAX}, not {days}"));
            to
        }
        (None, first) => first.map_or(Millis(0), DateTimeLit::start),
    };
    if issues.is_empty() && from >= to {
        issues.push(Issue::new("/from", "invalid_range", "the period ends before it begins"));
    }
    if issues.is_empty() { Ok(Period { from, to }) } else { Err(Problem::invalid("invalid_range", issues)) }
}

async fn replay(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let body: ReplayBody = fields(read_json(&shared, &headers, body).await?.1)?;
    let period = period(body.from.as_deref(), body.to.as_deref(), body.days, &shared.engine)?;
    let limit = body.limit.unwrap_or(ROWS).min(ROWS_MAX);
    ask(&shared, move |engine, cancel| engine.replay_decisions(period, limit, cancel)).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WhatIfBody {
    action: Option<String>,
    definition: Option<Value>,
    from: Option<String>,
    to: Option<String>,
    days: Option<u32>,
    channel: Option<String>,
    shown: Option<Shown>,
    limit: Option<usize>,
}

async fn what_if(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let body: WhatIfBody = fields(read_json(&shared, &headers, body).await?.1)?;
    let definition = body.definition.filter(|definition| !definition.is_null());
    let action = body.action.filter(|action| !action.is_empty());
    if definition.is_none() && action.is_none() {
        return Err(wrong("", "an action, a definition, or both"));
    }
    let days = if body.days.is_none() && body.from.is_none() { Some(DAYS) } else { body.days };
    let asked = WhatIf {
        action,
        definition,
        period: period(body.from.as_deref(), body.to.as_deref(), days, &shared.engine)?,
        channel: body.channel,
        shown: body.shown,
        limit: body.limit.unwrap_or(ROWS).min(ROWS_MAX),
    };
    ask(&shared, move |engine, cancel| engine.what_if(&asked, cancel)).await
}
