//! The task of one WebSocket.
//!
//! A turn reads every frame that is there, hands it to the engine, and then writes once: what the engine
//! pushed first, then the answers that are durable. Between turns the task sleeps until the socket, the
//! journal, the session, a deadline or the server wakes it. Nothing here waits for a slow client: its
//! output is bounded, and while it is full the client is neither read nor told more.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::listener::Open;
use super::problem::Problem;
use super::socket::{Event, Socket};
use super::upstream::EngineUpstream;
use super::{Control, Shared};
use crate::push::PushFrame;
use crate::session::{Close, Connection};
use crate::telemetry::{metrics as m, status};

/// The subprotocol that this server speaks.
const SUBPROTOCOL: &str = "lodestone.v1.json";
/// Pace at which a connection that is held back looks whether it may read again, in milliseconds.
const PRESSURE_CHECK_MS: u64 = 5;
/// Time for a close to reach the peer.
const GOODBYE: Duration = Duration::from_secs(2);
/// Bytes that one turn reads before it writes.
const TURN_BYTES: usize = 1 << 20;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v1/ws", get(upgrade))
}

async fn upgrade(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    if shared.control.borrow().draining {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is stopping").into_response();
    }
    let Some(key) = handshake_key(request.headers()) else {
        let mut response =
            Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this is a WebSocket, version 13").into_response();
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    };
    let accept = derive_accept_key(key.as_bytes());
    let json = offers_json(request.headers());
    let open = request.extensions().get::<Arc<Open>>().cloned();
    let upgraded = hyper::upgrade::on(&mut request);
    let tracker = shared.sockets.clone();
    tracker.spawn(async move {
        if let Ok(upgraded) = upgraded.await
            && let Some((stream, early)) = take_stream(upgraded)
        {
            let socket = Socket::new(stream, early, &shared.options.socket).await;
            run(socket, shared).await;
        }
        drop(open);
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if json {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

fn names(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name);
    let mut parts = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    parts.any(|part| part.trim().eq_ignore_ascii_case(wanted))
}

fn handshake_key(headers: &HeaderMap) -> Option<String> {
    let asks = names(headers, header::UPGRADE, "websocket")
        && names(headers, header::CONNECTION, "upgrade")
        && names(headers, header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    asks.then(|| key.to_owned())
}

/// A client that offers only other subprotocols gets none selected, which its WebSocket layer reports.
fn offers_json(headers: &HeaderMap) -> bool {
    names(headers, header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
}

fn take_stream(upgraded: Upgraded) -> Option<(TcpStream, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf.to_vec()))
}

/// Why a socket's task ends.
enum End {
    /// We close.
    Close(Close),
    /// The peer closed, and wants its close answered.
    PeerClosed,
    /// There is no connection any more.
    Gone,
}

/// One connection from its upgrade to its end.
async fn run(socket: Socket, shared: Arc<Shared>) {
    let mut task = Task {
        connection: Connection::new(shared.settings.clone(), shared.micros()),
        upstream: EngineUpstream::new(shared.clone()),
        durable: shared.engine.durable(),
        control: shared.control.clone(),
        pushed: Vec::new(),
        push_due: None,
        socket,
        shared,
    };
    let end = Box::pin(task.serve()).await;
    task.upstream.leave();
    match end {
        End::Close(close) => {
            m::closed(close);
            tracing::debug!(reason = close.reason(), "closing a socket");
            // A peer that does not read its close is not waited for.
            let _late = tokio::time::timeout(GOODBYE, task.socket.close(close)).await;
        }
        End::PeerClosed => {
            let _late = tokio::time::timeout(GOODBYE, task.socket.finish()).await;
        }
        End::Gone => {}
    }
}

struct Task {
    connection: Connection,
    upstream: EngineUpstream,
    durable: tokio::sync::watch::Receiver<u64>,
    control: tokio::sync::watch::Receiver<Control>,
    /// Reused between turns.
    pushed: Vec<PushFrame>,
    /// When actions that wait for their turn may leave.
    push_due: Option<std::time::Instant>,
    socket: Socket,
    shared: Arc<Shared>,
}

impl Task {
    async fn serve(&mut self) -> End {
        let sleep = tokio::time::sleep_until(self.shared.instant(self.connection.deadline()));
        let mut sleep = std::pin::pin!(sleep);
        let mut armed = self.connection.deadline();
        loop {
            let control = *self.control.borrow_and_update();
            if !self.upstream.recheck(control.plan_version) {
                self.connection.revoke();
            }
            if !self.turn() {
                return End::Gone;
            }
            if let Some(close) = self.connection.closing() {
                return End::Close(close);
            }
            if control.draining && !self.connection.waits_for_durable() && !self.connection.waits_for_hooks() {
                return End::Close(Close::Drain);
            }
            let held_back = self.shared.engine.pressure();
            let full = self.socket.is_full();
            let read = !held_back && !full && !control.draining && !self.connection.is_backed_up();
            let mut deadline = self.connection.deadline();
            if held_back {
                deadline = deadline.min(self.shared.micros().plus_ms(PRESSURE_CHECK_MS));
            }
            if let Some(due) = self.push_due.filter(|_| !full) {
                let wait = due.saturating_duration_since(std::time::Instant::now());
                // Rounded up: a millisecond too early would be a turn for nothing.
                deadline = deadline.min(self.shared.micros().plus_ms(u64::try_from(wait.as_millis()).unwrap_or(0) + 1));
            }
            if deadline < armed || sleep.is_elapsed() {
                armed = deadline;
                sleep.as_mut().reset(self.shared.instant(deadline));
            }
            // While the client takes nothing there is no use in more to say.
            let waits = self.connection.waits_for_durable() && !full;
            let session = self.upstream.session().cloned();
            let event = tokio::select! {
                biased;
                event = self.socket.event(read) => event,
                changed = self.durable.changed(), if waits => {
                    if changed.is_err() {
                        // The journal ended: what is not acknowledged by now never will be.
                        return End::Close(Close::Drain);
                    }
                    continue;
                }
                () = notified(session.as_deref()), if !full => continue,
                (ticket, outcome) = self.upstream.acted() => {
                    self.connection.on_acted(ticket, outcome, self.shared.micros());
                    continue;
                }
                changed = self.control.changed() => {
                    if changed.is_err() {
                        return End::Close(Close::Drain);
                    }
                    continue;
                }
                () = sleep.as_mut() => {
                    if self.connection.on_time(self.shared.micros()) && !self.socket.ping() {
                        return End::Gone;
                    }
                    continue;
                }
            };
            if let Some(end) = self.receive(event) {
                return end;
            }
        }
    }

    /// Takes a message and every other that is there already.
    fn receive(&mut self, first: Event) -> Option<End> {
        let now = self.shared.micros();
        let (mut frames, mut bytes) = (0, 0);
        let mut event = first;
        let end = loop {
            match event {
                Event::Flushed => break None,
                Event::Broken => break Some(End::Gone),
                Event::Message(None) => break Some(End::PeerClosed),
                Event::Message(Some(Err(error))) => break self.failed(&error),
                Event::Message(Some(Ok(message))) => {
                    frames += 1;
                    match message {
                        Message::Text(text) => {
                            bytes += text.len();
                            self.connection.on_text(text.as_str(), now, &mut self.upstream);
                        }
                        Message::Binary(_) => self.connection.close(Close::WrongKind),
                        Message::Close(_) => break Some(End::PeerClosed),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => self.connection.liveness().heard(now),
                    }
                    let enough = frames >= self.shared.options.socket.drain_frames || bytes >= TURN_BYTES;
                    if enough || self.connection.closing().is_some() {
                        break None;
                    }
                }
            }
            match self.socket.try_next() {
                Some(next) => event = next,
                None => break None,
            }
        };
        m::frames_received(frames, bytes);
        end
    }

    fn failed(&mut self, error: &Error) -> Option<End> {
        match error {
            Error::Capacity(_) => self.connection.close(Close::FrameTooLarge),
            Error::Protocol(_) | Error::Utf8(_) => self.connection.close(Close::Protocol),
            _ => return Some(End::Gone),
        }
        None
    }

    /// Writes what may be said now. Returns false when the peer is gone.
    fn turn(&mut self) -> bool {
        let now = self.shared.micros();
        while let Some((ticket, outcome)) = self.upstream.acted_by_now() {
            self.connection.on_acted(ticket, outcome, now);
        }
        let (waiting, moved) = self.socket.progress();
        self.connection.liveness().output(waiting, moved, now);
        if self.upstream.is_replaced() {
            self.connection.close(Close::Replaced);
        } else if !self.socket.is_full() {
            let drained = self.upstream.drain(&mut self.pushed);
            if let Some(queued_at) = drained.queued_at {
                m::push_latency(queued_at.elapsed());
            }
            self.push_due = drained.due;
            for push in self.pushed.drain(..) {
                m::pushed(kind_of(&push));
                self.connection.on_push(push);
            }
        }
        // A full socket still gets its last word: what a close is about.
        if self.socket.is_full() && self.connection.closing().is_none() {
            return true;
        }
        let durable = *self.durable.borrow_and_update();
        let released = self.connection.settle(durable, |arrived| {
            let us = now.since(arrived);
            m::ack_latency(Duration::from_micros(us));
            status::ACK.record(us);
        });
        m::answered(released.answers);
        for code in self.connection.take_refusals() {
            m::refused(code);
        }
        let mut bytes = 0;
        for frame in self.connection.take_frames() {
            bytes += frame.len();
            if !self.socket.feed(frame) {
                return false;
            }
        }
        m::bytes_sent(bytes);
        true
    }
}

async fn notified(session: Option<&crate::push::Session>) {
    match session {
        Some(session) => session.notified().await,
        None => std::future::pending().await,
    }
}

fn kind_of(push: &PushFrame) -> m::Pushed {
    match push {
        PushFrame::Action { .. } => m::Pushed::Action,
        PushFrame::Revoked { .. } => m::Pushed::Revoked,
        PushFrame::Subscribed { .. } => m::Pushed::Subscribed,
        PushFrame::Identified { .. } => m::Pushed::Identified,
        PushFrame::Resync { .. } => m::Pushed::Resync,
    }
}
