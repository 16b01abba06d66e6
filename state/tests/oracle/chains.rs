//! What a chain means, said without a machine: which choices of completing events are valid, and when each
//! of them makes a member.

use super::conditions::conditions;
use super::members::{Seen, What, Window, merge, window};
use super::names::path;
use super::random::TICK;
use lodestone_state::ids::Moment;
use lodestone_state::value::Value;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// Must happen, so many times.
    AtLeast(usize),
    /// Must happen exactly so often.
    Exactly(usize),
    /// May happen so often.
    AtMost(usize),
    /// Must not happen: ever, for a while after the step, or (at the end) for so long already.
    Not { within: Option<i64>, for_at_least: Option<i64> },
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) what: What,
    pub(crate) form: Form,
    pub(crate) window: Window,
    pub(crate) gap: (Option<i64>, Option<i64>),
}

#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) steps: Vec<Step>,
    pub(crate) window_from_first: Option<i64>,
    pub(crate) anchor_first: bool,
}

fn hours(ticks: i64) -> Json {
    json!({"amount": ticks * 6, "unit": "hours"})
}

impl Step {
    fn positive(&self) -> bool {
        matches!(self.form, Form::AtLeast(_) | Form::Exactly(_))
    }

    pub(crate) fn json(&self, i: usize) -> Json {
        let mut json = self.what.json();
        json["internalId"] = json!(format!("s{i}"));
        json["parentId"] = if i == 0 { Json::Null } else { json!(format!("s{}", i - 1)) };
        merge(&mut json, &self.window.json());
        match &self.form {
            Form::AtLeast(n) => merge(&mut json, &json!({"operator": "more_or_exactly", "count": n})),
            Form::Exactly(n) => merge(&mut json, &json!({"operator": "exactly", "count": n})),
            Form::AtMost(n) => merge(&mut json, &json!({"operator": "less_or_exactly", "count": n})),
            Form::Not { within, for_at_least } => {
                json["exclude"] = json!(true);
                json["within"] = json!(within.map(hours));
                json["forAtLeast"] = json!(for_at_least.map(hours));
            }
        }
        json["withinPrevious"] = json!({"min": self.gap.0.map(hours), "max": self.gap.1.map(hours)});
        json
    }
}

/// A valid choice: the event that begins it, those that complete each positive step, and what follows.
struct Choice {
    completed: Vec<usize>,
    /// Position in the log of what ends it after its completion.
    ended: Option<usize>,
    from: i64,
    expiry: i64,
    captured: Vec<Option<Value>>,
}

impl Chain {
    pub(crate) fn json(&self) -> Json {
        json!({"windowFromFirst": self.window_from_first.map(hours), "anchor": if self.anchor_first { "first" } else { "last" }})
    }

    /// Indexes of the steps that must happen.
    fn positive(&self) -> Vec<usize> {
        (0..self.steps.len()).filter(|i| self.steps[*i].positive()).collect()
    }

    fn wait(&self) -> i64 {
        let last = *self.positive().last().unwrap();
        let waits = self.steps[last..].iter().filter_map(|step| match step.form {
            Form::Not { within, for_at_least } => within.max(for_at_least),
            _ => None,
        });
        waits.max().unwrap_or(0) * TICK
    }

    pub(crate) fn member(&self, events: &[Seen], now: i64) -> bool {
        let mut choices = Vec::new();
        self.extend(events, now, &mut Vec::new(), None, &mut choices);
        // A completion restarts the waits that are not over when it happens, or joins the oldest.
        choices.sort_by_key(|choice| *choice.completed.last().unwrap());
        let wait = self.wait();
        let mut kept: Vec<Choice> = Vec::new();
        let mut at = 0;
        while at < choices.len() {
            let g = *choices[at].completed.last().unwrap();
            let n = choices[at..].iter().take_while(|choice| *choice.completed.last().unwrap() == g).count();
            let mut group: Vec<Choice> = choices.drain(at..at + n).collect();
            let moment: Moment = events[g].moment;
            let done = |choice: &Choice| events[*choice.completed.last().unwrap()].moment;
            let waiting = |older: &Choice, newer: &Choice| {
                wait > 0
                    && older.captured == newer.captured
                    && done(older) < moment
                    && older.ended.is_none_or(|ended| ended > g)
                    && moment.t.0 < older.expiry
                    && done(older).t.0 + wait > moment.t.0
            };
            if self.anchor_first {
                let makes_member = |older: &Choice| (done(older).t.0 + wait).max(older.from) < older.expiry;
                kept.retain(|older| makes_member(older) || !group.iter().any(|newer| waiting(older, newer)));
                group.retain(|newer| {
                    let mut joined = false;
                    for older in kept.iter_mut().filter(|older| waiting(older, newer)) {
                        older.expiry = older.expiry.max(newer.expiry);
                        joined = true;
                    }
                    !joined
                });
            } else {
                kept.retain(|older| !group.iter().any(|newer| waiting(older, newer)));
            }
            kept.append(&mut group);
            at = 0;
        }
        kept.iter().any(|choice| {
            let done = events[*choice.completed.last().unwrap()].moment.t.0;
            let start = (done + wait).max(choice.from);
            choice.ended.is_none() && start <= now && now < choice.expiry
        })
    }

    /// Adds every valid way to go on from these completions.
    fn extend(&self, events: &[Seen], now: i64, completed: &mut Vec<usize>, first: Option<i64>, out: &mut Vec<Choice>) {
        let positive = self.positive();
        let k = completed.len();
        if k == positive.len() {
            let ended = (completed[k - 1] + 1..events.len()).find(|e| self.ends(events, now, completed, completed[k - 1], *e));
            out.push(self.choice(events, completed, ended));
            return;
        }
        let step = &self.steps[positive[k]];
        let from = completed.last().map_or(0, |last| last + 1);
        for c in from..events.len() {
            let t = events[c].moment.t.0;
            if !self.matches(events, now, completed, positive[k], c) {
                continue;
            }
            let begin = match (k, &step.form) {
                // The first step: the n-th newest match, up to this one, begins the attempt.
                (0, Form::AtLeast(n) | Form::Exactly(n)) => {
                    let matching: Vec<usize> =
                        (0..=c).filter(|e| self.matches(events, now, completed, positive[0], *e)).collect();
                    let Some(begin) = matching.len().checked_sub(*n) else { continue };
                    events[matching[begin]].moment.t.0
                }
                _ => first.unwrap(),
            };
            if k > 0 {
                let last = completed[k - 1];
                let matching = (last + 1..=c).filter(|e| self.matches(events, now, completed, positive[k], *e)).count();
                let enough = match step.form {
                    Form::AtLeast(n) => matching >= n,
                    Form::Exactly(n) => matching == n,
                    _ => unreachable!(),
                };
                let gap = t - events[last].moment.t.0;
                let in_gap = step.gap.0.is_none_or(|min| gap >= min * TICK) && step.gap.1.is_none_or(|max| gap <= max * TICK);
                let broken = (last + 1..=c).any(|e| self.ends(events, now, completed, last, e));
                if !enough || !in_gap || broken || t >= self.expiry(events, completed) {
                    continue;
                }
            }
            if self.window_from_first.is_some_and(|window| t >= begin + window * TICK) {
                continue;
            }
            completed.push(c);
            self.extend(events, now, completed, Some(begin), out);
            completed.pop();
        }
    }

    /// Whether event `e` ends an attempt that waits after `completed`, the last of which is `last`.
    fn ends(&self, events: &[Seen], now: i64, completed: &[usize], last: usize, e: usize) -> bool {
        let positive = self.positive();
        let k = completed.len();
        let reached = positive[k - 1];
        let gap = reached + 1..positive.get(k).copied().unwrap_or(self.steps.len());
        let since = events[e].moment.t.0 - events[last].moment.t.0;
        let open = |step: &Step| step.window.open(events[e].moment.t.0, now);
        let excluded = gap.clone().any(|i| {
            let step = &self.steps[i];
            let Form::Not { within, .. } = step.form else { return false };
            within.is_none_or(|within| since < within * TICK) && open(step) && self.matches(events, now, completed, i, e)
        });
        if excluded {
            return true;
        }
        // What goes towards the next step is not held against the attempt.
        let goes_on = |e: usize| positive.get(k).is_some_and(|next| self.matches(events, now, completed, *next, e));
        if goes_on(e) {
            return false;
        }
        if matches!(self.steps[reached].form, Form::Exactly(_)) && self.matches(events, now, &completed[..k - 1], reached, e) {
            return true;
        }
        gap.into_iter().any(|i| {
            let Form::AtMost(n) = self.steps[i].form else { return false };
            let counts = |x: &usize| {
                let t = events[*x].moment.t.0;
                !goes_on(*x) && self.steps[i].window.open(t, now) && self.matches(events, now, completed, i, *x)
            };
            counts(&e) && (last + 1..=e).filter(counts).count() > n
        })
    }

    fn matches(&self, events: &[Seen], now: i64, completed: &[usize], step: usize, e: usize) -> bool {
        let positive = self.positive();
        let earlier = |named: usize| {
            let at = positive.iter().position(|i| *i == named)?;
            events[*completed.get(at)?].event.props.get(path("product")).cloned()
        };
        self.steps[step].what.matches(&events[e], now, &earlier)
    }

    /// When the first window of the completed steps closes.
    fn expiry(&self, events: &[Seen], completed: &[usize]) -> i64 {
        let ends = completed.iter().zip(self.positive()).filter_map(|(c, i)| match self.steps[i].window {
            Window::Any => None,
            Window::Within(end) | Window::Between(_, end) => Some(events[*c].moment.t.0 + end * TICK),
        });
        ends.min().unwrap_or(i64::MAX)
    }

    fn choice(&self, events: &[Seen], completed: &[usize], ended: Option<usize>) -> Choice {
        let starts = completed.iter().zip(self.positive()).filter_map(|(c, i)| match self.steps[i].window {
            Window::Between(start, _) => Some(events[*c].moment.t.0 + start * TICK),
            _ => None,
        });
        let named =
            |i: usize| self.steps.iter().any(|step| format!("{:?}", step.what.conditions).contains(&format!("SameAs({i})")));
        let captured = completed
            .iter()
            .zip(self.positive())
            .map(|(c, i)| if named(i) { events[*c].event.props.get(path("product")).cloned() } else { None });
        Choice {
            completed: completed.to_vec(),
            ended,
            from: starts.max().unwrap_or(i64::MIN),
            expiry: self.expiry(events, completed),
            captured: captured.collect(),
        }
    }
}

/// A chain that begins with a step that must happen.
pub(crate) fn chain() -> impl Strategy<Value = Chain> {
    (1..5_usize, any::<bool>(), any::<bool>()).prop_flat_map(|(len, dates, captures)| {
        let steps: Vec<_> = (0..len).map(|i| step(i, len, dates, captures)).collect();
        (steps, prop::option::weighted(0.2, 1..12_i64), prop::bool::weighted(0.3)).prop_map(
            |(steps, window_from_first, anchor_first)| {
                let mut chain = Chain { steps, window_from_first, anchor_first };
                chain.repair();
                chain
            },
        )
    })
}

/// Least and greatest gap, as can be saved: not more at least than at most.
fn possible((min, max): (Option<i64>, Option<i64>)) -> (Option<i64>, Option<i64>) {
    (min, max.map(|max| max.max(min.unwrap_or(max))))
}

/// A short chain whose steps match most of what happens, so that runs compete: absences that last or that
/// count for a while, least gaps, and windows.
pub(crate) fn busy_chain() -> impl Strategy<Value = Chain> {
    let what = |name| What { name, web_only: false, conditions: Vec::new() };
    let window = prop_oneof![3 => Just(Window::Any), 1 => window()];
    let some = (prop::option::of(1..4_i64), prop::option::of(1..8_i64)).prop_map(possible);
    let gap = prop_oneof![3 => Just((None, None)), 1 => some];
    let positive = move |name| {
        (window.clone(), gap.clone()).prop_map(move |(window, gap)| Step {
            what: what(name),
            form: Form::AtLeast(1),
            window,
            gap,
        })
    };
    let not = (prop::option::of(1..6_i64), prop::option::of(1..6_i64)).prop_map(move |(within, for_at_least)| Step {
        what: what('X'),
        form: Form::Not { within, for_at_least },
        window: Window::Any,
        gap: (None, None),
    });
    let steps = prop_oneof![
        (positive.clone()('A'), not.clone()).prop_map(|(a, x)| vec![a, x]),
        (positive.clone()('A'), positive.clone()('B'), not.clone()).prop_map(|(a, b, x)| vec![a, b, x]),
        (positive.clone()('A'), not.clone(), positive('B'), not).prop_map(|(a, x, b, y)| vec![a, x, b, y]),
    ];
    (steps, any::<bool>()).prop_map(|(steps, anchor_first)| {
        let mut chain = Chain { steps, window_from_first: None, anchor_first };
        chain.repair();
        chain
    })
}

fn step(i: usize, len: usize, dates: bool, captures: bool) -> impl Strategy<Value = Step> {
    let names = prop::sample::select(vec!['A', 'B', 'C', 'X']);
    let earlier = if captures { (0..i).collect() } else { Vec::new() };
    let what = (names, prop::bool::weighted(0.1), conditions(earlier, dates)).prop_map(|(name, web_only, conditions)| What {
        name,
        web_only,
        conditions,
    });
    let positive = prop_oneof![4 => Just(Form::AtLeast(1)), 1 => (2..4_usize).prop_map(Form::AtLeast), 1 => (1..3_usize).prop_map(Form::Exactly)];
    let trailing = i + 1 == len;
    let lasting = prop::option::weighted(if trailing { 0.5 } else { 0.01 }, 1..6_i64);
    let not =
        (prop::option::weighted(0.4, 1..6_i64), lasting).prop_map(|(within, for_at_least)| Form::Not { within, for_at_least });
    let form = match i {
        0 => positive.boxed(),
        _ => prop_oneof![3 => positive, 1 => (1..3_usize).prop_map(Form::AtMost), 2 => not].boxed(),
    };
    let gap = (prop::option::weighted(0.2, 1..4_i64), prop::option::weighted(0.2, 1..8_i64)).prop_map(possible);
    let window = prop_oneof![2 => Just(Window::Any), 1 => window()];
    (what, form, window, gap).prop_map(|(what, form, window, gap)| Step { what, form, window, gap })
}

impl Chain {
    /// Takes away what a definition may not say.
    fn repair(&mut self) {
        if self.steps.len() == 1 {
            // A step that stands alone is a condition of the events form.
            let mut second = self.steps[0].clone();
            second.what.name = 'B';
            self.steps.push(second);
        }
        self.steps[0].gap = (None, None);
        let positive = self.positive();
        let last = *positive.last().unwrap();
        for (i, step) in self.steps.iter_mut().enumerate() {
            if !step.positive() {
                step.gap = (None, None);
            }
            if let Form::Not { for_at_least, .. } = &mut step.form
                && i < last
            {
                *for_at_least = None;
            }
            // Only steps that must happen can be named.
            step.what.conditions.retain(|cond| {
                let text = format!("{cond:?}");
                (0..8).all(|named| !text.contains(&format!("SameAs({named})")) || positive.contains(&named))
            });
        }
    }
}
