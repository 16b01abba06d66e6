use super::*;
use crate::action::testing::{APP, BUYERS, CART_VIEWED, Shelf, Someone, WEB, action, at, context};
use crate::action::{Claim, TotalCaps};
use crate::event::{Reacted, Reaction};
use crate::ids::{Moment, ProfileId, Seq};
use serde_json::{Value as Json, json};

mod budgets;
mod model;
mod sessions;

/// A person with one session, and everybody else as a table of totals.
struct Stage {
    shelf: Shelf,
    person: Someone,
    totals: TotalCaps,
    live: LiveSet,
    now: Millis,
    minted: u128,
    seq: u64,
}

/// Frames as text: `+2 s1 d1` action 2 came up as delivery 1, `+2 s2 =d1` under a delivery that stood
/// already, `~2 s1 d1` changed, `-2 s1 d1 capped` taken back.
fn told(ops: &[PushOp]) -> Vec<String> {
    let names = |subs: &Subs| subs.join(",");
    let one = |op: &PushOp| match op {
        PushOp::Enter { slot, subs, action, first } => {
            format!("+{} {} {}d{}", slot.0, names(subs), if *first { "" } else { "=" }, action.delivery_id)
        }
        PushOp::Update { slot, subs, action } => {
            format!("~{} {} d{}", slot.0, names(subs), action.delivery_id)
        }
        PushOp::Revoke { slot, subs, delivery_id, reason, .. } => {
            format!("-{} {} d{delivery_id} {}", slot.0, names(subs), reason.word())
        }
    };
    ops.iter().map(one).collect()
}

fn offers(offered: &[Offered]) -> Vec<String> {
    offered.iter().map(|o| format!("{} {}d{}", o.slot.0, if o.first { "" } else { "=" }, o.action.delivery_id)).collect()
}

impl Stage {
    fn new(actions: &[Json]) -> Self {
        let mut shelf = Shelf::default();
        for (slot, json) in (0..).zip(actions) {
            shelf.put(slot, action(json.clone()));
        }
        Self {
            shelf,
            person: Someone::default(),
            totals: TotalCaps::default(),
            live: LiveSet::new(WEB, None),
            now: at("2024-03-01T10:00:00Z"),
            minted: 0,
            seq: 0,
        }
    }

    fn subscribe_to(&mut self, sub: &str, filter: Filter, context: Option<Props>) -> Vec<String> {
        let Self { shelf, person, totals, live, now, minted, .. } = self;
        let world = World { actions: shelf, person, totals, now: *now };
        let sub = Subscription { sub: sub.into(), filter, context };
        let offered = live.subscribe(sub, &world, &mut || {
            *minted += 1;
            *minted
        });
        offers(&offered.expect("there is room"))
    }

    fn subscribe(&mut self, sub: &str) -> Vec<String> {
        self.subscribe_to(sub, Filter::default(), None)
    }

    fn input(&mut self, input: &Input<'_>) -> Vec<PushOp> {
        let Self { shelf, person, totals, live, now, minted, .. } = self;
        let world = World { actions: shelf, person, totals, now: *now };
        live.evaluate(&world, input, &mut || {
            *minted += 1;
            *minted
        })
    }

    fn look(&mut self, cause: Cause, slots: &[u32]) -> Vec<String> {
        let slots: Vec<_> = slots.iter().map(|slot| ActionSlot(*slot)).collect();
        told(&self.input(&Input { cause, candidates: Candidates::These(&slots), event: None }))
    }

    fn event(&mut self, event: EventSlot, slots: &[u32]) -> Vec<String> {
        let slots: Vec<_> = slots.iter().map(|slot| ActionSlot(*slot)).collect();
        told(&self.input(&Input { cause: Cause::Event, candidates: Candidates::These(&slots), event: Some(event) }))
    }

    fn poll(&mut self, filter: &Filter) -> Vec<String> {
        let Self { shelf, person, totals, live, now, minted, .. } = self;
        let world = World { actions: shelf, person, totals, now: *now };
        offers(&live.poll(filter, None, &world, &|_| false, &mut || {
            *minted += 1;
            *minted
        }))
    }

    /// Time passes to the deadline of the session, which must be `then`; what is ripe is looked at.
    fn wait_until(&mut self, then: &str) -> Vec<String> {
        assert_eq!(self.live.deadline(), at(then));
        self.now = self.live.deadline();
        let ripe = self.live.ripe(self.now);
        told(&self.input(&Input { cause: Cause::Time, candidates: Candidates::These(&ripe), event: None }))
    }

    /// A reaction of this person in this session, counted for its caps.
    fn react(&mut self, slot: u32, reaction: Reaction) -> Vec<String> {
        let action = ActionSlot(slot);
        let def = self.shelf.defs[&action].1.clone();
        self.seq += 1;
        let reacted = Reacted::bare(action, reaction, WEB);
        def.count_reaction(self.person.caps.entry(action).or_default(), &reacted, self.now);
        self.totals.count(&def.caps, &reacted, Moment { t: self.now, seq: Seq(self.seq) });
        self.live.close(action, reaction);
        self.look(Cause::Event, &[slot])
    }
}

fn over_100() -> Json {
    json!({"targeting": {"traitConditions": [{"source": "computed", "key": "revenue", "type": "float", "operator": "greater_than", "value": 100}]}})
}

fn for_buyers() -> Json {
    json!({"targeting": {"audiences": ["buyers"]}})
}

fn with(mut json: Json, more: Json) -> Json {
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json
}

const NONE: [&str; 0] = [];

// T-75: one push and one delivery; polls get the same one and begin none.
#[test]
fn t75_connect_then_polls() {
    let mut stage = Stage::new(&[json!({})]);
    assert_eq!(stage.subscribe("s1"), ["0 d1"]);
    for _ in 0..5 {
        assert_eq!(stage.poll(&Filter::default()), ["0 =d1"]);
    }
    assert_eq!(stage.look(Cause::Trait, &[0]), NONE);
}

// T-76: the threshold is crossed, and crossed back.
#[test]
fn t76_a_trait_crosses_and_crosses_back() {
    let mut stage = Stage::new(&[over_100()]);
    assert_eq!(stage.subscribe("s1"), NONE);
    stage.person.computed.insert("revenue", 150.0.into());
    assert_eq!(stage.look(Cause::Trait, &[0]), ["+0 s1 d1"]);
    stage.person.computed.insert("revenue", 50.0.into());
    assert_eq!(stage.look(Cause::Trait, &[0]), ["-0 s1 d1 targeting"]);
}

// T-77: an answered action is closed, without a revoke, until it has been due no longer.
#[test]
fn t77_closed_until_it_leaves_and_comes_back() {
    for reaction in [Reaction::Declined, Reaction::Hidden, Reaction::Accepted] {
        let mut stage = Stage::new(&[for_buyers()]);
        stage.person.member_of = vec![BUYERS];
        assert_eq!(stage.subscribe("s1"), ["0 d1"]);
        assert_eq!(stage.react(0, Reaction::Shown), NONE);
        assert_eq!(stage.react(0, reaction), NONE);
        assert_eq!(stage.look(Cause::Event, &[0]), NONE);
        assert_eq!(stage.live.valid_at(ActionSlot(0), 1, stage.now), Some(stage.now));
        stage.person.member_of.clear();
        assert_eq!(stage.look(Cause::Audience, &[0]), NONE);
        stage.person.member_of = vec![BUYERS];
        assert_eq!(stage.look(Cause::Audience, &[0]), ["+0 s1 d2"]);
    }
}

#[test]
fn subscribing_anew_reopens_what_was_closed() {
    let mut stage = Stage::new(&[json!({}), json!({"capping": [{"event": "declined", "group": "user", "count": 1}]})]);
    assert_eq!(stage.subscribe("s1"), ["0 d1", "1 d2"]);
    assert_eq!(stage.react(0, Reaction::Declined), NONE);
    assert_eq!(stage.react(1, Reaction::Declined), NONE);
    assert_eq!(stage.subscribe("s1"), ["0 d3"], "caps permitting");
}

// T-78: a session that comes back is looked at again, not sent again.
#[test]
fn t78_resume_sends_the_difference() {
    let mut stage = Stage::new(&[json!({}), for_buyers(), over_100()]);
    stage.person.member_of = vec![BUYERS];
    assert_eq!(stage.subscribe("s1"), ["0 d1", "1 d2"]);
    let all = Input { cause: Cause::Identity, candidates: Candidates::All, event: None };
    assert_eq!(told(&stage.input(&all)), NONE);
    stage.person.member_of.clear();
    stage.person.computed.insert("revenue", 101.0.into());
    assert_eq!(told(&stage.input(&all)), ["-1 s1 d2 identity_changed", "+2 s1 d3"]);
}

// T-79: order by priority, then age; a slot has one, and the next comes when it leaves.
#[test]
fn t79_order_and_slots() {
    let of = |priority: i64, day: u32| json!({"priority": priority, "createdAt": format!("2024-01-0{day}")});
    let mut stage = Stage::new(&[of(1, 1), of(5, 3), of(5, 2)]);
    assert_eq!(stage.subscribe("s1"), ["2 d1", "1 d2", "0 d3"]);
    let hero = |priority, day| with(of(priority, day), json!({"slot": "hero"}));
    let mut stage = Stage::new(&[hero(1, 1), hero(5, 3), hero(5, 2)]);
    assert_eq!(stage.subscribe("s1"), ["2 d1"]);
    stage.shelf.put(2, action(with(hero(5, 2), json!({"state": "inactive"}))));
    assert_eq!(stage.look(Cause::Config, &[2]), ["-2 s1 d1 inactive", "+1 s1 d2"]);
    // A better one takes the slot.
    stage.shelf.put(2, action(hero(5, 2)));
    assert_eq!(stage.look(Cause::Config, &[2]), ["-1 s1 d2 superseded", "+2 s1 d3"]);
    // Moved out of the slot: both stand.
    stage.shelf.put(2, action(of(5, 2)));
    assert_eq!(stage.look(Cause::Config, &[2]), ["~2 s1 d3", "+1 s1 d4"]);
    // An answered one keeps its slot while it is due.
    assert_eq!(stage.react(1, Reaction::Declined), NONE);
}

// T-80: inactive for all who hold it; a start that comes by itself is pushed at that millisecond.
#[test]
fn t80_state_and_time() {
    let mut stage =
        Stage::new(&[json!({}), json!({"targeting": {"start": {"date": "2024-03-02"}, "end": {"date": "2024-03-02"}}})]);
    assert_eq!(stage.subscribe("s1"), ["0 d1"]);
    stage.shelf.put(0, action(json!({"state": "inactive"})));
    assert_eq!(stage.look(Cause::Config, &[0]), ["-0 s1 d1 inactive"]);
    assert_eq!(stage.wait_until("2024-03-01T23:00:00Z"), ["+1 s1 d2"]);
    assert_eq!(stage.wait_until("2024-03-02T23:00:00Z"), ["-1 s1 d2 expired"]);
    assert_eq!(stage.live.deadline(), Millis::MAX);
    stage.shelf.put(0, action(json!({})));
    assert_eq!(stage.look(Cause::Config, &[0]), ["+0 s1 d3"]);
    stage.shelf.remove(0);
    assert_eq!(stage.look(Cause::Config, &[0]), ["-0 s1 d3 deleted"]);
}

// T-66 end to end: the second show ends it, and it comes again when the window lets it.
#[test]
fn t66_capped_and_back() {
    let mut stage = Stage::new(&[json!({"capping": [{"event": "shown", "group": "user", "count": 2, "within": 7}]})]);
    assert_eq!(stage.subscribe("s1"), ["0 d1"]);
    assert_eq!(stage.react(0, Reaction::Shown), NONE);
    stage.now = at("2024-03-02T10:00:00Z");
    assert_eq!(stage.react(0, Reaction::Shown), ["-0 s1 d1 capped"]);
    assert_eq!(stage.wait_until("2024-03-08T10:00:00Z"), ["+0 s1 d2"]);
}

// T-81: somebody else takes the last place.
#[test]
fn t81_the_last_place_is_taken() {
    let mut stage = Stage::new(&[json!({"capping": [{"event": "accepted", "group": "all", "count": 2}]})]);
    assert_eq!(stage.subscribe("s1"), ["0 d1"]);
    let caps = stage.shelf.defs[&ActionSlot(0)].1.caps.clone();
    for other in 1..=2 {
        let claim = Claim {
            action: ActionSlot(0),
            caps: &caps,
            profile: ProfileId(other),
            user: None,
            budgets: &[],
            reaction: Reaction::Accepted,
            channel: APP,
            now: stage.now,
        };
        let place = stage.totals.reserve(&claim).unwrap();
        let done = stage.totals.commit(&caps, place, Moment { t: stage.now, seq: Seq(u64::try_from(other).unwrap()) }).unwrap();
        assert_eq!(done.exhausted, other == 2);
    }
    assert_eq!(stage.look(Cause::Event, &[0]), ["-0 s1 d1 capped"]);
}

// T-82: true and false again within one input is never seen.
#[test]
fn t82_net_effect_only() {
    let mut stage = Stage::new(&[for_buyers()]);
    stage.subscribe("s1");
    stage.person.member_of = vec![BUYERS];
    stage.person.member_of.clear();
    assert_eq!(stage.look(Cause::Audience, &[0, 0]), NONE);
}

// I-61: the cap is reached on another channel; this session holds the action and hears of it.
#[test]
fn i61_seen_on_one_channel_hidden_on_all_others() {
    let mut stage = Stage::new(&[json!({"capping": [{"event": "shown", "group": "user", "count": 1}]})]);
    stage.subscribe("s1");
    let def = &stage.shelf.defs[&ActionSlot(0)].1;
    let shown = Reacted::bare(ActionSlot(0), Reaction::Shown, APP);
    def.count_reaction(stage.person.caps.entry(ActionSlot(0)).or_default(), &shown, stage.now);
    assert_eq!(stage.look(Cause::Event, &[0]), ["-0 s1 d1 capped"]);
}

#[test]
fn delivery_ids_read_back() {
    for id in [0, 1, u128::MAX] {
        assert_eq!(parse_delivery(&delivery_text(id)), Some(id));
    }
    for text in ["", "im_", "im_1", "im_+0000000000000000000000000000001", "xx_00000000000000000000000000000001"] {
        assert_eq!(parse_delivery(text), None, "{text}");
    }
}

#[test]
fn words_are_those_of_the_wire() {
    for cause in [Cause::Event, Cause::Trait, Cause::Audience, Cause::Time, Cause::Config, Cause::Identity, Cause::Context] {
        assert_eq!(serde_json::to_value(cause).unwrap(), cause.word());
    }
    use RevokeReason::{Audience, Capped, Deleted, Expired, IdentityChanged, Inactive, Locked, Superseded, Targeting};
    for reason in [Capped, Inactive, Expired, Targeting, Audience, IdentityChanged, Locked, Deleted, Superseded] {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.word());
    }
}
