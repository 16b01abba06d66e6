use super::*;
use crate::expr::NoFacts;
use crate::expr::tests::naive::{any_condition, any_document, facts};
use crate::expr::tests::{Docs, EVENT, try_compile};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// Properties of the event may change, and custom traits.
struct Some_;

impl Freedom for Some_ {
    fn may_change(&mut self, source: &Source) -> bool {
        matches!(source, Source::Event(_) | Source::Custom(_))
    }
}

fn ways(list: &Json, event: &Json, want: bool) -> Vec<Vec<(String, Option<Json>)>> {
    let facts = Docs { event: Value::from_json(event), ..Docs::default() };
    let found = try_compile(list, EVENT).unwrap().remedies(&facts, Millis(0), want, &mut Some_);
    assert!(found.exact);
    let told = |wish: &Wish| (wish.clause.clone(), wish.value.as_ref().map(Value::to_json));
    found.ways.iter().map(|way| way.iter().map(told).collect()).collect()
}

#[test]
fn the_smallest_change_comes_first() {
    let adult = json!({"key":"age","type":"integer","operator":"greater_than","value":18});
    let german = json!({"key":"country","type":"string","operator":"equals","value":"DE"});
    let vip = json!({"key":"vip","type":"boolean","operator":"true"});
    let event = json!({"age": 17, "country": "FR"});
    let age = ("event age greater_than 18".to_owned(), Some(json!(19)));
    assert_eq!(ways(&json!([adult]), &event, true)[0], std::slice::from_ref(&age));
    assert_eq!(ways(&json!([adult, german]), &event, true)[0].len(), 2);
    // Of an alternative the shorter branch: vip alone, not age and country.
    let either = json!([{"any": [{"all": [adult, german]}, vip]}]);
    assert_eq!(ways(&either, &event, true)[0], [("event vip true".to_owned(), Some(json!(true)))]);
    // What holds already needs nothing.
    assert_eq!(ways(&json!([adult]), &event, false), [vec![]]);
    // One operand serves several clauses: it must be between them.
    let between = json!([adult, {"key":"age","type":"integer","operator":"less_than","value":20}]);
    assert_eq!(ways(&between, &event, true)[0], [age]);
    let fraction = |low: f64, high: f64| {
        json!([
        {"key":"n","type":"float","operator":"greater_than","value":low}, {"key":"n","type":"float","operator":"less_than","value":high}])
    };
    assert_eq!(ways(&fraction(0.25, 0.5), &json!({}), true)[0][0].1, Some(json!(0.375)));
    assert!(ways(&fraction(2.0, 1.0), &json!({}), true).is_empty(), "nothing is above 2 and below 1");
}

/// Setting the trait alone would mend the comparison, but then the date could not be mended any more.
#[test]
fn both_sides_of_a_comparison_change_where_another_clause_reads_one() {
    let list = json!([{"any": [
        {"key":"b","type":"string","operator":"not_equals","target":"custom_trait","traitKey":"a","orMissing":true},
        {"key":"b","type":"dateTime","operator":"before_date","value":"2024-03-01","orMissing":true}]}]);
    assert_eq!(ways(&list, &json!({"b": ""}), false)[0].len(), 2);
}

#[test]
fn conditions_in_one_line() {
    let list = json!([
        {"key":"a","type":"integer","operator":"less_than","value":2},
        {"any": [{"not": {"key":"b","type":"string","operator":"exists"}}, {"key":"c","type":"boolean","operator":"true"}]}]);
    let expr = try_compile(&list, EVENT).unwrap();
    assert_eq!(expr.describe(), "event a less_than 2 and (not event b exists or event c true)");
    assert_eq!(Expr::always().describe(), "");
    assert!(!Expr::always().negated().eval(&NoFacts, Millis(0)).holds);
}

/// Values that between them give every clause of the generator each of its answers.
fn pool() -> Vec<Option<Value>> {
    let mut pool: Vec<Option<Value>> = vec![None, Some(Value::Bool(true)), Some(Value::Bool(false))];
    pool.extend((-20..20).map(|eighths| Some(Value::Float(f64::from(eighths) / 8.0))));
    pool.extend((9_007_199_254_740_988..9_007_199_254_740_999_i64).map(|n| Some(Value::Int(n))));
    pool.extend((-3..4_i64).map(|n| Some(Value::Int(n))));
    for text in ["", "a", "b", "aa", "ab", "ba", "bb", "x", "aax", "xab", "abab", "bxa"] {
        pool.push(Some(text.into()));
    }
    // Hours around all dates of the generator.
    pool.extend((-240..480).step_by(11).map(|hours| Some(Value::Time(Millis(1_709_078_400_000 + hours * 3_600_000)))));
    pool
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Every way told works, and no smaller set of operands does, whatever values they take.
    #[test]
    fn remedies_work_and_are_smallest(condition in any_condition(), event in any_document(), custom in any_document(), hours in 0i64..400) {
        let now = Millis(1_709_078_400_000 + hours * 3_600_000);
        let expr = try_compile(&json!([condition]), EVENT).unwrap();
        let facts = facts(&event, &custom);
        let want = !expr.eval(&facts, now).holds;
        let found = expr.remedies(&facts, now, want, &mut Some_);
        for way in &found.ways {
            let wished = Wished { facts: &facts, wishes: way };
            prop_assert_eq!(expr.eval(&wished, now).holds, want, "{:?}", way);
        }
        let mut sources = Vec::new();
        expr.sources(&mut |source| if !sources.contains(source) { sources.push(source.clone()) });
        let smallest = found.ways.first().map_or(3, Vec::len);
        let pool = pool();
        let wish = |source: &Source, value: &Option<Value>| Wish { source: source.clone(), value: value.clone(), clause: String::new(), holds: true };
        let works = |wishes: &[Wish]| expr.eval(&Wished { facts: &facts, wishes }, now).holds == want;
        if found.exact && smallest > 1 {
            for source in &sources {
                for value in &pool {
                    prop_assert!(!works(&[wish(source, value)]), "{:?} = {:?} is enough", source, value);
                }
            }
        }
        if found.exact && smallest > 2 && sources.len() <= 4 {
            for (i, a) in sources.iter().enumerate() {
                for b in &sources[i + 1..] {
                    for x in pool.iter().step_by(4) {
                        for y in pool.iter().step_by(3) {
                            let both = [wish(a, x), wish(b, y)];
                            prop_assert!(!works(&both), "{:?} is enough", both);
                        }
                    }
                }
            }
        }
    }
}
