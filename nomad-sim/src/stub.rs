//! The short forms of objects that the list endpoints answer.

use std::fmt::Write as _;

use crate::json::{Members, quoted};
use crate::object::{Body, NO_TRANSITION, Object};
use crate::state::State;
use crate::table::Kind;

/// Fields of an allocation's stub in the API's order, with the value of an absent one.
const ALLOCATION: [(&str, &str); 26] = [
    ("ClientDescription", "\"\""),
    ("ClientStatus", "\"\""),
    ("CreateIndex", "0"),
    ("CreateTime", "0"),
    ("DeploymentStatus", "null"),
    ("DesiredDescription", "\"\""),
    ("DesiredStatus", "\"\""),
    ("DesiredTransition", NO_TRANSITION),
    ("EvalID", "\"\""),
    ("FollowupEvalID", "\"\""),
    ("ID", "\"\""),
    ("JobID", "\"\""),
    ("JobType", "\"\""),
    ("JobVersion", "0"),
    ("ModifyIndex", "0"),
    ("ModifyTime", "0"),
    ("Name", "\"\""),
    ("Namespace", "\"\""),
    ("NextAllocation", "\"\""),
    ("NodeID", "\"\""),
    ("NodeName", "\"\""),
    ("PreemptedAllocations", "null"),
    ("PreemptedByAllocation", "\"\""),
    ("RescheduleTracker", "null"),
    ("TaskGroup", "\"\""),
    ("TaskStates", "null"),
];

const NODE: [&str; 16] = [
    "CreateIndex",
    "Datacenter",
    "Drain",
    "Drivers",
    "HostVolumes",
    "ID",
    "LastDrain",
    "ModifyIndex",
    "Name",
    "NodeClass",
    "NodePool",
    "SchedulingEligibility",
    "Status",
    "StatusDescription",
    "Address",
    "Version",
];

const JOB: [&str; 17] = [
    "CreateIndex",
    "Datacenters",
    "ID",
    "JobModifyIndex",
    "ModifyIndex",
    "Multiregion",
    "Name",
    "Namespace",
    "NodePool",
    "ParameterizedJob",
    "ParentID",
    "Periodic",
    "Priority",
    "Status",
    "StatusDescription",
    "Stop",
    "SubmitTime",
];

/// Which optional parts of a stub a list shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) task_states: bool,
    /// Job stubs say whose they are.
    pub(crate) namespaces: bool,
}

/// The list form of an object: stubs for allocations, nodes and jobs, the whole object for the others.
pub(crate) fn render(state: &State, kind: Kind, object: &Object, options: Options) -> Vec<u8> {
    let whole = options.task_states && options.namespaces;
    if let (Kind::Allocation, true, Body::Lazy(recipe)) = (kind, whole, &object.body)
        && let Some(placed) = state.placed(&object.id)
        && let Some(stub) = recipe.allocation_stub(&placed.job_type, placed.job_version)
    {
        return stub;
    }
    rendered(state, kind, object, options)
}

fn rendered(state: &State, kind: Kind, object: &Object, options: Options) -> Vec<u8> {
    let body = object.body.bytes();
    let Ok(members) = serde_json::from_slice::<Members<'_>>(&body) else { return body.to_vec() };
    let out = match kind {
        Kind::Evaluation | Kind::Deployment => return body.to_vec(),
        Kind::Allocation => allocation(state, object, &members, options),
        Kind::Node => node(&members),
        Kind::Job => job(state, object, &members, options),
    };
    out.into_bytes()
}

fn field(out: &mut String, name: &str, value: &str) {
    out.push(if out.is_empty() { '{' } else { ',' });
    out.push('"');
    out.push_str(name);
    out.push_str("\":");
    out.push_str(value);
}

fn allocation(state: &State, object: &Object, members: &Members<'_>, options: Options) -> String {
    let placed = state.placed(&object.id);
    let mut out = String::new();
    for (name, absent) in ALLOCATION {
        match (name, placed) {
            ("JobType", Some(placed)) => field(&mut out, name, &quoted(&placed.job_type)),
            ("JobVersion", Some(placed)) => field(&mut out, name, &placed.job_version.to_string()),
            ("TaskStates", _) if !options.task_states => field(&mut out, name, "null"),
            _ => field(&mut out, name, members.get(name).map_or(absent, |value| value.get())),
        }
    }
    out.push('}');
    out
}

fn node(members: &Members<'_>) -> String {
    let mut out = String::new();
    let attribute = |name: &str| {
        let attributes: Members<'_> = serde_json::from_str(members.get("Attributes")?.get()).ok()?;
        attributes.get(name).map(|value| value.get().to_owned())
    };
    for name in NODE {
        match name {
            "Address" => {
                let address = attribute("unique.network.ip-address").unwrap_or_else(|| "\"\"".to_owned());
                field(&mut out, name, &address);
            }
            "Version" => field(&mut out, name, &attribute("nomad.version").unwrap_or_else(|| "\"\"".to_owned())),
            _ => field(&mut out, name, members.get(name).map_or("null", |value| value.get())),
        }
    }
    out.push('}');
    out
}

fn job(state: &State, object: &Object, members: &Members<'_>, options: Options) -> String {
    let mut out = String::new();
    let dispatched = members.get("Dispatched").is_some_and(|value| value.get() == "true");
    for name in JOB {
        let value = members.get(name).map_or("null", |value| value.get());
        match name {
            // A stub only says whether the job is one; a dispatched job keeps its parent's parameters.
            "Namespace" if !options.namespaces => {}
            "ParameterizedJob" if dispatched => field(&mut out, name, "false"),
            "ParameterizedJob" | "Periodic" => field(&mut out, name, if value == "null" { "false" } else { "true" }),
            _ => field(&mut out, name, value),
        }
    }
    field(&mut out, "Type", members.get("Type").map_or("\"\"", |value| value.get()));
    let summary = state.summaries.get(&object.namespace, &object.id);
    let summary = summary.and_then(|summary| serde_json::to_string(summary).ok());
    // write! to a String cannot fail.
    if write!(out, ",\"JobSummary\":{}}}", summary.as_deref().unwrap_or("null")).is_err() {
        out.push('}');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Generator, GeneratorOptions, History as _};
    use crate::state::Namespaces;
    use crate::table::Selection;

    #[test]
    fn a_stub_that_a_recipe_makes_is_that_of_its_object() {
        let mut history = Generator::new(GeneratorOptions { allocations: 50, churn: 10.0, seed: 9 });
        let mut state = State::new(Namespaces { created: Default::default(), index: 0 });
        (0..400).for_each(|_| state.apply(&history.next().unwrap()));
        let (page, _) = state.table(Kind::Allocation).page(&Selection::default());
        assert_eq!(page.len(), 50);
        for object in page {
            let options = Options { task_states: true, namespaces: true };
            let (quick, slow) = (
                render(&state, Kind::Allocation, &object, options),
                rendered(&state, Kind::Allocation, &object, options),
            );
            assert_eq!(String::from_utf8(quick).unwrap(), String::from_utf8(slow).unwrap());
        }
    }
}
