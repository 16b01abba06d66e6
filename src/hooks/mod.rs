//! Webhooks on the wire: how a request is signed, where it may go, and what comes back.
//!
//! * [`sign`]: the signature headers, with one key or with two during a rotation.
//! * [`guard`]: which addresses may be called, checked where the connection is made.
//! * [`client`]: one POST and its answer, both bounded in time and size.

pub mod client;
pub mod guard;
pub mod sign;

pub use client::{ANSWER_BYTES_MAX, Call, Client, Fault, Reply};
pub use guard::Allowed;
