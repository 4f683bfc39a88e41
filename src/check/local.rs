//! What a run needs of this machine: the dead-letter file, the listen address, certificates that are still valid.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{
    clock::{Clock, Hang},
    in_pipeline,
};
use crate::{
    config::{Pipeline, Shared},
    dead_letter::{DeadLetters, Place},
    finding::Finding,
    tls,
};

const DISK: Hang = Hang { who: "the file system", fix: "check the disk of NOMAD_FIREHOSE_DEAD_LETTER" };
const LISTENER: Hang = Hang { who: "what listens there", fix: "set NOMAD_FIREHOSE_LISTEN to another address" };

/// How long the program on the listen address may take.
const WITHIN: Duration = Duration::from_secs(2);
/// How much of its answer is read.
const MOST: u64 = 64 << 10;

/// Fewer days left are a warning, as in the log.
const SOON: i64 = 7;
const DAY: i64 = 24 * 60 * 60;

pub(super) async fn check(shared: &Shared, pipelines: &[Pipeline], clock: Clock) -> Vec<Finding> {
    let letters = join_all(pipelines.iter().map(|pipeline| dead_letters(pipeline, clock)));
    let (mut findings, listen) = tokio::join!(letters, listen(shared.listen, clock));
    findings.push(listen);
    findings
}

async fn dead_letters(pipeline: &Pipeline, clock: Clock) -> Finding {
    let what = in_pipeline(pipeline, "dead letters");
    let path = match &pipeline.dead_letter {
        Place::Stop => return Finding::ok(what, "stop: a record that the sink rejects holds up the pipeline"),
        Place::Log => return Finding::ok(what, "log: a record that the sink rejects is logged and dropped"),
        Place::File(path) => path,
    };
    let check = async {
        match DeadLetters::new(pipeline.dead_letter.clone()).check().await {
            Ok(()) => Finding::ok(&what, format!("{} can be written", path.display())),
            Err(error) => Finding::of_setting(
                &what,
                format!("{error}; name a regular file that this program may write in NOMAD_FIREHOSE_DEAD_LETTER"),
            ),
        }
    };
    clock.timed(&what, DISK, check).await
}

/// Whether the address is free, or held by a program like this one, which may be the service itself.
async fn listen(address: Option<SocketAddr>, clock: Clock) -> Finding {
    const WHAT: &str = "listen address";
    let Some(address) = address else {
        return Finding::ok(WHAT, "none: no status page, no metrics, no health checks");
    };
    let check = async {
        match TcpListener::bind(address).await {
            Ok(_) => Finding::ok(WHAT, format!("{address} is free")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match timeout(WITHIN, is_ours(address)).await {
                Ok(Ok(true)) => Finding::ok(WHAT, format!("a running nomad-firehose holds {address}")),
                _ => {
                    let text = format!("another program holds {address}");
                    Finding::failed(WHAT, text, "stop that program, or set NOMAD_FIREHOSE_LISTEN to a free address")
                }
            },
            Err(error) => {
                let text = format!("cannot listen on {address}: {error}");
                Finding::failed(WHAT, text, "set NOMAD_FIREHOSE_LISTEN to a free address of this machine")
            }
        }
    };
    clock.timed(WHAT, LISTENER, check).await
}

/// Whether the program there serves our metrics. The address can stand for all interfaces, and then this machine is asked.
async fn is_ours(address: SocketAddr) -> io::Result<bool> {
    let mut asked = address;
    if asked.ip().is_unspecified() {
        asked.set_ip(if asked.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let mut stream = TcpStream::connect(asked).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).contains("nomad_firehose_"))
}

/// The certificates of our files, and those that servers presented. What is well gets no line of its own.
pub(super) fn certificates() -> Vec<Finding> {
    let ours = tls::validities().into_iter().filter_map(|valid| {
        let what = format!("certificate {}", valid.variable);
        let fix = format!("renew {}; a run reads it again when it changes", valid.path.display());
        expiring(&what, &format!("{}", valid.path.display()), valid.at, &fix)
    });
    let theirs = tls::presented().into_iter().map(|presented| {
        let tls::OfServer { role, server, until } = presented;
        let what = format!("certificate of {role}");
        let fix = format!("renew the certificate of {server}");
        expiring(&what, &server, until, &fix)
            .unwrap_or_else(|| Finding::ok(what, format!("{server}: valid for {} days", (until - now()) / DAY)))
    });
    ours.chain(theirs).collect()
}

/// A finding, if the time is soon or over.
fn expiring(what: &str, whose: &str, at: i64, fix: &str) -> Option<Finding> {
    let left = at - now();
    let date = UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or_default());
    let date = humantime::format_rfc3339_seconds(date);
    if left <= 0 {
        return Some(Finding::failed(what, format!("{whose} expired at {date}"), fix));
    }
    (left < SOON * DAY)
        .then(|| Finding::warning(what, format!("{whose} expires at {date}, in {} days", left / DAY), fix))
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
