use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn action(delivery: u128, title: u64) -> DeliveredAction {
    DeliveredAction {
        delivery_id: delivery,
        id: DefId(1),
        type_name: "banner".into(),
        type_version: 1,
        tags: Box::default(),
        properties: vec![("title".into(), i64::try_from(title).unwrap().into())],
    }
}

fn subs(names: &[&str]) -> Subs {
    names.iter().map(|name| CompactString::from(*name)).collect()
}

fn enter(slot: u32, names: &[&str], delivery: u128, first: bool) -> PushOp {
    PushOp::Enter { slot: ActionSlot(slot), subs: subs(names), action: action(delivery, 0), first }
}

fn update(slot: u32, names: &[&str], delivery: u128, title: u64) -> PushOp {
    PushOp::Update { slot: ActionSlot(slot), subs: subs(names), action: action(delivery, title) }
}

fn revoke(slot: u32, names: &[&str], delivery: u128) -> PushOp {
    let reason = RevokeReason::Targeting;
    PushOp::Revoke { slot: ActionSlot(slot), id: DefId(1), subs: subs(names), delivery_id: delivery, reason }
}

/// Frames as `seq sign slot subs delivery title`.
fn told(frames: &[PushFrame]) -> Vec<String> {
    let one = |frame: &PushFrame| match frame {
        PushFrame::Action { seq, subs, action, slot, first, .. } => {
            let title = action.properties[0].1.to_json();
            let begins = if *first { "+" } else { "=" };
            format!("{seq} {begins}{} {} d{} {title}", slot.0, subs.join(","), action.delivery_id)
        }
        PushFrame::Revoked { seq, subs, delivery_id, .. } => format!("{seq} - {} d{delivery_id}", subs.join(",")),
        other => format!("{} other", other.seq()),
    };
    frames.iter().map(one).collect()
}

struct Bench {
    outbox: Outbox,
    began: Instant,
    ms: u64,
}

impl Bench {
    fn new(rate: u32) -> Self {
        let began = Instant::now();
        Self { outbox: Outbox::new(rate, began), began, ms: 0 }
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.ms)
    }

    fn push(&mut self, op: PushOp) {
        let now = self.now();
        self.outbox.push(op, Cause::Event, now);
    }

    fn drain(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        let now = self.now();
        self.outbox.drain(now, &mut out);
        told(&out)
    }

    fn wait(&mut self, ms: u64) {
        self.ms += ms;
    }
}

const NONE: [&str; 0] = [];

#[test]
fn past_the_rate_an_action_waits_and_only_its_newest_state_is_sent() {
    let mut bench = Bench::new(2);
    for slot in 0..4 {
        bench.push(enter(slot, &["s"], u128::from(slot), true));
    }
    bench.push(update(2, &["s"], 2, 7));
    bench.push(update(2, &["s"], 2, 8));
    assert_eq!(bench.drain(), ["1 +0 s d0 0", "2 +1 s d1 0"]);
    let due = bench.outbox.due().expect("two wait");
    assert!(due > bench.now() + Duration::from_millis(499) && due <= bench.now() + Duration::from_millis(501));
    bench.wait(499);
    assert_eq!(bench.drain(), NONE);
    bench.wait(2);
    assert_eq!(bench.drain(), ["3 +2 s d2 8"], "in the order in which they came, in its newest state");
    bench.wait(500);
    assert_eq!(bench.drain(), ["4 +3 s d3 0"]);
    assert_eq!(bench.outbox.due(), None);
}

#[test]
fn what_is_taken_back_while_it_waits_was_never_there() {
    let mut bench = Bench::new(1);
    bench.push(enter(0, &["s"], 1, true));
    bench.push(enter(1, &["s"], 2, true));
    bench.push(revoke(1, &["s"], 2));
    assert_eq!(bench.drain(), ["1 +0 s d1 0"]);
    let lost = bench.outbox.take_lost();
    assert_eq!(lost.iter().map(|one| (one.action.0, one.delivery)).collect::<Vec<_>>(), [(1, 2)]);
    assert_eq!(bench.outbox.due(), None);
    // It flaps once more, and its last state is sent when its turn comes.
    bench.push(enter(1, &["s"], 3, true));
    bench.push(revoke(1, &["s"], 3));
    bench.push(enter(1, &["s"], 4, true));
    bench.wait(1001);
    assert_eq!(bench.drain(), ["2 +1 s d4 0"]);
}

#[test]
fn revokes_do_not_wait_and_count() {
    let mut bench = Bench::new(1);
    bench.push(enter(0, &["s"], 1, true));
    bench.push(update(0, &["s"], 1, 5));
    bench.push(revoke(0, &["s"], 1));
    assert_eq!(bench.drain(), ["1 +0 s d1 0", "2 - s d1"], "the update that waited is not worth sending");
    bench.push(enter(0, &["s"], 2, true));
    bench.wait(1001);
    assert_eq!(bench.drain(), NONE, "the revoke took that second");
    bench.wait(1000);
    assert_eq!(bench.drain(), ["3 +0 s d2 0"]);
}

#[test]
fn any_number_without_a_rate() {
    let mut bench = Bench::new(0);
    for slot in 0..100 {
        bench.push(enter(slot, &["s"], u128::from(slot), true));
    }
    assert_eq!(bench.drain().len(), 100);
    assert_eq!(bench.outbox.due(), None);
}

#[test]
fn some_have_it_and_some_wait_for_it() {
    let mut bench = Bench::new(1);
    bench.push(enter(0, &["a"], 1, true));
    bench.push(enter(0, &["b"], 1, false));
    bench.push(update(0, &["a", "b"], 1, 3));
    assert_eq!(bench.drain(), ["1 +0 a d1 0"]);
    bench.push(revoke(0, &["a", "b"], 1));
    assert_eq!(bench.drain(), ["2 - a d1"], "b never had it");
    assert!(bench.outbox.take_lost().is_empty(), "the delivery began with a's frame");
}

#[test]
fn a_snapshot_takes_over_what_waits() {
    let mut bench = Bench::new(1);
    bench.push(enter(0, &["a"], 1, true));
    bench.push(enter(1, &["a"], 2, true));
    assert!(bench.outbox.claim_first(ActionSlot(1)), "another subscription's answer begins the delivery");
    assert!(!bench.outbox.claim_first(ActionSlot(1)));
    assert!(!bench.outbox.claim_first(ActionSlot(0)));
    bench.push(enter(2, &["a"], 3, true));
    assert_eq!(bench.outbox.take_waiting(), [(ActionSlot(2), 3)]);
    bench.push(enter(3, &["a"], 4, true));
    bench.outbox.forget("a");
    assert_eq!(bench.outbox.take_lost().len(), 1);
    bench.wait(10_000);
    assert_eq!(bench.drain(), ["1 +0 a d1 0"]);
}

#[test]
fn deliveries_are_told_once_when_their_frame_is_seen() {
    let mut bench = Bench::new(10);
    bench.push(enter(0, &["s"], 1, true));
    bench.push(update(0, &["s"], 1, 5));
    bench.push(enter(1, &["s"], 2, true));
    bench.drain();
    let seen = |bench: &mut Bench, seq| bench.outbox.seen(seq).iter().map(|one| one.delivery).collect::<Vec<_>>();
    assert_eq!(seen(&mut bench, 2), [1]);
    assert_eq!(seen(&mut bench, 2), [0_u128; 0]);
    assert_eq!(seen(&mut bench, 99), [2], "more than there was is all that there was");
    // Acknowledged under another identity, it was still delivered to the first.
    bench.push(enter(2, &["s"], 3, true));
    bench.outbox.disown(ProfileId(7), "a1");
    bench.push(enter(3, &["s"], 4, true));
    bench.drain();
    let whose: Vec<_> = bench.outbox.seen(99).into_iter().map(|one| one.of).collect();
    assert_eq!(whose, [Some((ProfileId(7), "a1".to_owned())), None]);
}

#[test]
fn without_a_connection_actions_wait_in_their_newest_state() {
    let mut bench = Bench::new(10);
    bench.push(enter(0, &["s"], 1, true));
    bench.drain();
    bench.outbox.connected(false);
    bench.push(update(0, &["s"], 1, 1));
    bench.push(enter(1, &["s"], 2, true));
    bench.push(update(0, &["s"], 1, 2));
    bench.push(revoke(1, &["s"], 2));
    bench.push(enter(2, &["s"], 3, true));
    assert_eq!(bench.outbox.due(), None);
    assert!(bench.outbox.replay(1));
    bench.outbox.connected(true);
    assert_eq!(bench.drain(), ["2 =0 s d1 2", "3 +2 s d3 0"]);
    assert!(bench.outbox.replay(1), "what was sent is kept");
    assert_eq!(bench.drain().len(), 2);
    assert!(!bench.outbox.replay(99));
    // Nobody comes back: what nobody acknowledged was not delivered.
    bench.push(enter(4, &["s"], 9, true));
    let mut given: Vec<_> = bench.outbox.give_up().iter().map(|one| one.delivery).collect();
    given.sort_unstable();
    assert_eq!(given, [1, 2, 3, 9], "the second was taken back while it waited");
}

#[test]
fn a_full_queue_sheds_its_actions() {
    let mut bench = Bench::new(0);
    for slot in 0..=u32::try_from(OUTBOX_MAX).unwrap() {
        bench.push(enter(slot, &["s"], u128::from(slot), true));
    }
    assert!(bench.outbox.take_resync());
    assert!(!bench.outbox.take_resync());
    assert_eq!(bench.drain(), NONE);
    assert_eq!(bench.outbox.seen(u64::MAX).len(), OUTBOX_MAX + 1, "the snapshots that follow deliver them");
}

/// What the live set says about one action, and what a client knows.
#[derive(Clone, Debug)]
enum Step {
    Flip(u32, u8),
    Change(u32),
    Wait(u64),
    Away(bool),
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u32..4, 0_u8..2).prop_map(|(slot, sub)| Step::Flip(slot, sub)),
        3 => (0_u32..4).prop_map(Step::Change),
        3 => (0_u64..900).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Away),
    ]
}

/// By action: who holds it, under which delivery, with which content.
type Holdings = BTreeMap<(u32, String), (u128, u64)>;

#[derive(Default)]
struct Client {
    holds: Holdings,
    seq: u64,
    begun: BTreeSet<u128>,
    actions: Vec<u64>,
}

impl Client {
    fn take(&mut self, frames: &[PushFrame], ms: u64) {
        for frame in frames {
            assert_eq!(frame.seq(), self.seq + 1, "without a gap");
            self.seq = frame.seq();
            match frame {
                PushFrame::Action { subs, action, slot, first, .. } => {
                    self.actions.push(ms);
                    if *first {
                        assert!(self.begun.insert(action.delivery_id), "a delivery begins once");
                    }
                    let title = action.properties[0].1.to_json().as_u64().unwrap();
                    for sub in subs {
                        self.holds.insert((slot.0, sub.clone()), (action.delivery_id, title));
                    }
                }
                PushFrame::Revoked { subs, delivery_id, .. } => {
                    for sub in subs {
                        let key = self
                            .holds
                            .keys()
                            .find(|(slot, name)| name == sub && self.holds[&(*slot, name.clone())].0 == *delivery_id);
                        let key = key.cloned().expect("only what it has is taken back");
                        self.holds.remove(&key);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // Whatever flaps, waits, goes away and comes back: in the end the client has exactly the newest state,
    // never more frames a second than the rate and its burst, and every delivery either began or was lost.
    #[test]
    fn nothing_is_lost_and_nothing_too_fast(rate in 1_u32..6, steps in prop::collection::vec(a_step(), 1..80)) {
        let mut bench = Bench::new(rate);
        let mut wanted: Holdings = BTreeMap::new();
        let mut client = Client::default();
        let (mut minted, mut first): (u128, BTreeSet<u128>) = (0, BTreeSet::new());
        let (mut title, mut away) = (0, false);
        let mut lost: BTreeSet<u128> = BTreeSet::new();
        let drain = |bench: &mut Bench, client: &mut Client| {
            let mut out = Vec::new();
            let (now, ms) = (bench.now(), bench.ms);
            bench.outbox.drain(now, &mut out);
            client.take(&out, ms);
        };
        for step in &steps {
            match *step {
                Step::Flip(slot, sub) => {
                    let name = ["a", "b"][usize::from(sub)];
                    let key = (slot, name.to_owned());
                    if let Some((delivery, _)) = wanted.remove(&key) {
                        bench.push(revoke(slot, &[name], delivery));
                    } else {
                        let other = wanted.iter().find(|((other, _), _)| *other == slot).map(|(_, held)| *held);
                        let (delivery, title) = other.unwrap_or_else(|| { minted += 1; (minted, title) });
                        if other.is_none() {
                            first.insert(delivery);
                        }
                        wanted.insert(key, (delivery, title));
                        let content = action(delivery, title);
                        bench.push(PushOp::Enter { slot: ActionSlot(slot), subs: subs(&[name]), action: content, first: other.is_none() });
                    }
                }
                Step::Change(slot) => {
                    title += 1;
                    let mut names = Vec::new();
                    let mut of = None;
                    for ((other, name), held) in wanted.iter_mut().filter(|((other, _), _)| *other == slot) {
                        held.1 = title;
                        of = Some(held.0);
                        names.push(name.as_str());
                        let _ = other;
                    }
                    if let Some(delivery) = of {
                        bench.push(update(slot, &names, delivery, title));
                    }
                }
                Step::Wait(ms) => bench.wait(ms),
                Step::Away(is_away) => {
                    away = is_away;
                    bench.outbox.connected(!away);
                }
            }
            if !away {
                drain(&mut bench, &mut client);
            }
            lost.extend(bench.outbox.take_lost().into_iter().map(|one| one.delivery));
        }
        bench.outbox.connected(true);
        for _ in 0..200 {
            drain(&mut bench, &mut client);
            bench.wait(100);
        }
        prop_assert_eq!(&client.holds, &wanted);
        prop_assert_eq!(bench.outbox.due(), None);
        // A delivery that ended before its frame left is lost; every other began with one frame.
        prop_assert!(client.begun.is_disjoint(&lost));
        let told: BTreeSet<u128> = client.begun.union(&lost).copied().collect();
        prop_assert_eq!(told, first);
        let most = rate as usize;
        for (i, ms) in client.actions.iter().enumerate() {
            let within = client.actions[i..].iter().take_while(|other| **other < ms + 1000).count();
            prop_assert!(within <= 2 * most, "{within} actions in a second: {:?}", client.actions);
        }
    }
}
