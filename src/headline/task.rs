//! Task events: all types that Nomad 2.0 knows, and any other.

use serde_json::Value;

use super::{
    Headline,
    tone::{self, Tone, exit_code, is_oom_killed},
    words::{Parts, SENTENCE, duration, name, said, sentence, short, text},
};

/// The most members of `Details` that stand in for a message.
const DETAILS: usize = 6;

/// The line of a task event's record.
pub(super) fn headline(body: &Value) -> Option<Headline> {
    let event = &body["TaskEvent"];
    let text = event_of(event)?;
    let task = name(body, "TaskName");
    let subject = Parts::of([whose(body), short(body, "AllocationID"), task]);
    let node = Some(name(body, "NodeName")).filter(|name| !name.is_empty()).unwrap_or_else(|| short(body, "NodeID"));
    Some(Headline::new(&subject, &text).on(&node))
}

/// The words of a task event, and how bad it is. `None` without a type.
pub(crate) fn event(event: &Value, has_failed: bool) -> Option<(String, Tone)> {
    Some((event_of(event)?.joined("  ", super::TEXT), tone::task_event(event, has_failed)?))
}

/// `web/api`: the job and the group of an allocation, or else its name.
pub(super) fn whose(allocation: &Value) -> String {
    let group = ["GroupName", "TaskGroup"].map(|member| name(allocation, member));
    let group = group.into_iter().find(|group| !group.is_empty());
    match (name(allocation, "JobID"), group) {
        (job, Some(group)) if !job.is_empty() => format!("{job}/{group}"),
        (job, _) if !job.is_empty() => job,
        _ => name(allocation, "Name"),
    }
}

fn event_of(event: &Value) -> Option<Parts> {
    let kind = text(event, "Type")?;
    let mut parts = Parts::of([name(event, "Type")]);
    match kind {
        "Terminated" => terminated(event, &mut parts),
        "Received" | "Started" | "Leader Task Dead" | "Main Tasks Dead" | "Reconnected" => {}
        "Killing" => parts.push(killing(event)),
        "Killed" => parts.push(without("Task successfully killed", said_of(event, "KillError"))),
        "Restarting" => restarting(event, &mut parts),
        "Restart Signaled" => parts.push(without("Task signaled to restart", said_of(event, "RestartReason"))),
        "Not Restarting" => parts.push(without("Task exceeded restart policy", said_of(event, "RestartReason"))),
        "Signaling" => signaling(event, &mut parts),
        "Sibling Task Failed" => parts.push(name(event, "FailedSibling")),
        "Setup Failure" => parts.push(said_of(event, "SetupError")),
        "Driver Failure" => parts.push(said_of(event, "DriverError")),
        "Failed Validation" => parts.push(said_of(event, "ValidationError")),
        "Failed Artifact Download" => parts.push(said_of(event, "DownloadError")),
        "Driver" => parts.push(said_of(event, "DriverMessage")),
        "Downloading Artifacts" => {
            parts.push(without("Client is downloading artifacts", said_of(event, "Message")));
        }
        // Setup, hooks, templates, plugins, schedules, and every type that is still to come.
        _ => parts.push(said_of(event, "Message")),
    }
    Some(parts)
}

/// What Nomad says of it: the field of its type, or the message that Nomad shows, or the details.
fn said_of(event: &Value, member: &str) -> String {
    let texts = [member, "DisplayMessage", "Message"].into_iter().map(|member| sentence(event, member));
    texts.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| details(event))
}

fn details(event: &Value) -> String {
    let members = event["Details"].as_object().into_iter().flatten();
    let known = members.filter_map(|(name, value)| Some((name, value.as_str()?))).filter(|(_, text)| !text.is_empty());
    let pairs: Vec<_> =
        known.take(DETAILS).map(|(name, text)| format!("{}={}", said(name, 40), said(text, 80))).collect();
    pairs.join(" ")
}

/// Nothing, where Nomad says only what the type says.
fn without(said_always: &str, said: String) -> String {
    if said == said_always { String::new() } else { said }
}

fn terminated(event: &Value, parts: &mut Parts) {
    let is_oom = is_oom_killed(event);
    parts.push(format!("exit {}", exit_code(event).unwrap_or(0)));
    let told = || event["Details"]["signal"].as_str()?.parse().ok();
    if let Some(signal) =
        event["Signal"].as_i64().filter(|signal| *signal != 0).or_else(told).filter(|it: &i64| *it != 0)
    {
        parts.push(format!("signal {signal}"));
    }
    if is_oom {
        parts.push("OOM killed");
    }
    let message = [sentence(event, "Message"), sentence(&event["Details"], "exit_message")];
    let message = message.into_iter().find(|message| !message.is_empty()).unwrap_or_default();
    let lower = message.to_lowercase();
    let is_told = is_oom && lower.contains("oom") || lower.contains("non-zero exit code");
    if !is_told {
        parts.push(message);
    }
}

fn killing(event: &Value) -> String {
    let reason = sentence(event, "KillReason");
    let timeout = event["KillTimeout"].as_u64().filter(|timeout| *timeout > 0).map(duration);
    match timeout {
        _ if !reason.is_empty() => reason,
        Some(timeout) => format!("forced after {timeout}"),
        None => without("Sent interrupt", said_of(event, "KillReason")),
    }
}

fn restarting(event: &Value, parts: &mut Parts) {
    let told = || event["Details"]["start_delay"].as_str()?.parse().ok();
    let delay = event["StartDelay"].as_u64().filter(|delay| *delay > 0).or_else(told);
    match delay {
        Some(delay) => parts.push(format!("in {}", duration(delay))),
        None => parts.push(said_of(event, "RestartReason")),
    }
    let reason = [sentence(event, "RestartReason"), sentence(&event["Details"], "restart_reason")];
    let reason = reason.into_iter().find(|reason| !reason.is_empty()).unwrap_or_default();
    if delay.is_some() {
        parts.push(without("Restart within policy", reason));
    }
}

fn signaling(event: &Value, parts: &mut Parts) {
    let signal = [name(event, "TaskSignal"), name(&event["Details"], "signal")];
    let signal = signal.into_iter().find(|signal| !signal.is_empty()).unwrap_or_default();
    parts.push(signal);
    let reason = [sentence(event, "TaskSignalReason"), sentence(event, "DisplayMessage")];
    let reason = reason.into_iter().find(|reason| !reason.is_empty()).unwrap_or_default();
    if !reason.starts_with("Task being sent") {
        parts.push(said(&reason, SENTENCE));
    }
}
