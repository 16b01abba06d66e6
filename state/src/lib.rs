//! The state machine of Lodestone, pure: no IO, clock, randomness or async.
pub mod event;
pub mod expr;
pub mod ids;
pub mod issue;
pub mod paths;
pub mod schema;
pub mod time;
pub mod value;
