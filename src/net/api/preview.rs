//! Definitions that nobody has saved, tried on everybody: previews and dry runs. Nothing is changed.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::post;
use serde::Deserialize;

use super::explain::ask;
use super::{Answer, Shared, admin, parsed, read_json};

/// How long a preview may take unless the query says otherwise, and at most.
const WITHIN_MS: (u64, u64) = (2_000, 10_000);

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/audiences/preview", post(audience))
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
