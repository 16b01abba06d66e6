//! From what people write (an id, a key, a name) to a slot.

use super::catalog::{Catalog, Definition, Kind, Token, token_hash};
use crate::ids::{
    ActionSlot, AudienceSlot, BudgetSlot, ChannelSlot, DefId, EventSlot, ExperimentSlot, GoalSlot, RuleSlot, TraitSlot,
};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Namespace of every id that is made from a natural key. Fixed for ever: changing it would give every
/// definition of every catalog without ids a new identity.
const NAMESPACE: Uuid = Uuid::from_u128(0x5d0c_7a3e_94b1_4f6d_8a27_1e6b_c05f_93d4);

/// The id of a definition that brings none: UUID version 5 of its kind and natural key.
pub(super) fn made_id(kind: Kind, natural: &str) -> DefId {
    let name = format!("{}/{natural}", kind.section());
    DefId(Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_u128())
}

/// Why a reference leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing has this id, key or name.
    Unknown,
    /// So many have this name.
    Ambiguous(usize),
}

/// Finds definitions of one kind by what people write. Made from a catalog in one pass.
pub(super) struct Finder<'a> {
    kind: Kind,
    ids: HashMap<DefId, usize>,
    keys: HashMap<&'a str, usize>,
    names: HashMap<&'a str, (usize, usize)>,
    /// What was removed; of several the last.
    removed_ids: HashMap<DefId, usize>,
    removed_names: HashMap<&'a str, usize>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(catalog: &'a Catalog, kind: Kind) -> Self {
        let mut finder = Self {
            kind,
            ids: HashMap::new(),
            keys: HashMap::new(),
            names: HashMap::new(),
            removed_ids: HashMap::new(),
            removed_names: HashMap::new(),
        };
        let keyed = kind.keyed();
        let mut versions: HashMap<&str, u32> = HashMap::new();
        for (slot, known) in catalog.definitions(kind).iter().enumerate() {
            if known.removed {
                finder.removed_ids.insert(known.id, slot);
                finder.removed_names.insert(&known.name, slot);
                if keyed {
                    finder.removed_names.insert(&known.key, slot);
                }
                continue;
            }
            finder.ids.entry(known.id).or_insert(slot);
            if keyed {
                finder.keys.entry(&known.key).or_insert(slot);
            }
            let (named, count) = finder.names.entry(&known.name).or_insert((slot, 0));
            *count += 1;
            if kind == Kind::ActionType {
                // Versions of one type share its name, and the newest is meant.
                let version = known.key.parse().unwrap_or(0);
                let newest = versions.entry(&known.name).or_insert(version);
                if version >= *newest {
                    (*newest, *named, *count) = (version, slot, 1);
                }
            }
        }
        finder
    }

    /// The slot of the definition in force that `text` names by id, key or name, tried in that order.
    pub(super) fn seek(&self, text: &str) -> Result<usize, Missing> {
        let by_id = || self.ids.get(&text.parse().ok()?).copied();
        if let Some(slot) = by_id().or_else(|| self.keys.get(text).copied()) {
            return Ok(slot);
        }
        match self.names.get(text) {
            None => Err(Missing::Unknown),
            Some((slot, 1)) => Ok(*slot),
            Some((slot, _)) if self.kind == Kind::ActionType => Ok(*slot),
            Some((_, count)) => Err(Missing::Ambiguous(*count)),
        }
    }

    /// As [`Finder::seek`], and where nothing in force answers, the last one that was removed: what
    /// depends on it stays compiled and sees it as absent.
    pub(super) fn seek_any(&self, text: &str) -> Option<usize> {
        let removed_id = || self.removed_ids.get(&text.parse().ok()?).copied();
        self.seek(text).ok().or_else(removed_id).or_else(|| self.removed_names.get(text).copied())
    }
}

/// Finds definitions of every kind.
pub(super) struct Finders<'a>(BTreeMap<Kind, Finder<'a>>);

impl<'a> Finders<'a> {
    pub(super) fn new(catalog: &'a Catalog) -> Self {
        Self(Kind::DEFINED.into_iter().map(|kind| (kind, Finder::new(catalog, kind))).collect())
    }

    pub(super) fn seek(&self, kind: Kind, text: &str) -> Result<usize, Missing> {
        self.0.get(&kind).map_or(Err(Missing::Unknown), |finder| finder.seek(text))
    }

    pub(super) fn seek_any(&self, kind: Kind, text: &str) -> Option<usize> {
        self.0.get(&kind)?.seek_any(text)
    }
}

impl Catalog {
    /// As [`Finder::seek`], for a single question.
    pub(super) fn seek(&self, kind: Kind, text: &str) -> Result<usize, Missing> {
        Finder::new(self, kind).seek(text)
    }

    /// The slot of a definition in force, by id, key or (where only one has it) name.
    #[must_use]
    pub fn slot(&self, kind: Kind, text: &str) -> Option<usize> {
        self.seek(kind, text).ok()
    }

    /// A definition in force, by id, key or (where only one has it) name.
    #[must_use]
    pub fn find(&self, kind: Kind, text: &str) -> Option<&Definition> {
        let slot = self.seek(kind, text).ok()?;
        self.definitions(kind).get(slot)
    }

    /// The token in force that this text is, found by its hash.
    #[must_use]
    pub fn token(&self, token: &str) -> Option<&Token> {
        let hash = token_hash(token);
        self.tokens.iter().find(|known| known.sha256 == hash)
    }
}

macro_rules! slot_of {
    ($($name:ident -> $slot:ident, $int:ty, $kind:expr;)*) => {
        impl Catalog {
            $(
                /// The slot of the definition in force that `text` names by id, key or name.
                #[must_use]
                pub fn $name(&self, text: &str) -> Option<$slot> {
                    self.seek($kind, text).ok().and_then(|slot| <$int>::try_from(slot).ok()).map($slot)
                }
            )*
        }
    };
}

slot_of! {
    channel_slot -> ChannelSlot, u16, Kind::Channel;
    event_slot -> EventSlot, u32, Kind::Event;
    trait_slot -> TraitSlot, u32, Kind::ComputedTrait;
    audience_slot -> AudienceSlot, u32, Kind::Audience;
    action_slot -> ActionSlot, u32, Kind::Action;
    rule_slot -> RuleSlot, u32, Kind::Rule;
    goal_slot -> GoalSlot, u32, Kind::Goal;
    budget_slot -> BudgetSlot, u32, Kind::Budget;
    experiment_slot -> ExperimentSlot, u32, Kind::Experiment;
}

/// A key for an audience that brings none: lower-case letters and digits of its name, the rest as
/// single dashes.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_alphanumeric() {
            slug.extend(c.to_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "audience".to_owned() } else { slug.to_owned() }
}
