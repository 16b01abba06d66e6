//! Definitions by REST over a real server: the rules of every endpoint, and their life while events flow.

#[path = "../common/mod.rs"]
mod common;

mod cold;
mod lifecycle;
mod refresh;
mod rest;
mod rig;
mod rules;
