//! The settings of a counting rule. What it counts by is a setting of the program, which computes it.

use std::time::Duration;

use super::{Config, counts::MOST};
use crate::settings::{Broken, Reader, Setting, duration, number, settings};

const HEADING: &str = "Counting rule";

settings! {
    pub SETTINGS:

    EVERY = Setting::new(HEADING, "every", "NOMAD_FIREHOSE_EVERY", "DURATION",
        "Time within which records are counted (1s–24h). A record passes only if at least NOMAD_FIREHOSE_AT_LEAST records of its group happened within it, and then none of the group passes for as long");
    AT_LEAST = Setting::new(HEADING, "at-least", "NOMAD_FIREHOSE_AT_LEAST", "NUMBER",
        "How many records of a group have to happen within NOMAD_FIREHOSE_EVERY (1–1000). NOMAD_FIREHOSE_BY says what makes a group");
}

/// Reads the settings; `None` without a rule.
///
/// # Errors
/// A value is wrong, or one of the two is missing; the reader has noted which.
pub fn read(reader: &mut Reader<'_>) -> Result<Option<Config>, Broken> {
    let given = [&EVERY, &AT_LEAST].map(|setting| reader.text(setting).is_some());
    let every = reader.optional(&EVERY, duration(Duration::from_secs(1), Duration::from_secs(24 * 3600)));
    let at_least = reader.optional(&AT_LEAST, number(1, MOST));
    match given {
        [false, false] => return Ok(None),
        [true, false] => reader.missing(&AT_LEAST, "is missing; NOMAD_FIREHOSE_EVERY counts only with it"),
        [false, true] => reader.missing(&EVERY, "is missing; NOMAD_FIREHOSE_AT_LEAST counts only with it"),
        [true, true] => {}
    }
    match (every, at_least) {
        (Some(every), Some(at_least)) => Ok(Some(Config { every, at_least })),
        _ => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing;

    const BOTH: [&str; 2] = ["NOMAD_FIREHOSE_EVERY", "NOMAD_FIREHOSE_AT_LEAST"];

    #[test]
    fn both_or_neither_is_given() {
        let read = |given: &[(&str, &str)]| testing::read(SETTINGS, given, read).map(|(config, _)| config);
        assert_eq!(read(&[]), Ok(None));
        let config = Config { every: Duration::from_secs(600), at_least: 5 };
        assert_eq!(read(&[(BOTH[0], "10m"), (BOTH[1], "5")]), Ok(Some(config)));
        for (given, missing) in [((BOTH[0], "10m"), BOTH[1]), ((BOTH[1], "5"), BOTH[0])] {
            let problems = read(&[given]).expect_err("half a rule");
            assert!(problems.len() == 1 && problems[0].contains(missing), "{problems:?}");
        }
        for (every, at_least) in [("0s", "1001"), ("25h", "0"), ("10", "x")] {
            let problems = read(&[(BOTH[0], every), (BOTH[1], at_least)]).expect_err("out of bounds");
            assert_eq!(problems.len(), 2, "{problems:?}");
        }
    }
}
