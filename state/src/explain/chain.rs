//! How a chain could still be completed, or a completed one be undone.

use super::Case;
use super::change::{Change, Step, put};
use super::flip::{Way, all_of, any_of};
use super::witness::{declared, sample, witness};
use crate::audience::{Attempt, ChainDef};
use crate::expr::{Source, descend};
use crate::ids::Millis;
use crate::plan::Kind;
use crate::value::Value;

/// Attempts that are thought to their end, those that came furthest.
const ATTEMPTS_MAX: usize = 6;

/// A chain before a person.
pub(super) struct ChainAt<'a, 'c> {
    pub(super) case: &'a Case<'c>,
    pub(super) chain: &'a ChainDef,
    /// Those that are not over.
    pub(super) attempts: &'a [Attempt],
}

impl ChainAt<'_, '_> {
    /// Whether an attempt makes a member now.
    pub(super) fn stands(&self, attempt: &Attempt) -> bool {
        attempt.complete && attempt.interval.0 <= self.case.now && self.case.now < attempt.interval.1
    }
}

/// Ways to complete the chain, from each attempt under way and from nothing, with what would have been
/// captured.
pub(super) fn complete(at: &ChainAt<'_, '_>) -> Vec<(Way, Vec<(Source, Value)>)> {
    let mut under_way: Vec<&Attempt> = at.attempts.iter().filter(|attempt| !attempt.complete).collect();
    under_way.sort_by_key(|attempt| std::cmp::Reverse((attempt.steps, attempt.count, attempt.last)));
    let starts = under_way.into_iter().take(ATTEMPTS_MAX).map(Some).chain([None]);
    starts.filter_map(|attempt| finish(at, attempt)).collect()
}

fn finish(at: &ChainAt<'_, '_>, attempt: Option<&Attempt>) -> Option<(Way, Vec<(Source, Value)>)> {
    let ChainAt { case, chain, .. } = at;
    let mut captured = attempt.map(|attempt| attempt.captures(chain)).unwrap_or_default();
    let mut last = attempt.map_or(case.now, |attempt| attempt.last);
    let mut count = attempt.map_or(0, |attempt| attempt.count);
    let begin = attempt.map_or(0, |attempt| attempt.steps);
    let mut opens = attempt.map_or(Millis::MIN, |attempt| attempt.interval.0);
    let (mut t, mut steps) = (case.now, Vec::new());
    for (i, step) in chain.steps.iter().enumerate().skip(begin) {
        let (mut condition, node) = (chain.nodes[step.node].condition.clone(), &chain.nodes[step.node]);
        if i > 0 {
            t = t.max(step.gap_min_ms.map_or(Millis::MIN, |min| last.plus(min)));
            if step.gap_max_ms.is_some_and(|max| t > last.plus(max)) {
                return None;
            }
            // An event that is also excluded here would end the attempt.
            let excluded = chain.steps[i - 1].guards.iter().filter(|guard| {
                guard.hi == 0 && chain.nodes[guard.node].event == node.event && guard.within_ms.is_none_or(|ms| t < last.plus(ms))
            });
            for guard in excluded {
                condition = condition.and(chain.nodes[guard.node].condition.clone().negated());
            }
        }
        let there = Case { now: t, ..**case };
        let to_come: Vec<u16> = chain.steps[begin..i].iter().map(|step| step.number).collect();
        let found = witness(&there, node.event, &node.channels, &condition, (&captured, &to_come))?;
        for (source, value) in found.earlier {
            say_earlier(&mut steps, &mut captured, source, value);
        }
        let mut props = found.props;
        for path in &step.captures {
            // What is compared with later has to be there.
            if props.get(path.path).and_then(|value| descend(value, &path.rest)).is_none() {
                let data_type = declared(case, Kind::Event, node.event.index(), &Source::Event(path.clone()));
                props = put(&props, path, Some(sample(data_type, t)));
            }
            if let Some(value) = props.get(path.path).and_then(|value| descend(value, &path.rest)) {
                captured.push((Source::Captured { step: step.number, path: path.clone() }, value.clone()));
            }
        }
        let before = attempt.filter(|_| i == begin).map(|attempt| attempt.deadline).filter(|end| *end != Millis::MAX);
        let track = Change::Track {
            event: node.event,
            channel: found.channel,
            props,
            times: step.times.saturating_sub(count).max(1),
            asks: node.condition.describe(),
            before,
        };
        steps.extend(found.before.into_iter().map(|step| (None, step)));
        steps.push((Some(step.number), Step { at: t, change: track }));
        opens = opens.max(step.starts_ms.map_or(Millis::MIN, |starts| t.plus(starts)));
        (last, count) = (t, 0);
    }
    let done = t.plus(chain.wait_ms).max(opens);
    let steps = steps.into_iter().map(|(_, step)| step).collect();
    Some((Way { steps, at: done, cost: 1, exact: true }, captured))
}

/// Makes the event of an earlier step say `value` where a later one compares with it.
fn say_earlier(steps: &mut [(Option<u16>, Step)], captured: &mut Vec<(Source, Value)>, source: Source, value: Option<Value>) {
    let Source::Captured { step: number, path } = &source else { return };
    for (of, step) in steps.iter_mut() {
        if let (true, Change::Track { props, .. }) = (*of == Some(*number), &mut step.change) {
            *props = put(props, path, value.clone());
        }
    }
    captured.retain(|(known, _)| *known != source);
    captured.extend(value.map(|value| (source, value)));
}

/// Ways to end every attempt that makes a member: what is excluded after the last step, or one match too
/// many.
pub(super) fn kill(at: &ChainAt<'_, '_>) -> Vec<Way> {
    let ChainAt { case, chain, .. } = at;
    let Some(last) = chain.steps.last() else { return Vec::new() };
    let standing: Vec<&Attempt> = at.attempts.iter().filter(|attempt| at.stands(attempt)).collect();
    let event = |node: usize, attempt: &Attempt, times: u32| {
        let matcher = &chain.nodes[node];
        let captured = attempt.captures(chain);
        let found = witness(case, matcher.event, &matcher.channels, &matcher.condition, (&captured, &[]))?;
        let steps = found.steps(case, matcher.event, times, matcher.condition.describe());
        Some(vec![Way::now(case.now, steps, 1)])
    };
    let every = |one: &dyn Fn(&Attempt) -> Option<Vec<Way>>| {
        let each: Option<Vec<_>> = standing.iter().map(|attempt| one(attempt)).collect();
        let mut ways = each.map(|each| all_of(case.now, each)).unwrap_or_default();
        ways.iter_mut().for_each(|way| way.cost = 1);
        ways
    };
    let mut parts = Vec::new();
    for (place, guard) in last.guards.iter().enumerate() {
        let tolerated = last.guards[..place].iter().filter(|other| other.hi > 0).count();
        parts.push(every(&|attempt| {
            let immune = guard.hi == 0 && guard.within_ms.is_some_and(|ms| case.now >= attempt.last.plus(ms));
            let seen = attempt.guard_counts().get(tolerated).copied().unwrap_or(0);
            let times = if guard.hi == 0 { 1 } else { (guard.hi + 1).saturating_sub(u32::from(seen)) };
            if immune { None } else { event(guard.node, attempt, times) }
        }));
    }
    if last.exact {
        parts.push(every(&|attempt| event(last.node, attempt, 1)));
    }
    any_of(parts)
}
