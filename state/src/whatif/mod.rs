//! An action over history: who would have got it, when, and what kept it from the others.
//!
//! Two steps. [`Opportunities`] folds one log and asks the targeting at every event that the person did: there
//! they could be reached. What the action counts over people or over time is left out of that. [`Contest`] then
//! takes what it found of everybody in the order in which it happened, and lets caps, budgets and totals decide,
//! as they decide for live sessions. Both steps together are [`crate::action::ActionDef::decide`].
//!
//! The model of a session: a person can be reached at the moments of their own events on a channel; events less
//! than [`SESSION_MS`] apart are one session, and an action is delivered once in a session. Of reactions only those
//! are supposed that the log has.

mod contest;
mod opportunities;

pub use contest::{CapUse, Contest, Delivery, Happened, Outcome, Shown};
pub use opportunities::{Happening, Opportunities, Reached, What};

use crate::action::{Group, Reason};
use crate::ids::{ActionSlot, ChannelSlot, Millis};
use crate::plan::Plan;
use serde::Serialize;

/// After so long without an event on a channel the next one begins a session.
pub const SESSION_MS: i64 = 30 * 60_000;

/// What is asked.
#[derive(Clone)]
pub struct Ask<'a> {
    /// The definitions, with the action among them.
    pub plan: &'a Plan,
    /// Which action. It should be active: another state delivers to nobody.
    pub action: ActionSlot,
    /// Where people are met.
    pub channels: Vec<ChannelSlot>,
    /// Deliveries from here on.
    pub from: Millis,
    /// Before this.
    pub to: Millis,
}

/// The step of a decision that kept an action back, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Its state, channel or test users.
    Definition,
    /// The time range.
    TimeRange,
    /// Its audiences.
    Audience,
    /// A condition on traits.
    Traits,
    /// A condition on the context.
    Context,
    /// A cap of one person.
    UserCap,
    /// A cap of all.
    TotalCap,
    /// A frequency budget.
    Budget,
    /// Quiet hours of a budget.
    QuietHours,
    /// An experiment's holdout.
    Experiment,
}

impl From<Reason> for Step {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::State | Reason::Channel | Reason::TestUser => Self::Definition,
            Reason::Time => Self::TimeRange,
            Reason::Audience => Self::Audience,
            Reason::Traits => Self::Traits,
            Reason::Context => Self::Context,
            Reason::Capped { group: Group::User } => Self::UserCap,
            Reason::Capped { group: Group::All } => Self::TotalCap,
            Reason::Budget(_) => Self::Budget,
            Reason::QuietHours(_) => Self::QuietHours,
            Reason::Withheld => Self::Experiment,
        }
    }
}
