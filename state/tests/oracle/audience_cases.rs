//! The acceptance items on audiences.

use super::names::compile_audience;
use super::rig::{Rig, at, occurrence};
use lodestone_state::audience::AudienceDef;
use lodestone_state::ids::Millis;
use serde_json::{Value as Json, json};

fn audience(json: &Json) -> AudienceDef {
    compile_audience(json).unwrap_or_else(|issues| panic!("{issues:?}"))
}

/// Conditions that stand side by side.
fn events(list: &[Json]) -> AudienceDef {
    audience(&json!({"name": "N", "includeAnonymous": true, "events": list}))
}

/// Steps that follow each other; `not X` excludes.
fn chain(steps: &[Json]) -> AudienceDef {
    chain_with(steps, &json!({}))
}

fn chain_with(steps: &[Json], more: &Json) -> AudienceDef {
    let mut list = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let mut step = step.as_str().map_or_else(|| step.clone(), short);
        step["internalId"] = json!(format!("s{i}"));
        step["parentId"] = if i == 0 { Json::Null } else { json!(format!("s{}", i - 1)) };
        list.push(step);
    }
    let mut json = json!({"name": "N", "includeAnonymous": true, "events": list});
    more.as_object().into_iter().flatten().for_each(|(key, value)| json[key] = value.clone());
    audience(&json)
}

fn short(step: &str) -> Json {
    match step.strip_prefix("not ") {
        Some(name) => json!({"id": name, "exclude": true}),
        None => json!({"id": step, "operator": "more_or_exactly", "count": 1}),
    }
}

fn minutes(n: u32) -> Json {
    json!({"amount": n, "unit": "minutes"})
}

/// A rig that has seen `A@10:00` and so on, with a product after a colon: `A:1@10:00`.
fn after<'a>(def: &'a AudienceDef, story: &str) -> Rig<'a, AudienceDef> {
    let mut rig = Rig::new(def);
    tell(&mut rig, story);
    rig
}

fn tell(rig: &mut Rig<'_, AudienceDef>, story: &str) {
    for word in story.split_whitespace() {
        let (what, time) = word.split_once('@').expect("an event and its time");
        let (name, product) = what.split_once(':').unwrap_or((what, ""));
        let properties = if product.is_empty() { json!({}) } else { json!({"product": product}) };
        rig.track(name, time, properties);
    }
}

/// When membership next changes, and to what.
#[track_caller]
fn changes(rig: &mut Rig<'_, AudienceDef>, time: &str, to: bool) {
    assert_eq!(rig.member(), !to, "before");
    assert_eq!(rig.next(), at(time));
    rig.pass(at(time).minus(1), &mut |_, _| {});
    assert_eq!(rig.member(), !to, "a millisecond before");
    rig.pass(at(time), &mut |_, _| {});
    assert_eq!(rig.member(), to, "at the time");
}

fn window(operator: &str, start: u32, end: u32) -> Json {
    json!({"timeWindowOperator": operator, "timeWindowStart": start, "timeWindowEnd": end})
}

fn with(mut json: Json, more: &Json) -> Json {
    more.as_object().into_iter().flatten().for_each(|(key, value)| json[key] = value.clone());
    json
}

fn count(name: &str, operator: &str, count: u32) -> Json {
    json!({"id": name, "operator": operator, "count": count})
}

#[test]
fn t_37_two_within_a_week() {
    let def = events(&[with(count("P", "more_or_exactly", 2), &window("within", 0, 7))]);
    let mut rig = after(&def, "P@03-01T10:00");
    assert!(!rig.member_at("03-05T09:59:59.999"));
    tell(&mut rig, "P@03-05T10:00");
    changes(&mut rig, "03-08T10:00", false);
}

#[test]
fn t_38_exactly() {
    let def = events(&[count("P", "exactly", 1)]);
    assert!(!Rig::new(&def).member());
    assert!(after(&def, "P@10:00").member());
    assert!(!after(&def, "P@10:00 P@10:01").member());
    let def = events(&[count("P", "exactly", 0)]);
    assert!(def.open_to_new() && Rig::new(&def).member());
    assert!(!after(&def, "P@10:00").member());
}

#[test]
fn t_39_counts_do_not_multiply() {
    let def = events(&[count("A", "exactly", 3), count("B", "exactly", 2)]);
    assert!(after(&def, "A@10:00 A@10:01 A@10:02 B@10:03 B@10:04").member());
    assert!(!after(&def, "A@10:00 A@10:01 B@10:03 B@10:04").member());
}

#[test]
fn t_40_in_between() {
    let def = events(&[with(count("P", "more_or_exactly", 1), &window("in_between", 2, 5))]);
    let mut rig = after(&def, "P@03-01T10:00");
    changes(&mut rig, "03-03T10:00", true);
    changes(&mut rig, "03-06T10:00", false);
}

#[test]
fn a_full_window_asks_the_history_when_its_list_runs_dry() {
    let window = json!({"timeWindowOperator": "in_between", "timeWindowStart": 1, "timeWindowEnd": 2, "timeWindowUnit": "hours"});
    let def = events(&[with(count("P", "more_or_exactly", 1000), &window)]);
    let mut rig = Rig::new(&def);
    for n in 0..10_000 {
        let t = at("10:00").plus(n);
        rig.event(occurrence("P", "web", &json!({})), t, t, &mut |_, _| {});
    }
    // From the 1000th on, until only 999 are left.
    for (after, member) in [(998, false), (999, true), (6000, true), (9999, true)] {
        rig.pass(at("11:00").plus(after), &mut |_, _| {});
        assert_eq!(rig.member(), member, "{after} ms after 11:00");
    }
    for (after, member) in [(8999, true), (9000, false)] {
        rig.pass(at("12:00").plus(after), &mut |_, _| {});
        assert_eq!(rig.member(), member, "{after} ms after 12:00");
    }
    assert!((1..=3).contains(&rig.refolds), "asked {} times", rig.refolds);
}

#[test]
fn t_41_imported_within_has_its_length_under_start() {
    let def = events(&[with(count("P", "more_or_exactly", 1), &window("within", 7, 0))]);
    changes(&mut after(&def, "P@03-01T10:00"), "03-08T10:00", false);
}

#[test]
fn t_42_exclude_looks_at_all_identities() {
    let def = events(&[json!({"id": "P", "exclude": true})]);
    let mut rig = Rig::new(&def);
    assert!(rig.member());
    rig.event(occurrence("P", "app", &json!({})), at("10:00"), at("10:00"), &mut |_, _| {});
    assert!(!rig.member());
}

#[test]
fn t_43_anonymous_events_count_once_known() {
    let def = audience(&json!({"name": "N", "includeAnonymous": false, "events": [count("P", "more_or_exactly", 1)]}));
    let rig = after(&def, "P@10:00");
    assert!(!def.membership(&rig.state, &rig.custom, false, rig.clock).holds);
    assert!(def.membership(&rig.state, &rig.custom, true, rig.clock).holds);
}

#[test]
fn t_44_nothing_asked_is_everyone() {
    let def = audience(&json!({"name": "N", "includeAnonymous": true}));
    assert!(def.open_to_new());
    assert!(def.membership(&def.new_state(), &lodestone_state::expr::NoFacts, false, at("10:00")).holds);
}

#[test]
fn t_45_steps_are_ordered_and_cross_channels() {
    let def = chain(&[json!("A"), json!("B")]);
    let mut rig = after(&def, "A@10:00");
    rig.event(occurrence("B", "app", &json!({})), at("10:01"), at("10:01"), &mut |_, _| {});
    assert!(rig.member());
    let mut rig = after(&def, "B@10:00 A@10:01");
    assert!(!rig.member());
    tell(&mut rig, "B@10:02");
    assert!(rig.member());
    assert_eq!(rig.next(), Millis::MAX);
}

#[test]
fn t_46_equal_times_go_by_log_position() {
    let def = chain(&[json!("A"), json!("B")]);
    assert!(after(&def, "A@10:00 B@10:00").member());
    assert!(!after(&def, "B@10:00 A@10:00").member());
}

#[test]
fn t_47_an_exclusion_between_two_steps() {
    let def = chain(&[json!("A"), json!("not X"), json!("C")]);
    let mut rig = after(&def, "A@10:00 X@10:01 C@10:02");
    assert!(!rig.member());
    tell(&mut rig, "A@10:03 C@10:04");
    assert!(rig.member());
    assert!(after(&def, "X@10:00 A@10:01 C@10:02").member());
}

#[test]
fn t_48_a_trailing_exclusion() {
    let def = chain(&[json!("A"), json!("not X")]);
    let mut rig = after(&def, "A@10:00");
    assert!(rig.member());
    tell(&mut rig, "X@10:05");
    assert!(!rig.member());
    tell(&mut rig, "A@10:06");
    assert!(rig.member());
}

#[test]
fn t_49_an_absence_that_must_last() {
    let absent = json!({"id": "X", "exclude": true, "forAtLeast": minutes(30)});
    let def = chain(&[json!("A"), absent.clone()]);
    changes(&mut after(&def, "A@10:00"), "10:30", true);
    changes(&mut after(&def, "A@10:00 A@10:20"), "10:50", true);
    let rig = after(&def, "A@10:00 A@10:20 X@10:40");
    assert_eq!((rig.member(), rig.next()), (false, Millis::MAX));
    // The older completion keeps its wait.
    let def = chain_with(&[json!("A"), absent.clone()], &json!({"anchor": "first"}));
    changes(&mut after(&def, "A@10:00 A@10:20"), "10:30", true);
    // Who is a member already stays one.
    let def = chain(&[json!("A"), absent]);
    let mut rig = after(&def, "A@10:00 A@10:40");
    assert!(rig.member() && rig.member_at("11:09") && rig.member_at("11:11"));
}

#[test]
fn t_49_a_wait_that_outlasts_its_window_gives_way() {
    let window = json!({"timeWindowOperator": "within", "timeWindowEnd": 8, "timeWindowUnit": "hours"});
    let absent = json!({"id": "X", "exclude": true, "forAtLeast": {"amount": 4, "unit": "hours"}});
    let def = chain_with(&[with(short("A"), &window), json!("B"), absent], &json!({"anchor": "first"}));
    let mut rig = after(&def, "A@00:00 B@05:00 A@06:00 B@07:00");
    changes(&mut rig, "11:00", true);
    changes(&mut rig, "14:00", false);
}

#[test]
fn t_49_an_absence_for_a_while() {
    let def = chain(&[json!("A"), json!({"id": "X", "exclude": true, "within": minutes(30)})]);
    let mut rig = after(&def, "A@10:00");
    changes(&mut rig, "10:30", true);
    tell(&mut rig, "X@10:30");
    assert!(rig.member(), "later matches do not matter");
    let rig = after(&def, "A@10:00 X@10:29:59.999");
    assert_eq!((rig.member(), rig.next()), (false, Millis::MAX));
}

#[test]
fn t_50_a_greatest_gap() {
    let def = chain(&[json!("A"), json!({"id": "B", "withinPrevious": {"max": minutes(10)}})]);
    assert!(after(&def, "A@10:00 A@10:08 B@10:15").member());
    assert!(after(&def, "A@10:00 B@10:10:00.000").member());
    assert!(!after(&def, "A@10:00 B@10:10:00.001").member());
}

#[test]
fn a_least_gap_keeps_older_runs() {
    let def = chain(&[json!("A"), json!({"id": "B", "withinPrevious": {"min": minutes(30)}})]);
    assert!(!after(&def, "A@10:00 B@10:29:59.999").member());
    assert!(after(&def, "A@10:00 B@10:30").member());
    assert!(after(&def, "A@10:00 A@10:20 B@10:35").member());
}

#[test]
fn a_window_from_the_first_step() {
    let steps = [json!("A"), json!("B"), json!("C")];
    let def = chain_with(&steps, &json!({"windowFromFirst": minutes(10)}));
    assert!(after(&def, "A@10:00 B@10:05 C@10:09:59.999").member());
    assert!(!after(&def, "A@10:00 B@10:05 C@10:10").member());
    assert!(after(&def, "A@10:00 A@10:04 B@10:05 C@10:13").member());
}

#[test]
fn t_51_a_step_of_two() {
    let def = chain(&[count("A", "more_or_exactly", 2), json!("B")]);
    let mut rig = after(&def, "A@10:00 B@10:01 A@10:02");
    assert!(!rig.member());
    tell(&mut rig, "B@10:03");
    assert!(rig.member());
}

#[test]
fn exactly_and_at_most_in_a_chain() {
    let def = chain(&[json!("A"), count("B", "exactly", 1)]);
    let mut rig = after(&def, "A@10:00 B@10:01");
    assert!(rig.member());
    tell(&mut rig, "B@10:02");
    assert!(!rig.member(), "one too many on the last step");
    let def = chain(&[json!("A"), count("B", "less_or_exactly", 1), json!("C")]);
    assert!(after(&def, "A@10:00 C@10:02").member());
    assert!(after(&def, "A@10:00 B@10:01 C@10:02").member());
    assert!(!after(&def, "A@10:00 B@10:01 B@10:01 C@10:02").member());
    let def = chain(&[json!("A"), count("X", "exactly", 0), json!("C")]);
    assert!(!after(&def, "A@10:00 X@10:01 C@10:02").member(), "exactly 0 is an exclusion");
}

fn same_product() -> Json {
    json!([{"target": "funnel_property", "key": "product", "dataType": "string", "operator": "equals",
        "eventId": "A", "internalEventId": "s0", "eventProperty": "product"}])
}

#[test]
fn t_52_a_property_of_an_earlier_step() {
    let def = chain(&[json!("A"), with(short("B"), &json!({"properties": same_product()}))]);
    assert!(after(&def, "A:1@10:00 A:2@10:01 B:1@10:02").member());
    assert!(!after(&def, "A:1@10:00 B:2@10:01").member());
    // The exclusion is about the same product too.
    let absent = json!({"id": "X", "exclude": true, "forAtLeast": minutes(30), "properties": same_product()});
    let def = chain(&[json!("A"), absent]);
    changes(&mut after(&def, "A:1@10:00 A:2@10:10 X:1@10:20"), "10:40", true);
    changes(&mut after(&def, "A:1@10:00 A:2@10:10 X:2@10:20"), "10:30", true);
}

#[test]
fn runs_past_the_bound_are_given_up_and_told() {
    let def = chain(&[json!("A"), with(short("B"), &json!({"properties": same_product()}))]);
    let mut rig = Rig::new(&def);
    for n in 0..100 {
        rig.track("A", "10:00", json!({"product": n.to_string()}));
    }
    assert!(def.approx(&rig.state));
    assert_eq!(def.evicted(&rig.state), 100 - 64 - 2);
    rig.track("B", "10:01", json!({"product": "99"}));
    assert!(rig.member());
}

#[test]
fn a_trait_is_compared_with_a_step() {
    let fav = json!([{"source": "custom", "key": "fav", "dataType": "string", "operator": "equals", "target": "funnel_property",
        "eventId": "A", "internalEventId": "s0", "eventProperty": "product"}]);
    let def = chain_with(&[json!("A"), json!("B")], &json!({"traits": fav}));
    let mut rig = after(&def, "A:1@10:00 A:2@10:01 B@10:02");
    assert!(!rig.member());
    for (product, member) in [("1", true), ("3", false), ("2", true)] {
        let custom = lodestone_state::event::Props::new(vec![(super::names::path("fav"), product.into())]);
        rig.identify(custom, at("10:05"), &mut |_, _| {});
        assert_eq!(rig.member(), member, "{product}");
    }
}

#[test]
fn t_53_windows_of_steps() {
    let day = window("within", 0, 1);
    let def = chain(&[with(short("A"), &day), with(short("B"), &day)]);
    changes(&mut after(&def, "A@03-01T10:00 B@03-01T20:00"), "03-02T10:00", false);
}

#[test]
fn t_54_late_events_replay_the_chain() {
    let def = chain(&[json!("A"), json!("B")]);
    let mut rig = after(&def, "B@10:05");
    rig.event(occurrence("A", "web", &json!({})), at("10:01"), at("10:06"), &mut |_, _| {});
    assert!(rig.member());
    assert_eq!(rig.refolds, 1);
    let def = chain(&[json!("A"), json!("not X"), json!("C")]);
    let mut rig = after(&def, "A@10:00 C@10:04");
    assert!(rig.member());
    rig.event(occurrence("X", "web", &json!({})), at("10:03"), at("10:06"), &mut |_, _| {});
    assert!(!rig.member());
    // Late by the clock, but not by the order of events: nothing to replay.
    let mut rig = after(&def, "A@10:00");
    rig.event(occurrence("C", "web", &json!({})), at("10:03"), at("12:00"), &mut |_, _| {});
    assert!(rig.member());
    assert_eq!(rig.refolds, 0);
}

#[test]
fn t_55_the_union_of_two_logs() {
    let day = window("within", 0, 1);
    let def = chain(&[with(short("A"), &day), short("B")]);
    let mut leader = after(&def, "B@03-01T12:00");
    let follower = after(&def, "A@03-01T10:00");
    leader.log.extend(follower.log.iter().cloned());
    leader.log.sort_by_key(|(moment, _)| moment.t);
    leader.state = leader.folded();
    assert!(leader.member());
    leader.pass(at("03-02T10:00"), &mut |_, _| {});
    leader.state = leader.folded();
    assert!(!leader.member(), "its window is over");
}

#[test]
fn t_56_the_exclusion_wins() {
    let price = |value: &str| json!([{"target": "static", "key": "price", "dataType": "float", "operator": "greater_than", "value": value}]);
    let not = json!({"id": "B", "exclude": true, "properties": price("10")});
    let def = chain(&[json!("A"), not, with(short("B"), &json!({"properties": price("5")}))]);
    let mut rig = after(&def, "A@10:00");
    rig.track("B", "10:01", json!({"price": 20}));
    assert!(!rig.member());
    rig.track("A", "10:02", json!({})).track("B", "10:03", json!({"price": 7}));
    assert!(rig.member());
}

#[test]
fn t_57_a_boolean_trait_condition() {
    let traits =
        json!([{"source": "custom", "key": "flag", "dataType": "boolean", "operator": "false", "target": "static", "value": ""}]);
    let def = audience(&json!({"name": "N", "includeAnonymous": true, "events": [], "traits": traits}));
    let mut rig = Rig::new(&def);
    assert!(!rig.member(), "absent is not false");
    for flag in [false, true] {
        let custom = lodestone_state::event::Props::new(vec![(super::names::path("flag"), flag.into())]);
        rig.identify(custom, at("10:00"), &mut |_, _| {});
        assert_eq!(rig.member(), !flag);
    }
}

#[test]
fn a_step_with_a_relative_date_comes_and_goes() {
    let near = json!([{"target": "static", "key": "when", "dataType": "dateTime", "operator": "within_next_days", "value": "1"}]);
    let def = chain(&[json!("A"), with(short("B"), &json!({"properties": near}))]);
    let mut rig = after(&def, "A@03-01T10:00");
    rig.track("B", "03-01T11:00", json!({"when": "2024-03-04T00:00:00Z"}));
    changes(&mut rig, "03-03T00:00", true);
    changes(&mut rig, "03-04T00:00", false);
    assert_eq!(rig.refolds, 0);
}

#[test]
fn several_roots_are_all_asked() {
    let json = json!({"name": "N", "includeAnonymous": true, "events": [
        {"id": "A", "internalId": "a"}, {"id": "B", "internalId": "b", "parentId": "a"},
        {"id": "C", "internalId": "c"}, {"id": "X", "internalId": "x", "exclude": true},
    ]});
    let def = audience(&json);
    assert_eq!((def.conditions.len(), def.chains.len()), (2, 1));
    assert!(!after(&def, "A@10:00 B@10:01").member());
    assert!(after(&def, "A@10:00 C@10:00 B@10:01").member());
    assert!(!after(&def, "A@10:00 C@10:00 B@10:01 X@10:02").member());
    assert_eq!(def.events().len(), 4);
}

#[test]
fn a_further_completion_is_told_where_asked_for() {
    let steps = [json!("A"), json!("B")];
    for (more, again) in [(json!({}), false), (json!({"reentry": "each"}), true)] {
        let def = chain_with(&steps, &more);
        let rig = after(&def, "A@10:00 B@10:01");
        let mut state = rig.state.clone();
        let moment = lodestone_state::ids::Moment { t: at("10:02"), seq: lodestone_state::ids::Seq(99) };
        let fed = def.feed(&mut state, moment, &occurrence("B", "web", &json!({})), &rig.custom, at("10:02"));
        assert_eq!(fed.again, again);
    }
}

#[test]
fn every_problem_of_a_definition_is_told_at_once() {
    let json = json!({"type": "funnel", "reentry": "never", "events": [
        {"id": "A", "internalId": "a", "withinPrevious": {"max": {"amount": 1, "unit": "days"}}},
        {"id": "B", "internalId": "a", "parentId": "nobody", "count": 1001},
        {"id": "C", "internalId": "c", "parentId": "c", "forAtLeast": {"amount": 1, "unit": "days"}},
        {"id": "?", "channels": [], "timeWindowOperator": "in_between", "timeWindowStart": 3, "timeWindowEnd": 3},
        {"id": "B", "parentId": "c", "withinPrevious": {"min": minutes(31), "max": minutes(30)}},
    ]});
    let mut told: Vec<String> = compile_audience(&json).unwrap_err().into_iter().map(|i| i.pointer).collect();
    told.sort();
    told.dedup();
    let expect = [
        "/events/0/withinPrevious",
        "/events/1/count",
        "/events/1/internalId",
        "/events/1/parentId",
        "/events/2",
        "/events/2/parentId",
        "/events/3/id",
        "/events/3/timeWindowStart",
        "/events/4/parentId",
        "/events/4/withinPrevious",
        "/reentry",
    ];
    assert_eq!(told, expect);
    // A later or an excluded step cannot be named.
    for (i, named) in [(0, "s1"), (2, "s1"), (1, "s2")] {
        let mut steps = [short("A"), short("not X"), short("B")];
        steps[i]["properties"] = same_product();
        steps[i]["properties"][0]["internalEventId"] = json!(named);
        let list: Vec<Json> = steps
            .iter()
            .enumerate()
            .map(|(i, step)| {
                let parent = if i == 0 { Json::Null } else { json!(format!("s{}", i - 1)) };
                with(step.clone(), &json!({"internalId": format!("s{i}"), "parentId": parent}))
            })
            .collect();
        let issues = compile_audience(&json!({"events": list})).unwrap_err();
        assert_eq!(issues[0].code, "invalid_condition");
        assert_eq!(issues[0].pointer, format!("/events/{i}/properties/0/internalEventId"));
    }
}
