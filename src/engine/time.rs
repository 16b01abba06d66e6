//! Effective event time: the client's, corrected for its clock and bounded (I7).

use crate::wire::Rejection;
use lodestone_state::ids::Millis;
use lodestone_state::time::{DateTimeLit, Zone, parse_instant};

/// How late an event may be and still be live.
pub(super) const MAX_LATENESS_MS: i64 = 7 * 86_400_000;

/// When an event happened, by `receivedAt − (sentAt − timestamp)` when both stamps exist, else
/// `timestamp`, else arrival. A future time is arrival.
///
/// # Errors
/// `event_too_old` beyond [`MAX_LATENESS_MS`] unless `import`; `invalid_frame` for a stamp that is no time.
pub(super) fn effective(
    at: Millis,
    timestamp: Option<&str>,
    sent_at: Option<&str>,
    zone: &Zone,
    import: bool,
) -> Result<Millis, Rejection> {
    let Some(timestamp) = timestamp else { return Ok(at) };
    let stamp = parse(timestamp, zone, "timestamp")?;
    let happened = match sent_at {
        Some(sent_at) => at.minus(parse(sent_at, zone, "sentAt")?.0.saturating_sub(stamp.0)),
        None => stamp,
    };
    let happened = happened.min(at);
    let late_ms = at.0.saturating_sub(happened.0);
    if late_ms > MAX_LATENESS_MS && !import {
        return Err(Rejection::new("event_too_old", format!("event is {late_ms} ms old, limit is {MAX_LATENESS_MS}")));
    }
    Ok(happened)
}

fn parse(text: &str, zone: &Zone, field: &str) -> Result<Millis, Rejection> {
    match parse_instant(text, zone) {
        Some(DateTimeLit::Instant(at)) => Ok(at),
        Some(DateTimeLit::Day { start, .. }) => Ok(start),
        None => Err(Rejection::invalid_frame(field, format!("{field} is not an RFC 3339 time"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        parse(text, &Zone::utc(), "t").expect("a time")
    }

    /// I-55: clock skew and queueing delay cancel out.
    #[test]
    fn skew_is_corrected_by_the_difference_of_the_clients_own_stamps() {
        let received = at("2026-01-05T12:00:10Z");
        let t = effective(received, Some("2026-01-05T10:00:00Z"), Some("2026-01-05T10:00:10Z"), &Zone::utc(), false);
        assert_eq!(t.expect("accepted"), at("2026-01-05T12:00:00Z"));
    }

    #[test]
    fn the_future_is_clamped_and_the_distant_past_refused_unless_importing() {
        let now = at("2026-01-10T00:00:00Z");
        assert_eq!(effective(now, Some("2026-01-11T00:00:00Z"), None, &Zone::utc(), false).expect("clamped"), now);
        let old = Some("2026-01-01T00:00:00Z");
        assert_eq!(effective(now, old, None, &Zone::utc(), false).expect_err("refused").code, "event_too_old");
        assert_eq!(effective(now, old, None, &Zone::utc(), true).expect("imported"), at("2026-01-01T00:00:00Z"));
    }
}
