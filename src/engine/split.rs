//! The undoing of merges: who was absorbed comes back.

use super::{Engine, mint};
use crate::telemetry::metrics as m;
use crate::wire::Rejection;
use compact_str::CompactString;
use lodestone_state::command;
use lodestone_state::event::{Entry, EntryKind, Split};
use lodestone_state::ids::{Moment, ProfileId, Seq};
use lodestone_state::machine::{self, Changes, Merge};
use lodestone_state::plan::Plan;
use lodestone_state::profile::{History, Profile};
use lodestone_state::store::Shared;
use lodestone_state::time::format_instant;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// Why no merge was undone.
#[derive(Clone, Debug)]
pub enum SplitError {
    /// There is no such profile.
    NoProfile,
    /// The other profile is no part of it, or not any more.
    NotMerged,
    /// Nothing can be written right now.
    Unavailable(Rejection),
}

/// A merge that was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The profile that stays.
    pub profile: ProfileId,
    /// The profile that came back.
    pub returned: ProfileId,
    /// Log position of the change.
    pub seq: Seq,
}

impl Engine {
    /// Undoes the merge by which `profile` absorbed `target`: both go on as profiles of their own. The answer
    /// may be given once the log position is durable.
    ///
    /// # Errors
    /// [`SplitError`]; nothing has changed then.
    pub fn split(&self, profile: ProfileId, target: ProfileId) -> Result<Undone, SplitError> {
        self.writable().map_err(SplitError::Unavailable)?;
        loop {
            let shared = self.store.get(profile).ok_or(SplitError::NoProfile)?;
            let mut locked = shared.lock();
            if locked.gone.is_some() {
                continue;
            }
            let survivor = &mut *locked;
            let plan = self.plan.load_full();
            let mut changes = Changes::default();
            self.bring_up_to_date(&plan, survivor, &mut changes);
            self.catch_up(&plan, &shared, survivor, self.clock.now(), &mut changes);
            let owned = self.history().load_owned(survivor);
            let Some(split) = machine::undo(survivor, &owned, target) else {
                self.after(&plan, &shared, survivor, &changes);
                return Err(SplitError::NotMerged);
            };
            let mut entry = self.split_entry(survivor, split.clone());
            // Listed before it is appended, as always; who comes back is written in the same batch.
            self.mark_dirty(&shared, survivor);
            let seq = self.journal.append_with(|seq, record| {
                command::encode_entry(survivor.core.id, plan.version, &entry, record);
                self.analysis.rollups.count(survivor.core.id, &entry, seq);
            });
            entry.moment.seq = seq;
            let (returned, its_changes) = machine::part(&plan, survivor, entry, &split, &mut self.history(), &mut changes);
            let other: Shared = Arc::new(Mutex::new(returned));
            let mut returned = other.lock();
            self.publish(&other, &mut returned);
            self.rebind(survivor, &returned, seq);
            self.after(&plan, &other, &mut returned, &its_changes);
            self.after(&plan, &shared, survivor, &changes);
            tracing::info!(profile = %survivor.core.id, returned = %target, seq = seq.0, "merge undone");
            m::split();
            return Ok(Undone { profile: survivor.core.id, returned: target, seq });
        }
    }

    fn split_entry(&self, survivor: &Profile, split: Split) -> Entry {
        let at = self.clock.now().max(survivor.core.clock);
        Entry {
            // Custom traits are set in the order of the log.
            moment: Moment { t: at.max(survivor.core.asserted), seq: Seq(0) },
            at,
            user_id: CompactString::default(),
            message_id: None,
            id: mint(),
            kind: EntryKind::Split(split),
        }
    }

    /// Makes a profile that came back one that can be found, and listed for the next checkpoint. The caller
    /// holds its lock since before anybody else could, and goes on holding it: whoever takes the locks of
    /// both waits for both.
    pub(super) fn publish(&self, shared: &Shared, returned: &mut Profile) {
        self.store.separate(shared, returned);
        self.mark_dirty(shared, returned);
    }

    /// Sessions that act for an id that went are those of the profile that it went to.
    fn rebind(&self, survivor: &Profile, returned: &Profile, stamped: Seq) {
        for session in self.hub.of(survivor.core.id) {
            let user_id = session.user_id().0;
            let Some(identity) = returned.core.identities.iter().find(|identity| identity.user_id == user_id) else { continue };
            let is_anonymous =
                identity.is_anonymous && !returned.core.identities.iter().any(|i| i.user_id == user_id && !i.is_anonymous);
            self.hub.bind(&session, returned.core.id);
            session.lock().now_acts(is_anonymous, stamped.0);
            session.wake();
        }
    }

    /// The merges that made a profile what it is, newest first; those that were undone from it too. `None`
    /// when there is no such profile.
    #[must_use]
    pub fn merges_json(&self, profile: ProfileId) -> Option<Value> {
        let shared = self.store.get(profile)?;
        let profile = shared.lock();
        let owned = self.history().load_owned(&profile);
        let merges = machine::merges(&profile, &owned);
        drop(profile);
        let plan = self.plan.load();
        let rows: Vec<Value> = merges.iter().rev().map(|merge| merge_json(&plan, merge)).collect();
        Some(json!({"total": rows.len(), "data": rows, "nextCursor": null}))
    }
}

fn merge_json(plan: &Plan, merge: &Merge) -> Value {
    let identities = merge.absorbed.identities.iter().map(|identity| {
        json!({
            "channel": plan.channel_key(identity.channel),
            "type": identity.kind.as_str(),
            "userId": identity.user_id.as_str(),
            "isAnonymous": identity.is_anonymous,
        })
    });
    json!({
        "profileId": merge.absorbed.profile.to_string(),
        "into": merge.absorbed.into.to_string(),
        "mergedAt": format_instant(merge.at),
        "identities": identities.collect::<Vec<_>>(),
        "cause": {"type": "identify", "userId": merge.user_id.as_str(), "messageId": merge.message_id.as_deref()},
        "seq": merge.seq.0,
        "undoable": merge.live,
        "undoneAt": merge.undone.map(format_instant),
    })
}
