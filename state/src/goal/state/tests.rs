use super::*;
use crate::expr::Expr;
use crate::goal::{GoalValue, Model};
use crate::ids::{EventSlot, Seq};
use crate::time::{DAY_MS, parse_rfc3339};

const X: ActionSlot = ActionSlot(1);
const Y: ActionSlot = ActionSlot(2);
const WEB: ChannelSlot = ChannelSlot(0);

fn goal(dedupe: Dedupe) -> GoalDef {
    GoalDef::new(EventSlot(0), Expr::always(), GoalValue::None, 7 * DAY_MS, dedupe)
}

/// `03-02T10:00` of 2024 at log position `seq`.
fn at(time: &str, seq: u64) -> Moment {
    let t = parse_rfc3339(&format!("2024-{time}{}Z", if time.len() == 11 { ":00" } else { "" })).expect("a time");
    Moment { t, seq: Seq(seq) }
}

fn touch(moment: Moment, action: ActionSlot) -> Touch {
    Touch { moment, action, channel: WEB }
}

/// `X 90` for each share of each conversion; `-` where nobody is credited; in order.
fn credits(state: &GoalState, model: Model) -> Vec<String> {
    let mut told = Vec::new();
    for conversion in state.conversions() {
        let mut shares = Vec::new();
        conversion.seen.share(model, conversion.value.unwrap_or_default(), &mut |group, share| {
            shares.push(format!("{} {}", if group.action == X { "X" } else { "Y" }, share.0 / 1_000_000));
        });
        told.push(if shares.is_empty() { "-".to_owned() } else { shares.join(", ") });
    }
    told
}

fn wholes(amount: i64) -> Option<Micros> {
    Some(Micros(amount * 1_000_000))
}

/// T-91: accept X on 1 March, Y on 2 March, buy 90 on 3 March.
#[test]
fn t91_models() {
    let def = goal(Dedupe::Every);
    let mut state = GoalState::default();
    state.touch(&def, touch(at("03-01T10:00", 1), X));
    state.touch(&def, touch(at("03-02T10:00", 2), Y));
    state.convert(&def, at("03-03T10:00", 3), wholes(90));
    for (model, expect) in [
        (Model::LastTouch, "Y 90"),
        (Model::FirstTouch, "X 90"),
        (Model::Linear, "X 45, Y 45"),
        (Model::LinearActions, "X 45, Y 45"),
    ] {
        assert_eq!(credits(&state, model), [expect], "{}", model.word());
    }
}

/// T-92: a touch is seen for exactly seven days, and not by what lies before it, by `(t, seq)`.
#[test]
fn t92_lookback_is_half_open() {
    let def = goal(Dedupe::Every);
    for (bought, expect) in [
        (at("03-01T10:00", 1), "-"),
        (at("03-01T10:00", 3), "X 1"),
        (at("03-08T09:59:59.999", 3), "X 1"),
        (at("03-08T10:00", 3), "-"),
    ] {
        let mut state = GoalState::default();
        state.touch(&def, touch(at("03-01T10:00", 2), X));
        assert!(!state.convert(&def, bought, wholes(1)).needs_history);
        assert_eq!(credits(&state, Model::LastTouch), [expect], "{bought:?}");
    }
    let mut state = GoalState::default();
    state.touch(&def, touch(at("03-01T10:00", 2), X));
    let last = |t: &str| state.last_touch(&def, at(t, 0).t).map(|touch| touch.action);
    assert_eq!([last("03-08T09:59:59.999"), last("03-08T10:00")], [Some(X), None]);
}

/// What counts under each rule, in order and with every later permutation of arrival.
#[test]
fn dedupe_counts_what_it_says_in_any_order_of_arrival() {
    // X 10:00, buy 11:00, buy 12:00, Y 13:00, buy 14:00.
    let arrivals: [(&str, u64, Option<ActionSlot>, i64); 5] = [
        ("03-01T10:00", 1, Some(X), 0),
        ("03-01T11:00", 2, None, 1),
        ("03-01T12:00", 3, None, 2),
        ("03-01T13:00", 4, Some(Y), 0),
        ("03-01T14:00", 5, None, 3),
    ];
    for (dedupe, expect) in [
        // Half of three is one and a half: told in wholes.
        (Dedupe::Every, vec!["X 1", "X 2", "X 1, Y 1"]),
        (Dedupe::OncePerProfile, vec!["X 1"]),
        // The second has no touch of its own; the third is Y's alone, X was used.
        (Dedupe::OncePerTouch, vec!["X 1", "Y 3"]),
    ] {
        let def = goal(dedupe);
        let mut orders = vec![vec![]];
        for i in 0..arrivals.len() {
            orders = orders
                .iter()
                .flat_map(|order: &Vec<usize>| {
                    (0..=order.len()).map(move |at| {
                        let mut order = order.clone();
                        order.insert(at, i);
                        order
                    })
                })
                .collect();
        }
        assert_eq!(orders.len(), 120);
        let mut states = Vec::new();
        for order in orders {
            let mut state = GoalState::default();
            for i in &order {
                let (time, seq, action, value) = arrivals[*i];
                let fed = match action {
                    Some(action) => state.touch(&def, touch(at(time, seq), action)),
                    None => state.convert(&def, at(time, seq), wholes(value)),
                };
                assert!(!fed.needs_history, "nothing was dropped");
            }
            assert_eq!(credits(&state, Model::Linear), expect, "{dedupe:?} {order:?}");
            states.push(state);
        }
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "one state whatever the order: {dedupe:?}");
    }
}

/// Without a touch every purchase counts once per touch, for nobody; an expired touch is none.
#[test]
fn once_per_touch_leaves_purchases_without_touch_alone() {
    let def = goal(Dedupe::OncePerTouch);
    let mut state = GoalState::default();
    state.convert(&def, at("03-01T09:00", 1), wholes(1));
    state.touch(&def, touch(at("03-01T10:00", 2), X));
    state.convert(&def, at("03-01T11:00", 3), wholes(2));
    state.convert(&def, at("03-01T12:00", 4), wholes(3));
    state.convert(&def, at("03-09T12:00", 5), wholes(4));
    assert_eq!(credits(&state, Model::LastTouch), ["-", "X 2", "-"]);
    let last = state.conversions().last().expect("one");
    assert_eq!(last.value, wholes(4));
}

/// I5: the newest touches and conversions are kept, what goes is counted, and from then on late ones ask for
/// the log.
#[test]
fn i5_bounds_are_kept_and_counted() {
    let def = goal(Dedupe::Every);
    let start = at("03-01T00:00", 0).t;
    let mut state = GoalState::default();
    let moment = |i: u64| Moment { t: start.plus(i64::try_from(i).unwrap() * 1000), seq: Seq(i) };
    for i in 0..300 {
        assert!(!state.touch(&def, touch(moment(i), if i < 44 { X } else { Y })).needs_history);
    }
    assert_eq!((state.touches().count(), state.dropped()), (TOUCHES_MAX, (44, 0)));
    state.convert(&def, moment(300), wholes(256));
    // All that is left are the newest 256, of which none is X's.
    assert_eq!(credits(&state, Model::Linear), ["Y 256"]);
    assert!(state.clone().touch(&def, touch(moment(10), X)).needs_history);
    assert!(state.clone().convert(&def, moment(10), None).needs_history);
    for i in 301..1400 {
        state.convert(&def, moment(i), None);
    }
    assert_eq!((state.conversions().count(), state.dropped()), (CONVERSIONS_MAX, (44, 76)));
}

/// A late touch that makes one too many counts for the purchases that it was among the newest 256 of.
#[test]
fn a_late_touch_that_is_one_too_many_ends_as_the_fold_would() {
    let def = goal(Dedupe::Every);
    let start = at("03-01T00:00", 0).t;
    let moment = |i: u64| Moment { t: start.plus(i64::try_from(i).unwrap() * 1000), seq: Seq(i) };
    let touches = u64::try_from(TOUCHES_MAX).unwrap();
    let entries: Vec<u64> = (0..=touches).collect();
    let mut in_order = GoalState::default();
    for &i in &entries {
        in_order.touch(&def, touch(moment(i * 2), if i == 0 { X } else { Y }));
        in_order.convert(&def, moment(i * 2 + 1), wholes(1));
    }
    let mut late = GoalState::default();
    for &i in entries.iter().filter(|i| **i != 5) {
        late.touch(&def, touch(moment(i * 2), if i == 0 { X } else { Y }));
        late.convert(&def, moment(i * 2 + 1), wholes(1));
    }
    assert!(!late.convert(&def, moment(11), wholes(1)).needs_history);
    assert!(!late.touch(&def, touch(moment(10), Y)).needs_history);
    assert_eq!(late, in_order);
    assert_eq!(late.dropped(), (1, 0));
}
