//! Keys and fixed-size values. Big endian, so that the order of bytes is the order of what they mean.

use super::DedupeRow;
use lodestone_state::event::{MembershipChange, MoveCause};
use lodestone_state::ids::{AudienceSlot, Millis, Moment, ProfileId, Seq};

/// Profile state by profile id.
pub(super) const PROFILES: &str = "profiles";
/// Log entries by profile id, event time, log position.
pub(super) const HISTORY: &str = "history";
/// Surviving profile by the id of the one that was merged away.
pub(super) const REDIRECTS: &str = "redirects";
/// Catalogs by version.
pub(super) const CATALOG: &str = "catalog";
/// First outcomes by message id hash.
pub(super) const DEDUPE: &str = "dedupe";
/// Memberships that began or ended, by profile id, time, audience.
pub(super) const MOVES: &str = "moves";
/// Work that is to be done outside, by its id.
pub(super) const OUTBOX: &str = "outbox";
/// Counters of the analysis.
pub(super) const ROLLUPS: &str = "rollups";
/// Single values by name.
pub(super) const META: &str = "meta";

/// Every column family and the length of its keys, where that is fixed.
pub(super) const FAMILIES: [(&str, Option<usize>); 9] = [
    (PROFILES, Some(16)),
    (HISTORY, Some(HISTORY_KEY)),
    (REDIRECTS, Some(16)),
    (CATALOG, Some(4)),
    (DEDUPE, Some(16)),
    (MOVES, Some(MOVE_KEY)),
    (OUTBOX, None),
    (ROLLUPS, None),
    (META, None),
];

/// The last sealed checkpoint, in [`META`].
pub(super) const CHECKPOINT: &[u8] = b"checkpoint";

/// Length of the part of a history key that one profile's entries share.
pub(super) const HISTORY_PREFIX: usize = 16;
/// Length of a history key.
pub(super) const HISTORY_KEY: usize = 32;
/// Length of the key of a membership change.
pub(super) const MOVE_KEY: usize = 29;
/// Log position, cause, since when.
const MOVE_VALUE: usize = 17;
/// Length of a dedupe value.
const DEDUPE_VALUE: usize = 32;

pub(super) fn profile(id: ProfileId) -> [u8; 16] {
    id.0.to_be_bytes()
}

pub(super) fn parse_profile(key: &[u8]) -> Option<ProfileId> {
    Some(ProfileId(u128::from_be_bytes(key.try_into().ok()?)))
}

/// With the sign bit flipped, negative times come before positive ones.
fn time(t: Millis) -> [u8; 8] {
    (t.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn parse_time(bytes: [u8; 8]) -> Millis {
    Millis((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

pub(super) fn history(id: ProfileId, moment: Moment) -> [u8; HISTORY_KEY] {
    let mut key = [0; HISTORY_KEY];
    key[..16].copy_from_slice(&profile(id));
    key[16..24].copy_from_slice(&time(moment.t));
    key[24..].copy_from_slice(&moment.seq.0.to_be_bytes());
    key
}

/// The moment of a history key.
pub(super) fn parse_history(key: &[u8]) -> Option<Moment> {
    let key: &[u8; HISTORY_KEY] = key.try_into().ok()?;
    let t = parse_time(key[16..24].try_into().ok()?);
    let seq = Seq(u64::from_be_bytes(key[24..].try_into().ok()?));
    Some(Moment { t, seq })
}

/// A change of one membership at one time is there once, however often a replay comes by it.
pub(super) fn moved(id: ProfileId, change: &MembershipChange) -> [u8; MOVE_KEY] {
    let mut key = [0; MOVE_KEY];
    key[..16].copy_from_slice(&profile(id));
    key[16..24].copy_from_slice(&time(change.t));
    key[24..28].copy_from_slice(&change.audience.0.to_be_bytes());
    key[28] = u8::from(change.entered);
    key
}

pub(super) fn parse_moved(key: &[u8], value: &[u8]) -> Option<MembershipChange> {
    let key: &[u8; MOVE_KEY] = key.try_into().ok()?;
    let value: &[u8; MOVE_VALUE] = value.try_into().ok()?;
    Some(MembershipChange {
        audience: AudienceSlot(u32::from_be_bytes(key[24..28].try_into().ok()?)),
        entered: key[28] == 1,
        t: parse_time(key[16..24].try_into().ok()?),
        seq: Seq(u64::from_be_bytes(value[..8].try_into().ok()?)),
        cause: MoveCause::from_byte(value[8])?,
        since: parse_time(value[9..].try_into().ok()?),
    })
}

pub(super) fn moved_value(change: &MembershipChange) -> [u8; MOVE_VALUE] {
    let mut value = [0; MOVE_VALUE];
    value[..8].copy_from_slice(&change.seq.0.to_be_bytes());
    value[8] = change.cause as u8;
    value[9..].copy_from_slice(&time(change.since));
    value
}

pub(super) fn dedupe_value(row: &DedupeRow) -> [u8; DEDUPE_VALUE] {
    let mut value = [0; DEDUPE_VALUE];
    value[..8].copy_from_slice(&row.seq.0.to_be_bytes());
    value[8..24].copy_from_slice(&row.event_id.to_be_bytes());
    value[24..].copy_from_slice(&time(row.at));
    value
}

pub(super) fn parse_dedupe(key: u128, value: &[u8]) -> Option<DedupeRow> {
    let value: &[u8; DEDUPE_VALUE] = value.try_into().ok()?;
    Some(DedupeRow {
        key,
        seq: Seq(u64::from_be_bytes(value[..8].try_into().ok()?)),
        event_id: u128::from_be_bytes(value[8..24].try_into().ok()?),
        at: dedupe_time(value)?,
    })
}

/// The arrival in a dedupe value, all that its expiry needs.
pub(super) fn dedupe_time(value: &[u8]) -> Option<Millis> {
    Some(parse_time(value.get(24..DEDUPE_VALUE)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn history_keys_sort_as_their_moments_and_read_back(
            a in (any::<u128>(), any::<i64>(), any::<u64>()), b in (any::<u128>(), any::<i64>(), any::<u64>()), same in any::<bool>(),
        ) {
            let moment = |(_, t, seq): (u128, i64, u64)| Moment { t: Millis(t), seq: Seq(seq) };
            let (id_a, id_b) = (ProfileId(a.0), ProfileId(if same { a.0 } else { b.0 }));
            let (key_a, key_b) = (history(id_a, moment(a)), history(id_b, moment(b)));
            prop_assert_eq!(key_a.cmp(&key_b), (id_a, moment(a)).cmp(&(id_b, moment(b))));
            prop_assert_eq!(parse_history(&key_a), Some(moment(a)));
            prop_assert_eq!(parse_profile(&key_a[..16]), Some(id_a));
        }

        #[test]
        fn dedupe_rows_read_back(key in any::<u128>(), seq in any::<u64>(), event_id in any::<u128>(), at in any::<i64>()) {
            let row = DedupeRow { key, seq: Seq(seq), event_id, at: Millis(at) };
            prop_assert_eq!(parse_dedupe(key, &dedupe_value(&row)), Some(row));
        }
    }

    // Pinned: these bytes are on people's disks.
    #[test]
    fn keys_are_pinned() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let moment = Moment { t: Millis(-2), seq: Seq(3) };
        assert_eq!(hex(&history(ProfileId(1), moment)), "000000000000000000000000000000017ffffffffffffffe0000000000000003");
        let row = DedupeRow { key: 9, seq: Seq(3), event_id: 4, at: Millis(5) };
        assert_eq!(hex(&dedupe_value(&row)), "0000000000000003000000000000000000000000000000048000000000000005");
    }
}
