//! Rules that are due fire: one log entry each, written under the lock of the profile that they are due for.
//!
//! The entry is everything at once: it marks the rule as fired, sets its attributes, and names the webhooks
//! and events that follow ([`lodestone_state::job`]). So a rule has fired with all of it, or it has not and
//! is still due.

use super::Engine;
use super::track::Draft;
use crate::telemetry::metrics as m;
use compact_str::CompactString;
use lodestone_state::event::{EntryKind, Fired, Firing, Link, Props};
use lodestone_state::expr::PathRef;
use lodestone_state::ids::{ChannelSlot, DefId, Millis, RuleSlot, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Plan, RulePlan};
use lodestone_state::profile::Profile;
use lodestone_state::rule::{Due, Effect, Period};
use lodestone_state::store::Shared;
use lodestone_state::time::format_instant;
use lodestone_state::value::Value;
use serde_json::{Value as Json, json};

/// Rules that cannot be written down now are tried again after this, in milliseconds.
const RETRY_MS: i64 = 5000;

/// What made rules due.
struct Cause {
    user_id: CompactString,
    channel: ChannelSlot,
    context: Props,
    chain: Box<[Link]>,
}

impl Cause {
    /// The entry at log position `applied`; where none is named, time or a definition.
    fn of(profile: &Profile, applied: Option<Seq>) -> Self {
        let entry = applied.and_then(|seq| profile.tail.iter().rev().find(|entry| entry.moment.seq == seq));
        match entry.map(|entry| (&entry.user_id, &entry.kind)) {
            Some((user_id, EntryKind::Event(event))) => Self {
                user_id: user_id.clone(),
                channel: event.channel,
                context: event.context.clone(),
                chain: event.chain.clone(),
            },
            // Other rules of the same input, before a crash.
            Some((user_id, EntryKind::Fired(fired))) => Self {
                user_id: user_id.clone(),
                channel: fired.channel,
                context: fired.context.clone(),
                chain: fired.chain.clone(),
            },
            Some((user_id, _)) => Self::person(profile, Some(user_id)),
            None => Self::person(profile, None),
        }
    }

    /// The person by this id, else by the one that they are best known by.
    fn person(profile: &Profile, user_id: Option<&str>) -> Self {
        let all = &profile.core.identities;
        let named = user_id.and_then(|user_id| all.iter().find(|identity| identity.user_id == user_id));
        let best = named.or_else(|| all.iter().find(|identity| !identity.is_anonymous)).or(all.first());
        Self {
            user_id: best.map_or_else(CompactString::default, |identity| identity.user_id.clone()),
            channel: best.map_or(ChannelSlot(0), |identity| identity.channel),
            context: Props::default(),
            chain: Box::default(),
        }
    }
}

impl Engine {
    /// Brings a profile to `at`, the arrival of an input, before that is decided: what definitions or time
    /// have made due fires first, each at its own instant.
    pub(super) fn catch_up(&self, plan: &Plan, shared: &Shared, profile: &mut Profile, at: Millis, changes: &mut Changes) {
        if profile.core.clock > Millis::MIN {
            self.settle_rules(plan, shared, profile, changes);
            if profile.deadline() <= at {
                self.advance(plan, shared, profile, at, changes);
            }
        }
    }

    /// Lets time pass for a profile up to `now`: timers fire at their own instants, and so do the rules that
    /// they make due.
    pub(super) fn advance(&self, plan: &Plan, shared: &Shared, profile: &mut Profile, now: Millis, changes: &mut Changes) {
        self.settle_rules(plan, shared, profile, changes);
        changes.applied = None;
        while machine::advance_to_due(plan, profile, now, &mut self.history(), changes) {
            self.settle_rules(plan, shared, profile, changes);
            changes.applied = None;
        }
        self.mark_dirty(shared, profile);
    }

    /// Writes down every rule that `changes` tells to be due and that is. What cannot be written now stays
    /// due, and the profile is woken for it.
    pub(super) fn settle_rules(&self, plan: &Plan, shared: &Shared, profile: &mut Profile, changes: &mut Changes) {
        let mut slots = std::mem::take(&mut changes.due);
        if slots.is_empty() {
            return;
        }
        if self.writable().is_err() {
            self.timers.schedule(self.clock.now().plus(RETRY_MS), profile.core.id);
            return;
        }
        slots.sort_unstable();
        let cause = Cause::of(profile, changes.applied);
        for slot in slots {
            if let Some(due) = machine::due(plan, profile, slot) {
                let fired = fired(plan, profile, slot, due, &cause);
                m::rule_fired(fired.what);
                let at = profile.core.clock;
                let user_id = cause.user_id.clone();
                let draft = Draft { t: at, at, user_id, message_id: None, kind: EntryKind::Fired(fired) };
                self.commit(plan, shared, profile, draft, super::mint(), changes);
            }
        }
    }

    /// On how many profiles a rule has fired, and on how many its condition holds; looks at every profile.
    #[must_use]
    pub fn rule_counts(&self, plan: &Plan, id: DefId) -> Option<Json> {
        let rule = plan.rules.iter().flatten().find(|rule| rule.id == id)?;
        let (mut fired, mut times, mut last) = (0_u64, 0_u64, None);
        for shared in self.store.all() {
            let profile = shared.lock();
            if let Some(state) = profile.core.rules.get(rule.slot.0).filter(|state| state.marks.fires > 0) {
                fired += 1;
                times += u64::from(state.marks.fires);
                last = last.max(state.marks.fired_at);
            }
        }
        Some(json!({"profiles": fired, "times": times, "lastAt": last.map(format_instant)}))
    }
}

/// The entry of a rule that is due.
fn fired(plan: &Plan, profile: &Profile, slot: RuleSlot, due: Due, cause: &Cause) -> Fired {
    let rule = plan.rule_plan(slot);
    let chained = cause.chain.contains(&Link::Rule(slot));
    let (what, marker) = match due {
        // An event in whose chain a rule is does not make it fire again.
        Due::Fire { marker, .. } if chained => (Firing::Quiet, marker),
        Due::Fire { what, marker } => (what, marker),
        Due::Clear { .. } | Due::Purge => (Firing::Cleared, 0),
    };
    let attributes = match (due, what) {
        (_, Firing::Met | Firing::Backfill) => rule.map(attributes_of).unwrap_or_default(),
        (Due::Clear { attributes: true } | Due::Purge, _) => held(profile, slot).map(|path| (path, None)).collect(),
        _ => Box::default(),
    };
    let emits = |rule: &RulePlan| rule.def.effects.iter().any(|effect| matches!(effect, Effect::Emit { .. }));
    let follows = matches!(what, Firing::Met | Firing::Backfill) && rule.is_some_and(emits);
    Fired {
        rule: slot,
        what,
        marker,
        metric: machine::metric(plan, profile, slot),
        attributes,
        chain: cause.chain.clone(),
        channel: cause.channel,
        context: if follows { cause.context.clone() } else { Props::default() },
    }
}

/// What a rule sets; of two values for one attribute the later.
fn attributes_of(rule: &RulePlan) -> Box<[(PathRef, Option<Value>)]> {
    let mut set: Vec<(PathRef, Option<Value>)> = Vec::new();
    for effect in &rule.def.effects {
        if let Effect::Attribute { path, value, .. } = effect {
            set.retain(|(known, _)| known != path);
            set.push((path.clone(), Some(value.clone())));
        }
    }
    set.into()
}

/// The attributes of a profile that a rule set last.
fn held(profile: &Profile, slot: RuleSlot) -> impl Iterator<Item = PathRef> {
    profile.core.set_by.iter().filter(move |(_, by)| *by == slot).map(|(path, _)| path.clone())
}

/// How a profile stands with every rule.
pub(super) fn rules_json(plan: &Plan, profile: &Profile) -> Vec<Json> {
    let now = profile.core.clock;
    let rules = plan.rules.iter().flatten();
    rules
        .map(|rule| {
            let marks = profile.core.rules.get(rule.slot.0).map(|state| state.marks).unwrap_or_default();
            let metric = machine::metric(plan, profile, rule.slot);
            json!({
                "id": rule.id.to_string(),
                "key": rule.key,
                "name": rule.name,
                "metric": metric.as_ref().map(Value::to_json),
                "threshold": rule.def.threshold.to_json(),
                "met": rule.def.holds(metric.as_ref(), now),
                "fired": marks.fires > 0,
                "firedAt": marks.fired_at.map(format_instant),
                "fires": marks.fires,
                "period": period_json(rule, now),
            })
        })
        .collect()
}

/// The time that the metric covers right now; `null` for all of it.
fn period_json(rule: &RulePlan, now: Millis) -> Json {
    let (from, to) = match rule.def.period {
        Period::Ever => return Json::Null,
        Period::Last { ms } => (now.minus(ms).plus(1), Millis::MAX),
        Period::Fixed { .. } | Period::Calendar(_) => rule.def.period.span(&rule.def.zone, now),
    };
    let instant = |t: Millis| (t > Millis::MIN && t < Millis::MAX).then(|| format_instant(t));
    json!({"from": instant(from), "to": instant(to)})
}

/// Whose the attributes are that rules set: path and `rule:<key>`.
pub(super) fn provenance_json(plan: &Plan, profile: &Profile) -> Json {
    let mut map = serde_json::Map::new();
    for (path, slot) in &profile.core.set_by {
        let mut name = plan.paths.name(path.path).trim_end_matches('.').to_owned();
        for segment in &path.rest {
            name = lodestone_state::paths::join(&name, segment).into();
        }
        let key = plan.catalog.definitions(lodestone_state::plan::Kind::Rule).get(slot.index()).map_or("", |rule| &rule.key);
        map.insert(name, format!("rule:{key}").into());
    }
    Json::Object(map)
}

#[cfg(test)]
mod tests;
