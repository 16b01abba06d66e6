//! The web files inside the binary: status page, demo shop, SDK.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{Embed, EmbeddedFile};

use super::Shared;
use super::problem::Problem;

/// What `npm run build` wrote, if it ran before this binary was built.
#[derive(Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Dist;

/// Shown where a page should be, when the web files were not built.
const MISSING: &str = include_str!("missing.html");
const CSP: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; style-src 'self'; \
    script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { page("index.html", &headers) }))
        .route("/favicon.ico", get(|headers: HeaderMap| async move { file("assets/logo.svg", &headers) }))
        .route(
            "/assets/{*name}",
            get(|Path(name): Path<String>, headers: HeaderMap| async move { file(&format!("assets/{name}"), &headers) }),
        )
        .route("/sdk/{*name}", get(sdk))
        .fallback(|| async { Problem::not_found("not_found", "this path") })
}

pub(super) fn shop_routes() -> Router<Arc<Shared>> {
    let shop = |headers: HeaderMap| async move { page("shop/index.html", &headers) };
    Router::new().route("/shop", get(shop)).route("/shop/", get(shop))
}

/// The SDK is for other origins too.
async fn sdk(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let mut response = file(&format!("sdk/{name}"), &headers);
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    match Dist::get(name) {
        Some(found) => serve(name, found, headers),
        None => with_headers((StatusCode::OK, MISSING).into_response(), "text/html; charset=utf-8", None),
    }
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    match Dist::get(name) {
        Some(found) => serve(name, found, headers),
        None => Problem::not_found("not_found", "this file").into_response(),
    }
}

fn serve(name: &str, found: EmbeddedFile, headers: &HeaderMap) -> Response {
    let hash = found.metadata.sha256_hash();
    let etag: String = hash[..16].iter().fold(String::from("\""), |text, byte| format!("{text}{byte:02x}")) + "\"";
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if known.flat_map(|value| value.split(',')).any(|tag| tag.trim().trim_start_matches("W/") == etag) {
        return with_headers(StatusCode::NOT_MODIFIED.into_response(), content_type(name), Some(&etag));
    }
    with_headers(found.data.into_response(), content_type(name), Some(&etag))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        Some("ts") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn with_headers(mut response: Response, content_type: &'static str, etag: Option<&str>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
        headers.insert(header::ETAG, etag);
    }
    response
}
