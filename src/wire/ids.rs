//! Ids as they look on the wire.

use uuid::Uuid;

/// Appends an event id: a UUID in its usual form.
pub fn write_event_id(out: &mut String, id: u128) {
    out.push_str(Uuid::from_u128(id).hyphenated().encode_lower(&mut Uuid::encode_buffer()));
}

/// Appends a delivery id: `im_` and 32 hex digits.
pub fn write_delivery_id(out: &mut String, id: u128) {
    out.push_str("im_");
    out.push_str(Uuid::from_u128(id).simple().encode_lower(&mut Uuid::encode_buffer()));
}

/// Reads a delivery id; `None` for anything that this server did not write.
#[must_use]
pub fn parse_delivery_id(text: &str) -> Option<u128> {
    let digits = text.strip_prefix("im_").filter(|digits| digits.len() == 32)?;
    Uuid::try_parse(digits).ok().map(|id| id.as_u128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_ids_come_back() {
        let mut text = String::new();
        write_delivery_id(&mut text, 0x1234_5678);
        assert_eq!(text, "im_00000000000000000000000012345678");
        assert_eq!(parse_delivery_id(&text), Some(0x1234_5678));
        for bad in ["", "im_", "im_12", "00000000000000000000000012345678", "im_0000000000000000000000001234567g"] {
            assert_eq!(parse_delivery_id(bad), None, "{bad}");
        }
    }
}
