//! Total caps under a storm: many connections ask for more than there is, while the server is killed and
//! started again. Never one over, and in the end exactly as many as there were.
//!
//! The same driver is let loose on a server that reads a count and then inserts, as one would without
//! thinking: it must hand out too many, or the storm proves nothing.
//!
//! A slice runs with the other tests; `make storm` runs a million accepts. `LODESTONE_STORM_ACCEPTS` and
//! `LODESTONE_STORM_LIMITS` say how many and over how many limits.

mod driver;
mod naive;
mod server;

use driver::{Limits, Plan};
use server::Server;
use std::sync::Arc;
use std::time::Instant;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[expect(clippy::print_stdout, reason = "the storm reports on stdout")]
fn never_one_over_and_every_one_issued() {
    let accepts = number("LODESTONE_STORM_ACCEPTS", 60_000);
    let limits = Arc::new(Limits::new(number("LODESTONE_STORM_LIMITS", 1_000), accepts));
    let mut server = Server::start(&limits.catalog());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let plan = Arc::new(Plan::shuffled(&limits, accepts));
    let kills = runtime.block_on(driver::storm(&mut server, &plan, &limits));
    let took = began.elapsed();
    limits.assert_exact();
    // At rest, by another process: nothing is left of any limit.
    server.stop();
    server.launch();
    let rest = Arc::new(Plan::one_each(&limits));
    runtime.block_on(driver::ask(&server.url(), &rest, &limits));
    limits.assert_exact();
    assert_eq!(rest.accepted(), 0, "every limit was full");
    println!(
        "storm: {accepts} accepts over {} limits, {} places, {kills} kills, {:.1} s, {:.0} answers/s",
        limits.len(),
        limits.places(),
        took.as_secs_f64(),
        accepts as f64 / took.as_secs_f64()
    );
}

#[test]
#[expect(clippy::print_stdout, reason = "the storm reports on stdout")]
fn the_storm_finds_what_reads_and_then_inserts() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let limits = Arc::new(Limits::loose(20, 4_000));
    let plan = Arc::new(Plan::shuffled(&limits, 4_000));
    runtime.block_on(async {
        let url = naive::serve(&limits).await;
        driver::ask(&url, &plan, &limits).await;
    });
    let over = limits.over();
    assert!(over > 0, "a count that is read and then added to held under the storm: the storm is too gentle");
    println!("storm: reading and then inserting handed out {over} too many of {}", limits.places());
}
