//! Entity tags, and what a request makes of them.
//!
//! A tag is `"<revision>-<crc32c of the body>"`. `If-None-Match` compares all of it, so a 304 is right for
//! the numbers that change by themselves too. `If-Match` compares the revision: a write must have seen the
//! newest definition, not the newest count of its members.

use axum::http::{HeaderMap, StatusCode, header};

use crate::net::problem::Problem;

/// The tag of what is shown.
pub(super) fn tag(revision: u32, body: &str) -> String {
    format!("\"{revision}-{:08x}\"", crc32c::crc32c(body.as_bytes()))
}

/// What `If-Match` says a write must have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// `*`: whatever there is.
    Anything,
    /// One of these revisions.
    Revisions(Vec<u32>),
}

impl Seen {
    /// Reads `If-Match`. Tags that are weak or none of ours match nothing.
    ///
    /// # Errors
    /// 428 `precondition_required` where there is no such header.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
        if values.peek().is_none() {
            return Err(Problem::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition_required",
                "If-Match must be the ETag of what is changed, or *",
            ));
        }
        let tags: Vec<&str> =
            values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect();
        if tags.contains(&"*") {
            return Ok(Self::Anything);
        }
        let revision = |tag: &str| tag.strip_prefix('"')?.strip_suffix('"')?.split('-').next()?.parse().ok();
        Ok(Self::Revisions(tags.into_iter().filter_map(revision).collect()))
    }

    /// Lets a write through that has seen `revision`.
    ///
    /// # Errors
    /// 412 `precondition_failed`.
    pub(super) fn check(&self, revision: u32) -> Result<(), Problem> {
        match self {
            Self::Revisions(seen) if !seen.contains(&revision) => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                format!("it is at version {revision}: read it again and repeat the change"),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether the reader has what `tag` stands for.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header value"))])
    }

    /// P-8: what was not seen is not overwritten.
    #[test]
    fn p8_a_write_names_the_revision_that_it_saw() {
        assert!(Seen::of(&HeaderMap::new()).is_err());
        let table = [
            ("*", true),
            ("\"3\"", true),
            ("\"3-00c0ffee\"", true),
            ("\"2-1\", \"3-1\"", true),
            ("\"2-00c0ffee\"", false),
            ("W/\"3-1\"", false),
            ("3", false),
            ("\"three\"", false),
            ("", false),
        ];
        for (value, admitted) in table {
            let seen = Seen::of(&headers(header::IF_MATCH, value)).expect("a header is there");
            assert_eq!(seen.check(3).is_ok(), admitted, "{value}");
        }
    }

    #[test]
    fn a_reader_has_what_it_names() {
        let tag = tag(3, "{}");
        assert!(is_known(&headers(header::IF_NONE_MATCH, &tag), &tag));
        assert!(is_known(&headers(header::IF_NONE_MATCH, &format!("\"x\", W/{tag}")), &tag));
        assert!(is_known(&headers(header::IF_NONE_MATCH, "*"), &tag));
        assert!(!is_known(&headers(header::IF_NONE_MATCH, "\"3\""), &tag));
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
