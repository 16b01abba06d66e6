//! When one person could be reached, and whether the action was for them then.

use super::{Ask, SESSION_MS, Step};
use crate::action::{CapState, NoTotals, Person, Reason, Spending, View};
use crate::event::{Arm, Entry, EntryKind, Occurrence, Reaction};
use crate::expr::{Facts, Source};
use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, EventSlot, ExperimentSlot, Millis, Moment, ProfileId};
use crate::machine::{Changes, ProfileFacts, ProfilePerson, Watch};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::value::Value;
use compact_str::CompactString;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Something about one person that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Its place in the order of everything.
    pub moment: Moment,
    /// The id under which it came.
    pub user_id: CompactString,
    /// What.
    pub what: What,
}

/// What it is that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// They could be reached, and the action was for them but for what counts.
    Due {
        /// Where.
        channel: ChannelSlot,
        /// The number of the session there.
        session: u32,
        /// By which event.
        event: EventSlot,
        /// What an experiment makes of it.
        arm: Option<Arm>,
    },
    /// They reacted to the action.
    Reacted {
        /// How.
        reaction: Reaction,
        /// Where.
        channel: ChannelSlot,
        /// The number of the session there.
        session: u32,
    },
    /// They reacted to another action under one of its budgets.
    Spent {
        /// To which.
        action: ActionSlot,
        /// How.
        reaction: Reaction,
        /// Where.
        channel: ChannelSlot,
    },
}

/// What was found of one person.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// How often they could be reached.
    pub times: u64,
    /// How often the action was not for them then, by what spoke against it first.
    pub blocked: BTreeMap<Step, u64>,
    /// The furthest step that any of these came to.
    pub furthest: Option<Step>,
    /// In order.
    pub happenings: Vec<Happening>,
}

/// Watches the fold of one log ([`crate::machine::fold_watched`]).
pub struct Opportunities<'a> {
    ask: &'a Ask<'a>,
    /// The oldest profile that the person is made of, by which experiments assign.
    root: ProfileId,
    /// The last event in each channel, and its session.
    sessions: BTreeMap<ChannelSlot, (Millis, u32)>,
    found: Reached,
}

impl<'a> Opportunities<'a> {
    /// Nothing seen so far. `root`: the oldest profile that the person is made of.
    #[must_use]
    pub fn new(ask: &'a Ask<'a>, root: ProfileId) -> Self {
        Self { ask, root, sessions: BTreeMap::new(), found: Reached::default() }
    }

    /// What was found.
    #[must_use]
    pub fn found(self) -> Reached {
        self.found
    }

    /// The session that an event at `t` belongs to.
    fn session(&mut self, channel: ChannelSlot, t: Millis) -> u32 {
        let (last, session) = self.sessions.entry(channel).or_insert((t, 0));
        if t >= last.plus(SESSION_MS) {
            *session += 1;
        }
        *last = t;
        *session
    }

    fn reach(&mut self, plan: &Plan, profile: &Profile, entry: &Entry, occurrence: &Occurrence) {
        let channel = occurrence.channel;
        let session = self.session(channel, entry.moment.t);
        let Some(action) = plan.action_plan(self.ask.action) else { return };
        let (now, def) = (entry.moment.t, &action.def);
        let its_moment = def.on_event.is_empty() || def.on_event.contains(&occurrence.event);
        if now < self.ask.from || !its_moment || !self.ask.channels.contains(&channel) {
            return;
        }
        self.found.times += 1;
        let person = Uncounted { person: ProfilePerson(ProfileFacts::of(plan, profile)), root: self.root };
        let view =
            View { action: action.slot, channel, now, person: &person, context: Some(&occurrence.context), totals: &NoTotals };
        let blocked = def.decide(&view, false).blocked;
        // Caps are asked before an experiment holds back, so that stays open until they have been.
        match blocked.filter(|reason| *reason != Reason::Withheld) {
            Some(reason) => {
                let step = Step::from(reason);
                *self.found.blocked.entry(step).or_default() += 1;
                self.found.furthest = self.found.furthest.max(Some(step));
            }
            None => self.note(entry, What::Due { channel, session, event: occurrence.event, arm: def.arm(&view) }),
        }
    }

    fn note(&mut self, entry: &Entry, what: What) {
        self.found.happenings.push(Happening { moment: entry.moment, user_id: entry.user_id.clone(), what });
    }
}

impl Watch for Opportunities<'_> {
    fn after(&mut self, plan: &Plan, profile: &Profile, entry: Option<&Entry>, _: &Changes) {
        let Some(entry) = entry else { return };
        match &entry.kind {
            EntryKind::Event(occurrence) => self.reach(plan, profile, entry, occurrence),
            EntryKind::Reacted(reacted) if !reacted.test => {
                let (action, reaction, channel) = (reacted.action, reacted.reaction, reacted.channel);
                let mine = plan.budgets_of(self.ask.action);
                if action == self.ask.action {
                    let session = self.sessions.get(&channel).map_or(0, |(_, session)| *session);
                    self.note(entry, What::Reacted { reaction, channel, session });
                } else if plan.budgets_of(action).iter().any(|budget| mine.contains(budget)) {
                    self.note(entry, What::Spent { action, reaction, channel });
                }
            }
            _ => {}
        }
    }
}

/// A person who has reacted to nothing: what counts is for the contest.
struct Uncounted<'a> {
    person: ProfilePerson<'a>,
    root: ProfileId,
}

impl Facts for Uncounted<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        self.person.get(source)
    }
}

impl Person for Uncounted<'_> {
    fn owns(&self, user_id: &str) -> bool {
        self.person.owns(user_id)
    }

    fn member(&self, audience: AudienceSlot) -> bool {
        self.person.member(audience)
    }

    fn caps(&self, _: ActionSlot) -> Option<&CapState> {
        None
    }

    fn profile(&self) -> ProfileId {
        self.person.profile()
    }

    fn budgets(&self, _: ActionSlot, _: &mut dyn FnMut(Spending<'_>)) {}

    /// A fold makes of a person one profile from the start; experiments know the oldest of several.
    fn arm(&self, experiment: ExperimentSlot) -> Option<u16> {
        let ProfileFacts { plan, profile, .. } = self.person.0;
        let def = &plan.experiment_plan(experiment)?.def;
        def.running.then(|| def.arm(self.root, profile.core.trials.get(experiment.0)))
    }
}
