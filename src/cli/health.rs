//! `lodestone health`: the image's health check, and a script's.

use super::{Failure, HealthArgs};
use anyhow::{Context, anyhow};

/// Prints what the server's readiness probe says; an error unless it is ready.
pub(super) async fn health(args: HealthArgs) -> Result<(), Failure> {
    let url = format!("{}/readyz", args.url.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(5)).build()?;
    let answer = client.get(&url).send().await.with_context(|| format!("cannot reach {url}"))?;
    let ready = answer.status().is_success();
    println!("{}", answer.text().await?);
    if ready { Ok(()) } else { Err(anyhow!("not ready").into()) }
}
