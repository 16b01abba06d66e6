//! The table against its rules: order, limits, pauses, and what a crash leaves.

use super::*;
use crate::outbox::rows::{Reader, rows};
use lodestone_state::ids::{ActionSlot, ProfileId};
use lodestone_state::job::job_id;
use proptest::prelude::*;

fn job(seq: u64, host: &str) -> Arc<Job> {
    let url = format!("https://{host}/hook");
    let work = Work::Webhook { url: url.into(), body: "{}".into(), act_id: None, test: false };
    Arc::new(Job {
        id: job_id(u128::from(seq), 0),
        seq: Seq(seq),
        place: 0,
        profile: ProfileId(u128::from(seq % 3)),
        user_id: "u".into(),
        cause: Link::Action(ActionSlot(0)),
        at: Millis(i64::try_from(seq).expect("small")),
        work,
    })
}

const WELL: Told = Told { well: true, pause: None };

fn table(jobs: &[Arc<Job>]) -> Table {
    let mut table = Table::new(8, 2);
    jobs.iter().for_each(|job| table.enqueue(job.clone()));
    table
}

fn settle(table: &mut Table, seq: u64, at: i64, fate: Fate) {
    table.settle(&JobRecord { job: job_id(u128::from(seq), 0), at: Millis(at), fate });
}

fn due(table: &mut Table, now: i64) -> Vec<u64> {
    let turn = table.turn(Millis(now), Seq(u64::MAX));
    turn.due.iter().map(|due| table.held(due.id).expect("held").key.0.0).collect()
}

/// O-3: calls that hang take their endpoint's places, not those of the others.
#[test]
fn o3_an_endpoint_that_hangs_holds_up_nobody_else() {
    let mut jobs: Vec<_> = (1..=50).map(|seq| job(seq, "bad")).collect();
    jobs.extend((51..=53).map(|seq| job(seq, "good")));
    let mut table = table(&jobs);
    let mut first = due(&mut table, 100);
    first.sort_unstable();
    assert_eq!(first, [1, 2, 51, 52], "two places each");
    settle(&mut table, 51, 100, Fate::Done);
    table.ended(1, Some(WELL), Millis(100));
    assert_eq!(due(&mut table, 100), [53], "the good one goes on");
    assert!(due(&mut table, 100_000).is_empty());
    assert_eq!(table.counts(Millis(0)).running, 4);
}

/// The places of all together are shared in turns.
#[test]
fn places_are_shared_in_turns() {
    let mut table = Table::new(8, 8);
    (0..40_u64).for_each(|n| table.enqueue(job(n + 1, &format!("h{}", n % 4))));
    let mut hosts: Vec<u64> = due(&mut table, 100).into_iter().map(|seq| (seq - 1) % 4).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, [0, 0, 1, 1, 2, 2, 3, 3], "eight places, four endpoints");
}

/// O-3: as many endpoints as there are places may hang, and another one still has its turn.
#[test]
fn o3_there_is_always_room_for_one_call() {
    let mut jobs: Vec<_> = (0..16_u64).map(|n| job(n + 1, &format!("h{}", n % 4))).collect();
    let mut table = table(&jobs);
    assert_eq!(due(&mut table, 100).len(), 8, "all places");
    jobs = (17..=19).map(|seq| job(seq, "good")).collect();
    jobs.iter().for_each(|job| table.enqueue(job.clone()));
    for seq in 17..=19 {
        assert_eq!(due(&mut table, 100), [seq]);
        table.ended(4, Some(WELL), Millis(100));
    }
    assert_eq!(table.counts(Millis(0)).running, 8);
}

/// What is erased is gone at every stage; a call under way takes its place until it ends, and is not repeated.
#[test]
fn jobs_go_with_their_entry() {
    let jobs: Vec<_> = (1..=4).map(|seq| job(seq, "x")).collect();
    let mut table = table(&jobs);
    settle(&mut table, 4, 9, Fate::Dead { tries: 1, reason: "x".into() });
    assert_eq!(due(&mut table, 100), [1, 2]);
    assert_eq!(table.erase(Seq(1)), [Stage::Running]);
    assert_eq!(table.erase(Seq(3)), [Stage::Waiting]);
    assert_eq!(table.erase(Seq(4)), [Stage::Dead]);
    assert_eq!(table.erase(Seq(4)), []);
    assert_eq!((table.jobs.len(), table.counts(Millis(0)).running), (1, 2));
    table.enqueue(job(5, "x"));
    assert!(due(&mut table, 100).is_empty(), "two places, both taken");
    table.ended(0, Some(Told { well: false, pause: None }), Millis(100));
    settle(&mut table, 1, 100, Fate::Failed { tries: 1, reason: "500".into(), next: Millis(100) });
    assert_eq!(due(&mut table, 100), [5]);
}

#[test]
fn a_job_waits_for_its_pause_and_is_given_up_in_the_end() {
    let mut table = table(&[job(1, "x")]);
    assert_eq!(due(&mut table, 10), [1]);
    table.ended(0, None, Millis(20));
    settle(&mut table, 1, 20, Fate::Failed { tries: 1, reason: "500".into(), next: Millis(1020) });
    let turn = table.turn(Millis(20), Seq(1));
    assert_eq!((turn.due.len(), turn.next), (0, Some(Millis(1020))));
    assert_eq!(due(&mut table, 1020), [1]);
    table.ended(0, None, Millis(1030));
    settle(&mut table, 1, 1030, Fate::Dead { tries: 2, reason: "500".into() });
    let counts = table.counts(Millis(0));
    assert_eq!((counts.pending, counts.running, counts.dead), (0, 0, 1));
    assert_eq!(table.dead_of(Some("https://x"), 9).len(), 1);
    assert!(table.dead_of(Some("https://y"), 9).is_empty());
    settle(&mut table, 1, 2000, Fate::Again);
    assert_eq!(due(&mut table, 2000), [1]);
    assert_eq!(table.held(job_id(1, 0)).map(|held| held.tries), Some(0), "from the start");
    settle(&mut table, 1, 2001, Fate::Done);
    assert!(table.held(job_id(1, 0)).is_none());
    settle(&mut table, 1, 2002, Fate::Failed { tries: 1, reason: "x".into(), next: Millis(0) });
    assert!(table.held(job_id(1, 0)).is_none(), "what is done stays done");
}

/// O-4: beyond the number the newest of the longest queue are given up; what waited too long as well.
#[test]
fn o4_what_is_too_much_or_too_old_is_given_up() {
    let mut jobs: Vec<_> = (1..=10).map(|seq| job(seq, "long")).collect();
    jobs.extend((11..=14).map(|seq| job(seq, "short")));
    let table = table(&jobs);
    let ids = |seqs: &[u64]| seqs.iter().map(|seq| job_id(u128::from(*seq), 0)).collect::<Vec<_>>();
    assert!(table.overdue(Millis(0), 14, 100).is_empty());
    let overflow: Vec<_> = table.overdue(Millis(0), 11, 100);
    assert_eq!(overflow, ids(&[10, 9, 8]).into_iter().map(|id| (id, "overflow")).collect::<Vec<_>>());
    let late: Vec<_> = table.overdue(Millis(3), 14, 100).into_iter().collect();
    assert_eq!(late, ids(&[1, 2]).into_iter().map(|id| (id, "expired")).collect::<Vec<_>>());
}

#[test]
fn memory_lets_go_of_what_is_on_disk() {
    let jobs: Vec<_> = (1..=10).map(|seq| job(seq, "x")).collect();
    let mut table = table(&jobs);
    let all = table.resident();
    table.evict(0);
    assert_eq!(table.resident(), all, "nothing is on disk yet");
    assert_eq!(table.collect(100).len(), 10);
    table.evict(all / 2);
    assert!(table.resident() <= all / 2);
    let held = |seq: u64| table.held(job_id(u128::from(seq), 0)).is_some_and(|held| held.job.is_some());
    assert!(held(1) && !held(10), "what comes last goes first");
    assert_eq!(table.unwritten(), 0);
}

#[test]
fn lists_page_in_both_directions() {
    let jobs: Vec<_> = (1..=5).map(|seq| job(seq, "x")).collect();
    let mut table = table(&jobs);
    let seqs = |list: Vec<Listed>| list.into_iter().map(|line| line.held.key.0.0).collect::<Vec<_>>();
    assert_eq!(seqs(table.list(false, None, 2)), [1, 2]);
    assert_eq!(seqs(table.list(false, Some((Seq(2), 0)), 9)), [3, 4, 5]);
    for seq in 1..=3 {
        settle(&mut table, seq, 9, Fate::Dead { tries: 1, reason: "x".into() });
    }
    assert_eq!(seqs(table.list(true, None, 2)), [3, 2]);
    assert_eq!(seqs(table.list(true, Some((Seq(2), 0)), 9)), [1]);
    let seqs = |ids: Vec<u128>| ids.iter().map(|id| table.held(*id).expect("held").key.0.0).collect::<Vec<_>>();
    assert_eq!(seqs(table.outdated(Millis(0), Millis(0), 2, 9)), [1], "the oldest beyond the number");
    assert_eq!(seqs(table.outdated(Millis(10), Millis(0), 9, 2)), [1, 2]);
    assert_eq!(seqs(table.outdated(Millis(0), Millis(5), 9, 9)), [4, 1, 2, 3], "waiting or not: history begins with 5");
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Enqueue(u8),
    Settle(usize, u8),
    Erase(usize),
    /// Writes so many changes, ahead of a seal or for it.
    Write(usize),
    Seal,
    Evict(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_u8).prop_map(Step::Enqueue),
        6 => (any::<usize>(), 0..5_u8).prop_map(|(which, fate)| Step::Settle(which, fate)),
        1 => any::<usize>().prop_map(Step::Erase),
        3 => (1..4_usize).prop_map(Step::Write),
        1 => Just(Step::Seal),
        1 => (0..2000_usize).prop_map(Step::Evict),
    ];
    proptest::collection::vec(step, 1..120)
}

#[derive(Clone)]
enum Record {
    Job(Arc<Job>),
    Fate(JobRecord),
    Erased(Seq),
}

fn apply(table: &mut Table, record: &Record) {
    match record {
        Record::Job(job) => table.enqueue(job.clone()),
        Record::Fate(record) => table.settle(record),
        Record::Erased(entry) => drop(table.erase(*entry)),
    }
}

type Image = BTreeMap<u128, (bool, u16, Millis, String)>;

fn image(table: &Table) -> Image {
    let line = |(id, held): (&u128, &Held)| {
        let dead = held.stage == Stage::Dead;
        (*id, (dead, held.tries, held.next, held.reason.to_string()))
    };
    table.jobs.iter().map(line).collect()
}

#[derive(Default)]
struct Disk {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    sealed: usize,
}

impl Disk {
    fn write(&mut self, changed: &[Changed]) {
        for row in changed.iter().flat_map(rows) {
            match row.value {
                Some(value) => self.rows.insert(row.key, value),
                None => self.rows.remove(&row.key),
            };
        }
    }

    fn open(&self) -> Table {
        let mut table = Table::new(8, 2);
        let mut reader = Reader::default();
        for (key, value) in &self.rows {
            if let Some((job, mark)) = reader.read(key, value).expect("rows read back") {
                table.restore(job, mark);
            }
        }
        if let Some((job, mark)) = reader.finish() {
            table.restore(job, mark);
        }
        table
    }
}

proptest! {
    /// O-1: whenever the process dies, and whatever part of the journal's unsynced tail is gone with it,
    /// the rows and the rest of the journal give what the journal alone would have given.
    #[test]
    fn o1_rows_and_journal_give_back_every_job(steps in steps(), torn in 0.0..1.0_f64) {
        let (mut table, mut disk) = (Table::new(8, 2), Disk::default());
        let mut journal: Vec<Record> = Vec::new();
        // Whatever is written was made durable in the journal before.
        let mut durable = 0;
        for step in steps {
            match step {
                Step::Enqueue(host) => {
                    let job = job(journal.len() as u64 + 1, &format!("h{host}"));
                    journal.push(Record::Job(job.clone()));
                    table.enqueue(job);
                }
                Step::Settle(which, fate) => {
                    let mut ids: Vec<u128> = table.jobs.keys().copied().collect();
                    ids.sort_unstable();
                    if ids.is_empty() {
                        continue;
                    }
                    let id = ids[which % ids.len()];
                    let at = Millis(i64::try_from(journal.len()).expect("small"));
                    let tries = table.held(id).map_or(0, |held| held.tries) + 1;
                    let fate = match fate {
                        0 => Fate::Done,
                        1 => Fate::Dead { tries, reason: "500".into() },
                        2 => Fate::Again,
                        3 => Fate::Dropped,
                        _ => Fate::Failed { tries, reason: "timeout".into(), next: at.plus(1000) },
                    };
                    let record = JobRecord { job: id, at, fate };
                    journal.push(Record::Fate(record.clone()));
                    table.settle(&record);
                }
                Step::Erase(which) => {
                    let record = Record::Erased(Seq((which % (journal.len() + 1)) as u64));
                    apply(&mut table, &record);
                    journal.push(record);
                }
                Step::Write(max) => {
                    let changed = table.collect(max);
                    durable = journal.len();
                    disk.write(&changed);
                }
                Step::Seal => {
                    let upto = journal.len();
                    let changed = table.collect(table.unwritten());
                    durable = journal.len();
                    disk.write(&changed);
                    disk.sealed = upto;
                }
                Step::Evict(bytes) => table.evict(bytes),
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short list")]
        let kept = durable + ((journal.len() - durable) as f64 * torn) as usize;
        let mut recovered = disk.open();
        journal[disk.sealed..kept].iter().for_each(|record| apply(&mut recovered, record));
        let mut expected = Table::new(8, 2);
        journal[..kept].iter().for_each(|record| apply(&mut expected, record));
        prop_assert_eq!(image(&recovered), image(&expected));
        prop_assert_eq!(recovered.counts(Millis(0)).pending, expected.counts(Millis(0)).pending);
        prop_assert!(recovered.jobs.values().all(|held| held.job.is_some()), "every job can be done");
    }
}
