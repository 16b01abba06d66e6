//! Everybody's chances in the order in which they came: caps, budgets and totals decide.

use super::{Ask, Happening, Step, What};
use crate::action::{ActionDef, Cap, CapState, Group, Person, Reason, Spending, Totals, View, gated};
use crate::event::{Arm, Reaction};
use crate::expr::{Facts, Source, Truth};
use crate::ids::{ActionSlot, AudienceSlot, BudgetSlot, ChannelSlot, EventSlot, ExperimentSlot, Millis, Moment, ProfileId};
use crate::machine::spendings_of;
use crate::plan::Plan;
use crate::time::Date;
use crate::value::Value;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What is supposed of showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// Shown is what the log says was shown.
    Logged,
    /// Whatever is delivered is shown at once, where caps let it.
    Delivered,
}

/// Somebody would have got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Who.
    pub profile: ProfileId,
    /// The id under which they came.
    pub user_id: CompactString,
    /// When.
    pub at: Millis,
    /// Where.
    pub channel: ChannelSlot,
    /// At which event.
    pub event: EventSlot,
    /// Which variant of an experiment.
    pub arm: Option<Arm>,
}

/// What became of one cap.
#[derive(Clone, Debug, Default)]
pub struct CapUse {
    /// How often it was reached when somebody was due.
    pub hits: u64,
    /// For how many people.
    pub people: HashSet<ProfileId>,
    /// Of a total cap: when it was reached first.
    pub ran_out: Option<Millis>,
    /// Of a total cap: how much it had counted after the last reaction of each local day.
    pub days: BTreeMap<Date, u64>,
}

/// What really happened, in the same period and channels.
#[derive(Debug, Default)]
pub struct Happened {
    /// Reactions by kind.
    pub reactions: BTreeMap<Reaction, u64>,
    /// Who got it.
    pub people: HashSet<ProfileId>,
    /// By local day: deliveries, and people.
    pub days: BTreeMap<Date, (u64, HashSet<ProfileId>)>,
}

/// What would have been.
#[derive(Debug, Default)]
pub struct Outcome {
    /// And what was.
    pub happened: Happened,
    /// The first deliveries, in order.
    pub deliveries: Vec<Delivery>,
    /// All of them.
    pub total: u64,
    /// Who got any.
    pub people: HashSet<ProfileId>,
    /// By local day: deliveries, and people.
    pub days: BTreeMap<Date, (u64, HashSet<ProfileId>)>,
    /// Logged reactions that would have been taken as well, by kind.
    pub reactions: BTreeMap<Reaction, u64>,
    /// Logged reactions that would not: of somebody who got nothing, or refused by a cap.
    pub lost: BTreeMap<Reaction, u64>,
    /// What kept it back when somebody was due otherwise. Once it was delivered, the rest of a session is not
    /// asked.
    pub blocked: BTreeMap<Step, u64>,
    /// How far those came who got nothing, where they came to the contest at all.
    pub furthest: HashMap<ProfileId, Step>,
    /// By the place of the cap in the definition.
    pub caps: Vec<CapUse>,
}

/// What one person had and did so far.
#[derive(Default)]
struct Seen {
    caps: CapState,
    budgets: BTreeMap<BudgetSlot, CapState>,
    /// The last session of each channel in which they got it.
    delivered: BTreeMap<ChannelSlot, u32>,
    /// They got it at all.
    has: bool,
}

/// Decides about one chance after another.
pub struct Contest<'a> {
    ask: &'a Ask<'a>,
    def: &'a ActionDef,
    shown: Shown,
    keep: usize,
    tally: CapState,
    people: HashMap<ProfileId, Seen>,
    outcome: Outcome,
}

impl<'a> Contest<'a> {
    /// Nothing has happened so far. At most `keep` deliveries are told one by one. `None` if there is no such
    /// action.
    #[must_use]
    pub fn new(ask: &'a Ask<'a>, shown: Shown, keep: usize) -> Option<Self> {
        let def = &ask.plan.action_plan(ask.action)?.def;
        let outcome = Outcome { caps: vec![CapUse::default(); def.caps.len()], ..Outcome::default() };
        Some(Self { ask, def, shown, keep, tally: CapState::default(), people: HashMap::new(), outcome })
    }

    /// What would have been.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        self.outcome
    }

    /// How much a total cap counts at the end of the period.
    #[must_use]
    pub fn used(&self, cap: &Cap) -> u64 {
        self.tally.used(cap, self.ask.to.minus(1))
    }

    /// Takes what happened next: call it in the order of the moments.
    pub fn take(&mut self, profile: ProfileId, happening: &Happening) {
        let Happening { moment, user_id, what } = happening;
        match *what {
            What::Spent { action, reaction, channel } => self.spend(profile, action, reaction, channel, moment.t),
            // What happened before happened; what was delivered since is what is asked.
            What::Reacted { reaction, channel, session } if moment.t < self.ask.from => {
                if reaction == Reaction::Delivered {
                    self.people.entry(profile).or_default().delivered.insert(channel, session);
                }
                self.record(profile, reaction, channel, moment.t);
            }
            What::Reacted { reaction, channel, .. } => {
                self.note(profile, reaction, channel, moment.t);
                let supposed = reaction == Reaction::Shown && self.shown == Shown::Delivered;
                if !supposed && !matches!(reaction, Reaction::Delivered | Reaction::Withheld) {
                    self.react(profile, reaction, channel, moment.t);
                }
            }
            What::Due { channel, session, event, arm } => {
                let delivery = Delivery { profile, user_id: user_id.clone(), at: moment.t, channel, event, arm };
                self.decide(delivery, session, *moment);
            }
        }
    }

    fn decide(&mut self, delivery: Delivery, session: u32, moment: Moment) {
        let Delivery { profile, channel, arm, .. } = delivery;
        let seen = self.people.entry(profile).or_default();
        if seen.delivered.get(&channel) == Some(&session) {
            return;
        }
        let blocked = self.full(profile, channel, moment.t, None);
        let blocked = blocked.or_else(|| arm.is_some_and(Arm::is_holdout).then_some(Reason::Withheld));
        if let Some(reason) = blocked {
            self.block(profile, moment.t, Step::from(reason));
            return;
        }
        if let Some(seen) = self.people.get_mut(&profile) {
            seen.delivered.insert(channel, session);
        }
        self.record(profile, Reaction::Delivered, channel, moment.t);
        let outcome = &mut self.outcome;
        outcome.total += 1;
        outcome.people.insert(profile);
        outcome.furthest.remove(&profile);
        mark(&mut outcome.days, self.ask.plan.zone.date(moment.t), profile);
        if outcome.deliveries.len() < self.keep {
            outcome.deliveries.push(delivery);
        }
        if self.shown == Shown::Delivered {
            self.react(profile, Reaction::Shown, channel, moment.t);
        }
    }

    fn block(&mut self, profile: ProfileId, t: Millis, step: Step) {
        let nothing = CapState::default();
        let user = self.people.get(&profile).map_or(&nothing, |seen| &seen.caps);
        for (cap, used) in self.def.caps.iter().zip(&mut self.outcome.caps) {
            let state = if cap.group == Group::User { user } else { &self.tally };
            if !state.open(cap, t, 0).holds {
                used.hits += 1;
                used.people.insert(profile);
            }
        }
        *self.outcome.blocked.entry(step).or_default() += 1;
        if !self.outcome.people.contains(&profile) {
            let furthest = self.outcome.furthest.entry(profile).or_insert(step);
            *furthest = (*furthest).max(step);
        }
    }

    /// What really happened.
    fn note(&mut self, profile: ProfileId, reaction: Reaction, channel: ChannelSlot, t: Millis) {
        if !self.ask.channels.contains(&channel) {
            return;
        }
        let happened = &mut self.outcome.happened;
        *happened.reactions.entry(reaction).or_default() += 1;
        if reaction == Reaction::Delivered {
            happened.people.insert(profile);
            mark(&mut happened.days, self.ask.plan.zone.date(t), profile);
        }
    }

    /// A reaction that is supposed: taken from those who have the action, where no cap refuses it.
    fn react(&mut self, profile: ProfileId, reaction: Reaction, channel: ChannelSlot, t: Millis) {
        let has = self.people.get(&profile).is_some_and(|seen| seen.has);
        let refused = gated(reaction) && self.full(profile, channel, t, Some(reaction)).is_some();
        let counts = if has && !refused { &mut self.outcome.reactions } else { &mut self.outcome.lost };
        *counts.entry(reaction).or_default() += 1;
        if has && !refused {
            self.record(profile, reaction, channel, t);
        }
    }

    /// The first cap or budget that has no place left for a delivery, or for `reaction`.
    fn full(&self, profile: ProfileId, channel: ChannelSlot, now: Millis, reaction: Option<Reaction>) -> Option<Reason> {
        let nothing = Seen::default();
        let seen = self.people.get(&profile).unwrap_or(&nothing);
        let person = Counted { profile, seen, plan: self.ask.plan };
        let totals = Tally(&self.tally);
        let view = View { action: self.ask.action, channel, now, person: &person, context: None, totals: &totals };
        self.def.full(&view, reaction)
    }

    /// Counts a reaction to the action.
    fn record(&mut self, profile: ProfileId, reaction: Reaction, channel: ChannelSlot, t: Millis) {
        let seen = self.people.entry(profile).or_default();
        seen.has |= reaction == Reaction::Delivered;
        seen.caps.record(&self.def.caps, Group::User, reaction, channel, t);
        self.tally.record(&self.def.caps, Group::All, reaction, channel, t);
        self.spend(profile, self.ask.action, reaction, channel, t);
        let day = self.ask.plan.zone.date(t);
        let all = self.def.caps.iter().zip(&mut self.outcome.caps).filter(|(cap, _)| cap.group == Group::All);
        for (cap, used) in all.filter(|(cap, _)| cap.counts(reaction, channel)) {
            if t >= self.ask.from {
                used.days.insert(day, self.tally.used(cap, t));
            }
            if !self.tally.open(cap, t, 0).holds {
                used.ran_out.get_or_insert(t);
            }
        }
    }

    /// Counts a reaction to any action for the budgets that govern this one too.
    fn spend(&mut self, profile: ProfileId, action: ActionSlot, reaction: Reaction, channel: ChannelSlot, t: Millis) {
        let plan = self.ask.plan;
        let seen = self.people.entry(profile).or_default();
        let mine = plan.budgets_of(self.ask.action).iter().filter(|slot| plan.budgets_of(action).contains(slot));
        for budget in mine.filter_map(|slot| plan.budget_plan(*slot)) {
            budget.def.count(seen.budgets.entry(budget.slot).or_default(), reaction, channel, t);
        }
    }
}

fn mark(days: &mut BTreeMap<Date, (u64, HashSet<ProfileId>)>, date: Date, profile: ProfileId) {
    let day = days.entry(date).or_default();
    day.0 += 1;
    day.1.insert(profile);
}

/// What one person would have reacted, and nothing else of them.
struct Counted<'a> {
    profile: ProfileId,
    seen: &'a Seen,
    plan: &'a Plan,
}

impl Facts for Counted<'_> {
    fn get<'a>(&'a self, _: &Source) -> Option<Cow<'a, Value>> {
        None
    }
}

impl Person for Counted<'_> {
    fn owns(&self, _: &str) -> bool {
        false
    }

    fn member(&self, _: AudienceSlot) -> bool {
        false
    }

    fn caps(&self, _: ActionSlot) -> Option<&CapState> {
        Some(&self.seen.caps)
    }

    fn profile(&self) -> ProfileId {
        self.profile
    }

    fn budgets(&self, action: ActionSlot, f: &mut dyn FnMut(Spending<'_>)) {
        spendings_of(self.plan, action, |budget| self.seen.budgets.get(&budget)).for_each(f);
    }

    fn arm(&self, _: ExperimentSlot) -> Option<u16> {
        None
    }
}

/// What everybody would have reacted.
struct Tally<'a>(&'a CapState);

impl Totals for Tally<'_> {
    fn open(&self, _: ActionSlot, cap: &Cap, now: Millis) -> Truth {
        self.0.open(cap, now, 0)
    }

    fn used(&self, _: ActionSlot, cap: &Cap, now: Millis) -> u64 {
        self.0.used(cap, now)
    }
}
