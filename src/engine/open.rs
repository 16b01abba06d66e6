//! Opening a data folder: load the last checkpoint, replay the journal's tail, start where it ends.

use super::checkpoint::Extras;
use super::{Engine, Stats, dedupe, history, invalid, members};
use crate::hooks::{self, Hooks};
use crate::journal::{self, Journal};
use crate::outbox::{self, Outbox};
use crate::push::Hub;
use crate::runtime::clock::Clock;
use crate::runtime::timers::Timers;
use crate::storage;
use arc_swap::ArcSwap;
use crossbeam::queue::SegQueue;
use lodestone_state::action::TotalCaps;
use lodestone_state::codec;
use lodestone_state::command::{self, Command};
use lodestone_state::event::{Absorbed, EntryKind};
use lodestone_state::ids::{Millis, ProfileId, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, Plan};
use lodestone_state::profile::{Core, Profile};
use lodestone_state::store::Store;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How the engine is run.
#[derive(Clone)]
pub struct Options {
    /// The journal's own options.
    pub journal: journal::Options,
    /// What the journal writes to; tests put a faulty one here.
    pub journal_disk: Arc<dyn journal::Disk>,
    /// The store's own options.
    pub storage: storage::Options,
    /// Message ids kept in memory though they are on disk.
    pub dedupe_keep: usize,
    /// How long a session can be resumed.
    pub resume_ttl: Duration,
    /// Actions that a session is sent in a second; past that only the newest state of each. 0 for any number.
    pub push_rate: u32,
    /// How long entries are kept in the logs of profiles; `None` for ever.
    pub keep_history: Option<Duration>,
    /// How webhooks are called.
    pub hooks: hooks::Options,
    /// How the outbox is run.
    pub outbox: outbox::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            journal: journal::Options::default(),
            journal_disk: Arc::new(journal::RealDisk),
            storage: storage::Options::default(),
            dedupe_keep: 1 << 20,
            resume_ttl: Duration::from_secs(120),
            push_rate: 10,
            keep_history: None,
            hooks: hooks::Options::default(),
            outbox: outbox::Options::default(),
        }
    }
}

/// What recovery is doing, for a progress bar.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Profiles loaded so far, of about so many.
    Profiles(u64, u64),
    /// Journal records replayed so far.
    Replayed(u64),
}

/// Why a data folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal's reason.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The store's reason.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A record that this build cannot read.
    #[error("journal record {seq} cannot be read: {source}")]
    Record {
        /// Its position.
        seq: u64,
        /// Why.
        source: command::DecodeError,
    },
    /// A stored value that this build cannot read.
    #[error("stored {what} cannot be read: {reason}")]
    Value {
        /// What it was.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

fn value_error(what: &'static str, reason: impl ToString) -> OpenError {
    OpenError::Value { what, reason: reason.to_string() }
}

impl Engine {
    /// Opens `dir`, which the caller has locked.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed on disk then.
    pub fn open(
        dir: &Path,
        options: Options,
        clock: Arc<dyn Clock>,
        progress: &dyn Fn(Progress),
    ) -> Result<Arc<Self>, OpenError> {
        let began = Instant::now();
        let disk = Arc::new(storage::Store::open(&dir.join("store"), &options.storage)?);
        let plan = load_plan(&disk)?;
        let meta = disk.checkpoint_meta()?;
        let extras = match &meta {
            Some(meta) => Some(codec::decode::<Extras>(&meta.extras).map_err(|e| value_error("checkpoint", e))?.1),
            None => None,
        };
        let sealed = meta.map_or(Seq(0), |meta| meta.seq);
        let store = Store::default();
        let members = members::Members::default();
        load_profiles(&disk, &store, &members, progress)?;
        let invalid = invalid::InvalidLog::default();
        let mut built = 0;
        let totals = match extras {
            Some(extras) => {
                built = extras.built;
                invalid.restore(extras.invalid);
                TotalCaps::restore(extras.totals)
            }
            None => TotalCaps::default(),
        };
        let journal_options = journal::Options { start_after: sealed, ..options.journal.clone() };
        let (journal, records) = Journal::open(&dir.join("journal"), journal_options, options.journal_disk.clone())?;
        let engine = Arc::new(Self {
            plan: ArcSwap::from_pointee(plan),
            store,
            totals,
            dedupe: dedupe::Dedupe::new(options.dedupe_keep),
            journal,
            disk,
            hub: Hub::new(options.resume_ttl),
            push_rate: options.push_rate,
            keep_history: options.keep_history,
            timers: Timers::default(),
            fanout: super::fanout::Fanouts::default(),
            dirty: SegQueue::new(),
            members,
            analysis: super::analysis::Analysis::default(),
            invalid,
            outbox: Outbox::new(options.outbox),
            hooks: Hooks::new(options.hooks),
            acts: super::acts::Acts::default(),
            clock,
            catalog_gate: Mutex::new(()),
            backfill: super::backfill::Backfill::default(),
            refresh_gate: Mutex::new(()),
            scans: super::scan::Scans::default(),
            stopping: AtomicBool::new(false),
            started: Instant::now(),
            stats: Stats::default(),
        });
        let plan = engine.plan.load_full();
        engine.outbox.restore(&engine.disk)?;
        let mut old = super::follow::OldPlans::default();
        let mut replayed = 0_u64;
        for record in records {
            let (seq, bytes) = record?;
            let command = command::decode(&bytes).map_err(|source| OpenError::Record { seq: seq.0, source })?;
            engine.replay(&plan, &mut old, seq, command);
            replayed += 1;
            if replayed.is_multiple_of(10_000) {
                progress(Progress::Replayed(replayed));
            }
        }
        progress(Progress::Replayed(replayed));
        engine.wake_all_overdue(&plan);
        engine.resume_sweep(&plan, built);
        engine.follow_late(true);
        tracing::info!(profiles = engine.store.len(), replayed, ms = began.elapsed().as_millis(), "recovered");
        Ok(engine)
    }

    /// Re-applies one record. What a profile already has is skipped (I12).
    fn replay(&self, plan: &Plan, old: &mut super::follow::OldPlans, seq: Seq, command: Command) {
        let (id, written, mut entry) = match command {
            Command::Entry { profile, plan, entry } => (profile, plan, entry),
            Command::Catalog { .. } => return,
            Command::Job(record) => return self.outbox.settle(&record),
            Command::Invalid(record) => {
                self.invalid.keep(record);
                return;
            }
        };
        entry.moment.seq = seq;
        self.replay_jobs(plan, old, written, id, &entry);
        if let Some(message_id) = &entry.message_id {
            self.dedupe.insert(message_id, dedupe::First { seq, event_id: entry.id, at: entry.at });
        }
        if let EntryKind::Reacted(reacted) = &entry.kind
            && let Some(action) = plan.action_plan(reacted.action)
        {
            self.totals.count(&action.def.caps, reacted, entry.moment);
        }
        self.analysis.rollups.count(id, &entry, seq);
        if let EntryKind::Erased(erased) = &entry.kind {
            self.uncount(plan, erased, seq);
            self.outbox.erase(&erased.moments);
        }
        let shared = self.store.get_or_create(id, || Profile::new(id, entry.at, plan.generation));
        let mut changes = Changes::default();
        let mut profile = shared.lock();
        // Nothing else runs yet, so what is skipped is skipped as a whole: whoever this merge absorbed may
        // have come back since, and stays.
        if profile.core.applied >= seq {
            return;
        }
        self.mark_dirty(&shared, &mut profile);
        self.bring_up_to_date(plan, &mut profile, &mut changes);
        if profile.core.clock == Millis::MIN {
            machine::born(plan, &mut profile, entry.at, &mut changes);
        }
        if let EntryKind::Identified(identified) = &entry.kind
            && !identified.absorbed.is_empty()
        {
            let followers = self.take_followers(id, &identified.absorbed);
            machine::absorb(plan, &mut profile, followers, entry.at, &mut self.history(), &mut changes);
        }
        if let EntryKind::Split(split) = entry.kind.clone() {
            let (returned, its_changes) = machine::part(plan, &mut profile, entry, &split, &mut self.history(), &mut changes);
            let other = Arc::new(Mutex::new(returned));
            let mut returned = other.lock();
            self.publish(&other, &mut returned);
            self.note_members(&mut returned, &its_changes);
        } else {
            machine::apply(plan, &mut profile, entry, &mut self.history(), &mut changes);
        }
        for identity in &profile.core.identities {
            let _ = self.store.link(&identity.user_id, profile.core.id);
        }
        self.note_members(&mut profile, &changes);
    }

    /// Takes the profiles that a merge absorbs out of the store.
    fn take_followers(&self, leader: ProfileId, absorbed: &[Absorbed]) -> Vec<Profile> {
        let mut followers = Vec::new();
        for id in absorbed.iter().map(|absorbed| absorbed.profile) {
            // Somebody else's by now, or nobody's: what the leader has not seen yet, nobody else can have.
            if self.store.resolve(id) != id {
                continue;
            }
            let Some(shared) = self.store.get(id) else { continue };
            let mut follower = shared.lock();
            self.members.remove_all(&follower);
            self.store.redirect(&follower, leader);
            let husk = Profile::new(follower.core.id, follower.core.created_at, 0);
            followers.push(std::mem::replace(&mut *follower, Profile { gone: Some(leader), ..husk }));
        }
        followers
    }
}

fn load_plan(disk: &storage::Store) -> Result<Plan, OpenError> {
    let catalog = match disk.catalog_latest()? {
        Some(bytes) => Catalog::from_bytes(&bytes).map_err(|e| value_error("catalog", e))?,
        None => Catalog::default(),
    };
    Plan::compile(Arc::new(catalog)).map_err(|issues| value_error("catalog", format!("{issues:?}")))
}

fn load_profiles(
    disk: &storage::Store,
    store: &Store,
    members: &members::Members,
    progress: &dyn Fn(Progress),
) -> Result<(), OpenError> {
    let (about, mut loaded) = (disk.profiles_estimate()?, 0_u64);
    let mut broken = None;
    disk.load_profiles(|_, bytes| {
        match codec::decode::<Core>(bytes) {
            Ok((_, core)) => {
                let profile = Profile::from_core(core);
                members.add_all(&profile);
                store.restore(profile);
            }
            Err(error) => broken = Some(error),
        }
        loaded += 1;
        if loaded.is_multiple_of(10_000) {
            progress(Progress::Profiles(loaded, about.max(loaded)));
        }
    })?;
    progress(Progress::Profiles(loaded, loaded));
    match broken {
        Some(error) => Err(value_error("profile", error)),
        None => {
            for (gone, leader) in disk.redirects()? {
                store.restore_redirect(gone, leader);
            }
            Ok(())
        }
    }
}

// History rows are decoded with the version that wrote them; a new version needs a reader here.
const _: () = assert!(history::ENTRY_VERSION == 1);
