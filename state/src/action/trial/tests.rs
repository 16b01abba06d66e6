use super::*;
use crate::action::push::{Actions, Candidates, Cause, Filter, Input, LiveSet, PushOp, Subscription, World};
use crate::action::testing::{CART_VIEWED, Shelf, Someone, WEB, action, at, view};
use crate::action::{NoTotals, Outcome, Proof, Refusal};
use crate::event::Reaction;
use crate::experiment::Variant;
use crate::ids::{ActionSlot, EventSlot, GoalSlot};
use crate::value::Value;
use serde_json::{Value as Json, json};

const TRIAL: ExperimentSlot = ExperimentSlot(0);

/// An action in experiment 0, whose variant 1 says another title.
fn tried(json: Json) -> ActionDef {
    let mut def = action(json);
    let other = action(json!({"properties": [
        {"channels": ["web"], "type": "text", "name": "title", "value": "B"},
        {"channels": ["web"], "type": "text", "name": "badge", "value": "new"}]}));
    let variant = |name: &str, properties: Properties| Variant { key: name.into(), name: name.into(), weight: 1.0, properties };
    let experiment = ExperimentDef {
        key: "e".into(),
        salt: "".into(),
        actions: Box::default(),
        tag: None,
        variants: Box::new([variant("plain", Properties::default()), variant("loud", other.properties)]),
        holdout: 0.5,
        goal: GoalSlot(0),
        running: true,
        confidence: 0.95,
        window_ms: None,
    };
    def.trial = Some(Trial::new(TRIAL, "Loud or not", &experiment, &def.properties));
    def
}

fn titled() -> Json {
    json!({"properties": [
        {"channels": ["web"], "type": "text", "name": "title", "value": "A"},
        {"channels": ["web"], "type": "text", "name": "text", "value": "Hello"}]})
}

fn someone(arm: u16) -> Someone {
    Someone { arms: [(TRIAL, arm)].into(), ..Someone::default() }
}

fn says(def: &ActionDef, arm: u16) -> Vec<(String, Value)> {
    let person = someone(arm);
    let view = view(&person, at("2024-03-01T10:00:00Z"));
    def.says(&view).render(WEB, &view).into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

#[test]
fn a_variant_says_its_own_in_place_of_the_actions() {
    let def = tried(titled());
    let pair = |name: &str, value: &str| (name.to_owned(), Value::Str(value.into()));
    assert_eq!(says(&def, 0), [pair("title", "A"), pair("text", "Hello")]);
    assert_eq!(says(&def, 1), [pair("title", "B"), pair("text", "Hello"), pair("badge", "new")]);
}

/// Whoever is held back is so by the last step only: what they are not due for anyway is not the experiment's.
#[test]
fn holding_back_is_decided_last_and_explained() {
    let def = tried(json!({"targeting": {"audiences": ["buyers"]}}));
    let mut person = someone(Arm::HOLDOUT);
    let now = at("2024-03-01T10:00:00Z");
    assert_eq!(def.decide(&view(&person, now), false).blocked, Some(crate::action::Reason::Audience));
    person.member_of.push(crate::action::testing::BUYERS);
    assert_eq!(def.decide(&view(&person, now), false).blocked, Some(crate::action::Reason::Withheld));
    // An accept is refused as from anyone else whom it is not for.
    let accept = def.admit(Reaction::Accepted, &view(&person, now), Proof::default());
    assert_eq!(accept, Err(Refusal::NotInAudience));
    let told = def.explain(&view(&person, now));
    let last = told.steps.last().expect("steps");
    assert_eq!((told.display, last.name, last.state), (false, "Experiment", Outcome::Fail));
    assert_eq!(last.info, "held back by experiment Loud or not");
    let mut shown = someone(1);
    shown.member_of.push(crate::action::testing::BUYERS);
    let told = def.explain(&view(&shown, now));
    assert_eq!(told.steps.last().map(|step| step.info.as_str()), Some("variant loud of experiment Loud or not"));
    assert!(told.display && def.admit(Reaction::Accepted, &view(&shown, now), Proof::default()).is_ok());
}

/// Staging is for looking at all there is.
#[test]
fn staging_holds_nobody_back() {
    let user = json!([{"userId": "qa", "channels": ["web"], "skipTargeting": false}]);
    let def = tried(json!({"state": "staging", "testUsers": user}));
    let person = Someone { ids: vec!["qa"], ..someone(Arm::HOLDOUT) };
    let view = view(&person, at("2024-03-01T10:00:00Z"));
    assert!(def.decide(&view, false).eligible);
    let told = def.explain(&view);
    assert_eq!(told.steps.last().map(|step| step.state), Some(Outcome::Pass));
}

struct Stage {
    shelf: Shelf,
    person: Someone,
    live: LiveSet,
}

impl Stage {
    fn new(defs: Vec<ActionDef>, arm: u16) -> Self {
        let mut shelf = Shelf::default();
        for (slot, def) in (0..).zip(defs) {
            shelf.put(slot, def);
        }
        Self { shelf, person: someone(arm), live: LiveSet::new(WEB, None) }
    }

    /// What comes up and what is told as held back.
    fn told(&mut self, work: impl FnOnce(&mut LiveSet, &World<'_>) -> Vec<u32>) -> (Vec<u32>, Vec<u32>) {
        let world = World { actions: &self.shelf, person: &self.person, totals: &NoTotals, now: at("2024-03-01T10:00:00Z") };
        let up = work(&mut self.live, &world);
        (up, self.live.take_withheld().iter().map(|slot| slot.0).collect())
    }

    fn subscribe(&mut self, sub: &str) -> (Vec<u32>, Vec<u32>) {
        let sub = Subscription { sub: sub.into(), filter: Filter::default(), context: None };
        self.told(|live, world| live.subscribe(sub, world, &mut || 1).expect("room").iter().map(|offer| offer.slot.0).collect())
    }

    fn look(&mut self, event: Option<EventSlot>) -> (Vec<u32>, Vec<u32>) {
        self.told(|live, world| {
            let input = Input { cause: Cause::Event, candidates: Candidates::All, event };
            let ops = live.evaluate(world, &input, &mut || 1);
            ops.iter().filter_map(|op| if let PushOp::Enter { slot, .. } = op { Some(slot.0) } else { None }).collect()
        })
    }

    fn poll(&mut self) -> (Vec<u32>, Vec<u32>) {
        self.told(|live, world| {
            let offered = live.poll(&Filter::default(), None, world, &|_| false, &mut || 1);
            offered.iter().map(|offer| offer.slot.0).collect()
        })
    }

    fn set(&mut self, slot: u32, def: ActionDef) {
        self.shelf.put(slot, def);
        assert!(self.shelf.action(ActionSlot(slot)).is_some());
    }
}

/// Subscriptions, events and polls agree: nothing comes up, and it is told once in a session.
#[test]
fn what_is_held_back_is_told_once_in_a_session() {
    let mut stage = Stage::new(vec![tried(titled()), action(titled())], Arm::HOLDOUT);
    assert_eq!(stage.subscribe("a"), (vec![1], vec![0]));
    assert_eq!(stage.subscribe("b"), (vec![1], vec![]));
    assert_eq!(stage.look(None), (vec![], vec![]));
    assert_eq!(stage.poll(), (vec![1], vec![]));
    let mut polled = Stage::new(vec![tried(titled()), action(titled())], Arm::HOLDOUT);
    assert_eq!(polled.poll(), (vec![1], vec![0]));
    let mut shown = Stage::new(vec![tried(titled()), action(titled())], 1);
    assert_eq!(shown.subscribe("a"), (vec![0, 1], vec![]));
}

/// Held back is only who would have got it: not while something better has the slot. What is held back leaves
/// its slot to others.
#[test]
fn a_slot_that_is_taken_holds_nobody_back() {
    let in_slot = |priority: i64| json!({"slot": "hero", "priority": priority});
    let inactive = |priority: i64| json!({"slot": "hero", "priority": priority, "state": "inactive"});
    let mut stage = Stage::new(vec![tried(in_slot(1)), action(in_slot(9))], Arm::HOLDOUT);
    assert_eq!(stage.subscribe("a"), (vec![1], vec![]));
    assert_eq!(stage.poll().1, Vec::<u32>::new());
    // The better one goes: now it would have come up.
    stage.set(1, action(inactive(9)));
    assert_eq!(stage.look(None), (vec![], vec![0]));
    let mut under = Stage::new(vec![tried(in_slot(9)), action(in_slot(1))], Arm::HOLDOUT);
    assert_eq!(under.subscribe("a"), (vec![1], vec![0]), "the next in line comes up");
    let mut polled = Stage::new(vec![tried(in_slot(9)), action(in_slot(1))], Arm::HOLDOUT);
    assert_eq!(polled.poll(), (vec![1], vec![0]));
}

/// An action that waits for an event is held back at that event, not before.
#[test]
fn an_action_that_waits_is_held_back_at_its_moment() {
    let waits = json!({"targeting": {"onEvent": ["cart_viewed"]}});
    let mut stage = Stage::new(vec![tried(waits)], Arm::HOLDOUT);
    assert_eq!(stage.subscribe("a"), (vec![], vec![]));
    assert_eq!(stage.look(None), (vec![], vec![]));
    assert_eq!(stage.look(Some(CART_VIEWED)), (vec![], vec![0]));
    assert_eq!(stage.look(Some(CART_VIEWED)), (vec![], vec![]));
}
