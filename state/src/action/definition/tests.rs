use super::*;
use crate::action::hooks::{HOOKS_MAX, HookKind};
use crate::action::json::INVALID;
use crate::action::testing::{APP, CART_VIEWED, WEB, action, at, try_action};
use crate::expr::LEAVES_MAX;
use serde_json::Value as Json;
use serde_json::json;

/// Each case: a field of an action, and the pointers and codes that it must be reported under.
#[track_caller]
fn refused(json: Json, expect: &[(&str, &str)]) {
    let text = json.to_string();
    let issues = try_action(&json).expect_err(&text);
    let found: Vec<_> = issues.iter().map(|issue| (issue.pointer.as_str(), issue.code)).collect();
    let expect: Vec<_> = expect.iter().map(|(pointer, code)| (format!("/actions/0{pointer}"), *code)).collect();
    assert_eq!(found, expect.iter().map(|(pointer, code)| (pointer.as_str(), *code)).collect::<Vec<_>>(), "{text}\n{issues:#?}");
}

#[test]
fn the_definition_of_the_specification_reads() {
    let def = action(json!({
        "id": "6f1c", "name": "10% coupon", "type": "notification", "state": "staging", "tags": ["home", "top"], "priority": 10,
        "createdAt": "2024-03-01T10:00:00Z", "slot": "hero", "acceptGraceSec": 60,
        "properties": [{"channels": ["web"], "type": "text", "name": "title", "value": "Hi", "sourceKey": "", "sourceType": ""},
            {"channels": ["web"], "type": "computed_trait", "name": "size", "sourceKey": "size", "sourceType": "string"}],
        "targeting": {"channels": ["web"], "audiences": ["buyers"], "onEvent": ["cart_viewed"],
            "traitConditions": [{"source": "custom", "key": "age", "type": "integer", "operator": "greater_than", "value": 18}],
            "contextConditions": [{"channel": "web", "key": "page", "type": "string", "operator": "starts_with", "value": "/cart"}],
            "start": {"date": "2024-05-01", "time": "08:00"}, "end": {"date": "2024-05-31", "time": null}},
        "capping": [{"channels": ["web"], "event": "accepted", "group": "all", "count": 100, "within": 0},
            {"channels": [], "event": "delivered", "group": "user", "count": 2, "within": 3, "withinUnit": "hours"}],
        "hooks": [],
        "testUsers": [{"userId": "u1", "channels": ["web"], "description": "QA", "skipTargeting": true}]}));
    assert_eq!(def.state, State::Staging);
    assert_eq!((def.priority, def.created_at, def.slot.as_deref()), (10, at("2024-03-01T10:00:00Z"), Some("hero")));
    assert_eq!((&*def.channels, &*def.on_event, def.accept_grace_ms), (&[WEB][..], &[CART_VIEWED][..], 60_000));
    assert_eq!(def.test_users[0], TestUser { user_id: "u1".into(), channels: [WEB].into(), skip_targeting: true });
    assert_eq!(
        def.caps[0],
        Cap {
            reaction: crate::event::Reaction::Accepted,
            group: Group::All,
            count: 100,
            within_ms: None,
            channels: [WEB].into()
        }
    );
    assert_eq!((def.caps[1].within_ms, def.caps[1].count), (Some(3 * 3_600_000), 2));
    assert!(def.reads_context(WEB) && !def.reads_context(APP) && def.has_total_caps());
    let mut read = 0;
    def.sources(&mut |_| read += 1);
    assert_eq!(read, 3, "age, page and size");
}

#[test]
fn what_is_left_out_is_closed() {
    let def = try_action(&json!({})).expect("an empty action is an inactive one");
    assert_eq!(def.state, State::Inactive);
    assert!(def.channels.is_empty() && def.caps.is_empty());
}

#[test]
fn everything_wrong_is_reported_at_once() {
    refused(
        json!({"state": "on", "priority": 1.5, "tags": ["a", 7], "createdAt": "once", "slot": 1, "acceptGraceSec": -1}),
        &[
            ("/state", INVALID),
            ("/tags/1", INVALID),
            ("/priority", INVALID),
            ("/slot", INVALID),
            ("/createdAt", INVALID),
            ("/acceptGraceSec", INVALID),
        ],
    );
    refused(
        json!({"capping": {}, "hooks": 1, "targeting": []}),
        &[("/capping", INVALID), ("/hooks", INVALID), ("/targeting", INVALID)],
    );
}

#[test]
fn caps() {
    let cap = |change: Json| {
        let mut cap = json!({"channels": [], "event": "shown", "group": "user", "count": 1, "within": 7});
        cap.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "capping": [cap] })
    };
    refused(cap(json!({"event": "clicked"})), &[("/capping/0/event", INVALID)]);
    refused(cap(json!({"group": "channel"})), &[("/capping/0/group", INVALID)]);
    refused(cap(json!({"count": -1})), &[("/capping/0/count", INVALID)]);
    refused(cap(json!({"count": null})), &[("/capping/0/count", INVALID)]);
    refused(cap(json!({"count": "5"})), &[("/capping/0/count", INVALID)]);
    refused(cap(json!({"within": -1})), &[("/capping/0/within", INVALID)]);
    refused(cap(json!({"within": 40_000})), &[("/capping/0/within", INVALID)]);
    refused(cap(json!({"withinUnit": "weeks"})), &[("/capping/0/withinUnit", INVALID)]);
    refused(cap(json!({"count": 100_001})), &[("/capping/0/count", INVALID)]);
    assert_eq!(action(cap(json!({"count": 1_000_000, "within": 0}))).caps[0].count, 1_000_000);
    assert_eq!(action(cap(json!({"count": 0}))).caps[0].count, 0);
    refused(
        json!({"capping": [{}]}),
        &[("/capping/0/event", INVALID), ("/capping/0/group", INVALID), ("/capping/0/count", INVALID)],
    );
}

// A cap that names a deleted channel counts nothing there; it does not turn into one for all channels.
#[test]
fn a_deleted_channel_is_not_every_channel() {
    let def = action(json!({"capping": [{"channels": ["gone"], "event": "shown", "group": "user", "count": 1}]}));
    assert!(!def.caps[0].channels.is_empty() && !def.caps[0].counts(crate::event::Reaction::Shown, WEB));
}

#[test]
fn hooks_keep_their_order() {
    let def = action(json!({"hooks": [
        {"channels": [], "event": "accepted", "type": "execute_webhook",
            "properties": {"url": "https://x/y", "returnResult": true, "params": "{\"code\":1}"}},
        {"channels": ["web"], "event": "accepted", "type": "track_event", "properties": {"eventId": "bought"}},
        {"channels": [], "event": "delivered", "type": "execute_webhook", "properties": {"url": "http://x", "returnResult": true}}]}));
    use crate::event::Reaction::{Accepted, Delivered, Shown};
    let on = |reaction, channel| def.hooks_on(reaction, channel).map(|(place, _)| place).collect::<Vec<_>>();
    assert_eq!(
        (on(Accepted, WEB), on(Accepted, APP), on(Delivered, APP), on(Shown, WEB)),
        (vec![0, 1], vec![0], vec![2], vec![])
    );
    let params = def.hooks[0].blocking().and_then(|webhook| webhook.params.as_deref());
    assert_eq!(params, Some("{\"code\":1}"));
    assert_eq!(def.hooks[1].kind, HookKind::TrackEvent(crate::ids::EventSlot(1)));
    assert!(def.hooks[2].blocking().is_none(), "nobody waits for what follows a delivery");
}

// hooks are checked when they are saved.
#[test]
fn a10_hooks_are_checked() {
    refused(json!({"hooks": [{"event": "clicked", "type": "fax"}]}), &[("/hooks/0/event", INVALID), ("/hooks/0/type", INVALID)]);
    let webhook = |properties: Json| json!({"event": "accepted", "type": "execute_webhook", "properties": properties});
    refused(
        json!({"hooks": [
            webhook(json!({"params": "{"})),
            {"event": "shown", "type": "track_event"},
            webhook(json!({"url": "ftp://x/y", "returnResult": "yes"})),
            webhook(json!({"url": 7})),
            {"type": "execute_webhook"}]}),
        &[
            ("/hooks/0/properties/url", INVALID),
            ("/hooks/0/properties/params", INVALID),
            ("/hooks/1/properties/eventId", INVALID),
            ("/hooks/2/properties/returnResult", INVALID),
            ("/hooks/2/properties/url", INVALID),
            ("/hooks/3/properties/url", INVALID),
            ("/hooks/4/event", INVALID),
            ("/hooks/4/properties/url", INVALID),
        ],
    );
    let many: Vec<_> = std::iter::repeat_n(webhook(json!({"url": "https://x"})), HOOKS_MAX + 1).collect();
    refused(json!({"hooks": many}), &[("/hooks", INVALID)]);
}

#[test]
fn properties_and_test_users() {
    refused(
        json!({"properties": [{"type": "html", "name": ""}, 5, {"channels": [1], "type": "custom_trait", "name": "x"}], "testUsers": [{"userId": ""}]}),
        &[
            ("/properties/1", INVALID),
            ("/properties/0/type", INVALID),
            ("/properties/0/name", INVALID),
            ("/properties/2/channels/0", INVALID),
            ("/properties/2/sourceKey", INVALID),
            ("/testUsers/0/userId", INVALID),
        ],
    );
}

// T-13 for actions: the pointer names the clause in the list as written, also inside groups.
#[test]
fn t13_conditions_are_reported_where_they_stand() {
    let good = json!({"source": "custom", "key": "age", "type": "integer", "operator": "greater_than", "value": 18});
    let bad = json!({"source": "custom", "key": "age", "type": "integer", "operator": "greater_than", "value": "1 OR 1=1"});
    refused(
        json!({"targeting": {"traitConditions": [good, {"any": [good, bad]}]}}),
        &[("/targeting/traitConditions/1/any/1/value", crate::issue::INVALID_CONDITION)],
    );
    let context = |channel: &str| json!({"channel": channel, "key": "page", "type": "string", "operator": "equals", "value": 5});
    refused(
        json!({"targeting": {"channels": ["web"], "contextConditions": [context("web"), context("app"), context("")]}}),
        &[
            ("/targeting/contextConditions/0/value", crate::issue::INVALID_CONDITION),
            ("/targeting/contextConditions/1/value", crate::issue::INVALID_CONDITION),
            ("/targeting/contextConditions/2/value", crate::issue::INVALID_CONDITION),
        ],
    );
    let clause = |channel: &str| json!({"channel": channel, "key": "page", "type": "string", "operator": "equals", "value": "/"});
    refused(
        json!({"targeting": {"contextConditions": [{"any": [clause("web"), clause("app")]}]}}),
        &[("/targeting/contextConditions/0", crate::issue::INVALID_CONDITION)],
    );
    let many: Vec<_> = std::iter::repeat_n(good, LEAVES_MAX + 1).collect();
    refused(json!({"targeting": {"traitConditions": many}}), &[("/targeting/traitConditions", INVALID)]);
}

#[test]
fn types() {
    let mut issues = Vec::new();
    let read = ActionType::compile(
        &json!({"version": 0, "properties": [{"name": "x"}]}),
        &crate::action::testing::Names,
        "/actionTypes/0",
        &mut issues,
    );
    let pointers: Vec<_> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    assert_eq!(
        (read, pointers),
        (None, vec!["/actionTypes/0/name", "/actionTypes/0/version", "/actionTypes/0/properties/0/type"])
    );
}
