//! Actions: what is shown to whom, where, when and how often.
//!
//! `definition` reads and compiles one action; `targeting` decides whether a person is due for it now and
//! until when that stands, and whether a reaction may be taken; `explain` tells the same decision step by
//! step; `time_range`, `properties` and `hooks` are parts of a definition; `capping` counts per person, `totals`
//! over everybody, exactly; `push` keeps what a session's subscriptions hold and computes what to send.
//!
//! Time, ids and everything about the person come in as arguments.
//!
//! * of a gated reaction (shown, accepted) never more than `count` are committed or reserved, for
//!   every cap that counts it, under any interleaving.
//! * a decision stands until its `until`, unless what it read changes.
//! * after an evaluation a subscription holds exactly the due actions that win their slot, less
//!   those the person has closed.

pub mod budget;
pub mod capping;
mod definition;
mod explain;
pub mod hooks;
mod json;
mod parts;
mod properties;
pub mod push;
mod targeting;
mod time_range;
mod totals;
mod trial;

pub use budget::{BudgetDef, Held, Spending};
pub use capping::{Cap, CapState, Group, RING_MAX, gated};
pub use definition::{ActionDef, ActionType, CAPS_MAX, State, TestUser};
pub use explain::{Explanation, Outcome, Step};
pub use hooks::{Hook, HookKind, Webhook};
pub use properties::{PROPERTIES_MAX, Properties};
pub use targeting::{Admitted, Decision, Person, Proof, Reason, Refusal, View};
pub use time_range::TimeRange;
pub use totals::{Capped, Claim, Committed, Expired, Full, HOLD_MS, NoTotals, Reservation, TotalCaps, Totals, TotalsSnapshot};
pub use trial::Trial;

use crate::event::Reaction;
use crate::expr::Resolve;
use crate::ids::ChannelSlot;
use crate::issue::Issue;

/// Stands in a list where a channel was deleted: no channel ever has this slot, so the list does not
/// turn into an empty one, which would mean something else.
const NO_CHANNEL: ChannelSlot = ChannelSlot(u16::MAX);

/// The channels of a definition's list, sorted. Whether all names exist is the catalog's to check.
fn channel_list(node: &json::Node<'_>, resolve: &dyn Resolve, issues: &mut Vec<Issue>) -> Vec<ChannelSlot> {
    let names = node.texts("channels", issues);
    let mut slots: Vec<_> = names.into_iter().map(|name| resolve.channel(name).unwrap_or(NO_CHANNEL)).collect();
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// The reactions by the word under which they are stored.
const REACTIONS: [(&str, Reaction); 5] = [
    ("delivered", Reaction::Delivered),
    ("shown", Reaction::Shown),
    ("hidden", Reaction::Hidden),
    ("declined", Reaction::Declined),
    ("accepted", Reaction::Accepted),
];

/// The stored word of a reaction: `shown`, `accepted`, …
#[must_use]
pub fn reaction_word(reaction: Reaction) -> &'static str {
    match reaction {
        Reaction::Delivered => "delivered",
        Reaction::Shown => "shown",
        Reaction::Hidden => "hidden",
        Reaction::Declined => "declined",
        Reaction::Accepted => "accepted",
        Reaction::Withheld => "withheld",
    }
}

/// The reaction of a stored word: the inverse of [`reaction_word`].
#[must_use]
pub fn reaction_of_word(word: &str) -> Option<Reaction> {
    use Reaction::{Accepted, Declined, Delivered, Hidden, Shown, Withheld};
    [Delivered, Shown, Hidden, Declined, Accepted, Withheld].into_iter().find(|reaction| reaction_word(*reaction) == word)
}

/// The reaction that a client's verb asks for: `show`, `hide`, `decline` or `accept`, nothing else.
#[must_use]
pub fn reaction_of_verb(verb: &str) -> Option<Reaction> {
    match verb {
        "show" => Some(Reaction::Shown),
        "hide" => Some(Reaction::Hidden),
        "decline" => Some(Reaction::Declined),
        "accept" => Some(Reaction::Accepted),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod testing;
