//! The live set of one session.

use super::places::Places;
use super::{
    ActionRef, Candidates, Cause, DeliveredAction, Filter, Input, Offered, PushOp, RevokeReason, SUBSCRIPTIONS_MAX, Subs,
    Subscription, TooMany, World,
};
use crate::action::targeting::{Reason, View};
use crate::event::{Props, Reaction};
use crate::ids::{ActionSlot, ChannelSlot, DefId, Millis};
use crate::value::{Value, ValueKey};
use compact_str::CompactString;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// One bit per subscription, in the order of their places.
pub(super) type Mask = u32;

/// Stands for list polls of the session, which have no frames.
pub(super) const POLL: Mask = 1 << 31;

/// Deliveries that ended, kept for the grace of an accept.
const ENDED_MAX: usize = 32;

/// Priority descending, then age, then id.
pub(super) type Rank = (Reverse<i64>, Millis, DefId);

/// What a session holds. Size: one entry per action that is due, was closed, or has a time ahead at which
/// it may come up.
#[derive(Clone, Debug)]
pub struct LiveSet {
    pub(super) channel: ChannelSlot,
    pub(super) context: Option<Props>,
    pub(super) subs: [Option<Subscription>; SUBSCRIPTIONS_MAX],
    pub(super) held: BTreeMap<ActionSlot, Held>,
    /// Deliveries that ended not long ago: action, delivery, when.
    pub(super) ended: VecDeque<(ActionSlot, u128, Millis)>,
    /// Something came into `held`, or left it, since that was last asked.
    pub(super) reshaped: bool,
    /// Actions that an experiment has held back from this session; each is told once.
    withheld: Vec<ActionSlot>,
    /// Those of them that nobody has asked for yet.
    untold: Vec<ActionSlot>,
}

/// What is known of one action. `live` and `closed` are disjoint parts of `due`.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Its targeting holds.
    pub(super) due: Mask,
    /// Sent and standing.
    pub(super) live: Mask,
    /// The person has answered it.
    pub(super) closed: Mask,
    /// It would be due, but an experiment holds it back.
    pub(super) withheld: Mask,
    /// When that may change by itself.
    pub(super) until: Millis,
    pub(super) delivery: u128,
    /// The version and content that were sent.
    pub(super) sent: (u64, u64),
    pub(super) id: DefId,
    pub(super) rank: Rank,
    pub(super) slot: Option<CompactString>,
}

impl LiveSet {
    /// A session without subscriptions. `context` is the connection's; `None` if there is none.
    #[must_use]
    pub fn new(channel: ChannelSlot, context: Option<Props>) -> Self {
        let subs = std::array::from_fn(|_| None);
        let (held, ended) = (BTreeMap::new(), VecDeque::new());
        Self { channel, context, subs, held, ended, reshaped: false, withheld: Vec::new(), untold: Vec::new() }
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> ChannelSlot {
        self.channel
    }

    /// The connection's context.
    #[must_use]
    pub fn context(&self) -> Option<&Props> {
        self.context.as_ref()
    }

    /// Replaces the connection's context. Evaluate the actions that read it, with [`Cause::Context`].
    pub fn set_context(&mut self, context: Option<Props>) {
        self.context = context;
    }

    /// All subscriptions.
    pub fn subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subs.iter().flatten()
    }

    /// Whether nobody has subscribed: then nothing needs to be evaluated.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.mask() == 0
    }

    /// When something here may change by itself; [`Millis::MAX`] for never.
    #[must_use]
    pub fn deadline(&self) -> Millis {
        if self.is_idle() {
            return Millis::MAX;
        }
        self.held.values().map(|held| held.until).min().unwrap_or(Millis::MAX)
    }

    /// The actions whose time has come: candidates for [`Cause::Time`].
    #[must_use]
    pub fn ripe(&self, now: Millis) -> Vec<ActionSlot> {
        self.held.iter().filter(|(_, held)| held.until <= now).map(|(slot, _)| *slot).collect()
    }

    /// Every action that the set knows something of: who can be touched by what changes about it.
    pub fn known(&self) -> impl Iterator<Item = ActionSlot> {
        self.held.keys().copied()
    }

    /// Whether [`LiveSet::known`] may tell of others than when this was last asked.
    pub fn take_reshaped(&mut self) -> bool {
        std::mem::take(&mut self.reshaped)
    }

    /// The delivery of an action, if it stands: live or answered, and still due.
    #[must_use]
    pub fn delivery(&self, action: ActionSlot) -> Option<u128> {
        self.held.get(&action).filter(|held| held.live | held.closed != 0).map(|held| held.delivery)
    }

    /// The last instant at which this session knew `delivery` to be due: now if it still is.
    #[must_use]
    pub fn valid_at(&self, action: ActionSlot, delivery: u128, now: Millis) -> Option<Millis> {
        if self.delivery(action) == Some(delivery) {
            return Some(now);
        }
        self.ended.iter().rev().find(|(slot, id, _)| (*slot, *id) == (action, delivery)).map(|(_, _, at)| *at)
    }

    /// Adds or replaces a subscription and returns what it starts with, best first. A replaced one starts
    /// anew: what the person had closed in it may come again.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn subscribe(
        &mut self,
        sub: Subscription,
        world: &World<'_>,
        mint: &mut dyn FnMut() -> u128,
    ) -> Result<Vec<Offered>, TooMany> {
        self.unsubscribe(&sub.sub, world.now);
        let place = self.subs.iter().position(Option::is_none).ok_or(TooMany)?;
        self.subs[place] = Some(sub);
        let input = Input { cause: Cause::Config, candidates: Candidates::All, event: None };
        let ops = self.run(world, &input, 1 << place, mint);
        // A fresh subscription holds nothing, so nothing is revoked or updated.
        let entered = ops.into_iter().filter_map(|op| match op {
            PushOp::Enter { slot, action, first, .. } => Some(Offered { slot, action, first }),
            PushOp::Update { .. } | PushOp::Revoke { .. } => None,
        });
        Ok(entered.collect())
    }

    /// Ends a subscription; the client forgets what it held. Returns whether there was one.
    pub fn unsubscribe(&mut self, sub: &str, now: Millis) -> bool {
        let Some(place) = self.subs.iter().position(|other| other.as_ref().is_some_and(|other| other.sub == sub)) else {
            return false;
        };
        self.subs[place] = None;
        let keep = !(1 << place);
        for (slot, held) in &mut self.held {
            let stood = held.live != 0;
            held.due &= keep;
            held.live &= keep;
            held.closed &= keep;
            held.withheld &= keep;
            if stood && held.live == 0 {
                note_end(&mut self.ended, *slot, held.delivery, now);
            }
        }
        self.tidy();
        true
    }

    /// What a subscription holds now, best first, as for a client that lost track. No delivery begins.
    #[must_use]
    pub fn holdings(&self, sub: &str, world: &World<'_>) -> Vec<DeliveredAction> {
        let Some(place) = self.subs.iter().position(|other| other.as_ref().is_some_and(|other| other.sub == sub)) else {
            return Vec::new();
        };
        let bit = 1 << place;
        let mut live: Vec<_> = self.held.iter().filter(|(_, held)| held.live & bit != 0).collect();
        live.sort_by_key(|(_, held)| held.rank);
        let render = |(slot, held): (&ActionSlot, &Held)| {
            let action = world.actions.action(*slot)?;
            Some(render(&action, held.delivery, self.channel, &self.view(*slot, None, world)))
        };
        live.into_iter().filter_map(render).collect()
    }

    /// The person has answered an action: after accepted, declined and hidden it is closed here, without
    /// a revoke, until it is no longer due. Other reactions change nothing here.
    pub fn close(&mut self, action: ActionSlot, reaction: Reaction) {
        let closes = matches!(reaction, Reaction::Accepted | Reaction::Declined | Reaction::Hidden);
        if let (true, Some(held)) = (closes, self.held.get_mut(&action)) {
            held.closed |= held.live;
            held.live = 0;
        }
    }

    /// Takes everything back, best first.
    pub fn revoke_all(&mut self, reason: RevokeReason, now: Millis) -> Vec<PushOp> {
        let held = std::mem::take(&mut self.held);
        self.reshaped |= !held.is_empty();
        self.withheld.clear();
        self.untold.clear();
        let mut live: Vec<_> = held.into_iter().filter(|(_, held)| held.live != 0).collect();
        live.sort_by_key(|(_, held)| held.rank);
        let mut ops = Vec::new();
        for (slot, held) in live {
            note_end(&mut self.ended, slot, held.delivery, now);
            let subs = self.names(held.live);
            if !subs.is_empty() {
                ops.push(PushOp::Revoke { slot, id: held.id, subs, delivery_id: held.delivery, reason });
            }
        }
        ops
    }

    /// Brings the set up to date after an input and returns the frames to send: first what is taken back,
    /// then what comes up or changes, each best first; at most one of each kind per action.
    pub fn evaluate(&mut self, world: &World<'_>, input: &Input<'_>, mint: &mut dyn FnMut() -> u128) -> Vec<PushOp> {
        self.run(world, input, self.mask(), mint)
    }

    /// A list poll: what is due now of a kind, best first. An action that a subscription or an earlier
    /// poll of this session holds comes with the same delivery. `known` tells of actions that this poller has
    /// though the set has no memory of it: no delivery begins with them.
    pub fn poll(
        &mut self,
        filter: &Filter,
        context: Option<&Props>,
        world: &World<'_>,
        known: &dyn Fn(ActionSlot) -> bool,
        mint: &mut dyn FnMut() -> u128,
    ) -> Vec<Offered> {
        let mut offers: Vec<(Rank, ActionRef<'_>, bool)> = Vec::new();
        for slot in world.actions.of_channel(self.channel) {
            let Some(action) = world.actions.action(*slot).filter(|action| filter.matches(action.def)) else {
                continue;
            };
            let stands = self.held.get(slot).is_some_and(|held| held.live != 0) || self.adopt(&action, known, mint);
            let view = self.view(*slot, context, world);
            let momentary = !action.def.on_event.is_empty();
            let decision = action.def.decide(&view, stands);
            let asked = stands || !momentary;
            let withheld = decision.blocked == Some(Reason::Withheld);
            if asked && (decision.eligible || withheld) {
                offers.push((rank(&action), action, withheld));
            }
            if let (false, Some(held)) = (asked && decision.eligible, self.held.get_mut(slot)) {
                held.drop_bits(POLL);
            }
        }
        offers.sort_by_key(|(rank, ..)| *rank);
        let mut taken: Vec<&CompactString> = Vec::new();
        let mut places = Places::default();
        let mut offered = Vec::new();
        for (_, action, withheld) in &offers {
            if action.def.slot.as_ref().is_some_and(|slot| taken.contains(&slot)) {
                continue;
            }
            if *withheld {
                self.tell_withheld(action.slot);
                continue;
            }
            let view = self.view(action.slot, context, world);
            let (live, closed) = self.held.get(&action.slot).map_or((0, 0), |held| (held.live, held.closed));
            let first = live == 0 && closed & POLL == 0;
            // Whoever finds no place in a budget does not hold a slot against others either.
            if first && places.take(action.def, &view).is_err() {
                continue;
            }
            taken.extend(&action.def.slot);
            let held = self.held.entry(action.slot).or_insert_with(|| Held::new(action));
            held.due |= POLL;
            if held.closed & POLL != 0 {
                continue;
            }
            if first {
                held.delivery = mint();
            }
            held.live |= POLL;
            let delivery = held.delivery;
            offered.push(Offered { slot: action.slot, action: render(action, delivery, self.channel, &view), first });
        }
        self.tidy();
        offered
    }

    /// Takes up an action that this poller is known to have, if it is.
    fn adopt(&mut self, action: &ActionRef<'_>, known: &dyn Fn(ActionSlot) -> bool, mint: &mut dyn FnMut() -> u128) -> bool {
        let known = known(action.slot);
        if known {
            let held = self.held.entry(action.slot).or_insert_with(|| Held::new(action));
            held.delivery = mint();
            held.live |= POLL;
        }
        known
    }

    /// The actions that an experiment has held back from this session since this was last asked. Each is
    /// told once in the life of a session; one `withheld` is to be recorded for it.
    #[must_use]
    pub fn take_withheld(&mut self) -> Vec<ActionSlot> {
        std::mem::take(&mut self.untold)
    }

    /// Notes what is held back, where nothing better has its slot.
    pub(super) fn note_withheld(&mut self, action: ActionSlot, momentary: bool) {
        let Some(held) = self.held.get(&action).filter(|held| held.withheld != 0) else { return };
        let better = |other: &&Held| other.slot.is_some() && other.slot == held.slot && other.rank < held.rank;
        let beaten = self.held.values().filter(better).fold(0, |mask, other| mask | other.due);
        if held.withheld & !beaten != 0 {
            self.tell_withheld(action);
        }
        if let (true, Some(held)) = (momentary, self.held.get_mut(&action)) {
            held.withheld = 0;
        }
    }

    fn tell_withheld(&mut self, action: ActionSlot) {
        if !self.withheld.contains(&action) {
            self.withheld.push(action);
            self.untold.push(action);
        }
    }

    pub(super) fn mask(&self) -> Mask {
        self.subs.iter().enumerate().filter(|(_, sub)| sub.is_some()).fold(0, |mask, (place, _)| mask | 1 << place)
    }

    pub(super) fn names(&self, mask: Mask) -> Subs {
        let asked = self.subs.iter().enumerate().filter(|(place, _)| mask & (1 << place) != 0);
        asked.filter_map(|(_, sub)| sub.as_ref().map(|sub| sub.sub.clone())).collect()
    }

    pub(super) fn view<'w>(&self, action: ActionSlot, context: Option<&'w Props>, world: &World<'w>) -> View<'w> {
        View { action, channel: self.channel, now: world.now, person: world.person, context, totals: world.totals }
    }

    pub(super) fn tidy(&mut self) {
        let before = self.held.len();
        self.held.retain(|_, held| held.due | held.live | held.closed | held.withheld != 0 || held.until != Millis::MAX);
        self.reshaped |= self.held.len() != before;
    }
}

impl Held {
    pub(super) fn new(action: &ActionRef<'_>) -> Self {
        Self {
            due: 0,
            live: 0,
            closed: 0,
            withheld: 0,
            until: Millis::MAX,
            delivery: 0,
            sent: (0, 0),
            id: action.id,
            rank: rank(action),
            slot: action.def.slot.clone(),
        }
    }

    fn drop_bits(&mut self, bits: Mask) {
        self.due &= !bits;
        self.live &= !bits;
        self.closed &= !bits;
    }
}

pub(super) fn rank(action: &ActionRef<'_>) -> Rank {
    (Reverse(action.def.priority), action.def.created_at, action.id)
}

pub(super) fn render(action: &ActionRef<'_>, delivery_id: u128, channel: ChannelSlot, view: &View<'_>) -> DeliveredAction {
    DeliveredAction {
        delivery_id,
        id: action.id,
        type_name: action.def.type_name.clone(),
        type_version: action.def.type_version,
        tags: action.def.tags.clone(),
        properties: action.def.says(view).render(channel, view),
    }
}

/// A hash of what was sent, to notice a change. It lives no longer than the process.
pub(super) fn content(properties: &[(CompactString, Value)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, value) in properties {
        name.hash(&mut hasher);
        ValueKey::new(value).hash(&mut hasher);
    }
    hasher.finish()
}

pub(super) fn note_end(ended: &mut VecDeque<(ActionSlot, u128, Millis)>, slot: ActionSlot, delivery: u128, at: Millis) {
    if ended.len() == ENDED_MAX {
        ended.pop_front();
    }
    ended.push_back((slot, delivery, at));
}
