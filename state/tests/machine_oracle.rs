//! Traits and audiences: the acceptance items of the specification as cases, and random histories held
//! against a naive oracle that recomputes everything from the whole list of events.
//!
//! Items T-31, T-32, T-33, T-35, T-57 and T-58 are about the catalog and the engine and are proven there.

mod oracle;
