//! The status listener of the real program: what it tells, and what cannot disturb it.

mod common;

use common::{
    Setup, made,
    ports::Ports,
    probe::{get, readiness, viewed},
};
use nomad_sim::Sim;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

async fn status(port: u16) -> Value {
    let text = get(&format!("http://{}/status", address(port))).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_says_who_leads() {
    let sim = Sim::builder().start().await.expect("starts");
    let (directory, ports) = (tempfile::tempdir().expect("a directory"), Ports::reserve());
    let setup = Setup::new(&["nodes"], &sim.url(0)).data_dir(directory.path());
    let leader = setup.clone().env("NOMAD_FIREHOSE_LISTEN", address(ports.base)).spawn();
    leader.until_logged("became leader").await;
    let standby = setup.env("NOMAD_FIREHOSE_LISTEN", address(ports.base + 1)).spawn();
    standby.until_logged("standing by").await;
    let named = format!("process {}", leader.id());
    let one = status(ports.base).await;
    assert!(one["holder"].as_str().is_some_and(|holder| holder.starts_with(&named)), "{one}");
    assert_eq!(one["pipelines"][0]["resources"][0]["is_leader"], true);
    assert_eq!(one["leases"][0]["event"], "became leader");
    let two = status(ports.base + 1).await;
    let resource = &two["pipelines"][0]["resources"][0];
    assert_eq!((&resource["is_leader"], &resource["state"]), (&false.into(), &"standby".into()));
    assert_eq!(resource["holder"], named);
    let said = two["verdict"]["text"].as_str().expect("a sentence");
    assert_eq!(said, format!("All is well: this replica stands by. {named} leads nodes."));
    leader.stop().await;
    standby.stop().await;
}

/// Each of 100,000 events has a job of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_the_cluster_is_no_label() {
    const LINES: u64 = 1_000;
    const EVENTS: u64 = 100;
    let sim = Sim::builder().keep_truth(false).buffer(1_000).start().await.expect("starts");
    let ports = Ports::reserve();
    let setup = Setup::new(&["run", "--resources", "evaluations,events"], &sim.url(0));
    let process = setup.env("NOMAD_FIREHOSE_LISTEN", address(ports.base)).spawn_into(std::process::Stdio::null());
    process.until_logged("became leader").await;
    let url = format!("http://{}/metrics", address(ports.base));
    let series = |text: &str| {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<Vec<_>>()
    };
    let before = series(&get(&url).await);
    let lines = (0..LINES).map(|line| {
        let event = |n: u64| {
            let (id, job) = (made::id(n), format!("label-{n}"));
            json!({"Topic": "Evaluation", "Type": "EvaluationUpdated", "Key": id, "Namespace": "default", "FilterKeys": null,
                   "Index": 20 + line, "Payload": {"Evaluation": {"ID": id, "Namespace": "default", "JobID": job,
                   "Status": "complete", "CreateIndex": 20 + line, "ModifyIndex": 20 + line}}})
        };
        let events: Vec<_> = (line * EVENTS..(line + 1) * EVENTS).map(event).collect();
        json!({"Index": 20 + line, "Events": events}).to_string()
    });
    sim.append_lines(lines.collect::<Vec<_>>()).await.expect("lines");
    let all = (LINES * EVENTS) as f64;
    let delivered = "nomad_firehose_records_delivered_total{kind=\"events\"}";
    common::probe::until_value(ports.base, delivered, |count| count >= all).await;
    let after = get(&url).await;
    assert_eq!(series(&after), before);
    assert!(!after.contains("label-"), "{after}");
    // The page has a place for some of them, and says how many went by.
    let seen = viewed(ports.base).await;
    assert!(seen.contains("label-"), "{seen}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_nothing_keep_nobody_out() {
    let sim = Sim::builder().start().await.expect("starts");
    let ports = Ports::reserve();
    let setup = Setup::new(&["nodes"], &sim.url(0)).env("NOMAD_FIREHOSE_LISTEN", address(ports.base));
    let process = setup.spawn();
    process.until_logged("became leader").await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(address(ports.base)).await.expect("it listens"));
    }
    for _ in 0..20 {
        assert!(readiness(ports.base).await.is_some());
    }
    // The oldest were closed to make room.
    let mut rest = Vec::new();
    idle[0].read_to_end(&mut rest).await.ok();
    let path = format!("/proc/{}/fd", process.id());
    let open = std::fs::read_dir(path).expect("it runs").count();
    assert!(open < 120, "{open} descriptors are open");
    process.stop().await;
}
