//! `try`: the real binary on lines and on a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{path::PathBuf, process::Stdio};

use nomad_sim::Sim;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn outcomes(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["outcome"].as_str().unwrap().to_owned()).collect()
    }
}

/// What `try` says to `input`. Nothing listens where it looks for Nomad, unless `arguments` say more.
async fn attempt(arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nomad-firehose"));
    command.env_clear().env("NOMAD_ADDR", "http://127.0.0.1:9").arg("try").args(arguments).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = tokio::spawn(async move {
        // A program that reads none of it has closed its end.
        stdin.write_all(input.as_bytes()).await.ok();
    });
    let output = child.wait_with_output().await.unwrap();
    writing.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn recording() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nomad-2.0.5/stream-complete.ndjson");
    std::fs::read_to_string(path).unwrap()
}

fn job(version: u64, index: u64, image: &str) -> Value {
    json!({
        "ID": "web", "Name": "web", "Namespace": "default", "Type": "service", "Version": version, "CreateIndex": 10,
        "ModifyIndex": index, "JobModifyIndex": index, "Datacenters": ["dc1"],
        "TaskGroups": [{"Name": "g", "Count": 1, "Tasks": [{"Name": "t", "Driver": "docker", "Config": {"image": image}}]}],
    })
}

fn registered(index: u64, job: &Value) -> String {
    json!({"Index": index, "Events": [{
        "Topic": "Job", "Type": "JobRegistered", "Key": job["ID"], "Namespace": "default", "FilterKeys": null,
        "Index": index, "Payload": {"Job": job},
    }]})
    .to_string()
}

#[tokio::test]
async fn a_recorded_stream_is_filtered_as_in_a_run() {
    let all = attempt(&["--output=json", "--resources=allocations"], &recording()).await;
    let is_wanted = |line: &&Value| line["in"]["TaskEvent"]["Type"] == "Terminated";
    let wanted: Vec<Value> = all.lines().iter().filter(is_wanted).map(|line| line["in"]["Name"].clone()).collect();
    assert!(wanted.len() > 3 && all.lines().len() > 2 * wanted.len(), "{} of {}", wanted.len(), all.lines().len());
    let program = r#"select(.TaskEvent.Type == "Terminated") | .Name, $meta.kind"#;
    let said = attempt(&["--output=json", "--resources=allocations", "--jq", program], &recording()).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let lines = said.lines();
    let outputs: Vec<_> = lines.iter().filter(|line| line["outcome"] == "output").collect();
    assert_eq!(outputs.iter().map(|line| line["out"][0]["body"].clone()).collect::<Vec<_>>(), wanted);
    for line in outputs {
        let id = line["id"].as_str().unwrap();
        assert_eq!(
            (&line["out"][0]["id"], &line["out"][1]["id"]),
            (&json!(format!("{id}/0")), &json!(format!("{id}/1")))
        );
        assert_eq!((&line["out"][1]["body"], &line["variables"]["meta"]["id"]), (&json!("allocations"), &json!(id)));
    }
    assert_eq!(lines.len(), all.lines().len(), "each record is told of");
}

#[tokio::test]
async fn records_are_read_in_every_form_in_which_they_are_written() {
    let body = job(2, 30, "web:1");
    let letter = json!({"time": "", "kind": "jobs", "id": "jobs/default/web/30/0", "key": "web", "namespace": "default",
                        "job": "web", "sink": "http", "reason": "400", "attempts": 1, "body": body.to_string()});
    let envelope = json!({"kind": "jobs", "id": "jobs/default/web/30/0", "record": body});
    let input = [body.to_string(), letter.to_string(), envelope.to_string(), registered(30, &body)].join("\n");
    let said =
        attempt(&["--output=json", "--jq", "{id: .ID, job: $meta.job, kind: $meta.kind}"], &format!("\n{input}")).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines = said.lines();
    let jobs: Vec<_> = lines.iter().filter(|line| line["kind"] == "jobs").collect();
    assert_eq!(jobs.len(), 4, "{}", said.out);
    for line in jobs {
        let wanted = json!({"id": "web", "job": "web", "kind": "jobs"});
        assert_eq!((&line["in"], &line["out"][0]["body"]), (&body, &wanted), "{line}");
    }
}

#[tokio::test]
async fn a_line_that_is_no_record_is_named_and_the_others_are_tried() {
    let said = attempt(&["--output=json", "--resources=jobs"], "nonsense\n{\"ID\":\"x\"}\n").await;
    assert_eq!((said.code, said.outcomes()), (Some(1), vec!["unreadable".to_owned(), "unchanged".to_owned()]));
    assert_eq!(said.lines()[0]["line"], 1);
    let said = attempt(&[], "{\"a\":1}\n").await;
    assert!(said.code == Some(1) && said.out.contains("--resources"), "{}", said.out);
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_its_record() {
    let program = r#"if .ID == "a" then . else .ID + 1 end"#;
    let said = attempt(&["--resources=jobs", "--jq", program], "{\"ID\":\"a\"}\n{\"ID\":\"b\"}\n").await;
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("#1        unchanged"), "{}", said.out);
    assert!(said.out.contains("#2        error") && said.out.contains("\n  in      ID  \"b\"\n"), "{}", said.out);
    assert!(said.out.ends_with("2 records in, 0 filtered, 1 record out, 1 error\n"), "{}", said.out);
    assert!(!said.out.contains('\u{1b}'), "no colours without a terminal");
}

/// The first record can end the worker. The worker had said that it is ready, and nobody had heard it.
#[tokio::test]
async fn a_worker_that_the_first_record_ends_is_none_that_cannot_start() {
    for (program, reason) in [("def f: f; f", "longer than"), ("def f: 1 + f; f", "overflowed")] {
        let said = attempt(&["--resources=jobs", "--jq", program, "--output=json"], "{\"ID\":\"a\"}\n").await;
        assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{program}");
        assert!(said.lines()[0]["reason"].as_str().unwrap().contains(reason), "{}", said.out);
    }
}

#[tokio::test]
async fn a_redacted_record_is_shown_as_a_difference() {
    let record = json!({"ID": "a", "Name": "a", "Meta": {"token": "hush", "owner": "me\u{1b}[2J"}}).to_string();
    let said = attempt(&["--resources=jobs", "--redact", ".Meta.token"], &record).await;
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("  diff    ~ .Meta.token  \"hush\" → \"[redacted]\"\n"), "{}", said.out);
    assert!(said.out.contains("2 fields unchanged") && !said.out.contains("owner"), "{}", said.out);
    let said = attempt(&["--resources=jobs", "--redact", ".Meta.token", "--full"], &record).await;
    assert!(said.out.contains("\\u001b[2J") && !said.out.contains('\u{1b}'), "{}", said.out);
}

#[tokio::test]
async fn a_message_is_shown_as_its_sink_gets_it() {
    let record = json!({"ID": "a"}).to_string();
    let arguments = [
        "--resources=jobs",
        "--sink-type=slack",
        "--jq",
        r#"{text: "job \(.ID)", title: "Changed", severity: "warning"}"#,
    ];
    let said = attempt(&arguments, &record).await;
    assert!(said.out.contains("  slack   Changed (warning)\n          job a\n"), "{}", said.out);
}

#[tokio::test]
async fn the_newest_records_of_a_cluster_are_tried_and_nothing_is_written() {
    let sim = Sim::builder().start().await.unwrap();
    for (version, image) in ["web:1", "web:2", "web:3"].into_iter().enumerate() {
        let (version, index) = (version as u64, 10 + version as u64 * 10);
        sim.append_line(registered(index, &job(version, index, image))).await.unwrap();
    }
    let url = sim.url(0);
    let program = r#"select($diff) | $diff.TaskGroups[0].Tasks[0].Objects[0].Fields[0].New"#;
    let arguments = ["--nomad-addr", &url, "--resources=jobs", "--jq", program, "--output=json", "--last=2"];
    let said = attempt(&arguments, "").await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let lines = said.lines();
    assert_eq!(lines.iter().map(|line| &line["out"][0]["body"]).collect::<Vec<_>>(), ["web:2", "web:3"]);
    assert!(sim.requests().iter().all(|request| request.method == "GET"));
    // With an empty buffer, lists say what there is.
    sim.server(0).restart();
    let said = attempt(&arguments, "").await;
    assert_eq!((said.code, said.lines().len()), (Some(0), 1), "{}", said.out);
    assert_eq!(said.lines()[0]["out"][0]["body"], "web:3");
    sim.stop().await;
}

#[tokio::test]
async fn an_outage_is_told_and_not_waited_out() {
    let record = json!({"NodeID": "5f1c", "AllocationID": "a"}).to_string();
    let said = attempt(&["--resources=allocations", "--jq", "$node", "--output=json"], &record).await;
    assert_eq!((said.code, &said.lines()[0]["out"][0]["body"]), (Some(0), &Value::Null));
    assert!(said.err.contains("lookup failed and variable is null") && said.err.contains("NOMAD_ADDR"), "{}", said.err);
    let said = attempt(&["--resources=jobs", "--last=2"], "").await;
    assert!(said.code == Some(1) && said.err.contains("cannot connect to Nomad"), "{}", said.err);
}
