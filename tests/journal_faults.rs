//! The journal on disks that crash, tear, rot, fail and fill (I-9, I-15, I-15b; invariants J-1 to J-6).

use lodestone::journal::fault::{FaultDisk, Faults};
use lodestone::journal::sim::{Dice, SimDisk};
use lodestone::journal::{Disk, Error, Journal, Options, RealDisk, Recovered, SyncMode, Verdict, verify_on};
use lodestone_state::ids::Seq;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const DIR: &str = "/data/journal";

fn dir() -> &'static Path {
    Path::new(DIR)
}

/// Small segments, so that every test rolls.
fn small() -> Options {
    Options { segment_bytes: 4096, min_free_bytes: 0, space_check: Duration::from_millis(5), ..Options::default() }
}

fn open(disk: &SimDisk, options: Options) -> Result<(Journal, Recovered), Error> {
    Journal::open(dir(), options, Arc::new(disk.clone()))
}

/// The record with sequence number `seq` in these tests: its length and bytes follow from the number.
fn record(seq: u64) -> Vec<u8> {
    let mut dice = Dice(seq);
    let len = dice.below(300) as usize;
    (0..len).map(|_| dice.roll() as u8).collect()
}

/// Checks that what came back is exactly the records after `after`, and returns the last number.
fn check_prefix(recovered: Recovered, after: u64) -> u64 {
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

fn append(journal: &Journal, count: u64) {
    for _ in 0..count {
        journal.append_with(|seq, out| out.put(&record(seq.0)));
    }
}

// J-1, J-3
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
/// and what had been appended.
fn run_until_the_power_goes(disk: &SimDisk, options: Options, dice: &mut Dice) -> (u64, u64) {
    // The checkpoint is what has been released, at least.
    let start_after = Seq(verify_on(dir(), disk).unwrap().first_seq.saturating_sub(1));
    let Ok((journal, recovered)) = open(disk, Options { start_after, ..options }) else {
        return (0, 0);
    };
    let mut appended = recovered.last_seq().0;
    let mut released = 0;
    for _ in 0..60 {
        let count = dice.below(20);
        append(&journal, count);
        appended += count;
        match dice.below(4) {
            0 if journal.wait_durable(Seq(appended)).is_err() => break,
            1 if journal.sync().is_err() => break,
            // A checkpoint somewhere in what is durable.
            2 if dice.below(4) == 0 => {
                released = released.max(journal.synced().0.saturating_sub(dice.below(30)));
                journal.release(Seq(released));
            }
            _ => {}
        }
    }
    let _ = journal.close();
    (journal.durable_now().0, appended)
}

/// More with `LODESTONE_CASES`.
fn cases() -> u32 {
    std::env::var("LODESTONE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    // I-15b, J-2, J-3: after a power failure at any operation, with unsynced writes lost, kept or torn at
    // any byte, recovery returns a prefix that holds every acknowledged record; and again after the next.
    #[test]
    fn a_power_failure_loses_nothing_acknowledged(seed in any::<u64>(), cuts in prop::collection::vec(1_u64..400, 1..4)) {
        let mut dice = Dice(seed);
        let mut disk = SimDisk::new();
        let mut durable = 0;
        let mut appended = 0;
        for cut in cuts {
            disk.cut_after(cut);
            let (acked, last) = run_until_the_power_goes(&disk, small(), &mut dice);
            durable = durable.max(acked);
            appended = appended.max(last);
            disk = disk.crash(dice.roll());
            let report = verify_on(dir(), &disk).unwrap();
            prop_assert!(report.is_sound(), "{:?}", report);
            prop_assert!(report.last_seq >= durable, "durable {} but {:?}", durable, report);
        }
        // Nothing past the oldest segment was released without being known to be synced.
        let first = verify_on(dir(), &disk).unwrap().first_seq;
        let after = first.saturating_sub(1);
        let (journal, recovered) = open(&disk, Options { start_after: Seq(after), ..small() }).unwrap();
        let last = check_prefix(recovered, after);
        prop_assert!(last >= durable, "recovered up to {}, acknowledged {}", last, durable);
        prop_assert!(last <= appended.max(after), "recovered up to {}, appended {}", last, appended);
        append(&journal, 10);
        journal.wait_durable(Seq(last + 10)).unwrap();
        drop(journal);
        let (_journal, recovered) = open(&disk, Options { start_after: Seq(after), ..small() }).unwrap();
        prop_assert_eq!(check_prefix(recovered, after), last + 10);
    }

    // The other modes promise less, and that holds as well: a prefix, never corruption, and everything
    // that was synced.
    #[test]
    fn without_a_sync_per_group_a_prefix_survives(seed in any::<u64>(), cut in 1_u64..300, interval in any::<bool>()) {
        let mut dice = Dice(seed);
        let sync = if interval { SyncMode::Interval(Duration::from_micros(300)) } else { SyncMode::None };
        let options = Options { sync, ..small() };
        let mut disk = SimDisk::new();
        for _ in 0..2 {
            disk.cut_after(cut);
            let mut synced = 0;
            if let Ok((journal, _)) = open(&disk, options.clone()) {
                for _ in 0..40 {
                    append(&journal, dice.below(20));
                    if dice.below(8) == 0 && journal.sync().is_err() {
                        break;
                    }
                    if dice.below(4) == 0 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
                let _ = journal.close();
                synced = journal.synced().0;
            }
            disk = disk.crash(dice.roll());
            let (journal, recovered) = open(&disk, options.clone()).unwrap();
            prop_assert!(check_prefix(recovered, 0) >= synced);
            drop(journal);
        }
    }

    // I-15b, J-5: any changed byte of what had been synced is reported: never skipped, never read.
    #[test]
    fn a_changed_byte_before_the_watermark_is_reported(seed in any::<u64>(), bit in 0_u8..8) {
        let mut dice = Dice(seed);
        let disk = SimDisk::new();
        let (journal, _) = open(&disk, small()).unwrap();
        for _ in 0..30 {
            append(&journal, dice.below(12));
            if dice.below(2) == 0 {
                journal.sync().unwrap();
            }
        }
        journal.close().unwrap();
        let sound = verify_on(dir(), &disk).unwrap();
        let used: Vec<_> = sound.segments.iter().filter(|s| s.records > 0).collect();
        if used.is_empty() {
            return Ok(());
        }
        let at = dice.below(used.len() as u64) as usize;
        let victim = used[at];
        // A segment that is followed by another is closed to its last byte; the last one up to its end.
        let length = if at + 1 < used.len() { 4096 } else { victim.bytes };
        let offset = dice.below(length);
        disk.corrupt(&dir().join(&victim.file), offset, |byte| byte ^ (1 << bit));
        match open(&disk, small()) {
            Err(Error::Corrupt { segment, .. }) => {
                prop_assert_eq!(segment, victim.segment);
                let report = verify_on(dir(), &disk).unwrap();
                prop_assert!(!report.is_sound());
                let broken = |s: &&lodestone::journal::SegmentReport| matches!(s.verdict, Verdict::Corrupt { .. });
                prop_assert_eq!(report.segments.iter().find(broken).unwrap().segment, victim.segment);
            }
            // The version's own bytes were hit.
            Err(Error::Newer { .. }) => prop_assert!((8..12).contains(&offset)),
            other => prop_assert!(false, "byte {} of {}: {:?}", offset, victim.file, other.map(|_| "opened")),
        }
    }
}

// I-15b: even with a watermark that says nothing, a group that was followed by a later one is known to have
// been durable, because the later one says so.
#[test]
fn a_later_group_proves_that_a_bad_one_was_durable() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, Options { segment_bytes: 64 << 10, ..small() }).unwrap();
    let stale = disk.crash(0);
    for _ in 0..5 {
        append(&journal, 3);
        journal.sync().unwrap();
    }
    journal.close().unwrap();
    let marks = |disk: &SimDisk| {
        let mut bytes = vec![0; 16 << 10];
        disk.open(&dir().join("watermark"), true).unwrap().read_at(&mut bytes, 0).unwrap();
        bytes
    };
    disk.open(&dir().join("watermark"), true).unwrap().write_at(&marks(&stale), 0).unwrap();
    let file = dir().join("000000000001.journal");
    disk.corrupt(&file, 64 + 50, |byte| !byte);
    assert!(matches!(open(&disk, small()), Err(Error::Corrupt { segment: 1, seq: Seq(1), .. })));
    // Without the later groups it is a torn tail, and nothing says otherwise.
    let handle = disk.open(&file, true).unwrap();
    handle.write_at(&vec![0; (64 << 10) - 128], 128).unwrap();
    let (_journal, recovered) = open(&disk, small()).unwrap();
    assert_eq!(recovered.torn().unwrap().seq, Seq(1));
    assert_eq!(recovered.records(), 0);
}

// J-5: a file that is missing is as bad as a changed one.
#[test]
fn a_missing_segment_is_reported() {
    for missing in 0..3 {
        let disk = SimDisk::new();
        let (journal, _) = open(&disk, small()).unwrap();
        append(&journal, 60);
        journal.sync().unwrap();
        journal.close().unwrap();
        let used: Vec<_> = verify_on(dir(), &disk).unwrap().segments.into_iter().filter(|s| s.records > 0).collect();
        let victim = match missing {
            0 => 0,
            1 => used.len() / 2,
            _ => used.len() - 1,
        };
        disk.remove(&dir().join(&used[victim].file)).unwrap();
        let error = open(&disk, small()).err().unwrap();
        assert!(matches!(error, Error::Corrupt { seq, .. } if seq.0 == used[victim].first_seq), "{error}");
        assert_eq!(error.exit_code(), 65);
    }
}

#[test]
fn a_missing_watermark_is_reported() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, small()).unwrap();
    append(&journal, 60);
    journal.close().unwrap();
    disk.remove(&dir().join("watermark")).unwrap();
    let error = open(&disk, small()).err().unwrap();
    assert!(matches!(error, Error::Watermark { .. }));
    assert_eq!(error.exit_code(), 65);
    assert!(!verify_on(dir(), &disk).unwrap().is_sound());
}

// Bad input of the issue: a data folder of a newer version.
#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, small()).unwrap();
    append(&journal, 5);
    journal.close().unwrap();
    let file = dir().join("000000000001.journal");
    disk.corrupt(&file, 8, |_| 2);
    let error = open(&disk, small()).err().unwrap();
    assert!(matches!(error, Error::Newer { found: 2, supported: 1, .. }));
    assert_eq!(error.exit_code(), 65);
    assert!(matches!(verify_on(dir(), &disk), Err(Error::Newer { .. })));
    disk.corrupt(&file, 8, |_| 1);
    let (_journal, recovered) = open(&disk, small()).unwrap();
    assert_eq!(check_prefix(recovered, 0), 5);
}

// I-15, J-4: after a failed sync nothing is acknowledged any more, even if later syncs would succeed.
#[test]
fn a_failed_sync_is_final() {
    let faults = Arc::new(Faults::default());
    let disk = SimDisk::new();
    let (journal, _) =
        Journal::open(dir(), small(), Arc::new(FaultDisk::new(disk.clone(), faults.clone()))).unwrap();
    append(&journal, 10);
    journal.wait_durable(Seq(10)).unwrap();
    // The keeper's own syncs count as well, so that the journal may fail in either thread.
    faults.fail_sync_after(0);
    append(&journal, 10);
    let error = journal.wait_durable(Seq(20)).unwrap_err();
    assert_eq!(error.exit_code(), 74);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(journal.failed()).to_string(), error.to_string());
    faults.fail_sync_after(i64::MAX);
    let durable = journal.durable_now();
    assert!(durable < Seq(20));
    let last = journal.append(b"after the end");
    assert!(journal.wait_durable(last).is_err());
    assert!(journal.sync().is_err());
    assert!(!journal.writable());
    assert_eq!(journal.durable_now(), durable);
    assert!(journal.close().is_err());
    // A restart finds everything acknowledged.
    let (_journal, recovered) = open(&disk.crash(7), small()).unwrap();
    assert!(check_prefix(recovered, 0) >= durable.0);
}

#[test]
fn a_failed_write_is_final() {
    let faults = Arc::new(Faults::default());
    let (journal, _) =
        Journal::open(dir(), small(), Arc::new(FaultDisk::new(SimDisk::new(), faults.clone()))).unwrap();
    append(&journal, 10);
    journal.wait_durable(Seq(10)).unwrap();
    faults.fail_write_after(0);
    append(&journal, 10);
    assert!(journal.wait_durable(Seq(20)).is_err());
    faults.fail_write_after(i64::MAX);
    append(&journal, 1);
    assert!(journal.wait_durable(Seq(21)).is_err());
    assert_eq!(journal.durable_now(), Seq(10));
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

// I-15, J-6: a full disk is foreseen, loses nothing, and the journal goes on when there is room again.
#[test]
fn a_full_disk_is_foreseen_and_survived() {
    let faults = Arc::new(Faults::default());
    let disk = SimDisk::new();
    let options = Options { min_free_bytes: 1 << 20, ..small() };
    let (journal, _) =
        Journal::open(dir(), options, Arc::new(FaultDisk::new(disk.clone(), faults.clone()))).unwrap();
    append(&journal, 10);
    journal.wait_durable(Seq(10)).unwrap();
    assert!(journal.writable());
    // Below the reserve: refused, though nothing has failed.
    faults.set_free(1000);
    eventually("refuses below the reserve", || !journal.writable());
    // Someone appends nevertheless, far more than fits: it stays in memory, unacknowledged.
    faults.set_full(true);
    append(&journal, 300);
    std::thread::sleep(Duration::from_millis(50));
    assert!(journal.failure().is_none());
    assert!(journal.durable_now() < Seq(310));
    // Room again: it goes on by itself.
    faults.set_full(false);
    faults.set_free(u64::MAX);
    journal.wait_durable(Seq(310)).unwrap();
    eventually("accepts again", || journal.writable());
    journal.close().unwrap();
    let (_journal, recovered) = open(&disk, small()).unwrap();
    assert_eq!(check_prefix(recovered, 0), 310);
}

// J-6: the same on a disk that really has no room, and with a group larger than a whole segment.
#[test]
fn a_group_larger_than_a_segment_waits_for_room() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, small()).unwrap();
    append(&journal, 1);
    journal.wait_durable(Seq(1)).unwrap();
    disk.set_capacity(64 << 10);
    let large = vec![7; 100 << 10];
    let seq = journal.append(&large);
    std::thread::sleep(Duration::from_millis(50));
    assert!(journal.durable_now() < seq);
    eventually("refuses", || !journal.writable());
    disk.set_capacity(u64::MAX);
    journal.wait_durable(seq).unwrap();
    eventually("accepts again", || journal.writable());
    journal.close().unwrap();
    let (_journal, recovered) = open(&disk, small()).unwrap();
    assert_eq!(recovered.last_seq(), seq);
    assert_eq!(recovered.last_seq().0, 2);
    assert_eq!(recovered.skip(1).next().unwrap().unwrap().1, large);
}

// I-15: a full disk at stop does not hang the process.
#[test]
fn a_stop_on_a_full_disk_ends() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, small()).unwrap();
    append(&journal, 1);
    journal.wait_durable(Seq(1)).unwrap();
    disk.set_capacity(0);
    append(&journal, 200);
    let error = journal.close().unwrap_err();
    assert!(error.is_full(), "{error}");
    disk.set_capacity(u64::MAX);
    let (_journal, recovered) = open(&disk.crash(3), small()).unwrap();
    assert!(check_prefix(recovered, 0) >= journal.durable_now().0);
}

// J-1: many threads; each thread's records keep their order, and the numbers say where they went.
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

// The edge is told to stop reading before memory runs out, and nothing is dropped.
#[test]
fn pressure_is_reported_and_passes() {
    let faults = Arc::new(Faults::default());
    let options = Options { pressure_bytes: 10_000, segment_bytes: 1 << 20, ..small() };
    let (journal, _) =
        Journal::open(dir(), options, Arc::new(FaultDisk::new(SimDisk::new(), faults.clone()))).unwrap();
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

// A checkpoint may be ahead of a journal that is not synced per group: numbers are not used twice.
#[test]
fn numbers_go_on_after_a_checkpoint_that_is_ahead() {
    let disk = SimDisk::new();
    let (journal, _) = open(&disk, Options { sync: SyncMode::None, ..small() }).unwrap();
    append(&journal, 40);
    journal.wait_durable(Seq(40)).unwrap();
    journal.close().unwrap();
    for seed in 0..40 {
        let disk = disk.crash(seed);
        disk.cut_after(1 + seed);
        let ahead = Options { start_after: Seq(1000), ..small() };
        // The power may go again while the journal starts anew.
        drop(open(&disk, ahead.clone()));
        let disk = disk.crash(seed);
        let (journal, recovered) = open(&disk, ahead.clone()).unwrap();
        assert_eq!(recovered.records(), 0);
        append(&journal, 3);
        assert_eq!(journal.last(), Seq(1003));
        journal.close().unwrap();
        let (_journal, recovered) = open(&disk, ahead).unwrap();
        assert_eq!(check_prefix(recovered, 1000), 1003);
    }
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
