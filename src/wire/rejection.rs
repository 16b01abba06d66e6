//! Why a message was turned away: the stable codes of the protocol and what they mean to a client.

use lodestone_state::schema::FieldError;

use crate::hooks::Answer;

/// A message turned away. `code` is the wire contract; the text is for people and may change.
///
/// A rejection never contains a token. It may quote what the client sent, so it goes back to that client
/// and never to a log.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Rejection {
    /// Stable code; one of [`CODES`].
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Which fields, by which rule; at most 20.
    pub details: Vec<FieldError>,
    /// When trying again makes sense, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The webhook's answer that it comes from.
    pub hook: Option<Box<Answer>>,
}

/// What a code means: its HTTP status, and whether the same message may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The text on the wire.
    pub code: &'static str,
    /// Status of an HTTP answer.
    pub http: u16,
    /// Whether sending the same message again may succeed.
    pub retryable: bool,
}

const fn no(code: &'static str, http: u16) -> Code {
    Code { code, http, retryable: false }
}

const fn again(code: &'static str, http: u16) -> Code {
    Code { code, http, retryable: true }
}

/// Every code that a client may meet.
pub const CODES: &[Code] = &[
    no("invalid_json", 400),
    no("invalid_frame", 400),
    no("missing_field", 400),
    no("unauthorized", 401),
    no("token_revoked", 401),
    no("origin_denied", 403),
    no("user_hash_required", 400),
    no("user_hash_invalid", 400),
    no("unknown_event", 400),
    no("event_properties_invalid", 400),
    no("context_invalid", 400),
    no("traits_invalid", 400),
    no("traits_schema_missing", 400),
    no("event_too_old", 400),
    no("identity_locked", 400),
    no("identity_limit", 400),
    no("action_not_found", 404),
    no("action_not_allowed", 400),
    no("action_cap_reached", 400),
    again("hook_failed", 400),
    no("payload_too_large", 413),
    no("batch_too_large", 413),
    again("flow_exceeded", 429),
    again("rate_limited", 429),
    no("unsupported_version", 400),
    no("unknown_frame", 400),
    no("unsupported_dialect", 501),
    no("not_supported", 501),
    again("internal", 500),
    again("unavailable", 503),
];

/// The entry of [`CODES`] for `code`; a code that is missing there reads as `internal`.
#[must_use]
pub fn code_info(code: &str) -> Code {
    CODES.iter().copied().find(|known| known.code == code).unwrap_or(again("internal", 500))
}

impl Rejection {
    /// A rejection without field errors.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(CODES.iter().any(|known| known.code == code), "code {code} is not declared");
        Self { code, message: message.into(), details: Vec::new(), retry_after_ms: None, hook: None }
    }

    /// A rejection about one field.
    #[must_use]
    pub fn field(code: &'static str, path: &str, rule: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let detail = FieldError { path: path.into(), rule, message: message.clone() };
        Self { details: vec![detail], ..Self::new(code, message) }
    }

    /// The same rejection with field errors.
    #[must_use]
    pub fn with_details(mut self, details: Vec<FieldError>) -> Self {
        self.details = details;
        self
    }

    /// Status of an HTTP answer.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.hook.as_deref().map_or_else(|| code_info(self.code).http, Answer::http_status)
    }

    /// Whether sending the same message again may succeed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        code_info(self.code).retryable
    }

    /// The text is not JSON.
    #[must_use]
    pub fn invalid_json(message: impl Into<String>) -> Self {
        Self::new("invalid_json", message)
    }

    /// JSON, but not of the right shape; `path` names the field.
    #[must_use]
    pub fn invalid_frame(path: &str, message: impl Into<String>) -> Self {
        Self::field("invalid_frame", path, "type", message)
    }

    /// A field that the message needs is absent, null or empty.
    #[must_use]
    pub fn missing_field(path: &str) -> Self {
        Self::field("missing_field", path, "required", format!("{path} is required"))
    }

    /// No token, or one that nobody knows.
    #[must_use]
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new("unauthorized", message)
    }

    /// The token was good and is not any more.
    #[must_use]
    pub fn token_revoked() -> Self {
        Self::new("token_revoked", "the token was revoked")
    }

    /// The token does not allow this origin.
    #[must_use]
    pub fn origin_denied() -> Self {
        Self::new("origin_denied", "the token does not allow this origin")
    }

    /// The organisation asks for proof of a user id and none came.
    #[must_use]
    pub fn user_hash_required() -> Self {
        Self::field("user_hash_required", "userHash", "required", "userHash is required for a known user id")
    }

    /// The proof of a user id does not fit it.
    #[must_use]
    pub fn user_hash_invalid() -> Self {
        Self::field("user_hash_invalid", "userHash", "pattern", "userHash does not fit the user id")
    }

    /// No event of that name is defined.
    #[must_use]
    pub fn unknown_event(name: &str) -> Self {
        Self::new("unknown_event", format!("event {name:?} is not defined"))
    }

    /// The event's properties break its definition.
    #[must_use]
    pub fn event_properties_invalid(details: Vec<FieldError>) -> Self {
        Self::new("event_properties_invalid", "the properties do not fit the event's definition").with_details(details)
    }

    /// The context breaks the channel's definition.
    #[must_use]
    pub fn context_invalid(details: Vec<FieldError>) -> Self {
        Self::new("context_invalid", "the context does not fit the channel's definition").with_details(details)
    }

    /// The traits break the organisation's definition.
    #[must_use]
    pub fn traits_invalid(details: Vec<FieldError>) -> Self {
        Self::new("traits_invalid", "the traits do not fit the organisation's definition").with_details(details)
    }

    /// Traits came, and no custom traits are defined.
    #[must_use]
    pub fn traits_schema_missing() -> Self {
        Self::new("traits_schema_missing", "no custom traits are defined")
    }

    /// The event lies further back than live events may.
    #[must_use]
    pub fn event_too_old(late_ms: i64, max_ms: i64) -> Self {
        Self::new("event_too_old", format!("event is {late_ms} ms late, limit is {max_ms} ms"))
    }

    /// The person is locked.
    #[must_use]
    pub fn identity_locked() -> Self {
        Self::new("identity_locked", "the identity is locked")
    }

    /// The profile has as many identities as it may.
    #[must_use]
    pub fn identity_limit(max: usize) -> Self {
        Self::new("identity_limit", format!("a profile holds at most {max} identities"))
    }

    /// No such action.
    #[must_use]
    pub fn action_not_found() -> Self {
        Self::new("action_not_found", "the action does not exist")
    }

    /// The action may not be accepted by this person, here and now.
    #[must_use]
    pub fn action_not_allowed(message: impl Into<String>) -> Self {
        Self::new("action_not_allowed", message)
    }

    /// The action's cap is used up.
    #[must_use]
    pub fn action_cap_reached() -> Self {
        Self::new("action_cap_reached", "the action's cap is used up")
    }

    /// A webhook that the reaction depends on did not agree.
    #[must_use]
    pub fn hook_failed(answer: Answer) -> Self {
        let message = match &answer.error {
            none if none.is_empty() => format!("the webhook answered {}; nothing was recorded", answer.status_code),
            why => format!("the webhook gave no answer ({why}); nothing was recorded"),
        };
        Self { hook: Some(Box::new(answer)), ..Self::new("hook_failed", message) }
    }

    /// A size limit is exceeded; `what` says of which part.
    #[must_use]
    pub fn payload_too_large(what: &str, len: usize, max: usize) -> Self {
        Self::field("payload_too_large", what, "size", format!("{what} is {len} bytes, limit is {max}"))
    }

    /// A batch has too many items.
    #[must_use]
    pub fn batch_too_large(len: usize, max: usize) -> Self {
        Self::field("batch_too_large", "messages", "size", format!("batch has {len} items, limit is {max}"))
    }

    /// A frame came without credit and was not processed.
    #[must_use]
    pub fn flow_exceeded(cost: u32, credit: u32) -> Self {
        let message = format!("frame costs {cost} credits, {credit} left; send it again after the next credit");
        Self { retry_after_ms: Some(100), ..Self::new("flow_exceeded", message) }
    }

    /// Too many requests at once.
    #[must_use]
    pub fn rate_limited(retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new("rate_limited", "too many requests at once") }
    }

    /// The client speaks a version that this server does not.
    #[must_use]
    pub fn unsupported_version(v: u64) -> Self {
        Self::field("unsupported_version", "v", "type", format!("protocol version {v} is not supported, use 1"))
    }

    /// No such frame type.
    #[must_use]
    pub fn unknown_frame(t: &str) -> Self {
        let shown: String = t.chars().take(40).collect();
        Self::field("unknown_frame", "t", "unknown", format!("frame type {shown:?} is not known"))
    }

    /// The request is in a dialect that this server does not speak yet.
    #[must_use]
    pub fn unsupported_dialect() -> Self {
        Self::new("unsupported_dialect", "the Segment dialect is not available yet; send an Authorization: Bearer header")
    }

    /// Well formed, but not available yet.
    #[must_use]
    pub fn not_supported(message: impl Into<String>) -> Self {
        Self::new("not_supported", message)
    }

    /// A bug of ours.
    #[must_use]
    pub fn internal() -> Self {
        Self::new("internal", "something went wrong on the server")
    }

    /// Not now: the disk is full, the server is starting or stopping.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after_ms: Some(1000), ..Self::new("unavailable", message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of section 7.0: code, HTTP status, retry.
    #[test]
    fn codes_have_the_status_of_the_specification() {
        let table = [
            ("invalid_json", 400, false),
            ("missing_field", 400, false),
            ("unauthorized", 401, false),
            ("token_revoked", 401, false),
            ("origin_denied", 403, false),
            ("unknown_event", 400, false),
            ("action_not_found", 404, false),
            ("action_cap_reached", 400, false),
            ("hook_failed", 400, true),
            ("payload_too_large", 413, false),
            ("batch_too_large", 413, false),
            ("flow_exceeded", 429, true),
            ("rate_limited", 429, true),
            ("internal", 500, true),
            ("unavailable", 503, true),
        ];
        for (code, http, retryable) in table {
            assert_eq!(code_info(code), Code { code, http, retryable });
        }
    }

    #[test]
    fn codes_are_unique() {
        for (i, one) in CODES.iter().enumerate() {
            assert!(CODES[i + 1..].iter().all(|other| other.code != one.code), "{} twice", one.code);
        }
    }

    #[test]
    fn a_missing_field_is_named_in_the_details() {
        let rejection = Rejection::missing_field("userId");
        assert_eq!(rejection.details[0].path, "userId");
        assert_eq!(rejection.http_status(), 400);
    }
}
