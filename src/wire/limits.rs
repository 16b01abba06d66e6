//! Size limits of the protocol, and the checks that need nothing but the text.

use super::Rejection;

/// Bytes of one WebSocket frame.
pub const FRAME_BYTES: usize = 262_144;
/// Bytes of JSON of one event, and of a single HTTP call.
pub const EVENT_BYTES: usize = 32_768;
/// Bytes of an HTTP batch.
pub const HTTP_BATCH_BYTES: usize = 512_000;
/// Items of a WebSocket batch.
pub const BATCH_ITEMS: usize = 100;
/// Bytes of an event's name.
pub const EVENT_NAME_BYTES: usize = 200;
/// Bytes of a user id.
pub const USER_ID_BYTES: usize = 256;
/// Bytes of one tag.
pub const TAG_BYTES: usize = 64;
/// Tags of one filter.
pub const TAGS: usize = 64;
/// Bytes of a traits document.
pub const TRAITS_BYTES: usize = 65_536;
/// Bytes of a message id.
pub const MESSAGE_ID_BYTES: usize = 100;
/// Subscriptions of one socket.
pub const SUBSCRIPTIONS: usize = 16;
/// Anonymous ids of one identify.
pub const ANONYMOUS_IDS: usize = 20;
/// Bytes of the client's name for a subscription.
pub const SUB_BYTES: usize = 64;
/// Malformed frames that a socket may send before it is closed.
pub const MALFORMED_FRAMES: u32 = 10;

fn required<'a>(path: &str, text: Option<&'a str>, max: usize) -> Result<&'a str, Rejection> {
    match text {
        None | Some("") => Err(Rejection::missing_field(path)),
        Some(text) if text.len() > max => Err(Rejection::payload_too_large(path, text.len(), max)),
        Some(text) => Ok(text),
    }
}

/// A user id: present, not empty, at most [`USER_ID_BYTES`].
///
/// # Errors
/// `missing_field` or `payload_too_large`, naming `path`.
pub fn user_id<'a>(path: &str, text: Option<&'a str>) -> Result<&'a str, Rejection> {
    required(path, text, USER_ID_BYTES)
}

/// An event's name: present, not empty, at most [`EVENT_NAME_BYTES`].
///
/// # Errors
/// `missing_field` or `payload_too_large`.
pub fn event_name(text: Option<&str>) -> Result<&str, Rejection> {
    required("event", text, EVENT_NAME_BYTES)
}

/// A required short text, such as the name of a subscription.
///
/// # Errors
/// `missing_field` or `payload_too_large`, naming `path`.
pub fn short<'a>(path: &str, text: Option<&'a str>) -> Result<&'a str, Rejection> {
    required(path, text, SUB_BYTES)
}

/// A message id: 1 to 100 characters of `[A-Za-z0-9_.:-]`; absent is fine.
///
/// # Errors
/// `invalid_frame`, naming `path`.
pub fn message_id<'a>(path: &str, text: Option<&'a str>) -> Result<Option<&'a str>, Rejection> {
    let Some(text) = text else { return Ok(None) };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    if (1..=MESSAGE_ID_BYTES).contains(&text.len()) && text.bytes().all(plain) {
        Ok(Some(text))
    } else {
        Err(Rejection::invalid_frame(path, format!("{path} must be 1 to 100 characters of [A-Za-z0-9_.:-]")))
    }
}

/// The tags of a filter: at most [`TAGS`], none empty, each at most [`TAG_BYTES`].
///
/// # Errors
/// `invalid_frame` or `payload_too_large`.
pub fn tags<'a>(tags: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<&'a str>, Rejection> {
    if tags.len() > TAGS {
        return Err(Rejection::invalid_frame("tags", format!("{} tags, limit is {TAGS}", tags.len())));
    }
    let mut checked = Vec::with_capacity(tags.len());
    for tag in tags {
        match tag.len() {
            0 => return Err(Rejection::invalid_frame("tags", "a tag is empty")),
            len if len > TAG_BYTES => return Err(Rejection::payload_too_large("tags", len, TAG_BYTES)),
            _ => checked.push(tag),
        }
    }
    Ok(checked)
}

/// A JSON part that must be an object; absent is fine.
///
/// # Errors
/// `invalid_frame` when it is anything else, `payload_too_large` when it is longer than `max`.
pub fn object<'a>(path: &str, raw: Option<&'a str>, max: usize) -> Result<Option<&'a str>, Rejection> {
    let Some(raw) = raw else { return Ok(None) };
    if !raw.starts_with('{') {
        return Err(Rejection::invalid_frame(path, format!("{path} must be an object")));
    }
    if raw.len() > max {
        return Err(Rejection::payload_too_large(path, raw.len(), max));
    }
    Ok(Some(raw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T: std::fmt::Debug>(result: Result<T, Rejection>) -> &'static str {
        match result {
            Ok(_) => "ok",
            Err(rejection) => rejection.code,
        }
    }

    #[test]
    fn message_ids() {
        let table = [
            (Some("m1"), "ok"),
            (Some("0192a-b_c.d:e"), "ok"),
            (None, "ok"),
            (Some(""), "invalid_frame"),
            (Some("a b"), "invalid_frame"),
            (Some("é"), "invalid_frame"),
        ];
        for (text, expect) in table {
            assert_eq!(code(message_id("id", text)), expect, "{text:?}");
        }
        assert_eq!(code(message_id("id", Some(&"x".repeat(100)))), "ok");
        assert_eq!(code(message_id("id", Some(&"x".repeat(101)))), "invalid_frame");
    }

    #[test]
    fn user_ids_and_event_names() {
        assert_eq!(code(user_id("userId", None)), "missing_field");
        assert_eq!(code(user_id("userId", Some(""))), "missing_field");
        assert_eq!(code(user_id("userId", Some(&"x".repeat(256)))), "ok");
        assert_eq!(code(user_id("userId", Some(&"x".repeat(257)))), "payload_too_large");
        assert_eq!(code(event_name(Some(&"x".repeat(201)))), "payload_too_large");
    }

    #[test]
    fn tags_and_objects() {
        assert_eq!(code(tags(["a", "b"].into_iter())), "ok");
        assert_eq!(code(tags(["a", ""].into_iter())), "invalid_frame");
        assert_eq!(code(tags([&*"x".repeat(65)].into_iter())), "payload_too_large");
        assert_eq!(code(object("properties", Some("{}"), 10)), "ok");
        assert_eq!(code(object("properties", Some("[1]"), 10)), "invalid_frame");
        assert_eq!(code(object("properties", Some("{\"a\":123456}"), 10)), "payload_too_large");
    }
}
