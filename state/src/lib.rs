//! The state machine of Lodestone, pure: no IO, clock, randomness or async.
//!
//! Definitions become a [`plan`]; inputs become log entries ([`event`]); [`machine`] folds an entry, or the
//! passing of time, into one [`profile`] and says what changed. Time, ids and log positions come in as
//! arguments, so that the same inputs always give the same state: that is what makes replay, backfill,
//! merge and explanation exact.
//!
//! # Map
//! - [`ids`], [`value`], [`time`], [`paths`], [`issue`]: the vocabulary.
//! - [`schema`]: what events, contexts and custom traits look like; validation and casting.
//! - [`expr`]: conditions, compiled once.
//! - [`plan`]: document → catalog → plan with inverted indexes.
//! - [`traits`], [`audience`], [`action`]: one accumulator, condition or cap a file.
//! - [`rule`], [`goal`], [`experiment`]: what follows from a metric, what is credited, what is tried.
//! - [`explain`]: why something is as it is for one person, and what would make it otherwise.
//! - [`replay`]: decisions taken again over a log, hashed and held against what was logged.
//! - [`whatif`]: who would have got an action over history.
//! - [`profile`], [`slots`], [`store`]: state per profile, and all of them.
//! - [`rollup`]: how often people reacted, and how many people, per quarter of an hour.
//! - [`job`]: what is to be done elsewhere because of an entry.
//! - [`command`], [`codec`]: how inputs and state are written down.
//!
//! # Invariants
//! - F-1: a profile equals the fold of its log in `(t, seq)` order under the plan in force.
//! - F-2: windows and funnels end at their exact millisecond, with no event arriving.
//! - P-1: one event sees one plan; slots are never reused.
//! - S-1 to S-4: see [`store`].

pub mod action;
pub mod audience;
pub mod codec;
pub mod command;
pub mod event;
pub mod experiment;
pub mod explain;
pub mod expr;
pub mod goal;
pub mod ids;
pub mod issue;
pub mod job;
pub mod machine;
pub mod paths;
pub mod plan;
pub mod profile;
pub mod replay;
pub mod rollup;
pub mod rule;
pub mod schema;
pub mod sketch;
pub mod slots;
pub mod store;
pub mod time;
pub mod traits;
pub mod value;
pub mod whatif;
