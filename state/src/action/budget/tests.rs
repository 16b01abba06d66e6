use super::*;
use crate::action::targeting::{Proof, Refusal};
use crate::action::testing::{APP, Someone, WEB, action, at, budget, try_budget, view};
use crate::action::{ActionDef, Claim, Full, TotalCaps};
use crate::ids::{ActionSlot, Moment, ProfileId, Seq};
use crate::time::DAY_MS;
use proptest::prelude::*;
use serde_json::json;

fn reacted(reaction: Reaction, channel: ChannelSlot) -> Reacted {
    Reacted::bare(ActionSlot(0), reaction, channel)
}

/// A person for whom one budget governs actions 0 and 1, and what they have spent of it.
fn someone(def: BudgetDef, log: &[(Reaction, ChannelSlot, &str)]) -> Someone {
    let mut spent = CapState::default();
    for (reaction, channel, t) in log {
        def.spend(&mut spent, &reacted(*reaction, *channel), at(t));
    }
    Someone { budgets: vec![(def, spent, vec![0, 1])], ..Someone::default() }
}

fn a_day(event: &str) -> Json {
    json!({"event": event, "count": 1, "within": 1})
}

#[test]
fn which_actions_are_governed() {
    let governs = |def: Json, tags: &[&str], slot: Option<&str>| budget(def).governs(tags.iter().copied(), slot);
    let quiet = json!({"start": "22:00", "end": "08:00"});
    assert!(governs(json!({"quietHours": quiet}), &[], None));
    let tagged = json!({"tags": ["a", "b"], "quietHours": quiet});
    assert!(governs(tagged.clone(), &["x", "b"], None));
    assert!(!governs(tagged.clone(), &["x"], Some("a")));
    assert!(!governs(tagged, &[], None));
    let slotted = json!({"slot": "hero", "quietHours": quiet});
    assert!(governs(slotted.clone(), &[], Some("hero")));
    assert!(!governs(slotted, &["hero"], None));
}

#[test]
fn what_is_refused_and_where() {
    let pointers = |json: Json| -> Vec<String> {
        try_budget(&json).unwrap_err().into_iter().map(|issue| format!("{} {}", issue.pointer, issue.code)).collect()
    };
    let invalid = |at: &str| vec![format!("/budgets/0{at} definition_invalid")];
    assert_eq!(pointers(json!({})), invalid(""));
    assert_eq!(pointers(json!({"event": "shown"})), invalid("/count"));
    assert_eq!(pointers(json!({"count": 3})), invalid("/event"));
    assert_eq!(pointers(json!({"event": "seen", "count": 3})), invalid("/event"));
    assert_eq!(pointers(json!({"event": "shown", "count": -1})), invalid("/count"));
    assert_eq!(pointers(json!({"event": "shown", "count": 1, "within": 1, "withinUnit": "fortnights"})), invalid("/withinUnit"));
    assert_eq!(pointers(json!({"event": "shown", "count": 100_001, "within": 1})), invalid("/count"));
    assert_eq!(pointers(json!({"tags": ["a"], "slot": "b", "event": "shown", "count": 1})), invalid("/slot"));
    assert_eq!(pointers(json!({"quietHours": {"start": "22:00"}})), invalid("/quietHours/end"));
    assert_eq!(pointers(json!({"quietHours": {"start": "25:00", "end": "08:00"}})), invalid("/quietHours/start"));
    assert_eq!(
        pointers(json!({"quietHours": {"start": "22:00", "end": "08:00", "weekdays": ["someday"]}})),
        invalid("/quietHours/weekdays/0")
    );
    assert!(try_budget(&json!({"event": "shown", "count": 0})).is_ok());
}

// As T-66, over two actions: what is shown of either counts, and both come again at the millisecond.
#[test]
fn a_budget_counts_over_actions_and_opens_by_itself() {
    let def: ActionDef = action(json!({}));
    let person = someone(
        budget(json!({"event": "shown", "count": 2, "within": 7})),
        &[(Reaction::Shown, WEB, "2024-03-01T10:00:00Z"), (Reaction::Shown, APP, "2024-03-02T10:00:00Z")],
    );
    let opens = at("2024-03-08T10:00:00Z");
    let decision = def.decide(&view(&person, at("2024-03-02T10:00:00Z")), true);
    assert_eq!((decision.blocked, decision.until), (Some(Reason::Budget(BudgetSlot(0))), opens));
    assert_eq!(decision.blocked.map(Reason::word), Some("budget"));
    assert!(!def.decide(&view(&person, opens.minus(1)), false).eligible);
    assert!(def.decide(&view(&person, opens), false).eligible);
    // Another action is not governed.
    let other = View { action: ActionSlot(2), ..view(&person, at("2024-03-02T10:00:00Z")) };
    assert!(def.decide(&other, false).eligible);
}

#[test]
fn channels_say_what_counts_and_what_is_held_back() {
    let def = action(json!({}));
    let mut app_only = a_day("shown");
    app_only["channels"] = json!(["app"]);
    let now = at("2024-03-01T10:00:00Z");
    let seen_on_web = someone(budget(app_only.clone()), &[(Reaction::Shown, WEB, "2024-03-01T09:00:00Z")]);
    assert!(def.decide(&View { channel: APP, ..view(&seen_on_web, now) }, false).eligible);
    let seen_in_app = someone(budget(app_only), &[(Reaction::Shown, APP, "2024-03-01T09:00:00Z")]);
    assert!(!def.decide(&View { channel: APP, ..view(&seen_in_app, now) }, false).eligible);
    assert!(def.decide(&view(&seen_in_app, now), false).eligible);
}

#[test]
fn a_delivery_does_not_end_itself_and_staging_does_not_count() {
    let def = action(json!({}));
    let mut person = someone(budget(a_day("delivered")), &[(Reaction::Delivered, WEB, "2024-03-01T09:00:00Z")]);
    let now = at("2024-03-01T10:00:00Z");
    assert!(def.decide(&view(&person, now), true).eligible);
    assert!(!def.decide(&view(&person, now), false).eligible);
    let tested = Reacted { test: true, ..reacted(Reaction::Delivered, WEB) };
    let (def, spent, _) = &mut person.budgets[0];
    *spent = CapState::default();
    assert!(!def.spend(spent, &tested, now));
    assert!(spent.is_empty());
    assert!(def.spend(spent, &reacted(Reaction::Delivered, WEB), now), "the last place");
    assert!(!def.spend(spent, &reacted(Reaction::Delivered, WEB), now), "it was used up before");
    assert!(!def.spend(spent, &reacted(Reaction::Shown, WEB), now));
}

// 22:00 to 08:00 in Berlin: UTC+1 until 2024-03-31T01:00Z, then UTC+2 until 2024-10-27T01:00Z.
#[test]
fn quiet_hours_overnight_and_across_clock_changes() {
    let def = action(json!({}));
    let person = someone(budget(json!({"quietHours": {"start": "22:00", "end": "08:00"}})), &[]);
    let told = |now: &str| {
        let decision = def.decide(&view(&person, at(now)), true);
        assert_eq!(decision.eligible, decision.blocked.is_none());
        (decision.blocked.map(Reason::word), decision.until)
    };
    assert_eq!(told("2024-03-01T20:59:59.999Z"), (None, at("2024-03-01T21:00:00Z")));
    assert_eq!(told("2024-03-01T21:00:00Z"), (Some("quiet_hours"), at("2024-03-02T07:00:00Z")));
    assert_eq!(told("2024-03-02T06:59:59.999Z"), (Some("quiet_hours"), at("2024-03-02T07:00:00Z")));
    assert_eq!(told("2024-03-02T07:00:00Z"), (None, at("2024-03-02T21:00:00Z")));
    // The night in which an hour is missing, and the one that has an hour twice.
    assert_eq!(told("2024-03-30T21:00:00Z"), (Some("quiet_hours"), at("2024-03-31T06:00:00Z")));
    assert_eq!(told("2024-10-26T20:00:00Z"), (Some("quiet_hours"), at("2024-10-27T07:00:00Z")));
}

#[test]
fn quiet_on_some_days() {
    let def = action(json!({}));
    // The night belongs to the day on which it begins: Friday's ends on Saturday morning.
    let friday = someone(budget(json!({"quietHours": {"start": "22:00", "end": "08:00", "weekdays": ["fri"]}})), &[]);
    let eligible = |person: &Someone, now: &str| def.decide(&view(person, at(now)), false).eligible;
    assert!(!eligible(&friday, "2024-03-02T06:00:00Z"), "Saturday 07:00");
    assert!(eligible(&friday, "2024-03-02T22:00:00Z"), "Saturday 23:00");
    // Start and end alike: the whole day.
    let sunday = someone(budget(json!({"quietHours": {"start": "00:00", "end": "00:00", "weekdays": [7]}})), &[]);
    assert!(eligible(&sunday, "2024-03-02T22:59:59Z"));
    assert!(!eligible(&sunday, "2024-03-02T23:00:00Z"));
    assert!(!eligible(&sunday, "2024-03-03T22:59:59Z"));
    assert!(eligible(&sunday, "2024-03-03T23:00:00Z"));
}

#[test]
fn used_up_and_quiet_at_once_opens_when_both_are_over() {
    let def = action(json!({}));
    let mut both = a_day("shown");
    both["quietHours"] = json!({"start": "22:00", "end": "08:00"});
    let person = someone(budget(both), &[(Reaction::Shown, WEB, "2024-03-01T20:00:00Z")]);
    let decision = def.decide(&view(&person, at("2024-03-01T23:00:00Z")), false);
    assert_eq!((decision.blocked.map(Reason::word), decision.until), (Some("budget"), at("2024-03-02T20:00:00Z")));
    let early = someone(person.budgets[0].0.clone(), &[(Reaction::Shown, WEB, "2024-03-01T01:00:00Z")]);
    let decision = def.decide(&view(&early, at("2024-03-01T23:00:00Z")), false);
    assert_eq!((decision.blocked.map(Reason::word), decision.until), (Some("budget"), at("2024-03-02T07:00:00Z")));
}

#[test]
fn reactions_are_asked_for_limits_on_their_kind_alone() {
    let def = action(json!({}));
    let night = at("2024-03-01T23:00:00Z");
    let quiet = someone(budget(json!({"quietHours": {"start": "22:00", "end": "08:00"}})), &[]);
    assert!(def.admit(Reaction::Accepted, &view(&quiet, night), Proof::default()).is_ok());
    for (kind, other) in [(Reaction::Accepted, Reaction::Shown), (Reaction::Shown, Reaction::Accepted)] {
        let word = super::super::reaction_word(kind);
        let person = someone(budget(a_day(word)), &[(kind, WEB, "2024-03-01T22:30:00Z")]);
        let admit = |reaction| def.admit(reaction, &view(&person, night), Proof { delivered: true, valid_at: None });
        assert_eq!(admit(kind), Err(Refusal::Budget));
        assert!(admit(other).is_ok());
        assert!(admit(Reaction::Declined).is_ok());
    }
    assert_eq!(Refusal::Budget.code(), "budget");
}

fn claim<'a>(action: u32, budgets: &'a [Spending<'a>], profile: u128, now: Millis) -> Claim<'a> {
    Claim {
        action: ActionSlot(action),
        caps: &[],
        profile: ProfileId(profile),
        user: None,
        budgets,
        reaction: Reaction::Accepted,
        channel: WEB,
        now,
    }
}

// Two acts on two actions of one budget, while the hook of the first is under way: the second waits for
// what becomes of it.
#[test]
fn acts_under_way_hold_their_place_across_actions() {
    let def = budget(a_day("accepted"));
    let (table, now) = (TotalCaps::default(), at("2024-03-01T10:00:00Z"));
    let mut spent = CapState::default();
    let budgets = |spent: &CapState| -> Vec<CapState> { vec![spent.clone()] };
    let fresh = budgets(&spent);
    let spending = [Spending { slot: BudgetSlot(4), name: "b", def: &def, spent: fresh.first() }];
    let first = table.reserve(&claim(0, &spending, 1, now)).unwrap();
    let refused = table.reserve(&claim(1, &spending, 1, now)).unwrap_err();
    assert_eq!(refused.full, Full::Budget(BudgetSlot(4)));
    let other = table.reserve(&claim(1, &spending, 2, now)).expect("somebody else's budget");
    table.release(first);
    let second = table.reserve(&claim(1, &spending, 1, now)).expect("given back");
    table.commit(&[], second, Moment { t: now, seq: Seq(1) }).unwrap();
    assert!(def.spend(&mut spent, &reacted(Reaction::Accepted, WEB), now));
    let used = budgets(&spent);
    let spending = [Spending { slot: BudgetSlot(4), name: "b", def: &def, spent: used.first() }];
    assert_eq!(table.reserve(&claim(0, &spending, 1, now)).unwrap_err().opens, now.plus(DAY_MS));
    assert!(table.reserve(&claim(0, &spending, 1, now.plus(DAY_MS))).is_ok());
    // Merged while under way: the place goes along, and comes back to whoever has it then.
    table.absorb(ProfileId(2), ProfileId(3));
    let none = [Spending { slot: BudgetSlot(4), name: "b", def: &def, spent: None }];
    assert!(table.reserve(&claim(0, &none, 3, now)).is_err());
    table.release(other);
    let place = table.reserve(&claim(0, &none, 3, now)).unwrap();
    // Forgotten, it is void after the time that a hook has.
    drop(place);
    table.expire(now.plus(super::super::HOLD_MS));
    assert!(table.reserve(&claim(1, &none, 3, now)).is_ok());
}

#[test]
fn a_delivery_holds_its_place_until_it_is_logged_or_lost() {
    use crate::action::Totals;
    let (table, now) = (TotalCaps::default(), Millis(1000));
    let slots = [BudgetSlot(1), BudgetSlot(2)];
    table.delivery_begins(ProfileId(1), 77, slots.into_iter(), now);
    table.delivery_begins(ProfileId(1), 78, std::iter::empty(), now);
    assert_eq!(table.held(ProfileId(1), BudgetSlot(2)).as_slice(), [now]);
    assert!(table.held(ProfileId(2), BudgetSlot(2)).is_empty());
    table.expire(now.plus(DAY_MS));
    table.absorb(ProfileId(1), ProfileId(9));
    assert_eq!(table.held(ProfileId(9), BudgetSlot(1)).as_slice(), [now]);
    assert_eq!(table.delivery_over(ProfileId(1), 77).as_slice(), slots);
    assert!(table.delivery_over(ProfileId(1), 77).is_empty());
    assert!(table.held(ProfileId(9), BudgetSlot(1)).is_empty());
}

proptest! {
    // What is logged and what is held, in any mixture, against plain counting; and `until` is the first
    // instant at which plain counting finds a place.
    #[test]
    fn open_is_plain_counting(
        logged in prop::collection::vec(0_i64..100, 0..8),
        held in prop::collection::vec(0_i64..100, 0..4),
        count in 0_u64..5,
        within in prop::option::of(1_i64..60),
        now in 0_i64..140,
    ) {
        let mut json = json!({"event": "delivered", "count": count});
        if let Some(within) = within {
            json["within"] = within.into();
            json["withinUnit"] = "seconds".into();
        }
        let def = budget(json);
        let mut spent = CapState::default();
        let second = |n: i64| Millis(n * 1000);
        let mut logged = logged;
        logged.retain(|t| *t <= now);
        let held: Vec<Millis> = held.into_iter().filter(|t| *t <= now).map(second).collect();
        for t in &logged {
            def.spend(&mut spent, &reacted(Reaction::Delivered, WEB), second(*t));
        }
        let spending = Spending { slot: BudgetSlot(0), name: "b", def: &def, spent: Some(&spent) };
        let limit = def.limit().unwrap();
        let taken = |now: Millis| {
            let young = |t: &&Millis| within.is_none_or(|within| now < t.plus(within * 1000));
            logged.iter().map(|t| second(*t)).collect::<Vec<_>>().iter().filter(young).count() as u64
                + held.iter().filter(young).count() as u64
        };
        let now = second(now);
        let open = spending.open(limit, &held, now);
        prop_assert_eq!(open.holds, taken(now) < count);
        prop_assert_eq!(spending.used(limit, &held, now).min(count), taken(now).min(count));
        if !open.holds {
            let opens = (0..200_000).map(|ms| now.plus(ms)).filter(|t| t.0 % 1000 == 0).find(|t| taken(*t) < count);
            prop_assert_eq!(open.until, opens.unwrap_or(Millis::MAX));
        }
    }
}
