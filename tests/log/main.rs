//! What leaves a log, and what is told apart again: erasures, the undoing of merges, history that is not
//! kept for ever; over HTTP, and across crashes at any moment.

#[path = "../common/mod.rs"]
mod common;

mod crash;
mod erase;
mod identity;
mod retention;
mod rig;
mod undo;
