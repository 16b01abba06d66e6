//! Decisions taken again over history.
//!
//! [`Decisions`] watches a log go by as it came in ([`crate::machine::arrivals`]) and decides every action anew
//! wherever its decision can have changed, with the code that decides for live sessions. What comes out is
//! hashed, profile by profile, so that two runs can be compared; and every reaction in the log is held
//! against it: could it have come about?
//!
//! What is not in the log is told as unknown and not guessed: see [`Doubt`].

mod check;
mod decisions;
mod past;
mod since;

pub use check::{Doubt, Doubts, Found, Misfit};
pub use decisions::{Decisions, Setting};
pub use past::{AsOf, PastTotals, Upto};
pub use since::decides_since;
