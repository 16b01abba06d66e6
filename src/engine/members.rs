//! How many members each audience has, kept live.

use super::Engine;
use lodestone_state::event::MembershipChange;
use lodestone_state::ids::{AudienceSlot, ProfileId};
use lodestone_state::machine::Changes;
use lodestone_state::plan::Plan;
use lodestone_state::profile::Profile;
use lodestone_state::time::format_instant;
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};

/// Member counts by audience slot. A count is changed under the lock of the profile that changed it.
#[derive(Default)]
pub(super) struct Members {
    counts: RwLock<Vec<AtomicI64>>,
}

impl Engine {
    /// Counts what one input changed, and notes it for the profile's membership log. The caller holds the lock.
    pub(super) fn note_members(&self, profile: &mut Profile, changes: &Changes) {
        self.members.apply(&changes.members);
        profile.moves.extend(changes.members.iter().chain(&changes.reentered).copied());
    }

    /// The membership log of a profile, oldest first.
    pub(super) fn moves_of(&self, profile: &Profile) -> Vec<MembershipChange> {
        let mut all = self.disk.moves(profile.core.id).unwrap_or_default();
        all.extend(profile.moves.iter().copied());
        all.sort_by_key(|change| (change.t, change.seq, change.audience, change.entered));
        all.dedup_by_key(|change| (change.t, change.audience, change.entered));
        all
    }

    /// The membership log of a profile, newest first: what checkpoints have written and what is in memory.
    #[must_use]
    pub fn memberships_json(&self, id: ProfileId, limit: usize) -> Option<Value> {
        let shared = self.store.get(id)?;
        // Due timers fire first: what is read is true as of now.
        self.touch(&shared);
        let all = self.moves_of(&shared.lock());
        let plan = self.plan.load();
        let total = all.len();
        let rows: Vec<Value> = all.iter().rev().take(limit).map(|change| move_json(&plan, change)).collect();
        Some(json!({"data": rows, "nextCursor": null, "total": total}))
    }

    /// The members of an audience in the order of their ids, after `after`.
    #[must_use]
    pub fn members_json(&self, key: &str, after: Option<ProfileId>, limit: usize) -> Option<Value> {
        let plan = self.plan.load();
        let audience = plan.audience_by_key(key)?;
        let mut ids: Vec<ProfileId> = self.store.ids().into_iter().filter(|id| after.is_none_or(|after| *id > after)).collect();
        ids.sort_unstable();
        let mut rows = Vec::new();
        let mut next = None;
        for id in ids {
            let Some(shared) = self.store.get(id) else { continue };
            let profile = shared.lock();
            // A profile merged away in between answers for its survivor, who has a place of their own.
            if profile.core.id != id {
                continue;
            }
            let Some(since) = profile.member_since(audience.slot) else { continue };
            if rows.len() == limit {
                next = rows.last().and_then(|row: &Value| row["id"].as_str()).map(str::to_owned);
                break;
            }
            let known = profile.core.identities.iter().find(|i| !i.is_anonymous).or(profile.core.identities.first());
            rows.push(json!({
                "id": id.to_string(),
                "userId": known.map(|identity| identity.user_id.as_str()),
                "enteredAt": format_instant(since),
            }));
        }
        Some(json!({"data": rows, "nextCursor": next, "total": self.members.count(audience.slot)}))
    }
}

fn move_json(plan: &Plan, change: &MembershipChange) -> Value {
    let audience = plan.audience_plan(change.audience);
    json!({
        "audienceId": audience.map(|a| a.id.to_string()),
        "audience": audience.map(|a| a.key.as_str()),
        "kind": if change.entered { "entered" } else { "left" },
        "at": format_instant(change.t),
        "since": format_instant(change.since),
        "cause": change.cause.as_str(),
        "seq": change.seq.0,
    })
}

impl Members {
    /// Members of `audience` right now.
    pub(super) fn count(&self, audience: AudienceSlot) -> i64 {
        self.counts.read().get(audience.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Applies what one input changed.
    pub(super) fn apply(&self, changes: &[MembershipChange]) {
        for change in changes {
            self.add(change.audience, if change.entered { 1 } else { -1 });
        }
    }

    /// Takes a profile's memberships out: it is merged away or deleted.
    pub(super) fn remove_all(&self, profile: &Profile) {
        for (slot, cell) in profile.core.audiences.iter() {
            if cell.since.is_some() {
                self.add(AudienceSlot(slot), -1);
            }
        }
    }

    /// Counts a profile that recovery found.
    pub(super) fn add_all(&self, profile: &Profile) {
        for (slot, cell) in profile.core.audiences.iter() {
            if cell.since.is_some() {
                self.add(AudienceSlot(slot), 1);
            }
        }
    }

    fn add(&self, audience: AudienceSlot, by: i64) {
        if let Some(count) = self.counts.read().get(audience.index()) {
            count.fetch_add(by, Ordering::Relaxed);
            return;
        }
        let mut counts = self.counts.write();
        while counts.len() <= audience.index() {
            counts.push(AtomicI64::new(0));
        }
        counts[audience.index()].fetch_add(by, Ordering::Relaxed);
    }
}
