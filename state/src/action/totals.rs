//! Total caps: counts that all profiles share, exact under any interleaving (I16).
//!
//! One small mutex per action makes reserve, commit and release atomic over all its caps at once. The
//! invariant, for a gated reaction and every cap that counts it: *committed + reserved ≤ count*. It is
//! a leaf lock: take it under a profile's lock if need be, and call nothing while holding it.
//!
//! Reservations live in memory only, so a crash releases them. Commits are outcomes in the journal
//! (I11): the table remembers which log positions it has counted, and a replay counts each exactly once
//! whatever the order in which threads got here.

mod entry;
mod places;

use self::entry::{Entry, EntrySnapshot, Hold, lock};
use self::places::{Holder, Places};
use super::budget::{Held, Spending};
use super::capping::{Cap, CapState, Group, gated};
use crate::event::{Reacted, Reaction};
use crate::expr::Truth;
use crate::ids::{ActionSlot, BudgetSlot, ChannelSlot, Millis, Moment, ProfileId, Seq};
use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// A reservation older than this is void: its hook has timed out, or its owner is gone.
pub const HOLD_MS: i64 = 35_000;

/// What a decision asks of the totals. The table answers; so can a fixed answer in a dry run.
pub trait Totals {
    /// Whether a cap of group "all" lets through by what is committed, and when it opens again.
    fn open(&self, action: ActionSlot, cap: &Cap, now: Millis) -> Truth;
    /// How many reactions the cap counts now.
    fn used(&self, action: ActionSlot, cap: &Cap, now: Millis) -> u64;
    /// Since when places in a budget of one person are held that the log does not have yet.
    fn held(&self, _: ProfileId, _: BudgetSlot) -> Held {
        Held::new()
    }
}

/// Totals of nothing: only caps of 0 block.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTotals;

impl Totals for NoTotals {
    fn open(&self, _: ActionSlot, cap: &Cap, _: Millis) -> Truth {
        Truth::forever(cap.count > 0)
    }

    fn used(&self, _: ActionSlot, _: &Cap, _: Millis) -> u64 {
        0
    }
}

/// A reaction that wants to happen.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The action.
    pub action: ActionSlot,
    /// All its caps.
    pub caps: &'a [Cap],
    /// Whose reaction.
    pub profile: ProfileId,
    /// What this person has reacted so far; `None` for nothing.
    pub user: Option<&'a CapState>,
    /// The budgets that govern the action, and what this person has spent of them.
    pub budgets: &'a [Spending<'a>],
    /// The kind.
    pub reaction: Reaction,
    /// Where.
    pub channel: ChannelSlot,
    /// Now.
    pub now: Millis,
}

/// What there is no place left in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The cap of the action with this number, counted from 0, and whose count it is.
    Cap(usize, Group),
    /// A budget of the person.
    Budget(BudgetSlot),
}

/// A cap or budget is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no place is left: {full:?}")]
pub struct Capped {
    /// Which one.
    pub full: Full,
    /// When it opens again by itself; [`Millis::MAX`] for never.
    pub opens: Millis,
}

/// A place taken in every cap that counts the reaction. Give it back by [`TotalCaps::commit`] or
/// [`TotalCaps::release`]; forgotten, it is void after [`HOLD_MS`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a place that is neither committed nor released is lost for 35 s"]
pub struct Reservation {
    action: ActionSlot,
    hold: u64,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// False if this log position was counted before (a replay).
    pub counted: bool,
    /// A cap of group "all" was open before and is not now: every holder has to hear of it.
    pub exhausted: bool,
}

/// The reservation was void already: it had timed out, and its place may be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reservation has expired")]
pub struct Expired;

/// The shared table, one entry per action that anyone has reacted to.
#[derive(Debug, Default)]
pub struct TotalCaps {
    actions: DashMap<ActionSlot, Arc<Mutex<Entry>>, foldhash::quality::RandomState>,
    places: Places,
}

impl TotalCaps {
    fn entry(&self, action: ActionSlot) -> Option<Arc<Mutex<Entry>>> {
        self.actions.get(&action).map(|entry| Arc::clone(&entry))
    }

    fn entry_or_new(&self, action: ActionSlot) -> Arc<Mutex<Entry>> {
        // The read path first: an insert would lock the shard of the table for writing.
        self.entry(action).unwrap_or_else(|| Arc::clone(&self.actions.entry(action).or_default()))
    }

    /// Takes a place in every cap and budget that counts the reaction, or in none. Refuses a gated reaction
    /// also when a cap on its kind that does not count this channel is reached. Reactions of the other kinds
    /// are never refused. User caps are asked first, then budgets, then totals, each in order of definition.
    ///
    /// Call it under the profile's lock.
    ///
    /// # Errors
    /// [`Capped`] by the first cap without a free place.
    pub fn reserve(&self, claim: &Claim<'_>) -> Result<Reservation, Capped> {
        let nothing = CapState::default();
        let user = claim.user.unwrap_or(&nothing);
        let entry = self.entry_or_new(claim.action);
        let mut entry = lock(&entry);
        if gated(claim.reaction) {
            for group in [Group::User, Group::All] {
                for (at, cap) in claim.caps.iter().enumerate() {
                    if cap.group != group || cap.reaction != claim.reaction {
                        continue;
                    }
                    let open = match group {
                        Group::User => user.open(cap, claim.now, entry.held_by(claim.profile, cap)),
                        Group::All => entry.tally.open(cap, claim.now, entry.reserved(cap)),
                    };
                    if !open.holds {
                        return Err(Capped { full: Full::Cap(at, group), opens: open.until });
                    }
                }
                if group == Group::User {
                    self.budgets_have_room(claim)?;
                }
            }
        }
        let Claim { profile, reaction, channel, now, .. } = *claim;
        let hold = entry.hold(Hold { profile, reaction, channel, since: now });
        let taken = claim.budgets.iter().filter(|one| one.def.limit_on(reaction, channel).is_some());
        self.places.take(profile, Holder::Act(claim.action, hold), taken.map(|one| one.slot), now);
        Ok(Reservation { action: claim.action, hold })
    }

    /// Other reactions of the person that are under way count, to whatever action they are.
    fn budgets_have_room(&self, claim: &Claim<'_>) -> Result<(), Capped> {
        for budget in claim.budgets {
            let Some(limit) = budget.def.limit_on(claim.reaction, claim.channel) else { continue };
            let open = budget.open(limit, &self.places.held(claim.profile, budget.slot), claim.now);
            if !open.holds {
                return Err(Capped { full: Full::Budget(budget.slot), opens: open.until });
            }
        }
        Ok(())
    }

    /// A delivery begins: it takes a place in these budgets until [`TotalCaps::delivery_over`]. Under the
    /// profile's lock.
    pub fn delivery_begins(&self, profile: ProfileId, delivery: u128, budgets: impl Iterator<Item = BudgetSlot>, now: Millis) {
        self.places.take(profile, Holder::Delivery(delivery), budgets, now);
    }

    /// A delivery is in the log by now, or never will be. The budgets that it held a place in.
    pub fn delivery_over(&self, profile: ProfileId, delivery: u128) -> SmallVec<[BudgetSlot; 2]> {
        self.places.give_back(profile, Holder::Delivery(delivery))
    }

    /// Turns a reservation into a counted reaction at `at` (its log position and time). Under the
    /// profile's lock, before the record is handed to the journal: then everything that the journal calls
    /// durable has been counted.
    ///
    /// # Errors
    /// [`Expired`] if the reservation is void; then nothing is counted, and the reaction must not be
    /// logged.
    pub fn commit(&self, caps: &[Cap], reservation: Reservation, at: Moment) -> Result<Committed, Expired> {
        let entry = self.entry(reservation.action).ok_or(Expired)?;
        let mut entry = lock(&entry);
        let hold = entry.unhold(reservation.hold).ok_or(Expired)?;
        self.places.give_back(hold.profile, Holder::Act(reservation.action, reservation.hold));
        Ok(entry.count(caps, hold.reaction, hold.channel, at))
    }

    /// Holds the place from `now` on, if it is not void. Then [`TotalCaps::commit`] under the same profile's
    /// lock cannot find it expired.
    #[must_use]
    pub fn renew(&self, reservation: &Reservation, now: Millis) -> bool {
        let Some(entry) = self.entry(reservation.action) else { return false };
        let mut entry = lock(&entry);
        entry.holds.get_mut(&reservation.hold).map(|hold| hold.since = now).is_some()
    }

    /// Gives the place back.
    pub fn release(&self, reservation: Reservation) {
        if let Some(entry) = self.entry(reservation.action)
            && let Some(hold) = lock(&entry).unhold(reservation.hold)
        {
            self.places.give_back(hold.profile, Holder::Act(reservation.action, reservation.hold));
        }
    }

    /// Counts a logged reaction without asking: a replay, or a kind that is not gated. A log position
    /// counts once. Reactions of test users do not count.
    pub fn count(&self, caps: &[Cap], reacted: &Reacted, at: Moment) -> Committed {
        if reacted.test {
            return Committed::default();
        }
        lock(&self.entry_or_new(reacted.action)).count(caps, reacted.reaction, reacted.channel, at)
    }

    /// Takes back a logged reaction that has left the log by an erasure. `taken` was its place in the log, and
    /// `by` is the log position of the erasure with the reaction's number in it: that counts once. A window
    /// that had to forget older reactions may need [`TotalCaps::rebuild`] after this, see
    /// [`TotalCaps::covers`].
    pub fn uncount(&self, reacted: &Reacted, taken: Moment, by: (Seq, u32)) {
        if !reacted.test {
            lock(&self.entry_or_new(reacted.action)).uncount(reacted, taken, by);
        }
    }

    /// Voids the reservations that are older than [`HOLD_MS`]; returns their actions, which may be due
    /// again for somebody.
    pub fn expire(&self, now: Millis) -> Vec<ActionSlot> {
        let mut freed = Vec::new();
        self.places.expire(now);
        for (action, entry) in self.all() {
            let mut entry = lock(&entry);
            let old = entry.holds.iter().filter(|(_, hold)| hold.since.plus(HOLD_MS) <= now);
            let old: Vec<u64> = old.map(|(id, _)| *id).collect();
            if !old.is_empty() {
                for id in old {
                    entry.unhold(id);
                }
                freed.push(action);
            }
        }
        freed
    }

    /// The reservations of an absorbed profile are its absorber's from now on.
    pub fn absorb(&self, from: ProfileId, into: ProfileId) {
        self.places.absorb(from, into);
        for (_, entry) in self.all() {
            let mut entry = lock(&entry);
            let Some(ids) = entry.by_profile.remove(&from) else {
                continue;
            };
            for id in &ids {
                if let Some(hold) = entry.holds.get_mut(id) {
                    hold.profile = into;
                }
            }
            entry.by_profile.entry(into).or_default().extend(ids);
        }
    }

    /// The journal is durable up to `upto`, and all of it has been counted: forgets single positions.
    pub fn settle(&self, upto: Seq) {
        for (_, entry) in self.all() {
            let mut entry = lock(&entry);
            if upto > entry.settled {
                entry.recent = entry.recent.split_off(&Seq(upto.0 + 1));
                entry.undone = entry.undone.split_off(&(Seq(upto.0 + 1), 0));
                entry.settled = upto;
            }
        }
    }

    /// Whether the tally of an action can answer its caps; see [`CapState::covers`].
    #[must_use]
    pub fn covers(&self, action: ActionSlot, caps: &[Cap]) -> bool {
        self.entry(action).is_none_or(|entry| lock(&entry).tally.covers(caps, Group::All))
    }

    /// Fills the windows of an action from the log, after its caps were edited or a reaction was erased. `log`
    /// holds every reaction up to `upto` that is still in it, which must not lie before the last
    /// [`TotalCaps::settle`]; newer ones are kept from memory. What counts without a window stays as it is.
    pub fn rebuild(&self, action: ActionSlot, caps: &[Cap], upto: Seq, log: impl IntoIterator<Item = (Moment, Reacted)>) {
        let mut seen = HashSet::new();
        let logged = log.into_iter().filter(|(at, reacted)| at.seq <= upto && reacted.action == action && !reacted.test);
        let logged = logged.inspect(|(at, _)| {
            seen.insert(at.seq);
        });
        let mut tally = CapState::rebuild(caps, Group::All, logged.map(|(at, r)| (r.reaction, r.channel, at.t)));
        let entry = self.entry_or_new(action);
        let mut entry = lock(&entry);
        debug_assert!(upto >= entry.settled, "reactions between {upto:?} and {:?} would be lost", entry.settled);
        for (_, (reaction, channel, t)) in entry.recent.range(Seq(upto.0 + 1)..) {
            tally.record(caps, Group::All, *reaction, *channel, *t);
        }
        // A newer erasure may or may not have been carried out when the log was read.
        for undone in entry.undone.range((Seq(upto.0 + 1), 0)..).map(|(_, undone)| undone) {
            if undone.moment.seq > upto || seen.contains(&undone.moment.seq) {
                tally.take_back(undone.reaction, undone.channel, undone.moment.t);
            }
        }
        entry.tally = std::mem::take(&mut entry.tally).with_windows_of(tally);
    }

    /// Forgets an action that was deleted for good.
    pub fn forget(&self, action: ActionSlot) {
        self.actions.remove(&action);
    }

    /// What everybody has reacted to `action`; empty if nobody has.
    #[must_use]
    pub fn tally(&self, action: ActionSlot) -> CapState {
        self.entry(action).map(|entry| lock(&entry).tally.clone()).unwrap_or_default()
    }

    /// Everything that has to survive a restart.
    #[must_use]
    pub fn snapshot(&self) -> TotalsSnapshot {
        let mut actions: Vec<_> = self.all().into_iter().map(|(action, entry)| (action, lock(&entry).snapshot())).collect();
        actions.sort_by_key(|(action, _)| *action);
        TotalsSnapshot { actions }
    }

    /// The table of a snapshot. Replay the journal over it with [`TotalCaps::count`].
    #[must_use]
    pub fn restore(snapshot: TotalsSnapshot) -> Self {
        let table = Self::default();
        for (action, stored) in snapshot.actions {
            let entry = Entry {
                tally: stored.tally,
                settled: stored.settled,
                recent: stored.recent.into_iter().map(|(seq, reaction, channel, t)| (seq, (reaction, channel, t))).collect(),
                undone: stored.undone.into_iter().collect(),
                ..Entry::default()
            };
            table.actions.insert(action, Arc::new(Mutex::new(entry)));
        }
        table
    }

    fn all(&self) -> Vec<(ActionSlot, Arc<Mutex<Entry>>)> {
        self.actions.iter().map(|entry| (*entry.key(), Arc::clone(entry.value()))).collect()
    }
}

impl Totals for TotalCaps {
    fn open(&self, action: ActionSlot, cap: &Cap, now: Millis) -> Truth {
        match self.entry(action) {
            Some(entry) => lock(&entry).tally.open(cap, now, 0),
            None => NoTotals.open(action, cap, now),
        }
    }

    fn used(&self, action: ActionSlot, cap: &Cap, now: Millis) -> u64 {
        self.entry(action).map_or(0, |entry| lock(&entry).tally.used(cap, now))
    }

    fn held(&self, profile: ProfileId, budget: BudgetSlot) -> Held {
        self.places.held(profile, budget)
    }
}

/// The table at rest. Store it only once the journal is durable up to [`TotalsSnapshot::newest`]: it may
/// hold reactions that a crash would undo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalsSnapshot {
    actions: Vec<(ActionSlot, EntrySnapshot)>,
}

impl TotalsSnapshot {
    /// The newest log position in it.
    #[must_use]
    pub fn newest(&self) -> Seq {
        let newest = |entry: &EntrySnapshot| {
            let undone = entry.undone.last().map_or(entry.settled, |((seq, _), _)| *seq);
            entry.recent.last().map_or(entry.settled, |(seq, ..)| *seq).max(undone)
        };
        self.actions.iter().map(|(_, entry)| newest(entry)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
