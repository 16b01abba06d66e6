//! A shop's definitions, as large as asked.

use serde_json::{Value, json};

/// What a trusted server says.
pub(crate) const SECRET: &str = "token-secret";
/// What a browser says.
pub(crate) const PUBLIC: &str = "token-public";

/// So many events with three properties, and nothing that reads them.
pub(crate) fn base(events: usize) -> Value {
    let node =
        |key: &str, kind: &str| json!({"id": key, "name": key, "properties": {"key": key, "type": kind, "isRequired": false}});
    let event = |n: usize| {
        json!({"name": format!("Event {n}"), "description": "",
            "structure": [node("product", "string"), node("price", "float"), node("session", "string")]})
    };
    json!({
        "organization": {"name": "Bench", "timezone": "UTC"},
        "channels": [{"name": "Web", "key": "web"}],
        "tokens": [{"token": SECRET, "channel": "web", "kind": "secret"}, {"token": PUBLIC, "channel": "web", "kind": "public"}],
        "events": (0..events).map(event).collect::<Value>(),
        "computedTraits": [], "audiences": [],
        "actionTypes": [{"name": "banner", "version": 1, "properties": []}],
        "actions": [],
    })
}

/// A count of one event.
pub(crate) fn a_trait(event: usize, key: &str, window: Option<(u32, &str)>) -> Value {
    let mut properties = json!({});
    if let Some((amount, unit)) = window {
        properties["window"] = json!({"amount": amount, "unit": unit});
    }
    json!({"name": key, "key": key, "type": "count_events", "eventId": format!("Event {event}"), "conditions": [], "properties": properties})
}

/// A step of a funnel on one event.
pub(crate) fn step(id: &str, parent: Option<&str>, event: usize, days: Option<u32>) -> Value {
    let operator = if days.is_some() { "within" } else { "any_time" };
    json!({"id": format!("Event {event}"), "internalId": id, "parentId": parent, "exclude": false, "channels": [],
        "operator": "more_or_exactly", "count": 1, "timeWindowOperator": operator, "timeWindowStart": days.unwrap_or(0),
        "timeWindowEnd": days.unwrap_or(0), "properties": []})
}

/// 20 traits and 10 funnels of one event.
pub(crate) fn shop() -> Value {
    let mut catalog = base(3);
    let typed = |n: usize| {
        let (kind, mut properties) = match n % 10 {
            0 => ("count_events", json!({})),
            1 => ("aggregation", json!({"property": "price", "type": "float", "aggregationType": "sum"})),
            2 => ("aggregation", json!({"property": "price", "type": "float", "aggregationType": "avg"})),
            3 => ("aggregation", json!({"property": "price", "type": "float", "aggregationType": "min"})),
            4 => ("aggregation", json!({"property": "price", "type": "float", "aggregationType": "max"})),
            5 => ("most_frequent", json!({"property": "product", "type": "string", "minFrequency": 1})),
            6 => ("first_event", json!({"property": "session", "type": "string"})),
            7 => ("last_event", json!({"property": "session", "type": "string"})),
            8 => ("unique_list", json!({"property": "product", "type": "string"})),
            _ => ("unique_list_count", json!({"property": "session", "type": "string"})),
        };
        if n >= 10 {
            properties["window"] = json!({"amount": 1, "unit": "hours"});
        }
        json!({"name": format!("t{n}"), "key": format!("t{n}"), "type": kind, "eventId": "Event 0", "conditions": [], "properties": properties})
    };
    let funnel = |n: usize| {
        let days = (n.is_multiple_of(2)).then_some(1 + n as u32);
        json!({"name": format!("f{n}"), "key": format!("f{n}"), "description": "", "includeAnonymous": true, "type": "funnel",
            "events": [step("a", None, 0, days), step("b", Some("a"), 1, days), step("c", Some("b"), 2, None)], "traits": []})
    };
    catalog["computedTraits"] = (0..20).map(typed).collect();
    catalog["audiences"] = (0..10).map(funnel).collect();
    catalog
}
