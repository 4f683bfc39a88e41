//! The values of nomad-events-sink's keys, and the text that each becomes.

use std::time::Duration;

/// A value as it was given.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// In the file.
    Toml(toml::Value),
    /// As a variable.
    Variable(String),
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// `debug`, or `info`.
    LogLevel,
    /// A length of time, as Go writes it; `zero` stands for one of 0.
    Duration { zero: Option<&'static str> },
    /// A whole number; `zero` stands for 0.
    Number { zero: Option<&'static str>, least: i64 },
    /// True or false.
    Bool,
    /// Topics.
    Topics,
}

impl Value {
    /// Whether it turns something on.
    pub(super) fn is_true(&self) -> bool {
        Kind::Bool.texts(self).is_ok_and(|texts| texts == ["true"])
    }

    /// The value for a message, unless it can hold a password.
    pub(super) fn shown(&self, key: &str) -> Option<String> {
        match self {
            _ if key.ends_with("url") => None,
            Value::Toml(toml::Value::String(text)) | Value::Variable(text) => Some(text.clone()),
            Value::Toml(toml::Value::Integer(number)) => Some(number.to_string()),
            Value::Toml(toml::Value::Float(number)) => Some(number.to_string()),
            Value::Toml(toml::Value::Boolean(value)) => Some(value.to_string()),
            Value::Toml(_) => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Value::Toml(toml::Value::String(text)) | Value::Variable(text) => Some(text),
            Value::Toml(_) => None,
        }
    }
}

impl Kind {
    /// The texts of the setting that it becomes.
    pub(super) fn texts(self, value: &Value) -> Result<Vec<String>, String> {
        let one = |text: Result<String, &str>| text.map(|text| vec![text]).map_err(str::to_owned);
        match self {
            Kind::Text => one(value.text().map(str::to_owned).ok_or("write a text in quotes")),
            Kind::LogLevel => one(match value.text() {
                Some(level @ ("debug" | "info")) => Ok(level.to_owned()),
                _ => Err("write debug or info"),
            }),
            Kind::Bool => one(boolean(value).map(|value| value.to_string()).ok_or("write true or false")),
            Kind::Topics => topics(value),
            Kind::Number { zero, least } => match (number(value), zero) {
                (Some(0), Some(zero)) => Ok(vec![zero.to_owned()]),
                (Some(number), _) if number >= least => Ok(vec![number.to_string()]),
                _ => Err(format!("write a whole number from {least}")),
            },
            Kind::Duration { zero } => {
                let wrong = "write a duration with its unit, such as 500ms, 30s or 1m30s";
                let text = value.text().ok_or(wrong)?;
                match (go_duration(text).ok_or(wrong)?, zero) {
                    (Duration::ZERO, Some(zero)) => Ok(vec![zero.to_owned()]),
                    (duration, _) => Ok(vec![ours(text, duration)]),
                }
            }
        }
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Toml(toml::Value::Integer(number)) => Some(*number),
        Value::Variable(text) => text.trim().parse().ok(),
        Value::Toml(_) => None,
    }
}

/// As Go's `strconv.ParseBool`.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Toml(toml::Value::Boolean(value)) => Some(*value),
        value => match value.text()? {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
            _ => None,
        },
    }
}

fn topics(value: &Value) -> Result<Vec<String>, String> {
    let items: Option<Vec<_>> = match value {
        Value::Variable(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
        Value::Toml(toml::Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(|text| text.trim().to_owned())).collect()
        }
        Value::Toml(_) => None,
    };
    match items {
        Some(items) if !items.is_empty() => Ok(items),
        Some(_) => Err("the list is empty; name at least one topic, such as [\"Job\"]".to_owned()),
        None => Err("write a list of topics, such as [\"Job\", \"Node\"]".to_owned()),
    }
}

/// The duration of a text that Go's `time.ParseDuration` takes, unless it is negative.
fn go_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut nanoseconds) = (text, 0_u128);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1,
            // With the two signs that are written like this.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000_u128,
            _ => return None,
        };
        nanoseconds = nanoseconds.checked_add(decimal(number, unit)?)?;
        rest = after;
    }
    // Go counts nanoseconds in 64 bits with a sign.
    let nanoseconds = i64::try_from(nanoseconds).ok().filter(|_| !text.is_empty())?;
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

/// `number` times `unit`; what is left of a nanosecond is cut off.
fn decimal(number: &str, unit: u128) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.contains('.') || whole.is_empty() && part.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? };
    // Further digits are worth less than a nanosecond.
    let digits: String = part.chars().take(15).collect();
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    let part = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? * unit / scale };
    whole.checked_mul(unit)?.checked_add(part)
}

/// The duration as this program reads it: the same text where that means the same.
fn ours(text: &str, duration: Duration) -> String {
    match humantime::parse_duration(text) {
        Ok(same) if same == duration => text.to_owned(),
        _ => format!("{}ns", duration.as_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            ("1h", 3_600_000),
            ("500ms", 500),
            ("2000us", 2),
            ("3000\u{b5}s", 3),
            ("3000\u{3bc}s", 3),
            ("1000000ns", 1),
            (".5s", 500),
            ("1.s", 1_000),
            ("0", 0),
            ("+2s", 2_000),
        ] {
            assert_eq!(go_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "-5s", "s", ".s", "1d", "1 s", "1s ", "1..5s", "9223372036855s", "1s5"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_means_the_same_here(hours in 0_u64..100, minutes in 0_u64..60, nanoseconds in 0_u64..60_000_000_000) {
            let expected = Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_nanos(nanoseconds);
            let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
            let text = format!("{hours}h{minutes}m{seconds}.{rest:09}s");
            prop_assert_eq!(go_duration(&text), Some(expected));
            prop_assert_eq!(humantime::parse_duration(&ours(&text, expected)), Ok(expected));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}|[0-9.hmnus\u{b5}+-]{0,40}") {
            if let Some(duration) = go_duration(&text) {
                prop_assert_eq!(humantime::parse_duration(&ours(&text, duration)), Ok(duration));
            }
        }
    }
}
