//! Numbers of bytes as people write them: `32MiB`, `64KiB`, `1048576`.

use std::{fmt, str::FromStr};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl ByteSize {
    /// `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        ByteSize(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// The text is not a number of bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A unit that means 1000 to some and 1024 to others.
    #[error("the unit is ambiguous; write {0}KiB, {0}MiB or {0}GiB, of 1024 each")]
    Decimal(u64),
    /// Anything else.
    #[error("not a size; write a whole number of bytes, or one with KiB, MiB or GiB, such as 32MiB")]
    Malformed,
    /// More than 64 bits.
    #[error("too large")]
    TooLarge,
}

impl FromStr for ByteSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(Error::Malformed);
        }
        let number: u64 = number.parse().map_err(|_| Error::TooLarge)?;
        let unit = match unit {
            "" | "B" => 1,
            "K" | "KB" | "kB" | "k" | "M" | "MB" | "G" | "GB" => return Err(Error::Decimal(number)),
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or(Error::Malformed)?.1,
        };
        number.checked_mul(unit).map(ByteSize).ok_or(Error::TooLarge)
    }
}

impl fmt::Display for ByteSize {
    /// In the greatest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in
            [("32MiB", 32 << 20), ("64KiB", 64 << 10), ("1GiB", 1 << 30), ("1048576", 1 << 20), ("5B", 5)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!(ByteSize(32 << 20).to_string(), "32MiB");
        assert_eq!(ByteSize(1000).to_string(), "1000");
    }

    #[test]
    fn refuses_the_rest_with_the_mend() {
        assert_eq!("32MB".parse::<ByteSize>(), Err(Error::Decimal(32)));
        for text in ["", "MiB", "-1", "1.5MiB", "1 MiB", "1mib", "1PiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(Error::Malformed), "{text:?}");
        }
        for text in ["99999999999999999999", "18446744073709551615KiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(Error::TooLarge), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: u64, shift in 0u32..40) {
            for bytes in [bytes, (bytes >> shift) << shift] {
                prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            }
        }

        #[test]
        fn no_text_breaks_it(text in "\\PC{0,12}|[0-9KMGTiB.]{0,24}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
