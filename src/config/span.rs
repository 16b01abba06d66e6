//! Durations as text: `"250ms"`, `"30s"`, `"5m"`, `"1h"`, `"400d"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// Reads a duration.
///
/// # Errors
/// A fragment that says what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as \"250ms\", \"30s\", \"5m\" or \"1h\", \"400d\" for days");
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// As [`deserialize`], with nothing for no bound.
///
/// # Errors
/// As [`parse`].
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() { Ok(None) } else { parse(&text).map(Some).map_err(de::Error::custom) }
}

/// For `#[serde(deserialize_with)]`.
///
/// # Errors
/// As [`parse`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            ("250ms", Some(250)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("2d", Some(172_800_000)),
            ("0s", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("99999999999999999h", None),
        ];
        for (text, ms) in table {
            assert_eq!(parse(text).ok(), ms.map(Duration::from_millis), "{text:?}");
        }
    }
}
