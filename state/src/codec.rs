//! Stored values as bytes: magic, version, length, checksum, payload. The only caller of bincode beside
//! the journal's records; never given bytes from the network.
//!
//! ```text
//! 0      4         6        10       14
//! "LDST" version   length   CRC32C   payload (bincode, varint integers)
//!        u16 LE    u32 LE   u32 LE of bytes 0 to 10 and the payload
//! ```

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MAGIC: [u8; 4] = *b"LDST";
const HEADER: usize = 14;
/// Longest payload: a profile with every cap at its bound stays far below.
const PAYLOAD_MAX: u64 = 256 << 20;

/// Why stored bytes are not a value.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Shorter than a header, or not ours.
    #[error("not a stored value ({len} bytes)")]
    NotOurs {
        /// How many bytes there were.
        len: usize,
    },
    /// The length does not fit, or the checksum does not match.
    #[error("stored value is corrupt: {what}")]
    Corrupt {
        /// Which check failed.
        what: &'static str,
    },
    /// The payload is not of the type asked for.
    #[error("stored value of version {version} does not decode: {source}")]
    Malformed {
        /// The version that it says.
        version: u16,
        /// Why.
        source: bincode::Error,
    },
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(PAYLOAD_MAX)
}

/// The bytes of `value`.
pub fn encode<T: Serialize>(version: u16, value: &T) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    // Writing into memory cannot fail, and every stored type is one that bincode knows.
    options().serialize_into(&mut bytes, value).expect("stored types serialise");
    let payload = &bytes[HEADER..];
    let length = u32::try_from(payload.len()).expect("a payload is below 256 MiB");
    let length = length.to_le_bytes();
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..6].copy_from_slice(&version.to_le_bytes());
    bytes[6..10].copy_from_slice(&length);
    let crc = checksum(&bytes);
    bytes[10..14].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..10]), &bytes[HEADER..])
}

/// The version and value in `bytes`.
///
/// # Errors
/// [`CodecError`]; nothing of a corrupt value is used.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(u16, T), CodecError> {
    let (version, payload) = check(bytes)?;
    let value = options().deserialize(payload).map_err(|source| CodecError::Malformed { version, source })?;
    Ok((version, value))
}

/// The version and payload in `bytes`, with length and checksum verified.
///
/// # Errors
/// [`CodecError::NotOurs`] and [`CodecError::Corrupt`].
pub fn check(bytes: &[u8]) -> Result<(u16, &[u8]), CodecError> {
    let header: &[u8; HEADER] = bytes.first_chunk().ok_or(CodecError::NotOurs { len: bytes.len() })?;
    if header[..4] != MAGIC {
        return Err(CodecError::NotOurs { len: bytes.len() });
    }
    let version = u16::from_le_bytes([header[4], header[5]]);
    let length = u32::from_le_bytes([header[6], header[7], header[8], header[9]]) as usize;
    let crc = u32::from_le_bytes([header[10], header[11], header[12], header[13]]);
    let payload = &bytes[HEADER..];
    if payload.len() != length {
        return Err(CodecError::Corrupt { what: "length" });
    }
    if checksum(bytes) != crc {
        return Err(CodecError::Corrupt { what: "checksum" });
    }
    Ok((version, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_any_flipped_bit_is_found() {
        let bytes = encode(7, &("ada", 3_u64, vec![1.5_f64]));
        let (version, value): (u16, (String, u64, Vec<f64>)) = decode(&bytes).expect("decodes");
        assert_eq!((version, value), (7, ("ada".into(), 3, vec![1.5])));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad).is_err(), "bit {bit}");
        }
    }
}
