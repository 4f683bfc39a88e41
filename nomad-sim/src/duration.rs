//! Durations as Go writes and reads them.

use std::time::Duration;

/// A duration without a sign, such as `5m`, `300ms` or `1m30s`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest == "0" {
        return Some(total);
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(value.parse::<f64>().ok()? * seconds).ok()?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// Nanoseconds of a duration that may have a sign, as Go's `time.Duration` counts them.
pub(crate) fn parse_signed(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    Some(sign * i64::try_from(parse(text)?.as_nanos()).ok()?)
}

/// How Go prints these nanoseconds: `10s`, `1m0s`, `1.5ms`.
pub(crate) fn print(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64, digits: usize| {
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(nanos, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(nanos, 1_000_000, 6)),
        _ => {
            let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse("5m"), Some(Duration::from_secs(300)));
        assert_eq!(parse("1m1.5s"), Some(Duration::from_millis(61_500)));
        assert_eq!(parse("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse("0"), Some(Duration::ZERO));
        for wrong in ["", "5", "m", "5x", "1m5"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(parse_signed("-1.5s"), Some(-1_500_000_000));
        assert_eq!(parse_signed("--1s"), None);
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        for text in
            ["0s", "1ns", "1.5µs", "1ms", "1.25ms", "10s", "1.5s", "1m0s", "1m30s", "24h0m0s", "1000h0m0s", "-1s"]
        {
            assert_eq!(print(parse_signed(text).unwrap()), text);
        }
    }
}
