//! Configuration: defaults, then a TOML file, then the environment, then flags.
//!
//! * [`options`]: one struct per component.
//! * [`load`]: the layers, checked one value at a time so that every problem is reported at once.
//! * [`span`]: durations as text.

pub mod list;
mod load;
pub mod options;
pub mod span;
mod validate;

pub use load::{DEFAULTS, Problems};
pub use options::Config;
