//! Webhooks on the wire: how a request is signed, where it may go, and what comes back.
//!
//! * [`sign`]: the signature headers, with one key or with two during a rotation.
//! * [`guard`]: which addresses may be called, checked where the connection is made.
//! * [`client`]: one POST and its answer, both bounded in time and size.
//! * `answer`: the answer as the client of an act gets it.
//! * `pool`: the client of the process, and how many calls may be under way for acts.

mod answer;
pub mod client;
pub mod guard;
mod pool;
pub mod sign;

pub use answer::Answer;
pub use client::{ANSWER_BYTES_MAX, Call, Client, Fault, Reply};
pub use guard::Allowed;
pub use pool::{Hooks, Options};
