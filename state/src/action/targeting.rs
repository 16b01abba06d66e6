//! Whether an action is for this person, here and now, and whether a reaction to it may be taken.

use super::budget::Spending;
use super::capping::{CapState, Group};
use super::definition::{ActionDef, State};
use super::totals::Totals;
use crate::event::{Props, Reaction};
use crate::expr::{Facts, Source, Truth, descend};
use crate::ids::{ActionSlot, AudienceSlot, BudgetSlot, ChannelSlot, ExperimentSlot, Millis, ProfileId};
use crate::value::Value;
use serde::Serialize;
use std::borrow::Cow;

/// What targeting reads about a person besides the facts: custom and computed traits as they are now.
pub trait Person: Facts {
    /// Whether any identity of the person, in whatever channel, has this id.
    fn owns(&self, user_id: &str) -> bool;
    /// Whether the person is a member of an audience now.
    fn member(&self, audience: AudienceSlot) -> bool;
    /// What the person has reacted to an action; `None` for nothing.
    fn caps(&self, action: ActionSlot) -> Option<&CapState>;
    /// The person's profile.
    fn profile(&self) -> ProfileId;
    /// Calls `f` with every budget that governs an action.
    fn budgets(&self, action: ActionSlot, f: &mut dyn FnMut(Spending<'_>));
    /// The person's arm of a running experiment, as [`crate::experiment::ExperimentDef::arm`] says it.
    fn arm(&self, experiment: ExperimentSlot) -> Option<u16>;
}

/// One action before one person on one connection, now.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Which action this is.
    pub action: ActionSlot,
    /// The connection's channel.
    pub channel: ChannelSlot,
    /// Now.
    pub now: Millis,
    /// Who.
    pub person: &'a dyn Person,
    /// The context of the connection or subscription; `None` where there is none, as in a GET.
    pub context: Option<&'a Props>,
    /// What everybody has reacted.
    pub totals: &'a dyn Totals,
}

/// The person's facts with the context of the connection laid over.
impl Facts for View<'_> {
    fn get<'a>(&'a self, source: &Source) -> Option<Cow<'a, Value>> {
        match source {
            Source::Context(path) => descend(self.context?.get(path.path)?, &path.rest).map(Cow::Borrowed),
            other => self.person.get(other),
        }
    }
}

/// The first thing that speaks against an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does not run.
    State,
    /// It does not run in this channel.
    Channel,
    /// It is in staging, and this is no test user.
    TestUser,
    /// Not now.
    Time,
    /// In none of its audiences.
    Audience,
    /// A trait condition.
    Traits,
    /// A context condition.
    Context,
    /// Often enough.
    Capped {
        /// Whose count.
        group: Group,
    },
    /// A budget of the person is used up.
    Budget(BudgetSlot),
    /// It is quiet, says a budget.
    QuietHours(BudgetSlot),
    /// Due, but an experiment holds it back. The last that is asked.
    Withheld,
}

impl Reason {
    /// The word for it, for people and for answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Channel => "channel",
            Self::TestUser => "test_user",
            Self::Time => "time",
            Self::Audience => "audience",
            Self::Traits => "traits",
            Self::Context => "context",
            Self::Capped { .. } => "capped",
            Self::Budget(_) => "budget",
            Self::QuietHours(_) => "quiet_hours",
            Self::Withheld => "withheld",
        }
    }
}

/// Whether an action is due, and how long that stands if nothing that it reads changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Due.
    pub eligible: bool,
    /// The first instant after now at which it may be otherwise: never late, and asking again then is
    /// enough.
    pub until: Millis,
    /// Why not.
    pub blocked: Option<Reason>,
}

/// Why a reaction is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The action does not run.
    #[error("the action is not active")]
    Inactive,
    /// Not in this channel.
    #[error("the action does not run in this channel")]
    WrongChannel,
    /// In staging, and no test user.
    #[error("the action is in staging and this is not one of its test users")]
    NotTestUser,
    /// Not now.
    #[error("the action does not run at this time")]
    WrongTime,
    /// In none of its audiences.
    #[error("the person is in none of the action's audiences")]
    NotInAudience,
    /// A trait condition does not hold.
    #[error("a trait condition of the action does not hold")]
    WrongTraits,
    /// A context condition does not hold.
    #[error("a context condition of the action does not hold")]
    WrongContext,
    /// A cap is reached.
    #[error("the action has been taken as often as its caps allow")]
    Capped,
    /// A budget is used up.
    #[error("the person has reacted as often as a frequency budget allows")]
    Budget,
}

impl Refusal {
    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::WrongChannel => "wrong_channel",
            Self::NotTestUser => "not_test_user",
            Self::WrongTime => "wrong_time",
            Self::NotInAudience => "not_in_audience",
            Self::WrongTraits => "wrong_traits",
            Self::WrongContext => "wrong_context",
            Self::Capped => "capped",
            Self::Budget => "budget",
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::State => Self::Inactive,
            Reason::Channel => Self::WrongChannel,
            Reason::TestUser => Self::NotTestUser,
            Reason::Time => Self::WrongTime,
            // Nobody is told that they are in a holdout.
            Reason::Audience | Reason::Withheld => Self::NotInAudience,
            Reason::Traits => Self::WrongTraits,
            Reason::Context => Self::WrongContext,
            Reason::Capped { .. } => Self::Capped,
            Reason::Budget(_) => Self::Budget,
            // Not asked of a reaction.
            Reason::QuietHours(_) => Self::WrongTime,
        }
    }
}

/// What a client that reacts can show for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// An earlier delivery of this action to this person is known.
    pub delivered: bool,
    /// The last instant at which the delivery that it names was due (now, if it still is).
    pub valid_at: Option<Millis>,
}

/// A reaction may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// A reaction in staging: logged with `test`, counted nowhere, no place to reserve.
    pub test: bool,
}

/// Which parts of a decision are asked.
#[derive(Clone, Copy)]
struct Ask {
    /// Time, audiences and traits.
    wishes: bool,
    /// Only caps on this kind; all caps if none is named.
    reaction: Option<Reaction>,
    /// The session holds the action already.
    holding: bool,
}

/// How the staging rules see a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tester {
    /// The action is not in staging.
    NotAsked,
    /// Not listed for this channel.
    No,
    /// Listed.
    Yes {
        /// One of their entries says so.
        skip_targeting: bool,
    },
}

impl ActionDef {
    /// Whether the action is due. Type and tags are the subscription's question, not asked here; nor is
    /// `on_event`, which only says when it may come up.
    ///
    /// With `holding` (the session has it live already) caps and budgets on `delivered` are not asked: a
    /// delivery does not end itself.
    #[must_use]
    pub fn decide(&self, view: &View<'_>, holding: bool) -> Decision {
        self.ask(view, Ask { wishes: true, reaction: None, holding })
    }

    /// Whether a reaction may be taken (not `Delivered`, which nobody asks for). For an admitted gated
    /// reaction outside staging a place has to be reserved before it is logged.
    ///
    /// `accept` needs all that `decide` asks, but caps and budgets only on `accepted`, and no quiet hours;
    /// within the grace after its delivery was last valid, time, audiences and traits are forgiven. `show`,
    /// `hide` and `decline` need an action that runs or an earlier delivery; caps and budgets on `shown`
    /// refuse a `show`.
    ///
    /// # Errors
    /// [`Refusal`], the first in the order of the variants.
    pub fn admit(&self, reaction: Reaction, view: &View<'_>, proof: Proof) -> Result<Admitted, Refusal> {
        let test = self.state == State::Staging;
        let refused = match reaction {
            Reaction::Accepted => {
                let grace = |t: Millis| self.accept_grace_ms > 0 && view.now <= t.plus(self.accept_grace_ms);
                let wishes = !proof.valid_at.is_some_and(grace);
                self.ask(view, Ask { wishes, reaction: Some(reaction), holding: true }).blocked
            }
            _ if self.state == State::Inactive && !proof.delivered => Some(Reason::State),
            Reaction::Shown if self.tester(view) != (Tester::Yes { skip_targeting: true }) => {
                self.often_enough(view, Some(Reaction::Shown), true).0
            }
            _ => None,
        };
        refused.map_or(Ok(Admitted { test }), |reason| Err(reason.into()))
    }

    fn ask(&self, view: &View<'_>, ask: Ask) -> Decision {
        let no = |reason, until| Decision { eligible: false, until, blocked: Some(reason) };
        let yes = |until| Decision { eligible: true, until, blocked: None };
        if self.state == State::Inactive {
            return no(Reason::State, Millis::MAX);
        }
        if !self.channels.contains(&view.channel) {
            return no(Reason::Channel, Millis::MAX);
        }
        match self.tester(view) {
            Tester::No => return no(Reason::TestUser, Millis::MAX),
            Tester::Yes { skip_targeting: true } => return yes(Millis::MAX),
            Tester::NotAsked | Tester::Yes { .. } => {}
        }
        let mut until = Millis::MAX;
        if ask.wishes {
            let time = self.time.eval(view.now);
            if !time.holds {
                return no(Reason::Time, time.until);
            }
            if !self.in_audience(view) {
                return no(Reason::Audience, Millis::MAX);
            }
            let traits = self.traits_hold(view);
            if !traits.holds {
                return no(Reason::Traits, traits.until);
            }
            until = time.until.min(traits.until);
        }
        let context = self.context_holds(view);
        if !context.holds {
            return no(Reason::Context, context.until);
        }
        match self.often_enough(view, ask.reaction, ask.holding) {
            (Some(reason), opens) => no(reason, opens),
            (None, stands) if ask.wishes && self.is_withheld(view) => no(Reason::Withheld, until.min(context.until).min(stands)),
            (None, stands) => yes(until.min(context.until).min(stands)),
        }
    }

    /// The rules of staging. Any identity of the person matches; of several entries one that skips
    /// targeting is enough.
    pub(super) fn tester(&self, view: &View<'_>) -> Tester {
        if self.state != State::Staging {
            return Tester::NotAsked;
        }
        let here = self.test_users.iter().filter(|user| user.channels.contains(&view.channel));
        let skips = here.filter(|user| view.person.owns(&user.user_id)).map(|user| user.skip_targeting);
        skips.reduce(|a, b| a || b).map_or(Tester::No, |skip_targeting| Tester::Yes { skip_targeting })
    }

    /// Any of the list; an empty list is no restriction, a list of deleted ones is one that nobody meets.
    pub(super) fn in_audience(&self, view: &View<'_>) -> bool {
        self.audiences.is_empty() || self.audiences.iter().flatten().any(|audience| view.person.member(*audience))
    }

    fn traits_hold(&self, view: &View<'_>) -> Truth {
        all(self.traits.iter().map(|condition| condition.expr.eval(view, view.now)))
    }

    fn context_holds(&self, view: &View<'_>) -> Truth {
        let here = self.context.iter().filter(|(channel, _)| *channel == view.channel);
        all(here.map(|(_, expr)| expr.eval(view, view.now)))
    }

    /// The part of a decision that counts: the first cap, budget or quiet hours that keep the action back from
    /// somebody who does not hold it, or that refuse `reaction`.
    #[must_use]
    pub fn full(&self, view: &View<'_>, reaction: Option<Reaction>) -> Option<Reason> {
        self.often_enough(view, reaction, reaction.is_some()).0
    }

    /// The first cap or budget that blocks, and when all that block are open again; or how long it stands
    /// that none does.
    fn often_enough(&self, view: &View<'_>, only: Option<Reaction>, holding: bool) -> (Option<Reason>, Millis) {
        let mut reason = None;
        let (mut opens, mut stands) = (Millis::MIN, Millis::MAX);
        for cap in &self.caps {
            let asked = only.is_none_or(|reaction| reaction == cap.reaction);
            if !asked || (holding && cap.reaction == Reaction::Delivered) {
                continue;
            }
            let open = self.cap_open(cap, view);
            if !open.holds {
                reason = reason.or(Some(Reason::Capped { group: cap.group }));
                opens = opens.max(open.until);
            }
        }
        view.person.budgets(view.action, &mut |budget| {
            let (blocked, until) = budget.ask(view, only, holding);
            match blocked {
                Some(blocked) => {
                    reason = reason.or(Some(blocked));
                    opens = opens.max(until);
                }
                None => stands = stands.min(until),
            }
        });
        (reason, if reason.is_some() { opens } else { stands })
    }

    pub(super) fn cap_open(&self, cap: &super::Cap, view: &View<'_>) -> Truth {
        match cap.group {
            Group::User => match view.person.caps(view.action) {
                Some(caps) => caps.open(cap, view.now, 0),
                None => Truth::forever(cap.count > 0),
            },
            Group::All => view.totals.open(view.action, cap, view.now),
        }
    }
}

/// All of them; stops at the first that does not hold.
fn all(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut until = Millis::MAX;
    for truth in truths {
        if !truth.holds {
            return truth;
        }
        until = until.min(truth.until);
    }
    Truth { holds: true, until }
}

#[cfg(test)]
mod tests;
