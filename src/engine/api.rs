//! What the gateway says to the engine and what it hears back, as plain data.
//!
//! Every call is synchronous and touches no disk: it returns when the state has changed and the record
//! is on its way to the journal. The answer carries the log position; the gateway acknowledges when the
//! journal's durable position has reached it.

use lodestone_state::action::push::DeliveredAction;
use lodestone_state::ids::{ChannelSlot, DefId, ProfileId, Seq};
use lodestone_state::plan::{TokenGrant, TokenKind};
use tokio::sync::watch;

use crate::hooks::Answer;
use crate::wire::Rejection;

/// Who is calling: the token's grant, resolved once per connection or request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What the token allows.
    pub grant: TokenGrant,
    /// The token's channel; ingestion without one is refused before it gets here.
    pub channel: ChannelSlot,
}

/// One event as it came in. JSON parts are the raw text of the object, `None` when absent or null.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrackInput<'a> {
    /// The id to file it under.
    pub user_id: &'a str,
    /// The event's name.
    pub event: &'a str,
    /// JSON object text.
    pub properties: Option<&'a str>,
    /// JSON object text.
    pub context: Option<&'a str>,
    /// RFC 3339 text: when it happened by the client's clock.
    pub timestamp: Option<&'a str>,
    /// RFC 3339 text: when it was sent by the client's clock.
    pub sent_at: Option<&'a str>,
    /// Makes retries harmless.
    pub message_id: Option<&'a str>,
    /// The connection that it came over, if any: its pushes are evaluated with that connection's context.
    pub session: Option<u64>,
}

/// What became of one event.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Applied; durable once the journal reaches `seq`.
    Stored {
        /// Log position.
        seq: Seq,
        /// The event's id on the wire.
        event_id: u128,
    },
    /// The message id was seen before; the first outcome stands.
    Duplicate {
        /// Log position of the first.
        seq: Seq,
        /// Id of the first.
        event_id: u128,
    },
    /// The person is locked: nothing is stored, and the client need not know why.
    Dropped,
    /// Turned away.
    Rejected(Rejection),
}

/// An identify, or a reset when `previous_user_id` is empty and the id is a fresh anonymous one.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdentifyInput<'a> {
    /// The id being asserted.
    pub user_id: &'a str,
    /// Kind of id; ignored (`anonymous_id`) when anonymous.
    pub kind: &'a str,
    /// Whether the id is anonymous.
    pub is_anonymous: bool,
    /// The id whose profile is absorbed.
    pub previous_user_id: Option<&'a str>,
    /// JSON object text.
    pub traits: Option<&'a str>,
    /// Shallow merge (null deletes) instead of replacing the document.
    pub merge_traits: bool,
    /// Allows absorbing a known profile; needs a secret token.
    pub merge_known: bool,
    /// HMAC of the user id, where the organisation asks for it.
    pub user_hash: Option<&'a str>,
    /// Makes retries harmless.
    pub message_id: Option<&'a str>,
    /// RFC 3339 text.
    pub timestamp: Option<&'a str>,
    /// RFC 3339 text.
    pub sent_at: Option<&'a str>,
    /// The connection it came over: rebound to the resulting profile.
    pub session: Option<u64>,
}

/// What became of an identify.
#[derive(Clone, Debug, Default)]
pub struct Identified {
    /// Log position.
    pub seq: Seq,
    /// The profile that the id now belongs to.
    pub profile: ProfileId,
    /// The id asserted.
    pub user_id: String,
    /// Whether it is (still) anonymous.
    pub is_anonymous: bool,
    /// Ids whose profiles were absorbed.
    pub merged: Vec<String>,
    /// Ids that were not, and why (`refused_known_user`, …).
    pub skipped: Vec<(String, &'static str)>,
    /// The message id was seen before.
    pub duplicate: bool,
}

/// A reaction to an action.
#[derive(Clone, Copy, Debug, Default)]
pub struct ActInput<'a> {
    /// Who.
    pub user_id: &'a str,
    /// UUID text of the action.
    pub action_id: &'a str,
    /// `show`, `hide`, `decline` or `accept`.
    pub event: &'a str,
    /// `im_…` of the delivery.
    pub delivery_id: Option<&'a str>,
    /// JSON object text.
    pub properties: Option<&'a str>,
    /// JSON object text.
    pub context: Option<&'a str>,
    /// Makes retries harmless.
    pub message_id: Option<&'a str>,
    /// The connection it came over.
    pub session: Option<u64>,
}

/// What became of a reaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Acted {
    /// Log position; a reply waits until it is durable.
    pub seq: Seq,
    /// The message id was seen before.
    pub duplicate: bool,
    /// What the last of the webhooks that it waited for answered.
    pub result: Option<Box<Answer>>,
}

/// A reaction that is recorded, or waits for webhooks.
#[derive(Debug)]
pub enum Acting {
    /// Recorded.
    Done(Acted),
    /// It goes on by itself, also if nobody waits for it any more.
    Waiting(Waiting),
}

/// The outcome-to-be of a reaction.
#[derive(Clone, Debug)]
pub struct Waiting {
    outcome: watch::Receiver<Option<Result<Acted, Rejection>>>,
    again: bool,
    signed: bool,
}

impl Waiting {
    pub(super) fn first(outcome: watch::Receiver<Option<Result<Acted, Rejection>>>) -> Self {
        Self { outcome, again: false, signed: true }
    }

    pub(super) fn again(outcome: watch::Receiver<Option<Result<Acted, Rejection>>>) -> Self {
        Self { again: true, ..Self::first(outcome) }
    }

    /// The same for `caller`, whom signatures may be no business of.
    pub(super) fn seen_by(self, caller: &Caller) -> Self {
        Self { signed: caller.grant.kind != TokenKind::Public, ..self }
    }

    /// What came of it.
    ///
    /// # Errors
    /// As of an act; `hook_failed` with the answer of the webhook that did not agree.
    pub async fn outcome(mut self) -> Result<Acted, Rejection> {
        let told = self.outcome.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
        let unsigned = |answer: Box<Answer>| if self.signed { answer } else { Box::new(answer.unsigned()) };
        match told {
            Some(Ok(acted)) => {
                Ok(Acted { duplicate: acted.duplicate || self.again, result: acted.result.map(unsigned), ..acted })
            }
            Some(Err(rejection)) => Err(Rejection { hook: rejection.hook.map(unsigned), ..rejection }),
            // Whoever worked on it is gone: a bug, or the end of the process.
            None => Err(Rejection::internal()),
        }
    }
}

/// A poll for the actions that are due now.
#[derive(Clone, Debug, Default)]
pub struct ListInput<'a> {
    /// Who.
    pub user_id: &'a str,
    /// Exact type name.
    pub action_type: Option<&'a str>,
    /// All must be on the action.
    pub tags: Vec<&'a str>,
    /// JSON object text.
    pub context: Option<&'a str>,
    /// Polls that name the same session record one delivery of an action.
    pub session_id: Option<&'a str>,
}

/// The actions due, and the log position of what the poll itself wrote.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Due now, best first.
    pub actions: Vec<DeliveredAction>,
    /// The reply waits for this.
    pub seq: Seq,
    /// The context did not validate; context conditions saw its valid part only.
    pub context_invalid: bool,
}

/// How a session introduces itself.
#[derive(Clone, Debug)]
pub struct Hello<'a> {
    /// The id it acts for.
    pub user_id: &'a str,
    /// Whether that id is anonymous.
    pub is_anonymous: bool,
    /// JSON object text of the connection context.
    pub context: Option<&'a str>,
}

/// A subscription to actions.
#[derive(Clone, Debug, Default)]
pub struct SubscribeInput<'a> {
    /// The client's name for it.
    pub sub: &'a str,
    /// Exact type name.
    pub action_type: Option<&'a str>,
    /// All must be on the action.
    pub tags: Vec<&'a str>,
    /// JSON object text; overrides the connection context for this subscription.
    pub context: Option<&'a str>,
}

/// Id of a definition as wire text.
#[must_use]
pub fn id_text(id: DefId) -> String {
    id.to_string()
}
