//! What applying does when it goes well.

use super::fixtures::{apply, document, example, fresh, put, shop, try_apply};
use crate::ids::DefId;
use crate::plan::{Catalog, CatalogDocument, Kind, LoadError, TokenKind, What};
use serde_json::{Value, json};

#[test]
fn the_example_applies_and_twice_changes_nothing() {
    let (first, diff) = try_apply(&Catalog::default(), &example()).unwrap();
    assert_eq!(first.version(), 1);
    let told: Vec<(Kind, &str, What)> = diff.changes.iter().map(|c| (c.kind, c.name.as_str(), c.what)).collect();
    assert_eq!(
        told,
        [
            (Kind::Channel, "Shop", What::Added),
            (Kind::Event, "Purchase", What::Added),
            (Kind::ComputedTrait, "Spent", What::Added),
            (Kind::Token, "ls_w", What::Added),
            (Kind::Token, "ls_s", What::Added),
            (Kind::Token, "ls_a", What::Added),
        ]
    );
    assert!(diff.organization);
    let (second, diff) = try_apply(&first, &example()).unwrap();
    assert!(diff.is_empty());
    assert_eq!(second, first);
    // Empty sections may be left out or be there, in any order of keys.
    let mut same = example();
    put(&mut same, "/audiences", json!([]));
    put(&mut same, "/actions", Value::Null);
    assert_eq!(apply(&first, &same), first);
}

#[test]
fn a_larger_document_twice_changes_nothing() {
    let first = fresh(&shop());
    let (second, diff) = try_apply(&first, &shop()).unwrap();
    assert!(diff.is_empty(), "{diff:?}");
    assert_eq!(second, first);
}

#[test]
fn ids_are_made_from_kind_and_natural_key() {
    let (a, b) = (fresh(&example()), fresh(&shop()));
    let id = |catalog: &Catalog, kind, text| catalog.find(kind, text).unwrap().id.to_string();
    assert_eq!(id(&a, Kind::Event, "Purchase"), id(&b, Kind::Event, "Purchase"));
    assert_ne!(id(&a, Kind::Event, "Purchase"), id(&a, Kind::ComputedTrait, "spent"));
    // Pinned: these ids are in the data folders and bookmarks of users.
    assert_eq!(id(&a, Kind::Event, "Purchase"), "8b18ab83-5da3-5c01-8e10-b3f8c0b09fbe");
    assert_eq!(id(&a, Kind::Channel, "web"), "272ed1c8-f3ad-52b6-bb9b-5d4ebb5cb6f3");
}

#[test]
fn references_are_stored_by_what_cannot_be_renamed() {
    let first = fresh(&shop());
    let event = first.find(Kind::Event, "Purchase").unwrap().id;
    let revenue = first.find(Kind::ComputedTrait, "revenue").unwrap().json();
    assert_eq!(revenue["eventId"], event.to_string());
    assert_eq!(revenue["properties"]["channels"], json!(["web"]));
    let renamed = apply(
        &first,
        &json!({"events": [{"id": event.to_string(), "name": "Order Placed", "structure": first.find(Kind::Event, "Purchase").unwrap().structure().parse::<Value>().unwrap()}]}),
    );
    assert_eq!(renamed.find(Kind::Event, "Order Placed").unwrap().id, event);
    assert_eq!(renamed.find(Kind::ComputedTrait, "revenue").unwrap().json()["eventId"], event.to_string());
    // The name is free again; a new event of that name is another event.
    let again = apply(&renamed, &json!({"events": [{"name": "Purchase", "structure": []}]}));
    let newcomer = again.find(Kind::Event, "Purchase").unwrap();
    assert_ne!(newcomer.id, event);
    assert_eq!(apply(&again, &json!({"events": [{"name": "Purchase", "structure": []}]})), again);
}

#[test]
fn an_id_a_key_or_a_name_names_the_same() {
    let first = fresh(&shop());
    let abandoned = first.find(Kind::Audience, "abandoned-cart").unwrap().id.to_string();
    for name in ["Abandoned Cart", "abandoned-cart", abandoned.as_str()] {
        let mut doc = shop();
        put(&mut doc, "/actions/0/targeting/audiences", json!([name]));
        put(&mut doc, "/actions/0/type", json!(first.find(Kind::ActionType, "coupon").unwrap().id.to_string()));
        assert_eq!(apply(&first, &doc), first, "{name}");
    }
}

#[test]
fn what_a_document_does_not_name_stays() {
    let first = fresh(&shop());
    let (second, diff) = try_apply(&first, &json!({"channels": [{"name": "Webshop", "key": "web"}]})).unwrap();
    assert_eq!(diff.changes.len(), 1);
    assert_eq!((diff.changes[0].kind, diff.changes[0].what), (Kind::Channel, What::Changed));
    assert_eq!(second.version(), 2);
    let web = second.find(Kind::Channel, "web").unwrap();
    assert_eq!((web.name.as_str(), web.revision, web.created, web.changed), ("Webshop", 2, 1, 2));
    let app = second.find(Kind::Channel, "app").unwrap();
    assert_eq!((app.revision, app.changed), (1, 1));
    // B-01, I-46: absent settings stay.
    let third = apply(&second, &json!({"organization": {"name": "N"}}));
    assert_eq!(third.organization().timezone, "Europe/Berlin");
    assert_eq!(third.organization().name, "N");
}

// I-17: version 1 → 2 with the structure; a new description leaves it.
#[test]
fn i17_structure_versions() {
    let first = fresh(&example());
    let mut doc = example();
    put(&mut doc, "/events/0/description", json!("when somebody pays"));
    let second = apply(&first, &doc);
    let purchase = second.find(Kind::Event, "Purchase").unwrap();
    assert_eq!((purchase.version(), purchase.revision), (1, 2));
    put(&mut doc, "/events/0/structure/-", json!({"properties": {"key": "coupon", "type": "string"}}));
    let third = apply(&second, &doc);
    let purchase = third.find(Kind::Event, "Purchase").unwrap();
    assert_eq!((purchase.version(), purchase.revision), (2, 3));
    assert!(!purchase.structures[0].contains("coupon"));
    // The paths of an old version stay numbered as they were.
    assert_eq!(third.paths().get("amount"), first.paths().get("amount"));
}

#[test]
fn exported_definitions_carry_fields_that_nobody_sets() {
    let exported = json!({
        "channels": [{"id": "11111111-1111-4111-8111-111111111111", "name": "Old", "key": "Web Shop", "createdAt": "2020-01-01T00:00:00Z", "updatedAt": null}],
        "events": [{"id": "22222222-2222-4222-8222-222222222222", "organizationId": "33333333-3333-4333-8333-333333333333", "name": "E", "description": "",
            "version": 0, "structure": [{"id": "a", "name": "a", "children": null, "properties": {"key": "a", "type": "string", "pattern": null, "isRequired": false}}],
            "properties": [{"key": "a", "type": "string"}], "createdAt": "2020-01-01T00:00:00Z", "updatedAt": "2020-01-01T00:00:00Z"}],
        "computedTraits": [{"id": "44444444-4444-4444-8444-444444444444", "name": "T", "key": "t", "type": "count_events", "eventId": "22222222-2222-4222-8222-222222222222",
            "conditions": null, "properties": null, "refreshedAt": null, "createdAt": "2020-01-01T00:00:00Z", "updatedAt": "2020-01-01T00:00:00Z"}],
        "audiences": [{"id": "55555555-5555-4555-8555-555555555555", "name": "A", "description": "x", "includeAnonymous": true, "events": [], "traits": [],
            "profileCount": 12, "refreshedAt": "2020-01-01T00:00:00Z"}],
        "actionTypes": [{"id": "66666666-6666-4666-8666-666666666666", "organizationId": "33333333-3333-4333-8333-333333333333", "name": "banner", "version": 3, "properties": [], "isArchived": true, "isInUse": true, "createdAt": "2020-01-01T00:00:00Z"}],
        "actions": [
            {"name": "young", "type": "66666666-6666-4666-8666-666666666666", "state": "active", "createdAt": "2021-01-01T00:00:00Z", "targeting": {"channels": ["Web Shop"]}},
            {"name": "old", "type": "66666666-6666-4666-8666-666666666666", "typeName": "banner", "typeVersion": 3, "typeProperties": [], "state": "active", "createdAt": "2020-01-01T00:00:00Z", "targeting": {"channels": ["Web Shop"]}},
            {"name": "ours", "type": "66666666-6666-4666-8666-666666666666", "state": "active", "targeting": {"channels": ["Web Shop"]}}
        ]
    });
    let catalog = fresh(&exported);
    assert_eq!(
        catalog.find(Kind::Channel, "Web Shop").unwrap().id,
        "11111111-1111-4111-8111-111111111111".parse::<DefId>().unwrap()
    );
    assert_eq!(apply(&catalog, &exported), catalog);
    let action = catalog.find(Kind::Action, "old").unwrap().json();
    assert_eq!(action.get("typeName"), None);
    // T-79: of two actions with one priority the older goes first.
    let plan = super::fixtures::plan(&catalog);
    let mut order: Vec<_> = plan.actions.iter().flatten().collect();
    order.sort_by_key(|action| action.def.created_at);
    assert_eq!(order.iter().map(|action| action.name.as_str()).collect::<Vec<_>>(), ["old", "young", "ours"]);
    assert_eq!(plan.actions[0].as_ref().unwrap().def.type_name, "banner");
    assert_eq!(plan.actions[0].as_ref().unwrap().def.type_version, 3);
}

#[test]
fn export_applies_to_nothing_and_to_itself() {
    let first = fresh(&shop());
    let exported = first.to_document();
    let text = exported.to_json().to_string();
    assert_eq!(CatalogDocument::parse(&text).unwrap(), exported);
    let (same, diff) = first.apply(&exported).unwrap();
    assert!(diff.is_empty(), "{diff:?}");
    assert_eq!(same, first);
    // Without the tokens, whose values are not exported, it rebuilds the catalog elsewhere.
    let elsewhere = CatalogDocument { tokens: Vec::new(), ..exported.clone() };
    let (copy, _) = Catalog::default().apply(&elsewhere).unwrap();
    assert_eq!(copy.to_document(), CatalogDocument { tokens: Vec::new(), ..exported });
    let issues = Catalog::default().apply(&first.to_document()).unwrap_err();
    assert!(super::fixtures::codes(&issues).contains("/tokens/0/token definition_invalid"));
}

#[test]
fn tokens_are_kept_as_hash_and_prefix() {
    let catalog = fresh(&shop());
    let bytes = catalog.to_bytes();
    let export = catalog.to_document().to_json().to_string();
    for secret in ["ls_wk_web_0001", "ls_sk_web_0001", "ls_ad_0001_abc"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        assert!(!export.contains(secret));
    }
    let token = catalog.token("ls_sk_web_0001").unwrap();
    assert_eq!((token.kind, token.import, token.prefix.as_str()), (TokenKind::Secret, true, "ls_sk_w"));
    assert_eq!(catalog.token("ls_sk_web_0002"), None);
    // The kind of a known token may change; its id does not.
    let changed = apply(&catalog, &json!({"tokens": [{"token": "ls_wk_web_0001", "channel": "app", "kind": "secret"}]}));
    let (before, after) = (catalog.token("ls_wk_web_0001").unwrap(), changed.token("ls_wk_web_0001").unwrap());
    assert_eq!(before.id, after.id);
    assert_eq!((after.kind, after.channel), (TokenKind::Secret, changed.channel_slot("app")));
}

#[test]
fn action_types_in_use_get_a_new_version() {
    let first = fresh(&shop());
    let text = json!([{"channels": ["web"], "type": "text", "name": "title", "value": "Hello"}]);
    // Without a version: the next one, because the first is in use.
    let second = apply(&first, &json!({"actionTypes": [{"name": "coupon", "properties": text}]}));
    assert_eq!(second.find(Kind::ActionType, "coupon").unwrap().key, "2");
    assert_eq!(apply(&second, &json!({"actionTypes": [{"name": "coupon", "properties": text}]})), second);
    // The action stays with its version until it says otherwise.
    let plan = super::fixtures::plan(&second);
    assert_eq!(plan.actions[0].as_ref().unwrap().def.type_version, 1);
    // The second is in use by nobody and may change.
    let third = apply(&second, &json!({"actionTypes": [{"name": "coupon", "properties": []}]}));
    assert_eq!(third.find(Kind::ActionType, "coupon").unwrap().key, "2");
    // With a version that is in use: refused.
    let issues = try_apply(&first, &json!({"actionTypes": [{"name": "coupon", "version": 1, "properties": text}]})).unwrap_err();
    assert_eq!(super::fixtures::codes(&issues), "/actionTypes/0 in_use\n");
}

#[test]
fn keys_made_from_names_stay() {
    let first = fresh(&shop());
    let audience = first.find(Kind::Audience, "never-bought").unwrap().clone();
    let renamed = apply(
        &first,
        &json!({"audiences": [{"id": audience.id.to_string(), "name": "No Purchase", "includeAnonymous": true, "events": [{"id": "Purchase", "exclude": true}]}]}),
    );
    assert_eq!(renamed.find(Kind::Audience, "never-bought").unwrap().name, "No Purchase");
    let again = json!({"audiences": [{"name": "No Purchase", "includeAnonymous": false, "events": []}]});
    assert_eq!(apply(&renamed, &again).find(Kind::Audience, "never-bought").unwrap().id, audience.id);
}

#[test]
fn stored_bytes_read_back_and_damage_is_found() {
    let catalog = fresh(&shop());
    let bytes = catalog.to_bytes();
    assert_eq!(Catalog::from_bytes(&bytes).unwrap(), catalog);
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        assert!(Catalog::from_bytes(&bad).is_err(), "byte {at}");
    }
    assert!(Catalog::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    assert!(matches!(Catalog::from_bytes(b"LSCT"), Err(LoadError::NotACatalog { len: 4 })));
    let mut newer = bytes.clone();
    newer[4] = 9;
    assert!(matches!(Catalog::from_bytes(&newer), Err(LoadError::Newer { found: 9, max: 2 })));
    let mut older = bytes;
    older[4] = 1;
    assert!(matches!(Catalog::from_bytes(&older), Err(LoadError::Older { found: 1 })));
}

#[test]
fn an_organisation_key_is_stored_and_not_exported() {
    let key = "6b".repeat(32);
    let catalog = fresh(
        &json!({"organization": {"key": key, "requireUserHash": true, "primaryIdType": "email", "traitsWithoutSchema": "accept"}}),
    );
    assert_eq!(catalog.organization().key, Some([b'k'; 32]));
    assert!(catalog.organization().traits_without_schema && catalog.organization().require_user_hash);
    assert!(!catalog.to_document().to_json().to_string().contains(&key));
    assert_eq!(catalog.apply(&document(&catalog.to_document().to_json())).unwrap().0, catalog);
}
