//! Bodies, never without a bound.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use tokio::time::timeout;

use super::reason;
use crate::redact;

/// How much of an error's text is read.
const MAX_TEXT: usize = 4 << 10;

/// Why there is no whole body.
#[derive(Debug)]
pub(crate) enum Cut {
    /// It is larger than the caller takes.
    TooLarge,
    /// The connection broke, with the cause.
    Broken(String),
}

/// The start of a body, for a message, as it may be shown. Never fails: what cannot be read by `deadline` is
/// left out.
pub(crate) async fn text(mut response: Response, deadline: Duration) -> String {
    let mut text = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            text.extend_from_slice(&chunk[..chunk.len().min(MAX_TEXT - text.len())]);
            if text.len() == MAX_TEXT {
                break;
            }
        }
    };
    // What has arrived by then is enough for a message.
    timeout(deadline, read).await.ok();
    redact::shown(text.trim_ascii(), redact::WORDS)
}

/// A whole body of at most `limit` bytes. Without a deadline of its own.
pub(crate) async fn body(mut response: Response, limit: usize) -> Result<Bytes, Cut> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(Cut::TooLarge),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(Cut::Broken(reason(&error))),
        }
    }
}
