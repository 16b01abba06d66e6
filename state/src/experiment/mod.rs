//! Experiments: variants and a holdout, assigned by a salted hash, and what became of everybody.
//!
//! An experiment is about one or more actions. Whoever is due for one of them while it runs is in one of its
//! arms: a variant, which says something else in place of the action's own properties, or the holdout, which
//! gets nothing. The first time that somebody would be, or is, delivered to is their *exposure*; from then on
//! the conversions of the experiment's goal count for the arm of that exposure, whatever happens later.
//!
//! * `definition` compiles an experiment, `assign` says who is in which arm.
//! * [`TrialState`] is what one profile holds of one experiment, a fold of its log (F-1).
//! * [`stats`] compares arms so that looking often does no harm.

mod assign;
mod definition;
mod state;
pub mod stats;

pub use definition::{ExperimentDef, VARIANTS_MAX, Variant};
pub use state::{Exposure, TrialState};
