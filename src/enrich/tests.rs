//! Tests the lookups against the simulated cluster.

use std::time::Duration;

use nomad_sim::{Policy, Sim};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::{
    delivery::testing::Book,
    http::TokenSource,
    kind::Kind,
    nomad::{Config, Secret, Tls},
    position::RaftIndex,
    telemetry::{Leadership, Phase},
};

/// Longer than any test waits for something that comes.
const LIMIT: Duration = Duration::from_secs(60);

/// A line with one event of this index; `kind` is its topic.
fn line(index: u64, kind: &str, namespace: &str, object: &Value) -> String {
    json!({"Index": index, "Events": [{
        "Topic": kind, "Type": "JobRegistered", "Key": object["ID"], "Namespace": namespace, "FilterKeys": null,
        "Index": index, "Payload": {kind: object},
    }]})
    .to_string()
}

fn job(id: &str, version: u64, made_at: u64, modified: u64, image: &str) -> Value {
    json!({
        "ID": id, "Name": id, "Namespace": "default", "Type": "service", "Priority": 50, "Version": version,
        "CreateIndex": 10, "ModifyIndex": modified, "JobModifyIndex": made_at, "Meta": {"owner": "ops"},
        "NomadTokenID": "hush", "VaultToken": "hush",
        "TaskGroups": [{"Name": "g", "Count": 1, "Tasks": [
            {"Name": "t", "Driver": "docker", "Env": {"A": image}, "Config": {"image": image}}]}],
    })
}

fn node(id: &str) -> Value {
    json!({
        "ID": id, "Name": "n1", "Datacenter": "dc1", "NodeClass": "", "Meta": {"rack": "r7"}, "SecretID": "hush",
        "CreateIndex": 5, "ModifyIndex": 5, "Attributes": {"cpu.arch": "amd64"}, "Status": "ready",
    })
}

struct Rig {
    sim: Sim,
    book: Book,
    enricher: Enricher,
    metrics: Metrics,
    status: Status,
}

impl Rig {
    async fn new(token: Option<&str>) -> Self {
        let sim = Sim::builder().start().await.expect("a simulator");
        let config = Config {
            addresses: vec![sim.url(0).parse().expect("an address")],
            region: None,
            token: token.map_or(TokenSource::None, |token| TokenSource::Fixed(Secret::new(token))),
            basic_auth: None,
            tls: Tls::default(),
            timeout: Duration::from_secs(5),
        };
        let metrics = Metrics::new(&Kind::ALL);
        let mentions = Mentions { diff: true, node: true, job: true };
        let status = Status::new(&[Kind::Allocations]);
        status.lease(Kind::Allocations, Leadership::Leading);
        let enricher = Enricher::new(Client::new(config).expect("plain"), mentions, &metrics).shown_on(&status);
        Rig { sim, book: Book::new(), enricher, metrics, status }
    }

    async fn append(&self, index: u64, topic: &str, object: &Value) {
        let namespace = object["Namespace"].as_str().unwrap_or_default();
        self.sim.append_line(line(index, topic, namespace, object)).await.expect("a line");
    }

    /// Registers these versions of a job, and returns the last one.
    async fn job(&self, id: &str, images: &[&str]) -> Value {
        let mut last = Value::Null;
        for (version, image) in images.iter().enumerate() {
            let (version, index) = (version as u64, 10 + version as u64 * 10);
            last = job(id, version, index, index, image);
            self.append(index, "Job", &last).await;
        }
        last
    }

    fn record(&self, kind: Kind, body: &Value) -> Record {
        let index = body["ModifyIndex"].as_u64().unwrap_or_default();
        Record { kind, index: RaftIndex(index), ..self.book.record("key", body.to_string()) }
    }

    async fn extra(&self, record: &Record) -> Extra {
        timeout(LIMIT, self.enricher.extra(record)).await.expect("an answer in time")
    }

    async fn diff(&self, job: &Value) -> Option<Value> {
        let extra = self.extra(&self.record(Kind::Jobs, job)).await;
        extra.diff.map(|diff| serde_json::from_slice(&diff).expect("JSON"))
    }

    /// How many requests went to paths with this text.
    fn asked(&self, text: &str) -> usize {
        self.sim.requests().iter().filter(|request| request.target.contains(text)).count()
    }
}

fn value(text: Option<Bytes>) -> Value {
    text.map_or(Value::Null, |text| serde_json::from_slice(&text).expect("JSON"))
}

/// Of the first field that changed in the configuration of the first task: what it was, and is.
fn image(diff: &Value) -> (&Value, &Value) {
    let field = &diff["TaskGroups"][0]["Tasks"][0]["Objects"][0]["Fields"][0];
    (&field["Old"], &field["New"])
}

#[tokio::test]
async fn a_new_version_has_the_diff_against_the_one_before() {
    let rig = Rig::new(None).await;
    let last = rig.job("web", &["web:1", "web:2", "web:3"]).await;
    let diff = rig.diff(&last).await.expect("a diff");
    assert_eq!(image(&diff), (&json!("web:2"), &json!("web:3")));
    assert!(!diff["TaskGroups"][0]["Tasks"][0]["Fields"].to_string().contains("web:"), "values of variables: {diff}");
    // One answer serves the versions before, too.
    let diff = rig.diff(&job("web", 1, 20, 20, "web:2")).await.expect("a diff");
    assert_eq!(image(&diff), (&json!("web:1"), &json!("web:2")));
    assert_eq!(rig.asked("/v1/job/web/versions?namespace=default&diffs=true"), 1);
}

#[tokio::test]
async fn a_diff_is_that_of_exactly_this_version() {
    let rig = Rig::new(None).await;
    rig.job("web", &["web:1", "web:2", "web:3"]).await;
    for (other, why) in [
        (job("web", 0, 10, 10, ""), "the first version"),
        (job("web", 2, 30, 35, ""), "another status of the version"),
        (job("web", 2, 25, 25, ""), "registered after a purge"),
        (job("gone", 3, 30, 30, ""), "no such job"),
        (job("..", 3, 30, 30, ""), "no path"),
    ] {
        assert_eq!(rig.diff(&other).await, None, "{why}");
    }
    let mut deleted = job("web", 2, 30, 30, "web:3");
    deleted["Deleted"] = json!(true);
    assert_eq!(rig.diff(&deleted).await, None, "it is deleted");
    assert_eq!(rig.asked("/versions"), 2, "the others need no request");
}

#[tokio::test]
async fn a_status_that_came_meanwhile_hides_no_diff() {
    let rig = Rig::new(None).await;
    let change = rig.job("db/plan", &["web:1", "web:2"]).await;
    rig.append(40, "Job", &job("db/plan", 1, 20, 40, "web:2")).await;
    assert_eq!(image(&rig.diff(&change).await.expect("a diff")), (&json!("web:1"), &json!("web:2")));
    assert_eq!(rig.asked("/v1/job/db%2Fplan/versions"), 1);
}

#[tokio::test]
async fn a_version_that_nomad_has_not_stored_yet_is_waited_for() {
    let rig = Rig::new(None).await;
    rig.job("web", &["web:1"]).await;
    let change = job("web", 1, 20, 20, "web:2");
    let record = rig.record(Kind::Jobs, &change);
    let asking = async {
        while rig.asked("/v1/job/web/versions") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        rig.append(20, "Job", &change).await;
    };
    let (extra, ()) = tokio::join!(rig.extra(&record), asking);
    assert_eq!(image(&value(extra.diff)), (&json!("web:1"), &json!("web:2")));
    assert_eq!(rig.asked("/v1/job/web/versions"), 1, "Nomad itself waits");
}

#[tokio::test]
async fn raw_events_have_theirs_and_bystanders_none() {
    let rig = Rig::new(None).await;
    let change = rig.job("web", &["web:1", "web:2"]).await;
    let event = |index: u64| serde_json::from_str::<Value>(&line(index, "Job", "default", &change)).expect("JSON");
    let record =
        |index: u64| Record { index: RaftIndex(index), ..rig.record(Kind::Events, &event(index)["Events"][0]) };
    assert_ne!(rig.extra(&record(20)).await.diff, None);
    assert_eq!(rig.extra(&record(21)).await.diff, None);
}

#[tokio::test]
async fn an_allocation_has_its_node_and_its_job_without_secrets() {
    let rig = Rig::new(None).await;
    rig.append(5, "Node", &node("5f1c")).await;
    rig.job("web/versions", &["web:1"]).await;
    let body = json!({"NodeID": "5f1c", "JobID": "web/versions", "AllocationID": "a"});
    for _ in 0..3 {
        let extra = rig.extra(&rig.record(Kind::Allocations, &body)).await;
        assert_eq!(extra.diff, None);
        let (node, job) = (value(extra.node), value(extra.job));
        assert_eq!((&node["Name"], &node["Meta"]["rack"]), (&json!("n1"), &json!("r7")));
        assert_eq!((&job["ID"], &job["Meta"]["owner"]), (&json!("web/versions"), &json!("ops")));
        assert!(!format!("{node}{job}").contains("hush"), "{node}{job}");
        assert_eq!((&node["NodePool"], &node["Status"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(rig.asked("/v1/node/5f1c"), 1, "the rest comes from memory");
    assert_eq!(rig.asked("/v1/job/web%2Fversions/versions"), 1);
    let nowhere = json!({"NodeID": "", "JobID": "gone", "AllocationID": "a"});
    assert_eq!(rig.extra(&rig.record(Kind::Evaluations, &nowhere)).await, Extra::default());
    assert_eq!(rig.extra(&rig.record(Kind::Nodes, &node("5f1c"))).await, Extra::default());
}

#[tokio::test]
async fn records_of_one_node_that_come_together_ask_once() {
    let rig = Rig::new(None).await;
    rig.append(5, "Node", &node("5f1c")).await;
    let record = rig.record(Kind::Allocations, &json!({"NodeID": "5f1c"}));
    let all = futures_util::future::join_all((0..20).map(|_| rig.extra(&record))).await;
    assert!(all.iter().all(|extra| extra.node.is_some()));
    assert_eq!(rig.asked("/v1/node/5f1c"), 1);
}

#[tokio::test]
async fn an_outage_is_waited_out() {
    let rig = Rig::new(None).await;
    let change = rig.job("web", &["web:1", "web:2"]).await;
    rig.sim.server(0).refuse(true);
    let record = rig.record(Kind::Jobs, &change);
    let asking = rig.extra(&record);
    tokio::pin!(asking);
    assert!(timeout(Duration::from_secs(2), &mut asking).await.is_err(), "it did not wait");
    rig.sim.server(0).refuse(false);
    assert!(timeout(LIMIT, asking).await.expect("an answer").diff.is_some());
    assert_eq!(rig.metrics.of(Kind::Jobs).lookups_failed.get(), 0);
}

/// Time passes at once.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn in_an_outage_an_old_value_is_used_and_a_new_one_after_it() {
    let rig = Rig::new(None).await;
    rig.append(5, "Node", &node("5f1c")).await;
    let record = rig.record(Kind::Allocations, &json!({"NodeID": "5f1c"}));
    let known = rig.extra(&record).await.node;
    assert!(known.is_some());
    rig.sim.server(0).refuse(true);
    later(FRESH).await;
    for _ in 0..3 {
        assert_eq!(rig.extra(&record).await.node, known);
    }
    rig.sim.server(0).refuse(false);
    rig.sim.remove(nomad_sim::Kind::Node, "", "5f1c").await;
    later(FRESH).await;
    assert_eq!(rig.extra(&record).await.node, None, "the node is gone");
}

#[tokio::test]
async fn a_refusal_holds_the_record_until_the_policy_allows_it() {
    let rig = Rig::new(Some("7c1f0b9e-enrich")).await;
    rig.sim.set_token("7c1f0b9e-enrich", Policy::read_jobs(&["default"]));
    rig.append(5, "Node", &node("5f1c")).await;
    let record = rig.record(Kind::Allocations, &json!({"NodeID": "5f1c"}));
    let asking = rig.extra(&record);
    tokio::pin!(asking);
    let reason = |status: &Status| match status.phases()[0].1.clone() {
        Phase::Blocked { reason } => reason,
        other => format!("{other:?}"),
    };
    while rig.asked("/v1/node/5f1c") < 3 {
        let waited = timeout(Duration::from_millis(20), &mut asking).await;
        assert!(waited.is_err(), "it did not wait: {waited:?}");
    }
    let shown = reason(&rig.status);
    assert!(shown.contains("records wait for $node") && shown.contains(r#"node { policy = "read" }"#), "{shown}");
    rig.sim.set_token("7c1f0b9e-enrich", Policy::read_jobs(&["default"]).and_nodes());
    assert!(asking.await.node.is_some());
    assert!(!reason(&rig.status).contains("records wait"), "{}", reason(&rig.status));
}

#[tokio::test]
async fn a_failure_of_one_job_alone_is_null_and_counted() {
    let rig = Rig::new(None).await;
    let change = rig.job("web", &["web:1", "web:2"]).await;
    rig.sim.server(0).break_versions(Some("web"));
    assert_eq!(rig.diff(&change).await, None);
    assert_eq!(rig.metrics.of(Kind::Jobs).lookups_failed.get(), 1);
    rig.sim.server(0).break_versions(None);
    assert!(rig.diff(&change).await.is_some(), "a failure is not kept");
}
