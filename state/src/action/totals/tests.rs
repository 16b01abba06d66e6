use super::*;
use crate::action::testing::{APP, WEB};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const ACTION: ActionSlot = ActionSlot(7);

fn cap(group: Group, reaction: Reaction, count: u64) -> Cap {
    Cap { reaction, group, count, within_ms: None, channels: Box::default() }
}

fn claim(caps: &[Cap], profile: u128, reaction: Reaction) -> Claim<'_> {
    Claim { action: ACTION, caps, profile: ProfileId(profile), user: None, budgets: &[], reaction, channel: WEB, now: Millis(0) }
}

fn moment(seq: u64) -> Moment {
    Moment { t: Millis(0), seq: Seq(seq) }
}

fn reacted(reaction: Reaction) -> Reacted {
    Reacted::bare(ACTION, reaction, WEB)
}

/// Something that hands out a limited number of places in two steps, as an accept with a hook does.
trait Counter: Sync {
    type Place: Send;
    fn check(&self, profile: u128) -> Option<Self::Place>;
    fn insert(&self, place: Self::Place);
    fn taken(&self) -> u64;
}

/// What A-1 describes: count, and later write.
struct CheckThenInsert {
    limit: u64,
    count: AtomicU64,
}

impl Counter for CheckThenInsert {
    type Place = ();
    fn check(&self, _: u128) -> Option<()> {
        (self.count.load(Ordering::SeqCst) < self.limit).then_some(())
    }
    fn insert(&self, (): ()) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }
    fn taken(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

struct Exact {
    caps: Vec<Cap>,
    table: TotalCaps,
    seq: AtomicU64,
}

impl Exact {
    fn new(limit: u64) -> Self {
        Self { caps: vec![cap(Group::All, Reaction::Accepted, limit)], table: TotalCaps::default(), seq: AtomicU64::new(1) }
    }
    fn next(&self) -> Moment {
        moment(self.seq.fetch_add(1, Ordering::SeqCst))
    }
}

impl Counter for Exact {
    type Place = Reservation;
    fn check(&self, profile: u128) -> Option<Reservation> {
        self.table.reserve(&claim(&self.caps, profile, Reaction::Accepted)).ok()
    }
    fn insert(&self, place: Reservation) {
        self.table.commit(&self.caps, place, self.next()).expect("nothing expires here");
    }
    fn taken(&self) -> u64 {
        self.table.tally(ACTION).total(Reaction::Accepted, &[])
    }
}

/// All threads check, then all insert, round after round until nobody gets a place.
fn in_step(counter: &impl Counter, threads: u128) -> u64 {
    let barrier = Barrier::new(usize::try_from(threads).unwrap());
    let any = AtomicBool::new(true);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, any) = (&barrier, &any);
            scope.spawn(move || {
                while any.load(Ordering::SeqCst) {
                    barrier.wait();
                    any.store(false, Ordering::SeqCst);
                    barrier.wait();
                    let place = counter.check(thread);
                    barrier.wait();
                    if let Some(place) = place {
                        counter.insert(place);
                        any.store(true, Ordering::SeqCst);
                    }
                    barrier.wait();
                }
            });
        }
    });
    counter.taken()
}

// T-64, I16: N places are N places. The control shows that the schedule can tell the difference: 12
// threads divide 1000 with a rest, so check-then-insert hands out 1008.
#[test]
fn t64_a_limit_holds_where_check_then_insert_overshoots() {
    let naive = CheckThenInsert { limit: 1000, count: AtomicU64::new(0) };
    assert_eq!(in_step(&naive, 12), 1008, "the control must overshoot");
    assert_eq!(in_step(&Exact::new(1000), 12), 1000);
}

// T-64 with failing hooks: threads run freely, every third reservation is given back, and a watcher
// checks committed + reserved all the while. Exactly the limit is reached in the end.
#[test]
fn t64_releases_go_to_later_attempts() {
    const LIMIT: u64 = 1000;
    let exact = Exact::new(LIMIT);
    let done = AtomicBool::new(false);
    let refused = AtomicU64::new(0);
    let granted: u64 = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Ordering::SeqCst) {
                if let Some(entry) = exact.table.entry(ACTION) {
                    let entry = lock(&entry);
                    most = most.max(entry.tally.used(&exact.caps[0], Millis(0)) + entry.reserved(&exact.caps[0]));
                }
                thread::yield_now();
            }
            most
        });
        let workers: Vec<_> = (0..8_u128)
            .map(|worker| {
                let (exact, refused) = (&exact, &refused);
                scope.spawn(move || {
                    let mut granted = 0;
                    for attempt in 0..600_u128 {
                        match exact.check(worker * 1000 + attempt) {
                            Some(place) if attempt % 3 == 0 => exact.table.release(place),
                            Some(place) => {
                                exact.insert(place);
                                granted += 1;
                            }
                            None => {
                                refused.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                    granted
                })
            })
            .collect();
        let granted = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        done.store(true, Ordering::SeqCst);
        assert!(watcher.join().unwrap() <= LIMIT);
        granted
    });
    assert_eq!((granted, exact.taken()), (LIMIT, LIMIT));
    assert!(refused.load(Ordering::SeqCst) > 0);
    let entry = exact.table.entry(ACTION).unwrap();
    let entry = lock(&entry);
    assert!(entry.holds.is_empty() && entry.by_profile.is_empty() && entry.reserved(&exact.caps[0]) == 0);
}

// T-65: a place that is given back goes to the next attempt.
#[test]
fn t65_release_reopens() {
    let caps = [cap(Group::All, Reaction::Accepted, 1)];
    let table = TotalCaps::default();
    let first = table.reserve(&claim(&caps, 1, Reaction::Accepted)).unwrap();
    let refused = table.reserve(&claim(&caps, 2, Reaction::Accepted)).unwrap_err();
    assert_eq!(refused, Capped { full: Full::Cap(0, Group::All), opens: Millis::MAX });
    table.release(first);
    let second = table.reserve(&claim(&caps, 2, Reaction::Accepted)).unwrap();
    assert_eq!(table.commit(&caps, second, moment(1)), Ok(Committed { counted: true, exhausted: true }));
    assert!(table.reserve(&claim(&caps, 3, Reaction::Accepted)).is_err());
}

#[test]
fn all_caps_or_none() {
    let caps = [
        cap(Group::All, Reaction::Accepted, 5),
        Cap { channels: [APP].into(), ..cap(Group::All, Reaction::Accepted, 1) },
        cap(Group::User, Reaction::Accepted, 2),
    ];
    let table = TotalCaps::default();
    // One person holds two places; the user's cap is asked first, and nothing is taken.
    let held: Vec<_> = (0..2).map(|_| table.reserve(&claim(&caps, 1, Reaction::Accepted)).unwrap()).collect();
    let refused = table.reserve(&claim(&caps, 1, Reaction::Accepted)).unwrap_err();
    assert_eq!(refused.full, Full::Cap(2, Group::User));
    assert_eq!(lock(&table.entry(ACTION).unwrap()).reserved(&caps[0]), 2);
    // The app's only place, then the app's cap blocks the web too.
    let app = Claim { channel: APP, ..claim(&caps, 2, Reaction::Accepted) };
    let place = table.reserve(&app).unwrap();
    assert_eq!(table.reserve(&claim(&caps, 3, Reaction::Accepted)).unwrap_err().full, Full::Cap(1, Group::All));
    table.release(place);
    held.into_iter().for_each(|place| table.release(place));
    assert!(table.reserve(&claim(&caps, 1, Reaction::Accepted)).is_ok());
}

#[test]
fn reports_are_never_refused_and_may_exceed() {
    for reaction in [Reaction::Delivered, Reaction::Hidden, Reaction::Declined] {
        let caps = [cap(Group::All, reaction, 1)];
        let table = TotalCaps::default();
        for seq in 1..=3 {
            let place = table.reserve(&claim(&caps, 1, reaction)).unwrap();
            let done = table.commit(&caps, place, moment(seq)).unwrap();
            assert_eq!(done.exhausted, seq == 1);
        }
        assert_eq!(table.used(ACTION, &caps[0], Millis(0)), 3);
        assert!(!table.open(ACTION, &caps[0], Millis(0)).holds);
    }
}

#[test]
fn a_hold_times_out() {
    let caps = [cap(Group::All, Reaction::Accepted, 1)];
    let table = TotalCaps::default();
    let slow = table.reserve(&claim(&caps, 1, Reaction::Accepted)).unwrap();
    assert_eq!(table.expire(Millis(HOLD_MS - 1)), []);
    assert_eq!(table.expire(Millis(HOLD_MS)), [ACTION]);
    let other = table.reserve(&claim(&caps, 2, Reaction::Accepted)).unwrap();
    assert_eq!(table.commit(&caps, slow, moment(1)), Err(Expired));
    assert!(table.commit(&caps, other, moment(2)).is_ok());
    assert_eq!(table.used(ACTION, &caps[0], Millis(0)), 1);
}

#[test]
fn a_hold_that_is_renewed_holds_on() {
    let caps = [cap(Group::All, Reaction::Accepted, 1)];
    let table = TotalCaps::default();
    let slow = table.reserve(&claim(&caps, 1, Reaction::Accepted)).unwrap();
    assert!(table.renew(&slow, Millis(HOLD_MS - 1)));
    assert_eq!(table.expire(Millis(HOLD_MS)), []);
    assert!(table.commit(&caps, slow, moment(1)).is_ok());
    let lost = Reservation { action: ACTION, hold: 99 };
    assert!(!table.renew(&lost, Millis(0)));
}

#[test]
fn an_absorbed_profile_hands_its_places_over() {
    let caps = [cap(Group::User, Reaction::Accepted, 1)];
    let table = TotalCaps::default();
    let place = table.reserve(&claim(&caps, 1, Reaction::Accepted)).unwrap();
    table.absorb(ProfileId(1), ProfileId(2));
    assert!(table.reserve(&claim(&caps, 2, Reaction::Accepted)).is_err());
    table.release(place);
    assert!(table.reserve(&claim(&caps, 2, Reaction::Accepted)).is_ok());
}

#[test]
fn test_reactions_do_not_count() {
    let caps = [cap(Group::All, Reaction::Accepted, 1)];
    let table = TotalCaps::default();
    let test = Reacted { test: true, ..reacted(Reaction::Accepted) };
    assert!(!table.count(&caps, &test, moment(1)).counted);
    assert!(table.open(ACTION, &caps[0], Millis(0)).holds);
}

// I11: threads commit out of log order, a snapshot falls anywhere between, and a replay of the whole
// log over it counts each position once.
#[test]
fn replay_over_any_snapshot_is_exact() {
    let caps = [Cap { within_ms: Some(50), ..cap(Group::All, Reaction::Hidden, 5) }, cap(Group::All, Reaction::Hidden, 9)];
    let order = [3_u64, 1, 2, 6, 4, 5, 8, 7];
    let at = |seq: u64| Moment { t: Millis(i64::try_from(seq).unwrap() * 10), seq: Seq(seq) };
    let full = TotalCaps::default();
    for seq in order {
        full.count(&caps, &reacted(Reaction::Hidden), at(seq));
    }
    for cut in 0..=order.len() {
        for settled in 0..=3 {
            let table = TotalCaps::default();
            for seq in &order[..cut] {
                table.count(&caps, &reacted(Reaction::Hidden), at(*seq));
            }
            // Only what the journal has and everybody has counted may be settled.
            if (1..=settled).all(|seq| order[..cut].contains(&seq)) {
                table.settle(Seq(settled));
            }
            let stored = bincode::serialize(&table.snapshot()).unwrap();
            let snapshot: TotalsSnapshot = bincode::deserialize(&stored).unwrap();
            assert_eq!(snapshot.newest(), Seq(order[..cut].iter().copied().max().unwrap_or(0)));
            let restored = TotalCaps::restore(snapshot);
            for seq in 1..=8 {
                restored.count(&caps, &reacted(Reaction::Hidden), at(seq));
            }
            assert_eq!(restored.tally(ACTION), full.tally(ACTION), "cut {cut}, settled {settled}");
        }
    }
}

#[test]
fn a_crash_releases_reservations() {
    let caps = [cap(Group::All, Reaction::Accepted, 1)];
    let table = TotalCaps::default();
    let _lost = table.reserve(&claim(&caps, 1, Reaction::Accepted)).unwrap();
    let restored = TotalCaps::restore(table.snapshot());
    assert!(restored.reserve(&claim(&caps, 2, Reaction::Accepted)).is_ok());
}

#[test]
fn an_edited_cap_is_rebuilt_from_the_log_and_what_came_meanwhile() {
    let old = [cap(Group::All, Reaction::Hidden, 9)];
    let new = [Cap { within_ms: Some(1000), ..cap(Group::All, Reaction::Hidden, 3) }];
    let table = TotalCaps::default();
    let log: Vec<_> = (1..=4).map(|seq| (moment(seq), reacted(Reaction::Hidden))).collect();
    for (at, reacted) in &log {
        table.count(&old, reacted, *at);
    }
    assert!(!table.covers(ACTION, &new));
    // The log was read up to 2; 3 and 4 are remembered.
    table.rebuild(ACTION, &new, Seq(2), log);
    assert!(table.covers(ACTION, &new));
    assert_eq!(table.used(ACTION, &new[0], Millis(0)), 3);
    assert_eq!(table.tally(ACTION).total(Reaction::Hidden, &[]), 4);
    table.forget(ACTION);
    assert!(table.tally(ACTION).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Reserve { profile: u128, app: bool, shown: bool },
    Commit(usize),
    Release(usize),
    Hide,
    Pass(i64),
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u128..4, any::<bool>(), any::<bool>()).prop_map(|(profile, app, shown)| Step::Reserve { profile, app, shown }),
        3 => (0_usize..8).prop_map(Step::Commit),
        2 => (0_usize..8).prop_map(Step::Release),
        1 => Just(Step::Hide),
        2 => (1_i64..30).prop_map(Step::Pass),
    ]
}

/// Committed and reserved by plain counting.
fn load(
    cap: &Cap,
    profile: u128,
    now: Millis,
    log: &[(u128, Reaction, ChannelSlot, Millis)],
    places: &[(Reservation, u128, Reaction, ChannelSlot)],
) -> u64 {
    let mine = |other: u128| cap.group == Group::All || other == profile;
    let young = |t: Millis| cap.within_ms.is_none_or(|within_ms| now < t.plus(within_ms));
    let committed = log.iter().filter(|(p, r, c, t)| mine(*p) && cap.counts(*r, *c) && young(*t)).count();
    let reserved = places.iter().filter(|(_, p, r, c)| mine(*p) && cap.counts(*r, *c)).count();
    (committed + reserved) as u64
}

proptest! {
    // A-1 after every step, for caps of both groups, with windows and channels; and a claim is refused
    // only when some cap is really full.
    #[test]
    fn committed_and_reserved_never_pass_the_count(
        counts in prop::array::uniform4(0_u64..4),
        windows in prop::array::uniform4(prop::option::of(5_i64..60)),
        steps in prop::collection::vec(a_step(), 1..60),
    ) {
        let kinds = [
            (Group::All, Reaction::Accepted, vec![]),
            (Group::All, Reaction::Accepted, vec![APP]),
            (Group::User, Reaction::Shown, vec![]),
            (Group::All, Reaction::Shown, vec![WEB]),
        ];
        let caps: Vec<Cap> = kinds.into_iter().zip(counts).zip(windows).map(|(((group, reaction, channels), count), within_ms)| {
            Cap { group, reaction, count, within_ms, channels: channels.into() }
        }).collect();
        let table = TotalCaps::default();
        let mut users: HashMap<u128, CapState> = HashMap::new();
        // The model: what is committed and what is reserved, as plain lists.
        let mut log: Vec<(u128, Reaction, ChannelSlot, Millis)> = Vec::new();
        let mut places: Vec<(Reservation, u128, Reaction, ChannelSlot)> = Vec::new();
        let (mut now, mut seq) = (Millis(0), 0);
        for step in steps {
            match step {
                Step::Reserve { profile, app, shown } => {
                    let reaction = if shown { Reaction::Shown } else { Reaction::Accepted };
                    let channel = if app { APP } else { WEB };
                    let claim = Claim { action: ACTION, caps: &caps, profile: ProfileId(profile), user: users.get(&profile), budgets: &[], reaction, channel, now };
                    let full = caps.iter().any(|cap| cap.reaction == reaction && load(cap, profile, now, &log, &places) >= cap.count);
                    match table.reserve(&claim) {
                        Ok(place) => {
                            prop_assert!(!full);
                            places.push((place, profile, reaction, channel));
                        }
                        Err(_) => prop_assert!(full),
                    }
                }
                Step::Commit(at) if at < places.len() => {
                    let (place, profile, reaction, channel) = places.swap_remove(at);
                    seq += 1;
                    let done = table.commit(&caps, place, Moment { t: now, seq: Seq(seq) });
                    prop_assert!(done.is_ok_and(|done| done.counted));
                    users.entry(profile).or_default().record(&caps, Group::User, reaction, channel, now);
                    log.push((profile, reaction, channel, now));
                }
                Step::Release(at) if at < places.len() => table.release(places.swap_remove(at).0),
                Step::Hide => {
                    seq += 1;
                    table.count(&caps, &reacted(Reaction::Hidden), Moment { t: now, seq: Seq(seq) });
                }
                Step::Pass(ms) => now = now.plus(ms),
                Step::Commit(_) | Step::Release(_) => {}
            }
            for cap in &caps {
                for profile in 1..4 {
                    prop_assert!(load(cap, profile, now, &log, &places) <= cap.count);
                }
            }
        }
    }
}
