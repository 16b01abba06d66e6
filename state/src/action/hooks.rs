//! Hooks: what an action does elsewhere when somebody reacts to it.
//!
//! Here is what a definition says, and the body that a webhook gets. Sending it is the edge's. Whatever
//! can be known to be wrong is refused when the action is saved: a hook that fails for the first time in
//! front of a customer is found too late.

use super::json::{Node, field_issue};
use super::{REACTIONS, channel_list, reaction_word};
use crate::event::Reaction;
use crate::expr::Resolve;
use crate::ids::{ChannelSlot, DefId, EventSlot, Millis};
use crate::issue::Issue;
use crate::time::format_instant;
use crate::traits::definition::NO_EVENT;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// Hooks of one action.
pub const HOOKS_MAX: usize = 32;
/// Bytes of a URL.
pub const URL_BYTES_MAX: usize = 2048;
/// Bytes of the extra JSON that a webhook carries.
pub const PARAMS_BYTES_MAX: usize = 16 * 1024;

/// One thing to do on one kind of reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// On which reaction.
    pub reaction: Reaction,
    /// Where it must have happened, sorted; empty for anywhere.
    pub channels: Box<[ChannelSlot]>,
    /// What to do.
    pub kind: HookKind,
}

/// What a hook does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Calls somebody else's server.
    Webhook(Webhook),
    /// Tracks an event for the person who reacted.
    TrackEvent(EventSlot),
}

/// A call to somebody else's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where to: `https` or `http`, with a host.
    pub url: Box<str>,
    /// The reaction waits for the answer, and is refused unless that is a 2xx.
    pub return_result: bool,
    /// Extra JSON as it was written; `None` where it says nothing.
    pub params: Option<Box<str>>,
}

impl Hook {
    /// Whether a reaction of this kind and place runs it.
    #[must_use]
    pub fn applies(&self, reaction: Reaction, channel: ChannelSlot) -> bool {
        self.reaction == reaction && (self.channels.is_empty() || self.channels.contains(&channel))
    }

    /// The webhook whose answer decides whether the reaction is taken. `delivered` is written by the
    /// server when nobody waits for an answer: its webhooks are queued, whatever they say.
    #[must_use]
    pub fn blocking(&self) -> Option<&Webhook> {
        match &self.kind {
            HookKind::Webhook(webhook) if webhook.return_result && self.reaction != Reaction::Delivered => Some(webhook),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Sort {
    Webhook,
    TrackEvent,
}

/// The hooks of an action, in the order in which they run.
pub(super) fn hooks(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Box<[Hook]> {
    let nodes = node.objects("hooks", issues);
    if nodes.len() > HOOKS_MAX {
        issues.push(field_issue(node, "hooks", format!("{} hooks, limit is {HOOKS_MAX}", nodes.len())));
    }
    nodes.iter().filter_map(|node| hook(node, resolve, issues)).collect()
}

fn hook(node: &Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Option<Hook> {
    let reaction = node.required_word("event", &REACTIONS, issues);
    let channels = channel_list(node, resolve, issues).into();
    let sorts = [("execute_webhook", Sort::Webhook), ("track_event", Sort::TrackEvent)];
    let sort = node.required_word("type", &sorts, issues)?;
    let nothing = serde_json::Value::Null;
    let properties = node.object("properties", issues);
    let properties = properties.unwrap_or_else(|| Node::new(&nothing, node.at("properties")));
    let kind = match sort {
        Sort::Webhook => HookKind::Webhook(webhook(&properties, issues)?),
        Sort::TrackEvent => {
            let name = required(&properties, "eventId", issues)?;
            // A name that leads nowhere is the catalog's to report; here it is an event that never comes.
            HookKind::TrackEvent(resolve.event(name).unwrap_or(NO_EVENT))
        }
    };
    Some(Hook { reaction: reaction?, channels, kind })
}

fn webhook(properties: &Node<'_>, issues: &mut Vec<Issue>) -> Option<Webhook> {
    let return_result = properties.flag("returnResult", issues);
    let url = required(properties, "url", issues);
    if let Some(Err(why)) = url.map(check_url) {
        issues.push(field_issue(properties, "url", why));
    }
    let params = properties.text("params", issues).unwrap_or_default();
    let params = match check_params(params) {
        Ok(params) => params.map(Into::into),
        Err(why) => {
            issues.push(field_issue(properties, "params", why));
            None
        }
    };
    Some(Webhook { url: url?.into(), return_result, params })
}

/// A text that has to be there.
fn required<'a>(properties: &Node<'a>, key: &str, issues: &mut Vec<Issue>) -> Option<&'a str> {
    let text = properties.text(key, issues);
    if properties.get(key).is_none() || text == Some("") {
        issues.push(field_issue(properties, key, format!("{key} is required")));
    }
    text.filter(|text| !text.is_empty())
}

/// Whether a webhook can go there, as far as the text tells. Which addresses may be called is decided
/// when the name has been resolved.
///
/// # Errors
/// A fragment that says what is wrong with it.
pub fn check_url(text: &str) -> Result<(), String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("url has {} bytes, limit is {URL_BYTES_MAX}", text.len()));
    }
    let url = url::Url::parse(text).map_err(|error| format!("url {text:?} is not a URL: {error}"))?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(format!("url has the scheme {:?}, only https and http are called", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(format!("url {text:?} names no host"));
    }
    Ok(())
}

/// The extra JSON of a webhook: `None` where the text is empty or says nothing (`{}`, `null`).
///
/// # Errors
/// A fragment that says what is wrong with it.
pub fn check_params(text: &str) -> Result<Option<&str>, String> {
    let text = text.trim();
    if text.len() > PARAMS_BYTES_MAX {
        return Err(format!("params has {} bytes, limit is {PARAMS_BYTES_MAX}", text.len()));
    }
    if text.is_empty() || text == "null" {
        return Ok(None);
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(error) => Err(format!("params is not JSON: {error}")),
        Ok(_) if serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text).is_ok_and(|map| map.is_empty()) => Ok(None),
        Ok(_) => Ok(Some(text)),
    }
}

/// What a webhook tells about a reaction.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// The reaction, under the word by which it is stored.
    pub reaction: Reaction,
    /// To which action.
    pub action: DefId,
    /// Who, by the id that came with the reaction.
    pub user_id: &'a str,
    /// The channel's key.
    pub channel: &'a str,
    /// What the client sent along: JSON object text.
    pub properties: Option<&'a str>,
    /// The hook's own: JSON text.
    pub params: Option<&'a str>,
    /// When.
    pub at: Millis,
    /// Nothing happened: somebody tries out the hook.
    pub test: bool,
}

impl Body<'_> {
    /// The body as it is sent and signed. JSON that people wrote goes along as they wrote it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(256 + self.properties.map_or(0, str::len) + self.params.map_or(0, str::len));
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        out.push_str(r#"{"event":""#);
        out.push_str(reaction_word(self.reaction));
        out.push_str(r#"","actionId":""#);
        out.push_str(&self.action.to_string());
        out.push_str(r#"","userId":"#);
        out.push_str(&quoted(self.user_id));
        out.push_str(r#","channel":"#);
        out.push_str(&quoted(self.channel));
        out.push_str(r#","userProperties":"#);
        out.push_str(self.properties.unwrap_or("null"));
        if let Some(params) = self.params {
            out.push_str(r#","customProperties":"#);
            out.push_str(params);
        }
        out.push_str(r#","timestamp":""#);
        out.push_str(&timestamp(self.at));
        out.push('"');
        if self.test {
            out.push_str(r#","test":true"#);
        }
        out.push('}');
        out
    }
}

/// RFC 3339 UTC; whole seconds carry no fraction.
#[must_use]
pub fn timestamp(at: Millis) -> String {
    let text = format_instant(at);
    match text.strip_suffix(".000Z") {
        Some(whole) => format!("{whole}Z"),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse_rfc3339;

    fn at(text: &str) -> Millis {
        parse_rfc3339(text).expect("an instant")
    }

    fn vector() -> Body<'static> {
        Body {
            reaction: Reaction::Accepted,
            action: "11111111-1111-4111-8111-111111111111".parse().expect("a UUID"),
            user_id: "u1",
            channel: "web",
            properties: None,
            params: Some(r#"{"code":"X1"}"#),
            at: at("2024-03-01T10:00:00Z"),
            test: false,
        }
    }

    /// T-69: the body of the vector, to the byte.
    #[test]
    fn t69_the_body_of_the_vector() {
        let body = vector().to_json();
        assert_eq!(
            body,
            r#"{"event":"accepted","actionId":"11111111-1111-4111-8111-111111111111","userId":"u1","channel":"web","userProperties":null,"customProperties":{"code":"X1"},"timestamp":"2024-03-01T10:00:00Z"}"#
        );
        assert_eq!(body.len(), 190);
    }

    #[test]
    fn the_body_stays_json_whatever_people_write() {
        let body = Body {
            user_id: "a\"b\\\n",
            properties: Some(r#"{"size":"M"}"#),
            params: None,
            at: at("2024-03-01T10:00:00.120Z"),
            test: true,
            ..vector()
        };
        let json: serde_json::Value = serde_json::from_str(&body.to_json()).expect("JSON");
        assert_eq!(json["userId"], "a\"b\\\n");
        assert_eq!(json["userProperties"]["size"], "M");
        assert_eq!(json["timestamp"], "2024-03-01T10:00:00.120Z");
        assert_eq!(json["test"], true);
        assert!(json.get("customProperties").is_none(), "left out where there is nothing to say");
    }

    #[test]
    fn urls() {
        for good in ["https://x/y", "http://127.0.0.1:9/", "https://user:secret@example.com/p?q=1#f", "https://[::1]/"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        let long = format!("https://x/{}", "y".repeat(URL_BYTES_MAX));
        for bad in ["", "x", "/hook", "ftp://x/y", "javascript:alert(1)", "https://", "https://:80/", "file:///etc/passwd", &long]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn params() {
        assert_eq!(check_params(""), Ok(None));
        assert_eq!(check_params(" {} "), Ok(None));
        assert_eq!(check_params("null"), Ok(None));
        assert_eq!(check_params(" {\"a\": 1} "), Ok(Some("{\"a\": 1}")));
        assert_eq!(check_params("[1]"), Ok(Some("[1]")));
        // A-3: not the literal of a programming language.
        assert!(check_params("{'a': 1}").is_err());
        assert!(check_params("{\"a\": 1} x").is_err());
        assert!(check_params(&format!("\"{}\"", "x".repeat(PARAMS_BYTES_MAX))).is_err());
    }
}
