//! An action that nobody saved, or a changed one, over history: who would have got it, and when.

use super::Engine;
use super::draft::Drafted;
use super::explain::{Unanswered, action, channel};
use super::replay::Period;
use super::scan::Cancel;
use lodestone_state::action::{Cap, Group, reaction_word};
use lodestone_state::event::{EntryKind, Reaction};
use lodestone_state::explain::{Needs, narrow};
use lodestone_state::ids::{ActionSlot, ChannelSlot, ProfileId};
use lodestone_state::machine::fold_watched;
use lodestone_state::plan::{ActionPlan, Kind, Plan};
use lodestone_state::time::{Date, format_instant};
use lodestone_state::whatif::{Ask, CapUse, Contest, Happening, Opportunities, Outcome, Reached, SESSION_MS, Shown, Step};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What can count of all people in one what-if: about 100 bytes each.
const HAPPENINGS_MAX: usize = 2_000_000;

/// What is asked: a saved action as it is, a draft, or a draft in the place of a saved one.
#[derive(Clone, Debug)]
pub struct WhatIf {
    /// A saved action, by id or name.
    pub action: Option<String>,
    /// A definition as it is sent to be saved.
    pub definition: Option<Json>,
    /// When.
    pub period: Period,
    /// Only in this channel, by key; in all of the action's if absent.
    pub channel: Option<String>,
    /// What is supposed of showing; what the log says for a saved action, else all that is delivered.
    pub shown: Option<Shown>,
    /// Deliveries that are told one by one.
    pub limit: usize,
}

/// Days with deliveries and people.
type Days = BTreeMap<Date, (u64, HashSet<ProfileId>)>;

impl Engine {
    /// Who would have got an action, had it been active in the form that is asked about. Folds everybody's log;
    /// reads only.
    ///
    /// # Errors
    /// [`Unanswered`]; what is wrong with a definition by its place below `/definition`.
    pub fn what_if(&self, asked: &WhatIf, cancel: &Cancel) -> Result<Json, Unanswered> {
        let Drafted { mut plan, slot, replaces, .. } = self.asked_action(asked)?;
        let action = ActionSlot(u32::try_from(slot).unwrap_or(u32::MAX));
        slim(&mut plan, action);
        let found = plan.action_plan(action).ok_or(Unanswered::NotFound("action_not_found"))?;
        let channels = match &asked.channel {
            Some(key) => vec![channel(&plan, key)?],
            None => found.def.channels.to_vec(),
        };
        // What comes in while this runs is no part of it.
        let to = asked.period.to.min(self.clock.now().plus(1));
        let ask = Ask { plan: &plan, action, channels, from: asked.period.from, to };
        let (reached, complete) = self.reached(&ask, cancel)?;
        let shown = asked.shown.unwrap_or(if replaces { Shown::Logged } else { Shown::Delivered });
        let mut people = People::default();
        let mut happenings: Vec<(ProfileId, Happening)> = Vec::new();
        for (profile, reached) in reached {
            people.add(profile, &reached);
            happenings.extend(reached.happenings.into_iter().map(|happening| (profile, happening)));
        }
        happenings.sort_by_key(|(_, happening)| happening.moment);
        let mut contest = Contest::new(&ask, shown, asked.limit).ok_or(Unanswered::NotFound("action_not_found"))?;
        happenings.iter().for_each(|(profile, happening)| contest.take(*profile, happening));
        let used = found.def.caps.iter().map(|cap| contest.used(cap)).collect();
        let outcome = contest.outcome();
        people.join(&outcome);
        let changed = replaces && asked.definition.is_some();
        Ok(Told { ask: &ask, action: found, saved: replaces, changed, shown, people, used, complete }.json(&outcome))
    }

    /// The action that is asked about, active, in a plan of its own.
    fn asked_action(&self, asked: &WhatIf) -> Result<Drafted, Unanswered> {
        let below = |error: Unanswered| if asked.definition.is_some() { error.below("/definition") } else { error };
        let mut definition = match (&asked.definition, &asked.action) {
            (Some(definition), _) => definition.clone(),
            (None, key) => {
                let plan = self.plan.load();
                let slot = action(&plan, key.as_deref().unwrap_or_default())?.slot;
                plan.catalog.definitions(Kind::Action)[slot.index()].json()
            }
        };
        if let Json::Object(body) = &mut definition {
            body.insert("state".into(), "active".into());
        }
        self.draft(Kind::Action, definition, asked.action.as_deref()).map_err(below)
    }

    /// When everybody could be reached, and what else counts.
    fn reached(&self, ask: &Ask<'_>, cancel: &Cancel) -> Result<(Vec<(ProfileId, Reached)>, bool), Unanswered> {
        let scan = self.begin_scan(cancel)?;
        let kept = AtomicUsize::new(0);
        let (found, complete) = scan.each(|shared| {
            let mut taken = self.taken(shared)?;
            taken.entries.retain(|entry| entry.moment.t < ask.to);
            let events = |kind: &EntryKind| matches!(kind, EntryKind::Event(_) | EntryKind::Reacted(_));
            if !taken.entries.iter().any(|entry| events(&entry.kind)) {
                return None;
            }
            let core = &taken.profile.core;
            let mut watch = Opportunities::new(ask, core.root.1);
            fold_watched(ask.plan, core.id, &taken.entries, ask.to.minus(1), &mut watch);
            let mut reached = watch.found();
            if kept.fetch_add(reached.happenings.len(), Ordering::Relaxed) > HAPPENINGS_MAX {
                reached.happenings.clear();
            }
            Some(reached)
        });
        Ok((found, complete && kept.into_inner() <= HAPPENINGS_MAX))
    }
}

/// Leaves in a plan what the decisions about one action rest on.
fn slim(plan: &mut Plan, action: ActionSlot) {
    let needs = Needs::of_action(plan, action);
    let experiments = std::mem::take(&mut plan.experiments);
    narrow(plan, &needs);
    plan.experiments = experiments;
}

/// How far people came.
#[derive(Default)]
struct People {
    reached: HashSet<ProfileId>,
    times: u64,
    /// The times at which the action was not for somebody.
    blocked: BTreeMap<Step, u64>,
    /// The furthest step of those who did not get it.
    furthest: BTreeMap<ProfileId, Step>,
}

impl People {
    fn add(&mut self, profile: ProfileId, reached: &Reached) {
        self.times += reached.times;
        if reached.times > 0 {
            self.reached.insert(profile);
        }
        for (step, times) in &reached.blocked {
            *self.blocked.entry(*step).or_default() += times;
        }
        self.furthest.extend(reached.furthest.map(|step| (profile, step)));
    }

    fn join(&mut self, outcome: &Outcome) {
        for (step, times) in &outcome.blocked {
            *self.blocked.entry(*step).or_default() += times;
        }
        for (profile, step) in &outcome.furthest {
            let furthest = self.furthest.entry(*profile).or_insert(*step);
            *furthest = (*furthest).max(*step);
        }
        self.furthest.retain(|profile, _| !outcome.people.contains(profile));
    }

    /// How many people came how far.
    fn by_step(&self) -> BTreeMap<Step, u64> {
        let mut by = BTreeMap::new();
        self.furthest.values().for_each(|step| *by.entry(*step).or_default() += 1);
        by
    }
}

/// How a what-if is told.
struct Told<'a> {
    ask: &'a Ask<'a>,
    action: &'a ActionPlan,
    /// It is one that is saved, or stands in the place of one.
    saved: bool,
    changed: bool,
    shown: Shown,
    people: People,
    /// What each cap counts in the end.
    used: Vec<u64>,
    complete: bool,
}

impl Told<'_> {
    fn json(&self, outcome: &Outcome) -> Json {
        let plan = self.ask.plan;
        let rows: Vec<Json> = outcome
            .deliveries
            .iter()
            .map(|one| {
                json!({
                    "profileId": one.profile.to_string(),
                    "userId": one.user_id,
                    "at": format_instant(one.at),
                    "channel": plan.channel_key(one.channel),
                    "event": plan.event_name(one.event),
                    "variant": one.arm.and_then(|arm| super::trials::named(plan, arm).1),
                })
            })
            .collect();
        json!({
            "action": {
                "id": self.action.id.to_string(),
                "name": self.action.name,
                "saved": self.saved,
                "changed": self.changed,
            },
            "from": format_instant(self.ask.from),
            "to": format_instant(self.ask.to),
            "timezone": plan.zone.name(),
            "complete": self.complete,
            "assumptions": self.assumptions(),
            "deliveries": outcome.total,
            "people": outcome.people.len(),
            "days": days(&outcome.days),
            "reachable": {"people": self.people.reached.len(), "times": self.people.times},
            "blocked": {"times": self.people.blocked, "people": self.people.by_step()},
            "caps": self.caps(outcome),
            "reactions": {"taken": words(&outcome.reactions), "lost": words(&outcome.lost)},
            "happened": self.saved.then(|| happened(outcome)),
            "data": rows,
            "nextCursor": null,
            "total": outcome.total,
        })
    }

    fn assumptions(&self) -> Json {
        let keys: Vec<&str> = self.ask.channels.iter().map(|channel| self.ask.plan.channel_key(*channel)).collect();
        json!({
            "state": "active",
            "channels": keys,
            "reachable": "own_events",
            "sessionMinutes": SESSION_MS / 60_000,
            "deliveriesPerSession": 1,
            "shown": self.shown,
            "otherReactions": "logged",
            "context": "of_the_event",
            "order": "event_time",
            "people": "as_merged_now",
            "otherActionsOfTheSlot": "not_considered",
        })
    }

    fn caps(&self, outcome: &Outcome) -> Vec<Json> {
        let told = |((cap, used), counted): ((&Cap, &CapUse), &u64)| {
            let mut row = json!({
                "event": reaction_word(cap.reaction),
                "group": cap.group.word(),
                "count": cap.count,
                "withinMs": cap.within_ms,
                "channels": cap.channels.iter().map(|channel| self.key(*channel)).collect::<Vec<_>>(),
                "hits": used.hits,
                "people": used.people.len(),
            });
            if cap.group == Group::All {
                row["used"] = (*counted).into();
                row["ranOutAt"] = used.ran_out.map(|at| format_instant(at).to_string()).into();
                row["days"] = used.days.iter().map(|(date, used)| json!({"date": date.to_string(), "used": used})).collect();
            }
            row
        };
        self.action.def.caps.iter().zip(&outcome.caps).zip(&self.used).map(told).collect()
    }

    fn key(&self, channel: ChannelSlot) -> &str {
        self.ask.plan.channel_key(channel)
    }
}

/// What really happened beside what would have.
fn happened(outcome: &Outcome) -> Json {
    let (then, now) = (&outcome.happened.people, &outcome.people);
    let mut told = json!({
        "deliveries": outcome.happened.reactions.get(&Reaction::Delivered).copied().unwrap_or(0),
        "people": then.len(),
        "days": days(&outcome.happened.days),
        "reactions": words(&outcome.happened.reactions),
    });
    told["both"] = then.intersection(now).count().into();
    told["onlyThen"] = then.difference(now).count().into();
    told["onlyHere"] = now.difference(then).count().into();
    told
}

fn days(days: &Days) -> Vec<Json> {
    let told = |(date, (deliveries, people)): (&Date, &(u64, HashSet<ProfileId>))| json!({"date": date.to_string(), "deliveries": deliveries, "people": people.len()});
    days.iter().map(told).collect()
}

fn words(reactions: &BTreeMap<Reaction, u64>) -> Json {
    reactions.iter().map(|(reaction, n)| (reaction_word(*reaction).to_owned(), json!(n))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::Rig;
    use lodestone_state::ids::Millis;

    /// Whoever has seen anything, once a day.
    fn offer() -> Json {
        json!({"name": "Offer", "type": "banner", "properties": [], "targeting": {"channels": ["web"], "audiences": ["viewers"]},
            "capping": [{"event": "delivered", "group": "user", "count": 1, "within": 1}]})
    }

    fn asked() -> WhatIf {
        let period = Period { from: Millis(0), to: Millis::MAX };
        WhatIf { action: None, definition: Some(offer()), period, channel: None, shown: None, limit: 10 }
    }

    fn rig() -> Rig {
        let rig = Rig::new();
        rig.apply(&json!({"actionTypes": [{"name": "banner", "properties": []}]}));
        ["u1", "u2", "u1"].iter().for_each(|user| rig.view(user));
        rig
    }

    #[test]
    fn where_others_scan_both_say_to_come_again() {
        let rig = rig();
        let cancel = Cancel::default();
        let held = [rig.engine.begin_scan(&cancel), rig.engine.begin_scan(&cancel)];
        assert!(held.iter().all(Result::is_ok));
        let period = asked().period;
        assert!(matches!(rig.engine.what_if(&asked(), &cancel), Err(Unanswered::Busy)));
        assert!(matches!(rig.engine.replay_decisions(period, 1, &cancel), Err(Unanswered::Busy)));
        drop(held);
        let told = rig.engine.what_if(&asked(), &cancel).expect("an answer");
        assert_eq!((&told["complete"], &told["deliveries"], &told["reachable"]["times"]), (&json!(true), &json!(2), &json!(3)));
    }

    #[test]
    fn what_had_to_stop_says_so_and_gives_no_hash() {
        let rig = rig();
        let whole = rig.engine.replay_decisions(asked().period, 1, &Cancel::default()).expect("an answer");
        assert_eq!((&whole["complete"], whole["hash"].is_string()), (&json!(true), true));
        let cancel = Cancel::default();
        drop(cancel.on_drop());
        let told = rig.engine.replay_decisions(asked().period, 1, &cancel).expect("an answer");
        assert_eq!((&told["complete"], &told["hash"]), (&json!(false), &Json::Null));
        assert_eq!(rig.engine.what_if(&asked(), &cancel).expect("an answer")["complete"], false);
    }
}
