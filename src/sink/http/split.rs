//! Sends a batch in one request. If the server refuses it, sends halves until the guilty records stand alone.

use super::{Http, fault::Answer};
use crate::{record::Record, sink::Outcome};

/// Sends `batch` in order. After a failure other than a refusal of data, nothing more is sent.
pub(super) async fn send(http: &Http, batch: &[Record]) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(batch.len());
    // The last part is sent next, so that halves stay in order.
    let mut parts = pieces(batch, http.fits());
    parts.reverse();
    while let Some(part) = parts.pop() {
        match http.exchange(part).await {
            Answer::Delivered => {
                http.learn(|fits| grown(fits, bytes(part)));
                outcomes.extend(part.iter().map(|_| Outcome::Delivered));
            }
            Answer::Reject { reason, .. } if part.len() == 1 => outcomes.push(Outcome::Reject { reason }),
            Answer::Reject { reason, too_large } => {
                tracing::debug!(%reason, records = part.len(), "a batch is refused, its halves are sent");
                if too_large {
                    // The part is larger than the server's limit, so half of it is never less than half of the limit.
                    http.learn(|fits| fits.min(bytes(part) / 2));
                }
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            failure @ Answer::Retry { .. } => {
                outcomes.extend(part.iter().map(|_| failure.clone().into()));
                break;
            }
        }
    }
    outcomes.resize_with(batch.len(), Outcome::not_sent);
    outcomes
}

/// The size that fits after the server took a request with `delivered` bytes. Servers raise limits without notice, and a proxy in
/// front of them may have had a far lower one for a while, so larger requests are tried again. If the limit is unchanged, one
/// request in some hundreds is refused.
pub(in crate::sink) fn grown(fits: usize, delivered: usize) -> usize {
    let proven = fits.max(delivered);
    // A request far below the limit does not show that a larger one fits.
    if delivered >= fits / 2 { proven.saturating_add(proven / 256 + 1) } else { fits }
}

pub(in crate::sink) fn bytes(records: &[Record]) -> usize {
    records.iter().map(|record| record.body.len()).sum()
}

/// `batch` in as few pieces as possible. Each has at most `limit` bytes, or one record.
pub(in crate::sink) fn pieces(batch: &[Record], limit: usize) -> Vec<&[Record]> {
    let (mut pieces, mut rest) = (Vec::new(), batch);
    while let Some(first) = rest.first() {
        let mut size = first.body.len();
        let fit = rest[1..].iter().take_while(|record| {
            size = size.saturating_add(record.body.len());
            size <= limit
        });
        let (piece, left) = rest.split_at(1 + fit.count());
        pieces.push(piece);
        rest = left;
    }
    pieces
}
