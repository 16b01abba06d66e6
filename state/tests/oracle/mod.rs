//! The rig that drives a definition like the engine does, the oracles, and the cases.

mod audience_cases;
mod chains;
mod conditions;
mod members;
mod names;
mod random;
mod rig;
mod sim;
mod trait_cases;
mod values;
