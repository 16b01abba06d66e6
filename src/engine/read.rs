//! The read side: profiles, audiences and the state of the machine as JSON.

use super::Engine;
use lodestone_state::action::push::delivery_text;
use lodestone_state::action::reaction_word;
use lodestone_state::event::{Entry, EntryKind, Firing, Occurrence, Reacted};
use lodestone_state::ids::{AudienceSlot, Millis, ProfileId};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::Plan;
use lodestone_state::profile::{History, Profile};
use lodestone_state::store::Shared;
use lodestone_state::time::format_instant;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Log entries that a profile answer carries, newest first.
const EVENTS_MAX: usize = 50;

/// Whether the server can do its work, and what says so.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// All checks passed.
    pub ready: bool,
    /// `(name, passed, detail)`.
    pub checks: Vec<(&'static str, bool, String)>,
}

impl Engine {
    /// One profile, or the one it was merged into.
    #[must_use]
    pub fn profile_json(&self, id: ProfileId) -> Option<Value> {
        Some(self.render(&self.store.get(id)?))
    }

    /// The profile that owns `user_id`.
    #[must_use]
    pub fn profile_json_by_user(&self, user_id: &str) -> Option<Value> {
        Some(self.render(&self.store.find(user_id)?))
    }

    /// Brings a profile up to now: due timers fire, definitions that changed are folded in.
    pub(super) fn touch(&self, shared: &Shared) {
        self.touch_locked(shared, &mut shared.lock());
        self.follow_up();
    }

    fn render(&self, shared: &Shared) -> Value {
        self.touch(shared);
        let mut profile = shared.lock();
        let plan = self.touch_locked(shared, &mut profile);
        let entries = self.history().load(&profile);
        let mut json = profile_json(&plan, &profile, &entries);
        for (name, touch) in super::attribution::exposed(&plan, &profile, self.clock.now()) {
            json["computedTraits"][name] = touch;
        }
        json
    }

    fn touch_locked(&self, shared: &Shared, profile: &mut Profile) -> Arc<Plan> {
        let plan = self.plan.load_full();
        // What is read is true as of now: due timers fire first, exactly as an event would make them.
        let mut changes = Changes::default();
        self.bring_up_to_date(&plan, profile, &mut changes);
        self.catch_up(&plan, shared, profile, self.clock.now(), &mut changes);
        self.after(&plan, shared, profile, &changes);
        plan
    }

    /// Everything an operator wants at a glance.
    #[must_use]
    pub fn status_json(&self) -> Value {
        let plan = self.plan.load();
        let mut status = self.public_status_json();
        if let Some(map) = status.as_object_mut() {
            map.insert("organization".into(), json!({"name": plan.organization_name(), "timezone": plan.zone.name()}));
            map.insert(
                "definitions".into(),
                json!({
                    "events": plan.events.iter().flatten().count(),
                    "computedTraits": plan.traits.iter().flatten().count(),
                    "audiences": plan.audiences.iter().flatten().count(),
                    "actions": plan.actions.iter().flatten().count(),
                }),
            );
            map.insert("building".into(), self.building_json(&plan).into());
            map.insert("identities".into(), json!(self.store.identities_len()));
            map.insert("timers".into(), json!(self.timers.len()));
            map.insert("dedupeInMemory".into(), json!(self.dedupe.len()));
            map.insert("dirtyProfiles".into(), json!(self.dirty_len()));
        }
        status
    }

    /// What the status page shows to anyone: numbers without personal data.
    #[must_use]
    pub fn public_status_json(&self) -> Value {
        let plan = self.plan.load();
        let stats = &self.stats;
        let at = self.checkpoint_at();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptimeSeconds": self.started.elapsed().as_secs(),
            "planVersion": plan.version,
            "events": stats.events.load(Ordering::Relaxed),
            "rejected": stats.rejected.load(Ordering::Relaxed),
            "pushes": stats.pushes.load(Ordering::Relaxed),
            "reactions": stats.reactions.load(Ordering::Relaxed),
            "profiles": self.store.len(),
            "sessions": self.hub.len(),
            "journalSeq": self.journal.last().0,
            "durableSeq": self.journal.durable_now().0,
            "checkpointSeq": stats.checkpoint_seq.load(Ordering::Relaxed),
            "checkpointAgeSeconds": if at.0 > 0 { json!((self.clock.now().0 - at.0).max(0) / 1000) } else { Value::Null },
            "backfill": self.backfill.json(),
        })
    }

    /// Whether events can be taken right now.
    #[must_use]
    pub fn ready(&self) -> Readiness {
        let failed = self.failed();
        let checks = vec![
            ("recovered", true, format!("{} profiles", self.store.len())),
            ("journal", failed.is_none(), failed.unwrap_or_else(|| "writable".into())),
            (
                "disk",
                self.journal.writable(),
                if self.journal.writable() { "above the reserve".into() } else { "below the reserve: writes are refused".into() },
            ),
            ("draining", !self.stopping.load(Ordering::Relaxed), String::new()),
        ];
        Readiness { ready: checks.iter().all(|(_, ok, _)| *ok), checks }
    }

    /// The invalid-events log, newest first.
    #[must_use]
    pub fn invalid_json(&self, max: usize) -> Value {
        let rows: Vec<Value> = self
            .invalid
            .all()
            .iter()
            .rev()
            .take(max)
            .map(|row| {
                let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::String(text.into()));
                let errors: Vec<Value> = row.errors.iter().map(|(path, rule, message)| json!({"path": path, "rule": rule.as_str(), "message": message})).collect();
                json!({
                    "id": uuid::Uuid::from_u128(row.id).to_string(), "type": row.kind.as_str(), "name": row.name.as_str(), "channel": row.channel.as_str(),
                    "userId": row.user_id.as_str(), "messageId": row.message_id.as_deref(), "eventVersion": row.version,
                    "properties": parse(&row.properties), "context": parse(&row.context), "errors": errors, "createdAt": format_instant(row.at),
                })
            })
            .collect();
        json!({"data": rows, "nextCursor": null})
    }
}

fn profile_json(plan: &Plan, profile: &Profile, entries: &[Entry]) -> Value {
    let core = &profile.core;
    let identities: Vec<Value> = core
        .identities
        .iter()
        .map(|i| json!({"channel": plan.channel_key(i.channel), "type": i.kind.as_str(), "userId": i.user_id.as_str(), "isAnonymous": i.is_anonymous, "createdAt": format_instant(i.created_at)}))
        .collect();
    let audiences: Vec<Value> = plan
        .audiences
        .iter()
        .flatten()
        .filter_map(|a| {
            let since = profile.member_since(AudienceSlot(a.slot.0))?;
            Some(json!({"id": a.id.to_string(), "key": a.key.as_str(), "name": a.name.as_str(), "enteredAt": format_instant(since)}))
        })
        .collect();
    let events: Vec<Value> = entries.iter().rev().take(EVENTS_MAX).map(|entry| entry_json(plan, entry)).collect();
    let reactions = entries.iter().rev().filter(|e| matches!(e.kind, EntryKind::Reacted(_))).take(EVENTS_MAX);
    let reactions: Vec<Value> = reactions.map(|entry| entry_json(plan, entry)).collect();
    json!({
        "id": core.id.to_string(),
        "createdAt": format_instant(core.created_at),
        "updatedAt": format_instant(core.updated_at),
        "identities": identities,
        "customTraits": plan.paths.render(&core.custom),
        "customTraitsSetBy": super::rules::provenance_json(plan, profile),
        "computedTraits": computed_json(plan, profile),
        "approximate": approximate(plan, profile),
        "audiences": audiences,
        "eventCount": core.events,
        "funnels": funnels_json(plan, profile),
        "rules": super::rules::rules_json(plan, profile),
        "events": events,
        "reactions": reactions,
    })
}

/// The values of all computed traits by their keys.
pub(super) fn computed_json(plan: &Plan, profile: &Profile) -> Map<String, Value> {
    let all = plan.traits.iter().flatten();
    let values = all.filter_map(|known| Some((known.key.clone(), machine::trait_value(plan, profile, known.slot)?.to_json())));
    values.collect()
}

/// What a bound has been reached for: traits that are estimated or too great for a number, audiences of
/// which a run was given up.
fn approximate(plan: &Plan, profile: &Profile) -> Value {
    let (mut traits, mut overflow, mut audiences) = (Vec::new(), Vec::new(), Vec::new());
    for known in plan.traits.iter().flatten() {
        let Some(state) = profile.trait_state(known.slot) else { continue };
        if known.def.approx(state) {
            traits.push(known.key.as_str());
        }
        if known.def.overflow(state) {
            overflow.push(known.key.as_str());
        }
    }
    for known in plan.audiences.iter().flatten() {
        let cell = profile.core.audiences.get(known.slot.0);
        if cell.is_some_and(|cell| known.def.approx(&cell.state)) {
            audiences.push(known.key.as_str());
        }
    }
    json!({"computedTraits": traits, "overflow": overflow, "audiences": audiences})
}

/// How far the furthest live run of each funnel is.
fn funnels_json(plan: &Plan, profile: &Profile) -> Vec<Value> {
    let mut funnels = Vec::new();
    for audience in plan.audiences.iter().flatten() {
        let cell = profile.core.audiences.get(audience.slot.0);
        for (i, chain) in audience.def.chains.iter().enumerate() {
            let steps: Vec<&str> = chain.steps.iter().map(|step| plan.event_name(chain.nodes[step.node].event)).collect();
            let state = cell.and_then(|cell| cell.state.chains().get(i));
            let (step, _) = state.map_or((0, 0), |state| chain.progress(state, profile.core.clock));
            let expires = cell.map_or(Millis::MAX, |cell| cell.deadline);
            funnels.push(json!({
                "key": audience.key.as_str(),
                "name": audience.name.as_str(),
                "steps": steps,
                "step": step,
                "expiresAt": if expires == Millis::MAX { Value::Null } else { json!(format_instant(expires)) },
            }));
        }
    }
    funnels
}

/// One entry of the log; `type` says which sort.
fn entry_json(plan: &Plan, entry: &Entry) -> Value {
    match &entry.kind {
        EntryKind::Event(event) => event_json(plan, entry, event),
        EntryKind::Reacted(reacted) => reaction_json(plan, entry, reacted),
        EntryKind::Fired(fired) => json!({
            "type": match fired.what {
                Firing::Met | Firing::Backfill => "rule_fired",
                Firing::Quiet => "rule_marked",
                Firing::Cleared => "rule_cleared",
            },
            "id": uuid_text(entry.id),
            "rule": plan.rule_plan(fired.rule).map(|rule| rule.key.as_str()),
            "cause": if fired.what == Firing::Backfill { "backfill" } else { "live" },
            "metric": fired.metric.as_ref().map(lodestone_state::value::Value::to_json),
            "timestamp": format_instant(entry.moment.t),
            "receivedAt": format_instant(entry.at),
            "seq": entry.moment.seq.0,
        }),
        EntryKind::Erased(erased) => json!({
            "type": "erased",
            "id": uuid_text(entry.id),
            "entries": erased.moments.len(),
            "reason": erased.reason.as_deref(),
            "timestamp": format_instant(entry.moment.t),
            "seq": entry.moment.seq.0,
        }),
        EntryKind::Split(split) => json!({
            "type": "split",
            "id": uuid_text(entry.id),
            "profileId": split.profile.to_string(),
            "timestamp": format_instant(entry.moment.t),
            "seq": entry.moment.seq.0,
        }),
        EntryKind::Identified(identified) => json!({
            "type": "identify",
            "id": uuid_text(entry.id),
            "event": "identify",
            "userId": entry.user_id.as_str(),
            "messageId": entry.message_id.as_deref(),
            "merged": identified.absorbed.iter().map(|one| one.profile.to_string()).collect::<Vec<_>>(),
            "timestamp": format_instant(entry.moment.t),
            "receivedAt": format_instant(entry.at),
            "seq": entry.moment.seq.0,
        }),
    }
}

fn event_json(plan: &Plan, entry: &Entry, event: &Occurrence) -> Value {
    json!({
        "type": "event",
        "id": uuid_text(entry.id),
        "event": plan.event_name(event.event),
        "eventVersion": event.version,
        "channel": plan.channel_key(event.channel),
        "userId": entry.user_id.as_str(),
        "messageId": entry.message_id.as_deref(),
        "properties": plan.paths.render(&event.props),
        "context": plan.paths.render(&event.context),
        "timestamp": format_instant(entry.moment.t),
        "receivedAt": format_instant(entry.at),
        "seq": entry.moment.seq.0,
    })
}

pub(super) fn reaction_json(plan: &Plan, entry: &Entry, reacted: &Reacted) -> Value {
    let action = plan.action_plan(reacted.action);
    let (experiment, variant) = reacted.variant.map_or((None, None), |arm| super::trials::named(plan, arm));
    json!({
        "type": "reaction",
        "id": uuid_text(entry.id),
        "event": reaction_word(reacted.reaction),
        "actionId": action.map(|a| a.id.to_string()),
        "action": action.map(|a| a.name.as_str()),
        "channel": plan.channel_key(reacted.channel),
        "deliveryId": reacted.delivery.map(delivery_text),
        "userId": entry.user_id.as_str(),
        "test": reacted.test,
        "experiment": experiment,
        "variant": variant,
        "properties": reacted.properties.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()),
        "context": plan.paths.render(&reacted.context),
        "result": reacted.result.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()),
        "timestamp": format_instant(entry.moment.t),
        "receivedAt": format_instant(entry.at),
        "seq": entry.moment.seq.0,
    })
}

fn uuid_text(id: u128) -> String {
    uuid::Uuid::from_u128(id).to_string()
}
