//! Tokens of a document.

use super::apply::Draft;
use super::catalog::{Kind, Token, TokenKind, token_hash};
use super::document::Fields;
use super::lookup::made_id;
use crate::ids::ChannelSlot;
use crate::issue::DEFINITION_INVALID;
use serde_json::Value;

/// A token has 8 to 256 visible ASCII characters.
const LEN: std::ops::RangeInclusive<usize> = 8..=256;
/// Longest part of a token that is kept readable.
const PREFIX_MAX: usize = 8;

impl Draft<'_> {
    /// A token is found by its value, or in an export, which has none, by its id.
    pub(super) fn token(&mut self, value: &Value, pointer: &str) {
        let Some(fields) = Fields::open(value, pointer, &mut self.issues) else { return };
        self.only(&fields, &["id", "version", "token", "prefix", "channel", "kind", "import"]);
        let id = fields.id(&mut self.issues);
        let kind = match fields.text("kind", &mut self.issues) {
            None | Some("public") => TokenKind::Public,
            Some("secret") => TokenKind::Secret,
            Some("admin") => TokenKind::Admin,
            Some(other) => {
                self.refuse(fields.at("kind"), DEFINITION_INVALID, format!("kind is public, secret or admin, not {other:?}"));
                return;
            }
        };
        let channel = self.token_channel(&fields, kind);
        let import = fields.flag("import", &mut self.issues).unwrap_or(false);
        if import && kind != TokenKind::Secret {
            let message = format!("a {} token cannot import history: anyone could rewrite the past with it", kind.as_str());
            self.refuse(fields.at("import"), DEFINITION_INVALID, message);
        }
        let Some(text) = fields.text("token", &mut self.issues) else {
            let known = id.and_then(|id| self.new.tokens.iter_mut().find(|token| token.id == id));
            match known {
                Some(token) => (token.kind, token.channel, token.import) = (kind, channel, import),
                None => {
                    let message = "a new token needs its value: exports leave it out".to_owned();
                    self.refuse(fields.at("token"), DEFINITION_INVALID, message);
                }
            }
            return;
        };
        if !LEN.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            // The value itself is a secret and stays out of messages.
            let message = format!("a token has {} to {} visible ASCII characters", LEN.start(), LEN.end());
            self.refuse(fields.at("token"), DEFINITION_INVALID, message);
            return;
        }
        let sha256 = token_hash(text);
        let version = self.old.version + 1;
        let place = self.new.tokens.iter().position(|token| token.sha256 == sha256).unwrap_or(self.new.tokens.len());
        if !self.claimed.insert((Kind::Token, place)) {
            self.refuse(pointer, "duplicate", "this token is in this document twice");
        }
        match self.new.tokens.get_mut(place) {
            Some(token) if id.is_some_and(|id| id != token.id) => {
                self.refuse(fields.at("id"), "immutable", "this token has another id");
            }
            Some(token) => (token.kind, token.channel, token.import) = (kind, channel, import),
            None => {
                let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
                let id = id.unwrap_or_else(|| made_id(Kind::Token, &hex));
                if self.new.tokens.iter().any(|token| token.id == id) {
                    self.refuse(fields.at("id"), "immutable", "the value of a token does not change: make a new one");
                }
                let prefix = text[..PREFIX_MAX.min(text.len() / 2)].to_owned();
                self.new.tokens.push(Token { id, sha256, prefix, kind, channel, import, created: version });
            }
        }
    }

    fn token_channel(&mut self, fields: &Fields<'_>, kind: TokenKind) -> Option<ChannelSlot> {
        let given = fields.text("channel", &mut self.issues);
        match (kind, given) {
            (TokenKind::Admin, None) => None,
            (TokenKind::Admin, Some(_)) => {
                self.refuse(fields.at("channel"), DEFINITION_INVALID, "an admin token belongs to no channel");
                None
            }
            (_, None) => {
                let message = format!("a {} token belongs to a channel", kind.as_str());
                self.refuse(fields.at("channel"), DEFINITION_INVALID, message);
                None
            }
            (_, Some(text)) => {
                let slot = self.new.channel_slot(text);
                if slot.is_none() {
                    self.refuse(fields.at("channel"), "channel_not_found", format!("there is no channel {text:?}"));
                }
                slot
            }
        }
    }
}
