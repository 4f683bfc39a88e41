//! Writes a value as one line of JSON, within a bound.
//!
//! jaq's own values are more than JSON: they can hold bytes, keys that are no strings, and numbers that are none. A sink gets
//! JSON, so those are refused, or written as jq does.

use std::io::Write as _;

use jaq_json::{Num, Val};

/// The most levels of an output. Readers of JSON give up somewhere; many at 128.
const DEEPEST: usize = 1000;

/// Why a value cannot be an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("the output is larger than 16MiB")]
    TooLarge,
    #[error("the output has more than {DEEPEST} levels")]
    TooDeep,
    #[error("the output holds bytes; write them as text with @base64")]
    Bytes,
    #[error("an object of the output has a key that is not a string")]
    Key,
}

/// Appends `value` to `out`, as long as `out` does not grow past `most` bytes.
pub(super) fn write(value: &Val, out: &mut Vec<u8>, most: usize) -> Result<(), Unwritable> {
    Writer { out, most }.value(value, 0)
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    most: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Val, depth: usize) -> Result<(), Unwritable> {
        if depth > DEEPEST {
            return Err(Unwritable::TooDeep);
        }
        match value {
            Val::Null => self.bytes(b"null"),
            Val::Bool(true) => self.bytes(b"true"),
            Val::Bool(false) => self.bytes(b"false"),
            Val::Num(number) => self.number(number),
            Val::TStr(text) => self.text(text),
            Val::BStr(_) => Err(Unwritable::Bytes),
            Val::Arr(elements) => {
                self.bytes(b"[")?;
                for (number, element) in elements.iter().enumerate() {
                    if number > 0 {
                        self.bytes(b",")?;
                    }
                    self.value(element, depth + 1)?;
                }
                self.bytes(b"]")
            }
            Val::Obj(object) => {
                self.bytes(b"{")?;
                for (number, (key, value)) in object.iter().enumerate() {
                    if number > 0 {
                        self.bytes(b",")?;
                    }
                    let Val::TStr(key) = key else { return Err(Unwritable::Key) };
                    self.text(key)?;
                    self.bytes(b":")?;
                    self.value(value, depth + 1)?;
                }
                self.bytes(b"}")
            }
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        if self.out.len() + bytes.len() > self.most {
            return Err(Unwritable::TooLarge);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn display(&mut self, value: impl std::fmt::Display) -> Result<(), Unwritable> {
        // A write into memory does not fail.
        write!(self.out, "{value}").ok();
        self.bytes(b"")
    }

    /// Numbers that came from JSON keep their text. Like jq, `nan` is null, and an infinite number is the greatest one.
    fn number(&mut self, number: &Num) -> Result<(), Unwritable> {
        match number {
            Num::Float(float) if float.is_nan() => self.bytes(b"null"),
            Num::Float(float) if float.is_infinite() => {
                self.bytes(if *float > 0.0 { b"1.7976931348623157e308" } else { b"-1.7976931348623157e308" })
            }
            Num::Dec(text) if !is_json(text) => self.number(&Num::from_dec_str(text)),
            Num::Dec(text) => self.bytes(text.as_bytes()),
            Num::Int(_) | Num::BigInt(_) | Num::Float(_) => self.display(number),
        }
    }

    /// Bytes that are not UTF-8 become U+FFFD.
    fn text(&mut self, bytes: &[u8]) -> Result<(), Unwritable> {
        // Checked before the text is copied: it can be far larger than all that may be written.
        if self.out.len() + bytes.len() > self.most {
            return Err(Unwritable::TooLarge);
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.string(text),
            Err(_) => self.string(&String::from_utf8_lossy(bytes)),
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Unwritable> {
        self.bytes(b"\"")?;
        let mut written = 0;
        let bytes = text.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0..0x20 => b"",
                _ => continue,
            };
            self.bytes(&bytes[written..at])?;
            written = at + 1;
            if escape.is_empty() {
                self.display(format_args!("\\u{byte:04x}"))?;
            } else {
                self.bytes(escape)?;
            }
        }
        self.bytes(&bytes[written..])?;
        self.bytes(b"\"")
    }
}

/// Whether the text is a number of JSON. The reader of jaq takes more: `+1.5`, `01.5`.
fn is_json(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut bytes = digits.bytes();
    match bytes.next() {
        Some(b'0') => !matches!(bytes.next(), Some(b'0'..=b'9')),
        first => matches!(first, Some(b'1'..=b'9')),
    }
}

#[cfg(test)]
mod tests {
    use jaq_json::read;
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> Result<String, Unwritable> {
        let value = read::parse_single(text.as_bytes()).expect("a value of jaq");
        let mut out = Vec::new();
        write(&value, &mut out, 1 << 16).map(|()| String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn what_passes_through_keeps_its_numbers_and_the_order_of_its_keys() {
        for text in [
            r#"{"z":1700000000123456789,"a":18446744073709551615,"m":123456789012345678901234567890,"b":-9223372036854775808}"#,
            r#"[1.0,1.10,1e3,1E-7,-0.0,0.1,12345678901234567890.123456789]"#,
            r#"{"a":"\"\\\n\r\t\u0000\u001fü€💣","":{},"c":[]}"#,
        ] {
            assert_eq!(written(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_json_is_written_as_jq_does_or_refused() {
        assert_eq!(written("NaN").as_deref(), Ok("null"));
        assert_eq!(written("[-Infinity]").as_deref(), Ok("[-1.7976931348623157e308]"));
        assert_eq!(written("[+1.5,01.5]").as_deref(), Ok("[1.5,1.5]"));
        assert_eq!(written("b\"a\""), Err(Unwritable::Bytes));
        assert_eq!(written("{1:2}"), Err(Unwritable::Key));
        assert_eq!(written(&format!("\"{}\"", "x".repeat(1 << 16))), Err(Unwritable::TooLarge));
    }

    #[test]
    fn an_output_has_a_bound_on_its_levels() {
        let value = (0..=DEEPEST).fold(Val::Null, |value, _| [value].into_iter().collect());
        assert_eq!(write(&value, &mut Vec::new(), 1 << 20), Err(Unwritable::TooDeep));
    }

    proptest! {
        #[test]
        fn text_is_written_as_json(text in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
            let json = serde_json::to_string(&text).expect("a string");
            let written = written(&json).expect("short");
            prop_assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), text);
        }

        #[test]
        fn numbers_survive(integer: i128, float: f64) {
            for text in [integer.to_string(), serde_json::to_string(&float).expect("a number")] {
                prop_assert_eq!(written(&text).expect("short"), text);
            }
        }
    }
}
