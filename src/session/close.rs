//! Close codes of the protocol.

/// Why the server closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The server is stopping; come back within a few seconds.
    Drain,
    /// A frame of the wrong kind: binary on a JSON socket.
    WrongKind,
    /// Too many frames that are not JSON, or a breach of the WebSocket protocol.
    Protocol,
    /// No token, or a bad one.
    Unauthorized,
    /// The token does not allow this origin.
    Origin,
    /// No hello in time.
    NoHello,
    /// No frame for too long.
    Idle,
    /// The client takes nothing.
    SlowConsumer,
    /// Another connection resumed this session.
    Replaced,
    /// A frame is too large.
    FrameTooLarge,
    /// Frames kept coming without credit.
    Flow,
}

impl Close {
    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Drain => 1001,
            Self::WrongKind => 1003,
            Self::Protocol => 4400,
            Self::Unauthorized => 4401,
            Self::Origin => 4403,
            Self::NoHello => 4408,
            Self::Idle => 4409,
            Self::SlowConsumer => 4410,
            Self::Replaced => 4411,
            Self::FrameTooLarge => 4413,
            Self::Flow => 4429,
        }
    }

    /// The text beside the number; also the metrics label.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Drain => "draining",
            Self::WrongKind => "text_frames_only",
            Self::Protocol => "protocol_error",
            Self::Unauthorized => "unauthorized",
            Self::Origin => "origin_denied",
            Self::NoHello => "no_hello",
            Self::Idle => "idle",
            Self::SlowConsumer => "slow_consumer",
            Self::Replaced => "replaced",
            Self::FrameTooLarge => "frame_too_large",
            Self::Flow => "flow_exceeded",
        }
    }

    /// Every reason, for the metrics.
    pub const ALL: [Self; 11] = [
        Self::Drain,
        Self::WrongKind,
        Self::Protocol,
        Self::Unauthorized,
        Self::Origin,
        Self::NoHello,
        Self::Idle,
        Self::SlowConsumer,
        Self::Replaced,
        Self::FrameTooLarge,
        Self::Flow,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_specification() {
        let codes: Vec<u16> = Close::ALL.iter().map(|close| close.code()).collect();
        assert_eq!(codes, [1001, 1003, 4400, 4401, 4403, 4408, 4409, 4410, 4411, 4413, 4429]);
    }
}
