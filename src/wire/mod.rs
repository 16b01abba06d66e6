//! Bytes to frames and back, pure: no sockets, no clock, no engine.
//!
//! Client frames are parsed in one pass over borrowed text; server frames are written straight into a
//! string. The shapes are drawn in `docs/protocol.md`.

pub mod attractify;
pub mod codec;
pub mod frame;
pub mod limits;
pub mod rejection;

pub use rejection::Rejection;
