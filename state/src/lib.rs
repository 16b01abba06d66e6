//! The state machine of Lodestone, pure: no IO, clock, randomness or async.
pub mod action;
pub mod audience;
pub mod event;
pub mod expr;
pub mod ids;
pub mod issue;
pub mod paths;
pub mod schema;
pub mod time;
pub mod traits;
pub mod value;
