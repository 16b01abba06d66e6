//! What the journal measures. The only place where its metrics are named.

use metrics::{Counter, Gauge, Histogram};
use std::time::Duration;

/// Bytes written, headers included. Counter.
pub const BYTES_TOTAL: &str = "lodestone_journal_bytes_total";
/// Records of one group. Histogram.
pub const GROUP_RECORDS: &str = "lodestone_journal_group_records";
/// Duration of the sync of one group, in seconds. Histogram.
pub const SYNC_DURATION: &str = "lodestone_journal_sync_duration_seconds";
/// Duration of the write of one group, in seconds. Histogram.
pub const APPEND_DURATION: &str = "lodestone_journal_append_duration_seconds";
/// Segment files that hold records. Gauge.
pub const SEGMENTS: &str = "lodestone_journal_segments";

/// Handles to the above, looked up once.
pub(super) struct Meters {
    bytes: Counter,
    group_records: Histogram,
    sync: Histogram,
    append: Histogram,
    segments: Gauge,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            bytes: metrics::counter!(BYTES_TOTAL),
            group_records: metrics::histogram!(GROUP_RECORDS),
            sync: metrics::histogram!(SYNC_DURATION),
            append: metrics::histogram!(APPEND_DURATION),
            segments: metrics::gauge!(SEGMENTS),
        }
    }

    pub(super) fn wrote(&self, bytes: usize, records: u32, took: Duration) {
        self.bytes.increment(bytes as u64);
        self.group_records.record(f64::from(records));
        self.append.record(took.as_secs_f64());
    }

    pub(super) fn synced(&self, took: Duration) {
        self.sync.record(took.as_secs_f64());
    }

    pub(super) fn segments(&self, count: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a count of files")]
        self.segments.set(count as f64);
    }
}
