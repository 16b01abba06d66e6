//! When an action may run: dates, daily hours and weekdays in the organisation's zone.
//!
//! A side (start or end) with a date bounds the whole run; a side with only a time bounds every day.
//! Both kinds combine. Daily hours are half-open; `start > end` is an overnight window, and its hours
//! after midnight belong to the day on which it opened, also for `weekdays`.

use super::json::{Node, field_issue};
use crate::expr::Truth;
use crate::ids::Millis;
use crate::issue::Issue;
use crate::time::{Date, Prefer, Time, Weekday, Zone, parse_date, parse_time_of_day};

/// One side of the range as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Side {
    date: Option<Date>,
    time: Option<Time>,
}

/// The hours of one day, in local time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hours {
    /// The whole day.
    All,
    /// `[from, 24:00)`.
    From(Time),
    /// `[00:00, to)`.
    Until(Time),
    /// `[from, to)` of one day.
    Within(Time, Time),
    /// From one day's `from` to the next day's `to`.
    Overnight(Time, Time),
}

impl Hours {
    fn between(start: Option<Time>, end: Option<Time>) -> Self {
        match (start, end) {
            (None, None) => Self::All,
            // A day that starts or ends at midnight, and nothing else said, is a whole day.
            (Some(time), None) | (None, Some(time)) if time == Time::midnight() => Self::All,
            (Some(s), None) => Self::From(s),
            (None, Some(e)) => Self::Until(e),
            (Some(s), Some(e)) if s < e => Self::Within(s, e),
            (Some(s), Some(e)) if s > e => Self::Overnight(s, e),
            (Some(_), Some(_)) => Self::All,
        }
    }
}

/// Compiled time targeting. Evaluation without hours and weekdays compares two integers.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeRange {
    /// First instant.
    start: Millis,
    /// First instant after.
    end: Millis,
    hours: Hours,
    /// Bit `n`: days whose weekday is Monday plus `n`.
    weekdays: u8,
    zone: Zone,
}

const EVERY_DAY: u8 = 0b111_1111;

/// A window of one weekday comes again within 7 days; the clocks can skip it whole once.
const SEARCH_DAYS: i64 = 16;

impl Default for TimeRange {
    fn default() -> Self {
        Self { start: Millis::MIN, end: Millis::MAX, hours: Hours::All, weekdays: EVERY_DAY, zone: Zone::utc() }
    }
}

impl TimeRange {
    /// Reads `start`, `end` and `weekdays` of a `targeting` object.
    pub(super) fn compile(targeting: &Node<'_>, zone: &Zone, issues: &mut Vec<Issue>) -> Self {
        let start = side(targeting, "start", issues);
        let end = side(targeting, "end", issues);
        let weekdays = weekdays(targeting, issues);
        let from = match start.date {
            Some(date) => zone.resolve(date, start.time.unwrap_or(Time::midnight()), Prefer::Earlier),
            None => Millis::MIN,
        };
        let to = match (end.date, end.time) {
            (Some(date), Some(time)) => zone.resolve(date, time, Prefer::Later),
            (Some(date), None) => zone.end_of_day(date),
            (None, _) => Millis::MAX,
        };
        if from >= to {
            issues.push(field_issue(targeting, "end", "the range ends before it starts"));
        }
        let daily = |side: Side| if side.date.is_none() { side.time } else { None };
        let hours = Hours::between(daily(start), daily(end));
        Self { start: from, end: to, hours, weekdays, zone: zone.clone() }
    }

    /// Reads `start` and `end`, both times of day, and `weekdays`: hours that come every day.
    pub(super) fn daily_hours(node: &Node<'_>, zone: &Zone, issues: &mut Vec<Issue>) -> Self {
        let mut time = |key: &str| {
            let text = node.text(key, issues).filter(|text| !text.is_empty());
            let time = text.and_then(parse_time_of_day);
            if time.is_none() {
                issues.push(field_issue(node, key, format!("{key} is a time, HH:MM from 00:00 to 23:59")));
            }
            time
        };
        let hours = Hours::between(time("start"), time("end"));
        Self { hours, weekdays: weekdays(node, issues), zone: zone.clone(), ..Self::default() }
    }

    /// Whether the range never ends and has no hours.
    #[must_use]
    pub fn is_always(&self) -> bool {
        self.start == Millis::MIN && self.end == Millis::MAX && !self.daily()
    }

    fn daily(&self) -> bool {
        self.hours != Hours::All || self.weekdays != EVERY_DAY
    }

    /// Whether `now` lies inside, and the next instant at which that may change.
    #[must_use]
    pub fn eval(&self, now: Millis) -> Truth {
        if now >= self.end {
            return Truth::forever(false);
        }
        if now < self.start {
            return Truth { holds: false, until: self.start };
        }
        if !self.daily() {
            return Truth { holds: true, until: self.end };
        }
        let today = self.at(now);
        Truth { holds: today.holds, until: today.until.min(self.end) }
    }

    /// The daily part alone.
    fn at(&self, now: Millis) -> Truth {
        let today = self.zone.date(now);
        // An overnight window of yesterday may still be open.
        let mut open_until: Option<Millis> = None;
        for offset in -1..=SEARCH_DAYS {
            let Some((from, to)) = self.window(today, offset) else {
                continue;
            };
            match open_until {
                // Windows that touch are one: whole days follow each other without a gap.
                Some(end) if from <= end => open_until = Some(end.max(to)),
                Some(end) => {
                    return Truth { holds: true, until: end };
                }
                None if from <= now && now < to => open_until = Some(to),
                None if from > now => {
                    return Truth { holds: false, until: from };
                }
                None => {}
            }
        }
        Truth { holds: open_until.is_some(), until: open_until.unwrap_or(Millis::MAX) }
    }

    /// The window that opens `offset` days after `today`, if that weekday is asked for and the clocks do
    /// not skip it.
    fn window(&self, today: Date, offset: i64) -> Option<(Millis, Millis)> {
        let date = today.checked_add(jiff::Span::new().days(offset)).ok()?;
        if self.weekdays & (1 << date.weekday().to_monday_zero_offset()) == 0 {
            return None;
        }
        let start = |time| self.zone.resolve(date, time, Prefer::Earlier);
        let end = |date: Date, time| self.zone.resolve(date, time, Prefer::Later);
        let (from, to) = match self.hours {
            Hours::All => (self.zone.start_of_day(date), self.zone.end_of_day(date)),
            Hours::From(s) => (start(s), self.zone.end_of_day(date)),
            Hours::Until(e) => (self.zone.start_of_day(date), end(date, e)),
            Hours::Within(s, e) => (start(s), end(date, e)),
            Hours::Overnight(s, e) => (start(s), end(date.tomorrow().ok()?, e)),
        };
        (from < to).then_some((from, to))
    }
}

fn side(targeting: &Node<'_>, key: &'static str, issues: &mut Vec<Issue>) -> Side {
    let Some(node) = targeting.object(key, issues) else {
        return Side::default();
    };
    let date = node.text("date", issues).filter(|text| !text.is_empty());
    let time = node.text("time", issues).filter(|text| !text.is_empty());
    let mut side = Side::default();
    if let Some(text) = date {
        side.date = parse_date(text);
        if side.date.is_none() {
            issues.push(field_issue(&node, "date", format!("a date is YYYY-MM-DD, not {text:?}")));
        }
    }
    if let Some(text) = time {
        side.time = parse_time_of_day(text);
        if side.time.is_none() {
            issues.push(field_issue(&node, "time", format!("a time is HH:MM from 00:00 to 23:59, not {text:?}")));
        }
    }
    side
}

/// Names (`mon`, `Monday`) or ISO numbers (1 is Monday). An empty list restricts nothing.
fn weekdays(targeting: &Node<'_>, issues: &mut Vec<Issue>) -> u8 {
    let mut bits = 0;
    for day in targeting.list("weekdays", issues) {
        match weekday(day.json) {
            Some(day) => bits |= 1 << day.to_monday_zero_offset(),
            None => issues.push(day.issue("a weekday is a name such as \"mon\" or a number from 1 (Monday) to 7")),
        }
    }
    if bits == 0 { EVERY_DAY } else { bits }
}

fn weekday(json: &serde_json::Value) -> Option<Weekday> {
    if let Some(number) = json.as_i64() {
        return Weekday::from_monday_one_offset(i8::try_from(number).ok()?).ok();
    }
    const NAMES: [(&str, Weekday); 7] = [
        ("monday", Weekday::Monday),
        ("tuesday", Weekday::Tuesday),
        ("wednesday", Weekday::Wednesday),
        ("thursday", Weekday::Thursday),
        ("friday", Weekday::Friday),
        ("saturday", Weekday::Saturday),
        ("sunday", Weekday::Sunday),
    ];
    let name = json.as_str()?.to_ascii_lowercase();
    NAMES.iter().find(|(full, _)| name == *full || name == full[..3]).map(|(_, day)| *day)
}

#[cfg(test)]
mod tests;
