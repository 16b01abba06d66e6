//! Taking definitions out of force.

use super::fixtures::{apply, codes, fresh, plan, shop, told, try_apply};
use crate::plan::{Catalog, Kind, What};
use serde_json::json;

#[track_caller]
fn remove(catalog: &Catalog, kind: Kind, name: &str, force: bool) -> Catalog {
    match catalog.remove(kind, name, force) {
        Ok((catalog, diff)) => {
            assert!(diff.changes.iter().any(|change| change.kind == kind && change.what == What::Removed));
            catalog
        }
        Err(issues) => panic!("refused:\n{}", told(&issues)),
    }
}

// T-33: with a using action a conflict that names it.
#[test]
fn t33_in_use_lists_the_dependents() {
    let catalog = fresh(&shop());
    let issues = catalog.remove(Kind::ComputedTrait, "revenue", false).unwrap_err();
    let id = |kind, name| catalog.find(kind, name).unwrap().id;
    assert_eq!(
        codes(&issues),
        format!("/audiences/{} in_use\n/actions/{} in_use\n", id(Kind::Audience, "big"), id(Kind::Action, "10% coupon"))
    );
    assert_eq!(issues[0].message, "computed trait \"Revenue\" is used by audience \"Big Spender\"");
    let count = |kind, name| catalog.remove(kind, name, false).err().map_or(0, |issues| issues.len());
    assert_eq!(count(Kind::Event, "Purchase"), 3);
    assert_eq!(count(Kind::Audience, "big"), 2);
    assert_eq!(count(Kind::Context, "web"), 1);
    assert_eq!(count(Kind::Action, "10% coupon"), 0);
    assert_eq!(count(Kind::Audience, "never-bought"), 0);
    // The context, three definitions, the action type, the two actions of the channel, two tokens.
    assert_eq!(count(Kind::Channel, "web"), 8);
    assert_eq!(codes(&catalog.remove(Kind::Event, "Nothing", true).unwrap_err()), " not_found\n");
    assert_eq!(codes(&catalog.remove(Kind::CustomTraits, "", true).unwrap_err()), " immutable\n");
}

// What names only itself is in nobody's way.
#[test]
fn t33_a_trait_that_reads_itself_can_be_removed() {
    let above = json!({"property": "total", "type": "float", "operator": "greater_than", "target": "computed_trait", "traitKey": "record"});
    let record = json!({"name": "Record", "key": "record", "type": "aggregation", "eventId": "Purchase", "conditions": [above],
        "properties": {"property": "total", "type": "float", "aggregationType": "max"}});
    let catalog = apply(&fresh(&shop()), &json!({"computedTraits": [record]}));
    assert_eq!(catalog.dependents(Kind::ComputedTrait, catalog.trait_slot("record").unwrap().index()), []);
    let gone = remove(&catalog, Kind::ComputedTrait, "record", false);
    assert!(plan(&gone).trait_by_key("record").is_none());
}

// T-57: after a forced removal dependents stay and see nothing; the slot is not used again.
#[test]
fn t57_forced_removal_leaves_dependents_compiled() {
    let catalog = fresh(&shop());
    let slot = catalog.trait_slot("revenue").unwrap();
    let gone = remove(&catalog, Kind::ComputedTrait, "revenue", true);
    assert_eq!(gone.version(), 2);
    assert_eq!(gone.trait_slot("revenue"), None);
    let after = plan(&gone);
    assert!(after.trait_plan(slot).is_none() && after.trait_by_key("revenue").is_none());
    assert!(after.audience_by_key("big").is_some());
    // What named it before may be applied again as it is; a newcomer may not name it.
    let exported = gone.to_document();
    assert!(gone.apply(&exported).unwrap().1.is_empty());
    let newcomer = json!({"audiences": [{"name": "New", "events": [], "traits": [{"source": "computed", "key": "revenue", "dataType": "float", "operator": "exists"}]}]});
    assert_eq!(codes(&try_apply(&gone, &newcomer).unwrap_err()), "/audiences/0/traits/0/key computed_trait_not_found\n");
    // Back again it has its id, a new slot and no old state; who reads it is built anew.
    let back = apply(&gone, &shop());
    assert_eq!(back.find(Kind::ComputedTrait, "revenue").unwrap().id, catalog.find(Kind::ComputedTrait, "revenue").unwrap().id);
    assert_ne!(back.trait_slot("revenue").unwrap(), slot);
    let (before, again) = (plan(&catalog), plan(&back));
    assert_ne!(before.audience_by_key("big").unwrap().fingerprint, again.audience_by_key("big").unwrap().fingerprint);
}

// B-06: the tokens of an archived channel stop, its key stays reserved, history keeps its slot.
#[test]
fn b06_archiving_a_channel() {
    let catalog = fresh(&shop());
    let slot = catalog.channel_slot("web").unwrap();
    let gone = remove(&catalog, Kind::Channel, "web", true);
    assert_eq!(gone.tokens().len(), 1);
    let after = plan(&gone);
    assert!(after.channel_by_key("web").is_none() && after.token("ls_wk_web_0001").is_none());
    assert!(after.token("ls_ad_0001_abc").is_some());
    let back = apply(&gone, &shop());
    assert_eq!(back.channel_slot("web"), Some(slot));
    assert!(plan(&back).context_schema(slot).is_some());
}

#[test]
fn a_removed_event_comes_back_with_its_history() {
    let catalog = fresh(&shop());
    let slot = catalog.event_slot("Purchase").unwrap();
    let gone = remove(&catalog, Kind::Event, "Purchase", true);
    let after = plan(&gone);
    assert!(after.event_by_name("Purchase").is_none() && after.event_plan(slot).is_none());
    // Its traits stay with what they have.
    assert!(after.trait_by_key("revenue").is_some());
    let back = apply(&gone, &shop());
    assert_eq!(back.event_slot("Purchase"), Some(slot));
    assert_eq!(back.find(Kind::Event, "Purchase").unwrap().version(), 1);
}

#[test]
fn action_types_are_archived_and_tokens_removed_by_id() {
    let catalog = fresh(&shop());
    let archived = remove(&catalog, Kind::ActionType, "coupon", false);
    assert_eq!(plan(&archived).actions[0].as_ref().unwrap().def.type_name, "coupon");
    assert!(archived.apply(&archived.to_document()).unwrap().1.is_empty());
    let mut doc = shop();
    super::fixtures::put(&mut doc, "/actionTypes", json!([]));
    super::fixtures::put(&mut doc, "/actions", json!([{"name": "New", "type": "coupon"}]));
    assert_eq!(codes(&try_apply(&archived, &doc).unwrap_err()), "/actions/0/type action_type_not_found\n");
    let id = catalog.token("ls_wk_web_0001").unwrap().id.to_string();
    let revoked = remove(&catalog, Kind::Token, &id, false);
    assert!(revoked.token("ls_wk_web_0001").is_none() && revoked.tokens().len() == 2);
    assert_eq!(codes(&revoked.remove(Kind::Token, &id, false).unwrap_err()), " not_found\n");
}
