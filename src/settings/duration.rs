//! Lengths of time as people write them: `10s`, `500ms`, `1m30s`.

use std::time::Duration;

use humantime::{DurationError, format_duration, parse_duration};

/// A parser of a length of time between two bounds.
pub(crate) fn duration(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let duration = parse_duration(text).map_err(|error| match error {
            DurationError::UnknownUnit { unit, value, .. } if unit.is_empty() => {
                format!("the number has no unit; write {value}s for seconds or {value}ms for milliseconds")
            }
            DurationError::NumberOverflow => "the duration is too long".to_owned(),
            _ => "not a duration; write numbers with h, m, s or ms, such as 500ms, 10s or 1m30s".to_owned(),
        })?;
        if duration < least || duration > most {
            return Err(format!("out of bounds; write a duration from {} to {}", shown(least), shown(most)));
        }
        Ok(duration)
    }
}

/// As people write it, without blanks, and in hours where humantime would count days.
fn shown(duration: Duration) -> String {
    let hours = duration.as_secs() / 3600;
    if hours > 0 && duration == Duration::from_secs(hours * 3600) {
        return format!("{hours}h");
    }
    format_duration(duration).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<u128, String> {
        duration(Duration::ZERO, Duration::MAX)(text).map(|duration| duration.as_millis())
    }

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("1h", 3_600_000),
            ("1m1ms", 60_001),
            ("24h", 86_400_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(read(text), Ok(millis), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        assert!(read("10").expect_err("no unit").contains("write 10s"));
        for text in ["", " ", "s", "-1s", "１s", "10 parsecs", "1m30"] {
            assert!(read(text).expect_err(text).contains("write"), "{text:?}");
        }
        for text in ["99999999999999999999s", "18446744073709551615h"] {
            assert!(read(text).expect_err(text).contains("too long"), "{text:?}");
        }
    }

    #[test]
    fn bounds_hold_and_are_named() {
        let read = duration(Duration::from_millis(100), Duration::from_secs(600));
        for text in ["99ms", "601s", "0", "1M", "1d"] {
            assert_eq!(read(text), Err("out of bounds; write a duration from 100ms to 10m".to_owned()), "{text}");
        }
        assert_eq!(read("10m"), Ok(Duration::from_secs(600)));
    }

    proptest! {
        /// The form that was documented first: whole numbers with h, m, s and ms, the greatest first.
        #[test]
        fn whole_numbers_with_units_are_read(h in 0u64..1000, m in 0u64..1000, s in 0u64..1000, ms in 0u64..5000) {
            let millis = ((h * 60 + m) * 60 + s) * 1000 + ms;
            prop_assert_eq!(read(&format!("{h}h{m}m{s}s{ms}ms")), Ok(u128::from(millis)));
        }

        #[test]
        fn no_text_breaks_it(text in "\\PC{0,12}|[0-9hms.]{0,12}") {
            drop(read(&text));
        }
    }
}
