//! Bad documents: every problem at once, where it stands, and nothing changed.

use super::fixtures::{apply, codes, fresh, put, shop, told, try_apply};
use crate::plan::{Catalog, CatalogDocument, Kind};
use serde_json::{Value, json};

/// Applies `value` at `pointer` of the shop and compares `pointer code` lines.
#[track_caller]
fn check(pointer: &str, value: Value, expect: &str) {
    let mut doc = shop();
    put(&mut doc, pointer, value);
    let lines = match try_apply(&Catalog::default(), &doc) {
        Ok(_) => String::new(),
        Err(issues) => {
            assert!(issues.iter().all(|issue| !issue.message.is_empty()));
            codes(&issues)
        }
    };
    let expect: String = expect.lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(lines, expect);
}

#[test]
fn documents_that_are_none() {
    let parse = |text| codes(&CatalogDocument::parse(text).unwrap_err());
    assert_eq!(parse("{"), " malformed_json\n");
    assert_eq!(parse("[]"), " definition_invalid\n");
    let document = json!({"chanels": [], "events": {}, "organization": [], "a/b~c": 1, "actions": [7]});
    let issues = try_apply(&Catalog::default(), &document).unwrap_err();
    assert_eq!(
        codes(&issues),
        "/organization definition_invalid
/events definition_invalid
/actions/0 definition_invalid
/a~1b~0c unknown_field
/chanels unknown_field
"
    );
    assert_eq!(issues[4].message, "there is no field \"chanels\" here; did you mean \"channels\"?");
}

#[test]
fn organisation() {
    // I-46: an unknown zone.
    check("/organization", json!({"timezone": "Mars/X"}), "/organization/timezone timezone_invalid");
    check("/organization", json!({"unknownEvents": "accept"}), "/organization/unknownEvents unsupported");
    check(
        "/organization",
        json!({"unknownEvents": "maybe", "traitsWithoutSchema": 1, "locale": "de"}),
        "/organization/locale unknown_field
        /organization/traitsWithoutSchema definition_invalid
        /organization/unknownEvents definition_invalid",
    );
    check(
        "/organization",
        json!({"key": "6b6b", "requireUserHash": true}),
        "/organization/key definition_invalid
        /organization/requireUserHash definition_invalid",
    );
}

#[test]
fn channels() {
    for key in ["Web", "", "-a", "a b", "ä", &"a".repeat(65)] {
        check("/channels/-", json!({"name": "X", "key": key}), "/channels/2/key definition_invalid");
    }
    for key in ["a", "0_-", &"a".repeat(64)] {
        check("/channels/-", json!({"name": "X", "key": key}), "");
    }
    check("/channels/-", json!({"key": "x"}), "/channels/2/name definition_invalid");
    check("/channels/-", json!({"name": "Web again", "key": "web"}), "/channels/2 duplicate");
    check(
        "/channels/-",
        json!({"name": "Webb", "key": "web", "id": "11111111-1111-4111-8111-111111111111"}),
        "/channels/2/key channel_key_taken",
    );
    check("/channels/-", json!({"name": "X", "key": "x", "id": "x"}), "/channels/2/id definition_invalid");
    check("/channels/-", json!("web"), "/channels/2 definition_invalid");
    // I-46, B-03: a key is for ever.
    let first = fresh(&shop());
    let id = first.find(Kind::Channel, "web").unwrap().id.to_string();
    let issues = try_apply(&first, &json!({"channels": [{"id": id, "name": "Web", "key": "www"}]})).unwrap_err();
    assert_eq!(codes(&issues), "/channels/0/key channel_key_immutable\n");
}

#[test]
fn tokens() {
    check("/tokens/-", json!({"token": "short", "channel": "web"}), "/tokens/3/token definition_invalid");
    check("/tokens/-", json!({"token": "with space in it", "channel": "web"}), "/tokens/3/token definition_invalid");
    check("/tokens/-", json!({"token": "ls_wk_new_1", "channel": "nowhere"}), "/tokens/3/channel channel_not_found");
    check("/tokens/-", json!({"token": "ls_wk_new_1"}), "/tokens/3/channel definition_invalid");
    check(
        "/tokens/-",
        json!({"token": "ls_wk_new_1", "channel": "web", "kind": "admin"}),
        "/tokens/3/channel definition_invalid",
    );
    check("/tokens/-", json!({"token": "ls_wk_new_1", "channel": "web", "kind": "root"}), "/tokens/3/kind definition_invalid");
    check("/tokens/-", json!({"token": "ls_wk_new_1", "channel": "web", "import": true}), "/tokens/3/import definition_invalid");
    check("/tokens/-", json!({"token": "ls_wk_web_0001", "channel": "app"}), "/tokens/3 duplicate");
    check("/tokens/-", json!({"channel": "web"}), "/tokens/3/token definition_invalid");
    let issues = try_apply(&Catalog::default(), &json!({"tokens": [{"token": "se cret", "kind": "admin"}]})).unwrap_err();
    assert!(!told(&issues).contains("se cret"), "a refused token is not repeated");
}

#[test]
fn events() {
    check("/events/-", json!({"name": "", "structure": []}), "/events/4/name definition_invalid");
    check("/events/-", json!({"name": "x".repeat(201), "structure": []}), "/events/4/name definition_invalid");
    check("/events/-", json!({"name": "x".repeat(200), "structure": []}), "");
    check("/events/-", json!({"name": "$page", "structure": []}), "/events/4/name definition_invalid");
    check("/events/-", json!({"name": "X"}), "/events/4/structure definition_invalid");
    check("/events/-", json!({"name": "X", "structure": null}), "/events/4/structure definition_invalid");
    check("/events/-", json!({"name": "X", "structure": [], "strucure": []}), "/events/4/strucure unknown_field");
    check("/events/-", json!({"name": "X", "structure": [], "cast": "no"}), "/events/4/cast definition_invalid");
    // I-16.
    check("/events/-", json!({"name": "Purchase", "structure": []}), "/events/4 duplicate");
    let first = fresh(&shop());
    let issues = try_apply(
        &first,
        &json!({"events": [{"id": "11111111-1111-4111-8111-111111111111", "name": "Purchase", "structure": []}]}),
    )
    .unwrap_err();
    assert_eq!(codes(&issues), "/events/0/name event_name_taken\n");
    // I-13: a pattern that does not compile, and friends.
    check(
        "/events/-",
        json!({"name": "X", "structure": [
            {"properties": {"key": "a", "type": "string", "pattern": "("}},
            {"properties": {"key": "a", "type": "text"}},
            {"properties": {"key": "b.c", "type": "string"}}
        ]}),
        "/events/4/structure/0/properties/pattern definition_invalid
         /events/4/structure/1/properties/key definition_invalid
         /events/4/structure/1/properties/type definition_invalid
         /events/4/structure/2/properties/key definition_invalid",
    );
    // Typos in a structure do not pass either.
    check(
        "/events/-",
        json!({"name": "X", "structure": [
            {"properties": {"key": "a", "type": "object", "required": true}, "child": []},
            {"properties": {"key": "b", "type": "string", "isRequired": "yes"}, "children": [{"properties": {"key": 7, "type": "string"}}, "c"]},
            {"properties": {"key": "d", "type": "array", "items": {"properties": {"tpye": "string"}}}}
        ]}),
        "/events/4/structure/0/child unknown_field
         /events/4/structure/0/properties/required unknown_field
         /events/4/structure/1/children/0/properties/key definition_invalid
         /events/4/structure/1/children/1 definition_invalid
         /events/4/structure/1/properties/isRequired definition_invalid
         /events/4/structure/2/properties/items/properties/tpye unknown_field
         /events/4/structure/2/properties/items/properties/type definition_invalid",
    );
}

#[test]
fn contexts() {
    check("/contexts/-", json!({"channel": "nowhere", "structure": []}), "/contexts/1/channel channel_not_found");
    check("/contexts/-", json!({"channel": "web", "structure": []}), "/contexts/1 duplicate");
    check(
        "/contexts/-",
        json!({"id": "11111111-1111-4111-8111-111111111111", "channel": "Web", "structure": []}),
        "/contexts/1/channel context_exists",
    );
    let first = fresh(&shop());
    let id = first.find(Kind::Context, "web").unwrap().id.to_string();
    let issues = try_apply(&first, &json!({"contexts": [{"id": id, "channel": "app", "structure": []}]})).unwrap_err();
    assert!(codes(&issues).contains("/contexts/0/channel immutable\n"), "{}", told(&issues));
}

#[test]
fn computed_traits() {
    check("/computedTraits/1/eventId", json!("Nothing"), "/computedTraits/1/eventId event_not_found");
    check(
        "/computedTraits/1/key",
        json!("revenue"),
        "/computedTraits/1 duplicate
        /actions/0/targeting/traitConditions/0/key computed_trait_not_found",
    );
    check("/computedTraits/1/kye", json!("x"), "/computedTraits/1/kye unknown_field");
    check("/computedTraits/0/properties/windw", json!({}), "/computedTraits/0/properties/windw unknown_field");
    check("/computedTraits/0/properties/property", json!("totl"), "/computedTraits/0/properties/property property_not_found");
    check(
        "/computedTraits/0/properties/channels/0",
        json!("nowhere"),
        "/computedTraits/0/properties/channels/0 channel_not_found",
    );
    check(
        "/computedTraits/0/conditions/0/property",
        json!("itmes"),
        "/computedTraits/0/conditions/0/property property_not_found",
    );
    check(
        "/computedTraits/0/conditions/0/type",
        json!("string"),
        "/computedTraits/0/conditions/0/operator invalid_condition
        /computedTraits/0/conditions/0/type invalid_condition",
    );
    check("/computedTraits/0/conditions/0/valu", json!(1), "/computedTraits/0/conditions/0/valu unknown_field");
    // Section 1.3: compared with a trait as of the event.
    let compared = |key: &str| json!({"property": "items", "type": "integer", "operator": "less_than", "target": "custom_trait", "traitKey": key});
    check("/computedTraits/0/conditions/0", compared("age"), "");
    check("/computedTraits/0/conditions/0", compared("aeg"), "/computedTraits/0/conditions/0/traitKey property_not_found");
    // A list under `not` is looked into like any other.
    check(
        "/computedTraits/0/conditions/0",
        json!({"not": [compared("age"), {"property": "itmes", "operator": "exists", "valu": 1}]}),
        "/computedTraits/0/conditions/0/not/1/property property_not_found
        /computedTraits/0/conditions/0/not/1/valu unknown_field",
    );
    check(
        "/computedTraits/-",
        json!({"name": "L", "key": "l", "type": "unique_list", "eventId": "Purchase", "conditions": [],
               "properties": {"property": "total", "type": "float", "maxValues": 0}}),
        "/computedTraits/2/properties/maxValues definition_invalid",
    );
    // T-13: a literal that is none.
    check("/computedTraits/0/conditions/0/value", json!("1 OR 1=1"), "/computedTraits/0/conditions/0/value invalid_condition");
    let first = fresh(&shop());
    let mut doc = shop();
    put(&mut doc, "/computedTraits/1/type", json!("unique_list_count"));
    put(&mut doc, "/computedTraits/1/properties", json!({"property": "product", "type": "string"}));
    assert_eq!(codes(&try_apply(&first, &doc).unwrap_err()), "/computedTraits/1/type immutable\n");
}

#[test]
fn audiences() {
    check("/audiences/0/events/0/id", json!("Nothing"), "/audiences/0/events/0/id event_not_found");
    check("/audiences/0/events/0/chanels", json!([]), "/audiences/0/events/0/chanels unknown_field");
    check(
        "/audiences/0/events/0/properties/0/key",
        json!("produkt"),
        "/audiences/0/events/0/properties/0/key property_not_found",
    );
    check(
        "/audiences/0/events/0/properties/0/traitKey",
        json!("sise"),
        "/audiences/0/events/0/properties/0/traitKey property_not_found",
    );
    check("/audiences/1/traits/0/any/0/key", json!("revenu"), "/audiences/1/traits/0/any/0/key computed_trait_not_found");
    check("/audiences/1/traits/0/any/0/op", json!("equals"), "/audiences/1/traits/0/any/0/op unknown_field");
    check(
        "/audiences/1/traits/0/any/1/dataType",
        json!("boolean"),
        "/audiences/1/traits/0/any/1/dataType invalid_condition
        /audiences/1/traits/0/any/1/operator invalid_condition",
    );
    check("/audiences/2/key", json!("big"), "/audiences/2 duplicate");
    check("/audiences/2/key", json!("a/b"), "/audiences/2/key definition_invalid");
    check("/audiences/-", json!({"name": "Abandoned-Cart", "events": []}), "/audiences/3 duplicate");
    let first = fresh(&shop());
    let issues = try_apply(&first, &json!({"audiences": [{"name": "Abandoned-Cart", "events": []}]})).unwrap_err();
    assert!(codes(&issues).contains("/audiences/0/key key_taken\n"), "{}", told(&issues));
    // The type, said or made out, does not change.
    let mut doc = shop();
    put(&mut doc, "/audiences/0/events/1/parentId", Value::Null);
    put(&mut doc, "/audiences/0/events/1/forAtLeast", Value::Null);
    assert_eq!(codes(&try_apply(&first, &doc).unwrap_err()), "/audiences/0/type immutable\n");
}

#[test]
fn actions() {
    check("/actions/0/type", json!("cupon"), "/actions/0/type action_type_not_found");
    check("/actions/0/type", json!(null), "/actions/0/type definition_invalid");
    check("/actions/0/state", json!("on"), "/actions/0/state definition_invalid");
    check("/actions/0/targeting/audiences/0", json!("Nobody"), "/actions/0/targeting/audiences/0 audience_not_found");
    check("/actions/0/targeting/channels/0", json!("nowhere"), "/actions/0/targeting/channels/0 channel_not_found");
    check(
        "/actions/0/targeting/contextConditions/0/key",
        json!("page.pth"),
        "/actions/0/targeting/contextConditions/0/key property_not_found",
    );
    check("/actions/0/targeting/start/date", json!("2024-13-01"), "/actions/0/targeting/start/date definition_invalid");
    check("/actions/0/targeting/strat", json!({}), "/actions/0/targeting/strat unknown_field");
    check("/actions/0/capping/0/group", json!("everybody"), "/actions/0/capping/0/group definition_invalid");
    check("/actions/0/capping/0/cnt", json!(1), "/actions/0/capping/0/cnt unknown_field");
    check("/actions/0/properties/0/sourceKey", json!("revenu"), "/actions/0/properties/0/sourceKey computed_trait_not_found");
    check(
        "/actions/0/testUsers",
        json!([{"userId": "u", "channels": ["nowhere"]}]),
        "/actions/0/testUsers/0/channels/0 channel_not_found",
    );
    check("/actions/1/targeting/onEvent/0", json!("Nothing"), "/actions/1/targeting/onEvent/0 event_not_found");
    check("/actions/1/name", json!("10% coupon"), "/actions/1 duplicate");
}

#[test]
fn all_problems_of_a_document_in_its_order() {
    let mut doc = shop();
    put(&mut doc, "/actions/0/targeting/audiences/0", json!("Nobody"));
    put(&mut doc, "/audiences/0/events/0/id", json!("Nothing"));
    put(&mut doc, "/computedTraits/1/eventId", json!("Nothing"));
    put(&mut doc, "/events/0/structure", json!(7));
    put(&mut doc, "/organization/timezone", json!("Mars/X"));
    put(&mut doc, "/extra", json!(7));
    let before = fresh(&shop());
    let issues = try_apply(&before, &doc).unwrap_err();
    assert_eq!(
        codes(&issues),
        "/organization/timezone timezone_invalid
/events/0/structure definition_invalid
/computedTraits/1/eventId event_not_found
/audiences/0/events/0/id event_not_found
/actions/0/targeting/audiences/0 audience_not_found
/extra unknown_field
"
    );
    // C-1: nothing changed.
    assert_eq!(before, fresh(&shop()));
}

// B-16: a structure that drops or retypes what definitions read is refused, and says who reads it.
#[test]
fn a_structure_in_use() {
    let first = fresh(&shop());
    let issues = try_apply(
        &first,
        &json!({"events": [{"name": "Purchase", "structure": [{"properties": {"key": "total", "type": "string"}}]}]}),
    )
    .unwrap_err();
    let lines = told(&issues);
    assert!(issues.iter().all(|issue| issue.pointer == "/events/0" && issue.code == "definition_in_use"), "{lines}");
    assert!(lines.contains("computed trait \"Revenue\" would break at /properties/type"), "{lines}");
    assert!(lines.contains("computed trait \"Revenue\" would break at /conditions/0/property"), "{lines}");
    // What nobody reads may go.
    apply(
        &first,
        &json!({"events": [{"name": "Cart Updated", "structure": [{"properties": {"key": "product", "type": "string"}}]}]}),
    );
    // Together with its readers it may change.
    let mut doc = shop();
    put(&mut doc, "/events/3/structure/0/properties/key", json!("sum"));
    put(&mut doc, "/computedTraits/0/properties/property", json!("sum"));
    apply(&first, &doc);
    // A trait key that is in use.
    let id = first.find(Kind::ComputedTrait, "views").unwrap().id.to_string();
    let issues = try_apply(&first, &json!({"computedTraits": [{"id": id, "name": "Views", "key": "seen", "type": "count_events", "eventId": "Product Viewed"}]})).unwrap_err();
    assert_eq!(codes(&issues), "/computedTraits/0/key in_use\n", "{}", told(&issues));
}

/// The lines `pointer code` for a document on top of the shop.
#[track_caller]
fn refused(document: &Value) -> String {
    let issues = try_apply(&fresh(&shop()), document).expect_err("it is refused");
    assert!(issues.iter().all(|issue| !issue.message.is_empty()));
    codes(&issues)
}

// What one mistake hides from the compiler is still told with it.
#[test]
fn a_mistake_hides_no_other() {
    let audience = json!({"name": "A", "type": 7, "includeAnonymous": "yes", "reentry": "x", "windowFromFirst": 3, "events": [
        {"id": "Nothing", "internalId": 5, "exclude": "no", "count": 1001, "timeWindowOperator": "within", "timeWindowUnit": "years",
         "timeWindowEnd": -1, "channels": [7], "forAtLeast": {"amount": 0, "unit": "years"}, "withinPrevious": "soon",
         "properties": [{"key": "product", "dataType": "string", "operator": "like", "value": 1}]},
        {"id": "Purchase", "internalId": "b", "parentId": "c", "operator": 4}],
        "traits": [{"source": "moon", "key": "age", "dataType": "integer", "operator": "greater_than", "value": "old"}]});
    assert_eq!(
        refused(&json!({"audiences": [audience]})),
        "/audiences/0/events/0/channels/0 definition_invalid
/audiences/0/events/0/count definition_invalid
/audiences/0/events/0/exclude definition_invalid
/audiences/0/events/0/forAtLeast/amount definition_invalid
/audiences/0/events/0/forAtLeast/unit definition_invalid
/audiences/0/events/0/id event_not_found
/audiences/0/events/0/internalId definition_invalid
/audiences/0/events/0/properties/0/operator invalid_condition
/audiences/0/events/0/properties/0/value invalid_condition
/audiences/0/events/0/timeWindowEnd definition_invalid
/audiences/0/events/0/timeWindowUnit definition_invalid
/audiences/0/events/0/withinPrevious definition_invalid
/audiences/0/events/1/operator definition_invalid
/audiences/0/events/1/parentId definition_invalid
/audiences/0/includeAnonymous definition_invalid
/audiences/0/reentry definition_invalid
/audiences/0/traits/0/source invalid_condition
/audiences/0/traits/0/value invalid_condition
/audiences/0/type definition_invalid
/audiences/0/windowFromFirst definition_invalid
"
    );
    let of_nothing = json!({"name": "T", "key": "t", "description": 1, "type": "aggregation", "eventId": "Nothing",
        "conditions": [{"any": [{"property": "p", "type": "integer", "operator": "equals", "value": "x"}], "more": 1}],
        "properties": {"property": 5, "type": "text", "aggregationType": "mode", "channels": ["nowhere"]}});
    assert_eq!(
        refused(&json!({"computedTraits": [of_nothing]})),
        "/computedTraits/0/conditions/0 invalid_condition
/computedTraits/0/conditions/0/any/0/value invalid_condition
/computedTraits/0/conditions/0/more unknown_field
/computedTraits/0/description definition_invalid
/computedTraits/0/eventId event_not_found
/computedTraits/0/properties/aggregationType definition_invalid
/computedTraits/0/properties/channels/0 channel_not_found
/computedTraits/0/properties/property definition_invalid
/computedTraits/0/properties/type definition_invalid
"
    );
    let stamp =
        json!({"name": "T", "key": "t", "type": "last_event", "eventId": "Purchase", "properties": {"useTimestamp": "yes"}});
    assert_eq!(
        refused(&json!({"computedTraits": [stamp]})),
        "/computedTraits/0/properties/property definition_invalid
/computedTraits/0/properties/useTimestamp definition_invalid
"
    );
    let condition = json!([{"property": "total", "type": "float", "operator": "equals", "value": "x"}]);
    let effect = json!([{"type": "webhook", "url": "https://example.com/"}]);
    assert_eq!(
        refused(&json!({
            "goals": [{"key": "g", "eventId": "Nothing", "conditions": condition, "value": {"fixed": 1e13}}],
            "rules": [{"key": "r", "eventId": "Nothing", "conditions": condition, "metric": {"sum": 5}, "operator": "equals", "threshold": 1, "then": effect},
                {"key": "s", "metric": {"trait": 7}, "operator": "equals", "threshold": 1, "then": effect}],
            "budgets": [{"name": "B", "event": "shown", "count": -1, "channels": 7}]
        })),
        "/goals/0/conditions/0/value invalid_condition
/goals/0/eventId event_not_found
/goals/0/value/fixed definition_invalid
/rules/0/conditions/0/value invalid_condition
/rules/0/eventId event_not_found
/rules/0/metric/sum definition_invalid
/rules/1/metric/trait definition_invalid
/budgets/0/channels definition_invalid
/budgets/0/count definition_invalid
"
    );
    assert_eq!(
        refused(&json!({"events": [{"name": "X", "structure": [
            {"properties": {"key": "a", "type": "text", "pattern": "("}}, 7,
            {"properties": {"key": "b", "type": 7}, "children": [{"properties": {"key": "c.d", "type": "string"}}]},
            {"properties": {"key": "a", "type": "string", "isRequired": 1}}]}]})),
        "/events/0/structure/0/properties/pattern definition_invalid
/events/0/structure/0/properties/type definition_invalid
/events/0/structure/1 definition_invalid
/events/0/structure/2/children/0/properties/key definition_invalid
/events/0/structure/2/properties/type definition_invalid
/events/0/structure/3/properties/isRequired definition_invalid
/events/0/structure/3/properties/key definition_invalid
"
    );
}

// What is missed inside something that is not there is told at the place where that should be.
#[test]
fn places_are_places_of_the_document() {
    let sum = |properties: Value| json!({"name": "T", "key": "t", "type": "aggregation", "eventId": "Purchase", "properties": properties});
    for properties in [json!(null), json!([]), json!("sum")] {
        assert_eq!(refused(&json!({"computedTraits": [sum(properties)]})), "/computedTraits/0/properties definition_invalid\n");
    }
    let node = json!({"children": [{}]});
    assert_eq!(
        refused(&json!({"events": [{"name": "X", "structure": [node]}]})),
        "/events/0/structure/0/children/0/properties definition_invalid\n/events/0/structure/0/properties definition_invalid\n"
    );
    // A key may have any character.
    let emit = |properties: Value| {
        json!({"rules": [{"key": "r", "eventId": "Purchase", "metric": "count", "operator": "equals", "threshold": 1,
        "then": [{"type": "emit_event", "event": "Page Viewed", "properties": properties}]}]})
    };
    assert_eq!(
        refused(&emit(json!({"a/b~c": 1, "d.e": 1, "f[0]": 1, "page": {"url": [1], "g": 1}}))),
        "/rules/0/then/0/properties/a~1b~0c definition_invalid
/rules/0/then/0/properties/d.e definition_invalid
/rules/0/then/0/properties/f[0] definition_invalid
/rules/0/then/0/properties/page/g definition_invalid
/rules/0/then/0/properties/page/url definition_invalid
"
    );
}

// A reference cannot hide behind a control character.
#[test]
fn every_reference_is_looked_up() {
    let text = "\u{0}/nowhere";
    let budget = json!({"name": "B", "event": "shown", "count": 1, "channels": [text]});
    let counted = json!({"name": "T", "key": "t", "type": "count_events", "eventId": text, "properties": {"channels": [text]}});
    let goal = json!({"key": "g", "eventId": text, "actions": [text]});
    assert_eq!(
        refused(
            &json!({"budgets": [budget], "computedTraits": [counted], "goals": [goal], "contexts": [{"channel": text, "structure": []}]})
        ),
        "/contexts/0/channel definition_invalid
/computedTraits/0/eventId event_not_found
/computedTraits/0/properties/channels/0 channel_not_found
/goals/0/actions/0 action_not_found
/goals/0/eventId event_not_found
/budgets/0/channels/0 channel_not_found
"
    );
}

#[test]
fn the_key_of_a_variant_is_bounded() {
    let experiment = |key: String| {
        json!({"goals": [{"key": "g", "eventId": "Purchase"}], "experiments": [
        {"key": "x", "tag": "home", "goal": "g", "holdout": 5, "variants": [{"key": key}]}]})
    };
    assert_eq!(refused(&experiment("k".repeat(201))), "/experiments/0/variants/0/key definition_invalid\n");
    assert_eq!(refused(&experiment("k\n".to_owned())), "/experiments/0/variants/0/key definition_invalid\n");
    apply(&fresh(&shop()), &experiment("k".repeat(200)));
}
