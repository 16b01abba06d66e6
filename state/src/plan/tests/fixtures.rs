//! Documents that tests start from.

use crate::issue::Issue;
use crate::plan::{Catalog, CatalogDocument, Diff, Plan};
use serde_json::{Value, json};
use std::sync::Arc;

/// The example of the catalog file in its description.
pub(super) fn example() -> Value {
    serde_json::from_str(
        r#"{"organization":{"name":"Shop","timezone":"UTC"},
     "channels":[{"name":"Shop","key":"web"}],
     "tokens":[{"token":"ls_wk_dev","channel":"web","kind":"public"},{"token":"ls_sk_dev","channel":"web","kind":"secret"},{"token":"ls_ad_dev","kind":"admin"}],
     "events":[{"name":"Purchase","description":"","structure":[{"id":"amount","name":"amount","properties":{"key":"amount","type":"float","isRequired":true}}]}],
     "computedTraits":[{"name":"Spent","key":"spent","type":"aggregation","eventId":"Purchase","conditions":[],"properties":{"property":"amount","type":"float","aggregationType":"sum"}}]
    }"#,
    )
    .unwrap()
}

fn leaf(key: &str, kind: &str) -> Value {
    json!({"id": key, "name": key, "properties": {"key": key, "type": kind}})
}

/// A shop with funnels, a context, custom traits, action types and actions.
pub(super) fn shop() -> Value {
    json!({
        "organization": {"name": "Sportify", "timezone": "Europe/Berlin"},
        "channels": [{"name": "Web", "key": "web"}, {"name": "App", "key": "app"}],
        "tokens": [
            {"token": "ls_wk_web_0001", "channel": "web"},
            {"token": "ls_sk_web_0001", "channel": "web", "kind": "secret", "import": true},
            {"token": "ls_ad_0001_abc", "kind": "admin"}
        ],
        "events": [
            {"name": "Page Viewed", "structure": [
                {"id": "page", "name": "page", "properties": {"key": "page", "type": "object"}, "children": [leaf("url", "string")]},
                leaf("meta", "object")
            ]},
            {"name": "Product Viewed", "structure": [leaf("product", "string"), leaf("price", "float")]},
            {"name": "Cart Updated", "structure": [leaf("product", "string"), leaf("total", "float"), leaf("at", "dateTime")]},
            {"name": "Purchase", "structure": [leaf("total", "float"), leaf("items", "integer")]}
        ],
        "contexts": [{"channel": "web", "structure": [
            {"properties": {"key": "page", "type": "object"}, "children": [leaf("path", "string")]}, leaf("lang", "string")
        ]}],
        "customTraits": {"structure": [leaf("age", "integer"), leaf("size", "string")]},
        "computedTraits": [
            {"name": "Revenue", "key": "revenue", "type": "aggregation", "eventId": "Purchase",
             "conditions": [{"property": "items", "type": "integer", "operator": "greater_than", "value": "0"}],
             "properties": {"property": "total", "type": "float", "aggregationType": "sum", "channels": ["Web"]}},
            {"name": "Views", "key": "views", "type": "count_events", "eventId": "Product Viewed", "conditions": [], "properties": {}}
        ],
        "audiences": [
            {"name": "Abandoned Cart", "includeAnonymous": true, "events": [
                {"id": "Cart Updated", "internalId": "a", "parentId": null, "exclude": false, "channels": ["web"],
                 "operator": "more_or_exactly", "count": 1, "timeWindowOperator": "any_time",
                 "properties": [{"target": "custom_trait", "key": "product", "dataType": "string", "operator": "equals", "traitKey": "size"}]},
                {"id": "Purchase", "internalId": "b", "parentId": "a", "exclude": true, "forAtLeast": {"amount": 30, "unit": "minutes"}}
            ], "traits": []},
            {"name": "Big Spender", "key": "big", "includeAnonymous": true, "events": [], "traits": [
                {"any": [
                    {"source": "computed", "key": "revenue", "dataType": "float", "operator": "greater_than", "target": "static", "value": "500"},
                    {"source": "custom", "key": "age", "dataType": "integer", "operator": "greater_than", "target": "static", "value": "60"}
                ]}
            ]},
            {"name": "Never Bought", "includeAnonymous": true, "events": [{"id": "Purchase", "exclude": true}]}
        ],
        "actionTypes": [{"name": "coupon", "properties": [
            {"channels": ["web"], "type": "text", "name": "title", "value": "Hi"},
            {"channels": ["web"], "type": "custom_trait", "name": "size", "sourceKey": "size", "sourceType": "string"}
        ]}],
        "actions": [
            {"name": "10% coupon", "type": "coupon", "state": "active", "tags": ["home"], "priority": 10,
             "properties": [{"channels": ["web"], "type": "computed_trait", "name": "spent", "sourceKey": "revenue", "sourceType": "float"}],
             "targeting": {"channels": ["web"], "audiences": ["Abandoned Cart"],
                "traitConditions": [{"source": "computed", "key": "views", "type": "integer", "operator": "greater_than", "value": 2}],
                "contextConditions": [{"channel": "web", "key": "page.path", "type": "string", "operator": "starts_with", "value": "/cart"}],
                "start": {"date": "2024-05-01", "time": "08:00"}, "end": {"date": null, "time": null}},
             "capping": [{"channels": ["web"], "event": "accepted", "group": "all", "count": 100, "within": 0}]},
            {"name": "Hello App", "type": "coupon", "state": "active", "tags": [], "properties": [],
             "targeting": {"channels": ["app"], "audiences": ["big"], "onEvent": ["Page Viewed"]}, "capping": []},
            {"name": "Asleep", "type": "coupon", "state": "inactive", "tags": [], "properties": [],
             "targeting": {"channels": ["web", "app"], "audiences": ["big"]}, "capping": []}
        ]
    })
}

pub(super) fn document(value: &Value) -> CatalogDocument {
    CatalogDocument::from_json(value).expect("a document")
}

pub(super) fn try_apply(catalog: &Catalog, value: &Value) -> Result<(Catalog, Diff), Vec<Issue>> {
    CatalogDocument::from_json(value).and_then(|document| catalog.apply(&document))
}

#[track_caller]
pub(super) fn apply(catalog: &Catalog, value: &Value) -> Catalog {
    match try_apply(catalog, value) {
        Ok((catalog, _)) => catalog,
        Err(issues) => panic!("refused:\n{}", told(&issues)),
    }
}

#[track_caller]
pub(super) fn fresh(value: &Value) -> Catalog {
    apply(&Catalog::default(), value)
}

#[track_caller]
pub(super) fn plan(catalog: &Catalog) -> Plan {
    Plan::compile(Arc::new(catalog.clone())).unwrap_or_else(|issues| panic!("does not compile:\n{}", told(&issues)))
}

/// `pointer code` of each problem, a line each.
pub(super) fn codes(issues: &[Issue]) -> String {
    issues.iter().map(|issue| format!("{} {}\n", issue.pointer, issue.code)).collect()
}

pub(super) fn told(issues: &[Issue]) -> String {
    issues.iter().map(|issue| format!("{issue}\n")).collect()
}

/// A JSON value at a pointer, to be changed.
#[track_caller]
pub(super) fn put(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
    match document.pointer_mut(parent).expect("the parent exists") {
        Value::Object(map) => drop(map.insert(last.to_owned(), value)),
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => list[last.parse::<usize>().expect("an index")] = value,
        _ => panic!("{parent} holds nothing"),
    }
}
