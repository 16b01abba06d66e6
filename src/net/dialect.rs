//! Whose request it is: the dialect is decided by credentials and path, never by other fields.

use axum::http::{HeaderMap, header};

use crate::wire::{Rejection, attractify};

/// The dialect of a request, and its credential.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// Attractify, with a token.
    Bearer(&'a str),
    /// No header: the body may hold a write key.
    None,
}

/// Reads the `Authorization` header. `prefixed` is true on `/attractify/v1`, where Basic is Attractify too.
///
/// # Errors
/// `unauthorized`, or `unsupported_dialect` for a Segment client.
pub(super) fn credential(headers: &HeaderMap) -> Result<Credential<'_>, Rejection> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Credential::None) };
    let value = value.to_str().unwrap_or_default();
    if let Some(token) = value.strip_prefix("Bearer ").filter(|token| !token.is_empty() && !token.contains(' ')) {
        return Ok(Credential::Bearer(token));
    }
    if value.starts_with("Basic ") {
        return Err(Rejection::unsupported_dialect());
    }
    Err(Rejection::unauthorized("Authorization must be \"Bearer <token>\""))
}

/// What a request without a header is: one with a write key in its body comes from a Segment library.
pub(super) fn without_credential(body: &[u8]) -> Rejection {
    match attractify::parse(body) {
        Ok(body) if body.write_key => Rejection::unsupported_dialect(),
        _ => Rejection::unauthorized("no Authorization header"),
    }
}

/// Whether the client asks for errors as JSON by name.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT);
    let mut ranges = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges.any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a header value"))])
    }

    /// I-1, I-2: exactly `Bearer <token>`, nothing before it.
    #[test]
    fn i2_only_a_proper_bearer_counts() {
        let table = [
            ("Bearer TW", Ok("TW")),
            ("bearer TW", Err("unauthorized")),
            ("xBearer TW", Err("unauthorized")),
            ("Bearer ", Err("unauthorized")),
            ("Bearer a b", Err("unauthorized")),
            ("Digest x", Err("unauthorized")),
            ("Basic VFc6", Err("unsupported_dialect")),
        ];
        for (value, expect) in table {
            let headers = headers(header::AUTHORIZATION, value);
            match (credential(&headers), expect) {
                (Ok(Credential::Bearer(token)), Ok(wanted)) => assert_eq!(token, wanted),
                (Err(rejection), Err(code)) => assert_eq!(rejection.code, code, "{value}"),
                (other, _) => panic!("{value} gave {other:?}"),
            }
        }
        assert_eq!(credential(&HeaderMap::new()), Ok(Credential::None));
    }

    #[test]
    fn a_write_key_in_the_body_is_the_other_dialect() {
        assert_eq!(without_credential(br#"{"writeKey":"k"}"#).code, "unsupported_dialect");
        assert_eq!(without_credential(b"{}").code, "unauthorized");
        assert_eq!(without_credential(b"nonsense").code, "unauthorized");
    }

    #[test]
    fn json_errors_are_asked_for_by_name() {
        let table = [
            ("application/json", true),
            ("text/html, Application/JSON;q=0.8", true),
            ("*/*", false),
            ("application/*", false),
            ("application/problem+json", false),
        ];
        for (value, expect) in table {
            assert_eq!(wants_json(&headers(header::ACCEPT, value)), expect, "{value}");
        }
    }
}
