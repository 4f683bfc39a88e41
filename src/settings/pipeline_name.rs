//! The name of a pipeline: a table of the configuration file, a label of metrics, and a part of keys and paths.

use std::{fmt, str::FromStr, sync::Arc};

/// The most characters of a name.
const LONGEST: usize = 40;

/// The name of a pipeline: 1 to 40 of `a` to `z`, `0` to `9` and `-`, so that it can stand in a key of Consul, a path and a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineName(Arc<str>);

impl PipelineName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PipelineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no name of a pipeline.
#[derive(Debug, thiserror::Error)]
#[error("no name of a pipeline; write 1 to 40 of a–z, 0–9 and -")]
pub struct InvalidName;

impl FromStr for PipelineName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=LONGEST).contains(&text.len()) && text.bytes().all(is_allowed);
        valid.then(|| PipelineName(text.into())).ok_or(InvalidName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_in_a_path() {
        for name in ["web", "7", "a-b-c", &"x".repeat(40)] {
            assert_eq!(name.parse::<PipelineName>().expect(name).as_str(), name);
        }
        for name in ["", "Web", "a/b", "..", "a b", "ä", &"x".repeat(41)] {
            assert!(name.parse::<PipelineName>().is_err(), "{name}");
        }
    }
}
