//! Identifiers, times and slots as newtypes, so that two integers cannot be swapped.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub i64);

impl Millis {
    /// Before every instant that a profile can see.
    pub const MIN: Self = Self(i64::MIN);
    /// After every instant that a profile can see: "never".
    pub const MAX: Self = Self(i64::MAX);

    /// This instant moved by `ms`, saturating at the ends of the range.
    #[must_use]
    pub fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// This instant moved back by `ms`, saturating at the ends of the range.
    #[must_use]
    pub fn minus(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }
}

/// Position in the organisation's log: strictly increasing, assigned when the journal takes the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// The place of a log entry in the total order: event time first, then log position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment {
    /// Effective event time.
    pub t: Millis,
    /// Log position.
    pub seq: Seq,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                uuid::Uuid::from_u128(self.0).fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid::Uuid::parse_str(text).map(|id| Self(id.as_u128()))
            }
        }
    };
}

uuid_id!(
    /// A profile. Minted at the edge (UUID version 7) and handed in with the command.
    ProfileId
);
uuid_id!(
    /// Any definition of the catalog: event, trait, audience, action type, action, token.
    DefId
);

macro_rules! slot {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $int);

        impl $name {
            /// The slot as an index into a dense table.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

// Slots are handed out once by the catalog and never reused, so state that is keyed by a slot
// survives every plan swap without being remapped.
slot!(
    /// An event definition.
    EventSlot, u32
);
slot!(
    /// A computed trait.
    TraitSlot, u32
);
slot!(
    /// An audience.
    AudienceSlot, u32
);
slot!(
    /// An action.
    ActionSlot, u32
);
slot!(
    /// A rule.
    RuleSlot, u32
);
slot!(
    /// A conversion goal.
    GoalSlot, u32
);
slot!(
    /// A frequency budget.
    BudgetSlot, u32
);
slot!(
    /// An experiment.
    ExperimentSlot, u32
);
slot!(
    /// A channel.
    ChannelSlot, u16
);
slot!(
    /// A dotted property path (`page.url`) in the catalog's append-only path table. Events, contexts
    /// and custom traits share the table.
    PathId, u32
);
