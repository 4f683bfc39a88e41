//! Names of files and objects: a template with dates, each value of a record made safe for a path.

use std::{borrow::Cow, fmt, fmt::Write as _, str::FromStr, time::SystemTime};

use xxhash_rust::xxh3::xxh3_128;

use crate::{record::Record, template::Template};

/// A value with more bytes than this is replaced by its hash: the name of a file has 255 at most on most file systems.
const LONGEST: usize = 64;

/// The dates that a pattern can have, and where they are in a [`Stamp`].
const DATES: [(char, std::ops::Range<usize>); 4] = [('Y', 0..4), ('m', 5..7), ('d', 8..10), ('H', 11..13)];

/// A template for a path of `/` with dates: `{Kind}/%Y-%m-%d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Pattern(Template);

impl Pattern {
    /// The path for `record` at `stamp`. A value of the record never adds a part to the path, and never makes one that begins
    /// with a dot.
    pub(in crate::sink) fn render(&self, record: &Record, stamp: &Stamp) -> String {
        dated(&self.0.render_escaped(record, safe), &stamp.0)
    }

    /// Whether every record of one time gives the same path.
    pub(in crate::sink) fn is_constant(&self) -> bool {
        self.0.is_constant()
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut after = text.split('%').skip(1);
        if !after.all(|rest| rest.starts_with(['Y', 'm', 'd', 'H'])) {
            return Err("a % begins no date; write %Y, %m, %d or %H".to_owned());
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err("it has a character that no path should have; use letters, digits, -, _, . and /".to_owned());
        }
        if text.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return Err(
                "a part of the path is empty or begins with a dot; write one such as {Kind}/%Y-%m-%d".to_owned()
            );
        }
        text.parse().map(Pattern).map_err(|error: crate::template::Error| error.to_string())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A time in UTC: `2026-11-29T07:50:37.123Z`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Stamp(String);

impl Stamp {
    /// This time. Times before 1970 become 1970.
    pub(in crate::sink) fn of(time: SystemTime) -> Self {
        Stamp(humantime::format_rfc3339_millis(time.max(SystemTime::UNIX_EPOCH)).to_string())
    }

    /// The time as part of a name: `20261129T075037.123Z`. Names sort as times do.
    pub(in crate::sink) fn compact(&self) -> String {
        self.0.chars().filter(|c| !matches!(c, '-' | ':')).collect()
    }
}

/// `text` with the dates of `stamp`.
fn dated(text: &str, stamp: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let date = DATES.iter().find(|(letter, _)| after.starts_with(*letter));
        match date {
            Some((letter, place)) => {
                out.push_str(stamp.get(place.clone()).unwrap_or_default());
                rest = &after[letter.len_utf8()..];
            }
            // Of a value: no date begins with a digit or with A to F.
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

/// A value with every unusual byte percent-encoded, so that two values never become one.
fn safe(value: &str) -> Cow<'_, str> {
    let is_usual =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'=' | b'@' | b':');
    if value.len() > LONGEST {
        return Cow::Owned(format!("xxh3-{:032x}", xxh3_128(value.as_bytes())));
    }
    if value.bytes().all(is_usual) && !value.starts_with('.') {
        return Cow::Borrowed(value);
    }
    let mut out = String::new();
    for (place, byte) in value.bytes().enumerate() {
        if is_usual(byte) && (place > 0 || byte != b'.') {
            out.push(char::from(byte));
        } else {
            // Cannot fail: it writes into a text.
            write!(out, "%{byte:02X}").ok();
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::Book;

    fn stamp() -> Stamp {
        Stamp::of(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_938_637_123))
    }

    fn rendered(pattern: &str, key: &str) -> String {
        pattern.parse::<Pattern>().expect("a pattern").render(&Book::new().record(key, "{}"), &stamp())
    }

    #[test]
    fn fields_and_dates_are_filled_in() {
        for (pattern, expected) in [
            ("{Kind}", "jobs"),
            ("{Kind}/%Y-%m-%d/%H", "jobs/2026-11-29/07"),
            ("a/%Y%m%d", "a/20261129"),
            ("{Key}.%Y", "a%2Fb.2026"),
        ] {
            assert_eq!(rendered(pattern, "a/b"), expected, "{pattern}");
        }
        assert_eq!(stamp().compact(), "20261129T075037.123Z");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, part) in [
            ("%", "%Y, %m, %d or %H"),
            ("%M", "%Y, %m, %d or %H"),
            ("/a", "a part of the path is empty"),
            ("a//b", "a part of the path is empty"),
            ("a/", "a part of the path is empty"),
            ("../a", "begins with a dot"),
            ("a\u{7}", "a character"),
            ("{", "a { has no }"),
        ] {
            let error = text.parse::<Pattern>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_value_stays_in_its_part_of_the_path_and_is_never_another_value(one in any::<String>(), other in any::<String>()) {
            let (a, b) = (safe(&one), safe(&other));
            prop_assert!(!a.contains(['/', '\\', '\0']) && !a.starts_with('.') && a.len() <= 3 * LONGEST, "{}", a);
            prop_assert_eq!(one == other, a == b);
            // No value becomes a date.
            prop_assert_eq!(dated(&a, &stamp().0), a.to_string());
        }
    }
}
