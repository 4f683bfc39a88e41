//! The ACL token as a header value.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use reqwest::header::HeaderValue;
use tokio::task::spawn_blocking;

use super::{Fault, Names, TokenSource};
use crate::{files, redact};

/// The largest token file. A signed identity takes some hundreds of bytes.
const MAX_TOKEN: usize = 64 << 10;

/// The token of one client.
#[derive(Debug)]
pub(crate) struct Token {
    source: TokenSource,
    names: &'static Names,
    /// Whether the file is used instead of the setting. Once set, it stays set.
    follows_file: AtomicBool,
}

impl Token {
    /// Follows the file from the start if it holds the same token as the setting, because only the file is renewed.
    pub(crate) fn new(source: TokenSource, names: &'static Names) -> Self {
        let mut follows_file = false;
        if let TokenSource::Both { token, file } = &source {
            // A file that cannot be read yet is read again when the token is refused.
            let held = files::read(file, MAX_TOKEN).unwrap_or_default();
            let held = String::from_utf8_lossy(&held);
            follows_file = held.trim() == token.expose().trim();
            if follows_file {
                tracing::info!(
                    variable = names.token,
                    file = %file.display(),
                    reason = "it holds the same token",
                    "following the token file"
                );
            }
        }
        Token { source, names, follows_file: AtomicBool::new(follows_file) }
    }

    pub(crate) fn is_some(&self) -> bool {
        self.source != TokenSource::None
    }

    /// The header's value; `None` if there is no token.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, Fault> {
        match &self.source {
            TokenSource::None => Ok(None),
            TokenSource::File(file) => self.value(self.names.token_file, &self.held(file).await?),
            TokenSource::Both { file, .. } if self.follows_file() => {
                self.value(self.names.token_file, &self.held(file).await?)
            }
            TokenSource::Fixed(token) | TokenSource::Both { token, .. } => {
                self.value(self.names.token, token.expose().trim())
            }
        }
    }

    /// Whether a request that is sent now carries the token of the file. Ask before sending, for [`Token::renew`].
    pub(crate) fn follows_file(&self) -> bool {
        self.follows_file.load(Ordering::Relaxed)
    }

    /// Handles a refused token. `followed` is what [`Token::follows_file`] was when the request was sent. Returns whether the next
    /// request will carry another token; then the setting is never used again.
    pub(crate) async fn renew(&self, followed: bool) -> bool {
        let TokenSource::Both { token, file } = &self.source else { return false };
        if followed {
            return false;
        }
        let is_other = self.held(file).await.is_ok_and(|held| held != token.expose().trim());
        if is_other && !self.follows_file.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                variable = self.names.token,
                file = %file.display(),
                "refused token replaced by the token file"
            );
        }
        is_other
    }

    fn value(&self, variable: &'static str, text: &str) -> Result<Option<HeaderValue>, Fault> {
        match HeaderValue::from_str(text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                Ok((!text.is_empty()).then_some(value))
            }
            Err(_) => Err(Fault::Setting {
                variable,
                reason: "is not a token: it holds characters that no header can carry".to_owned(),
            }),
        }
    }

    /// Reads the file. Once for each request: it is small, Nomad keeps it in memory, and no rotation can be missed.
    async fn held(&self, path: &Path) -> Result<String, Fault> {
        let bad = |reason: String| Fault::File { variable: self.names.token_file, path: path.to_owned(), reason };
        let file = path.to_owned();
        let read = spawn_blocking(move || {
            let text = String::from_utf8(files::read(&file, MAX_TOKEN)?);
            text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
        });
        match read.await.unwrap_or_else(|stopped| Err(stopped.into())) {
            Ok(text) if text.trim().is_empty() => Err(bad("is empty; write a token into it".to_owned())),
            Ok(text) => {
                redact::renew(&text);
                Ok(text.trim().to_owned())
            }
            Err(error) => Err(bad(format!("{error}; set it to a file that this program may read"))),
        }
    }
}
