//! Task cursors as text: 64 hexadecimal digits a task, for its key, its event, and its index with the finished bit.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{EventHash, TaskCursor, TaskCursors, TaskKey};

/// The digits of one task cursor.
pub const DIGITS: usize = 64;

/// A task cursor as it is in a file.
pub fn to_text((task, task_cursor): (TaskKey, TaskCursor)) -> [u8; DIGITS] {
    let mut text = [0; DIGITS];
    let number = |digits: &mut [u8], number: u128| {
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
            rest >>= 4;
        }
    };
    number(&mut text[..32], task.0);
    number(&mut text[32..48], u128::from(task_cursor.event.0));
    number(&mut text[48..], u128::from(task_cursor.packed));
    text
}

fn from_text(text: &str) -> Option<(TaskKey, TaskCursor)> {
    let text: &[u8; DIGITS] = text.as_bytes().try_into().ok()?;
    let half = |from: usize| {
        text[from..from + 16].iter().try_fold(0_u64, |number, digit| {
            let value = char::from(*digit).to_digit(16)?;
            Some(number << 4 | u64::from(value))
        })
    };
    let task = u128::from(half(0)?) << 64 | u128::from(half(16)?);
    Some((TaskKey(task), TaskCursor { event: EventHash(half(32)?), packed: half(48)? }))
}

struct CursorText((TaskKey, TaskCursor));

impl Serialize for CursorText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(&to_text(self.0)))
    }
}

impl<'de> Deserialize<'de> for CursorText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;

        impl de::Visitor<'_> for Digits {
            type Value = CursorText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CursorText, E> {
                from_text(text)
                    .map(CursorText)
                    .ok_or_else(|| E::custom("a task cursor (`marks`) is not 64 hexadecimal digits"))
            }
        }

        deserializer.deserialize_str(Digits)
    }
}

/// A list of texts.
impl Serialize for TaskCursors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(CursorText))
    }
}

/// Reads one after the other: the texts of a million cursors would take a hundred megabytes.
impl<'de> Deserialize<'de> for TaskCursors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> de::Visitor<'de> for List {
            type Value = TaskCursors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of marks")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<TaskCursors, A::Error> {
                let mut failed = None;
                let entries = std::iter::from_fn(|| match list.next_element::<CursorText>() {
                    Ok(entry) => entry.map(|CursorText(entry)| entry),
                    Err(error) => {
                        failed = Some(error);
                        None
                    }
                });
                let task_cursors = entries.collect();
                match failed {
                    None => Ok(task_cursors),
                    Some(error) => Err(error),
                }
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_mark_is_refused() {
        let digits = "0".repeat(DIGITS);
        for wrong in [
            "12".to_owned(),
            digits.replace("00", "0x"),
            digits.clone() + "0",
            "é".repeat(32),
            digits[1..].to_owned() + "+",
        ] {
            assert!(serde_json::from_value::<TaskCursors>(serde_json::json!([digits, wrong])).is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<TaskCursors>("[1]").is_err());
        assert!(serde_json::from_str::<TaskCursors>(&format!("[\"{digits}\"")).is_err());
    }

    proptest! {
        #[test]
        fn text_round_trips(task: u128, event: u64, packed: u64) {
            let entry = (TaskKey(task), TaskCursor { event: EventHash(event), packed });
            let text = to_text(entry);
            prop_assert_eq!(String::from_utf8_lossy(&text), format!("{task:032x}{event:016x}{packed:016x}"));
            prop_assert_eq!(from_text(&String::from_utf8_lossy(&text)), Some(entry));
        }
    }
}
