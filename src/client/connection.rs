//! One socket of the protocol: connect, hello, then frames with credits.

use super::Error;
use super::frame::{Frame, Hello, Welcome};
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long connecting and the answer to hello may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// An open socket whose hello was accepted.
pub struct Connection {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    url: String,
    welcome: Welcome,
    credit: u32,
}

impl Connection {
    /// Connects to `url` (`ws://host:port`, with or without the path `/v1/ws`) and says hello.
    ///
    /// # Errors
    /// [`Error::Socket`] if there is no server, [`Error::Refused`] with the server's code if the
    /// hello is turned away, [`Error::Timeout`] after 15 s.
    pub async fn open(url: &str, hello: &Hello) -> Result<Self, Error> {
        let waited = tokio::time::timeout(HANDSHAKE_TIMEOUT, Box::pin(Self::handshake(endpoint(url), hello)));
        waited.await.unwrap_or(Err(Error::Timeout { what: "answer to hello", seconds: HANDSHAKE_TIMEOUT.as_secs() }))
    }

    async fn handshake(url: String, hello: &Hello) -> Result<Self, Error> {
        let socket_error = |source| Error::Socket { url: url.clone(), source: Box::new(source) };
        let mut request = url.as_str().into_client_request().map_err(socket_error)?;
        let protocol = tungstenite::http::HeaderValue::from_static("lodestone.v1.json");
        request.headers_mut().insert("sec-websocket-protocol", protocol);
        let config = WebSocketConfig::default().read_buffer_size(8 * 1024);
        // Small frames must not wait for the acknowledgement of earlier ones.
        let connect = tokio_tungstenite::connect_async_with_config(request, Some(config), true);
        let (socket, _) = connect.await.map_err(socket_error)?;
        let welcome = Welcome { credit: 0, channel: String::new(), batch_items_max: 1, frame_bytes_max: 0 };
        let mut connection = Self { socket, url, welcome, credit: 0 };
        connection.send(hello.to_text()).await?;
        match connection.next().await? {
            Frame::Welcome(welcome) => {
                connection.credit = welcome.credit;
                connection.welcome = welcome;
                Ok(connection)
            }
            Frame::Error { code, message, .. } => Err(Error::Refused { code, message }),
            other => Err(Error::Protocol(format!("{other:?} instead of welcome"))),
        }
    }

    /// What the server said when it accepted the hello.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// How many items may be sent now.
    #[must_use]
    pub fn credit(&self) -> u32 {
        self.credit
    }

    /// Sends one frame that costs nothing (ping, seen, hello).
    ///
    /// # Errors
    /// [`Error::Socket`] if the socket broke.
    pub async fn send(&mut self, text: String) -> Result<(), Error> {
        let sent = self.socket.send(Message::text(text)).await;
        sent.map_err(|source| Error::Socket { url: self.url.clone(), source: Box::new(source) })
    }

    /// Sends a frame that costs `items` credits.
    ///
    /// # Errors
    /// [`Error::Socket`] if the socket broke.
    ///
    /// # Panics
    /// If there is less credit: the caller asks [`Connection::credit`] first.
    pub async fn spend(&mut self, items: u32, text: String) -> Result<(), Error> {
        self.credit = self.credit.checked_sub(items).expect("the caller keeps within its credit");
        self.send(text).await
    }

    /// The next frame. Credit that it carries is added before it is returned. May be dropped
    /// while it waits without losing a frame.
    ///
    /// # Errors
    /// [`Error::Closed`] when the server closes, [`Error::Socket`] when the socket breaks,
    /// [`Error::Protocol`] for anything that is not a frame.
    pub async fn next(&mut self) -> Result<Frame, Error> {
        loop {
            let text = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
                Some(Ok(Message::Binary(_))) => return Err(Error::Protocol("binary".into())),
                Some(Ok(_)) => continue,
                Some(Err(source)) => return Err(Error::Socket { url: self.url.clone(), source: Box::new(source) }),
                None => return Err(closed(None)),
            };
            let frame = Frame::parse(&text).map_err(Error::Protocol)?;
            match &frame {
                Frame::Ack(ack) => self.credit = self.credit.saturating_add(ack.credit),
                Frame::Credit(credit) => self.credit = self.credit.saturating_add(*credit),
                _ => {}
            }
            return Ok(frame);
        }
    }

    /// Says goodbye. Errors do not matter any more.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }
}

/// Adds the protocol's path to a URL that has none.
fn endpoint(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.split_once('/') {
        Some((_, path)) if !path.is_empty() => url.to_owned(),
        _ => format!("{}/v1/ws", url.trim_end_matches('/')),
    }
}

fn closed(frame: Option<CloseFrame>) -> Error {
    match frame {
        Some(frame) if frame.reason.is_empty() => Error::Closed { code: frame.code.into(), reason: String::new() },
        Some(frame) => Error::Closed { code: frame.code.into(), reason: format!(": {}", frame.reason) },
        None => Error::Closed { code: 1006, reason: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn the_path_may_be_left_out() {
        assert_eq!(endpoint("ws://h:1"), "ws://h:1/v1/ws");
        assert_eq!(endpoint("ws://h:1/"), "ws://h:1/v1/ws");
        assert_eq!(endpoint("ws://h:1/proxy/ws"), "ws://h:1/proxy/ws");
    }
}
