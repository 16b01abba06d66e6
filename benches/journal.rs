//! The journal alone: records of 200 bytes per second in each mode, and the time from append to durable,
//! beside plain loops of append and sync on the same disk in the same run.
//!
//! `cargo bench --bench journal`. `LODESTONE_BENCH_SECONDS` is the length of one measurement (default 3),
//! `LODESTONE_BENCH_DIR` the folder whose disk is measured. Appenders and the writer share the cores.

use lodestone::journal::{Journal, Options, RealDisk, SyncMode};
use lodestone_state::ids::Seq;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RECORD: [u8; 200] = [7; 200];
/// Records that the appenders let pile up before they wait, like sockets that are not read meanwhile.
const IN_FLIGHT: u64 = 100_000;
/// A plain loop starts over at this size.
const PLAIN_BYTES: u64 = 512 << 20;

fn main() {
    // `cargo test --benches` calls benches too; then nothing is measured.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = std::env::var("LODESTONE_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let span = Duration::from_secs(seconds);
    let base = std::env::var_os("LODESTONE_BENCH_DIR").unwrap_or_else(|| "target".into());
    std::fs::create_dir_all(&base).expect("the folder can be made");
    let folder = tempfile::tempdir_in(&base).expect("the folder can be made");
    let mut reference = 0.0;
    for group in [1, 64, 1024, 8192] {
        let rate = plain(folder.path(), group, span);
        reference = f64::max(reference, rate);
        line(&format!("plain append+fdatasync, groups of {group}"), rate, reference);
    }
    for (mode, threads) in [
        (SyncMode::Strict, 1),
        (SyncMode::Strict, 2),
        (SyncMode::Strict, 4),
        (SyncMode::Interval(Duration::from_millis(100)), 2),
        (SyncMode::None, 2),
    ] {
        line(&format!("journal {mode:?}, {threads} threads"), journal(folder.path(), mode, threads, span), reference);
    }
    alone(folder.path(), span);
}

fn line(what: &str, rate: f64, reference: f64) {
    println!("{what:<48} {:>9.3} M records/s   {:>5.2} of the best plain loop so far", rate / 1e6, rate / reference);
}

/// Records per second of a loop that writes `group` records with one call and syncs, into a zero-filled file.
fn plain(folder: &Path, group: usize, span: Duration) -> f64 {
    let path = folder.join("plain");
    let file = File::create(&path).expect("a file");
    let zeros = vec![0; 1 << 20];
    for at in (0..PLAIN_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at).expect("room for the file");
    }
    file.sync_all().expect("it can be synced");
    let bytes = RECORD.repeat(group);
    let (mut at, mut records) = (0, 0_u64);
    let start = Instant::now();
    while start.elapsed() < span {
        file.write_all_at(&bytes, at).expect("a write");
        file.sync_data().expect("a sync");
        records += group as u64;
        at = (at + bytes.len() as u64) % (PLAIN_BYTES - bytes.len() as u64);
    }
    let rate = records as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path).expect("the file is ours");
    rate
}

/// Durable records per second with `threads` appenders.
fn journal(folder: &Path, sync: SyncMode, threads: usize, span: Duration) -> f64 {
    let dir = folder.join("journal");
    let (journal, _) = Journal::open(&dir, Options { sync, ..Options::default() }, Arc::new(RealDisk)).expect("opens");
    // The second segment is being prepared; that belongs to the start.
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while start.elapsed() < span {
                    let mut last = Seq(0);
                    for _ in 0..64 {
                        last = journal.append(&RECORD);
                    }
                    while last.0 > journal.durable_now().0 + IN_FLIGHT {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                    // As a checkpointer would: the journal stays short.
                    if last.0 % 4096 < 64 {
                        journal.release(Seq(journal.durable_now().0.saturating_sub(1_000_000)));
                    }
                }
            });
        }
    });
    let last = journal.last();
    journal.wait_durable(last).expect("the disk works");
    let rate = last.0 as f64 / start.elapsed().as_secs_f64();
    journal.close().expect("the disk works");
    drop(journal);
    std::fs::remove_dir_all(dir).expect("the folder is ours");
    rate
}

/// One record at a time: the time from append to durable, which is little more than one sync. Then the
/// cost of the append call itself, of opening, and of reading everything back.
fn alone(folder: &Path, span: Duration) {
    let dir = folder.join("journal");
    let open = || Journal::open(&dir, Options::default(), Arc::new(RealDisk)).expect("opens");
    let (journal, _) = open();
    std::thread::sleep(Duration::from_secs(1));
    let mut waits = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span {
        let begun = Instant::now();
        let seq = journal.append(&RECORD);
        journal.wait_durable(seq).expect("the disk works");
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    let at = |q: f64| waits[((waits.len() - 1) as f64 * q) as usize];
    println!("append to durable, one at a time: p50 {:?}, p99 {:?}, p99.9 {:?}, n {}", at(0.5), at(0.99), at(0.999), waits.len());
    const CALLS: u32 = 100_000;
    let start = Instant::now();
    for _ in 0..CALLS {
        journal.append(&RECORD);
    }
    println!("the append call: {:?}", start.elapsed() / CALLS);
    journal.close().expect("the disk works");
    drop(journal);
    let start = Instant::now();
    let (_journal, mut recovered) = open();
    let opened = start.elapsed();
    let records = recovered.records();
    let start = Instant::now();
    recovered.replay(|_, _| Ok::<(), lodestone::journal::Error>(())).expect("reads");
    println!("{records} records: opened and checked in {opened:?}, read again in {:?}", start.elapsed());
}
