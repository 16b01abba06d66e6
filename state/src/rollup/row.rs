//! The rows at rest: keys that sort by day, and values that a checkpoint rewrites where they changed.
//!
//! ```text
//! 'c' day action channel       counters of a UTC day: (reaction, slot) -> count
//! 'e' day                      events that arrived on a UTC day: slot -> count
//! 'r' day action channel slot  who was delivered to in a slot
//! ```
//!
//! `day` is 4 bytes with the sign bit flipped, `action` 4, `channel` 2, `slot` 1; big endian. A value is
//! [`crate::codec`]'s; zeros are not stored, and neither is a row of nothing.

use super::{Deltas, Place, REACTIONS, Reach, SLOTS, Slot};
use crate::codec::{self, CodecError};
use crate::ids::{ActionSlot, ChannelSlot};
use std::collections::BTreeMap;

/// Encoding version of the values.
const VERSION: u16 = 1;

const COUNTERS: u8 = b'c';
const EVENTS: u8 = b'e';
const REACH: u8 = b'r';

/// A row's new content, as a difference to what it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Counters by place in the day.
    Counters(BTreeMap<u16, i64>),
    /// People.
    Reach(Reach),
}

/// The rows that `deltas` change.
#[must_use]
pub fn changes(deltas: Deltas) -> BTreeMap<Vec<u8>, Change> {
    let mut rows: BTreeMap<Vec<u8>, Change> = BTreeMap::new();
    let mut add = |key: Vec<u8>, at: u16, by: i64| {
        if let Change::Counters(counters) = rows.entry(key).or_insert_with(|| Change::Counters(BTreeMap::new())) {
            *counters.entry(at).or_default() += by;
        }
    };
    for (slot, by) in &deltas.events {
        add(events_key(slot.day()), u16::from(slot.of_day()), *by);
    }
    for (place, counts) in &deltas.reactions {
        for (reaction, by) in counts.iter().enumerate().filter(|(_, by)| **by != 0) {
            add(counters_key(*place), index(reaction, place.slot), *by);
        }
    }
    for (place, reach) in deltas.reach {
        rows.insert(reach_key(place), Change::Reach(reach));
    }
    rows
}

/// What a row becomes; `None` for a row of nothing.
///
/// # Errors
/// The stored bytes are not a row.
pub fn changed(stored: Option<&[u8]>, change: &Change) -> Result<Option<Vec<u8>>, CodecError> {
    match change {
        Change::Counters(by) => {
            let mut counters = stored.map_or(Ok(BTreeMap::new()), decode::<BTreeMap<u16, i64>>)?;
            for (at, by) in by {
                *counters.entry(*at).or_default() += by;
            }
            counters.retain(|_, count| *count != 0);
            Ok((!counters.is_empty()).then(|| codec::encode(VERSION, &counters)))
        }
        Change::Reach(by) => {
            let mut reach = stored.map_or(Ok(Reach::default()), decode::<Reach>)?;
            reach.merge(by);
            Ok((!reach.is_empty()).then(|| codec::encode(VERSION, &reach)))
        }
    }
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    codec::decode(bytes).map(|(_, value)| value)
}

/// What all counters of a day start with, or those of one action.
#[must_use]
pub fn counters_prefix(day: i32, action: Option<ActionSlot>) -> Vec<u8> {
    prefix(COUNTERS, day, action)
}

/// What the people of a day start with, or those of one action.
#[must_use]
pub fn reach_prefix(day: i32, action: Option<ActionSlot>) -> Vec<u8> {
    prefix(REACH, day, action)
}

/// The row of a day's events.
#[must_use]
pub fn events_key(day: i32) -> Vec<u8> {
    prefix(EVENTS, day, None)
}

fn prefix(kind: u8, day: i32, action: Option<ActionSlot>) -> Vec<u8> {
    let mut key = Vec::with_capacity(12);
    key.push(kind);
    key.extend_from_slice(&(day.cast_unsigned() ^ (1 << 31)).to_be_bytes());
    if let Some(action) = action {
        key.extend_from_slice(&action.0.to_be_bytes());
    }
    key
}

fn counters_key(place: Place) -> Vec<u8> {
    let mut key = prefix(COUNTERS, place.slot.day(), Some(place.action));
    key.extend_from_slice(&place.channel.0.to_be_bytes());
    key
}

fn reach_key(place: Place) -> Vec<u8> {
    let mut key = prefix(REACH, place.slot.day(), Some(place.action));
    key.extend_from_slice(&place.channel.0.to_be_bytes());
    key.push(place.slot.of_day());
    key
}

fn index(reaction: usize, slot: Slot) -> u16 {
    // Below 5 times 96.
    u16::try_from(reaction).unwrap_or(0) * SLOTS as u16 + u16::from(slot.of_day())
}

/// The UTC day of a row.
#[must_use]
pub fn day_of(key: &[u8]) -> Option<i32> {
    Some((u32::from_be_bytes(key.get(1..5)?.try_into().ok()?) ^ (1 << 31)).cast_signed())
}

/// Reads a key of counters or people: day, action, channel, and the slot where there is one.
fn parse(key: &[u8]) -> Option<(i32, ActionSlot, ChannelSlot, Option<u8>)> {
    let day = day_of(key)?;
    let action = ActionSlot(u32::from_be_bytes(key.get(5..9)?.try_into().ok()?));
    let channel = ChannelSlot(u16::from_be_bytes(key.get(9..11)?.try_into().ok()?));
    Some((day, action, channel, key.get(11).copied()))
}

/// Hands every counter of a row to `each`: where, which of [`REACTIONS`], how many.
///
/// # Errors
/// The bytes are not a row of counters.
pub fn counters(key: &[u8], value: &[u8], each: &mut dyn FnMut(Place, usize, i64)) -> Result<(), CodecError> {
    let (day, action, channel, _) = parse(key).ok_or(CodecError::NotOurs { len: key.len() })?;
    let counters: BTreeMap<u16, i64> = decode(value)?;
    for (at, count) in counters {
        let (reaction, of_day) = (i32::from(at) / SLOTS, i32::from(at) % SLOTS);
        let slot = Slot(day * SLOTS + of_day);
        if let Some(reaction) = usize::try_from(reaction).ok().filter(|reaction| *reaction < REACTIONS.len()) {
            each(Place { slot, action, channel }, reaction, count);
        }
    }
    Ok(())
}

/// The people of a row.
///
/// # Errors
/// The bytes are not a row of people.
pub fn reach(key: &[u8], value: &[u8]) -> Result<(Place, Reach), CodecError> {
    let not_ours = || CodecError::NotOurs { len: key.len() };
    let (day, action, channel, slot) = parse(key).ok_or_else(not_ours)?;
    let slot = Slot(day * SLOTS + i32::from(slot.ok_or_else(not_ours)?));
    Ok((Place { slot, action, channel }, decode(value)?))
}

/// The events of a row, by slot.
///
/// # Errors
/// The bytes are not a row of events.
pub fn events(day: i32, value: &[u8]) -> Result<Vec<(Slot, i64)>, CodecError> {
    let counters: BTreeMap<u16, i64> = decode(value)?;
    Ok(counters.into_iter().map(|(at, count)| (Slot(day * SLOTS + i32::from(at)), count)).collect())
}
