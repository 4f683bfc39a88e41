//! A task event's time, for people.

/// UTC with milliseconds, as RFC 3339 has it: of nanoseconds since 1970.
pub(super) fn utc(nanoseconds: u64) -> String {
    let (seconds, milliseconds) = (nanoseconds / 1_000_000_000, nanoseconds / 1_000_000 % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// Year, month and day of a day since 1970, by counting: there are 584 years at most.
fn civil(mut day: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (nanoseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999_999_999, "2000-02-29T23:59:59.999Z"),
            (1_795_264_246_120_000_000, "2026-11-21T12:30:46.120Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "2554-07-21T23:34:33.709Z"),
        ] {
            assert_eq!(utc(nanoseconds), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_later_day_is_a_greater_text(day in 0_u64..213_000) {
            let at = |day: u64| utc(day * 86_400 * 1_000_000_000);
            proptest::prop_assert!(at(day) < at(day + 1));
        }
    }
}
