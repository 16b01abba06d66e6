//! Which sessions a profile has, and what waits to be sent to them.
//!
//! - [`hub`] knows every session: by id, by profile, by resume token.
//! - [`session`] is one of them: its subscriptions with the actions live on each, and its outbox.
//! - [`outbox`] is what waits to be sent to it, and how fast that may leave.
//! - [`frame`] is what the outbox holds.

mod bucket;
pub mod frame;
pub mod hub;
mod index;
pub mod outbox;
pub mod session;

pub use frame::PushFrame;
pub use hub::Hub;
pub use session::Session;
