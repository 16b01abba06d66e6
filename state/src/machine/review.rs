//! Who is a member of what, decided again where something changed.

use super::{Changes, ProfileFacts};
use crate::audience::{AudienceDef, AudienceState};
use crate::event::{MembershipChange, MoveCause};
use crate::ids::{AudienceSlot, Millis, Seq};
use crate::plan::Plan;
use crate::profile::{AudienceCell, Profile};
use smallvec::SmallVec;

/// Decides membership again for `affected` audiences, and for those that read them, at `now`. `by` is why, and
/// the log position of what caused it.
pub(super) fn review(
    plan: &Plan,
    profile: &mut Profile,
    mut affected: SmallVec<[AudienceSlot; 8]>,
    now: Millis,
    by: (MoveCause, Seq),
    folding: bool,
    out: &mut Changes,
) {
    let known = profile.is_known();
    let mut at = 0;
    // Audiences do not read each other in a circle (refused when saved), so this ends.
    while at < affected.len() {
        let slot = affected[at];
        at += 1;
        if affected[at..].contains(&slot) {
            continue;
        }
        let Some(audience) = plan.audience_plan(slot) else { continue };
        let cell = take_audience(profile, slot, &audience.def, folding);
        let facts = ProfileFacts::of(plan, profile);
        let truth = audience.def.membership(&cell.state, &facts, known, now);
        let was = cell.since.is_some();
        let (cause, seq) = by;
        let change = |since| MembershipChange { audience: slot, entered: truth.holds, t: now, since, seq, cause };
        let since = match cell.since {
            None if truth.holds => Some(out.member(change(now))),
            Some(since) if !truth.holds => {
                out.member(change(since));
                None
            }
            since => since,
        };
        put_audience(profile, slot, AudienceCell { flips: truth.until, since, ..cell });
        if was != truth.holds {
            affected.extend(audience.audiences.iter().copied());
        }
    }
}

pub(super) fn take_audience(profile: &mut Profile, slot: AudienceSlot, def: &AudienceDef, folding: bool) -> AudienceCell {
    let state = || if folding { def.fold_state() } else { def.new_state() };
    let fresh = || AudienceCell { state: state(), deadline: Millis::MAX, flips: Millis::MAX, since: None };
    let cell = profile.core.audiences.get_or_insert_with(slot.0, fresh);
    let husk = AudienceCell { state: AudienceState::default(), deadline: cell.deadline, flips: cell.flips, since: cell.since };
    std::mem::replace(cell, husk)
}

pub(super) fn put_audience(profile: &mut Profile, slot: AudienceSlot, cell: AudienceCell) {
    if let Some(place) = profile.core.audiences.get_mut(slot.0) {
        *place = cell;
    }
}
