//! In which ways each clause of an audience could be flipped.
//!
//! A count is filled by more events, a chain by the steps that are missing, a condition on traits by
//! setting them, or by the events that bring a computed trait there, or by entering another audience. What
//! has happened cannot be undone: where only that would help, there is no way but to wait.

use super::Case;
use super::chain::{ChainAt, complete, kill};
use super::change::{Change, Step, Supposed};
use super::flip::{Question, Way, all_of, any_of, at_once};
use super::witness::{declared, fits, nearby, reach, sample, witness};
use crate::audience::{AudienceDef, AudienceState, CountDef, CountState};
use crate::expr::{Expr, Facts, Freedom, Source, Wish};
use crate::ids::{AudienceSlot, EventSlot, Millis, TraitSlot};
use crate::machine::{self, ProfileFacts};
use crate::plan::Kind;
use crate::value::Value;
use std::borrow::Cow;

/// Audiences inside audiences that are looked into.
const DEPTH_MAX: usize = 3;

/// Whether a person is in an audience, or out of it.
pub(super) struct Membership {
    pub(super) audience: AudienceSlot,
    /// In, or out.
    pub(super) wanted: bool,
    pub(super) depth: usize,
}

impl Question for Membership {
    fn reached(&self, _: &Case<'_>, supposed: &Supposed) -> bool {
        supposed.profile.member_since(self.audience).is_some() == self.wanted
    }

    fn ways(&self, case: &Case<'_>) -> Vec<Way> {
        let Some(audience) = case.plan.audience_plan(self.audience) else { return Vec::new() };
        let fresh;
        let state = match case.profile.core.audiences.get(self.audience.0) {
            Some(cell) => &cell.state,
            None => {
                fresh = audience.def.new_state();
                &fresh
            }
        };
        let parts = Parts { case, slot: self.audience, def: &audience.def, state, depth: self.depth };
        if !self.wanted {
            return parts.ways(false);
        }
        let avoid = [case.avoid, &parts.too_many()].concat();
        let case = Case { avoid: &avoid, ..*case };
        Parts { case: &case, ..parts }.ways(true)
    }
}

/// An audience before a person.
struct Parts<'a, 'c> {
    case: &'a Case<'c>,
    slot: AudienceSlot,
    def: &'a AudienceDef,
    state: &'a AudienceState,
    depth: usize,
}

impl Parts<'_, '_> {
    /// All clauses that do not hold have to; or any that holds must not.
    fn ways(&self, wanted: bool) -> Vec<Way> {
        let mut parts: Vec<Vec<Way>> = Vec::new();
        let mut part = |holds: bool, ways: &dyn Fn() -> Vec<Way>| {
            if holds != wanted {
                parts.push(ways());
            }
        };
        let now = self.case.now;
        part(self.case.profile.is_known() || self.def.include_anonymous, &|| self.identify(wanted));
        for (def, state) in self.def.conditions.iter().zip(self.state.counts()) {
            part(def.truth(state, now).holds, &|| self.count(def, state, wanted));
        }
        let facts = ProfileFacts::of(self.case.plan, self.case.profile);
        let always = Expr::always();
        for (i, state) in self.state.chains().iter().enumerate() {
            let traits = if self.def.traits_chain() == Some(i) { &self.def.traits } else { &always };
            let holds = self.def.chains[i].standing(state, traits, &facts, now).holds;
            part(holds, &|| self.chain(i, traits, wanted));
        }
        if self.def.traits_chain().is_none() {
            let holds = self.def.traits.eval(&facts, now).holds;
            part(holds, &|| expr_ways(self.case, &self.def.traits, &[], wanted, self.depth));
        }
        if wanted { all_of(now, parts) } else { any_of(parts) }
    }

    /// The events of which one more would end what holds now.
    fn too_many(&self) -> Vec<(EventSlot, Expr)> {
        let now = self.case.now;
        let bounded = self.def.conditions.iter().zip(self.state.counts());
        let bounded = bounded.filter(|(def, state)| def.hi.is_some() && def.truth(state, now).holds).map(|(def, _)| &def.matcher);
        let chains = self.def.chains.iter().filter_map(|chain| Some((chain, chain.steps.last()?)));
        let trailing = chains.flat_map(|(chain, last)| {
            let guards = last.guards.iter().map(|guard| guard.node);
            guards.chain(last.exact.then_some(last.node)).map(|node| &chain.nodes[node])
        });
        let matchers = bounded.chain(trailing).filter(|matcher| !matcher.captured());
        matchers.map(|matcher| (matcher.event, matcher.condition.clone())).collect()
    }

    fn identify(&self, wanted: bool) -> Vec<Way> {
        // Known stays known.
        if !wanted {
            return Vec::new();
        }
        let step = Step { at: self.case.now, change: Change::Identify };
        vec![Way::now(self.case.now, vec![step], 1)]
    }

    /// More events, until there are enough, or too many.
    fn count(&self, def: &CountDef, state: &CountState, wanted: bool) -> Vec<Way> {
        let case = self.case;
        let have = def.count(state, case.now);
        let missing = match (wanted, def.hi) {
            (true, _) => def.lo.checked_sub(have),
            (false, Some(hi)) => (hi + 1).checked_sub(have),
            (false, None) => None,
        };
        let Some(missing) = missing.filter(|missing| *missing > 0) else { return Vec::new() };
        let matcher = &def.matcher;
        let found = witness(case, matcher.event, &matcher.channels, &matcher.condition, (&[], &[]));
        let Some(witness) = found else { return Vec::new() };
        let at = def.window.interval(case.now).0.max(case.now);
        // Those that count now may not do so any more when the new ones begin to.
        let all = if at > case.now && wanted { def.lo } else { missing };
        let mut tries = vec![missing, all];
        tries.dedup();
        let ways = tries.into_iter().map(|times| {
            let mut steps = witness.steps(case, matcher.event, times, matcher.condition.describe());
            if let (Some(Step { change: Change::Track { before, .. }, .. }), true) = (steps.last_mut(), wanted && at == case.now)
            {
                let end = def.next_end(state, case.now);
                *before = (have > 0 && end != Millis::MAX).then_some(end);
            }
            Way { steps, at, cost: 1, exact: true }
        });
        ways.collect()
    }

    /// A chain, with the trait conditions that compare with what it captured.
    fn chain(&self, i: usize, traits: &Expr, wanted: bool) -> Vec<Way> {
        let chain = &self.def.chains[i];
        let notes = self.case.evidence.chains.get(&(self.slot, i)).map_or(&[][..], Vec::as_slice);
        let attempts = chain.attempts(notes, self.case.now);
        let at = ChainAt { case: self.case, chain, attempts: &attempts };
        let standing = attempts.iter().filter(|attempt| at.stands(attempt));
        if !wanted {
            let mut parts = vec![kill(&at)];
            if !traits.is_always() {
                // Every run that stands has to lose what it compares with.
                let each = standing.map(|run| expr_ways(self.case, traits, &run.captures(chain), false, self.depth));
                parts.push(all_of(self.case.now, each.collect()));
            }
            return any_of(parts);
        }
        let mut ways = Vec::new();
        if !traits.is_always() {
            for run in standing {
                ways.extend(expr_ways(self.case, traits, &run.captures(chain), true, self.depth));
            }
        }
        for (way, captured) in complete(&at) {
            let also = expr_ways(self.case, traits, &captured, true, self.depth);
            ways.extend(all_of(self.case.now, vec![vec![way], also]));
        }
        any_of(vec![ways])
    }
}

/// The facts about a person, with what a run captured.
struct Captured<'a> {
    person: &'a dyn Facts,
    captured: &'a [(Source, Value)],
}

impl Facts for Captured<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match self.captured.iter().find(|(known, _)| known == source) {
            Some((_, value)) => Some(Cow::Borrowed(value)),
            None => self.person.get(source),
        }
    }
}

/// The condition with the audiences that ask for traits alone replaced by what they ask, so that one trait
/// that several ask about gets one value that suits all.
fn inlined(case: &Case<'_>, expr: &Expr, depth: usize) -> Expr {
    expr.inlined(&|slot| {
        let def = &case.plan.audience_plan(slot)?.def;
        let plain = def.conditions.is_empty() && def.chains.is_empty() && (def.include_anonymous || case.profile.is_known());
        (plain && depth > 0).then(|| inlined(case, &def.traits, depth - 1))
    })
}

/// Ways to make a condition on a person come out as `wanted`.
pub(super) fn expr_ways(case: &Case<'_>, expr: &Expr, captured: &[(Source, Value)], wanted: bool, depth: usize) -> Vec<Way> {
    let person = ProfileFacts { context: case.context, ..ProfileFacts::of(case.plan, case.profile) };
    let facts = Captured { person: &person, captured };
    let mut hands = Hands { case, depth, reached: Vec::new() };
    let expr = inlined(case, expr, DEPTH_MAX);
    let found = expr.remedies(&facts, case.now, wanted, &mut hands);
    let way = |wishes: Vec<Wish>| {
        let cost = wishes.len();
        let mut way = wishes
            .into_iter()
            .map(|wish| hands.way(wish))
            .try_fold(Way::nothing(case.now), |all, way| all_of(case.now, vec![vec![all], vec![way?]]).into_iter().next())?;
        way.cost = cost;
        way.exact &= found.exact;
        Some(way)
    };
    found.ways.into_iter().filter_map(way).collect()
}

/// What can be done about a person: traits can be set, events tracked, audiences entered and left.
struct Hands<'a, 'c> {
    case: &'a Case<'c>,
    depth: usize,
    /// Values that can be had, and how.
    reached: Vec<(Source, Value, Way)>,
}

impl Freedom for Hands<'_, '_> {
    fn may_change(&mut self, source: &Source) -> bool {
        match source {
            Source::Custom(_) | Source::Computed(_) => true,
            Source::Context(_) => self.case.context.is_some(),
            Source::Member(_) => self.depth < DEPTH_MAX,
            Source::Event(_) | Source::Captured { .. } => false,
        }
    }

    fn can_become(&mut self, source: &Source, value: Option<&Value>) -> bool {
        match (source, value) {
            (Source::Custom(_), value) => fits(declared(self.case, Kind::CustomTraits, 0, source), value),
            (Source::Context(_), _) => true,
            (Source::Computed(slot), Some(value)) => self.computed(*slot, value),
            (Source::Member(slot), Some(Value::Bool(wanted))) => self.member(*slot, *wanted),
            _ => false,
        }
    }

    fn offers(&mut self, source: &Source) -> Vec<Value> {
        let Source::Computed(slot) = source else { return Vec::new() };
        let near = nearby(self.case, *slot);
        let values = near.iter().map(|(value, _)| value.clone()).collect();
        for (value, steps) in near {
            self.reached.push((source.clone(), value, Way::now(self.case.now, steps, 1)));
        }
        values
    }

    fn sample(&mut self, source: &Source) -> Value {
        match source {
            Source::Custom(_) => sample(declared(self.case, Kind::CustomTraits, 0, source), self.case.now),
            Source::Computed(slot) => {
                let data_type = self.case.plan.trait_plan(*slot).map(|known| known.def.data_type());
                sample(data_type, self.case.now)
            }
            Source::Member(_) => Value::Bool(true),
            _ => "x".into(),
        }
    }
}

impl Hands<'_, '_> {
    fn known(&self, source: &Source, value: &Value) -> Option<&Way> {
        self.reached.iter().find(|(known, at, _)| known == source && at.same(value)).map(|(_, _, way)| way)
    }

    fn computed(&mut self, slot: TraitSlot, value: &Value) -> bool {
        let source = Source::Computed(slot);
        let current = machine::trait_value(self.case.plan, self.case.profile, slot);
        if self.known(&source, value).is_some() || current.is_some_and(|current| current.same(value)) {
            return true;
        }
        let Some(steps) = reach(self.case, slot, value) else { return false };
        self.reached.push((source, value.clone(), Way::now(self.case.now, steps, 1)));
        true
    }

    fn member(&mut self, slot: AudienceSlot, wanted: bool) -> bool {
        if self.case.profile.member_since(slot).is_some() == wanted {
            return true;
        }
        let question = Membership { audience: slot, wanted, depth: self.depth + 1 };
        let Some(found) = at_once(self.case, &question) else { return false };
        let way = Way { steps: found.steps, at: found.at, cost: 1, exact: found.exact };
        self.reached.push((Source::Member(slot), Value::Bool(wanted), way));
        true
    }

    /// How a wish comes true; `None` for one that is true already and only was looked at.
    fn way(&self, wish: Wish) -> Option<Way> {
        let Wish { source, value, clause, holds } = wish;
        let change = match source {
            Source::Custom(path) => Change::Custom { path, value, clause, holds },
            Source::Context(path) => Change::Context { path, value, clause, holds },
            source => return self.known(&source, value.as_ref()?).cloned(),
        };
        Some(Way::now(self.case.now, vec![Step { at: self.case.now, change }], 1))
    }
}
