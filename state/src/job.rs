//! What is to be done elsewhere because of a log entry: webhooks to call, events to track.
//!
//! A job is a function of the entry and of the plan under which it was written, nothing else. So a crash
//! loses none: what the journal holds of the entry gives the same jobs again, under the same ids.

use crate::action::hooks::{Body, HookKind};
use crate::event::{Entry, EntryKind, Fired, Firing, Link, Props, Reacted};
use crate::ids::{ChannelSlot, EventSlot, Millis, ProfileId, Seq};
use crate::plan::Plan;
use crate::rule::{self, Effect};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One thing to do. Done once as far as we can tell; a receiver that counts knows a repeat by the id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// From the entry's id and the place: see [`job_id`].
    pub id: u128,
    /// Log position of the entry.
    pub seq: Seq,
    /// Which of the entry's jobs, in the order in which its definition lists them.
    pub place: u16,
    /// Whose entry.
    pub profile: ProfileId,
    /// The id under which it arrived.
    pub user_id: CompactString,
    /// What asked for it.
    pub cause: Link,
    /// When the entry arrived.
    pub at: Millis,
    /// What to do.
    pub work: Work,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// Call somebody else's server.
    Webhook {
        /// Where to.
        url: Box<str>,
        /// The body, as it is signed.
        body: Box<str>,
        /// The client's id of the act, or what stands for it.
        act_id: Option<CompactString>,
        /// By a test user.
        test: bool,
    },
    /// Track an event for the person, as if a client had sent it.
    Track {
        /// Which.
        event: EventSlot,
        /// Where.
        channel: ChannelSlot,
        /// JSON object text.
        properties: Option<Box<str>>,
        /// Its context.
        context: Props,
        /// When it happened: the event time of the entry.
        t: Millis,
        /// How it came about, the entry's cause last.
        chain: Box<[Link]>,
    },
}

impl Job {
    /// Scheme, host and port of a webhook: what shares a queue. Empty for an event.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match &self.work {
            Work::Webhook { url, .. } => endpoint_of(url),
            Work::Track { .. } => String::new(),
        }
    }
}

/// Scheme, host and port of a URL; the URL itself where it is none.
#[must_use]
pub fn endpoint_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// The id of the job in `place` of the entry `entry`: a UUID of version 5.
#[must_use]
pub fn job_id(entry: u128, place: u16) -> u128 {
    Uuid::new_v5(&Uuid::from_u128(entry), &place.to_be_bytes()).as_u128()
}

/// The jobs of an entry that was written under `plan`, in order. Costs nothing for entries that have none.
#[must_use]
pub fn of(plan: &Plan, profile: ProfileId, entry: &Entry) -> Vec<Job> {
    match &entry.kind {
        EntryKind::Reacted(reacted) => of_reaction(plan, profile, entry, reacted),
        EntryKind::Fired(fired) => of_rule(plan, profile, entry, fired),
        _ => Vec::new(),
    }
}

/// Whether entries of this kind can have jobs at all.
#[must_use]
pub fn may_have(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::Reacted(_) | EntryKind::Fired(_))
}

/// The hooks that run after the reaction is recorded. Those whose answer decided about it have run.
fn of_reaction(plan: &Plan, profile: ProfileId, entry: &Entry, reacted: &Reacted) -> Vec<Job> {
    let Some(action) = plan.action_plan(reacted.action) else { return Vec::new() };
    let mut jobs = Vec::new();
    for (place, hook) in action.def.hooks_on(reacted.reaction, reacted.channel) {
        if hook.blocking().is_some() {
            continue;
        }
        let cause = Link::Action(action.slot);
        let work = match &hook.kind {
            HookKind::Webhook(webhook) => {
                let body = Body {
                    reaction: reacted.reaction,
                    action: action.id,
                    user_id: &entry.user_id,
                    channel: plan.channel_key(reacted.channel),
                    properties: reacted.properties.as_deref(),
                    params: webhook.params.as_deref(),
                    at: entry.at,
                    test: false,
                };
                Work::Webhook {
                    url: webhook.url.clone(),
                    body: body.to_json().into(),
                    act_id: Some(act_id(entry.message_id.as_deref(), entry.id)),
                    test: reacted.test,
                }
            }
            HookKind::TrackEvent(event) => Work::Track {
                event: *event,
                channel: reacted.channel,
                properties: reacted.properties.as_deref().map(Into::into),
                context: reacted.context.clone(),
                t: entry.moment.t,
                chain: [cause].into(),
            },
        };
        // At most `HOOKS_MAX` hooks.
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        jobs.push(Job {
            id: job_id(entry.id, place),
            seq: entry.moment.seq,
            place,
            profile,
            user_id: entry.user_id.clone(),
            cause,
            at: entry.at,
            work,
        });
    }
    jobs
}

/// The webhooks and events of a rule that fired. Its attributes are in the entry itself.
fn of_rule(plan: &Plan, profile: ProfileId, entry: &Entry, fired: &Fired) -> Vec<Job> {
    if !matches!(fired.what, Firing::Met | Firing::Backfill) {
        return Vec::new();
    }
    let Some(rule) = plan.rule_plan(fired.rule) else { return Vec::new() };
    let cause = Link::Rule(rule.slot);
    let mut jobs = Vec::new();
    for (place, effect) in (0_u16..).zip(&rule.def.effects) {
        let id = job_id(entry.id, place);
        let work = match effect {
            Effect::Attribute { .. } => continue,
            Effect::Emit { event, properties } => Work::Track {
                event: *event,
                channel: fired.channel,
                properties: Some(properties.clone()),
                context: fired.context.clone(),
                t: entry.moment.t,
                chain: fired.chain.iter().copied().chain([cause]).collect(),
            },
            Effect::Webhook { url, params } => Work::Webhook {
                url: url.clone(),
                body: rule::webhook_body(rule, profile, entry, fired, params.as_deref()).into(),
                act_id: None,
                test: false,
            },
        };
        let user_id = entry.user_id.clone();
        jobs.push(Job { id, seq: entry.moment.seq, place, profile, user_id, cause, at: entry.at, work });
    }
    jobs
}

/// What a webhook gets as the id of the act: the client's, else the entry's own.
#[must_use]
pub fn act_id(message_id: Option<&str>, entry: u128) -> CompactString {
    message_id.map_or_else(|| Uuid::from_u128(entry).to_string().into(), CompactString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_entry_and_place_and_stay() {
        assert_eq!(job_id(7, 0), job_id(7, 0));
        assert_ne!(job_id(7, 0), job_id(7, 1));
        assert_ne!(job_id(7, 0), job_id(8, 0));
        assert_eq!(Uuid::from_u128(job_id(7, 0)).get_version_num(), 5);
    }

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for (url, endpoint) in [
            ("https://Example.com/a?b#c", "https://example.com"),
            ("https://user:pw@example.com:443/", "https://example.com"),
            ("http://example.com:8080/x", "http://example.com:8080"),
            ("http://[::1]:9/", "http://[::1]:9"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(endpoint_of(url), endpoint, "{url}");
        }
    }
}
