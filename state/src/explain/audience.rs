//! An audience, clause by clause, for one person.

use super::Case;
use super::evidence::{instant_json, uuid_text};
use super::flip::{Flip, ahead, flip};
use super::ways::Membership;
use crate::audience::{Attempt, AudienceDef, ChainDef, ChainState, CountDef, Matcher, StepDef, Window};
use crate::expr::{Explained, Expr, Truth};
use crate::ids::{AudienceSlot, Millis};
use crate::machine::ProfileFacts;
use crate::plan::{Definition, Kind, Plan};
use serde_json::{Value as Json, json};

/// Why a person is, or is not, in an audience; each clause with what it rests on.
#[derive(Clone, Debug)]
pub struct AudienceTold {
    /// In, or out.
    pub member: bool,
    /// What would make it otherwise.
    pub flip: Flip,
    /// The whole answer, for people.
    pub json: Json,
}

/// Takes an audience apart for one person; `None` if it is not in force.
#[must_use]
pub fn explain_audience(case: &Case<'_>, slot: AudienceSlot) -> Option<AudienceTold> {
    let audience = case.plan.audience_plan(slot)?;
    let cell = case.profile.core.audiences.get(slot.0);
    let fresh = audience.def.new_state();
    let state = cell.map_or(&fresh, |cell| &cell.state);
    let since = cell.and_then(|cell| cell.since);
    let member = since.is_some();
    let flip = flip(case, &Membership { audience: slot, wanted: !member, depth: 0 });
    let definition = case.plan.catalog.definitions(Kind::Audience).get(slot.index()).map_or(Json::Null, Definition::json);
    let json = json!({
        "kind": "audience",
        "id": audience.id.to_string(),
        "key": audience.key,
        "name": audience.name,
        "definition": definition,
        "member": member,
        "memberSince": since.map_or(Json::Null, instant_json),
        "until": flip.by_itself().map_or(Json::Null, instant_json),
        "approximate": audience.def.approx(state),
        "clauses": audience_clauses(case, slot),
        "flip": flip.to_json(case.plan, case.now, if member { "leave" } else { "enter" }),
    });
    Some(AudienceTold { member, flip, json })
}

/// The clauses of an audience, each with what it rests on for one person; none if it is not in force.
#[must_use]
pub fn audience_clauses(case: &Case<'_>, slot: AudienceSlot) -> Vec<Json> {
    let Some(audience) = case.plan.audience_plan(slot) else { return Vec::new() };
    let clauses = Clauses { case, slot, def: &audience.def };
    let mut standing = clauses.standing(case);
    clauses.turns(&mut standing);
    clauses.told(&standing)
}

struct Clauses<'a, 'c> {
    case: &'a Case<'c>,
    slot: AudienceSlot,
    def: &'a AudienceDef,
}

/// Whether each clause holds, and until when; in the order of the definition.
struct Standing {
    counts: Vec<Truth>,
    chains: Vec<Truth>,
    traits: Vec<Explained>,
}

impl Standing {
    /// Every clause, also those within groups.
    fn each(&mut self, with: &mut impl FnMut(bool, &mut Millis)) {
        self.counts.iter_mut().chain(&mut self.chains).for_each(|truth| with(truth.holds, &mut truth.until));
        self.traits.iter_mut().for_each(|told| each_part(told, with));
    }

    fn flat(mut self) -> Vec<Truth> {
        let mut all = Vec::new();
        self.each(&mut |holds, until| all.push(Truth { holds, until: *until }));
        all
    }
}

fn each_part(told: &mut Explained, with: &mut impl FnMut(bool, &mut Millis)) {
    let mut until = told.until.unwrap_or(Millis::MAX);
    with(told.holds, &mut until);
    told.until = Some(until).filter(|until| *until != Millis::MAX);
    told.parts.iter_mut().for_each(|part| each_part(part, with));
}

impl Clauses<'_, '_> {
    /// How the clauses stand for the person of `case`. An answer may stay the same past its `until`, or turn before it
    /// where it reads what changes by itself elsewhere.
    fn standing(&self, case: &Case<'_>) -> Standing {
        let fresh = self.def.new_state();
        let state = case.profile.core.audiences.get(self.slot.0).map_or(&fresh, |cell| &cell.state);
        let facts = ProfileFacts::of(case.plan, case.profile);
        let counts = self.def.conditions.iter().zip(state.counts()).map(|(def, state)| def.truth(state, case.now)).collect();
        let always = Expr::always();
        let chain = |(i, (chain, state)): (usize, (&ChainDef, &ChainState))| {
            let compares = self.def.traits_chain() == Some(i);
            chain.standing(state, if compares { &self.def.traits } else { &always }, &facts, case.now)
        };
        let chains = self.def.chains.iter().zip(state.chains()).enumerate().map(chain).collect();
        // Clauses that compare with a chain's steps are told as the best run of it would answer them.
        let told = (!self.def.traits.is_always()).then(|| top(self.def.traits.explain(&facts, case.now)));
        Standing { counts, chains, traits: told.unwrap_or_default() }
    }

    /// Says of each clause when it really turns by itself: time is let pass until it has.
    fn turns(&self, standing: &mut Standing) {
        let first = self.standing(self.case).flat();
        let mut turns = vec![Millis::MAX; first.len()];
        let soonest = |truths: &[Truth]| truths.iter().map(|truth| truth.until).min().unwrap_or(Millis::MAX);
        ahead(self.case, soonest(&first), |there, _| {
            let then = self.standing(there).flat();
            for (turn, (was, is)) in turns.iter_mut().zip(first.iter().zip(&then)) {
                if *turn == Millis::MAX && was.holds != is.holds {
                    *turn = there.now;
                }
            }
            turns.contains(&Millis::MAX).then(|| soonest(&then))
        });
        let mut turns = turns.into_iter();
        standing.each(&mut |_, until| *until = turns.next().unwrap_or(Millis::MAX));
    }

    fn told(&self, standing: &Standing) -> Vec<Json> {
        let mut clauses = vec![self.anonymity()];
        let counts = self.def.conditions.iter().zip(&standing.counts).enumerate();
        clauses.extend(counts.map(|(i, (def, truth))| self.count(i, def, *truth)));
        let chains = self.def.chains.iter().zip(&standing.chains).enumerate();
        clauses.extend(chains.map(|(i, (chain, truth))| self.chain(i, chain, *truth)));
        clauses.extend(standing.traits.iter().map(|told| tagged("trait", told)));
        clauses
    }

    fn anonymity(&self) -> Json {
        let known = self.case.profile.is_known();
        let (holds, asks) = (known || self.def.include_anonymous, !self.def.include_anonymous);
        let clause = if asks { "has an identity that is not anonymous" } else { "anyone, known or not" };
        json!({"type": "anonymity", "clause": clause, "holds": holds, "seen": {"known": known}})
    }

    fn count(&self, i: usize, def: &CountDef, truth: Truth) -> Json {
        let tally = self.case.evidence.counts.get(&(self.slot, i)).cloned().unwrap_or_default();
        let (events, waiting, others) = tally.lists();
        let exclusion = def.hi == Some(0);
        let mut told = matched(self.case.plan, &def.matcher);
        put(&mut told, "type", if exclusion { "exclusion" } else { "count" });
        put(&mut told, "number", def.number);
        put(&mut told, "window", window(def.window));
        put(&mut told, "count", tally.count);
        put(&mut told, "needs", json!({"atLeast": def.lo, "atMost": def.hi}));
        put(&mut told, "holds", truth.holds);
        put(&mut told, "until", instant_json(truth.until));
        put(&mut told, "events", events);
        put(&mut told, "waiting", waiting);
        put(&mut told, "others", others);
        told
    }

    fn chain(&self, i: usize, chain: &ChainDef, truth: Truth) -> Json {
        let case = self.case;
        let notes = case.evidence.chains.get(&(self.slot, i)).map_or(&[][..], Vec::as_slice);
        let attempts = chain.attempts(notes, case.now);
        let attempt = furthest(&attempts, case.now);
        let reached = attempt.map_or(0, |attempt| attempt.steps);
        let steps: Vec<Json> = chain.steps.iter().enumerate().map(|(i, step)| self.step(chain, i, step, attempt)).collect();
        let excluded: Vec<Json> = chain
            .steps
            .iter()
            .enumerate()
            .flat_map(|(i, step)| step.guards.iter().map(move |guard| (i, guard)))
            .map(|(i, guard)| {
                let mut told = matched(case.plan, &chain.nodes[guard.node]);
                put(&mut told, "number", guard.number);
                put(&mut told, "afterStep", chain.steps[i].number);
                put(&mut told, "atMost", guard.hi);
                put(&mut told, "watching", reached == i + 1);
                put(&mut told, "withinMs", guard.within_ms);
                put(&mut told, "forAtLeastMs", guard.for_at_least_ms);
                told
            })
            .collect();
        let complete = attempt.filter(|attempt| attempt.complete);
        json!({
            "type": "chain",
            "number": i,
            "holds": truth.holds,
            "until": instant_json(truth.until),
            "steps": steps,
            "excluded": excluded,
            "awaits": attempt.filter(|attempt| !attempt.complete).map(|attempt| self.awaits(chain, attempt)),
            "memberFrom": complete.map(|attempt| instant_json(attempt.interval.0)),
            "memberUntil": complete.map(|attempt| instant_json(attempt.interval.1)),
        })
    }

    fn step(&self, chain: &ChainDef, i: usize, step: &StepDef, attempt: Option<&Attempt>) -> Json {
        let mut told = matched(self.case.plan, &chain.nodes[step.node]);
        let mine = attempt.iter().flat_map(|attempt| attempt.trail.iter()).filter(|footprint| footprint.step == i);
        let by = |footprint: &crate::audience::Footprint| json!({"id": uuid_text(footprint.id), "timestamp": instant_json(footprint.moment.t), "seq": footprint.moment.seq.0});
        put(&mut told, "number", step.number);
        put(&mut told, "times", step.times);
        put(&mut told, "exactly", step.exact);
        put(&mut told, "reached", attempt.is_some_and(|attempt| attempt.steps > i));
        put(&mut told, "events", mine.map(by).collect::<Vec<_>>());
        put(&mut told, "window", step_window(step));
        told
    }

    fn awaits(&self, chain: &ChainDef, attempt: &Attempt) -> Json {
        let step = &chain.steps[attempt.steps.min(chain.steps.len() - 1)];
        let mut told = matched(self.case.plan, &chain.nodes[step.node]);
        put(&mut told, "number", step.number);
        put(&mut told, "more", step.times.saturating_sub(attempt.count));
        put(&mut told, "notBefore", instant_json(attempt.opens));
        put(&mut told, "before", instant_json(attempt.deadline));
        told
    }
}

/// The attempt that says most: one that makes a member for longest, else one that will, else the one that
/// came furthest.
fn furthest(attempts: &[Attempt], now: Millis) -> Option<&Attempt> {
    let rank = |attempt: &&Attempt| {
        let stands = attempt.complete && attempt.interval.0 <= now && now < attempt.interval.1;
        let end = if stands { attempt.interval.1 } else { Millis::MIN };
        (stands, end, attempt.steps, attempt.count, attempt.last)
    };
    attempts.iter().max_by_key(rank)
}

/// The parts of a condition that all have to hold.
fn top(told: Explained) -> Vec<Explained> {
    if told.clause == "all" { told.parts } else { vec![told] }
}

fn tagged(kind: &str, told: &Explained) -> Json {
    let mut json = json!(told);
    put(&mut json, "type", kind);
    json
}

fn matched(plan: &Plan, matcher: &Matcher) -> Json {
    let channels: Vec<&str> = matcher.channels.iter().map(|channel| plan.channel_key(*channel)).collect();
    json!({"event": plan.event_name(matcher.event), "channels": channels, "where": matcher.condition.describe()})
}

fn window(window: Window) -> Json {
    match window {
        Window::Any => Json::Null,
        Window::Within(ms) => json!({"fromMs": 0, "toMs": ms}),
        Window::Between(from, to) => json!({"fromMs": from, "toMs": to}),
    }
}

fn step_window(step: &StepDef) -> Json {
    if step.starts_ms.is_none() && step.ends_ms.is_none() {
        return Json::Null;
    }
    json!({"fromMs": step.starts_ms.unwrap_or(0), "toMs": step.ends_ms})
}

pub(super) fn put(json: &mut Json, key: &str, value: impl Into<Json>) {
    if let Json::Object(map) = json {
        map.insert(key.to_owned(), value.into());
    }
}
