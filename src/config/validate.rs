//! What the values must be beside well formed.

use super::options::Config;
use std::time::Duration;

/// Adds one line for every value that cannot be meant.
pub(super) fn check(config: &Config, problems: &mut Vec<String>) {
    let server = &config.server;
    let http = &server.http;
    let socket = &server.socket;
    let journal = &config.journal;
    let outbox = &config.outbox;
    let numbers = [
        ("server.connections_max", server.connections_max, 1, 10_000_000),
        ("server.http.in_flight_max", http.in_flight_max, 1, 1_000_000),
        ("server.http.catalog_bytes_max", http.catalog_bytes_max, 1024, 1 << 30),
        ("server.socket.credit", socket.credit as usize, 1, 100_000),
        ("server.socket.frame_bytes_max", socket.frame_bytes_max, 1024, 16 << 20),
        ("server.socket.push_rate", socket.push_rate as usize, 0, 1_000_000),
        ("server.socket.read_buffer_bytes", socket.read_buffer_bytes, 1024, 1 << 20),
        ("server.socket.write_buffer_bytes", socket.write_buffer_bytes, 1024, 64 << 20),
        ("server.socket.drain_frames", socket.drain_frames, 1, 65_536),
        ("journal.segment_bytes", usize::try_from(journal.segment_bytes).unwrap_or(usize::MAX), 4096, 4 << 30),
        ("journal.pressure_bytes", journal.pressure_bytes, 4096, 16 << 30),
        ("hooks.acts_max", config.hooks.acts_max, 1, 1_000_000),
        ("hooks.per_endpoint", config.hooks.per_endpoint, 1, 100_000),
        ("outbox.running_max", outbox.running_max, 1, 10_000),
        ("outbox.per_endpoint", outbox.per_endpoint, 1, 10_000),
        ("outbox.tries", outbox.tries.into(), 1, 100),
        ("outbox.pending_max", outbox.pending_max, 1, 10_000_000),
        ("outbox.dead_max", outbox.dead_max, 0, 10_000_000),
        ("outbox.memory_bytes", outbox.memory_bytes, 1 << 16, 16 << 30),
    ];
    for (name, value, min, max) in numbers {
        if !(min..=max).contains(&value) {
            problems.push(format!("{name} is {value}, must be from {min} to {max}"));
        }
    }
    let spans = [
        ("server.http.header_timeout", http.header_timeout),
        ("server.http.body_timeout", http.body_timeout),
        ("server.http.durable_timeout", http.durable_timeout),
        ("server.socket.hello_timeout", socket.hello_timeout),
        ("server.socket.ping_interval", socket.ping_interval),
        ("server.socket.drain_timeout", socket.drain_timeout),
        ("journal.sync_interval", journal.sync_interval),
        ("journal.space_check", journal.space_check),
        ("storage.checkpoint_interval", config.storage.checkpoint_interval),
        ("outbox.backoff", outbox.backoff),
    ];
    for (name, span) in spans {
        if span < Duration::from_millis(1) || span > Duration::from_secs(24 * 3600) {
            problems.push(format!("{name} must be from 1ms to 24h"));
        }
    }
    if config.retention.history.is_some_and(|span| span < Duration::from_secs(24 * 3600)) {
        problems.push("retention.history must be at least 1d, or empty for ever".to_owned());
    }
    // A reservation in the caps is void after 35 seconds.
    if !(Duration::from_millis(1)..=Duration::from_secs(30)).contains(&config.hooks.timeout) {
        problems.push("hooks.timeout must be from 1ms to 30s".to_owned());
    }
    if outbox.expire < Duration::from_secs(1) || outbox.dead_keep < Duration::from_secs(1) {
        problems.push("outbox.expire and outbox.dead_keep must be at least 1s".to_owned());
    }
    if let Err(error) = crate::hooks::Allowed::parse(&config.hooks.allow) {
        problems.push(format!("hooks.allow: {error}"));
    }
    if config.storage.data_dir.as_os_str().is_empty() {
        problems.push("storage.data_dir is empty".to_owned());
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.log.level) {
        problems.push(format!("log.level: {error}"));
    }
}
