//! A small client of the socket protocol, for our own tools.
//!
//! * [`connection`]: one socket: connect, hello, credits, frames in both directions.
//! * [`frame`]: the frames as the tools see them, and the text of those that they send.
//! * [`map`] and [`rows`]: a recorded file (CSV or NDJSON, gzip too) as events, by a mapping file.
//! * [`replay`]: the command that streams such a file into a server, with [`report`] for its numbers.
//! * [`shoppers`]: the simulated visitors of the demo shop.
//!
//! The client keeps the protocol's promises and relies on nothing else: it never sends without
//! credit, keeps the items of one user on one connection in the order given, and gives each item a
//! message id that is the same on every run, so that sending again is harmless. It speaks plain
//! `ws://`; it does not reconnect, because a tool that is cut off should say so.

pub mod connection;
pub mod frame;
pub mod map;
pub mod replay;
pub mod report;
pub mod rows;
pub mod shoppers;

/// Why a tool gave up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be opened, or broke.
    #[error("{url}: {source}")]
    Socket {
        /// Where the client was connected to.
        url: String,
        /// What the WebSocket layer said.
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// The server closed the socket.
    #[error("the server closed the connection with code {code}{reason}")]
    Closed {
        /// The close code; 1006 if the socket ended without one.
        code: u16,
        /// The reason that came with it, with a leading `: `, or nothing.
        reason: String,
    },
    /// The server sent a fatal error, or refused the hello.
    #[error("the server refused: {code}: {message}")]
    Refused {
        /// The stable error code.
        code: String,
        /// The text for people.
        message: String,
    },
    /// The server sent something that is no frame of the protocol.
    #[error("unexpected frame {0}")]
    Protocol(String),
    /// No answer within the time allowed.
    #[error("no {what} within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// A file could not be read.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file does not hold what it should: all problems together, one a line.
    #[error("{path}: {problems}")]
    Content {
        /// Its path.
        path: String,
        /// What is wrong and where.
        problems: String,
    },
}
