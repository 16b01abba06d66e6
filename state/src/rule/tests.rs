use super::metric::multiple;
use super::*;
use crate::ids::Millis;
use crate::plan::{Catalog, CatalogDocument, Plan};
use crate::time::{Zone, format_instant, parse_rfc3339};
use crate::value::Value;
use serde_json::{Value as Json, json};
use std::sync::Arc;

fn catalog() -> Json {
    let node = |key: &str, kind: &str| json!({"properties": {"key": key, "type": kind}});
    json!({
        "organization": {"name": "Shop", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}],
        "events": [
            {"name": "Buy", "structure": [node("total", "float"), node("sku", "string"), node("tags", "array"), node("any", "object")]},
            {"name": "trk_event", "structure": [node("rule", "string"), {"properties": {"key": "n", "type": "integer", "isRequired": true}}]}],
        "customTraits": {"structure": [
            node("tier", "string"), node("age", "integer"), node("since", "dateTime"),
            {"properties": {"key": "code", "type": "string", "pattern": "^[A-Z]+$"}},
            {"properties": {"key": "address", "type": "object"}, "children": [node("city", "string")]}]},
        "computedTraits": [
            {"name": "Buys", "key": "buys", "type": "count_events", "eventId": "Buy"},
            {"name": "Skus", "key": "skus", "type": "unique_list", "eventId": "Buy", "properties": {"property": "sku", "type": "string"}}],
    })
}

fn rule() -> Json {
    json!({
        "key": "bigSpender", "eventId": "Buy", "conditions": [], "metric": {"sum": "total"},
        "operator": "greater_than_or_equal", "threshold": 500,
        "period": {"start": "2024-03-01", "end": "2024-03-31"}, "fire": "once", "onUnmet": "keep",
        "then": [{"type": "set_attribute", "key": "Checkout Completed", "value": "Ready"}],
    })
}

fn with(changes: Json) -> Json {
    let mut rule = rule();
    for (key, value) in changes.as_object().expect("an object") {
        rule[key] = value.clone();
    }
    rule
}

fn apply(rules: &[Json]) -> Result<Plan, Vec<(String, String)>> {
    let mut document = catalog();
    document["rules"] = rules.into();
    let told =
        |issues: Vec<crate::issue::Issue>| issues.into_iter().map(|one| (one.pointer, one.code.to_owned())).collect::<Vec<_>>();
    let document = CatalogDocument::parse(&document.to_string()).map_err(told)?;
    let (catalog, _) = Catalog::default().apply(&document).map_err(told)?;
    Plan::compile(Arc::new(catalog)).map_err(told)
}

fn compiled(changes: Json) -> RuleDef {
    let plan = apply(&[with(changes)]).unwrap_or_else(|issues| panic!("{issues:?}"));
    plan.rule_by_key("bigSpender").expect("a rule").def.clone()
}

fn check(changes: Json, expect: &[(&str, &str)]) {
    let issues = apply(&[with(changes.clone())]).err().unwrap_or_default();
    let expect: Vec<(String, String)> = expect.iter().map(|(at, code)| (format!("/rules/0{at}"), (*code).to_owned())).collect();
    assert_eq!(issues, expect, "{changes}");
}

/// The definition of the specification, to the letter.
#[test]
fn the_example_compiles() {
    let def = compiled(json!({
        "then": [
            {"type": "set_attribute", "key": "Checkout Completed", "value": "Ready"},
            {"type": "emit_event", "event": "trk_event", "properties": {"rule": "bigSpender", "n": 1}},
            {"type": "webhook", "url": "https://x"}],
    }));
    let at = |text: &str| parse_rfc3339(text).expect("an instant");
    // Both days count in full, by the clocks of Berlin; the last one is in summer time.
    let span = (at("2024-02-29T23:00:00Z"), at("2024-03-31T22:00:00Z"));
    assert_eq!(def.period, Period::Fixed { from: span.0, to: span.1 });
    assert_eq!((def.operator, &def.threshold, &def.fire), (Operator::GreaterOrEqual, &500.into(), &Fire::Once));
    assert!(def.fire_on_backfill);
    assert_eq!(def.effects.len(), 3);
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    const WRONG: &str = "definition_invalid";
    check(json!({"metric": null}), &[("/metric", WRONG)]);
    check(json!({"metric": "sum"}), &[("/metric", WRONG)]);
    check(json!({"metric": {"sum": "total", "avg": "total"}}), &[("/metric", WRONG)]);
    check(json!({"metric": {"sum": "sku"}}), &[("/metric/sum", WRONG)]);
    check(json!({"metric": {"sum": "tags"}}), &[("/metric/sum", WRONG)]);
    check(json!({"metric": {"unique": "any"}}), &[("/metric/unique", WRONG)]);
    check(json!({"metric": {"sum": "nothing"}}), &[("/metric/sum", "property_not_found")]);
    check(json!({"metric": {"median": "total"}}), &[("/metric", WRONG), ("/metric/median", "unknown_field")]);
    check(
        json!({"metric": {"trait": "nobody"}, "eventId": null, "period": null}),
        &[("/metric/trait", "computed_trait_not_found")],
    );
    check(json!({"metric": {"trait": "skus"}, "eventId": null, "period": null}), &[("/metric/trait", WRONG)]);
    check(json!({"metric": {"trait": "buys"}, "period": null}), &[("/eventId", WRONG)]);
    let last = json!({"last": {"amount": 1, "unit": "days"}});
    check(json!({"metric": {"trait": "buys"}, "eventId": null, "period": last}), &[("/period/last", WRONG)]);
    check(json!({"eventId": null}), &[("/eventId", WRONG)]);
    check(json!({"eventId": "Sell"}), &[("/eventId", "event_not_found")]);
    check(json!({"channels": ["tv"]}), &[("/channels/0", "channel_not_found")]);
    check(json!({"operator": "at_least"}), &[("/operator", WRONG)]);
    check(json!({"operator": null, "threshold": null}), &[("/operator", WRONG), ("/threshold", WRONG)]);
    check(json!({"threshold": "many"}), &[("/threshold", WRONG)]);
    check(json!({"period": {}}), &[("/period", WRONG)]);
    check(json!({"period": {"start": "2024-03-01", "calendar": "day"}}), &[("/period", WRONG)]);
    check(json!({"period": {"start": "1.3.2024"}}), &[("/period/start", WRONG)]);
    check(json!({"period": {"start": "2024-03-02", "end": "2024-03-01"}}), &[("/period/end", WRONG)]);
    check(json!({"period": {"calendar": "fortnight"}}), &[("/period/calendar", WRONG)]);
    check(json!({"period": {"last": {"amount": 0, "unit": "days"}}}), &[("/period/last/amount", WRONG)]);
    check(json!({"period": {"last": {"amount": 1, "unit": "moons"}}}), &[("/period/last/unit", WRONG)]);
    check(json!({"fire": "often"}), &[("/fire", WRONG)]);
    check(json!({"fire": {"every": 0}}), &[("/fire/every", WRONG)]);
    check(json!({"fire": {"every": 0.0005}}), &[("/fire/every", WRONG)]);
    check(json!({"fire": "each_period", "period": last}), &[("/fire", WRONG)]);
    check(json!({"onUnmet": "forget"}), &[("/onUnmet", WRONG)]);
    check(json!({"fireOnBackfill": "no"}), &[("/fireOnBackfill", WRONG)]);
    check(json!({"fires": "once"}), &[("/fires", "unknown_field")]);
    check(
        json!({"conditions": [{"property": "total", "type": "float", "operator": "greater_than", "value": "x"}]}),
        &[("/conditions/0/value", "invalid_condition")],
    );
}

#[test]
fn effects_are_checked_when_saved() {
    const WRONG: &str = "definition_invalid";
    let then = |effect: Json, expect: &[(&str, &str)]| {
        let expect: Vec<(String, &str)> = expect.iter().map(|(at, code)| (format!("/then/0{at}"), *code)).collect();
        let expect: Vec<(&str, &str)> = expect.iter().map(|(at, code)| (at.as_str(), *code)).collect();
        check(json!({"then": [effect]}), &expect);
    };
    check(json!({"then": null}), &[("/then", WRONG)]);
    check(json!({"then": []}), &[("/then", WRONG)]);
    let many: Vec<Json> = (0..17).map(|i| json!({"type": "set_attribute", "key": format!("a{i}"), "value": 1})).collect();
    check(json!({"then": many}), &[("/then", WRONG)]);
    then(json!({"type": "shout"}), &[("/type", WRONG)]);
    let attribute = |key: &str, value: Json| json!({"type": "set_attribute", "key": key, "value": value});
    then(attribute("tier", json!("gold")), &[]);
    then(attribute("address.city", json!("Ulm")), &[]);
    then(attribute("since", json!("2024-03-01T00:00:00Z")), &[]);
    then(attribute("since", json!("soon")), &[("/value", WRONG)]);
    then(attribute("age", json!("old")), &[("/value", WRONG)]);
    then(attribute("code", json!("xl")), &[("/value", WRONG)]);
    then(attribute("address", json!("Ulm")), &[("/key", "property_not_found")]);
    then(attribute("address.street", json!("Ulm")), &[("/key", "property_not_found")]);
    then(attribute("tier.deep", json!("x")), &[("/key", "property_not_found")]);
    then(attribute("", json!("x")), &[("/key", WRONG)]);
    then(attribute("x", Json::Null), &[("/value", WRONG)]);
    then(attribute("x", json!({"a": 1})), &[("/value", WRONG)]);
    then(attribute("x", json!("x".repeat(5000))), &[("/value", WRONG)]);
    then(json!({"type": "set_attribute", "key": "x", "value": 1, "url": "https://x"}), &[("/url", WRONG)]);
    let emit = |event: &str, properties: Json| json!({"type": "emit_event", "event": event, "properties": properties});
    then(emit("trk_event", json!({"n": 1})), &[]);
    then(emit("trk_event", json!({})), &[("/properties/n", WRONG)]);
    then(emit("trk_event", json!({"n": "x"})), &[("/properties/n", WRONG)]);
    then(emit("trk_event", json!({"n": 1, "m": 1})), &[("/properties/m", WRONG)]);
    then(emit("trk_event", json!([1])), &[("/properties", WRONG)]);
    then(emit("nothing", json!({})), &[("/event", "event_not_found")]);
    then(json!({"type": "webhook"}), &[("/url", WRONG)]);
    then(json!({"type": "webhook", "url": "ftp://x"}), &[("/url", WRONG)]);
    then(json!({"type": "webhook", "url": "https://x", "params": "{"}), &[("/params", WRONG)]);
    then(json!({"type": "webhook", "url": "https://x", "params": {"a": 1}}), &[]);
}

/// What a rule sets can be read by conditions at once, and clients cannot send it.
#[test]
fn an_attribute_needs_no_declaration() {
    let mut document = catalog();
    document["rules"] = json!([rule()]);
    let audience = |kind: &str, operator: &str, value: Json| {
        json!({"name": "Ready", "events": [], "includeAnonymous": true, "traits": [
            {"source": "custom", "key": "Checkout Completed", "dataType": kind, "operator": operator, "target": "static", "value": value}]})
    };
    let mut apply = |audience: Json| {
        document["audiences"] = json!([audience]);
        let document = CatalogDocument::parse(&document.to_string()).expect("a document");
        Catalog::default().apply(&document).map(|(catalog, _)| Plan::compile(Arc::new(catalog)).expect("compiles"))
    };
    let plan = apply(audience("string", "equals", json!("Ready"))).expect("fits");
    let refused = plan.custom_schema().expect("a schema").validate(r#"{"Checkout Completed": "Ready"}"#, &plan.zone);
    assert_eq!(refused.expect_err("not the client's")[0].rule, "unknown");
    let issues = apply(audience("integer", "equals", json!(1))).err().expect("another type");
    assert_eq!(issues[0].pointer, "/audiences/0/traits/0/dataType");
    // Two rules, one attribute, two types.
    let other = json!({"key": "other", "then": [{"type": "set_attribute", "key": "Checkout Completed", "value": 1}]});
    let mut second = rule();
    for (key, value) in other.as_object().expect("an object") {
        second[key] = value.clone();
    }
    let issues = super::tests::apply(&[rule(), second]).err().expect("two types");
    assert_eq!(issues, [("/rules/1/then/0/value".to_owned(), "definition_invalid".to_owned())]);
}

#[test]
fn comparisons() {
    let holds = |operator: &str, value: f64| compiled(json!({"operator": operator})).meets(Some(&Value::Float(value)));
    for (operator, below, at, above) in [
        ("equals", false, true, false),
        ("not_equals", true, false, true),
        ("less_than", true, false, false),
        ("greater_than", false, false, true),
        ("less_than_or_equal", true, true, false),
        ("greater_than_or_equal", false, true, true),
    ] {
        assert_eq!(
            (holds(operator, 499.999), holds(operator, 500.0), holds(operator, 500.001)),
            (below, at, above),
            "{operator}"
        );
        assert!(!compiled(json!({"operator": operator})).meets(None), "{operator}: absent is never met");
    }
}

#[test]
fn multiples() {
    let times = |metric: f64, n: f64| multiple(&Value::Float(metric), &Value::Float(n));
    assert_eq!(
        (times(0.3, 0.1), times(0.299, 0.1), times(99.999, 100.0), times(100.0, 100.0), times(-5.0, 1.0)),
        (3, 2, 0, 1, 0)
    );
    let int = |metric: i64, n: i64| multiple(&metric.into(), &n.into());
    assert_eq!((int(9_007_199_254_740_993, 1), int(-1, 3), int(i64::MAX, 2)), (9_007_199_254_740_993, 0, i64::MAX / 2));
    assert_eq!(multiple(&Value::Float(1e300), &Value::Float(0.001)), 9_200_000_000_000_000_000);
    assert_eq!(multiple(&Value::Str("7".into()), &1.into()), 0);
    // Without a condition of its own a stepping rule begins with its first step.
    let def = compiled(json!({"fire": {"every": 100}, "operator": null, "threshold": null}));
    assert_eq!((def.operator, def.threshold), (Operator::GreaterOrEqual, 100.into()));
}

/// The first instants of calendar periods in Berlin, and over a fold of the clocks around midnight.
#[test]
fn calendars() {
    let check = |zone: &str, calendar: Calendar, now: &str, from: &str, to: &str| {
        let zone = Zone::parse(zone).expect("a zone");
        let (start, end) = calendar.span(&zone, parse_rfc3339(now).expect("an instant"));
        assert_eq!((format_instant(start).as_str(), format_instant(end).as_str()), (from, to), "{calendar:?} {now}");
    };
    let berlin = "Europe/Berlin";
    check(berlin, Calendar::Day, "2024-03-31T12:00:00Z", "2024-03-30T23:00:00.000Z", "2024-03-31T22:00:00.000Z");
    check(berlin, Calendar::Day, "2024-10-27T21:59:59.999Z", "2024-10-26T22:00:00.000Z", "2024-10-27T23:00:00.000Z");
    check(berlin, Calendar::Day, "2024-10-27T23:00:00Z", "2024-10-27T23:00:00.000Z", "2024-10-28T23:00:00.000Z");
    check(berlin, Calendar::Week, "2024-03-31T21:59:59.999Z", "2024-03-24T23:00:00.000Z", "2024-03-31T22:00:00.000Z");
    check(berlin, Calendar::Month, "2024-02-29T22:59:59.999Z", "2024-01-31T23:00:00.000Z", "2024-02-29T23:00:00.000Z");
    check(berlin, Calendar::Quarter, "2024-12-31T22:59:59.999Z", "2024-09-30T22:00:00.000Z", "2024-12-31T23:00:00.000Z");
    check(berlin, Calendar::Year, "2024-12-31T23:00:00Z", "2024-12-31T23:00:00.000Z", "2025-12-31T23:00:00.000Z");
    // St John's set its clocks back at 00:01, to 23:01 of the day before: that day had begun to end.
    let john = "America/St_Johns";
    check(john, Calendar::Day, "2010-11-07T02:29:59Z", "2010-11-06T02:30:00.000Z", "2010-11-07T02:30:00.000Z");
    check(john, Calendar::Day, "2010-11-07T02:30:30Z", "2010-11-07T02:30:00.000Z", "2010-11-08T03:30:00.000Z");
    check(john, Calendar::Day, "2010-11-07T03:00:00Z", "2010-11-07T02:30:00.000Z", "2010-11-08T03:30:00.000Z");
    assert_eq!(Calendar::Day.span(&Zone::utc(), Millis(0)), (Millis(0), Millis(86_400_000)));
}

/// T-88: removal with the attributes is remembered in the catalog; without, it is not.
#[test]
fn t88_a_removed_rule_purges_when_asked() {
    let plan = apply(&[rule()]).expect("fits");
    let slot = plan.rule_by_key("bigSpender").expect("a rule").slot;
    let (kept, _) = plan.catalog.remove(crate::plan::Kind::Rule, "bigSpender", false).expect("goes");
    assert!(!Plan::compile(Arc::new(kept)).expect("compiles").purges(slot));
    let (purged, diff) = plan.catalog.remove_rule_and_attributes("bigSpender", false).expect("goes");
    assert_eq!(diff.changes.len(), 1);
    let purged = Catalog::from_bytes(&purged.to_bytes()).expect("reads");
    let after = Plan::compile(Arc::new(purged)).expect("compiles");
    assert!(after.purges(slot) && after.rule_plan(slot).is_none());
    // Who has the attribute may be asked for it until nobody has.
    assert!(after.generation != plan.generation);
}
