use super::*;
use crate::action::testing::{at, berlin};
use crate::time::DAY_MS;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn range(targeting: &Json) -> TimeRange {
    let mut issues = Vec::new();
    let range = TimeRange::compile(&Node::new(targeting, "/targeting"), &berlin(), &mut issues);
    assert!(issues.is_empty(), "{issues:?}");
    range
}

/// Each case: the targeting, then instants with whether it runs then.
#[track_caller]
fn check(targeting: &Json, cases: &[(&str, bool)]) {
    let range = range(targeting);
    for (now, holds) in cases {
        assert_eq!(range.eval(at(now)).holds, *holds, "{targeting} at {now}");
    }
}

fn sides(start: Json, end: Json) -> Json {
    json!({ "start": start, "end": end })
}

// T-59: an end date without a time includes the whole local day.
#[test]
fn t59_end_date_is_through_the_day() {
    let may = json!({"end": {"date": "2024-05-31", "time": null}});
    check(&may, &[("2024-05-31T21:59:59Z", true), ("2024-05-31T22:00:00Z", false)]);
    assert_eq!(range(&may).eval(at("2024-05-01T00:00:00Z")).until, at("2024-05-31T22:00:00Z"));
}

// T-60: overnight hours, and a start time alone.
#[test]
fn t60_daily_hours() {
    let night = sides(json!({"time": "22:00"}), json!({"time": "06:00"}));
    check(
        &night,
        &[
            ("2024-03-01T20:59:00Z", false),
            ("2024-03-01T21:00:00Z", true),
            ("2024-03-02T04:59:00Z", true),
            ("2024-03-02T05:00:00Z", false),
        ],
    );
    let from = json!({"start": {"time": "00:30"}});
    check(&from, &[("2024-03-01T23:30:00Z", true), ("2024-03-01T23:00:00Z", false), ("2024-03-01T12:00:00Z", true)]);
}

// T-61: 02:30 does not exist on 2024-03-31; the day's hours start where the gap ends.
#[test]
fn t61_a_start_in_the_gap() {
    let from = json!({"start": {"time": "02:30"}});
    check(&from, &[("2024-03-31T00:59:59.999Z", false), ("2024-03-31T01:00:00Z", true), ("2024-03-31T12:00:00Z", true)]);
    assert_eq!(range(&from).eval(at("2024-03-31T00:00:00Z")).until, at("2024-03-31T01:00:00Z"));
    // An absolute start in the gap as well.
    let dated = json!({"start": {"date": "2024-03-31", "time": "02:30"}});
    check(&dated, &[("2024-03-31T00:59:59.999Z", false), ("2024-03-31T01:00:00Z", true)]);
}

#[test]
fn hours_that_the_gap_swallows_do_not_happen() {
    let hours = sides(json!({"time": "02:10"}), json!({"time": "02:50"}));
    check(&hours, &[("2024-03-31T01:00:00Z", false), ("2024-03-31T00:30:00Z", false), ("2024-04-01T00:10:00Z", true)]);
    assert_eq!(range(&hours).eval(at("2024-03-30T12:00:00Z")).until, at("2024-04-01T00:10:00Z"));
}

// 02:30 happens at 00:30Z and 01:30Z on 2024-10-27: the earlier for a start, the later for an end.
#[test]
fn an_hour_that_comes_twice() {
    check(
        &json!({"start": {"time": "02:30"}}),
        &[("2024-10-27T00:29:59Z", false), ("2024-10-27T00:30:00Z", true), ("2024-10-27T01:15:00Z", true)],
    );
    check(
        &json!({"end": {"time": "02:30"}}),
        &[("2024-10-27T00:45:00Z", true), ("2024-10-27T01:29:59Z", true), ("2024-10-27T01:30:00Z", false)],
    );
    check(
        &json!({"end": {"date": "2024-10-27", "time": "02:30"}}),
        &[("2024-10-27T01:29:59Z", true), ("2024-10-27T01:30:00Z", false)],
    );
}

#[test]
fn the_table_of_dates_and_times() {
    // start date: from 00:00 local
    check(&json!({"start": {"date": "2024-05-01"}}), &[("2024-04-30T21:59:59Z", false), ("2024-04-30T22:00:00Z", true)]);
    // start date and time: from that instant, then all day
    check(
        &json!({"start": {"date": "2024-05-01", "time": "08:00"}}),
        &[("2024-05-01T05:59:59Z", false), ("2024-05-01T06:00:00Z", true), ("2024-05-02T03:00:00Z", true)],
    );
    // end date and time: before that instant
    check(
        &json!({"end": {"date": "2024-05-31", "time": "12:00"}}),
        &[("2024-05-31T09:59:59Z", true), ("2024-05-31T10:00:00Z", false)],
    );
    // only times, s < e
    let office = sides(json!({"time": "09:00"}), json!({"time": "17:00"}));
    check(
        &office,
        &[
            ("2024-03-01T07:59:59Z", false),
            ("2024-03-01T08:00:00Z", true),
            ("2024-03-01T15:59:59Z", true),
            ("2024-03-01T16:00:00Z", false),
        ],
    );
    // s = e: always
    assert!(range(&sides(json!({"time": "09:00"}), json!({"time": "09:00"}))).is_always());
    // end time only: [00:00, e)
    check(
        &json!({"end": {"time": "06:00"}}),
        &[
            ("2024-03-01T22:59:59Z", false),
            ("2024-03-01T23:00:00Z", true),
            ("2024-03-02T04:59:59Z", true),
            ("2024-03-02T05:00:00Z", false),
        ],
    );
    // start date and time with an end time: from the instant on, daily before the end
    check(
        &sides(json!({"date": "2024-03-01", "time": "08:00"}), json!({"time": "12:00"})),
        &[
            ("2024-03-01T06:30:00Z", false),
            ("2024-03-01T07:00:00Z", true),
            ("2024-03-01T11:00:00Z", false),
            ("2024-03-02T01:00:00Z", true),
        ],
    );
    // start time with an end date and time
    check(
        &sides(json!({"time": "20:00"}), json!({"date": "2024-03-02", "time": "21:00"})),
        &[
            ("2024-03-01T19:30:00Z", true),
            ("2024-03-02T18:59:59Z", false),
            ("2024-03-02T19:30:00Z", true),
            ("2024-03-02T20:00:00Z", false),
            ("2024-03-03T19:30:00Z", false),
        ],
    );
    assert!(range(&json!({"start": null, "end": {"date": "", "time": null}})).is_always());
}

// 2024-03-01 is a Friday.
#[test]
fn weekdays_are_local_days() {
    let friday = json!({"weekdays": ["fri"]});
    check(
        &friday,
        &[
            ("2024-02-29T22:59:59Z", false),
            ("2024-02-29T23:00:00Z", true),
            ("2024-03-01T22:59:59Z", true),
            ("2024-03-01T23:00:00Z", false),
        ],
    );
    assert_eq!(range(&friday).eval(at("2024-03-01T23:00:00Z")).until, at("2024-03-07T23:00:00Z"));
    // Days that touch are one stretch.
    let weekend = json!({"weekdays": [6, "Sunday"]});
    assert_eq!(range(&weekend).eval(at("2024-03-02T12:00:00Z")).until, at("2024-03-03T23:00:00Z"));
    assert!(range(&json!({"weekdays": []})).is_always());
    assert!(range(&json!({"weekdays": [1, 2, 3, 4, 5, 6, 7]})).is_always());
    // A night belongs to the day on which it began.
    let night = json!({"start": {"time": "22:00"}, "end": {"time": "06:00"}, "weekdays": ["fri"]});
    check(
        &night,
        &[
            ("2024-03-01T04:00:00Z", false),
            ("2024-03-01T21:00:00Z", true),
            ("2024-03-02T04:00:00Z", true),
            ("2024-03-02T21:00:00Z", false),
        ],
    );
}

#[test]
fn what_cannot_be_read_is_reported_where_it_stands() {
    let mut issues = Vec::new();
    let json = json!({"start": {"date": "2024-02-30", "time": "24:00"}, "end": "tomorrow", "weekdays": ["fri", "someday", 8]});
    TimeRange::compile(&Node::new(&json, "/targeting"), &berlin(), &mut issues);
    let pointers: Vec<_> = issues.iter().map(|issue| issue.pointer.as_str()).collect();
    assert_eq!(
        pointers,
        ["/targeting/start/date", "/targeting/start/time", "/targeting/end", "/targeting/weekdays/1", "/targeting/weekdays/2"]
    );
    issues.clear();
    let json = json!({"start": {"date": "2024-05-02"}, "end": {"date": "2024-05-01"}});
    TimeRange::compile(&Node::new(&json, ""), &berlin(), &mut issues);
    assert_eq!(issues.len(), 1, "{issues:?}");
}

fn a_time() -> impl Strategy<Value = Clock> {
    prop::option::weighted(0.7, (0_i8..24, prop::sample::select(vec![0_i8, 15, 30, 45])))
}

/// Hour and minute.
type Clock = Option<(i8, i8)>;

fn some_targeting() -> impl Strategy<Value = (Json, Clock, Clock, Vec<i8>)> {
    let days = prop::sample::subsequence((1_i8..=7).collect::<Vec<_>>(), 0..=7);
    (a_time(), a_time(), days).prop_map(|(start, end, days)| {
        let text = |time: (i8, i8)| format!("{:02}:{:02}", time.0, time.1);
        let json = json!({"start": {"time": start.map(text)}, "end": {"time": end.map(text)}, "weekdays": days.clone()});
        (json, start, end, days)
    })
}

/// 4.2 read off the wall clock: only right where the clocks do not change.
fn by_the_clock(now: Millis, start: Clock, end: Clock, days: &[i8]) -> bool {
    let local = berlin().local(now);
    let clock = (local.hour(), local.minute());
    let (holds, began_yesterday) = match (start, end) {
        (None, None) => (true, false),
        (Some(s), None) => (clock >= s, false),
        (None, Some(e)) => (clock < e || e == (0, 0), false),
        (Some(s), Some(e)) if s < e => (clock >= s && clock < e, false),
        (Some(s), Some(e)) if s > e => (clock >= s || clock < e, clock < e),
        (Some(_), Some(_)) => (true, false),
    };
    let day = if began_yesterday { local.date().yesterday().unwrap() } else { local.date() };
    holds && (days.is_empty() || days.contains(&day.weekday().to_monday_one_offset()))
}

proptest! {
    #[test]
    fn hours_follow_the_wall_clock((json, start, end, days) in some_targeting(), minute in 0_i64..20 * 1440) {
        // 1 to 20 March 2024: no clock change.
        let now = at("2024-03-01T00:00:00Z").plus(minute * 60_000);
        prop_assert_eq!(range(&json).eval(now).holds, by_the_clock(now, start, end, &days));
    }

    // Over both clock changes of the year: the answer stands until `until`, and turns there.
    #[test]
    fn until_is_the_next_turn((json, ..) in some_targeting(), spring in any::<bool>(), minute in 0_i64..6 * 1440) {
        let begin = if spring { at("2024-03-28T00:00:00Z") } else { at("2024-10-24T00:00:00Z") };
        let range = range(&json);
        let now = begin.plus(minute * 60_000 + 1);
        let truth = range.eval(now);
        prop_assert!(truth.until > now);
        let end = truth.until.min(now.plus(20 * DAY_MS));
        let mut t = now.0;
        while t < end.0 {
            prop_assert_eq!(range.eval(Millis(t)).holds, truth.holds, "at {}", t);
            t += 15 * 60_000;
        }
        prop_assert_eq!(range.eval(end.minus(1)).holds, truth.holds);
        if truth.until != Millis::MAX {
            prop_assert_eq!(range.eval(truth.until).holds, !truth.holds);
        }
    }
}
