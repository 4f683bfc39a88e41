use super::*;
use crate::settings::testing;

const NEEDED: [(&str, &str); 2] = [("SINK_KAFKA_BROKERS", "kafka1:9092,kafka2:9092"), ("SINK_KAFKA_TOPIC", "nomad")];

/// The required variables, with these added or in their place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn kafka(further: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, &with(further), read).expect("valid settings").0
}

#[track_caller]
fn problem(further: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, &with(further), read).expect_err("problems").join("\n")
}

#[test]
fn the_originals_variables_are_enough() {
    let read = kafka(&[]);
    assert_eq!(read.brokers, ["kafka1:9092", "kafka2:9092"]);
    assert_eq!((read.topic.constant(), read.key, read.login, read.tls), (Some("nomad"), None, None, None));
    assert_eq!((read.compression, read.timeout), (Compression::None, Duration::from_secs(30)));
    let read =
        kafka(&[("SINK_KAFKA_USER", "user"), ("SINK_KAFKA_PASSWORD", "hush-hush"), ("SINK_KAFKA_CA_CERT_PATH", "/ca")]);
    assert!(!format!("{read:?}").contains("hush-hush"));
    let Login { auth, mechanism } = read.login.expect("a login");
    assert_eq!((&*auth.user, auth.password.expose(), mechanism), ("user", "hush-hush", Mechanism::Plain));
    assert_eq!(read.tls, Some(Files { ca_cert: Some("/ca".into()), ..Files::default() }));
}

#[test]
fn everything_else_can_be_said() {
    let read = kafka(&[
        ("SINK_KAFKA_TOPIC", "nomad.{Kind}"),
        ("SINK_KAFKA_KEY", "{Namespace}/{JobID}"),
        ("SINK_KAFKA_USER", "user"),
        ("SINK_KAFKA_PASSWORD", "hush-hush"),
        ("SINK_KAFKA_SASL_MECHANISM", "scram-sha-512"),
        ("SINK_KAFKA_CLIENT_CERT", "/cert"),
        ("SINK_KAFKA_CLIENT_KEY", "/key"),
        ("SINK_KAFKA_COMPRESSION", "zstd"),
        ("SINK_KAFKA_TIMEOUT", "2m"),
    ]);
    assert_eq!(
        (read.topic.to_string(), read.key.expect("a key").to_string()),
        ("nomad.{Kind}".into(), "{Namespace}/{JobID}".into())
    );
    assert_eq!(read.login.expect("a login").mechanism, Mechanism::ScramSha512);
    let tls = read.tls.expect("a certificate turns it on");
    assert_eq!([tls.ca_cert, tls.client_cert, tls.client_key], [None, Some("/cert".into()), Some("/key".into())]);
    assert_eq!((read.compression, read.timeout), (Compression::Zstd, Duration::from_secs(120)));
    assert_eq!(kafka(&[("SINK_KAFKA_TLS", "true")]).tls, Some(Files::default()));
    assert_eq!(kafka(&[("SINK_KAFKA_TLS", "false")]).tls, None);
}

#[test]
fn what_is_wrong_is_named_without_the_password() {
    for (further, parts) in [
        (&[("SINK_KAFKA_BROKERS", "kafka:0")][..], &["SINK_KAFKA_BROKERS", "kafka1:9092"][..]),
        (&[("SINK_KAFKA_BROKERS", "kafka:1,kafka:")], &["SINK_KAFKA_BROKERS", "a host and a port"]),
        (&[("SINK_KAFKA_BROKERS", "ssl://kafka:1")], &["SINK_KAFKA_BROKERS", "only host and port"]),
        (&[("SINK_KAFKA_TOPIC", "a b")], &["SINK_KAFKA_TOPIC", "1 to 249 letters"]),
        (&[("SINK_KAFKA_TOPIC", "..")], &["SINK_KAFKA_TOPIC", "1 to 249 letters"]),
        (&[("SINK_KAFKA_TOPIC", "a{b")], &["SINK_KAFKA_TOPIC", "a { has no }"]),
        (&[("SINK_KAFKA_KEY", "}")], &["SINK_KAFKA_KEY", "a } has no {"]),
        (&[("SINK_KAFKA_USER", "user")], &["SINK_KAFKA_PASSWORD", "set both or neither"]),
        (&[("SINK_KAFKA_SASL_MECHANISM", "GSSAPI")], &["SINK_KAFKA_SASL_MECHANISM", "SCRAM-SHA-256"]),
        (&[("SINK_KAFKA_CLIENT_CERT", "/cert")], &["SINK_KAFKA_CLIENT_KEY", "set both or neither"]),
        (&[("SINK_KAFKA_TLS", "perhaps")], &["SINK_KAFKA_TLS", "true or false"]),
        (
            &[("SINK_KAFKA_TLS", "false"), ("SINK_KAFKA_CA_CERT_PATH", "/ca")],
            &["SINK_KAFKA_TLS", "write true, or remove the file"],
        ),
        (&[("SINK_KAFKA_COMPRESSION", "brotli")], &["SINK_KAFKA_COMPRESSION", "zstd"]),
        (&[("SINK_KAFKA_TIMEOUT", "500ms")], &["SINK_KAFKA_TIMEOUT", "from 1s to 5m"]),
        (&[("SINK_KAFKA_TIMEOUT", "30")], &["SINK_KAFKA_TIMEOUT", "no unit"]),
    ] {
        let problem = problem(further);
        assert!(parts.iter().all(|part| problem.contains(part)), "{further:?}: {problem}");
        assert!(!problem.contains("hush-hush"), "{problem}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let given = [("SINK_KAFKA_USER", "user"), ("SINK_KAFKA_COMPRESSION", "much"), ("SINK_KAFKA_TIMEOUT", "long")];
    let problems = testing::read(SETTINGS, &given, read).expect_err("problems");
    let names = ["BROKERS", "TOPIC", "PASSWORD", "COMPRESSION", "TIMEOUT"].map(|name| format!("SINK_KAFKA_{name}"));
    assert_eq!(problems.len(), names.len(), "{problems:?}");
    for (problem, name) in problems.iter().zip(names) {
        assert!(problem.starts_with(&name), "{problem}");
    }
}

#[test]
fn a_broker_is_a_host_with_or_without_a_port() {
    for text in ["kafka", "kafka:9092", "10.0.0.1:9092", "[::1]:9092", "[::1]"] {
        assert_eq!(broker(text).as_deref(), Ok(text));
    }
    for text in ["kafka:", "kafka:port", "kafka:70000", "a b:1", "user@kafka:1"] {
        assert!(broker(text).is_err(), "{text}");
    }
}

/// The original program reads the password only with a user.
#[test]
fn a_password_without_a_user_is_not_used() {
    let (read, warnings) =
        testing::read(SETTINGS, &with(&[("SINK_KAFKA_PASSWORD", "hush-hush")]), read).expect("valid settings");
    assert!(read.login.is_none());
    assert!(matches!(warnings[..], [Warning::Unused { setting: "SINK_KAFKA_PASSWORD", .. }]), "{warnings:?}");
}

#[test]
fn a_broker_without_a_host_is_on_this_machine() {
    assert_eq!(broker(":9092").expect("valid"), "localhost:9092");
}
