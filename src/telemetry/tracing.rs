//! Structured logs.

use crate::config::options::Log;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `RUST_LOG`, when it is set and can be read, wins over the filter of
/// the configuration. Logging that runs already is left alone.
pub fn install(log: &Log) {
    let from_env = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = from_env.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| {
        // The configuration was checked when it was loaded; what a program sets afterwards is its own.
        EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"))
    });
    let terminal = std::io::stderr().is_terminal();
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true).with_ansi(terminal);
    // A second call in one process, as in tests, finds logging in place: that is what it asked for.
    let _already = match log.format {
        Format::Auto if terminal => lines.try_init(),
        Format::Text => lines.try_init(),
        Format::Auto | Format::Json => lines.json().flatten_event(true).try_init(),
    };
}
