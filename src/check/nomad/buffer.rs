//! For how long an outage Nomad's event buffer reaches: its size, against the transactions that the cluster makes.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    finding::Finding,
    nomad::{Agent, Client, ListQuery, Table},
};

const WHAT: &str = "nomad event buffer";

/// How long transactions are counted.
const COUNTED: Duration = Duration::from_secs(2);
/// A buffer should reach over a restart and a fail-over, and better over an upgrade of a server.
const LEAST: f64 = 60.0;
const BETTER: f64 = 300.0;

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// `event_buffer_size`, where the agent may be read and is a server.
    pub(super) size: Option<u64>,
    /// Transactions in a second; `None` where no index could be read.
    pub(super) rate: Option<f64>,
}

/// Reads the index twice.
pub(super) async fn measure(client: &Client) -> Measured {
    let agent = client.agent().await.ok();
    let size = agent.as_ref().and_then(|agent| agent.event_buffer_size);
    let by_agent = agent.is_some_and(|agent| agent.applied_index.is_some());
    let begun = Instant::now();
    let Some(before) = index(client, by_agent).await else { return Measured { size, rate: None } };
    sleep(COUNTED).await;
    let after = index(client, by_agent).await;
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a difference over two seconds")]
    let rate = after.map(|after| after.saturating_sub(before) as f64 / seconds);
    Measured { size, rate }
}

/// The newest raft index that can be read: that of the server, or of the tables.
async fn index(client: &Client, by_agent: bool) -> Option<u64> {
    if by_agent {
        let Agent { applied_index, .. } = client.agent().await.ok()?;
        return applied_index;
    }
    let queries = Table::ALL.map(|table| ListQuery::new(table, "*"));
    let tables = join_all(queries.iter().map(|query| client.table(query))).await;
    tables.into_iter().flatten().map(|table| table.index.0).max()
}

/// What it means. `reach` is how old the oldest event of the buffer is, as far as a stream has shown.
pub(super) fn judge(measured: Measured, reach: Option<Duration>) -> Finding {
    let Measured { size, rate } = measured;
    let rate_words = match rate {
        Some(rate) if rate > 0.0 => format!("{rate:.1} transactions a second"),
        Some(_) => format!("no transaction in {} s", COUNTED.as_secs()),
        None => "transactions could not be counted".to_owned(),
    };
    let reach_words = reach.map(|reach| format!("its oldest event is {} old", words(reach.as_secs_f64())));
    let Some(size) = size else {
        let mut parts = vec!["event_buffer_size is unknown".to_owned(), rate_words];
        parts.extend(reach_words);
        let fix = "to have it checked, point NOMAD_ADDR at a server and allow agent { policy = \"read\" }";
        return match reach {
            Some(reach) if reach.as_secs_f64() >= LEAST => Finding::ok(WHAT, parts.join(", ")),
            Some(_) if rate.is_some_and(|rate| rate > 1.0) => {
                let fix = format!(
                    "raise event_buffer_size in the server block of every Nomad server: {}",
                    advice(rate.unwrap_or_default())
                );
                Finding::warning(WHAT, parts.join(", "), fix)
            }
            _ => Finding { fix: Some(fix.to_owned()), ..Finding::skipped(WHAT, parts.join(", ")) },
        };
    };
    #[expect(clippy::cast_precision_loss, reason = "a size of some thousands")]
    let covers = rate.filter(|rate| *rate > 0.0).map(|rate| size as f64 / rate);
    let mut text = format!("event_buffer_size {size}, {rate_words}");
    if let Some(covers) = covers {
        text += &format!(": covers an outage of {}", words(covers));
    }
    if let Some(reach) = reach_words {
        text += &format!(", {reach}");
    }
    let covered = covers.unwrap_or(f64::INFINITY).max(reach.map_or(0.0, |reach| reach.as_secs_f64()));
    if covered >= LEAST {
        return Finding::ok(WHAT, text);
    }
    let fix = format!(
        "raise event_buffer_size in the server block of every Nomad server: {}",
        advice(rate.unwrap_or_default())
    );
    Finding::warning(WHAT, text, fix)
}

/// Which sizes cover how much.
fn advice(rate: f64) -> String {
    let sizes = [LEAST, BETTER].map(|seconds| format!("{} covers {seconds:.0} s", rounded(rate * seconds)));
    format!("at this rate, {}", sizes.join(", "))
}

/// Rounded up to two digits, and at least Nomad's default.
fn rounded(size: f64) -> f64 {
    let step = 10_f64.powf(size.max(10.0).log10().floor() - 1.0);
    ((size / step).ceil() * step).max(100.0)
}

fn words(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::State;

    #[test]
    fn a_small_buffer_is_a_warning_with_sizes_to_set() {
        let found = judge(Measured { size: Some(100), rate: Some(12.5) }, Some(Duration::from_secs(9)));
        assert_eq!(found.state, State::Warning);
        assert_eq!(
            found.text,
            "event_buffer_size 100, 12.5 transactions a second: covers an outage of 8 s, its oldest event is 9 s old"
        );
        let fix = found.fix.expect("a fix");
        assert!(fix.ends_with("at this rate, 750 covers 60 s, 3800 covers 300 s"), "{fix}");
    }

    #[test]
    fn what_reaches_far_enough_is_well() {
        for (size, rate, reach) in [
            (Some(10_000), Some(12.5), None),
            (Some(100), Some(0.0), None),
            // A burst: the buffer has shown that it reaches further.
            (Some(100), Some(50.0), Some(300)),
            (None, Some(50.0), Some(300)),
        ] {
            let found = judge(Measured { size, rate }, reach.map(Duration::from_secs));
            assert_eq!(found.state, State::Ok, "{found:?}");
        }
        assert_eq!(judge(Measured { size: None, rate: Some(5.0) }, Some(Duration::from_secs(5))).state, State::Warning);
        assert_eq!(judge(Measured { size: None, rate: Some(0.0) }, None).state, State::Skipped);
    }
}
