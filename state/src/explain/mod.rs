//! Why: an audience, a trait or an action taken apart for one person, and what would make it otherwise.
//!
//! Everything is told from two things: the profile as it stands, whose answers are the ones that hold, and
//! its log, which knows the events behind them ([`evidence`]). What is proposed as a change was tried on a
//! copy by the machine itself ([`flip`]). Nothing here changes anything.

mod action;
mod audience;
mod chain;
mod change;
mod computed;
mod evidence;
mod flip;
mod lookback;
mod needs;
mod ways;
mod witness;

pub use action::{ActionAsked, ActionTold, Overridden, explain_action};
pub use audience::{AudienceTold, audience_clauses, explain_audience};
pub use change::{Change, Known, Proposal, Step, Supposed};
pub use computed::explain_trait;
pub use evidence::{Because, Counted, Evidence, MISSED_MAX, Missed, TOLD_MAX, Tally};
pub use flip::Flip;
pub use lookback::lookback;
pub use needs::{Needs, narrow};

use crate::event::{Entry, Props};
use crate::expr::Expr;
use crate::ids::{EventSlot, Millis};
use crate::plan::Plan;
use crate::profile::Profile;

/// A person, as the question is about them.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    plan: &'a Plan,
    profile: &'a Profile,
    entries: &'a [Entry],
    now: Millis,
    context: Option<&'a Props>,
    evidence: &'a Evidence,
    /// What new events had better not match: it would be one too many.
    avoid: &'a [(EventSlot, Expr)],
    /// New events say only what they must, not what the person's last one said.
    bare: bool,
}

impl<'a> Case<'a> {
    /// A person before `plan`: `profile` is the state as of `now`, due timers fired, and `entries` the whole
    /// log up to then, in order; `evidence` was gathered from it for the definitions in question.
    #[must_use]
    pub fn new(plan: &'a Plan, profile: &'a Profile, entries: &'a [Entry], now: Millis, evidence: &'a Evidence) -> Self {
        Self { plan, profile, entries, now, context: None, evidence, avoid: &[], bare: false }
    }

    /// The same on a connection with this context.
    #[must_use]
    pub fn within(self, context: Option<&'a Props>) -> Self {
        Self { context, ..self }
    }

    fn supposed(&self) -> Supposed {
        Supposed { profile: self.profile.clone(), context: self.context.cloned(), defined: Vec::new() }
    }

    /// The same person as supposed.
    fn after<'b>(&'b self, supposed: &'b Supposed) -> Case<'b> {
        let now = supposed.profile.core.clock.max(self.now);
        Case { profile: &supposed.profile, now, context: supposed.context.as_ref(), ..*self }
    }
}
