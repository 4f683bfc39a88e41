//! A far side that echoes our requests: no secret of ours comes into what needs no login to be read.

mod common;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use common::{
    Setup,
    made::evaluation,
    ports::Ports,
    probe::{get, viewed},
};
use nomad_sim::Sim;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

const TOKEN: &str = "6d0f9b2e-57ac-4c1b-8f8e-9a3c0b7d4e21";
const PASSWORD: &str = "pa\"ss/wo&rd+7<x>";
const HEADER: &str = "tenant key/of \"ours\"";
const SHORT: &str = "hush";

/// What stands before each echo: it shows that the echo itself was quoted.
const MARK: &str = "ECHOED";

/// A proxy that answers every request with a page that holds all of it, in several ways.
struct Echo {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// Whether the program shows what it says. An echo with 200 is no answer of Nomad or Consul: it is named, and not shown.
    is_quoted: bool,
    _task: AbortOnDropHandle<()>,
}

impl Echo {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo(stream, status, Arc::clone(&count)));
            }
        });
        Echo { address, asked, is_quoted: status != 200, _task: AbortOnDropHandle::new(task) }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn echo(stream: TcpStream, status: u16, asked: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = request(&mut stream).await {
        asked.fetch_add(1, Ordering::Relaxed);
        let json = serde_json::to_string(&request).expect("text");
        let html = request.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
        // On 200, each is an answer that nobody can read.
        let page = match request.to_ascii_lowercase().contains("x-amz-target") {
            true => format!("{{\"__type\":\"AccessDeniedException\",\"message\":\"{MARK} {}}}", &json[1..]),
            false => format!("{MARK} {request}\n{json}x\n<pre>{html}</pre>\n{}\n", BASE64.encode(&request)),
        };
        // A page of HTML is named, and not shown.
        let kind = if status == 200 { "text/html" } else { "text/plain" };
        let head = format!("HTTP/1.1 {status} Bad\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", page.len());
        if stream.write_all((head + &page).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request: its head, and its body.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        text += &line;
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(text + &String::from_utf8_lossy(&body))
}

/// Every form in which a secret of these tests could be seen.
fn forms() -> Vec<String> {
    let plain = [TOKEN, PASSWORD, HEADER, SHORT].map(str::to_owned);
    let pairs = [PASSWORD, SHORT].map(|password| format!("me:{password}"));
    let mut forms: Vec<String> = plain.iter().chain(&pairs).map(|text| BASE64.encode(text)).collect();
    for text in &plain {
        let json = serde_json::to_string(text).expect("text");
        forms.push(json.trim_matches('"').to_owned());
        forms.push(text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;"));
    }
    forms.extend(plain);
    forms.iter().map(|form| form.trim_end_matches('=').to_owned()).collect()
}

/// Runs the program until the far side was asked some times, and looks at all it shows.
async fn assert_hidden(setup: Setup, far: &Echo, letters: Option<&Path>) {
    let ports = Ports::reserve();
    let port = ports.base;
    let process = setup
        .env("NOMAD_FIREHOSE_LISTEN", format!("127.0.0.1:{port}"))
        .env("LOG_LEVEL", "debug")
        // What the far side refuses cannot be drained.
        .env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "1s")
        .spawn();
    // What was answered to the first requests is spoken of by then.
    process.until("the far side is asked", || far.asked() >= 4).await;
    let mut seen = String::new();
    for path in ["readyz", "", "metrics", "status"] {
        seen += &get(&format!("http://127.0.0.1:{port}/{path}")).await;
    }
    seen += &viewed(port).await;
    if let Some(path) = letters {
        process.until("there is a dead letter", || path.metadata().is_ok_and(|file| file.len() > 0)).await;
        seen += &std::fs::read_to_string(path).expect("readable");
    }
    let ended = process.end_by(common::Signal::TERM).await;
    seen += &ended.log;
    assert_eq!(seen.contains(MARK), far.is_quoted, "where nothing is quoted, nothing is hidden:\n{seen}");
    // What the log escapes is looked at as it was, too.
    let plain = seen.replace("\\\"", "\"").replace("\\\\", "\\");
    for form in forms() {
        assert!(!seen.contains(&form) && !plain.contains(&form), "{form:?} is shown:\n{seen}");
    }
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn nomad_may_echo_what_it_likes() {
    for (status, password) in [(502, PASSWORD), (400, PASSWORD), (403, SHORT), (200, PASSWORD)] {
        let far = Echo::start(status).await;
        let url = format!("http://me:{}@{}", percent(password), far.address);
        let setup = Setup::new(&["run", "--resources", "evaluations,events"], &url).env("NOMAD_TOKEN", TOKEN);
        assert_hidden(setup, &far, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consul_may_echo_what_it_likes() {
    let sim = Sim::builder().start().await.expect("starts");
    for status in [502, 403, 200] {
        let far = Echo::start(status).await;
        let setup = Setup::new(&["evaluations"], &sim.url(0))
            .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
            .env("CONSUL_HTTP_ADDR", format!("http://{}", far.address))
            .env("CONSUL_HTTP_TOKEN", TOKEN)
            .env("CONSUL_HTTP_AUTH", format!("me:{PASSWORD}"));
        assert_hidden(setup, &far, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sinks_server_may_echo_what_it_likes() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).expect("writable");
    for (status, name, value) in [
        (502, "SINK_HTTP_AUTH", format!("me:{PASSWORD}")),
        (403, "SINK_HTTP_AUTH", format!("me:{SHORT}")),
        (400, "SINK_HTTP_TOKEN_FILE", token.display().to_string()),
        (400, "SINK_HTTP_HEADERS", format!("x-key: {HEADER}")),
    ] {
        let sim = Sim::builder().start().await.expect("starts");
        sim.append_lines((20..30).map(|index| evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
        let far = Echo::start(status).await;
        let letters = directory.path().join(format!("letters-{status}-{name}"));
        let setup = Setup::new(&["evaluations"], &sim.url(0))
            .env("SINK_TYPE", "http")
            .env("SINK_HTTP_ADDRESS", format!("http://{}/records?token={TOKEN}", far.address))
            .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", letters.display()))
            .env(name, value);
        assert_hidden(setup, &far, (status == 400).then_some(&*letters)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_of_a_webhook_may_echo_what_it_likes() {
    let directory = tempfile::tempdir().expect("a directory");
    for (status, sink) in [
        (404, "slack"),
        (502, "slack"),
        (400, "discord"),
        (403, "teams"),
        (400, "pagerduty"),
        (403, "pagerduty"),
        (400, "alertmanager"),
        (401, "alertmanager"),
    ] {
        let sim = Sim::builder().start().await.expect("starts");
        sim.append_lines((20..30).map(|index| evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
        let far = Echo::start(status).await;
        let (prefix, letters) = (sink.to_uppercase(), directory.path().join(format!("letters-{status}-{sink}")));
        let url = match sink {
            "pagerduty" => format!("http://{}/v2/enqueue", far.address),
            "alertmanager" => format!("http://me:{}@{}", percent(PASSWORD), far.address),
            "teams" => format!("http://{}/workflows/1/invoke?sig={TOKEN}", far.address),
            _ => format!("http://{}/hooks/{TOKEN}", far.address),
        };
        let mut setup = Setup::new(&["evaluations"], &sim.url(0))
            .env("SINK_TYPE", sink)
            .env("NOMAD_FIREHOSE_NOTIFY_WINDOW", "0s")
            .env(&format!("SINK_{prefix}_URL"), url)
            .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", letters.display()));
        if sink == "pagerduty" {
            setup = setup.env("SINK_PAGERDUTY_ROUTING_KEY", TOKEN);
        }
        // PagerDuty's words about a key are no words about the event.
        let is_rejected = status == 400 && sink != "pagerduty";
        assert_hidden(setup, &far, is_rejected.then_some(&*letters)).await;
    }
}

#[cfg(feature = "kinesis")]
#[tokio::test(flavor = "multi_thread")]
async fn kinesis_may_echo_what_it_likes() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.append_lines((20..30).map(|index| evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
    for status in [400, 403] {
        let far = Echo::start(status).await;
        let setup = Setup::new(&["evaluations"], &sim.url(0))
            .env("SINK_TYPE", "kinesis")
            .env("SINK_KINESIS_STREAM_NAME", "nomad")
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL", format!("http://{}", far.address))
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", PASSWORD)
            .env("AWS_SESSION_TOKEN", TOKEN);
        assert_hidden(setup, &far, None).await;
    }
}

/// A broker that refuses the login in words that hold the password. A real one does not say it.
#[cfg(feature = "amqp")]
mod amqp {
    use super::*;

    /// A method of channel 0 in its frame.
    fn frame(class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&[1, 0, 0][..], &length, &payload, &[0xCE]].concat()
    }

    async fn refuse(mut stream: TcpStream, asked: Arc<AtomicUsize>) -> std::io::Result<()> {
        let mut header = [0; 8];
        stream.read_exact(&mut header).await?;
        // `connection.start`: version 0.9, no properties, PLAIN, en_US.
        let start = [&[0, 9, 0, 0, 0, 0, 0, 0, 0, 5][..], b"PLAIN", &[0, 0, 0, 5], b"en_US"].concat();
        stream.write_all(&frame(10, 10, &start)).await?;
        let mut login = vec![0; 4096];
        let read = stream.read(&mut login).await?;
        assert!(String::from_utf8_lossy(&login[..read]).contains(PASSWORD), "the login holds the password");
        asked.fetch_add(1, Ordering::Relaxed);
        // `connection.close`: code, text, and the method that it is about.
        let text = format!("{MARK} ACCESS_REFUSED - login refused for me with {PASSWORD}");
        let length = u8::try_from(text.len()).expect("a short string");
        let close = [&403_u16.to_be_bytes()[..], &[length], text.as_bytes(), &[0, 10, 0, 11]].concat();
        stream.write_all(&frame(10, 50, &close)).await?;
        while stream.read(&mut login).await? > 0 {}
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_broker_may_echo_what_it_likes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(refuse(stream, Arc::clone(&count)));
            }
        });
        let far = Echo { address, asked, is_quoted: true, _task: AbortOnDropHandle::new(task) };
        let sim = Sim::builder().start().await.expect("starts");
        sim.append_lines((20..30).map(|index| evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
        let setup = Setup::new(&["evaluations"], &sim.url(0))
            .env("SINK_TYPE", "amqp")
            .env("SINK_AMQP_CONNECTION", format!("amqp://me:{}@{address}", percent(PASSWORD)))
            .env("SINK_AMQP_EXCHANGE", "nomad")
            .env("SINK_AMQP_ROUTING_KEY", "nomad");
        assert_hidden(setup, &far, None).await;
    }
}
