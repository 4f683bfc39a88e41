//! `health`: asks a program that runs on this machine how it is, at its status listener.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{kind::Kind, settings::PipelineName};

/// How long the answer may take as a whole.
pub const WITHIN: Duration = Duration::from_secs(3);

/// The most bytes that are read of an answer.
const MOST: u64 = 64 << 10;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether the process makes progress: no restart is needed.
    Live,
    /// Whether each kind is led and delivered, or stands by.
    Ready,
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Question::Live => "/health/live",
            Question::Ready => "/health/ready",
        }
    }
}

/// The answer of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the answer is yes.
    pub is_well: bool,
    /// Its words, for a person.
    pub text: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be asked at this address.
    #[error(
        "cannot ask {url}: {}; check that nomad-firehose is running with this NOMAD_FIREHOSE_LISTEN",
        Cause(source)
    )]
    Unreachable {
        /// What was asked.
        url: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another HTTP server answers there.
    #[error("something else listens on {address}; check NOMAD_FIREHOSE_LISTEN")]
    Other {
        /// Where.
        address: SocketAddr,
    },
    /// Something else answers there.
    #[error("{url} gave no HTTP answer; another program may use this port, check NOMAD_FIREHOSE_LISTEN")]
    Foreign {
        /// What was asked.
        url: String,
    },
}

/// A time-out in words that name its length.
struct Cause<'a>(&'a io::Error);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => write!(f, "no answer within {}s", WITHIN.as_secs()),
            _ => self.0.fmt(f),
        }
    }
}

/// Asks the program that listens on `listen`.
///
/// # Errors
/// Nothing answers within [`WITHIN`], or something else than this program.
pub fn ask(listen: SocketAddr, question: Question) -> Result<Answer, Error> {
    let address = reachable(listen);
    let url = format!("http://{address}{}", question.path());
    let answer = exchange(address, question).map_err(|source| Error::Unreachable { url: url.clone(), source })?;
    let (status, text) = read(&answer).ok_or_else(|| Error::Foreign { url: url.clone() })?;
    let is_well = status == 200;
    if is_well && question == Question::Ready && text.is_empty() {
        let text = format!("{url} named no kind: nomad-firehose is starting, or something else listens on {address}");
        return Ok(Answer { is_well: false, text });
    }
    if is_well && !is_ours(question, &text) {
        return Err(Error::Other { address });
    }
    let text = if is_well { text } else { format!("{url} answered {status}\n{text}") };
    Ok(Answer { is_well, text })
}

/// Whether this program says that to a question with the status 200.
fn is_ours(question: Question, text: &str) -> bool {
    match question {
        Question::Live => text == "ok",
        Question::Ready => text.lines().all(is_of_kind),
    }
}

/// Whether a line is `KIND: …` or `PIPELINE/KIND: …`.
fn is_of_kind(line: &str) -> bool {
    let name = line.split_once(": ").map_or("", |(name, _)| name);
    let (pipeline, kind) = name.split_once('/').map_or((None, name), |(pipeline, kind)| (Some(pipeline), kind));
    kind.parse::<Kind>().is_ok() && pipeline.is_none_or(|name| name.parse::<PipelineName>().is_ok())
}

/// Where to connect to reach a listener on `listen`: one on every address of the machine is asked through loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    (ip, listen.port()).into()
}

/// Sends the question, and reads until the end of the answer.
fn exchange(address: SocketAddr, question: Question) -> io::Result<Vec<u8>> {
    let until = Instant::now() + WITHIN;
    // Zero is no time-out for the system, and an error for Rust.
    let left = || until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
    let left = || left().ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut));
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {} HTTP/1.0\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n", question.path());
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while (answer.len() as u64) < MOST {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The status and the body of an answer; `None` if it is not one of HTTP/1.
fn read(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.lines().next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok().filter(|status| (100..600).contains(status))?, body.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use proptest::prelude::*;

    use super::*;

    /// The address of a server that answers one request, and what that request was.
    fn serve(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 1024];
            let count = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("it reads");
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        (address, served)
    }

    #[test]
    fn the_answer_is_what_the_listener_says() {
        let (address, served) = serve("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
        let answer = ask(address, Question::Live).expect("an answer");
        assert_eq!(answer, Answer { is_well: true, text: "ok".to_owned() });
        assert!(served.join().expect("no panic").starts_with("GET /health/live HTTP/1.0\r\n"));
        let (address, served) = serve("HTTP/1.1 503 Service Unavailable\r\n\r\njobs: blocked: no sink\n");
        let answer = ask(address, Question::Ready).expect("an answer");
        let text = format!("http://{address}/health/ready answered 503\njobs: blocked: no sink");
        assert_eq!(answer, Answer { is_well: false, text });
        assert!(served.join().expect("no panic").starts_with("GET /health/ready HTTP/1.0\r\n"));
    }

    #[test]
    fn what_does_not_answer_is_named_and_does_not_hang() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        // The system accepts the connection, and nobody ever answers.
        let error = ask(address, Question::Live).expect_err("silence").to_string();
        assert!(error.contains("no answer within 3s") && error.contains("NOMAD_FIREHOSE_LISTEN"), "{error}");
        drop(listener);
        let error = ask(address, Question::Live).expect_err("nothing there").to_string();
        assert!(error.contains("refused") && error.contains(&address.to_string()), "{error}");
        let (address, _served) = serve("SSH-2.0-OpenSSH_9.2\r\n");
        let error = ask(address, Question::Live).expect_err("another program").to_string();
        assert!(error.contains("another program"), "{error}");
    }

    #[test]
    fn another_http_server_is_not_believed() {
        for (question, answer) in [
            (Question::Live, "HTTP/1.1 200 OK\r\n\r\n<html>\u{1b}[2Jok</html>"),
            (Question::Live, "HTTP/1.1 200 OK\r\n\r\n"),
            (Question::Ready, "HTTP/1.1 200 OK\r\n\r\nok"),
            (Question::Ready, "HTTP/1.1 200 OK\r\n\r\njobs: leader\nstatus: fine"),
        ] {
            let (address, _served) = serve(answer);
            let error = ask(address, question).expect_err(answer).to_string();
            assert!(error.contains(&format!("something else listens on {address}")), "{error}");
        }
        let (address, _served) = serve("HTTP/1.1 200 OK\r\n\r\n");
        let answer = ask(address, Question::Ready).expect("an answer");
        assert!(!answer.is_well && answer.text.contains("is starting"), "{answer:?}");
        let (address, _served) = serve("HTTP/1.1 200 OK\r\n\r\njobs: leader\nslack-1/nodes: standby: b leads\n");
        assert!(ask(address, Question::Ready).expect("ours").is_well);
    }

    #[test]
    fn a_listener_on_every_address_is_asked_through_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("10.1.2.3:9090", "10.1.2.3:9090"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), asked);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), head in "(HTTP/1\\.[01] )?.{0,20}(\r\n\r\n)?") {
            let whole = [head.as_bytes(), &bytes].concat();
            if let Some((status, _)) = read(&whole) {
                prop_assert!((100..600).contains(&status));
            }
        }
    }
}
