//! Random histories of a catalog: whatever is applied and removed, the invariants of the module hold.

use super::fixtures::{fresh, plan, shop, told, try_apply};
use crate::ids::PathId;
use crate::plan::{Catalog, CatalogDocument, Diff, Kind};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Step {
    /// The shop without what the bits leave out, with some definitions changed.
    Apply {
        keep: u32,
        change: u8,
    },
    Remove {
        kind: Kind,
        nth: usize,
        force: bool,
    },
    Rename {
        kind: Kind,
        nth: usize,
        to: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let kind = proptest::sample::select(&Kind::DEFINED[..]);
    prop_oneof![
        2 => (any::<u32>(), any::<u8>()).prop_map(|(bits, change)| Step::Apply { keep: bits | bits >> 7, change }),
        1 => any::<u8>().prop_map(|change| Step::Apply { keep: u32::MAX, change }),
        4 => (kind.clone(), 0..4_usize, any::<bool>()).prop_map(|(kind, nth, force)| Step::Remove { kind, nth, force }),
        2 => (kind, 0..4_usize, 0..3_u8).prop_map(|(kind, nth, to)| Step::Rename { kind, nth, to }),
    ]
}

fn document(keep: u32, change: u8) -> Value {
    let mut doc = shop();
    let mut bit = 0;
    for section in ["channels", "tokens", "events", "contexts", "computedTraits", "audiences", "actionTypes", "actions"] {
        let list = doc[section].as_array_mut().unwrap();
        list.retain(|_| {
            bit += 1;
            keep >> (bit % 32) & 1 == 1
        });
        for item in list.iter_mut().filter(|item| item.get("name").is_some()) {
            if change & 1 == 1 {
                item["description"] = json!(format!("changed {change}"));
            }
        }
        if section == "events" && change & 2 == 2 {
            for event in list {
                let more = json!({"properties": {"key": format!("k{change}"), "type": "string"}});
                event["structure"].as_array_mut().unwrap().push(more);
            }
        }
    }
    doc
}

type Outcome = Result<(Catalog, Diff), String>;

/// The step's outcome; `None` where there is nothing to do it to. A document comes back with it.
fn take(catalog: &Catalog, step: &Step) -> Option<(Outcome, Option<Value>)> {
    match step {
        Step::Apply { keep, change } => {
            let doc = document(*keep, *change);
            Some((try_apply(catalog, &doc).map_err(|issues| told(&issues)), Some(doc)))
        }
        Step::Remove { kind, nth, force } => {
            let id = catalog.live(*kind).nth(*nth)?.1.id.to_string();
            Some((catalog.remove(*kind, &id, *force).map_err(|issues| told(&issues)), None))
        }
        Step::Rename { kind, nth, to } => {
            let slot = catalog.live(*kind).nth(*nth)?.0;
            let exported = catalog.to_document().to_json();
            let place = catalog.live(*kind).position(|(other, _)| other == slot)?;
            let mut item = exported[kind.section()].get(place)?.clone();
            item["name"] = json!(format!("Name {to}"));
            let doc = json!({ kind.section(): [item] });
            Some((try_apply(catalog, &doc).map_err(|issues| told(&issues)), Some(doc)))
        }
    }
}

fn check(before: &Catalog, after: &Catalog, diff: &Diff) {
    assert_eq!(after.version(), before.version() + u32::from(!diff.is_empty()));
    // C-3
    for kind in Kind::DEFINED {
        let (old, new) = (before.definitions(kind), after.definitions(kind));
        assert!(old.len() <= new.len());
        for (old, new) in old.iter().zip(new) {
            assert_eq!(old.id, new.id);
            assert!(old.structures.len() <= new.structures.len() && old.revision <= new.revision);
        }
    }
    for number in 0..before.paths().len() {
        let path = PathId(u32::try_from(number).unwrap());
        assert_eq!(before.paths().name(path), after.paths().name(path));
    }
    // C-4
    let compiled = plan(after);
    assert_eq!(*compiled.paths, *after.paths());
    for (kind, count) in [
        (Kind::Event, compiled.events.iter().flatten().count()),
        (Kind::ComputedTrait, compiled.traits.iter().flatten().count()),
        (Kind::Audience, compiled.audiences.iter().flatten().count()),
        (Kind::Action, compiled.actions.iter().flatten().count()),
        (Kind::Channel, compiled.channels.iter().flatten().count()),
    ] {
        assert_eq!(after.live(kind).count(), count, "{kind}");
    }
    // What is stored is the same, and so is what is exported and applied again.
    assert_eq!(Catalog::from_bytes(&after.to_bytes()).unwrap(), *after);
    let exported = CatalogDocument::parse(&after.to_document().to_json().to_string()).unwrap();
    let (same, diff) = after.apply(&exported).unwrap_or_else(|issues| panic!("export refused:\n{}", told(&issues)));
    assert!(diff.is_empty() && same == *after, "{diff:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_step(steps in prop::collection::vec(step(), 1..12)) {
        let mut catalog = fresh(&shop());
        for step in &steps {
            let Some((outcome, doc)) = take(&catalog, step) else { continue };
            let Ok((after, diff)) = outcome else { continue };
            check(&catalog, &after, &diff);
            if let Some(doc) = doc {
                // C-2
                match try_apply(&after, &doc) {
                    Ok((again, diff)) => prop_assert!(diff.is_empty() && again == after, "{:?}", diff),
                    Err(issues) => prop_assert!(false, "applied once, refused twice:\n{}", told(&issues)),
                }
            }
            catalog = after;
        }
    }
}
