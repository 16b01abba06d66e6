use super::*;
use crate::action::push::Filter;
use crate::action::testing::{APP, BUYERS, Someone, WEB, action, at, context, view};
use crate::action::{Claim, TotalCaps};
use crate::ids::{Moment, ProfileId, Seq};
use crate::time::DAY_MS;
use serde_json::{Value as Json, json};

const NOW: Millis = Millis(1_709_287_200_000); // 2024-03-01T10:00:00Z

fn targeting(targeting: Json) -> ActionDef {
    action(json!({ "targeting": targeting }))
}

fn age_over_18() -> Json {
    json!([{"source": "custom", "key": "age", "type": "integer", "operator": "greater_than", "value": 18}])
}

fn adult() -> Someone {
    let mut someone = Someone { ids: vec!["u1", "anon-1"], ..Someone::default() };
    someone.custom.insert("age", 30.into());
    someone
}

#[track_caller]
fn blocked(def: &ActionDef, view: &View<'_>, reason: impl Into<Option<Reason>>) {
    let reason = reason.into();
    let decision = def.decide(view, false);
    assert_eq!((decision.eligible, decision.blocked), (reason.is_none(), reason));
}

// T-62: all requested tags must be on the action.
#[test]
fn t62_tags_type_and_version() {
    let def = action(json!({"tags": ["home", "top"]}));
    let tags = |tags: &[&str]| Filter { tags: tags.iter().map(|tag| (*tag).into()).collect(), ..Filter::default() };
    assert!(tags(&["home"]).matches(&def) && !tags(&["home", "x"]).matches(&def) && tags(&[]).matches(&def));
    let kind = |name: &str, version| Filter { type_name: Some(name.into()), version, ..Filter::default() };
    assert!(kind("notification", None).matches(&def) && kind("notification", Some(1)).matches(&def));
    assert!(!kind("notification", Some(2)).matches(&def) && !kind("Notification", None).matches(&def));
}

#[test]
fn state_and_channel_come_first() {
    let someone = Someone::default();
    let view = view(&someone, NOW);
    blocked(&action(json!({})), &view, None);
    blocked(&action(json!({"state": "inactive"})), &view, Reason::State);
    blocked(&targeting(json!({"channels": []})), &view, Reason::Channel);
    blocked(&targeting(json!({"channels": ["app"]})), &view, Reason::Channel);
    blocked(&targeting(json!({"channels": ["gone"]})), &view, Reason::Channel);
}

// T-57: any of the audiences; none named is no restriction; a deleted one matches nobody.
#[test]
fn t57_audiences() {
    let stranger = Someone::default();
    let buyer = Someone { member_of: vec![BUYERS], ..Someone::default() };
    let both = targeting(json!({"audiences": ["vips", "buyers"]}));
    blocked(&both, &view(&buyer, NOW), None);
    blocked(&both, &view(&stranger, NOW), Reason::Audience);
    blocked(&targeting(json!({"audiences": []})), &view(&stranger, NOW), None);
    blocked(&targeting(json!({"audiences": ["deleted"]})), &view(&buyer, NOW), Reason::Audience);
}

// T-2: in action targeting a missing key does not exist, a null does not either, false does.
#[test]
fn t2_not_exists() {
    let def =
        targeting(json!({"traitConditions": [{"source": "custom", "key": "vip", "type": "boolean", "operator": "not_exists"}]}));
    let mut someone = Someone::default();
    blocked(&def, &view(&someone, NOW), None);
    someone.custom.insert("vip", Value::Null);
    blocked(&def, &view(&someone, NOW), None);
    someone.custom.insert("vip", false.into());
    blocked(&def, &view(&someone, NOW), Reason::Traits);
}

#[test]
fn traits_and_relative_dates() {
    let def = targeting(json!({"traitConditions": [
        {"source": "custom", "key": "d", "type": "dateTime", "operator": "within_last_days", "value": "7"},
        {"source": "computed", "key": "revenue", "type": "float", "operator": "greater_than_or_equal", "value": 100}]}));
    let mut someone = Someone::default();
    someone.custom.insert("d", Value::Time(NOW));
    someone.computed.insert("revenue", 100.0.into());
    let decision = def.decide(&view(&someone, NOW), false);
    assert_eq!(decision, Decision { eligible: true, until: NOW.plus(7 * DAY_MS), blocked: None });
    blocked(&def, &view(&someone, NOW.plus(7 * DAY_MS)), Reason::Traits);
    // Before the date: it will hold from then on.
    assert_eq!(def.decide(&view(&someone, NOW.minus(5)), false).until, NOW);
}

#[test]
fn context_conditions_are_those_of_this_channel() {
    let clause =
        |channel: &str| json!({"channel": channel, "key": "page", "type": "string", "operator": "starts_with", "value": "/cart"});
    let cart = context(&[("page", "/cart/1".into())]);
    let someone = Someone::default();
    let on = |channel, context| View { channel, context, ..view(&someone, NOW) };
    let web = targeting(json!({"contextConditions": [clause("web")]}));
    blocked(&web, &on(WEB, Some(&cart)), None);
    blocked(&web, &on(WEB, None), Reason::Context);
    blocked(&web, &on(APP, None), None);
    // a condition that names no channel is asked in every channel, and not skipped.
    let mut old = clause("");
    old.as_object_mut().unwrap().remove("channel");
    let both = targeting(json!({"contextConditions": [old]}));
    blocked(&both, &on(WEB, Some(&cart)), None);
    blocked(&both, &on(APP, None), Reason::Context);
}

// T-63: in staging only test users see it; any identity counts; skipTargeting skips caps too, and the
// reaction is marked so that no total moves.
#[test]
fn t63_test_users() {
    let def = action(json!({"state": "staging", "targeting": {"traitConditions": age_over_18()},
        "capping": [{"event": "accepted", "group": "all", "count": 0}],
        "testUsers": [
            {"userId": "u1", "channels": ["web"], "skipTargeting": true},
            {"userId": "u1", "channels": ["web", "app"]},
            {"userId": "u2", "channels": []}]}));
    let child = Someone { ids: vec!["anon-9", "u1"], ..Someone::default() };
    let web = view(&child, NOW);
    blocked(&def, &web, None);
    assert_eq!(def.admit(Reaction::Accepted, &web, Proof::default()), Ok(Admitted { test: true }));
    assert_eq!(def.admit(Reaction::Shown, &web, Proof::default()), Ok(Admitted { test: true }));
    // In the app no entry skips targeting.
    blocked(&def, &View { channel: APP, ..web }, Reason::Traits);
    let grown = Someone { ids: vec!["u1"], ..adult() };
    blocked(&def, &View { channel: APP, ..view(&grown, NOW) }, Reason::Capped { group: Group::All });
    let other = Someone { ids: vec!["u2"], ..adult() };
    blocked(&def, &view(&other, NOW), Reason::TestUser);
    assert_eq!(def.admit(Reaction::Accepted, &view(&other, NOW), Proof::default()), Err(Refusal::NotTestUser));
    // Test users mean nothing once it is active.
    let live = action(
        json!({"targeting": {"traitConditions": age_over_18()}, "testUsers": [{"userId": "u1", "channels": ["web"], "skipTargeting": true}]}),
    );
    blocked(&live, &web, Reason::Traits);
}

// 4.4: one code per clause, and accept asks everything but caps on other kinds.
#[test]
fn accept_has_a_code_for_each_clause() {
    let accept = |def: &ActionDef, view: &View<'_>| def.admit(Reaction::Accepted, view, Proof::default()).map_err(Refusal::code);
    let (child, grown) = (Someone::default(), adult());
    let web = view(&child, NOW);
    assert_eq!(accept(&action(json!({"state": "inactive"})), &web), Err("inactive"));
    assert_eq!(accept(&targeting(json!({"channels": ["app"]})), &web), Err("wrong_channel"));
    assert_eq!(accept(&action(json!({"state": "staging"})), &web), Err("not_test_user"));
    assert_eq!(accept(&targeting(json!({"end": {"date": "2024-02-29"}})), &web), Err("wrong_time"));
    assert_eq!(accept(&targeting(json!({"audiences": ["buyers"]})), &web), Err("not_in_audience"));
    assert_eq!(accept(&targeting(json!({"traitConditions": age_over_18()})), &web), Err("wrong_traits"));
    let page = json!([{"channel": "web", "key": "page", "type": "string", "operator": "exists"}]);
    assert_eq!(accept(&targeting(json!({"contextConditions": page})), &web), Err("wrong_context"));
    let capped = |event: &str| action(json!({"capping": [{"event": event, "group": "user", "count": 0}]}));
    assert_eq!(accept(&capped("accepted"), &web), Err("capped"));
    assert_eq!(accept(&capped("shown"), &web), Ok(Admitted { test: false }));
    assert_eq!(accept(&targeting(json!({"traitConditions": age_over_18()})), &view(&grown, NOW)), Ok(Admitted { test: false }));
}

#[test]
fn the_other_verbs_need_an_action_that_runs_or_a_delivery() {
    let child = Someone::default();
    let web = view(&child, NOW);
    let off = action(json!({"state": "inactive"}));
    let delivered = Proof { delivered: true, ..Proof::default() };
    for verb in [Reaction::Shown, Reaction::Hidden, Reaction::Declined] {
        assert_eq!(off.admit(verb, &web, Proof::default()), Err(Refusal::Inactive));
        assert!(off.admit(verb, &web, delivered).is_ok());
        // Not asked: channel, time, traits.
        assert!(targeting(json!({"channels": [], "traitConditions": age_over_18()})).admit(verb, &web, Proof::default()).is_ok());
    }
    let capped = action(
        json!({"capping": [{"event": "shown", "group": "user", "count": 0}, {"event": "hidden", "group": "user", "count": 0}]}),
    );
    assert_eq!(capped.admit(Reaction::Shown, &web, delivered), Err(Refusal::Capped));
    assert!(capped.admit(Reaction::Hidden, &web, delivered).is_ok());
}

#[test]
fn grace_forgives_what_has_changed_but_no_cap_and_no_context() {
    let def = |extra: Json| {
        let mut json = json!({"acceptGraceSec": 60, "targeting": {"traitConditions": age_over_18(), "audiences": ["buyers"], "end": {"date": "2024-02-29"}}});
        json.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        action(json)
    };
    let child = Someone::default();
    let web = view(&child, NOW);
    let valid = |ms: i64| Proof { delivered: true, valid_at: Some(NOW.minus(ms)) };
    assert!(def(json!({})).admit(Reaction::Accepted, &web, valid(60_000)).is_ok());
    assert_eq!(def(json!({})).admit(Reaction::Accepted, &web, valid(60_001)), Err(Refusal::WrongTime));
    assert_eq!(
        def(json!({})).admit(Reaction::Accepted, &web, Proof { delivered: true, valid_at: None }),
        Err(Refusal::WrongTime)
    );
    let capped = def(json!({"capping": [{"event": "accepted", "group": "user", "count": 0}]}));
    assert_eq!(capped.admit(Reaction::Accepted, &web, valid(0)), Err(Refusal::Capped));
    let off = def(json!({"state": "inactive"}));
    assert_eq!(off.admit(Reaction::Accepted, &web, valid(0)), Err(Refusal::Inactive));
    let strict = targeting(json!({"traitConditions": age_over_18()}));
    assert_eq!(strict.admit(Reaction::Accepted, &web, valid(0)), Err(Refusal::WrongTraits), "the default is no grace");
}

// T-66 as a decision: it knows when it opens; with several caps, when all of them do.
#[test]
fn t66_until_is_when_the_last_cap_opens() {
    let def = action(json!({"capping": [
        {"event": "shown", "group": "user", "count": 2, "within": 7},
        {"event": "hidden", "group": "user", "count": 1, "within": 1}]}));
    let mut someone = Someone::default();
    let mut caps = def.new_caps();
    let (first, second) = (at("2024-03-01T10:00:00Z"), at("2024-03-02T10:00:00Z"));
    caps.record(&def.caps, Group::User, Reaction::Shown, WEB, first);
    caps.record(&def.caps, Group::User, Reaction::Shown, APP, second);
    caps.record(&def.caps, Group::User, Reaction::Hidden, WEB, second);
    someone.caps.insert(ActionSlot(0), caps);
    let decision = def.decide(&view(&someone, second), false);
    assert_eq!(decision.blocked, Some(Reason::Capped { group: Group::User }));
    assert_eq!(decision.until, at("2024-03-08T10:00:00Z"));
    blocked(&def, &view(&someone, decision.until), None);
}

#[test]
fn a_delivery_does_not_end_itself() {
    let def = action(json!({"capping": [{"event": "delivered", "group": "user", "count": 1}]}));
    let mut someone = Someone::default();
    let mut caps = def.new_caps();
    caps.record(&def.caps, Group::User, Reaction::Delivered, WEB, NOW);
    someone.caps.insert(ActionSlot(0), caps);
    let view = view(&someone, NOW);
    assert!(!def.decide(&view, false).eligible);
    assert!(def.decide(&view, true).eligible);
}

#[test]
fn totals_block_everybody() {
    let def = action(json!({"capping": [{"event": "accepted", "group": "all", "count": 1}]}));
    let table = TotalCaps::default();
    let someone = Someone::default();
    let view = View { totals: &table, ..view(&someone, NOW) };
    blocked(&def, &view, None);
    let claim = Claim {
        action: ActionSlot(0),
        caps: &def.caps,
        profile: ProfileId(1),
        user: None,
        budgets: &[],
        reaction: Reaction::Accepted,
        channel: WEB,
        now: NOW,
    };
    let place = table.reserve(&claim).unwrap();
    blocked(&def, &view, None);
    table.commit(&def.caps, place, Moment { t: NOW, seq: Seq(1) }).unwrap();
    blocked(&def, &view, Reason::Capped { group: Group::All });
    assert_eq!(def.admit(Reaction::Accepted, &view, Proof::default()), Err(Refusal::Capped));
}
