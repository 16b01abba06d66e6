use super::*;
use crate::action::testing::{APP, Names, Someone, WEB, action, berlin};
use crate::action::{ActionDef, ActionType};
use serde_json::{Value as Json, json};

fn sent(def: &ActionDef, channel: ChannelSlot, person: &Someone) -> Json {
    let pairs = def.properties.render(channel, person);
    pairs.into_iter().map(|(name, value)| (name.to_string(), value.to_json())).collect::<serde_json::Map<_, _>>().into()
}

fn one(property: Json) -> ActionDef {
    let mut property = property;
    property["channels"] = json!(["web"]);
    property["name"] = json!("x");
    action(json!({ "properties": [property] }))
}

#[track_caller]
fn check(property: Json, person: &Someone, expect: Json) {
    let shown = property.to_string();
    assert_eq!(sent(&one(property), WEB, person), expect, "{shown}");
}

// T-72: the default of a missing trait has the type of the trait; omitMissing leaves it out; an array
// stays an array.
#[test]
fn t72_missing_traits_and_arrays() {
    let nobody = Someone::default();
    let computed = |key: &str, kind: &str| json!({"type": "computed_trait", "sourceKey": key, "sourceType": kind});
    check(computed("orders", "integer"), &nobody, json!({"x": 0}));
    check(computed("orders", ""), &nobody, json!({"x": 0}));
    check(computed("revenue", "float"), &nobody, json!({"x": 0.0}));
    check(computed("size", "string"), &nobody, json!({"x": ""}));
    let custom = |key: &str| json!({"type": "custom_trait", "sourceKey": key});
    check(custom("vip"), &nobody, json!({"x": false}));
    check(custom("tags"), &nobody, json!({"x": []}));
    check(custom("d"), &nobody, json!({"x": ""}));
    let mut omit = computed("orders", "integer");
    omit["omitMissing"] = json!(true);
    check(omit, &nobody, json!({}));
    let mut someone = Someone::default();
    someone.custom.insert("tags", Value::Array(vec!["a".into(), 1.into()]));
    someone.custom.insert("d", Value::Time(crate::ids::Millis(123)));
    someone.computed.insert("revenue", 12.5.into());
    someone.computed.insert("orders", 3.into());
    check(custom("tags"), &someone, json!({"x": ["a", 1]}));
    check(custom("d"), &someone, json!({"x": "1970-01-01T00:00:00.123Z"}));
    check(computed("revenue", "float"), &someone, json!({"x": 12.5}));
    check(computed("orders", "integer"), &someone, json!({"x": 3}));
    check(computed("orders", "float"), &someone, json!({"x": 3.0}));
    check(computed("orders", "string"), &someone, json!({"x": "3"}));
    check(computed("orders", "boolean"), &someone, json!({"x": false}));
}

#[test]
fn a_trait_that_is_gone_is_missing() {
    check(json!({"type": "computed_trait", "sourceKey": "gone", "sourceType": "integer"}), &Someone::default(), json!({"x": 0}));
    check(json!({"type": "custom_trait", "sourceKey": "gone", "sourceType": ""}), &Someone::default(), json!({"x": ""}));
}

// The type's entries are defaults; per channel the last entry of a name wins; no channel means nowhere.
#[test]
fn the_last_entry_of_a_name_wins_in_its_channel() {
    let mut issues = Vec::new();
    let kind = json!({"name": "banner", "version": 2, "properties": [
        {"channels": ["web", "app"], "type": "text", "name": "title", "value": "default"},
        {"channels": ["web"], "type": "text", "name": "color", "value": "blue"}]});
    let kind = ActionType::compile(&kind, &Names, "/actionTypes/0", &mut issues).expect("a type");
    let json = json!({"properties": [
        {"channels": ["web"], "type": "text", "name": "title", "value": "first"},
        {"channels": ["web"], "type": "text", "name": "title", "value": "second"},
        {"channels": [], "type": "text", "name": "title", "value": "nowhere"},
        {"channels": ["app"], "type": "text", "name": "extra", "value": 7}]});
    let def = ActionDef::compile(&json, &kind, &Names, &berlin(), "", &mut issues).expect("an action");
    assert_eq!((issues, def.type_name.as_str(), def.type_version), (vec![], "banner", 2));
    assert_eq!(sent(&def, WEB, &Someone::default()), json!({"title": "second", "color": "blue"}));
    assert_eq!(sent(&def, APP, &Someone::default()), json!({"title": "default", "extra": 7}));
    assert_eq!(sent(&def, ChannelSlot(9), &Someone::default()), json!({}));
    assert!(def.properties.is_fixed(WEB));
}

#[test]
fn placeholders_are_told_to_the_index() {
    let def = one(json!({"type": "computed_trait", "sourceKey": "size"}));
    let mut read = Vec::new();
    def.sources(&mut |source| read.push(source.clone()));
    assert_eq!(read, [Source::Computed(crate::ids::TraitSlot(1))]);
    assert!(!def.properties.is_fixed(WEB) && def.properties.is_fixed(APP));
}
