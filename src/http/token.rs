//! The ACL token as a header.

use std::path::Path;

use reqwest::header::HeaderValue;

use super::{Fault, Names, TokenSource};
use crate::redact;

/// Largest token file: a signed identity is some hundreds of bytes.
const MAX_TOKEN: usize = 64 << 10;

/// The value of the token's header; `None` where there is no token.
pub(crate) async fn token(source: &TokenSource, names: &Names) -> Result<Option<HeaderValue>, Fault> {
    let header = |variable, text: &str| match HeaderValue::from_str(text) {
        Ok(mut value) => {
            value.set_sensitive(true);
            Ok((!text.is_empty()).then_some(value))
        }
        Err(_) => Err(Fault::Setting { variable, reason: "the token holds characters no header can carry".to_owned() }),
    };
    match source {
        TokenSource::None => Ok(None),
        TokenSource::Fixed(token) => header(names.token, token.expose().trim()),
        TokenSource::File(path) => header(names.token_file, &token_in(path, names).await?),
    }
}

/// Read each time: it is small, it lies in memory where Nomad writes it, and so a rotation can never be missed.
async fn token_in(path: &Path, names: &Names) -> Result<String, Fault> {
    let bad = |reason: String| Fault::File { variable: names.token_file, path: path.to_owned(), reason };
    match tokio::fs::read_to_string(path).await {
        Ok(text) if text.trim().is_empty() => Err(bad("the token file is empty".to_owned())),
        Ok(text) if text.len() > MAX_TOKEN => Err(bad(format!("is larger than {MAX_TOKEN} bytes: no token"))),
        Ok(text) => {
            redact::renew(&text);
            Ok(text.trim().to_owned())
        }
        Err(error) => Err(bad(format!("{error}; give a file this program may read"))),
    }
}
