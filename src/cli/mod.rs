//! The command line. Exit codes: 0 done, 1 failure, 2 usage, 65 data corrupt or of a newer version,
//! 74 a write or sync failed, 75 the data folder is in use, 78 configuration.

mod apply;
mod demo;
mod health;
mod progress;
mod serve;
mod verify;

use crate::client::replay::{self, ReplayArgs};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Real-time customer data platform and action engine: events in over a WebSocket, the matching action
/// back over the same socket within milliseconds.
#[derive(Debug, Parser)]
#[command(name = "lodestone", version, about, long_about = None, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done · 1 failure · 2 usage · 65 data corrupt or of a newer version · \
74 a write or sync failed · 75 the data folder is in use · 78 configuration";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server on one data folder.
    Serve(ServeArgs),
    /// Run the server with a seeded shop and simulated shoppers; needs no configuration.
    Demo(DemoArgs),
    /// Stream a CSV or NDJSON file of events through the socket and report rates and latencies.
    Replay(ReplayArgs),
    /// Send a catalog (events, traits, audiences, actions) to a running server.
    Apply(ApplyArgs),
    /// Work with configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask a running server whether it is ready; exit 0 if so.
    Health(HealthArgs),
    /// Check every checksum of a data folder and the durable watermark, with no server running.
    Verify(VerifyArgs),
}

/// `lodestone serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Folder that holds everything: journal, store, lock. Created if missing.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address to listen on, for HTTP and WebSockets alike.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Configuration file (TOML). Order of precedence: defaults, file, LODESTONE__SECTION__KEY, flags.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Catalog to apply at the start; applying it again changes nothing.
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Serve the demo shop at /shop.
    #[arg(long)]
    pub shop: bool,
    /// Inject a fault into the journal's disk, for tests: `sync-after=N` fails every sync after the Nth.
    #[arg(long, hide = true, value_name = "FAULT")]
    pub fault: Option<String>,
    /// Take the time from this file (milliseconds since the epoch) instead of the machine, for tests.
    #[arg(long, hide = true, value_name = "FILE")]
    pub clock: Option<PathBuf>,
}

/// `lodestone demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Folder of the demo's data; a later start continues with it.
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    pub data_dir: PathBuf,
    /// Address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Simulated shoppers, each with a WebSocket of its own.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub shoppers: usize,
    /// Seed of the simulated traffic.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// `lodestone apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The catalog document (JSON).
    pub file: PathBuf,
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// A token of kind `admin`.
    #[arg(long, value_name = "TOKEN", env = "LODESTONE_ADMIN_TOKEN", hide_env_values = true)]
    pub token: String,
}

/// `lodestone config …`.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration file and the environment; every problem is reported at once.
    Check {
        /// Configuration file (TOML).
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print every option with its default.
    Defaults,
}

/// `lodestone health`.
#[derive(Clone, Debug, Args)]
pub struct HealthArgs {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
}

/// `lodestone verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// A failure and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    /// What to exit with.
    pub code: u8,
    /// What to say.
    pub error: anyhow::Error,
}

impl Failure {
    /// The data is corrupt, or written by a newer version.
    pub const DATA: u8 = 65;
    /// A write or sync failed.
    pub const IO: u8 = 74;
    /// The data folder is in use.
    pub const LOCKED: u8 = 75;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;

    /// `error`, with an exit code of its own.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { code: 1, error: error.into() }
    }
}

/// Carries out a command.
///
/// # Errors
/// [`Failure`] with the exit code to use.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // TLS for outgoing calls has one provider, installed before anything can ask for it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        Command::Serve(args) => runtime()?.block_on(serve::serve(args)),
        Command::Demo(args) => runtime()?.block_on(demo::demo(args)),
        Command::Replay(args) => Ok(runtime()?.block_on(replay::run(args))?),
        Command::Apply(args) => runtime()?.block_on(apply::apply(args)),
        Command::Config(command) => config(command),
        Command::Health(args) => runtime()?.block_on(health::health(args)),
        Command::Verify(args) => verify::verify(&args),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn config(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { config } => match crate::config::Config::load(config.as_deref()) {
            Ok(_) => {
                println!("configuration is valid");
                Ok(())
            }
            Err(error) => Err(Failure::new(Failure::CONFIG, anyhow::anyhow!("{error}"))),
        },
        ConfigCommand::Defaults => {
            print!("{}", crate::config::DEFAULTS);
            Ok(())
        }
    }
}
