//! A secret of a sink that is given as text, or in a file that others can renew.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;

use crate::{
    files,
    http::Secret,
    settings::{Reader, Setting, Warning},
};

/// The largest file with a secret, in bytes.
const MAX: usize = 64 << 10;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// The secret itself.
    Fixed(Secret),
    /// A file with the secret, read whenever the secret is used.
    File(PathBuf),
}

impl SecretSource {
    /// The text or the file, whichever was given in the higher place. In the same place the file wins, because it can be renewed.
    pub(super) fn read<E: Display>(
        reader: &mut Reader<'_>,
        text: &'static Setting,
        file: &'static Setting,
        parse: impl Fn(&str) -> Result<String, E>,
    ) -> Option<Self> {
        let rank = |reader: &Reader<'_>, setting| reader.layers.get(setting).map(|given| given.origin.rank());
        let (text_rank, file_rank) = (rank(reader, text), rank(reader, file));
        let variable = file.variable;
        let text = reader.optional(text, |text| parse(text).map(Secret::new));
        let file = reader.optional(file, |text| Ok::<_, String>(PathBuf::from(text)));
        match (text, file) {
            (Some(text), Some(_)) if text_rank > file_rank => Some(SecretSource::Fixed(text)),
            (text, Some(file)) => {
                if text.is_some() && text_rank == file_rank {
                    reader.warn(Warning::TokenAndFile { used: variable });
                }
                Some(SecretSource::File(file))
            }
            (text, None) => text.map(SecretSource::Fixed),
        }
    }

    /// The secret as it is now, without blanks around it. `variable` is that of the file.
    ///
    /// # Errors
    /// The file cannot be used: the message names it and the variable.
    pub(super) async fn current(&self, variable: &'static str) -> Result<Secret, String> {
        let path = match self {
            SecretSource::Fixed(secret) => return Ok(secret.clone()),
            SecretSource::File(path) => path,
        };
        let file = path.clone();
        // It is small, and read only as often as it is used: no renewal can be missed.
        let text = spawn_blocking(move || held(&file)).await.unwrap_or_else(|stopped| Err(stopped.into()));
        text.map(|text| Secret::renewed(text.trim())).map_err(|error| {
            format!(
                "{variable}: {}: {error}; set it to a file with the secret that this program may read",
                path.display()
            )
        })
    }
}

fn held(path: &Path) -> io::Result<String> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let text = String::from_utf8(files::read(path, MAX)?).map_err(|_| bad("it is not UTF-8"))?;
    if text.trim().is_empty() { Err(bad("it is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        redact,
        settings::{settings, testing},
    };

    settings! {
        SETTINGS:

        TEXT = Setting::new("Test", "sink-test-secret", "SINK_TEST_SECRET", "SECRET", "Secret").secret();
        FILE = Setting::new("Test", "sink-test-secret-file", "SINK_TEST_SECRET_FILE", "FILE", "File").secret_file().renewed();
    }

    fn read(variables: &[(&str, &str)]) -> (Option<SecretSource>, Vec<Warning>) {
        let read = |reader: &mut Reader<'_>| {
            Ok(SecretSource::read(reader, &TEXT, &FILE, |text| Ok::<_, String>(text.to_owned())))
        };
        testing::read(SETTINGS, variables, read).expect("valid settings")
    }

    #[test]
    fn a_file_wins_over_a_text_in_the_same_place() {
        let (text, file) = (("SINK_TEST_SECRET", "hush"), ("SINK_TEST_SECRET_FILE", "/f"));
        assert_eq!(read(&[]), (None, vec![]));
        assert_eq!(read(&[text]), (Some(SecretSource::Fixed(Secret::new("hush"))), vec![]));
        assert_eq!(read(&[file]), (Some(SecretSource::File("/f".into())), vec![]));
        let warnings = vec![Warning::TokenAndFile { used: "SINK_TEST_SECRET_FILE" }];
        assert_eq!(read(&[text, file]), (Some(SecretSource::File("/f".into())), warnings));
    }

    #[tokio::test]
    async fn a_file_is_read_whenever_it_is_used_and_named_where_it_cannot_be() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let source = SecretSource::File(path.clone());
        let reason = source.current("SINK_TEST_SECRET_FILE").await.expect_err("no file");
        assert!(reason.starts_with(&format!("SINK_TEST_SECRET_FILE: {}: ", path.display())), "{reason}");
        for secret in ["hush-1", "hush-2"] {
            std::fs::write(&path, format!("{secret}\n")).expect("a file");
            assert_eq!(source.current("SINK_TEST_SECRET_FILE").await.expect("a secret").expose(), secret);
            assert_eq!(redact::without_known(&format!("it is {secret}")), "it is [redacted]");
        }
        std::fs::write(&path, " \n").expect("a file");
        assert!(source.current("SINK_TEST_SECRET_FILE").await.expect_err("an empty file").contains("it is empty"));
    }
}
