use super::*;
use crate::{
    http::{Secret, Tls},
    settings::testing,
};

const NEEDED: [(&str, &str); 2] = [("SINK_NSQ_ADDR", "127.0.0.1:4150"), ("SINK_NSQ_TOPIC_NAME", "nomad-firehose")];

/// The required variables, with these added or in their place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn nsq(further: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, &with(further), read).expect("valid settings").0
}

#[track_caller]
fn problems(further: &[(&str, &str)]) -> Vec<String> {
    testing::read(SETTINGS, &with(further), read).expect_err("problems")
}

#[test]
fn the_originals_variables_are_enough() {
    let read = nsq(&[]);
    let server = Server { secure: false, host: "127.0.0.1".into(), port: 4150 };
    assert_eq!((read.servers, read.topic.constant()), (vec![server], Some("nomad-firehose")));
    assert_eq!((read.ack_timeout, read.secret, read.tls), (Duration::from_secs(10), None, Tls::default()));
}

#[test]
fn everything_else_can_be_said() {
    let read = nsq(&[
        ("SINK_NSQ_ADDR", "tls://a:1,[::1],nsq://c,:4151"),
        ("SINK_NSQ_TOPIC_NAME", "nomad.{Kind}"),
        ("SINK_NSQ_AUTH_SECRET", "hush-hush"),
        ("SINK_NSQ_ACK_TIMEOUT", "5m"),
        ("SINK_NSQ_CACERT", "/ca"),
        ("SINK_NSQ_CLIENT_CERT", "/cert"),
        ("SINK_NSQ_CLIENT_KEY", "/key"),
    ]);
    let shown: Vec<String> = read.servers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["tls://a:1", "[::1]:4150", "c:4150", "localhost:4151"]);
    assert!(!format!("{read:?}").contains("hush"));
    assert_eq!(read.secret, Some(SecretSource::Fixed(Secret::new("hush-hush"))));
    assert_eq!((read.ack_timeout, read.topic.constant()), (Duration::from_secs(300), None));
    let tls = read.tls;
    assert_eq!([tls.ca_cert, tls.client_cert, tls.client_key], ["/ca", "/cert", "/key"].map(|path| Some(path.into())));
    let read = nsq(&[("SINK_NSQ_AUTH_SECRET_FILE", "/secret")]);
    assert_eq!(read.secret, Some(SecretSource::File("/secret".into())));
}

#[test]
fn each_problem_names_its_setting() {
    for (variable, value, part) in [
        ("SINK_NSQ_ADDR", "", "needs its nsqd"),
        ("SINK_NSQ_ADDR", "http://a:4151", "at its TCP address"),
        ("SINK_NSQ_ADDR", "amqp://a", "unknown scheme amqp://"),
        ("SINK_NSQ_ADDR", "a:0x1", "not an address"),
        ("SINK_NSQ_ADDR", "a:4150/topic", "ends after the port"),
        ("SINK_NSQ_ADDR", "me:hush@a", "SINK_NSQ_AUTH_SECRET"),
        ("SINK_NSQ_TOPIC_NAME", "", "needs a topic"),
        ("SINK_NSQ_TOPIC_NAME", "a b", "1 to 64 of the characters"),
        ("SINK_NSQ_ACK_TIMEOUT", "999ms", "1s to 5m"),
        ("SINK_NSQ_CLIENT_CERT", "/cert", "needs its key"),
    ] {
        let problems = problems(&[(variable, value)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(part) && !problems[0].contains("hush"), "{problems:?}");
    }
    let all = problems(&[("SINK_NSQ_ADDR", ""), ("SINK_NSQ_TOPIC_NAME", "?"), ("SINK_NSQ_ACK_TIMEOUT", "1h")]);
    assert_eq!(all.len(), 3, "{all:?}");
}
