//! A decision told step by step, with the values that it saw (I17).

use super::definition::{ActionDef, State};
use super::reaction_word;
use super::targeting::{Tester, View};
use super::{Cap, Group};
use crate::expr::{Explained, Expr};
use crate::ids::{ChannelSlot, Millis};
use crate::time::format_instant;
use serde::Serialize;

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It is not asked, because a test user skips it.
    Skipped,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// `Action State`, `Channel`, `Test User`, `Time Range`, `Computedtrait Conditions`,
    /// `Customtrait Conditions`, `Context Conditions`, `Audience`, `Capping` or `Budget`, in this order, and
    /// `Experiment` where one runs.
    pub name: &'static str,
    /// How it went.
    pub state: Outcome,
    /// What was seen, for people.
    pub info: String,
    /// The clauses behind it, each with the value that it saw.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Explained>,
}

/// All steps of one decision, also those behind the first that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The real decision: what [`ActionDef::decide`] says.
    pub display: bool,
    /// When that may change by itself.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::expr::instant")]
    pub until: Option<Millis>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl ActionDef {
    /// The decision for someone who does not hold the action yet, and everything that it looked at.
    #[must_use]
    pub fn explain(&self, view: &View<'_>) -> Explanation {
        let decision = self.decide(view, false);
        let tester = self.tester(view);
        let skip = tester == (Tester::Yes { skip_targeting: true });
        let mut steps = vec![self.state_step(), self.channel_step(view), test_user_step(tester)];
        let asked = [
            self.time_step(view),
            self.traits_step(view, true),
            self.traits_step(view, false),
            self.context_step(view),
            self.audience_step(view),
            self.capping_step(view),
            budget_step(view),
        ];
        let asked = asked.into_iter().chain(self.experiment_step(view));
        steps.extend(asked.map(|step| if skip { Step { state: Outcome::Skipped, ..step } } else { step }));
        Explanation { display: decision.eligible, until: stands(decision.until), steps }
    }

    /// Every condition on the person's traits, and on the context of `channel`; all have to hold.
    pub(crate) fn conditions(&self, channel: ChannelSlot) -> impl Iterator<Item = &Expr> {
        let here = self.context.iter().filter(move |(other, _)| *other == channel).map(|(_, expr)| expr);
        self.traits.iter().map(|condition| &condition.expr).chain(here)
    }

    /// When a cap that blocks opens again by itself; [`Millis::MAX`] for one that is open.
    pub(crate) fn cap_stands(&self, cap: &Cap, view: &View<'_>) -> Millis {
        self.cap_open(cap, view).until
    }

    fn state_step(&self) -> Step {
        let word = match self.state {
            State::Inactive => "inactive",
            State::Staging => "staging",
            State::Active => "active",
        };
        step("Action State", self.state != State::Inactive, format!("the action is {word}"))
    }

    fn channel_step(&self, view: &View<'_>) -> Step {
        let holds = self.channels.contains(&view.channel);
        let info = match (holds, self.channels.len()) {
            (true, _) => "the action runs in this channel".to_owned(),
            (false, 0) => "the action names no channel, so it runs nowhere".to_owned(),
            (false, n) => format!("the action runs in {n} other channel{}", plural(n)),
        };
        step("Channel", holds, info)
    }

    fn time_step(&self, view: &View<'_>) -> Step {
        let time = self.time.eval(view.now);
        let now = format_instant(view.now);
        let info = match (time.holds, stands(time.until)) {
            _ if self.time.is_always() => "no time range".to_owned(),
            (true, Some(until)) => format!("{now} is inside, until {}", format_instant(until)),
            (true, None) => format!("{now} is inside, without end"),
            (false, Some(until)) => format!("{now} is outside; next at {}", format_instant(until)),
            (false, None) => format!("{now} is outside, for good"),
        };
        step("Time Range", time.holds, info)
    }

    fn traits_step(&self, view: &View<'_>, computed: bool) -> Step {
        let name = if computed { "Computedtrait Conditions" } else { "Customtrait Conditions" };
        let exprs = self.traits.iter().filter(|condition| condition.computed == computed).map(|condition| &condition.expr);
        conditions_step(name, exprs, view)
    }

    fn context_step(&self, view: &View<'_>) -> Step {
        let here = self.context.iter().filter(|(channel, _)| *channel == view.channel).map(|(_, expr)| expr);
        conditions_step("Context Conditions", here, view)
    }

    fn audience_step(&self, view: &View<'_>) -> Step {
        let member_of = self.audiences.iter().flatten().filter(|audience| view.person.member(**audience)).count();
        let info = match (self.audiences.len(), member_of) {
            (0, _) => "no audience is asked for".to_owned(),
            (n, member_of) => format!("member of {member_of} of {n} audience{}, one is needed", plural(n)),
        };
        step("Audience", self.in_audience(view), info)
    }

    fn experiment_step(&self, view: &View<'_>) -> Option<Step> {
        self.trial_step(view).map(|(holds, info)| step("Experiment", holds, info))
    }

    fn capping_step(&self, view: &View<'_>) -> Step {
        let mut holds = true;
        let mut told = Vec::new();
        for cap in &self.caps {
            let open = self.cap_open(cap, view);
            holds &= open.holds;
            let used = match cap.group {
                Group::User => view.person.caps(view.action).map_or(0, |caps| caps.used(cap, view.now)),
                Group::All => view.totals.used(view.action, cap, view.now),
            };
            let opens = match stands(open.until) {
                Some(until) if !open.holds => format!(", opens at {}", format_instant(until)),
                _ => String::new(),
            };
            told.push(format!("{} by {}: {used} of {}{opens}", reaction_word(cap.reaction), cap.group.word(), cap.count));
        }
        let info = if told.is_empty() { "no caps".to_owned() } else { told.join("; ") };
        step("Capping", holds, info)
    }
}

/// What frequency budgets and quiet hours say.
fn budget_step(view: &View<'_>) -> Step {
    let mut holds = true;
    let mut told = Vec::new();
    view.person.budgets(view.action, &mut |budget| {
        let name = budget.name;
        if !budget.def.applies(view.channel) {
            told.push(format!("{name} does not apply in this channel"));
            return;
        }
        let (blocked, until) = budget.ask(view, None, false);
        holds &= blocked.is_none();
        if let Some(limit) = budget.def.limit() {
            let used = budget.used(limit, &budget.pushed(limit, view), view.now);
            told.push(format!("{name}: {} {used} of {}", reaction_word(limit.reaction), limit.count));
        }
        if budget.def.quiet(view.now).holds {
            told.push(format!("{name}: it is quiet"));
        }
        if let (Some(until), true) = (stands(until), blocked.is_some()) {
            told.push(format!("{name} opens at {}", format_instant(until)));
        }
    });
    let info = if told.is_empty() { "no budgets".to_owned() } else { told.join("; ") };
    step("Budget", holds, info)
}

fn step(name: &'static str, holds: bool, info: String) -> Step {
    Step { name, state: if holds { Outcome::Pass } else { Outcome::Fail }, info, clauses: Vec::new() }
}

fn test_user_step(tester: Tester) -> Step {
    let (holds, info) = match tester {
        Tester::NotAsked => (true, "only asked in staging"),
        Tester::No => (false, "not a test user in this channel"),
        Tester::Yes { skip_targeting: true } => (true, "a test user who skips targeting"),
        Tester::Yes { skip_targeting: false } => (true, "a test user"),
    };
    step("Test User", holds, info.to_owned())
}

fn conditions_step<'e>(name: &'static str, exprs: impl Iterator<Item = &'e Expr>, view: &View<'_>) -> Step {
    let clauses: Vec<_> = exprs.map(|expr| expr.explain(view, view.now)).collect();
    let held = clauses.iter().filter(|clause| clause.holds).count();
    let info = match clauses.len() {
        0 => "no conditions".to_owned(),
        n => format!("{held} of {n} condition{} hold", plural(n)),
    };
    Step { clauses, ..step(name, true, info) }.settle()
}

impl Step {
    /// A step with clauses holds when all of them do.
    fn settle(mut self) -> Self {
        if self.clauses.iter().any(|clause| !clause.holds) {
            self.state = Outcome::Fail;
        }
        self
    }
}

fn stands(until: Millis) -> Option<Millis> {
    (until != Millis::MAX).then_some(until)
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests;
