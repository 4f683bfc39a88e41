//! How bad it is.

use std::{fmt, str::FromStr};

/// How bad the matter of a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// It is over, or well.
    Ok,
    /// Worth knowing.
    #[default]
    Info,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Error,
    /// Somebody has to act at once.
    Critical,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Severity; 5] =
        [Severity::Ok, Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];

    /// Its name in a message.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }

    /// Its colour, as red, green and blue.
    pub const fn color(self) -> u32 {
        match self {
            Severity::Ok => 0x2e_b6_7d,
            Severity::Info => 0x43_9f_e0,
            Severity::Warning => 0xec_b2_2e,
            Severity::Error => 0xe0_1e_5a,
            Severity::Critical => 0x8b_00_1e,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is no severity.
#[derive(Debug, thiserror::Error)]
#[error("not one of ok, info, warning, error, critical")]
pub struct Unknown;

impl FromStr for Severity {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let found = Severity::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(text));
        found.ok_or(Unknown)
    }
}
