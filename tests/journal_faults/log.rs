//! The log as such: order, groups, rolling, releasing, reopening.

use crate::{append, check_prefix, dir, eventually, open, small};
use lodestone::journal::fault::{FaultDisk, Faults};
use lodestone::journal::sim::SimDisk;
use lodestone::journal::{Error, Journal, Options, RealDisk, SyncMode, verify_on};
use lodestone_state::ids::Seq;
use std::sync::Arc;
use std::time::Duration;

// L-1, L-3
#[test]
fn what_was_appended_comes_back_over_many_reopenings() {
    let disk = SimDisk::new();
    let mut total = 0;
    for round in 0..60 {
        let (journal, recovered) = open(&disk, small()).unwrap();
        assert!(recovered.torn().is_none());
        assert_eq!(check_prefix(recovered, 0), total);
        let more = round % 7 * 5;
        append(&journal, more);
        total += more;
        assert_eq!(journal.last(), Seq(total));
        journal.close().unwrap();
        assert_eq!(journal.durable_now(), Seq(total));
        assert_eq!(journal.synced(), Seq(total));
    }
    let report = verify_on(dir(), &disk).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.records(), report.last_seq, report.watermark_seq), (total, total, total));
    assert!(report.segments.len() > 10);
}

#[test]
fn on_the_real_disk_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut total = 0;
    for _ in 0..5 {
        let options = Options { segment_bytes: 16 << 10, min_free_bytes: 1, ..Options::default() };
        let (journal, recovered) = Journal::open(&path, options, Arc::new(RealDisk)).unwrap();
        assert_eq!(check_prefix(recovered, 0), total);
        append(&journal, 500);
        total += 500;
        journal.wait_durable(Seq(total)).unwrap();
        assert!(journal.writable());
    }
    assert!(verify_on(&path, &RealDisk).unwrap().is_sound());
}

/// Runs a journal until the power goes in the middle of an operation; returns what had been acknowledged

// L-1: many threads; each thread's records keep their order, and the numbers say where they went.
#[test]
fn concurrent_appenders_keep_their_order() {
    const THREADS: u64 = 8;
    const EACH: u64 = 3000;
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, Options { segment_bytes: 64 << 10, ..small() }).unwrap();
    let placed: Vec<Vec<Seq>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let journal = &journal;
                scope.spawn(move || {
                    let mut placed = Vec::new();
                    for i in 0..EACH {
                        let record = [thread.to_le_bytes(), i.to_le_bytes()].concat();
                        placed.push(journal.append(&record));
                        if i % 500 == 0 {
                            journal.wait_durable(*placed.last().unwrap()).unwrap();
                        }
                    }
                    placed
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    journal.close().unwrap();
    let (_journal, mut recovered) = open(&disk, small()).unwrap();
    assert_eq!(recovered.records(), THREADS * EACH);
    let mut seen = vec![0; THREADS as usize];
    recovered
        .replay(|seq, bytes| {
            let thread = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let i = u64::from_le_bytes(bytes[8..].try_into().unwrap());
            assert_eq!(seen[thread], i, "thread {thread} out of order");
            assert_eq!(placed[thread][i as usize], seq);
            seen[thread] += 1;
            Ok::<(), Error>(())
        })
        .unwrap();
    assert_eq!(recovered.progress().0, recovered.progress().1);
}

// Group commit: while one group syncs, the next piles up.
#[test]
fn a_slow_sync_makes_larger_groups_not_more_syncs() {
    let faults = Arc::new(Faults::default());
    let disk = SimDisk::new();
    let options = Options { segment_bytes: 1 << 20, ..small() };
    let (journal, _) = Journal::open(dir(), options, Arc::new(FaultDisk::new(disk.clone(), faults.clone()))).unwrap();
    let before = faults.syncs();
    faults.delay_sync(Duration::from_millis(20));
    append(&journal, 1000);
    journal.wait_durable(Seq(1000)).unwrap();
    assert!(faults.syncs() - before < 20, "{} syncs for 1000 records", faults.syncs() - before);
}

// What piles up beyond a segment is written in groups that fit one; a single larger record gets its own.
#[test]
fn a_pile_larger_than_a_segment_becomes_several_groups() {
    let faults = Arc::new(Faults::default());
    let disk = SimDisk::new();
    let (journal, _) = Journal::open(dir(), small(), Arc::new(FaultDisk::new(disk.clone(), faults.clone()))).unwrap();
    append(&journal, 1);
    faults.delay_sync(Duration::from_millis(50));
    append(&journal, 400);
    faults.delay_sync(Duration::ZERO);
    journal.close().unwrap();
    let (_journal, recovered) = open(&disk, small()).unwrap();
    assert_eq!(check_prefix(recovered, 0), 401);
    let report = verify_on(dir(), &disk).unwrap();
    assert!(report.segments.len() > 10 && report.segments.iter().all(|s| s.bytes <= 4096), "{report}");
}

// The edge is told to stop reading before memory runs out, and nothing is dropped.
#[test]
fn pressure_is_reported_and_passes() {
    let faults = Arc::new(Faults::default());
    let options = Options { pressure_bytes: 10_000, segment_bytes: 1 << 20, ..small() };
    let (journal, _) = Journal::open(dir(), options, Arc::new(FaultDisk::new(SimDisk::new(), faults.clone()))).unwrap();
    append(&journal, 1);
    journal.wait_durable(Seq(1)).unwrap();
    assert!(!journal.pressure());
    faults.delay_sync(Duration::from_millis(100));
    append(&journal, 500);
    assert!(journal.pressure());
    faults.delay_sync(Duration::ZERO);
    journal.wait_durable(Seq(501)).unwrap();
    assert!(!journal.pressure());
}

// I-12, I-13: the journal stays short; what a checkpoint holds is removed, nothing else.
#[test]
fn released_segments_go_and_the_rest_stays() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, small()).unwrap();
    for _ in 0..20 {
        append(&journal, 20);
        journal.sync().unwrap();
    }
    let (before, first) = journal.extent();
    assert_eq!(first, Seq(1));
    assert!(before > 10);
    journal.release(Seq(200));
    eventually("segments are removed", || journal.extent().0 < before);
    let (_, first) = journal.extent();
    assert!(first > Seq(100) && first <= Seq(201), "{first:?}");
    journal.release(Seq(400));
    eventually("all but the one being written", || journal.extent().0 == 1);
    append(&journal, 5);
    journal.close().unwrap();
    let (journal, recovered) = open(&disk, Options { start_after: Seq(400), ..small() }).unwrap();
    assert_eq!(recovered.first_seq(), Seq(401));
    assert_eq!(check_prefix(recovered, 400), 405);
    journal.close().unwrap();
    // A checkpoint older than the journal's beginning leaves a gap, and that is said.
    assert!(matches!(open(&disk, Options { start_after: Seq(100), ..small() }), Err(Error::Corrupt { .. })));
}

// A record that is not finished because its writer panicked leaves no trace.
#[test]
fn a_panic_while_appending_takes_the_record_back() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, small()).unwrap();
    append(&journal, 3);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        journal.append_with(|_, out| {
            out.put(b"half a rec");
            panic!("the codec has a bug");
        })
    }));
    assert!(panicked.is_err());
    append(&journal, 3);
    journal.close().unwrap();
    let (_journal, recovered) = open(&disk, small()).unwrap();
    assert_eq!(check_prefix(recovered, 0), 6);
}

// I-9: `durable` is published to those who wait for it, and in the interval mode the sync follows.
#[test]
fn durable_is_published_in_every_mode() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for sync in [SyncMode::Strict, SyncMode::Interval(Duration::from_millis(5)), SyncMode::None] {
        let (journal, _) = open(&SimDisk::new(), Options { sync, ..small() }).unwrap();
        let mut durable = journal.durable();
        append(&journal, 50);
        runtime.block_on(async { durable.wait_for(|seq| *seq >= 50).await.map(|seq| *seq) }).unwrap();
        if sync == SyncMode::Strict {
            assert_eq!(journal.synced(), Seq(50));
        }
        if let SyncMode::Interval(_) = sync {
            eventually("the interval's sync", || journal.synced() == Seq(50));
        }
        assert_eq!(journal.sync().unwrap(), Seq(50));
        assert_eq!(journal.synced(), Seq(50));
    }
}
