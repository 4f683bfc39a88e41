//! Lengths of time as people write them: `10s`, `500ms`, `1m30s`.

use std::{fmt, str::FromStr};

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Duration(millis)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        std::time::Duration::from_millis(duration.0)
    }
}

/// The text is no length of time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A number without a unit.
    #[error("the number has no unit; write {0}s for seconds or {0}ms for milliseconds")]
    NoUnit(u64),
    /// Anything else.
    #[error("not a duration; write whole numbers with h, m, s or ms, the greatest first, such as 500ms, 10s or 1m30s")]
    Malformed,
    /// More than 64 bits of milliseconds.
    #[error("too long")]
    TooLong,
}

impl FromStr for Duration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(number) = text.parse::<u64>() {
            return if number == 0 { Ok(Duration(0)) } else { Err(Error::NoUnit(number)) };
        }
        let (mut rest, mut total, mut units) = (text, 0u64, UNITS.as_slice());
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(Error::Malformed)?;
            let (number, tail) = rest.split_at(digits);
            let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_len);
            if number.is_empty() {
                return Err(Error::Malformed);
            }
            // Each unit once, in falling order: "5s1m" is more likely a slip than a wish.
            let place = units.iter().position(|(name, _)| *name == unit).ok_or(Error::Malformed)?;
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(units[place].1));
            total = part.and_then(|part| total.checked_add(part)).ok_or(Error::TooLong)?;
            units = &units[place + 1..];
            rest = tail;
        }
        if text.is_empty() { Err(Error::Malformed) } else { Ok(Duration(total)) }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, length) in UNITS {
            if rest >= length {
                write!(f, "{}{name}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("1m1ms", 60_001),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Duration(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_with_the_mend() {
        assert_eq!("10".parse::<Duration>(), Err(Error::NoUnit(10)));
        for text in ["", " ", "s", "-1s", "1.5s", "1 s", "10 seconds", "1s1s", "5s1m", "1S", "１s", "1s "] {
            assert_eq!(text.parse::<Duration>(), Err(Error::Malformed), "{text:?}");
        }
        for text in ["99999999999999999999s", "18446744073709551615s", "18446744073709551615ms1ms"] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
        assert_eq!("18446744073709551s616ms".parse::<Duration>(), Err(Error::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis: u64) {
            prop_assert_eq!(Duration(millis).to_string().parse(), Ok(Duration(millis)));
        }

        #[test]
        fn no_text_breaks_it(text in "\\PC{0,12}|[0-9hms.]{0,12}") {
            if let Ok(duration) = text.parse::<Duration>() {
                prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            }
        }
    }
}
