//! A real PostgreSQL: one cluster on loopback, with its data in a directory of its own, so that it can be ended and started again.
//!
//! Its commands are in the directory that `scripts/install-postgres` names, which installs them where it may. They refuse to run as
//! root: then they run as another user, whom the directory belongs to.

use std::{
    fs::File,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_postgres::{Client, NoTls};
use tokio_util::task::AbortOnDropHandle;

use super::{PATIENCE, Signal, ports::Ports};

/// Who may do everything, without a password.
pub const ADMIN: &str = "admin";
/// Who writes in the tests, and his password.
pub const WRITER: &str = "writer";
pub const PASSWORD: &str = "hush-hush";
/// The database.
pub const DATABASE: &str = "nomad";

/// Who may come from where. The first line that fits counts.
const ACCESS: &str = "local all all trust\nhost all admin 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n\
                      host all all 127.0.0.1/32 scram-sha-256\n";

/// A running cluster. Dropping it ends it and forgets its data.
#[derive(Debug)]
pub struct Postgres {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    settings: Vec<String>,
}

impl Postgres {
    /// Starts one with a database, and with a user who may do everything in it.
    pub async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// As [`start`](Postgres::start), with these settings (`name=value`), which are made for a directory that lives as long as the server.
    pub async fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Self {
        let directory = tempfile::Builder::new().prefix("postgres").tempdir().expect("a temporary directory");
        own(directory.path());
        let mut initdb = command("initdb");
        initdb.args(["-U", ADMIN, "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust", "--no-sync", "-D"]);
        let made = initdb.arg(directory.path().join("data")).output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(directory.path().join("data/pg_hba.conf"), ACCESS).expect("the directory can be written");
        let settings = settings(directory.path());
        let postgres = Self::serve_in(directory, settings).await;
        postgres.run("postgres", &format!("CREATE USER {WRITER} PASSWORD '{PASSWORD}'")).await;
        postgres.run("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {WRITER}")).await;
        postgres
    }

    /// A standby of this one, which takes no writes until it is promoted.
    pub async fn standby(&self) -> Self {
        let directory = tempfile::Builder::new().prefix("standby").tempdir().expect("a temporary directory");
        own(directory.path());
        let mut copy = command("pg_basebackup");
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d"]);
        copy.arg(format!("postgres://{ADMIN}@{}/postgres", self.address()));
        let made = copy.arg("-D").arg(directory.path().join("data")).output().expect("pg_basebackup runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::serve_in(directory, Vec::new()).await
    }

    async fn serve_in(directory: tempfile::TempDir, settings: Vec<String>) -> Self {
        let ports = Ports::reserve();
        let server = serve(directory.path(), &ports, &settings);
        let mut postgres = Postgres { server, directory, ports, settings };
        postgres.until_ready().await;
        postgres
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// What `SINK_POSTGRES_URL` can be.
    pub fn url(&self) -> String {
        url(&self.address())
    }

    /// The directory of its socket.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A connection of the one who may do everything.
    pub async fn client(&self) -> Client {
        self.connect(DATABASE).await.expect("it takes connections")
    }

    /// Executes statements in the database.
    pub async fn execute(&self, statements: &str) {
        self.run(DATABASE, statements).await;
    }

    async fn run(&self, database: &str, statements: &str) {
        let client = self.connect(database).await.expect("it takes connections");
        client
            .batch_execute(statements)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error}: {:?}", error.as_db_error()));
    }

    async fn connect(&self, database: &str) -> Option<Client> {
        let stream = TcpStream::connect(self.address()).await.ok()?;
        let mut config = tokio_postgres::Config::new();
        config.user(ADMIN).dbname(database);
        let (client, connection) = config.connect_raw(stream, NoTls).await.ok()?;
        // It ends with the client.
        tokio::spawn(connection);
        Some(client)
    }

    /// Ends it at once, as a crash does: transactions under way are gone, those that are committed stay.
    pub fn crash(&mut self) {
        self.signal(Signal::QUIT);
        self.server.wait().expect("it is our child");
    }

    /// Starts it again with the same data; ends it before, where it runs.
    pub async fn restart(&mut self) {
        self.crash();
        self.server = serve(self.directory.path(), &self.ports, &self.settings);
        self.until_ready().await;
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        // Until it is waited for, its id is nobody else's. It may have ended.
        rustix::process::kill_process(id, signal).ok();
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.connect("postgres").await.is_none() {
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("PostgreSQL is not ready; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The address of a server at this host and port.
pub fn url(address: &str) -> String {
    format!("postgres://{WRITER}:{PASSWORD}@{address}/{DATABASE}?sslmode=disable")
}

fn serve(directory: &Path, ports: &Ports, settings: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("out")).expect("a log file");
    let mut command = command("postgres");
    command.arg("-D").arg(directory.join("data")).args(["-p", &ports.base.to_string()]);
    // A machine that loses power is not what is tested: what is written is there after a crash of the server without this.
    let sockets = format!("unix_socket_directories={}", directory.display());
    for setting in ["listen_addresses=127.0.0.1", &sockets, "fsync=off"] {
        command.args(["-c", setting]);
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
    command.spawn().expect("PostgreSQL starts")
}

/// One of its commands, as a user who is not root.
fn command(name: &str) -> Command {
    let mut command = Command::new(binaries().join(name));
    command.env("LC_ALL", "C.UTF-8").current_dir("/");
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Gives a directory or a file to who runs the server.
pub fn own(path: &Path) {
    if let Some((user, group)) = other_user() {
        chown(path, Some(user), Some(group)).expect("root may");
    }
}

/// Who runs the server if we are root: the user whom the package makes, or else nobody.
fn other_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of = |name: &str| {
        let mut fields = users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(of("postgres").or_else(|| of("nobody")).expect("a user who is not root"))
}

/// The directory that the script gives, asked for once in a process.
pub fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| super::installed("postgres"))
}

/// What passes connections on. If it is told to, it lets no answer to a `COMMIT` through, nor anything after it.
#[derive(Debug)]
pub struct Swallow {
    pub address: String,
    is_on: Arc<AtomicBool>,
    _task: AbortOnDropHandle<()>,
}

impl Swallow {
    /// In front of this address.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let is_on = Arc::new(AtomicBool::new(false));
        let (server, on) = (server.to_owned(), Arc::clone(&is_on));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server.clone(), Arc::clone(&on)));
            }
        });
        Swallow { address, is_on, _task: AbortOnDropHandle::new(task) }
    }

    /// Whether it swallows from now on.
    pub fn set(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::SeqCst);
    }
}

/// Passes one connection on. The client sends `COMMIT` alone, when all before it is answered, so it is one packet.
async fn pass(mut client: TcpStream, server: String, is_on: Arc<AtomicBool>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let is_swallowing = AtomicBool::new(false);
    let forth = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            if buffer[..read].ends_with(b"COMMIT\0") && is_on.load(Ordering::SeqCst) {
                is_swallowing.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if !is_swallowing.load(Ordering::SeqCst) && to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        () = back => {}
    }
}
