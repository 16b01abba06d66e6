//! `/v1` over HTTP, in the Attractify dialect: its status codes, its empty error bodies, its answers.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http_body_util::{BodyExt, Limited};
use lodestone_state::ids::Seq;
use tower_http::cors::{Any, CorsLayer};

use super::dialect::{self, Credential};
use super::{Shared, upstream};
use crate::engine::api::{ActInput, Acted, Acting, Caller, IdentifyInput, ListInput, Stored, TrackInput};
use crate::telemetry::metrics as m;
use crate::wire::attractify::{self, Body as Fields};
use crate::wire::{Rejection, codec, limits};

const ERROR: HeaderName = HeaderName::from_static("x-lodestone-error");
const MERGE: HeaderName = HeaderName::from_static("x-lodestone-merge");

pub(super) fn routes() -> Router<Arc<Shared>> {
    let calls = || {
        Router::new()
            .route("/track", post(track))
            .route("/identify", post(identify))
            .route("/actions", get(list_by_query).post(list))
            .route("/actions/act", post(act))
    };
    let mut other = Router::new().route("/segment/{*path}", any(unsupported));
    for name in ["batch", "alias", "page", "screen", "group", "import", "t", "i", "a", "p", "s", "g", "b"] {
        other = other.route(&format!("/v1/{name}"), any(unsupported));
    }
    Router::new().nest("/v1", calls()).nest("/attractify/v1", calls()).merge(other).layer(cors())
}

/// Browsers may call from anywhere: a public token is public, and no cookie is involved.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS])
        .allow_headers([header::ORIGIN, header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT])
        .expose_headers([ERROR, MERGE, header::RETRY_AFTER])
}

/// A refusal as this dialect has it.
struct Refused {
    rejection: Rejection,
    as_json: bool,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { rejection, as_json } = self;
        let status = StatusCode::from_u16(rejection.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = if let Some(answer) = &rejection.hook {
            // What the webhook said is the answer, in any dialect.
            json(status, answer.to_json())
        } else if as_json {
            let mut body = String::from(r#"{"error":{"code":"#);
            codec::write_text(&mut body, rejection.code);
            body.push_str(r#","message":"#);
            codec::write_text(&mut body, &rejection.message);
            body.push_str(r#","details":"#);
            codec::write_details(&mut body, &rejection.details);
            body.push_str("}}");
            json(status, body)
        } else {
            status.into_response()
        };
        let headers = response.headers_mut();
        headers.insert(ERROR, HeaderValue::from_static(rejection.code));
        if let Some(ms) = rejection.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        response
    }
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// One call: who, what, and the answer once it is durable.
async fn call<A>(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
    perform: impl FnOnce(&Caller, &Fields<'_>) -> Result<(A, Seq), Rejection>,
) -> Result<A, Refused> {
    let as_json = dialect::wants_json(headers);
    let result = async {
        let _slot = shared.in_flight.try_acquire().map_err(|_| Rejection::rate_limited(1000))?;
        let credential = dialect::credential(headers)?;
        let body = read(shared, body).await?;
        let Credential::Bearer(token) = credential else { return Err(dialect::without_credential(&body)) };
        let caller = upstream::caller(&shared.engine.plan(), token)?;
        let fields = attractify::parse(&body)?;
        let (answer, seq) = perform(&caller, &fields)?;
        durable(shared, seq).await?;
        Ok(answer)
    };
    Box::pin(result).await.map_err(|rejection| Refused { rejection, as_json })
}

async fn read(shared: &Shared, body: Body) -> Result<Bytes, Rejection> {
    let max = limits::EVENT_BYTES;
    let read = tokio::time::timeout(shared.options.http.body_timeout, Limited::new(body, max).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Rejection::new("payload_too_large", format!("the body is over {max} bytes")))
        }
        Ok(Err(_)) => Err(Rejection::invalid_json("the body broke off")),
        Err(_) => Err(Rejection::invalid_json("the body did not come in time")),
    }
}

/// Waits until the journal is durable up to `seq`.
async fn durable(shared: &Shared, seq: Seq) -> Result<(), Rejection> {
    if shared.engine.durable_now() >= seq.0 {
        return Ok(());
    }
    let mut durable = shared.engine.durable();
    match tokio::time::timeout(shared.options.http.durable_timeout, durable.wait_for(|position| *position >= seq.0)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Rejection::unavailable("the event could not be made durable in time; it is safe to send it again")),
    }
}

async fn track(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<StatusCode, Refused> {
    call(&shared, &headers, body, |caller, fields| {
        let stored = shared.engine.track(
            caller,
            &TrackInput {
                user_id: limits::user_id("userId", fields.user_id.as_deref())?,
                event: limits::event_name(fields.event.as_deref())?,
                properties: limits::object("properties", fields.properties, limits::EVENT_BYTES)?,
                context: limits::object("context", fields.context, limits::EVENT_BYTES)?,
                timestamp: fields.timestamp.as_deref(),
                sent_at: fields.sent_at.as_deref(),
                message_id: limits::message_id("messageId", fields.message_id.as_deref())?,
                session: None,
            },
        );
        match stored {
            Stored::Stored { seq, .. } | Stored::Duplicate { seq, .. } => Ok((StatusCode::NO_CONTENT, seq)),
            Stored::Dropped => Ok((StatusCode::NO_CONTENT, Seq(0))),
            Stored::Rejected(rejection) => Err(rejection),
        }
    })
    .await
}

async fn identify(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let refused = call(&shared, &headers, body, |caller, fields| {
        let input = IdentifyInput {
            user_id: limits::user_id("userId", fields.user_id.as_deref())?,
            // Asked for even when it is not used, as Attractify does.
            kind: limits::short("type", fields.kind.as_deref())?,
            is_anonymous: fields.is_anonymous.unwrap_or(false),
            previous_user_id: match fields.previous_user_id.as_deref().filter(|id| !id.is_empty()) {
                Some(id) => Some(limits::user_id("previousUserId", Some(id))?),
                None => None,
            },
            traits: limits::object("traits", fields.traits, limits::TRAITS_BYTES)?,
            merge_traits: merges_traits(fields)?,
            merge_known: fields.merge_known.unwrap_or(false),
            user_hash: fields.user_hash.as_deref(),
            message_id: limits::message_id("messageId", fields.message_id.as_deref())?,
            timestamp: fields.timestamp.as_deref(),
            sent_at: fields.sent_at.as_deref(),
            session: None,
        };
        let identified = shared.engine.identify(caller, &input).inspect_err(|rejection| m::refused(rejection.code))?;
        Ok((identified.skipped.first().map(|(_, reason)| *reason), identified.seq))
    })
    .await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(reason) = refused {
        response.headers_mut().insert(MERGE, HeaderValue::from_static(reason));
    }
    Ok(response)
}

/// In this dialect traits are replaced unless the client asks otherwise.
fn merges_traits(fields: &Fields<'_>) -> Result<bool, Rejection> {
    match fields.traits_mode.as_deref() {
        None | Some("replace") => Ok(false),
        Some("merge") => Ok(true),
        Some(_) => Err(Rejection::invalid_frame("traitsMode", "traitsMode must be \"merge\" or \"replace\"")),
    }
}

async fn act(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    let acting = call(&shared, &headers, body, |caller, fields| {
        let input = ActInput {
            user_id: limits::user_id("userId", fields.user_id.as_deref())?,
            action_id: limits::short("actionId", fields.action_id.as_deref())?,
            event: limits::short("event", fields.event.as_deref())?,
            delivery_id: fields.delivery_id.as_deref(),
            properties: limits::object("properties", fields.properties, limits::EVENT_BYTES)?,
            context: limits::object("context", fields.context, limits::EVENT_BYTES)?,
            message_id: limits::message_id("messageId", fields.message_id.as_deref())?,
            session: None,
        };
        let acting = shared.engine.act(caller, &input).inspect_err(|rejection| m::refused(rejection.code))?;
        Ok((acting, Seq(0)))
    })
    .await?;
    // The slot of the request is free again: what waits for webhooks is bounded by itself.
    let acted = async {
        let acted = match acting {
            Acting::Done(acted) => acted,
            Acting::Waiting(waiting) => waiting.outcome().await.inspect_err(|rejection| m::refused(rejection.code))?,
        };
        durable(&shared, acted.seq).await?;
        Ok(acted)
    };
    match acted.await {
        Ok(Acted { result, .. }) => Ok(json(StatusCode::OK, result.map_or_else(|| "{}".to_owned(), |answer| answer.to_json()))),
        Err(rejection) => Err(Refused { rejection, as_json: dialect::wants_json(&headers) }),
    }
}

async fn list(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Response, Refused> {
    call(&shared, &headers, body, |caller, fields| listed(&shared, caller, fields)).await
}

/// The same by GET: the query stands in for the body. It has no usable context.
async fn list_by_query(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let body = Body::from(query_as_body(query.as_deref().unwrap_or_default()));
    call(&shared, &headers, body, |caller, fields| listed(&shared, caller, fields)).await
}

fn query_as_body(query: &str) -> String {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build().unwrap_or_default();
    let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).map(|query| query.0).unwrap_or_default();
    let find = |name: &str| pairs.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let tags: Vec<&str> =
        pairs.iter().filter(|(key, _)| key.eq_ignore_ascii_case("tags")).map(|(_, value)| value.as_str()).collect();
    // `type=` and no type are the same wish.
    let kind = find("type").filter(|kind| !kind.is_empty());
    serde_json::json!({"userId": find("userId"), "type": kind, "tags": tags, "sessionId": find("sessionId")}).to_string()
}

fn listed(shared: &Shared, caller: &Caller, fields: &Fields<'_>) -> Result<(Response, Seq), Rejection> {
    let tags = fields.tags.as_deref().unwrap_or_default();
    let input = ListInput {
        user_id: limits::user_id("userId", fields.user_id.as_deref())?,
        action_type: fields.kind.as_deref(),
        tags: limits::tags(tags.iter().map(|tag| &**tag))?,
        context: limits::object("context", fields.context, limits::EVENT_BYTES)?,
        session_id: fields.session_id.as_deref(),
    };
    let listed = shared.engine.list_actions(caller, &input).inspect_err(|rejection| m::refused(rejection.code))?;
    let mut body = String::with_capacity(64 + 256 * listed.actions.len());
    codec::actions(&mut body, &listed.actions);
    let mut response = json(StatusCode::OK, body);
    if listed.context_invalid {
        response.headers_mut().insert(ERROR, HeaderValue::from_static("context_invalid"));
    }
    Ok((response, listed.seq))
}

/// Requests that only Segment clients make.
async fn unsupported(headers: HeaderMap) -> Refused {
    Refused { rejection: Rejection::unsupported_dialect(), as_json: dialect::wants_json(&headers) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_as_a_body() {
        let text = query_as_body("userId=u%201&type=notification&tags=home&TAGS=top&context=%7B%7D");
        let body = attractify::parse(text.as_bytes()).unwrap();
        assert_eq!(body.user_id.as_deref(), Some("u 1"));
        assert_eq!(body.kind.as_deref(), Some("notification"));
        assert_eq!(body.tags.unwrap().iter().map(|tag| tag.to_string()).collect::<Vec<_>>(), ["home", "top"]);
        assert!(body.context.is_none(), "a query has no context");
        let empty = query_as_body("type=");
        assert!(attractify::parse(empty.as_bytes()).unwrap().kind.is_none());
    }
}
