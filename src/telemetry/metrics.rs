//! Every metric of the server, declared once: name, kind, unit and help.
//!
//! Handles are looked up once and kept, so that counting on the event path costs an atomic addition.
//! Labels come from closed lists. `docs/metrics.md` holds the same table, and a test compares them.

mod outbox;

pub use outbox::*;

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::journal::meters as journal;
use crate::session::Close;
use crate::wire::rejection::CODES;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, with these bucket bounds.
    Histogram(Buckets),
}

/// Bucket bounds of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// From 10 us to 10 s, for what should take milliseconds.
    Latency,
    /// From 0.2 us to 10 ms, for what happens in memory.
    Fast,
    /// From 10 ms to 5 min, for what runs in the background.
    Slow,
    /// Powers of two up to 16384.
    Count,
}

impl Buckets {
    fn bounds(self) -> &'static [f64] {
        match self {
            Self::Latency => {
                &[0.000_01, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0]
            }
            Self::Fast => &[2e-7, 5e-7, 1e-6, 2e-6, 3e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2],
            Self::Slow => &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0],
            Self::Count => &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16_384.0],
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// `lodestone_<area>_<what>_<unit>[_total]`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Its unit.
    pub unit: Unit,
    /// One sentence for people.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: Kind, labels: &'static [&'static str], unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind, labels, unit, help }
}

const LATENCY: Kind = Kind::Histogram(Buckets::Latency);
const NONE: &[&str] = &[];

/// Every metric.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    metric("lodestone_build_info", Kind::Gauge, &["version", "commit"], Unit::Count, "Always 1; the labels say what runs."),
    metric("lodestone_process_uptime_seconds", Kind::Gauge, NONE, Unit::Seconds, "Time since the process started."),
    metric("lodestone_ingest_events_total", Kind::Counter, &["outcome"], Unit::Count, "Events by outcome: stored, duplicate, dropped or rejected."),
    metric("lodestone_ingest_rejects_total", Kind::Counter, &["code"], Unit::Count, "Messages turned away, by code."),
    metric("lodestone_ingest_apply_duration_seconds", Kind::Histogram(Buckets::Fast), NONE, Unit::Seconds, "Time to apply one event to its profile, lock included."),
    metric("lodestone_ingest_identifies_total", Kind::Counter, NONE, Unit::Count, "Identities asserted."),
    metric("lodestone_ingest_merges_total", Kind::Counter, NONE, Unit::Count, "Profiles absorbed by others."),
    metric("lodestone_ingest_splits_total", Kind::Counter, NONE, Unit::Count, "Merges undone."),
    metric("lodestone_history_dropped_total", Kind::Counter, &["cause"], Unit::Count, "Log entries that left their profiles: too old to be kept, or erased on demand."),
    metric("lodestone_ack_answers_total", Kind::Counter, NONE, Unit::Count, "Answers to socket messages sent, batched or not."),
    metric("lodestone_ack_latency_seconds", LATENCY, NONE, Unit::Seconds, "From the arrival of a socket frame to its durable answer."),
    metric("lodestone_push_frames_total", Kind::Counter, &["kind"], Unit::Count, "Frames pushed to sessions: action, action_revoked, subscribed, identified or resync."),
    metric("lodestone_push_actions_total", Kind::Counter, NONE, Unit::Count, "Actions that became due for a session."),
    metric("lodestone_push_latency_seconds", LATENCY, NONE, Unit::Seconds, "From the moment an action is decided to its hand-over to the socket."),
    metric("lodestone_action_reactions_total", Kind::Counter, &["reaction"], Unit::Count, "Reactions to actions: delivered, shown, hidden, declined, accepted or withheld."),
    metric("lodestone_rules_fired_total", Kind::Counter, &["how"], Unit::Count, "Entries of rules: met, backfill, quiet or cleared."),
    metric("lodestone_session_open", Kind::Gauge, NONE, Unit::Count, "Sockets past their hello."),
    metric("lodestone_session_connects_total", Kind::Counter, &["how"], Unit::Count, "Sessions begun: fresh or resumed."),
    metric("lodestone_session_closes_total", Kind::Counter, &["reason"], Unit::Count, "Sockets closed by the server, by reason."),
    metric("lodestone_socket_frames_total", Kind::Counter, NONE, Unit::Count, "WebSocket frames received."),
    metric("lodestone_socket_received_bytes_total", Kind::Counter, NONE, Unit::Bytes, "Payload bytes of WebSocket frames received."),
    metric("lodestone_socket_sent_bytes_total", Kind::Counter, NONE, Unit::Bytes, "Payload bytes of WebSocket frames sent."),
    metric("lodestone_socket_connections", Kind::Gauge, NONE, Unit::Count, "TCP connections open."),
    metric("lodestone_http_requests_total", Kind::Counter, &["status"], Unit::Count, "HTTP requests answered, by status class."),
    metric("lodestone_http_duration_seconds", LATENCY, NONE, Unit::Seconds, "Time to answer an HTTP request."),
    metric("lodestone_profiles", Kind::Gauge, NONE, Unit::Count, "Profiles in memory."),
    metric("lodestone_plan_version", Kind::Gauge, NONE, Unit::Count, "Version of the definitions in force."),
    metric("lodestone_plan_swaps_total", Kind::Counter, NONE, Unit::Count, "Changes of the definitions."),
    metric("lodestone_funnel_runs_evicted_total", Kind::Counter, NONE, Unit::Count, "Runs of funnels given up because a profile had too many at once."),
    metric("lodestone_goal_records_dropped_total", Kind::Counter, NONE, Unit::Count, "Touches and conversions that a profile does not keep any more because it had too many."),
    metric("lodestone_backfill_profiles_total", Kind::Counter, NONE, Unit::Count, "Profiles folded anew because definitions changed, by the sweep."),
    metric("lodestone_backfill_events_total", Kind::Counter, NONE, Unit::Count, "Events of the profiles that the sweep folded anew."),
    metric("lodestone_backfill_left_profiles", Kind::Gauge, NONE, Unit::Count, "Profiles that the sweep has still to visit."),
    metric("lodestone_backfill_building_definitions", Kind::Gauge, NONE, Unit::Count, "Definitions that are not live for every profile yet."),
    metric("lodestone_refresh_drift_total", Kind::Counter, NONE, Unit::Count, "Parts of profiles that a refresh found wrong (values, memberships, rules, goals, budgets, experiments, caps): a defect if it is not 0."),
    metric("lodestone_timer_lateness_seconds", LATENCY, NONE, Unit::Seconds, "How long after its deadline a profile's timer fired."),
    metric("lodestone_checkpoint_duration_seconds", Kind::Histogram(Buckets::Slow), NONE, Unit::Seconds, "Time to write one checkpoint."),
    metric("lodestone_checkpoint_bytes_total", Kind::Counter, NONE, Unit::Bytes, "Bytes written by checkpoints."),
    metric("lodestone_checkpoint_age_seconds", Kind::Gauge, NONE, Unit::Seconds, "Time since the last checkpoint."),
    metric("lodestone_hook_calls_total", Kind::Counter, &["mode", "outcome"], Unit::Count, "Webhooks called, blocking an act or queued, by the class of the status or what kept it from coming."),
    metric("lodestone_hook_duration_seconds", Kind::Histogram(Buckets::Slow), &["mode"], Unit::Seconds, "Time for one call of a webhook, blocking or queued."),
    metric("lodestone_hook_acts_waiting", Kind::Gauge, NONE, Unit::Count, "Acts that wait for their webhooks."),
    metric("lodestone_outbox_done_total", Kind::Counter, &["kind"], Unit::Count, "Jobs done: webhook or event."),
    metric("lodestone_outbox_given_up_total", Kind::Counter, &["kind", "reason"], Unit::Count, "Jobs given up and kept for an operator, by reason."),
    metric("lodestone_outbox_let_go_total", Kind::Counter, NONE, Unit::Count, "Jobs that were deleted: given up ones that are too many or too old, and those of entries older than history is kept."),
    metric("lodestone_outbox_erased_total", Kind::Counter, &["state"], Unit::Count, "Jobs that went with the entry that they came from, when that was erased, by how far they were."),
    metric("lodestone_outbox_delay_seconds", Kind::Histogram(Buckets::Slow), NONE, Unit::Seconds, "From the arrival of a reaction to the success of its queued webhook."),
    metric("lodestone_outbox_pending", Kind::Gauge, NONE, Unit::Count, "Jobs that wait or are being called."),
    metric("lodestone_outbox_running", Kind::Gauge, NONE, Unit::Count, "Queued webhooks that are being called."),
    metric("lodestone_outbox_dead", Kind::Gauge, NONE, Unit::Count, "Given up jobs that are kept."),
    metric("lodestone_outbox_endpoints_paused", Kind::Gauge, NONE, Unit::Count, "Endpoints that are left alone for a while because they keep failing or asked for it."),
    metric("lodestone_outbox_memory_bytes", Kind::Gauge, NONE, Unit::Bytes, "Memory that jobs take."),
    metric("lodestone_outbox_age_seconds", Kind::Gauge, NONE, Unit::Seconds, "Age of the oldest job that waits; 0 when none does."),
    metric("lodestone_journal_position", Kind::Gauge, NONE, Unit::Count, "Last position handed to the journal."),
    metric("lodestone_journal_durable_position", Kind::Gauge, NONE, Unit::Count, "Last position that is durable."),
    metric(journal::BYTES_TOTAL, Kind::Counter, NONE, Unit::Bytes, "Bytes written to the journal, headers included."),
    metric(journal::GROUP_RECORDS, Kind::Histogram(Buckets::Count), NONE, Unit::Count, "Records of one group commit."),
    metric(journal::SYNC_DURATION, LATENCY, NONE, Unit::Seconds, "Time to sync one group."),
    metric(journal::APPEND_DURATION, LATENCY, NONE, Unit::Seconds, "Time to write one group."),
    metric(journal::SEGMENTS, Kind::Gauge, NONE, Unit::Count, "Journal files that hold records."),
];

const OUTCOMES: [&str; 4] = ["stored", "duplicate", "dropped", "rejected"];
const REACTIONS: [&str; 6] = ["delivered", "shown", "hidden", "declined", "accepted", "withheld"];
const FIRINGS: [&str; 4] = ["met", "backfill", "quiet", "cleared"];
const PUSHES: [&str; 5] = ["action", "action_revoked", "subscribed", "identified", "resync"];
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Handles, looked up once.
struct Handles {
    events: [Counter; 4],
    rejects: Vec<Counter>,
    apply: Histogram,
    identifies: Counter,
    merges: Counter,
    splits: Counter,
    dropped: [Counter; 2],
    answers: Counter,
    ack_latency: Histogram,
    pushes: [Counter; 5],
    push_actions: Counter,
    push_latency: Histogram,
    reactions: [Counter; 6],
    rules: [Counter; 4],
    sessions: Gauge,
    connects: [Counter; 2],
    closes: Vec<Counter>,
    frames: Counter,
    received: Counter,
    sent: Counter,
    connections: Gauge,
    http: [Counter; 5],
    http_duration: Histogram,
    profiles: Gauge,
    plan_version: Gauge,
    plan_swaps: Counter,
    funnel_evicted: Counter,
    goal_dropped: Counter,
    backfill_profiles: Counter,
    backfill_events: Counter,
    backfill_left: Gauge,
    building: Gauge,
    drift: Counter,
    timer_lateness: Histogram,
    checkpoint: Histogram,
    checkpoint_bytes: Counter,
    checkpoint_age: Gauge,
    position: Gauge,
    durable: Gauge,
    uptime: Gauge,
}

fn labelled(name: &'static str, label: &'static str, value: &'static str) -> Counter {
    metrics::counter!(name, label => value)
}

impl Handles {
    fn new() -> Self {
        Self {
            events: OUTCOMES.map(|outcome| labelled("lodestone_ingest_events_total", "outcome", outcome)),
            rejects: CODES.iter().map(|code| labelled("lodestone_ingest_rejects_total", "code", code.code)).collect(),
            apply: metrics::histogram!("lodestone_ingest_apply_duration_seconds"),
            identifies: metrics::counter!("lodestone_ingest_identifies_total"),
            merges: metrics::counter!("lodestone_ingest_merges_total"),
            splits: metrics::counter!("lodestone_ingest_splits_total"),
            dropped: ["retention", "erased"].map(|cause| labelled("lodestone_history_dropped_total", "cause", cause)),
            answers: metrics::counter!("lodestone_ack_answers_total"),
            ack_latency: metrics::histogram!("lodestone_ack_latency_seconds"),
            pushes: PUSHES.map(|kind| labelled("lodestone_push_frames_total", "kind", kind)),
            push_actions: metrics::counter!("lodestone_push_actions_total"),
            push_latency: metrics::histogram!("lodestone_push_latency_seconds"),
            reactions: REACTIONS.map(|kind| labelled("lodestone_action_reactions_total", "reaction", kind)),
            rules: FIRINGS.map(|how| labelled("lodestone_rules_fired_total", "how", how)),
            sessions: metrics::gauge!("lodestone_session_open"),
            connects: ["fresh", "resumed"].map(|how| labelled("lodestone_session_connects_total", "how", how)),
            closes: Close::ALL.iter().map(|close| labelled("lodestone_session_closes_total", "reason", close.reason())).collect(),
            frames: metrics::counter!("lodestone_socket_frames_total"),
            received: metrics::counter!("lodestone_socket_received_bytes_total"),
            sent: metrics::counter!("lodestone_socket_sent_bytes_total"),
            connections: metrics::gauge!("lodestone_socket_connections"),
            http: STATUSES.map(|status| labelled("lodestone_http_requests_total", "status", status)),
            http_duration: metrics::histogram!("lodestone_http_duration_seconds"),
            profiles: metrics::gauge!("lodestone_profiles"),
            plan_version: metrics::gauge!("lodestone_plan_version"),
            plan_swaps: metrics::counter!("lodestone_plan_swaps_total"),
            funnel_evicted: metrics::counter!("lodestone_funnel_runs_evicted_total"),
            goal_dropped: metrics::counter!("lodestone_goal_records_dropped_total"),
            backfill_profiles: metrics::counter!("lodestone_backfill_profiles_total"),
            backfill_events: metrics::counter!("lodestone_backfill_events_total"),
            backfill_left: metrics::gauge!("lodestone_backfill_left_profiles"),
            building: metrics::gauge!("lodestone_backfill_building_definitions"),
            drift: metrics::counter!("lodestone_refresh_drift_total"),
            timer_lateness: metrics::histogram!("lodestone_timer_lateness_seconds"),
            checkpoint: metrics::histogram!("lodestone_checkpoint_duration_seconds"),
            checkpoint_bytes: metrics::counter!("lodestone_checkpoint_bytes_total"),
            checkpoint_age: metrics::gauge!("lodestone_checkpoint_age_seconds"),
            position: metrics::gauge!("lodestone_journal_position"),
            durable: metrics::gauge!("lodestone_journal_durable_position"),
            uptime: metrics::gauge!("lodestone_process_uptime_seconds"),
        }
    }
}

static HANDLES: OnceLock<Handles> = OnceLock::new();
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

fn handles() -> &'static Handles {
    HANDLES.get_or_init(Handles::new)
}

/// Installs the recorder of this process; call it before anything counts. A second call gives the same
/// handle, so that tests in one process can share it.
///
/// # Panics
/// When another recorder is installed: two of them are a programming error.
pub fn install() -> &'static PrometheusHandle {
    RECORDER.get_or_init(|| {
        let mut builder = PrometheusBuilder::new();
        for metric in METRICS {
            if let Kind::Histogram(buckets) = metric.kind {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets.bounds())
                    .expect("bucket bounds are not empty");
            }
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).expect("no other recorder is installed");
        describe();
        let commit = option_env!("LODESTONE_COMMIT").unwrap_or("unknown");
        metrics::gauge!("lodestone_build_info", "version" => env!("CARGO_PKG_VERSION"), "commit" => commit).set(1.0);
        handle
    })
}

fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// The recorder, if it is installed.
#[must_use]
pub fn recorder() -> Option<&'static PrometheusHandle> {
    RECORDER.get()
}

/// A new event was stored.
pub fn events_accepted() {
    handles().events[0].increment(1);
}

/// An event came again.
pub fn events_duplicate() {
    handles().events[1].increment(1);
}

/// An event of a locked person was not stored.
pub fn events_dropped() {
    handles().events[2].increment(1);
}

/// An event was turned away.
pub fn events_rejected(code: &str) {
    handles().events[3].increment(1);
    refused(code);
}

/// Something other than an event was turned away, or an event before the engine saw it.
pub fn refused(code: &str) {
    if let Some(i) = CODES.iter().position(|known| known.code == code) {
        handles().rejects[i].increment(1);
    }
}

/// An event took this long to apply.
pub fn apply_seconds(took: Duration) {
    handles().apply.record(took.as_secs_f64());
}

/// An identity was asserted and absorbed this many profiles.
pub fn identified(merged: usize) {
    handles().identifies.increment(1);
    handles().merges.increment(merged as u64);
}

/// A merge was undone.
pub fn split() {
    handles().splits.increment(1);
}

/// Why entries left a log.
#[derive(Clone, Copy, Debug)]
pub enum Dropped {
    /// History is not kept that long.
    Retention,
    /// Somebody asked for it.
    Erased,
}

/// This many entries left a log.
pub fn dropped(cause: Dropped, count: usize) {
    handles().dropped[cause as usize].increment(count as u64);
}

/// This many answers went out.
pub fn answered(count: usize) {
    handles().answers.increment(count as u64);
}

/// A durable answer left this long after its frame came.
pub fn ack_latency(took: Duration) {
    handles().ack_latency.record(took.as_secs_f64());
}

/// What was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// An action that is due, or changed while due.
    Action,
    /// An action that is not due any more.
    Revoked,
    /// The answer to a subscription.
    Subscribed,
    /// A change of identity.
    Identified,
    /// A gap.
    Resync,
}

/// A frame was pushed to a session.
pub fn pushed(kind: Pushed) {
    handles().pushes[kind as usize].increment(1);
}

/// This many actions became due for sessions.
pub fn actions_due(count: usize) {
    handles().push_actions.increment(count as u64);
}

/// What was pushed reached its socket this long after it was decided.
pub fn push_latency(took: Duration) {
    handles().push_latency.record(took.as_secs_f64());
}

/// A reaction was recorded.
pub fn reacted(reaction: lodestone_state::event::Reaction) {
    use lodestone_state::event::Reaction::{Accepted, Declined, Delivered, Hidden, Shown, Withheld};
    let i = match reaction {
        Delivered => 0,
        Shown => 1,
        Hidden => 2,
        Declined => 3,
        Accepted => 4,
        Withheld => 5,
    };
    handles().reactions[i].increment(1);
}

/// A rule fired, or let go.
pub fn rule_fired(what: lodestone_state::event::Firing) {
    use lodestone_state::event::Firing::{Backfill, Cleared, Met, Quiet};
    let i = match what {
        Met => 0,
        Backfill => 1,
        Quiet => 2,
        Cleared => 3,
    };
    handles().rules[i].increment(1);
}

/// So many runs of funnels were given up: the memberships that depend on them are approximate.
pub fn funnel_runs_evicted(count: u32) {
    if count > 0 {
        handles().funnel_evicted.increment(u64::from(count));
    }
}

/// So many touches and conversions are not kept any more: late ones before them cost a look at the log.
pub fn goal_records_dropped(count: u32) {
    if count > 0 {
        handles().goal_dropped.increment(u64::from(count));
    }
}

/// A socket was let in, or is gone again.
pub fn session_open(delta: f64) {
    handles().sessions.increment(delta);
}

/// A session began.
pub fn connected(resumed: bool) {
    handles().connects[usize::from(resumed)].increment(1);
}

/// The server closed a socket.
pub fn closed(close: Close) {
    if let Some(i) = Close::ALL.iter().position(|known| *known == close) {
        handles().closes[i].increment(1);
    }
}

/// Frames came in.
pub fn frames_received(frames: usize, bytes: usize) {
    handles().frames.increment(frames as u64);
    handles().received.increment(bytes as u64);
}

/// Bytes went out.
pub fn bytes_sent(bytes: usize) {
    handles().sent.increment(bytes as u64);
}

/// A TCP connection opened, or closed.
pub fn connections(delta: f64) {
    handles().connections.increment(delta);
}

/// An HTTP request was answered.
pub fn http(status: u16, took: Duration) {
    let class = usize::from(status / 100).clamp(1, 5) - 1;
    handles().http[class].increment(1);
    handles().http_duration.record(took.as_secs_f64());
}

/// A timer fired this late.
pub fn timer_late(late_ms: i64) {
    #[expect(clippy::cast_precision_loss, reason = "lateness in milliseconds is far below 2^52")]
    handles().timer_lateness.record(late_ms.max(0) as f64 / 1000.0);
}

/// A checkpoint was written.
pub fn checkpoint(took: Duration, bytes: u64) {
    handles().checkpoint.record(took.as_secs_f64());
    handles().checkpoint_bytes.increment(bytes);
}

/// The definitions changed.
pub fn plan_swapped() {
    handles().plan_swaps.increment(1);
}

/// The sweep folded a profile with this many events anew.
pub fn backfilled(events: u64) {
    handles().backfill_profiles.increment(1);
    handles().backfill_events.increment(events);
}

/// A refresh found this much that was wrong.
pub fn drifted(drift: u64) {
    handles().drift.increment(drift);
}

/// Numbers that are read rather than counted; set before every scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Levels {
    /// Profiles in memory.
    pub profiles: u64,
    /// Version of the definitions.
    pub plan_version: u64,
    /// Profiles that the sweep has still to visit.
    pub backfill_profiles: u64,
    /// Definitions that wait for it.
    pub building: u64,
    /// Time since the last checkpoint, in seconds.
    pub checkpoint_age_seconds: Option<u64>,
    /// Last journal position.
    pub position: u64,
    /// Last durable journal position.
    pub durable: u64,
    /// Time since the start, in seconds.
    pub uptime_seconds: u64,
}

/// Sets the gauges that are read rather than counted.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
pub fn levels(levels: &Levels) {
    let handles = handles();
    handles.profiles.set(levels.profiles as f64);
    handles.plan_version.set(levels.plan_version as f64);
    handles.backfill_left.set(levels.backfill_profiles as f64);
    handles.building.set(levels.building as f64);
    if let Some(age) = levels.checkpoint_age_seconds {
        handles.checkpoint_age.set(age as f64);
    }
    handles.position.set(levels.position as f64);
    handles.durable.set(levels.durable as f64);
    handles.uptime.set(levels.uptime_seconds as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn kind(kind: Kind) -> &'static str {
        match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }

    #[test]
    fn names_follow_the_convention() {
        for metric in METRICS {
            assert!(metric.name.starts_with("lodestone_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            let base = metric.name.trim_end_matches("_total");
            assert_eq!(base.ends_with("_seconds"), metric.unit == Unit::Seconds, "{}", metric.name);
            assert_eq!(base.ends_with("_bytes"), metric.unit == Unit::Bytes, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len(), "a name is declared twice");
    }

    /// The table in the documentation says what is declared here, no more and no less.
    #[test]
    fn the_documentation_lists_every_metric() {
        let expected: Vec<String> = METRICS
            .iter()
            .map(|m| format!("| `{}` | {} | {} | {} |", m.name, kind(m.kind), m.labels.join(", "), m.help))
            .collect();
        let text = include_str!("../../docs/metrics.md");
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `lodestone_")).collect();
        assert_eq!(rows, expected, "docs/metrics.md differs; the table should be:\n{}", expected.join("\n"));
    }

    #[test]
    fn what_is_counted_is_exported_with_help_and_buckets() {
        let handle = install();
        events_accepted();
        events_rejected("unknown_event");
        ack_latency(Duration::from_millis(2));
        journal_like();
        let text = handle.render();
        for line in [
            "# HELP lodestone_ingest_events_total ",
            "# TYPE lodestone_ingest_events_total counter",
            "# TYPE lodestone_ack_latency_seconds histogram",
            "lodestone_ack_latency_seconds_bucket{le=\"0.002\"}",
            "lodestone_ingest_rejects_total{code=\"unknown_event\"}",
            "lodestone_build_info{",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }

    fn journal_like() {
        metrics::histogram!(journal::GROUP_RECORDS).record(3.0);
    }
}
