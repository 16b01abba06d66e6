//! Server frames, written straight into text.
//!
//! Every function appends one complete frame. Nothing here allocates but the string that it appends to.

use std::fmt::Write;

use lodestone_state::action::push::{DeliveredAction, delivery_text};
use lodestone_state::ids::Millis;
use lodestone_state::schema::FieldError;

use super::rejection::Rejection;
use crate::hooks::Answer;
use crate::push::frame::PushFrame;

/// Appends a JSON string with its quotes.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[clean..i]);
        clean = i + 1;
        if escape.is_empty() {
            number(out, format_args!("\\u{byte:04x}"));
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// Appends formatted text; writing to a string cannot fail.
fn number(out: &mut String, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("a string takes any text");
}

fn write_optional(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => write_text(out, text),
        None => out.push_str("null"),
    }
}

fn write_list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut each: impl FnMut(&mut String, T)) {
    out.push('[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

fn write_uuid(out: &mut String, id: u128) {
    out.push_str(uuid::Uuid::from_u128(id).hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()));
}

fn write_time(out: &mut String, at: Millis) {
    write_text(out, &lodestone_state::time::format_instant(at));
}

/// What a client learns when it is let in.
#[derive(Clone, Debug)]
pub struct Welcome<'a> {
    /// The hello's id, if it had one.
    pub id: Option<&'a str>,
    /// `cn_…`.
    pub connection_id: &'a str,
    /// `rt_…`.
    pub resume_token: &'a str,
    /// How long a session outlives its socket.
    pub resume_ttl_ms: u64,
    /// Whether the earlier session goes on.
    pub resumed: bool,
    /// The channel's key.
    pub channel: &'a str,
    /// The id that the socket acts for.
    pub user_id: &'a str,
    /// Whether that id is anonymous.
    pub is_anonymous: bool,
    /// Now.
    pub server_time: Millis,
    /// How often the server pings.
    pub ping_interval_ms: u64,
    /// Credit to start with.
    pub credit: u32,
    /// Bytes of one frame.
    pub frame_bytes: usize,
}

/// Appends `welcome`.
pub fn welcome(out: &mut String, welcome: &Welcome<'_>) {
    out.push_str(r#"{"t":"welcome","v":1"#);
    if let Some(id) = welcome.id {
        out.push_str(r#","id":"#);
        write_text(out, id);
    }
    out.push_str(r#","connectionId":"#);
    write_text(out, welcome.connection_id);
    out.push_str(r#","resumeToken":"#);
    write_text(out, welcome.resume_token);
    number(out, format_args!(r#","resumeTtlMs":{},"resumed":{}"#, welcome.resume_ttl_ms, welcome.resumed));
    out.push_str(r#","channel":"#);
    write_text(out, welcome.channel);
    out.push_str(r#","identity":{"userId":"#);
    write_text(out, welcome.user_id);
    number(out, format_args!(r#","isAnonymous":{}}},"serverTime":"#, welcome.is_anonymous));
    write_time(out, welcome.server_time);
    number(
        out,
        format_args!(
            r#","pingIntervalMs":{},"credit":{},"limits":{{"frameBytes":{},"eventBytes":{},"batch":{},"subscriptions":{}}}}}"#,
            welcome.ping_interval_ms,
            welcome.credit,
            welcome.frame_bytes,
            super::limits::EVENT_BYTES,
            super::limits::BATCH_ITEMS,
            super::limits::SUBSCRIPTIONS,
        ),
    );
}

/// What became of one message, as it stands in an `ack`.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Accepted. Only events have an id of their own.
    Stored(Option<u128>),
    /// Seen before; the first outcome stands.
    Duplicate(Option<u128>),
    /// Not stored, and the client need not know why.
    Dropped,
    /// A reaction that waited for a webhook, with what that answered.
    Acted {
        /// Seen before.
        duplicate: bool,
        /// The answer.
        result: Box<Answer>,
    },
    /// Turned away.
    Rejected(Box<Rejection>),
}

/// Begins an `ack`; results follow, then [`ack_end`].
pub fn ack_begin(out: &mut String) {
    out.push_str(r#"{"t":"ack","results":["#);
}

/// Begins the `ack` of one compact batch; results follow, then [`ack_end`].
pub fn compact_ack_begin(out: &mut String, batch: &str, stored: u32) {
    out.push_str(r#"{"t":"ack","batch":"#);
    write_text(out, batch);
    number(out, format_args!(r#","stored":{stored},"results":["#));
}

/// Appends one result.
pub fn ack_result(out: &mut String, first: bool, id: Option<&str>, outcome: &Outcome) {
    if !first {
        out.push(',');
    }
    out.push_str(r#"{"id":"#);
    write_optional(out, id);
    let with_event = |out: &mut String, event_id: &Option<u128>| {
        if let Some(event_id) = event_id {
            out.push_str(r#","eventId":""#);
            write_uuid(out, *event_id);
            out.push('"');
        }
    };
    match outcome {
        Outcome::Stored(event_id) => {
            out.push_str(r#","status":"stored""#);
            with_event(out, event_id);
        }
        Outcome::Duplicate(event_id) => {
            out.push_str(r#","status":"duplicate""#);
            with_event(out, event_id);
        }
        Outcome::Dropped => out.push_str(r#","status":"dropped""#),
        Outcome::Acted { duplicate, result } => {
            out.push_str(if *duplicate { r#","status":"duplicate","result":"# } else { r#","status":"stored","result":"# });
            out.push_str(&result.to_json());
        }
        Outcome::Rejected(rejection) => {
            out.push_str(r#","status":"rejected","code":"#);
            write_text(out, rejection.code);
            out.push_str(r#","message":"#);
            write_text(out, &rejection.message);
            number(out, format_args!(r#","retryable":{},"errors":"#, rejection.retryable()));
            write_details(out, &rejection.details);
            write_hook(out, rejection);
        }
    }
    out.push('}');
}

/// What the webhook answered that refused a reaction.
fn write_hook(out: &mut String, rejection: &Rejection) {
    if let Some(answer) = &rejection.hook {
        number(out, format_args!(r#","httpStatus":{},"result":"#, rejection.http_status()));
        out.push_str(&answer.to_json());
    }
}

/// Ends an `ack`, handing back credit.
pub fn ack_end(out: &mut String, credit: u32) {
    number(out, format_args!(r#"],"credit":{credit}}}"#));
}

/// Appends `credit`.
pub fn credit(out: &mut String, credit: u32) {
    number(out, format_args!(r#"{{"t":"credit","credit":{credit}}}"#));
}

/// Appends `pong`.
pub fn pong(out: &mut String, id: Option<&str>, server_time: Millis) {
    out.push_str(r#"{"t":"pong","id":"#);
    write_optional(out, id);
    out.push_str(r#","serverTime":"#);
    write_time(out, server_time);
    out.push('}');
}

/// Appends `acted`, with what a webhook answered if the reaction waited for one.
pub fn acted(out: &mut String, id: Option<&str>, result: Option<&Answer>) {
    out.push_str(r#"{"t":"acted","id":"#);
    write_optional(out, id);
    out.push_str(r#","status":"recorded","httpStatus":200,"result":"#);
    match result {
        Some(answer) => out.push_str(&answer.to_json()),
        None => out.push_str("{}"),
    }
    out.push('}');
}

/// Appends `error`. A fatal one is the last frame before the close.
pub fn error(out: &mut String, id: Option<&str>, rejection: &Rejection, fatal: bool) {
    error_about(out, id, rejection, fatal, std::iter::empty());
}

/// Appends `error` about the messages of a batch that was refused whole: `ids` names them.
pub fn error_about<'a>(
    out: &mut String,
    id: Option<&str>,
    rejection: &Rejection,
    fatal: bool,
    about: impl Iterator<Item = &'a str>,
) {
    out.push_str(r#"{"t":"error","id":"#);
    write_optional(out, id);
    out.push_str(r#","code":"#);
    write_text(out, rejection.code);
    out.push_str(r#","message":"#);
    write_text(out, &rejection.message);
    number(out, format_args!(r#","retryable":{},"retryAfterMs":"#, rejection.retryable()));
    match rejection.retry_after_ms {
        Some(ms) => number(out, format_args!("{ms}")),
        None => out.push_str("null"),
    }
    number(out, format_args!(r#","fatal":{fatal},"details":"#));
    write_details(out, &rejection.details);
    write_hook(out, rejection);
    let mut about = about.peekable();
    if about.peek().is_some() {
        out.push_str(r#","ids":"#);
        write_list(out, about, write_text);
    }
    out.push('}');
}

/// Appends the list of field errors.
pub fn write_details(out: &mut String, details: &[FieldError]) {
    write_list(out, details, |out, detail| {
        out.push_str(r#"{"path":"#);
        write_text(out, &detail.path);
        out.push_str(r#","rule":"#);
        write_text(out, detail.rule);
        out.push_str(r#","message":"#);
        write_text(out, &detail.message);
        out.push('}');
    });
}

/// Appends an action as clients see it.
pub fn action(out: &mut String, action: &DeliveredAction) {
    // Text keys and values that are JSON already: serialising cannot fail.
    out.push_str(&serde_json::to_string(action).expect("an action is JSON"));
}

/// Appends a list of actions: the body of a poll.
pub fn actions(out: &mut String, list: &[DeliveredAction]) {
    write_list(out, list, action);
}

fn write_subs(out: &mut String, subs: &[String]) {
    out.push_str(r#","subs":"#);
    write_list(out, subs, |out, sub| write_text(out, sub));
}

/// Appends a frame of the server's own accord.
pub fn push(out: &mut String, frame: &PushFrame) {
    match frame {
        PushFrame::Action { seq, subs, cause, action: pushed, .. } => {
            number(out, format_args!(r#"{{"t":"action","seq":{seq}"#));
            write_subs(out, subs);
            out.push_str(r#","cause":"#);
            write_text(out, cause.word());
            out.push_str(r#","action":"#);
            action(out, pushed);
        }
        PushFrame::Revoked { seq, subs, action_id, delivery_id, reason } => {
            number(out, format_args!(r#"{{"t":"action_revoked","seq":{seq}"#));
            write_subs(out, subs);
            out.push_str(r#","actionId":""#);
            write_uuid(out, action_id.0);
            out.push_str(r#"","deliveryId":"#);
            write_text(out, &delivery_text(*delivery_id));
            out.push_str(r#","reason":"#);
            write_text(out, reason.word());
        }
        PushFrame::Subscribed { seq, id, sub, actions: due, .. } => {
            out.push_str(r#"{"t":"subscribed","id":"#);
            write_optional(out, id.as_deref());
            out.push_str(r#","sub":"#);
            write_text(out, sub);
            number(out, format_args!(r#","seq":{seq},"actions":"#));
            actions(out, due);
        }
        PushFrame::Identified { seq, id, user_id, is_anonymous, merged, skipped, durable: _ } => {
            out.push_str(r#"{"t":"identified","id":"#);
            write_optional(out, id.as_deref());
            out.push_str(r#","status":"stored","userId":"#);
            write_text(out, user_id);
            number(out, format_args!(r#","isAnonymous":{is_anonymous},"merged":"#));
            write_list(out, merged, |out, user_id| write_text(out, user_id));
            out.push_str(r#","skipped":"#);
            write_list(out, skipped, |out, (user_id, reason)| {
                out.push_str(r#"{"userId":"#);
                write_text(out, user_id);
                out.push_str(r#","reason":"#);
                write_text(out, reason);
                out.push('}');
            });
            number(out, format_args!(r#","seq":{seq}"#));
        }
        PushFrame::Resync { seq, subs } => {
            out.push_str(r#"{"t":"resync""#);
            write_subs(out, subs);
            number(out, format_args!(r#","seq":{seq}"#));
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodestone_state::ids::DefId;
    use lodestone_state::value::Value;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        let parsed: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
        assert!(parsed.is_object() || parsed.is_array() || parsed.is_string());
        out
    }

    #[test]
    fn text_is_escaped_as_json_asks() {
        for text in ["", "plain", "a\"b\\c", "\n\r\t\u{1}\u{1f}", "é 漢 🦀 \u{2028}", "</script>"] {
            let out = written(|out| write_text(out, text));
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn an_ack_in_full() {
        let rejected = Rejection::new("unknown_event", "x");
        let out = written(|out| {
            ack_begin(out);
            ack_result(out, true, Some("m1"), &Outcome::Stored(Some(1)));
            ack_result(out, false, Some("m2"), &Outcome::Duplicate(Some(2)));
            ack_result(out, false, None, &Outcome::Dropped);
            ack_result(out, false, Some("m3"), &Outcome::Rejected(Box::new(rejected)));
            ack_end(out, 4);
        });
        assert_eq!(
            out,
            concat!(
                r#"{"t":"ack","results":[{"id":"m1","status":"stored","eventId":"00000000-0000-0000-0000-000000000001"},"#,
                r#"{"id":"m2","status":"duplicate","eventId":"00000000-0000-0000-0000-000000000002"},"#,
                r#"{"id":null,"status":"dropped"},"#,
                r#"{"id":"m3","status":"rejected","code":"unknown_event","message":"x","retryable":false,"errors":[]}],"credit":4}"#
            )
        );
    }

    #[test]
    fn a_compact_ack_is_short() {
        let out = written(|out| {
            compact_ack_begin(out, "b7", 100);
            ack_end(out, 100);
        });
        assert_eq!(out, r#"{"t":"ack","batch":"b7","stored":100,"results":[],"credit":100}"#);
    }

    #[test]
    fn errors_carry_what_a_client_needs() {
        let out = written(|out| error(out, Some("m9"), &Rejection::missing_field("event"), false));
        assert_eq!(
            out,
            concat!(
                r#"{"t":"error","id":"m9","code":"missing_field","message":"event is required","retryable":false,"#,
                r#""retryAfterMs":null,"fatal":false,"details":[{"path":"event","rule":"required","message":"event is required"}]}"#
            )
        );
        let out = written(|out| {
            error_about(out, None, &Rejection::flow_exceeded(2, 1), false, ["a", "b"].into_iter());
        });
        assert!(out.contains(r#""retryable":true,"retryAfterMs":100"#) && out.ends_with(r#""ids":["a","b"]}"#), "{out}");
    }

    #[test]
    fn pushes() {
        let action = DeliveredAction {
            delivery_id: 2,
            id: DefId(1),
            type_name: "notification".into(),
            type_version: 1,
            tags: ["home".into()].into(),
            properties: vec![("title".into(), Value::Str("Hi".into()))],
        };
        let out = written(|out| {
            push(
                out,
                &PushFrame::Subscribed { seq: 43, id: None, sub: "s1".into(), actions: vec![action.clone()], first: vec![] },
            );
        });
        assert_eq!(
            out,
            concat!(
                r#"{"t":"subscribed","id":null,"sub":"s1","seq":43,"actions":[{"deliveryId":"im_00000000000000000000000000000002","#,
                r#""id":"00000000-0000-0000-0000-000000000001","type":"notification","version":1,"tags":["home"],"#,
                r#""properties":{"title":"Hi"}}]}"#
            )
        );
        let out = written(|out| {
            push(
                out,
                &PushFrame::Identified {
                    seq: 41,
                    id: Some("m5".into()),
                    user_id: "u123".into(),
                    is_anonymous: false,
                    merged: vec!["0192a".into()],
                    skipped: vec![("0191".into(), "refused_known_user")],
                    durable: 7,
                },
            );
        });
        assert_eq!(
            out,
            concat!(
                r#"{"t":"identified","id":"m5","status":"stored","userId":"u123","isAnonymous":false,"merged":["0192a"],"#,
                r#""skipped":[{"userId":"0191","reason":"refused_known_user"}],"seq":41}"#
            )
        );
        let out = written(|out| push(out, &PushFrame::Resync { seq: 60, subs: vec!["s1".into()] }));
        assert_eq!(out, r#"{"t":"resync","subs":["s1"],"seq":60}"#);
    }

    #[test]
    fn the_welcome_is_as_specified() {
        let out = written(|out| {
            welcome(
                out,
                &Welcome {
                    id: None,
                    connection_id: "cn_1",
                    resume_token: "rt_1",
                    resume_ttl_ms: 120_000,
                    resumed: false,
                    channel: "web",
                    user_id: "0192a",
                    is_anonymous: true,
                    server_time: Millis(1_767_607_200_000),
                    ping_interval_ms: 25_000,
                    credit: 200,
                    frame_bytes: 262_144,
                },
            );
        });
        assert_eq!(
            out,
            concat!(
                r#"{"t":"welcome","v":1,"connectionId":"cn_1","resumeToken":"rt_1","resumeTtlMs":120000,"resumed":false,"#,
                r#""channel":"web","identity":{"userId":"0192a","isAnonymous":true},"serverTime":"2026-01-05T10:00:00.000Z","#,
                r#""pingIntervalMs":25000,"credit":200,"limits":{"frameBytes":262144,"eventBytes":32768,"batch":100,"subscriptions":16}}"#
            )
        );
    }
}
