//! What the server tells about itself: metrics and logs. Neither ever holds personal data: no user id,
//! no token, no body.

pub mod metrics;
pub mod status;
pub mod tracing;
