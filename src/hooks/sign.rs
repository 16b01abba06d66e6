//! Signatures of webhooks: proof to the receiver that a body comes from here and is as it was sent.
//!
//! Three forms of one HMAC-SHA256, so that a receiver can use what it has: Attractify's (the body
//! alone), ours (the body with the time, against replays), and Standard Webhooks (id, time and body).
//! While a key is being replaced both sign, and a receiver may know either.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write as _;

/// Bytes of a signing key.
pub const KEY_BYTES: usize = 32;

/// A signing key.
pub type Key = [u8; KEY_BYTES];

/// The values of the signature headers of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// `X-Attractify-Signature`: lower-case hex over the body; of several keys a list with commas, the
    /// newest first.
    pub attractify: String,
    /// `X-Lodestone-Signature`: `t=<unix seconds>,v1=<hex over "t.body">`, one `v1` for each key.
    pub lodestone: String,
    /// `webhook-signature`: `v1,<base64 over "id.t.body">`, separated by spaces.
    pub standard: String,
}

/// HMAC-SHA256 over the parts, one after the other.
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes any text");
        out
    })
}

/// The signature of a body by itself, as clients of Attractify know it.
#[must_use]
pub fn over_body(key: &Key, body: &str) -> String {
    hex(&mac(key, &[body.as_bytes()]))
}

/// Signs a request that leaves at `unix_s` under `id`. `keys`: the one in force first.
#[must_use]
pub fn sign(keys: &[Key], id: &str, unix_s: i64, body: &str) -> Signatures {
    let t = unix_s.to_string();
    let (t_bytes, body_bytes, dot) = (t.as_bytes(), body.as_bytes(), &b"."[..]);
    let mut signed = Signatures { attractify: String::new(), lodestone: format!("t={t}"), standard: String::new() };
    for key in keys {
        if !signed.attractify.is_empty() {
            signed.attractify.push(',');
            signed.standard.push(' ');
        }
        signed.attractify.push_str(&over_body(key, body));
        signed.lodestone.push_str(",v1=");
        signed.lodestone.push_str(&hex(&mac(key, &[t_bytes, dot, body_bytes])));
        signed.standard.push_str("v1,");
        signed.standard.push_str(&STANDARD.encode(mac(key, &[id.as_bytes(), dot, t_bytes, dot, body_bytes])));
    }
    signed
}

/// The key as the libraries of Standard Webhooks take it.
#[must_use]
pub fn standard_secret(key: &Key) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// Bytes of hex text, if it is hex.
#[cfg(test)]
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> Key {
        std::array::from_fn(|i| first.wrapping_add(u8::try_from(i).expect("32 fits")))
    }

    const BODY: &str = r#"{"event":"accepted","actionId":"11111111-1111-4111-8111-111111111111","userId":"u1","channel":"web","userProperties":null,"customProperties":{"code":"X1"},"timestamp":"2024-03-01T10:00:00Z"}"#;

    /// T-69: key bytes 00 to 1f, 190 bytes of body, the signature of the specification.
    #[test]
    fn t69_the_signature_of_the_vector() {
        assert_eq!(BODY.len(), 190);
        let expected = "e7def8eeb61ff46ccb75a6f29f27794fa67276dcc06ba4b8177c01e6e7fa5008";
        assert_eq!(over_body(&key(0), BODY), expected);
        assert_eq!(sign(&[key(0)], "id", 1, BODY).attractify, expected);
    }

    /// While a key is replaced, whoever knows either of the two can verify every header.
    #[test]
    fn both_keys_sign_during_a_rotation() {
        let signed = sign(&[key(0), key(9)], "id", 1_709_287_200, BODY);
        let both: Vec<&str> = signed.attractify.split(',').collect();
        assert_eq!(both, [over_body(&key(0), BODY), over_body(&key(9), BODY)]);
        let with_time = |key: &Key| format!("v1={}", hex(&mac(key, &[format!("1709287200.{BODY}").as_bytes()])));
        let parts: Vec<&str> = signed.lodestone.split(',').collect();
        assert_eq!(parts, ["t=1709287200", &with_time(&key(0)), &with_time(&key(9))]);
        let standard = |key: &Key| format!("v1,{}", STANDARD.encode(mac(key, &[format!("id.1709287200.{BODY}").as_bytes()])));
        assert_eq!(signed.standard, format!("{} {}", standard(&key(0)), standard(&key(9))));
        assert!(standard_secret(&key(0)).starts_with("whsec_AAECAwQF"));
    }

    #[test]
    fn hex_reads_back() {
        assert_eq!(unhex(&hex(&key(200))).as_deref(), Some(&key(200)[..]));
        assert_eq!(unhex("0g"), None);
    }
}
