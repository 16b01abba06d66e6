//! Goals: conversions, and the actions that they are credited to.
//!
//! A *touch* is a logged reaction of a kind that the goal lists. A *conversion* is an event that the goal
//! names. A conversion at `t` sees the touches before it by `(t, seq)` with `t < touch.t + lookback`, at most
//! the newest [`TOUCHES_MAX`] of them, and its credit is shared among them by a [`Model`]. All models are
//! answered from one state: which groups of touches a conversion saw is kept, the shares are computed on
//! reading.
//!
//! * `definition` compiles a goal.
//! * [`GoalState`] is what one profile holds of one goal, a fold of its log (F-1).
//! * [`credit`] shares conversions and money in whole millionths, so that shares add up exactly.
//! * [`Cost`] is what an action costs.
//! * [`report`] adds up what profiles hold, by action, campaign or channel and by time.

mod cost;
pub mod credit;
mod definition;
pub mod report;
mod state;

pub use cost::Cost;
pub use credit::{Micros, Model, Seen};
pub use definition::{Dedupe, GoalDef, GoalValue};
pub use state::{CONVERSIONS_MAX, Conversion, Fed, GoalState, TOUCHES_MAX, Touch};
