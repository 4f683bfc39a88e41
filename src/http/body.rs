//! Reads bodies, always with a bound.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
#[cfg(feature = "otlp")]
use reqwest::header::HeaderMap;
use tokio::time::timeout;

use super::reason;
use crate::redact;

/// The most bytes that are read of an error's text.
const MAX_TEXT: usize = 4 << 10;

/// Why a body is incomplete.
#[derive(Debug)]
pub(crate) enum Cut {
    /// It is larger than the caller's limit.
    TooLarge,
    /// The connection broke, for this reason.
    Broken(String),
}

/// The start of a body, for a message, safe to show. It never fails: what cannot be read within `deadline` is left out.
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
    // What has arrived by the deadline is enough for a message.
    timeout(deadline, read).await.ok();
    redact::shown(text.trim_ascii(), redact::WORDS)
}

/// A whole body of at most `limit` bytes. The caller sets the deadline.
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

/// The same, with the headers that come behind it.
#[cfg(feature = "otlp")]
pub(crate) async fn body_with_trailers(response: Response, limit: usize) -> Result<(Bytes, HeaderMap), Cut> {
    use hyper::body::Body as _;

    let mut rest = reqwest::Body::from(response);
    let (mut body, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut rest).poll_frame(cx)).await {
        let frame = frame.map_err(|error| Cut::Broken(reason(&error)))?;
        match frame.into_data() {
            Ok(chunk) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(_) => return Err(Cut::TooLarge),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((body.freeze(), trailers))
}
