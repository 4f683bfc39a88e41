//! Documents of Elasticsearch or OpenSearch by the bulk API: `POST /_bulk` with `create`, and as `_id` the record's id, behind the
//! label of the cluster if there is one. Delivered means that the item of the document has a good status.
//!
//! | Answer | Outcome |
//! |---|---|
//! | item 200, 201 | delivered |
//! | item 409 | delivered: a document with this id is there |
//! | item 400, 413, 422 | reject, unless it is about the index, its pipeline or the cluster |
//! | any other item | retry; the other documents of the request are not sent again |
//! | 413 for the request | smaller requests are sent |
//! | 400 for the request | halves are sent until the guilty documents stand alone: reject; a missing pipeline: retry |
//! | everything else, a timeout, a broken connection | retry; 429, 503 and 504 after what `Retry-After` asks for |
//!
//! A repeat finds its document there, so delivery is effectively once.

mod config;
mod document;
mod fault;
mod settings;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub(super) use self::settings::DEFINITION;
use self::{
    config::{Config, Layout},
    document::Writer,
};
use super::{
    Policy, Prepared, Sink, Unusable,
    push::{self, Codec, Push, Said, Sent, Variables, Verdict},
};
use crate::{finding::Finding, record::Record, template::Template};

/// The parts of an answer that are read. Without this, each item has about 250 bytes more.
const FILTER: &str = "filter_path=items.*.status,items.*.error.type,items.*.error.reason";

/// The most bytes of an item in an answer: its error can quote a part of the document.
const ITEM: usize = 2 << 10;

/// What is special about the bulk API.
#[derive(Debug)]
struct Bulk {
    index: Template,
    writer: Writer,
}

impl Codec for Bulk {
    fn name(&self) -> &'static str {
        "elasticsearch"
    }

    fn variables(&self) -> &'static Variables {
        &settings::VARIABLES
    }

    fn content_type(&self) -> &'static str {
        "application/x-ndjson"
    }

    fn query(&self) -> Option<&'static str> {
        Some(FILTER)
    }

    fn encode(&self, records: &[Record], sent: Sent) -> Bytes {
        let bytes: usize = records.iter().map(|record| record.body.len() + 512).sum();
        let mut out = Vec::with_capacity(bytes);
        let mut names = HashMap::new();
        for record in records {
            let text = self.index.render(record);
            let name = names.entry(text).or_insert_with_key(|text| document::index_name(text));
            self.writer.write(record, name, sent.at, &mut out);
        }
        out.into()
    }

    fn judge(&self, said: &Said<'_>, records: &[Record]) -> Verdict {
        fault::judge(said, records.len())
    }

    fn empty(&self) -> Bytes {
        Bytes::new()
    }

    fn answer_bytes(&self, records: usize) -> usize {
        (64 << 10) + records * ITEM
    }
}

impl Config {
    fn sink(&self, cluster: Option<&str>) -> Result<Push<Bulk>, Unusable> {
        let writer = Writer { layout: self.layout, cluster: cluster.map(str::to_owned) };
        Push::new(Bulk { index: self.index.clone(), writer }, &self.push)
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(self.sink(cluster)?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(push::check(self.sink(None), "sink elasticsearch", within))
    }

    fn drops_repeats(&self) -> bool {
        true
    }
}
