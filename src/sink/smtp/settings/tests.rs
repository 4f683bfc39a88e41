use super::*;
use crate::sink::webhook::testing;

const NEEDED: [(&str, &str); 3] = [
    ("SINK_SMTP_HOST", "smtp.example.com"),
    ("SINK_SMTP_FROM", "nomad@example.com"),
    ("SINK_SMTP_TO", "a@b.c,Ops <d@e.f>"),
];

fn smtp(variables: &[(&str, &str)]) -> Result<Config, String> {
    testing::read(SETTINGS, &[&NEEDED, variables].concat(), read).map_err(|problems| problems.join("\n"))
}

#[test]
fn the_defaults() {
    let config = smtp(&[]).expect("valid");
    assert_eq!((config.port, config.encryption, config.to.len()), (587, Encryption::Starttls, 2));
    assert_eq!((config.timeout, config.user, config.ca_cert), (Duration::from_secs(30), None, None));
    for (how, port) in [("tls", 465), ("none", 25), ("starttls", 587)] {
        assert_eq!(smtp(&[("SINK_SMTP_TLS", how)]).expect("valid").port, port);
        assert_eq!(smtp(&[("SINK_SMTP_TLS", how), ("SINK_SMTP_PORT", "2525")]).expect("valid").port, 2525);
    }
}

#[test]
fn user_and_password_belong_together_and_are_not_sent_in_plain_text() {
    let login = [("SINK_SMTP_USERNAME", "me"), ("SINK_SMTP_PASSWORD", "hush-hush")];
    let config = smtp(&login).expect("valid");
    assert!(config.user.is_some() && !format!("{config:?}").contains("hush"), "{config:?}");
    assert!(smtp(&login[..1]).expect_err("no password").contains("SINK_SMTP_PASSWORD"));
    assert!(smtp(&login[1..]).expect_err("no user").contains("SINK_SMTP_USERNAME"));
    let file = ("SINK_SMTP_PASSWORD_FILE", "/password");
    let user = smtp(&[login[0], file]).expect("valid").user.expect("a login");
    assert_eq!((&*user.name, user.password), ("me", SecretSource::File("/password".into())));
    assert!(smtp(&[file]).expect_err("no user").contains("SINK_SMTP_PASSWORD_FILE is set and needs its user"));
    let plain = [login[0], login[1], ("SINK_SMTP_TLS", "none")];
    assert!(smtp(&plain).expect_err("in plain text").contains("choose starttls or tls"));
    let here = [&NEEDED[1..], &[("SINK_SMTP_HOST", "127.0.0.1")], &plain].concat();
    assert!(testing::read(SETTINGS, &here, read).is_ok());
}

#[test]
fn every_problem_is_noted() {
    let problems =
        testing::read(SETTINGS, &[("SINK_SMTP_TLS", "yes"), ("SINK_SMTP_PORT", "0")], read).expect_err("problems");
    for name in ["SINK_SMTP_HOST", "SINK_SMTP_FROM", "SINK_SMTP_TO", "SINK_SMTP_TLS", "SINK_SMTP_PORT"] {
        assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:?}");
    }
    for (name, value) in [
        ("SINK_SMTP_SUBJECT", "{titel}"),
        ("SINK_SMTP_TIMEOUT", "1ms"),
        ("SINK_SMTP_TO", "nobody"),
        ("SINK_SMTP_FROM", "a b"),
        ("SINK_SMTP_HOST", "smtp://a"),
        ("SINK_SMTP_HOST", "a:25"),
    ] {
        let variables: Vec<_> = NEEDED.into_iter().filter(|(given, _)| *given != name).chain([(name, value)]).collect();
        let problems = testing::read(SETTINGS, &variables, read).expect_err(value);
        assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:?}");
    }
}
