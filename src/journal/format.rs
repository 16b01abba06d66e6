//! The bytes of segments and groups. `docs/journal-format.md` draws them; all integers are little endian.

use crc32c::{crc32c, crc32c_append};

/// The newest format that this program reads, and the one that it writes.
pub const VERSION: u32 = 1;
/// First bytes of every segment.
pub(super) const SEGMENT_MAGIC: [u8; 8] = *b"LODEJRNL";
/// Length of a segment's header; the first group follows it.
pub(super) const SEGMENT_HEADER: usize = 64;
/// First bytes of every group. They are not valid UTF-8, so no client's text can contain them.
pub(super) const GROUP_MAGIC: [u8; 4] = [0xf5, b'L', b'G', 0xff];
/// Length of a group's header; the records follow it.
pub(super) const GROUP_HEADER: usize = 48;
/// What precedes each record inside a group: its length.
pub(super) const RECORD_HEADER: usize = 4;
/// Longest record, in bytes.
pub const RECORD_MAX: usize = 64 << 20;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Its number; also its file name.
    pub(super) index: u64,
    /// Sequence number of its first record.
    pub(super) first_seq: u64,
    /// Random, and repeated in each of its groups: so bytes that a client sent can never pass for a
    /// group, nor a group that was left behind by an earlier file.
    pub(super) salt: u64,
    /// Chain value of the last group before it.
    pub(super) chain: u32,
}

/// How the first bytes of a segment read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentStart {
    /// A header.
    Header(SegmentHeader),
    /// All zero: prepared, not used yet.
    Blank,
    /// Written by a newer program.
    Newer(u32),
    /// None of these.
    Bad,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[0..8].copy_from_slice(&SEGMENT_MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.index.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        out[32..40].copy_from_slice(&self.salt.to_le_bytes());
        out[40..44].copy_from_slice(&self.chain.to_le_bytes());
        let crc = crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the start of a segment. The version is looked at before the checksum, because only the
    /// first twelve bytes keep their place in every future format.
    pub(super) fn decode(bytes: &[u8]) -> SegmentStart {
        if bytes.len() < SEGMENT_HEADER {
            return if all_zero(bytes) { SegmentStart::Blank } else { SegmentStart::Bad };
        }
        let bytes = &bytes[..SEGMENT_HEADER];
        if all_zero(bytes) {
            return SegmentStart::Blank;
        }
        if bytes[0..8] != SEGMENT_MAGIC {
            return SegmentStart::Bad;
        }
        let version = u32_at(bytes, 8);
        if version > VERSION {
            return SegmentStart::Newer(version);
        }
        if u32_at(bytes, 60) != crc32c(&bytes[..60]) {
            return SegmentStart::Bad;
        }
        SegmentStart::Header(Self {
            index: u64_at(bytes, 16),
            first_seq: u64_at(bytes, 24),
            salt: u64_at(bytes, 32),
            chain: u32_at(bytes, 40),
        })
    }
}

/// What a group says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Bytes of records after the header.
    pub(super) payload: u32,
    /// The segment's.
    pub(super) salt: u64,
    /// Sequence number of its first record.
    pub(super) first_seq: u64,
    /// Everything up to here had been synced when the group was written.
    pub(super) synced: u64,
    /// Records in it.
    pub(super) count: u32,
    /// Chain value of the group before it.
    pub(super) chain: u32,
    /// Checksum of header and records; the chain value of this group.
    pub(super) crc: u32,
}

impl GroupHeader {
    /// Writes the header into the first bytes of `group`, whose records are in place already.
    /// Returns the group's chain value. `self.crc` and `self.payload` are ignored.
    pub(super) fn seal(&self, group: &mut [u8]) -> u32 {
        let payload = u32::try_from(group.len() - GROUP_HEADER).expect("a group is smaller than 4 GiB");
        group[0..4].copy_from_slice(&GROUP_MAGIC);
        group[4..8].copy_from_slice(&payload.to_le_bytes());
        group[8..16].copy_from_slice(&self.salt.to_le_bytes());
        group[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        group[24..32].copy_from_slice(&self.synced.to_le_bytes());
        group[32..36].copy_from_slice(&self.count.to_le_bytes());
        group[36..40].copy_from_slice(&self.chain.to_le_bytes());
        group[40..44].fill(0);
        let crc = crc32c_append(crc32c(&group[..44]), &group[GROUP_HEADER..]);
        group[44..48].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// Reads a header, without its checksum. `None` if it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < GROUP_HEADER || bytes[0..4] != GROUP_MAGIC {
            return None;
        }
        Some(Self {
            payload: u32_at(bytes, 4),
            salt: u64_at(bytes, 8),
            first_seq: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            count: u32_at(bytes, 32),
            chain: u32_at(bytes, 36),
            crc: u32_at(bytes, 44),
        })
    }

    /// Length of the whole group.
    pub(super) fn bytes(&self) -> usize {
        GROUP_HEADER + self.payload as usize
    }

    /// Whether `group`, header and records, is what was written.
    pub(super) fn intact(&self, group: &[u8]) -> bool {
        group.len() == self.bytes()
            && self.crc == crc32c_append(crc32c(&group[..44]), &group[GROUP_HEADER..])
            && records(&group[GROUP_HEADER..]).try_fold(0, |n: u32, r| r.map(|_| n + 1)) == Some(self.count)
    }

    /// Sequence number of its last record.
    pub(super) fn last_seq(&self) -> u64 {
        self.first_seq + u64::from(self.count) - 1
    }
}

/// The records of a group's payload; `None` where a length does not fit.
pub(super) fn records(mut payload: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    std::iter::from_fn(move || {
        if payload.is_empty() {
            return None;
        }
        let Some((length, rest)) = payload.split_first_chunk::<RECORD_HEADER>() else {
            payload = &[];
            return Some(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some((record, rest)) = rest.split_at_checked(length) else {
            payload = &[];
            return Some(None);
        };
        payload = rest;
        Some(Some(record))
    })
}

/// Whether every byte is zero.
pub(super) fn all_zero(bytes: &[u8]) -> bool {
    let (chunks, tail) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| chunk.iter().fold(0, |acc, byte| acc | byte) == 0) && tail.iter().all(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SegmentHeader {
        SegmentHeader { index: 7, first_seq: 1001, salt: 0x0102_0304_0506_0708, chain: 0xdead_beef }
    }

    fn group() -> Vec<u8> {
        let mut group = vec![0; GROUP_HEADER];
        for record in [&b"first"[..], b"", b"third record"] {
            group.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes());
            group.extend_from_slice(record);
        }
        let header = GroupHeader { payload: 0, salt: 9, first_seq: 41, synced: 40, count: 3, chain: 0x1234_5678, crc: 0 };
        header.seal(&mut group);
        group
    }

    // The bytes of format 1, pinned: a change here is a new format.
    #[test]
    fn format_1_is_pinned() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(&sample().encode()), SEGMENT_HEX);
        assert_eq!(hex(&group()), GROUP_HEX);
    }

    const SEGMENT_HEX: &str = concat!(
        "4c4f44454a524e4c01000000000000000700000000000000e9030000000000000807060504030201efbeadde00000000",
        "000000000000000000000000adc978bc",
    );
    const GROUP_HEX: &str = concat!(
        "f54c47ff1d00000009000000000000002900000000000000280000000000000003000000785634120000000045a17040",
        "050000006669727374000000000c0000007468697264207265636f7264",
    );

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_seen() {
        let bytes = sample().encode();
        assert_eq!(SegmentHeader::decode(&bytes), SegmentStart::Header(sample()));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(SegmentHeader::decode(&bad), SegmentStart::Bad | SegmentStart::Newer(_)), "bit {bit} went unseen");
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_a_broken_one() {
        let mut bytes = sample().encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), SegmentStart::Newer(2));
        assert_eq!(SegmentHeader::decode(&[0; SEGMENT_HEADER]), SegmentStart::Blank);
        assert_eq!(SegmentHeader::decode(&[]), SegmentStart::Blank);
    }

    #[test]
    fn a_group_reads_back_and_every_flipped_bit_is_seen() {
        let bytes = group();
        let header = GroupHeader::decode(&bytes).unwrap();
        assert!(header.intact(&bytes));
        assert_eq!((header.first_seq, header.last_seq(), header.synced), (41, 43, 40));
        let read: Vec<_> = records(&bytes[GROUP_HEADER..]).map(Option::unwrap).collect();
        assert_eq!(read, [&b"first"[..], b"", b"third record"]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let seen = GroupHeader::decode(&bad).is_none_or(|h| bad.len() < h.bytes() || !h.intact(&bad[..h.bytes()]));
            assert!(seen, "bit {bit} went unseen");
        }
    }

    #[test]
    fn zeros_are_recognised_at_every_length() {
        for len in 0..200 {
            let mut bytes = vec![0; len];
            assert!(all_zero(&bytes));
            for i in 0..len {
                bytes[i] = 1;
                assert!(!all_zero(&bytes));
                bytes[i] = 0;
            }
        }
    }
}
