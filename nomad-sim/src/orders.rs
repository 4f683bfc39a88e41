//! Orders to a running cluster: tests call them, and the control endpoint does.

use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::Cluster;
use crate::history::{Entry, Silent};
use crate::line::{self, Line};
use crate::table::Kind;

/// A speed: `max`, or a factor.
pub(crate) fn speed(text: &str) -> Option<f64> {
    if text == "max" {
        return Some(f64::INFINITY);
    }
    text.trim_end_matches('x').parse().ok().filter(|speed: &f64| *speed > 0.0)
}

pub(crate) async fn step(cluster: &Cluster, entries: u64) -> u64 {
    let mut left = entries;
    cluster
        .play(|_| {
            let more = left > 0;
            left = left.saturating_sub(1);
            more
        })
        .await
}

pub(crate) async fn play_to(cluster: &Cluster, index: u64) -> u64 {
    cluster.play(|entry| entry.index <= index).await
}

pub(crate) async fn append(cluster: &Cluster, lines: impl IntoIterator<Item = Bytes>) -> Result<(), line::Error> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in lines {
        let line = Arc::new(Line::parse(line)?);
        match entries.last_mut() {
            Some(entry) if entry.index == line.index => entry.lines.push(line),
            _ => entries.push(Entry { index: line.index, lines: vec![line], ..Entry::default() }),
        }
    }
    let mut player = cluster.player.lock().await;
    for entry in entries {
        cluster.commit(&mut player, entry).await;
    }
    Ok(())
}

pub(crate) async fn add_namespace(cluster: &Cluster, name: &str, index: Option<u64>) -> u64 {
    silently(cluster, index, Silent::Namespace(name.to_owned())).await
}

pub(crate) async fn remove(cluster: &Cluster, kind: Kind, namespace: &str, id: &str) {
    silently(cluster, None, Silent::Remove(kind, Box::from(namespace), Box::from(id))).await;
}

async fn silently(cluster: &Cluster, index: Option<u64>, silent: Silent) -> u64 {
    let mut player = cluster.player.lock().await;
    let index = index.unwrap_or(player.last_index + 1);
    cluster.commit(&mut player, Entry { index, silent: vec![silent], ..Entry::default() }).await;
    index
}
