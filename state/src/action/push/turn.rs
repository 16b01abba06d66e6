//! One evaluation of a live set: ask targeting, settle who holds which slot, note the frames.

use super::live::{Held, LiveSet, Mask, POLL, Rank, content, note_end, rank, render};
use super::places::Places;
use super::{ActionRef, Candidates, Cause, Input, PushOp, RevokeReason, World};
use crate::action::targeting::{Decision, Reason};
use crate::ids::{ActionSlot, Millis};
use compact_str::CompactString;
use std::collections::BTreeMap;

/// What targeting says about one action for some subscriptions.
struct Verdict {
    due: Mask,
    /// Where it would be due, but is held back by an experiment.
    withheld: Mask,
    until: Millis,
    /// Why it is not due for some.
    reason: RevokeReason,
    /// Its moment is now: what was closed opens again.
    anew: bool,
}

/// One evaluation under way.
struct Turn<'w, 'm> {
    world: &'m World<'w>,
    mask: Mask,
    mint: &'m mut dyn FnMut() -> u128,
    /// Which subscriptions have found somebody for a slot.
    taken: Vec<(CompactString, Mask)>,
    /// What deliveries that begin in this evaluation take of the budgets.
    places: Places,
    revokes: Vec<PushOp>,
    enters: Vec<PushOp>,
}

/// Whether the delivery ends when those in `mask` hold what they `want`: nobody else holds it but polls.
fn ends(before: Mask, want: Mask, mask: Mask) -> bool {
    let leave = before & mask & !want;
    leave != 0 && before & !leave & !POLL == 0
}

/// Whether a delivery begins: somebody comes to hold it, and nobody did or it ends.
fn begins(before: Mask, want: Mask, mask: Mask) -> bool {
    want & !before != 0 && (before & !(mask & !want) == 0 || ends(before, want, mask))
}

impl Turn<'_, '_> {
    /// The subscriptions in which the slot is taken.
    fn taken(&self, name: &CompactString) -> Mask {
        self.taken.iter().find(|(other, _)| other == name).map_or(0, |(_, taken)| *taken)
    }

    /// From now on the slot is taken in these as well.
    fn take(&mut self, name: &CompactString, due: Mask) {
        match self.taken.iter_mut().find(|(other, _)| other == name) {
            Some((_, taken)) => *taken |= due,
            None => self.taken.push((name.clone(), due)),
        }
    }
}

impl LiveSet {
    /// Brings the bits in `mask` up to date and returns the frames.
    pub(super) fn run(
        &mut self,
        world: &World<'_>,
        input: &Input<'_>,
        mask: Mask,
        mint: &mut dyn FnMut() -> u128,
    ) -> Vec<PushOp> {
        if mask == 0 {
            return Vec::new();
        }
        let mut touched: Vec<ActionSlot> = match input.candidates {
            Candidates::All => world.actions.of_channel(self.channel).iter().chain(self.held.keys()).copied().collect(),
            Candidates::These(slots) => slots.to_vec(),
        };
        touched.sort_unstable();
        touched.dedup();
        let mut reasons: BTreeMap<ActionSlot, RevokeReason> = BTreeMap::new();
        let mut contested: Vec<CompactString> = Vec::new();
        for slot in touched {
            let action = world.actions.action(slot);
            let verdict = self.judge(slot, action.as_ref(), world, input, mask);
            let whole = mask == self.mask();
            let held = match (self.held.get_mut(&slot), &action) {
                (Some(held), _) => held,
                (None, Some(action)) if verdict.due | verdict.withheld != 0 || verdict.until != Millis::MAX => {
                    self.reshaped = true;
                    self.held.entry(slot).or_insert_with(|| Held::new(action))
                }
                (None, _) => continue,
            };
            contested.extend(held.slot.clone());
            if let Some(action) = &action {
                (held.id, held.rank, held.slot) = (action.id, rank(action), action.def.slot.clone());
                contested.extend(held.slot.clone());
            }
            let answered = held.closed != 0;
            held.due = (held.due & !mask) | verdict.due;
            held.withheld = (held.withheld & !mask) | verdict.withheld;
            held.closed &= held.due & !(if verdict.anew { verdict.due } else { 0 });
            held.until = if whole { verdict.until } else { held.until.min(verdict.until) };
            if answered && held.live | held.closed == 0 {
                note_end(&mut self.ended, slot, held.delivery, world.now);
            }
            reasons.insert(slot, verdict.reason);
        }
        // An action that was touched may give its slot to another that was not, or take it.
        let in_contest = |held: &Held| held.slot.as_ref().is_some_and(|slot| contested.contains(slot));
        let affected = self.held.iter().filter(|(slot, held)| reasons.contains_key(slot) || in_contest(held));
        let mut affected: Vec<(Rank, ActionSlot)> = affected.map(|(slot, held)| (held.rank, *slot)).collect();
        affected.sort_unstable();
        let (taken, revokes, enters) = (Vec::new(), Vec::new(), Vec::new());
        let mut turn = Turn { world, mask, mint, taken, places: Places::default(), revokes, enters };
        for (_, slot) in &affected {
            let reason = reasons.get(slot).copied().unwrap_or(RevokeReason::Superseded);
            self.settle(*slot, reason, &mut turn);
        }
        let Turn { mut revokes, enters, .. } = turn;
        for (_, slot) in affected {
            let momentary = world.actions.action(slot).is_some_and(|action| !action.def.on_event.is_empty());
            self.note_withheld(slot, momentary);
        }
        revokes.extend(enters);
        self.tidy();
        revokes
    }

    /// Asks the targeting of one action for the subscriptions in `mask`.
    fn judge(
        &self,
        slot: ActionSlot,
        action: Option<&ActionRef<'_>>,
        world: &World<'_>,
        input: &Input<'_>,
        mask: Mask,
    ) -> Verdict {
        let gone = Verdict { due: 0, withheld: 0, until: Millis::MAX, reason: RevokeReason::Deleted, anew: false };
        let Some(ActionRef { def, .. }) = action else {
            return gone;
        };
        let live = self.held.get(&slot).map_or(0, |held| held.live);
        let momentary = !def.on_event.is_empty();
        let anew = input.event.is_some_and(|event| def.on_event.contains(&event));
        let per_context = def.reads_context(self.channel);
        let mut shared: Option<Decision> = None;
        let mut reason = None;
        let mut verdict = Verdict { anew, ..gone };
        for (place, sub) in self.subs.iter().enumerate() {
            let bit = 1 << place;
            let Some(sub) = sub.as_ref().filter(|_| mask & bit != 0) else {
                continue;
            };
            if !sub.filter.matches(def) || (momentary && !anew && live & bit == 0) {
                continue;
            }
            let decision = match shared {
                Some(decision) if !per_context => decision,
                _ => def.decide(&self.view(slot, sub.context.as_ref().or(self.context.as_ref()), world), live != 0),
            };
            shared = Some(decision);
            verdict.until = verdict.until.min(decision.until);
            match decision.blocked {
                None => verdict.due |= bit,
                Some(blocked) => {
                    verdict.withheld |= if blocked == Reason::Withheld { bit } else { 0 };
                    reason = reason.or(Some(RevokeReason::from(blocked)));
                }
            }
        }
        // An action that waits for an event and does not stand has nothing to wake up for.
        if momentary && verdict.due == 0 {
            verdict.until = Millis::MAX;
        }
        verdict.reason = match input.cause {
            Cause::Identity => RevokeReason::IdentityChanged,
            _ => reason.unwrap_or(RevokeReason::Targeting),
        };
        verdict
    }

    /// Makes what one action holds what it should hold, and notes the frames. Called best first, so that
    /// whoever comes first to a free slot has it.
    fn settle(&mut self, slot: ActionSlot, reason: RevokeReason, turn: &mut Turn<'_, '_>) {
        let mask = turn.mask;
        let Some(held) = self.held.get(&slot) else {
            return;
        };
        let before = held.live;
        let taken = held.slot.as_ref().map_or(0, |name| turn.taken(name));
        let mut want = held.due & !held.closed & !taken & mask;
        let mut full = None;
        if begins(before, want, mask) {
            // Whoever finds no place does not hold a slot against others either.
            let view = self.view(slot, self.context.as_ref(), turn.world);
            let action = turn.world.actions.action(slot);
            full = action.and_then(|action| turn.places.take(action.def, &view).err());
        }
        let Some(held) = self.held.get_mut(&slot) else {
            return;
        };
        if let Some(opens) = full {
            held.due &= !(want & !before);
            held.until = if held.due == 0 { opens } else { held.until.min(opens) };
            want &= before;
        }
        if let Some(name) = &held.slot {
            turn.take(name, held.due & mask);
        }
        let (leave, enter, stay) = (before & mask & !want, want & !before, before & want);
        held.live = (before & !mask) | want;
        if ends(before, want, mask) {
            // For polls too: what comes up again is a new delivery.
            held.live &= !POLL;
            note_end(&mut self.ended, slot, held.delivery, turn.world.now);
        }
        let (id, delivery_id, beaten) = (held.id, held.delivery, leave & held.due);
        let first = begins(before, want, mask);
        if first {
            held.delivery = (turn.mint)();
        }
        for (bits, reason) in [(leave & !beaten, reason), (beaten, RevokeReason::Superseded)] {
            if bits != 0 {
                turn.revokes.push(PushOp::Revoke { slot, id, subs: self.names(bits), delivery_id, reason });
            }
        }
        self.send(slot, enter, stay, first, turn);
        if let (Some(held), Some(action)) = (self.held.get_mut(&slot), turn.world.actions.action(slot))
            && !action.def.on_event.is_empty()
        {
            // Its moment passes with this input: it does not wait behind another.
            held.due &= held.live | held.closed;
        }
    }

    /// Notes what one action sends: to those for whom it came up, and again where its content changed.
    fn send(&mut self, slot: ActionSlot, enter: Mask, stay: Mask, first: bool, turn: &mut Turn<'_, '_>) {
        let Some(action) = turn.world.actions.action(slot).filter(|_| enter | stay != 0) else {
            return;
        };
        let Some(held) = self.held.get(&slot) else {
            return;
        };
        let fixed = held.sent.0 == action.version && action.def.is_fixed(self.channel);
        if enter == 0 && fixed {
            return;
        }
        let view = self.view(slot, self.context.as_ref(), turn.world);
        let delivered = render(&action, held.delivery, self.channel, &view);
        let sent = (action.version, content(&delivered.properties));
        let changed = !first && sent != held.sent;
        let bits = enter | if changed { stay } else { 0 };
        // A subscription that is not looked at now still has the old content.
        let all_know = held.live & !POLL & !turn.mask == 0;
        let subs = self.names(bits);
        if let (true, Some(held)) = (all_know, self.held.get_mut(&slot)) {
            held.sent = sent;
        }
        if enter != 0 {
            turn.enters.push(PushOp::Enter { slot, subs, action: delivered, first });
        } else if changed {
            turn.enters.push(PushOp::Update { slot, subs, action: delivered });
        }
    }
}
