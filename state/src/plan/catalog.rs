//! The durable state of all definitions: stable ids, slots that are never reused, versions, tokens.

use crate::ids::{ChannelSlot, DefId, Millis};
use crate::paths::PathTable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt;

/// The sorts of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A place where people are met.
    Channel,
    /// A credential of a channel, or of an operator.
    Token,
    /// An event.
    Event,
    /// What a channel says about the surroundings of its events.
    Context,
    /// The schema of the traits that identify sets.
    CustomTraits,
    /// A computed trait.
    ComputedTrait,
    /// An audience.
    Audience,
    /// One version of an action type.
    ActionType,
    /// An action.
    Action,
    /// A rule on a metric of a profile.
    Rule,
    /// A conversion goal, credited to actions.
    Goal,
    /// A frequency budget over several actions.
    Budget,
    /// An experiment: variants and a holdout.
    Experiment,
}

impl Kind {
    /// Every kind but tokens, in the order in which changes are told.
    pub const DEFINED: [Self; 12] = [
        Self::Channel,
        Self::Event,
        Self::Context,
        Self::CustomTraits,
        Self::ComputedTrait,
        Self::Audience,
        Self::ActionType,
        Self::Action,
        Self::Goal,
        Self::Rule,
        Self::Budget,
        Self::Experiment,
    ];

    /// The section of a catalog document that holds this kind.
    #[must_use]
    pub fn section(self) -> &'static str {
        match self {
            Self::Channel => "channels",
            Self::Token => "tokens",
            Self::Event => "events",
            Self::Context => "contexts",
            Self::CustomTraits => "customTraits",
            Self::ComputedTrait => "computedTraits",
            Self::Audience => "audiences",
            Self::ActionType => "actionTypes",
            Self::Action => "actions",
            Self::Rule => "rules",
            Self::Goal => "goals",
            Self::Budget => "budgets",
            Self::Experiment => "experiments",
        }
    }

    /// Whether its definitions have a key beside their name.
    pub(super) fn keyed(self) -> bool {
        matches!(
            self,
            Self::Channel | Self::ComputedTrait | Self::Audience | Self::Rule | Self::Goal | Self::Budget | Self::Experiment
        )
    }

    /// The code of what does not exist.
    #[must_use]
    pub fn not_found_code(self) -> &'static str {
        match self {
            Self::Context => "context_not_found",
            _ => self.not_found(),
        }
    }

    /// The code for a reference that leads nowhere.
    pub(super) fn not_found(self) -> &'static str {
        match self {
            Self::Channel => "channel_not_found",
            Self::Event => "event_not_found",
            Self::ComputedTrait => "computed_trait_not_found",
            Self::Audience => "audience_not_found",
            Self::ActionType => "action_type_not_found",
            Self::Action => "action_not_found",
            Self::Rule => "rule_not_found",
            Self::Goal => "goal_not_found",
            Self::Budget => "budget_not_found",
            Self::Experiment => "experiment_not_found",
            Self::Token | Self::Context | Self::CustomTraits => "not_found",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel => "channel",
            Self::Token => "token",
            Self::Event => "event",
            Self::Context => "context",
            Self::CustomTraits => "custom traits",
            Self::ComputedTrait => "computed trait",
            Self::Audience => "audience",
            Self::ActionType => "action type",
            Self::Action => "action",
            Self::Rule => "rule",
            Self::Goal => "goal",
            Self::Budget => "budget",
            Self::Experiment => "experiment",
        })
    }
}

/// Settings of the organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// For display.
    pub name: String,
    /// IANA zone name, known to the bundled database.
    pub timezone: String,
    /// Identify with traits where no schema is defined: false refuses with `traits_schema_missing`.
    pub traits_without_schema: bool,
    /// Public tokens must prove a known user id by HMAC.
    pub require_user_hash: bool,
    /// Signs webhooks and user hashes. Leaves the server on request only, never in an export.
    pub key: Option<[u8; 32]>,
    /// The key before it, while receivers change over to the new one: webhooks are signed with both.
    pub previous_key: Option<[u8; 32]>,
    /// The id type that makes a customer id.
    pub primary_id_type: String,
    /// Grows by one with every change of these settings.
    pub revision: u32,
}

impl Default for Organization {
    fn default() -> Self {
        Self {
            name: String::new(),
            timezone: "UTC".to_owned(),
            traits_without_schema: false,
            require_user_hash: false,
            key: None,
            previous_key: None,
            primary_id_type: "user_id".to_owned(),
            revision: 0,
        }
    }
}

/// One definition of any kind but tokens. Its slot is its place in the list of its kind.
///
/// What it says is kept as canonical JSON text (sorted keys, references replaced by ids), so the
/// stored form outlives every change of the types that compile it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Stable for ever: given by the document, or made from the kind and the natural key.
    pub id: DefId,
    /// For people. Events are tracked by it; contexts have the channel's key here.
    pub name: String,
    /// For references and paths of the API; empty for kinds without one. Action types have their version.
    pub key: String,
    /// Canonical JSON of the definition without id and structure.
    pub body: String,
    /// Canonical JSON of every structure there was, the newest last; the version counts from 1.
    pub structures: Vec<String>,
    /// Starts at 1 and grows by one with every change of this definition.
    pub revision: u32,
    /// The catalog version that brought it.
    pub created: u32,
    /// The catalog version that changed it last.
    pub changed: u32,
    /// Gone, or archived. The record stays, because history and other definitions may name it.
    pub removed: bool,
}

impl Definition {
    /// The structure version in force; 0 where there is no structure.
    #[must_use]
    pub fn version(&self) -> u32 {
        u32::try_from(self.structures.len()).unwrap_or(u32::MAX)
    }

    /// Canonical JSON of the structure in force; the empty list where there is none.
    #[must_use]
    pub fn structure(&self) -> &str {
        self.structures.last().map_or("[]", String::as_str)
    }

    /// The definition as JSON, without id and structure.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        // The text was written by this module from a value; it reads back.
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TokenKind {
    /// For browsers: anyone can read it.
    Public,
    /// For servers of the customer.
    Secret,
    /// For the admin API; belongs to no channel.
    Admin,
}

impl TokenKind {
    /// The kind as it stands in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Secret => "secret",
            Self::Admin => "admin",
        }
    }
}

/// A token, of which only the hash is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names the token without giving it away.
    pub id: DefId,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// Its first characters, at most 8 and at most half of it.
    pub prefix: String,
    /// What it may do.
    pub kind: TokenKind,
    /// Where its records come from; none for [`TokenKind::Admin`].
    pub channel: Option<ChannelSlot>,
    /// May bring history that is older than the allowed lateness.
    pub import: bool,
    /// The catalog version that brought it.
    pub created: u32,
}

/// SHA-256 of a token as presented.
#[must_use]
pub fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// All definitions of the organisation.
///
/// Stored whole with bincode, so there is no untagged, flattened or skipped field in it. A catalog is
/// a value: [`Catalog::apply`] and [`Catalog::remove`] give a new one and leave this one as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    pub(super) version: u32,
    pub(super) organization: Organization,
    pub(super) tokens: Vec<Token>,
    pub(super) channels: Vec<Definition>,
    pub(super) events: Vec<Definition>,
    pub(super) contexts: Vec<Definition>,
    pub(super) custom_traits: Vec<Definition>,
    pub(super) computed_traits: Vec<Definition>,
    pub(super) audiences: Vec<Definition>,
    pub(super) action_types: Vec<Definition>,
    pub(super) actions: Vec<Definition>,
    pub(super) rules: Vec<Definition>,
    pub(super) goals: Vec<Definition>,
    pub(super) budgets: Vec<Definition>,
    pub(super) experiments: Vec<Definition>,
    pub(super) paths: PathTable,
    /// When the versions came about that definitions were made or changed in, ascending.
    pub(super) times: Vec<(u32, Millis)>,
}

impl Default for Catalog {
    fn default() -> Self {
        let mut paths = PathTable::default();
        // What an open object holds undeclared at the root, which conditions on undeclared contexts read.
        paths.intern("");
        Self {
            version: 0,
            organization: Organization::default(),
            tokens: Vec::new(),
            channels: Vec::new(),
            events: Vec::new(),
            contexts: Vec::new(),
            custom_traits: Vec::new(),
            computed_traits: Vec::new(),
            audiences: Vec::new(),
            action_types: Vec::new(),
            actions: Vec::new(),
            rules: Vec::new(),
            goals: Vec::new(),
            budgets: Vec::new(),
            experiments: Vec::new(),
            paths,
            times: Vec::new(),
        }
    }
}

/// Why stored bytes are not a catalog that this build can read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not a catalog, or cut short.
    #[error("stored catalog is {len} bytes and does not start with its magic")]
    NotACatalog {
        /// Bytes at hand.
        len: usize,
    },
    /// Written by a newer build.
    #[error("stored catalog has format {found}, this build reads up to {max}")]
    Newer {
        /// The format found.
        found: u16,
        /// The newest known here.
        max: u16,
    },
    /// Written before the first release.
    #[error("stored catalog has format {found} of a development version, which this build no longer reads")]
    Older {
        /// The format found.
        found: u16,
    },
    /// The checksum does not match.
    #[error("stored catalog is corrupt: checksum {found:08x}, expected {expected:08x}")]
    Corrupt {
        /// What the bytes give.
        found: u32,
        /// What was written.
        expected: u32,
    },
    /// Right checksum, wrong content.
    #[error("stored catalog does not decode: {0}")]
    Malformed(#[from] bincode::Error),
}

const MAGIC: &[u8; 4] = b"LSCT";
const FORMAT: u16 = 2;
/// Catalogs past this size are refused on reading: 64 MiB.
const BYTES_MAX: u64 = 64 << 20;

impl Catalog {
    /// Grows by one with every change; 0 is the empty catalog.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Settings of the organisation.
    #[must_use]
    pub fn organization(&self) -> &Organization {
        &self.organization
    }

    /// All property paths ever named.
    #[must_use]
    pub fn paths(&self) -> &PathTable {
        &self.paths
    }

    /// Tokens in force.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// All definitions of a kind by slot, removed ones included. Empty for [`Kind::Token`].
    #[must_use]
    pub fn definitions(&self, kind: Kind) -> &[Definition] {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Token => &[],
            Kind::Event => &self.events,
            Kind::Context => &self.contexts,
            Kind::CustomTraits => &self.custom_traits,
            Kind::ComputedTrait => &self.computed_traits,
            Kind::Audience => &self.audiences,
            Kind::ActionType => &self.action_types,
            Kind::Action => &self.actions,
            Kind::Rule => &self.rules,
            Kind::Goal => &self.goals,
            Kind::Budget => &self.budgets,
            Kind::Experiment => &self.experiments,
        }
    }

    /// When a version came about: one that made a definition what it is, or brought it.
    #[must_use]
    pub fn time_of(&self, version: u32) -> Option<Millis> {
        let at = self.times.binary_search_by_key(&version, |(known, _)| *known).ok()?;
        Some(self.times[at].1)
    }

    /// With this signing key, if there is none yet: no webhook leaves unsigned.
    #[must_use]
    pub fn keyed(mut self, key: [u8; 32]) -> Self {
        self.organization.key.get_or_insert(key);
        self
    }

    /// Notes when this version came about, and forgets the times of versions that nothing refers to.
    #[must_use]
    pub fn dated(mut self, at: Millis) -> Self {
        if self.times.last().is_none_or(|(newest, _)| *newest < self.version) {
            self.times.push((self.version, at));
        }
        let all = Kind::DEFINED.iter().flat_map(|kind| self.definitions(*kind));
        let wanted: BTreeSet<u32> = all.flat_map(|known| [known.created, known.changed]).collect();
        self.times.retain(|(version, _)| *version == self.version || wanted.contains(version));
        self
    }

    /// The definitions of a kind that are in force, with their slots.
    pub fn live(&self, kind: Kind) -> impl Iterator<Item = (usize, &Definition)> {
        self.definitions(kind).iter().enumerate().filter(|(_, definition)| !definition.removed)
    }

    /// Bytes of the text of all definitions, removed ones and old structures included.
    pub(super) fn text_bytes(&self) -> usize {
        let all = [
            &self.channels,
            &self.events,
            &self.contexts,
            &self.custom_traits,
            &self.computed_traits,
            &self.audiences,
            &self.action_types,
            &self.actions,
            &self.rules,
            &self.goals,
            &self.budgets,
            &self.experiments,
        ];
        let bytes = |known: &Definition| known.body.len() + known.structures.iter().map(String::len).sum::<usize>();
        all.into_iter().flatten().map(bytes).sum()
    }

    pub(super) fn definitions_mut(&mut self, kind: Kind) -> &mut Vec<Definition> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Event => &mut self.events,
            Kind::Context => &mut self.contexts,
            Kind::CustomTraits => &mut self.custom_traits,
            Kind::ComputedTrait => &mut self.computed_traits,
            Kind::Audience => &mut self.audiences,
            Kind::ActionType => &mut self.action_types,
            Kind::Action => &mut self.actions,
            Kind::Rule => &mut self.rules,
            Kind::Goal => &mut self.goals,
            Kind::Budget => &mut self.budgets,
            Kind::Experiment => &mut self.experiments,
            Kind::Token => unreachable!("tokens are not definitions"),
        }
    }

    /// The catalog as bytes: magic `LSCT`, format u16, CRC32C u32 (both little endian), bincode.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        use bincode::Options;
        // Writing into memory cannot fail, and every type in here is one that bincode knows.
        let payload = options().with_no_limit().serialize(self).expect("catalog serialises into memory");
        let mut bytes = Vec::with_capacity(payload.len() + 10);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// Reads a catalog back from [`Catalog::to_bytes`].
    ///
    /// # Errors
    /// [`LoadError`]: not a catalog, of a newer format, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        use bincode::Options;
        let Some((head, payload)) = bytes.split_at_checked(10).filter(|(head, _)| head.starts_with(MAGIC)) else {
            return Err(LoadError::NotACatalog { len: bytes.len() });
        };
        let found = u16::from_le_bytes([head[4], head[5]]);
        if found < FORMAT {
            return Err(LoadError::Older { found });
        }
        if found > FORMAT {
            return Err(LoadError::Newer { found, max: FORMAT });
        }
        let expected = u32::from_le_bytes([head[6], head[7], head[8], head[9]]);
        let sum = crc32c::crc32c(payload);
        if sum != expected {
            return Err(LoadError::Corrupt { found: sum, expected });
        }
        Ok(options().deserialize(payload)?)
    }
}

fn options() -> impl bincode::Options {
    use bincode::Options;
    bincode::DefaultOptions::new().with_limit(BYTES_MAX)
}
