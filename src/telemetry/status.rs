//! Rates and percentiles for the status page, kept beside the metrics because a scrape cannot be read
//! back: the last few seconds, in plain atomics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of the latency ring: powers of the square root of two, from 16 us up to about 12 s.
const BUCKETS: usize = 40;
const BASE_US: u64 = 16;

/// A coarse histogram of acknowledgement latency: about 20 % wide buckets, a few cache lines.
#[derive(Debug)]
pub struct AckLatency {
    counts: [AtomicU64; BUCKETS],
}

/// The one of this process.
pub static ACK: AckLatency = AckLatency { counts: [const { AtomicU64::new(0) }; BUCKETS] };

/// Counts at one moment, to subtract later.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot([u64; BUCKETS]);

fn upper_us(bucket: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let (base, exponent) = (BASE_US as f64, bucket as f64 / 2.0);
    base * exponent.exp2()
}

impl AckLatency {
    /// Counts one answer that took `us` microseconds.
    pub fn record(&self, us: u64) {
        self.counts[bucket_of(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed)))
    }
}

fn bucket_of(us: u64) -> usize {
    if us <= BASE_US {
        return 0;
    }
    // Two buckets an octave: the octave by its leading bit, the half by the next comparison.
    let octave = (us / BASE_US).ilog2() as usize;
    let low = BASE_US << octave;
    let half = u128::from(us) * u128::from(us) >= 2 * u128::from(low) * u128::from(low);
    (2 * octave + 1 + usize::from(half)).min(BUCKETS - 1)
}

impl Snapshot {
    /// Percentiles, in milliseconds, of what came between `earlier` and this; `None` without any.
    #[must_use]
    pub fn percentiles_since(&self, earlier: &Self, wanted: [f64; 2]) -> Option<[f64; 2]> {
        let counts: Vec<u64> = self.0.iter().zip(&earlier.0).map(|(now, then)| now.saturating_sub(*then)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        Some(wanted.map(|p| {
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let rank = (total as f64 * p).ceil();
            let mut seen = 0.0;
            for (bucket, count) in counts.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "a count")]
                let count = *count as f64;
                seen += count;
                if seen >= rank {
                    return (upper_us(bucket) / 10.0).round() / 100.0;
                }
            }
            upper_us(BUCKETS - 1) / 1000.0
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_is_below_their_bound() {
        for us in [0_u32, 1, 16, 17, 22, 23, 31, 32, 33, 100, 1_000, 5_000, 1_000_000, 11_000_000] {
            let bucket = bucket_of(u64::from(us));
            assert!(f64::from(us) <= upper_us(bucket) * 1.001, "{us} in {bucket}");
            assert!(bucket == 0 || f64::from(us) >= upper_us(bucket - 1) * 0.999, "{us} in {bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_an_interval() {
        let latency = AckLatency { counts: [const { AtomicU64::new(0) }; BUCKETS] };
        let before = latency.snapshot();
        assert_eq!(latency.snapshot().percentiles_since(&before, [0.5, 0.99]), None);
        for _ in 0..99 {
            latency.record(1_000);
        }
        latency.record(100_000);
        let [p50, p99] = latency.snapshot().percentiles_since(&before, [0.5, 0.99]).unwrap();
        assert!((1.0..1.5).contains(&p50) && (1.0..1.5).contains(&p99), "{p50} {p99}");
    }
}
