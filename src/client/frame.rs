//! Frames of the socket protocol as the tools see them.
//!
//! Only what a tool needs is read; unknown fields are ignored, as the protocol asks of a client.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The server's answer to hello.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// Items that may be sent before the first acknowledgement.
    pub credit: u32,
    /// The channel of the token.
    pub channel: String,
    /// Items that one batch may hold.
    pub batch_items_max: usize,
    /// Bytes that one frame may hold.
    pub frame_bytes_max: usize,
}

/// One item of an acknowledgement that was named.
#[derive(Clone, Debug, Deserialize)]
pub struct ItemResult {
    /// Message id of the item; absent if the item had none that could be read.
    pub id: Option<String>,
    /// `stored`, `duplicate`, `dropped` or `rejected`.
    pub status: String,
    /// Why, if rejected.
    pub code: Option<String>,
}

/// An acknowledgement.
#[derive(Clone, Debug)]
pub struct Ack {
    /// Compact form: the batch that it answers. All items that `results` does not name were stored.
    pub batch: Option<String>,
    /// Compact form: how many items were stored.
    pub stored: u64,
    /// Plain form: all items, in order of arrival; compact form: those that were not stored.
    pub results: Vec<ItemResult>,
    /// Credit given back.
    pub credit: u32,
}

/// An action that is due for the person behind the socket.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushedAction {
    /// Id of the action definition.
    pub id: String,
    /// Id of this delivery.
    pub delivery_id: Option<String>,
    /// Name of the action type.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// What it says, for this channel and person.
    #[serde(default)]
    pub properties: serde_json::Value,
}

/// A frame from the server.
#[derive(Clone, Debug)]
pub enum Frame {
    /// The hello was accepted.
    Welcome(Welcome),
    /// Items are durable, or were refused.
    Ack(Ack),
    /// More credit.
    Credit(u32),
    /// A subscription stands; these actions are due already.
    Subscribed {
        /// Number of the frame in the session.
        seq: u64,
        /// What is due now.
        actions: Vec<PushedAction>,
    },
    /// An action became due, or its properties changed.
    Action {
        /// Number of the frame in the session.
        seq: u64,
        /// The action.
        action: PushedAction,
    },
    /// An action is no longer due.
    Revoked {
        /// Number of the frame in the session.
        seq: u64,
        /// The delivery that ends.
        delivery_id: Option<String>,
    },
    /// A reaction was recorded.
    Acted {
        /// Id of the act frame.
        id: Option<String>,
    },
    /// Something was refused.
    Error {
        /// Id of the frame that was refused, if it had one.
        id: Option<String>,
        /// The stable code.
        code: String,
        /// Text for people.
        message: String,
        /// The server closes the socket after this frame.
        fatal: bool,
    },
    /// A frame that the tools have no use for.
    Other(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    t: String,
    id: Option<String>,
    batch: Option<String>,
    stored: u64,
    results: Vec<ItemResult>,
    credit: u32,
    channel: Option<String>,
    limits: Option<Limits>,
    seq: u64,
    action: Option<PushedAction>,
    actions: Vec<PushedAction>,
    delivery_id: Option<String>,
    code: Option<String>,
    message: Option<String>,
    fatal: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    frame_bytes: usize,
    batch: usize,
}

impl Frame {
    /// Reads a text frame.
    ///
    /// # Errors
    /// A description of the frame if it is not JSON of the expected shape.
    pub fn parse(text: &str) -> Result<Self, String> {
        let short = || text.chars().take(200).collect::<String>();
        let raw: Raw = serde_json::from_str(text).map_err(|e| format!("{} ({e})", short()))?;
        Ok(match raw.t.as_str() {
            "" => return Err(short()),
            "ack" => Self::Ack(Ack { batch: raw.batch, stored: raw.stored, results: raw.results, credit: raw.credit }),
            "credit" => Self::Credit(raw.credit),
            "action" => Self::Action { seq: raw.seq, action: raw.action.ok_or_else(short)? },
            "action_revoked" => Self::Revoked { seq: raw.seq, delivery_id: raw.delivery_id },
            "subscribed" => Self::Subscribed { seq: raw.seq, actions: raw.actions },
            "acted" => Self::Acted { id: raw.id },
            "welcome" => {
                let limits = raw.limits.ok_or_else(short)?;
                Self::Welcome(Welcome {
                    credit: raw.credit,
                    channel: raw.channel.unwrap_or_default(),
                    batch_items_max: limits.batch,
                    frame_bytes_max: limits.frame_bytes,
                })
            }
            "error" => Self::Error {
                id: raw.id,
                code: raw.code.unwrap_or_default(),
                message: raw.message.unwrap_or_default(),
                fatal: raw.fatal,
            },
            _ => Self::Other(raw.t),
        })
    }
}

/// What the client says about itself in the first frame.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Channel token.
    pub token: String,
    /// A known person, or…
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// …an anonymous visitor; one of the two is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<String>,
    /// Context of every event that brings none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<serde_json::Value>,
    /// Ask for one short acknowledgement per fully stored batch.
    #[serde(rename = "ack", skip_serializing_if = "is_plain", serialize_with = "compact")]
    pub compact_ack: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_plain(compact: &bool) -> bool {
    !*compact
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn compact<S: serde::Serializer>(_: &bool, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str("compact")
}

impl Hello {
    /// The text of the frame.
    #[must_use]
    pub fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Tagged<'a> {
            t: &'static str,
            v: u8,
            sdk: serde_json::Value,
            #[serde(flatten)]
            hello: &'a Hello,
        }
        let sdk = serde_json::json!({"name": "lodestone-cli", "version": env!("CARGO_PKG_VERSION")});
        text(&Tagged { t: "hello", v: 1, sdk, hello: self })
    }
}

/// One event to send.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Track<'a> {
    t: &'static str,
    /// Message id, stable over repetitions of the same event.
    pub id: &'a str,
    /// Whose event, if not the connection's; takes a secret token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    /// Name of the event definition.
    pub event: &'a str,
    /// Properties, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<&'a RawValue>,
    /// Context, as JSON; replaces the connection's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<&'a RawValue>,
    /// Event time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<&'a str>,
}

impl<'a> Track<'a> {
    /// An event with nothing but its name.
    #[must_use]
    pub fn new(id: &'a str, event: &'a str) -> Self {
        Self { t: "track", id, user_id: None, event, properties: None, context: None, timestamp: None }
    }

    /// The text of the frame; also the form of an item in a batch.
    #[must_use]
    pub fn to_text(&self) -> String {
        text(self)
    }
}

/// The text of a batch of items that are JSON texts already.
#[must_use]
pub fn batch<'a>(id: u64, items: impl Iterator<Item = &'a str>) -> String {
    let mut out = format!("{{\"t\":\"batch\",\"id\":\"{id}\",\"messages\":[");
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(item);
    }
    out.push_str("]}");
    out
}

/// The text of a subscription to all actions, or to those of one type.
#[must_use]
pub fn subscribe(id: &str, kind: Option<&str>) -> String {
    let mut frame = serde_json::json!({"t": "subscribe", "id": id, "sub": "s1"});
    if let Some(kind) = kind {
        frame["type"] = kind.into();
    }
    frame.to_string()
}

/// The text that acknowledges all pushes up to `seq`.
#[must_use]
pub fn seen(seq: u64) -> String {
    format!("{{\"t\":\"seen\",\"seq\":{seq}}}")
}

/// The text of a reaction to a delivery; `verb` is `show`, `hide`, `decline` or `accept`.
#[must_use]
pub fn act(id: &str, action: &PushedAction, verb: &str) -> String {
    serde_json::json!({"t": "act", "id": id, "actionId": action.id, "deliveryId": action.delivery_id, "event": verb}).to_string()
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("frames are maps with string keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_asks_for_the_compact_ack_only_when_told() {
        let mut hello = Hello { token: "tk".into(), user_id: Some("u".into()), ..Hello::default() };
        let plain: serde_json::Value = serde_json::from_str(&hello.to_text()).unwrap();
        assert_eq!(plain["t"], "hello");
        assert_eq!(plain["userId"], "u");
        assert!(plain.get("ack").is_none() && plain.get("anonymousId").is_none());
        hello.compact_ack = true;
        let compact: serde_json::Value = serde_json::from_str(&hello.to_text()).unwrap();
        assert_eq!(compact["ack"], "compact");
    }

    #[test]
    fn batches_and_items_are_json() {
        let properties = RawValue::from_string("{\"q\":\"a\\\"b\"}".into()).unwrap();
        let mut item = Track::new("m1", "Searched");
        item.user_id = Some("u\n1");
        item.properties = Some(&properties);
        let item = item.to_text();
        let frame: serde_json::Value = serde_json::from_str(&batch(7, [item.as_str(), item.as_str()].into_iter())).unwrap();
        assert_eq!(frame["id"], "7");
        assert_eq!(frame["messages"][1]["userId"], "u\n1");
        assert_eq!(frame["messages"][0]["properties"]["q"], "a\"b");
    }

    #[test]
    fn compact_and_plain_acks_are_read() {
        let Frame::Ack(ack) = Frame::parse(r#"{"t":"ack","batch":"3","stored":99,"results":[{"id":"m","status":"rejected","code":"unknown_event","errors":[]}],"credit":100}"#).unwrap()
        else { panic!("no ack") };
        assert_eq!((ack.batch.as_deref(), ack.stored, ack.credit), (Some("3"), 99, 100));
        assert_eq!(ack.results[0].code.as_deref(), Some("unknown_event"));
        let Frame::Ack(ack) = Frame::parse(r#"{"t":"ack","results":[{"id":"m","status":"stored","eventId":"e"}]}"#).unwrap()
        else {
            panic!("no ack")
        };
        assert_eq!((ack.batch, ack.credit, ack.results.len()), (None, 0, 1));
        assert!(Frame::parse("[]").is_err());
    }
}
