//! The settings of the AMQP sink.

use super::*;
use crate::{
    http::Tls,
    sink::amqp::{Config, Mechanism},
};

const NEEDED: [(&str, &str); 4] = [
    ("SINK_TYPE", "amqp"),
    ("SINK_AMQP_CONNECTION", "amqp://user:hush@rabbit:5672/"),
    ("SINK_AMQP_EXCHANGE", "nomad"),
    ("SINK_AMQP_ROUTING_KEY", "nomad.{JobID}"),
];

/// What is needed, with these variables in addition or in its place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn amqp(further: &[(&str, &str)]) -> Config {
    match load(&["nodes"], &with(further)).expect("a valid configuration").0.sink {
        Sink::Amqp(amqp) => *amqp,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn problem(further: &[(&str, &str)]) -> String {
    match load(&["nodes"], &with(further)) {
        Err(Exit::Configuration(problems)) => problems.to_string(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn the_originals_variables_are_enough() {
    let read = amqp(&[]);
    assert_eq!((read.workers, read.mandatory, &read.tls), (1, true, &Tls::default()));
    assert_eq!((read.exchange.to_string(), read.routing_key.to_string()), ("nomad".into(), "nomad.{JobID}".into()));
    assert_eq!((&*read.broker.host, read.broker.port, &*read.broker.vhost), ("rabbit", 5672, "/"));
    assert!(!format!("{read:?}").contains("hush"));
    assert_eq!(amqp(&[("SINK_TYPE", "rabbitmq")]), read);
}

#[test]
fn everything_else_can_be_said() {
    let read = amqp(&[
        ("SINK_AMQP_CONNECTION", "amqps://rabbit/a?auth_mechanism=external"),
        ("SINK_AMQP_WORKERS", "8"),
        ("SINK_AMQP_MANDATORY", "false"),
        ("SINK_AMQP_CACERT", "/ca"),
        ("SINK_AMQP_CLIENT_CERT", "/cert"),
        ("SINK_AMQP_CLIENT_KEY", "/key"),
    ]);
    assert_eq!((read.workers, read.mandatory, read.broker.mechanism), (8, false, Mechanism::External));
    assert_eq!((read.broker.port, &*read.broker.vhost, read.broker.secure), (5671, "a", true));
    let tls = read.tls;
    assert_eq!([tls.ca_cert, tls.client_cert, tls.client_key], ["/ca", "/cert", "/key"].map(|path| Some(path.into())));
}

#[test]
fn what_is_wrong_is_named_without_the_password() {
    for (further, parts) in [
        (&[("SINK_AMQP_CONNECTION", "")][..], &["SINK_AMQP_CONNECTION", "needs its broker"][..]),
        (&[("SINK_AMQP_CONNECTION", "http://user:hush@rabbit")], &["begin with amqp://"]),
        (&[("SINK_AMQP_CONNECTION", "amqp://user:hush@rabbit?auth_mechanism=external")], &["SINK_AMQP_CLIENT_CERT"]),
        (&[("SINK_AMQP_EXCHANGE", "")], &["SINK_AMQP_EXCHANGE", "needs the exchange"]),
        (&[("SINK_AMQP_ROUTING_KEY", "")], &["SINK_AMQP_ROUTING_KEY", "needs a routing key"]),
        (&[("SINK_AMQP_ROUTING_KEY", "a{b")], &["SINK_AMQP_ROUTING_KEY", "a { has no }"]),
        (&[("SINK_AMQP_WORKERS", "0")], &["SINK_AMQP_WORKERS", "from 1 to 64"]),
        (&[("SINK_AMQP_MANDATORY", "perhaps")], &["SINK_AMQP_MANDATORY", "true or false"]),
        (&[("SINK_AMQP_CLIENT_CERT", "/cert")], &["SINK_AMQP_CLIENT_KEY", "set both or neither"]),
    ] {
        let problem = problem(further);
        assert!(parts.iter().all(|part| problem.contains(part)), "{further:?}: {problem}");
        assert!(!problem.contains("hush"), "{problem}");
    }
}

#[test]
fn the_settings_of_a_sink_that_is_not_chosen_are_not_read() {
    assert_eq!(settings(&["nodes"], &[("SINK_AMQP_CONNECTION", "nonsense")]).sink, Sink::Stdout);
}
