use super::*;
use crate::action::Group;
use crate::action::testing::{Someone, WEB, action, at, view};
use crate::event::Reaction;
use crate::ids::ActionSlot;
use serde_json::json;

const NAMES: [&str; 10] = [
    "Action State",
    "Channel",
    "Test User",
    "Time Range",
    "Computedtrait Conditions",
    "Customtrait Conditions",
    "Context Conditions",
    "Audience",
    "Capping",
    "Budget",
];

fn outcome(told: &Explanation, name: &str) -> Outcome {
    told.steps.iter().find(|step| step.name == name).expect("a step of that name").state
}

// T-74: item 66 two days later, and when it opens.
#[test]
fn t74_capping_is_told_as_it_is_decided() {
    let def = action(json!({"capping": [{"event": "shown", "group": "user", "count": 2, "within": 7}]}));
    let mut someone = Someone::default();
    let mut caps = def.new_caps();
    for t in ["2024-03-01T10:00:00Z", "2024-03-02T10:00:00Z"] {
        caps.record(&def.caps, Group::User, Reaction::Shown, WEB, at(t));
    }
    someone.caps.insert(ActionSlot(0), caps);
    let told = def.explain(&view(&someone, at("2024-03-03T00:00:00Z")));
    assert_eq!(told.steps.iter().map(|step| step.name).collect::<Vec<_>>(), NAMES);
    assert_eq!((told.display, outcome(&told, "Capping")), (false, Outcome::Fail));
    assert_eq!(told.steps[8].info, "shown by user: 2 of 2, opens at 2024-03-08T10:00:00.000Z");
    assert_eq!(told.until, Some(at("2024-03-08T10:00:00Z")));
    let told = def.explain(&view(&someone, at("2024-03-08T10:00:00Z")));
    assert_eq!((told.display, outcome(&told, "Capping")), (true, Outcome::Pass));
}

// I17: every step is told, also behind the first failure, with the values that it saw.
#[test]
fn i17_all_steps_with_what_they_saw() {
    let def = action(json!({"targeting": {"channels": ["app"], "audiences": ["buyers"], "end": {"date": "2024-02-01"},
        "traitConditions": [
            {"source": "custom", "key": "age", "type": "integer", "operator": "greater_than", "value": 18},
            {"any": [{"source": "computed", "key": "revenue", "type": "float", "operator": "greater_than", "value": 5}]}]}}));
    let mut someone = Someone::default();
    someone.custom.insert("age", 17.into());
    someone.computed.insert("revenue", 9.0.into());
    let told = def.explain(&view(&someone, at("2024-03-01T10:00:00Z")));
    let failed: Vec<_> = told.steps.iter().filter(|step| step.state == Outcome::Fail).map(|step| step.name).collect();
    assert_eq!(failed, ["Channel", "Time Range", "Customtrait Conditions", "Audience"]);
    assert_eq!(told.steps[5].clauses[0].seen, Some(json!(17)));
    assert!(!told.display && told.until.is_none());
    let wire = serde_json::to_value(&told).unwrap();
    assert_eq!(wire["steps"][4]["state"], "pass");
    assert_eq!(wire["steps"][4]["clauses"][0]["parts"][0]["seen"], 9.0);
}

#[test]
fn skip_targeting_is_told_as_skipped() {
    let def = action(
        json!({"state": "staging", "targeting": {"audiences": ["buyers"]}, "capping": [{"event": "shown", "group": "all", "count": 0}],
        "testUsers": [{"userId": "u1", "channels": ["web"], "skipTargeting": true}]}),
    );
    let tester = Someone { ids: vec!["u1"], ..Someone::default() };
    let told = def.explain(&view(&tester, at("2024-03-01T10:00:00Z")));
    assert!(told.display);
    assert_eq!(
        (outcome(&told, "Test User"), outcome(&told, "Audience"), outcome(&told, "Capping")),
        (Outcome::Pass, Outcome::Skipped, Outcome::Skipped)
    );
    let stranger = Someone::default();
    let told = def.explain(&view(&stranger, at("2024-03-01T10:00:00Z")));
    assert_eq!((told.display, outcome(&told, "Test User"), outcome(&told, "Audience")), (false, Outcome::Fail, Outcome::Fail));
}
