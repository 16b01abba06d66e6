//! `lodestone serve`: open the folder, take connections, and leave nothing behind on the way out.

use super::progress::Progress;
use super::{Failure, ServeArgs};
use crate::config::Config;
use crate::engine::{self, Engine, OpenError};
use crate::runtime::clock::{Clock, FileClock, SystemClock};
use crate::storage::lock::{DataDirLock, LockError};
use crate::{journal, net, storage, telemetry};
use anyhow::{Context, anyhow};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long open connections may take to leave.
const GRACE: Duration = Duration::from_secs(20);

/// What a test puts in the place of the machine's own; nothing by default.
#[derive(Clone, Copy, Default)]
pub(super) struct Rig<'a> {
    /// A fault of the journal's disk.
    fault: Option<&'a str>,
    /// A file that tells the time.
    clock: Option<&'a Path>,
}

/// How long queued webhooks that are under way may take to end; later ones are called again after the next
/// start.
const LAST_CALLS: Duration = Duration::from_secs(3);

/// A server that runs until told to stop.
pub(super) struct Running {
    pub(super) engine: Arc<Engine>,
    pub(super) address: SocketAddr,
    pub(super) shutdown: CancellationToken,
    background: Vec<std::thread::JoinHandle<()>>,
    server: tokio::task::JoinHandle<()>,
    _lock: DataDirLock,
}

/// Runs until SIGTERM or SIGINT, or until the journal fails.
pub(super) async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let config = load_config(&args)?;
    telemetry::tracing::install(&config.log);
    let catalog = match &args.catalog {
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?),
        None => None,
    };
    let rig = Rig { fault: args.fault.as_deref(), clock: args.clock.as_deref() };
    let running = start(config, catalog.as_deref(), rig).await?;
    eprintln!("lodestone is ready on http://{}", running.address);
    running.until_stopped().await
}

fn load_config(args: &ServeArgs) -> Result<Config, Failure> {
    let mut config = Config::load(args.config.as_deref()).map_err(|e| Failure::new(Failure::CONFIG, anyhow!("{e}")))?;
    if let Some(dir) = &args.data_dir {
        config.storage.data_dir.clone_from(dir);
    }
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    config.server.shop |= args.shop;
    Ok(config)
}

/// Opens the data folder, applies the catalog and starts to listen.
pub(super) async fn start(config: Config, catalog: Option<&str>, rig: Rig<'_>) -> Result<Running, Failure> {
    let dir = config.storage.data_dir.clone();
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let lock = DataDirLock::acquire(&dir).map_err(locked)?;
    storage::layout::check(&dir).map_err(|e| Failure::new(Failure::DATA, e))?;
    telemetry::metrics::install();
    // Bound before recovery, so that probes are answered while it runs and a taken port is found out first.
    let listener =
        TcpListener::bind(config.server.listen).await.with_context(|| format!("cannot listen on {}", config.server.listen))?;
    let address = listener.local_addr()?;
    let engine = open(&dir, &config, rig)?;
    if let Some(document) = catalog {
        let applied = engine.apply_catalog(document).map_err(|issues| {
            let lines: Vec<String> = issues.iter().map(|i| format!("  {}: {} ({})", i.pointer, i.message, i.code)).collect();
            Failure::new(
                Failure::CONFIG,
                anyhow!("the catalog has {} problem(s); nothing was applied:\n{}", lines.len(), lines.join("\n")),
            )
        })?;
        tracing::info!(version = applied.version, changed = applied.changed, "catalog");
    }
    let background = engine::spawn_background(&engine, config.storage.checkpoint_interval);
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(net::serve(engine.clone(), listener, config.server.clone(), shutdown.clone()));
    Ok(Running { engine, address, shutdown, background, server, _lock: lock })
}

fn open(dir: &Path, config: &Config, rig: Rig<'_>) -> Result<Arc<Engine>, Failure> {
    let mut options = config.engine_options();
    if let Some(fault) = rig.fault {
        options.journal_disk = journal::fault::parse(fault).map_err(|e| Failure::new(2, anyhow!("{e}")))?;
    }
    let clock: Arc<dyn Clock> = match rig.clock {
        Some(path) => Arc::new(FileClock::open(path).with_context(|| format!("cannot read {}", path.display()))?),
        None => Arc::new(SystemClock::default()),
    };
    let bar = Progress::new("recovering");
    let show = |progress: engine::Progress| match progress {
        engine::Progress::Profiles(done, of) => bar.set(done, of),
        engine::Progress::Replayed(done) => bar.set(done, done),
    };
    let engine = Engine::open(dir, options, clock, &show).map_err(unopened)?;
    bar.finish();
    Ok(engine)
}

fn locked(error: LockError) -> Failure {
    match error {
        LockError::Held { .. } => Failure::new(Failure::LOCKED, error),
        LockError::Io { .. } => Failure::new(Failure::IO, error),
    }
}

fn unopened(error: OpenError) -> Failure {
    let code = match &error {
        OpenError::Journal(e) => e.exit_code(),
        OpenError::Storage(e) => e.exit_code(),
        OpenError::Record { .. } | OpenError::Value { .. } => Failure::DATA,
    };
    Failure::new(code, error)
}

impl Running {
    /// Waits for a signal or a failed disk, then leaves in order.
    pub(super) async fn until_stopped(self) -> Result<(), Failure> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut watch = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = tokio::signal::ctrl_c() => break,
                _ = watch.tick() => {
                    if let Some(reason) = self.engine.failed() {
                        // Nothing after a failed sync may be trusted or retried: leave at once, and let a
                        // restart replay what is durable.
                        tracing::error!(%reason, "a write or sync failed; stopping");
                        return Err(Failure::new(Failure::IO, anyhow!("a write or sync failed: {reason}")));
                    }
                }
            }
        }
        self.stop().await
    }

    /// Unready, sockets closed, everything durable, a checkpoint, exit 0.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        tracing::info!("stopping");
        self.shutdown.cancel();
        if tokio::time::timeout(GRACE, self.server).await.is_err() {
            tracing::warn!("some connections did not leave in time");
        }
        self.engine.finish_calls(LAST_CALLS).await;
        let (engine, background) = (self.engine, self.background);
        let finish = move || -> Result<(), Failure> {
            engine.stop_background();
            for thread in background {
                let _ = thread.join();
            }
            engine.close().map_err(|e| Failure::new(Failure::IO, e))
        };
        tokio::task::spawn_blocking(finish).await??;
        tracing::info!("stopped");
        Ok(())
    }
}
