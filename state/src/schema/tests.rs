//! The tables of the specification, and a naive validator beside the compiled one.

mod naive;

use super::*;
use crate::issue::{DEFINITION_INVALID, Issue};
use crate::paths::PathTable;
use crate::time::Zone;
use crate::value::Value;
use serde_json::{Value as Json, json};

pub(super) fn berlin() -> Zone {
    Zone::parse("Europe/Berlin").unwrap()
}

pub(super) fn structure(json: &Json) -> Structure {
    serde_json::from_value(json.clone()).unwrap()
}

/// `key:type`, with `!` for required.
fn leaves(text: &str) -> Json {
    let node = |word: &str| {
        let required = word.ends_with('!');
        let (key, data_type) = word.trim_end_matches('!').split_once(':').unwrap();
        json!({"id": key, "name": key, "properties": {"key": key, "type": data_type, "isRequired": required}})
    };
    text.split_whitespace().map(node).collect()
}

pub(super) fn run(structure: &Structure, cast: bool, unknown: UnknownKeys, raw: &str) -> Result<Json, Vec<FieldError>> {
    let mut paths = PathTable::default();
    let schema = Schema::compile(structure, cast, UnknownKeys::Strict, &mut paths).unwrap();
    let props = schema.validate_as(raw, &berlin(), unknown)?;
    Ok(paths.render(&props))
}

/// The stored document, or `path rule` of each error.
fn stored(nodes: &Json, raw: &str) -> Json {
    match run(&structure(nodes), true, UnknownKeys::Strict, raw) {
        Ok(json) => json,
        Err(errors) => errors.iter().map(|e| format!("{} {}", e.path, e.rule)).collect(),
    }
}

fn page_viewed() -> Json {
    leaves("page:string!")
}

fn checkout() -> Json {
    leaves("total:float! items:integer!")
}

#[test]
fn i7_unknown_key() {
    assert_eq!(stored(&page_viewed(), r#"{"page":"/","x":1}"#), json!(["x unknown"]));
}

#[test]
fn i8_absent_properties_are_the_empty_object() {
    for raw in ["", " ", "null", "{}"] {
        assert_eq!(stored(&page_viewed(), raw), json!(["page required"]), "{raw:?}");
    }
    assert_eq!(stored(&json!([]), ""), json!({}));
}

#[test]
fn i9_text_is_cast() {
    assert_eq!(stored(&checkout(), r#"{"total":"19.90","items":"2"}"#), json!({"total":19.9,"items":2}));
}

#[test]
fn i10_whole_numbers() {
    assert_eq!(stored(&checkout(), r#"{"total":1,"items":2.5}"#), json!(["items type"]));
    assert_eq!(stored(&checkout(), r#"{"total":1,"items":2.0}"#), json!({"total":1,"items":2}));
}

#[test]
fn i11_null() {
    assert_eq!(stored(&checkout(), r#"{"total":null,"items":1}"#), json!(["total required"]));
    assert_eq!(stored(&leaves("total:float items:integer!"), r#"{"total":null,"items":1}"#), json!({"items":1}));
}

#[test]
fn i12_dates() {
    let when = leaves("when:dateTime");
    assert_eq!(stored(&when, r#"{"when":"2026-07-01"}"#), json!({"when":"2026-06-30T22:00:00.000Z"}));
    assert_eq!(stored(&when, r#"{"when":"yesterday"}"#), json!(["when type"]));
}

fn issues(nodes: &Json) -> Vec<String> {
    let mut errors = Vec::new();
    structure(nodes).check("/structure", &mut errors);
    assert!(errors.iter().all(|issue: &Issue| issue.code == DEFINITION_INVALID));
    assert_eq!(
        Schema::compile(&structure(nodes), true, UnknownKeys::Strict, &mut PathTable::default()).is_err(),
        !errors.is_empty()
    );
    errors.into_iter().map(|issue| issue.pointer).collect()
}

// I-13, P-15 and the table of 2.1: what cannot be used is refused, all of it, with its place.
#[test]
fn i13_bad_definitions() {
    let node = |key: &str, data_type: &str| json!({"properties":{"key":key,"type":data_type}});
    assert!(issues(&json!([])).is_empty());
    let bad = json!([
        {"properties":{"key":"a","type":"string","pattern":"("}},
        node("b", "text"), node("c", ""), node("", "string"), node("d.e", "string"), node("b", "string"),
        {"properties":{"key":"f","type":"object"},"children":[node("g", "string"), node("g", "integer"), {"properties":{"key":"h","type":"string","pattern":"(?=x)"}}]},
        {"properties":{"key":"i","type":"array","items":{"properties":{"type":"nope"}}}},
        {"properties":{"key":"j","type":"string","items":{"properties":{"type":"string"}}}},
        {"properties":{"key":"k","type":"string","pattern":"(a{1000}){1000}"}},
        node(&"l".repeat(65), "string"),
    ]);
    assert_eq!(
        issues(&bad),
        [
            "/structure/0/properties/pattern",
            "/structure/1/properties/type",
            "/structure/2/properties/type",
            "/structure/3/properties/key",
            "/structure/4/properties/key",
            "/structure/5/properties/key",
            "/structure/6/children/1/properties/key",
            "/structure/6/children/2/properties/pattern",
            "/structure/7/properties/items/properties/type",
            "/structure/8/properties/items",
            "/structure/9/properties/pattern",
            "/structure/10/properties/key",
        ]
    );
    let deep = |levels: usize| {
        (1..levels).fold(node("a", "string"), |inner, _| json!({"properties":{"key":"a","type":"object"},"children":[inner]}))
    };
    assert!(issues(&json!([deep(DEPTH_MAX)])).is_empty());
    assert_eq!(issues(&json!([deep(DEPTH_MAX + 1)])).len(), 1);
    let wide = |count: usize| (0..count).map(|i| node(&format!("k{i}"), "string")).collect::<Json>();
    assert!(issues(&wide(NODES_MAX)).is_empty());
    assert_eq!(issues(&wide(NODES_MAX + 1)), ["/structure"]);
    // Null is no structure, an export's null fields are.
    assert!(serde_json::from_str::<Structure>("null").is_err());
    let lenient =
        r#"[{"id":null,"name":null,"children":null,"properties":{"key":"a","type":"string","pattern":null,"isRequired":null}}]"#;
    assert!(issues(&serde_json::from_str(lenient).unwrap()).is_empty());
}

#[test]
fn i14_an_object_without_children_is_open() {
    assert_eq!(
        stored(&leaves("meta:object"), r#"{"meta":{"a":1,"b":{"c":[null,{}]}}}"#),
        json!({"meta":{"a":1,"b":{"c":[null,{}]}}})
    );
    assert_eq!(stored(&leaves("meta:object"), r#"{"meta":[]}"#), json!(["meta type"]));
}

fn nested() -> Json {
    json!([{"properties":{"key":"page","type":"object"},"children":[
        {"properties":{"key":"url","type":"string","isRequired":true}}, {"properties":{"key":"filters","type":"array"}}]}])
}

#[test]
fn i15_nested_keys() {
    assert_eq!(stored(&nested(), r#"{"page":{}}"#), json!(["page.url required"]));
    assert_eq!(stored(&nested(), r#"{"page":{"url":null,"x":1}}"#), json!(["page.x unknown", "page.url required"]));
    assert_eq!(stored(&nested(), r#"{"page":{"url":"/","filters":[1,"a"]}}"#), json!({"page":{"url":"/","filters":[1,"a"]}}));
    assert_eq!(stored(&nested(), "{}"), json!({}));
    assert_eq!(stored(&nested(), r#"{"page":"/"}"#), json!(["page type"]));
    let listed = serde_json::to_value(structure(&nested()).properties()).unwrap();
    assert_eq!(listed, json!([{"key":"page.url","type":"string"},{"key":"page.filters","type":"array"}]));
    assert_eq!(structure(&nested()).data_type("page.filters"), Some(DataType::Array));
    assert_eq!(structure(&nested()).data_type("page"), Some(DataType::Object));
    assert_eq!(structure(&nested()).data_type("page.x"), None);
}

/// The table of 2.3: what a declared type makes of a value, `reject` for an error, with and without casting.
#[test]
fn i9_casting_table() {
    let table = [
        ("string", r#""a""#, json!("a"), true),
        ("string", "42", json!("42"), false),
        ("string", "42.0", json!("42"), false),
        ("string", "-0.0", json!("0"), false),
        ("string", "1.50", json!("1.5"), false),
        ("string", "1e21", json!("1e21"), false),
        ("string", "true", json!("true"), false),
        ("string", "[]", json!("reject"), false),
        ("string", "{}", json!("reject"), false),
        ("integer", "42", json!(42), true),
        ("integer", "42.0", json!(42), true),
        ("integer", r#"" +42 ""#, json!(42), false),
        ("integer", r#""-7""#, json!(-7), false),
        ("integer", "1.5", json!("reject"), false),
        ("integer", r#""42.0""#, json!("reject"), false),
        ("integer", "true", json!("reject"), false),
        ("integer", "9007199254740991", json!(9_007_199_254_740_991_i64), true),
        ("integer", "9007199254740992", json!("reject"), false),
        ("integer", r#""9007199254740992""#, json!("reject"), false),
        ("integer", "18446744073709551615", json!("reject"), false),
        ("integer", r#""""#, json!("reject"), false),
        ("float", "1.5", json!(1.5), true),
        ("float", "3", json!(3), true),
        ("float", r#""1.5e3""#, json!(1500.0), false),
        ("float", r#""1,5""#, json!("reject"), false),
        ("float", r#""NaN""#, json!("reject"), false),
        ("float", r#""1e999""#, json!("reject"), false),
        ("float", r#"" 1""#, json!("reject"), false),
        ("float", r#""1.""#, json!("reject"), false),
        ("float", "true", json!("reject"), false),
        ("float", "1e999", json!("reject"), false),
        ("float", "9007199254740993", json!(9_007_199_254_740_993_i64), true),
        ("boolean", "true", json!(true), true),
        ("boolean", r#""TRUE""#, json!(true), false),
        ("boolean", "0", json!(false), false),
        ("boolean", r#""1""#, json!(true), false),
        ("boolean", "2", json!("reject"), false),
        ("boolean", r#""yes""#, json!("reject"), false),
        ("dateTime", r#""2026-07-01T10:00:00.1234+02:00""#, json!("2026-07-01T08:00:00.123Z"), true),
        ("dateTime", r#""2026-07-01T10:00:00""#, json!("2026-07-01T08:00:00.000Z"), false),
        ("dateTime", "1709287200", json!("2024-03-01T10:00:00.000Z"), false),
        ("dateTime", "1709287200123", json!("2024-03-01T10:00:00.123Z"), false),
        ("dateTime", "1.5", json!("reject"), false),
        ("dateTime", r#""1709287200""#, json!("reject"), false),
        ("dateTime", "true", json!("reject"), false),
        ("array", r#"[1,"a",null]"#, json!([1, "a", null]), true),
        ("array", "1", json!("reject"), false),
        ("array", "{}", json!("reject"), false),
        ("object", "{}", json!({}), true),
        ("object", "1", json!("reject"), false),
        ("object", r#""{}""#, json!("reject"), false),
    ];
    for (data_type, raw, expect, strict) in table {
        let nodes = structure(&leaves(&format!("k:{data_type}")));
        let document = format!(r#"{{"k":{raw}}}"#);
        for cast in [true, false] {
            let expect = if cast || strict { &expect } else { &json!("reject") };
            let got = run(&nodes, cast, UnknownKeys::Strict, &document);
            let got = got.map_or_else(
                |errors| {
                    assert_eq!((errors[0].path.as_str(), errors[0].rule), ("k", "type"));
                    json!("reject")
                },
                |json| json["k"].clone(),
            );
            assert_eq!(got, *expect, "{data_type} {raw} cast {cast}");
        }
    }
}

// I-18: patterns look at the text before casting, unanchored.
#[test]
fn i18_patterns() {
    let field =
        |data_type: &str, pattern: &str| json!([{"properties":{"key":"k","type":data_type,"pattern":pattern,"isRequired":true}}]);
    for (data_type, pattern, raw, expect) in [
        ("string", "^[A-Z]{2}$", r#""de""#, json!(["k pattern"])),
        ("string", "^[A-Z]{2}$", r#""DE""#, json!({"k":"DE"})),
        ("string", "b", r#""abc""#, json!({"k":"abc"})),
        ("integer", "^4", "42", json!({"k":42})),
        ("integer", "^4", "52", json!(["k pattern"])),
        ("integer", "^4$", "4.0", json!({"k":4})),
        ("boolean", "^(true|false)$", "1", json!(["k pattern"])),
        ("float", r"^\d+\.\d\d$", r#""19.90""#, json!({"k":19.9})),
        ("string", "^a", "null", json!(["k required"])),
        ("array", "^a", "[]", json!({"k":[]})),
        ("string", "^a", "[]", json!(["k type"])),
        ("dateTime", "^2026", r#""2025-01-01""#, json!(["k pattern"])),
        ("integer", "^4", r#""5x""#, json!(["k pattern"])),
    ] {
        assert_eq!(stored(&field(data_type, pattern), &format!(r#"{{"k":{raw}}}"#)), expect, "{data_type} {pattern} {raw}");
    }
}

#[test]
fn policies_for_unknown_keys() {
    let nodes = structure(&nested());
    let raw = r#"{"a":1,"page":{"url":"/","more":{"x":[1]},"nil":null},"b":null}"#;
    assert_eq!(run(&nodes, true, UnknownKeys::Open, raw).unwrap(), json!({"a":1,"page":{"url":"/","more":{"x":[1]}}}));
    assert_eq!(run(&nodes, true, UnknownKeys::Strip, raw).unwrap(), json!({"page":{"url":"/"}}));
    let paths: Vec<_> = run(&nodes, true, UnknownKeys::Strict, raw).unwrap_err().into_iter().map(|e| e.path).collect();
    assert_eq!(paths, ["a", "page.more", "page.nil", "b"]);
    let schema = Schema::compile(&nodes, true, UnknownKeys::Strip, &mut PathTable::default()).unwrap();
    assert_eq!(schema.check(raw, &berlin(), schema.unknown_keys()).stripped, 4);
    assert!(schema.validate(raw, &berlin()).is_ok());
}

// An action listing evaluates against what is right of a context that is not all right.
#[test]
fn the_valid_part_is_kept_beside_the_errors() {
    let mut paths = PathTable::default();
    let nodes = structure(&leaves("a:integer b:integer c:array"));
    let schema = Schema::compile(&nodes, true, UnknownKeys::Strict, &mut paths).unwrap();
    let checked = schema.check(r#"{"a":1,"b":"x","z":0,"c":[1]}"#, &berlin(), UnknownKeys::Strict);
    assert_eq!(paths.render(&checked.props), json!({"a":1,"c":[1]}));
    assert_eq!(checked.errors.len(), 2);
}

#[test]
fn typed_elements() {
    let item = json!({"properties":{"type":"object"},"children":[
        {"properties":{"key":"sku","type":"string","isRequired":true}}, {"properties":{"key":"n","type":"integer"}},
        {"properties":{"key":"tags","type":"array","items":{"properties":{"type":"string","pattern":"^t"}}}}]});
    let nodes = json!([{"properties":{"key":"items","type":"array","items":item}}, {"properties":{"key":"when","type":"array","items":{"properties":{"type":"dateTime","isRequired":true}}}}]);
    assert_eq!(
        stored(&nodes, r#"{"items":[{"sku":7,"n":"2"},null,{"sku":"b","tags":["t1"]}],"when":["2026-07-01"]}"#),
        json!({"items":[{"sku":"7","n":2},null,{"sku":"b","tags":["t1"]}],"when":["2026-06-30T22:00:00.000Z"]})
    );
    assert_eq!(
        stored(&nodes, r#"{"items":[{"sku":"a"},{"n":1,"x":1},{"sku":"c","tags":["t","u"]},5],"when":[null]}"#),
        json!(["items[1].x unknown", "items[1].sku required", "items[2].tags[1] pattern", "items[3] type", "when[0] required"])
    );
}

#[test]
fn limits_and_broken_documents() {
    let open = leaves("o:object a:array");
    let deep = |levels: usize| format!(r#"{{"o":{}{}}}"#, r#"{"x":"#.repeat(levels), "1".to_owned() + &"}".repeat(levels));
    assert!(stored(&open, &deep(15)).is_object());
    assert_eq!(stored(&open, &deep(16)), json!([" limit"]));
    let array = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    assert!(stored(&open, &array(15)).is_object());
    assert_eq!(stored(&open, &array(16)), json!([" limit"]));
    let wide =
        |keys: usize| format!(r#"{{"o":{{{}}}}}"#, (0..keys).map(|i| format!(r#""k{i}":1"#)).collect::<Vec<_>>().join(","));
    assert!(stored(&open, &wide(255)).is_object());
    assert_eq!(stored(&open, &wide(256)), json!([" limit"]));
    for raw in ["[]", "1", "1.5", "true", r#""x""#, "-1", "[[1]]"] {
        assert_eq!(stored(&open, raw), json!([" type"]), "{raw}");
    }
    assert_eq!(stored(&open, r#"{"o":{"a":1}"#), json!(["o type"]));
    assert_eq!(stored(&open, r#"{"o":{"a":1e999}}"#), json!(["o type"]));
    assert_eq!(stored(&open, "{}{}"), json!([" type"]));
    let many: Vec<_> = (0..40).map(|i| format!(r#""z{i}":0"#)).collect();
    assert_eq!(stored(&page_viewed(), &format!("{{{}}}", many.join(","))).as_array().unwrap().len(), ERRORS_MAX);
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    assert_eq!(stored(&checkout(), r#"{"total":1,"items":1,"total":2}"#), json!({"total":2,"items":1}));
    assert_eq!(stored(&checkout(), r#"{"total":1,"items":1,"total":null}"#), json!(["total required"]));
    assert_eq!(stored(&nested(), r#"{"page":{"url":"/","filters":[]},"page":{"url":"/b"}}"#), json!({"page":{"url":"/b"}}));
    assert_eq!(stored(&page_viewed(), "{\"p\\u0061ge\":\"\\u00e9\"}"), json!({"page":"é"}));
}

#[test]
fn wide_levels_find_their_keys_in_any_order() {
    let nodes = leaves(&(0..100).map(|i| format!("k{i}:integer! ")).collect::<String>());
    let document: serde_json::Map<_, _> = (0..100).rev().map(|i| (format!("k{i}"), json!(i))).collect();
    assert_eq!(stored(&nodes, &json!(document).to_string()), json!(document));
    let mut short = document;
    short.remove("k77");
    assert_eq!(stored(&nodes, &json!(short).to_string()), json!(["k77 required"]));
}

#[test]
fn conditions_find_what_documents_hold() {
    let mut paths = PathTable::default();
    let nodes = json!([{"properties":{"key":"meta","type":"object"}}, nested()[0]]);
    let schema = Schema::compile(&structure(&nodes), true, UnknownKeys::Open, &mut paths).unwrap();
    let at = |dotted: &str, open: bool| {
        schema
            .locate(dotted, open)
            .map(|r| (paths.name(r.path).to_owned(), r.rest.iter().map(ToString::to_string).collect::<Vec<_>>()))
    };
    let found = |path: &str, rest: &[&str]| Some((path.to_owned(), rest.iter().map(ToString::to_string).collect::<Vec<_>>()));
    assert_eq!(at("page.url", false), found("page.url", &[]));
    assert_eq!(at("meta", false), found("meta", &[]));
    assert_eq!(at("meta.a.b\\.c", false), found("meta", &["a", "b.c"]));
    assert_eq!(at("x.y", false), None);
    assert_eq!(at("x.y", true), found("", &["x", "y"]));
    assert_eq!(at("page.z", true), found("page.", &["z"]));
    assert_eq!(at("page", true), None);
    assert_eq!(at("page.url.x", true), None);
    let props = schema.validate(r#"{"x":{"y":1},"page":{"url":"/","z":2}}"#, &berlin()).unwrap();
    for (dotted, expect) in [("x.y", 1), ("page.z", 2)] {
        let place = schema.locate(dotted, true).unwrap();
        let value = crate::expr::descend(props.get(place.path).unwrap(), &place.rest);
        assert_eq!(value, Some(&Value::Int(expect)));
    }
}
