//! Folds one entry, or the passing of time, into one profile. All branching between stages is here.
//!
//! The state of a profile is the fold of its log in `(t, seq)` order. In order, an entry costs only the
//! definitions that its event name touches; an entry that comes late, where a compact state cannot take
//! it, makes the machine fold the log again into a scratch profile and take the answer from there. One
//! code path therefore serves live events, late events, merges, backfill and replay.

mod arrivals;
mod custom;
mod drift;
mod erase;
mod feed;
mod goals;
mod log;
mod moves;
mod person;
mod review;
mod rules;
mod split;
mod touched;
mod trials;
mod watch;

pub use arrivals::arrivals;
pub use custom::union;
pub use drift::{Part, differences};
pub use erase::outdated;
pub use log::{absorb, fold, forget, rebuild};
pub use moves::moves;
pub use person::{ProfilePerson, spendings, spendings_of};
pub use rules::{all_due, due, metric};
pub use split::{Merge, merges, part, undo};
pub use touched::{governed, touched};
pub use trials::arm;
pub use watch::{Watch, fold_watched};

use crate::event::{Entry, EntryKind, MembershipChange, MoveCause, Occurrence};
use crate::expr::{Facts, PathRef, Source, descend};
use crate::ids::{
    ActionSlot, AudienceSlot, BudgetSlot, EventSlot, ExperimentSlot, GoalSlot, Millis, PathId, RuleSlot, Seq, TraitSlot,
};
use crate::plan::{Plan, RulePlan};
use crate::profile::{History, Profile};
use crate::traits::TraitDef;
use crate::value::Value;
use feed::fold_entry;
use log::refold;
use review::review;
use smallvec::SmallVec;
use std::borrow::Cow;

/// What one input changed about one profile: what targeting and pushes look at.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Traits whose value may differ.
    pub traits: SmallVec<[TraitSlot; 8]>,
    /// Custom trait paths whose value may differ.
    pub custom: SmallVec<[PathId; 4]>,
    /// Memberships that began or ended; net, one per audience.
    pub members: SmallVec<[MembershipChange; 4]>,
    /// Profiles merged, or known for the first time: everything may differ.
    pub identity: bool,
    /// Completions by members, of audiences that ask for it (`reentry: each`): entered once more, without having left.
    pub reentered: SmallVec<[MembershipChange; 2]>,
    /// Runs of funnels that were given up because a profile had too many at once.
    pub evicted: u32,
    /// Touches and conversions that goals do not keep any more because there were too many.
    pub unkept: u32,
    /// The action that this input reacted to.
    pub reacted: Option<ActionSlot>,
    /// Budgets that this input used up.
    pub budgets: SmallVec<[BudgetSlot; 2]>,
    /// The event that this input was.
    pub event: Option<EventSlot>,
    /// How many entries left the log.
    pub left: usize,
    /// The state was brought under other definitions: every action may differ.
    pub refolded: bool,
    /// Rules that may be due: whether they are is asked again where they fire ([`due`]).
    pub due: SmallVec<[RuleSlot; 2]>,
    /// The entry that was applied last.
    pub applied: Option<Seq>,
}

impl Changes {
    fn touch(&mut self, slot: TraitSlot) {
        if !self.traits.contains(&slot) {
            self.traits.push(slot);
        }
    }

    fn rule(&mut self, slot: RuleSlot) {
        if !self.due.contains(&slot) {
            self.due.push(slot);
        }
    }

    /// Tells that a chain of `audience` was completed by who was a member since `was`, and still is.
    fn again(&mut self, profile: &Profile, (audience, was): Again, t: Millis, (cause, seq): (MoveCause, Seq)) {
        let stays = was.filter(|was| profile.member_since(audience) == Some(*was));
        let told = self.reentered.iter().any(|change| (change.audience, change.t) == (audience, t));
        if let (Some(since), false) = (stays, told) {
            self.reentered.push(MembershipChange { audience, entered: true, t, since, seq, cause });
        }
    }

    /// Tells a membership change. Gives since when somebody is a member who enters by it: what goes on at the
    /// very instant at which it ended has never ended, and neither is told.
    ///
    /// What was due is told beside what an entry of the same instant does, whoever looks in between: time passes
    /// before the entry.
    fn member(&mut self, change: MembershipChange) -> Millis {
        let timed = |change: &MembershipChange| change.cause == MoveCause::Time;
        let last = self.members.iter().rposition(|m| m.audience == change.audience && timed(m) == timed(&change));
        let undone = last.filter(|at| self.members[*at].t == change.t && self.members[*at].entered != change.entered);
        if let Some(at) = undone {
            return self.members.remove(at).since;
        }
        self.members.push(change);
        change.since
    }
}

/// An audience that asks for it, with a chain completed, and since when the profile was a member of it before.
type Again = (AudienceSlot, Option<Millis>);

/// The facts that conditions read about a profile, with the event at hand if there is one.
pub struct ProfileFacts<'a> {
    /// The plan whose traits are read.
    pub plan: &'a Plan,
    /// The profile.
    pub profile: &'a Profile,
    /// The event being applied.
    pub event: Option<&'a Occurrence>,
    /// The context of a connection or event.
    pub context: Option<&'a crate::event::Props>,
}

impl ProfileFacts<'_> {
    /// Facts about a profile with no event and no context.
    #[must_use]
    pub fn of<'a>(plan: &'a Plan, profile: &'a Profile) -> ProfileFacts<'a> {
        ProfileFacts { plan, profile, event: None, context: None }
    }
}

fn at<'a>(props: &'a crate::event::Props, path: &PathRef) -> Option<Cow<'a, Value>> {
    descend(props.get(path.path)?, &path.rest).map(Cow::Borrowed)
}

impl Facts for ProfileFacts<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match source {
            Source::Event(path) => at(&self.event?.props, path),
            Source::Context(path) => at(self.context.or(self.event.map(|e| &e.context))?, path),
            Source::Custom(path) => at(&self.profile.core.custom, path),
            Source::Computed(slot) => trait_value(self.plan, self.profile, *slot).map(Cow::Owned),
            Source::Member(slot) => {
                self.plan.audience_plan(*slot)?;
                Some(Cow::Owned(Value::Bool(self.profile.member_since(*slot).is_some())))
            }
            Source::Captured { .. } => None,
        }
    }
}

/// The value of a computed trait as users see it, with its virtual default.
#[must_use]
pub fn trait_value(plan: &Plan, profile: &Profile, slot: TraitSlot) -> Option<Value> {
    let def = &plan.trait_plan(slot)?.def;
    match profile.trait_state(slot) {
        Some(state) => def.value(state),
        None => def.default_value(),
    }
}

/// Makes a profile that has just been created a member of what nothing needs to have happened for.
pub fn born(plan: &Plan, profile: &mut Profile, at: Millis, out: &mut Changes) {
    start(plan, profile, at, false, out);
}

fn start(plan: &Plan, profile: &mut Profile, at: Millis, folding: bool, out: &mut Changes) {
    profile.core.clock = at;
    let by = (MoveCause::Input, profile.core.applied);
    review(plan, profile, plan.always_audiences().iter().copied().collect(), at, by, folding, out);
    if !folding {
        rules::look(plan, profile, plan.always_rules(), at, out);
    }
}

/// Applies one entry. The caller has taken the profile's lock, stamped `entry.moment.seq` and checked
/// that it is newer than `profile.core.applied`; absorbed profiles have been moved in by [`absorb`].
///
/// Due timers fire first, then the entry, so that an effect has the order a user would expect.
pub fn apply(plan: &Plan, profile: &mut Profile, entry: Entry, history: &mut dyn History, out: &mut Changes) {
    advance(plan, profile, entry.at, history, out);
    profile.core.applied = entry.moment.seq;
    profile.core.updated_at = profile.core.updated_at.max(entry.at);
    if let EntryKind::Erased(erased) = &entry.kind {
        erase::erase(plan, profile, erased, history, out);
        // Of the daily removal of what is too old nothing needs to be kept.
        if erased.before.is_some() {
            return;
        }
    }
    fold_entry(plan, profile, &entry, out, Some(history));
    out.applied = Some(entry.moment.seq);
    profile.tail.push(entry);
}

/// Fires every timer due at or before `now`, each at its own instant and in order.
pub fn advance(plan: &Plan, profile: &mut Profile, now: Millis, history: &mut dyn History, out: &mut Changes) {
    while step(plan, profile, now, Pace::Through, history, out) {}
}

/// As [`advance`], but stops at the first instant at which a rule is due, which is then the profile's clock,
/// so that what follows has its own time however late anybody looks. True when it stopped before the end:
/// it is to be called again when what `out.due` names has fired.
pub fn advance_to_due(plan: &Plan, profile: &mut Profile, now: Millis, history: &mut dyn History, out: &mut Changes) -> bool {
    while out.due.is_empty() {
        if !step(plan, profile, now, Pace::ToDue, history, out) {
            return false;
        }
    }
    true
}

/// Goes on to the end, or to where something has to be done first; false at the end.
fn step(plan: &Plan, profile: &mut Profile, now: Millis, pace: Pace, history: &mut dyn History, out: &mut Changes) -> bool {
    // What runs dry is folded anew at that very instant, so that what follows is told at its own time.
    let dry = step_timers(plan, profile, now, pace, out);
    if !dry.is_empty() {
        refold(plan, profile, &dry, None, history, out);
        return true;
    }
    if pace == Pace::ToDue && !out.due.is_empty() {
        return true;
    }
    profile.core.clock = profile.core.clock.max(now);
    false
}

/// How timers are gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// In a fold of the log: nobody is told.
    Folding,
    /// To the end.
    Through,
    /// To the first instant at which a rule is due.
    ToDue,
}

/// Definitions whose compact state cannot answer.
#[derive(Default)]
struct Dry {
    traits: SmallVec<[TraitSlot; 2]>,
    audiences: SmallVec<[AudienceSlot; 2]>,
    rules: SmallVec<[RuleSlot; 2]>,
    goals: SmallVec<[GoalSlot; 2]>,
    trials: SmallVec<[ExperimentSlot; 2]>,
}

impl Dry {
    /// What compares events with the profile's traits as of then: anything late may change it.
    fn add_readers(&mut self, plan: &Plan) {
        self.traits.extend(plan.traits.iter().flatten().filter(|t| t.def.reads_profile()).map(|t| t.slot));
        self.audiences.extend(plan.audiences.iter().flatten().filter(|a| a.def.reads_profile()).map(|a| a.slot));
        let reads = |rule: &&RulePlan| rule.def.metric.events().is_some_and(TraitDef::reads_profile);
        self.rules.extend(plan.rules.iter().flatten().filter(reads).map(|rule| rule.slot));
        for goal in plan.goals.iter().flatten().filter(|goal| goal.def.reads_profile()) {
            self.goals.push(goal.slot);
            self.trials.extend(goal.experiments.iter().copied());
        }
    }

    fn is_empty(&self) -> bool {
        let goals = self.goals.is_empty() && self.trials.is_empty();
        self.traits.is_empty() && self.audiences.is_empty() && self.rules.is_empty() && goals
    }
}

fn step_timers(plan: &Plan, profile: &mut Profile, now: Millis, pace: Pace, out: &mut Changes) -> Dry {
    let mut dry = Dry::default();
    let folding = pace == Pace::Folding;
    loop {
        let due = profile.deadline();
        if due > now || due == Millis::MAX {
            return dry;
        }
        let mut affected: SmallVec<[AudienceSlot; 8]> = SmallVec::new();
        let mut again: SmallVec<[Again; 2]> = SmallVec::new();
        let mut touched = rules::step(plan, profile, due, &mut dry);
        for (slot, cell) in profile.core.traits.iter_mut().filter(|(_, cell)| cell.deadline <= due) {
            let slot = TraitSlot(slot);
            let Some(trait_plan) = plan.trait_plan(slot) else {
                cell.deadline = Millis::MAX;
                continue;
            };
            let advanced = trait_plan.def.advance(&mut cell.state, due);
            cell.deadline = trait_plan.def.deadline(&cell.state);
            if advanced.needs_history {
                dry.traits.push(slot);
                cell.deadline = Millis::MAX;
            }
            if advanced.changed {
                out.touch(slot);
                affected.extend(trait_plan.audiences.iter().copied());
                touched.extend(trait_plan.rules.iter().copied());
            }
        }
        for (slot, cell) in profile.core.audiences.iter_mut().filter(|(_, cell)| cell.deadline.min(cell.flips) <= due) {
            let slot = AudienceSlot(slot);
            let Some(audience) = plan.audience_plan(slot) else {
                (cell.deadline, cell.flips) = (Millis::MAX, Millis::MAX);
                continue;
            };
            if cell.deadline <= due {
                let advanced = audience.def.advance(&mut cell.state, due);
                cell.deadline = audience.def.deadline(&cell.state);
                if advanced.needs_history {
                    dry.audiences.push(slot);
                    cell.deadline = Millis::MAX;
                }
                if advanced.again {
                    again.push((slot, cell.since));
                }
            }
            if cell.flips <= due {
                cell.flips = Millis::MAX;
            }
            affected.push(slot);
        }
        profile.core.clock = profile.core.clock.max(due);
        let by = (MoveCause::Time, profile.core.applied);
        review(plan, profile, affected, due, by, folding, out);
        again.into_iter().for_each(|one| out.again(profile, one, due, by));
        if !folding {
            rules::look(plan, profile, &touched, due, out);
        }
        if !dry.is_empty() || pace == Pace::ToDue && !out.due.is_empty() {
            return dry;
        }
    }
}
