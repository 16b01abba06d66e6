//! What a replay measured, and how it is shown.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How many rows that are no events are shown in full.
const EXAMPLES_MAX: usize = 5;

/// Counts of one connection, or of all after [`Tally::merge`].
#[derive(Clone, Debug)]
pub struct Tally {
    /// Items by `stored`, `duplicate`, `dropped`.
    pub accepted: BTreeMap<String, u64>,
    /// Items by the code of their refusal.
    pub rejected: BTreeMap<String, u64>,
    /// Time from sending an item to its acknowledgement, in microseconds.
    pub ack_us: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        // Three digits up to ten minutes: 0.1 % is finer than any run repeats.
        let ack_us = Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are constants");
        Self { accepted: BTreeMap::new(), rejected: BTreeMap::new(), ack_us }
    }
}

impl Tally {
    /// Counts `items` with one status; `code` is that of a refusal.
    pub fn count(&mut self, status: &str, code: Option<&str>, items: u64) {
        let (counts, key) = match status {
            "rejected" => (&mut self.rejected, code.unwrap_or("unknown")),
            accepted => (&mut self.accepted, accepted),
        };
        if items > 0 {
            *counts.entry(key.to_owned()).or_default() += items;
        }
    }

    /// Notes that `items` waited this long.
    pub fn waited(&mut self, time: Duration, items: u64) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.ack_us.saturating_record_n(us, items);
    }

    /// Adds the counts of another connection.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.accepted, &other.accepted), (&mut self.rejected, &other.rejected)] {
            for (key, count) in theirs {
                *mine.entry(key.clone()).or_default() += count;
            }
        }
        self.ack_us.add(&other.ack_us).expect("both have the same bounds");
    }
}

/// Rows that could not be turned into events.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Skipped {
    /// How many.
    pub rows: u64,
    /// The first few, with the reason.
    pub examples: Vec<String>,
}

impl Skipped {
    /// Notes one.
    pub fn add(&mut self, row: u64, why: &str) {
        self.rows += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("row {row}: {why}"));
        }
    }
}

/// Quantiles of the time from sending an item to its acknowledgement, in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AckLatency {
    /// Half of the items were faster.
    pub p50_ms: f64,
    /// One in a hundred was slower.
    pub p99_ms: f64,
    /// One in a thousand was slower.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// The result of a replay.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Rows read.
    pub rows: u64,
    /// Items that were answered.
    pub events: u64,
    /// From the first send to the last answer.
    pub seconds: f64,
    /// Answered items per second.
    pub events_per_second: f64,
    /// Items by `stored`, `duplicate`, `dropped`.
    pub accepted: BTreeMap<String, u64>,
    /// Items by the code of their refusal.
    pub rejected: BTreeMap<String, u64>,
    /// Rows that are no events.
    pub skipped: Skipped,
    /// Acknowledgement latency.
    pub ack: AckLatency,
    /// Actions pushed to the listeners.
    pub actions_received: u64,
}

impl Report {
    /// Puts the report together.
    #[must_use]
    pub fn new(rows: u64, tally: Tally, skipped: Skipped, time: Duration, actions_received: u64) -> Self {
        let events = tally.accepted.values().chain(tally.rejected.values()).sum();
        let seconds = time.as_secs_f64().max(1e-6);
        let ms = |quantile: f64| tally.ack_us.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            rows,
            events,
            seconds,
            events_per_second: events as f64 / seconds,
            skipped,
            ack: AckLatency { p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms: ms(0.999), max_ms: ms(1.0) },
            accepted: tally.accepted,
            rejected: tally.rejected,
            actions_received,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| match counts.len() {
            0 => "none".to_owned(),
            _ => counts.iter().map(|(key, count)| format!("{key} {count}")).collect::<Vec<_>>().join(", "),
        };
        writeln!(f, "rows       {}", self.rows)?;
        writeln!(f, "events     {} in {:.2} s = {:.0} events/s", self.events, self.seconds, self.events_per_second)?;
        writeln!(f, "accepted   {}", list(&self.accepted))?;
        writeln!(f, "rejected   {}", list(&self.rejected))?;
        if self.skipped.rows > 0 {
            writeln!(f, "skipped    {} rows that are no events", self.skipped.rows)?;
            for example in &self.skipped.examples {
                writeln!(f, "           {example}")?;
            }
        }
        let ack = &self.ack;
        writeln!(f, "ack ms     p50 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2}", ack.p50_ms, ack.p99_ms, ack.p999_ms, ack.max_ms)?;
        write!(f, "actions    {} received", self.actions_received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let (mut a, mut b) = (Tally::default(), Tally::default());
        a.count("stored", None, 99);
        a.count("rejected", Some("unknown_event"), 1);
        a.waited(Duration::from_millis(2), 99);
        b.count("stored", None, 1);
        b.count("duplicate", None, 0);
        b.waited(Duration::from_millis(50), 1);
        a.merge(&b);
        let report = Report::new(101, a, Skipped::default(), Duration::from_secs(2), 3);
        assert_eq!((report.events, report.accepted.len()), (101, 1));
        assert!((report.ack.p50_ms - 2.0).abs() < 0.01 && (report.ack.max_ms - 50.0).abs() < 0.1);
        let text = report.to_string();
        assert!(text.contains("stored 100") && text.contains("unknown_event 1"), "{text}");
    }
}
