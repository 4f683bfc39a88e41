//! Whether the lists can be read that backfills and polling need, by reading one element of each.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};

use super::words;
use crate::{
    finding::Finding,
    kind::Kind,
    nomad::{Client, Error, ListQuery, Table, Token},
};

/// How many requests are sent at a time. An agent takes 100 connections of a client.
const AT_A_TIME: usize = 8;

/// A job that does not exist: whoever may read jobs is told so.
const NO_JOB: &str = "nomad-firehose-check";

/// Reads the list of `kind` in each of these namespaces; `None` for a kind that has no list.
pub(super) async fn readable(client: &Client, kind: Kind, names: &[String], token: &Token) -> Option<Finding> {
    let table = kind.topic().and_then(Table::from_topic)?;
    let what = format!("nomad list of {kind}");
    let names = if table.namespaced() { names } else { &["*".to_owned()][..] };
    let tries = names.iter().map(|name| one(client, kind, table, name));
    let failures: Vec<Error> =
        stream::iter(tries).buffer_unordered(AT_A_TIME).filter_map(|tried| async { tried.err() }).collect().await;
    let needs: BTreeSet<&str> = failures
        .iter()
        .filter_map(|error| match error {
            Error::Denied { needs, .. } => Some(needs.as_str()),
            _ => None,
        })
        .collect();
    let text = match (table.namespaced(), names) {
        (false, _) => "readable".to_owned(),
        (true, [name]) => format!("readable in the namespace {name}"),
        (true, names) => format!("readable in {} namespaces", names.len()),
    };
    Some(match failures.iter().find(|error| !matches!(error, Error::Denied { .. })) {
        Some(error) => words::of_error(&what, error, Some(token)),
        None if needs.is_empty() => Finding::ok(what, text),
        None => {
            let needs = needs.into_iter().collect::<Vec<_>>().join(" and ");
            let text =
                format!("cannot read the list of {kind}: permission denied; a backfill after a gap could not be made");
            Finding::failed(what, text, words::denied(&needs, Some(token)))
        }
    })
}

async fn one(client: &Client, kind: Kind, table: Table, namespace: &str) -> Result<(), Error> {
    client.table(&ListQuery::new(table, namespace)).await?;
    if matches!(kind, Kind::Jobs | Kind::JobListStubs) && namespace != "*" {
        // A backfill reads jobs one by one, for which the right to list them is not enough.
        client.job(namespace, NO_JOB).await?;
    }
    Ok(())
}
