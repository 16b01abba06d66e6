//! Experiments in a catalog: what is refused, what stays, whom they join.

use super::fixtures::{apply, codes, fresh, plan, put, shop, try_apply};
use serde_json::{Value, json};

fn goal() -> Value {
    json!({"name": "Purchase", "key": "purchase", "eventId": "Purchase", "value": {"property": "total"}, "currency": "EUR"})
}

/// The shop with a goal and these experiments.
fn with(experiments: Value) -> Value {
    let mut document = shop();
    document["goals"] = json!([goal()]);
    document["experiments"] = experiments;
    document
}

fn experiment(key: &str, more: Value) -> Value {
    let mut body =
        json!({"name": key, "key": key, "goal": "purchase", "actions": ["10% coupon"], "holdout": 10, "state": "running"});
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        if value.is_null() { drop(body.as_object_mut().map(|body| body.remove(&field))) } else { body[field] = value }
    }
    body
}

#[track_caller]
fn refused(document: &Value) -> String {
    codes(&try_apply(&fresh(&shop()), document).err().unwrap_or_default())
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let variants = |list: Value| experiment("e", json!({"variants": list}));
    for (body, expect) in [
        (experiment("e", json!({"goal": null})), "/experiments/0/goal definition_invalid\n"),
        (experiment("e", json!({"goal": "nothing"})), "/experiments/0/goal goal_not_found\n"),
        (experiment("e", json!({"actions": ["nobody"]})), "/experiments/0/actions/0 action_not_found\n"),
        (experiment("e", json!({"actions": []})), "/experiments/0/actions definition_invalid\n"),
        (experiment("e", json!({"tag": "home"})), "/experiments/0/tag definition_invalid\n"),
        (experiment("e", json!({"holdout": 0})), "/experiments/0/holdout definition_invalid\n"),
        (experiment("e", json!({"holdout": 100})), "/experiments/0/holdout definition_invalid\n"),
        (experiment("e", json!({"state": "paused"})), "/experiments/0/state definition_invalid\n"),
        (experiment("e", json!({"confidence": 95})), "/experiments/0/confidence definition_invalid\n"),
        (experiment("e", json!({"window": {"amount": 0, "unit": "days"}})), "/experiments/0/window/amount definition_invalid\n"),
        (variants(json!([{"key": "a"}, {"key": "a"}])), "/experiments/0/variants/1/key definition_invalid\n"),
        (variants(json!([{"key": "holdout"}])), "/experiments/0/variants/0/key definition_invalid\n"),
        (variants(json!([{"key": "a", "weight": 0}])), "/experiments/0/variants definition_invalid\n"),
        (variants(json!([{"key": "a", "weight": -1}])), "/experiments/0/variants/0/weight definition_invalid\n"),
        (variants(json!([{"key": "a", "wieght": 1}])), "/experiments/0/variants/0/wieght unknown_field\n"),
        (
            variants(json!([{"key": "a", "properties": [{"channels": ["web"], "type": "text", "value": "x"}]}])),
            "/experiments/0/variants/0/properties/0/name definition_invalid\n",
        ),
    ] {
        assert_eq!(refused(&with(json!([body]))), expect, "{body}");
    }
}

/// One action, one running experiment: told where the document can mend it, whichever part came last.
#[test]
fn an_action_is_in_one_running_experiment() {
    let (a, b) = (experiment("a", json!({})), experiment("b", json!({"actions": ["Hello App", "10% coupon"]})));
    assert_eq!(refused(&with(json!([a, b]))), "/experiments/1/actions/1 experiment_conflict\n");
    let stopped = experiment("b", json!({"actions": ["Hello App", "10% coupon"], "state": "stopped"}));
    let catalog = fresh(&with(json!([a, stopped])));
    // Started later, alone in its document.
    let started = json!({"experiments": [b]});
    assert_eq!(codes(&try_apply(&catalog, &started).expect_err("refused")), "/experiments/0/actions/1 experiment_conflict\n");
    let by_tag = json!({"experiments": [experiment("c", json!({"actions": null, "tag": "home"}))]});
    assert_eq!(codes(&try_apply(&catalog, &by_tag).expect_err("refused")), "/experiments/0/tag experiment_conflict\n");
    // A tag that is put on the action claims it too.
    let catalog = apply(&catalog, &json!({"experiments": [experiment("c", json!({"actions": null, "tag": "new"}))]}));
    let mut tagged = json!({"actions": [shop()["actions"][0].clone()]});
    put(&mut tagged, "/actions/0/tags", json!(["home", "new"]));
    assert_eq!(codes(&try_apply(&catalog, &tagged).expect_err("refused")), "/actions/0/tags experiment_conflict\n");
}

/// While it runs nobody moves and no look is made good afterwards; names may change, and it may stop.
#[test]
fn a_running_experiment_stays_as_it_is() {
    let two = json!([{"key": "a", "weight": 1}, {"key": "b", "weight": 1}]);
    let running = experiment("e", json!({"variants": two}));
    let catalog = fresh(&with(json!([running])));
    let change = |more: Value| json!({"experiments": [experiment("e", more)]});
    let with_two = |field: &str, value: Value| {
        let mut more = json!({"variants": two});
        more[field] = value;
        change(more)
    };
    for (field, value) in [
        ("holdout", json!(20)),
        ("confidence", json!(0.9)),
        ("actions", json!(["Hello App"])),
        ("window", json!({"amount": 7, "unit": "days"})),
        ("variants", json!([{"key": "a", "weight": 9}, {"key": "b", "weight": 1}])),
    ] {
        let told = codes(&try_apply(&catalog, &with_two(field, value)).expect_err("refused"));
        assert_eq!(told, format!("/experiments/0/{field} experiment_running\n"));
    }
    for document in
        [with_two("name", json!("Another name")), with_two("description", json!("why")), with_two("state", json!("stopped"))]
    {
        apply(&catalog, &document);
    }
    // The same said again, by id instead of by name, is no change.
    let id = catalog.find(crate::plan::Kind::Action, "10% coupon").expect("the action").id.to_string();
    let (_, diff) = try_apply(&catalog, &with_two("actions", json!([id]))).expect("the same");
    assert!(diff.is_empty());
    // Stopped, weights and holdout may change, but never key, salt or the variants' places.
    let stopped = apply(&catalog, &with_two("state", json!("stopped")));
    let mut tilted = with_two("state", json!("running"));
    put(&mut tilted, "/experiments/0/variants/0/weight", json!(9));
    apply(&stopped, &tilted);
    let more = json!([{"key": "a", "weight": 1}, {"key": "b", "weight": 1}, {"key": "c", "weight": 1}]);
    apply(&stopped, &change(json!({"variants": more, "state": "stopped"})));
    for (variants, salt, expect) in [
        (json!([{"key": "b"}, {"key": "a"}]), json!(null), "/experiments/0/variants immutable\n"),
        (json!([{"key": "a"}]), json!(null), "/experiments/0/variants immutable\n"),
        (two.clone(), json!("again"), "/experiments/0/salt immutable\n"),
    ] {
        let document = change(json!({"variants": variants, "salt": salt, "state": "stopped"}));
        assert_eq!(codes(&try_apply(&stopped, &document).expect_err("refused")), expect);
    }
    let id = stopped.find(crate::plan::Kind::Experiment, "e").expect("it").id.to_string();
    let mut renamed = change(json!({"variants": two, "state": "stopped"}));
    put(&mut renamed, "/experiments/0/id", json!(id));
    put(&mut renamed, "/experiments/0/key", json!("f"));
    assert_eq!(codes(&try_apply(&stopped, &renamed).expect_err("refused")), "/experiments/0/key immutable\n");
}

/// A plan joins actions and experiments: deliveries are decided anew when one starts, profiles are not folded
/// anew for it, and what a variant shows is looked at when it changes.
#[test]
fn plans_join_actions_and_experiments() {
    let show = json!([{"key": "a", "properties": [
        {"channels": ["web"], "type": "computed_trait", "name": "seen", "sourceKey": "views", "sourceType": "integer"}]}]);
    let body = |state: &str| experiment("e", json!({"actions": null, "tag": "home", "variants": show, "state": state}));
    let (stopped, running) = (fresh(&with(json!([body("stopped")]))), fresh(&with(json!([body("running")]))));
    let (before, after) = (plan(&stopped), plan(&running));
    let action = |plan: &crate::plan::Plan, name: &str| {
        let id = plan.catalog.find(crate::plan::Kind::Action, name).expect("an action").id;
        let action = plan.action_by_id(id).expect("in force");
        (action.slot, action.fingerprint, action.def.trial.is_some())
    };
    let (slot, print, trial) = action(&before, "10% coupon");
    let (_, new_print, new_trial) = action(&after, "10% coupon");
    assert_eq!((trial, new_trial), (false, true));
    assert_ne!(print, new_print, "what is live is decided anew");
    assert_eq!(action(&before, "Hello App"), action(&after, "Hello App"));
    assert_eq!(before.generation, after.generation, "starting folds nobody anew");
    assert!(after.trait_by_key("views").expect("a trait").actions.contains(&slot));
    let goal = after.goal_by_key("purchase").expect("a goal");
    assert_eq!(goal.experiments.len(), 1);
    let longer =
        experiment("e", json!({"actions": null, "tag": "home", "variants": show, "window": {"amount": 1, "unit": "days"}}));
    assert_ne!(plan(&fresh(&with(json!([longer])))).generation, after.generation, "what counts is folded anew");
}

/// A goal in use is not removed without force; a goal's own problems have their places.
#[test]
fn goals_are_checked() {
    let catalog = fresh(&with(json!([experiment("e", json!({}))])));
    let told = catalog.remove(crate::plan::Kind::Goal, "purchase", false).expect_err("in use");
    assert_eq!(told.iter().map(|issue| issue.code).collect::<Vec<_>>(), ["in_use"]);
    for (field, value, expect) in [
        ("eventId", json!("Nothing"), "/goals/0/eventId event_not_found\n"),
        ("value", json!({"property": "nothing"}), "/goals/0/value/property property_not_found\n"),
        ("value", json!({"property": "total", "fixed": 1}), "/goals/0/value definition_invalid\n"),
        ("value", json!(3), "/goals/0/value definition_invalid\n"),
        ("currency", json!("euro"), "/goals/0/currency definition_invalid\n"),
        ("lookback", json!({"amount": 0, "unit": "days"}), "/goals/0/lookback/amount definition_invalid\n"),
        ("model", json!("magic"), "/goals/0/model definition_invalid\n"),
        ("dedupe", json!("never"), "/goals/0/dedupe definition_invalid\n"),
        ("touches", json!(["withheld"]), "/goals/0/touches/0 definition_invalid\n"),
        ("actions", json!(["nobody"]), "/goals/0/actions/0 action_not_found\n"),
        ("channels", json!(["tv"]), "/goals/0/channels/0 channel_not_found\n"),
        ("expose", json!("yes"), "/goals/0/expose definition_invalid\n"),
        ("lookBack", json!(1), "/goals/0/lookBack unknown_field\n"),
    ] {
        let mut body = goal();
        body[field] = value;
        let mut document = shop();
        document["goals"] = json!([body]);
        assert_eq!(refused(&document), expect, "{field}");
    }
    let mut priced = shop();
    put(&mut priced, "/actions/0/cost", json!({"fixed": -1, "perDelivered": "much", "currency": "€"}));
    assert_eq!(
        refused(&priced),
        "/actions/0/cost/currency definition_invalid\n/actions/0/cost/fixed definition_invalid\n/actions/0/cost/perDelivered definition_invalid\n"
    );
}
