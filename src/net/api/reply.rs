//! An answer as plain data, so that it can be kept and given again.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::precondition::{is_known, tag};
use crate::engine::Shown;

/// A successful answer of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    status: StatusCode,
    location: Option<String>,
    etag: Option<String>,
    body: String,
}

impl Reply {
    /// 204.
    pub(super) fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, location: None, etag: None, body: String::new() }
    }

    /// What is shown, with its tag.
    pub(super) fn shown(shown: &Shown) -> Self {
        let body = shown.json.to_string();
        Self { status: StatusCode::OK, location: None, etag: Some(tag(shown.revision, &body)), body }
    }

    /// JSON whose tag is that of its bytes.
    pub(super) fn json(value: &Value) -> Self {
        let body = value.to_string();
        Self { status: StatusCode::OK, location: None, etag: Some(tag(0, &body)), body }
    }

    /// 201, and where it is from now on.
    pub(super) fn created(self, location: String) -> Self {
        Self { status: StatusCode::CREATED, location: Some(location), ..self }
    }

    /// 304 for a reader that has it.
    pub(super) fn unless_known(self, headers: &HeaderMap) -> Self {
        match &self.etag {
            Some(etag) if is_known(headers, etag) => Self { status: StatusCode::NOT_MODIFIED, body: String::new(), ..self },
            _ => self,
        }
    }

    /// Bytes that keeping it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + self.location.as_ref().map_or(0, String::len) + size_of::<Self>()
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.remove(header::CONTENT_TYPE);
        if !matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in [(header::LOCATION, self.location), (header::ETAG, self.etag)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}
