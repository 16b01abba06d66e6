//! The calls of the process: one client, and how many may be under way for acts.

use super::client::Client;
use super::guard::Allowed;
use dashmap::DashMap;
use foldhash::fast::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How webhooks are called.
#[derive(Clone, Debug)]
pub struct Options {
    /// What may be called beside the public internet.
    pub allow: Allowed,
    /// Time for one call; an act waits this long for all of its hooks together.
    pub timeout: Duration,
    /// Acts that may wait for their hooks at one time.
    pub acts_max: usize,
    /// Calls of acts at one time to one endpoint; more wait for their turn.
    pub per_endpoint: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { allow: Allowed::default(), timeout: Duration::from_secs(30), acts_max: 1024, per_endpoint: 64 }
    }
}

/// The calls of the process.
pub struct Hooks {
    options: Options,
    /// Made when the first call is: it reads the certificates of the machine.
    client: OnceLock<Client>,
    acts: Arc<Semaphore>,
    /// By endpoint. Those are named by definitions, so there are not many.
    endpoints: DashMap<String, Arc<Semaphore>, RandomState>,
    stopped: AtomicBool,
}

impl Hooks {
    /// No calls yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            client: OnceLock::new(),
            acts: Arc::new(Semaphore::new(options.acts_max.min(Semaphore::MAX_PERMITS))),
            endpoints: DashMap::default(),
            stopped: AtomicBool::new(false),
            options,
        }
    }

    /// How webhooks are called.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What calls them.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(Arc::new(self.options.allow.clone())))
    }

    /// A place for an act that has to wait for its hooks; `None` when all are taken.
    #[must_use]
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.acts.clone().try_acquire_owned().ok()
    }

    /// Acts that wait for their hooks.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.options.acts_max.saturating_sub(self.acts.available_permits())
    }

    /// A turn to call an endpoint, in the order of asking.
    pub async fn turn(&self, endpoint: &str) -> Option<OwnedSemaphorePermit> {
        let known = self.endpoints.get(endpoint).map(|turns| turns.clone());
        let turns = known.unwrap_or_else(|| {
            let fresh = || Arc::new(Semaphore::new(self.options.per_endpoint.min(Semaphore::MAX_PERMITS)));
            self.endpoints.entry(endpoint.to_owned()).or_insert_with(fresh).clone()
        });
        turns.acquire_owned().await.ok()
    }

    /// No more queued calls are to begin.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
