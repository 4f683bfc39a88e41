//! Whether Nomad can be read as a run would read it. Every right is tried, not guessed.

mod buffer;
mod lists;
mod reach;
mod stream;
mod words;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use futures_util::future::{join_all, ready};
use tokio::sync::mpsc;

pub(super) use self::words::is_of_another;
use super::clock::{Clock, Hang};
use crate::{
    config::{Pipeline, Shared},
    finding::{Finding, State},
    kind::Kind,
    nomad::{Client, Config, Token, Topic},
    position::RaftIndex,
    source::Source,
};

const HANG: Hang = Hang { who: "Nomad", fix: "check the agent at NOMAD_ADDR, its servers, and what is between" };

/// The deadline of one request, and of the first line of a stream. Nomad closes a refused stream after two seconds.
const WITHIN: Duration = Duration::from_millis(2800);
/// The most namespaces whose lists are tried, where all are carried.
const NAMESPACES: usize = 64;
/// A token that expires sooner is a warning.
const SOON: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks each address, and then the rights at the first that answers.
pub(super) async fn check(shared: &Shared, pipelines: &[Pipeline], clock: Clock) -> Vec<Finding> {
    let (sender, mut answers) = mpsc::channel::<Config>(1);
    let addresses = join_all(shared.nomad.addresses.iter().map(|address| {
        let (what, sender) = (format!("nomad {address}"), sender.clone());
        async move { clock.timed(&what, HANG, reach::reach(&shared.nomad, address, sender)).await }
    }));
    drop(sender);
    let rights = async {
        match answers.recv().await {
            Some(config) => of_agent(config, shared, pipelines, clock).await,
            None => vec![Finding::skipped("nomad rights", "no address of Nomad answers")],
        }
    };
    let (mut findings, rights) = tokio::join!(addresses, rights);
    let answers = findings.iter().any(|found| found.state == State::Ok);
    for found in findings.iter_mut().filter(|found| answers && found.state == State::Failed) {
        // A run uses the other addresses.
        found.state = State::Warning;
    }
    findings.extend(rights);
    findings
}

/// Checks the rights of the token, the stream and its buffer at one agent.
async fn of_agent(config: Config, shared: &Shared, pipelines: &[Pipeline], clock: Clock) -> Vec<Finding> {
    let client = match Client::impatient(config, WITHIN) {
        Ok(client) => client,
        Err(error) => return vec![Finding::of_setting("nomad rights", error)],
    };
    let mut token = None;
    let found = clock.timed("nomad token", HANG, async {
        match client.token_self().await {
            Ok(known) => {
                let found = of_token(&known);
                token = Some(known);
                found
            }
            Err(error) => words::of_error("nomad token", &error, None),
        }
    });
    let found = found.await;
    let Some(token) = token else {
        return vec![found, Finding::skipped("nomad rights", "the token is not accepted")];
    };
    let (lists, (streams, reach), measured) = tokio::join!(
        of_lists(&client, pipelines, &token, clock),
        of_streams(&client, shared, pipelines, &token, clock),
        of_buffer(&client, clock),
    );
    let mut findings = vec![found];
    findings.extend(lists);
    findings.extend(streams);
    if shared.polling.source != Source::Poll {
        findings.push(measured(reach));
    }
    findings
}

fn of_token(token: &Token) -> Finding {
    let text = words::token(token);
    let (Token::Management { expires: Some(at), .. } | Token::Client { expires: Some(at), .. }) = token else {
        return Finding::ok("nomad token", text);
    };
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    let text = format!("{text}, expires at {}", humantime::format_rfc3339_seconds(*at));
    if left > SOON {
        return Finding::ok("nomad token", text);
    }
    let fix = "renew it in time: name a file in NOMAD_TOKEN_FILE, which is read again for each request";
    Finding::warning("nomad token", text, fix)
}

/// Tries the list of each kind, in each namespace that some pipeline carries it from.
async fn of_lists(client: &Client, pipelines: &[Pipeline], token: &Token, clock: Clock) -> Vec<Finding> {
    let mut wanted: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
    for pipeline in pipelines {
        for kind in &pipeline.kinds {
            wanted.entry(*kind).or_default().extend(pipeline.namespaces.iter().map(String::as_str));
        }
    }
    let carried: Vec<&str> = pipelines.iter().flat_map(|pipeline| &pipeline.namespaces).map(String::as_str).collect();
    let visible = if carried.contains(&"*") { visible(client).await } else { Vec::new() };
    let lists = wanted.into_iter().map(|(kind, carried)| {
        let mut names: Vec<String> =
            if carried.contains(&"*") { visible.clone() } else { carried.into_iter().map(str::to_owned).collect() };
        names.sort_unstable();
        names.dedup();
        async move {
            kind.topic()?;
            let what = format!("nomad list of {kind}");
            let nothing = || Finding::skipped(&what, "it has no list");
            let found = async { lists::readable(client, kind, &names, token).await.unwrap_or_else(nothing) };
            Some(clock.timed(&what, HANG, found).await)
        }
    });
    let mut named: Vec<&str> = carried.iter().copied().filter(|name| *name != "*").collect();
    named.sort_unstable();
    named.dedup();
    let namespaces = named.into_iter().map(|name| async move {
        let what = format!("nomad namespace {name}");
        clock.timed(&what, HANG, exists(client, &what, name, token)).await
    });
    let (lists, namespaces) = tokio::join!(join_all(lists), join_all(namespaces));
    namespaces.into_iter().chain(lists.into_iter().flatten()).collect()
}

/// The namespaces that the token sees: a list of `*` leaves out what it may not read, without a word.
async fn visible(client: &Client) -> Vec<String> {
    let names = client.namespaces(RaftIndex(0), Duration::ZERO).await.map(|(_, names)| names).unwrap_or_default();
    let mut names: Vec<String> = names.into_iter().take(NAMESPACES).map(|namespace| namespace.name).collect();
    if names.is_empty() {
        names.push("*".to_owned());
    }
    names
}

/// Nomad accepts a namespace that does not exist, and sends nothing.
async fn exists(client: &Client, what: &str, name: &str, token: &Token) -> Finding {
    match client.namespace(name).await {
        Ok(Some(_)) => Finding::ok(what, "it exists"),
        Ok(None) => {
            let text = format!("there is no namespace {name:?} in this cluster");
            Finding::failed(what, text, "correct NOMAD_NAMESPACE, or create the namespace")
        }
        Err(error) => words::of_error(what, &error, Some(token)),
    }
}

/// Opens one stream for each namespace, with all topics that are carried from it. Returns how far the buffer reaches back, too.
async fn of_streams(
    client: &Client,
    shared: &Shared,
    pipelines: &[Pipeline],
    token: &Token,
    clock: Clock,
) -> (Vec<Finding>, Option<Duration>) {
    if shared.polling.source == Source::Poll {
        let text = "NOMAD_FIREHOSE_SOURCE=poll reads lists alone, which show no versions in between";
        return (vec![Finding::skipped("nomad stream", text)], None);
    }
    let mut wanted: BTreeMap<&str, Vec<Topic>> = BTreeMap::new();
    for pipeline in pipelines {
        for namespace in &pipeline.namespaces {
            let topics = wanted.entry(namespace).or_default();
            for topic in pipeline.kinds.iter().flat_map(|kind| pipeline.topics_of(*kind)) {
                if !topics.contains(&topic) {
                    topics.push(topic);
                }
            }
        }
    }
    let streams = wanted.iter().map(|(namespace, topics)| async move {
        let what = format!("nomad stream of {namespace}");
        let mut reach = None;
        let opened = async {
            let (found, seen) = stream::stream(client, (namespace, topics), token, &shared.polling).await;
            reach = seen.reach;
            found
        };
        let found = clock.timed(&what, HANG, opened).await;
        (found, reach)
    });
    let (findings, reaches): (Vec<_>, Vec<_>) = join_all(streams).await.into_iter().unzip();
    (findings, reaches.into_iter().flatten().max())
}

/// Measures the buffer; what it means depends on what a stream has shown meanwhile.
async fn of_buffer(client: &Client, clock: Clock) -> impl FnOnce(Option<Duration>) -> Finding {
    let mut measured = buffer::Measured::default();
    let found = clock.timed("nomad event buffer", HANG, async {
        measured = buffer::measure(client).await;
        ready(Finding::ok("nomad event buffer", "")).await
    });
    let took = found.await.took;
    move |reach| buffer::judge(measured, reach).after(took)
}
