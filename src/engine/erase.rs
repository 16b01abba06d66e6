//! Entries that are taken out of a profile's log, one by one, because somebody asked for it.

use super::track::Draft;
use super::{Engine, mint};
use crate::telemetry::metrics as m;
use crate::wire::Rejection;
use compact_str::CompactString;
use lodestone_state::event::{Entry, EntryKind, Erased, Reacted, Uncounted};
use lodestone_state::ids::{ActionSlot, Moment, ProfileId, Seq};
use lodestone_state::machine::Changes;
use lodestone_state::plan::Plan;
use lodestone_state::profile::{History, Profile};
use std::sync::atomic::Ordering;

/// Why nothing was erased.
#[derive(Clone, Debug)]
pub enum EraseError {
    /// There is no such profile.
    NoProfile,
    /// The profile's log has no such event or reaction.
    NoEvent,
    /// Nothing can be written right now.
    Unavailable(Rejection),
}

impl Engine {
    /// Takes the event or reaction `id` out of the log of `profile`, and derives anew what was computed from
    /// it. The answer may be given once the log position is durable.
    ///
    /// # Errors
    /// [`EraseError`]; nothing has changed then.
    pub fn erase_event(&self, profile: ProfileId, id: u128, reason: Option<&str>) -> Result<Seq, EraseError> {
        self.erasable().map_err(EraseError::Unavailable)?;
        loop {
            let shared = self.store.get(profile).ok_or(EraseError::NoProfile)?;
            let mut locked = shared.lock();
            if locked.gone.is_some() {
                continue;
            }
            let profile = &mut *locked;
            let plan = self.plan.load_full();
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, profile, &mut changes);
            self.catch_up(&plan, &shared, profile, self.clock.now(), &mut changes);
            let owned = self.history().load_owned(profile);
            let found = owned.iter().find(|(_, entry)| entry.id == id && can_be_erased(entry));
            let Some((owner, entry)) = found else {
                self.after(&plan, &shared, profile, &changes);
                return Err(EraseError::NoEvent);
            };
            let erased = Erased {
                moments: vec![entry.moment],
                before: None,
                reactions: uncounted(*owner, entry).into_iter().collect(),
                reason: reason.map(CompactString::from),
            };
            let action = erased.reactions.first().map(|gone| gone.reacted.action);
            let seq = self.commit_erased(&plan, &shared, profile, erased, &mut changes);
            drop(locked);
            if let Some(action) = action {
                self.total_went_down(action);
            }
            return Ok(seq);
        }
    }

    /// As [`Engine::erase_event`], for whoever owns `user_id`.
    ///
    /// # Errors
    /// [`EraseError`]; nothing has changed then.
    pub fn erase_event_of(&self, user_id: &str, id: u128, reason: Option<&str>) -> Result<Seq, EraseError> {
        let profile = self.store.find(user_id).ok_or(EraseError::NoProfile)?.lock().core.id;
        self.erase_event(profile, id, reason)
    }

    /// Journals that entries leave a log, and carries it out.
    pub(super) fn commit_erased(
        &self,
        plan: &Plan,
        shared: &lodestone_state::store::Shared,
        profile: &mut Profile,
        erased: Erased,
        changes: &mut Changes,
    ) -> Seq {
        let at = self.clock.now().max(profile.core.clock);
        let by_age = erased.before.is_some();
        let counted = erased.clone();
        let kind = EntryKind::Erased(erased);
        let draft = Draft { t: at, at, user_id: CompactString::default(), message_id: None, kind };
        let seq = self.commit_with(plan, shared, profile, draft, mint(), changes, |moment: Moment| {
            self.uncount(plan, &counted, moment.seq);
            for stage in self.outbox.erase(&counted.moments) {
                m::job_erased(stage);
            }
        });
        m::dropped(if by_age { m::Dropped::Retention } else { m::Dropped::Erased }, changes.left);
        self.after(plan, shared, profile, changes);
        seq
    }

    /// Refuses to erase once nothing can be journaled any more. A disk that is nearly full does not stop it:
    /// that is what its reserve is for.
    pub(super) fn erasable(&self) -> Result<(), Rejection> {
        if self.stopping.load(Ordering::Relaxed) || self.journal.failure().is_some() {
            return Err(Rejection::unavailable("the server cannot store right now; send it again later"));
        }
        Ok(())
    }

    /// Takes reactions that left a log out of the counts that all profiles share. Once for each log position
    /// of an erasure, whoever comes by: in the moment it is stamped, and in a replay.
    pub(super) fn uncount(&self, plan: &Plan, erased: &Erased, seq: Seq) {
        for (place, gone) in (0..).zip(&erased.reactions) {
            if plan.action_plan(gone.reacted.action).is_some() {
                self.totals.uncount(&gone.reacted, gone.moment, (seq, place));
            }
            self.analysis.rollups.uncount(gone.profile, &gone.reacted, gone.moment.t, seq);
        }
    }

    /// A total may have room again, and a window that was cut may need the log to say so.
    fn total_went_down(&self, action: ActionSlot) {
        let _one_at_a_time = self.catalog_gate.lock();
        self.recount_totals(&self.plan.load());
        self.tell_everyone(action, true);
    }
}

/// Events and reactions are what somebody did; the rest says how the profile came to be as it is.
fn can_be_erased(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Event(_) | EntryKind::Reacted(_))
}

/// What an entry left in the counts that all profiles share.
fn uncounted(owner: ProfileId, entry: &Entry) -> Option<Uncounted> {
    let EntryKind::Reacted(reacted) = &entry.kind else { return None };
    let reacted = Reacted { delivery: None, properties: None, context: Default::default(), result: None, ..reacted.clone() };
    Some(Uncounted { profile: owner, moment: entry.moment, reacted })
}
