//! From what people write (an id, a key, a name) to a slot.

use super::catalog::{Catalog, Definition, Kind, Token, token_hash};
use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, DefId, EventSlot, TraitSlot};
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

impl Catalog {
    /// The slot of the definition in force that `text` names by id, key or name, tried in that order.
    pub(super) fn seek(&self, kind: Kind, text: &str) -> Result<usize, Missing> {
        if let Some(slot) = self.by_id(kind, text).or_else(|| self.by_key(kind, text)) {
            return Ok(slot);
        }
        let mut named = self.live(kind).filter(|(_, definition)| definition.name == text).map(|(slot, _)| slot);
        let Some(first) = named.next() else { return Err(Missing::Unknown) };
        match (kind, named.last()) {
            (_, None) => Ok(first),
            // Versions of one type share its name, and the newest is meant.
            (Kind::ActionType, _) => Ok(self.newest_version(text).unwrap_or(first)),
            _ => Err(Missing::Ambiguous(self.live(kind).filter(|(_, definition)| definition.name == text).count())),
        }
    }

    /// As [`Catalog::seek`], and where nothing in force answers, the last one that was removed: what
    /// depends on it stays compiled and sees it as absent.
    pub(super) fn seek_any(&self, kind: Kind, text: &str) -> Option<usize> {
        self.seek(kind, text).ok().or_else(|| {
            let id = text.parse::<DefId>().ok();
            let all = self.definitions(kind);
            all.iter().rposition(|definition| Some(definition.id) == id).or_else(|| {
                let keyed = matches!(kind, Kind::Channel | Kind::ComputedTrait | Kind::Audience);
                all.iter().rposition(|definition| definition.name == text || keyed && definition.key == text)
            })
        })
    }

    fn by_id(&self, kind: Kind, text: &str) -> Option<usize> {
        let id: DefId = text.parse().ok()?;
        self.live(kind).find(|(_, definition)| definition.id == id).map(|(slot, _)| slot)
    }

    fn by_key(&self, kind: Kind, text: &str) -> Option<usize> {
        if !matches!(kind, Kind::Channel | Kind::ComputedTrait | Kind::Audience) {
            return None;
        }
        self.live(kind).find(|(_, definition)| definition.key == text).map(|(slot, _)| slot)
    }

    /// The slot of the newest version of an action type in force.
    pub(super) fn newest_version(&self, name: &str) -> Option<usize> {
        let versions = self.live(Kind::ActionType).filter(|(_, definition)| definition.name == name);
        versions.max_by_key(|(_, definition)| definition.key.parse::<u32>().unwrap_or(0)).map(|(slot, _)| slot)
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
