//! Definitions that were right until something in them was changed: whatever it was, applying a document never
//! panics; what is refused is refused with places of that document and stable codes; what is accepted compiles,
//! is exported, and can be applied again.

use lodestone_state::issue::Issue;
use lodestone_state::plan::{Catalog, CatalogDocument, Plan};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

fn leaf(key: &str, kind: &str) -> Value {
    json!({"id": key, "properties": {"key": key, "type": kind, "isRequired": false}})
}

/// One of everything.
fn world() -> Value {
    let structure = json!([
        leaf("s", "string"), leaf("i", "integer"), leaf("f", "float"), leaf("b", "boolean"), leaf("d", "dateTime"), leaf("a", "array"),
        {"properties": {"key": "o", "type": "object"}, "children": [leaf("x", "string")]}, leaf("free", "object")
    ]);
    let condition = json!([{"any": [
        {"property": "i", "type": "integer", "operator": "greater_than", "value": 0},
        {"not": {"property": "d", "type": "dateTime", "operator": "within_last_days", "value": 3}}]}]);
    let property = json!({"channels": ["web"], "type": "text", "name": "title", "value": "Hi"});
    json!({
        "organization": {"name": "Org", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
        "tokens": [{"token": "ls_sk_web_0001", "channel": "web", "kind": "secret", "import": true}],
        "events": [{"name": "E", "description": "", "cast": true, "structure": structure}, {"name": "F", "structure": structure}],
        "contexts": [{"channel": "web", "structure": [leaf("page", "string")]}],
        "customTraits": {"structure": [leaf("age", "integer"), leaf("size", "string")]},
        "computedTraits": [
            {"name": "Count", "key": "count", "type": "count_events", "eventId": "E", "conditions": condition,
             "properties": {"window": {"amount": 30, "unit": "days"}, "channels": ["web"]}},
            {"name": "Sum", "key": "sum", "type": "aggregation", "eventId": "E", "conditions": [],
             "properties": {"property": "f", "type": "float", "aggregationType": "sum"}},
            {"name": "Often", "key": "often", "type": "most_frequent", "eventId": "E",
             "properties": {"property": "s", "type": "string", "minFrequency": 1}},
            {"name": "Last", "key": "last", "type": "last_event", "eventId": "E", "properties": {"useTimestamp": true}},
            {"name": "List", "key": "list", "type": "unique_list", "eventId": "E", "properties": {"property": "o.x", "type": "string", "maxValues": 10}}
        ],
        "audiences": [
            {"name": "Counts", "key": "counts", "includeAnonymous": true, "events": [
                {"id": "E", "internalId": "a", "exclude": false, "channels": ["web"], "operator": "exactly", "count": 2,
                 "timeWindowOperator": "in_between", "timeWindowStart": 1, "timeWindowEnd": 3, "timeWindowUnit": "days",
                 "properties": [{"target": "static", "key": "s", "dataType": "string", "operator": "contains", "value": "x", "ignoreCase": true},
                    {"target": "computed_trait", "traitKey": "count", "key": "i", "dataType": "integer", "operator": "less_than"}]}],
             "traits": [{"source": "custom", "key": "age", "dataType": "integer", "operator": "greater_than", "target": "static", "value": "18"},
                {"source": "audience", "key": "funnel", "dataType": "boolean", "operator": "false"}]},
            {"name": "Funnel", "key": "funnel", "includeAnonymous": false, "anchor": "last", "windowFromFirst": {"amount": 9, "unit": "days"}, "events": [
                {"id": "E", "internalId": "b"},
                {"id": "F", "internalId": "c", "parentId": "b", "withinPrevious": {"min": {"amount": 1, "unit": "seconds"}},
                 "properties": [{"target": "funnel_property", "internalEventId": "b", "eventProperty": "s", "key": "s", "dataType": "string", "operator": "equals"}]},
                {"id": "E", "internalId": "d", "parentId": "c", "exclude": true, "forAtLeast": {"amount": 30, "unit": "minutes"}}], "traits": []}
        ],
        "actionTypes": [{"name": "coupon", "properties": [property]}],
        "actions": [{"name": "Act", "type": "coupon", "state": "active", "tags": ["home"], "priority": 1, "slot": "hero", "campaign": "c",
            "acceptGraceSec": 5, "properties": [property],
            "targeting": {"channels": ["web"], "audiences": ["counts"], "weekdays": ["mon"], "onEvent": ["E"],
                "traitConditions": [{"source": "computed", "key": "sum", "type": "float", "operator": "less_than", "value": 1}],
                "contextConditions": [{"channel": "web", "key": "page", "type": "string", "operator": "starts_with", "value": "/"}],
                "start": {"date": "2024-05-01", "time": "08:00"}, "end": {"date": "2034-05-31", "time": null}},
            "capping": [{"channels": ["web"], "event": "accepted", "group": "all", "count": 100, "within": 1, "withinUnit": "days"}],
            "hooks": [{"channels": [], "event": "accepted", "type": "track_event", "properties": {"eventId": "F"}},
                {"channels": ["web"], "event": "hidden", "type": "execute_webhook", "properties": {"url": "https://example.com/", "returnResult": false, "params": "{}"}}],
            "testUsers": [{"userId": "u", "channels": ["web"], "skipTargeting": true}],
            "cost": {"fixed": 1, "perDelivered": 0.1, "currency": "EUR"}}],
        "goals": [{"key": "goal", "eventId": "F", "conditions": condition, "value": {"property": "f"}, "currency": "EUR",
            "lookback": {"amount": 7, "unit": "days"}, "model": "linear", "touches": ["accepted"], "channels": ["web"], "actions": ["Act"],
            "dedupe": "every", "expose": true}],
        "rules": [{"key": "rule", "eventId": "E", "conditions": condition, "channels": ["web"], "metric": {"sum": "f"},
            "operator": "greater_than", "threshold": 5, "period": {"last": {"amount": 1, "unit": "days"}}, "fire": "each_crossing",
            "onUnmet": "clear", "fireOnBackfill": false, "then": [{"type": "set_attribute", "key": "Big", "value": "yes"},
                {"type": "emit_event", "event": "F", "properties": {"s": "x", "o": {"x": "y"}}},
                {"type": "webhook", "url": "https://example.com/", "params": {"a": 1}}]}],
        "budgets": [{"name": "Budget", "key": "budget", "tags": ["home"], "channels": ["web"], "event": "shown", "count": 2, "within": 1,
            "withinUnit": "days", "quietHours": {"start": "22:00", "end": "08:00", "weekdays": ["mon"]}}],
        "experiments": [{"key": "trial", "name": "Trial", "actions": ["Act"], "holdout": 10, "goal": "goal", "salt": "s", "state": "running",
            "confidence": 0.95, "window": {"amount": 7, "unit": "days"},
            "variants": [{"key": "plain", "weight": 1}, {"key": "loud", "weight": 2, "properties": [property]}]}]
    })
}

/// The pointers of all values below the sections.
fn places(value: &Value, pointer: &str, all: &mut Vec<String>) {
    let mut inner = |token: String, value: &Value| {
        let pointer = format!("{pointer}/{token}");
        places(value, &pointer, all);
        all.push(pointer);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| inner(key.replace('~', "~0").replace('/', "~1"), value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| inner(i.to_string(), value)),
        _ => {}
    }
}

#[derive(Clone, Debug)]
enum Change {
    Put(Value),
    Remove,
    Add(&'static str, Value),
    Repeat(usize),
}

fn odd_value() -> impl Strategy<Value = Value> {
    let nested = (0..40).fold(json!({"property": "i", "operator": "exists"}), |inner, _| json!({"not": inner}));
    let odd = vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(-0.0),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(1e308),
        json!(5e-324),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("\u{0}/x"),
        json!("a/b~c\"d.e\\"),
        json!("x".repeat(5000)),
        json!("\u{1F600}"),
        json!("99999999999999999999"),
        json!("NaN"),
        json!("2024-02-30"),
        json!("24:00"),
        json!("E"),
        json!("web"),
        json!("count"),
        json!("funnel"),
        json!("00000000-0000-4000-8000-000000000001"),
        json!([]),
        json!([null]),
        json!([[]]),
        json!([1, "a", {}]),
        json!({}),
        json!([{}]),
        json!({"a/b": {"~": 1}}),
        json!({"any": []}),
        json!({"any": [], "all": 1}),
        json!({"amount": i64::MAX, "unit": "days"}),
        nested,
    ];
    proptest::sample::select(odd)
}

fn change() -> impl Strategy<Value = Change> {
    let name = proptest::sample::select(&["zzz", "a/b~c", "", "\u{0}", "q\"q", "any", "id", "key", "property"][..]);
    prop_oneof![
        6 => odd_value().prop_map(Change::Put),
        1 => Just(Change::Remove),
        2 => (name, odd_value()).prop_map(|(name, value)| Change::Add(name, value)),
        1 => proptest::sample::select(&[2_usize, 70][..]).prop_map(Change::Repeat),
    ]
}

/// Changes what stands at `pointer`, if it is still there and can be changed so.
fn alter(document: &mut Value, pointer: &str, change: &Change) {
    match change {
        Change::Put(value) => {
            if let Some(place) = document.pointer_mut(pointer) {
                *place = value.clone();
            }
        }
        Change::Remove => {
            let (parent, last) = pointer.rsplit_once('/').unwrap_or_default();
            if let Some(Value::Object(map)) = document.pointer_mut(parent) {
                map.remove(last);
            }
        }
        Change::Add(name, value) => {
            if let Some(Value::Object(map)) = document.pointer_mut(pointer) {
                map.insert((*name).to_owned(), value.clone());
            }
        }
        Change::Repeat(times) => {
            if let Some(Value::Array(list)) = document.pointer_mut(pointer) {
                *list = std::iter::repeat_n(list.clone(), *times).flatten().collect();
            }
        }
    }
}

/// Whether a pointer leads to a value, or to a field that an object lacks.
fn leads_somewhere(document: &Value, pointer: &str) -> bool {
    let lacks = || pointer.rsplit_once('/').is_some_and(|(parent, _)| document.pointer(parent).is_some_and(Value::is_object));
    document.pointer(pointer).is_some() || lacks()
}

fn told(issues: &[Issue]) -> String {
    issues.iter().map(|issue| format!("{issue}\n")).collect()
}

fn try_apply(document: &Value) -> Result<Catalog, Vec<Issue>> {
    let document = CatalogDocument::from_json(document)?;
    Catalog::default().apply(&document).map(|(catalog, _)| catalog)
}

fn check(document: &Value) -> Result<(), TestCaseError> {
    let catalog = match try_apply(document) {
        Ok(catalog) => catalog,
        Err(issues) => {
            prop_assert!(!issues.is_empty());
            for issue in &issues {
                let lost = || format!("{issue} leads nowhere");
                prop_assert!(leads_somewhere(document, &issue.pointer), "{}", lost());
                prop_assert!(
                    !issue.message.is_empty() && issue.code.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'),
                    "{}",
                    issue
                );
            }
            return Ok(());
        }
    };
    let plan = Plan::compile(Arc::new(catalog.clone()));
    prop_assert!(plan.is_ok(), "accepted and does not compile: {}", told(&plan.err().unwrap_or_default()));
    let again = CatalogDocument::parse(&catalog.to_document().to_json().to_string()).and_then(|export| catalog.apply(&export));
    prop_assert!(again.is_ok(), "its export is refused: {}", told(&again.err().unwrap_or_default()));
    Ok(())
}

#[test]
fn the_world_is_right() {
    if let Err(issues) = try_apply(&world()) {
        panic!("{}", told(&issues));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_documents_are_refused_by_their_places_or_work(
        changes in prop::collection::vec((any::<prop::sample::Index>(), change()), 1..4),
    ) {
        let mut document = world();
        let mut all = Vec::new();
        places(&document, "", &mut all);
        for (place, change) in &changes {
            let pointer: &String = place.get(&all);
            alter(&mut document, pointer, change);
        }
        check(&document)?;
    }

    // A mistake in one field and a mistake in another are both told. What says of which sort a definition is, and
    // what it refers to, decides what its other fields may say, so those are left alone.
    #[test]
    fn two_mistakes_are_told_together(
        one in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(), first in odd_value(), second in odd_value(),
    ) {
        let world = world();
        let mut all = Vec::new();
        places(&world, "", &mut all);
        all.retain(|pointer| governs_nothing(pointer));
        let (one, other): (&String, &String) = (one.get(&all), other.get(&all));
        let apart = |a: &str, b: &str| !format!("{a}/").starts_with(&format!("{b}/"));
        prop_assume!(apart(one, other) && apart(other, one));
        let mistaken = |changes: &[(&String, &Value)]| {
            let mut document = world.clone();
            changes.iter().for_each(|(pointer, value)| alter(&mut document, pointer, &Change::Put((*value).clone())));
            try_apply(&document).err().unwrap_or_default()
        };
        let both = mistaken(&[(one, &first), (other, &second)]);
        // What a mistake makes wrong elsewhere, the other may make right.
        let own = |pointer: &String, value: &Value| {
            let issues = mistaken(&[(pointer, value)]).into_iter();
            issues.filter(|issue| !apart(&issue.pointer, pointer)).collect::<Vec<Issue>>()
        };
        for alone in own(one, &first).iter().chain(&own(other, &second)) {
            prop_assert!(both.iter().any(|issue| issue.pointer == alone.pointer), "{} is not told with {}", alone, told(&both));
        }
    }
}

/// Plain fields whose value changes nothing about what other fields may say.
fn governs_nothing(pointer: &str) -> bool {
    let plain = [
        "description",
        "conditions/0/any/0/value",
        "amount",
        "minFrequency",
        "maxValues",
        "includeAnonymous",
        "anchor",
        "priority",
        "acceptGraceSec",
        "tags/0",
        "date",
        "time",
        "count",
        "skipTargeting",
        "url",
        "currency",
        "model",
        "touches/0",
        "dedupe",
        "expose",
        "threshold",
        "onUnmet",
        "fireOnBackfill",
        "confidence",
        "salt",
        "isRequired",
        "timezone",
        "value",
    ];
    let section = pointer.split('/').nth(1).unwrap_or_default();
    !matches!(section, "channels" | "tokens") && plain.iter().any(|name| pointer.ends_with(&format!("/{name}")))
}
