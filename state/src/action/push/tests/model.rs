//! Random inputs against a model that recomputes everything from the definitions, and a client
//! that only applies frames.

use super::*;
use crate::action::Group;
use crate::ids::AudienceSlot;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Audience(u32),
    Revenue(i64),
    Page(u8),
    React(u32, Reaction),
    Config(u32, Box<Json>),
    Delete(u32),
    Subscribe(u8, bool, Option<u8>),
    Unsubscribe(u8),
    Pass(i64),
    Nothing,
}

fn an_action() -> impl Strategy<Value = Json> {
    let slot = prop::sample::select(vec!["", "hero", "foot"]);
    let cap = prop::option::of((prop::sample::select(vec!["shown", "accepted", "hidden"]), 0_i64..3, 0_i64..4));
    let audience = prop::option::of(prop::sample::select(vec!["buyers", "vips"]));
    (slot, cap, audience, 0_i64..3, any::<bool>(), any::<bool>(), 0_u8..3, any::<bool>()).prop_map(
        |(slot, cap, audience, priority, paged, rich, hours, tagged)| {
            let mut targeting = json!({"audiences": audience.into_iter().collect::<Vec<_>>()});
            if paged {
                targeting["contextConditions"] =
                    json!([{"channel": "web", "key": "page", "type": "string", "operator": "equals", "value": "p1"}]);
            }
            if rich {
                targeting["traitConditions"] =
                    json!([{"source": "computed", "key": "revenue", "type": "float", "operator": "greater_than", "value": 1}]);
            }
            if hours > 0 {
                targeting["start"] = json!({"time": format!("{:02}:00", hours * 6)});
            }
            let capping: Vec<_> = cap
                .into_iter()
                .map(|(event, count, within)| json!({"event": event, "group": "user", "count": count, "within": within, "withinUnit": "hours"}))
                .collect();
            let tags = if tagged { json!(["t"]) } else { json!([]) };
            let properties = json!([{"channels": ["web"], "type": "computed_trait", "name": "n", "sourceKey": "revenue"}]);
            json!({"slot": slot, "priority": priority, "targeting": targeting, "capping": capping, "tags": tags, "properties": properties})
        },
    )
}

fn a_step() -> impl Strategy<Value = Step> {
    let reaction = prop::sample::select(vec![Reaction::Shown, Reaction::Hidden, Reaction::Declined, Reaction::Accepted]);
    prop_oneof![
        (0_u32..2).prop_map(Step::Audience),
        (0_i64..4).prop_map(Step::Revenue),
        (0_u8..3).prop_map(Step::Page),
        (0_u32..5, reaction).prop_map(|(slot, reaction)| Step::React(slot, reaction)),
        (0_u32..5, an_action()).prop_map(|(slot, json)| Step::Config(slot, Box::new(json))),
        (0_u32..5).prop_map(Step::Delete),
        (0_u8..3, any::<bool>(), prop::option::of(0_u8..3)).prop_map(|(n, tagged, page)| Step::Subscribe(n, tagged, page)),
        (0_u8..3).prop_map(Step::Unsubscribe),
        (1_i64..300).prop_map(|minutes| Step::Pass(minutes * 60_000)),
        Just(Step::Nothing),
    ]
}

fn page(n: u8) -> Props {
    context(&[("page", format!("p{n}").as_str().into())])
}

/// What a client knows: subscription and action to delivery.
type Shown = BTreeMap<(String, u32), u128>;

#[derive(Default)]
struct Client {
    shown: Shown,
    /// Deliveries for which a `delivered` was due.
    begun: BTreeSet<u128>,
}

impl Client {
    fn apply(&mut self, ops: &[PushOp]) {
        for op in ops {
            match op {
                PushOp::Enter { slot, subs, action, first } => {
                    assert_eq!(*first, self.begun.insert(action.delivery_id), "one delivered per delivery");
                    for sub in subs {
                        self.shown.insert((sub.to_string(), slot.0), action.delivery_id);
                    }
                }
                PushOp::Update { slot, subs, action } => {
                    for sub in subs {
                        assert_eq!(self.shown.get(&(sub.to_string(), slot.0)), Some(&action.delivery_id));
                    }
                }
                PushOp::Revoke { slot, subs, delivery_id, .. } => {
                    for sub in subs {
                        assert_eq!(self.shown.remove(&(sub.to_string(), slot.0)), Some(*delivery_id));
                    }
                }
            }
        }
    }
}

/// What should be live, recomputed from the definitions and what the person has closed.
struct Model {
    closed: BTreeSet<(String, u32)>,
}

impl Model {
    fn expect(&mut self, stage: &Stage) -> BTreeSet<(String, u32)> {
        let mut live = BTreeSet::new();
        for sub in stage.live.subscriptions() {
            let name = sub.sub.to_string();
            let mut due: Vec<_> = Vec::new();
            for (slot, (_, def)) in &stage.shelf.defs {
                let view = crate::action::View {
                    action: *slot,
                    channel: WEB,
                    now: stage.now,
                    person: &stage.person,
                    context: sub.context.as_ref().or(stage.live.context()),
                    totals: &stage.totals,
                };
                if sub.filter.matches(def) && def.decide(&view, false).eligible {
                    due.push((std::cmp::Reverse(def.priority), slot.0, def.slot.clone()));
                } else {
                    self.closed.remove(&(name.clone(), slot.0));
                }
            }
            due.sort();
            let mut taken = BTreeSet::new();
            for (_, action, slot) in due {
                let wins = slot.is_none_or(|slot| taken.insert(slot));
                if wins && !self.closed.contains(&(name.clone(), action)) {
                    live.insert((name.clone(), action));
                }
            }
        }
        let gone = |key: &(String, u32)| !stage.shelf.defs.contains_key(&ActionSlot(key.1));
        self.closed.retain(|key| !gone(key));
        live
    }
}

/// Applies one step to the stage; returns which actions its input can have touched.
fn apply(stage: &mut Stage, client: &mut Client, model: &mut Model, step: &Step) -> (Cause, Vec<ActionSlot>) {
    let that = |keep: &dyn Fn(&ActionDef) -> bool, stage: &Stage| {
        stage.shelf.defs.iter().filter(|(_, (_, def))| keep(def)).map(|(slot, _)| *slot).collect::<Vec<_>>()
    };
    match step {
        Step::Audience(n) => {
            let audience = AudienceSlot(*n);
            let members = &mut stage.person.member_of;
            if members.contains(&audience) {
                members.retain(|other| *other != audience)
            } else {
                members.push(audience)
            }
            (Cause::Audience, that(&|def| def.audiences.contains(&Some(audience)), stage))
        }
        Step::Revenue(n) => {
            stage.person.computed.insert("revenue", (*n).into());
            // Every action shows it.
            (Cause::Trait, that(&|_| true, stage))
        }
        Step::Page(n) => {
            stage.live.set_context(Some(page(*n)));
            (Cause::Context, that(&|def| def.reads_context(WEB), stage))
        }
        Step::React(slot, reaction) => {
            let action = ActionSlot(*slot);
            let Some((_, def)) = stage.shelf.defs.get(&action) else {
                return (Cause::Event, vec![]);
            };
            let caps = stage.person.caps.entry(action).or_default();
            caps.record(&def.caps, Group::User, *reaction, WEB, stage.now);
            stage.live.close(action, *reaction);
            if *reaction != Reaction::Shown {
                client.shown.retain(|(sub, shown), _| {
                    *shown != *slot || {
                        model.closed.insert((sub.clone(), *slot));
                        false
                    }
                });
            }
            (Cause::Event, vec![action])
        }
        Step::Config(slot, json) => {
            stage.shelf.put(*slot, action((**json).clone()));
            // Windowed caps start anew here; rebuilding is not this module's business.
            stage.person.caps.remove(&ActionSlot(*slot));
            (Cause::Config, vec![ActionSlot(*slot)])
        }
        Step::Delete(slot) => {
            stage.shelf.remove(*slot);
            stage.person.caps.remove(&ActionSlot(*slot));
            (Cause::Config, vec![ActionSlot(*slot)])
        }
        Step::Subscribe(n, tagged, own) => {
            let name = format!("s{n}");
            let filter = Filter { tags: if *tagged { vec!["t".into()] } else { vec![] }, ..Filter::default() };
            let Stage { shelf, person, totals, live, now, minted, .. } = stage;
            let world = World { actions: shelf, person, totals, now: *now };
            let sub = Subscription { sub: name.as_str().into(), filter, context: own.map(page) };
            let offered = live.subscribe(sub, &world, &mut || {
                *minted += 1;
                *minted
            });
            client.shown.retain(|(sub, _), _| *sub != name);
            model.closed.retain(|(sub, _)| *sub != name);
            for offer in offered.unwrap() {
                assert_eq!(offer.first, client.begun.insert(offer.action.delivery_id));
                client.shown.insert((name.clone(), offer.slot.0), offer.action.delivery_id);
            }
            (Cause::Config, vec![])
        }
        Step::Unsubscribe(n) => {
            let name = format!("s{n}");
            stage.live.unsubscribe(&name, stage.now);
            client.shown.retain(|(sub, _), _| *sub != name);
            model.closed.retain(|(sub, _)| *sub != name);
            (Cause::Config, vec![])
        }
        Step::Pass(_) | Step::Nothing => (Cause::Time, vec![]),
    }
}

fn look(stage: &mut Stage, client: &mut Client, model: &mut Model, cause: Cause, touched: &[ActionSlot]) {
    let ops = stage.input(&Input { cause, candidates: Candidates::These(touched), event: None });
    let entered = ops.iter().position(|op| !matches!(op, PushOp::Revoke { .. })).unwrap_or(ops.len());
    assert!(!ops[entered..].iter().any(|op| matches!(op, PushOp::Revoke { .. })), "what is taken back goes first");
    client.apply(&ops);
    let live: BTreeSet<_> = client.shown.keys().cloned().collect();
    assert_eq!(live, model.expect(stage));
    let world = World { actions: &stage.shelf, person: &stage.person, totals: &stage.totals, now: stage.now };
    for sub in stage.live.subscriptions() {
        let held: Vec<_> = stage.live.holdings(&sub.sub, &world).iter().map(|held| held.delivery_id).collect();
        let shown: BTreeSet<_> =
            client.shown.iter().filter(|((name, _), _)| *name == sub.sub.as_str()).map(|(_, id)| *id).collect();
        assert_eq!(held.iter().copied().collect::<BTreeSet<_>>(), shown);
    }
}

proptest! {
    #[test]
    fn the_client_always_has_what_is_due(
        actions in prop::collection::vec(an_action(), 1..5),
        steps in prop::collection::vec(a_step(), 1..40),
    ) {
        let mut stage = Stage::new(&actions);
        let mut client = Client::default();
        let mut model = Model { closed: BTreeSet::new() };
        apply(&mut stage, &mut client, &mut model, &Step::Subscribe(0, false, None));
        for step in &steps {
            if let Step::Pass(ms) = step {
                // Nothing is looked at but what says that its time has come.
                let then = stage.now.plus(*ms);
                while stage.live.deadline() <= then {
                    stage.now = stage.live.deadline();
                    let ripe = stage.live.ripe(stage.now);
                    look(&mut stage, &mut client, &mut model, Cause::Time, &ripe);
                    prop_assert!(stage.live.deadline() > stage.now);
                }
                stage.now = then;
            }
            let (cause, touched) = apply(&mut stage, &mut client, &mut model, step);
            look(&mut stage, &mut client, &mut model, cause, &touched);
        }
    }
}
