//! Frequency budgets where deliveries begin: the best get the last places, over all sessions of a person.

use super::*;
use crate::action::CapState;
use crate::action::testing::budget;
use crate::ids::BudgetSlot;
use proptest::prelude::*;

const DELIVERED: Reaction = Reaction::Delivered;

/// One delivery an hour, over the first `governed` actions.
fn hourly(count: u64, governed: u32) -> Vec<(crate::action::BudgetDef, CapState, Vec<u32>)> {
    let def = budget(json!({"event": "delivered", "count": count, "within": 1, "withinUnit": "hours"}));
    vec![(def, CapState::default(), (0..governed).collect())]
}

fn delivered(action: u32, delivery: u128) -> Reacted {
    Reacted { delivery: Some(delivery), ..Reacted::bare(ActionSlot(action), DELIVERED, WEB) }
}

/// A person with several sessions, as the engine drives them.
struct Person {
    stage: Stage,
    sessions: Vec<LiveSet>,
    /// Deliveries that were pushed and not acknowledged: session, action, delivery.
    unseen: Vec<(usize, u32, u128)>,
    /// When deliveries that count began, in order.
    begun: Vec<Millis>,
}

impl Person {
    fn new(actions: &[Json], count: u64, governed: u32, sessions: usize) -> Self {
        let mut stage = Stage::new(actions);
        stage.person.budgets = hourly(count, governed);
        let sessions = (0..sessions).map(|_| LiveSet::new(WEB, None)).collect();
        Self { stage, sessions, unseen: Vec::new(), begun: Vec::new() }
    }

    fn world(
        &mut self,
        session: usize,
        f: impl FnOnce(&mut LiveSet, &World<'_>, &mut dyn FnMut() -> u128) -> Vec<(u32, u128)>,
    ) -> Vec<u32> {
        let Stage { shelf, person, totals, now, minted, .. } = &mut self.stage;
        let world = World { actions: shelf, person, totals, now: *now };
        let first = f(&mut self.sessions[session], &world, &mut || {
            *minted += 1;
            *minted
        });
        let now = *now;
        for (action, delivery) in &first {
            if self.stage.person.budgets[0].2.contains(action) {
                self.stage.totals.delivery_begins(ProfileId(1), *delivery, std::iter::once(BudgetSlot(0)), now);
                self.begun.push(now);
            }
            self.unseen.push((session, *action, *delivery));
        }
        first.into_iter().map(|(action, _)| action).collect()
    }

    fn subscribe(&mut self, session: usize) -> Vec<u32> {
        let sub = Subscription { sub: "s".into(), filter: Filter::default(), context: None };
        self.world(session, |live, world, mint| {
            let offered = live.subscribe(sub, world, mint).expect("there is room");
            offered.into_iter().filter(|o| o.first).map(|o| (o.slot.0, o.action.delivery_id)).collect()
        })
    }

    fn look(&mut self, session: usize, cause: Cause, candidates: Candidates<'_>) -> Vec<u32> {
        let input = Input { cause, candidates, event: None };
        self.world(session, |live, world, mint| {
            let ripe = live.ripe(world.now);
            let mut all = ripe;
            if let Candidates::These(slots) = input.candidates {
                all.extend_from_slice(slots);
            }
            let candidates = if matches!(input.candidates, Candidates::All) { Candidates::All } else { Candidates::These(&all) };
            let ops = live.evaluate(world, &Input { candidates, ..input }, mint);
            let begun = ops.into_iter().filter_map(|op| match op {
                PushOp::Enter { slot, action, first: true, .. } => Some((slot.0, action.delivery_id)),
                _ => None,
            });
            begun.collect()
        })
    }

    fn look_everywhere(&mut self, cause: Cause) -> Vec<u32> {
        (0..self.sessions.len()).flat_map(|session| self.look(session, cause, Candidates::All)).collect()
    }

    /// The client has what was pushed: logged now, wherever it stands in the window from now on.
    fn seen(&mut self, session: usize) {
        let now = self.stage.now;
        let (mine, rest): (Vec<_>, Vec<_>) = self.unseen.drain(..).partition(|(of, ..)| *of == session);
        self.unseen = rest;
        for (_, action, delivery) in mine {
            let (def, spent, governed) = &mut self.stage.person.budgets[0];
            if governed.contains(&action) {
                def.spend(spent, &delivered(action, delivery), now);
            }
            self.stage.totals.delivery_over(ProfileId(1), delivery);
        }
    }
}

fn of(priority: i64) -> Json {
    json!({ "priority": priority })
}

#[test]
fn the_best_get_the_last_places() {
    let mut person = Person::new(&[of(1), of(9), of(5)], 2, 3, 2);
    assert_eq!(person.subscribe(0), [1, 2], "in the order of section 5, and no third");
    assert_eq!(person.subscribe(1), [] as [u32; 0], "another socket of the same person");
    // The hour is over at its millisecond; nothing was acknowledged, and it counts from the push.
    assert_eq!(person.sessions[0].deadline(), at("2024-03-01T11:00:00Z"));
    person.stage.now = at("2024-03-01T11:00:00Z");
    assert_eq!(person.look(0, Cause::Time, Candidates::These(&[])), [0]);
    assert_eq!(person.look(1, Cause::Time, Candidates::These(&[])), [1], "one place was left");
}

#[test]
fn whoever_finds_no_place_does_not_hold_the_slot() {
    let hero = |priority: i64| with(of(priority), json!({"slot": "hero"}));
    // 0 and 1 are governed; 1 takes the only place, 0 wants the slot and gives way to 2, which is free.
    let mut person = Person::new(&[hero(5), of(9), hero(1)], 1, 2, 1);
    assert_eq!(person.subscribe(0), [1, 2]);
    // A place is there again: the better one takes the slot.
    person.stage.now = at("2024-03-01T11:00:00Z");
    let Stage { shelf, person: someone, totals, now, .. } = &person.stage;
    let world = World { actions: shelf, person: someone, totals, now: *now };
    let ripe = person.sessions[0].ripe(*now);
    assert_eq!(ripe, [ActionSlot(0)]);
    let ops = person.sessions[0].evaluate(
        &world,
        &Input { cause: Cause::Time, candidates: Candidates::These(&ripe), event: None },
        &mut || 77,
    );
    assert_eq!(told(&ops), ["-2 s d2 superseded", "+0 s d77"]);
}

#[test]
fn what_stands_is_not_taken_back_by_its_own_delivery() {
    let mut person = Person::new(&[of(1), of(2)], 1, 2, 1);
    assert_eq!(person.subscribe(0), [1]);
    person.seen(0);
    assert_eq!(person.look(0, Cause::Event, Candidates::All), [] as [u32; 0]);
    assert!(person.sessions[0].delivery(ActionSlot(1)).is_some());
    assert!(person.sessions[0].delivery(ActionSlot(0)).is_none());
}

#[test]
fn polls_take_places_too() {
    let mut stage = Stage::new(&[of(1), of(2), of(3)]);
    stage.person.budgets = hourly(2, 3);
    assert_eq!(stage.poll(&Filter::default()), ["2 d1", "1 d2"]);
}

#[test]
fn staging_takes_no_place() {
    let staged = json!({"state": "staging", "priority": 9, "testUsers": [{"userId": "u1", "channels": ["web"]}]});
    let mut person = Person::new(&[of(1), staged], 1, 2, 1);
    person.stage.person.ids = vec!["u1"];
    assert_eq!(person.subscribe(0), [1, 0]);
}

#[derive(Clone, Debug)]
enum Step {
    Revenue(i64),
    Seen(usize),
    Close(usize, u32),
    Pass(i64),
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_i64..4).prop_map(Step::Revenue),
        (0_usize..2).prop_map(Step::Seen),
        (0_usize..2, 0_u32..4).prop_map(|(session, action)| Step::Close(session, action)),
        (1_i64..50).prop_map(|minutes| Step::Pass(minutes * 60_000)),
    ]
}

proptest! {
    // In no hour do more deliveries begin than the budget allows, whatever is acknowledged when; and while
    // there is a place, nobody who is due waits for one.
    #[test]
    fn never_one_over_and_none_left(
        priorities in prop::collection::vec(0_i64..3, 1..5),
        count in 1_usize..4,
        governed in 0_u32..5,
        steps in prop::collection::vec(a_step(), 1..40),
    ) {
        let actions: Vec<Json> = (0_i64..).zip(&priorities).map(|(n, priority)| {
            let rich = json!({"targeting": {"traitConditions": [
                {"source": "computed", "key": "revenue", "type": "float", "operator": "greater_than_or_equal", "value": n % 3}]}});
            with(of(*priority), rich)
        }).collect();
        let mut person = Person::new(&actions, count as u64, governed, 2);
        person.stage.person.computed.insert("revenue", 0.into());
        person.subscribe(0);
        person.subscribe(1);
        for step in steps {
            match step {
                Step::Revenue(n) => {
                    person.stage.person.computed.insert("revenue", n.into());
                    person.look_everywhere(Cause::Trait);
                }
                Step::Seen(session) => {
                    person.seen(session);
                    person.look_everywhere(Cause::Event);
                }
                Step::Close(session, action) => {
                    person.sessions[session].close(ActionSlot(action), Reaction::Declined);
                    person.look_everywhere(Cause::Event);
                }
                Step::Pass(ms) => {
                    let then = person.stage.now.plus(ms);
                    loop {
                        let deadline = person.sessions.iter().map(LiveSet::deadline).min().unwrap();
                        if deadline > then {
                            break;
                        }
                        person.stage.now = deadline;
                        for session in 0..2 {
                            person.look(session, Cause::Time, Candidates::These(&[]));
                        }
                    }
                    person.stage.now = then;
                }
            }
            let begun = &person.begun;
            for window in begun.windows(count + 1) {
                prop_assert!(window[count].0 - window[0].0 >= 3_600_000, "{begun:?}");
            }
            // Who is due and not live, though there is a place?
            let Stage { shelf, person: someone, totals, now, .. } = &person.stage;
            for live in &person.sessions {
                for (slot, (_, def)) in &shelf.defs {
                    let view = crate::action::View { action: *slot, channel: WEB, now: *now, person: someone, context: None, totals };
                    prop_assert!(live.delivery(*slot).is_some() || !def.decide(&view, false).eligible, "{slot:?} waits");
                }
            }
        }
    }
}
