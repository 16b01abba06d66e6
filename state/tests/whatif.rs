//! People who come, get an action and react, decided one by one as a server decides: a what-if of the same
//! action finds the same deliveries, and a replay finds nothing that could not have been.

use lodestone_state::action::{Cap, Group, Proof, TotalCaps, Totals, View, reaction_of_word};
use lodestone_state::event::{Entry, EntryKind, Occurrence, Props, Reacted, Reaction};
use lodestone_state::expr::Truth;
use lodestone_state::ids::{ActionSlot, ChannelSlot, EventSlot, Millis, Moment, ProfileId, Seq};
use lodestone_state::machine::{self, Changes, ProfileFacts, ProfilePerson, arrivals, fold_watched};
use lodestone_state::plan::{Catalog, CatalogDocument, Plan};
use lodestone_state::profile::{Profile, TailOnly};
use lodestone_state::replay::{Decisions, Doubts, Found, PastTotals, Setting, Upto};
use lodestone_state::whatif::{Ask, Contest, Happening, Opportunities, SESSION_MS, Shown};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

const MINUTE: i64 = 60_000;
/// 2024-03-31T00:30:00Z: half an hour before the clocks of Berlin change.
const START: i64 = 1_711_845_000_000;
const PEOPLE: u128 = 4;
/// The action that is asked about, and one that shares its budgets.
const ASKED: ActionSlot = ActionSlot(0);
const OTHER: ActionSlot = ActionSlot(1);

/// What a definition asks for: event, group, count, and a window in minutes.
type CapSpec = (&'static str, &'static str, u32, u32);

#[derive(Clone, Debug)]
struct Spec {
    caps: Vec<CapSpec>,
    hours: Option<(u8, u8)>,
    lookers: bool,
    budget: Option<(&'static str, u32)>,
    quiet: bool,
    holdout: u8,
    momentary: bool,
}

fn a_spec() -> impl Strategy<Value = Spec> {
    let event = prop::sample::select(vec!["delivered", "shown", "accepted", "hidden"]);
    let group = prop::sample::select(vec!["user", "all"]);
    let cap = (event, group, 1_u32..5, prop::sample::select(vec![0_u32, 45, 240]));
    let budget = prop::option::of((prop::sample::select(vec!["delivered", "shown"]), 1_u32..4));
    let hours = prop::option::of((0_u8..24, 0_u8..24));
    (prop::collection::vec(cap, 0..4), hours, any::<bool>(), budget, any::<bool>(), 0_u8..60, prop::bool::weighted(0.2)).prop_map(
        |(caps, hours, lookers, budget, quiet, holdout, momentary)| Spec {
            caps,
            hours,
            lookers,
            budget,
            quiet,
            holdout,
            momentary,
        },
    )
}

fn plan(spec: &Spec) -> Plan {
    let cap = |(event, group, count, minutes): &CapSpec| json!({"event": event, "group": group, "count": count, "within": minutes, "withinUnit": "minutes"});
    let mut targeting = json!({"channels": ["web", "app"]});
    if let Some((start, end)) = spec.hours {
        targeting["start"] = json!({"time": format!("{start:02}:00")});
        targeting["end"] = json!({"time": format!("{end:02}:30")});
    }
    if spec.lookers {
        targeting["audiences"] = json!(["lookers"]);
    }
    if spec.momentary {
        targeting["onEvent"] = json!(["Buy"]);
    }
    let action = |name: &str, targeting: Value, capping: Vec<Value>| json!({"name": name, "type": "banner", "state": "active", "tags": [name], "properties": [], "targeting": targeting, "capping": capping});
    let mut budgets: Vec<Value> = Vec::new();
    budgets.extend(
        spec.budget
            .map(|(event, count)| json!({"name": "All", "event": event, "count": count, "within": 90, "withinUnit": "minutes"})),
    );
    budgets.extend(spec.quiet.then(|| json!({"name": "Night", "quietHours": {"start": "04:00", "end": "06:00"}})));
    let document = json!({
        "organization": {"name": "Shop", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
        "events": [{"name": "View", "structure": []}, {"name": "Buy", "structure": []}],
        "audiences": [{"name": "Lookers", "key": "lookers", "includeAnonymous": true, "traits": [], "events": [
            {"id": "View", "operator": "more_or_exactly", "count": 2,
             "timeWindowOperator": "within", "timeWindowEnd": 50, "timeWindowUnit": "minutes"}]}],
        "actionTypes": [{"name": "banner", "properties": []}],
        "actions": [
            action("Asked", targeting, spec.caps.iter().map(cap).collect()),
            action("Other", json!({"channels": ["web", "app"]}), Vec::new())],
        "budgets": budgets,
        "goals": [{"key": "buy", "name": "Buy", "eventId": "Buy"}],
        "experiments": [{"key": "trial", "name": "Trial", "actions": ["Asked"], "holdout": spec.holdout, "goal": "buy", "state": "running",
            "variants": [{"key": "a"}, {"key": "b"}]}],
    });
    let document = CatalogDocument::from_json(&document).expect("a document");
    let (catalog, _) = Catalog::default().apply(&document).unwrap_or_else(|issues| panic!("{issues:#?}"));
    Plan::compile(Arc::new(catalog)).unwrap_or_else(|issues| panic!("{issues:#?}"))
}

/// Somebody comes: who, after how many minutes, where, by which event, and what they do with what they get.
#[derive(Clone, Debug)]
struct Visit {
    who: u128,
    after: i64,
    channel: u16,
    event: u32,
    reactions: Vec<&'static str>,
    other: bool,
}

fn a_visit() -> impl Strategy<Value = Visit> {
    let reactions = prop::collection::vec(prop::sample::select(vec!["shown", "accepted", "hidden", "declined"]), 0..3);
    (1..=PEOPLE, 0_i64..25, 0_u16..2, 0_u32..2, reactions, prop::bool::weighted(0.3))
        .prop_map(|(who, after, channel, event, reactions, other)| Visit { who, after, channel, event, reactions, other })
}

/// A server in small: profiles by their logs, totals, and what was delivered.
struct Live<'a> {
    plan: &'a Plan,
    people: BTreeMap<ProfileId, Profile>,
    totals: TotalCaps,
    /// Each person's last event in a channel, and whether the session has got it.
    sessions: HashMap<(ProfileId, ChannelSlot), (Millis, bool)>,
    seq: u64,
    now: Millis,
    delivered: Vec<(ProfileId, Millis, ChannelSlot)>,
    /// What total caps said, before which log position and when.
    said: Vec<(Seq, Millis, Cap, Truth)>,
}

impl<'a> Live<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            people: BTreeMap::new(),
            totals: TotalCaps::default(),
            sessions: HashMap::new(),
            seq: 0,
            now: Millis(START),
            delivered: Vec::new(),
            said: Vec::new(),
        }
    }

    /// What everybody reacted.
    fn past(&self) -> PastTotals {
        let log = self.people.values().flat_map(|profile| &profile.tail);
        let reactions = log.filter_map(|entry| match &entry.kind {
            EntryKind::Reacted(reacted) => Some((entry.moment, reacted.clone())),
            _ => None,
        });
        PastTotals::new(self.plan, reactions.collect())
    }

    fn apply(&mut self, id: ProfileId, kind: EntryKind) {
        self.seq += 1;
        let moment = Moment { t: self.now, seq: Seq(self.seq) };
        if let EntryKind::Reacted(reacted) = &kind {
            let caps = &self.plan.action_plan(reacted.action).expect("an action").def.caps;
            self.totals.count(caps, reacted, moment);
        }
        let profile = self.people.entry(id).or_insert_with(|| {
            let mut profile = Profile::new(id, self.now, self.plan.generation);
            machine::born(self.plan, &mut profile, self.now, &mut Changes::default());
            profile
        });
        let entry =
            Entry { moment, at: self.now, user_id: format!("u{}", id.0).into(), message_id: None, id: self.seq.into(), kind };
        machine::apply(self.plan, profile, entry, &mut TailOnly, &mut Changes::default());
    }

    fn react(&mut self, id: ProfileId, action: ActionSlot, reaction: Reaction, channel: ChannelSlot) {
        self.apply(id, EntryKind::Reacted(Reacted::bare(action, reaction, channel)));
    }

    fn asked<T>(
        &mut self,
        id: ProfileId,
        slot: ActionSlot,
        channel: ChannelSlot,
        ask: impl FnOnce(&lodestone_state::action::ActionDef, &View<'_>) -> T,
    ) -> T {
        let action = self.plan.action_plan(slot).expect("the action");
        for cap in action.def.caps.iter().filter(|cap| cap.group == Group::All) {
            self.said.push((Seq(self.seq + 1), self.now, cap.clone(), self.totals.open(slot, cap, self.now)));
        }
        let person = ProfilePerson(ProfileFacts::of(self.plan, &self.people[&id]));
        let view = View { action: slot, channel, now: self.now, person: &person, context: None, totals: &self.totals };
        ask(&action.def, &view)
    }

    fn visit(&mut self, visit: &Visit) {
        self.now = self.now.plus(visit.after * MINUTE);
        let (id, channel, event) = (ProfileId(visit.who), ChannelSlot(visit.channel), EventSlot(visit.event));
        let occurrence =
            Occurrence { event, version: 1, channel, props: Props::default(), context: Props::default(), chain: Box::default() };
        self.apply(id, EntryKind::Event(occurrence));
        let (last, had) = self.sessions.get(&(id, channel)).copied().unwrap_or((self.now, false));
        let mut had = had && self.now < last.plus(SESSION_MS);
        let moment = self.plan.action_plan(ASKED).is_some_and(|a| a.def.on_event.is_empty() || a.def.on_event.contains(&event));
        if !had && moment && self.asked(id, ASKED, channel, |def, view| def.decide(view, false)).eligible {
            had = true;
            self.delivered.push((id, self.now, channel));
            self.react(id, ASKED, Reaction::Delivered, channel);
        }
        self.sessions.insert((id, channel), (self.now, had));
        if had {
            visit
                .reactions
                .iter()
                .filter_map(|word| reaction_of_word(word))
                .for_each(|reaction| self.act(id, ASKED, reaction, channel));
        }
        if visit.other && self.asked(id, OTHER, channel, |def, view| def.decide(view, false)).eligible {
            self.react(id, OTHER, Reaction::Delivered, channel);
            self.act(id, OTHER, Reaction::Shown, channel);
        }
    }

    /// A reaction, if it is admitted.
    fn act(&mut self, id: ProfileId, action: ActionSlot, reaction: Reaction, channel: ChannelSlot) {
        let proof = Proof { delivered: true, valid_at: None };
        if self.asked(id, action, channel, |def, view| def.admit(reaction, view, proof)).is_ok() {
            self.react(id, action, reaction, channel);
        }
    }
}

fn what_if(live: &Live<'_>, from: Millis) -> Vec<(ProfileId, Millis, ChannelSlot)> {
    let channels = vec![ChannelSlot(0), ChannelSlot(1)];
    let ask = Ask { plan: live.plan, action: ASKED, channels, from, to: live.now.plus(1) };
    let mut happenings: Vec<(ProfileId, Happening)> = Vec::new();
    for (id, profile) in &live.people {
        let mut watch = Opportunities::new(&ask, *id);
        fold_watched(live.plan, *id, &profile.tail, live.now, &mut watch);
        happenings.extend(watch.found().happenings.into_iter().map(|happening| (*id, happening)));
    }
    happenings.sort_by_key(|(_, happening)| happening.moment);
    let mut contest = Contest::new(&ask, Shown::Logged, usize::MAX).expect("the action");
    happenings.iter().for_each(|(id, happening)| contest.take(*id, happening));
    contest.outcome().deliveries.into_iter().map(|one| (one.profile, one.at, one.channel)).collect()
}

fn replayed(live: &Live<'_>, past: &PastTotals) -> (Found, Vec<(u64, [u8; 32])>) {
    let changed = HashMap::new();
    let setting = Setting { from: Millis(START), to: live.now.plus(1), past, changed: &changed };
    let doubts = Doubts::default();
    let (mut found, mut hashes) = (Found::default(), Vec::new());
    for (id, profile) in &live.people {
        let log = profile.tail.iter().map(|entry| (*id, entry.clone())).collect();
        let born = (*id, profile.core.born);
        for decisions in
            arrivals(live.plan, log, born, live.now.plus(1), |id| Decisions::new(id, &setting, &doubts)).into_values()
        {
            hashes.push(decisions.hash());
            found.add(decisions.found());
        }
    }
    (found, hashes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_was_decided_one_by_one_is_found_again(
        spec in a_spec(), visits in prop::collection::vec(a_visit(), 1..80), part in 0_usize..80,
    ) {
        let plan = plan(&spec);
        let mut live = Live::new(&plan);
        let mut middle = Millis(START);
        for (at, visit) in visits.iter().enumerate() {
            live.visit(visit);
            middle = if at < part { live.now.plus(1) } else { middle };
        }
        prop_assert_eq!(&what_if(&live, Millis(START)), &live.delivered);
        let later: Vec<_> = live.delivered.iter().copied().filter(|(_, at, _)| *at >= middle).collect();
        prop_assert_eq!(what_if(&live, middle), later, "from the middle on");

        let past = live.past();
        for (seq, now, cap, said) in &live.said {
            prop_assert_eq!(past.upto(Upto::Seq(*seq)).open(ASKED, cap, *now), *said);
        }
        let (found, hashes) = replayed(&live, &past);
        prop_assert_eq!((found.mismatches, found.unknown.len()), (0, 0), "{:?}", found.kept);
        prop_assert_eq!(replayed(&live, &past).1, hashes);
    }
}

/// The property would hold of people who never get anything, too: they do get it, and caps matter.
#[test]
fn the_model_delivers_and_caps_hold_back() {
    let free = Spec { caps: Vec::new(), hours: None, lookers: false, budget: None, quiet: false, holdout: 0, momentary: false };
    let capped = Spec { caps: vec![("delivered", "all", 3, 0)], ..free.clone() };
    let visit = |who| Visit { who, after: 20, channel: 0, event: 0, reactions: vec!["accepted"], other: false };
    let delivered = |spec: &Spec| {
        let plan = plan(spec);
        let mut live = Live::new(&plan);
        (0..3).for_each(|_| (1..=PEOPLE).for_each(|who| live.visit(&visit(who))));
        live.delivered.len()
    };
    assert_eq!((delivered(&free), delivered(&capped)), (12, 3));
}

/// Reactions that nobody decided are found: a delivery at night, an accept of what was used up.
#[test]
fn a_replay_finds_what_was_not_decided() {
    let spec = Spec {
        caps: vec![("accepted", "all", 1, 0)],
        hours: Some((4, 22)),
        lookers: false,
        budget: None,
        quiet: false,
        holdout: 0,
        momentary: false,
    };
    let plan = plan(&spec);
    let mut live = Live::new(&plan);
    let visit = |who, after| Visit { who, after, channel: 0, event: 0, reactions: Vec::new(), other: false };
    live.visit(&visit(1, 0));
    assert_eq!(live.delivered, [], "it is half past two");
    live.react(ProfileId(1), ASKED, Reaction::Delivered, ChannelSlot(0));
    live.visit(&visit(1, 180));
    live.visit(&visit(2, 5));
    assert_eq!(live.delivered.len(), 2);
    for who in [1, 2] {
        live.react(ProfileId(who), ASKED, Reaction::Accepted, ChannelSlot(0));
    }
    let (found, _) = replayed(&live, &live.past());
    let told = found.kept.iter().map(|misfit| (misfit.profile.0, misfit.reaction, misfit.reason.as_str()));
    let wanted = [(1, Reaction::Delivered, "Time Range"), (2, Reaction::Accepted, "capped")];
    assert_eq!((found.compared, found.mismatches, told.collect::<Vec<_>>()), (5, 2, wanted.to_vec()));
}
