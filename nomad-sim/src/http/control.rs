//! The control endpoint, `/sim/…`: faults and inspection, for people and scripts. Every server answers it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::request::Request;
use super::response::Response;
use super::{Context, lock};
use crate::acl::Policy;
use crate::cluster::Broker;
use crate::duration;
use crate::locks;
use crate::orders;
use crate::server::{Hanging, Lag, Server};
use crate::variables::Lost;

/// The orders of the control endpoint.
const HELP: &str = "\
GET  /sim/state                        servers, buffers, tables
GET  /sim/requests?since=N             the requests so far, in their order
GET  /sim/truth                        every line published so far (where it is kept)
POST /sim/pause | resume               the history stops, goes on
POST /sim/step?n=1                     so many more entries of the history
POST /sim/play?to=INDEX                the history up to an index, at once
POST /sim/speed?x=10                   times normal speed, or max
POST /sim/append                       lines of the body become the log's next entries
POST /sim/namespace?name=N[&index=I]   creates a namespace
POST /sim/remove?kind=Node&id=ID       an object vanishes without an event (kind: a topic; namespace= for jobs)
POST /sim/rebuild[?to=INDEX]           another cluster: lower indexes, other identities
POST /sim/token?id=T[&management][&namespace=N]...[&node][&operator]
POST /sim/revoke?id=T                  deletes a token
POST /sim/broker?state=enabled|disabled|failing|missing
POST /sim/old?on=true                  answers as Nomad before 1.0
POST /sim/shuffle?on=true              members of JSON objects come in another order in each line
POST /sim/elect                        the timers of all locks begin anew, as with a new leader

For one server with server=K, else for all:
POST /sim/drop[?reset]                 closes all connections
POST /sim/stall[?all]                  open streams (or all) are silent
POST /sim/freeze                       nothing is answered
POST /sim/unstall                      ends both
POST /sim/refuse?for=5s                refuses connections for a while
POST /sim/restart                      empties the event buffer and closes the connections
POST /sim/garbage                      the body, or some garbage, as a line of the open streams
POST /sim/invalid-utf8                 a line of invalid UTF-8
POST /sim/half-line[?at=BYTE]          the next line is cut and the connection closed
POST /sim/lists?delay=2s&errors=3      a page takes so long; so many lists fail
POST /sim/lists?trickle=100ms          the elements of a page come one at a time
POST /sim/lists?cycle=true             a page names itself as the next one
POST /sim/hang[?pages][&tables][&objects][&summaries]   these are not answered from now on
POST /sim/variables?delay=1s&answer=1s&errors=3   a request takes effect, and is answered, so late; so many fail
POST /sim/variables?lost=3&closed                 answers to so many writes get lost: 500, or the connection closed
POST /sim/variables?late=3 | commit       so many writes are answered with 500; they take effect with commit
POST /sim/variables?hang=true&cut-off=true&deposed=true   they hang; no leader is known; it reads as if it led
POST /sim/lag?by=N | at=INDEX | none   a server stays behind the log
";

pub(super) async fn answer(context: &Context, request: &Request) -> Response {
    let Some(name) = request.path.strip_prefix("/sim/") else { return Response::text(404, HELP) };
    match (request.method.as_str(), name) {
        ("GET", "") => Response::text(200, HELP),
        ("GET", "state") => Response::json(state(context).await.to_string()),
        ("GET", "requests") => {
            let requests = context.cluster.requests(request.number("since").unwrap_or(0));
            serde_json::to_vec(&requests).map_or_else(|e| Response::text(500, e.to_string()), Response::json)
        }
        ("GET", "truth") => {
            let lines = context.cluster.truth();
            Response::json(lines.iter().flat_map(|line| [&line.raw[..], b"\n"]).collect::<Vec<_>>().concat())
        }
        ("POST", _) => match order(context, request, name).await {
            Ok(answer) => Response::json(format!("{answer}\n")),
            Err(problem) => Response::text(400, format!("{problem}\n\n{HELP}")),
        },
        _ => Response::text(404, HELP),
    }
}

async fn state(context: &Context) -> Value {
    let cluster = &context.cluster;
    let servers: Vec<_> = cluster
        .servers
        .iter()
        .map(|server| {
            let (first, last) = server.buffer_bounds();
            json!({"addr": server.addr().to_string(), "applied": server.applied_index(), "pending": server.pending(),
                   "buffer": {"first": first, "last": last}, "streams": server.open_streams(),
                   "tables": server.read(tables)})
        })
        .collect();
    let pace = *cluster.pace.borrow();
    let index = cluster.player.lock().await.last_index;
    let speed = if pace.speed.is_finite() { json!(pace.speed) } else { json!("max") };
    json!({"index": index, "paused": pace.paused, "speed": speed, "finished": *cluster.finished.borrow(),
           "servers": servers, "namespaces": cluster.servers[0].read(|state| state.namespaces.created.clone())})
}

fn tables(state: &crate::state::State) -> Value {
    let all = crate::table::Kind::ALL.into_iter();
    all.map(|kind| {
        let table = state.table(kind);
        (format!("{kind:?}"), json!({"objects": table.len(), "index": table.index}))
    })
    .collect::<serde_json::Map<_, _>>()
    .into()
}

/// Carries out an order; the error says what is wrong with it.
async fn order(context: &Context, request: &Request, name: &str) -> Result<Value, String> {
    let cluster = &context.cluster;
    let need = |name: &str| request.get(name).ok_or(format!("{name}= is missing"));
    let number = |name: &str| need(name)?.parse::<u64>().map_err(|_| format!("{name}= is no number"));
    match name {
        "pause" => cluster.pace.send_modify(|pace| pace.paused = true),
        "resume" => cluster.pace.send_modify(|pace| pace.paused = false),
        "step" => return Ok(json!({"played": orders::step(cluster, request.number("n").unwrap_or(1)).await})),
        "play" => return Ok(json!({"played": orders::play_to(cluster, number("to")?).await})),
        "speed" => {
            let speed = orders::speed(need("x")?).ok_or("x= is neither a factor nor max")?;
            cluster.pace.send_modify(|pace| pace.speed = speed);
        }
        "append" => {
            let lines = request.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let lines = lines.map(|line| request.body.slice_ref(line));
            orders::append(cluster, lines).await.map_err(|error| format!("{error}"))?;
        }
        "namespace" => {
            let index = orders::add_namespace(cluster, need("name")?, request.number("index")).await;
            return Ok(json!({"index": index}));
        }
        "remove" => {
            let kind = crate::table::Kind::from_topic(need("kind")?).ok_or("kind= is no topic with a table")?;
            orders::remove(cluster, kind, request.namespace(), need("id")?).await;
        }
        "rebuild" => {
            cluster.rebuild().await;
            if let Some(to) = request.number("to") {
                orders::play_to(cluster, to).await;
            }
        }
        "token" => {
            let policy = Policy {
                management: request.flag("management", false),
                namespaces: request.all("namespace").map(str::to_owned).collect(),
                node: request.flag("node", false),
                operator: request.flag("operator", false),
                ..Policy::default()
            };
            let id = need("id")?;
            cluster.change_acl(|acl| acl.set(id, policy));
        }
        "revoke" => {
            let id = need("id")?;
            cluster.change_acl(|acl| acl.revoke(id));
        }
        "broker" => {
            *lock(&cluster.broker) = match need("state")? {
                "enabled" => Broker::Enabled,
                "disabled" => Broker::Disabled,
                "failing" => Broker::Failing,
                "missing" => Broker::Missing,
                _ => return Err("state= is none of enabled, disabled, failing, missing".to_owned()),
            };
        }
        "old" => {
            let old = request.flag("on", true);
            *lock(&cluster.broker) = if old { Broker::Missing } else { Broker::Enabled };
            cluster.old.store(old, Ordering::Relaxed);
        }
        "elect" => locks::restart_timers(cluster, &context.tasks, &context.stop),
        "shuffle" => cluster.shuffle.store(request.flag("on", true), Ordering::Relaxed),
        _ => {
            for number in servers(context, request)? {
                server_order(context, request, name, number)?;
            }
        }
    }
    Ok(json!({}))
}

fn servers(context: &Context, request: &Request) -> Result<std::ops::Range<usize>, String> {
    let all = context.cluster.servers.len();
    match request.get("server") {
        None => Ok(0..all),
        Some(text) => match text.parse::<usize>() {
            Ok(number) if number < all => Ok(number..number + 1),
            _ => Err(format!("server= is no number below {all}")),
        },
    }
}

fn server_order(context: &Context, request: &Request, name: &str, number: usize) -> Result<(), String> {
    let server = &context.cluster.servers[number];
    let time = |name: &str| match request.get(name) {
        None => Ok(None),
        Some(text) => duration::parse(text).map(Some).ok_or(format!("{name}= is no duration such as 5s")),
    };
    match name {
        "drop" if request.flag("reset", false) => server.reset_connections(),
        "drop" => server.drop_connections(),
        "stall" if request.flag("all", false) => server.stall_all(),
        "stall" => server.stall(),
        "freeze" => server.freeze(),
        "unstall" => server.unstall(),
        "refuse" => refuse(context, number, time("for")?.unwrap_or(Duration::from_secs(5))),
        "restart" => server.restart(),
        "garbage" if request.body.is_empty() => server.inject(&b"!garbage, not JSON {[\n"[..]),
        "garbage" => server.inject([&request.body[..], b"\n"].concat()),
        "invalid-utf8" => server.inject(&b"{\"Events\":[{\"Topic\":\"\xff\xfe\"}],\"Index\":1}\n"[..]),
        "half-line" => server.cut_next_line(request.number("at")),
        "lists" => {
            if let Some(delay) = time("delay")? {
                server.slow_lists(delay);
            }
            if let Some(pause) = time("trickle")? {
                server.trickle(pause);
            }
            if request.get("cycle").is_some() {
                server.cycle_pages(request.flag("cycle", true));
            }
            if let Some(errors) = request.number("errors") {
                server.fail_lists(errors);
            }
        }
        "variables" => variable_faults(request, server, time("delay")?, time("answer")?),
        "hang" => server.hang(Hanging {
            pages: request.flag("pages", false),
            tables: request.flag("tables", false),
            objects: request.flag("objects", false),
            summaries: request.flag("summaries", false),
        }),
        "lag" => server.lag(lag(request)?),
        _ => return Err(format!("no such order: {name}")),
    }
    Ok(())
}

fn variable_faults(request: &Request, server: &Server, delay: Option<Duration>, answer: Option<Duration>) {
    if delay.is_some() || answer.is_some() {
        server.slow_variables(delay.unwrap_or_default(), answer.unwrap_or_default());
    }
    if let Some(errors) = request.number("errors") {
        server.fail_variables(errors);
    }
    if let Some(lost) = request.number("lost") {
        let how = if request.flag("closed", false) { Lost::Closed } else { Lost::Failed };
        server.lose_variable_answers(lost, how);
    }
    if let Some(late) = request.number("late") {
        server.late_variables(late);
    }
    if request.get("commit").is_some() {
        server.commit_late_variables();
    }
    let flag = |name: &str| request.get(name).map(|_| request.flag(name, false));
    if let Some(on) = flag("hang") {
        server.hang_variables(on);
    }
    if let Some(on) = flag("cut-off") {
        server.cut_off(on);
    }
    if let Some(on) = flag("deposed") {
        server.deposed(on);
    }
}

fn lag(request: &Request) -> Result<Lag, String> {
    match (request.number("by"), request.number("at"), request.get("none")) {
        (Some(by), None, None) => Ok(Lag::By(by)),
        (None, Some(at), None) => Ok(Lag::At(at)),
        (None, None, Some(_)) => Ok(Lag::None),
        _ => Err("one of by=N, at=INDEX, none is needed".to_owned()),
    }
}

fn refuse(context: &Context, number: usize, time: Duration) {
    context.cluster.servers[number].refuse(true);
    let context = context.clone();
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = context.stop.cancelled() => return,
        }
        let server: &Server = &context.cluster.servers[number];
        server.refuse(false);
    });
}
