//! What a connection asks of the engine.

use lodestone_state::ids::Millis;

use crate::engine::api::{ActInput, Acted, Identified, IdentifyInput, Stored, SubscribeInput, TrackInput};
use crate::wire::Rejection;
use crate::wire::frame::Hello;

/// A session that was opened or resumed.
#[derive(Clone, Debug)]
pub struct Opened {
    /// `cn_…`.
    pub connection_id: String,
    /// `rt_…`.
    pub resume_token: String,
    /// Whether an earlier session goes on.
    pub resumed: bool,
    /// The channel's key.
    pub channel: String,
    /// The id that the session acts for.
    pub user_id: String,
    /// Whether that id is anonymous.
    pub is_anonymous: bool,
    /// Whether the token is one of a server, which may speak for anybody.
    pub secret: bool,
    /// The id by which the engine knows the session.
    pub session: u64,
    /// The connection context, as JSON text: a resumed session keeps the one it had.
    pub context: Option<String>,
}

/// The engine, as one connection sees it: it knows the token and the session that belong to it.
pub trait Upstream {
    /// Lets the connection in: checks the token, opens or resumes the session.
    ///
    /// # Errors
    /// `unauthorized`, `origin_denied` and other reasons to close.
    fn hello(&mut self, hello: &Hello<'_>, user_id: &str, is_anonymous: bool) -> Result<Opened, Rejection>;

    /// Files an event.
    fn track(&mut self, input: &TrackInput<'_>) -> Stored;

    /// Asserts an identity. A good answer comes as a push frame of the session.
    ///
    /// # Errors
    /// Why not.
    fn identify(&mut self, input: &IdentifyInput<'_>) -> Result<Identified, Rejection>;

    /// Records a reaction. `None`: it waits for webhooks, and the connection is told what came of it under
    /// `ticket` ([`super::Connection::on_acted`]).
    ///
    /// # Errors
    /// Why not.
    fn act(&mut self, input: &ActInput<'_>, ticket: u64) -> Result<Option<Acted>, Rejection>;

    /// Asks for actions. A good answer comes as a push frame of the session.
    ///
    /// # Errors
    /// Why not.
    fn subscribe(&mut self, id: &str, input: &SubscribeInput<'_>) -> Result<(), Rejection>;

    /// Asks for no more.
    fn unsubscribe(&mut self, sub: &str);

    /// Replaces the connection's context.
    ///
    /// # Errors
    /// `context_invalid`.
    fn set_context(&mut self, context: Option<&str>) -> Result<(), Rejection>;

    /// The client has everything up to `seq`.
    fn seen(&mut self, seq: u64);

    /// Wall-clock time.
    fn now(&self) -> Millis;
}
