//! What a session's subscriptions hold, and what to send when something has changed.
//!
//! A [`LiveSet`] belongs to one session: it knows the session's subscriptions, and for every action that
//! is due whether it is live (sent and standing), closed (accepted, declined or hidden, but still due) or
//! waiting behind a better one in its slot. [`LiveSet::evaluate`] brings it up to date and returns the
//! difference, one frame per action at most, so what became true and false again within one input is
//! never seen.
//!
//! Choices that the wire leaves open: a closed action keeps its slot until it is no longer due, so that
//! dismissing one banner does not bring up the next; an action with `onEvent` comes up only in the input
//! of such an event, and then stays while the rest of its targeting holds.

mod live;
mod places;
mod turn;

pub use live::LiveSet;

use super::definition::ActionDef;
use super::targeting::{Person, Reason};
use super::totals::Totals;
use crate::event::Props;
use crate::ids::{ActionSlot, ChannelSlot, DefId, EventSlot, Millis};
use crate::value::Value;
use compact_str::CompactString;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use smallvec::SmallVec;

/// Subscriptions of one session.
pub const SUBSCRIPTIONS_MAX: usize = 16;

/// An action with its place in the catalog.
#[derive(Clone, Copy, Debug)]
pub struct ActionRef<'a> {
    /// Its slot.
    pub slot: ActionSlot,
    /// Its id.
    pub id: DefId,
    /// Changes whenever the definition or its type does: a live delivery is then sent again.
    pub version: u64,
    /// The definition.
    pub def: &'a ActionDef,
}

/// The actions of a plan.
pub trait Actions {
    /// The action in a slot; `None` if it was deleted.
    fn action(&self, slot: ActionSlot) -> Option<ActionRef<'_>>;
    /// All that run in a channel, whatever their state.
    fn of_channel(&self, channel: ChannelSlot) -> &[ActionSlot];
}

/// Everything that an evaluation reads, as of one instant.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The actions.
    pub actions: &'a dyn Actions,
    /// The person behind the session.
    pub person: &'a dyn Person,
    /// What everybody has reacted.
    pub totals: &'a dyn Totals,
    /// Now.
    pub now: Millis,
}

/// Which actions an input can have touched.
#[derive(Clone, Copy, Debug)]
pub enum Candidates<'a> {
    /// All of the channel, and all that the session holds.
    All,
    /// These, and whatever shares a slot with them.
    These(&'a [ActionSlot]),
}

/// Why actions are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What happened, in the word that the client gets.
    pub cause: Cause,
    /// Which actions it can have touched.
    pub candidates: Candidates<'a>,
    /// The event that is being applied, if the input is one.
    pub event: Option<EventSlot>,
}

/// Why an action comes up, or is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An event that the action waits for.
    Event,
    /// A trait that it reads.
    Trait,
    /// A membership.
    Audience,
    /// The passing of time: a date, an hour, a cap that opens again.
    Time,
    /// A definition was changed.
    Config,
    /// Another identity, or a merge.
    Identity,
    /// The connection's context.
    Context,
}

/// Why an action is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeReason {
    /// A cap is reached.
    Capped,
    /// It does not run any more.
    Inactive,
    /// Its time is over.
    Expired,
    /// A condition, its channel, type or tags.
    Targeting,
    /// The person has left its audiences.
    Audience,
    /// The session acts for someone else now.
    IdentityChanged,
    /// The person is locked.
    Locked,
    /// The action is gone.
    Deleted,
    /// A better one took its slot.
    Superseded,
}

impl RevokeReason {
    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Capped => "capped",
            Self::Inactive => "inactive",
            Self::Expired => "expired",
            Self::Targeting => "targeting",
            Self::Audience => "audience",
            Self::IdentityChanged => "identity_changed",
            Self::Locked => "locked",
            Self::Deleted => "deleted",
            Self::Superseded => "superseded",
        }
    }
}

impl Cause {
    /// The word on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Trait => "trait",
            Self::Audience => "audience",
            Self::Time => "time",
            Self::Config => "config",
            Self::Identity => "identity",
            Self::Context => "context",
        }
    }
}

impl From<Reason> for RevokeReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::State => Self::Inactive,
            Reason::Time | Reason::QuietHours(_) => Self::Expired,
            Reason::Audience => Self::Audience,
            Reason::Capped { .. } | Reason::Budget(_) => Self::Capped,
            Reason::Channel | Reason::TestUser | Reason::Traits | Reason::Context | Reason::Withheld => Self::Targeting,
        }
    }
}

/// Which actions a subscription or poll wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Exact name of the type.
    pub type_name: Option<CompactString>,
    /// Exact version of the type.
    pub version: Option<u32>,
    /// All of them must be on the action.
    pub tags: Vec<CompactString>,
}

impl Filter {
    /// Whether an action is of the kind wanted.
    #[must_use]
    pub fn matches(&self, def: &ActionDef) -> bool {
        self.type_name.as_ref().is_none_or(|name| *name == def.type_name)
            && self.version.is_none_or(|version| version == def.type_version)
            && self.tags.iter().all(|tag| def.tags.contains(tag))
    }
}

/// One subscription of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The client's name for it.
    pub sub: CompactString,
    /// What it wants.
    pub filter: Filter,
    /// Its own context; `None` for the connection's.
    pub context: Option<Props>,
}

/// The session has [`SUBSCRIPTIONS_MAX`] subscriptions already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a session has at most {SUBSCRIPTIONS_MAX} subscriptions")]
pub struct TooMany;

/// An action as the client gets it. Serialises as on the wire.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveredAction {
    /// The delivery: the same as long as it stands.
    pub delivery_id: u128,
    /// The action.
    pub id: DefId,
    /// Name of its type.
    pub type_name: CompactString,
    /// Version of its type.
    pub type_version: u32,
    /// Its tags.
    pub tags: Box<[CompactString]>,
    /// Its properties, placeholders filled.
    pub properties: Vec<(CompactString, Value)>,
}

impl Serialize for DeliveredAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Properties<'a>(&'a [(CompactString, Value)]);
        impl Serialize for Properties<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(self.0.len()))?;
                self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, &value.to_json()))?;
                map.end()
            }
        }
        let mut object = serializer.serialize_struct("DeliveredAction", 6)?;
        object.serialize_field("deliveryId", &delivery_text(self.delivery_id))?;
        object.serialize_field("id", &self.id.to_string())?;
        object.serialize_field("type", &self.type_name)?;
        object.serialize_field("version", &self.type_version)?;
        object.serialize_field("tags", &self.tags)?;
        object.serialize_field("properties", &Properties(&self.properties))?;
        object.end()
    }
}

/// An action that a poll or a new subscription gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Offered {
    /// Which action.
    pub slot: ActionSlot,
    /// What to send.
    pub action: DeliveredAction,
    /// The delivery begins with this: one `delivered` is to be recorded for it.
    pub first: bool,
}

/// Names of subscriptions; nearly always one.
pub type Subs = SmallVec<[CompactString; 1]>;

/// One frame to send.
#[derive(Clone, Debug, PartialEq)]
pub enum PushOp {
    /// The action came up for these subscriptions.
    Enter {
        /// Which action.
        slot: ActionSlot,
        /// For whom.
        subs: Subs,
        /// What to send.
        action: DeliveredAction,
        /// The delivery begins with this: one `delivered` is to be recorded for it.
        first: bool,
    },
    /// What it says has changed while it stands: same delivery, no `delivered`.
    Update {
        /// Which action.
        slot: ActionSlot,
        /// For whom.
        subs: Subs,
        /// What to send.
        action: DeliveredAction,
    },
    /// It is due no longer.
    Revoke {
        /// Which action.
        slot: ActionSlot,
        /// Its id; the definition may be gone.
        id: DefId,
        /// For whom.
        subs: Subs,
        /// The delivery that ends.
        delivery_id: u128,
        /// Why.
        reason: RevokeReason,
    },
}

/// A delivery id as the client sees it: `im_` and 32 hexadecimal digits.
#[must_use]
pub fn delivery_text(delivery_id: u128) -> String {
    format!("im_{delivery_id:032x}")
}

/// The delivery id of a client's text; `None` if it is none of ours.
#[must_use]
pub fn parse_delivery(text: &str) -> Option<u128> {
    let digits = text.strip_prefix("im_")?;
    let plain = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u128::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests;
