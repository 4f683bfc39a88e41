use super::*;
use crate::{http::Tls, settings::testing};

const NEEDED: [(&str, &str); 3] = [
    ("SINK_AMQP_CONNECTION", "amqp://user:hush@rabbit:5672/"),
    ("SINK_AMQP_EXCHANGE", "nomad"),
    ("SINK_AMQP_ROUTING_KEY", "nomad.{JobID}"),
];

/// The required variables, with these added or in their place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn amqp(further: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, &with(further), read).expect("valid settings").0
}

#[track_caller]
fn problem(further: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, &with(further), read).expect_err("problems").join("\n")
}

#[test]
fn the_originals_variables_are_enough() {
    let read = amqp(&[]);
    assert_eq!((read.workers, read.mandatory, &read.tls), (4, true, &Tls::default()));
    assert_eq!((read.exchange.to_string(), read.routing_key.to_string()), ("nomad".into(), "nomad.{JobID}".into()));
    assert_eq!((&*read.broker.host, read.broker.port, &*read.broker.vhost), ("rabbit", 5672, "/"));
    assert!(!format!("{read:?}").contains("hush"));
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
fn a_connection_is_read_as_the_original_reads_it() {
    for (text, shown) in [
        ("amqp://localhost", "guest:guest@localhost:5672 / 15"),
        ("amqp://guest:guest@127.0.0.1:5672/", "guest:guest@127.0.0.1:5672 / 15"),
        ("amqps://u%40x:p%2Fw@[::1]/%2F", "u@x:p/w@::1:5671 / 15"),
        ("amqp://u:@host:1/team%2Fa?heartbeat=30", "u:guest@host:1 team/a 30"),
        ("amqp:///team", "guest:guest@localhost:5672 team 15"),
        ("amqp://u:p@:1", "u:p@localhost:1 / 15"),
    ] {
        let (read, unused) = broker(text).expect("it is valid");
        let Broker { host, port, user, password, vhost, heartbeat, .. } = read;
        assert_eq!(format!("{user}:{}@{host}:{port} {vhost} {heartbeat}", password.expose()), shown, "{text}");
        assert_eq!(unused, None, "{text}");
    }
}

/// The original program's client ignores all that follows `?`.
#[test]
fn what_the_original_ignores_is_ignored_with_a_warning() {
    for (text, part) in [
        ("amqp://u:hush@host?heartbeat=5", "15 is used"),
        ("amqp://u:hush@host?heartbeat=much", "15 is used"),
        ("amqp://u:hush@host?connection_timeout=5", "heartbeat and auth_mechanism"),
    ] {
        let (read, warnings) =
            testing::read(SETTINGS, &with(&[("SINK_AMQP_CONNECTION", text)]), read).expect("valid settings");
        let [Warning::Unused { setting: "SINK_AMQP_CONNECTION", what }] = warnings[..] else { panic!("{warnings:?}") };
        assert!(what.contains(part) && read.broker.heartbeat == 15, "{text}: {what}");
    }
}

#[test]
fn what_is_no_connection_is_refused_without_its_password() {
    for (text, part) in [
        ("localhost:5672", "begin with"),
        ("http://u:hush@host", "begin with"),
        ("amqp://u:hush@host:x", "port"),
        ("amqp://u:hush@host?auth_mechanism=none", "plain or external"),
    ] {
        let error = broker(text).expect_err(text);
        assert!(error.contains(part) && !error.contains("hush"), "{text}: {error}");
    }
}

/// The messages of Rust's own parsers name neither bounds nor unit.
#[test]
fn a_number_that_is_none_is_answered_with_its_bounds() {
    assert_eq!(
        problem(&[("SINK_AMQP_WORKERS", "many")]),
        "SINK_AMQP_WORKERS (--sink-amqp-workers) is \"many\": write a whole number from 1 to 64"
    );
}
