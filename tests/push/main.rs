//! Actions over real sockets, with a clock that the test sets: the acceptance list from T-59 on, frequency
//! budgets, and how frames about actions leave.

#[path = "../common/mod.rs"]
mod common;

mod budgets;
mod caps;
mod pace;
mod people;
mod rig;
mod rules;
mod targeting;
