//! A connection that is logged in, to a server that takes writes.
//!
//! No task serves it: who waits for an answer does. So nothing is sent once nobody waits, and a session that is dropped is gone,
//! together with what is still in its buffers.

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    path::Path,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::SinkExt as _;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_postgres::{
    Client, Connection, Error, NoTls, SimpleQueryMessage, Statement,
    tls::NoTlsStream,
    types::{ToSql, Type},
};

use super::{Config, Password, Settings, fault::Fault, rows::rows, table::Statements};
use crate::{
    files,
    identity::PRODUCT,
    kind::Kind,
    lease::LeaseState,
    record::Record,
    redact,
    sink::{
        ErrorClass,
        dial::{self, AtDrop, Place, Stream},
    },
};

/// How long the servers may take until one of them has taken the login, all together.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// A connection that was not used for so long is tried before a batch: a firewall may have forgotten it.
const IDLE: Duration = Duration::from_secs(30);

/// How long such a try may take.
const TRY: Duration = Duration::from_secs(5);

/// The largest password file.
const MAX: usize = 64 << 10;

/// Asks whether the server speaks TLS: the length and the code of `SSLRequest`,
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

type Wire = Connection<Box<dyn Stream>, NoTlsStream>;

/// An open connection. Dropping it ends it, and with it the transaction that is under way.
pub(super) struct Session {
    client: Client,
    wire: Wire,
    /// Its address, for messages.
    pub(super) server: String,
    within: Duration,
    stages: HashMap<Kind, Stage>,
    used: Instant,
}

/// The statements for one kind, ready in this session.
struct Stage {
    table: String,
    copy: Statement,
    insert: Statement,
}

impl Session {
    /// Connects to the first server that takes writes, beginning with `first`.
    pub(super) async fn open(settings: &Settings, first: &mut usize) -> Result<Self, Fault> {
        let servers = &settings.config.servers;
        let share = DEADLINE / u32::try_from(servers.len()).unwrap_or(u32::MAX).max(1);
        let mut failure = None;
        for _ in 0..servers.len() {
            let server = &servers[*first % servers.len()];
            match Session::open_at(settings, server, share).await {
                Ok(session) => return Ok(session),
                // A server that refuses says more than one that is away.
                Err(fault) => match &failure {
                    Some(Fault { class: ErrorClass::Refused, .. }) => {}
                    _ => failure = Some(fault),
                },
            }
            *first = (*first + 1) % servers.len();
        }
        Err(failure.expect("there is a server"))
    }

    /// Connects to this server, and logs in.
    pub(super) async fn open_at(settings: &Settings, place: &Place, within: Duration) -> Result<Self, Fault> {
        let server = shown(place);
        let fault = || {
            let fix = "check that PostgreSQL runs there, and SINK_POSTGRES_URL";
            Fault::new(ErrorClass::Timeout, format!("{server} did not take a login within {within:.1?}; {fix}"))
        };
        let opened = timeout(within, Session::opened(settings, place, &server, within)).await;
        opened.map_err(|_| fault())?.map_err(Fault::without_records)
    }

    async fn opened(settings: &Settings, place: &Place, server: &str, within: Duration) -> Result<Self, Fault> {
        let Settings { config, tls, .. } = settings;
        let login = login(config).await?;
        let stream = dialled(place, tls.as_ref(), server, within).await?;
        let connected = login.connect_raw(stream, NoTls).await;
        let (client, wire) = connected.map_err(|error| Fault::of_client(&error, server, None))?;
        let (server, stages) = (server.to_owned(), HashMap::new());
        let mut session = Session { client, wire, server, within: config.timeout, stages, used: Instant::now() };
        session.set_up().await?;
        Ok(session)
    }

    /// The server's version, as it says it.
    pub(super) fn version(&self) -> &str {
        self.wire.parameter("server_version").unwrap_or("of unknown version")
    }

    /// How the database stores text.
    pub(super) fn encoding(&self) -> &str {
        self.wire.parameter("server_encoding").unwrap_or_default()
    }

    /// Settings of the session; an error if the server takes no writes.
    async fn set_up(&mut self) -> Result<(), Fault> {
        let within = self.within.as_millis();
        // A timeout that cancels the wait for a synchronous standby lets COMMIT succeed without it: so this is none of ours, and
        // the sink's own deadlines do. A server that looks after the client ends what a torn session left, with its locks.
        let statements = format!(
            "SET statement_timeout = 0; SET lock_timeout = {within}; SET idle_in_transaction_session_timeout = 60000; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
             SELECT set_config(name, '10s', false) FROM pg_settings WHERE name = 'client_connection_check_interval' AND setting = '0'; \
             SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
        );
        let (client, server) = (&self.client, &self.server);
        let asked = async { step(server, self.within, "answer", None, client.simple_query(&statements)).await };
        let answers = served(&mut self.wire, server, asked).await?;
        let last = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some((row.get(0) == Some("t"), row.get(1) == Some("on"))),
            _ => None,
        });
        let what = match last {
            Some((true, _)) => "is a standby, which takes no writes",
            Some((_, true)) => "takes no writes (default_transaction_read_only)",
            _ => return Ok(()),
        };
        let fix = "name the primary, or all servers, in SINK_POSTGRES_URL";
        Err(Fault::new(ErrorClass::Refused, format!("{server} {what}; {fix}")))
    }

    /// Whether it can be used for a further batch.
    pub(super) async fn is_alive(&mut self) -> bool {
        // What came meanwhile, such as the word that the server stops.
        let ended = poll_fn(|cx| {
            loop {
                match self.wire.poll_message(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(true),
                    Poll::Pending => return Poll::Ready(false),
                }
            }
        });
        if ended.await {
            return false;
        }
        if self.used.elapsed() < IDLE {
            return true;
        }
        let asked = async { step(&self.server, TRY, "answer", None, self.client.simple_query("")).await };
        served(&mut self.wire, &self.server, asked).await.is_ok()
    }

    /// Writes these records in one transaction. After a fault about data, the session can be used again; after another one, it
    /// has to be dropped.
    pub(super) async fn write(&mut self, settings: &Settings, records: &[&Record]) -> Result<(), Fault> {
        let mut kinds: Vec<(Kind, Vec<&Record>)> = Vec::new();
        for record in records {
            match kinds.iter_mut().find(|(kind, _)| *kind == record.kind) {
                Some((_, of_kind)) => of_kind.push(record),
                None => kinds.push((record.kind, vec![record])),
            }
        }
        for (kind, of_kind) in &mut kinds {
            self.stage(settings, *kind).await.map_err(Fault::without_records)?;
            of_kind.sort_by(|a, b| a.id.cmp(&b.id));
        }
        let Session { client, wire, server, within, stages, .. } = self;
        let is_held = || records.iter().all(|record| record.ack.lease_state() == LeaseState::Held);
        let transaction = async {
            if !is_held() {
                return Err(Fault::unheld());
            }
            step(server, *within, "begin", None, client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")).await?;
            for (kind, of_kind) in &kinds {
                let Stage { table, copy, insert } = &stages[kind];
                let table = Some(table.as_str());
                let sink = step(server, *within, "begin to copy", table, client.copy_in(copy)).await?;
                let mut sink = pin!(sink);
                for piece in rows(of_kind.iter().copied(), settings.cluster.as_deref()) {
                    step(server, *within, "take a piece of a copy", table, sink.send(piece)).await?;
                }
                step(server, *within, "take a copy", table, sink.finish()).await?;
                step(server, *within, "insert", table, client.execute(insert, &[])).await?;
            }
            // From here on the outcome is the server's.
            if !is_held() {
                return Err(Fault::unheld());
            }
            let table = kinds.first().and_then(|(kind, _)| stages.get(kind)).map(|stage| stage.table.as_str());
            step(server, *within, "commit", table, client.batch_execute("COMMIT")).await
        };
        let written = served(wire, server, transaction).await;
        if matches!(&written, Err(Fault { class: ErrorClass::Rejected, .. })) {
            self.run("ROLLBACK", None).await.map_err(Fault::without_records)?;
        }
        self.used = Instant::now();
        written
    }

    /// Prepares what a kind needs in this session; creates its table if it is missing and may be created.
    async fn stage(&mut self, settings: &Settings, kind: Kind) -> Result<(), Fault> {
        if self.stages.contains_key(&kind) {
            return Ok(());
        }
        let Statements { table, create, stage_create, copy, insert } = settings.config.tables.statements(kind);
        // Asked first: who may not create tables may still write to one.
        if settings.config.creates && !self.exists(&table).await? {
            self.run(&create, Some(&table)).await?;
        }
        self.run(&stage_create, Some(&table)).await?;
        let Session { client, wire, server, within, .. } = self;
        let prepared = async {
            let copy = step(server, *within, "prepare", Some(&table), client.prepare(&copy)).await?;
            let insert = step(server, *within, "prepare", Some(&table), client.prepare(&insert)).await?;
            Ok((copy, insert))
        };
        let (copy, insert) = served(wire, server, prepared).await?;
        self.stages.insert(kind, Stage { table, copy, insert });
        Ok(())
    }

    /// Whether this table is there.
    pub(super) async fn exists(&mut self, table: &str) -> Result<bool, Fault> {
        let Session { client, wire, server, within, .. } = self;
        let named: [(&(dyn ToSql + Sync), Type); 1] = [(&table, Type::TEXT)];
        let asked = client.query_typed_one("SELECT to_regclass($1) IS NOT NULL", &named);
        let row = served(wire, server, step(server, *within, "answer", Some(table), asked)).await?;
        row.try_get(0).map_err(|error| Fault::of_client(&error, server, Some(table)))
    }

    /// Does all that a batch of this kind does, without a record, and takes it back. The session cannot be used for records then.
    pub(super) async fn rehearse(&mut self, settings: &Settings, kind: Kind) -> Result<(), Fault> {
        self.run("BEGIN", None).await?;
        let done = match self.stage(settings, kind).await {
            Ok(()) => {
                let Session { client, wire, server, within, stages, .. } = self;
                let Stage { table, insert, .. } = &stages[&kind];
                let inserted = step(server, *within, "insert", Some(table), client.execute(insert, &[]));
                served(wire, server, inserted).await.map(drop)
            }
            Err(fault) => Err(fault),
        };
        self.stages.clear();
        self.run("ROLLBACK", None).await?;
        done
    }

    async fn run(&mut self, statement: &str, table: Option<&str>) -> Result<(), Fault> {
        let Session { client, wire, server, within, .. } = self;
        served(wire, server, step(server, *within, "answer", table, client.batch_execute(statement))).await
    }
}

/// How messages name a server.
pub(super) fn shown(place: &Place) -> String {
    match place {
        Place::Tcp { .. } => format!("postgres://{place}"),
        Place::Path(_) => place.to_string(),
    }
}

/// An open stream to the server, with TLS if there is to be TLS.
async fn dialled(
    place: &Place,
    tls: Option<&Arc<ClientConfig>>,
    server: &str,
    within: Duration,
) -> Result<Box<dyn Stream>, Fault> {
    let of_io = |error| Fault::of_io(&error, server);
    let (Some(tls), Place::Tcp { host, port }) = (tls, place) else {
        let dialled = dial::dial(place, None, AtDrop::Discard, within).await;
        return dialled.map(|dialled| dialled.stream).map_err(of_io);
    };
    let mut stream = dial::tcp(host, *port, AtDrop::Discard, within).await.map_err(of_io)?;
    stream.write_all(&SSL_REQUEST).await.map_err(of_io)?;
    match stream.read_u8().await.map_err(of_io)? {
        b'S' => dial::secure(stream, tls, host).await.map_err(of_io),
        b'N' => Err(Fault::without_tls(server)),
        _ => Err(Fault::new(
            ErrorClass::Connection,
            format!("{server} does not speak PostgreSQL's protocol; correct SINK_POSTGRES_URL"),
        )),
    }
}

/// Whom the client logs in as.
async fn login(config: &Config) -> Result<tokio_postgres::Config, Fault> {
    let mut login = tokio_postgres::Config::new();
    login.user(&config.user).dbname(&config.database).application_name(PRODUCT);
    // TLS is below, where there is any.
    login.ssl_mode(tokio_postgres::config::SslMode::Disable);
    if let Some(options) = &config.options {
        login.options(options);
    }
    match &config.password {
        Password::None => {}
        Password::Text(password) => drop(login.password(password.expose())),
        Password::File(file) => {
            let text = read(file).await?;
            redact::renew(text.trim());
            login.password(text.trim());
        }
    }
    Ok(login)
}

/// Reads the password file, once for each connection: others renew it.
async fn read(path: &Path) -> Result<String, Fault> {
    let file = path.to_owned();
    let read = spawn_blocking(move || files::read(&file, MAX)).await;
    let wrong = |why: String| {
        let text = format!("SINK_POSTGRES_PASSWORD_FILE names {}: {why}", path.display());
        Fault::new(ErrorClass::Local, text)
    };
    let bytes = read.map_err(|error| wrong(error.to_string()))?.map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| wrong("not UTF-8; write the password in UTF-8".to_owned()))
}

/// The answer to one step, within this time.
async fn step<T>(
    server: &str,
    within: Duration,
    what: &str,
    table: Option<&str>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Fault> {
    match timeout(within, answer).await {
        Ok(answer) => answer.map_err(|error| Fault::of_client(&error, server, table)),
        Err(_) => Err(Fault::late(server, what, within)),
    }
}

/// Serves the connection while `work` waits for its answers.
async fn served<T>(wire: &mut Wire, server: &str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            let ended = match wire.poll_message(cx) {
                // A notice.
                Poll::Ready(Some(Ok(_))) => continue,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(ended) => ended,
            };
            // The answer may have come together with the end.
            if let Poll::Ready(done) = work.as_mut().poll(cx)
                && !matches!(&done, Err(Fault { class: ErrorClass::Connection, .. }))
            {
                return Poll::Ready(done);
            }
            return Poll::Ready(Err(match ended {
                Some(Err(error)) => Fault::of_client(&error, server, None),
                _ => Fault::new(ErrorClass::Connection, format!("{server} ended the connection")),
            }));
        }
    })
    .await
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("server", &self.server).finish_non_exhaustive()
    }
}
