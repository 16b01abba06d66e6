//! Bytes and files that are not as they were written.

use crate::{append, cases, check_prefix, dir, open, small};
use lodestone::journal::sim::{Dice, SimDisk};
use lodestone::journal::{Disk, Error, Options, Verdict, verify_on};
use lodestone_state::ids::Seq;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    // I-15b, L-5: any changed byte of what had been synced is reported: never skipped, never read.
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

// L-5: a file that is missing is as bad as a changed one.
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

// A store with a checkpoint had a journal: starting an empty one would lose what was acknowledged since.
#[test]
fn a_missing_journal_is_reported() {
    let error = open(&SimDisk::new(), Options { start_after: Seq(9), ..small() }).err().unwrap();
    assert!(matches!(error, Error::Watermark { .. }));
    assert_eq!(error.exit_code(), 65);
    assert!(verify_on(dir(), &SimDisk::new()).unwrap().is_sound());
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
