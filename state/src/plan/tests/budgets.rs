//! Which actions budgets govern, and when profiles are folded anew because of it.

use super::fixtures::{apply, fresh, plan, put, shop};
use crate::ids::{ActionSlot, BudgetSlot};
use crate::plan::{Kind, Plan, Refold};
use serde_json::{Value, json};

fn budget(name: &str, more: &Value) -> Value {
    let mut value = json!({"name": name, "event": "shown", "count": 1, "within": 1});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn with_budgets() -> Value {
    let mut document = shop();
    document["budgets"] =
        json!([budget("All", &json!({})), budget("Home", &json!({"tags": ["home"]})), budget("Hero", &json!({"slot": "hero"}))]);
    document
}

fn of(plan: &Plan, action: u32) -> Vec<u32> {
    plan.budgets_of(ActionSlot(action)).iter().map(|slot| slot.0).collect()
}

fn governed(plan: &Plan, budget: u32) -> Vec<u32> {
    plan.budget_plan(BudgetSlot(budget)).unwrap().actions.iter().map(|slot| slot.0).collect()
}

#[test]
fn actions_know_their_budgets_and_budgets_their_actions() {
    let plan = plan(&fresh(&with_budgets()));
    assert_eq!([of(&plan, 0), of(&plan, 1), of(&plan, 2)], [vec![0, 1], vec![0], vec![0]]);
    // The inactive one cannot come up.
    assert_eq!([governed(&plan, 0), governed(&plan, 1), governed(&plan, 2)], [vec![0, 1], vec![0], vec![]]);
}

#[test]
fn other_tags_make_another_tally_and_other_texts_do_not() {
    let before = fresh(&with_budgets());
    let mut document = with_budgets();
    put(&mut document, "/actions/1/tags", json!(["home"]));
    let after = plan(&apply(&before, &document));
    assert_eq!(of(&after, 1), [0, 1]);
    match after.refold_from(&plan(&before)) {
        Refold::Built(built) => assert_eq!(built.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [Kind::Budget]),
        other => panic!("{other:?}"),
    }
    let mut document = with_budgets();
    put(&mut document, "/actions/1/priority", json!(3));
    assert_eq!(plan(&apply(&before, &document)).refold_from(&plan(&before)), Refold::None);
}

#[test]
fn what_was_spent_on_a_removed_action_counts_on() {
    let before = fresh(&with_budgets());
    let id = before.actions[0].id.to_string();
    let (after, _) = before.remove(Kind::Action, &id, false).expect("nothing depends on it");
    let plan = plan(&after);
    assert_eq!(of(&plan, 0), [0, 1]);
    assert_eq!(governed(&plan, 0), [1]);
}
