//! What answers and records print of a plan: names by slot, and the organisation's settings.

use super::Plan;
use crate::ids::{ChannelSlot, EventSlot};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

impl Plan {
    /// The key of a channel; empty if it was removed.
    #[must_use]
    pub fn channel_key(&self, slot: ChannelSlot) -> &str {
        self.channel_plan(slot).map_or("", |channel| channel.key.as_str())
    }

    /// The name of an event; empty if it was removed.
    #[must_use]
    pub fn event_name(&self, slot: EventSlot) -> &str {
        self.event_plan(slot).map_or("", |event| event.name.as_str())
    }

    /// The organisation's name, for display.
    #[must_use]
    pub fn organization_name(&self) -> &str {
        &self.catalog.organization().name
    }

    /// The keys that sign webhooks, the one in force first; during a rotation the one before it as well.
    #[must_use]
    pub fn signing_keys(&self) -> Vec<[u8; 32]> {
        let organization = self.catalog.organization();
        organization.key.into_iter().chain(organization.previous_key).collect()
    }

    /// Whether public tokens must prove a known user id.
    #[must_use]
    pub fn requires_user_hash(&self) -> bool {
        self.catalog.organization().require_user_hash
    }

    /// Whether identify may set traits though no schema is defined.
    #[must_use]
    pub fn traits_without_schema(&self) -> bool {
        self.catalog.organization().traits_without_schema
    }

    /// Whether `given` is the lower-case hex HMAC-SHA256 of `user_id` under the organisation's key.
    /// Compares in constant time; false while the organisation has no key.
    #[must_use]
    pub fn user_hash_matches(&self, user_id: &str, given: &str) -> bool {
        let (Some(key), Some(given)) = (self.catalog.organization().key, unhex(given)) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return false };
        mac.update(user_id.as_bytes());
        mac.verify_slice(&given).is_ok()
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}
