//! Whether the event stream can be read, how soon its first line comes, and how far back it reaches.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::words;
use crate::{
    finding::Finding,
    nomad::{Client, Error, EventStream, StreamQuery, Token, Topic},
    position::RaftIndex,
    source::{Polling, Source},
};

/// A stream that is silent for this long has sent what its buffer has.
const QUIET: Duration = Duration::from_millis(250);
/// How often half a line may be found unchanged. Nomad writes whole lines.
const STALLED: u32 = 4;
/// How long the buffer is read, and how many bytes of it. The oldest events come first.
const READ_WITHIN: Duration = Duration::from_millis(1500);
const READ_BYTES: usize = 4 << 20;

/// How soon a stream opens that is not refused.
const PROMPT: Duration = Duration::from_millis(800);

/// What a proxy that buffers needs.
const FIX: &str = "turn buffering off for /v1/event/stream on the proxy before Nomad (nginx: proxy_buffering off)";

/// What came of a stream.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How old the oldest event is that has a time.
    pub(super) reach: Option<Duration>,
    lines: usize,
    bytes: usize,
    /// Half a line came, and not the rest.
    is_stalled: bool,
}

/// Subscribes to `topics` in `namespace` from the oldest event on.
pub(super) async fn stream(
    client: &Client,
    (namespace, topics): (&str, &[Topic]),
    token: &Token,
    polling: &Polling,
) -> (Finding, Seen) {
    let what = format!("nomad stream of {namespace}");
    let query = StreamQuery { namespace: namespace.to_owned(), topics: topics.to_vec(), index: RaftIndex(0) };
    let begun = Instant::now();
    let has_lists = polling.source == Source::Auto && topics.iter().all(|topic| topic.name != "*");
    let mut stream = match client.stream(&query).await {
        Ok(stream) => stream,
        Err(error @ Error::NoStream { .. }) if has_lists => {
            let found = words::of_error(&what, &error, Some(token));
            let text = format!("{}; lists are polled instead, and show no versions in between", found.text);
            return (Finding::warning(what, text, found.fix.unwrap_or_default()), Seen::default());
        }
        Err(error @ Error::HeldBack { .. }) if namespace == "*" && is_limited(token) => {
            let found = match opens(client, topics).await {
                Some(other) => refused(&what, &other, topics, token),
                None => words::of_error(&what, &error, Some(token)),
            };
            return (found, Seen::default());
        }
        Err(error) => return (words::of_error(&what, &error, Some(token)), Seen::default()),
    };
    let first = begun.elapsed();
    let seen = match read(&mut stream).await {
        Ok(seen) => seen,
        Err(error) => return (words::of_error(&what, &error, Some(token)), Seen::default()),
    };
    if seen.is_stalled {
        let text = format!(
            "the stream of {} stops in the middle of a line after {} bytes: a proxy holds the rest back until its buffer is full",
            stream.server(),
            seen.bytes + stream.bytes_of_line()
        );
        return (Finding::failed(what, text, FIX), seen);
    }
    let names: Vec<_> = topics.iter().map(Topic::to_string).collect();
    let lines = match seen.lines {
        0 => "no event in its buffer".to_owned(),
        lines => format!("{lines} lines in its buffer"),
    };
    let text = format!("{}: opened after {} ms, {lines}", names.join(", "), first.as_millis());
    (Finding::ok(what, text), seen)
}

fn is_limited(token: &Token) -> bool {
    matches!(token, Token::Client { .. })
}

/// A namespace whose stream opens at once, of those that the token sees. Nomad takes seconds to refuse a stream, and till then it looks as
/// if a proxy held it back; a proxy would hold back this one, too.
async fn opens(client: &Client, topics: &[Topic]) -> Option<String> {
    let opening = async {
        let (_, names) = client.namespaces(RaftIndex(0), Duration::ZERO).await.ok()?;
        let namespace = names.into_iter().next()?.name;
        let query = StreamQuery { namespace: namespace.clone(), topics: topics.to_vec(), index: RaftIndex(0) };
        client.stream(&query).await.ok().map(|_| namespace)
    };
    timeout(PROMPT, opening).await.ok().flatten()
}

/// The stream of `*` is refused, and that of `other` is not.
fn refused(what: &str, other: &str, topics: &[Topic], token: &Token) -> Finding {
    let text = format!(
        "Nomad refuses the stream of *, and not that of the namespace {other}: the token lacks a right in a namespace that it cannot see"
    );
    let needs: BTreeSet<_> = topics.iter().map(|topic| Error::needs(&topic.name, "*")).collect();
    let needs: Vec<_> = needs.into_iter().filter(|rule| rule.starts_with("namespace")).collect();
    let add = words::denied(&needs.join(" and "), Some(token));
    Finding::failed(what, text, format!("{add}; or list the namespaces to carry in NOMAD_NAMESPACE"))
}

/// Reads what the buffer has, at least its oldest part.
async fn read(stream: &mut EventStream) -> Result<Seen, Error> {
    let begun = Instant::now();
    let mut seen = Seen::default();
    let (mut half, mut same) = (0, 0);
    loop {
        match timeout(QUIET, stream.next_line()).await {
            Ok(Ok(Some(line))) => {
                seen.lines += 1;
                seen.bytes += line.len() + 1;
                if seen.reach.is_none() {
                    seen.reach = time_of(&line).and_then(|time| SystemTime::now().duration_since(time).ok());
                }
                same = 0;
            }
            Ok(Err(Error::LongLine { .. })) => same = 0,
            Ok(Ok(None)) => return Ok(seen),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let now = stream.bytes_of_line();
                same = if now == half { same + 1 } else { 1 };
                half = now;
                if now == 0 {
                    return Ok(seen);
                }
                if same >= STALLED {
                    seen.is_stalled = true;
                    return Ok(seen);
                }
            }
        }
        // Half a line may be the proxy's: only silence tells.
        if same == 0 && (begun.elapsed() > READ_WITHIN || seen.bytes > READ_BYTES) {
            return Ok(seen);
        }
    }
}

/// When a line's event happened, by the objects that say when they changed.
fn time_of(line: &[u8]) -> Option<SystemTime> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let times = line["Events"].as_array()?.iter().filter_map(|event| {
        let object = event["Payload"]
            .as_object()?
            .iter()
            .find(|(name, _)| matches!(name.as_str(), "Allocation" | "Evaluation" | "Deployment"))?
            .1;
        object["ModifyTime"].as_u64().filter(|time| *time > 0)
    });
    times.max().map(|nanoseconds| UNIX_EPOCH + Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_time_of_a_line_is_that_of_its_change() {
        let line = br#"{"Index":5,"Events":[{"Payload":{"Job":{"SubmitTime":9}}},{"Payload":{"Evaluation":{"ModifyTime":2000000000}}}]}"#;
        assert_eq!(time_of(line), Some(UNIX_EPOCH + Duration::from_secs(2)));
        assert_eq!(time_of(br#"{"Index":5,"Events":[{"Payload":{"Node":{"StatusUpdatedAt":9}}}]}"#), None);
    }

    proptest! {
        #[test]
        fn any_line_has_a_time_or_none(line in ".{0,80}") {
            time_of(line.as_bytes());
        }
    }
}
