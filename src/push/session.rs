//! One session: what it acts for, what it subscribed to, what waits to be sent.

use super::PushFrame;
use lodestone_state::action::push::LiveSet;
use lodestone_state::ids::{ChannelSlot, DefId, Millis, ProfileId};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

/// Frames queued for one session; on overflow pending actions are dropped and the session is resynced.
pub const OUTBOX_MAX: usize = 256;
/// Sequenced frames kept for a resume.
pub const RING_MAX: usize = 256;

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
    holder: Arc<Holder>,
    outbox: VecDeque<PushFrame>,
    /// Since when something waits, for the metrics; none for what waited for a reconnect.
    queued_at: Option<Instant>,
    ring: VecDeque<PushFrame>,
    seq: u64,
    seen: u64,
    resync: bool,
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

    /// Moves everything queued to `out`, unless another connection than `holder`'s has the session now.
    /// Gives when the oldest of it was queued, if that was for this connection.
    pub fn drain(&self, holder: &Holder, out: &mut Vec<PushFrame>) -> Option<Instant> {
        let mut inner = self.inner.lock();
        if holder.is_replaced() {
            return None;
        }
        out.extend(inner.outbox.drain(..));
        inner.queued_at.take()
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
    /// A fresh session's state.
    #[must_use]
    pub fn new(user_id: String, is_anonymous: bool, token_id: DefId, live: LiveSet) -> Self {
        Self {
            profile: None,
            user_id,
            is_anonymous,
            context_raw: None,
            live,
            token_id,
            resume_token: new_resume_token(),
            left_at: None,
            holder: Arc::default(),
            outbox: VecDeque::new(),
            queued_at: None,
            ring: VecDeque::new(),
            seq: 0,
            seen: 0,
            resync: false,
        }
    }

    /// The next session sequence number.
    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// The newest sequence number given out.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Queues a sequenced frame, and keeps it for a resume. A full outbox sheds its actions; the caller
    /// asks [`Inner::take_resync`] and sends fresh snapshots.
    pub fn queue(&mut self, frame: PushFrame) {
        if self.ring.len() == RING_MAX {
            self.ring.pop_front();
        }
        self.ring.push_back(frame.clone());
        if self.outbox.len() >= OUTBOX_MAX && matches!(frame, PushFrame::Action { .. } | PushFrame::Revoked { .. }) {
            self.outbox.retain(|f| !matches!(f, PushFrame::Action { .. } | PushFrame::Revoked { .. }));
            self.resync = true;
            return;
        }
        if self.outbox.is_empty() && self.left_at.is_none() {
            self.queued_at = Some(Instant::now());
        }
        self.outbox.push_back(frame);
    }

    /// Gives the hold to the next connection; the present one gets to know.
    pub(super) fn take_holder(&mut self) -> Arc<Holder> {
        std::mem::take(&mut self.holder)
    }

    /// Whether actions were shed since the last time this was asked.
    pub fn take_resync(&mut self) -> bool {
        std::mem::take(&mut self.resync)
    }

    /// Notes that the client has everything up to `seq`; gives the frames that this newly covers.
    pub fn seen(&mut self, seq: u64) -> Vec<PushFrame> {
        let from = self.seen;
        self.seen = self.seen.max(seq.min(self.seq));
        let upto = self.seen;
        self.ring.iter().filter(|f| (from + 1..=upto).contains(&f.seq())).cloned().collect()
    }

    /// Queues again everything after `last_seq`. False when some of that is not kept any more.
    pub fn replay(&mut self, last_seq: u64) -> bool {
        if last_seq > self.seq || self.seq - last_seq > self.ring.len() as u64 {
            return false;
        }
        self.outbox = self.ring.iter().filter(|f| f.seq() > last_seq).cloned().collect();
        self.queued_at = None;
        true
    }
}

/// 256 random bits from the system.
pub(super) fn new_resume_token() -> String {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    format!("rt_{}{}", a.simple(), b.simple())
}
