//! Frames that the engine pushes to a session, before they are written as JSON.

use lodestone_state::action::push::{Cause, DeliveredAction, RevokeReason};
use lodestone_state::ids::{ActionSlot, DefId};

/// One frame of the server's own accord. `seq` is per session and strictly increasing.
#[derive(Clone, Debug)]
pub enum PushFrame {
    /// An action became due, or its properties changed while due (same delivery id).
    Action {
        /// Session sequence number.
        seq: u64,
        /// All subscriptions that it matches.
        subs: Vec<String>,
        /// Why now.
        cause: Cause,
        /// What to show.
        action: DeliveredAction,
        /// Which action that is, for the engine.
        slot: ActionSlot,
        /// The delivery begins with this frame: seeing it is recorded.
        first: bool,
    },
    /// An action is no longer due.
    Revoked {
        /// Session sequence number.
        seq: u64,
        /// All subscriptions that held it.
        subs: Vec<String>,
        /// Which action.
        action_id: DefId,
        /// Which delivery.
        delivery_id: u128,
        /// Why.
        reason: RevokeReason,
    },
    /// The answer to a subscribe, with the actions due now.
    Subscribed {
        /// Session sequence number.
        seq: u64,
        /// The frame that asked; `None` after a resync.
        id: Option<String>,
        /// The subscription.
        sub: String,
        /// Due now, best first.
        actions: Vec<DeliveredAction>,
        /// Deliveries that begin with this frame: seeing it is recorded.
        first: Vec<(ActionSlot, u128)>,
    },
    /// The answer to identify or reset, or news that another connection changed this identity.
    Identified {
        /// Session sequence number.
        seq: u64,
        /// The frame that asked; `None` when unsolicited.
        id: Option<String>,
        /// The id that the socket now acts for.
        user_id: String,
        /// Whether it is anonymous.
        is_anonymous: bool,
        /// Ids absorbed.
        merged: Vec<String>,
        /// Ids not absorbed, and why.
        skipped: Vec<(String, &'static str)>,
        /// Journal position to wait for before sending.
        durable: u64,
    },
    /// Frames were dropped; fresh `Subscribed` frames follow.
    Resync {
        /// Session sequence number.
        seq: u64,
        /// The subscriptions concerned.
        subs: Vec<String>,
    },
}

impl PushFrame {
    /// Its session sequence number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Self::Action { seq, .. }
            | Self::Revoked { seq, .. }
            | Self::Subscribed { seq, .. }
            | Self::Identified { seq, .. }
            | Self::Resync { seq, .. } => *seq,
        }
    }
}
