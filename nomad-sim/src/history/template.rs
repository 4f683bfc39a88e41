//! A recorded line as a template: the same line can be made again with other ids, indexes and times.

use bytes::Bytes;

/// What one use of a template changes. The default changes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shift {
    /// Mixed into every UUID; 0 leaves them as recorded.
    pub(super) ids: u128,
    /// Added to every raft index but 0.
    pub(super) index: u64,
    /// Added to every time in nanoseconds but 0.
    pub(super) nanos: u64,
}

/// A text with places for ids, raft indexes and times.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
    size: usize,
}

#[derive(Debug)]
enum Part {
    Text(Bytes),
    Uuid(u128),
    Index(u64),
    Nanos(u64),
}

impl Template {
    pub(super) fn new(text: &Bytes) -> Self {
        let mut parts = Vec::new();
        let (mut done, mut at) = (0, 0);
        while at < text.len() {
            let rest = &text[at..];
            let (part, len) = if let Some(uuid) = uuid(rest) {
                (Part::Uuid(uuid), UUID_LEN)
            } else if let Some((part, len)) = number(text, at) {
                (part, len)
            } else {
                at += 1;
                continue;
            };
            if done < at {
                parts.push(Part::Text(text.slice(done..at)));
            }
            parts.push(part);
            at += len;
            done = at;
        }
        if done < text.len() {
            parts.push(Part::Text(text.slice(done..)));
        }
        Self { parts, size: text.len() }
    }

    pub(super) fn render(&self, shift: Shift) -> Bytes {
        let mut out = Vec::with_capacity(self.size + 64);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Uuid(id) => out.extend_from_slice(uuid_text(id ^ shift.ids).as_bytes()),
                Part::Index(0) | Part::Nanos(0) => out.push(b'0'),
                Part::Index(index) => out.extend_from_slice(index.saturating_add(shift.index).to_string().as_bytes()),
                Part::Nanos(time) => out.extend_from_slice(time.saturating_add(shift.nanos).to_string().as_bytes()),
            }
        }
        Bytes::from(out)
    }
}

const UUID_LEN: usize = 36;

fn uuid(text: &[u8]) -> Option<u128> {
    let text = text.get(..UUID_LEN)?;
    let mut value = 0u128;
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    Some(value)
}

/// A well-mixed number for a round: xored into every id, it keeps different ids different.
pub(super) fn ids(round: u64) -> u128 {
    let mut rng = fastrand::Rng::with_seed(round);
    rng.u128(1..)
}

/// A UUID in its usual form.
pub(super) fn uuid_text(id: u128) -> String {
    let hex = format!("{id:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A number right after a member's name that marks it as an index or a time.
fn number(text: &[u8], at: usize) -> Option<(Part, usize)> {
    if !text[at].is_ascii_digit() {
        return None;
    }
    let name = text[..at].strip_suffix(b"\":")?;
    let len = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value: u64 = std::str::from_utf8(&text[at..at + len]).ok()?.parse().ok()?;
    if name.ends_with(b"Index") {
        return Some((Part::Index(value), len));
    }
    // Nanoseconds of this century have 19 digits; a delay or a time in seconds has fewer.
    (name.ends_with(b"Time") && (value == 0 || len == 19)).then_some((Part::Nanos(value), len))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_comes_back_without_a_shift(text in r#"([a-f0-9]{8}-[a-f0-9-]{27}|"(Index|Time|x)":[0-9]{0,22}|[^x]{0,5}){0,6}"#) {
            let text = Bytes::from(text);
            let template = Template::new(&text);
            let again = template.render(Shift::default());
            // Only a number with leading zeros, which is not JSON, is written otherwise.
            if !String::from_utf8_lossy(&text).contains(":0") {
                proptest::prop_assert_eq!(again, text);
            }
        }
    }

    const LINE: &str = r#"{"Events":[{"Index":8,"Key":"b63b6b08-34a6-3963-0f11-318e403ae9d0","P":{"ModifyIndex":0,"Time":1795243467164250245,"KillTimeout":1000000000,"JobVersion":3,"K":"x-86b45ec4-5438-4fb5-bb7b-b1fb01508292-y"}}],"Index":8}"#;

    #[test]
    fn without_a_shift_it_is_the_recorded_text() {
        assert_eq!(Template::new(&Bytes::from(LINE)).render(Shift::default()), LINE);
    }

    #[test]
    fn a_shift_moves_ids_indexes_and_times_only() {
        let text = Template::new(&Bytes::from(LINE)).render(Shift { ids: 1, index: 1000, nanos: 7 });
        let expected = LINE
            .replace("\"Index\":8", "\"Index\":1008")
            .replace("318e403ae9d0", "318e403ae9d1")
            .replace("b1fb01508292", "b1fb01508293")
            .replace("1795243467164250245", "1795243467164250252");
        assert_eq!(text, expected);
    }
}
