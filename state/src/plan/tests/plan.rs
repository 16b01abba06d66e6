//! Plans: lookups, indexes, fingerprints.

use super::fixtures::{apply, fresh, plan, put, shop};
use crate::ids::{ActionSlot, AudienceSlot, ChannelSlot, PathId, TraitSlot};
use crate::plan::{Catalog, Plan, TokenKind};
use crate::schema::UnknownKeys;
use serde_json::{Value, json};

fn names_of_audiences(plan: &Plan, slots: &[AudienceSlot]) -> Vec<String> {
    slots.iter().map(|slot| plan.audience_plan(*slot).unwrap().key.clone()).collect()
}

fn names_of_actions(plan: &Plan, slots: &[ActionSlot]) -> Vec<String> {
    slots.iter().map(|slot| plan.action_plan(*slot).unwrap().name.clone()).collect()
}

fn names_of_traits(plan: &Plan, slots: &[TraitSlot]) -> Vec<String> {
    slots.iter().map(|slot| plan.trait_plan(*slot).unwrap().key.clone()).collect()
}

// I1: each name leads to those and only those that read it.
#[test]
fn inverted_indexes() {
    let plan = plan(&fresh(&shop()));
    let event = |name| plan.event_by_name(name).unwrap();
    assert_eq!(names_of_traits(&plan, &event("Purchase").traits), ["revenue"]);
    assert_eq!(names_of_traits(&plan, &event("Page Viewed").traits), Vec::<String>::new());
    assert_eq!(names_of_audiences(&plan, &event("Purchase").audiences), ["abandoned-cart", "never-bought"]);
    assert_eq!(names_of_audiences(&plan, &event("Cart Updated").audiences), ["abandoned-cart"]);
    assert_eq!(names_of_actions(&plan, &event("Page Viewed").actions), ["Hello App"]);
    let revenue = plan.trait_by_key("revenue").unwrap();
    assert_eq!(names_of_audiences(&plan, &revenue.audiences), ["big"]);
    assert_eq!(names_of_actions(&plan, &revenue.actions), ["10% coupon"]);
    assert_eq!(names_of_actions(&plan, &plan.trait_by_key("views").unwrap().actions), ["10% coupon"]);
    let audience = |key| plan.audience_by_key(key).unwrap();
    assert_eq!(names_of_actions(&plan, &audience("abandoned-cart").actions), ["10% coupon"]);
    // Inactive actions are candidates of nothing.
    assert_eq!(names_of_actions(&plan, &audience("big").actions), ["Hello App"]);
    assert_eq!(names_of_audiences(&plan, plan.always_audiences()), ["big", "never-bought"]);
    // Compared as of the event, a custom trait touches no membership; shown by the type's defaults it
    // touches all actions of the type.
    let path = |name: &str| plan.paths.get(name).unwrap();
    assert_eq!(names_of_audiences(&plan, &plan.custom_touch(path("age")).audiences), ["big"]);
    assert!(plan.custom_touch(path("size")).audiences.is_empty());
    assert_eq!(names_of_actions(&plan, &plan.custom_touch(path("size")).actions), ["10% coupon", "Hello App"]);
    assert!(plan.custom_touch(PathId(9999)).actions.is_empty());
    let web = plan.channel_by_key("web").unwrap();
    assert_eq!(names_of_actions(&plan, plan.context_touch(web.slot)), ["10% coupon"]);
    assert_eq!(names_of_actions(&plan, plan.actions_of_channel(web.slot)), ["10% coupon", "Asleep"]);
    assert_eq!(names_of_actions(&plan, plan.timed_actions()), ["10% coupon"]);
    assert!(plan.actions_of_channel(ChannelSlot(99)).is_empty());
    assert_eq!(plan.audience_slots().count(), 3);
}

#[test]
fn schemas_and_tokens() {
    let plan = plan(&fresh(&shop()));
    let (web, app) = (plan.channel_by_key("web").unwrap().slot, plan.channel_by_key("app").unwrap().slot);
    let purchase = plan.event_by_name("Purchase").unwrap();
    assert_eq!(purchase.version, 1);
    let props = purchase.schema.validate(r#"{"total":"19.90","items":2}"#, &plan.zone).unwrap();
    assert_eq!(plan.paths.render(&props), json!({"total": 19.9, "items": 2}));
    assert!(purchase.schema.validate(r#"{"x":1}"#, &plan.zone).is_err());
    let context = plan.context_schema(web).unwrap();
    assert!(context.validate(r#"{"page":{"path":"/cart"}}"#, &plan.zone).is_ok());
    assert!(plan.context_schema(app).is_none());
    let anything = plan.open_schema().validate_as(r#"{"a":{"b":1}}"#, &plan.zone, UnknownKeys::Open).unwrap();
    assert_eq!(plan.paths.render(&anything), json!({"a": {"b": 1}}));
    assert!(plan.custom_schema().is_some() && plan.custom_version() == 1);
    let secret = plan.token("ls_sk_web_0001").unwrap();
    assert_eq!((secret.channel, secret.kind, secret.import), (Some(web), TokenKind::Secret, true));
    assert_eq!(plan.token("ls_ad_0001_abc").unwrap().channel, None);
    assert_eq!(plan.token("LS_SK_WEB_0001"), None);
    assert_eq!(plan.event_by_name("purchase").map(|event| event.slot), None);
}

#[test]
fn a_stored_catalog_makes_the_same_plan() {
    let catalog = fresh(&shop());
    let (a, b) = (plan(&catalog), plan(&Catalog::from_bytes(&catalog.to_bytes()).unwrap()));
    assert_eq!(*a.paths, *catalog.paths());
    assert_eq!(*a.paths, *b.paths);
    assert_eq!(prints(&a), prints(&b));
    assert_eq!(a.version, 1);
}

fn prints(plan: &Plan) -> Vec<(String, u64)> {
    let traits = plan.traits.iter().flatten().map(|known| (known.key.clone(), known.fingerprint));
    let audiences = plan.audiences.iter().flatten().map(|known| (known.key.clone(), known.fingerprint));
    let actions = plan.actions.iter().flatten().map(|known| (known.name.clone(), known.fingerprint));
    traits.chain(audiences).chain(actions).collect()
}

/// Names of what has another fingerprint after `change`.
#[track_caller]
fn rebuilt(pointer: &str, value: Value) -> Vec<String> {
    let first = fresh(&shop());
    let mut doc = shop();
    put(&mut doc, pointer, value);
    let second = apply(&first, &doc);
    assert_ne!(first, second);
    let (before, after) = (prints(&plan(&first)), prints(&plan(&second)));
    after.into_iter().filter(|print| !before.contains(print)).map(|(name, _)| name).collect()
}

#[test]
fn fingerprints_cover_what_influences_state_and_nothing_else() {
    let none = Vec::<String>::new();
    assert_eq!(rebuilt("/computedTraits/0/name", json!("Turnover")), none);
    assert_eq!(rebuilt("/audiences/1/description", json!("rich")), none);
    assert_eq!(rebuilt("/events/3/description", json!("x")), none);
    assert_eq!(rebuilt("/events/3/structure/-", json!({"properties": {"key": "more", "type": "string"}})), none);
    // The definition itself, and what reads it.
    assert_eq!(rebuilt("/computedTraits/0/conditions", json!([])), ["revenue", "big", "10% coupon"]);
    assert_eq!(
        rebuilt("/computedTraits/1/properties", json!({"window": {"amount": 1, "unit": "days"}})),
        ["views", "10% coupon"]
    );
    assert_eq!(rebuilt("/audiences/1/includeAnonymous", json!(false)), ["big"]);
    assert_eq!(rebuilt("/actions/1/priority", json!(3)), ["Hello App"]);
    // Days are days of the organisation's zone; only who reads dates looks at it.
    assert_eq!(rebuilt("/organization/timezone", json!("UTC")), ["10% coupon", "Hello App", "Asleep"]);
    let dated = json!([{"property": "at", "type": "dateTime", "operator": "exists"}]);
    let mut doc = shop();
    put(
        &mut doc,
        "/computedTraits/1",
        json!({"name": "C", "key": "c", "type": "count_events", "eventId": "Cart Updated", "conditions": dated, "properties": {}}),
    );
    doc["actions"] = json!([]);
    let first = fresh(&doc);
    doc["organization"]["timezone"] = json!("UTC");
    let second = apply(&first, &doc);
    let (before, after) = (plan(&first), plan(&second));
    assert_ne!(before.trait_by_key("c").unwrap().fingerprint, after.trait_by_key("c").unwrap().fingerprint);
    assert_eq!(before.trait_by_key("revenue").unwrap().fingerprint, after.trait_by_key("revenue").unwrap().fingerprint);
}

// Conditions on what nobody has defined read the open place, and the declared one once it is declared.
#[test]
fn undeclared_custom_traits_and_contexts() {
    let mut doc = shop();
    doc.as_object_mut().unwrap().remove("customTraits");
    doc.as_object_mut().unwrap().remove("contexts");
    let first = fresh(&doc);
    let before = plan(&first);
    let open = before.paths.get("").unwrap();
    assert_eq!(names_of_audiences(&before, &before.custom_touch(open).audiences), ["big"]);
    assert!(before.custom_schema().is_none());
    let second = apply(&first, &shop());
    let after = plan(&second);
    assert!(after.custom_touch(open).audiences.is_empty());
    assert_ne!(before.audience_by_key("big").unwrap().fingerprint, after.audience_by_key("big").unwrap().fingerprint);
}

// A trait that names no type takes the declared one, so it is built anew when that changes.
#[test]
fn a_retyped_property_is_another_input() {
    let mut doc = shop();
    doc["computedTraits"][1] = json!({"name": "Seen", "key": "views", "type": "unique_list_count", "eventId": "Product Viewed",
        "conditions": [], "properties": {"property": "price"}});
    let first = fresh(&doc);
    put(&mut doc, "/events/1/structure/1/properties/type", json!("string"));
    let second = apply(&first, &doc);
    let print = |catalog| plan(catalog).trait_by_key("views").unwrap().fingerprint;
    assert_ne!(print(&first), print(&second));
}
