//! Settings of the organisation.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use lodestone_state::issue::{DEFINITION_INVALID, Issue};
use lodestone_state::plan::CatalogDocument;
use serde_json::json;

use super::edit::Refusal;
use super::precondition::Seen;
use super::reply::Reply;
use super::{admin, durably, off_task, read_json};
use crate::net::Shared;
use crate::net::problem::Problem;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/organization", get(read).put(write).patch(write))
}

async fn read(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Reply, Problem> {
    admin(&shared, &headers)?;
    Ok(Reply::shown(&shared.engine.organization()).unless_known(&headers))
}

/// Settings that are not named stay as they are: a client that knows fewer of them breaks none.
async fn write(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Reply, Problem> {
    admin(&shared, &headers)?;
    let (_, value) = read_json(&shared, &headers, body).await?;
    let seen = Seen::of(&headers);
    let done = off_task(&shared, move |engine| {
        let applied = engine.change_catalog(|catalog| {
            seen?.check(catalog.organization().revision)?;
            let document = CatalogDocument::from_json(&json!({"organization": value}));
            document.and_then(|document| catalog.apply(&document)).map_err(refused)
        })?;
        Ok::<_, Refusal>((applied.seq, engine.organization_of(&applied.plan)))
    });
    let (seq, shown) = done.await??;
    durably(&shared, seq).await?;
    Ok(Reply::shown(&shown))
}

fn refused(mut issues: Vec<Issue>) -> Refusal {
    for issue in &mut issues {
        if let Some(rest) = issue.pointer.strip_prefix("/organization") {
            issue.pointer = rest.to_owned();
        }
    }
    Problem::invalid(DEFINITION_INVALID, issues).into()
}
