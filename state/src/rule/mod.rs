//! Rules: when a metric of a profile meets a threshold, something follows.
//!
//! A rule looks at one number: an aggregate of events of its own, or a computed trait. Whether it is due is
//! a pure function of that number, of the time, and of the marks that its own [`crate::event::Fired`]
//! entries left in the log. Nothing depends on how often anybody looked: a rule that is due and whose entry
//! was lost in a crash is due again after it, and one whose entry is there is not.
//!
//! A rule that has fired stays *open* until its metric is seen below; that is an entry of its own
//! ([`crate::event::Firing::Cleared`]), so that "false, then true again" is a fact of the log too.

mod attribute;
mod definition;
mod effect;
mod metric;
mod period;
mod state;
mod webhook;

pub use attribute::{find, put, remove, set};
pub use definition::{Fire, OnUnmet, Operator, RuleDef};
pub use effect::{EFFECTS_MAX, Effect};
pub use metric::Metric;
pub use period::{Calendar, Period};
pub use state::{Due, Hush, Marks, RuleState};
pub use webhook::webhook_body;

#[cfg(test)]
mod tests;
