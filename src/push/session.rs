//! One session: what it acts for, what it subscribed to, what waits to be sent.

use super::PushFrame;
use super::outbox::Outbox;
use lodestone_state::action::push::LiveSet;
use lodestone_state::ids::{ActionSlot, ChannelSlot, DefId, Millis, ProfileId};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// A connected (or resumable) session. Lock order: profile → session.
pub struct Session {
    id: u64,
    connection_id: String,
    channel: ChannelSlot,
    inner: Mutex<Inner>,
    notify: Notify,
}

/// A connection's hold on a session: tells it when another connection has taken over.
#[derive(Debug, Default)]
pub struct Holder(AtomicBool);

impl Holder {
    /// Whether another connection has resumed the session.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn replace(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a connection learns when it takes what is to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    /// When the oldest of it was ready, if that was for this connection.
    pub queued_at: Option<Instant>,
    /// When to look again: more may leave then.
    pub due: Option<Instant>,
}

/// What changes about a session, under its own mutex.
pub struct Inner {
    /// The profile, once the session's identity has one.
    pub profile: Option<ProfileId>,
    /// The id it acts for.
    pub user_id: String,
    /// Whether that id is anonymous.
    pub is_anonymous: bool,
    /// The connection context as text, for events without one of their own.
    pub context_raw: Option<String>,
    /// Subscriptions and the actions live on them.
    pub live: LiveSet,
    /// Which token: a resume needs the same.
    pub token_id: DefId,
    /// The one-time token that resumes it.
    pub resume_token: String,
    /// Since when nobody holds it; `None` while connected.
    pub left_at: Option<Millis>,
    /// What waits to be sent.
    pub outbox: Outbox,
    holder: Arc<Holder>,
    /// Actions for which the hub finds this session, sorted.
    pub(super) indexed: SmallVec<[ActionSlot; 2]>,
    /// Nobody can resume it any more.
    pub(super) gone: bool,
}

impl Session {
    /// A session with nothing queued.
    pub(super) fn new(id: u64, channel: ChannelSlot, inner: Inner) -> Self {
        let connection_id = format!("cn_{}", uuid::Uuid::now_v7().simple());
        Self { id, connection_id, channel, inner: Mutex::new(inner), notify: Notify::new() }
    }

    /// Its number, for the calls that name the connection an input came over.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name on the wire.
    #[must_use]
    pub fn connection_id(&self) -> String {
        self.connection_id.clone()
    }

    /// The token's channel.
    #[must_use]
    pub fn channel(&self) -> ChannelSlot {
        self.channel
    }

    /// What resumes it; changes at every resume.
    #[must_use]
    pub fn resume_token(&self) -> String {
        self.inner.lock().resume_token.clone()
    }

    /// The id it acts for, and whether that is anonymous.
    #[must_use]
    pub fn user_id(&self) -> (String, bool) {
        let inner = self.inner.lock();
        (inner.user_id.clone(), inner.is_anonymous)
    }

    /// The connection context as JSON text.
    #[must_use]
    pub fn context_raw(&self) -> Option<String> {
        self.inner.lock().context_raw.clone()
    }

    /// Ends when something is queued, or the session was taken over.
    pub async fn notified(&self) {
        self.notify.notified().await;
    }

    /// Moves everything that may leave now to `out`, unless another connection than `holder`'s has the
    /// session now.
    pub fn drain(&self, holder: &Holder, out: &mut Vec<PushFrame>) -> Drained {
        let mut inner = self.inner.lock();
        if holder.is_replaced() {
            return Drained::default();
        }
        let queued_at = inner.outbox.drain(Instant::now(), out);
        Drained { queued_at, due: inner.outbox.due() }
    }

    /// Whether something is queued.
    #[must_use]
    pub fn has_frames(&self) -> bool {
        !self.inner.lock().outbox.is_empty()
    }

    /// The hold of the connection that has it now.
    #[must_use]
    pub fn holder(&self) -> Arc<Holder> {
        self.inner.lock().holder.clone()
    }

    /// Its changing part. The caller holds the profile's lock if it holds any.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Wakes the connection that held it until now as well as the one that holds it next.
    pub(super) fn wake_all(&self) {
        self.notify.notify_waiters();
        self.notify.notify_one();
    }

    /// Wakes the connection that writes what is queued.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

impl Inner {
    /// A fresh session's state. `push_rate` is how many actions may leave in a second; 0 for any number.
    #[must_use]
    pub fn new(user_id: String, is_anonymous: bool, token_id: DefId, live: LiveSet, push_rate: u32) -> Self {
        Self {
            profile: None,
            user_id,
            is_anonymous,
            context_raw: None,
            live,
            token_id,
            resume_token: new_resume_token(),
            left_at: None,
            outbox: Outbox::new(push_rate, Instant::now()),
            holder: Arc::default(),
            indexed: SmallVec::new(),
            gone: false,
        }
    }

    /// Queues a frame that answers somebody or tells of an identity, with the next sequence number.
    pub fn queue(&mut self, frame: impl FnOnce(u64) -> PushFrame) {
        self.outbox.queue(frame, Instant::now());
    }

    /// A merge or split that others asked for changed whom it acts for. It is told once the log is durable up to
    /// `durable`.
    pub fn now_acts(&mut self, is_anonymous: bool, durable: u64) {
        self.is_anonymous = is_anonymous;
        let user_id = self.user_id.clone();
        let (merged, skipped) = (Vec::new(), Vec::new());
        self.queue(|seq| PushFrame::Identified { seq, id: None, user_id, is_anonymous, merged, skipped, durable });
    }

    /// Gives the hold to the next connection; the present one gets to know.
    pub(super) fn take_holder(&mut self) -> Arc<Holder> {
        std::mem::take(&mut self.holder)
    }
}

/// 256 random bits from the system.
pub(super) fn new_resume_token() -> String {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    format!("rt_{}{}", a.simple(), b.simple())
}
