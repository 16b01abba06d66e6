//! Audiences: who belongs to them now, kept up event by event and to the millisecond.
//!
//! An audience asks for counts of events ([`count`]), for chains of events ([`funnel`]), for conditions on
//! traits, and for a known identity; membership is all of it together ([`member`]).

pub mod count;
pub mod definition;
pub mod funnel;
pub mod inspect;
mod lent;
pub mod matcher;
pub mod member;
mod replay;
mod run;

pub use count::{CountDef, CountState, Window};
pub use definition::AudienceDef;
pub use funnel::{Anchor, ChainDef, ChainState, GuardDef, StepDef};
pub use inspect::{Attempt, Footprint, Noted};
pub use lent::Lent;
pub use matcher::Matcher;
pub use member::{AudienceState, Fed};
