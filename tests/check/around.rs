//! What is around a run: the listen address, dead letters, and what a person sees.

use std::{net::TcpListener, process::Stdio};

use nomad_sim::Sim;

use crate::{
    NOWHERE, check,
    common::{Setup, ports::Ports, probe},
};

async fn cluster() -> Sim {
    Sim::builder().start().await.expect("the simulator starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listen_address_is_free_or_held_by_a_run() {
    let (sim, ports) = (cluster().await, Ports::reserve());
    let with = |setup: Setup| setup.env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let said = check(with(Setup::new(&["check", "jobs"], NOWHERE))).await;
    assert!(said.about("listen address")["text"].as_str().expect("text").ends_with("is free"), "{}", said.text);
    let run = with(Setup::new(&["jobs"], &sim.url(0))).spawn();
    probe::until_ready(ports.base, true, "leader").await;
    let said = check(with(Setup::new(&["check", "jobs"], &sim.url(0)))).await;
    said.is_well();
    assert!(
        said.about("listen address")["text"].as_str().expect("text").contains("a running nomad-firehose"),
        "{}",
        said.text
    );
    run.stop().await;
    let _other = TcpListener::bind(ports.address()).expect("it is free");
    let said = check(with(Setup::new(&["check", "jobs"], NOWHERE))).await;
    said.fails("listen address", "another program holds", "NOMAD_FIREHOSE_LISTEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_file_that_cannot_be_written_is_named() {
    let setup = Setup::new(&["check", "jobs"], NOWHERE).env("NOMAD_FIREHOSE_DEAD_LETTER", "file:/proc/letters");
    let said = check(setup).await;
    assert_eq!((said.code, said.failed()), (Some(2), vec!["dead letters"]), "{}", said.text);
    assert!(said.about("dead letters")["fix"].as_str().expect("a fix").contains("NOMAD_FIREHOSE_DEAD_LETTER"));
}

/// Without a terminal there are no colours, and each fix stands beneath its line.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_gets_a_table() {
    let sim = cluster().await;
    let setup = Setup::new(&["check", "jobs"], &sim.url(0));
    let (code, text, _) = tokio::task::spawn_blocking(move || setup.output()).await.expect("no panic");
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let lines: Vec<_> = text.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("warning  coordinator")).expect("a warning");
    assert!(lines[at + 1].trim_start().starts_with("-> set NOMAD_FIREHOSE_COORDINATOR"), "{text}");
    assert!(lines.last().expect("a line").starts_with("A run would work: "), "{text}");
    // Who stops reading has seen enough.
    let mut command = Setup::new(&["check", "jobs"], NOWHERE).command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_cannot_be_written_is_a_failure() {
    let sim = cluster().await;
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device of Linux");
    let ended = Setup::new(&["check", "jobs"], &sim.url(0)).spawn_into(full).end().await;
    let message = "nomad-firehose: cannot write to standard output: No space left on device (os error 28)";
    assert_eq!((ended.status.code(), ended.log.as_str()), (Some(1), message));
}
