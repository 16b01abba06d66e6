//! Counting webhooks and jobs.

use crate::hooks::{Fault, Reply};
use crate::outbox::{Counts, Stage};
use lodestone_state::ids::Millis;
use metrics::{Counter, Gauge, Histogram};
use std::sync::OnceLock;
use std::time::Duration;

/// What a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// A call.
    Webhook,
    /// An event to track.
    Event,
}

const KINDS: [&str; 2] = ["webhook", "event"];
const MODES: [&str; 2] = ["blocking", "queued"];
/// Reasons beside the faults of a call; `other` stands for the code of a refused event.
const REASONS: [&str; 9] = ["1xx", "3xx", "4xx", "5xx", "expired", "overflow", "chain_too_deep", "unreadable", "other"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

struct Handles {
    calls: [Vec<(&'static str, Counter)>; 2],
    duration: [Histogram; 2],
    acts_waiting: Gauge,
    done: [Counter; 2],
    given_up: [Vec<(&'static str, Counter)>; 2],
    let_go: Counter,
    erased: [Counter; 3],
    delay: Histogram,
    pending: Gauge,
    running: Gauge,
    dead: Gauge,
    paused: Gauge,
    memory: Gauge,
    age: Gauge,
}

static HANDLES: OnceLock<Handles> = OnceLock::new();

fn handles() -> &'static Handles {
    HANDLES.get_or_init(|| {
        let faults = || Fault::ALL.into_iter().map(Fault::word);
        Handles {
            calls: MODES.map(|mode| {
                let outcomes = CLASSES.into_iter().chain(faults());
                let counter = |outcome| metrics::counter!("lodestone_hook_calls_total", "mode" => mode, "outcome" => outcome);
                outcomes.map(|outcome| (outcome, counter(outcome))).collect()
            }),
            duration: MODES.map(|mode| metrics::histogram!("lodestone_hook_duration_seconds", "mode" => mode)),
            acts_waiting: metrics::gauge!("lodestone_hook_acts_waiting"),
            done: KINDS.map(|kind| metrics::counter!("lodestone_outbox_done_total", "kind" => kind)),
            given_up: KINDS.map(|kind| {
                let reasons = REASONS.into_iter().chain(faults());
                let counter = |reason| metrics::counter!("lodestone_outbox_given_up_total", "kind" => kind, "reason" => reason);
                reasons.map(|reason| (reason, counter(reason))).collect()
            }),
            let_go: metrics::counter!("lodestone_outbox_let_go_total"),
            erased: Stage::ALL.map(|stage| metrics::counter!("lodestone_outbox_erased_total", "state" => stage.word())),
            delay: metrics::histogram!("lodestone_outbox_delay_seconds"),
            pending: metrics::gauge!("lodestone_outbox_pending"),
            running: metrics::gauge!("lodestone_outbox_running"),
            dead: metrics::gauge!("lodestone_outbox_dead"),
            paused: metrics::gauge!("lodestone_outbox_endpoints_paused"),
            memory: metrics::gauge!("lodestone_outbox_memory_bytes"),
            age: metrics::gauge!("lodestone_outbox_age_seconds"),
        }
    })
}

fn class(status: u16) -> &'static str {
    CLASSES[usize::from(status / 100).clamp(1, 5) - 1]
}

fn called(mode: usize, reply: &Reply) {
    let outcome = reply.outcome.map_or_else(Fault::word, class);
    if let Some((_, counter)) = handles().calls[mode].iter().find(|(known, _)| *known == outcome) {
        counter.increment(1);
    }
    handles().duration[mode].record(reply.took.as_secs_f64());
}

/// A webhook that an act waits for was called.
pub fn act_called(reply: &Reply) {
    called(0, reply);
}

/// A queued webhook was called.
pub fn job_tried(reply: &Reply) {
    called(1, reply);
}

/// An act began to wait for its webhooks, or waits no more.
pub fn acts_waiting(delta: f64) {
    handles().acts_waiting.increment(delta);
}

/// A job is done.
pub fn job_done(kind: JobKind) {
    handles().done[kind as usize].increment(1);
}

/// A job was given up; `reason` is a status, a word, or the code of a refused event.
pub fn job_dead(kind: JobKind, reason: &str) {
    let class = reason.parse::<u16>().ok().map(class);
    let counters = &handles().given_up[kind as usize];
    let known = |wanted: &str| counters.iter().find(|(known, _)| *known == wanted);
    if let Some((_, counter)) = known(class.unwrap_or(reason)).or_else(|| known("other")) {
        counter.increment(1);
    }
}

/// A job was deleted because it was kept for long enough.
pub fn job_let_go() {
    handles().let_go.increment(1);
}

/// A job went with the entry that it came from.
pub fn job_erased(stage: Stage) {
    handles().erased[stage as usize].increment(1);
}

/// A queued webhook succeeded this long after its reaction arrived.
pub fn job_delay(ms: i64) {
    handles().delay.record(Duration::from_millis(u64::try_from(ms).unwrap_or(0)).as_secs_f64());
}

/// How the outbox stands.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn outbox(counts: &Counts, now: Millis) {
    let handles = handles();
    handles.pending.set(counts.pending as f64);
    handles.running.set(counts.running as f64);
    handles.dead.set(counts.dead as f64);
    handles.paused.set(counts.closed as f64);
    handles.memory.set(counts.resident_bytes as f64);
    handles.age.set(counts.oldest.map_or(0.0, |oldest| (now.0 - oldest.0).max(0) as f64 / 1000.0));
}
