//! Whole files and objects, compressed so that the usual tools read them.

use std::io::{self, Read, Write};

use flate2::{read::MultiGzDecoder, write::GzEncoder};

use crate::settings::{Broken, Reader, Setting, number};

/// How lines are compressed, with the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), level 1–9.
    Gzip(u32),
    /// Zstandard (RFC 8878) with a checksum, level 1–19: higher ones need hundreds of MiB.
    Zstd(i32),
}

impl Compression {
    /// Reads the settings for the name and for the level, and notes which of them is wrong.
    pub(in crate::sink) fn read(reader: &mut Reader<'_>, name: &Setting, level: &Setting) -> Result<Self, Broken> {
        let chosen = reader.optional(level, number(1, 19));
        let by_name = reader.value(name, |text| Compression::new(text, None))?;
        if chosen.is_none() {
            return Ok(by_name);
        }
        let text = reader.text(name).or(name.default).unwrap_or_default();
        Compression::new(text, chosen).map_err(|what| {
            reader.wrong(level, what);
            Broken
        })
    }

    /// Reads a name, and the level for it.
    pub(in crate::sink) fn new(name: &str, level: Option<u8>) -> Result<Self, String> {
        let within = |default: u8, most: u8| match level.unwrap_or(default) {
            level if (1..=most).contains(&level) => Ok(level),
            level => Err(format!("{level} is no level of {name}; write 1 to {most}")),
        };
        match name {
            "none" if level.is_some() => {
                Err("nothing is compressed; choose gzip or zstd, or leave this out".to_owned())
            }
            "none" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip(within(6, 9)?.into())),
            "zstd" => Ok(Compression::Zstd(within(3, 19)?.into())),
            _ => Err("write none, gzip or zstd".to_owned()),
        }
    }

    /// What it adds to a name.
    pub(in crate::sink) fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip(_) => ".gz",
            Compression::Zstd(_) => ".zst",
        }
    }

    /// Copies all that `from` has into `to`, compressed. Returns `to`, which is not flushed.
    ///
    /// # Errors
    /// One of them fails.
    pub(in crate::sink) fn compress<W: Write>(self, mut from: impl Read, mut to: W) -> io::Result<W> {
        match self {
            Compression::None => {
                io::copy(&mut from, &mut to)?;
                Ok(to)
            }
            Compression::Gzip(level) => {
                let mut encoder = GzEncoder::new(to, flate2::Compression::new(level));
                io::copy(&mut from, &mut encoder)?;
                encoder.finish()
            }
            Compression::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(to, level)?;
                encoder.include_checksum(true)?;
                io::copy(&mut from, &mut encoder)?;
                encoder.finish()
            }
        }
    }

    /// Reads what [`Compression::compress`] has written.
    ///
    /// # Errors
    /// A decoder cannot be made.
    pub(in crate::sink) fn reader<'a>(self, from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Compression::None => Box::new(from),
            Compression::Gzip(_) => Box::new(MultiGzDecoder::new(from)),
            Compression::Zstd(_) => Box::new(zstd::Decoder::new(from)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_reads_back() {
        let lines = "{\"ID\":\"a\"}\n".repeat(10_000);
        for how in
            [Compression::None, Compression::Gzip(1), Compression::Gzip(9), Compression::Zstd(1), Compression::Zstd(19)]
        {
            let bytes = how.compress(lines.as_bytes(), Vec::new()).expect("memory");
            assert!(how == Compression::None || bytes.len() < lines.len() / 50, "{how:?}");
            let mut text = String::new();
            how.reader(bytes.as_slice()).expect("a decoder").read_to_string(&mut text).expect("text");
            assert_eq!(text, lines, "{how:?}");
        }
    }

    #[test]
    fn a_level_belongs_to_a_name() {
        assert_eq!(Compression::new("zstd", None), Ok(Compression::Zstd(3)));
        assert_eq!(Compression::new("gzip", Some(9)), Ok(Compression::Gzip(9)));
        for (name, level, part) in [
            ("gzip", Some(10), "1 to 9"),
            ("zstd", Some(20), "1 to 19"),
            ("none", Some(1), "choose gzip"),
            ("xz", None, "none, gzip or zstd"),
        ] {
            assert!(Compression::new(name, level).expect_err(name).contains(part), "{name}");
        }
    }
}
