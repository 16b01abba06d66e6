//! Definitions that nobody has saved, tried on everybody: previews and dry runs. Nothing is changed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::post;
use lodestone_state::ids::Millis;
use serde::Deserialize;
use serde_json::Value;

use super::edit::wrong;
use super::explain::{ask, fields};
use super::reactions::instant;
use super::{Answer, Shared, admin, parsed, read_json};
use crate::engine::preview::computed::{PEOPLE_MAX, People};
use crate::engine::preview::dry_run::{Place, Span};
use crate::net::problem::Problem;

/// How long a preview may take unless the query says otherwise, and at most.
const WITHIN_MS: (u64, u64) = (2_000, 10_000);
/// People of a trait's preview who are not named.
const SAMPLE: usize = 20;
/// Local days of a dry run unless the body says otherwise.
const DAYS: u32 = 30;
/// Moments of one page unless the body says otherwise, and at most.
const ROWS: (usize, usize) = (100, 1000);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/audiences/preview", post(audience))
        .route("/api/v1/computed-traits/preview", post(computed_trait))
        .route("/api/v1/audiences/dry-run", post(dry_run))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Patience {
    within_ms: Option<u64>,
}

impl Patience {
    fn time(&self) -> Duration {
        Duration::from_millis(self.within_ms.unwrap_or(WITHIN_MS.0).min(WITHIN_MS.1))
    }
}

type Within = Result<Query<Patience>, QueryRejection>;

async fn audience(State(shared): State<Arc<Shared>>, headers: HeaderMap, within: Within, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let time = parsed(within)?.time();
    let (_, definition) = read_json(&shared, &headers, body).await?;
    ask(&shared, move |engine, cancel| engine.preview_audience(definition, time, cancel)).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TraitBody {
    definition: Value,
    profile_ids: Option<Vec<String>>,
    sample: Option<usize>,
}

async fn computed_trait(State(shared): State<Arc<Shared>>, headers: HeaderMap, within: Within, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let time = parsed(within)?.time();
    let TraitBody { definition, profile_ids, sample } = fields(read_json(&shared, &headers, body).await?.1)?;
    let people = match (profile_ids, sample) {
        (Some(ids), None) if ids.len() <= PEOPLE_MAX => People::Named(ids),
        (None, sample) if sample.is_none_or(|n| (1..=PEOPLE_MAX).contains(&n)) => People::First(sample.unwrap_or(SAMPLE)),
        _ => return Err(wrong("/profileIds", &format!("either profileIds or sample, and at most {PEOPLE_MAX}"))),
    };
    ask(&shared, move |engine, cancel| engine.preview_trait(definition, &people, time, cancel)).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DryRunBody {
    definition: Value,
    days: Option<u32>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn dry_run(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let body: DryRunBody = fields(read_json(&shared, &headers, body).await?.1)?;
    if body.days.is_some() && body.from.is_some() {
        return Err(wrong("/days", "either days or from"));
    }
    let zone = shared.engine.plan().zone.clone();
    let span = Span {
        days: body.days.unwrap_or(DAYS),
        from: body.from.map(|text| instant(&text, &zone, false)).transpose()?,
        to: body.to.map(|text| instant(&text, &zone, true)).transpose()?,
        limit: body.limit.unwrap_or(ROWS.0).clamp(1, ROWS.1),
        after: body.cursor.filter(|cursor| !cursor.is_empty()).map(|cursor| place(&cursor)).transpose()?,
    };
    let definition = body.definition;
    ask(&shared, move |engine, cancel| engine.dry_run(definition, &span, cancel)).await
}

/// What `nextCursor` said.
fn place(cursor: &str) -> Result<Place, Problem> {
    let read = || {
        let mut parts = cursor.split('.');
        let place = (Millis(parts.next()?.parse().ok()?), parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(place)
    };
    read().ok_or_else(|| wrong("/cursor", "cursor is what nextCursor said"))
}
