//! What befalls a service of AWS: every sort of fault at random and outages of each sort in a long run, lost answers, refusals,
//! credentials that expire.
//!
//! `setup` makes the program, for a cluster and the URL of the service. `take` gives what has come since the last time.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use nomad_sim::Sim;
use serde_json::{Value, json};

use super::{
    Setup,
    aws::{Aws, Message, SECRETS, assert_order, take_different, until_different},
    cluster, flood,
    gate::Gate,
    made,
    order::Leaps,
    ports::Ports,
};

/// A server, and what befalls it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub address: &'a str,
    pub records: u64,
    /// How long each outage lasts.
    pub outage: Duration,
}

/// What a run came to. Every record has arrived, and those of each key in order.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// How many came twice.
    pub repeats: u64,
    /// The most memory that the program had, bytes.
    pub peak: u64,
    pub took: Duration,
}

/// The same for a target of the stand-in, whose calls also fail at random.
pub async fn go_through(
    aws: &Aws,
    target: &str,
    (records, outage): (u64, Duration),
    setup: impl FnOnce(&Sim, &str) -> Setup,
    take: impl AsyncFn() -> Vec<Message>,
) -> u64 {
    aws.suffer(target, json!({"random": true})).await;
    let run = Run { address: &aws.address(), records, outage };
    let stops = |stops| if stops { aws.pause() } else { aws.resume() };
    let Passed { repeats, peak, took } = through_outages(run, setup, take, stops).await;
    let (calls, failed) = aws.counts().await;
    println!(
        "{records} records, {repeats} repeats, {calls} calls, {failed} of them with a fault, {} MiB, {took:?}",
        peak >> 20
    );
    assert!(failed > 0);
    repeats
}

/// Goes through outages of each sort. `stops` stops the server and lets it go on.
pub async fn through_outages(
    Run { address, records, outage }: Run<'_>,
    setup: impl FnOnce(&Sim, &str) -> Setup,
    take: impl AsyncFn() -> Vec<Message>,
    stops: impl Fn(bool),
) -> Passed {
    let gate = Gate::start(address).await;
    let sim = flood::cluster(records).await;
    let ports = Ports::reserve();
    let begun = Instant::now();
    let process = setup(&sim, &gate.url()).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    let (mut came, mut ids) = (flood::Came::new(records), HashSet::new());
    let mut read = async || {
        let messages = take().await;
        for message in &messages {
            came.take(&message.body);
            ids.insert(id(message).to_owned());
        }
        (came.distinct, messages.is_empty())
    };
    for quarter in 1..=4 {
        flood::until_count(&process, records * quarter / 4, async || read().await.0).await;
        println!("{quarter} quarters after {:?}", begun.elapsed());
        match quarter {
            1 => gate.cut(),
            // Connections stay open, and nothing is answered.
            2 => stops(true),
            3 => gate.slow_down(64 << 10),
            _ => {}
        }
        tokio::time::sleep(if quarter < 4 { outage } else { Duration::ZERO }).await;
        gate.open();
        stops(false);
    }
    flood::until_count(&process, records, async || flood::delivered(ports.base).await).await;
    let (took, peak) = (begun.elapsed(), process.peak_memory());
    process.stop().await;
    while !read().await.1 {}
    came.assert_all();
    assert_eq!(ids.len() as u64, records);
    assert!(peak < 96 << 20, "{peak} bytes");
    Passed { repeats: came.repeats, peak, took }
}

/// Credentials that have expired are read again from their file; and the service sees who is there.
pub async fn credentials_are_read_again(
    aws: &Aws,
    target: &str,
    setup: impl FnOnce(&Sim, &str) -> Setup,
    take: impl AsyncFn() -> Vec<Message>,
) {
    let (old, new) = (format!("hush-old-{target}"), format!("hush-new-{target}"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("credentials");
    let write = |token: &str| {
        let text = "[default]\naws_access_key_id = AKIDTEST\naws_secret_access_key = hush-key\naws_session_token = ";
        std::fs::write(&file, format!("{text}{token}\n")).expect("a file");
    };
    write(&old);
    aws.suffer(target, json!({ "expired": old })).await;
    let lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    let process = setup(&sim, &aws.url())
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .without("AWS_SESSION_TOKEN")
        .env("AWS_SHARED_CREDENTIALS_FILE", &file)
        .env("LOG_LEVEL", "trace")
        .spawn();
    process.until_logged("the credentials have expired").await;
    process.until_logged("delivery failed").await;
    write(&new);
    let messages = process.until_come(lines.len(), take).await;
    assert_eq!(assert_order(&messages, &lines, Leaps::Never), 0);
    process.until_logged("delivery recovered").await;
    assert!(!process.log().contains("hush"), "a secret is shown");
    process.stop().await;
    let agent = aws.agent(target).await;
    let product = concat!("nomad-firehose/", env!("CARGO_PKG_VERSION"), " ");
    assert!(agent.starts_with(product) && agent.contains("aws-sdk-rust/"), "{agent}");
}

/// The answers to the later half of some records are lost, and these records are sent again: their lines, and all that has come of them.
/// What comes twice has one id.
pub async fn what_is_sent_again(
    aws: &Aws,
    setup: impl FnOnce(&Sim, &str) -> Setup,
    take: impl AsyncFn() -> Vec<Message>,
) -> (Vec<String>, Vec<Message>) {
    let gate = Gate::start(&aws.address()).await;
    let mut lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    let process = setup(&sim, &gate.url()).spawn();
    let mut messages = take_different(&process, lines.len(), &take).await;
    gate.shut_outwards();
    let more = made::evaluations(60..110, 20);
    sim.append_lines(more.clone()).await.expect("lines of a stream");
    lines.extend(more);
    messages.extend(process.until_come(1, &take).await);
    gate.cut();
    process.until_logged("delivery failed").await;
    gate.open();
    until_different(&mut messages, &process, lines.len(), &take).await;
    process.until_logged("delivery recovered").await;
    process.stop().await;
    messages.extend(take().await);
    let ids: HashSet<_> = messages.iter().map(id).collect();
    assert_eq!(ids.len(), lines.len(), "a repeat has the id of the first");
    (lines, messages)
}

/// A target that does not exist is waited for, with what to do about it said once and without a secret. `create` makes it.
pub async fn is_created_late(
    aws: &Aws,
    (said, create): (&str, impl AsyncFnOnce()),
    setup: impl FnOnce(&Sim, &str) -> Setup,
    take: impl AsyncFn() -> Vec<Message>,
) {
    let lines = made::evaluations(10..510, 20);
    let sim = cluster(&lines).await;
    let process = setup(&sim, &aws.url()).env("LOG_LEVEL", "trace").spawn();
    process.until_logged(said).await;
    process.until_logged("delivery failed").await;
    create().await;
    let messages = take_different(&process, lines.len(), take).await;
    assert_eq!(assert_order(&messages, &lines, Leaps::Never), 0);
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("target refuses every record"), 1);
    let log = process.log();
    assert!(SECRETS.iter().all(|secret| !log.contains(secret)), "a secret is shown");
    process.stop().await;
}

/// What only people can fix, such as refused access, is `said` once and waited for.
pub async fn is_waited_for(
    aws: &Aws,
    (target, cause, said): (&str, Value, &str),
    setup: impl FnOnce(&Sim, &str) -> Setup,
    take: impl AsyncFn() -> Vec<Message>,
) {
    aws.suffer(target, cause).await;
    let lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    // Its messages are none that an earlier run has sent.
    let process = setup(&sim, &aws.url()).env("NOMAD_FIREHOSE_CLUSTER", said).spawn();
    process.until_logged(said).await;
    process.until_logged("delivery failed").await;
    aws.suffer(target, json!({})).await;
    let messages = take_different(&process, lines.len(), take).await;
    assert_eq!(assert_order(&messages, &lines, Leaps::Never), 0);
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("target refuses every record"), 1, "{}", process.log());
    assert!(!process.log().contains("hush"), "a secret is shown");
    process.stop().await;
}

/// What tells repeats.
fn id(message: &Message) -> &str {
    let Message { attributes, .. } = message;
    attributes.get("id").or_else(|| attributes.get("resources")).expect("an id")
}
