//! Definitions by REST over a real server: the rules of every endpoint, and their life while events flow.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dice.rs"]
mod dice;

mod cold;
mod lifecycle;
mod refresh;
mod rest;
mod rig;
mod rules;
