//! What runs beside the connections: the clock, the timer thread and the checkpointer.

pub mod clock;
pub mod timers;
