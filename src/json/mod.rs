//! Reads the wanted values of a JSON text, and skips the others at the speed of memory.
//!
//! A [`Scanner`] checks what it reads: names, commas, brackets, and each value. A value that it skips ([`Scanner::skip`]) must
//! begin as a value and be complete, with all brackets and quotes closed; nothing else inside is checked. So a text that is
//! cut anywhere never counts as complete, and a payload is passed on as it came.

pub(crate) mod nest;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use self::nest::Nest;

/// The text is not the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {at}")]
pub struct Error {
    expected: &'static str,
    at: usize,
}

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Directly after an opening bracket, where no comma comes first.
    opened: bool,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Scanner { text, at: 0, opened: false }
    }

    /// Enters an object. Call [`Scanner::name`] until it returns `None`, and read or skip the value after each name.
    ///
    /// # Errors
    /// The next value is not an object.
    pub fn object(&mut self) -> Result<(), Error> {
        self.open(b'{', "an object")
    }

    /// Enters an array. Call [`Scanner::element`] until it returns `false`, and read or skip each element.
    ///
    /// # Errors
    /// The next value is not an array.
    pub fn array(&mut self) -> Result<(), Error> {
        self.open(b'[', "an array")
    }

    /// Enters an object, or skips a `null`. Returns whether it entered an object.
    ///
    /// # Errors
    /// The next value is neither.
    pub fn object_or_null(&mut self) -> Result<bool, Error> {
        if self.null() { Ok(false) } else { self.object().map(|()| true) }
    }

    /// Enters an array, or skips a `null`, as [`Scanner::object_or_null`].
    ///
    /// # Errors
    /// The next value is neither.
    pub fn array_or_null(&mut self) -> Result<bool, Error> {
        if self.null() { Ok(false) } else { self.array().map(|()| true) }
    }

    /// The next name of an object; `None` at its end. Escapes in the name are not resolved.
    ///
    /// # Errors
    /// Neither a name nor the end of the object comes next.
    pub fn name(&mut self) -> Result<Option<&'a str>, Error> {
        if !self.next(b'}', "a name or the end of the object")? {
            return Ok(None);
        }
        let name = self.raw_string("a name")?;
        self.blanks();
        if self.peek() != Some(b':') {
            return Err(self.error("a colon"));
        }
        self.at += 1;
        Ok(Some(name))
    }

    /// Skips a comma, a name and its colon, if exactly these bytes come next. It is faster than [`Scanner::name`] for a caller
    /// that knows which name is likely.
    pub fn passes(&mut self, comma_name_colon: &str) -> bool {
        let passes = !self.opened && self.text.as_bytes()[self.at..].starts_with(comma_name_colon.as_bytes());
        if passes {
            self.at += comma_name_colon.len();
        }
        passes
    }

    /// Whether the array has a next element. The scanner is before the element then, and after the array otherwise.
    ///
    /// # Errors
    /// Neither an element nor the end of the array comes next.
    pub fn element(&mut self) -> Result<bool, Error> {
        self.next(b']', "an element or the end of the array")
    }

    /// Skips the next value, and returns its text.
    ///
    /// # Errors
    /// There is no value, or its end is missing.
    pub fn skip(&mut self) -> Result<&'a str, Error> {
        self.blanks();
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.raw_string("a value")?;
            }
            Some(b'{') => self.nest(Nest::object())?,
            Some(b'[') => self.nest(Nest::array())?,
            _ => self.scalar()?,
        }
        Ok(&self.text[start..self.at])
    }

    /// The text from `start`, an earlier place, to here.
    pub fn since(&self, start: &Scanner<'a>) -> &'a str {
        self.text[start.at..self.at].trim_ascii_start()
    }

    /// A string; empty for `null`, as Go reads it.
    ///
    /// # Errors
    /// The next value is neither, or has an invalid escape.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        if self.null() {
            return Ok(Cow::Borrowed(""));
        }
        self.blanks();
        let start = self.at;
        let raw = self.raw_string("a string")?;
        if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
            return Ok(Cow::Borrowed(raw));
        }
        let unescaped = serde_json::from_str(&self.text[start..self.at]);
        unescaped.map(Cow::Owned).map_err(|_| Error { expected: "a string", at: start })
    }

    /// A whole number that is not negative; 0 for `null`, as Go reads it.
    ///
    /// # Errors
    /// The next value is neither.
    pub fn number(&mut self) -> Result<u64, Error> {
        let text = self.skip()?;
        match text {
            "null" => Ok(0),
            _ => text.parse().map_err(|_| Error { expected: "a whole number", at: self.at - text.len() }),
        }
    }

    /// The text of a string, with its quotes; `""` for `null`, as Go reads it.
    ///
    /// # Errors
    /// The next value is neither.
    pub fn quoted(&mut self) -> Result<&'a str, Error> {
        self.text_of("a string", r#""""#, |text| text.starts_with('"'))
    }

    /// The text of a number; `0` for `null`, as Go reads it.
    ///
    /// # Errors
    /// The next value is neither.
    pub fn digits(&mut self) -> Result<&'a str, Error> {
        self.text_of("a number", "0", |text| text.starts_with(|first: char| first == '-' || first.is_ascii_digit()))
    }

    /// The text of the next value, if it has the right type; for a `null`, Go's zero value.
    fn text_of(&mut self, expected: &'static str, zero: &'a str, is_right: fn(&str) -> bool) -> Result<&'a str, Error> {
        match self.skip()? {
            "null" => Ok(zero),
            text if is_right(text) => Ok(text),
            text => Err(Error { expected, at: self.at - text.len() }),
        }
    }

    /// A boolean; `false` for `null`, as Go reads it.
    ///
    /// # Errors
    /// The next value is neither.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        let text = self.skip()?;
        match text {
            "true" => Ok(true),
            "false" | "null" => Ok(false),
            _ => Err(Error { expected: "true or false", at: self.at - text.len() }),
        }
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// Something follows.
    pub fn end_of_text(&mut self) -> Result<(), Error> {
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("the end of the text")) }
    }

    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<(), Error> {
        self.blanks();
        if self.peek() != Some(bracket) {
            return Err(self.error(expected));
        }
        self.at += 1;
        self.opened = true;
        Ok(())
    }

    /// Skips the comma before the next name or element, or skips the closing bracket and returns `false`.
    fn next(&mut self, close: u8, expected: &'static str) -> Result<bool, Error> {
        self.blanks();
        let opened = std::mem::take(&mut self.opened);
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                return Ok(false);
            }
            Some(_) if opened => {}
            Some(b',') => {
                self.at += 1;
                self.blanks();
            }
            _ => return Err(self.error(expected)),
        }
        Ok(true)
    }

    /// Skips a `null`, if it comes next.
    fn null(&mut self) -> bool {
        self.blanks();
        let is_null = self.text.as_bytes()[self.at..].starts_with(b"null");
        if is_null {
            self.at += 4;
        }
        is_null
    }

    /// Skips an object or array.
    fn nest(&mut self, mut nest: Nest) -> Result<(), Error> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        self.at += 1 + nest.scan(rest).ok_or(self.end("the end of an object or array"))?;
        Ok(())
    }

    fn raw_string(&mut self, expected: &'static str) -> Result<&'a str, Error> {
        if self.peek() != Some(b'"') {
            return Err(self.error(expected));
        }
        let start = self.at + 1;
        let length = scan::string(&self.text.as_bytes()[start..]).ok_or(self.end("the end of a string"))?;
        self.at = start + length + 1;
        Ok(&self.text[start..start + length])
    }

    /// Skips a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Result<(), Error> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_end = |byte: &u8| is_blank(*byte) || matches!(byte, b',' | b']' | b'}' | b':' | b'"' | b'[' | b'{');
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        let is_value = match &rest[..length] {
            b"true" | b"false" | b"null" => true,
            number => is_number(number),
        };
        if !is_value {
            return Err(self.error("a value"));
        }
        self.at += length;
        Ok(())
    }

    #[inline]
    fn blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, expected: &'static str) -> Error {
        Error { expected, at: self.at }
    }

    fn end(&self, expected: &'static str) -> Error {
        Error { expected, at: self.text.len() }
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Whether the text is a number by RFC 8259.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(text);
    if whole == 0 || whole > 1 && text[0] == b'0' {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', exponent @ ..] => exponent,
            exponent => exponent,
        };
        let length = digits(exponent);
        return length > 0 && length == exponent.len();
    }
    rest.is_empty()
}
