//! The time that a metric covers: for ever, between two dates, a sliding window, or the present calendar
//! period.

use crate::ids::Millis;
use crate::time::{Date, Zone};

/// The time that a metric covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Everything that ever happened.
    Ever,
    /// What happened in `[from, to)`.
    Fixed {
        /// The first instant of the first local day; [`Millis::MIN`] without one.
        from: Millis,
        /// The first instant after the last local day; [`Millis::MAX`] without one.
        to: Millis,
    },
    /// What happened in the last so many milliseconds.
    Last {
        /// Its length.
        ms: i64,
    },
    /// What happened in the present calendar period.
    Calendar(Calendar),
}

/// A calendar period, in local days of the organisation's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    /// A local day: 23, 24 or 25 hours.
    Day,
    /// Monday to Sunday.
    Week,
    /// A month.
    Month,
    /// Three months, from January, April, July or October.
    Quarter,
    /// A year.
    Year,
}

/// All of time.
pub(super) const ALWAYS: (Millis, Millis) = (Millis::MIN, Millis::MAX);

impl Period {
    /// The half-open interval that the metric covers at `now`, where it has fixed ends. A sliding window
    /// and "ever" have none.
    #[must_use]
    pub fn span(&self, zone: &Zone, now: Millis) -> (Millis, Millis) {
        match self {
            Self::Ever | Self::Last { .. } => ALWAYS,
            Self::Fixed { from, to } => (*from, *to),
            Self::Calendar(calendar) => calendar.span(zone, now),
        }
    }
}

impl Calendar {
    /// The period that `now` is in, as `[from, to)`. Periods touch and do not overlap, also where the
    /// clocks are set back over a midnight.
    #[must_use]
    pub fn span(self, zone: &Zone, now: Millis) -> (Millis, Millis) {
        let mut first = self.first(zone.date(now));
        let (mut from, mut next) = (zone.start_of_day(first), self.after(first));
        // A local date can come twice; an instant belongs to the last period that has begun.
        while let Some(date) = next {
            let to = zone.start_of_day(date);
            if now < to {
                return (from, to);
            }
            (first, from) = (date, to);
            next = self.after(first);
        }
        (from, Millis::MAX)
    }

    /// The first day of the period of `date`.
    fn first(self, date: Date) -> Date {
        let month = |month: i8| Date::new(date.year(), month, 1).unwrap_or(date);
        match self {
            Self::Day => date,
            Self::Week => {
                let mut first = date;
                for _ in 0..date.weekday().to_monday_zero_offset() {
                    first = first.yesterday().unwrap_or(first);
                }
                first
            }
            Self::Month => month(date.month()),
            Self::Quarter => month((date.month() - 1) / 3 * 3 + 1),
            Self::Year => month(1),
        }
    }

    /// The first day of the next period; `None` at the end of the calendar.
    fn after(self, first: Date) -> Option<Date> {
        let months = match self {
            Self::Day => return first.tomorrow().ok(),
            Self::Week => {
                let mut day = first;
                for _ in 0..7 {
                    day = day.tomorrow().ok()?;
                }
                return Some(day);
            }
            Self::Month => 1,
            Self::Quarter => 3,
            Self::Year => 12,
        };
        let month = first.month() - 1 + months;
        Date::new(first.year().checked_add(i16::from(month / 12))?, month % 12 + 1, 1).ok()
    }
}
