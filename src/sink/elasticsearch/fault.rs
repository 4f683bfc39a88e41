//! What an answer of the bulk API means, for each document.

use serde::Deserialize;

use crate::{
    redact::shown,
    sink::{
        ErrorClass, Outcome,
        push::{Said, Verdict, usual},
    },
};

/// How many bytes of the server's own words go into a reason. They can quote the record, which can carry secrets.
const QUOTED: usize = 200;

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

/// The one member of an item is named after what was to be done.
#[derive(Deserialize)]
struct Item {
    create: Done,
}

#[derive(Deserialize)]
struct Done {
    status: u16,
    error: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
}

pub(super) fn judge(said: &Said<'_>, records: usize) -> Verdict {
    if said.status != 200 {
        return match fix_settings(|words| said.has(words)) {
            Some(fix) if said.status == 400 => said.later(fix),
            _ => usual(said),
        };
    }
    let address = said.variables.connection.address;
    let Ok(Answer { items }) = serde_json::from_slice(said.body) else {
        let reason = said.words(&format!("that is no answer of the bulk API: see {address}"));
        return Verdict::retry(ErrorClass::Refused, reason);
    };
    if items.len() != records {
        let count = items.len();
        let reason = format!("{} answered for {count} of {records} documents, so for none", said.server);
        return Verdict::retry(ErrorClass::Server, reason);
    }
    if items.iter().all(|item| is_there(item.create.status)) {
        return Verdict::Delivered;
    }
    Verdict::Each(items.into_iter().map(|item| outcome(said.server, &item.create)).collect())
}

/// Created, or created before: the `_id` is that of the same record.
fn is_there(status: u16) -> bool {
    matches!(status, 200 | 201 | 409)
}

fn outcome(server: &str, Done { status, error }: &Done) -> Outcome {
    if is_there(*status) {
        return Outcome::Delivered;
    }
    let (kind, words) = error.as_ref().map_or(("", ""), |error| (&*error.kind, &*error.reason));
    let words = shown(words, QUOTED);
    let (kind, said) = (shown(kind, QUOTED), if words.is_empty() { String::new() } else { format!(": {words}") });
    let about_target = fix_target(*status, &kind, &words);
    if let (400 | 413 | 422, None) = (status, about_target) {
        let fix = fix_data(&kind, &words);
        return Outcome::Reject { reason: format!("{server} answered {status} {kind} for the document{fix}{said}") };
    }
    let fix = about_target.map(|fix| format!("; {fix}")).unwrap_or_default();
    let class = ErrorClass::of_status(*status);
    Outcome::failed(class, format!("{server} answered {status} {kind} for the document{fix}{said}"))
}

/// What to do about a failure that is about the index or the cluster, not about the document.
fn fix_target(status: u16, kind: &str, words: &str) -> Option<&'static str> {
    match (status, kind) {
        (_, "cluster_block_exception") => {
            Some("the index is blocked for writes: free disk space, and remove the block")
        }
        (_, "security_exception") | (401 | 403, _) => {
            Some("the credentials may not create documents there: grant create_doc and auto_configure on the index")
        }
        (_, "index_not_found_exception") | (404, _) => Some("create the index or its template, or allow auto-create"),
        (_, "index_closed_exception") => Some("open the index, or change SINK_ELASTICSEARCH_INDEX"),
        (400, "validation_exception") if words.contains("shards") => Some(
            "the cluster has as many shards as it may have: use fewer indexes, or raise cluster.max_shards_per_node",
        ),
        (400, _) => fix_settings(|said| words.contains(said)),
        _ => None,
    }
}

/// What to do about a 400 that every document would get, because of a setting of the index. The words are those of `IngestService.java`
/// and of `IndexNameExpressionResolver.java`.
fn fix_settings(says: impl Fn(&str) -> bool) -> Option<&'static str> {
    if says("pipeline with id [") && says("does not exist") {
        Some("create the ingest pipeline, or correct the pipeline of the index or in SINK_ELASTICSEARCH_ADDRESS")
    } else if says("no write index is defined for alias") || says("has more than one ind") {
        Some("set is_write_index on one index of the alias, or change SINK_ELASTICSEARCH_INDEX")
    } else {
        None
    }
}

/// What to do about a document that is refused.
fn fix_data(kind: &str, words: &str) -> &'static str {
    if words.contains("total fields") {
        "; map body as flattened (OpenSearch: flat_object), or set SINK_ELASTICSEARCH_BODY=text"
    } else if matches!(kind, "mapper_parsing_exception" | "document_parsing_exception" | "illegal_argument_exception") {
        "; the mapping of the index does not fit: map body as flattened (OpenSearch: flat_object)"
    } else {
        ""
    }
}
