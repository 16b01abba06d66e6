//! The state machine of one connection.

mod acting;

use std::collections::VecDeque;
use std::sync::Arc;

use compact_str::CompactString;

use self::acting::Acting;
use super::ack::{Answers, CompactBatch, Released};
use super::credit::Credit;
use super::liveness::{Due, Liveness};
use super::perform::{self, Done, Who};
use super::{Close, Micros, Opened, Settings, Upstream};
use crate::push::frame::PushFrame;
use crate::wire::codec::{self, Outcome, Welcome};
use crate::wire::frame::{self, Batch, Fields, Frame, Hello, MessageKind, Subscribe};
use crate::wire::{Rejection, limits};

/// Answers to frames without cost that may wait for the journal.
const BACKLOG_MAX: usize = 1024;

/// One connection: fed with text, pushes and time; asked for frames.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    who: Option<Who>,
    /// JSON object text for events that bring none.
    context: Option<String>,
    compact: bool,
    credit: Credit,
    answers: Answers,
    pushes: VecDeque<PushFrame>,
    frames: Vec<String>,
    acting: Acting,
    /// Codes of what was turned away before the engine saw it, for the metrics.
    refusals: Vec<&'static str>,
    malformed: u32,
    close: Option<Close>,
    liveness: Liveness,
}

impl Connection {
    /// A connection that opened `now`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, now: Micros) -> Self {
        Self {
            who: None,
            context: None,
            compact: false,
            credit: Credit::new(settings.credit),
            answers: Answers::default(),
            pushes: VecDeque::new(),
            frames: Vec::new(),
            acting: Acting::default(),
            refusals: Vec::new(),
            malformed: 0,
            close: None,
            liveness: Liveness::new(&settings, now),
            settings,
        }
    }

    /// Whether the hello was accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.who.is_some()
    }

    /// Why the socket is to be closed once the frames written so far are out.
    #[must_use]
    pub fn closing(&self) -> Option<Close> {
        self.close
    }

    /// Decides to close, unless that was decided before.
    pub fn close(&mut self, close: Close) {
        self.close.get_or_insert(close);
    }

    /// The clocks.
    pub fn liveness(&mut self) -> &mut Liveness {
        &mut self.liveness
    }

    /// When [`Self::on_time`] wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Micros {
        self.liveness.deadline()
    }

    /// Whether an answer waits for the journal.
    #[must_use]
    pub fn waits_for_durable(&self) -> bool {
        !self.answers.is_empty() || !self.pushes.is_empty()
    }

    /// Whether reactions wait for their webhooks: their outcomes are still to be told.
    #[must_use]
    pub fn waits_for_hooks(&self) -> bool {
        !self.acting.is_empty()
    }

    /// Whether so many answers wait for the journal that nothing more should be read. Frames that cost no
    /// credit could otherwise pile up behind one that is not durable.
    #[must_use]
    pub fn is_backed_up(&self) -> bool {
        self.answers.len() >= self.settings.credit as usize + BACKLOG_MAX
    }

    /// The frames to send, in order.
    pub fn take_frames(&mut self) -> std::vec::Drain<'_, String> {
        self.frames.drain(..)
    }

    /// The codes of what was turned away since this was last asked, but for events that the engine
    /// turned away: it counts those itself.
    pub fn take_refusals(&mut self) -> std::vec::Drain<'_, &'static str> {
        self.refusals.drain(..)
    }

    /// Time passed. Returns whether to send a protocol ping.
    pub fn on_time(&mut self, now: Micros) -> bool {
        match self.liveness.due(now) {
            Due::Nothing => false,
            Due::Ping => true,
            Due::Close(close) => {
                self.close(close);
                false
            }
        }
    }

    /// The token is not good any more.
    pub fn revoke(&mut self) {
        self.fatal(None, &Rejection::token_revoked(), Close::Unauthorized);
    }

    /// The engine has something to say of its own accord.
    pub fn on_push(&mut self, push: PushFrame) {
        if let PushFrame::Identified { id: None, user_id, .. } = &push
            && let Some(who) = &mut self.who
        {
            who.user_id.clone_from(user_id);
        }
        self.pushes.push_back(push);
    }

    /// Writes what may be said now, given that the journal is durable up to `durable`: pushes first, so
    /// that what an event caused leaves before or with its answer.
    pub fn settle(&mut self, durable: u64, waited: impl FnMut(Micros)) -> Released {
        while let Some(push) = self.pushes.front() {
            if matches!(push, PushFrame::Identified { durable: needs, .. } if *needs > durable) {
                break;
            }
            let Some(push) = self.pushes.pop_front() else { break };
            let mut text = String::with_capacity(512);
            codec::push(&mut text, &push);
            self.frames.push(text);
        }
        if self.answers.is_empty() {
            return Released::default();
        }
        let released = self.answers.release(durable, &mut self.frames, waited);
        self.credit.restore(released.credit);
        released
    }

    /// A text frame came.
    pub fn on_text(&mut self, text: &str, now: Micros, up: &mut impl Upstream) {
        self.liveness.heard(now);
        if self.close.is_some() {
            return;
        }
        match frame::parse(text) {
            Ok(Frame::Hello(hello)) => self.on_hello(&hello, now, up),
            Ok(Frame::Ping { id }) => {
                let mut pong = String::new();
                codec::pong(&mut pong, id.as_deref(), up.now());
                self.frames.push(pong);
            }
            Ok(_) if self.who.is_none() => {
                let rejection = Rejection::invalid_frame("t", "the first frame must be hello");
                self.fatal(None, &rejection, Close::Protocol);
            }
            Ok(Frame::Message(fields)) => self.on_message(&fields, text.len(), now, up),
            Ok(Frame::Batch(batch)) => self.on_batch(&batch, now, up),
            Ok(Frame::Context { id, context }) => self.on_context(id.as_deref(), context, now, up),
            Ok(Frame::Reset { id, anonymous_id }) => self.on_reset(id.as_deref(), anonymous_id.as_deref(), now, up),
            Ok(Frame::Subscribe(subscribe)) => self.on_subscribe(&subscribe, now, up),
            Ok(Frame::Unsubscribe { id, sub }) => match limits::short("sub", sub.as_deref()) {
                Ok(sub) => {
                    up.unsubscribe(sub);
                    self.done(id.as_deref(), 0, now);
                }
                Err(rejection) => self.error(id.as_deref(), &rejection, 0, now),
            },
            Ok(Frame::Seen { seq }) => up.seen(seq),
            Err(error) => {
                if error.rejection.code == "invalid_json" {
                    self.malformed += 1;
                    if self.malformed >= limits::MALFORMED_FRAMES {
                        self.fatal(None, &error.rejection, Close::Protocol);
                        return;
                    }
                }
                self.error(error.id.as_deref(), &error.rejection, 0, now);
            }
        }
    }

    /// An `error` frame that answers a frame, in its turn.
    fn error(&mut self, id: Option<&str>, rejection: &Rejection, credit: u32, now: Micros) {
        self.refusals.push(rejection.code);
        let mut text = String::with_capacity(192);
        codec::error(&mut text, id, rejection, false);
        self.answers.frame(0, credit, now, text);
    }

    /// An `error` frame before a close. Answers that still wait for the journal are given up: the client
    /// sends those messages again.
    fn fatal(&mut self, id: Option<&str>, rejection: &Rejection, close: Close) {
        self.refusals.push(rejection.code);
        let mut text = String::with_capacity(192);
        codec::error(&mut text, id, rejection, true);
        self.frames.push(text);
        self.close(close);
    }

    /// A frame that has no answer of its own is answered by a result, if it has an id.
    fn done(&mut self, id: Option<&str>, credit: u32, now: Micros) {
        match id {
            Some(id) => self.answers.result(0, credit, now, Some(id), Outcome::Stored(None)),
            None => self.answers.silent(0, credit, now),
        }
    }

    /// Pays for a frame; on a breach answers `flow_exceeded`, naming the messages of a batch.
    fn pay<'m>(&mut self, id: Option<&str>, cost: u32, now: Micros, about: impl Iterator<Item = &'m str>) -> bool {
        let Err(breach) = self.credit.spend(cost, now) else { return true };
        let rejection = Rejection::flow_exceeded(cost, breach.available);
        self.refusals.push(rejection.code);
        let mut text = String::with_capacity(192);
        codec::error_about(&mut text, id, &rejection, breach.fatal, about);
        if breach.fatal {
            self.frames.push(text);
            self.close(Close::Flow);
        } else {
            self.answers.frame(0, 0, now, text);
        }
        false
    }

    fn on_hello(&mut self, hello: &Hello<'_>, now: Micros, up: &mut impl Upstream) {
        let id = hello.id.as_deref();
        if self.who.is_some() {
            self.error(id, &Rejection::invalid_frame("t", "hello came before"), 0, now);
            return;
        }
        match self.greet(hello, up) {
            Ok(opened) => {
                let mut text = String::with_capacity(512);
                codec::welcome(
                    &mut text,
                    &Welcome {
                        id,
                        connection_id: &opened.connection_id,
                        resume_token: &opened.resume_token,
                        resume_ttl_ms: self.settings.resume_ttl_ms,
                        resumed: opened.resumed,
                        channel: &opened.channel,
                        user_id: &opened.user_id,
                        is_anonymous: opened.is_anonymous,
                        server_time: up.now(),
                        ping_interval_ms: self.settings.ping_ms,
                        credit: self.settings.credit,
                        frame_bytes: self.settings.frame_bytes,
                    },
                );
                self.frames.push(text);
                self.compact = hello.compact;
                let Opened { user_id, secret, session, context, .. } = opened;
                self.context = context;
                self.who = Some(Who { user_id, secret, session });
                self.liveness.greeted();
            }
            Err(rejection) => {
                let close = match rejection.code {
                    "unauthorized" | "token_revoked" | "user_hash_required" | "user_hash_invalid" => Close::Unauthorized,
                    "origin_denied" => Close::Origin,
                    "unavailable" => Close::Drain,
                    _ => Close::Protocol,
                };
                self.fatal(id, &rejection, close);
            }
        }
    }

    fn greet(&self, hello: &Hello<'_>, up: &mut impl Upstream) -> Result<Opened, Rejection> {
        match hello.v {
            None | Some(1) => {}
            Some(v) => return Err(Rejection::unsupported_version(v)),
        }
        let is_anonymous = hello.user_id.as_deref().is_none_or(str::is_empty);
        let user_id = if is_anonymous {
            limits::user_id("anonymousId", hello.anonymous_id.as_deref())?
        } else {
            limits::user_id("userId", hello.user_id.as_deref())?
        };
        limits::object("context", hello.context, limits::EVENT_BYTES)?;
        up.hello(hello, user_id, is_anonymous)
    }

    fn on_message(&mut self, fields: &Fields<'_>, len: usize, now: Micros, up: &mut impl Upstream) {
        let id = fields.id.as_deref();
        if !self.pay(id, 1, now, std::iter::empty()) {
            return;
        }
        let kind = match fields.kind() {
            Ok(kind) => kind,
            Err(rejection) => return self.error(id, &rejection, 1, now),
        };
        let too_long = kind != MessageKind::Identify && len > limits::EVENT_BYTES;
        let done = if too_long {
            Done::rejected(Rejection::payload_too_large("message", len, limits::EVENT_BYTES))
        } else {
            match self.perform(kind, fields, false, None, up) {
                Performed::Done(done) => done,
                // Whatever is sent after it is answered before it.
                Performed::Waits(ticket) => return self.acting.single(ticket, id, now),
            }
        };
        match (kind, done.outcome) {
            (MessageKind::Track, outcome) => self.answers.result(done.seq, 1, now, id, outcome),
            (MessageKind::Act, outcome) => self.acted(id, done.seq, outcome, now),
            (_, Outcome::Rejected(rejection)) => self.error(id, &rejection, 1, now),
            (MessageKind::Identify, _) => self.answers.silent(done.seq, 1, now),
        }
    }

    fn on_batch(&mut self, batch: &Batch<'_>, now: Micros, up: &mut impl Upstream) {
        let id = batch.id.as_deref();
        if batch.len > limits::BATCH_ITEMS {
            return self.error(id, &Rejection::batch_too_large(batch.len, limits::BATCH_ITEMS), 0, now);
        }
        if let Err(rejection) = limits::message_id("id", id) {
            return self.error(None, &rejection, 0, now);
        }
        let cost = u32::try_from(batch.len).unwrap_or(u32::MAX);
        let ids = batch.messages.iter().filter_map(|message| message.as_ref().ok().and_then(|m| m.id.as_deref()));
        if !self.pay(id, cost, now, ids) {
            return;
        }
        let compact = id.filter(|_| self.compact);
        let mut summary =
            CompactBatch { id: compact.map(CompactString::new).unwrap_or_default(), credit: cost, ..CompactBatch::default() };
        let mut results = Vec::with_capacity(if compact.is_none() { batch.messages.len() } else { 0 });
        let mut waits = Vec::new();
        for message in &batch.messages {
            let (message_id, performed) = match message {
                Ok(fields) => (fields.id.as_deref(), self.perform_in_batch(fields, batch.sent_at.as_deref(), up)),
                Err(bad) => (bad.id.as_deref(), Performed::Done(Done::rejected(bad.rejection.clone()))),
            };
            let done = match performed {
                Performed::Done(done) => done,
                Performed::Waits(ticket) => {
                    waits.push((ticket, results.len(), message_id));
                    if compact.is_none() {
                        results.push((message_id, Outcome::Dropped));
                    }
                    continue;
                }
            };
            summary.seq = summary.seq.max(done.seq);
            match done.outcome {
                outcome if compact.is_none() => results.push((message_id, outcome)),
                Outcome::Stored(_) => summary.stored += 1,
                other => summary.others.push((message_id.map(CompactString::new), other)),
            }
        }
        if !waits.is_empty() {
            return self.acting.batch(&waits, summary, &results, compact.is_some(), now);
        }
        if compact.is_some() {
            self.answers.compact(now, summary);
            return;
        }
        // All wait for the last of them, so that a batch is answered by one ack (I-58).
        for (message_id, outcome) in results {
            self.answers.result(summary.seq, 1, now, message_id, outcome);
        }
        if batch.len == 0 {
            let mut text = String::new();
            codec::ack_begin(&mut text);
            codec::ack_end(&mut text, 0);
            self.answers.frame(0, 0, now, text);
        }
    }

    fn perform_in_batch(&mut self, fields: &Fields<'_>, sent_at: Option<&str>, up: &mut impl Upstream) -> Performed {
        match fields.kind() {
            Err(rejection) => Performed::Done(Done::rejected(rejection)),
            Ok(kind) if kind != MessageKind::Identify && fields.weight() > limits::EVENT_BYTES => {
                let rejection = Rejection::payload_too_large("message", fields.weight(), limits::EVENT_BYTES);
                Performed::Done(Done::rejected(rejection))
            }
            Ok(kind) => self.perform(kind, fields, true, sent_at, up),
        }
    }

    fn perform(
        &mut self,
        kind: MessageKind,
        fields: &Fields<'_>,
        in_batch: bool,
        sent_at: Option<&str>,
        up: &mut impl Upstream,
    ) -> Performed {
        let context = self.context.as_deref();
        let result = match (kind, &mut self.who) {
            (_, None) => Err(Rejection::internal()),
            (MessageKind::Track, Some(who)) => perform::track(who, context, fields, sent_at, up),
            (MessageKind::Identify, Some(who)) => perform::identify(who, fields, sent_at, up),
            (MessageKind::Act, Some(who)) => {
                let ticket = self.acting.ticket();
                match perform::act(who, context, fields, ticket, up) {
                    Ok(None) => return Performed::Waits(ticket),
                    Ok(Some(done)) => Ok(done),
                    Err(rejection) => Err(rejection),
                }
            }
        };
        Performed::Done(result.unwrap_or_else(|rejection| {
            // Outside a batch an identify or act is answered by an `error`, which counts it.
            if in_batch || kind == MessageKind::Track {
                self.refusals.push(rejection.code);
            }
            Done::rejected(rejection)
        }))
    }

    fn on_reset(&mut self, id: Option<&str>, anonymous_id: Option<&str>, now: Micros, up: &mut impl Upstream) {
        if !self.pay(id, 1, now, std::iter::empty()) {
            return;
        }
        let Some(who) = &mut self.who else { return };
        match perform::reset(who, id, anonymous_id, up) {
            Ok(seq) => self.answers.silent(seq, 1, now),
            Err(rejection) => self.error(id, &rejection, 1, now),
        }
    }

    fn on_context(&mut self, id: Option<&str>, context: Option<&str>, now: Micros, up: &mut impl Upstream) {
        if !self.pay(id, 1, now, std::iter::empty()) {
            return;
        }
        let set = limits::message_id("id", id)
            .and_then(|_| limits::object("context", context, limits::EVENT_BYTES))
            .and_then(|context| up.set_context(context));
        match set {
            Ok(()) => {
                self.context = context.map(str::to_owned);
                self.done(id, 1, now);
            }
            Err(rejection) => self.error(id, &rejection, 1, now),
        }
    }

    fn on_subscribe(&mut self, subscribe: &Subscribe<'_>, now: Micros, up: &mut impl Upstream) {
        let id = subscribe.id.as_deref();
        if !self.pay(id, 1, now, std::iter::empty()) {
            return;
        }
        match perform::subscribe(subscribe, up) {
            Ok(()) => self.answers.silent(0, 1, now),
            Err(rejection) => self.error(id, &rejection, 1, now),
        }
    }
}

/// What became of a message, or that it is not known yet.
enum Performed {
    Done(Done),
    /// To be told under this ticket.
    Waits(u64),
}

#[cfg(test)]
mod tests;
