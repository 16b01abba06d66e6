//! What a profile's log is made of: occurrences with their typed properties, and entries.

use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, EventSlot, Millis, Moment, PathId, ProfileId, Seq};
use crate::value::Value;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// Typed properties, sorted by path. An absent path is absent, there is no null at the top.
///
/// A document has at most 256 keys, and usually fewer than ten, so a sorted slice beats a hash map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Props(Box<[(PathId, Value)]>);

impl Props {
    /// Sorts by path; of two values for one path the later wins.
    #[must_use]
    pub fn new(mut pairs: Vec<(PathId, Value)>) -> Self {
        pairs.sort_by_key(|(path, _)| *path);
        pairs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self(pairs.into_boxed_slice())
    }

    /// The value at `path`, if present.
    #[must_use]
    pub fn get(&self, path: PathId) -> Option<&Value> {
        if self.0.len() <= 8 {
            return self.0.iter().find(|(p, _)| *p == path).map(|(_, v)| v);
        }
        self.0.binary_search_by_key(&path, |(p, _)| *p).ok().map(|i| &self.0[i].1)
    }

    /// All pairs in path order.
    pub fn iter(&self) -> impl Iterator<Item = &(PathId, Value)> {
        self.0.iter()
    }

    /// Whether there is nothing here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, given up.
    #[must_use]
    pub fn into_vec(self) -> Vec<(PathId, Value)> {
        self.0.into_vec()
    }
}

/// One event as the machine sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Which definition.
    pub event: EventSlot,
    /// The structure version that validated it.
    pub version: u32,
    /// Where it came from; always the token's channel.
    pub channel: ChannelSlot,
    /// Cast properties.
    pub props: Props,
    /// Cast context.
    pub context: Props,
}

/// What happened to a reaction's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reaction {
    /// The push reached the client.
    Delivered,
    /// The client displayed it.
    Shown,
    /// The client took it away.
    Hidden,
    /// The person said no.
    Declined,
    /// The person said yes.
    Accepted,
}

/// One entry of a profile's log. `(t, seq)` is the total order of everything about one profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Effective event time and log position.
    pub moment: Moment,
    /// Arrival.
    pub at: Millis,
    /// The id under which it arrived.
    pub user_id: CompactString,
    /// The client's message id, if it gave one.
    pub message_id: Option<CompactString>,
    /// The event's own id on the wire (minted at the edge).
    pub id: u128,
    /// What it was.
    pub kind: EntryKind,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A tracked event.
    Event(Occurrence),
    /// An identity was asserted: what it is now, what the custom traits became, whom it absorbed.
    Identified(Identified),
    /// A reaction to an action.
    Reacted(Reacted),
}

/// An identify as it is logged: outcomes, so that replay re-applies and does not re-decide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Identified {
    /// The identities that the profile gained or that became known.
    pub identities: Vec<Identity>,
    /// The custom traits became exactly this.
    pub custom: Option<Props>,
    /// Profiles that were absorbed; their older entries stand under their own ids in history.
    pub absorbed: Vec<ProfileId>,
}

/// A reaction as it is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reacted {
    /// To which action.
    pub action: ActionSlot,
    /// What the person did.
    pub reaction: Reaction,
    /// Where.
    pub channel: ChannelSlot,
    /// Which delivery, if the client named one.
    pub delivery: Option<u128>,
    /// A staging reaction of a test user: excluded from caps.
    pub test: bool,
    /// Sent along by the client, as JSON text.
    pub properties: Option<CompactString>,
}

/// One id of a person in one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Where it was seen.
    pub channel: ChannelSlot,
    /// The kind of id: `anonymous_id`, `user_id`, `email`, …
    pub kind: CompactString,
    /// The id itself.
    pub user_id: CompactString,
    /// Goes from true to false only.
    pub is_anonymous: bool,
    /// First seen.
    pub created_at: Millis,
}

/// A membership change, at the exact time it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipChange {
    /// Which audience.
    pub audience: AudienceSlot,
    /// Entered, or left.
    pub entered: bool,
    /// When it took effect.
    pub t: Millis,
    /// Log position of the input that caused it; for a timer, of the last input before it.
    pub seq: Seq,
}
