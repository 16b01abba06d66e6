//! Rules over whole profiles: the acceptance items of the specification as cases, and random histories held
//! against a naive oracle that recomputes every metric and every firing from the full list of events.

mod cases;
mod driver;
mod oracle;
mod random;
