//! Bodies of the Attractify dialect: JSON objects whose field names match in any case.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::frame::Text;
use super::rejection::Rejection;

/// A body: the fields of track, identify, actions and act together. An explicit null is an absent field;
/// of a field that comes twice the later wins.
#[derive(Debug, Default)]
pub struct Body<'a> {
    /// Who.
    pub user_id: Option<Text<'a>>,
    /// Event name, or kind of reaction.
    pub event: Option<Text<'a>>,
    /// JSON text.
    pub properties: Option<&'a str>,
    /// JSON text.
    pub context: Option<&'a str>,
    /// JSON text.
    pub traits: Option<&'a str>,
    /// `merge` or `replace`.
    pub traits_mode: Option<Text<'a>>,
    /// Kind of id, or type of action.
    pub kind: Option<Text<'a>>,
    /// Whether the id is anonymous.
    pub is_anonymous: Option<bool>,
    /// The id whose profile is absorbed.
    pub previous_user_id: Option<Text<'a>>,
    /// Allows absorbing a known profile.
    pub merge_known: Option<bool>,
    /// Proof of a known id.
    pub user_hash: Option<Text<'a>>,
    /// Tags that all must be on an action.
    pub tags: Option<Vec<Text<'a>>>,
    /// Which action.
    pub action_id: Option<Text<'a>>,
    /// Which delivery.
    pub delivery_id: Option<Text<'a>>,
    /// Makes retries harmless.
    pub message_id: Option<Text<'a>>,
    /// When it happened, by the client's clock.
    pub timestamp: Option<Text<'a>>,
    /// When it was sent, by the client's clock.
    pub sent_at: Option<Text<'a>>,
    /// The client's session.
    pub session_id: Option<Text<'a>>,
    /// The credential of another dialect.
    pub write_key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    UserId,
    Event,
    Properties,
    Context,
    Traits,
    TraitsMode,
    Type,
    IsAnonymous,
    PreviousUserId,
    MergeKnown,
    UserHash,
    Tags,
    ActionId,
    DeliveryId,
    MessageId,
    Timestamp,
    SentAt,
    SessionId,
    WriteKey,
}

const FIELDS: &[(&str, Field)] = &[
    ("userId", Field::UserId),
    ("event", Field::Event),
    ("properties", Field::Properties),
    ("context", Field::Context),
    ("traits", Field::Traits),
    ("traitsMode", Field::TraitsMode),
    ("type", Field::Type),
    ("isAnonymous", Field::IsAnonymous),
    ("previousUserId", Field::PreviousUserId),
    ("mergeKnown", Field::MergeKnown),
    ("userHash", Field::UserHash),
    ("tags", Field::Tags),
    ("actionId", Field::ActionId),
    ("deliveryId", Field::DeliveryId),
    ("messageId", Field::MessageId),
    ("timestamp", Field::Timestamp),
    ("sentAt", Field::SentAt),
    ("sessionId", Field::SessionId),
    ("writeKey", Field::WriteKey),
];

fn field(name: &str) -> Option<Field> {
    FIELDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, field)| *field)
}

/// Reads a body.
///
/// # Errors
/// `invalid_json`, or `invalid_frame` for a field of the wrong type.
pub fn parse(text: &[u8]) -> Result<Body<'_>, Rejection> {
    let text = std::str::from_utf8(text).map_err(|_| Rejection::invalid_json("the body is not UTF-8"))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let body = reader.deserialize_map(BodyVisitor).and_then(|body| reader.end().map(|()| body));
    body.map_err(|error| {
        if error.is_data() { Rejection::invalid_frame("", error.to_string()) } else { Rejection::invalid_json(error.to_string()) }
    })
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut body = Body::default();
        while let Some(name) = map.next_key::<Text<'de>>()? {
            let Some(field) = field(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            match field {
                Field::UserId => body.user_id = map.next_value()?,
                Field::Event => body.event = map.next_value()?,
                Field::Properties => body.properties = raw(&mut map)?,
                Field::Context => body.context = raw(&mut map)?,
                Field::Traits => body.traits = raw(&mut map)?,
                Field::TraitsMode => body.traits_mode = map.next_value()?,
                Field::Type => body.kind = map.next_value()?,
                Field::IsAnonymous => body.is_anonymous = map.next_value()?,
                Field::PreviousUserId => body.previous_user_id = map.next_value()?,
                Field::MergeKnown => body.merge_known = map.next_value()?,
                Field::UserHash => body.user_hash = map.next_value()?,
                Field::Tags => body.tags = map.next_value()?,
                Field::ActionId => body.action_id = map.next_value()?,
                Field::DeliveryId => body.delivery_id = map.next_value()?,
                Field::MessageId => body.message_id = map.next_value()?,
                Field::Timestamp => body.timestamp = map.next_value()?,
                Field::SentAt => body.sent_at = map.next_value()?,
                Field::SessionId => body.session_id = map.next_value()?,
                Field::WriteKey => body.write_key = raw(&mut map)?.is_some_and(|text| text.starts_with('"')),
            }
        }
        Ok(body)
    }
}

fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de str>, A::Error> {
    Ok(map.next_value::<Option<&'de RawValue>>()?.map(RawValue::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_names_match_in_any_case() {
        let body = parse(br#"{"USERID":"a1","Event":"E","PROPERTIES":{"a":1},"messageid":"m","SentAt":"x","x":[{}]}"#).unwrap();
        assert_eq!(body.user_id.as_deref(), Some("a1"));
        assert_eq!(body.event.as_deref(), Some("E"));
        assert_eq!(body.properties, Some(r#"{"a":1}"#));
        assert_eq!(body.message_id.as_deref(), Some("m"));
        assert_eq!(body.sent_at.as_deref(), Some("x"));
    }

    #[test]
    fn null_is_absent() {
        let body =
            parse(br#"{"userId":null,"context":null,"properties":null,"traits":null,"tags":null,"isAnonymous":null}"#).unwrap();
        assert!(body.user_id.is_none() && body.context.is_none() && body.tags.is_none() && body.is_anonymous.is_none());
    }

    #[test]
    fn bad_bodies() {
        let table: [(&[u8], &str); 7] = [
            (b"", "invalid_json"),
            (b"{", "invalid_json"),
            (b"{} x", "invalid_json"),
            (b"\xff", "invalid_json"),
            (b"[]", "invalid_frame"),
            (br#"{"userId":7}"#, "invalid_frame"),
            (br#"{"tags":"a"}"#, "invalid_frame"),
        ];
        for (text, code) in table {
            assert_eq!(parse(text).unwrap_err().code, code, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_write_key_is_noticed() {
        assert!(parse(br#"{"writeKey":"k"}"#).unwrap().write_key);
        assert!(!parse(br#"{"writeKey":7}"#).unwrap().write_key);
        assert!(!parse(b"{}").unwrap().write_key);
    }
}
