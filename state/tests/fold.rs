//! F-1: whatever way a profile got its entries (in order, late, by merge, with timers firing in between),
//! its state equals the fold of its whole log.

use lodestone_state::action::Spending;
use lodestone_state::event::{Entry, EntryKind, Identified, Identity, Occurrence, Props, Reacted, Reaction};
use lodestone_state::ids::{ActionSlot, ChannelSlot, Millis, Moment, ProfileId, Seq};
use lodestone_state::machine::{self, Changes};
use lodestone_state::plan::{Catalog, CatalogDocument, Plan};
use lodestone_state::profile::{History, Profile, TailOnly};
use proptest::prelude::*;
use std::sync::Arc;

const CATALOG: &str = r#"{
  "organization": {"name": "Shop", "timezone": "Europe/Berlin"},
  "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
  "events": [
    {"name": "View", "description": "", "structure": [
      {"id": "product", "name": "product", "properties": {"key": "product", "type": "string"}},
      {"id": "price", "name": "price", "properties": {"key": "price", "type": "float"}}]},
    {"name": "Cart", "description": "", "structure": [
      {"id": "product", "name": "product", "properties": {"key": "product", "type": "string"}}]},
    {"name": "Buy", "description": "", "structure": [
      {"id": "amount", "name": "amount", "properties": {"key": "amount", "type": "float"}}]}],
  "customTraits": {"structure": [{"id": "age", "name": "age", "properties": {"key": "age", "type": "integer"}}]},
  "computedTraits": [
    {"name": "Views", "key": "views", "type": "count_events", "eventId": "View", "conditions": [], "properties": {}},
    {"name": "Views 1m", "key": "views1m", "type": "count_events", "eventId": "View", "conditions": [],
     "properties": {"window": {"amount": 1, "unit": "minutes"}}},
    {"name": "Spent", "key": "spent", "type": "aggregation", "eventId": "Buy", "conditions": [],
     "properties": {"property": "amount", "type": "float", "aggregationType": "sum"}},
    {"name": "Max 2m", "key": "max2m", "type": "aggregation", "eventId": "View", "conditions": [],
     "properties": {"property": "price", "type": "float", "aggregationType": "max", "window": {"amount": 2, "unit": "minutes"}}},
    {"name": "Last", "key": "last", "type": "last_event", "eventId": "View", "conditions": [],
     "properties": {"property": "product", "type": "string"}},
    {"name": "Favourite", "key": "favourite", "type": "most_frequent", "eventId": "View", "conditions": [],
     "properties": {"property": "product", "type": "string", "minFrequency": 2}},
    {"name": "Products", "key": "products", "type": "unique_list", "eventId": "View", "conditions": [],
     "properties": {"property": "product", "type": "string"}},
    {"name": "Topped", "key": "topped", "type": "count_events", "eventId": "View", "properties": {}, "conditions": [
      {"property": "price", "type": "float", "operator": "greater_than", "target": "computed_trait", "traitKey": "max2m"}]},
    {"name": "Guessed", "key": "guessed", "type": "count_events", "eventId": "View", "properties": {}, "conditions": [
      {"property": "price", "type": "float", "operator": "equals", "target": "computed_trait", "traitKey": "guessed"}]}],
  "audiences": [
    {"name": "Topper", "includeAnonymous": true, "traits": [], "events": [
      {"id": "View", "exclude": false, "operator": "more_or_exactly", "count": 2, "properties": [
        {"key": "price", "dataType": "float", "operator": "greater_than", "target": "computed_trait", "traitKey": "max2m"}]}]},
    {"name": "Lookers", "includeAnonymous": true, "events": [
      {"id": "View", "exclude": false, "operator": "more_or_exactly", "count": 2,
       "timeWindowOperator": "within", "timeWindowStart": 2, "timeWindowUnit": "minutes"}], "traits": []},
    {"name": "Never bought", "includeAnonymous": true, "events": [{"id": "Buy", "exclude": true}], "traits": []},
    {"name": "Known", "includeAnonymous": false, "events": [], "traits": []},
    {"name": "Grown up", "includeAnonymous": true, "events": [], "traits": [
      {"source": "custom", "key": "age", "dataType": "integer", "operator": "greater_than", "target": "static", "value": "17"}]},
    {"name": "Big", "includeAnonymous": true, "events": [], "traits": [
      {"source": "computed", "key": "views1m", "dataType": "integer", "operator": "greater_than", "target": "static", "value": "2"}]},
    {"name": "Funnel", "includeAnonymous": true, "events": [
      {"id": "View", "internalId": "00000000-0000-4000-8000-000000000001", "exclude": false, "operator": "more_or_exactly", "count": 1,
       "timeWindowOperator": "within", "timeWindowStart": 3, "timeWindowUnit": "minutes"},
      {"id": "Cart", "internalId": "00000000-0000-4000-8000-000000000002", "parentId": "00000000-0000-4000-8000-000000000001",
       "exclude": false, "operator": "more_or_exactly", "count": 1},
      {"id": "Buy", "internalId": "00000000-0000-4000-8000-000000000003", "parentId": "00000000-0000-4000-8000-000000000002",
       "exclude": false, "operator": "more_or_exactly", "count": 1}], "traits": []},
    {"name": "Abandoned", "includeAnonymous": true, "events": [
      {"id": "Cart", "internalId": "00000000-0000-4000-8000-000000000004", "exclude": false, "operator": "more_or_exactly", "count": 1},
      {"id": "Buy", "internalId": "00000000-0000-4000-8000-000000000005", "parentId": "00000000-0000-4000-8000-000000000004",
       "exclude": true, "forAtLeast": {"amount": 30, "unit": "seconds"}}], "traits": []}],
  "actionTypes": [{"name": "banner", "properties": []}],
  "actions": [
    {"name": "One", "type": "banner", "state": "active", "tags": ["a"], "targeting": {"channels": ["web"]},
     "capping": [{"event": "shown", "group": "user", "count": 2, "within": 1, "withinUnit": "minutes"}]},
    {"name": "Two", "type": "banner", "state": "active", "tags": ["a", "b"], "slot": "hero", "targeting": {"channels": ["web"]}},
    {"name": "Three", "type": "banner", "state": "inactive", "tags": [], "targeting": {"channels": ["app"]}}],
  "budgets": [
    {"name": "All", "event": "delivered", "count": 2, "within": 1, "withinUnit": "minutes"},
    {"name": "Tagged", "tags": ["b", "c"], "event": "shown", "count": 3},
    {"name": "Hero", "slot": "hero", "channels": ["web"], "event": "shown", "count": 1, "within": 30, "withinUnit": "seconds"},
    {"name": "Night", "quietHours": {"start": "22:00", "end": "08:00"}}]
}"#;

fn plan() -> Plan {
    let document = CatalogDocument::parse(CATALOG).expect("a document");
    let (catalog, _) = Catalog::default().apply(&document).unwrap_or_else(|issues| panic!("{issues:#?}"));
    Plan::compile(Arc::new(catalog)).expect("compiles")
}

#[derive(Clone, Debug)]
enum Step {
    Event { profile: usize, event: usize, product: u8, price: i32, late_ms: i64, pass_ms: i64 },
    Identify { profile: usize, age: i64, known: bool, pass_ms: i64 },
    React { profile: usize, action: u32, shown: bool, app: bool, pass_ms: i64 },
    Wait { ms: i64 },
    Merge,
}

fn step() -> impl Strategy<Value = Step> {
    let late = prop_oneof![4 => Just(0_i64), 2 => 0..200_000_i64];
    let event = (0..2_usize, 0..3_usize, 0..3_u8, -5..20_i32, late, 0..40_000_i64).prop_map(
        |(profile, event, product, price, late_ms, pass_ms)| Step::Event { profile, event, product, price, late_ms, pass_ms },
    );
    prop_oneof![
        12 => event,
        1 => (0..2_usize, 10..30_i64, any::<bool>(), 0..5_000_i64).prop_map(|(profile, age, known, pass_ms)| Step::Identify { profile, age, known, pass_ms }),
        3 => (0..2_usize, 0..3_u32, any::<bool>(), any::<bool>(), 0..20_000_i64)
            .prop_map(|(profile, action, shown, app, pass_ms)| Step::React { profile, action, shown, app, pass_ms }),
        2 => (0..200_000_i64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Merge),
    ]
}

struct World {
    plan: Plan,
    profiles: Vec<Profile>,
    now: i64,
    seq: u64,
}

const START: i64 = 1_700_000_000_000;

impl World {
    fn new(plan: Plan) -> Self {
        let mut world = Self { profiles: Vec::new(), now: START, seq: 0, plan };
        for id in 1..=2 {
            let mut profile = Profile::new(ProfileId(id), Millis(START), world.plan.generation);
            machine::born(&world.plan, &mut profile, Millis(START), &mut Changes::default());
            world.profiles.push(profile);
        }
        world
    }

    fn entry(&mut self, profile: usize, t: i64, kind: EntryKind) -> Entry {
        self.seq += 1;
        let moment = Moment { t: Millis(t), seq: Seq(self.seq) };
        Entry { moment, at: Millis(self.now), user_id: format!("u{profile}").into(), message_id: None, id: 0, kind }
    }

    fn apply(&mut self, profile: usize, entry: Entry) {
        let at = profile.min(self.profiles.len() - 1);
        machine::apply(&self.plan, &mut self.profiles[at], entry, &mut TailOnly, &mut Changes::default());
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Event { profile, event, product, price, late_ms, pass_ms } => {
                self.now += pass_ms;
                let name = ["View", "Cart", "Buy"][event];
                let def = self.plan.event_by_name(name).expect("an event");
                let product = ["a", "b", "c"][usize::from(product)];
                let json = match event {
                    0 => format!(r#"{{"product":"{product}","price":{price}}}"#),
                    1 => format!(r#"{{"product":"{product}"}}"#),
                    _ => format!(r#"{{"amount":{price}.25}}"#),
                };
                let props = def.schema.validate(&json, &self.plan.zone).expect("valid");
                let occurrence = Occurrence {
                    event: def.slot,
                    version: 1,
                    channel: ChannelSlot(0),
                    props,
                    context: Props::default(),
                    chain: Box::default(),
                };
                let t = (self.now - late_ms).max(START);
                let entry = self.entry(profile, t, EntryKind::Event(occurrence));
                self.apply(profile, entry);
            }
            Step::Identify { profile, age, known, pass_ms } => {
                self.now += pass_ms;
                let schema = self.plan.custom_schema().expect("custom traits");
                let custom = schema.validate(&format!(r#"{{"age":{age}}}"#), &self.plan.zone).expect("valid");
                let identity = Identity {
                    channel: ChannelSlot(0),
                    kind: "user_id".into(),
                    user_id: format!("u{profile}").into(),
                    is_anonymous: !known,
                    created_at: Millis(self.now),
                };
                let identified = Identified { identities: vec![identity], custom: Some(custom), ..Identified::default() };
                let entry = self.entry(profile, self.now, EntryKind::Identified(identified));
                self.apply(profile, entry);
            }
            Step::React { profile, action, shown, app, pass_ms } => {
                self.now += pass_ms;
                let reaction = if shown { Reaction::Shown } else { Reaction::Delivered };
                let reacted = Reacted::bare(ActionSlot(action), reaction, ChannelSlot(u16::from(app)));
                let entry = self.entry(profile, self.now, EntryKind::Reacted(reacted));
                self.apply(profile, entry);
            }
            Step::Wait { ms } => {
                self.now += ms;
                for profile in &mut self.profiles {
                    machine::advance(&self.plan, profile, Millis(self.now), &mut TailOnly, &mut Changes::default());
                }
            }
            Step::Merge => {
                if self.profiles.len() < 2 {
                    return;
                }
                let follower = self.profiles.pop().expect("two");
                let custom = if self.profiles[0].core.custom.is_empty() {
                    follower.core.custom.clone()
                } else {
                    self.profiles[0].core.custom.clone()
                };
                let absorbed = vec![follower.absorbed_by(self.profiles[0].core.id)];
                let own = Some(self.profiles[0].core.custom.clone());
                machine::absorb(
                    &self.plan,
                    &mut self.profiles[0],
                    vec![follower],
                    Millis(self.now),
                    &mut TailOnly,
                    &mut Changes::default(),
                );
                let identified = Identified { identities: Vec::new(), custom: Some(custom), absorbed, own };
                let entry = self.entry(0, self.now, EntryKind::Identified(identified));
                self.apply(0, entry);
            }
        }
    }

    /// Live state against the fold of the log: every value, every membership, every deadline.
    fn check(&mut self) -> Result<(), TestCaseError> {
        for profile in &mut self.profiles {
            machine::advance(&self.plan, profile, Millis(self.now), &mut TailOnly, &mut Changes::default());
            let entries = TailOnly.load(profile);
            let fold = machine::fold(&self.plan, profile.core.id, &entries, Millis(self.now));
            prop_assert_eq!(&profile.core.caps, &fold.core.caps, "caps");
            prop_assert_eq!(&profile.core.budgets, &fold.core.budgets, "budgets");
            for plan in self.plan.traits.iter().flatten() {
                let live = machine::trait_value(&self.plan, profile, plan.slot);
                prop_assert_eq!(live, machine::trait_value(&self.plan, &fold, plan.slot), "trait {}", plan.key);
            }
            for plan in self.plan.audiences.iter().flatten() {
                // Who is known is an outcome of identify, which the fold of this test's log has too.
                let live = profile.member_since(plan.slot).is_some();
                prop_assert_eq!(live, fold.member_since(plan.slot).is_some(), "audience {}", plan.name);
            }
            let mut derived = profile.clone();
            machine::rebuild(&self.plan, &mut derived, true, &mut TailOnly, &mut Changes::default());
            prop_assert_eq!(machine::differences(&self.plan, profile, &mut derived, &[]), []);
        }
        self.budgets_by_counting()
    }

    /// What is left of every budget, against plain counting over the log.
    fn budgets_by_counting(&self) -> Result<(), TestCaseError> {
        let governs = |budget: &str, action: u32| match budget {
            "Tagged" | "Hero" => action == 1,
            _ => true,
        };
        for profile in &self.profiles {
            let log = TailOnly.load(profile);
            for plan in self.plan.budgets.iter().flatten() {
                let Some(limit) = plan.def.limit() else { continue };
                let counts = |entry: &&Entry| match &entry.kind {
                    EntryKind::Reacted(reacted) => {
                        governs(&plan.name, reacted.action.0)
                            && reacted.reaction == limit.reaction
                            && (limit.channels.is_empty() || limit.channels.contains(&reacted.channel))
                            && limit.within_ms.is_none_or(|within| self.now < entry.moment.t.0 + within)
                    }
                    _ => false,
                };
                let used = log.iter().filter(counts).count() as u64;
                let spending =
                    Spending { slot: plan.slot, name: &plan.name, def: &plan.def, spent: profile.core.budgets.get(plan.slot.0) };
                let open = spending.open(limit, &[], Millis(self.now));
                prop_assert_eq!(open.holds, used < limit.count, "budget {}", plan.name);
            }
        }
        Ok(())
    }
}

/// Section 1.3: an event is compared with what the profile had just before it. Not with what another trait has
/// made of that event already, nor with what time has done since.
#[test]
fn events_are_compared_with_what_was_just_before_them() {
    let seen = |views: &[(i32, i64)], keys: [&str; 2]| {
        let mut world = World::new(plan());
        world.now = START + 600_000;
        for &(price, t) in views {
            let late_ms = world.now - START - t;
            world.step(&Step::Event { profile: 0, event: 0, product: 0, price, late_ms, pass_ms: 0 });
        }
        world.check().expect("the fold of its log");
        let topper = world.plan.audiences.iter().flatten().find(|known| known.name == "Topper").expect("an audience");
        let values = keys.map(|key| {
            let known = world.plan.traits.iter().flatten().find(|known| known.key == key).expect("a trait");
            machine::trait_value(&world.plan, &world.profiles[0], known.slot)
        });
        (values, world.profiles[0].member_since(topper.slot).is_some())
    };
    let count = |n: i64| Some(lodestone_state::value::Value::Int(n));
    // 7 tops the 5 before it, 7 does not top 7, 9 does. Of 0, 0, 1 the first and the last guess what is counted.
    assert_eq!(
        seen(&[(5, 599_997), (7, 599_998), (7, 599_999), (9, 600_000)], ["topped", "views"]),
        ([count(2), count(4)], true)
    );
    assert_eq!(seen(&[(0, 599_998), (0, 599_999), (1, 600_000)], ["guessed", "views"]), ([count(2), count(3)], false));
    // Everything arrives long after, in order: when 3 was seen the 9 had left its two minutes, when 4 was the 3 had not.
    let late = [(9, 0), (3, 120_000), (4, 140_000), (2, 150_000), (5, 200_000)];
    assert_eq!(seen(&late, ["topped", "max2m"]), ([count(2), None], true));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// T-22, T-28, T-34, T-53 to T-55, T-68, T-96: late, expired, merged, in any order: equal to the fold.
    #[test]
    fn live_state_is_the_fold_of_the_log(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(plan());
        for step in &steps {
            world.step(step);
            world.check()?;
        }
    }
}
