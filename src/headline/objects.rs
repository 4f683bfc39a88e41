//! Nodes, evaluations, jobs, deployments.

use serde_json::Value;

use super::{
    Headline,
    placement::unplaced,
    tone::is_draining,
    words::{NAME, Parts, SENTENCE, count, name, said, sentence, short, text},
};

pub(super) fn node(body: &Value) -> Option<Headline> {
    let status = text(body, "Status")?;
    let name = [name(body, "Name"), short(body, "ID")].into_iter().find(|name| !name.is_empty())?;
    let is_deleted = body["Deleted"] == true;
    let is_ineligible = text(body, "SchedulingEligibility").is_some_and(|state| state == "ineligible");
    let mut parts = Parts::of([if is_deleted { "removed".to_owned() } else { said(status, NAME) }]);
    if is_draining(body) {
        parts.push("draining");
    }
    if is_ineligible {
        parts.push("not eligible for new allocations");
    }
    parts.push(reason(body));
    Some(Headline::new(&Parts::of(["node", &name]), &parts))
}

/// What Nomad says of this version of a node: the newest event, if it made this version.
fn reason(node: &Value) -> String {
    let description = sentence(node, "StatusDescription");
    let newest = node["Events"].as_array().and_then(|events| events.last());
    let of_this_version = newest.filter(|event| {
        let index = event["CreateIndex"].as_u64().unwrap_or_default();
        index > 0 && node["ModifyIndex"].as_u64() == Some(index)
    });
    match of_this_version {
        _ if !description.is_empty() => description,
        Some(event) => sentence(event, "Message"),
        None => String::new(),
    }
}

pub(super) fn evaluation(body: &Value) -> Option<Headline> {
    let status = text(body, "Status")?;
    let mut parts = Parts::of([said(status, NAME)]);
    let trigger = name(body, "TriggeredBy");
    if !trigger.is_empty() {
        parts.push(format!("by {trigger}"));
    }
    parts.push(sentence(body, "StatusDescription"));
    let unplaced = unplaced(body);
    for (group, why) in &unplaced {
        parts.push(format!("{} not placed: {}", said(group, NAME), said(why, SENTENCE)));
    }
    let quota = name(body, "QuotaLimitReached");
    if !quota.is_empty() {
        parts.push(format!("quota {quota} reached"));
    }
    Some(Headline::new(&subject(body, "evaluation"), &parts))
}

/// `web evaluation 4f1b2c3d`
fn subject(body: &Value, what: &str) -> Parts {
    Parts::of([name(body, "JobID"), what.to_owned(), short(body, "ID")])
}

/// What became of a job: `purged`, `stopped`, or its status.
pub(super) fn job_state(job: &Value) -> Option<String> {
    match text(job, "Status") {
        _ if job["Deleted"] == true => Some("purged".to_owned()),
        _ if job["Stop"] == true => Some("stopped".to_owned()),
        status => status.map(|status| said(status, NAME)),
    }
}

pub(super) fn job_subject(job: &Value) -> Option<Parts> {
    let id = [name(job, "ID"), name(job, "Name")].into_iter().find(|name| !name.is_empty())?;
    Some(Parts::of(["job", &id]))
}

pub(super) fn job(body: &Value) -> Option<Headline> {
    let subject = job_subject(body)?;
    let mut parts = Parts::of([job_state(body)?]);
    if let Some(version) = body["Version"].as_u64() {
        parts.push(format!("version {version}"));
    }
    parts.push(sentence(body, "StatusDescription"));
    Some(Headline::new(&subject, &parts))
}

pub(super) fn deployment(body: &Value) -> Option<Headline> {
    /// Nomad's words for what the status says.
    const NOTHING_NEW: [&str; 2] = ["Deployment is running", "Deployment completed successfully"];
    let status = text(body, "Status")?;
    let mut parts = Parts::of([said(status, NAME)]);
    if let Some(version) = body["JobVersion"].as_u64() {
        parts.push(format!("version {version}"));
    }
    let description = sentence(body, "StatusDescription");
    if !NOTHING_NEW.contains(&description.as_str()) {
        parts.push(description);
    }
    let groups = body["TaskGroups"].as_object().into_iter().flatten();
    for (group, state) in groups {
        let number = |name: &str| state[name].as_u64().unwrap_or_default();
        let unhealthy = match number("UnhealthyAllocs") {
            0 => String::new(),
            unhealthy => format!(", {unhealthy} unhealthy"),
        };
        let canaries = match (number("DesiredCanaries"), state["Promoted"] == true) {
            (0, _) => String::new(),
            (_, true) => ", promoted".to_owned(),
            (canaries, false) => format!(", {} not promoted", count(canaries, "canary").replace("canarys", "canaries")),
        };
        let (healthy, wanted) = (number("HealthyAllocs"), number("DesiredTotal"));
        parts.push(format!("{} {healthy} of {wanted} healthy{unhealthy}{canaries}", said(group, NAME)));
    }
    Some(Headline::new(&subject(body, "deployment"), &parts))
}
