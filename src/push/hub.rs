//! Every session: by number, by profile, by resume token.
//!
//! The hub's maps are looked up under a profile's lock but never hold one.

use super::index::Holders;
use super::session::{Inner, Session, new_resume_token};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use lodestone_state::ids::{ActionSlot, ChannelSlot, DefId, Millis, ProfileId};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Most profiles have one or two tabs open.
pub type Sessions = SmallVec<[Arc<Session>; 2]>;

/// The sessions of this node.
pub struct Hub {
    sessions: DashMap<u64, Arc<Session>, RandomState>,
    by_profile: DashMap<ProfileId, Sessions, RandomState>,
    by_token: DashMap<String, u64, RandomState>,
    holders: Holders,
    connected: AtomicUsize,
    next: AtomicU64,
    resume_ttl: Duration,
}

impl Hub {
    /// A hub whose sessions can be resumed for `resume_ttl` after their connection is gone.
    #[must_use]
    pub fn new(resume_ttl: Duration) -> Self {
        let shards = 256;
        Self {
            sessions: DashMap::with_hasher_and_shard_amount(RandomState::default(), shards),
            by_profile: DashMap::with_hasher_and_shard_amount(RandomState::default(), shards),
            by_token: DashMap::with_hasher_and_shard_amount(RandomState::default(), shards),
            holders: Holders::new(),
            connected: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            resume_ttl,
        }
    }

    /// How long a session can be resumed.
    #[must_use]
    pub fn resume_ttl(&self) -> Duration {
        self.resume_ttl
    }

    /// Connected sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes in a new session.
    pub(crate) fn insert(&self, channel: ChannelSlot, inner: Inner) -> Arc<Session> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.by_token.insert(inner.resume_token.clone(), id);
        let session = Arc::new(Session::new(id, channel, inner));
        self.sessions.insert(id, session.clone());
        self.connected.fetch_add(1, Ordering::Relaxed);
        session
    }

    /// Hands a session to another connection: same token hash, token good for one use, and everything
    /// after `last_seq` still kept. The old holder learns that it was replaced.
    pub(crate) fn take_over(&self, token: &str, token_id: DefId, last_seq: u64, now: Millis) -> Option<Arc<Session>> {
        let id = *self.by_token.get(token)?;
        let session = self.sessions.get(&id)?.clone();
        let mut inner = session.lock();
        let expired =
            inner.left_at.is_some_and(|left| now.0 - left.0 > i64::try_from(self.resume_ttl.as_millis()).unwrap_or(i64::MAX));
        // A token works once: of two connections that bring it, one finds it changed.
        if inner.resume_token != token || inner.token_id != token_id || expired || !inner.outbox.replay(last_seq) {
            return None;
        }
        let fresh = new_resume_token();
        self.by_token.remove(token);
        self.by_token.insert(fresh.clone(), id);
        inner.resume_token = fresh;
        if inner.left_at.take().is_some() {
            self.connected.fetch_add(1, Ordering::Relaxed);
        }
        inner.outbox.connected(true);
        // Under the lock, so that the old holder cannot take what was queued for the new one.
        inner.take_holder().replace();
        drop(inner);
        session.wake_all();
        Some(session)
    }

    /// The session with this number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions.get(&id).map(|session| session.clone())
    }

    /// The sessions of a profile, connected or resumable. One look-up; none is the common answer.
    #[must_use]
    pub fn of(&self, profile: ProfileId) -> Sessions {
        self.by_profile.get(&profile).map(|sessions| sessions.clone()).unwrap_or_default()
    }

    /// Files a session under `profile`, and no longer under another.
    pub(crate) fn bind(&self, session: &Arc<Session>, profile: ProfileId) {
        let before = {
            let mut inner = session.lock();
            inner.profile.replace(profile)
        };
        if before == Some(profile) {
            return;
        }
        if let Some(before) = before {
            self.unfile(before, session.id());
        }
        self.by_profile.entry(profile).or_default().push(session.clone());
    }

    /// Moves the sessions of absorbed profiles to the survivor.
    pub(crate) fn move_all(&self, gone: &[ProfileId], leader: ProfileId) {
        for id in gone {
            if let Some((_, sessions)) = self.by_profile.remove(id) {
                for session in sessions {
                    session.lock().profile = Some(leader);
                    self.by_profile.entry(leader).or_default().push(session);
                }
            }
        }
    }

    fn unfile(&self, profile: ProfileId, session: u64) {
        if let dashmap::mapref::entry::Entry::Occupied(mut filed) = self.by_profile.entry(profile) {
            filed.get_mut().retain(|s| s.id() != session);
            if filed.get().is_empty() {
                filed.remove();
            }
        }
    }

    /// The connection is gone; the session can be resumed for a while.
    pub fn leave(&self, session: &Session, now: Millis) {
        let mut inner = session.lock();
        if inner.left_at.is_none() {
            inner.left_at = Some(now);
            inner.outbox.connected(false);
            self.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Keeps `actions`, sorted, as those for which [`Hub::holders`] finds this session. The caller holds
    /// the lock behind `inner`.
    pub(crate) fn index(&self, session: &Arc<Session>, inner: &mut Inner, actions: SmallVec<[ActionSlot; 2]>) {
        if inner.gone {
            return;
        }
        for action in actions.iter().filter(|action| !inner.indexed.contains(action)) {
            self.holders.add(*action, session);
        }
        for action in inner.indexed.iter().filter(|action| !actions.contains(action)) {
            self.holders.remove(*action, session.id());
        }
        inner.indexed = actions;
    }

    /// The sessions that hold an action, or may come to by themselves, of those that are indexed.
    #[must_use]
    pub fn holders(&self, action: ActionSlot) -> Vec<Arc<Session>> {
        self.holders.of(action)
    }

    /// Forgets sessions that nobody resumed in time, and gives them.
    pub fn expire(&self, now: Millis) -> Vec<Arc<Session>> {
        let ttl = i64::try_from(self.resume_ttl.as_millis()).unwrap_or(i64::MAX);
        let old: Vec<Arc<Session>> = self
            .sessions
            .iter()
            .filter(|s| s.lock().left_at.is_some_and(|left| now.0 - left.0 > ttl))
            .map(|s| s.value().clone())
            .collect();
        for session in &old {
            let (profile, token) = {
                let mut inner = session.lock();
                self.index(session, &mut inner, SmallVec::new());
                inner.gone = true;
                (inner.profile, inner.resume_token.clone())
            };
            if let Some(profile) = profile {
                self.unfile(profile, session.id());
            }
            self.by_token.remove(&token);
            self.sessions.remove(&session.id());
        }
        old
    }

    /// The sessions that `wanted` wants.
    #[must_use]
    pub fn sessions(&self, wanted: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        self.sessions.iter().filter(|s| wanted(s)).map(|s| s.value().clone()).collect()
    }
}
