//! The sink `smtp` with the whole program and a real SMTP server: encryption, logins, and what a refusal says.
#![cfg(feature = "smtp")]

mod common;

use common::{
    Setup,
    made::*,
    smtp::{Options, Smtp},
    tls::Authority,
};
use nomad_sim::Sim;

const LOGIN: &str = "me:hush-hush-password";

async fn cluster() -> Sim {
    let sim = Sim::builder().start().await.expect("starts");
    sim.append_lines((20..23).map(|index| evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
    sim
}

fn setup(sim: &Sim, server: &Smtp, tls: &str) -> Setup {
    Setup::new(&["evaluations"], &sim.url(0))
        .env("NOMAD_FIREHOSE_NOTIFY_WINDOW", "0s")
        .env("SINK_TYPE", "smtp")
        .env("SINK_SMTP_HOST", "localhost")
        .env("SINK_SMTP_PORT", server.port().to_string())
        .env("SINK_SMTP_TLS", tls)
        .env("SINK_SMTP_FROM", "Nomad <nomad@example.com>")
        .env("SINK_SMTP_TO", "ops@example.com,Öps <oncall@example.com>")
        .env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "1s")
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_arrive_over_every_encryption() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("writable");
    for (tls, is_implicit) in [("starttls", false), ("tls", true), ("none", false)] {
        let is_encrypted = tls != "none";
        let options = Options {
            authority: is_encrypted.then_some(&authority),
            is_implicit,
            login: if is_encrypted { LOGIN } else { "" },
        };
        let (server, sim) = (Smtp::start(options).await, cluster().await);
        let (user, password) = LOGIN.split_once(':').expect("a login");
        let mut setup =
            setup(&sim, &server, tls).env("SINK_SMTP_CACERT", &ca).env("SINK_SMTP_SUBJECT", "{severity}: {title} – ü");
        if is_encrypted {
            setup = setup.env("SINK_SMTP_USERNAME", user).env("SINK_SMTP_PASSWORD", password);
        }
        let process = setup.spawn();
        process.until("every mail arrives", || server.taken().len() >= 3).await;
        let log = process.end_by(common::Signal::TERM).await.log;
        assert!(!log.contains("hush"), "{log}");
        let taken = server.taken();
        assert_eq!(taken.len(), 3, "{tls}");
        for mail in &taken {
            assert_eq!(mail["from"], "nomad@example.com");
            assert_eq!(mail["to"], serde_json::json!(["ops@example.com", "oncall@example.com"]));
            assert_eq!(mail["subject"], "info: Evaluation of job job is complete – ü");
            assert!(mail["text"].as_str().is_some_and(|text| text.contains("\nEvaluation: ")), "{mail}");
            assert!(mail["html"].as_str().is_some_and(|text| text.contains("<b>Evaluation</b>")), "{mail}");
            assert!(mail["id"].as_str().is_some_and(|id| id.ends_with("@example.com>")), "{mail}");
            let user = is_encrypted.then_some("me");
            assert_eq!((mail["tls"].as_bool(), mail["user"].as_str()), (Some(is_encrypted), user), "{mail}");
        }
        assert_ne!(taken[0]["id"], taken[1]["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_setting_and_no_secret() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("writable");
    let server = Smtp::start(Options { authority: Some(&authority), login: LOGIN, ..Options::default() }).await;
    let plain = Smtp::start(Options::default()).await;
    let sim = cluster().await;
    let trusting = |setup: Setup| setup.env("SINK_SMTP_CACERT", &ca);
    let login =
        |setup: Setup, password: &str| setup.env("SINK_SMTP_USERNAME", "me").env("SINK_SMTP_PASSWORD", password);
    let starttls = || setup(&sim, &server, "starttls");
    for (setup, part) in [
        (login(trusting(starttls()), "hush-hush-wrong"), "set SINK_SMTP_USERNAME and SINK_SMTP_PASSWORD"),
        (trusting(starttls()), "set SINK_SMTP_USERNAME and SINK_SMTP_PASSWORD"),
        (login(starttls(), "hush-hush-password"), "set SINK_SMTP_CACERT"),
        (setup(&sim, &plain, "starttls"), "see SINK_SMTP_TLS"),
        (setup(&sim, &plain, "tls"), "TLS"),
        (setup(&sim, &plain, "none").env("SINK_SMTP_TO", "nobody@example.com"), "set SINK_SMTP_TO"),
        (setup(&sim, &plain, "none").env("SINK_SMTP_PORT", "1"), "see SINK_SMTP_HOST, SINK_SMTP_PORT"),
    ] {
        let process = setup.spawn();
        process.until_logged("delivery failed").await;
        process.until_logged(part).await;
        let log = process.end_by(common::Signal::TERM).await.log;
        assert!(!log.contains("hush"), "{log}");
    }
    assert!(server.taken().is_empty() && plain.taken().is_empty());
}

/// As with every other sink: the file of an authority changes, and nobody restarts the program.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_renewed_is_trusted_with_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().expect("a directory");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, old.pem()).expect("writable");
    let server = Smtp::start(Options { authority: Some(&new), ..Options::default() }).await;
    let sim = cluster().await;
    let setup = setup(&sim, &server, "starttls").env("SINK_SMTP_CACERT", &ca).env("NOMAD_FIREHOSE_RETRY_MAX", "200ms");
    let process = setup.spawn();
    process.until_logged("delivery failed").await;
    std::fs::write(&ca, "half of it").expect("writable");
    process.until_logged("cannot load certificate").await;
    std::fs::write(&ca, new.pem()).expect("writable");
    process.until("every mail arrives", || server.taken().len() >= 3).await;
    process.end_by(common::Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_file_is_read_again_and_checked() {
    let authority = Authority::new();
    let directory = tempfile::tempdir().expect("a directory");
    let (ca, file) = (directory.path().join("ca.pem"), directory.path().join("password"));
    std::fs::write(&ca, authority.pem()).expect("writable");
    std::fs::write(&file, "hush-hush-old\n").expect("writable");
    let server = Smtp::start(Options { authority: Some(&authority), login: LOGIN, ..Options::default() }).await;
    let (sim, (user, password)) = (cluster().await, LOGIN.split_once(':').expect("a login"));
    let with = |setup: Setup| {
        let setup = setup.env("SINK_SMTP_CACERT", &ca).env("SINK_SMTP_USERNAME", user);
        setup.env("SINK_SMTP_PASSWORD_FILE", &file)
    };
    let process = with(setup(&sim, &server, "starttls")).env("NOMAD_FIREHOSE_RETRY_MAX", "200ms").spawn();
    process.until_logged("set SINK_SMTP_USERNAME and SINK_SMTP_PASSWORD").await;
    std::fs::write(&file, format!("{password}\n")).expect("writable");
    process.until("every mail arrives", || server.taken().len() >= 3).await;
    std::fs::remove_file(&file).expect("it is there");
    sim.append_lines([evaluation(30, 30)]).await.expect("lines");
    process.until_logged("SINK_SMTP_PASSWORD_FILE: ").await;
    let log = process.end_by(common::Signal::TERM).await.log;
    assert!(!log.contains("hush"), "{log}");
}
