//! The outbox as the admin API shows it, what an operator may do to it, and trying out a webhook.

use super::Engine;
use super::outbox::reason;
use crate::hooks::{Answer, Call, Reply, sign};
use crate::outbox::health::{Hook, Record};
use crate::outbox::{Held, Listed, Stage};
use lodestone_state::action::hooks::Body;
use lodestone_state::action::{HookKind, reaction_word};
use lodestone_state::command::Fate;
use lodestone_state::event::{Link, Reaction};
use lodestone_state::ids::{ActionSlot, DefId, Millis, Seq};
use lodestone_state::job::Work;
use lodestone_state::plan::{Kind, Plan};
use lodestone_state::time::format_instant;
use serde_json::{Value, json};

/// Jobs that one call sends again.
const AGAIN_MAX: usize = 10_000;
/// Bytes of an answer's body that a try of a webhook shows.
const SHOWN_BYTES_MAX: usize = 8 * 1024;

/// A try of a webhook, as somebody asked for it.
#[derive(Clone, Debug, Default)]
pub struct WebhookTest {
    /// Which of the action's hooks, counted from 0; absent for the first webhook that fits.
    pub hook: Option<usize>,
    /// The reaction, as a word; absent for the hook's own.
    pub event: Option<String>,
    /// Who it is said to be.
    pub user_id: Option<String>,
    /// Channel key; absent for the first of the action's.
    pub channel: Option<String>,
    /// JSON object text.
    pub properties: Option<String>,
}

/// Why a webhook cannot be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untestable {
    /// There is no such action.
    NoAction,
    /// None of its hooks is a webhook for this event and channel.
    NoWebhook,
}

impl Engine {
    /// One page of the outbox: what waits, oldest first, or what was given up, newest first.
    #[must_use]
    pub fn outbox_json(&self, dead: bool, after: Option<(Seq, u16)>, limit: usize) -> Value {
        let plan = self.plan.load();
        let counts = self.outbox.counts(self.clock.now());
        let mut lines = self.outbox.list(dead, after, limit + 1);
        let more = lines.len() > limit;
        lines.truncate(limit);
        let next = lines.last().filter(|_| more).map(|line| format!("{}-{}", line.held.key.0.0, line.held.key.1));
        let rows: Vec<Value> = lines.iter().map(|line| self.line(&plan, line)).collect();
        json!({"data": rows, "nextCursor": next, "total": if dead { counts.dead } else { counts.pending }})
    }

    /// One job with everything that is known of it.
    #[must_use]
    pub fn job_json(&self, id: u128) -> Option<Value> {
        let plan = self.plan.load();
        let held = self.outbox.look(id, Held::clone)?;
        let job = self.outbox.job(&self.disk, id).ok().flatten()?;
        let mut shown = self.line(&plan, &Listed { id, endpoint: job.endpoint(), held });
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into());
        match &job.work {
            Work::Webhook { body, .. } => shown["body"] = parsed(body),
            Work::Track { properties, context, .. } => {
                shown["properties"] = properties.as_deref().map(parsed).unwrap_or_default();
                shown["context"] = plan.paths.render(context);
            }
        }
        Some(shown)
    }

    fn line(&self, plan: &Plan, line: &Listed) -> Value {
        let Listed { id, endpoint, held } = line;
        let job = self.outbox.job(&self.disk, *id).ok().flatten();
        let instant = |at: Millis| Value::from(format_instant(at).as_str());
        let mut shown = json!({
            "id": uuid::Uuid::from_u128(*id).to_string(),
            "state": held.stage.word(),
            "endpoint": endpoint,
            "cause": cause_json(plan, held.cause),
            "hook": held.key.1,
            "profileId": held.profile.to_string(),
            "seq": held.key.0.0,
            "createdAt": instant(held.at),
            "tries": held.tries,
            "nextAt": if held.stage == Stage::Waiting { instant(held.next) } else { Value::Null },
            "lastTriedAt": held.tried_at.map(instant),
            "lastFailure": Some(held.reason.as_str()).filter(|reason| !reason.is_empty()),
        });
        if let Some(job) = job {
            shown["userId"] = job.user_id.as_str().into();
            match &job.work {
                Work::Webhook { url, act_id, .. } => {
                    shown["kind"] = "webhook".into();
                    shown["url"] = without_password(url).into();
                    shown["actId"] = act_id.as_deref().into();
                }
                Work::Track { event, .. } => {
                    shown["kind"] = "event".into();
                    shown["event"] = plan.event_name(*event).into();
                }
            }
        }
        shown
    }

    /// Sends a job again, from the start; its position in the log, or nothing if there is no such job.
    pub fn send_again(&self, id: u128) -> Option<Seq> {
        self.outbox.holds(id).then(|| {
            let seq = self.settle_job(id, Fate::Again);
            self.follow_late(true);
            seq
        })
    }

    /// Sends every given up job of an endpoint again, of all where none is named. Returns how many, how
    /// many are left for another call, and the last log position.
    pub fn send_all_again(&self, endpoint: Option<&str>) -> (usize, usize, Seq) {
        let mut last = Seq(0);
        let jobs = self.outbox.dead_of(endpoint, AGAIN_MAX);
        for id in &jobs {
            last = self.settle_job(*id, Fate::Again);
        }
        self.follow_late(true);
        (jobs.len(), self.outbox.dead_of(endpoint, AGAIN_MAX).len(), last)
    }

    /// Takes a job out, undone; its position in the log, or nothing if there is no such job.
    pub fn drop_job(&self, id: u128) -> Option<Seq> {
        self.outbox.holds(id).then(|| self.settle_job(id, Fate::Dropped))
    }

    /// How the hooks of every definition are doing since the start, those that failed last first.
    #[must_use]
    pub fn hooks_json(&self) -> Value {
        let plan = self.plan.load();
        let rows: Vec<Value> =
            self.outbox.health().all().iter().map(|(hook, record)| health_json(&plan, *hook, record)).collect();
        let total = rows.len();
        json!({"data": rows, "nextCursor": null, "total": total})
    }

    /// The same of one action's hooks.
    pub(super) fn hooks_of(&self, plan: &Plan, action: ActionSlot) -> Value {
        let all = self.outbox.health().all();
        let its = all.iter().filter(|((cause, _), _)| *cause == Link::Action(action));
        its.map(|(hook, record)| health_json(plan, *hook, record)).collect()
    }

    /// The keys that webhooks are signed with, in the forms that receivers need.
    #[must_use]
    pub fn signing_key_json(&self) -> Value {
        let keys = self.plan.load().signing_keys();
        let shown = |nth: usize, form: fn(&sign::Key) -> String| keys.get(nth).map(form);
        json!({
            "key": shown(0, |key| sign::hex(key)),
            "secret": shown(0, sign::standard_secret),
            "previousKey": shown(1, |key| sign::hex(key)),
            "previousSecret": shown(1, sign::standard_secret),
        })
    }

    /// Sends what a webhook of an action would send, marked as a test, and tells what came of it. Nothing
    /// is recorded or counted.
    ///
    /// # Errors
    /// [`Untestable`].
    pub async fn test_webhook(&self, action: DefId, test: &WebhookTest) -> Result<Value, Untestable> {
        let plan = self.plan.load_full();
        let action = plan.action_by_id(action).ok_or(Untestable::NoAction)?;
        let channel = match &test.channel {
            Some(key) => Some(plan.channel_by_key(key).ok_or(Untestable::NoWebhook)?.slot),
            None => action.def.channels.first().copied(),
        };
        let fits = |reaction: Reaction| test.event.as_deref().is_none_or(|word| word == reaction_word(reaction));
        let mut hooks = action.def.hooks.iter().enumerate().filter_map(|(place, hook)| match &hook.kind {
            HookKind::Webhook(webhook) => Some((place, hook, webhook)),
            HookKind::TrackEvent(_) => None,
        });
        let found = match test.hook {
            Some(wanted) => hooks.find(|(place, ..)| *place == wanted),
            None => hooks.find(|(_, hook, _)| {
                fits(hook.reaction) && (test.channel.is_none() || channel.is_some_and(|at| hook.applies(hook.reaction, at)))
            }),
        };
        let (place, hook, webhook) = found.ok_or(Untestable::NoWebhook)?;
        let body = Body {
            reaction: hook.reaction,
            action: action.id,
            user_id: test.user_id.as_deref().unwrap_or("test"),
            channel: channel.map_or("", |slot| plan.channel_key(slot)),
            properties: test.properties.as_deref(),
            params: webhook.params.as_deref(),
            at: self.clock.now(),
            test: true,
        }
        .to_json();
        let keys = plan.signing_keys();
        let id = uuid::Uuid::new_v4().to_string();
        let timeout = self.hooks.options().timeout;
        let call = Call { url: &webhook.url, body: &body, id: &id, act_id: Some(&id), test: true, keys: &keys, timeout };
        let reply = self.hooks.client().call(&call).await;
        Ok(tested(place, &webhook.url, &body, reply, keys.first().map(|key| sign::over_body(key, &body))))
    }
}

fn tested(place: usize, url: &str, body: &str, reply: Reply, signature: Option<String>) -> Value {
    let (took, failure) = (reply.took, reason(&reply));
    let success = reply.is_success();
    let answer = Answer::of(reply, signature);
    let mut end = answer.body.len().min(SHOWN_BYTES_MAX);
    while !answer.body.is_char_boundary(end) {
        end -= 1;
    }
    json!({
        "hook": place,
        "url": without_password(url),
        "success": success,
        "reason": (!success).then_some(failure),
        "statusCode": answer.status_code,
        "body": &answer.body[..end],
        "signature": answer.signature,
        "error": answer.error,
        "durationMs": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "requestBody": body,
    })
}

/// The URL as it may be shown: what stands before the @ may be a password.
fn without_password(text: &str) -> String {
    match url::Url::parse(text) {
        Ok(mut url) if url.password().is_some() => {
            let _ = url.set_password(Some("***"));
            url.to_string()
        }
        _ => text.to_owned(),
    }
}

/// How a hook is doing.
fn health_json(plan: &Plan, (cause, place): Hook, record: &Record) -> Value {
    let instant = |at: Millis| format_instant(at).to_string();
    json!({
        "cause": cause_json(plan, cause),
        "hook": place,
        "succeeded": record.succeeded,
        "failed": record.failed,
        "lastSuccessAt": record.succeeded_at.map(instant),
        "lastFailure": record.failure.as_ref().map(|(at, reason)| json!({"at": instant(*at), "reason": reason})),
    })
}

/// The definition that asked for a job; by its id alone once it is gone.
fn cause_json(plan: &Plan, cause: Link) -> Value {
    let (word, kind, slot) = match cause {
        Link::Action(slot) => ("action", Kind::Action, slot.index()),
        Link::Rule(slot) => ("rule", Kind::Rule, slot.index()),
    };
    let known = plan.catalog.definitions(kind).get(slot);
    json!({"type": word, "id": known.map(|d| d.id.to_string()), "name": known.map(|d| d.name.as_str())})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_stay_here() {
        assert_eq!(without_password("https://u:secret@x.example/p"), "https://u:***@x.example/p");
        assert_eq!(without_password("https://x.example/p?a=b"), "https://x.example/p?a=b");
    }
}
