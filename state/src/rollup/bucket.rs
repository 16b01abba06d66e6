//! Buckets: the local hours, days, weeks, months and years of a range, and the parts of a day or week that
//! come again.

use super::{Counts, Series, Slot};
use crate::ids::Millis;
use crate::time::{Date, Zone};
use jiff::ToSpan;
use std::fmt::Write;

/// Buckets that one question may ask for.
pub const BUCKETS_MAX: usize = 10_000;

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A local clock hour; a day in which clocks change has 23 or 25.
    Hour,
    /// A local day.
    Day,
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

impl Resolution {
    /// By the word of the interface.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// The word of the interface.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// A part of a day or week, wherever in the range it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cyclic {
    /// Monday to Sunday.
    Weekday,
    /// The hours 0 to 23 of the local clock.
    HourOfDay,
}

impl Cyclic {
    /// By the word of the interface.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "weekday" => Some(Self::Weekday),
            "hour_of_day" => Some(Self::HourOfDay),
            _ => None,
        }
    }

    /// The word of the interface.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Weekday => "weekday",
            Self::HourOfDay => "hour_of_day",
        }
    }

    /// The names of its buckets, in order.
    #[must_use]
    pub fn labels(self) -> Vec<String> {
        match self {
            Self::Weekday => {
                ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"].map(String::from).into()
            }
            Self::HourOfDay => (0..24).map(|hour| format!("{hour:02}")).collect(),
        }
    }

    /// The bucket of a slot.
    #[must_use]
    pub fn of(self, slot: Slot, zone: &Zone) -> usize {
        let local = zone.local(slot.start());
        let place = match self {
            Self::Weekday => local.date().weekday().to_monday_zero_offset(),
            Self::HourOfDay => local.hour(),
        };
        usize::try_from(place).unwrap_or(0)
    }
}

/// Local dates, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// The first day.
    pub start: Date,
    /// The last day.
    pub end: Date,
}

impl Dates {
    /// The first instant, and the first after the last.
    #[must_use]
    pub fn span(&self, zone: &Zone) -> (Millis, Millis) {
        (zone.start_of_day(self.start), zone.end_of_day(self.end))
    }
}

/// One bucket: `[start, end)`, cut to the range that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// `2024-03-31T02:00+02:00`, `2024-03-31`, `2024-W13`, `2024-03` or `2024`.
    pub label: String,
    /// Its first instant.
    pub start: Millis,
    /// The first instant after it.
    pub end: Millis,
}

/// The buckets of a range in order, without gaps. `None` if there are more than [`BUCKETS_MAX`].
#[must_use]
pub fn buckets(zone: &Zone, dates: Dates, resolution: Resolution) -> Option<Vec<Bucket>> {
    let mut buckets = Vec::new();
    if resolution == Resolution::Hour {
        let (mut start, end) = dates.span(zone);
        while start < end {
            let minute = i64::from(zone.local(start).minute());
            // Where clocks move by half an hour, the hour in which they do ends early or is begun again.
            let next = start.plus((60 - minute) * 60_000).min(end);
            buckets.push(Bucket { label: hour_label(start, zone), start, end: next });
            start = next;
            if buckets.len() > BUCKETS_MAX {
                return None;
            }
        }
        return Some(buckets);
    }
    let mut first = dates.start;
    while first <= dates.end {
        let next = next_start(first, resolution)?;
        let last = next.yesterday().ok()?.min(dates.end);
        let (start, end) = Dates { start: first, end: last }.span(zone);
        buckets.push(Bucket { label: label(first, resolution), start, end });
        first = next;
        if buckets.len() > BUCKETS_MAX {
            return None;
        }
    }
    Some(buckets)
}

/// The first day after the bucket that `date` is in.
fn next_start(date: Date, resolution: Resolution) -> Option<Date> {
    match resolution {
        Resolution::Hour | Resolution::Day => date.tomorrow(),
        Resolution::Week => date.checked_add(i64::from(7 - date.weekday().to_monday_zero_offset()).days()),
        Resolution::Month => date.first_of_month().checked_add(1.month()),
        Resolution::Year => date.first_of_year().checked_add(1.year()),
    }
    .ok()
}

fn label(date: Date, resolution: Resolution) -> String {
    match resolution {
        Resolution::Hour | Resolution::Day => date.to_string(),
        Resolution::Week => {
            let week = date.iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }
        Resolution::Month => format!("{:04}-{:02}", date.year(), date.month()),
        Resolution::Year => format!("{:04}", date.year()),
    }
}

fn hour_label(t: Millis, zone: &Zone) -> String {
    let mut text = local_text(t, zone);
    // Seconds say nothing about an hour.
    text.replace_range(16..19, "");
    text
}

/// An instant as local time with its offset, to the second: `2024-03-31T00:00:00+01:00`.
#[must_use]
pub fn local_text(t: Millis, zone: &Zone) -> String {
    let local = zone.local(t);
    let utc = Zone::utc().local(t);
    let offset = local.duration_since(utc).as_mins();
    let mut text = format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    );
    let sign = if offset < 0 { '-' } else { '+' };
    // Writing to a string cannot fail.
    let _ = write!(text, "{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60);
    text
}

/// The sums of a series by bucket; what lies in none is left out.
#[must_use]
pub fn sums(buckets: &[Bucket], series: &Series) -> Vec<Counts> {
    let mut sums = vec![Counts::default(); buckets.len()];
    for (slot, counts) in series {
        if let Some(at) = find(buckets, *slot) {
            sums[at].iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    sums
}

/// The bucket that a slot begins in.
#[must_use]
pub fn find(buckets: &[Bucket], slot: Slot) -> Option<usize> {
    let t = slot.start();
    let after = buckets.partition_point(|bucket| bucket.start <= t);
    after.checked_sub(1).filter(|at| t < buckets[*at].end)
}

/// The sums of a series by part of the day or week.
#[must_use]
pub fn cyclic_sums(zone: &Zone, cyclic: Cyclic, series: &Series) -> Vec<Counts> {
    let mut sums = vec![Counts::default(); cyclic.labels().len()];
    for (slot, counts) in series {
        sums[cyclic.of(*slot, zone)].iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    sums
}

/// The whole slots of a range: those that begin in it.
#[must_use]
pub fn slots(zone: &Zone, dates: Dates) -> (Slot, Slot) {
    let (start, end) = dates.span(zone);
    (Slot::at_or_after(start), Slot::at_or_after(end))
}
