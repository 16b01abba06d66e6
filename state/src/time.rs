//! Instants, zones, and the local days that date literals stand for.
//!
//! Stored time is [`Millis`] UTC. The organisation's zone only gives a meaning to text without an
//! offset, to calendar days and to times of day.

use crate::ids::Millis;
use compact_str::CompactString;
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

pub use jiff::civil::{Date, DateTime, Time, Weekday};

/// One day of a relative window, in milliseconds. Calendar days may be shorter or longer.
pub const DAY_MS: i64 = 86_400_000;

/// 0000-01-01T00:00:00.000Z; earlier instants are not read.
const INSTANT_MIN: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z; later instants are not read.
const INSTANT_MAX: i64 = 253_402_300_799_999;

/// A time zone by its IANA name; cheap to clone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// The name is not in the zone database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {0:?}")]
pub struct UnknownZone(pub String);

/// Which instant a local time means where it occurs twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// The earlier one; for starts.
    Earlier,
    /// The later one; for ends.
    Later,
}

impl Zone {
    /// Coordinated universal time.
    #[must_use]
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The zone of an IANA name such as `Europe/Berlin`. The database is built in.
    ///
    /// # Errors
    /// [`UnknownZone`]; also for the empty name.
    pub fn parse(name: &str) -> Result<Self, UnknownZone> {
        match TimeZone::get(name) {
            Ok(zone) if zone.iana_name().is_some() => Ok(Self(zone)),
            _ if name == "UTC" => Ok(Self::utc()),
            _ => Err(UnknownZone(name.to_owned())),
        }
    }

    /// The IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The first instant of a local day, which is not always 00:00.
    #[must_use]
    pub fn start_of_day(&self, date: Date) -> Millis {
        self.resolve(date, Time::midnight(), Prefer::Earlier)
    }

    /// The first instant after a local day.
    #[must_use]
    pub fn end_of_day(&self, date: Date) -> Millis {
        date.tomorrow().map_or(Millis::MAX, |next| self.start_of_day(next))
    }

    /// The instant of a local date and time. A time that the clocks skip means the first instant
    /// after the gap; one that occurs twice is chosen by `prefer`.
    #[must_use]
    pub fn resolve(&self, date: Date, time: Time, prefer: Prefer) -> Millis {
        self.instant_of(date.to_datetime(time), prefer)
    }

    fn instant_of(&self, local: DateTime, prefer: Prefer) -> Millis {
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => shifted(local, offset.seconds()),
            AmbiguousOffset::Fold { before, after } => match prefer {
                Prefer::Earlier => shifted(local, before.seconds()),
                Prefer::Later => shifted(local, after.seconds()),
            },
            AmbiguousOffset::Gap { before, .. } => {
                // By the old offset the local time lies at or after the transition, and nothing
                // happens between the two: the latest transition up to there is the gap's end.
                let inside = shifted(local, before.seconds());
                let after = Timestamp::from_millisecond(inside.0.saturating_add(1)).unwrap_or(Timestamp::MAX);
                self.0.preceding(after).next().map_or(inside, |transition| Millis(transition.timestamp().as_millisecond()))
            }
        }
    }

    /// The local date and time of an instant. Instants outside years −9999 to 9999 are clamped.
    #[must_use]
    pub fn local(&self, t: Millis) -> DateTime {
        let bounded = t.0.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
        let at = Timestamp::from_millisecond(bounded).unwrap_or(Timestamp::UNIX_EPOCH);
        self.0.to_datetime(at)
    }

    /// The local date of an instant.
    #[must_use]
    pub fn date(&self, t: Millis) -> Date {
        self.local(t).date()
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        Self::parse(name)
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(name: String) -> Result<Self, UnknownZone> {
        Self::parse(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}

/// What a dateTime text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateTimeLit {
    /// One instant.
    Instant(Millis),
    /// A local day, `[start, end)`.
    Day {
        /// First instant of the day.
        start: Millis,
        /// First instant of the next day.
        end: Millis,
    },
}

impl DateTimeLit {
    /// The instant, or the first instant of the day.
    #[must_use]
    pub fn start(self) -> Millis {
        match self {
            Self::Instant(t) | Self::Day { start: t, .. } => t,
        }
    }
}

/// Reads RFC 3339 with offset, the same without offset (local time of `zone`), or `YYYY-MM-DD` (a
/// local day). Digits of the second beyond milliseconds are cut; years are 0000 to 9999.
#[must_use]
pub fn parse_instant(text: &str, zone: &Zone) -> Option<DateTimeLit> {
    let bytes = text.as_bytes();
    let date = read_date(bytes)?;
    if bytes.len() == 10 {
        return Some(DateTimeLit::Day { start: zone.start_of_day(date), end: zone.end_of_day(date) });
    }
    let (of_day, offset) = read_clock(&bytes[10..])?;
    let instant = match offset {
        Some(offset_ms) => Millis(days_from_civil(date) * DAY_MS + of_day - offset_ms),
        None => {
            let second = i8::try_from(of_day / 1000 % 60).ok()?;
            let minute = i8::try_from(of_day / 60_000 % 60).ok()?;
            let hour = i8::try_from(of_day / 3_600_000).ok()?;
            let time = Time::new(hour, minute, second, 0).ok()?;
            zone.resolve(date, time, Prefer::Earlier).plus(of_day % 1000)
        }
    };
    in_range(instant).map(DateTimeLit::Instant)
}

/// RFC 3339 with an offset, and nothing else.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    let bytes = text.as_bytes();
    let date = read_date(bytes)?;
    let (of_day, offset) = read_clock(&bytes[10..])?;
    in_range(Millis(days_from_civil(date) * DAY_MS + of_day - offset?))
}

/// A Unix time as people send it: seconds below 1e11, milliseconds from there on.
#[must_use]
pub fn from_epoch(number: i64) -> Option<Millis> {
    let ms = if number.unsigned_abs() < 100_000_000_000 { number * 1000 } else { number };
    in_range(Millis(ms))
}

/// `HH:MM` or `HH:MM:SS` as a time of day.
#[must_use]
pub fn parse_time_of_day(text: &str) -> Option<Time> {
    let bytes = text.as_bytes();
    let second = match bytes.len() {
        5 => 0,
        8 if bytes[5] == b':' => digits(&bytes[6..8])?,
        _ => return None,
    };
    if bytes[2] != b':' {
        return None;
    }
    let part = |number: i64| i8::try_from(number).ok();
    Time::new(part(digits(&bytes[0..2])?)?, part(digits(&bytes[3..5])?)?, part(second)?, 0).ok()
}

/// `YYYY-MM-DD` as a date.
#[must_use]
pub fn parse_date(text: &str) -> Option<Date> {
    if text.len() == 10 { read_date(text.as_bytes()) } else { None }
}

/// RFC 3339 UTC with milliseconds: `2024-03-01T10:00:00.123Z`. 24 bytes for years 0000 to 9999, so
/// it stays off the heap.
#[must_use]
pub fn format_instant(t: Millis) -> CompactString {
    use fmt::Write as _;
    let (year, month, day) = civil_from_days(t.0.div_euclid(DAY_MS));
    let of_day = t.0.rem_euclid(DAY_MS);
    let mut out = CompactString::const_new("");
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let (second, ms) = (of_day / 1000 % 60, of_day % 1000);
    // Writing to a CompactString cannot fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
    out
}

fn in_range(t: Millis) -> Option<Millis> {
    (INSTANT_MIN..=INSTANT_MAX).contains(&t.0).then_some(t)
}

fn shifted(local: DateTime, offset_s: i32) -> Millis {
    let time = local.time();
    let of_day = (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 + i64::from(time.second());
    let ms = i64::from(time.millisecond());
    Millis(days_from_civil(local.date()) * DAY_MS + (of_day - i64::from(offset_s)) * 1000 + ms)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut number = 0;
    for byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i64::from(byte - b'0');
    }
    Some(number)
}

/// The date at the start of `bytes`.
fn read_date(bytes: &[u8]) -> Option<Date> {
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = i16::try_from(digits(&bytes[..4])?).ok()?;
    let month = i8::try_from(digits(&bytes[5..7])?).ok()?;
    let day = i8::try_from(digits(&bytes[8..10])?).ok()?;
    Date::new(year, month, day).ok()
}

/// `THH:MM:SS[.fff…][Z|±HH:MM]` as (milliseconds of the day, offset in milliseconds if given).
fn read_clock(bytes: &[u8]) -> Option<(i64, Option<i64>)> {
    if bytes.len() < 9 || !matches!(bytes[0], b'T' | b't' | b' ') || bytes[3] != b':' || bytes[6] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&bytes[1..3])?, digits(&bytes[4..6])?);
    let second = digits(&bytes[7..9])?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // A leap second has no place of its own in Unix time; it counts as the second before it.
    let mut of_day = ((hour * 60 + minute) * 60 + second.min(59)) * 1000;
    let mut rest = &bytes[9..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return None;
        }
        let kept = &fraction[..len.min(3)];
        of_day += digits(kept)? * [100, 10, 1][kept.len() - 1];
        rest = &fraction[len..];
    }
    let offset = match rest {
        [] => None,
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hour, minute) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hour > 23 || minute > 59 {
                return None;
            }
            let ms = (hour * 60 + minute) * 60_000;
            Some(if *sign == b'-' { -ms } else { ms })
        }
        _ => return None,
    };
    Some((of_day, offset))
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn days_from_civil(date: Date) -> i64 {
    let (month, day) = (i64::from(date.month()), i64::from(date.day()));
    let year = i64::from(date.year()) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
