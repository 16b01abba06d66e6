//! What follows from an entry elsewhere: its jobs go to the outbox in the moment it is stamped, and the
//! events among them are tracked at once, as a part of the same input.

use super::api::{Caller, Stored, TrackInput};
use super::invalid::Reject;
use super::track::Draft;
use super::{Engine, storage};
use crate::telemetry::metrics as m;
use crate::wire::Rejection;
use lodestone_state::command::{Fate, JobRecord};
use lodestone_state::event::{CHAIN_MAX, Entry, EntryKind, Link, Occurrence, Props};
use lodestone_state::ids::{ChannelSlot, DefId, EventSlot, Millis, ProfileId, Seq};
use lodestone_state::job::{self, Job, Work};
use lodestone_state::plan::{Catalog, Plan, TokenGrant, TokenKind};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Events that one input may bring about before the rest is left to the background. Rules that set each
/// other off multiply; the depth of the chain bounds them, this bounds how long one caller waits for it.
const FOLLOW_MAX: usize = 256;
/// How long an event is left to the thread whose input brought it about, in milliseconds.
const FOLLOW_MS: i64 = 1000;

thread_local! {
    /// Events that the input at hand on this thread has brought about. Filled under a profile's lock, and
    /// emptied by whoever took the input once it holds none.
    static FOLLOW: RefCell<VecDeque<u128>> = const { RefCell::new(VecDeque::new()) };
}

/// Why an event is not tracked.
enum Refused {
    /// Not now.
    Later,
    /// Never, for this reason.
    For(&'static str),
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        if rejection.code == "unavailable" { Self::Later } else { Self::For(rejection.code) }
    }
}

/// The event of a job.
struct Emitted<'a> {
    event: EventSlot,
    channel: ChannelSlot,
    properties: Option<&'a str>,
    context: &'a Props,
    t: Millis,
    chain: &'a [Link],
}

/// The jobs of an entry that is about to be stamped.
pub(super) struct Follows(Vec<Job>);

impl Follows {
    /// Costs nothing for entries that have no jobs.
    pub(super) fn of(plan: &Plan, profile: ProfileId, entry: &Entry) -> Self {
        Self(job::of(plan, profile, entry))
    }

    /// Runs in the moment the entry is stamped, under the journal's lock.
    pub(super) fn stamped(self, engine: &Engine, seq: Seq) {
        for job in self.0 {
            if matches!(job.work, Work::Track { .. }) {
                FOLLOW.with_borrow_mut(|follow| follow.push_back(job.id));
            }
            engine.outbox.enqueue(Arc::new(Job { seq, ..job }));
        }
    }
}

/// Plans that were in force when the journal's tail was written, made as they are needed.
#[derive(Default)]
pub(super) struct OldPlans(HashMap<u32, Option<Arc<Plan>>>);

impl OldPlans {
    /// The plan of this version; the one at hand where that cannot be had.
    fn get(&mut self, disk: &storage::Store, version: u32, at_hand: &Plan) -> Option<Arc<Plan>> {
        if version == at_hand.version {
            return None;
        }
        let made = self.0.entry(version).or_insert_with(|| {
            let bytes = disk.catalog_get(version).ok()??;
            let catalog = Catalog::from_bytes(&bytes).ok()?;
            Plan::compile(Arc::new(catalog)).ok().map(Arc::new)
        });
        if made.is_none() {
            tracing::warn!(version, "the definitions of this version cannot be read: hooks follow those of today");
        }
        made.clone()
    }
}

impl Engine {
    /// Gives the outbox the jobs of a replayed entry again.
    pub(super) fn replay_jobs(&self, plan: &Plan, old: &mut OldPlans, version: u32, profile: ProfileId, entry: &Entry) {
        if !job::may_have(&entry.kind) {
            return;
        }
        let then = old.get(&self.disk, version, plan);
        for job in job::of(then.as_deref().unwrap_or(plan), profile, entry) {
            self.outbox.enqueue(Arc::new(job));
        }
    }

    /// Tracks the events that the input at hand has brought about, and those that these bring about. The
    /// caller holds no lock. Returns the log position of the last one: an answer about the input covers it.
    pub(super) fn follow_up(&self) -> Seq {
        let mut last = Seq(0);
        for _ in 0..FOLLOW_MAX {
            let Some(id) = FOLLOW.with_borrow_mut(VecDeque::pop_front) else { return last };
            last = last.max(self.track_job(id));
        }
        // What is left waits in the outbox for the background.
        FOLLOW.with_borrow_mut(VecDeque::clear);
        last
    }

    /// Tracks the events that nobody has tracked: after a crash, a full disk, or too many at once.
    pub(super) fn follow_late(&self, all: bool) {
        if self.outbox.tracks() == 0 {
            return;
        }
        let before = if all { Millis::MAX } else { self.clock.now().minus(FOLLOW_MS) };
        for id in self.outbox.waiting_tracks(before, FOLLOW_MAX) {
            self.track_job(id);
        }
        self.follow_up();
    }

    /// Tracks the event of one job; the position that it got.
    fn track_job(&self, id: u128) -> Seq {
        let Ok(Some(job)) = self.outbox.job(&self.disk, id) else { return Seq(0) };
        let Work::Track { event, channel, properties, context, t, chain } = &job.work else { return Seq(0) };
        let emitted = Emitted { event: *event, channel: *channel, properties: properties.as_deref(), context, t: *t, chain };
        let now = self.clock.now();
        let hook = (job.cause, job.place);
        match self.try_track_job(&job, &emitted) {
            Ok(seq) => {
                // No record of its own: the event under the job's id says that it is done, and a crash
                // that forgets it finds the id taken.
                self.outbox.settle(&JobRecord { job: id, at: now, fate: Fate::Done });
                self.outbox.health().note(hook, now, None);
                m::job_done(m::JobKind::Event);
                seq
            }
            Err(Refused::Later) => Seq(0),
            Err(Refused::For(reason)) => {
                self.outbox.health().note(hook, now, Some(reason));
                m::job_dead(m::JobKind::Event, reason);
                tracing::debug!(reason, "an emitted event was refused");
                self.settle_job(id, Fate::Dead { tries: 1, reason: reason.into() })
            }
        }
    }

    /// The normal way in, as if a client had sent it: validated, under an id of its own, at most once.
    fn try_track_job(&self, job: &Job, emitted: &Emitted<'_>) -> Result<Seq, Refused> {
        self.writable()?;
        if emitted.chain.len() > CHAIN_MAX {
            return Err(Refused::For("chain_too_deep"));
        }
        let plan = self.plan.load();
        let event = plan.event_plan(emitted.event).ok_or(Refused::For("unknown_event"))?;
        let channel = plan.channel_plan(emitted.channel).ok_or(Refused::For("unknown_channel"))?.slot;
        let message_id = uuid::Uuid::from_u128(job.id).to_string();
        let at = self.clock.now();
        if let Some(first) = self.dedupe.find(&self.disk, &message_id.as_str().into(), at) {
            return Ok(first.seq);
        }
        // Nobody comes back to life by an event of ours.
        let shared = self.store.find(&job.user_id).or_else(|| self.store.get(job.profile));
        let shared = shared.ok_or(Refused::For("profile_not_found"))?;
        let grant = TokenGrant { id: DefId::default(), channel: Some(channel), kind: TokenKind::Secret, import: true };
        let caller = Caller { grant, channel };
        let input = TrackInput {
            user_id: &job.user_id,
            event: &event.name,
            properties: emitted.properties,
            message_id: Some(&message_id),
            ..TrackInput::default()
        };
        let props = event.schema.validate(emitted.properties.unwrap_or(""), &plan.zone).map_err(|errors| {
            self.invalid.record(
                self,
                &plan,
                &Reject { caller: &caller, input: &input, at },
                "properties",
                event.version,
                &errors,
            );
            Refused::For("event_properties_invalid")
        })?;
        // The context is that of an input that was let in, or of none where time brought this about: no
        // client is at hand to be asked for what a definition requires.
        let (context, chain) = (emitted.context.clone(), emitted.chain.into());
        let occurrence = Occurrence { event: event.slot, version: event.version, channel, props, context, chain };
        let draft = Draft {
            t: emitted.t.min(at),
            at,
            user_id: job.user_id.clone(),
            message_id: Some(message_id.as_str().into()),
            kind: EntryKind::Event(occurrence),
        };
        match self.write_to(shared, &job.user_id, draft, Some(channel), None)? {
            Stored::Stored { seq, .. } => {
                self.stats.events.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                m::events_accepted();
                Ok(seq)
            }
            Stored::Duplicate { seq, .. } => Ok(seq),
            Stored::Dropped => Err(Refused::For("identity_locked")),
            Stored::Rejected(rejection) => Err(rejection.into()),
        }
    }
}
