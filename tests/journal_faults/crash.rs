//! Power failures.

use crate::{append, cases, check_prefix, dir, open, small};
use lodestone::journal::sim::{Dice, SimDisk};
use lodestone::journal::{Options, SyncMode, verify_on};
use lodestone_state::ids::Seq;
use proptest::prelude::*;
use std::time::Duration;

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

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    // I-15b, L-2, L-3: after a power failure at any operation, with unsynced writes lost, kept or torn at
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
