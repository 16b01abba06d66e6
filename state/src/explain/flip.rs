//! The smallest change that would make something come out otherwise, found and then tried.
//!
//! Each clause says in which ways it could be flipped ([`super::ways`]). Ways are put together for all
//! clauses that need it, the fewest changes first, and each is *tried* on a copy of the profile by the
//! machine itself: what is told has worked. Time is part of it: at every instant at which something
//! changes by itself the question is asked again, so that waiting is preferred where it saves a change.

use super::Case;
use super::change::{Change, Proposal, Step, Supposed};
use crate::event::Props;
use crate::ids::Millis;

/// Ways that are tried for one question.
const TRIED_MAX: usize = 96;
/// Ways that are kept while clauses are put together.
const KEPT_MAX: usize = 32;
/// Ways that did not do and are mended, and ways to mend each.
const MENDED_MAX: usize = 6;
/// Instants ahead that are looked at. At each of them something of the person changes by itself, mostly an event
/// leaving its window, so this is how many events windows may hold.
pub(super) const INSTANTS_MAX: usize = 1 << 16;
/// Instants at which the whole question is asked again.
const ASKED_MAX: usize = 8;

/// Changes that should do, not tried yet.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// In order of time.
    pub(super) steps: Vec<Step>,
    /// When they have done.
    pub(super) at: Millis,
    /// How many things change: operands, counts, chains.
    pub(super) cost: usize,
    /// No smaller one was missed.
    pub(super) exact: bool,
}

impl Way {
    /// Nothing to do.
    pub(super) fn nothing(now: Millis) -> Self {
        Self { steps: Vec::new(), at: now, cost: 0, exact: true }
    }

    /// Changes made now.
    pub(super) fn now(now: Millis, steps: Vec<Step>, cost: usize) -> Self {
        Self { steps, at: now, cost, exact: true }
    }

    fn and(&self, other: &Self) -> Self {
        let mut steps = self.steps.clone();
        steps.extend(other.steps.iter().filter(|step| !self.steps.contains(step)).cloned());
        steps.sort_by_key(|step| step.at);
        Self { steps, at: self.at.max(other.at), cost: self.cost + other.cost, exact: self.exact && other.exact }
    }

    fn events(&self) -> u64 {
        self.steps.iter().map(|step| if let Change::Track { times, .. } = &step.change { u64::from(*times) } else { 0 }).sum()
    }
}

/// One way of each part, for all parts; the cheapest first. Nothing if a part has no way.
pub(super) fn all_of(now: Millis, parts: Vec<Vec<Way>>) -> Vec<Way> {
    let mut ways = vec![Way::nothing(now)];
    for part in parts {
        ways = ways.iter().flat_map(|way| part.iter().map(|other| way.and(other))).collect();
        sort(&mut ways);
        if ways.len() > KEPT_MAX {
            ways.truncate(KEPT_MAX);
        }
    }
    ways
}

/// A way of any part; the cheapest first.
pub(super) fn any_of(parts: Vec<Vec<Way>>) -> Vec<Way> {
    let mut ways = parts.concat();
    sort(&mut ways);
    ways
}

fn sort(ways: &mut [Way]) {
    ways.sort_by_key(|way| (way.cost, way.at, way.events()));
}

/// What would flip an answer, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flip {
    /// The smallest change that does it at once (or as soon as the definition allows, where it makes one
    /// wait).
    pub now: Option<Proposal>,
    /// A smaller one that does it later; without any change where time alone does it.
    pub later: Option<Proposal>,
}

impl Flip {
    /// When the answer changes by itself, if it does.
    #[must_use]
    pub fn by_itself(&self) -> Option<Millis> {
        self.later.as_ref().filter(|later| later.steps.is_empty()).map(|later| later.at)
    }

    /// As people read it. `to` names the answer that would come out.
    #[must_use]
    pub fn to_json(&self, plan: &crate::plan::Plan, now: Millis, to: &str) -> serde_json::Value {
        let told = |proposal: &Option<Proposal>| proposal.as_ref().map(|proposal| proposal.to_json(plan, now));
        serde_json::json!({"to": to, "now": told(&self.now), "later": told(&self.later)})
    }
}

/// A question about a person that has the answer yes or no.
pub(super) trait Question {
    /// Whether the wanted answer comes out.
    fn reached(&self, case: &Case<'_>, supposed: &Supposed) -> bool;
    /// In which ways it may come out.
    fn ways(&self, case: &Case<'_>) -> Vec<Way>;
    /// The next instant at which it may come out by itself, besides those of the profile.
    fn deadline(&self, _case: &Case<'_>) -> Millis {
        Millis::MAX
    }
}

/// What would bring the wanted answer about.
pub(super) fn flip(case: &Case<'_>, question: &dyn Question) -> Flip {
    let now = at_once(case, question);
    let mut best = now.as_ref().map_or(usize::MAX, |found| found.cost);
    let (mut later, mut asked) = (None, 0);
    ahead(case, question.deadline(case), |there, supposed| {
        if question.reached(there, supposed) {
            later = Some(Proposal { at: there.now, steps: Vec::new(), exact: true, cost: 0 });
            return None;
        }
        if best > 1 && asked < ASKED_MAX {
            asked += 1;
            if let Some(found) = at_once(there, question).filter(|found| found.cost < best) {
                best = found.cost;
                later = Some(found);
            }
        }
        Some(question.deadline(there))
    });
    Flip { now, later }
}

/// Lets time alone pass: `look` sees the person at every instant at which something changes by itself, and at those
/// that it asks for besides, the first of which is `next`; [`Millis::MAX`] asks for none. `None` has seen enough.
pub(super) fn ahead(case: &Case<'_>, mut next: Millis, mut look: impl FnMut(&Case<'_>, &Supposed) -> Option<Millis>) {
    let mut supposed = case.supposed();
    for _ in 0..INSTANTS_MAX {
        let due = supposed.profile.deadline().min(next);
        if due == Millis::MAX {
            return;
        }
        supposed.advance(case.plan, case.entries, due.max(supposed.profile.core.clock.plus(1)));
        let Some(more) = look(&case.after(&supposed), &supposed) else { return };
        next = more;
    }
}

/// The smallest change that does it from now on, tried. Events are like the person's last ones, or say only
/// what they must: what the one kind breaks beside what it mends, the other may leave alone.
pub(super) fn at_once(case: &Case<'_>, question: &dyn Question) -> Option<Proposal> {
    let bare = Case { bare: true, ..*case };
    let kinds = [case, &bare].map(|case| (case, question.ways(case)));
    let mut best: Option<Proposal> = None;
    for (case, ways) in &kinds {
        if best.as_ref().is_some_and(|best| best.cost == 1) {
            break;
        }
        let found = try_all(case, question, &cheapest(ways.clone()));
        best = match (best, found) {
            (Some(best), Some(found)) if found.cost < best.cost => Some(found),
            (best, found) => best.or(found),
        };
    }
    best.or_else(|| kinds.iter().find_map(|(case, ways)| try_mended(case, question, ways)))
}

fn cheapest(mut ways: Vec<Way>) -> Vec<Way> {
    sort(&mut ways);
    ways.truncate(TRIED_MAX);
    ways
}

/// A change that mends one clause may break another, which is mended after it then.
fn try_mended(case: &Case<'_>, question: &dyn Question, ways: &[Way]) -> Option<Proposal> {
    let mended = cheapest(ways.to_vec()).into_iter().take(MENDED_MAX).flat_map(|way| {
        let mut supposed = case.supposed();
        supposed.take(case.plan, case.entries, &way.steps, way.at);
        let more = cheapest(question.ways(&case.after(&supposed)));
        more.into_iter().take(MENDED_MAX).map(|more| way.and(&more)).collect::<Vec<_>>()
    });
    try_all(case, question, &cheapest(mended.collect()))
}

fn try_all(case: &Case<'_>, question: &dyn Question, ways: &[Way]) -> Option<Proposal> {
    let works = |steps: &[Step], at: Millis| {
        let mut supposed = case.supposed();
        supposed.take(case.plan, case.entries, steps, at);
        question.reached(&case.after(&supposed), &supposed)
    };
    let mut best: Option<Proposal> = None;
    for way in ways {
        // Of ways that cost the same, one may turn out to need less.
        if best.as_ref().is_some_and(|best| best.cost == 1 || way.cost > best.cost) {
            break;
        }
        // What comes about by itself by then is no change.
        if way.at > case.now && works(&[], way.at) {
            continue;
        }
        let Some(steps) = variants(&way.steps).into_iter().find(|steps| works(steps, way.at)) else { continue };
        let steps = reduce(steps, way.at, &works);
        let cost = way.cost.min(steps.len());
        if best.as_ref().is_none_or(|best| cost < best.cost) {
            best = Some(Proposal { cost, at: way.at, steps, exact: way.exact });
        }
    }
    best
}

/// Changes as they are, and with events that several clauses ask for sent once for all of them: where too
/// many are as bad as too few, only that works.
fn variants(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut all = vec![steps.to_vec()];
    all.extend(pairs(steps.len()).filter_map(|(i, j)| merged(steps, (i, j), u32::max)));
    let mut once = steps.to_vec();
    while let Some(fewer) = pairs(once.len()).find_map(|(i, j)| merged(&once, (i, j), u32::max)) {
        once = fewer;
    }
    if once.len() + 1 < steps.len() {
        all.push(once);
    }
    all
}

/// Leaves out what is not needed: whole changes, events that can be one and the same, and events that are
/// one too many.
fn reduce(mut steps: Vec<Step>, at: Millis, works: &dyn Fn(&[Step], Millis) -> bool) -> Vec<Step> {
    loop {
        let left = one_fewer(&steps, at, works);
        match left {
            Some(fewer) => steps = fewer,
            None => return steps,
        }
    }
}

/// The changes with one of them left out, two made one, or an event fewer; `None` if all are needed.
fn one_fewer(steps: &[Step], at: Millis, works: &dyn Fn(&[Step], Millis) -> bool) -> Option<Vec<Step>> {
    let without = |i: usize| [&steps[..i], &steps[i + 1..]].concat();
    let dropped = (0..steps.len()).filter(|_| steps.len() > 1).map(without);
    let joined = pairs(steps.len()).flat_map(|pair| [u32::max, u32::saturating_add].map(|sum| (pair, sum)));
    let joined = joined.filter_map(|(pair, sum)| merged(steps, pair, sum));
    let rarer = (0..steps.len()).filter_map(|i| {
        let mut fewer = steps.to_vec();
        match &mut fewer[i].change {
            Change::Track { times, .. } if *times > 1 => *times -= 1,
            _ => return None,
        }
        Some(fewer)
    });
    dropped.chain(joined).chain(rarer).find(|fewer| works(fewer, at))
}

fn pairs(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).flat_map(move |i| (0..len).map(move |j| (i, j))).filter(|(i, j)| i != j)
}

/// The steps with two events of one kind as one, which has the properties of both and happens where the
/// first does; as often as either, or as both together.
fn merged(steps: &[Step], (i, j): (usize, usize), sum: fn(u32, u32) -> u32) -> Option<Vec<Step>> {
    let Change::Track { event, channel, props, times, asks, before } = &steps[i].change else { return None };
    let Change::Track { event: other, props: more, times: again, asks: also, .. } = &steps[j].change else { return None };
    if event != other || steps[i].at != steps[j].at {
        return None;
    }
    let both = props.iter().chain(more.iter()).cloned().collect();
    let asks = [asks.as_str(), also.as_str()].into_iter().filter(|asks| !asks.is_empty()).collect::<Vec<_>>().join(" and ");
    let change = Change::Track {
        event: *event,
        channel: *channel,
        props: Props::new(both),
        times: sum(*times, *again),
        asks,
        before: *before,
    };
    let mut fewer = steps.to_vec();
    fewer[i] = Step { at: steps[i].at, change };
    fewer.remove(j);
    Some(fewer)
}
