//! Contributions that come and go: windows, and conditions with relative dates.
//!
//! Whatever makes an event count for a while makes it count over half-open intervals `[from, until)` that
//! are known when the event arrives. So all of it is "add at `from`, take out at `until`".

use super::tally::{self, Removed};
use super::{AsOf, Fed, TraitDef, TraitKind, TraitState};
use crate::expr::{Expr, Facts};
use crate::ids::{Millis, Moment};
use crate::value::Value;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Contributions that a profile lists of one trait: as many active ones, and as many that wait.
pub const ITEMS_MAX: usize = 4096;
/// Intervals of one contribution. A condition has at most 64 clauses with two edges each.
const SPANS_MAX: usize = 130;
/// A sketch forgets nothing: once this part of what it counted has ended, the log is asked how many are left.
const SKETCH_LOST: usize = 20;

/// A half-open interval of now.
pub(crate) type Span = (Millis, Millis);

/// One contribution, while it counts or before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item {
    until: Millis,
    moment: Moment,
    value: Value,
}

/// A trait whose contributors come and go.
///
/// Counts, sums and tallies hold everything active in `total` and list what will have to be taken out of
/// it. Extremes, first and last hold in `total` what never ends, and list only candidates: a contributor
/// that ends no later than a better one cannot matter. Past [`ITEMS_MAX`] the contributions that end last
/// are not listed, and when their time has come the history is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    total: TraitState,
    /// Ascending by `(until, moment)`; of candidates, each is better than those after it.
    active: VecDeque<Item>,
    /// The first end among contributions that are active and not listed.
    unlisted: Option<Millis>,
    /// Not yet active, ascending by start.
    pending: VecDeque<(Millis, Item)>,
    /// The first start among contributions that wait and are not listed.
    unlisted_pending: Option<Millis>,
    /// [`ITEMS_MAX`], or no bound while a log is being folded.
    items_max: usize,
    /// A bound was reached and history was asked: wrong until it has answered.
    stale: bool,
    /// When a contribution last came or went by itself.
    turned: Millis,
    /// Contributions that ended and that a sketch still counts.
    lost: usize,
}

/// When, from `now` on and before `end`, the condition holds.
pub(crate) fn spans<F: Facts + ?Sized>(condition: &Expr, facts: &F, now: Millis, end: Millis) -> SmallVec<[Span; 1]> {
    let mut spans: SmallVec<[Span; 1]> = SmallVec::new();
    let mut at = now;
    for _ in 0..SPANS_MAX {
        if at >= end {
            break;
        }
        let truth = condition.eval(facts, at);
        let until = truth.until.min(end);
        if truth.holds {
            match spans.last_mut() {
                Some(last) if last.1 == at => last.1 = until,
                _ => spans.push((at, until)),
            }
        }
        if truth.until == Millis::MAX {
            break;
        }
        at = until;
    }
    spans
}

impl Timed {
    pub(super) fn new(total: TraitState, items_max: usize) -> Self {
        Self {
            total,
            active: VecDeque::new(),
            unlisted: None,
            pending: VecDeque::new(),
            unlisted_pending: None,
            items_max,
            stale: false,
            turned: Millis::MIN,
            lost: 0,
        }
    }

    pub(super) fn turned(&self) -> Millis {
        self.turned
    }

    pub(super) fn feed<F: Facts + ?Sized>(
        &mut self,
        def: &TraitDef,
        moment: Moment,
        value: &Value,
        facts: &AsOf<'_, F>,
        now: Millis,
    ) -> Fed {
        let mut fed = if self.deadline() <= now { self.advance(def, now) } else { Fed::default() };
        let end = def.window_ms.map_or(Millis::MAX, |window| moment.t.plus(window));
        // From its own time on, to see what came and went before it arrived.
        for (from, until) in spans(&def.condition, facts, moment.t, end) {
            if from > moment.t && from <= now {
                self.turned = self.turned.max(from);
            }
            if until <= now {
                self.turned = self.turned.max(until);
                continue;
            }
            def.each(value, |value| {
                let item = Item { until, moment, value: value.clone() };
                if from <= now {
                    fed.changed |= self.begin(def, item);
                } else {
                    self.wait(from, item);
                }
            });
        }
        fed.or(self.dry(now))
    }

    pub(super) fn advance(&mut self, def: &TraitDef, now: Millis) -> Fed {
        let mut fed = Fed::default();
        while self.pending.front().is_some_and(|(from, _)| *from <= now) {
            if let Some((from, item)) = self.pending.pop_front() {
                self.turned = self.turned.max(from);
                if item.until > now {
                    fed.changed |= self.begin(def, item);
                } else {
                    self.turned = self.turned.max(item.until);
                }
            }
        }
        while self.active.front().is_some_and(|item| item.until <= now) {
            if let Some(item) = self.active.pop_front() {
                self.turned = self.turned.max(item.until);
                let known = self.end(def, &item);
                self.stale |= !known;
                fed.needs_history |= !known;
                fed.changed = true;
            }
        }
        fed.or(self.dry(now))
    }

    pub(super) fn deadline(&self) -> Millis {
        let ends = self.active.front().map_or(Millis::MAX, |item| item.until);
        let starts = self.pending.front().map_or(Millis::MAX, |(from, _)| *from);
        let unlisted = [self.unlisted, self.unlisted_pending].into_iter().flatten().min().unwrap_or(Millis::MAX);
        ends.min(starts).min(unlisted)
    }

    pub(super) fn value(&self, def: &TraitDef) -> Option<Value> {
        let best = self.active.front();
        match (&self.total, best) {
            (TraitState::Extreme(extreme), Some(best)) => {
                let mut extreme = extreme.clone();
                extreme.offer(&best.value, def.kind.want());
                extreme.value()
            }
            (TraitState::Edge(edge), Some(best)) => {
                let mut edge = edge.clone();
                edge.offer(best.moment, &best.value, def.kind.want());
                edge.get().map(|(moment, value)| def.edge_value(moment, value))
            }
            (total, _) => total.value(def),
        }
    }

    pub(super) fn approx(&self, def: &TraitDef) -> bool {
        self.stale || def.approx(&self.total)
    }

    pub(super) fn total(&self) -> &TraitState {
        &self.total
    }

    /// Bounds what a fold has listed. A tally that had to give values up while it was folded gets another
    /// chance with what is active now.
    pub(super) fn settle(&mut self, def: &TraitDef) {
        if def.approx(&self.total) {
            self.total = def.plain_state();
            for item in &self.active {
                self.total.add(def, item.moment, &item.value);
            }
            self.lost = 0;
        }
        self.items_max = ITEMS_MAX;
        self.bound();
    }

    /// Takes in a contribution that counts from now on. Returns whether the value may differ.
    fn begin(&mut self, def: &TraitDef, item: Item) -> bool {
        let forever = item.until == Millis::MAX;
        match &mut self.total {
            TraitState::Extreme(_) | TraitState::Edge(_) => {
                if forever {
                    return self.total.add(def, item.moment, &item.value);
                }
                return self.candidate(def, item);
            }
            TraitState::Unique(unique) if def.window_ms.is_some() && !def.condition.relative() => {
                // In a plain window a later occurrence outlives all earlier ones of its value.
                if let Some(last) = unique.last(&item.value) {
                    if last >= item.moment {
                        return false;
                    }
                    unique.remove(&item.value, last);
                    self.unlist(def, last, &item.value);
                }
                self.total.add(def, item.moment, &item.value);
            }
            // What never ends is listed too: when first or last of a value goes, the next one is looked for.
            TraitState::Unique(_) | TraitState::Frequent(_) => {
                self.total.add(def, item.moment, &item.value);
            }
            total => {
                total.add(def, item.moment, &item.value);
                if forever {
                    return true;
                }
            }
        }
        self.list(item);
        true
    }

    /// Takes out a contribution whose time is over. Returns false when only history can tell the rest.
    fn end(&mut self, def: &TraitDef, item: &Item) -> bool {
        let removed = match &mut self.total {
            TraitState::Count(count) => {
                count.remove();
                return true;
            }
            TraitState::Total(sum, count) => {
                sum.subtract(&item.value);
                count.remove();
                return true;
            }
            TraitState::Unique(unique) if unique.only_counts() => {
                self.lost += 1;
                // A fold has no log to ask but itself, and is settled at its end.
                return self.items_max > ITEMS_MAX || self.lost <= tally::DISTINCT_MAX / SKETCH_LOST;
            }
            TraitState::Frequent(frequent) => frequent.remove(&item.value, item.moment),
            TraitState::Unique(unique) => unique.remove(&item.value, item.moment),
            TraitState::Extreme(_) | TraitState::Edge(_) | TraitState::Timed(_) => return true,
        };
        let by_first = matches!(def.kind, TraitKind::UniqueList { .. }) && def.window_ms.is_none();
        let moved = match removed {
            Removed::Left { first, last } => {
                if by_first {
                    first
                } else {
                    last
                }
            }
            Removed::Unknown | Removed::Gone => false,
        };
        if !moved {
            return true;
        }
        if self.unlisted.is_some() {
            return false;
        }
        let same = |other: &&Item| other.value.same(&item.value);
        let moments = || self.active.iter().filter(same).map(|other| other.moment);
        if let (Some(first), Some(last)) = (moments().min(), moments().max()) {
            match &mut self.total {
                TraitState::Frequent(frequent) => frequent.set(&item.value, first, last),
                TraitState::Unique(unique) => unique.set(&item.value, first, last),
                _ => {}
            }
        }
        true
    }

    /// Puts an active contribution where its end belongs.
    fn list(&mut self, item: Item) {
        // Behind the first end that is not listed the list has gaps, so nothing more is listed there.
        if self.unlisted.is_some_and(|unlisted| item.until >= unlisted) {
            return;
        }
        let key = (item.until, item.moment);
        match self.active.back() {
            Some(back) if (back.until, back.moment) > key => {
                let at = self.active.partition_point(|other| (other.until, other.moment) <= key);
                self.active.insert(at, item);
            }
            _ => self.active.push_back(item),
        }
        self.bound();
    }

    /// Puts a candidate where its end belongs, unless a better one outlives it, and drops those that it
    /// outlives and beats. Returns whether the best may differ.
    fn candidate(&mut self, def: &TraitDef, item: Item) -> bool {
        let at = self.active.partition_point(|other| other.until < item.until);
        // Of those that outlive it, the first is the best.
        if self.active.get(at).is_some_and(|other| !better(def, &item, other)) {
            return false;
        }
        let beaten = self.active.range(..at).rev().take_while(|other| !better(def, other, &item)).count();
        self.active.drain(at - beaten..at);
        let at = at - beaten;
        // One that ends at the same time and is beaten goes too.
        while self.active.get(at).is_some_and(|other| other.until == item.until) {
            self.active.remove(at);
        }
        if self.unlisted.is_none_or(|unlisted| item.until < unlisted) {
            self.active.insert(at, item);
            self.bound();
        } else if self.active.is_empty() {
            // It beats all that was listed, and so all that was not, but may not outlive it.
            self.unlisted = Some(item.until);
            self.active.push_back(item);
        }
        at == 0
    }

    fn wait(&mut self, from: Millis, item: Item) {
        if self.unlisted_pending.is_some_and(|unlisted| from >= unlisted) {
            return;
        }
        let at = self.pending.partition_point(|(other, _)| *other <= from);
        self.pending.insert(at, (from, item));
        self.bound();
    }

    fn bound(&mut self) {
        while self.active.len() > self.items_max {
            if let Some(item) = self.active.pop_back() {
                self.unlisted = Some(self.unlisted.map_or(item.until, |unlisted| unlisted.min(item.until)));
            }
        }
        while self.pending.len() > self.items_max {
            if let Some((from, _)) = self.pending.pop_back() {
                self.unlisted_pending = Some(self.unlisted_pending.map_or(from, |unlisted| unlisted.min(from)));
            }
        }
    }

    /// Takes the contribution of `value` at `moment` off the list, in a plain window.
    fn unlist(&mut self, def: &TraitDef, moment: Moment, value: &Value) {
        let key = (moment.t.plus(def.window_ms.unwrap_or(0)), moment);
        let from = self.active.partition_point(|item| (item.until, item.moment) < key);
        let same = |item: &Item| item.moment == moment && item.value.same(value);
        if let Some(at) = self.active.range(from..).take_while(|item| item.moment == moment).position(same) {
            self.active.remove(from + at);
        }
    }

    /// Asks for history when a contribution that is not listed would have to come or go.
    fn dry(&mut self, now: Millis) -> Fed {
        let due = |first: Option<Millis>| first.is_some_and(|first| first <= now);
        let candidates = matches!(self.total, TraitState::Extreme(_) | TraitState::Edge(_));
        let bare = candidates && self.active.is_empty() && self.unlisted.is_some();
        if !bare && !due(self.unlisted) && !due(self.unlisted_pending) {
            return Fed::default();
        }
        // Asked once; whoever does not answer has a stale value but no timer that fires for ever.
        (self.unlisted, self.unlisted_pending) = (None, None);
        self.stale = true;
        Fed { changed: true, needs_history: true }
    }
}

/// Whether `a` is strictly better than `b` for a kind that keeps one.
fn better(def: &TraitDef, a: &Item, b: &Item) -> bool {
    let want = def.kind.want();
    match def.kind {
        TraitKind::Min | TraitKind::Max => super::extreme::is_beyond(&a.value, &b.value, want),
        _ => a.moment.cmp(&b.moment) == want,
    }
}
