//! The agent's HTTP API on bare TCP connections.

mod control;
mod evidence;
mod list;
mod object;
mod request;
mod response;
mod stream;
mod variable;
mod variables;
mod who;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Listener;
use crate::cluster::Cluster;
use crate::server::{Gate, Server, lock};

use request::Request;
use response::Response;

/// What every task of a server shares.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) cluster: Arc<Cluster>,
    /// Which of the cluster's servers this is.
    pub(crate) number: usize,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Context {
    fn server(&self) -> &Server {
        &self.cluster.servers[self.number]
    }
}

/// Accepts connections until the simulator stops; while connections are refused there is no listener at all.
pub(crate) async fn serve(context: Context, listener: Listener) {
    let mut gate = context.server().gate.subscribe();
    let mut listener = Some(listener);
    loop {
        let refusing = gate.borrow_and_update().refusing;
        if refusing {
            listener = None;
        } else if listener.is_none() {
            listener = match context.server().address.listen(context.cluster.config.send_buffer) {
                Ok(listener) => Some(listener),
                Err(error) => {
                    tracing::warn!(%error, addr = %context.server().addr(), "cannot listen again yet");
                    None
                }
            };
        }
        let accepted = tokio::select! {
            () = context.stop.cancelled() => return,
            changed = gate.changed() => if changed.is_err() { return } else { continue },
            accepted = accept(listener.as_ref(), refusing) => accepted,
        };
        let Some(stream) = accepted else { continue };
        let connection = context.server().next_connection();
        context.tasks.spawn(handle(context.clone(), stream, connection));
    }
}

async fn accept(listener: Option<&Listener>, refusing: bool) -> Option<TcpStream> {
    let Some(listener) = listener else {
        if refusing {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        return None;
    };
    match listener.accept().await {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::debug!(%error, "a connection was not accepted");
            None
        }
    }
}

async fn handle(context: Context, mut stream: TcpStream, connection: u64) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is already gone");
    }
    let mut gate = context.server().gate.subscribe();
    // A client that orders a fault must still get the answer.
    let controls = AtomicBool::new(false);
    let closed = async {
        // An error means that the server is gone, and its connections with it.
        let ordered = |gate: &Gate| connection < gate.closed_below && !controls.load(Ordering::SeqCst);
        gate.wait_for(ordered).await.is_ok_and(|gate| gate.reset)
    };
    let reset = tokio::select! {
        () = context.stop.cancelled() => false,
        reset = closed => reset,
        result = converse(&context, &mut stream, connection, &controls) => {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection ended");
            }
            false
        }
    };
    if reset && let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "the connection is already gone");
    }
}

async fn converse(
    context: &Context,
    stream: &mut TcpStream,
    connection: u64,
    controls: &AtomicBool,
) -> Result<(), request::Error> {
    let mut buffer = BytesMut::new();
    loop {
        let (mut reader, mut writer) = stream.split();
        let Some(request) = request::read(&mut reader, &mut buffer).await? else { return Ok(()) };
        let is_control = request.path.starts_with("/sim/");
        controls.store(is_control, Ordering::SeqCst);
        if !is_control {
            context.cluster.log_request(context.number, &request.method, &request.target);
            let mut gate = context.server().gate.subscribe();
            if gate.wait_for(|gate| !gate.frozen).await.is_err() {
                return Ok(());
            }
        }
        if is_control {
            let response = control::answer(context, &request).await;
            response.write(&mut writer, false).await?;
            if request.close {
                return Ok(());
            }
            continue;
        }
        let context = match evidence::forward(context, &request) {
            Ok(context) => context,
            Err(response) => {
                response.write(&mut writer, false).await?;
                continue;
            }
        };
        let context = &context;
        if request.path == "/v1/event/stream" {
            match stream::open(context, &request, connection, &mut writer).await {
                // The end of the connection is the end of the stream.
                stream::Opened::Stream(session) => {
                    tokio::select! {
                        result = session.run(&mut writer) => result?,
                        () = hung_up(&mut reader) => {}
                    }
                    return Ok(());
                }
                stream::Opened::Refused(response) => response.write(&mut writer, false).await?,
            }
        } else if variable::is_write(&request) {
            answer(context, &request, &mut writer).await?;
        } else {
            tokio::select! {
                result = answer(context, &request, &mut writer) => result?,
                () = hung_up(&mut reader) => return Ok(()),
            }
        }
        if request.close {
            return Ok(());
        }
    }
}

/// Waits for the client to close its side. Clients here never send a request before the answer to the one before.
async fn hung_up(reader: &mut (impl AsyncRead + Unpin)) {
    let mut byte = [0];
    while reader.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}

async fn answer(
    context: &Context,
    request: &Request,
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> io::Result<()> {
    let head_only = request.method == "HEAD";
    if let Some(path) = variable::path(request) {
        return variable::answer(context, request, path).await?.write(writer, head_only).await;
    }
    if request.method != "GET" && !head_only {
        return Response::text(405, "Invalid method").write(writer, false).await;
    }
    if let Some(kind) = list::kind(&request.path) {
        return list::answer(context, request, kind, writer).await;
    }
    if let Some(response) = evidence::answer(context, &request.path).await {
        return response.write(writer, head_only).await;
    }
    let response = match request.path.as_str() {
        "/v1/var" => variable::without_path(),
        "/v1/vars" => variables::answer(context, request).await,
        "/v1/namespaces" => list::namespaces(context, request).await,
        "/v1/acl/token/self" => who::token(context, request),
        "/v1/agent/self" => object::agent(context, request),
        "/v1/agent/members" => object::members(context, request),
        path => match path.strip_prefix("/v1/namespace/") {
            Some(name) => who::namespace(context, request, name),
            None => object::answer(context, request).await,
        },
    };
    response.write(writer, head_only).await
}

/// What a request's token allows.
fn policy(context: &Context, request: &Request) -> Result<crate::acl::Policy, Response> {
    lock(&context.cluster.acl).resolve(&request.token).ok_or_else(Response::denied)
}

/// A stream is silent by order of the gate.
fn is_silent(gate: &Gate, connection: u64) -> bool {
    connection < gate.silent_below
}
