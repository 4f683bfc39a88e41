//! Reading requests from a bare connection.

use bytes::{Buf, Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt};

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query as sent.
    pub(super) target: String,
    /// The decoded path.
    pub(super) path: String,
    query: Vec<(String, String)>,
    /// From `X-Nomad-Token` or a bearer authorization; empty without either.
    pub(super) token: String,
    pub(super) body: Bytes,
    /// The client wants the connection closed afterwards.
    pub(super) close: bool,
}

/// A head larger than this is no request of a Nomad client.
const MAX_HEAD: usize = 64 * 1024;
/// Bodies come with control requests only.
const MAX_BODY: usize = 256 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("not an HTTP request")]
    Malformed,
}

/// Reads the next request; `None` at the end of the connection.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Result<Option<Request>, Error> {
    loop {
        if let Some((mut request, head, length)) = parse(buffer)? {
            buffer.advance(head);
            while buffer.len() < length {
                if from.read_buf(buffer).await? == 0 {
                    return Err(Error::Malformed);
                }
            }
            request.body = buffer.split_to(length).freeze();
            return Ok(Some(request));
        }
        if buffer.len() > MAX_HEAD {
            return Err(Error::Malformed);
        }
        if from.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(Error::Malformed) };
        }
    }
}

/// A request without its body, the length of its head and of its body; `None` when the head is incomplete.
fn parse(buffer: &[u8]) -> Result<Option<(Request, usize, usize)>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(buffer).map_err(|_| Error::Malformed)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let length: usize = header("content-length").unwrap_or("0").parse().map_err(|_| Error::Malformed)?;
    if length > MAX_BODY || header("transfer-encoding").is_some() {
        return Err(Error::Malformed);
    }
    let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let target = parsed.path.unwrap_or("/").to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: decode(path, false),
        query: pairs(query),
        token: header("x-nomad-token").or(bearer).unwrap_or_default().to_owned(),
        body: Bytes::new(),
        close: header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
            || parsed.version == Some(0),
        target,
    };
    Ok(Some((request, head, length)))
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let text = if plus_is_space { text.replace('+', " ") } else { text.to_owned() };
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

impl Request {
    /// The first value of a parameter; `None` when it is absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a repeated parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag such as `stale` is there and not denied.
    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| !matches!(value, "false" | "0" | "no"))
    }

    /// A number; `None` when it is absent or no number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// The namespace asked for; `default` when none is.
    pub(super) fn namespace(&self) -> &str {
        self.get("namespace").filter(|namespace| !namespace.is_empty()).unwrap_or("default")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_parser(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            query in "[a-z%=&+0-9]{0,40}",
        ) {
            // Whether they are a request or not is all the same.
            assert!(matches!(parse(&bytes), Ok(_) | Err(_)));
            let text = format!("GET /v1/jobs?{query} HTTP/1.1\r\n\r\n");
            let (request, head, body) = parse(text.as_bytes()).unwrap().unwrap();
            proptest::prop_assert_eq!((request.path.as_str(), head, body), ("/v1/jobs", text.len(), 0));
        }
    }

    #[tokio::test]
    async fn requests_are_read_one_after_the_other() {
        let mut wire: &[u8] = b"GET /v1/job/cron%2Fperiodic-1?namespace=a%20b&topic=Job&topic=Node:x HTTP/1.1\r\n\
            Authorization: Bearer abc\r\n\r\nPOST /sim/append HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz";
        let mut buffer = BytesMut::new();
        let first = read(&mut wire, &mut buffer).await.unwrap().unwrap();
        assert_eq!(
            (first.path.as_str(), first.namespace(), first.token.as_str()),
            ("/v1/job/cron/periodic-1", "a b", "abc")
        );
        assert_eq!(first.all("topic").collect::<Vec<_>>(), ["Job", "Node:x"]);
        let second = read(&mut wire, &mut buffer).await.unwrap().unwrap();
        assert_eq!((second.method.as_str(), &second.body[..]), ("POST", &b"xyz"[..]));
        assert!(read(&mut wire, &mut buffer).await.unwrap().is_none());
    }
}
