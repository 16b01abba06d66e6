//! Client frames, parsed in one pass over borrowed text.
//!
//! Objects that the engine validates itself (`properties`, `context`, `traits`) stay raw text and are
//! parsed once, against their definition. Fields that hardly any message has live in a box, so that a
//! batch of a hundred events stays small. Unknown fields are skipped; of a field that comes twice the
//! later wins; an explicit `null` is an absent field.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::limits;
use super::rejection::Rejection;

/// A string that borrows from the frame unless it had escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Borrow).map(Self)
    }
}

/// A frame of the client, with its shape checked but not yet its limits.
#[derive(Debug)]
pub enum Frame<'a> {
    /// Introduces the connection.
    Hello(Box<Hello<'a>>),
    /// One message by itself.
    Message(Fields<'a>),
    /// Several messages.
    Batch(Batch<'a>),
    /// Replaces the connection's context.
    Context {
        /// The frame's id.
        id: Option<Text<'a>>,
        /// JSON object text.
        context: Option<&'a str>,
    },
    /// Becomes a fresh anonymous identity.
    Reset {
        /// The frame's id.
        id: Option<Text<'a>>,
        /// The fresh id.
        anonymous_id: Option<Text<'a>>,
    },
    /// Asks for actions.
    Subscribe(Box<Subscribe<'a>>),
    /// Asks for no more.
    Unsubscribe {
        /// The frame's id.
        id: Option<Text<'a>>,
        /// Which subscription.
        sub: Option<Text<'a>>,
    },
    /// Everything up to this session sequence number arrived.
    Seen {
        /// The number.
        seq: u64,
    },
    /// Is anybody there?
    Ping {
        /// The frame's id.
        id: Option<Text<'a>>,
    },
}

/// How a connection introduces itself.
#[derive(Debug, Default)]
pub struct Hello<'a> {
    /// The frame's id, if any.
    pub id: Option<Text<'a>>,
    /// Protocol version.
    pub v: Option<u64>,
    /// The channel's token.
    pub token: Option<Text<'a>>,
    /// A known id.
    pub user_id: Option<Text<'a>>,
    /// An anonymous id.
    pub anonymous_id: Option<Text<'a>>,
    /// Proof of the known id.
    pub user_hash: Option<Text<'a>>,
    /// JSON object text.
    pub context: Option<&'a str>,
    /// Asks for compact acknowledgements.
    pub compact: bool,
    /// Continues an earlier session: its token, and the last sequence number seen.
    pub resume: Option<(Text<'a>, u64)>,
}

/// Several messages in one frame.
#[derive(Debug)]
pub struct Batch<'a> {
    /// The frame's id.
    pub id: Option<Text<'a>>,
    /// Applies to messages without their own.
    pub sent_at: Option<Text<'a>>,
    /// The first [`limits::BATCH_ITEMS`] messages.
    pub messages: Vec<Result<Fields<'a>, BadMessage>>,
    /// How many there were.
    pub len: usize,
}

/// A message of a batch that is not of the right shape.
#[derive(Debug)]
pub struct BadMessage {
    /// Its id, if it had one that can be read.
    pub id: Option<String>,
    /// What is wrong.
    pub rejection: Rejection,
}

/// A filter for actions.
#[derive(Debug, Default)]
pub struct Subscribe<'a> {
    /// The frame's id.
    pub id: Option<Text<'a>>,
    /// The client's name for the subscription.
    pub sub: Option<Text<'a>>,
    /// Exact type name.
    pub kind: Option<Text<'a>>,
    /// All must be on the action.
    pub tags: Vec<Text<'a>>,
    /// JSON object text.
    pub context: Option<&'a str>,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// An event.
    Track,
    /// An assertion of identity.
    Identify,
    /// A reaction to an action.
    Act,
}

/// One message: the fields of track, identify and act together.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    /// The frame type.
    pub t: Option<Text<'a>>,
    /// The message id.
    pub id: Option<Text<'a>>,
    /// The event's name; for act, the kind of reaction.
    pub event: Option<Text<'a>>,
    /// JSON text.
    pub properties: Option<&'a str>,
    /// JSON text.
    pub context: Option<&'a str>,
    /// When it happened, by the client's clock.
    pub timestamp: Option<Text<'a>>,
    /// When it was sent, by the client's clock.
    pub sent_at: Option<Text<'a>>,
    /// A known id.
    pub user_id: Option<Text<'a>>,
    /// An anonymous id.
    pub anonymous_id: Option<Text<'a>>,
    /// What only few messages have.
    pub rare: Option<Box<Rare<'a>>>,
}

/// Fields that only few messages have.
#[derive(Debug, Default)]
pub struct Rare<'a> {
    /// Kind of id, or of action.
    pub kind: Option<Text<'a>>,
    /// Whether the asserted id is anonymous.
    pub is_anonymous: Option<bool>,
    /// The id whose profile is absorbed.
    pub previous_user_id: Option<Text<'a>>,
    /// More ids whose profiles are absorbed.
    pub anonymous_ids: Vec<Text<'a>>,
    /// JSON text.
    pub traits: Option<&'a str>,
    /// `merge` or `replace`.
    pub traits_mode: Option<Text<'a>>,
    /// Allows absorbing a known profile.
    pub merge_known: Option<bool>,
    /// Proof of a known id.
    pub user_hash: Option<Text<'a>>,
    /// UUID text.
    pub action_id: Option<Text<'a>>,
    /// `im_…`.
    pub delivery_id: Option<Text<'a>>,
    sub: Option<Text<'a>>,
    tags: Vec<Text<'a>>,
    seq: Option<u64>,
    v: Option<u64>,
    token: Option<Text<'a>>,
    ack: Option<Text<'a>>,
    resume: Option<Resume<'a>>,
    messages: Option<Messages<'a>>,
}

impl Fields<'_> {
    /// What kind of message this is.
    ///
    /// # Errors
    /// `unknown_frame`, or `invalid_frame` for a frame that cannot be part of a batch.
    pub fn kind(&self) -> Result<MessageKind, Rejection> {
        match self.t.as_deref() {
            Some("track") => Ok(MessageKind::Track),
            Some("identify") => Ok(MessageKind::Identify),
            Some("act") => Ok(MessageKind::Act),
            Some("batch") => Err(Rejection::invalid_frame("messages", "a batch inside a batch")),
            Some("hello" | "context" | "reset" | "subscribe" | "unsubscribe" | "seen" | "ping") => {
                Err(Rejection::invalid_frame("t", "a batch holds track, identify and act only"))
            }
            Some(other) => Err(Rejection::unknown_frame(other)),
            None => Err(Rejection::missing_field("t")),
        }
    }

    /// Bytes of the parts that make a message long.
    #[must_use]
    pub fn weight(&self) -> usize {
        let traits = self.rare.as_ref().and_then(|rare| rare.traits);
        [self.properties, self.context, traits].into_iter().flatten().map(str::len).sum()
    }
}

/// A frame that could not be read.
#[derive(Debug)]
pub struct FrameError {
    /// The frame's id, if it can be read.
    pub id: Option<String>,
    /// What is wrong.
    pub rejection: Rejection,
}

/// Reads one frame.
///
/// # Errors
/// `invalid_json`, `invalid_frame`, `missing_field` (no `t`) or `unknown_frame`.
pub fn parse(text: &str) -> Result<Frame<'_>, FrameError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = FieldsSeed { in_batch: false }.deserialize(&mut reader).and_then(|fields| reader.end().map(|()| fields));
    match parsed {
        Ok(fields) => shape(fields),
        Err(error) if error.is_data() => parse_loosely(text, &error),
        Err(error) => Err(FrameError { id: None, rejection: Rejection::invalid_json(error.to_string()) }),
    }
}

fn shape(mut fields: Fields<'_>) -> Result<Frame<'_>, FrameError> {
    let mut rare = fields.rare.take();
    let mut take = || rare.take().map(|rare| *rare).unwrap_or_default();
    let frame = match fields.t.as_deref() {
        Some("track" | "identify" | "act") => {
            fields.rare = rare;
            Frame::Message(fields)
        }
        Some("batch") => match take().messages {
            Some(messages) => Frame::Batch(Batch {
                id: fields.id,
                sent_at: fields.sent_at,
                messages: messages.items.into_iter().map(Ok).collect(),
                len: messages.len,
            }),
            None => return Err(refuse(fields.id.as_deref(), Rejection::missing_field("messages"))),
        },
        Some("hello") => {
            let rare = take();
            let compact = match rare.ack.as_deref() {
                None | Some("full") => false,
                Some("compact") => true,
                Some(_) => {
                    let rejection = Rejection::invalid_frame("ack", "ack must be \"full\" or \"compact\"");
                    return Err(refuse(fields.id.as_deref(), rejection));
                }
            };
            Frame::Hello(Box::new(Hello {
                id: fields.id,
                v: rare.v,
                token: rare.token,
                user_id: fields.user_id,
                anonymous_id: fields.anonymous_id,
                user_hash: rare.user_hash,
                context: fields.context,
                compact,
                resume: rare.resume.map(|resume| (resume.token, resume.last_seq)),
            }))
        }
        Some("context") => Frame::Context { id: fields.id, context: fields.context },
        Some("reset") => Frame::Reset { id: fields.id, anonymous_id: fields.anonymous_id },
        Some("subscribe") => {
            let rare = take();
            let Rare { sub, kind, tags, .. } = rare;
            Frame::Subscribe(Box::new(Subscribe { id: fields.id, sub, kind, tags, context: fields.context }))
        }
        Some("unsubscribe") => Frame::Unsubscribe { id: fields.id, sub: take().sub },
        Some("seen") => match take().seq {
            Some(seq) => Frame::Seen { seq },
            None => return Err(refuse(fields.id.as_deref(), Rejection::missing_field("seq"))),
        },
        Some("ping") => Frame::Ping { id: fields.id },
        Some(other) => return Err(refuse(fields.id.as_deref(), Rejection::unknown_frame(other))),
        None => return Err(refuse(fields.id.as_deref(), Rejection::missing_field("t"))),
    };
    Ok(frame)
}

fn refuse(id: Option<&str>, rejection: Rejection) -> FrameError {
    FrameError { id: id.map(str::to_owned), rejection }
}

/// The slow way, for a frame with a field of the wrong type: finds out whom to answer, and in a batch
/// lets the good messages through.
fn parse_loosely<'a>(text: &'a str, error: &serde_json::Error) -> Result<Frame<'a>, FrameError> {
    #[derive(Deserialize)]
    struct Loose<'a> {
        t: Option<serde_json::Value>,
        id: Option<serde_json::Value>,
        #[serde(borrow, rename = "sentAt")]
        sent_at: Option<&'a RawValue>,
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
    }
    let wrong = || Rejection::invalid_frame("", error.to_string());
    let Ok(loose) = serde_json::from_str::<Loose<'a>>(text) else {
        return Err(FrameError { id: None, rejection: wrong() });
    };
    let id = text_of(loose.id.as_ref());
    if loose.t.as_ref().and_then(serde_json::Value::as_str) != Some("batch") {
        return Err(FrameError { id, rejection: wrong() });
    }
    let parts: Option<Vec<&'a RawValue>> = loose.messages.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let sent_at = match loose.sent_at.map(|raw| serde_json::from_str::<Option<Text<'a>>>(raw.get())) {
        None => Some(None),
        Some(Ok(sent_at)) => Some(sent_at),
        Some(Err(_)) => None,
    };
    let (Some(parts), Some(sent_at)) = (parts, sent_at) else {
        return Err(FrameError { id, rejection: wrong() });
    };
    if loose.id.is_some() && id.is_none() {
        return Err(FrameError { id, rejection: wrong() });
    }
    let len = parts.len();
    let messages = parts.into_iter().take(limits::BATCH_ITEMS).map(parse_message).collect();
    Ok(Frame::Batch(Batch { id: id.map(|id| Text(Cow::Owned(id))), sent_at, messages, len }))
}

fn parse_message(raw: &RawValue) -> Result<Fields<'_>, BadMessage> {
    #[derive(Deserialize)]
    struct Id {
        id: Option<serde_json::Value>,
    }
    let mut reader = serde_json::Deserializer::from_str(raw.get());
    FieldsSeed { in_batch: true }.deserialize(&mut reader).map_err(|error| BadMessage {
        id: serde_json::from_str::<Id>(raw.get()).ok().and_then(|found| text_of(found.id.as_ref())),
        rejection: Rejection::invalid_frame("", error.to_string()),
    })
}

fn text_of(value: Option<&serde_json::Value>) -> Option<String> {
    value.and_then(serde_json::Value::as_str).filter(|id| id.len() <= limits::MESSAGE_ID_BYTES).map(str::to_owned)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resume<'a> {
    #[serde(borrow)]
    token: Text<'a>,
    #[serde(default)]
    last_seq: u64,
}

#[derive(Debug)]
struct Messages<'a> {
    items: Vec<Fields<'a>>,
    len: usize,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    T,
    Id,
    Event,
    Properties,
    Context,
    Timestamp,
    SentAt,
    UserId,
    AnonymousId,
    Type,
    IsAnonymous,
    PreviousUserId,
    AnonymousIds,
    Traits,
    TraitsMode,
    MergeKnown,
    UserHash,
    ActionId,
    DeliveryId,
    Sub,
    Tags,
    Seq,
    V,
    Token,
    Ack,
    Resume,
    Messages,
    #[serde(other)]
    Unknown,
}

/// Reads one object into [`Fields`]. Inside a batch, `messages` is not descended into.
#[derive(Clone, Copy)]
struct FieldsSeed {
    in_batch: bool,
}

impl<'de> DeserializeSeed<'de> for FieldsSeed {
    type Value = Fields<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldsSeed {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a frame type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::T => fields.t = map.next_value()?,
                Key::Id => fields.id = map.next_value()?,
                Key::Event => fields.event = map.next_value()?,
                Key::Properties => fields.properties = raw(&mut map)?,
                Key::Context => fields.context = raw(&mut map)?,
                Key::Timestamp => fields.timestamp = map.next_value()?,
                Key::SentAt => fields.sent_at = map.next_value()?,
                Key::UserId => fields.user_id = map.next_value()?,
                Key::AnonymousId => fields.anonymous_id = map.next_value()?,
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Messages if self.in_batch => {
                    map.next_value::<IgnoredAny>()?;
                }
                key => read_rare(key, fields.rare.get_or_insert_default(), &mut map)?,
            }
        }
        Ok(fields)
    }
}

fn read_rare<'de, A: MapAccess<'de>>(key: Key, rare: &mut Rare<'de>, map: &mut A) -> Result<(), A::Error> {
    match key {
        Key::Type => rare.kind = map.next_value()?,
        Key::IsAnonymous => rare.is_anonymous = map.next_value()?,
        Key::PreviousUserId => rare.previous_user_id = map.next_value()?,
        Key::AnonymousIds => rare.anonymous_ids = map.next_value::<Option<_>>()?.unwrap_or_default(),
        Key::Traits => rare.traits = raw(map)?,
        Key::TraitsMode => rare.traits_mode = map.next_value()?,
        Key::MergeKnown => rare.merge_known = map.next_value()?,
        Key::UserHash => rare.user_hash = map.next_value()?,
        Key::ActionId => rare.action_id = map.next_value()?,
        Key::DeliveryId => rare.delivery_id = map.next_value()?,
        Key::Sub => rare.sub = map.next_value()?,
        Key::Tags => rare.tags = map.next_value::<Option<_>>()?.unwrap_or_default(),
        Key::Seq => rare.seq = map.next_value()?,
        Key::V => rare.v = map.next_value()?,
        Key::Token => rare.token = map.next_value()?,
        Key::Ack => rare.ack = map.next_value()?,
        Key::Resume => rare.resume = map.next_value()?,
        Key::Messages => rare.messages = Some(map.next_value_seed(MessagesSeed)?),
        _ => {
            map.next_value::<IgnoredAny>()?;
        }
    }
    Ok(())
}

fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de str>, A::Error> {
    Ok(map.next_value::<Option<&'de RawValue>>()?.map(RawValue::get))
}

/// Reads the messages of a batch. Past the limit they are only counted: a frame of a quarter megabyte
/// could otherwise ask for twenty megabytes.
struct MessagesSeed;

impl<'de> DeserializeSeed<'de> for MessagesSeed {
    type Value = Messages<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for MessagesSeed {
    type Value = Messages<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < limits::BATCH_ITEMS {
            match seq.next_element_seed(FieldsSeed { in_batch: true })? {
                Some(item) => items.push(item),
                None => {
                    let len = items.len();
                    return Ok(Messages { items, len });
                }
            }
        }
        let mut len = items.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            len += 1;
        }
        Ok(Messages { items, len })
    }
}

#[cfg(test)]
mod tests;
