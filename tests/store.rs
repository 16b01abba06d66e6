//! The store on a real disk: checkpoints, history, message ids, failures (I-12, I-13, I-14, I-15; ).

use lodestone::storage::{CheckpointBatch, CheckpointMeta, DedupeRow, Options, Store, verify};
use lodestone_state::ids::{Millis, Moment, ProfileId, Seq};
use std::path::{Path, PathBuf};

struct Folder {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn folder() -> Folder {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    Folder { _folder: folder, path }
}

fn open(path: &Path) -> Store {
    Store::open(path, &Options::default()).unwrap()
}

fn moment(t: i64, seq: u64) -> Moment {
    Moment { t: Millis(t), seq: Seq(seq) }
}

fn profiles(store: &Store) -> Vec<(u128, Vec<u8>)> {
    let mut found = Vec::new();
    store.load_profiles(|id, bytes| found.push((id.0, bytes.to_vec()))).unwrap();
    found
}

fn row(key: u128, at: i64) -> DedupeRow {
    DedupeRow { key, seq: Seq(7), event_id: 8, at: Millis(at) }
}

// I-12, R-2
#[test]
fn a_sealed_checkpoint_is_there_after_reopening() {
    let folder = folder();
    let meta = CheckpointMeta { seq: Seq(42), extras: b"caps".to_vec() };
    {
        let store = open(&folder.path);
        assert_eq!(store.checkpoint_meta().unwrap(), None);
        let batch = CheckpointBatch {
            profiles: vec![(ProfileId(2), b"two".to_vec()), (ProfileId(1), b"one".to_vec())],
            history: vec![(ProfileId(1), moment(5, 9), b"entry".to_vec())],
            ..CheckpointBatch::default()
        };
        store.write(batch).unwrap();
        store.seal(&meta).unwrap();
        store.catalog_put(3, b"catalog three").unwrap();
        store.catalog_put(2, b"catalog two").unwrap();
    }
    let store = open(&folder.path);
    assert_eq!(store.checkpoint_meta().unwrap(), Some(meta));
    assert_eq!(profiles(&store), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    assert_eq!(store.profiles_estimate().unwrap(), 2);
    assert_eq!(store.history(ProfileId(1)).unwrap(), [(moment(5, 9), b"entry".to_vec())]);
    assert_eq!(store.catalog_latest().unwrap().unwrap(), b"catalog three");
    assert_eq!(store.catalog_get(2).unwrap().unwrap(), b"catalog two");
    assert_eq!(store.catalog_get(1).unwrap(), None);
    assert_eq!(store.catalog_versions().unwrap(), [2, 3]);
    store.close().unwrap();
}

// I-13: a profile's entries are one range, in the order of (t, seq), and nobody else's are in it.
#[test]
fn history_is_one_profiles_entries_in_order() {
    let folder = folder();
    let store = open(&folder.path);
    let ids = [ProfileId(0), ProfileId(1), ProfileId(1 << 64), ProfileId(u128::MAX)];
    let times = [i64::MIN, -5, 0, 1, 1, 1_700_000_000_000, i64::MAX];
    let mut expected = Vec::new();
    for (i, t) in times.iter().rev().enumerate() {
        let mut batch = CheckpointBatch::default();
        for id in ids {
            batch.history.push((id, moment(*t, i as u64), format!("{id} {t} {i}").into_bytes()));
        }
        expected.push(moment(*t, i as u64));
        store.write(batch).unwrap();
    }
    expected.sort();
    let check = || {
        for id in ids {
            let read = store.history(id).unwrap();
            assert_eq!(read.iter().map(|(m, _)| *m).collect::<Vec<_>>(), expected);
            assert!(read.iter().all(|(_, bytes)| bytes.starts_with(id.to_string().as_bytes())));
            let part = store.history_range(id, Millis(0)..Millis(1_700_000_000_000)).unwrap();
            assert_eq!(part.iter().map(|(m, _)| m.t.0).collect::<Vec<_>>(), [0, 1, 1]);
        }
        assert!(store.history(ProfileId(77)).unwrap().is_empty());
    };
    check();
    // The same out of table files, with their filters.
    store.compact().unwrap();
    check();
}

#[test]
fn a_profile_merged_away_leaves_a_redirect() {
    let folder = folder();
    let store = open(&folder.path);
    store.write(CheckpointBatch { profiles: vec![(ProfileId(1), b"a".to_vec())], ..CheckpointBatch::default() }).unwrap();
    // Its own state was encoded into the very batch that says it is gone.
    let batch = CheckpointBatch {
        profiles: vec![(ProfileId(1), b"a".to_vec()), (ProfileId(2), b"b".to_vec())],
        delete_profiles: vec![ProfileId(1)],
        redirects: vec![(ProfileId(1), ProfileId(2))],
        ..CheckpointBatch::default()
    };
    store.write(batch).unwrap();
    assert_eq!(profiles(&store), [(2, b"b".to_vec())]);
    assert_eq!(store.redirects().unwrap(), [(ProfileId(1), ProfileId(2))]);
}

// I-14: a message id is known for the window; then it is forgotten, and its row goes.
#[test]
fn message_ids_are_known_until_they_expire() {
    let folder = folder();
    let store = open(&folder.path);
    let rows: Vec<DedupeRow> = (0..1000).map(|i| row(i * 1_000_003, i64::try_from(i).unwrap())).collect();
    store.write(CheckpointBatch { dedupe: rows.clone(), ..CheckpointBatch::default() }).unwrap();
    for compacted in [false, true] {
        assert!(rows.iter().all(|row| store.dedupe_get(row.key).unwrap() == Some(*row)), "compacted {compacted}");
        assert_eq!(store.dedupe_get(5).unwrap(), None);
        store.compact().unwrap();
    }
    store.expire_dedupe(Millis(400));
    store.expire_dedupe(Millis(300));
    assert_eq!(store.dedupe_get(rows[399].key).unwrap(), None);
    assert_eq!(store.dedupe_get(rows[400].key).unwrap(), Some(rows[400]));
    store.compact().unwrap();
    drop(store);
    let report = verify(&folder.path).unwrap();
    let dedupe = report.families.iter().find(|family| family.name == "dedupe").unwrap();
    assert_eq!(dedupe.entries, 600, "the compaction dropped the expired rows");
}

// `lodestone verify`: whatever byte of a table changes is found.
#[test]
fn a_changed_byte_in_a_table_is_found() {
    let folder = folder();
    assert!(verify(&folder.path).unwrap().is_sound(), "no store is a sound store");
    {
        let store = open(&folder.path);
        let batch = CheckpointBatch {
            profiles: (0..2000_u128).map(|i| (ProfileId(i), i.to_le_bytes().repeat(10))).collect(),
            ..CheckpointBatch::default()
        };
        store.write(batch).unwrap();
        store.seal(&CheckpointMeta { seq: Seq(5), extras: Vec::new() }).unwrap();
        store.compact().unwrap();
    }
    let sound = verify(&folder.path).unwrap();
    assert!(sound.is_sound(), "{sound}");
    assert_eq!((sound.families[0].entries, sound.checkpoint_seq), (2000, Some(5)));
    let tables = std::fs::read_dir(&folder.path).unwrap().map(|entry| entry.unwrap().path());
    let table =
        tables.filter(|path| path.extension().is_some_and(|e| e == "sst")).max_by_key(|path| path.metadata().unwrap().len());
    let table = table.unwrap();
    let good = std::fs::read(&table).unwrap();
    for place in [10, good.len() / 3, good.len() / 2] {
        let mut bad = good.clone();
        bad[place] ^= 4;
        std::fs::write(&table, &bad).unwrap();
        let report = verify(&folder.path).unwrap();
        assert!(!report.is_sound(), "byte {place} of {}", good.len());
    }
    std::fs::write(&table, &good).unwrap();
    assert!(verify(&folder.path).unwrap().is_sound());
}

// R-3, I-15: the first failure is final, and names its exit code.
#[test]
fn the_first_failure_is_final() {
    let folder = folder();
    {
        let store = open(&folder.path);
        let batch = CheckpointBatch {
            profiles: (0..2000_u128).map(|i| (ProfileId(i), i.to_le_bytes().repeat(10))).collect(),
            ..CheckpointBatch::default()
        };
        store.write(batch).unwrap();
        store.compact().unwrap();
    }
    for entry in std::fs::read_dir(&folder.path).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[20] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let store = open(&folder.path);
    assert_eq!(store.failed(), None);
    let error = store.load_profiles(|_, _| {}).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    assert!(store.failed().unwrap().contains("cannot scan"));
    let refused = store.write(CheckpointBatch::default()).unwrap_err();
    assert_eq!(refused.exit_code(), 65);
    assert!(refused.to_string().contains("stopped after a failure"), "{refused}");
    assert!(store.seal(&CheckpointMeta { seq: Seq(1), extras: Vec::new() }).is_err());
    assert!(store.dedupe_get(1).is_err());
}

// many writers and readers at once.
#[test]
fn it_is_shared_between_threads() {
    let folder = folder();
    let store = open(&folder.path);
    std::thread::scope(|scope| {
        for thread in 0..4_u128 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..200_u128 {
                    let id = ProfileId(thread << 64 | i);
                    let batch = CheckpointBatch {
                        profiles: vec![(id, b"state".to_vec())],
                        history: vec![(id, moment(1, 1), b"entry".to_vec())],
                        dedupe: vec![row(id.0, 1)],
                        ..CheckpointBatch::default()
                    };
                    store.write(batch).unwrap();
                    assert_eq!(store.history(id).unwrap().len(), 1);
                    assert!(store.dedupe_get(id.0).unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(profiles(&store).len(), 800);
}
