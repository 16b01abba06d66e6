//! The journal on disks that crash, tear, rot, fail and fill (I-9, I-15, I-15b; invariants J-2, J-3, L-1 to L-6).

mod crash;
mod failure;
mod log;
mod rot;

use lodestone::journal::sim::{Dice, SimDisk};
use lodestone::journal::{Error, Journal, Options, Recovered};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const DIR: &str = "/data/journal";

pub(crate) fn dir() -> &'static Path {
    Path::new(DIR)
}

/// Small segments, so that every test rolls.
pub(crate) fn small() -> Options {
    Options { segment_bytes: 4096, min_free_bytes: 0, space_check: Duration::from_millis(5), ..Options::default() }
}

pub(crate) fn open(disk: &SimDisk, options: Options) -> Result<(Journal, Recovered), Error> {
    Journal::open(dir(), options, Arc::new(disk.clone()))
}

/// The record with sequence number `seq` in these tests: its length and bytes follow from the number.
pub(crate) fn record(seq: u64) -> Vec<u8> {
    let mut dice = Dice(seq);
    let len = dice.below(300) as usize;
    (0..len).map(|_| dice.roll() as u8).collect()
}

/// Checks that what came back is exactly the records after `after`, and returns the last number.
pub(crate) fn check_prefix(recovered: Recovered, after: u64) -> u64 {
    let promised = recovered.last_seq().0;
    let mut next = after + 1;
    for item in recovered {
        let (seq, bytes) = item.unwrap();
        assert_eq!(seq.0, next);
        assert_eq!(bytes, record(next), "record {next}");
        next += 1;
    }
    assert_eq!(promised, next - 1);
    next - 1
}

pub(crate) fn append(journal: &Journal, count: u64) {
    for _ in 0..count {
        journal.append_with(|seq, out| out.put(&record(seq.0)));
    }
}

pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// More with `LODESTONE_CASES`.
pub(crate) fn cases() -> u32 {
    std::env::var("LODESTONE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}
