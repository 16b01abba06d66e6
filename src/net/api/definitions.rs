//! Definitions of every kind: listed, read, made, changed and removed while events keep flowing.
//!
//! A change is a catalog document of one definition, applied like a whole one: compiled with everything
//! else or refused with all that is wrong, then in force for the next event.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use lodestone_state::ids::DefId;
use lodestone_state::plan::{Catalog, Kind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::edit::{self, Refusal};
use super::idempotency::once;
use super::precondition::Seen;
use super::reply::Reply;
use super::{admin, durably, off_task, parsed, read_json};
use crate::engine::{CatalogApplied, Engine, Listing, find_definition};
use crate::net::Shared;
use crate::net::problem::Problem;

type Replied = Result<Reply, Problem>;
type Served = State<Arc<Shared>>;

/// Rows of a page, unless asked otherwise.
const LIMIT: usize = 50;
/// Rows of a page at most.
const LIMIT_MAX: usize = 200;

/// Where definitions of a kind are.
pub(super) fn path_of(kind: Kind) -> String {
    let mut path = String::from("/api/v1/");
    for c in kind.section().chars() {
        if c.is_ascii_uppercase() {
            path.push('-');
        }
        path.push(c.to_ascii_lowercase());
    }
    path
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    let kinds = Kind::DEFINED.into_iter().filter(|kind| *kind != Kind::CustomTraits);
    let router = kinds.fold(Router::new(), |router, kind| {
        let path = path_of(kind);
        router
            .route(
                &path,
                get(move |shared, headers, query| list(kind, shared, headers, query))
                    .post(move |shared, headers, body| create(kind, shared, headers, body)),
            )
            .route(
                &format!("{path}/{{id}}"),
                get(move |shared, headers, id| one(kind, shared, headers, id))
                    .put(move |shared, headers, id, body| replace(kind, shared, headers, id, body))
                    .patch(move |shared, headers, id, body| patch(kind, shared, headers, id, body))
                    .delete(move |shared, headers, id, query| remove(kind, shared, headers, id, query)),
            )
    });
    router
        .route("/api/v1/custom-traits", get(custom_traits).put(put_custom_traits))
        .route("/api/v1/custom-traits/properties", get(custom_properties))
        .route("/api/v1/events/{id}/properties", get(|shared, headers, id| properties(Kind::Event, shared, headers, id)))
        .route("/api/v1/contexts/{id}/properties", get(|shared, headers, id| properties(Kind::Context, shared, headers, id)))
        .route("/api/v1/events/{id}/versions", get(|shared, headers, id| versions(Kind::Event, shared, headers, id)))
        .route("/api/v1/contexts/{id}/versions", get(|shared, headers, id| versions(Kind::Context, shared, headers, id)))
        .route("/api/v1/action-types/exists/{name}", get(type_exists))
        .route("/api/v1/action-types/{name}/unarchive", post(unarchive))
        .route("/api/v1/actions/{id}/duplicate", post(duplicate))
        .route("/api/v1/actions/{id}/state", put(set_state))
}

/// What does not exist.
pub(super) fn missing(kind: Kind) -> Problem {
    Problem::not_found(kind.not_found_code(), &format!("the {kind}"))
}

#[derive(Deserialize)]
struct Wanted {
    limit: Option<usize>,
    cursor: Option<String>,
    q: Option<String>,
    archived: Option<bool>,
}

async fn list(kind: Kind, State(shared): Served, headers: HeaderMap, query: Result<Query<Wanted>, QueryRejection>) -> Replied {
    admin(&shared, &headers)?;
    let wanted = parsed(query)?;
    let refuse = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail);
    let from = match wanted.cursor.as_deref().map(str::parse) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return Err(refuse("cursor must be a nextCursor of this list".into())),
    };
    let limit = wanted.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(refuse(format!("limit must be 1 to {LIMIT_MAX}")));
    }
    let listing = Listing { q: wanted.q, from, limit, archived: wanted.archived.unwrap_or(false) };
    let listed = off_task(&shared, move |engine| engine.definitions(kind, &listing)).await?;
    let next = listed.next.map(|next| next.to_string());
    let page = json!({"data": listed.rows, "nextCursor": next, "total": listed.total});
    Ok(Reply::json(&page).unless_known(&headers))
}

async fn one(kind: Kind, State(shared): Served, headers: HeaderMap, Path(id): Path<String>) -> Replied {
    admin(&shared, &headers)?;
    let found = off_task(&shared, move |engine| engine.definition(kind, &id)).await?;
    Ok(Reply::shown(&found.ok_or_else(|| missing(kind))?).unless_known(&headers))
}

async fn create(kind: Kind, State(shared): Served, headers: HeaderMap, body: Body) -> Replied {
    admin(&shared, &headers)?;
    let (text, value) = read_json(&shared, &headers, body).await?;
    let path = path_of(kind);
    let work = make(shared.clone(), kind, move |catalog| edit::new(catalog, kind, value));
    once(shared, &headers, &path, &text, work).await
}

/// Applies what `prepare` makes and answers 201.
async fn make(
    shared: Arc<Shared>,
    kind: Kind,
    prepare: impl FnOnce(&Catalog) -> Result<Value, Refusal> + Send + 'static,
) -> Replied {
    let made = off_task(&shared, move |engine| {
        let applied = engine.change_catalog(|catalog| edit::apply(catalog, kind, None, prepare(catalog)?))?;
        let id = applied.diff.changes.iter().find(|change| change.kind == kind).map(|change| change.id);
        let shown = id.and_then(|id| engine.definition_by_id(&applied.plan, kind, id)).ok_or_else(Problem::internal)?;
        Ok::<_, Refusal>((applied.seq, shown))
    });
    let (seq, shown) = made.await??;
    durably(&shared, seq).await?;
    Ok(Reply::shown(&shown).created(format!("{}/{}", path_of(kind), shown.id)))
}

/// Changes the definition that `id` names into what `change` makes of it, if the caller has seen what it is.
async fn alter(
    shared: &Shared,
    headers: &HeaderMap,
    kind: Kind,
    id: String,
    change: impl FnOnce(&Catalog, usize) -> Result<Value, Refusal> + Send + 'static,
) -> Replied {
    let seen = Seen::of(headers);
    let altered = off_task(shared, move |engine| {
        let mut which = None;
        let applied = engine.change_catalog(|catalog| {
            let slot = find_definition(catalog, kind, &id).ok_or_else(|| missing(kind))?;
            let known = &catalog.definitions(kind)[slot];
            seen?.check(known.revision)?;
            which = Some(known.id);
            edit::apply(catalog, kind, Some(slot), change(catalog, slot)?)
        })?;
        let shown = which.and_then(|id| engine.definition_by_id(&applied.plan, kind, id)).ok_or_else(Problem::internal)?;
        Ok::<_, Refusal>((applied.seq, shown))
    });
    let (seq, shown) = altered.await??;
    durably(shared, seq).await?;
    Ok(Reply::shown(&shown))
}

async fn replace(kind: Kind, State(shared): Served, headers: HeaderMap, Path(id): Path<String>, body: Body) -> Replied {
    admin(&shared, &headers)?;
    let (_, value) = read_json(&shared, &headers, body).await?;
    alter(&shared, &headers, kind, id, |_, _| Ok(value)).await
}

async fn patch(kind: Kind, State(shared): Served, headers: HeaderMap, Path(id): Path<String>, body: Body) -> Replied {
    admin(&shared, &headers)?;
    let (_, value) = read_json(&shared, &headers, body).await?;
    alter(&shared, &headers, kind, id, move |catalog, slot| Ok(edit::merged(edit::export(catalog, kind, slot), &value))).await
}

#[derive(Deserialize)]
struct State_ {
    state: Value,
}

async fn set_state(State(shared): Served, headers: HeaderMap, Path(id): Path<String>, body: Body) -> Replied {
    admin(&shared, &headers)?;
    let (_, value) = read_json(&shared, &headers, body).await?;
    let Ok(State_ { state }) = serde_json::from_value(value) else {
        return Err(edit::wrong("/state", "state is required: inactive, staging or active"));
    };
    alter(&shared, &headers, Kind::Action, id, move |catalog, slot| {
        let mut value = edit::export(catalog, Kind::Action, slot);
        value["state"] = state;
        Ok(value)
    })
    .await
}

#[derive(Deserialize)]
struct Removal {
    #[serde(default)]
    force: bool,
    version: Option<u32>,
    /// Of a rule: the attributes that it set go with it.
    #[serde(default, rename = "purgeAttributes")]
    purge_attributes: bool,
}

async fn remove(
    kind: Kind,
    State(shared): Served,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Result<Query<Removal>, QueryRejection>,
) -> Replied {
    admin(&shared, &headers)?;
    let Removal { force, version, purge_attributes } = parsed(query)?;
    let seen = Seen::of(&headers);
    let removed = off_task(&shared, move |engine| {
        engine.change_catalog(|catalog| {
            let slot = match version {
                Some(version) if kind == Kind::ActionType => edit::type_version(catalog, &id, version),
                _ => catalog.slot(kind, &id),
            };
            let slot = slot.ok_or_else(|| missing(kind))?;
            let known = &catalog.definitions(kind)[slot];
            seen?.check(known.revision)?;
            // A version of an action type is archived alone where it alone is named.
            if kind == Kind::ActionType && (version.is_some() || id.parse() == Ok(known.id)) {
                return edit::archive(catalog, &[slot], true);
            }
            let id = known.id.to_string();
            let removed = match kind {
                Kind::Rule if purge_attributes => catalog.remove_rule_and_attributes(&id, force),
                _ => catalog.remove(kind, &id, force),
            };
            removed.map_err(|issues| edit::refused(catalog, kind, Some(slot), issues))
        })
    });
    let applied: CatalogApplied = removed.await??;
    durably(&shared, applied.seq).await?;
    Ok(Reply::nothing())
}

/// A copy that nobody sees yet: inactive, with caps that have counted nothing, and without test users
/// unless they are asked for (T-73).
async fn duplicate(
    State(shared): Served,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Result<Query<Copying>, QueryRejection>,
) -> Replied {
    admin(&shared, &headers)?;
    let Copying { with_test_users } = parsed(query)?;
    let path = format!("{}/{id}/duplicate", path_of(Kind::Action));
    let work = make(shared.clone(), Kind::Action, move |catalog| {
        let slot = catalog.slot(Kind::Action, &id).ok_or_else(|| missing(Kind::Action))?;
        Ok(edit::copy(edit::export(catalog, Kind::Action, slot), with_test_users))
    });
    once(shared, &headers, &path, if with_test_users { "1" } else { "0" }, work).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Copying {
    #[serde(default)]
    with_test_users: bool,
}

/// All versions of a name are in force again.
async fn unarchive(State(shared): Served, headers: HeaderMap, Path(name): Path<String>) -> Replied {
    admin(&shared, &headers)?;
    let done = off_task(&shared, move |engine| {
        let named = |catalog: &Catalog| -> Vec<usize> {
            let versions = catalog.definitions(Kind::ActionType).iter().enumerate();
            versions.filter(|(_, known)| known.name == name || name.parse() == Ok(known.id)).map(|(slot, _)| slot).collect()
        };
        let applied = engine.change_catalog(|catalog| match named(catalog) {
            slots if slots.is_empty() => Err(missing(Kind::ActionType).into()),
            slots => edit::archive(catalog, &slots, false),
        })?;
        let newest = named(&applied.plan.catalog).last().map(|slot| applied.plan.catalog.definitions(Kind::ActionType)[*slot].id);
        let shown = newest.and_then(|id| engine.definition_by_id(&applied.plan, Kind::ActionType, id));
        Ok::<_, Refusal>((applied.seq, shown.ok_or_else(Problem::internal)?))
    });
    let (seq, shown) = done.await??;
    durably(&shared, seq).await?;
    Ok(Reply::shown(&shown))
}

async fn type_exists(State(shared): Served, headers: HeaderMap, Path(name): Path<String>) -> Replied {
    admin(&shared, &headers)?;
    let plan = shared.engine.plan();
    let known = plan.catalog.definitions(Kind::ActionType).iter().any(|version| version.name == name);
    Ok(Reply::json(&json!(known)).unless_known(&headers))
}

async fn properties(kind: Kind, State(shared): Served, headers: HeaderMap, Path(id): Path<String>) -> Replied {
    admin(&shared, &headers)?;
    let found = off_task(&shared, move |engine| engine.definition(kind, &id)).await?;
    let found = found.ok_or_else(|| missing(kind))?;
    Ok(Reply::json(&found.json["properties"]).unless_known(&headers))
}

/// Every structure that there was, oldest first: events keep the version that they were held against.
async fn versions(kind: Kind, State(shared): Served, headers: HeaderMap, Path(id): Path<String>) -> Replied {
    admin(&shared, &headers)?;
    let plan = shared.engine.plan();
    let slot = plan.catalog.slot(kind, &id).ok_or_else(|| missing(kind))?;
    let structures = plan.catalog.definitions(kind)[slot].structures.iter().enumerate();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let rows: Vec<Value> = structures.map(|(i, text)| json!({"structureVersion": i + 1, "structure": parse(text)})).collect();
    Ok(Reply::json(&json!({"data": rows, "nextCursor": null, "total": rows.len()})).unless_known(&headers))
}

async fn custom_traits(State(shared): Served, headers: HeaderMap) -> Replied {
    admin(&shared, &headers)?;
    let found = off_task(&shared, |engine| shown_custom(engine)).await?;
    Ok(Reply::shown(&found).unless_known(&headers))
}

async fn custom_properties(State(shared): Served, headers: HeaderMap) -> Replied {
    admin(&shared, &headers)?;
    let found = off_task(&shared, |engine| shown_custom(engine)).await?;
    Ok(Reply::json(&found.json["properties"]).unless_known(&headers))
}

/// The custom traits; before they are first saved, as ones that declare nothing.
fn shown_custom(engine: &Engine) -> crate::engine::Shown {
    let plan = engine.plan();
    let known = plan.catalog.live(Kind::CustomTraits).next().map(|(_, known)| known.id);
    let shown = known.and_then(|id| engine.definition_by_id(&plan, Kind::CustomTraits, id));
    shown.unwrap_or_else(|| crate::engine::Shown {
        id: DefId::default(),
        revision: 0,
        json: json!({"id": null, "version": 0, "structure": [], "structureVersion": 0, "properties": []}),
    })
}

async fn put_custom_traits(State(shared): Served, headers: HeaderMap, body: Body) -> Replied {
    admin(&shared, &headers)?;
    let (_, value) = read_json(&shared, &headers, body).await?;
    let seen = Seen::of(&headers);
    let done = off_task(&shared, move |engine| {
        let applied = engine.change_catalog(|catalog| {
            let revision = catalog.live(Kind::CustomTraits).next().map_or(0, |(_, known)| known.revision);
            seen?.check(revision)?;
            edit::apply(catalog, Kind::CustomTraits, None, value)
        })?;
        Ok::<_, Refusal>((applied.seq, shown_custom(engine)))
    });
    let (seq, shown) = done.await??;
    durably(&shared, seq).await?;
    Ok(Reply::shown(&shown))
}
