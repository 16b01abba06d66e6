//! The reaction log.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use lodestone_state::action::reaction_of_word;
use lodestone_state::ids::Millis;
use lodestone_state::time::{Zone, parse_instant};
use serde::Deserialize;

use super::{Answer, Shared, admin, json_response, off_task, parsed};
use crate::engine::reactions::{ReactionQuery, Unknown};
use crate::net::problem::Problem;

/// Rows of one page unless the query says otherwise, and at most.
const ROWS: (usize, usize) = (50, 500);
/// How far a cursor may lie from the newest row: the rows before it are kept in memory for the answer.
const OFFSET_MAX: usize = 100_000;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/reactions", get(reactions))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    action_id: Option<String>,
    user_id: Option<String>,
    /// Comma-separated words: `shown,accepted`.
    events: Option<String>,
    #[serde(default)]
    include_test: bool,
    start: Option<String>,
    end: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn reactions(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let wanted = read(parsed(query)?, &shared.engine.plan().zone)?;
    let found = off_task(&shared, move |engine| engine.reactions_json(&wanted)).await?;
    let found = found.map_err(|unknown| match unknown {
        Unknown::Action => Problem::not_found("action_not_found", "the action"),
        Unknown::User => Problem::not_found("profile_not_found", "the profile"),
    })?;
    Ok(json_response(StatusCode::OK, &found))
}

fn read(wanted: Wanted, zone: &Zone) -> Result<ReactionQuery, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail);
    let mut kinds = Vec::new();
    for word in wanted.events.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty()) {
        kinds.push(reaction_of_word(word).ok_or_else(|| bad(format!("{word:?} is no kind of reaction")))?);
    }
    let offset = match wanted.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
        None => 0,
        Some(cursor) => cursor
            .parse()
            .ok()
            .filter(|offset| *offset <= OFFSET_MAX)
            .ok_or_else(|| bad("cursor is what nextCursor said, up to 100000; narrow the time range instead".to_owned()))?,
    };
    Ok(ReactionQuery {
        action: wanted.action_id,
        user_id: wanted.user_id,
        kinds,
        silent: wanted.include_test,
        start: wanted.start.map(|text| instant(&text, zone, false)).transpose()?,
        end: wanted.end.map(|text| instant(&text, zone, true)).transpose()?,
        offset,
        limit: wanted.limit.unwrap_or(ROWS.0).clamp(1, ROWS.1),
    })
}

/// An instant, or a local day: as an end the whole day belongs to the range.
pub(super) fn instant(text: &str, zone: &Zone, end: bool) -> Result<Millis, Problem> {
    use lodestone_state::time::DateTimeLit::{Day, Instant};
    match parse_instant(text, zone) {
        Some(Instant(at)) => Ok(at),
        Some(Day { start, end: next }) => Ok(if end { next } else { start }),
        None => {
            let detail = format!("{text:?} is neither an RFC 3339 time nor a date");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail))
        }
    }
}
