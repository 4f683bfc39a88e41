use super::*;
use crate::{http::Tls, settings::testing};

const NEEDED: [(&str, &str); 2] = [("SINK_NATS_URL", "nats://nats"), ("SINK_NATS_SUBJECT", "nomad.{JobID}")];

/// The required variables, with these added or in their place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn nats(further: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, &with(further), read).expect("valid settings").0
}

#[track_caller]
fn problems(further: &[(&str, &str)]) -> Vec<String> {
    testing::read(SETTINGS, &with(further), read).expect_err("problems")
}

#[test]
fn a_server_and_a_subject_are_enough() {
    let read = nats(&[]);
    let server = Server { secure: false, host: "nats".into(), port: 4222 };
    assert_eq!((read.servers.as_slice(), &read.login), (&[server][..], &Login::None));
    assert_eq!((read.subject.to_string(), read.inbox, read.stream), ("nomad.{JobID}".into(), "_INBOX".into(), None));
    assert_eq!((read.ack_timeout, read.tls_first, read.tls), (Duration::from_secs(10), false, Tls::default()));
}

#[test]
fn everything_else_can_be_said() {
    let read = nats(&[
        ("SINK_NATS_URL", "tls://a:1,nats://[::1],c"),
        ("SINK_NATS_STREAM", "NOMAD"),
        ("SINK_NATS_USERNAME", "me"),
        ("SINK_NATS_PASSWORD", "hush-hush"),
        ("SINK_NATS_INBOX_PREFIX", "_INBOX.me"),
        ("SINK_NATS_ACK_TIMEOUT", "5m"),
        ("SINK_NATS_TLS_FIRST", "true"),
        ("SINK_NATS_CACERT", "/ca"),
        ("SINK_NATS_CLIENT_CERT", "/cert"),
        ("SINK_NATS_CLIENT_KEY", "/key"),
    ]);
    let shown: Vec<String> = read.servers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["tls://a:1", "nats://[::1]:4222", "nats://c:4222"]);
    assert_eq!(read.login, Login::User("me".into(), Secret::new("hush-hush")));
    assert_eq!((read.stream.as_deref(), &*read.inbox, read.tls_first), (Some("NOMAD"), "_INBOX.me", true));
    assert_eq!(read.ack_timeout, Duration::from_secs(300));
    assert!(!format!("{read:?}").contains("hush"));
    let tls = read.tls;
    assert_eq!([tls.ca_cert, tls.client_cert, tls.client_key], ["/ca", "/cert", "/key"].map(|path| Some(path.into())));
}

#[test]
fn a_login_is_found_wherever_it_is() {
    let token = || Secret::new("hush-hush");
    for (further, login) in [
        (("SINK_NATS_URL", "nats://me:hush%2Dhush@a,nats://me:hush-hush@b"), Login::User("me".into(), token())),
        (("SINK_NATS_URL", "nats://hush-hush@a"), Login::Token(token())),
        (("SINK_NATS_TOKEN", "hush-hush"), Login::Token(token())),
        (("SINK_NATS_TOKEN_FILE", "/t"), Login::TokenFile("/t".into())),
        (("SINK_NATS_CREDENTIALS", "/c"), Login::Credentials("/c".into())),
        (("SINK_NATS_NKEY", "/n"), Login::Nkey("/n".into())),
    ] {
        assert_eq!(nats(&[further]).login, login, "{further:?}");
    }
}

#[test]
fn what_is_wrong_is_named_without_a_secret() {
    for (further, parts) in [
        (&[("SINK_NATS_URL", "")][..], &["SINK_NATS_URL", "needs its server"][..]),
        (&[("SINK_NATS_URL", "http://me:hush-hush@a")], &["begin with nats://"]),
        (&[("SINK_NATS_URL", "wss://a")], &["websockets"]),
        (&[("SINK_NATS_URL", "nats://a/path")], &["ends after the port"]),
        (&[("SINK_NATS_URL", "nats://me:hush-hush@")], &["host"]),
        (&[("SINK_NATS_URL", "nats://a:b@c,nats://a:hush-hush@d")], &["several users"]),
        (&[("SINK_NATS_SUBJECT", "")], &["SINK_NATS_SUBJECT", "needs a subject"]),
        (&[("SINK_NATS_SUBJECT", "a.*")], &["SINK_NATS_SUBJECT", "for subscribers"]),
        (&[("SINK_NATS_STREAM", "a.b")], &["SINK_NATS_STREAM", "not the name of a stream"]),
        (&[("SINK_NATS_USERNAME", "me")], &["SINK_NATS_PASSWORD", "set both or neither"]),
        (&[("SINK_NATS_PASSWORD", "hush-hush")], &["SINK_NATS_USERNAME", "set both or neither"]),
        (&[("SINK_NATS_TOKEN", "hush-hush"), ("SINK_NATS_NKEY", "/n")], &["SINK_NATS_TOKEN and SINK_NATS_NKEY"]),
        (&[("SINK_NATS_INBOX_PREFIX", "a.>")], &["SINK_NATS_INBOX_PREFIX", "without * and >"]),
        (&[("SINK_NATS_ACK_TIMEOUT", "6m")], &["SINK_NATS_ACK_TIMEOUT"]),
        (&[("SINK_NATS_TLS_FIRST", "perhaps")], &["SINK_NATS_TLS_FIRST", "true or false"]),
        (&[("SINK_NATS_CLIENT_CERT", "/cert")], &["SINK_NATS_CLIENT_KEY", "set both or neither"]),
    ] {
        let problem = problems(further).join("\n");
        assert!(parts.iter().all(|part| problem.contains(part)), "{further:?}: {problem}");
        assert!(!problem.contains("hush"), "{problem}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let given = [("SINK_NATS_URL", "ftp://a"), ("SINK_NATS_SUBJECT", "a b"), ("SINK_NATS_ACK_TIMEOUT", "0s")];
    assert_eq!(problems(&given).len(), 3);
}
