//! The engine, as one connection sees it.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lodestone_state::ids::Millis;
use lodestone_state::plan::{Plan, TokenGrant, TokenKind};

use super::Shared;
use crate::engine::api::{self, ActInput, Acted, Acting, Caller, Identified, IdentifyInput, Stored, SubscribeInput, TrackInput};
use crate::push::session::{Drained, Holder};
use crate::push::{PushFrame, Session};
use crate::session::{Opened, Upstream};
use crate::telemetry::metrics as m;
use crate::wire::Rejection;
use crate::wire::frame::Hello;

/// One connection's way to the engine.
pub(super) struct EngineUpstream {
    shared: Arc<Shared>,
    open: Option<Held>,
    /// Reactions that wait for their webhooks. Bounded by the connection's credit.
    acts: FuturesUnordered<Pin<Box<dyn Future<Output = Told> + Send>>>,
}

/// What became of a reaction that waited, and its ticket.
type Told = (u64, Result<Acted, Rejection>);

/// A session, and what it was opened with.
struct Held {
    session: Arc<Session>,
    holder: Arc<Holder>,
    caller: Caller,
    token: String,
    plan_version: u32,
}

/// The caller behind a token, if it may send events.
///
/// # Errors
/// `unauthorized`.
pub(super) fn caller(plan: &Plan, token: &str) -> Result<Caller, Rejection> {
    let grant = plan.token(token).ok_or_else(|| Rejection::unauthorized("the token is not known"))?;
    caller_of(grant).ok_or_else(|| Rejection::unauthorized("an admin token cannot send events"))
}

fn caller_of(grant: TokenGrant) -> Option<Caller> {
    Some(Caller { channel: grant.channel?, grant })
}

impl EngineUpstream {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: None, acts: FuturesUnordered::new() }
    }

    /// The session, once the hello was accepted.
    pub(super) fn session(&self) -> Option<&Arc<Session>> {
        self.open.as_ref().map(|held| &held.session)
    }

    /// Waits for the end of a reaction that waits for webhooks; for ever if none does.
    pub(super) async fn acted(&mut self) -> Told {
        match self.acts.next().await {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }

    /// The same, if one has come to its end already.
    pub(super) fn acted_by_now(&mut self) -> Option<Told> {
        self.acts.next().now_or_never().flatten()
    }

    /// Whether another connection has resumed the session.
    pub(super) fn is_replaced(&self) -> bool {
        self.open.as_ref().is_some_and(|held| held.holder.is_replaced())
    }

    /// What the engine has to say of its own accord, since when the oldest of it waits, and when there may
    /// be more.
    pub(super) fn drain(&self, out: &mut Vec<PushFrame>) -> Drained {
        self.open.as_ref().map(|held| held.session.drain(&held.holder, out)).unwrap_or_default()
    }

    /// Looks again whether the token is good, if the definitions changed since.
    pub(super) fn recheck(&mut self, plan_version: u32) -> bool {
        let Some(held) = &mut self.open else { return true };
        if held.plan_version == plan_version {
            return true;
        }
        match self.shared.engine.authenticate(&held.token).and_then(caller_of) {
            Some(caller) => {
                held.caller = caller;
                held.plan_version = plan_version;
                true
            }
            None => false,
        }
    }

    /// The connection is gone; the session can be resumed for a while.
    pub(super) fn leave(&mut self) {
        if let Some(held) = self.open.take() {
            m::session_open(-1.0);
            if !held.holder.is_replaced() {
                self.shared.engine.disconnect(&held.session);
            }
        }
    }

    fn held(&self) -> Result<&Held, Rejection> {
        self.open.as_ref().ok_or_else(Rejection::internal)
    }
}

impl Drop for EngineUpstream {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Upstream for EngineUpstream {
    fn hello(&mut self, hello: &Hello<'_>, user_id: &str, is_anonymous: bool) -> Result<Opened, Rejection> {
        let token = hello.token.as_deref().filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| Rejection::unauthorized("hello has no token"))?;
        let engine = &self.shared.engine;
        let plan = engine.plan();
        let caller = caller(&plan, token)?;
        let resumed = match &hello.resume {
            Some((resume, last_seq)) => engine.resume(&caller, resume, *last_seq),
            None => None,
        };
        let was_resumed = resumed.is_some();
        let session = match resumed {
            Some(session) => {
                if hello.context.is_some() {
                    engine.set_context(&caller, &session, hello.context)?;
                }
                session
            }
            None => engine.connect(&caller, &api::Hello { user_id, is_anonymous, context: hello.context })?,
        };
        let (user_id, is_anonymous) = session.user_id();
        let opened = Opened {
            connection_id: session.connection_id(),
            resume_token: session.resume_token(),
            resumed: was_resumed,
            channel: plan.channel_key(caller.channel).to_owned(),
            user_id,
            is_anonymous,
            secret: caller.grant.kind == TokenKind::Secret,
            session: session.id(),
            context: session.context_raw(),
        };
        m::session_open(1.0);
        m::connected(was_resumed);
        let holder = session.holder();
        self.open = Some(Held { session, holder, caller, token: token.to_owned(), plan_version: plan.version });
        Ok(opened)
    }

    fn track(&mut self, input: &TrackInput<'_>) -> Stored {
        match &self.open {
            Some(held) => self.shared.engine.track(&held.caller, input),
            None => Stored::Rejected(Rejection::internal()),
        }
    }

    fn identify(&mut self, input: &IdentifyInput<'_>) -> Result<Identified, Rejection> {
        self.shared.engine.identify(&self.held()?.caller, input)
    }

    fn act(&mut self, input: &ActInput<'_>, ticket: u64) -> Result<Option<Acted>, Rejection> {
        match self.shared.engine.act(&self.held()?.caller, input)? {
            Acting::Done(acted) => Ok(Some(acted)),
            Acting::Waiting(waiting) => {
                self.acts.push(Box::pin(async move { (ticket, waiting.outcome().await) }));
                Ok(None)
            }
        }
    }

    fn subscribe(&mut self, id: &str, input: &SubscribeInput<'_>) -> Result<(), Rejection> {
        let held = self.held()?;
        self.shared.engine.subscribe(&held.caller, &held.session, id, input)
    }

    fn unsubscribe(&mut self, sub: &str) {
        if let Some(held) = &self.open {
            self.shared.engine.unsubscribe(&held.session, sub);
        }
    }

    fn set_context(&mut self, context: Option<&str>) -> Result<(), Rejection> {
        let held = self.held()?;
        self.shared.engine.set_context(&held.caller, &held.session, context)
    }

    fn seen(&mut self, seq: u64) {
        if let Some(held) = &self.open {
            self.shared.engine.seen(&held.session, seq);
        }
    }

    fn now(&self) -> Millis {
        self.shared.engine.now()
    }
}
