use super::*;
use crate::engine::testing::Rig;
use lodestone_state::ids::Millis;
use lodestone_state::profile::Profile;
use lodestone_state::traits::TraitState;
use serde_json::json;

/// T-58, P-28: what is wrong is found, told and put right; what is right is left alone.
#[test]
fn p28_t58_a_wrong_value_is_found_and_put_right() {
    let rig = Rig::new();
    for user in ["ada", "bob", "cy"] {
        for _ in 0..3 {
            rig.view(user);
        }
    }
    let plan = rig.engine.plan();
    let (views, viewers) = (plan.trait_by_key("views").expect("a trait"), plan.audience_by_key("viewers").expect("an audience"));
    let refresh = |kind, id| rig.engine.refresh(kind, id).expect("alone").expect("in force");
    let fine = Refreshed { profiles: 3, drift: 0 };
    assert_eq!(refresh(Kind::ComputedTrait, views.id), fine);
    assert_eq!(refresh(Kind::Audience, viewers.id), fine);

    let corrupt = |user: &str| {
        let shared = rig.engine.store.find(user).expect("a profile");
        let mut profile = shared.lock();
        profile.core.traits.get_mut(views.slot.0).expect("a cell").state = TraitState::default();
        profile.core.audiences.get_mut(viewers.slot.0).expect("a cell").since = None;
        profile.core.id
    };
    let value = |user: &str| {
        let shared = rig.engine.store.find(user).expect("a profile");
        let profile = shared.lock();
        (
            machine::trait_value(&plan, &profile, views.slot).map(|value| value.to_json()),
            profile.member_since(viewers.slot).is_some(),
        )
    };
    let right = (Some(serde_json::json!(3)), true);
    corrupt("bob");
    assert_ne!(value("bob"), right);
    assert_eq!(refresh(Kind::ComputedTrait, views.id), Refreshed { profiles: 3, drift: 1 });
    assert_eq!(value("bob"), right);
    assert_eq!(refresh(Kind::Audience, viewers.id), fine);

    let id = corrupt("cy");
    assert_eq!(rig.engine.refresh_profile(id), Some(Refreshed { profiles: 1, drift: 2 }));
    assert_eq!(rig.engine.refresh_profile(id), Some(Refreshed { profiles: 1, drift: 0 }));
    assert_eq!(value("cy"), right);

    assert_eq!(rig.engine.refresh(Kind::Action, views.id), Ok(None));
    assert_eq!(rig.engine.refresh(Kind::Audience, views.id), Ok(None));
    let _busy = rig.engine.refresh_gate.lock();
    assert_eq!(rig.engine.refresh(Kind::ComputedTrait, views.id), Err(Busy));
}

/// A rule, a goal, a budget, an experiment and a cap beside what every rig has.
fn furnished() -> Rig {
    let rig = Rig::new();
    rig.apply(&json!({
        "customTraits": {"structure": [{"id": "r", "name": "r", "properties": {"key": "reader", "type": "boolean"}}]},
        "actionTypes": [{"name": "banner", "properties": []}],
        "actions": [{"name": "Offer", "type": "banner", "state": "active", "properties": [], "targeting": {"channels": ["web"]},
            "capping": [{"channels": [], "event": "accepted", "group": "user", "count": 3, "within": 7}]}],
        "rules": [{"key": "reader", "name": "Reader", "eventId": "View", "metric": "count", "fire": {"every": 2},
            "then": [{"type": "set_attribute", "key": "reader", "value": true}]}],
        "goals": [{"key": "seen", "name": "Seen", "eventId": "View", "lookback": {"amount": 7, "unit": "days"}}],
        "budgets": [{"key": "calm", "name": "Calm", "event": "accepted", "count": 3, "within": 1, "withinUnit": "days"}],
        "experiments": [{"key": "loud", "name": "Loud", "actions": ["Offer"], "goal": "seen", "state": "running",
            "variants": [{"key": "a", "weight": 1}, {"key": "b", "weight": 1}]}],
    }));
    rig.settle();
    for user in ["ada", "bob"] {
        rig.view(user);
        rig.accept(user, "Offer");
        (0..3).for_each(|_| rig.view(user));
    }
    rig
}

/// T-58: every part of a profile is held against the log, and is the only one that is told and put right.
#[test]
fn t58_whatever_is_wrong_is_found_and_put_right() {
    type Plant = fn(&mut Profile);
    let plants: [(&str, Plant); 9] = [
        ("a rule never fired", |profile| profile.core.rules.iter_mut().for_each(|(_, state)| state.marks = Default::default())),
        ("a rule fired once more", |profile| profile.core.rules.iter_mut().for_each(|(_, state)| state.marks.fires += 1)),
        ("a rule counted nothing", |profile| profile.core.rules.iter_mut().for_each(|(_, state)| state.tally = None)),
        ("a goal saw nothing", |profile| profile.core.goals.iter_mut().for_each(|(_, state)| *state = Default::default())),
        ("nothing is spent", |profile| profile.core.budgets = Default::default()),
        ("no experiment", |profile| profile.core.trials = Default::default()),
        ("no reactions", |profile| profile.core.caps = Default::default()),
        ("a member for too long", |profile| {
            let cell = profile.core.audiences.iter_mut().next().expect("an audience").1;
            cell.since = cell.since.map(|since| since.minus(1));
        }),
        ("a member in the future", |profile| {
            let cell = profile.core.audiences.iter_mut().next().expect("an audience").1;
            cell.since = cell.since.map(|since| since.plus(86_400_000));
        }),
    ];
    let rig = furnished();
    let shared = rig.engine.store.find("ada").expect("a profile");
    let id = shared.lock().core.id;
    let drift = || rig.engine.refresh_profile(id).expect("a profile").drift;
    assert_eq!(drift(), 0);
    let right = shared.lock().core.clone();
    let derived = |profile: &Profile| {
        let core = &profile.core;
        let marks: Vec<_> = core.rules.iter().map(|(slot, state)| (slot, state.marks, state.tally.clone())).collect();
        let since: Vec<Option<Millis>> = core.audiences.iter().map(|(_, cell)| cell.since).collect();
        (marks, since, core.goals.clone(), core.budgets.clone(), core.trials.clone(), core.caps.clone())
    };
    let expected = derived(&Profile::from_core(right));
    assert!(expected.0[0].1.fires == 2 && expected.1[0].is_some(), "{expected:?}");
    for (what, plant) in plants {
        plant(&mut shared.lock());
        assert_ne!(derived(&shared.lock()), expected, "{what}: nothing was planted");
        assert_eq!(drift(), 1, "{what}");
        assert_eq!(derived(&shared.lock()), expected, "{what}");
        assert_eq!(drift(), 0, "{what}");
    }
    let fires = rig.engine.profile_json(id).expect("a profile")["rules"][0]["fires"].clone();
    assert_eq!(fires, 2, "no rule has fired again for it");
}

/// By audience, since when somebody is a member counts as well.
#[test]
fn t58_a_wrong_since_is_found_by_the_audience() {
    let rig = furnished();
    let plan = rig.engine.plan();
    let viewers = plan.audience_by_key("viewers").expect("an audience");
    let shared = rig.engine.store.find("bob").expect("a profile");
    let since = shared.lock().member_since(viewers.slot);
    shared.lock().core.audiences.get_mut(viewers.slot.0).expect("a cell").since = Some(Millis(1));
    let refresh = || rig.engine.refresh(Kind::Audience, viewers.id).expect("alone").expect("in force");
    assert_eq!(refresh(), Refreshed { profiles: 2, drift: 1 });
    assert_eq!(shared.lock().member_since(viewers.slot), since);
    assert_eq!(refresh(), Refreshed { profiles: 2, drift: 0 });
}
