//! The jobs in memory. Pure: time and durable positions come in.

use super::endpoint::{Endpoint, Next};
use super::rows::Mark;
use compact_str::CompactString;
use foldhash::fast::RandomState;
use lodestone_state::command::{Fate, JobRecord};
use lodestone_state::event::Link;
use lodestone_state::ids::{Millis, ProfileId, Seq};
use lodestone_state::job::{Job, Work};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its turn comes.
    Waiting,
    /// It is being called.
    Running,
    /// Given up.
    Dead,
}

impl Stage {
    /// Every stage, for the metrics.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Running, Self::Dead];

    /// The word in metrics and the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "pending",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }
}

/// A job in memory, with or without what it says.
#[derive(Clone, Debug)]
pub struct Held {
    /// Log position and place: the order of jobs.
    pub key: (Seq, u16),
    /// Whose.
    pub profile: ProfileId,
    /// What asked for it.
    pub cause: Link,
    /// When its entry arrived.
    pub at: Millis,
    /// How far it is.
    pub stage: Stage,
    /// Tries so far.
    pub tries: u16,
    /// Not before this.
    pub next: Millis,
    /// Why the last try failed.
    pub reason: CompactString,
    /// When that was.
    pub tried_at: Option<Millis>,
    /// The job itself, while memory has room for it or no checkpoint has written it.
    pub job: Option<Arc<Job>>,
    /// Which endpoint; none for an event.
    endpoint: Option<usize>,
    /// Waits since then: its arrival, or when an operator wanted it tried again.
    since: Millis,
    /// A row on disk says what it is.
    saved: bool,
    /// Stands in the list of what is to be written.
    listed: bool,
}

/// What may be called now.
#[derive(Debug, Default)]
pub struct Turn {
    /// These; they count as running from now on.
    pub due: Vec<Due>,
    /// The next one may be called then.
    pub next: Option<Millis>,
    /// One could be called as soon as the journal is durable further.
    pub waits_for_durable: bool,
}

/// One call to make.
#[derive(Clone, Debug)]
pub struct Due {
    /// The job.
    pub id: u128,
    /// Tries so far.
    pub tries: u16,
    /// Whose place it takes until [`crate::outbox::Outbox::ended`].
    pub endpoint: usize,
}

/// What a call told of its endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// It took the job.
    pub well: bool,
    /// How long it wants to be left alone.
    pub pause: Option<Duration>,
}

/// One line of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The job.
    pub id: u128,
    /// Where it goes; empty for an event.
    pub endpoint: String,
    /// How it stands.
    pub held: Held,
}

/// Numbers for people and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that wait or are being called.
    pub pending: usize,
    /// Calls under way, those included whose job has been taken out since.
    pub running: usize,
    /// Given up and kept.
    pub dead: usize,
    /// Endpoints that are left alone for a while.
    pub closed: usize,
    /// Bytes of jobs in memory.
    pub resident_bytes: usize,
    /// Arrival of the oldest job that waits.
    pub oldest: Option<Millis>,
}

/// What is to be written about a job.
pub(super) struct Changed {
    pub(super) id: u128,
    /// What it is, where no row says so yet.
    pub(super) job: Option<Arc<Job>>,
    /// How it stands; `None` for one that is done.
    pub(super) mark: Option<Mark>,
}

/// All jobs that are not done.
pub(super) struct Table {
    running_max: usize,
    per_endpoint: usize,
    jobs: HashMap<u128, Held, RandomState>,
    pending: BTreeMap<(Seq, u16), u128>,
    dead: BTreeMap<(Seq, u16), u128>,
    endpoints: Vec<Endpoint>,
    names: HashMap<Box<str>, usize, RandomState>,
    running: usize,
    /// Where the next turn begins to look, so that no endpoint is always first.
    first: usize,
    tracks: usize,
    resident: usize,
    changed: VecDeque<u128>,
    gone: VecDeque<u128>,
}

/// Bytes of a job in memory.
fn cost(job: &Job) -> usize {
    let work = match &job.work {
        Work::Webhook { url, body, .. } => url.len() + body.len(),
        Work::Track { properties, context, .. } => properties.as_ref().map_or(0, |p| p.len()) + 64 * context.iter().count(),
    };
    size_of::<Job>() + work + job.user_id.len()
}

impl Table {
    pub(super) fn new(running_max: usize, per_endpoint: usize) -> Self {
        Self {
            running_max,
            per_endpoint,
            jobs: HashMap::default(),
            pending: BTreeMap::new(),
            dead: BTreeMap::new(),
            endpoints: Vec::new(),
            names: HashMap::default(),
            running: 0,
            first: 0,
            tracks: 0,
            resident: 0,
            changed: VecDeque::new(),
            gone: VecDeque::new(),
        }
    }

    pub(super) fn held(&self, id: u128) -> Option<&Held> {
        self.jobs.get(&id)
    }

    /// Events that are not tracked yet.
    pub(super) fn tracks(&self) -> usize {
        self.tracks
    }

    /// Bytes of jobs in memory.
    pub(super) fn resident(&self) -> usize {
        self.resident
    }

    fn endpoint(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        let at = self.endpoints.len();
        self.endpoints.push(Endpoint::new(name));
        self.names.insert(name.into(), at);
        at
    }

    /// Adds a job. One that is there already stays as it is.
    pub(super) fn enqueue(&mut self, job: Arc<Job>) {
        if !self.jobs.contains_key(&job.id) {
            let next = job.at;
            self.add(job, Mark { next, ..Mark::default() }, false);
        }
    }

    /// Adds a job as a checkpoint wrote it.
    pub(super) fn restore(&mut self, job: Job, mark: Mark) {
        if !self.jobs.contains_key(&job.id) {
            self.add(Arc::new(job), mark, true);
        }
    }

    fn add(&mut self, job: Arc<Job>, mark: Mark, saved: bool) {
        let id = job.id;
        let endpoint = match &job.work {
            Work::Webhook { .. } => Some(self.endpoint(&job.endpoint())),
            Work::Track { .. } => None,
        };
        self.resident += cost(&job);
        self.jobs.insert(
            id,
            Held {
                key: (job.seq, job.place),
                profile: job.profile,
                cause: job.cause,
                at: job.at,
                stage: if mark.dead { Stage::Dead } else { Stage::Waiting },
                tries: mark.tries,
                next: mark.next,
                reason: mark.reason,
                tried_at: mark.tried_at,
                since: job.at.max(mark.tried_at.unwrap_or(Millis::MIN)),
                job: Some(job),
                endpoint,
                saved,
                listed: false,
            },
        );
        self.file(id);
        if !saved {
            self.list_change(id);
        }
    }

    /// Puts a job where its stage says that it belongs.
    fn file(&mut self, id: u128) {
        let Some(held) = self.jobs.get(&id) else { return };
        if held.stage == Stage::Dead {
            self.dead.insert(held.key, id);
            return;
        }
        self.pending.insert(held.key, id);
        match held.endpoint {
            Some(at) if held.stage == Stage::Waiting => {
                self.endpoints[at].queue.insert((held.next, held.key, id));
            }
            Some(_) => {}
            None => self.tracks += 1,
        }
    }

    /// Takes a job out of where its stage says that it is.
    fn unfile(&mut self, id: u128) {
        let Some(held) = self.jobs.get(&id) else { return };
        match (held.stage, held.endpoint) {
            (Stage::Dead, _) => {
                self.dead.remove(&held.key);
                return;
            }
            (Stage::Waiting, Some(at)) => {
                self.endpoints[at].queue.remove(&(held.next, held.key, id));
            }
            // Its call takes a place until it ends.
            (Stage::Running, Some(_)) => {}
            (_, None) => self.tracks -= 1,
        }
        self.pending.remove(&held.key);
    }

    fn list_change(&mut self, id: u128) {
        if let Some(held) = self.jobs.get_mut(&id)
            && !held.listed
        {
            held.listed = true;
            self.changed.push_back(id);
        }
    }

    /// Applies what became of a job.
    pub(super) fn settle(&mut self, record: &JobRecord) {
        let id = record.job;
        self.unfile(id);
        let Some(held) = self.jobs.get_mut(&id) else { return };
        match &record.fate {
            Fate::Done | Fate::Dropped => return self.forget(id),
            Fate::Failed { tries, reason, next } => {
                (held.tries, held.next, held.stage) = (*tries, *next, Stage::Waiting);
                (held.reason, held.tried_at) = (reason.clone(), Some(record.at));
            }
            Fate::Dead { tries, reason } => {
                (held.tries, held.stage) = (*tries, Stage::Dead);
                (held.reason, held.tried_at) = (reason.clone(), Some(record.at));
            }
            Fate::Again => {
                (held.tries, held.next, held.since, held.stage) = (0, record.at, record.at, Stage::Waiting);
            }
        }
        self.file(id);
        self.list_change(id);
    }

    /// Lets go of a job that stands nowhere any more.
    fn forget(&mut self, id: u128) {
        if let Some(held) = self.jobs.remove(&id) {
            self.resident -= held.job.as_deref().map_or(0, cost);
            if held.saved {
                self.gone.push_back(id);
            }
        }
    }

    /// Takes out every job of the entry at `entry`, which has left its log. How far each of them was.
    pub(super) fn erase(&mut self, entry: Seq) -> Vec<Stage> {
        let its = (entry, 0)..=(entry, u16::MAX);
        let ids: Vec<u128> = self.pending.range(its.clone()).chain(self.dead.range(its)).map(|(_, id)| *id).collect();
        let stages = ids.iter().filter_map(|id| self.held(*id)).map(|held| held.stage).collect();
        for id in ids {
            self.unfile(id);
            self.forget(id);
        }
        stages
    }

    pub(super) fn turn(&mut self, now: Millis, durable: Seq) -> Turn {
        let mut turn = Turn::default();
        let count = self.endpoints.len();
        // One call for each endpoint in turn, until nobody has any more.
        let mut asked = 0;
        while count > 0 && asked < count {
            let at = self.first % count;
            self.first = (at + 1) % count;
            asked += 1;
            // Nobody is kept waiting by others that hang: one call each there is always room for.
            if self.running >= self.running_max && self.endpoints[at].running > 0 {
                continue;
            }
            match self.endpoints[at].next(now, durable, self.per_endpoint) {
                Next::Job(id) => {
                    asked = 0;
                    self.start(at, id);
                    let tries = self.jobs.get(&id).map_or(0, |held| held.tries);
                    turn.due.push(Due { id, tries, endpoint: at });
                }
                Next::At(when) => turn.next = Some(turn.next.map_or(when, |next| next.min(when))),
                Next::Durable => turn.waits_for_durable = true,
                Next::Wait => {}
            }
        }
        turn
    }

    fn start(&mut self, at: usize, id: u128) {
        let Some(held) = self.jobs.get_mut(&id) else { return };
        held.stage = Stage::Running;
        let endpoint = &mut self.endpoints[at];
        endpoint.queue.remove(&(held.next, held.key, id));
        endpoint.running += 1;
        self.running += 1;
    }

    pub(super) fn ended(&mut self, endpoint: usize, told: Option<Told>, now: Millis) {
        self.running -= 1;
        let endpoint = &mut self.endpoints[endpoint];
        endpoint.running -= 1;
        if let Some(told) = told {
            endpoint.told(told, now);
        }
    }

    pub(super) fn waiting_tracks(&self, before: Millis, max: usize) -> Vec<u128> {
        if self.tracks == 0 {
            return Vec::new();
        }
        let waits = |id: &&u128| self.jobs.get(id).is_some_and(|held| held.endpoint.is_none() && held.since < before);
        self.pending.values().filter(waits).take(max).copied().collect()
    }

    pub(super) fn overdue(&self, before: Millis, pending_max: usize, max: usize) -> Vec<(u128, &'static str)> {
        let waits = |id: &u128| self.jobs.get(id).filter(|held| held.stage == Stage::Waiting && held.endpoint.is_some());
        let late = |id: &&u128| waits(id).is_some_and(|held| held.since < before);
        let mut given_up: Vec<_> = self.pending.values().filter(late).take(max).map(|id| (*id, "expired")).collect();
        let surplus = self.pending.len().saturating_sub(pending_max + given_up.len()).min(max - given_up.len());
        if surplus > 0
            && let Some(longest) = self.endpoints.iter().max_by_key(|endpoint| endpoint.queue.len())
        {
            let known: HashSet<u128> = given_up.iter().map(|(id, _)| *id).collect();
            let mut newest: Vec<_> = longest.queue.iter().map(|(_, key, id)| (*key, *id)).collect();
            newest.sort_unstable_by(|a, b| b.cmp(a));
            let newest = newest.into_iter().map(|(_, id)| id).filter(|id| !known.contains(id));
            given_up.extend(newest.take(surplus).map(|id| (id, "overflow")));
        }
        given_up
    }

    pub(super) fn outdated(&self, before: Millis, kept_from: Millis, dead_max: usize, max: usize) -> Vec<u128> {
        let surplus = self.dead.len().saturating_sub(dead_max);
        let is = |id: &u128, test: &dyn Fn(&Held) -> bool| self.jobs.get(id).is_some_and(test);
        let old = |id: &u128| is(id, &|held| held.tried_at.unwrap_or(held.at) < before || held.at < kept_from);
        let dead = self.dead.values().enumerate().filter(|(nth, id)| *nth < surplus || old(id)).map(|(_, id)| id);
        // In the order of the log, which is about that of time.
        let pending = self.pending.values().take_while(|id| is(id, &|held| held.at < kept_from));
        pending.chain(dead).take(max).copied().collect()
    }

    pub(super) fn dead_of(&self, endpoint: Option<&str>, max: usize) -> Vec<u128> {
        let at = match endpoint {
            Some(name) => match self.names.get(name) {
                Some(at) => Some(*at),
                None => return Vec::new(),
            },
            None => None,
        };
        let wanted = |id: &&u128| at.is_none() || self.jobs.get(id).is_some_and(|held| held.endpoint == at);
        self.dead.values().filter(wanted).take(max).copied().collect()
    }

    pub(super) fn list(&self, dead: bool, after: Option<(Seq, u16)>, limit: usize) -> Vec<Listed> {
        use std::ops::Bound::{Excluded, Unbounded};
        let line = |(_, id): (&(Seq, u16), &u128)| {
            let held = self.jobs.get(id)?;
            let endpoint = held.endpoint.map(|at| self.endpoints[at].name.to_string()).unwrap_or_default();
            Some(Listed { id: *id, endpoint, held: held.clone() })
        };
        if dead {
            let range = (Unbounded, after.map_or(Unbounded, Excluded));
            self.dead.range(range).rev().filter_map(line).take(limit).collect()
        } else {
            let range = (after.map_or(Unbounded, Excluded), Unbounded);
            self.pending.range(range).filter_map(line).take(limit).collect()
        }
    }

    pub(super) fn counts(&self, now: Millis) -> Counts {
        let oldest = self.pending.values().next().and_then(|id| self.jobs.get(id)).map(|held| held.at);
        Counts {
            pending: self.pending.len(),
            running: self.running,
            dead: self.dead.len(),
            closed: self.endpoints.iter().filter(|endpoint| endpoint.is_closed(now)).count(),
            resident_bytes: self.resident,
            oldest,
        }
    }

    /// How many changes are not written.
    pub(super) fn unwritten(&self) -> usize {
        self.changed.len() + self.gone.len()
    }

    /// Takes at most `max` changes that are to be written, the oldest first.
    pub(super) fn collect(&mut self, max: usize) -> Vec<Changed> {
        let mut changes = Vec::new();
        while changes.len() < max
            && let Some(id) = self.changed.pop_front()
        {
            // Done in the meantime: what may be on disk of it stands among the gone.
            let Some(held) = self.jobs.get_mut(&id) else { continue };
            held.listed = false;
            let job = if held.saved { None } else { held.job.clone() };
            held.saved = true;
            let mark = Mark {
                tries: held.tries,
                next: held.next,
                reason: held.reason.clone(),
                tried_at: held.tried_at,
                dead: held.stage == Stage::Dead,
            };
            changes.push(Changed { id, job, mark: Some(mark) });
        }
        // After what was changed before: a job that was written above may be among these by now, but only
        // through a later call.
        while changes.len() < max
            && let Some(id) = self.gone.pop_front()
        {
            changes.push(Changed { id, job: None, mark: None });
        }
        changes
    }

    /// Lets go of jobs that are on disk until memory holds at most `bytes`: given up ones first, then
    /// those whose turn comes last.
    pub(super) fn evict(&mut self, bytes: usize) {
        if self.resident <= bytes {
            return;
        }
        for id in self.dead.values().chain(self.pending.values().rev()) {
            if self.resident <= bytes {
                return;
            }
            if let Some(held) = self.jobs.get_mut(id)
                && held.saved
                && let Some(job) = held.job.take()
            {
                self.resident -= cost(&job);
            }
        }
    }
}

#[cfg(test)]
mod tests;
