//! The list endpoints: paging, namespaces, blocking queries.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, sleep, timeout_at};

use super::request::Request;
use super::response::{ArrayWriter, Response};
use super::{Context, policy};
use crate::duration;
use crate::server::{Server, lock};
use crate::state::State;
use crate::stub;
use crate::table::{Kind, Selection};

/// The table a list path names.
pub(super) fn kind(path: &str) -> Option<Kind> {
    match path {
        "/v1/allocations" => Some(Kind::Allocation),
        "/v1/evaluations" => Some(Kind::Evaluation),
        "/v1/deployments" => Some(Kind::Deployment),
        "/v1/jobs" => Some(Kind::Job),
        "/v1/nodes" => Some(Kind::Node),
        _ => None,
    }
}

/// Objects rendered between two looks at the state, so that a long list does not hold up the log.
const BATCH: usize = 64;

pub(super) async fn answer(
    context: &Context,
    request: &Request,
    kind: Kind,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let head_only = request.method == "HEAD";
    let (wait, namespaces, per_page) = match prepare(context, request, kind).await {
        Ok(prepared) => prepared,
        Err(response) => return response.write(writer, head_only).await,
    };
    context.server().while_hanging(|hanging| if per_page == 1 { hanging.tables } else { hanging.pages }).await;
    if per_page != 1 {
        context.server().count_page();
    }
    let server = source(context, request);
    block(server, &wait, |state| state.list_index(kind)).await;
    let selection = Selection {
        namespaces: namespaces.as_deref(),
        prefix: request.get("prefix").unwrap_or_default(),
        per_page,
        next_token: request.get("next_token").unwrap_or_default(),
    };
    let ((page, next), index) = server.read(|state| (state.table(kind).page(&selection), state.list_index(kind)));
    let mut headers = meta(lock(&server.lists).index(index));
    if request.flag("stale", false) {
        let contact = lock(&server.lists).contact;
        headers[1].1 = contact.is_some().to_string();
        headers[2].1 = contact.unwrap_or_default().as_millis().to_string();
    }
    let cycling = lock(&context.server().lists).cycling && per_page > 1;
    let again = request.get("next_token").filter(|token| cycling && !token.is_empty()).map(str::to_owned);
    if let Some(next) = again.or(next) {
        headers.push(("X-Nomad-NextToken", next));
    }
    if head_only {
        return Response { headers, ..Response::json("") }.write(writer, true).await;
    }
    let options =
        stub::Options { task_states: request.flag("task_states", true), namespaces: !context.cluster.is_old() };
    let mut array = ArrayWriter::begin(writer, &headers).await?;
    for batch in page.chunks(BATCH) {
        let stubs: Vec<_> =
            server.read(|state| batch.iter().map(|object| stub::render(state, kind, object, options)).collect());
        for stub in stubs {
            let pause = if per_page == 1 { Duration::ZERO } else { lock(&context.server().lists).trickle };
            if !pause.is_zero() {
                array.flush().await?;
                sleep(pause).await;
            }
            array.push(&stub).await?;
        }
    }
    array.end().await
}

type Prepared = (Wait, Option<Vec<String>>, usize);

async fn prepare(context: &Context, request: &Request, kind: Kind) -> Result<Prepared, Response> {
    let faults = {
        let mut faults = lock(&context.server().lists);
        let now = *faults;
        faults.errors = faults.errors.saturating_sub(1);
        now
    };
    sleep(faults.delay).await;
    if faults.errors > 0 {
        return Err(Response::text(500, "rpc error: No cluster leader"));
    }
    let wait = Wait::parse(request)?;
    let per_page = match request.get("per_page") {
        None | Some("") => 0,
        Some(_) if context.cluster.is_old() => 0,
        Some(text) => {
            text.parse().map_err(|_| Response::text(400, "Expect a number for `per_page` query string parameter"))?
        }
    };
    let policy = policy(context, request)?;
    let namespace = request.namespace();
    let allowed = if kind == Kind::Node { policy.reads_nodes() } else { policy.reads_jobs(namespace) };
    if !allowed {
        return Err(Response::denied());
    }
    let all = source(context, request).read(|state| state.namespaces.names());
    let namespaces = match namespace {
        "*" if !context.cluster.lists_all(kind) => Some(Vec::new()),
        "*" if policy.management => None,
        "*" => Some(all.into_iter().filter(|ns| policy.reads_jobs(ns)).collect()),
        one => Some(vec![one.to_owned()]),
    };
    Ok((wait, namespaces, per_page))
}

/// Lists come from the leader's state unless they may be stale.
pub(super) fn source<'a>(context: &'a Context, request: &Request) -> &'a Server {
    if request.flag("stale", false) { context.server() } else { &context.cluster.servers[0] }
}

pub(super) fn meta(index: u64) -> Vec<(&'static str, String)> {
    vec![
        ("X-Nomad-Index", index.to_string()),
        ("X-Nomad-KnownLeader", "true".to_owned()),
        ("X-Nomad-LastContact", "0".to_owned()),
    ]
}

/// `GET /v1/namespaces`.
pub(super) async fn namespaces(context: &Context, request: &Request) -> Response {
    if context.cluster.is_old() {
        return Response::text(501, "Nomad Enterprise only endpoint");
    }
    let (wait, policy) = match (Wait::parse(request), policy(context, request)) {
        (Ok(wait), Ok(policy)) => (wait, policy),
        (Err(response), _) | (_, Err(response)) => return response,
    };
    let server = source(context, request);
    block(server, &wait, |state| state.namespaces.index.max(1)).await;
    let namespaces = server.read(|state| state.namespaces.clone());
    let delay = lock(&context.server().lists).namespaces;
    sleep(delay).await;
    let visible = namespaces.created.iter().filter(|(name, _)| policy.reads_jobs(name));
    let body: Vec<_> = visible.map(|(name, index)| namespace_object(name, *index)).collect();
    let mut response = Response::json(serde_json::Value::from(body).to_string());
    response.headers.extend(meta(namespaces.index.max(1)));
    response
}

/// A namespace as Nomad gives it.
pub(super) fn namespace_object(name: &str, index: u64) -> serde_json::Value {
    let description = if name == "default" { "Default shared namespace" } else { "" };
    json!({"Name": name, "Description": description, "Quota": "", "Capabilities": null, "Meta": null,
           "NodePoolConfiguration": null, "CreateIndex": index, "ModifyIndex": index})
}

/// How a blocking query waits.
#[derive(Debug)]
pub(super) struct Wait {
    index: u64,
    time: Duration,
}

/// Nomad's default and upper limit.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl Wait {
    pub(super) fn parse(request: &Request) -> Result<Self, Response> {
        let time = match request.get("wait") {
            None | Some("") => LONGEST_WAIT,
            Some(text) => duration::parse(text).ok_or_else(|| Response::text(400, "Invalid wait time"))?,
        };
        let index = match request.get("index") {
            None | Some("") => 0,
            Some(text) => text.parse().map_err(|_| Response::text(400, "Invalid index"))?,
        };
        let time = if time.is_zero() { LONGEST_WAIT } else { time.min(LONGEST_WAIT) };
        Ok(Self { index, time })
    }
}

impl Wait {
    /// The index that an answer has to pass; 0 for no wait.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// When the wait is over: up to a sixteenth later than asked for, as in Nomad.
    pub(super) fn deadline(&self, from: Instant) -> Instant {
        from + self.time + self.time.mul_f64(fastrand::f64() / 16.0)
    }
}

/// Waits until an index has passed the one asked for, or the time is over.
pub(super) async fn block(server: &Server, wait: &Wait, index: impl Fn(&State) -> u64) {
    if wait.index == 0 {
        return;
    }
    let deadline = wait.deadline(Instant::now());
    let mut applied = server.applied.subscribe();
    loop {
        applied.borrow_and_update();
        if server.read(&index) > wait.index || !matches!(timeout_at(deadline, applied.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}
