//! What a profile's log is made of: occurrences with their typed properties, and entries.

use crate::expr::PathRef;
use crate::ids::{
    ActionSlot, AudienceSlot, ChannelSlot, EventSlot, ExperimentSlot, Millis, Moment, PathId, ProfileId, RuleSlot, Seq,
};
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
    /// The rules and actions whose effect this event is, outermost first; empty for what a client sent.
    pub chain: Box<[Link]>,
}

/// One step of the way by which an event came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// A rule emitted it.
    Rule(RuleSlot),
    /// A hook of an action tracked it.
    Action(ActionSlot),
}

/// An event that is the effect of so many others in a row is refused: a circle of rules and hooks ends.
pub const CHAIN_MAX: usize = 8;

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
    /// It would have been delivered, but an experiment holds it back from this person.
    Withheld,
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

impl Entry {
    /// What the custom traits became by this entry, all of them, if it set them all.
    #[must_use]
    pub fn custom(&self) -> Option<&Props> {
        self.kind.custom()
    }

    /// Whether the entry can leave the log for its age alone: who a person is and was merged with stays,
    /// and what set custom traits stays until something later did.
    #[must_use]
    pub fn ages(&self) -> bool {
        match &self.kind {
            EntryKind::Identified(identified) => {
                identified.custom.is_none() && identified.identities.is_empty() && identified.absorbed.is_empty()
            }
            EntryKind::Fired(fired) => fired.attributes.is_empty(),
            EntryKind::Event(_) | EntryKind::Reacted(_) | EntryKind::Erased(_) => true,
            EntryKind::Split(_) => false,
        }
    }

    /// Whether all that the entry did was to set custom traits: it says nothing more once something later set
    /// them.
    #[must_use]
    pub fn only_sets_custom(&self) -> bool {
        match &self.kind {
            EntryKind::Identified(identified) => {
                identified.custom.is_some() && identified.identities.is_empty() && identified.absorbed.is_empty()
            }
            EntryKind::Fired(fired) => !fired.attributes.is_empty(),
            EntryKind::Event(_) | EntryKind::Reacted(_) | EntryKind::Erased(_) | EntryKind::Split(_) => false,
        }
    }

    /// Whether the entry belongs to whom the id belongs to under which it arrived. The others say how the
    /// profile itself came to be as it is.
    #[must_use]
    pub fn is_of_its_id(&self) -> bool {
        match &self.kind {
            EntryKind::Event(_) | EntryKind::Reacted(_) | EntryKind::Fired(_) => true,
            EntryKind::Identified(identified) => identified.absorbed.is_empty(),
            EntryKind::Erased(_) | EntryKind::Split(_) => false,
        }
    }
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
    /// A rule fired.
    Fired(Fired),
    /// Earlier entries were taken out of the log.
    Erased(Erased),
    /// A merge was undone: a part of the log went back to the profile that it belonged to.
    Split(Split),
}

impl EntryKind {
    /// What the custom traits became, all of them, if this set them all.
    #[must_use]
    pub fn custom(&self) -> Option<&Props> {
        match self {
            Self::Identified(identified) => identified.custom.as_ref(),
            Self::Split(split) => Some(&split.kept),
            Self::Event(_) | Self::Reacted(_) | Self::Fired(_) | Self::Erased(_) => None,
        }
    }

    /// Whether this set any custom trait.
    #[must_use]
    pub fn sets_custom(&self) -> bool {
        matches!(self, Self::Fired(fired) if !fired.attributes.is_empty()) || self.custom().is_some()
    }
}

/// An identify as it is logged: outcomes, so that replay re-applies and does not re-decide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Identified {
    /// The identities that the profile gained or that became known.
    pub identities: Vec<Identity>,
    /// The custom traits became exactly this.
    pub custom: Option<Props>,
    /// Profiles that were absorbed; their older entries stand under their own ids in history.
    pub absorbed: Vec<Absorbed>,
    /// What the custom traits would have become without what the absorbed brought along; left out where
    /// nobody was absorbed. What undoing the merge starts from.
    pub own: Option<Props>,
}

/// A profile at the moment when it was merged into another: what undoing the merge gives back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Absorbed {
    /// The profile that went.
    pub profile: ProfileId,
    /// The profile that it went into.
    pub into: ProfileId,
    /// When it was made; without those that it had absorbed itself.
    pub born: Millis,
    /// All its identities, with those of whom it had absorbed itself.
    pub identities: Vec<Identity>,
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
    /// The client's context at the time, as far as it fits its definition.
    pub context: Props,
    /// The arm of the experiment that the person saw, or was held back by.
    pub variant: Option<Arm>,
    /// What a blocking hook answered, as JSON text: a repeat gets the same answer.
    pub result: Option<CompactString>,
}

impl Reacted {
    /// A reaction without anything beside it.
    #[must_use]
    pub fn bare(action: ActionSlot, reaction: Reaction, channel: ChannelSlot) -> Self {
        Self {
            action,
            reaction,
            channel,
            delivery: None,
            test: false,
            properties: None,
            context: Props::default(),
            variant: None,
            result: None,
        }
    }
}

/// What an experiment does with a person. Logged, so that no later edit changes what somebody saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Which experiment.
    pub experiment: ExperimentSlot,
    /// Place of the variant in its definition; [`Arm::HOLDOUT`] for those who are held back.
    pub variant: u16,
}

impl Arm {
    /// The holdout's place among the variants.
    pub const HOLDOUT: u16 = u16::MAX;

    /// Whether the action is held back.
    #[must_use]
    pub fn is_holdout(self) -> bool {
        self.variant == Self::HOLDOUT
    }
}

/// A rule that fired, as it is logged. The marker and what follows are one record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fired {
    /// Which rule.
    pub rule: RuleSlot,
    /// How.
    pub what: Firing,
    /// What the rule remembers of it beside its time: the multiple, or the first instant of the period,
    /// that it fired for; 0 where neither counts.
    pub marker: i64,
    /// The metric at that moment, if it had a value.
    pub metric: Option<Value>,
    /// Custom traits that became exactly this, or went.
    pub attributes: Box<[(PathRef, Option<Value>)]>,
    /// How it came about: the chain of the event that made it fire, if one did.
    pub chain: Box<[Link]>,
    /// Where events that it emits are filed: the channel of what made it fire.
    pub channel: ChannelSlot,
    /// The context of the event that made it fire, if it emits any.
    pub context: Props,
}

/// How a rule fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Firing {
    /// Its condition was met.
    Met,
    /// Its condition had been met before it was defined.
    Backfill,
    /// It counts as fired and nothing follows: it had been met before it was defined and asks for silence,
    /// or the event that met it is its own effect.
    Quiet,
    /// Its metric fell below: it may fire again, and what it held is taken back.
    Cleared,
}

/// Entries taken out of the log, as it is logged. What stays behind says nothing about a person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Erased {
    /// Which ones; of the profile itself or of those it absorbed.
    pub moments: Vec<Moment>,
    /// All that were older than this left as well, because history is not kept for ever; what they said of
    /// identities and custom traits stays.
    pub before: Option<Millis>,
    /// What of the entries in `moments` was counted beyond the profile.
    pub reactions: Vec<Uncounted>,
    /// Why, in the words of whoever asked for it.
    pub reason: Option<CompactString>,
}

/// A reaction that left the log, for the counts that all profiles share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uncounted {
    /// In whose log it was written.
    pub profile: ProfileId,
    /// Its place in the log.
    pub moment: Moment,
    /// What it was, without what it said: no delivery, properties, context or result.
    pub reacted: Reacted,
}

/// An undone merge, as it is logged with the profile that stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The profile that comes back.
    pub profile: ProfileId,
    /// What it had absorbed itself before it was absorbed: goes with it.
    pub absorbed: Vec<ProfileId>,
    /// Its identities.
    pub identities: Vec<Identity>,
    /// Its custom traits.
    pub custom: Props,
    /// What the profile that stays keeps of the custom traits.
    pub kept: Props,
    /// Entries that came in since the merge by one of its ids: theirs from now on.
    pub moments: Vec<Moment>,
    /// When it was made; without those that it had absorbed itself.
    pub born: Millis,
    /// The oldest profile that it is made of.
    pub root: (Millis, ProfileId),
    /// The oldest profile that the one that stays is made of.
    pub kept_root: (Millis, ProfileId),
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
    /// Since when the membership is, or had been: earlier than `t` where it began by a definition that would have
    /// had them before.
    pub since: Millis,
    /// Log position of the input that caused it; for a timer, of the last input before it.
    pub seq: Seq,
    /// Why.
    pub cause: MoveCause,
}

/// Why a membership began or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum MoveCause {
    /// An entry of the log: an event, an identify, a reaction, a rule; or being made for one.
    Input = 1,
    /// Time passed: what was due took effect, before any entry of that instant.
    Time = 2,
    /// The whole log was folded again: definitions changed, profiles were merged or split, entries left the log.
    Fold = 3,
}

impl MoveCause {
    /// The cause that this number stands for in stored rows.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Input, Self::Time, Self::Fold].into_iter().find(|cause| *cause as u8 == byte)
    }

    /// As answers say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Time => "time",
            Self::Fold => "fold",
        }
    }
}
