//! What waits to be sent to one session.
//!
//! Frames get their sequence number when they are ready to leave, and are kept for a resume. How fast
//! actions leave is bounded, so that an action that flaps does not flood a client: past the rate an action
//! waits, and only its newest state does. What is taken back while it waits was never there. Revokes of what
//! the client has do not wait; they count, so that the next actions wait longer.
//!
//! A connection that takes nothing gets at most [`OUTBOX_MAX`] frames queued; past that its actions are
//! dropped, and the engine sends snapshots instead.

use super::PushFrame;
use super::bucket::Bucket;
use compact_str::CompactString;
use lodestone_state::action::push::{Cause, DeliveredAction, PushOp, RevokeReason, Subs};
use lodestone_state::ids::{ActionSlot, DefId, ProfileId};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::time::Instant;

/// Frames queued for one session; on overflow pending actions are dropped and the session is resynced.
pub const OUTBOX_MAX: usize = 256;
/// Sequenced frames kept for a resume.
pub const RING_MAX: usize = 256;
/// Deliveries that were sent and not acknowledged; the oldest is given up past that.
const UNSEEN_MAX: usize = 1024;

/// A delivery that began and is not recorded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unseen {
    /// The frame that it began with.
    pub seq: u64,
    /// Which action.
    pub action: ActionSlot,
    /// Which delivery.
    pub delivery: u128,
    /// To whom, where that is not who the session acts for any more.
    pub of: Option<(ProfileId, String)>,
}

/// An action that waits for its turn.
#[derive(Debug)]
struct Waiting {
    slot: ActionSlot,
    /// For whom, and whether they do not hold it yet.
    subs: SmallVec<[(CompactString, bool); 1]>,
    cause: Cause,
    action: DeliveredAction,
    /// The delivery begins with it.
    first: bool,
}

/// The queue of one session.
#[derive(Debug)]
pub struct Outbox {
    frames: VecDeque<PushFrame>,
    /// Since when something waits, for the metrics; none for what waited for a reconnect.
    queued_at: Option<Instant>,
    ring: VecDeque<PushFrame>,
    waiting: VecDeque<Waiting>,
    bucket: Bucket,
    /// Whether a connection takes frames; without one actions wait, whatever the rate.
    connected: bool,
    seq: u64,
    seen: u64,
    unseen: VecDeque<Unseen>,
    lost: Vec<Unseen>,
    resync: bool,
}

impl Outbox {
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        Self {
            frames: VecDeque::new(),
            queued_at: None,
            ring: VecDeque::new(),
            waiting: VecDeque::new(),
            bucket: Bucket::new(rate, now),
            connected: true,
            seq: 0,
            seen: 0,
            unseen: VecDeque::new(),
            lost: Vec::new(),
            resync: false,
        }
    }

    /// The newest sequence number given out.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Queues what the live set wants sent.
    pub fn push(&mut self, op: PushOp, cause: Cause, now: Instant) {
        match op {
            PushOp::Enter { slot, subs, action, first } => self.act(slot, subs, true, cause, action, first, now),
            // What an action says comes from traits, so that is why it says something else now.
            PushOp::Update { slot, subs, action } => self.act(slot, subs, false, Cause::Trait, action, false, now),
            PushOp::Revoke { slot, id, subs, delivery_id, reason } => self.revoke(slot, id, subs, delivery_id, reason, now),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one frame")]
    fn act(
        &mut self,
        slot: ActionSlot,
        subs: Subs,
        enters: bool,
        cause: Cause,
        action: DeliveredAction,
        first: bool,
        now: Instant,
    ) {
        let place = self.waiting.iter().position(|waiting| waiting.slot == slot);
        if let Some(waiting) = place.map(|at| &mut self.waiting[at]) {
            for sub in subs {
                if !waiting.subs.iter().any(|(other, _)| *other == sub) {
                    waiting.subs.push((sub, enters));
                }
            }
            waiting.first |= first;
            waiting.action = action;
            return;
        }
        self.waiting.push_back(Waiting { slot, subs: subs.into_iter().map(|sub| (sub, enters)).collect(), cause, action, first });
        self.release(now);
    }

    fn revoke(&mut self, slot: ActionSlot, id: DefId, mut subs: Subs, delivery: u128, reason: RevokeReason, now: Instant) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.slot == slot) {
            waiting.subs.retain(|(sub, enters)| {
                let gone = subs.contains(sub);
                if gone && *enters {
                    // They never had it.
                    subs.retain(|other| other != sub);
                }
                !gone
            });
            self.drop_idle();
        }
        if subs.is_empty() {
            return;
        }
        self.bucket.charge(now);
        let subs = subs.iter().map(ToString::to_string).collect();
        self.queue(|seq| PushFrame::Revoked { seq, subs, action_id: id, delivery_id: delivery, reason }, now);
    }

    /// Lets go of what nobody waits for.
    fn drop_idle(&mut self) {
        let lost = &mut self.lost;
        self.waiting.retain(|waiting| {
            let idle = waiting.subs.is_empty();
            if idle && waiting.first {
                // It begins with no frame, so nobody will ever acknowledge it.
                let (action, delivery) = (waiting.slot, waiting.action.delivery_id);
                lost.push(Unseen { seq: 0, action, delivery, of: None });
            }
            !idle
        });
    }

    /// A subscription ended or starts anew: what waits for it is not sent.
    pub fn forget(&mut self, sub: &str) {
        self.waiting.iter_mut().for_each(|waiting| waiting.subs.retain(|(other, _)| other != sub));
        self.drop_idle();
    }

    /// Whether the delivery of an action that waits begins with another frame now: the caller sends it.
    pub fn claim_first(&mut self, action: ActionSlot) -> bool {
        let found = self.waiting.iter_mut().find(|waiting| waiting.slot == action);
        found.is_some_and(|waiting| std::mem::take(&mut waiting.first))
    }

    /// Gives up what waits, because snapshots follow; the deliveries that would have begun with it.
    pub fn take_waiting(&mut self) -> Vec<(ActionSlot, u128)> {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_iter().filter(|one| one.first).map(|one| (one.slot, one.action.delivery_id)).collect()
    }

    /// Queues a frame of its own with the next sequence number, and keeps it for a resume. A full queue
    /// sheds its actions; the caller asks [`Outbox::take_resync`] and sends fresh snapshots.
    pub fn queue(&mut self, frame: impl FnOnce(u64) -> PushFrame, now: Instant) {
        self.seq += 1;
        let frame = frame(self.seq);
        self.note_deliveries(&frame);
        if self.ring.len() == RING_MAX {
            self.ring.pop_front();
        }
        self.ring.push_back(frame.clone());
        let about_actions = |frame: &PushFrame| matches!(frame, PushFrame::Action { .. } | PushFrame::Revoked { .. });
        if self.frames.len() >= OUTBOX_MAX && about_actions(&frame) {
            self.frames.retain(|frame| !about_actions(frame));
            self.resync = true;
            return;
        }
        if self.frames.is_empty() && self.connected {
            self.queued_at = Some(now);
        }
        self.frames.push_back(frame);
    }

    fn note_deliveries(&mut self, frame: &PushFrame) {
        let seq = frame.seq();
        let mut begins = |action: ActionSlot, delivery: u128| {
            if self.unseen.len() == UNSEEN_MAX {
                self.lost.extend(self.unseen.pop_front());
            }
            self.unseen.push_back(Unseen { seq, action, delivery, of: None });
        };
        match frame {
            PushFrame::Action { slot, first: true, action, .. } => begins(*slot, action.delivery_id),
            PushFrame::Subscribed { first, .. } => first.iter().for_each(|(slot, delivery)| begins(*slot, *delivery)),
            _ => {}
        }
    }

    /// Lets go what has waited long enough, in the order in which it came.
    fn release(&mut self, now: Instant) {
        while self.connected && !self.waiting.is_empty() && self.bucket.take(now) {
            let Some(Waiting { slot, subs, cause, action, first }) = self.waiting.pop_front() else { return };
            let subs = subs.iter().map(|(sub, _)| sub.to_string()).collect();
            self.queue(|seq| PushFrame::Action { seq, subs, cause, action, slot, first }, now);
        }
    }

    /// Moves everything that may leave now to `out`. Gives since when the oldest of it was ready.
    pub(super) fn drain(&mut self, now: Instant, out: &mut Vec<PushFrame>) -> Option<Instant> {
        self.release(now);
        out.extend(self.frames.drain(..));
        self.queued_at.take()
    }

    /// When something that waits may leave; `None` while nothing does.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.connected && !self.waiting.is_empty()).then(|| self.bucket.next())
    }

    /// Whether frames are ready.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// A connection came or went.
    pub(super) fn connected(&mut self, connected: bool) {
        self.connected = connected;
    }

    /// Whether actions were shed since the last time this was asked.
    pub fn take_resync(&mut self) -> bool {
        std::mem::take(&mut self.resync)
    }

    /// Deliveries that were given up since the last time this was asked: they will never be recorded.
    pub fn take_lost(&mut self) -> Vec<Unseen> {
        std::mem::take(&mut self.lost)
    }

    /// Notes that the client has everything up to `seq`; the deliveries that this is news of.
    pub fn seen(&mut self, seq: u64) -> Vec<Unseen> {
        self.seen = self.seen.max(seq.min(self.seq));
        let newly = self.unseen.iter().take_while(|unseen| unseen.seq <= self.seen).count();
        self.unseen.drain(..newly).collect()
    }

    /// The session acts for somebody else from now on: what was delivered so far was delivered to `whom`.
    pub fn disown(&mut self, whom: ProfileId, user_id: &str) {
        for unseen in self.unseen.iter_mut().filter(|unseen| unseen.of.is_none()) {
            unseen.of = Some((whom, user_id.to_owned()));
        }
    }

    /// The session is over: every delivery that will not be recorded.
    pub fn give_up(&mut self) -> Vec<Unseen> {
        let waiting = self.take_waiting().into_iter();
        self.lost.extend(waiting.map(|(action, delivery)| Unseen { seq: 0, action, delivery, of: None }));
        self.lost.extend(self.unseen.drain(..));
        self.take_lost()
    }

    /// Queues again everything after `last_seq`. False when some of that is not kept any more.
    pub(super) fn replay(&mut self, last_seq: u64) -> bool {
        if last_seq > self.seq || self.seq - last_seq > self.ring.len() as u64 {
            return false;
        }
        self.frames = self.ring.iter().filter(|f| f.seq() > last_seq).cloned().collect();
        self.queued_at = None;
        true
    }
}

#[cfg(test)]
mod tests;
