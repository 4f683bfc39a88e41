//! The endpoints of single objects.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::Deserialize;

use super::list::{Wait, block, meta, source};
use super::request::Request;
use super::response::Response;
use super::{Context, policy};
use crate::cluster::Broker;
use crate::object::Object;
use crate::server::lock;
use crate::state::State;
use crate::table::{Kind, Selection};

/// The object of a path.
enum Wanted<'a> {
    Object(Kind, &'a str),
    Summary(&'a str),
    /// The versions of a job.
    Versions(&'a str),
    /// The newest deployment of a job.
    Deployment(&'a str),
    /// Another part of a job, which is not simulated.
    Refused(u16, &'static str),
}

fn wanted(path: &str) -> Option<Wanted<'_>> {
    let rest = path.strip_prefix("/v1/")?;
    let (resource, id) = rest.split_once('/')?;
    let kind = match resource {
        "job" => Kind::Job,
        "node" => Kind::Node,
        "evaluation" => Kind::Evaluation,
        "allocation" => Kind::Allocation,
        "deployment" => Kind::Deployment,
        _ => return None,
    };
    Some(if kind == Kind::Job { wanted_of_job(id) } else { Wanted::Object(kind, id) })
}

/// A job's id can hold slashes itself: Nomad looks at the end of the decoded path, and takes the rest for the id
/// (`JobSpecificRequest` of 2.0.5).
fn wanted_of_job(path: &str) -> Wanted<'_> {
    let Some((id, last)) = path.rsplit_once('/') else { return Wanted::Object(Kind::Job, path) };
    match last {
        "summary" => Wanted::Summary(id),
        "versions" => Wanted::Versions(id),
        "deployment" => Wanted::Deployment(id),
        "evaluate" | "plan" | "dispatch" | "revert" | "stable" => Wanted::Refused(405, "Invalid method"),
        "force" if id.ends_with("/periodic") => Wanted::Refused(405, "Invalid method"),
        "payload" if id.ends_with("/dispatch") => Wanted::Refused(405, "Invalid method"),
        "scale" | "services" => Wanted::Refused(404, "job not found"),
        "tag" => Wanted::Refused(404, "invalid job tag endpoint"),
        "submission" => Wanted::Refused(400, "Unable to parse job submission version parameter"),
        "actions" => Wanted::Refused(500, "job was nil"),
        "action" => Wanted::Refused(400, "websocket: the client is not using the websocket protocol"),
        "allocations" | "evaluations" | "deployments" => Wanted::Refused(200, "[]"),
        _ => Wanted::Object(Kind::Job, path),
    }
}

pub(super) async fn answer(context: &Context, request: &Request) -> Response {
    let Some(wanted) = wanted(&request.path) else { return Response::text(404, "404 page not found") };
    let (kind, id) = match wanted {
        Wanted::Object(kind, id) => (kind, id),
        Wanted::Summary(id) | Wanted::Versions(id) | Wanted::Deployment(id) => (Kind::Job, id),
        Wanted::Refused(200, body) => return Response::json(body),
        Wanted::Refused(status, text) => return Response::text(status, text),
    };
    if matches!(id, "." | "..") {
        // Go's mux cleans the path first.
        return Response::text(307, "<a href=\"/v1\">Temporary Redirect</a>.");
    }
    let is_summary = matches!(wanted, Wanted::Summary(_));
    context.server().while_hanging(|hanging| if is_summary { hanging.summaries } else { hanging.objects }).await;
    if is_summary && lock(&context.server().lists).broken_summary == Some(id) {
        return Response::text(500, "rpc error: broken");
    }
    if matches!(wanted, Wanted::Versions(_)) && lock(&context.server().lists).broken_versions == Some(id) {
        return Response::text(500, "failed to create job diff: broken");
    }
    let (wait, policy) = match (Wait::parse(request), policy(context, request)) {
        (Ok(wait), Ok(policy)) => (wait, policy),
        (Err(response), _) | (_, Err(response)) => return response,
    };
    let server = match lags(context) {
        true => context.cluster.servers.last().expect("a cluster has a server"),
        false => source(context, request),
    };
    let namespace = request.namespace();
    let find = |state: &State| state.table(kind).get(namespace, id).cloned();
    block(server, &wait, |state| find(state).map_or(state.list_index(kind), |object| object.modify_index)).await;
    let Some(object) = server.read(find) else {
        // Jobs and nodes are refused before they are looked up.
        let hidden = match kind {
            Kind::Job => !policy.reads_jobs(namespace),
            Kind::Node => !policy.reads_nodes(),
            _ => false,
        };
        let is_versions = matches!(wanted, Wanted::Versions(_));
        return match () {
            () if hidden => Response::denied(),
            () if is_versions => Response::text(404, "job versions not found"),
            () => missing(kind),
        };
    };
    let allowed = match kind {
        Kind::Node => policy.reads_nodes(),
        _ => policy.reads_jobs(&object.namespace),
    };
    if !allowed {
        return Response::denied();
    }
    let body = match wanted {
        Wanted::Summary(_) => server.read(|state| {
            let summary = state.summaries.get(&object.namespace, &object.id);
            summary.and_then(|summary| serde_json::to_vec(summary).ok()).map(Bytes::from)
        }),
        Wanted::Versions(_) => {
            let diffs = request.flag("diffs", false);
            Some(server.read(|state| state.versions.answer(&object, diffs)))
        }
        Wanted::Deployment(_) => Some(server.read(|state| deployment(state, &object))),
        Wanted::Object(Kind::Allocation, _) => Some(server.read(|state| with_job(state, &object))),
        Wanted::Object(..) | Wanted::Refused(..) => Some(object.body.bytes()),
    };
    let Some(body) = body else { return missing(kind) };
    let mut response = Response::json(body);
    response.headers.extend(meta(object.modify_index));
    response
}

/// The answer of `/v1/job/ID/deployment`.
fn deployment(state: &State, job: &Object) -> Bytes {
    let selection = Selection { namespaces: None, prefix: "", per_page: 0, next_token: "" };
    let (deployments, _) = state.table(Kind::Deployment).page(&selection);
    let is_its = |deployment: &&std::sync::Arc<Object>| {
        let owner = serde_json::from_slice::<Owner>(&deployment.body.bytes());
        deployment.namespace == job.namespace && owner.is_ok_and(|owner| *owner.job == *job.id)
    };
    deployments.iter().rfind(is_its).map_or(Bytes::from_static(b"null"), |deployment| deployment.body.bytes())
}

/// Whether a server that lags gave the answer.
fn lags(context: &Context) -> bool {
    let mut faults = lock(&context.server().lists);
    let lags = faults.lagging > 0;
    faults.lagging = faults.lagging.saturating_sub(1);
    lags
}

fn missing(kind: Kind) -> Response {
    let name = match kind {
        Kind::Job => "job",
        Kind::Node => "node",
        Kind::Evaluation => "eval",
        Kind::Allocation => "alloc",
        Kind::Deployment => "deployment",
    };
    Response::text(404, format!("{name} not found"))
}

#[derive(Deserialize)]
struct Owner {
    #[serde(rename = "JobID")]
    job: Box<str>,
}

/// An allocation of the API carries its job, one of the stream does not.
fn with_job(state: &State, object: &Object) -> Bytes {
    let body = object.body.bytes();
    let job = serde_json::from_slice::<Owner>(&body)
        .ok()
        .and_then(|owner| state.table(Kind::Job).get(&object.namespace, &owner.job))
        .map_or(Bytes::from_static(b"null"), |job| job.body.bytes());
    let Some(open) = body.strip_suffix(b"}") else { return body };
    Bytes::from([open, b",\"Job\":", &job[..], b"}"].concat())
}

/// `GET /v1/agent/self`, as far as a client needs it. Nomad wants `agent:read`, which only management tokens have here.
pub(super) fn agent(context: &Context, request: &Request) -> Response {
    match policy(context, request) {
        Ok(policy) if policy.management => {}
        Ok(_) => return Response::denied(),
        Err(denied) => return denied,
    }
    let (server, region) = (context.server(), &context.cluster.region);
    let (addr, broker) = (server.addr(), *lock(&context.cluster.broker));
    let applied = server.applied_index().to_string();
    let agent = serde_json::json!({
        "config": {"Datacenter": "dc1", "Region": region, "Version": {"Version": "2.0.5"},
                   "Server": {"Enabled": true, "EnableEventBroker": broker == Broker::Enabled,
                              "EventBufferSize": context.cluster.config.event_buffer}},
        "member": member(addr, region),
        "stats": {"nomad": {"server": "true", "leader": "true"}, "raft": {"applied_index": applied}},
    });
    Response::json(agent.to_string())
}

/// `GET /v1/agent/members`. Nomad wants `node:read`.
pub(super) fn members(context: &Context, request: &Request) -> Response {
    match policy(context, request) {
        Ok(policy) if policy.reads_nodes() => {}
        Ok(_) => return Response::denied(),
        Err(denied) => return denied,
    }
    let region = &context.cluster.region;
    let members: Vec<_> = context.cluster.servers.iter().map(|server| member(server.addr(), region)).collect();
    Response::json(serde_json::json!({"ServerName": "sim", "ServerRegion": region, "Members": members}).to_string())
}

fn member(addr: SocketAddr, region: &str) -> serde_json::Value {
    serde_json::json!({
        "Name": format!("sim.{region}"), "Addr": addr.ip().to_string(), "Port": addr.port(), "Status": "alive",
        "Tags": {"region": region, "dc": "dc1", "build": "2.0.5"},
    })
}
