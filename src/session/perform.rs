//! What a message asks of the engine: its limits, whom it is filed under, what became of it.

use super::Upstream;
use crate::engine::api::{ActInput, Acted, IdentifyInput, Stored, SubscribeInput, TrackInput};
use crate::wire::codec::Outcome;
use crate::wire::frame::{Fields, Rare, Subscribe, Text};
use crate::wire::{Rejection, limits};

/// Whom the connection acts for.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) user_id: String,
    /// The token is one of a server, which may speak for anybody.
    pub(super) secret: bool,
    /// The id by which the engine knows the session.
    pub(super) session: u64,
}

/// What became of one message: its outcome, and the journal position to wait for.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) seq: u64,
}

impl Done {
    pub(super) fn rejected(rejection: Rejection) -> Self {
        Self { outcome: Outcome::Rejected(Box::new(rejection)), seq: 0 }
    }

    pub(super) fn acted(acted: Acted) -> Self {
        let Acted { seq, duplicate, result } = acted;
        let outcome = match result {
            Some(result) => Outcome::Acted { duplicate, result },
            None if duplicate => Outcome::Duplicate(None),
            None => Outcome::Stored(None),
        };
        Self { outcome, seq: seq.0 }
    }

    fn taken(duplicate: bool, seq: u64) -> Self {
        Self { outcome: if duplicate { Outcome::Duplicate(None) } else { Outcome::Stored(None) }, seq }
    }
}

/// Whose message this is: the id captured when it was made, or the connection's.
fn filed_under<'m>(who: &'m Who, fields: &'m Fields<'_>) -> Result<&'m str, Rejection> {
    if let Some(user_id) = fields.user_id.as_deref() {
        let user_id = limits::user_id("userId", Some(user_id))?;
        if !who.secret && user_id != who.user_id {
            return Err(Rejection::unauthorized("a userId other than the connection's needs a secret token"));
        }
        return Ok(user_id);
    }
    match fields.anonymous_id.as_deref() {
        Some(id) => limits::user_id("anonymousId", Some(id)),
        None => Ok(&who.user_id),
    }
}

/// Files an event.
pub(super) fn track(
    who: &Who,
    context: Option<&str>,
    fields: &Fields<'_>,
    sent_at: Option<&str>,
    up: &mut impl Upstream,
) -> Result<Done, Rejection> {
    let stored = up.track(&TrackInput {
        user_id: filed_under(who, fields)?,
        event: limits::event_name(fields.event.as_deref())?,
        properties: limits::object("properties", fields.properties, limits::EVENT_BYTES)?,
        context: limits::object("context", fields.context, limits::EVENT_BYTES)?.or(context),
        timestamp: fields.timestamp.as_deref(),
        sent_at: fields.sent_at.as_deref().or(sent_at),
        message_id: limits::message_id("id", fields.id.as_deref())?,
        session: Some(who.session),
    });
    Ok(match stored {
        Stored::Stored { seq, event_id } => Done { outcome: Outcome::Stored(Some(event_id)), seq: seq.0 },
        Stored::Duplicate { seq, event_id } => Done { outcome: Outcome::Duplicate(Some(event_id)), seq: seq.0 },
        Stored::Dropped => Done { outcome: Outcome::Dropped, seq: 0 },
        Stored::Rejected(rejection) => Done::rejected(rejection),
    })
}

/// Asserts an identity; from then on the connection acts for it.
pub(super) fn identify(
    who: &mut Who,
    fields: &Fields<'_>,
    sent_at: Option<&str>,
    up: &mut impl Upstream,
) -> Result<Done, Rejection> {
    let none = Rare::default();
    let rare = fields.rare.as_deref().unwrap_or(&none);
    let user_id = limits::user_id("userId", fields.user_id.as_deref())?;
    let identified = up.identify(&IdentifyInput {
        user_id,
        kind: rare.kind.as_deref().unwrap_or("user_id"),
        is_anonymous: rare.is_anonymous.unwrap_or(false),
        previous_user_id: previous(user_id, rare)?,
        traits: limits::object("traits", rare.traits, limits::TRAITS_BYTES)?,
        merge_traits: merges_traits(rare)?,
        merge_known: rare.merge_known.unwrap_or(false),
        user_hash: rare.user_hash.as_deref(),
        message_id: limits::message_id("id", fields.id.as_deref())?,
        timestamp: fields.timestamp.as_deref(),
        sent_at: fields.sent_at.as_deref().or(sent_at),
        session: Some(who.session),
    })?;
    who.user_id = identified.user_id;
    Ok(Done::taken(identified.duplicate, identified.seq.0))
}

/// Becomes a fresh anonymous identity. Gives the journal position to wait for.
pub(super) fn reset(
    who: &mut Who,
    id: Option<&str>,
    anonymous_id: Option<&str>,
    up: &mut impl Upstream,
) -> Result<u64, Rejection> {
    let identified = up.identify(&IdentifyInput {
        user_id: limits::user_id("anonymousId", anonymous_id)?,
        kind: "anonymous_id",
        is_anonymous: true,
        merge_traits: true,
        message_id: limits::message_id("id", id)?,
        session: Some(who.session),
        ..IdentifyInput::default()
    })?;
    who.user_id = identified.user_id;
    Ok(identified.seq.0)
}

/// Records a reaction; `None` if it waits, to be told under `ticket`.
pub(super) fn act(
    who: &Who,
    context: Option<&str>,
    fields: &Fields<'_>,
    ticket: u64,
    up: &mut impl Upstream,
) -> Result<Option<Done>, Rejection> {
    let rare = fields.rare.as_deref();
    let input = ActInput {
        user_id: filed_under(who, fields)?,
        action_id: limits::short("actionId", rare.and_then(|rare| rare.action_id.as_deref()))?,
        event: limits::short("event", fields.event.as_deref())?,
        delivery_id: rare.and_then(|rare| rare.delivery_id.as_deref()),
        properties: limits::object("properties", fields.properties, limits::EVENT_BYTES)?,
        context: limits::object("context", fields.context, limits::EVENT_BYTES)?.or(context),
        message_id: limits::message_id("id", fields.id.as_deref())?,
        session: Some(who.session),
    };
    Ok(up.act(&input, ticket)?.map(Done::acted))
}

/// Asks for actions.
pub(super) fn subscribe(subscribe: &Subscribe<'_>, up: &mut impl Upstream) -> Result<(), Rejection> {
    let id = limits::message_id("id", subscribe.id.as_deref())?.ok_or_else(|| Rejection::missing_field("id"))?;
    let input = SubscribeInput {
        sub: limits::short("sub", subscribe.sub.as_deref())?,
        action_type: subscribe.kind.as_deref(),
        tags: limits::tags(subscribe.tags.iter().map(|tag| &**tag))?,
        context: limits::object("context", subscribe.context, limits::EVENT_BYTES)?,
    };
    up.subscribe(id, &input)
}

/// The one id to absorb: `previousUserId`, or the only other id of `anonymousIds`.
fn previous<'a>(user_id: &str, rare: &'a Rare<'_>) -> Result<Option<&'a str>, Rejection> {
    if rare.anonymous_ids.len() > limits::ANONYMOUS_IDS {
        let message = format!("{} ids, limit is {}", rare.anonymous_ids.len(), limits::ANONYMOUS_IDS);
        return Err(Rejection::invalid_frame("anonymousIds", message));
    }
    let mut previous = rare.previous_user_id.as_deref().filter(|id| !id.is_empty());
    for id in rare.anonymous_ids.iter().map(|id: &Text<'_>| &**id).filter(|id| !id.is_empty() && *id != user_id) {
        match previous {
            None => previous = Some(id),
            Some(known) if known == id => {}
            Some(_) => return Err(Rejection::not_supported("identify absorbs one id for now; send one call per id")),
        }
    }
    previous.map(|id| limits::user_id("previousUserId", Some(id))).transpose()
}

/// On a socket traits are merged unless the client asks otherwise.
fn merges_traits(rare: &Rare<'_>) -> Result<bool, Rejection> {
    match rare.traits_mode.as_deref() {
        None | Some("merge") => Ok(true),
        Some("replace") => Ok(false),
        Some(_) => Err(Rejection::invalid_frame("traitsMode", "traitsMode must be \"merge\" or \"replace\"")),
    }
}
