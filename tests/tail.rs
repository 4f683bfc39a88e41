//! `tail`: the real binary on a simulated cluster, as a person would watch it.

mod common;

use std::process::Stdio;

use common::{PATIENCE, Process, Setup, Signal, made, until};
use nomad_sim::Sim;
use serde_json::{Value, json};

const TEAM: &str = "team-a";

async fn cluster() -> Sim {
    Sim::builder().buffer(1000).namespace(TEAM, 1).start().await.expect("the simulator starts")
}

/// `tail` with these arguments, which follows the stream of `sim`.
async fn follow(sim: &Sim, arguments: &[&str]) -> Process {
    let before = sim.server(0).open_streams();
    let setup = Setup::bare(&[&["tail"], arguments].concat()).env("NOMAD_ADDR", sim.url(0)).env("TZ", "UTC");
    let process = setup.spawn();
    until("tail follows the stream", || sim.server(0).open_streams() > before).await;
    process
}

fn event(topic: &str, kind: &str, index: u64, namespace: &str, object: &Value) -> String {
    let key = object["ID"].as_str().expect("an ID");
    json!({"Index": index, "Events": [{"Topic": topic, "Type": kind, "Key": key, "Namespace": namespace, "FilterKeys": null,
           "Index": index, "Payload": {topic: object}}]})
    .to_string()
}

fn job(index: u64, version: u64, count: u64, image: &str) -> String {
    let object = json!({
        "ID": "web", "Name": "web", "Namespace": "default", "Type": "service", "Version": version, "CreateIndex": 10,
        "Status": "running", "ModifyIndex": index, "JobModifyIndex": index, "Datacenters": ["dc1"],
        "TaskGroups": [{"Name": "api", "Count": count, "Tasks":
            [{"Name": "nginx", "Driver": "docker", "Config": {"image": image}, "Env": {"TOKEN": format!("hush-{version}")}}]}],
    });
    event("Job", "JobRegistered", index, "default", &object)
}

fn allocation(index: u64, namespace: &str, job: &str, node: &str) -> String {
    let ended = json!({"Type": "Terminated", "Time": 1_795_243_467_162_734_850_u64, "ExitCode": 137,
        "Details": {"exit_code": "137", "oom_killed": "true", "signal": "9"}, "Signal": 9});
    let object = json!({
        "ID": made::id(index), "Namespace": namespace, "Name": format!("{job}.api[0]"), "JobID": job, "TaskGroup": "api",
        "ClientStatus": "failed", "NodeName": node, "NodeID": "b63b6b08-34a6-3963-0f11-318e403ae9d0",
        "TaskStates": {"nginx": {"State": "dead", "Failed": true, "Events": [ended]}},
        "CreateIndex": index, "ModifyIndex": index, "AllocModifyIndex": index,
    });
    event("Allocation", "AllocationUpdated", index, namespace, &object)
}

fn node(index: u64, name: &str, members: &Value) -> String {
    let mut object = json!({"ID": made::id(1), "Name": name, "Status": "ready", "SchedulingEligibility": "eligible",
        "CreateIndex": 1, "ModifyIndex": index});
    object.as_object_mut().expect("an object").extend(members.as_object().expect("an object").clone());
    event("Node", "NodeDrain", index, "", &object)
}

fn blocked(index: u64) -> String {
    let object = json!({"ID": made::id(2), "Namespace": "default", "JobID": "web", "Status": "blocked", "TriggeredBy": "queued-allocs",
        "FailedTGAllocs": {"api": {"NodesEvaluated": 1, "DimensionExhausted": {"memory": 1}}}, "CreateIndex": index, "ModifyIndex": index});
    event("Evaluation", "EvaluationUpdated", index, "default", &object)
}

fn deployment(index: u64) -> String {
    let object = json!({"ID": made::id(3), "Namespace": "default", "JobID": "web", "JobVersion": 1, "Status": "failed",
        "StatusDescription": "Failed due to progress deadline", "CreateIndex": index, "ModifyIndex": index,
        "TaskGroups": {"api": {"DesiredTotal": 3, "HealthyAllocs": 1, "UnhealthyAllocs": 2}}});
    event("Deployment", "DeploymentStatusUpdate", index, "default", &object)
}

/// The line without its time.
fn said(line: &str) -> &str {
    let (_, rest) = line.rsplit_once(' ').map_or((line, line), |_| line.split_once(' ').expect("a time"));
    // A day stands before the time of another day.
    if rest.as_bytes().get(2) == Some(&b':') { rest.split_once(' ').expect("a time").1 } else { rest }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_has_its_line() {
    let sim = cluster().await;
    let tail = follow(&sim, &[]).await;
    let drain = json!({"Drain": true, "DrainStrategy": {"Deadline": 1}, "SchedulingEligibility": "ineligible"});
    let lines = [
        node(20, "node-7", &drain),
        job(21, 0, 2, "nginx:1.25"),
        job(22, 1, 3, "nginx:1.27"),
        allocation(23, "default", "web", "node-7"),
        allocation(24, TEAM, "web", "node-7"),
        blocked(25),
        deployment(26),
    ];
    sim.append_lines(lines).await.expect("lines of a stream");
    tail.until_printed(7).await;
    let ended = tail.end_by(Signal::INT).await;
    let lines: Vec<_> = ended.printed.iter().map(|line| said(line)).collect();
    let alloc = |index: u64| made::id(index)[..8].to_owned();
    assert_eq!(
        lines,
        [
            "node node-7  ready  draining  not eligible for new allocations",
            "job web  new  running",
            "job web  version 1  count 2 → 3, image nginx:1.25 → 1.27, env.TOKEN changed",
            &format!("web/api {} nginx  Terminated  exit 137  signal 9  OOM killed  on node-7", alloc(23)),
            &format!("web/api {} nginx  Terminated  exit 137  signal 9  OOM killed  on node-7  in team-a", alloc(24)),
            "web evaluation 00000002  blocked  by queued-allocs  api not placed: 1 node without enough memory",
            "web deployment 00000003  failed  version 1  Failed due to progress deadline  api 1 of 3 healthy, 2 unhealthy",
        ]
    );
    assert_eq!((ended.status.code(), ended.log.as_str()), (Some(0), ""), "it ends quietly");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_nodes_and_namespaces_are_chosen() {
    let sim = cluster().await;
    let job_web = follow(&sim, &["--job", "web"]).await;
    let node_7 = follow(&sim, &["--node", "node-7"]).await;
    let of_team = follow(&sim, &["--namespace", TEAM, "--resources", "allocations"]).await;
    sim.append_lines([
        allocation(30, "default", "db", "node-8"),
        allocation(31, "default", "web", "node-8"),
        allocation(32, TEAM, "web/dispatch-1", "node-7"),
        node(33, "node-8", &json!({})),
        node(34, "node-7", &json!({})),
        job(35, 0, 1, "x"),
        allocation(36, TEAM, "last", "node-9"),
    ])
    .await
    .expect("lines of a stream");
    job_web.until_printed(3).await;
    node_7.until_printed(2).await;
    of_team.until_printed(2).await;
    let first_words = |process: Process| async {
        let ended = process.end_by(Signal::TERM).await;
        ended
            .printed
            .iter()
            .map(|line| said(line).split("  ").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let alloc = |index: u64| made::id(index)[..8].to_owned();
    let (a, b, c) = (alloc(31), alloc(32), alloc(36));
    assert_eq!(
        first_words(job_web).await,
        [format!("web/api {a} nginx"), format!("web/dispatch-1/api {b} nginx"), "job web".to_owned()]
    );
    assert_eq!(first_words(node_7).await, [format!("web/dispatch-1/api {b} nginx"), "node node-7".to_owned()]);
    assert_eq!(first_words(of_team).await, [format!("web/dispatch-1/api {b} nginx"), format!("last/api {c} nginx")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_json_from_an_index_on() {
    let sim = Sim::builder().buffer(4).start().await.expect("the simulator starts");
    sim.append_lines((20..30).map(|index| allocation(index, "default", "web", "node-7"))).await.expect("lines");
    let arguments = ["--since", "22", "--json", "--resources", "allocations"];
    let tail = Setup::bare(&[&["tail"], &arguments[..]].concat()).env("NOMAD_ADDR", sim.url(0)).spawn();
    tail.until_printed(8).await;
    let ended = tail.end_by(Signal::INT).await;
    let lines: Vec<Value> = ended.printed.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut indexes: Vec<_> = lines.iter().map(|line| line["index"].as_u64().expect("an index")).collect();
    indexes.sort_unstable();
    assert_eq!(indexes, (22..30).collect::<Vec<_>>());
    let line = &lines[0];
    assert_eq!(
        (&line["kind"], &line["job"], &line["node"], &line["namespace"], &line["tone"], &line["time"]),
        (
            &json!("allocations"),
            &json!("web"),
            &json!("node-7"),
            &json!("default"),
            &json!("bad"),
            &json!("2026-11-21T06:44:27.162Z")
        )
    );
    assert_eq!(ended.log.lines().count(), 1, "{}", ended.log);
    let (first, _) = sim.server(0).buffer_bounds();
    assert!(ended.log.contains(&format!("Nomad's event buffer begins at index {first};")), "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_ends_it_quietly() {
    let sim = cluster().await;
    let setup = Setup::bare(&["tail"]).env("NOMAD_ADDR", sim.url(0));
    let mut head = std::process::Command::new("head")
        .args(["-n", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("head starts");
    let tail = setup.spawn_into(head.stdin.take().expect("a pipe"));
    until("tail follows the stream", || sim.server(0).open_streams() > 0).await;
    sim.append_line(made::evaluation(20, 1)).await.expect("a line");
    let output = head.wait_with_output().expect("head ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
    sim.append_line(made::evaluation(21, 2)).await.expect("a line");
    let ended = tokio::time::timeout(PATIENCE, tail.end()).await.expect("in time");
    assert_eq!((ended.status.code(), ended.log.as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_it_with_one_message() {
    let sim = cluster().await;
    sim.append_lines([made::evaluation(20, 1), made::evaluation(21, 2)]).await.expect("lines of a stream");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device of Linux");
    let setup = Setup::bare(&["tail", "--since", "1"]).env("NOMAD_ADDR", sim.url(0));
    let ended = setup.spawn_into(full).end().await;
    let message = "nomad-firehose: cannot write to standard output: No space left on device (os error 28)";
    let lines: Vec<_> = ended.log.lines().filter(|line| !line.contains("event buffer begins")).collect();
    assert_eq!((ended.status.code(), lines), (Some(1), vec![message]));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_terminal() {
    let sim = cluster().await;
    let ended = follow(&sim, &[]).await.end_by(Signal::HUP).await;
    assert_eq!((ended.status.code(), ended.log.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_is_one_bounded_line() {
    let sim = cluster().await;
    let tail = follow(&sim, &[]).await;
    let names = ["\u{1b}]0;owned\u{7}\u{1b}[2J\r\nweb\u{202e}", &"w".repeat(10 << 20), "web"];
    for (n, name) in (20..).zip(names) {
        sim.append_line(allocation(n, "default", name, name)).await.expect("a line");
    }
    tail.until_printed(3).await;
    let ended = tail.end_by(Signal::INT).await;
    assert_eq!(ended.printed.len(), 3);
    for line in &ended.printed {
        assert!(line.len() < 1200, "{} bytes", line.len());
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_or_on_demand() {
    let sim = cluster().await;
    let (plain, coloured) = (follow(&sim, &[]).await, follow(&sim, &["--color=always"]).await);
    sim.append_line(allocation(20, "default", "web", "node-7")).await.expect("a line");
    plain.until_printed(1).await;
    coloured.until_printed(1).await;
    assert!(!plain.printed()[0].contains('\u{1b}'));
    assert!(coloured.printed()[0].contains("\u{1b}[1;31mTerminated"), "{:?}", coloured.printed());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_resumes_after_an_outage_and_says_so() {
    let sim = cluster().await;
    let tail = follow(&sim, &["--resources", "nodes"]).await;
    sim.append_line(node(20, "node-7", &json!({}))).await.expect("a line");
    tail.until_printed(1).await;
    sim.server(0).refuse(true);
    sim.server(0).drop_connections();
    tail.until_logged("cannot read events: ").await;
    sim.append_line(node(21, "node-8", &json!({}))).await.expect("a line");
    sim.server(0).refuse(false);
    tail.until_printed(2).await;
    tail.until_logged("connected to Nomad again").await;
    let ended = tail.end_by(Signal::INT).await;
    assert_eq!((ended.printed.len(), ended.log.lines().count(), ended.status.code()), (2, 2, Some(0)), "{}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_reads_the_same_is_no_news_to_a_person() {
    let sim = cluster().await;
    let (text, json) = (follow(&sim, &[]).await, follow(&sim, &["--json"]).await);
    sim.append_lines([made::evaluation(20, 1), made::evaluation(21, 1), made::evaluation(22, 2)]).await.expect("lines");
    json.until_printed(3).await;
    text.until_printed(2).await;
    assert_eq!(text.end_by(Signal::INT).await.printed.len(), 2);
}
