//! The sink `nsq`: a topic of its own for each check, on one nsqd. It refuses what the rig wants refused through a proxy that knows its protocol: of its own
//! accord it refuses only what is too large, and so no record among others of the same size.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    common::{
        gate::Gate,
        nsq::{Consumer, Nsqd},
        order::Leaps,
    },
    rig::{Cause, Rig, suffer_at, written},
};

const SECRET: &str = "hush-hush";
const REFUSAL: &str = "E_BAD_MESSAGE MPUB refused by the test";

/// The server that checks share as long as any of them runs.
static SERVER: Mutex<Weak<Nsqd>> = Mutex::const_new(Weak::new());

async fn server() -> Arc<Nsqd> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Nsqd::start_with_secret(SECRET, ".*", &[]).await);
    *shared = Arc::downgrade(&server);
    server
}

/// Which topics there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topics {
    One,
    /// One for each mark.
    Marks,
}

/// A server behind a proxy behind a gate, and consumers that do not go through them.
struct Rigged {
    gate: Gate,
    proxy: Proxy,
    /// The setting.
    topic: String,
    /// Each topic, with its consumer and how many it has taken.
    consumers: Vec<(String, Consumer, u64)>,
    server: Arc<Nsqd>,
}

impl Rigged {
    async fn start(topics: Topics) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let name = format!("check-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let proxy = Proxy::start(server.address()).await;
        let gate = Gate::start(&proxy.address).await;
        let (topic, names) = match topics {
            Topics::One => (name.clone(), vec![name]),
            Topics::Marks => (
                format!("{name}.{{TriggeredBy}}"),
                ["default", "busy", "other"].map(|mark| format!("{name}.{mark}")).into(),
            ),
        };
        let mut consumers = Vec::new();
        for name in names {
            let consumer = server.consumer(&name).await;
            consumers.push((name, consumer, 0));
        }
        Rigged { gate, proxy, topic, consumers, server }
    }
}

impl Rig for Rigged {
    /// After a failure, no later record of its topic is sent.
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = REFUSAL;
    const SECRETS: &'static [&'static str] = &[SECRET];

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "nsq".into()),
            ("SINK_NSQ_ADDR", self.gate.addr().to_string()),
            ("SINK_NSQ_TOPIC_NAME", self.topic.clone()),
            ("SINK_NSQ_AUTH_SECRET", SECRET.into()),
            // However long a busy machine stands still.
            ("SINK_NSQ_ACK_TIMEOUT", "30s".into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let mut bodies = Vec::new();
        for (topic, consumer, taken) in &mut self.consumers {
            let count = self.server.count(topic).await;
            bodies.extend(consumer.take(usize::try_from(count - *taken).expect("a few")).await);
            *taken = count;
        }
        bodies
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            Cause::Partial => self.proxy.refuse(written("busy"), "E_MPUB_FAILED MPUB failed exiting"),
            Cause::Refusing => self.proxy.refuse(written("other"), REFUSAL),
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.proxy.refuse(String::new(), "");
        self.gate.open();
    }
}

/// What commands are refused: those with this text in their body, with these words. None if the text is empty.
type Refusing = (String, &'static str);

/// Passes commands on to an nsqd, and its answers back. It refuses some, and then ends the connection, as nsqd does.
struct Proxy {
    address: String,
    refusing: watch::Sender<Refusing>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (refusing, seen) = watch::channel((String::new(), ""));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(through(client, server.clone(), seen.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Proxy { address, refusing, _task: AbortOnDropHandle::new(task) }
    }

    fn refuse(&self, text: String, words: &'static str) {
        self.refusing.send_replace((text, words));
    }
}

async fn through(client: TcpStream, server: String, refusing: watch::Receiver<Refusing>) -> io::Result<()> {
    let (client, mut to_client) = client.into_split();
    let (server, mut to_server) = TcpStream::connect(server).await?.into_split();
    let (sender, mut commands) = mpsc::channel(1);
    let _reading = AbortOnDropHandle::new(tokio::spawn(async move {
        let mut client = BufReader::new(client);
        let mut magic = vec![0; 4];
        client.read_exact(&mut magic).await?;
        sender.send((magic, false)).await.ok();
        while let Some(command) = command(&mut client).await? {
            sender.send(command).await.ok();
        }
        Ok::<_, io::Error>(())
    }));
    let (sender, mut frames) = mpsc::channel(1);
    let _answering = AbortOnDropHandle::new(tokio::spawn(answers(BufReader::new(server), sender)));
    // How many commands have no answer yet.
    let mut due = 0;
    let mut refused = None;
    while refused.is_none() || due > 0 {
        tokio::select! {
            command = commands.recv(), if refused.is_none() => {
                let Some((command, is_answered)) = command else { return Ok(()) };
                let (text, words) = refusing.borrow().clone();
                if !text.is_empty() && memchr::memmem::find(&command, text.as_bytes()).is_some() {
                    refused = Some(words);
                } else {
                    due += u32::from(is_answered);
                    to_server.write_all(&command).await?;
                }
            }
            frame = frames.recv() => {
                let Some(frame) = frame else { return Ok(()) };
                due -= u32::from(!frame.ends_with(b"_heartbeat_"));
                to_client.write_all(&frame).await?;
            }
        }
    }
    let words = refused.unwrap_or_default().as_bytes();
    let size = u32::try_from(4 + words.len()).expect("a few bytes");
    to_client.write_all(&[&size.to_be_bytes()[..], &1_u32.to_be_bytes(), words].concat()).await
}

/// Passes on what nsqd says, frame by frame.
async fn answers(mut server: impl tokio::io::AsyncRead + Unpin, frames: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let size = server.read_u32().await?;
        let mut frame = size.to_be_bytes().to_vec();
        frame.resize(4 + size as usize, 0);
        server.read_exact(&mut frame[4..]).await?;
        frames.send(frame).await.ok();
    }
}

/// The next command, and whether nsqd answers it.
async fn command(client: &mut BufReader<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Option<(Vec<u8>, bool)>> {
    let mut command = Vec::new();
    if client.read_until(b'\n', &mut command).await? == 0 {
        return Ok(None);
    }
    if command == b"NOP\n" {
        return Ok(Some((command, false)));
    }
    let size = client.read_u32().await?;
    command.extend(size.to_be_bytes());
    let head = command.len();
    command.resize(head + size as usize, 0);
    client.read_exact(&mut command[head..]).await?;
    Ok(Some((command, true)))
}

mod topic {
    suite! {
        super::Rigged::start(super::Topics::One).await;
        order_per_key: passes,
        partial_failure: "one answer is for all records of a topic: see marks",
        unknown_outcome: passes,
        reject_with_stop: passes,
        reject_to_file: passes,
        drain_on_stop: passes,
        reconnect: passes,
        back_pressure: passes,
        bytes_in_flight: passes,
        secrets: passes,
        kill_in_mid_batch: passes,
    }
}

mod marks {
    suite! {
        super::Rigged::start(super::Topics::Marks).await;
        order_per_key: "there is no order between topics",
        partial_failure: passes,
        unknown_outcome: "as with one topic",
        reject_with_stop: "as with one topic",
        reject_to_file: "as with one topic",
        drain_on_stop: "as with one topic",
        reconnect: "as with one topic",
        back_pressure: "as with one topic",
        bytes_in_flight: "as with one topic",
        secrets: "as with one topic",
        kill_in_mid_batch: "as with one topic",
    }
}
