//! What Prometheus's own tool says about the rules, and about the metrics of the program.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use nomad_sim::Sim;

use crate::{
    common::{Setup, installed, ports::Ports, probe::until_ready},
    prometheus::scrape,
};

fn promtool(arguments: &[&str], input: &str) -> Output {
    let tool = installed("prometheus").join("promtool");
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let mut command = Command::new(tool);
    command.args(arguments).current_dir(directory).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    child.stdin.take().expect("its input is piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("promtool ends")
}

fn assert_content(output: &Output) {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_rules_are_valid_and_fire_when_they_should() {
    assert_content(&promtool(&["check", "rules", "rules.yml"], ""));
    assert_content(&promtool(&["test", "rules", "rules_test.yml"], ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_follow_the_rules_of_prometheus() {
    let sim = Sim::builder().start().await.expect("starts");
    for arguments in [&["run", "--resources", "all"][..], &["evaluations"]] {
        let ports = Ports::reserve();
        let process = Setup::new(arguments, &sim.url(0)).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
        until_ready(ports.base, true, "").await;
        let text = scrape(ports.base).await;
        let output = promtool(&["check", "metrics"], &text);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
        assert_content(&output);
        process.stop().await;
    }
}
