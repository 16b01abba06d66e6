//! What definitions may say: places, groups, refusals, explanations.

use super::*;
use crate::issue::INVALID_CONDITION;
use serde_json::json;

fn refused(condition: Json, at: &str) {
    let issues = try_compile(&json!([condition]), EVENT).expect_err(&condition.to_string());
    assert_eq!(
        (issues[0].code, issues[0].pointer.as_str()),
        (INVALID_CONDITION, format!("/conditions/0{at}").as_str()),
        "{condition}"
    );
}

#[test]
fn t13_bad_definitions_are_refused_with_their_place() {
    let leaf =
        |data_type: &str, operator: &str, value: Json| json!({"property":"p","type":data_type,"operator":operator,"value":value});
    for value in [
        json!("1 OR 1=1"),
        json!(""),
        json!(null),
        json!(1.5),
        json!("1.5"),
        json!(true),
        json!([1]),
        json!("99999999999999999999"),
    ] {
        refused(leaf("integer", "equals", value), "/value");
    }
    for value in [json!("1,5"), json!("NaN"), json!("1e999"), json!("0x10"), json!({})] {
        refused(leaf("float", "less_than", value), "/value");
    }
    refused(leaf("string", "equals", json!(5)), "/value");
    refused(leaf("string", "equals", json!(null)), "/value");
    refused(leaf("dateTime", "before_date", json!("yesterday")), "/value");
    refused(leaf("dateTime", "before_date", json!(1_700_000_000)), "/value");
    for value in [json!(-1), json!("1.5"), json!("x"), json!(i64::MAX)] {
        refused(leaf("dateTime", "within_last_days", value), "/value");
    }
    refused(leaf("array", "contains", json!(["a"])), "/value");
    for (data_type, operator) in [
        ("string", "less_than"),
        ("string", "like"),
        ("integer", "contains"),
        ("boolean", "equals"),
        ("dateTime", "not_equals"),
        ("array", "equals"),
        ("array", "contains_any"),
        ("float", "true"),
        ("object", "equals"),
        ("string", ""),
    ] {
        refused(leaf(data_type, operator, json!("1")), "/operator");
    }
    refused(leaf("text", "equals", json!("1")), "/type");
    refused(json!({"property":"p","operator":"equals","value":"1"}), "/type");
    refused(json!({"key":"p","dataType":7,"operator":"equals","value":"1"}), "/dataType");
    refused(json!({"property":"","type":"string","operator":"exists"}), "/property");
    refused(json!({"type":"string","operator":"exists"}), "/property");
    refused(json!({"property":"p","type":"string"}), "/operator");
    refused(json!({"property":"p","type":"string","operator":"exists","orMissing":"yes"}), "/orMissing");
    refused(json!({"property":"p","type":"string","operator":"equals","target":"moon"}), "/target");
    refused(json!({"property":"p","type":"string","operator":"equals","target":"custom_trait"}), "/traitKey");
    refused(json!({"property":"p","type":"string","operator":"exists","target":"custom_trait","traitKey":"k"}), "/operator");
    refused(
        json!({"property":"p","type":"string","operator":"equals","target":"funnel_property","internalEventId":"i","eventProperty":"q"}),
        "/target",
    );
    refused(
        json!({"property":"p","type":"string","operator":"equals","target":"custom_trait","traitKey":"k","readAt":"now"}),
        "/readAt",
    );
    refused(json!("p"), "");
}

#[test]
fn t13_all_problems_are_reported_at_once() {
    let list = json!([
        {"property":"a","type":"integer","operator":"equals","value":"x"},
        {"any":[{"property":"b","type":"string","operator":"nope","value":"x"},{"not":{"property":"c","type":"float","operator":"equals","value":""}}]},
        {"all":[]},
        {"any":[],"all":[]},
    ]);
    let pointers: Vec<_> = try_compile(&list, EVENT).unwrap_err().into_iter().map(|issue| issue.pointer).collect();
    assert_eq!(
        pointers,
        [
            "/conditions/0/value",
            "/conditions/1/any/0/operator",
            "/conditions/1/any/1/not/value",
            "/conditions/2/all",
            "/conditions/3",
            "/conditions/3/any"
        ]
    );
}

#[test]
fn places_read_what_is_theirs() {
    let earlier = [EarlierStep { internal_id: "s1", event: EventSlot(4), step: 1 }];
    let list = json!([{"key":"product","dataType":"string","operator":"equals","target":"funnel_property","eventId":"e","internalEventId":"s1","eventProperty":"sku"}]);
    let place = Place::AudienceStep { event: EventSlot(0), earlier: &earlier };
    let expr = try_compile(&list, place).unwrap();
    let event = |text: &str| Value::from_json(&json!({"product": text}));
    let captured = vec![Value::Null, Value::from_json(&json!({"sku": "A"}))];
    assert!(expr.eval(&Docs { event: event("A"), captured: captured.clone(), ..Docs::default() }, Millis(0)).holds);
    assert!(!expr.eval(&Docs { event: event("B"), captured, ..Docs::default() }, Millis(0)).holds);
    // A later or excluded step is not among the earlier ones.
    let later = Place::AudienceStep { event: EventSlot(0), earlier: &[] };
    assert_eq!(try_compile(&list, later).unwrap_err()[0].pointer, "/conditions/0/internalEventId");

    let traits = json!([
        {"source":"custom","key":"age","dataType":"integer","operator":"greater_than","target":"static","value":"18"},
        {"source":"computed","key":"t1","dataType":"float","operator":"less_than","target":"custom_trait","traitKey":"limit","readAt":"now"},
        {"source":"computed","key":"gone","dataType":"float","operator":"not_exists"},
    ]);
    let expr = try_compile(&traits, Place::AudienceTrait { earlier: &[] }).unwrap();
    let facts = Docs {
        custom: Value::from_json(&json!({"age": 19, "limit": 5})),
        computed: vec![Value::Null, Value::Float(4.5)],
        ..Docs::default()
    };
    assert!(expr.eval(&facts, Millis(0)).holds);
    let mut sources = Vec::new();
    expr.sources(&mut |source| sources.push(format!("{source:?}")));
    assert_eq!(sources, ["Custom(#0.age)", "Computed(TraitSlot(1))", "Custom(#0.limit)"]);
    for source in [json!("moon"), json!(null)] {
        let list = json!([{"source":source,"key":"age","type":"integer","operator":"exists"}]);
        assert_eq!(try_compile(&list, Place::ActionTrait).unwrap_err()[0].pointer, "/conditions/0/source");
    }

    let context = json!([{"channel":"web","key":"page.path","type":"string","operator":"starts_with","value":"/cart"}]);
    let expr = try_compile(&context, Place::ActionContext { channel: ChannelSlot(0) }).unwrap();
    let facts = Docs { context: Value::from_json(&json!({"page": {"path": "/cart/1"}})), ..Docs::default() };
    assert!(expr.eval(&facts, Millis(0)).holds);
}

#[test]
fn groups_combine_and_are_bounded() {
    let leaf = |key: &str| json!({"property": key, "operator": "exists"});
    let expr = try_compile(&json!([{"any":[leaf("a"), {"all":[leaf("b"), {"not": leaf("c")}]}]}]), EVENT).unwrap();
    for (event, expect) in [(json!({}), false), (json!({"a":1}), true), (json!({"b":1}), true), (json!({"b":1,"c":1}), false)] {
        assert_eq!(expr.eval(&Docs { event: Value::from_json(&event), ..Docs::default() }, Millis(0)).holds, expect, "{event}");
    }
    let nested = |depth: usize| (0..depth).fold(leaf("a"), |inner, _| json!({"not": inner}));
    assert!(try_compile(&json!([nested(DEPTH_MAX)]), EVENT).is_ok());
    assert!(try_compile(&json!([nested(DEPTH_MAX + 1)]), EVENT).is_err());
    let many = |count: usize| json!([{"any": vec![leaf("a"); count]}]);
    assert!(try_compile(&many(LEAVES_MAX), EVENT).is_ok());
    assert_eq!(try_compile(&many(LEAVES_MAX + 1), EVENT).unwrap_err()[0].pointer, "/conditions");
    let always = try_compile(&json!([]), EVENT).unwrap();
    assert!(always.is_always() && always.eval(&NoFacts, Millis(0)) == Truth::forever(true));
    assert!(always.clone().and(expr.clone()).eval(&NoFacts, Millis(0)) == expr.eval(&NoFacts, Millis(0)));
    assert!(Expr::default().is_always() && !expr.is_always());
}

#[test]
fn explanations_show_the_clause_and_what_it_saw() {
    let list = json!([
        {"property":"price","type":"float","operator":"greater_than","value":"10"},
        {"any":[{"property":"gone","type":"string","operator":"equals","value":"x","orMissing":true},
                {"key":"n","type":"integer","operator":"less_than","target":"computed_trait","traitKey":"t0"}]},
    ]);
    let facts =
        Docs { event: Value::from_json(&json!({"price": 9.5, "n": 3})), computed: vec![Value::Int(2)], ..Docs::default() };
    let told = serde_json::to_value(try_compile(&list, EVENT).unwrap().explain(&facts, Millis(0))).unwrap();
    assert_eq!(
        told,
        json!({"clause":"all","holds":false,"parts":[
            {"clause":"event price greater_than \"10\"","holds":false,"seen":9.5},
            {"clause":"any","holds":true,"parts":[
                {"clause":"event gone equals \"x\" or missing","holds":true},
                {"clause":"event n less_than computed t0","holds":false,"seen":3,"against":2}]}]})
    );
}
