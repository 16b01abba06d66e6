//! Why, and what would be: one person before an audience, a trait or an action.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use lodestone_state::ids::Millis;
use lodestone_state::issue::{DEFINITION_INVALID, Issue, pointer_token};
use lodestone_state::time::parse_rfc3339;
use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Shared, admin, json_response, off_task, parsed, read_json};
use crate::engine::explain::{Asked, Circumstances, Simulation, Unanswered, Who};
use crate::engine::{Cancel, Engine};
use crate::net::problem::Problem;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/profiles/{id}/explain", get(by_profile))
        .route("/api/v1/explain", get(by_user))
        .route("/api/v1/actions/simulate", post(simulate))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Question {
    user_id: Option<String>,
    audience: Option<String>,
    #[serde(rename = "trait")]
    computed: Option<String>,
    action: Option<String>,
    channel: Option<String>,
    at: Option<String>,
    context: Option<String>,
}

fn bad_query(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
}

pub(super) fn instant(text: Option<&str>) -> Result<Option<Millis>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    parse_rfc3339(text).map(Some).ok_or_else(|| bad_query("at is an RFC 3339 time"))
}

/// The answer, or why there is none.
pub(super) fn answered(answer: Result<Value, Unanswered>) -> Answer {
    match answer {
        Ok(json) => Ok(json_response(StatusCode::OK, &json)),
        Err(Unanswered::NotFound(code)) => {
            Err(Problem::not_found(code, code.trim_end_matches("_not_found").replace('_', " ").as_str()))
        }
        Err(Unanswered::Invalid(issues)) => Err(Problem::invalid("definition_invalid", issues)),
        Err(Unanswered::Busy) => {
            let detail = "as many scans as may be are under way; ask again later";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "scans_busy", detail))
        }
        Err(Unanswered::Outdated) => {
            let detail = "definitions were changed while this was looked at; ask again";
            Err(Problem::new(StatusCode::CONFLICT, "catalog_changed", detail))
        }
    }
}

/// Runs a question away from the sockets' tasks; it stops soon after the client has gone.
pub(super) async fn ask(
    shared: &Shared,
    work: impl FnOnce(&Arc<Engine>, &Cancel) -> Result<Value, Unanswered> + Send + 'static,
) -> Answer {
    let cancel = Cancel::default();
    let _gone = cancel.on_drop();
    let inner = cancel.clone();
    answered(off_task(shared, move |engine| work(engine, &inner)).await?)
}

fn read(question: Question) -> Result<(Asked, Circumstances), Problem> {
    let Question { audience, computed, action, channel, at, context, .. } = question;
    let asked = match (audience, computed, action) {
        (Some(key), None, None) => Asked::Audience(key),
        (None, Some(key), None) => Asked::Trait(key),
        (None, None, Some(key)) => Asked::Action(key),
        _ => return Err(bad_query("exactly one of audience, trait and action is asked about")),
    };
    if let Some(text) = &context
        && !serde_json::from_str::<Value>(text).is_ok_and(|json| json.is_object())
    {
        return Err(bad_query("context is a JSON object"));
    }
    Ok((asked, Circumstances { channel, at: instant(at.as_deref())?, context }))
}

async fn by_profile(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    question: Result<Query<Question>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let (asked, how) = read(parsed(question)?)?;
    let id = id.parse().map_err(|_| Problem::not_found("profile_not_found", "the profile"))?;
    ask(&shared, move |engine, cancel| engine.explain(&Who::Profile(id), &asked, &how, cancel)).await
}

async fn by_user(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    question: Result<Query<Question>, QueryRejection>,
) -> Answer {
    admin(&shared, &headers)?;
    let question = parsed(question)?;
    let user = question.user_id.clone().filter(|id| !id.is_empty());
    let user = user.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "missing_field", "userId is required"))?;
    let (asked, how) = read(question)?;
    ask(&shared, move |engine, cancel| engine.explain(&Who::User(user), &asked, &how, cancel)).await
}

/// A body of known fields, or 422 with all that is wrong by its place.
pub(super) fn fields<T: for<'de> Deserialize<'de>>(mut json: Value) -> Result<T, Problem> {
    let read = |json: &Value| T::deserialize(json).map_err(|error| error.to_string());
    let first = match read(&json) {
        Ok(fields) => return Ok(fields),
        Err(error) => error,
    };
    let mut issues = Vec::new();
    if let Value::Object(map) = &mut json {
        map.retain(|field, value| {
            let alone = Value::Object([(field.clone(), value.clone())].into_iter().collect());
            // What is missing is found last, so every other mistake of one field alone is that field's.
            let Some(error) = read(&alone).err().filter(|error| !error.starts_with("missing field")) else { return true };
            let code = if error.starts_with("unknown field") { "unknown_field" } else { DEFINITION_INVALID };
            issues.push(Issue::new(format!("/{}", pointer_token(field)), code, error));
            false
        });
    }
    // What is left is of the right types, so that something is missing, or it is no object at all.
    if let Some(error) = read(&json).err().or_else(|| issues.is_empty().then_some(first)) {
        issues.push(Issue::new("", DEFINITION_INVALID, error));
    }
    Err(Problem::invalid(DEFINITION_INVALID, issues))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SimulationBody {
    user_id: Option<String>,
    profile_id: Option<String>,
    channel: String,
    action_id: Option<String>,
    draft: Option<Value>,
    custom_traits: Option<Value>,
    computed_traits: Option<Value>,
    context: Option<Value>,
    at: Option<String>,
}

async fn simulate(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    admin(&shared, &headers)?;
    let body: SimulationBody = fields(read_json(&shared, &headers, body).await?.1)?;
    let who = match (body.user_id.filter(|id| !id.is_empty()), body.profile_id) {
        (Some(id), _) => Who::User(id),
        (None, Some(id)) => Who::Profile(id.parse().map_err(|_| Problem::not_found("profile_not_found", "the profile"))?),
        (None, None) => Who::Nobody,
    };
    let asked = Simulation {
        channel: body.channel,
        action: body.action_id.filter(|id| !id.is_empty()),
        draft: body.draft.filter(|draft| !draft.is_null()),
        custom_traits: body.custom_traits,
        computed_traits: body.computed_traits,
        context: body.context.filter(|context| !context.is_null()),
        at: instant(body.at.as_deref())?,
    };
    ask(&shared, move |engine, cancel| engine.simulate(&who, &asked, cancel)).await
}
