//! The settings of the coordinator that is the default.

use super::*;
use crate::{consul, coordinator::ConsulConfig};

#[track_caller]
fn consul(variables: &[(&str, &str)]) -> ConsulConfig {
    match load(&["nodes"], variables).expect("a valid configuration").0.pipelines.remove(0).coordinator {
        coordinator::Config::Consul(consul) => *consul,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    match load(&["nodes"], variables) {
        Err(Exit::Configuration(problems)) => problems.0.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn defaults_are_those_of_consuls_command_line() {
    let expected = ConsulConfig {
        client: consul::Config {
            address: "http://127.0.0.1:8500".parse().expect("an address"),
            token: TokenSource::None,
            basic_auth: None,
            namespace: None,
            partition: None,
            datacenter: None,
            tls: Tls::default(),
            folder: "nomad-firehose".to_owned(),
        },
        lease: Duration::from_secs(4),
        session_ttl: Duration::from_secs(10),
        node_checks: false,
    };
    assert_eq!(consul(&[]), expected);
    assert_eq!(consul(&[("CONSUL_HTTP_ADDR", ""), ("CONSUL_HTTP_SSL", "")]), expected);
}

#[test]
fn addresses_are_read_as_consuls_command_line_reads_them() {
    for (address, ssl, read) in [
        ("consul:8500", "false", "http://consul:8500"),
        ("consul:8501", "true", "https://consul:8501"),
        ("[::1]:8500", "0", "http://[::1]:8500"),
        ("http://consul:8500/", "false", "http://consul:8500"),
        ("http://proxy/consul/", "false", "http://proxy/consul"),
        ("proxy/a%20b", "true", "https://proxy/a%20b"),
        // TLS that was asked for is never left out.
        ("http://consul:8501", "1", "https://consul:8501"),
        ("https://consul:8501", "false", "https://consul:8501"),
        ("unix:///run/consul.sock", "true", "unix:///run/consul.sock"),
    ] {
        let consul = consul(&[("CONSUL_HTTP_ADDR", address), ("CONSUL_HTTP_SSL", ssl)]);
        assert_eq!(consul.client.address.to_string(), read);
    }
    let with_user = consul(&[("CONSUL_HTTP_ADDR", "us%40er:pass@consul:8500")]);
    assert_eq!(with_user.client.address.to_string(), "http://consul:8500");
    assert_eq!(
        with_user.client.basic_auth,
        Some(BasicAuth { user: "us@er".to_owned(), password: Secret::new("pass") })
    );
    for wrong in
        ["ftp://a", "a:b", "unix://relative", "http://", "consul:8500/ui/dc1", "consul:8500/consul/v1", "a:1,b:2"]
    {
        let problems = problems(&[("CONSUL_HTTP_ADDR", wrong)]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("CONSUL_HTTP_ADDR (--consul-http-addr)"), "{problems:?}");
    }
}

#[test]
fn the_client_gets_what_was_set() {
    let consul = consul(&[
        ("CONSUL_HTTP_ADDR", "https://consul:8501"),
        ("CONSUL_HTTP_TOKEN_FILE", "/token"),
        ("CONSUL_HTTP_AUTH", "me:hush"),
        ("CONSUL_HTTP_SSL_VERIFY", "false"),
        ("CONSUL_CLIENT_CERT", "/cert"),
        ("CONSUL_CLIENT_KEY", "/key"),
        ("CONSUL_NAMESPACE", "team"),
        ("CONSUL_PARTITION", "part"),
        ("CONSUL_DATACENTER", "eu"),
        ("NOMAD_FIREHOSE_CONSUL_PREFIX", "folder"),
    ]);
    let config = consul.client;
    assert!(config.tls.skip_verify);
    assert_eq!(config.tls.client_key.as_deref(), Some("/key".as_ref()));
    assert!(matches!(config.token, TokenSource::File(path) if path == *"/token"));
    assert_eq!(config.basic_auth, Some(BasicAuth { user: "me".to_owned(), password: Secret::new("hush") }));
    let names = [&config.namespace, &config.partition, &config.datacenter].map(|name| name.as_deref());
    assert_eq!(names, [Some("team"), Some("part"), Some("eu")]);
    assert_eq!(config.folder, "folder");
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let warnings = |variables: &[(&str, &str)]| load(&["nodes"], variables).expect("valid").1;
    let both = [("CONSUL_HTTP_TOKEN", "t"), ("CONSUL_HTTP_TOKEN_FILE", "/f")];
    assert_eq!(warnings(&both), [Warning::TokenAndFile { used: "CONSUL_HTTP_TOKEN_FILE" }]);
    assert_eq!(consul(&both).client.token, TokenSource::File("/f".into()));
    let verify = ("CONSUL_HTTP_SSL_VERIFY", "false");
    assert_eq!(warnings(&[verify]), []);
    let skipped = [Warning::SkipVerify { because: "CONSUL_HTTP_SSL_VERIFY is false" }];
    assert_eq!(warnings(&[verify, ("CONSUL_HTTP_SSL", "true")]), skipped);
}

#[test]
fn all_problems_come_at_once_and_name_setting_value_and_mend() {
    let variables = [
        ("CONSUL_HTTP_ADDR", "ftp://consul"),
        ("CONSUL_HTTP_SSL", "perhaps"),
        ("CONSUL_HTTP_SSL_VERIFY", "never"),
        ("CONSUL_CLIENT_KEY", "/key"),
        ("CONSUL_NAMESPACE", "a/b"),
        ("CONSUL_DATACENTER", "a b"),
        ("NOMAD_FIREHOSE_CONSUL_SESSION_TTL", "9s"),
        ("NOMAD_FIREHOSE_CONSUL_NODE_CHECK", "yes"),
        ("CONSUL_HTTP_TOKE", "x"),
    ];
    let problems = problems(&variables);
    for needle in [
        "CONSUL_HTTP_ADDR (--consul-http-addr) is \"ftp://consul\": unknown scheme ftp://",
        "CONSUL_HTTP_SSL (--consul-http-ssl) is \"perhaps\": write true or false",
        "CONSUL_HTTP_SSL_VERIFY (--consul-http-ssl-verify) is \"never\"",
        "CONSUL_CLIENT_CERT (--consul-client-cert): CONSUL_CLIENT_KEY is set and needs its certificate",
        "CONSUL_NAMESPACE (--consul-namespace) is \"a/b\"",
        "CONSUL_DATACENTER (--consul-datacenter) is \"a b\"",
        "NOMAD_FIREHOSE_CONSUL_SESSION_TTL (--consul-session-ttl) is \"9s\": out of bounds; write a duration from 10s to 24h",
        "NOMAD_FIREHOSE_CONSUL_NODE_CHECK (--consul-node-check) is \"yes\"",
        "CONSUL_HTTP_TOKE: no such variable; did you mean CONSUL_HTTP_TOKEN?",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(needle)), "{needle}: {problems:#?}");
    }
    assert_eq!(problems.len(), variables.len(), "{problems:#?}");
}

#[test]
fn a_lease_outlives_no_session() {
    let lease = ("NOMAD_FIREHOSE_LEASE", "30s");
    let problems = problems(&[lease]);
    assert!(
        problems[0].starts_with("NOMAD_FIREHOSE_LEASE (--lease): it is longer than NOMAD_FIREHOSE_CONSUL_SESSION_TTL")
    );
    assert_eq!(consul(&[lease, ("NOMAD_FIREHOSE_CONSUL_SESSION_TTL", "30s")]).session_ttl.as_secs(), 30);
    // Without Consul there is no session to outlive.
    settings(&["nodes"], &[lease]);
}

#[test]
fn a_folder_is_one_whose_keys_consul_takes_as_they_are() {
    let folder = |text: &str| {
        let loaded = load(&["nodes", "--consul-prefix", text], &[]);
        loaded.map(|(mut settings, _)| match settings.pipelines.remove(0).coordinator {
            coordinator::Config::Consul(consul) => consul.client.folder,
            other => panic!("{other:?}"),
        })
    };
    for (text, read) in [("a", "a"), ("a/b/", "a/b"), ("team x/é..", "team x/é..")] {
        assert_eq!(folder(text).expect("a folder"), read);
    }
    for wrong in ["", "/", "/a", "a//", "a//b", "a/../b", "./a", "a\nb"] {
        assert!(matches!(folder(wrong), Err(Exit::Configuration(problems)) if problems.0.len() == 1), "{wrong:?}");
    }
}

#[test]
fn no_message_shows_a_secret_of_consul() {
    const WORD: &str = "hunter2";
    let variables =
        [("CONSUL_HTTP_TOKEN", WORD), ("CONSUL_HTTP_AUTH", "u:hunter2"), ("CONSUL_HTTP_ADDR", "u:hunter2@c")];
    let shown = format!("{:?}", consul(&variables));
    assert!(shown.contains("[redacted]") && !shown.contains(WORD), "{shown}");
    let wrong = [
        ("CONSUL_HTTP_TOKEN", "hunter2 x"),
        ("CONSUL_HTTP_AUTH", "u:hunter2\u{7}"),
        ("CONSUL_HTTP_ADDR", "u:hunter2@c:x"),
    ];
    let problems = problems(&wrong);
    assert!(problems.len() == 3 && problems.iter().all(|problem| !problem.contains(WORD)), "{problems:#?}");
}
