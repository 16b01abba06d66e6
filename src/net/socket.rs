//! The bytes of one WebSocket: reads and writes as one event source, with a bound on what waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{FutureExt, Sink, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use crate::config::options::Socket as Options;
use crate::session::Close;

/// A TCP stream that counts what the peer took.
struct Counted {
    stream: TcpStream,
    written: u64,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.written += *bytes as u64;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// One WebSocket.
pub(super) struct Socket {
    inner: WebSocketStream<Counted>,
    /// Something was handed over that may not be on its way yet.
    dirty: bool,
    /// Payload bytes handed over since the last complete flush.
    waiting: usize,
    /// What the peer had taken when we last looked.
    seen_written: u64,
    write_buffer_bytes: usize,
}

/// What a socket has to say.
pub(super) enum Event {
    /// A message, or the end: `None`.
    Message(Option<Result<Message, Error>>),
    /// Everything is on its way.
    Flushed,
    /// The peer is gone.
    Broken,
}

impl Socket {
    /// Takes over an upgraded connection; `early` is what the client sent right behind its request.
    pub(super) async fn new(stream: TcpStream, early: Vec<u8>, options: &Options) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(options.read_buffer_bytes)
            .write_buffer_size(options.write_buffer_bytes.min(64 * 1024))
            .max_message_size(Some(options.frame_bytes_max))
            .max_frame_size(Some(options.frame_bytes_max));
        let stream = Counted { stream, written: 0 };
        Self {
            inner: WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config)).await,
            dirty: false,
            waiting: 0,
            seen_written: 0,
            write_buffer_bytes: options.write_buffer_bytes,
        }
    }

    /// Whether so much output waits that the client must take some before it is read or told more.
    pub(super) fn is_full(&self) -> bool {
        self.waiting >= self.write_buffer_bytes
    }

    /// Whether output waits, and whether the peer took some since this was last asked.
    pub(super) fn progress(&mut self) -> (bool, bool) {
        let written = self.inner.get_ref().written;
        let moved = std::mem::replace(&mut self.seen_written, written) != written;
        (self.dirty, moved)
    }

    /// Hands over one text frame. It leaves with the next flush. Returns false when the peer is gone.
    pub(super) fn feed(&mut self, text: String) -> bool {
        self.waiting += text.len();
        self.hand_over(Message::text(text))
    }

    /// Hands over a ping.
    pub(super) fn ping(&mut self) -> bool {
        self.hand_over(Message::Ping(Bytes::new()))
    }

    fn hand_over(&mut self, message: Message) -> bool {
        self.dirty = true;
        Pin::new(&mut self.inner).start_send(message).is_ok()
    }

    /// Waits until output is on its way or, if `read`, a message comes.
    pub(super) async fn event(&mut self, read: bool) -> Event {
        std::future::poll_fn(|cx| {
            if self.dirty {
                match Pin::new(&mut self.inner).poll_flush(cx) {
                    Poll::Ready(Ok(())) => {
                        self.dirty = false;
                        self.waiting = 0;
                        return Poll::Ready(Event::Flushed);
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Event::Broken),
                    Poll::Pending => {}
                }
            }
            if read {
                return Pin::new(&mut self.inner).poll_next(cx).map(|message| self.note(message));
            }
            Poll::Pending
        })
        .await
    }

    /// The next message, if one is there already.
    pub(super) fn try_next(&mut self) -> Option<Event> {
        let message = self.inner.next().now_or_never()?;
        Some(self.note(message))
    }

    fn note(&mut self, message: Option<Result<Message, Error>>) -> Event {
        if matches!(message, Some(Ok(Message::Ping(_) | Message::Close(_)))) {
            // The answer was queued while reading.
            self.dirty = true;
        }
        Event::Message(message)
    }

    /// Says goodbye and waits for the peer to hang up, so that it can read what was said: a socket that
    /// is dropped with unread input resets the connection and takes the close frame with it.
    pub(super) async fn close(mut self, close: Close) {
        let frame = CloseFrame { code: CloseCode::from(close.code()), reason: close.reason().into() };
        if !self.hand_over(Message::Close(Some(frame))) {
            return;
        }
        let flushed = std::future::poll_fn(|cx| Pin::new(&mut self.inner).poll_flush(cx)).await;
        if flushed.is_ok() {
            let stream = &mut self.inner.get_mut().stream;
            let mut scrap = [0_u8; 4096];
            while let Ok(1..) = tokio::io::AsyncReadExt::read(stream, &mut scrap).await {}
        }
    }

    /// Lets the answer to the peer's own close out.
    pub(super) async fn finish(mut self) {
        // The peer may be gone already; then there is nobody to tell.
        let _gone = std::future::poll_fn(|cx| Pin::new(&mut self.inner).poll_flush(cx)).await;
    }
}
