use super::*;
use proptest::prelude::*;

fn berlin() -> Zone {
    Zone::parse("Europe/Berlin").unwrap()
}

fn instant(text: &str) -> Millis {
    parse_rfc3339(text).unwrap()
}

fn check(text: &str, expect: &str) {
    let got = parse_instant(text, &berlin()).map(DateTimeLit::start).map(format_instant);
    assert_eq!(got.as_deref().unwrap_or("none"), expect, "{text}");
}

// I-12 and T-10: a date is a local day, text without offset is local time.
#[test]
fn i12_reading_dates() {
    check("2026-07-01", "2026-06-30T22:00:00.000Z");
    check("2024-03-01", "2024-02-29T23:00:00.000Z");
    check("2024-03-01T10:00:00Z", "2024-03-01T10:00:00.000Z");
    check("2024-03-01t10:00:00.123456z", "2024-03-01T10:00:00.123Z");
    check("2024-03-01 10:00:00.5+02:30", "2024-03-01T07:30:00.500Z");
    check("2024-03-01T10:00:00-00:30", "2024-03-01T10:30:00.000Z");
    check("2024-03-01T10:00:00", "2024-03-01T09:00:00.000Z");
    check("2024-07-01T10:00:00.25", "2024-07-01T08:00:00.250Z");
    check("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z");
    for bad in [
        "",
        "yesterday",
        "2024-3-1",
        "2024-02-30",
        "2024-03-01T",
        "2024-03-01T10:00",
        "2024-03-01T24:00:00Z",
        "2024-03-01T10:00:00+2",
        "2024-03-01T10:00:00.Z",
        "2024-03-01T10:00:00Z ",
        "20240301",
        "2024-03-01Z",
        "+024-03-01",
    ] {
        check(bad, "none");
    }
}

// T-61: a time that the clocks skip means the first instant after the gap.
#[test]
fn t61_gap_and_fold() {
    let at = |date: &str, time: &str, prefer| {
        format_instant(berlin().resolve(parse_date(date).unwrap(), parse_time_of_day(time).unwrap(), prefer)).to_string()
    };
    assert_eq!(at("2024-03-31", "02:30", Prefer::Earlier), "2024-03-31T01:00:00.000Z");
    assert_eq!(at("2024-03-31", "02:30", Prefer::Later), "2024-03-31T01:00:00.000Z");
    assert_eq!(at("2024-03-31", "02:00", Prefer::Later), "2024-03-31T01:00:00.000Z");
    assert_eq!(at("2024-03-31", "03:00", Prefer::Later), "2024-03-31T01:00:00.000Z");
    assert_eq!(at("2024-10-27", "02:30", Prefer::Earlier), "2024-10-27T00:30:00.000Z");
    assert_eq!(at("2024-10-27", "02:30", Prefer::Later), "2024-10-27T01:30:00.000Z");
    // Midnight itself is skipped in Beirut on this day.
    let beirut = Zone::parse("Asia/Beirut").unwrap();
    let day = beirut.start_of_day(parse_date("2024-03-31").unwrap());
    assert_eq!(format_instant(day), "2024-03-30T22:00:00.000Z");
    assert_eq!(beirut.local(day).to_string(), "2024-03-31T01:00:00");
}

// T-83: the day the clocks go forward has 23 hours.
#[test]
fn t83_day_length() {
    let date = parse_date("2024-03-31").unwrap();
    assert_eq!(berlin().end_of_day(date).0 - berlin().start_of_day(date).0, 23 * 3_600_000);
    assert_eq!(berlin().date(instant("2024-02-29T23:00:00Z")), parse_date("2024-03-01").unwrap());
    assert_eq!(berlin().date(instant("2024-02-29T22:59:59Z")), parse_date("2024-02-29").unwrap());
}

// I-46: a zone that does not exist is refused.
#[test]
fn i46_zones() {
    for name in ["Mars/X", "", "Europe", "CET+1"] {
        assert_eq!(Zone::parse(name), Err(UnknownZone(name.into())), "{name}");
    }
    for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"] {
        assert_eq!(Zone::parse(name).unwrap().name(), name);
    }
    let bytes = bincode::serialize(&berlin()).unwrap();
    assert_eq!(bincode::deserialize::<Zone>(&bytes).unwrap(), berlin());
}

#[test]
fn unix_times_below_1e11_are_seconds() {
    assert_eq!(from_epoch(1_709_287_200), Some(Millis(1_709_287_200_000)));
    assert_eq!(from_epoch(1_709_287_200_123), Some(Millis(1_709_287_200_123)));
    assert_eq!(from_epoch(99_999_999_999), Some(Millis(99_999_999_999_000)));
    assert_eq!(from_epoch(-1), Some(Millis(-1000)));
    assert_eq!(from_epoch(i64::MAX), None);
    assert_eq!(from_epoch(i64::MIN), None);
}

#[test]
fn times_of_day() {
    assert_eq!(parse_time_of_day("08:05"), Some(Time::constant(8, 5, 0, 0)));
    assert_eq!(parse_time_of_day("23:59:58"), Some(Time::constant(23, 59, 58, 0)));
    for bad in ["8:05", "24:00", "12:60", "12-30", "", "12:30:", "12:3a"] {
        assert_eq!(parse_time_of_day(bad), None, "{bad}");
    }
}

#[test]
fn any_number_of_milliseconds_can_be_written() {
    assert_eq!(format_instant(Millis(INSTANT_MIN)), "0000-01-01T00:00:00.000Z");
    assert_eq!(format_instant(Millis(INSTANT_MAX)), "9999-12-31T23:59:59.999Z");
    assert!(format_instant(Millis::MAX).ends_with('Z'));
    assert!(format_instant(Millis::MIN).ends_with('Z'));
}

proptest! {
    #[test]
    fn written_instants_read_back(ms in INSTANT_MIN..=INSTANT_MAX) {
        let text = format_instant(Millis(ms));
        prop_assert_eq!(text.len(), 24);
        prop_assert!(!text.is_heap_allocated());
        prop_assert_eq!(parse_rfc3339(&text), Some(Millis(ms)));
        prop_assert_eq!(text.as_str(), &format!("{:.3}", Timestamp::from_millisecond(ms).unwrap()));
    }

    #[test]
    fn local_time_resolves_back(ms in 0i64..4_102_444_800_000, name in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])) {
        let zone = Zone::parse(name).unwrap();
        let local = zone.local(Millis(ms));
        let back = [Prefer::Earlier, Prefer::Later].map(|p| zone.resolve(local.date(), local.time(), p).0);
        prop_assert!(back.contains(&ms));
    }
}
