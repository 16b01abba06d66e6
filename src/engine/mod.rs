//! The engine: command → stamp → apply under the profile's lock → journal → effects.
//!
//! Every ingest call runs on the task of the connection that received it, without a thread hop and
//! without waiting for a disk. Lock order: profile → journal buffer → totals, outbox, and
//! profile → session. Nothing takes a profile while holding one of the later ones.

pub mod api;

mod act;
mod acting;
mod acts;
pub mod analysis;
mod attribution;
mod backfill;
mod catalog;
mod checkpoint;
mod dedupe;
mod definitions;
pub(crate) mod draft;
mod erase;
mod evaluate;
mod experiments;
pub mod explain;
mod fanout;
mod follow;
mod history;
mod identify;
mod invalid;
mod jobs;
mod list;
mod members;
mod open;
mod outbox;
pub mod preview;
pub mod reactions;
mod read;
mod refresh;
pub mod replay;
mod retention;
mod rules;
mod scan;
mod sessions;
mod split;
#[cfg(test)]
mod testing;
mod time;
mod track;
mod trials;
mod wake;
pub mod whatif;

pub use attribution::{AttributionQuery, NoReport};
pub use catalog::CatalogApplied;
pub use definitions::{Listed, Listing, Shown};
pub(crate) use definitions::{find as find_definition, word};
pub use erase::EraseError;
pub use jobs::{Untestable, WebhookTest};
pub use open::{OpenError, Options, Progress};
pub use read::Readiness;
pub use refresh::{Busy, Refreshed};
pub use scan::Cancel;
pub use split::{SplitError, Undone};
pub use wake::spawn_background;

use crate::hooks::Hooks;
use crate::journal::Journal;
use crate::outbox::Outbox;
use crate::push::Hub;
use crate::runtime::clock::Clock;
use crate::runtime::timers::Timers;
use crate::storage;
use crate::wire::Rejection;
use arc_swap::ArcSwap;
use crossbeam::queue::SegQueue;
use lodestone_state::action::TotalCaps;
use lodestone_state::ids::{Millis, ProfileId};
use lodestone_state::plan::{Plan, TokenGrant};
use lodestone_state::profile::Profile;
use lodestone_state::store::{Shared, Store};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The one organisation's machine: profiles in memory, their journal and their checkpoints.
pub struct Engine {
    plan: ArcSwap<Plan>,
    store: Store,
    totals: TotalCaps,
    dedupe: dedupe::Dedupe,
    journal: Journal,
    disk: Arc<storage::Store>,
    hub: Hub,
    push_rate: u32,
    /// How long entries are kept; `None` for ever.
    keep_history: Option<Duration>,
    timers: Timers,
    /// What concerns many sessions, to be decided again for each.
    fanout: fanout::Fanouts,
    dirty: SegQueue<Shared>,
    members: members::Members,
    analysis: analysis::Analysis,
    invalid: invalid::InvalidLog,
    /// What is to be done elsewhere.
    outbox: Outbox,
    /// What calls webhooks.
    hooks: Hooks,
    /// Acts that wait for their webhooks.
    acts: acts::Acts,
    clock: Arc<dyn Clock>,
    /// One catalog change at a time.
    catalog_gate: Mutex<()>,
    backfill: backfill::Backfill,
    /// One refresh at a time.
    refresh_gate: Mutex<()>,
    /// Questions that read many profiles.
    scans: scan::Scans,
    stopping: AtomicBool,
    started: Instant,
    stats: Stats,
}

/// Counts that the status page shows; the same events also feed the metrics.
#[derive(Default)]
struct Stats {
    events: AtomicU64,
    rejected: AtomicU64,
    pushes: AtomicU64,
    reactions: AtomicU64,
    checkpoint_at: AtomicU64,
    checkpoint_seq: AtomicU64,
}

impl Engine {
    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// The engine's time.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// What `token` allows, if it is known. Cost: one SHA-256.
    #[must_use]
    pub fn authenticate(&self, token: &str) -> Option<TokenGrant> {
        self.plan.load().token(token)
    }

    /// Journal position that is durable, as a channel that wakes on every group.
    #[must_use]
    pub fn durable(&self) -> tokio::sync::watch::Receiver<u64> {
        self.journal.durable()
    }

    /// Journal position that is durable right now.
    #[must_use]
    pub fn durable_now(&self) -> u64 {
        self.journal.durable_now().0
    }

    /// Whether the journal is behind: connections stop reading while it is.
    #[must_use]
    pub fn pressure(&self) -> bool {
        self.journal.pressure()
    }

    /// The journal's first write or sync error, if it had one. The process must exit.
    #[must_use]
    pub fn failed(&self) -> Option<String> {
        let journal = self.journal.failure().map(|error| error.to_string());
        journal.or_else(|| self.disk.failed())
    }

    /// The sessions.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Refuses what would write while the disk is nearly full, the journal has failed, or we are stopping.
    fn writable(&self) -> Result<(), Rejection> {
        if self.journal.writable() && !self.stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Rejection::unavailable("the server cannot store right now; send it again later"))
    }

    fn new_profile(&self, plan: &Plan) -> Profile {
        Profile::new(ProfileId(mint()), self.now(), plan.generation)
    }

    /// Notes that `profile` must be written at the next checkpoint. The caller holds its lock and has the
    /// handle at hand.
    fn mark_dirty(&self, shared: &Shared, profile: &mut Profile) {
        if !profile.dirty {
            profile.dirty = true;
            self.dirty.push(shared.clone());
        }
    }

    /// Tells the timers about the profile's earliest deadline, if they do not know one as early.
    fn schedule(&self, profile: &mut Profile, also: Millis) {
        let deadline = profile.deadline().min(also);
        if deadline < profile.scheduled {
            profile.scheduled = deadline;
            self.timers.schedule(deadline, profile.core.id);
        }
    }
}

/// An id for an event or delivery: time-ordered, unique across restarts.
fn mint() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}
