//! Writes and syncs that fail, and disks that fill up.

use crate::{append, check_prefix, dir, eventually, open, small};
use lodestone::journal::fault::{FaultDisk, Faults};
use lodestone::journal::sim::SimDisk;
use lodestone::journal::{Journal, Options};
use lodestone_state::ids::Seq;
use std::sync::Arc;
use std::time::Duration;

// I-15, L-4: after a failed sync nothing is acknowledged any more, even if later syncs would succeed.
#[test]
fn a_failed_sync_is_final() {
    let faults = Arc::new(Faults::default());
    let disk = SimDisk::new();
    let (journal, _) = Journal::open(dir(), small(), Arc::new(FaultDisk::new(disk.clone(), faults.clone()))).unwrap();
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
    let (journal, _) = Journal::open(dir(), small(), Arc::new(FaultDisk::new(SimDisk::new(), faults.clone()))).unwrap();
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

// I-15, L-6: a full disk is foreseen, loses nothing, and the journal goes on when there is room again.
#[test]
fn a_full_disk_is_foreseen_and_survived() {
    let faults = Arc::new(Faults::default());
    let disk = SimDisk::new();
    let options = Options { min_free_bytes: 1 << 20, ..small() };
    let (journal, _) = Journal::open(dir(), options, Arc::new(FaultDisk::new(disk.clone(), faults.clone()))).unwrap();
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

// L-6: the same on a disk that really has no room, and with a group larger than a whole segment.
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
    let (_journal, mut recovered) = open(&disk, small()).unwrap();
    assert_eq!(recovered.last_seq(), seq);
    assert_eq!(recovered.nth(1).unwrap().unwrap(), (Seq(2), large));
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
