//! A batch in one request, taken apart where it is refused until the guilty records stand alone.

use super::{Http, answer::Answer, not_sent, retry_all};
use crate::{record::Record, sink::Outcome};

/// Sends `batch` in order. Nothing is sent after a failure that is no refusal of data.
pub(super) async fn send(http: &Http, batch: &[Record]) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(batch.len());
    // The last one is the next one, so that halves stay in order.
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        match http.exchange(part).await {
            Answer::Delivered => outcomes.extend(part.iter().map(|_| Outcome::Delivered)),
            Answer::Reject { reason } if part.len() == 1 => outcomes.push(Outcome::Reject { reason }),
            Answer::Reject { reason } => {
                tracing::debug!(%reason, records = part.len(), "a batch is refused, its halves are sent");
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Answer::Retry { reason, after } => {
                outcomes.extend(retry_all(part.len(), &reason, after));
                break;
            }
        }
    }
    outcomes.resize_with(batch.len(), not_sent);
    outcomes
}
