//! Writing answers to a bare connection.

use std::fmt::Write as _;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// An answer with a complete body.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Response {
    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        Self { status: 200, headers: vec![("Content-Type", "application/json".to_owned())], body: body.into() }
    }

    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
        Self { status, headers, body: Bytes::from(body.into()) }
    }

    /// Nomad's answer to a request without the right.
    pub(super) fn denied() -> Self {
        Self::text(403, "Permission denied")
    }

    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin), head_only: bool) -> io::Result<()> {
        let mut head = head(self.status, &self.headers);
        // write! to a String cannot fail.
        let written = match self.status {
            // It has no body by its status.
            204 => write!(head, "\r\n"),
            _ => write!(head, "Content-Length: {}\r\n\r\n", self.body.len()),
        };
        debug_assert!(written.is_ok());
        to.write_all(head.as_bytes()).await?;
        if !head_only {
            to.write_all(&self.body).await?;
        }
        to.flush().await
    }
}

fn head(status: u16, headers: &[(&'static str, String)]) -> String {
    let reason = match status {
        200 => "OK",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        _ => "Internal Server Error",
    };
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head
}

/// A JSON array written element by element, so that a list of any length needs the memory of one piece.
#[derive(Debug)]
pub(super) struct ArrayWriter<'a, W> {
    to: &'a mut W,
    piece: Vec<u8>,
    started: bool,
}

/// A chunk is written when it has grown to this.
const PIECE: usize = 64 * 1024;

impl<'a, W: AsyncWrite + Unpin> ArrayWriter<'a, W> {
    pub(super) async fn begin(to: &'a mut W, headers: &[(&'static str, String)]) -> io::Result<Self> {
        let mut head = head(200, headers);
        head.push_str("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        to.write_all(head.as_bytes()).await?;
        Ok(Self { to, piece: Vec::from(*b"["), started: false })
    }

    pub(super) async fn push(&mut self, element: &[u8]) -> io::Result<()> {
        if self.started {
            self.piece.push(b',');
        }
        self.started = true;
        self.piece.extend_from_slice(element);
        if self.piece.len() >= PIECE { self.chunk().await } else { Ok(()) }
    }

    /// Sends what there is of it.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        // An empty chunk would be the end.
        if !self.piece.is_empty() {
            self.chunk().await?;
        }
        self.to.flush().await
    }

    pub(super) async fn end(mut self) -> io::Result<()> {
        self.piece.push(b']');
        self.chunk().await?;
        self.to.write_all(b"0\r\n\r\n").await?;
        self.to.flush().await
    }

    async fn chunk(&mut self) -> io::Result<()> {
        self.to.write_all(format!("{:x}\r\n", self.piece.len()).as_bytes()).await?;
        self.piece.extend_from_slice(b"\r\n");
        self.to.write_all(&self.piece).await?;
        self.piece.clear();
        Ok(())
    }
}
