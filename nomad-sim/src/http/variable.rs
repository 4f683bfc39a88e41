//! `/v1/var/PATH`: one variable, and its lock.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use super::list::{Wait, block, meta, source};
use super::request::Request;
use super::response::Response;
use super::{Context, policy};
use crate::acl::Policy;
use crate::locks;
use crate::server::{Server, lock};
use crate::variables::{Body, Capability, Items, Lost, Operation, Outcome, Variable, Write, Written, check, several};

/// The path of a variable, where a request is for one.
pub(super) fn path(request: &Request) -> Option<&str> {
    request.path.strip_prefix("/v1/var/")
}

/// Answers with the faults that are set.
///
/// # Errors
/// The answer is to get lost with the connection.
pub(super) async fn answer(context: &Context, request: &Request, path: &str) -> io::Result<Response> {
    let server = context.server();
    if let Some(refused) = before(server).await {
        return Ok(refused);
    }
    let is_write = is_write(request);
    if is_write && lock(&server.variables).take_late() {
        commit_late(context, request, path);
        return Ok(Response::text(500, "raft apply failed: leadership lost while committing log"));
    }
    let response = effect(context, request, path).await;
    let (delay, lost) = {
        let mut faults = lock(&server.variables);
        (faults.answer_delay, if is_write { faults.take_lost() } else { None })
    };
    pause(delay).await;
    match lost {
        None => Ok(response),
        Some(Lost::Failed) => Ok(Response::text(500, "rpc error: EOF")),
        Some(Lost::Closed) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
    }
}

/// What the request does.
async fn effect(context: &Context, request: &Request, path: &str) -> Response {
    match request.method.as_str() {
        _ if context.cluster.is_old() => Response::text(404, "404 page not found"),
        _ if path.contains("//") => redirect(request),
        _ if path.is_empty() => Response::text(400, "missing variable path"),
        "GET" => read(context, request, path).await,
        "PUT" | "POST" => put(context, request, path).await,
        "DELETE" => delete(context, request, path).await,
        _ => Response::text(400, "Invalid method"),
    }
}

/// Lets a write that was refused take effect once the server is told so.
fn commit_late(context: &Context, request: &Request, path: &str) {
    let (context, request, path) = (context.clone(), request.clone(), path.to_owned());
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        let late = async {
            while lock(&context.server().variables).holding {
                sleep(Duration::from_millis(10)).await;
            }
            effect(&context, &request, &path).await
        };
        tokio::select! {
            () = context.stop.cancelled() => {}
            response = late => tracing::debug!(path, status = response.status, "late write"),
        }
    });
}

/// A write takes effect whether its client waits for the answer or not.
pub(super) fn is_write(request: &Request) -> bool {
    request.method != "GET" && path(request).is_some()
}

/// Nothing at all where there is no time to wait: a sleep of zero still waits for the clock to move on.
async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// Waits as the faults of variables say; `Some` where the request fails.
pub(super) async fn before(server: &Server) -> Option<Response> {
    let (delay, fails) = {
        let mut faults = lock(&server.variables);
        (faults.delay, faults.take_error())
    };
    pause(delay).await;
    while lock(&server.variables).hanging {
        sleep(Duration::from_millis(10)).await;
    }
    fails.then(|| Response::text(500, "No cluster leader"))
}

/// Nomad's router redirects a path without its slash.
pub(super) fn without_path() -> Response {
    let headers = [("Content-Type", "text/html; charset=utf-8"), ("Location", "/v1/var/")];
    let headers = headers.map(|(name, value)| (name, value.to_owned())).to_vec();
    Response { headers, ..Response::text(307, "<a href=\"/v1/var/\">Temporary Redirect</a>.\n\n") }
}

fn redirect(request: &Request) -> Response {
    let mut to = request.path.clone();
    while to.contains("//") {
        to = to.replace("//", "/");
    }
    let mut response = Response::text(307, "");
    response.headers.push(("Location", to));
    response
}

/// The server that answers a read, and the head of the answer.
pub(super) fn reader<'a>(context: &'a Context, request: &Request) -> Result<(&'a Server, bool, u128), Response> {
    let own = context.server();
    let faults = *lock(&own.variables);
    if request.flag("stale", false) {
        let contact = lock(&own.lists).contact.filter(|_| !faults.cut_off);
        return Ok((own, contact.is_some(), contact.unwrap_or_default().as_millis()));
    }
    if faults.cut_off {
        return Err(Response::text(500, "No cluster leader"));
    }
    Ok((if faults.deposed { own } else { source(context, request) }, true, 0))
}

/// The refusal of parameters: Nomad writes it after the first half of the text has gone out.
pub(super) fn parameters(request: &Request) -> Result<Wait, Response> {
    Wait::parse(request).map_err(|refused| {
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        Response::text(400, text + "failed to parse parameters")
    })
}

async fn read(context: &Context, request: &Request, path: &str) -> Response {
    let (wait, (server, known, contact), policy) =
        match (parameters(request), reader(context, request), policy(context, request)) {
            (Ok(wait), Ok(reader), Ok(policy)) => (wait, reader, policy),
            (Err(refused), _, _) | (_, Err(refused), _) | (_, _, Err(refused)) => return refused,
        };
    let namespace = request.namespace();
    if !policy.sees_variable(namespace, path, Capability::Read) {
        return Response::denied();
    }
    block(server, &wait, |state| state.variables.index_of(namespace, path)).await;
    let (variable, index) =
        server.read(|state| (state.variables.get(namespace, path).cloned(), state.variables.index_of(namespace, path)));
    let mut response = match variable {
        Some(variable) => Response::json(shown(&variable, &policy).json()),
        None => Response::text(404, "variable not found"),
    };
    let mut headers = meta(index);
    (headers[1].1, headers[2].1) = (known.to_string(), contact.to_string());
    response.headers.extend(headers);
    response
}

/// Only management sees that a variable is locked, and by which id.
pub(super) fn shown(variable: &Variable, policy: &Policy) -> Variable {
    let lock = variable.lock.clone().filter(|_| policy.management);
    Variable { lock, ..variable.clone() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockOperation {
    Renew,
    Acquire,
    Release,
}

async fn put(context: &Context, request: &Request, path: &str) -> Response {
    let named = [
        ("lock-renew", LockOperation::Renew),
        ("lock-acquire", LockOperation::Acquire),
        ("lock-release", LockOperation::Release),
    ];
    // The name counts, whatever its value.
    let mut operations =
        named.into_iter().filter(|(name, _)| request.get(name).is_some()).map(|(_, operation)| operation);
    let operation = operations.next();
    if operations.next().is_some() {
        return Response::text(400, "multiple lock operations");
    }
    let cas = request.get("cas").filter(|cas| !cas.is_empty());
    if operation.is_some() && cas.is_some() {
        return Response::text(400, "CAS can't be used with lock operations");
    }
    let body = match Body::read(&request.body) {
        Ok(body) => body,
        Err(text) => return Response::text(400, text),
    };
    let cas = match cas.map(parse_cas).transpose() {
        Ok(cas) => cas,
        Err(refused) => return refused,
    };
    match operation {
        None if body.items.as_ref().is_none_or(Items::is_empty) => {
            Response::text(400, "variable missing required Items object")
        }
        None => write(context, request, path, body, Operation::Set { cas }).await,
        Some(LockOperation::Renew) => renew(context, request, path, &body),
        Some(LockOperation::Acquire) => write(context, request, path, body, Operation::Acquire).await,
        Some(LockOperation::Release) => write(context, request, path, body, Operation::Release).await,
    }
}

fn parse_cas(text: &str) -> Result<u64, Response> {
    text.parse().map_err(|_| {
        let text = crate::json::quoted(text);
        Response::text(400, format!("can not parse cas: strconv.ParseUint: parsing {text}: invalid syntax"))
    })
}

async fn delete(context: &Context, request: &Request, path: &str) -> Response {
    let cas = match request.get("cas").filter(|cas| !cas.is_empty()).map(parse_cas).transpose() {
        Ok(cas) => cas,
        Err(refused) => return refused,
    };
    write(context, request, path, Body::default(), Operation::Delete { cas }).await
}

/// A refusal that comes from the leader carries an index, if only 0.
fn from_leader(mut refused: Response) -> Response {
    refused.headers.push(("X-Nomad-Index", "0".to_owned()));
    refused
}

async fn write(context: &Context, request: &Request, path: &str, body: Body, operation: Operation) -> Response {
    let namespace = if body.namespace.is_empty() { request.namespace().to_owned() } else { body.namespace };
    if lock(&context.server().variables).cut_off {
        return from_leader(Response::text(500, "No cluster leader"));
    }
    let policy = match policy(context, request) {
        Ok(policy) => policy,
        Err(denied) => return from_leader(denied),
    };
    let wanted = if matches!(operation, Operation::Delete { .. }) { Capability::Destroy } else { Capability::Write };
    if !policy.writes_variable(&namespace, path, wanted) {
        return from_leader(Response::denied());
    }
    let mut held = body.lock;
    let items = body.items.as_ref();
    let none = Items::new();
    let checked = match operation {
        Operation::Set { .. } => check::write(&namespace, path, items.unwrap_or(&none), held.as_mut()),
        Operation::Acquire => check::acquire(&namespace, path, items.unwrap_or(&none), held.get_or_insert_default()),
        Operation::Release => check::release(path, items, held.as_ref()),
        Operation::Delete { .. } => Ok(()),
    };
    if let Err(text) = checked {
        return from_leader(Response::text(400, text));
    }
    let write =
        Write { operation, namespace, path: path.to_owned(), items: body.items.unwrap_or_default(), lock: held };
    let written = context.cluster.write_variable(&write).await;
    if let Outcome::Put(variable) = &written.outcome {
        match operation {
            Operation::Acquire => locks::start_timer(&context.cluster, &context.tasks, &context.stop, variable),
            Operation::Release => {
                lock(&context.cluster.timers).stop(write.lock.as_ref().map_or("", |lock| &lock.id));
            }
            _ => {}
        }
    }
    render(written, &write, &policy)
}

fn render(written: Written, write: &Write, policy: &Policy) -> Response {
    let is_lock = matches!(write.operation, Operation::Acquire | Operation::Release);
    let reads = policy.writes_variable(&write.namespace, &write.path, Capability::Read);
    let (mut response, index) = match written.outcome {
        // The writer sees what it has written, whether it may read or not.
        Outcome::Put(variable) => {
            let items = write.items.clone();
            (Response::json(Variable { items, ..Variable::clone(&variable) }.json()), Some(written.index))
        }
        Outcome::Absent => {
            (Response { status: 204, headers: Vec::new(), body: Default::default() }, Some(written.index))
        }
        Outcome::Failed(text) => (Response::text(500, text), Some(0)),
        Outcome::Conflict(variable) => {
            let (index, exists) = (variable.modify_index, variable.create_index > 0);
            let variable = match (reads, exists) {
                (true, true) => *variable,
                // An empty lock, which a refused release shows, is left out for those who may read.
                (true, false) => Variable { lock: None, ..*variable },
                (false, _) => variable.without_items(),
            };
            // JSON, though Nomad's head does not say so.
            (Response::text(409, variable.json()), (!is_lock).then_some(index))
        }
    };
    if let Some(index) = index {
        response.headers.push(("X-Nomad-Index", index.to_string()));
    }
    response
}

/// A renewal: no entry of the log, and nothing but the leader's timer changes.
fn renew(context: &Context, request: &Request, path: &str, body: &Body) -> Response {
    if lock(&context.server().variables).cut_off {
        return Response::text(500, "No cluster leader");
    }
    let policy = match policy(context, request) {
        Ok(policy) => policy,
        Err(denied) => return denied,
    };
    // The namespace of the body does not count here.
    let namespace = request.namespace();
    if !policy.writes_variable(namespace, path, Capability::Write) {
        return Response::denied();
    }
    let Some(id) = body.lock.as_ref().map(|lock| lock.id.as_str()).filter(|id| !id.is_empty()) else {
        return Response::text(500, several(&["missing lock ID"]));
    };
    let variable = lock(&context.cluster.variables).table.get(namespace, path).cloned();
    let Some(variable) = variable else { return Response::text(404, "variable doesn't exist") };
    match variable.lock_id() {
        None => Response::text(409, "variable doesn't hold a lock"),
        Some(held) if held == id && locks::renew(&context.cluster, &variable) => {
            Response::json(variable.without_items().json())
        }
        // Also where the lock is held, but has no timer (any more).
        Some(_) => Response::text(409, "attempting to modify locked variable"),
    }
}
