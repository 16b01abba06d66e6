//! The rig that drives a definition like the engine does, the oracles, and the cases.

mod audience_cases;
mod names;
mod rig;
mod trait_cases;
