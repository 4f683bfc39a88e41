//! Where Nomad is, and how it is asked: addresses, tokens, namespaces.

use super::*;
use crate::{coordinator::NomadConfig, nomad::Place};

#[test]
fn addresses_are_checked_and_their_users_taken_out() {
    let nomad = |text: &str| settings(&["nodes", "--nomad-addr", text], &[]).shared.nomad;
    assert_eq!(
        shown(&nomad("http://a:1/,https://b/nomad/, unix:///run/n.sock").addresses),
        ["http://a:1", "https://b/nomad", "unix:///run/n.sock"]
    );
    let with_user = nomad("https://us%40er:pass@a:1");
    assert_eq!(shown(&with_user.addresses), ["https://a:1"]);
    assert_eq!(with_user.basic_auth, Some(BasicAuth { user: "us@er".to_owned(), password: Secret::new("pass") }));
    for wrong in
        ["ftp://a", "http://", "http://a?x", "unix://relative", "http://a:99999", "a", ",", "http://u:p@a,http://v:q@b"]
    {
        let problems = problems(&["nodes", "--nomad-addr", wrong], &[]);
        assert!(problems.iter().all(|problem| problem.starts_with("--nomad-addr (NOMAD_ADDR)")), "{problems:?}");
    }
}

#[test]
fn the_token_of_the_place_that_goes_first_is_used() {
    let token = |arguments: &[&str], variables: &[(&str, &str)]| settings(arguments, variables).shared.nomad.token;
    let text = TokenSource::Fixed(Secret::new("t"));
    let behind = |file: &str| TokenSource::Both { token: Secret::new("t"), file: file.into() };
    assert_eq!(token(&["nodes"], &[("NOMAD_TOKEN", "t")]), text);
    assert_eq!(token(&["nodes", "--nomad-token=t"], &[("NOMAD_TOKEN_FILE", "/f")]), behind("/f"));
    assert_eq!(token(&["nodes", "--nomad-token-file=/f"], &[("NOMAD_TOKEN", "t")]), TokenSource::File("/f".into()));
    let both = [("NOMAD_TOKEN_FILE", "/f"), ("NOMAD_TOKEN", "t")];
    assert_eq!(token(&["nodes"], &both), TokenSource::File("/f".into()));
    assert_eq!(
        load(&["nodes", "--coordinator=none"], &both).expect("valid").1,
        [Warning::TokenAndFile { used: "NOMAD_TOKEN_FILE" }]
    );
    let identity = TokenSource::File("/present/nomad_token".into());
    assert_eq!(token(&["nodes"], &[("NOMAD_SECRETS_DIR", "/present")]), identity);
    assert_eq!(token(&["nodes"], &[("NOMAD_SECRETS_DIR", "/absent")]), TokenSource::None);
    for directory in ["/present", "/absent"] {
        let with_identity = [("NOMAD_SECRETS_DIR", directory), ("NOMAD_TOKEN", "t")];
        assert_eq!(token(&["nodes"], &with_identity), behind(&format!("{directory}/nomad_token")));
    }
}

#[test]
fn a_namespace_that_nomad_set_itself_is_warned_of() {
    let warnings = |variables: &[(&str, &str)]| load(&["nodes", "--coordinator=none"], variables).expect("valid").1;
    let injected = [("NOMAD_ALLOC_ID", "x"), ("NOMAD_NAMESPACE", "default")];
    assert_eq!(warnings(&injected), [Warning::InjectedNamespace { namespace: "default".to_owned() }]);
    assert_eq!(warnings(&[("NOMAD_NAMESPACE", "default")]), []);
    assert_eq!(warnings(&[("NOMAD_ALLOC_ID", "x"), ("NOMAD_NAMESPACE", "*")]), []);
}

#[test]
fn namespaces_are_names_or_all() {
    assert_eq!(settings(&["nodes"], &[("NOMAD_NAMESPACE", "a, b,a")]).pipelines.remove(0).namespaces, ["a", "b"]);
    assert!(problems(&["nodes"], &[("NOMAD_NAMESPACE", "a,*")])[0].contains("write * alone"));
    assert!(problems(&["nodes"], &[("NOMAD_NAMESPACE", "a b")])[0].contains("letters, digits and - only"));
}

#[test]
fn leases_in_variables_need_a_path_that_nomad_takes() {
    let with = |prefix: &str| load(&["jobs", "--coordinator=nomad"], &[("NOMAD_FIREHOSE_NOMAD_VAR_PREFIX", prefix)]);
    for (prefix, folder) in [("a/b/", "a/b"), ("nomad/jobs/firehose", "nomad/jobs/firehose"), ("", "nomad-firehose")] {
        let place = Place { namespace: "default".to_owned(), folder: folder.to_owned() };
        let expected = NomadConfig { place, lease: Duration::from_secs(4) };
        let found = with(prefix).expect("valid").0.pipelines.remove(0).coordinator;
        assert_eq!(found, coordinator::Config::Nomad(expected));
    }
    let long = "a".repeat(49);
    for (prefix, said) in [
        ("a.b", "paths of Variables have no '.'"),
        (&*long, "at most 48"),
        ("nomad/x", "nomad/jobs/JOB"),
        ("a//b", "one / between them"),
    ] {
        let Err(Exit::Configuration(problems)) = with(prefix) else { panic!("{prefix} is taken") };
        assert!(problems.to_string().contains(said), "{problems}");
    }
}

#[test]
fn auto_means_nomad_inside_of_a_job_without_consul() {
    let chosen = |arguments: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["jobs", "--coordinator=auto"], arguments].concat();
        match load(&arguments, variables).expect("valid").0.pipelines.remove(0).coordinator {
            coordinator::Config::Nomad(_) => "nomad",
            coordinator::Config::Consul(_) => "consul",
            other => panic!("{other:?}"),
        }
    };
    let inside = ("NOMAD_ALLOC_ID", "5e94ccd8-2a4f-89d9-9253-0ccc79652953");
    assert_eq!(chosen(&[], &[inside]), "nomad");
    assert_eq!(chosen(&[], &[inside, ("NOMAD_FIREHOSE_LEASE", "2s")]), "nomad");
    assert_eq!(chosen(&[], &[]), "consul");
    for of_consul in
        [("CONSUL_HTTP_ADDR", "consul:8500"), ("CONSUL_HTTP_TOKEN", "t"), ("NOMAD_FIREHOSE_CONSUL_PREFIX", "x")]
    {
        assert_eq!(chosen(&[], &[inside, of_consul]), "consul", "{of_consul:?}");
    }
    assert_eq!(chosen(&["--consul-namespace=x"], &[inside]), "consul");
}
