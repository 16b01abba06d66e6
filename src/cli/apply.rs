//! `lodestone apply`: definitions into a running server.

use super::{ApplyArgs, Failure};
use anyhow::Context;

/// Sends the document and prints what changed, or every problem with its place.
pub(super) async fn apply(args: ApplyArgs) -> Result<(), Failure> {
    let document = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let url = format!("{}/api/v1/catalog", args.url.trim_end_matches('/'));
    let client = reqwest::Client::new();
    let request = client.post(&url).bearer_auth(&args.token).header("content-type", "application/json").body(document);
    let answer = request.send().await.with_context(|| format!("cannot reach {url}"))?;
    let status = answer.status();
    let body: serde_json::Value = answer.json().await.unwrap_or_default();
    if status.is_success() {
        println!("{}", serde_json::to_string_pretty(&body)?);
        return Ok(());
    }
    let detail = body["detail"].as_str().or(body["title"].as_str()).unwrap_or("no reason given");
    eprintln!("{status}: {} ({detail})", body["code"].as_str().unwrap_or("error"));
    for problem in body["errors"].as_array().into_iter().flatten() {
        let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        eprintln!("  {}: {} ({})", text("pointer"), text("message"), text("code"));
    }
    Err(anyhow::anyhow!("the server refused the catalog with status {status}; nothing changed").into())
}
