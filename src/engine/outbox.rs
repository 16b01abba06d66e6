//! The outbox at work: calls webhooks as their turn comes, writes down what became of them, keeps house.

use super::Engine;
use super::evaluate::Fanout;
use crate::hooks::{Call, Fault, Reply};
use crate::outbox::{Due, Told};
use crate::telemetry::metrics as m;
use lodestone_state::command::{self, Command, Fate, JobRecord};
use lodestone_state::ids::{Millis, Seq};
use lodestone_state::job::{Job, Work};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The longest sleep, and the pace of the housekeeping.
const NAP: Duration = Duration::from_secs(1);
/// Housekeeping rounds between two looks at everything that waits.
const SCAN_EVERY: u32 = 30;
/// Jobs that one round gives up or lets go of.
const ROUND_MAX: usize = 10_000;

impl Engine {
    /// Starts the outbox on the runtime of the caller; without one nothing is called, and jobs wait.
    pub(super) fn start_outbox(self: &Arc<Self>) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(self.clone().run_outbox());
                runtime.spawn(self.clone().run_house());
            }
            Err(_) => tracing::warn!("no runtime to call webhooks on: they wait in the outbox"),
        }
    }

    async fn run_outbox(self: Arc<Self>) {
        let mut durable = self.durable();
        while !self.stopping.load(Ordering::Relaxed) {
            let now = self.clock.now();
            let position = *durable.borrow_and_update();
            let turn = if self.hooks.is_stopped() { Default::default() } else { self.outbox.turn(now, Seq(position)) };
            for due in turn.due {
                tokio::spawn(self.clone().call(due));
            }
            let until = turn.next.map_or(NAP, |next| Duration::from_millis(u64::try_from(next.0 - now.0).unwrap_or(0)));
            tokio::select! {
                () = self.outbox.notified() => {}
                changed = durable.changed(), if turn.waits_for_durable => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(until.min(NAP)) => {}
            }
        }
    }

    /// Housekeeping beside the calls, which do not wait for it: it may write to the disk.
    async fn run_house(self: Arc<Self>) {
        let mut rounds = 0_u32;
        while !self.stopping.load(Ordering::Relaxed) {
            let engine = self.clone();
            let scan = rounds.is_multiple_of(SCAN_EVERY);
            let _ = tokio::task::spawn_blocking(move || engine.keep_outbox(scan)).await;
            rounds += 1;
            tokio::time::sleep(NAP).await;
        }
    }

    /// Makes one call and writes down what came of it.
    async fn call(self: Arc<Self>, due: Due) {
        let Some(job) = self.job_of(due.id).await else {
            self.outbox.ended(&due, None, self.clock.now());
            if self.outbox.holds(due.id) {
                self.settle_job(due.id, Fate::Dead { tries: due.tries, reason: "unreadable".into() });
            }
            return;
        };
        let Work::Webhook { url, body, act_id, test } = &job.work else { return };
        let id = uuid::Uuid::from_u128(job.id).to_string();
        let keys = self.plan.load().signing_keys();
        let call = Call {
            url,
            body,
            id: &id,
            act_id: act_id.as_deref(),
            test: *test,
            keys: &keys,
            timeout: self.hooks.options().timeout,
        };
        let reply = self.hooks.client().call(&call).await;
        self.called(&job, &due, &reply);
    }

    async fn job_of(self: &Arc<Self>, id: u128) -> Option<Arc<Job>> {
        if let Some(job) = self.outbox.look(id, |held| held.job.clone())? {
            return Some(job);
        }
        let engine = self.clone();
        let read = tokio::task::spawn_blocking(move || engine.outbox.job(&engine.disk, id).ok().flatten());
        read.await.ok().flatten()
    }

    fn called(&self, job: &Job, due: &Due, reply: &Reply) {
        let now = self.clock.now();
        let tries = due.tries.saturating_add(1);
        let well = reply.is_success();
        let status = reply.outcome.unwrap_or(0);
        // A server that asks for a pause means all of it, not this one call.
        let pause = reply.retry_after.filter(|_| matches!(status, 429 | 503));
        self.outbox.ended(due, Some(Told { well, pause }), now);
        m::job_tried(reply);
        let reason = reason(reply);
        self.outbox.health().note((job.cause, job.place), now, (!well).then_some(reason.as_str()));
        if !self.outbox.holds(job.id) {
            let id = uuid::Uuid::from_u128(job.id);
            tracing::info!(endpoint = job.endpoint(), %id, taken = well, "a call ended after its job was taken out");
            return;
        }
        let over = match reply.outcome {
            Ok(410) | Err(Fault::Refused) => true,
            _ => tries >= self.outbox.options().tries,
        };
        let fate = if well {
            m::job_done(m::JobKind::Webhook);
            m::job_delay(now.0 - job.at.0);
            Fate::Done
        } else if over {
            m::job_dead(m::JobKind::Webhook, &reason);
            tracing::warn!(endpoint = job.endpoint(), tries, reason, "a webhook was given up");
            Fate::Dead { tries, reason: reason.into() }
        } else {
            let pause = backoff(self.outbox.options().backoff, tries, chance()).max(reply.retry_after.unwrap_or_default());
            let next = now.plus(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
            Fate::Failed { tries, reason: reason.into(), next }
        };
        self.settle_job(job.id, fate);
    }

    /// Writes down what became of a job; it is so from the moment that the journal stamps it.
    pub(super) fn settle_job(&self, job: u128, fate: Fate) -> Seq {
        let record = JobRecord { job, at: self.clock.now(), fate };
        let command = Command::Job(record.clone());
        self.journal.append_with(|_, out| {
            command::encode(&command, out);
            self.outbox.settle(&record);
        })
    }

    /// One round of housekeeping; `scan`: also look at everything that waits.
    fn keep_outbox(&self, scan: bool) {
        let now = self.clock.now();
        for action in self.totals.expire(now) {
            self.fanout.push(Fanout::capped(action));
        }
        self.acts.expire(now);
        self.follow_late(false);
        let counts = self.outbox.counts(now);
        m::outbox(&counts, now);
        if self.outbox.is_full()
            && let Err(error) = self.write_outbox()
        {
            tracing::error!(%error, "the outbox cannot be written");
            return;
        }
        let options = self.outbox.options();
        if (scan || counts.pending > options.pending_max) && self.writable().is_ok() {
            for (job, reason) in self.outbox.overdue(now, ROUND_MAX) {
                let tries = self.outbox.look(job, |held| held.tries).unwrap_or_default();
                m::job_dead(m::JobKind::Webhook, reason);
                self.settle_job(job, Fate::Dead { tries, reason: reason.into() });
            }
        }
        if scan || counts.dead > options.dead_max {
            self.let_outdated_go(now);
        }
    }

    /// Deletes jobs that were kept for long enough, or longer than history is.
    pub(super) fn let_outdated_go(&self, now: Millis) {
        if self.writable().is_err() {
            return;
        }
        let kept_from = self.kept_from(now).unwrap_or(Millis::MIN);
        for job in self.outbox.outdated(now, kept_from, ROUND_MAX) {
            m::job_let_go();
            self.settle_job(job, Fate::Dropped);
        }
    }

    /// Puts what changed in the outbox on disk.
    pub(super) fn write_outbox(&self) -> Result<(), crate::storage::Error> {
        self.outbox.write(&self.disk, || self.journal.sync().map(|_| ()).map_err(crate::storage::Error::journal))
    }

    /// Starts no more calls, and waits until those under way have ended, but not for ever: what has not
    /// ended by then is called again after the next start.
    pub async fn finish_calls(&self, patience: Duration) {
        self.hooks.stop();
        let ended = async {
            while self.outbox.counts(Millis::MIN).running > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(patience, ended).await;
    }
}

/// A word for why a call failed: the status, or what kept it from having one.
pub(super) fn reason(reply: &Reply) -> String {
    match reply.outcome {
        Ok(status) => status.to_string(),
        Err(fault) => fault.word().to_owned(),
    }
}

/// The pause after the try number `tries`: doubled with each, and up to a quarter longer by chance, so
/// that what failed together does not come back together.
fn backoff(first: Duration, tries: u16, chance: u32) -> Duration {
    let doubled = first.saturating_mul(1 << tries.saturating_sub(1).min(20));
    doubled + doubled.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 4.0)
}

fn chance() -> u32 {
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_scatter() {
        let first = Duration::from_secs(1);
        let seconds: Vec<u64> = (1..=5).map(|tries| backoff(first, tries, 0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16]);
        assert_eq!(backoff(first, 2, u32::MAX), Duration::from_millis(2500));
        assert!(backoff(first, u16::MAX, u32::MAX) > Duration::from_secs(1 << 20));
    }
}
