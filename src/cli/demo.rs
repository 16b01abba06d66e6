//! `lodestone demo`: a seeded shop with simulated shoppers, on an embedded data folder.

use super::serve::{Rig, start};
use super::{DemoArgs, Failure};
use crate::client::shoppers::{self, ShopperArgs};
use crate::config::Config;
use crate::telemetry;

/// The demo's definitions, part of the binary so that it needs no file beside it.
const CATALOG: &str = include_str!("../../web/shop/catalog.json");
/// The demo's tokens, as the catalog has them.
const WRITE_TOKEN: &str = "ls_wk_demo";

/// Serves the demo until told to stop.
pub(super) async fn demo(args: DemoArgs) -> Result<(), Failure> {
    let mut config = Config::load(None).map_err(|e| Failure::new(Failure::CONFIG, anyhow::anyhow!("{e}")))?;
    config.storage.data_dir.clone_from(&args.data_dir);
    config.server.listen = args.listen;
    config.server.shop = true;
    config.log.level = "warn".into();
    telemetry::tracing::install(&config.log);
    let running = start(config, Some(CATALOG), Rig::default()).await?;
    let base = format!("http://{}", running.address);
    println!("Lodestone is running; stop it with Ctrl-C.\n");
    println!("  status   {base}/");
    println!("  shop     {base}/shop      view three products and watch the coupon arrive");
    println!("  metrics  {base}/metrics");
    println!("  admin    curl -H 'Authorization: Bearer ls_ad_demo' {base}/api/v1/status");
    println!("\n{} simulated shoppers are streaming over WebSockets; data is in {}", args.shoppers, args.data_dir.display());
    let traffic = shoppers::spawn(ShopperArgs {
        url: format!("ws://{}/v1/ws", running.address),
        token: WRITE_TOKEN.into(),
        shoppers: args.shoppers,
        events_per_second: 0.5,
        seed: args.seed,
        stop: running.shutdown.child_token(),
    });
    let result = running.until_stopped().await;
    traffic.abort();
    result
}
