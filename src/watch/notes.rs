//! What happens to the connection, in one line each on stderr.

use std::{io::Write as _, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    kind::Kind,
    nomad::{
        Client, StreamQuery, Topic,
        line::{Line, Occurrences, Text},
    },
    position::RaftIndex,
    redact,
    telemetry::{Metrics, Phase, Status},
};

/// How often the state of the connection is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// How long the server is asked for the beginning of its buffer.
const WITHIN: Duration = Duration::from_secs(2);

/// Writes one line for people to stderr.
fn note(text: &str) {
    // If stderr is closed, nothing can be said.
    writeln!(std::io::stderr(), "nomad-firehose: {}", redact::shown(text, redact::LINE)).ok();
}

/// Says when the cluster cannot be read, and when it can be again. Never ends by itself.
pub(super) async fn of_connection(status: Status, metrics: Metrics, kinds: Vec<Kind>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    loop {
        ticks.tick().await;
        let phases = status.phases();
        let phases = phases.iter().map(|(_, phase)| phase);
        let reconnects = metrics.process().stream_reconnects.get();
        if let Some(text) = seen.changed(phases) {
            note(&text);
        }
        let gaps = kinds.iter().map(|kind| metrics.summary(*kind).gaps).sum();
        if let Some(text) = seen.missing(gaps, reconnects) {
            note(text);
        }
    }
}

/// The last state that was reported.
#[derive(Debug, Default)]
struct Seen {
    is_blocked: bool,
    is_polling: bool,
    gaps: u64,
    /// The reconnections when gaps were counted last.
    reconnects_before: u64,
}

impl Seen {
    /// What to say about new gaps. What the first connection does not prove, nobody has asked for.
    fn missing(&mut self, gaps: u64, reconnects: u64) -> Option<&'static str> {
        let has_more = gaps > std::mem::replace(&mut self.gaps, gaps);
        let was_first = std::mem::replace(&mut self.reconnects_before, reconnects) == 0;
        (has_more && !was_first).then_some(
            "Nomad's event buffer no longer had all events since the last one; lists give the newest versions in between",
        )
    }

    /// What to say about a change. A return to Nomad is news only where a loss was reported.
    fn changed<'a>(&mut self, phases: impl Iterator<Item = &'a Phase>) -> Option<String> {
        let (mut blocked, mut polling, mut connecting) = (None, None, false);
        for phase in phases {
            match phase {
                Phase::Blocked { reason } => blocked = blocked.or(Some(reason)),
                Phase::Polling { note } => polling = Some(note.as_deref().unwrap_or("NOMAD_FIREHOSE_SOURCE is poll")),
                Phase::Leading { .. } => {}
                _ => connecting = true,
            }
        }
        if let Some(reason) = blocked {
            let is_new = !std::mem::replace(&mut self.is_blocked, true);
            return is_new.then(|| format!("cannot read events: {reason}; trying again"));
        }
        if connecting {
            return None;
        }
        let was_blocked = std::mem::take(&mut self.is_blocked);
        let was_polling = std::mem::replace(&mut self.is_polling, polling.is_some());
        match polling {
            Some(why) if !was_polling => Some(format!("reading lists in place of the event stream: {why}")),
            _ if was_blocked || was_polling && polling.is_none() => Some("connected to Nomad again".to_owned()),
            _ => None,
        }
    }
}

/// Says so if the server's event buffer begins after `since`.
pub(super) async fn before_the_buffer(
    client: &Client,
    namespaces: &[String],
    kinds: &[(Kind, Vec<Topic>)],
    since: RaftIndex,
) {
    let mut topics: Vec<Topic> = Vec::new();
    for topic in kinds.iter().flat_map(|(_, topics)| topics) {
        if !topics.contains(topic) {
            topics.push(topic.clone());
        }
    }
    let namespace = namespaces.first().cloned().unwrap_or_else(|| "*".to_owned());
    let query = StreamQuery { namespace, topics, index: RaftIndex(1) };
    let first = async {
        let line = client.stream(&query).await.ok()?.next_line().await.ok()??;
        let text = Text::new(line);
        Some(Line::parse(&text, &mut Occurrences::default()).ok()?.index)
    };
    // Whatever fails here fails in the run too, and is reported there.
    if let Ok(Some(first)) = timeout(WITHIN, first).await
        && first > since
    {
        note(&format!(
            "Nomad's event buffer begins at index {first}; of what happened from {since} on before that, lists give the newest versions only"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once() {
        let mut seen = Seen::default();
        let (leads, connects) = (Phase::Leading { note: None }, Phase::Connecting);
        let blocked = |reason: &str| Phase::Blocked { reason: reason.to_owned() };
        assert_eq!(seen.changed([&connects].into_iter()), None);
        assert_eq!(seen.changed([&leads].into_iter()), None, "the first connection is no news");
        let said = seen.changed([&leads, &blocked("refused")].into_iter());
        assert_eq!(said.as_deref(), Some("cannot read events: refused; trying again"));
        assert_eq!(seen.changed([&blocked("refused"), &leads].into_iter()), None);
        assert_eq!(seen.changed([&connects].into_iter()), None);
        assert_eq!(seen.changed([&leads].into_iter()).as_deref(), Some("connected to Nomad again"));
        assert_eq!(seen.changed([&leads].into_iter()), None);
        assert_eq!(seen.changed([&connects].into_iter()), None);
        assert_eq!(seen.changed([&leads].into_iter()), None, "no loss was reported");
        assert_eq!(Seen::default().missing(3, 0), None);
        assert!(seen.missing(0, 2).is_none() && seen.missing(3, 2).is_some() && seen.missing(3, 2).is_none());
        let polls = Phase::Polling { note: Some("no broker".to_owned()) };
        let said = seen.changed([&polls].into_iter());
        assert_eq!(said.as_deref(), Some("reading lists in place of the event stream: no broker"));
        assert_eq!(seen.changed([&polls].into_iter()), None);
        assert_eq!(seen.changed([&leads].into_iter()).as_deref(), Some("connected to Nomad again"));
    }
}
