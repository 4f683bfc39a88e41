//! The settings of summaries.

use std::time::Duration;

use super::Config;
use crate::settings::{Broken, Reader, Setting, duration, number, settings};

const HEADING: &str = "Notifications";

settings! {
    pub SETTINGS:

    WINDOW = Setting::new(HEADING, "notify-window", "NOMAD_FIREHOSE_NOTIFY_WINDOW", "DURATION",
        "How long equal messages are gathered into one summary after the first one has left (1s–10m). 0s sends every message by itself, without a limit. Only for sinks that notify people")
        .default("1m");
    LIMIT = Setting::new(HEADING, "notify-limit", "NOMAD_FIREHOSE_NOTIFY_LIMIT", "NUMBER",
        "Most messages a minute (1–1000). Everything past it goes into one summary a minute. Only for sinks that notify people")
        .default("20");
}

/// Reads the settings; `None` if there are no summaries.
///
/// # Errors
/// A value is wrong; the reader has noted which.
pub fn read(reader: &mut Reader<'_>) -> Result<Option<Config>, Broken> {
    let window = reader.value(&WINDOW, window);
    let limit = reader.value(&LIMIT, number(1, 1000));
    let (window, limit) = (window?, limit?);
    Ok((!window.is_zero()).then_some(Config { window, limit }))
}

/// A length of time, or zero.
fn window(text: &str) -> Result<Duration, String> {
    match duration(Duration::ZERO, Duration::from_secs(600))(text)? {
        short if !short.is_zero() && short < Duration::from_secs(1) => {
            Err("out of bounds; write a duration from 1s to 10m, or 0s".to_owned())
        }
        window => Ok(window),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::testing;

    #[test]
    fn the_defaults_are_a_minute_and_twenty() {
        let (config, _) = testing::read(SETTINGS, &[], read).expect("defaults");
        assert_eq!(config, Some(Config { window: Duration::from_secs(60), limit: 20 }));
    }

    #[test]
    fn zero_sends_every_message_by_itself() {
        let (config, _) = testing::read(SETTINGS, &[("NOMAD_FIREHOSE_NOTIFY_WINDOW", "0s")], read).expect("valid");
        assert_eq!(config, None);
        assert!(testing::read(SETTINGS, &[("NOMAD_FIREHOSE_NOTIFY_WINDOW", "10ms")], read).is_err());
    }

    #[test]
    fn all_problems_are_noted_at_once() {
        let given = [("NOMAD_FIREHOSE_NOTIFY_WINDOW", "2h"), ("NOMAD_FIREHOSE_NOTIFY_LIMIT", "0")];
        let problems = testing::read(SETTINGS, &given, read).expect_err("out of bounds");
        assert_eq!(problems.len(), 2, "{problems:?}");
        for ((variable, _), problem) in given.iter().zip(&problems) {
            assert!(problem.contains(variable), "{problem}");
        }
    }
}
