//! What RabbitMQ refuses.

use lapin::options::ExchangeDeleteOptions;

use super::*;
use crate::common::{
    queue::{EXCHANGE, Message, channel, declare_bound_exchange, declare_exchange, declare_queue, purge, take},
    rabbitmq::Rabbitmq,
};

/// The sink, as a user whose password nobody may see.
async fn sink(rabbitmq: &Rabbitmq) -> Vec<(&'static str, String)> {
    rabbitmq.ctl(&["add_user", "writer", SECRET]).await;
    rabbitmq.ctl(&["set_permissions", "writer", "", ".*", ""]).await;
    let url = rabbitmq.url().replace("guest:guest", &format!("writer:{SECRET}"));
    vec![
        ("SINK_TYPE", "amqp".into()),
        ("SINK_AMQP_CONNECTION", url),
        ("SINK_AMQP_EXCHANGE", EXCHANGE.into()),
        ("SINK_AMQP_ROUTING_KEY", "nomad.{Namespace}.{JobID}".into()),
        ("NOMAD_FIREHOSE_CLUSTER", "prod".into()),
    ]
}

/// What a consumer sees of a message but for what is its own: id, body, time, namespace and job.
fn properties(message: &Message) -> String {
    let properties = &message.properties;
    let (mode, content, kind) = (properties.delivery_mode(), properties.content_type(), properties.kind());
    let headers = properties.headers().as_ref().expect("headers").inner();
    let headers = headers.iter().map(|(name, value)| {
        let value = value.as_long_string().expect("text").to_string();
        let own = matches!(name.as_str(), "namespace" | "job");
        format!("{name}={}", if own && !value.is_empty() { "…" } else { &value })
    });
    let headers: Vec<_> = headers.collect();
    format!("{mode:?} {content:?} {kind:?} {:?} {headers:?}", properties.app_id())
}

/// These records have come, once, and are as those that were not refused. Each has a key of its own, and keys go over
/// several connections: they come in any order.
fn assert_came(messages: &[Message], (ids, bodies): &(Vec<String>, Vec<String>), like: &Message) {
    let mut came: Vec<_> = messages.iter().map(|message| (&message.id, &message.body)).collect();
    let mut wanted: Vec<_> = ids.iter().zip(bodies).collect();
    came.sort();
    wanted.sort();
    assert_eq!(came, wanted);
    for message in messages {
        assert_eq!(properties(message), properties(like));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_was_bound_for_comes_when_one_is() {
    let rabbitmq = Rabbitmq::start().await;
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_exchange(&channel).await;
    declare_queue(&channel, "nomad.default.#").await;
    let (sim, place, sink) = (cluster().await, Place::new(), sink(&rabbitmq).await);
    let namespace = |n: u64| if n.is_multiple_of(3) { "other" } else { "default" };
    sim.append_lines((10..40).map(|n| made::evaluation_in(namespace(n), n, n))).await.expect("lines of a stream");
    let setup = with(Setup::new(&["evaluations"], &sim.url(0)), &sink);
    let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", place.setting()).env("LOG_LEVEL", "trace").spawn();
    let routed = take(&rabbitmq, 20).await;
    process.until("the others are in the file", || place.letters().len() == 10).await;
    let refused = place.records();
    // The program goes on meanwhile.
    let reason = "no queue is bound for routing key \"nomad.other.job\" at exchange \"nomad\"";
    replayed_when_mended(&place, &sink, reason, async || declare_queue(&channel, "nomad.other.#").await).await;
    let came = take(&rabbitmq, 10).await;
    assert_came(&came, &refused, &routed[0]);
    assert!(came.iter().all(|message| message.key == "nomad.other.job"));
    assert!(!process.log().contains(SECRET));
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_too_large_for_the_broker_comes_when_it_takes_more() {
    let mut rabbitmq = Rabbitmq::start_with(|_, _| "{max_message_size, 5000}".to_owned()).await;
    {
        let (_connection, channel) = channel(&rabbitmq).await;
        declare_exchange(&channel).await;
        declare_queue(&channel, "#").await;
    }
    let (sim, place, sink) = (cluster().await, Place::new(), sink(&rabbitmq).await);
    sim.append_lines((10..40).map(|n| made::job(n, n, if n % 10 == 0 { 6_000 } else { 100 })))
        .await
        .expect("lines of a stream");
    let setup = with(Setup::new(&["jobs"], &sim.url(0)), &sink);
    let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", place.setting()).spawn();
    let taken = take(&rabbitmq, 27).await;
    process.until("the others are in the file", || place.letters().len() == 3).await;
    let refused = place.records();
    process.stop().await;
    {
        // The broker closes the channel over each of them: what was on the way comes again.
        let (_connection, channel) = channel(&rabbitmq).await;
        purge(&channel).await;
    }
    let restart = async || rabbitmq.restart_with("{max_message_size, 50000}").await;
    replayed_when_mended(&place, &sink, "too large for", restart).await;
    assert_came(&take(&rabbitmq, 3).await, &refused, &taken[0]);
}

/// It is no fault of the record: whatever the policy, it is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_exchange_is_waited_for_in_each_policy() {
    let rabbitmq = Rabbitmq::start().await;
    let (_connection, channel) = channel(&rabbitmq).await;
    let (place, sink) = (Place::new(), sink(&rabbitmq).await);
    for policy in ["stop", "log", &place.setting()] {
        let sim = cluster().await;
        sim.append_lines(evaluations(10..20)).await.expect("lines of a stream");
        let setup = with(Setup::new(&["evaluations"], &sim.url(0)), &sink);
        let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", policy).spawn();
        process.until_logged("the exchange does not exist; declare it").await;
        declare_bound_exchange(&channel).await;
        assert_eq!(take(&rabbitmq, 10).await.len(), 10, "{policy}");
        assert_eq!(process.logged("rejected by the sink"), 0, "{}", process.log());
        process.stop().await;
        let deleted = channel.exchange_delete(EXCHANGE.into(), ExchangeDeleteOptions::default());
        deleted.await.expect("it was there");
    }
    assert_eq!(place.text(), "");
}
