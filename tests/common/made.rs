//! Lines of a stream made by hand: small ones, with what each kind needs.

use serde_json::{Value, json};

/// The id of object number `n`.
pub fn id(n: u64) -> String {
    format!("{n:08x}-0000-4000-8000-{n:012x}")
}

fn line(index: u64, events: &[Value]) -> String {
    json!({"Index": index, "Events": events}).to_string()
}

fn event(topic: &str, kind: &str, index: u64, key: &str, namespace: &str, object: &Value) -> Value {
    json!({"Topic": topic, "Type": kind, "Key": key, "Namespace": namespace, "FilterKeys": null, "Index": index,
           "Payload": {topic: object}})
}

/// A line with a new version of evaluation `n`.
pub fn evaluation(index: u64, n: u64) -> String {
    evaluation_in("default", index, n)
}

/// Lines with new versions of so many evaluations in turn, one version at each of these indexes.
pub fn evaluations(indexes: std::ops::Range<u64>, of: u64) -> Vec<String> {
    indexes.map(|index| evaluation(index, index % of + 1)).collect()
}

/// As [`evaluation`], in a namespace.
pub fn evaluation_in(namespace: &str, index: u64, n: u64) -> String {
    let object = json!({"ID": id(n), "Namespace": namespace, "TriggeredBy": "test", "JobID": "job", "Status": "complete",
                        "CreateIndex": n, "ModifyIndex": index});
    line(index, &[event("Evaluation", "EvaluationUpdated", index, &id(n), namespace, &object)])
}

/// A line with a new version of job `n`, its name `bytes` long.
pub fn job(index: u64, n: u64, bytes: usize) -> String {
    let object = json!({"ID": format!("job-{n}"), "Namespace": "default", "Name": "x".repeat(bytes), "Type": "service",
                        "TaskGroups": null, "Status": "running", "CreateIndex": n, "ModifyIndex": index});
    line(index, &[event("Job", "JobRegistered", index, &format!("job-{n}"), "default", &object)])
}

/// A line with a change of node `n`.
pub fn node(index: u64, n: u64) -> String {
    let object = json!({"ID": id(n), "Name": "n", "SchedulingEligibility": "eligible", "Status": "ready",
                        "CreateIndex": n, "ModifyIndex": index});
    line(index, &[event("Node", "NodeRegistration", index, &id(n), "", &object)])
}

/// A line with allocation `n`, whose one task had these events, the last ten of which Nomad keeps.
pub fn allocation(index: u64, n: u64, times: std::ops::RangeInclusive<u64>) -> String {
    let events: Vec<_> = times.map(|time| json!({"Type": "Started", "Time": time, "Details": {"n": "1"}})).collect();
    let kept = &events[events.len().saturating_sub(10)..];
    let object = json!({"ID": id(n), "Namespace": "default", "Name": "a", "JobID": "job", "ClientStatus": "running",
                        "TaskStates": {"task": {"State": "running", "Failed": false, "Events": kept}},
                        "CreateIndex": n, "ModifyIndex": index, "AllocModifyIndex": n});
    line(index, &[event("Allocation", "AllocationUpdated", index, &id(n), "default", &object)])
}

/// A line with allocation `n` of the job `web`, whose task ended with exit code 1 at `time`, in nanoseconds since 1970.
pub fn failed_allocation(index: u64, n: u64, time: u64) -> String {
    let event = json!({"Type": "Terminated", "Time": time, "ExitCode": 1, "Details": {"exit_code": "1"}});
    let object = json!({"ID": id(n), "Namespace": "default", "Name": format!("web.app[{n}]"), "JobID": "web",
                        "ClientStatus": "failed", "NodeName": "node-1",
                        "TaskStates": {"app": {"State": "dead", "Failed": true, "Events": [event]}},
                        "CreateIndex": n, "ModifyIndex": index, "AllocModifyIndex": n});
    line(index, &[event_of_allocation(index, n, &object)])
}

fn event_of_allocation(index: u64, n: u64, object: &Value) -> Value {
    event("Allocation", "AllocationUpdated", index, &id(n), "default", object)
}

/// A line with a new version of deployment `n`.
pub fn deployment(index: u64, n: u64) -> String {
    let object = json!({"ID": id(n), "Namespace": "default", "JobID": "job", "JobVersion": 0, "JobModifyIndex": 1,
                        "JobSpecModifyIndex": 1, "JobCreateIndex": 1, "TaskGroups": {}, "Status": "running",
                        "StatusDescription": "", "CreateIndex": n, "ModifyIndex": index});
    line(index, &[event("Deployment", "DeploymentStatusUpdate", index, &id(n), "default", &object)])
}

/// A line with a new version of evaluation `n`, its description `bytes` long.
pub fn large_evaluation(index: u64, n: u64, bytes: usize) -> String {
    let object = json!({"ID": id(n), "Namespace": "default", "TriggeredBy": "test", "JobID": "job", "Status": "complete",
                        "StatusDescription": "x".repeat(bytes), "CreateIndex": n, "ModifyIndex": index});
    line(index, &[event("Evaluation", "EvaluationUpdated", index, &id(n), "default", &object)])
}

/// A line with a job that has this name.
pub fn hostile_job(index: u64, name: &str) -> String {
    let object = json!({"ID": name, "Namespace": "default", "Name": name, "Type": "service", "TaskGroups": null,
                        "Status": "running", "CreateIndex": index, "ModifyIndex": index});
    line(index, &[event("Job", "JobRegistered", index, name, "default", &object)])
}
