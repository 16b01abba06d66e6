//! Documents applied, refused, exported, removed from; plans with their indexes.

mod apply;
mod budgets;
mod fixtures;
mod plan;
mod random;
mod refuse;
mod remove;
mod trials;
