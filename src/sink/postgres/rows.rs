//! Records as rows of `COPY` in its text format.
//!
//! The text format leaves the types of the columns to the table: `body` can be `jsonb`, `json` or `text`.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

use crate::{meta, record::Record};

/// About how many bytes are sent at a time.
const PIECE: usize = 64 << 10;

/// The rows of `records`, in pieces.
pub(super) fn rows<'a>(records: impl IntoIterator<Item = &'a Record>, cluster: Option<&str>) -> Vec<Bytes> {
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    for record in records {
        row(&mut piece, record, cluster);
        if piece.len() >= PIECE {
            pieces.push(Bytes::from(std::mem::take(&mut piece)));
        }
    }
    if !piece.is_empty() {
        pieces.push(Bytes::from(piece));
    }
    pieces
}

/// The values of [`super::table::COLUMNS`].
fn row(out: &mut Vec<u8>, record: &Record, cluster: Option<&str>) {
    out.reserve(record.body.len() + record.body.len() / 8 + 256);
    let known = |text| if str::is_empty(text) { None } else { Some(text) };
    // Ids are unique within a cluster, and clusters can share a table.
    if let Some(cluster) = cluster {
        escape(out, cluster.as_bytes());
        out.push(b'/');
    }
    escape(out, record.id.as_bytes());
    out.push(b'\t');
    let texts = [
        Some(&*record.key),
        Some(record.kind.name()),
        cluster,
        known(&record.namespace),
        known(&record.job),
        known(&record.node),
    ];
    for text in texts {
        match text {
            Some(text) => escape(out, text.as_bytes()),
            None => out.extend_from_slice(b"\\N"),
        }
        out.push(b'\t');
    }
    out.extend_from_slice(record.index.0.to_string().as_bytes());
    out.push(b'\t');
    match meta::time(record) {
        Some(time) => {
            // PostgreSQL keeps microseconds, and would round.
            let time = UNIX_EPOCH + Duration::from_nanos(time.nanoseconds());
            out.extend_from_slice(humantime::format_rfc3339_micros(time).to_string().as_bytes());
        }
        None => out.extend_from_slice(b"\\N"),
    }
    out.push(b'\t');
    escape(out, &record.body);
    out.push(b'\n');
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\t",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_rows_and_columns_is_escaped() {
        let mut out = Vec::new();
        escape(&mut out, b"{\"a\":\"\\n\t\r\n\"}\\");
        assert_eq!(out, b"{\"a\":\"\\\\n\\t\\r\\n\"}\\\\");
    }
}
