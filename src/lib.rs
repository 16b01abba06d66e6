//! Lodestone: a real-time customer data platform and action engine.
//!
//! This crate is the edge: sockets, clocks, threads and disks around the pure machine of
//! `lodestone-state`. Data flows one way:
//!
//! ```text
//! net (sockets, HTTP) → wire (bytes ↔ frames) → session (one connection) → engine (stamp, journal, apply)
//!                                                                               │
//! net ← session ← push (sessions of a profile) ← effects ───────────────────────┘
//! ```
//!
//! - [`net`] listens, upgrades, serves pages and probes; [`wire`] is the protocol's frames, pure.
//! - [`session`] is one connection as a state machine, pure; [`push`] knows which sessions a profile has.
//! - [`engine`] takes commands, [`journal`] makes them durable, [`storage`] holds checkpoints.
//! - [`outbox`] is what follows elsewhere, until it is done; [`hooks`] calls webhooks.
//! - [`runtime`] is the clock and the timers; [`telemetry`] names every metric; [`config`] every option.
//! - [`client`] is the other end of the socket, for replay and the demo's shoppers; [`cli`] is the command line.

pub mod cli;
pub mod client;
pub mod config;
pub mod engine;
pub mod hooks;
pub mod journal;
pub mod net;
pub mod outbox;
pub mod push;
pub mod runtime;
pub mod session;
pub mod storage;
pub mod telemetry;
pub mod wire;
