//! Pushes to Grafana Loki: `POST /loki/api/v1/push`, protobuf with Snappy. Delivered means answered with 204.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 204 | delivered |
//! | 400, 413, 422 | reject; halves are sent until the guilty records stand alone |
//! | 400 about structured metadata that is not allowed; for want of TLS or of a client certificate; 415 | retry |
//! | 500 about a message larger than the server's limit | smaller requests are sent |
//! | any other 2xx | retry: that is not Loki |
//! | everything else, a timeout, a broken connection | retry; 429, 503 and 504 after what `Retry-After` asks for |
//!
//! After a 400, Loki has taken the other entries of the request. It drops an entry that its stream has already, with the same
//! time and the same line. So a half that is sent again changes nothing, and most repeats do not show.
//!
//! Loki orders a stream by time, and takes entries in any order within a window. So requests need no order among each other.

mod config;
mod fault;
mod labels;
mod settings;
mod streams;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub(super) use self::settings::DEFINITION;
use self::{
    config::Config,
    labels::{Label, Labels},
    streams::Streams,
    wire::{Entry, Pair, Request, Stream, Timestamp},
};
use super::{
    Policy, Prepared, Sink, Unusable,
    push::{self, Codec, Push, Said, Sent, Variables, Verdict},
};
use crate::{
    finding::Finding,
    meta,
    record::{Record, Time},
};

/// How far in the future the time of a record may be. Loki's `creation_grace_period` is ten minutes.
const AHEAD: Duration = Duration::from_secs(300);

/// What is special about Loki.
#[derive(Debug)]
struct Loki {
    labels: Vec<Label>,
    max_age: Duration,
    structured_metadata: bool,
    streams: Mutex<Streams>,
}

impl Loki {
    fn new(config: &Config, cluster: Option<&str>) -> Self {
        let mut labels = config.labels.clone();
        if let Some(cluster) = cluster.filter(|_| !labels.iter().any(|label| label.name == "cluster")) {
            let text = cluster.replace('{', "{{").replace('}', "}}");
            let value = text.parse().expect("its braces are escaped");
            labels.push(Label { name: "cluster".to_owned(), value });
        }
        Loki {
            labels,
            max_age: config.max_age,
            structured_metadata: config.structured_metadata,
            streams: Mutex::new(Streams::new(config.max_streams)),
        }
    }

    /// The stream of a record, and those of its labels that the stream does not have.
    fn stream(&self, record: &Record) -> (String, Vec<(String, String)>) {
        let labels = Labels::of(&self.labels, record);
        let text = labels.to_string();
        // A panic elsewhere leaves the sets as they are.
        if self.streams.lock().unwrap_or_else(PoisonError::into_inner).admit(&text) {
            return (text, Vec::new());
        }
        let (labels, rest) = labels.overflow(&self.labels);
        (labels.to_string(), rest)
    }

    /// Under which time a record is stored, in nanoseconds since 1970; and its own where that is another one.
    fn time(&self, record: &Record, sent: Sent, number: usize) -> (u64, Option<Time>) {
        let own = meta::time(record);
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = sent.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = nanoseconds(now.saturating_sub(self.max_age));
        let newest = nanoseconds(now + AHEAD);
        match own {
            Some(own) if !self.max_age.is_zero() && (oldest..=newest).contains(&own.nanoseconds()) => {
                (own.nanoseconds(), None)
            }
            // Each has a time of its own, so that they stay in order.
            own => (nanoseconds(now) + (sent.before + number) as u64, own),
        }
    }

    fn entry(&self, record: &Record, rest: Vec<(String, String)>, sent: Sent, number: usize) -> Entry {
        let (time, own) = self.time(record, sent, number);
        let mut structured_metadata = Vec::new();
        if self.structured_metadata {
            let index = record.index.0.to_string();
            let own = own.map(|time| time.to_string()).unwrap_or_default();
            let known = [
                ("id", &*record.id),
                ("key", &*record.key),
                ("index", &index),
                ("nomad_job", &*record.job),
                ("node", &*record.node),
                ("time", &own),
            ];
            let known = known.into_iter().filter(|(_, value)| !value.is_empty());
            let known = known.map(|(name, value)| (name.to_owned(), value.to_owned()));
            structured_metadata.extend(known.chain(rest).map(|(name, value)| Pair { name, value }));
        }
        Entry { timestamp: Some(Timestamp::new(time)), line: record.body.clone(), structured_metadata }
    }
}

impl Codec for Loki {
    fn name(&self) -> &'static str {
        "loki"
    }

    fn variables(&self) -> &'static Variables {
        &settings::VARIABLES
    }

    fn content_type(&self) -> &'static str {
        "application/x-protobuf"
    }

    fn encode(&self, records: &[Record], sent: Sent) -> Bytes {
        let (mut streams, mut places) = (Vec::<Stream>::new(), HashMap::<String, usize>::new());
        for (number, record) in records.iter().enumerate() {
            let (labels, rest) = self.stream(record);
            let entry = self.entry(record, rest, sent, number);
            let place = *places.entry(labels).or_insert_with_key(|labels| {
                streams.push(Stream { labels: labels.clone(), entries: Vec::new() });
                streams.len() - 1
            });
            streams[place].entries.push(entry);
        }
        Request { streams }.body()
    }

    fn judge(&self, said: &Said<'_>, _records: &[Record]) -> Verdict {
        fault::judge(said)
    }

    fn empty(&self) -> Bytes {
        Request::default().body()
    }
}

impl Config {
    fn sink(&self, cluster: Option<&str>) -> Result<Push<Loki>, Unusable> {
        Push::new(Loki::new(self, cluster), &self.push)
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(self.sink(cluster)?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(push::check(self.sink(None), "sink loki", within))
    }
}
