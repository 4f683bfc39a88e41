//! A real RabbitMQ: one node on loopback, with its data in a directory of its own, so that it can be killed and started
//! again.
//!
//! Its commands are those that `scripts/install-rabbitmq` names, which installs them where it may.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{PATIENCE, Signal, ports::Ports};

/// So many nodes at a time in one process: each needs some seconds of a processor to start.
static NODES: Semaphore = Semaphore::const_new(3);

/// A running node. Dropping it kills it and forgets its data.
#[derive(Debug)]
pub struct Rabbitmq {
    server: Child,
    /// The name service of Erlang's nodes. It is ours: one that a node starts would outlive it.
    names: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    _node: SemaphorePermit<'static>,
}

impl Rabbitmq {
    /// Starts one, and waits until it takes connections.
    pub async fn start() -> Self {
        Self::start_with(|_, _| String::new()).await
    }

    /// As [`start`](Rabbitmq::start), with these settings of the application `rabbit`, Erlang terms with commas between
    /// them. They are made for a free port, and a directory that lives as long as the node.
    pub async fn start_with(settings: impl FnOnce(u16, &Path) -> String) -> Self {
        let node = NODES.acquire().await.expect("nobody closes it");
        let directory = tempfile::Builder::new().prefix("rabbitmq").tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("plugins"), "[].\n").expect("the directory can be written");
        // Readable by its owner alone, as Erlang wants it, and there before two of its processes would make one.
        write_cookie(&directory.path().join(".erlang.cookie"));
        let ports = Ports::reserve();
        configure(directory.path(), &settings(ports.base + 3, directory.path()));
        let mut names = command("epmd".as_ref(), directory.path(), &ports);
        names.args(["-port", &(ports.base + 2).to_string(), "-address", "127.0.0.1"]);
        let names = names.spawn().expect("epmd starts");
        let server = serve(directory.path(), &ports);
        let mut rabbitmq = Rabbitmq { server, names, directory, ports, _node: node };
        rabbitmq.until_ready().await;
        rabbitmq
    }

    /// What `SINK_AMQP_CONNECTION` can be.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}/", self.ports.address())
    }

    /// The port that is for the settings of [`start_with`](Rabbitmq::start_with).
    pub fn further_port(&self) -> u16 {
        self.ports.base + 3
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default()
    }

    /// Runs `rabbitmqctl` and gives what it prints.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let (is_well, printed) = self.try_ctl(arguments).await;
        assert!(is_well, "rabbitmqctl {arguments:?}: {printed}");
        printed
    }

    /// Closes all connections, as an operator does.
    pub async fn close_connections(&self) {
        self.ctl(&["close_all_connections", "a test"]).await;
    }

    /// Closes all connections again and again, until it is told to stop or the node ends. The node does it by itself: a
    /// command each time would need a good part of a processor. The pauses begin with `first`, and each is longer than
    /// the one before by a quarter: however long a new connection takes, at some time something passes in between.
    pub async fn keep_closing_connections(&self, first: Duration) {
        let program = format!(
            "Close = fun Close(Pause) -> timer:sleep(Pause), \
             rabbit_networking:close_connections(rabbit_networking:connections(), \"a test\"), \
             Close(Pause + Pause div 4) end, register(closer, spawn(fun() -> Close({}) end)).",
            first.as_millis()
        );
        self.ctl(&["eval", &program]).await;
    }

    /// Leaves them open from now on.
    pub async fn stop_closing_connections(&self) {
        self.ctl(&["eval", "exit(whereis(closer), kill)."]).await;
    }

    /// How many connections it has closed because it was told to, over all its starts.
    pub fn closed_connections(&self) -> usize {
        let log = std::fs::read_to_string(self.directory.path().join("log/test@localhost.log")).unwrap_or_default();
        log.matches("caused a connection exception connection_forced").count()
    }

    /// Raises the memory alarm, which blocks whoever publishes, or lets go of it.
    pub async fn alarm(&self, on: bool) {
        self.ctl(&["set_vm_memory_high_watermark", if on { "0" } else { "0.4" }]).await;
    }

    /// Kills it, as a machine that loses power does. What it had confirmed of durable queues is kept.
    pub fn kill(&mut self) {
        kill(&mut self.server);
    }

    /// Starts it again, on the same ports with the same data; kills it before, where it runs. Waits until it is ready.
    pub async fn restart(&mut self) {
        self.kill();
        self.server = serve(self.directory.path(), &self.ports);
        self.until_ready().await;
    }

    /// The same, with other settings of the application `rabbit`.
    pub async fn restart_with(&mut self, settings: &str) {
        configure(self.directory.path(), settings);
        self.restart().await;
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (is_ready, said) = self.try_ctl(&["await_startup", "--timeout", "5"]).await;
            let is_ready = is_ready && tokio::net::TcpStream::connect(("127.0.0.1", self.ports.base)).await.is_ok();
            if is_ready {
                return;
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                panic!("RabbitMQ is not ready: {said}; it ended: {ended:?}; its log:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_ctl(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = command(&binaries().join("rabbitmqctl"), self.directory.path(), &self.ports);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        let output = output.expect("rabbitmqctl ends in time").expect("rabbitmqctl starts");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

impl Drop for Rabbitmq {
    fn drop(&mut self) {
        kill(&mut self.server);
        kill(&mut self.names);
    }
}

fn configure(directory: &Path, settings: &str) {
    let settings = format!("[{{rabbit, [{settings}]}}].\n");
    std::fs::write(directory.join("advanced.config"), settings).expect("the directory can be written");
}

fn serve(directory: &Path, ports: &Ports) -> Child {
    command(&binaries().join("rabbitmq-server"), directory, ports).spawn().expect("RabbitMQ starts")
}

/// A command that knows the node, and nothing of any other one on this machine.
fn command(program: &Path, directory: &Path, ports: &Ports) -> Command {
    let log = File::options().create(true).append(true).open(directory.join("out")).expect("a log file");
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("ERL_EPMD_PORT", (ports.base + 2).to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", "test@localhost")
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", ports.base.to_string())
        .env("RABBITMQ_DIST_PORT", (ports.base + 1).to_string())
        .env("RABBITMQ_MNESIA_BASE", directory.join("data"))
        .env("RABBITMQ_LOG_BASE", directory.join("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("plugins"))
        // There are none: the machine's own would say otherwise.
        .env("RABBITMQ_CONFIG_FILE", directory.join("none"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", directory.join("advanced.config"))
        .env("RABBITMQ_CONF_ENV_FILE", directory.join("none.env"))
        // No scheduler that spins while it has nothing to do.
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+sbwt none +sbwtdcpu none +sbwtdio none +S 2:2")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        // The server is a script with the node as its child.
        .process_group(0);
    command
}

fn write_cookie(path: &Path) {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = File::options().create_new(true).write(true).mode(0o400).open(path).expect("a new file");
    file.write_all(b"NOMADFIREHOSETEST").expect("the file can be written");
}

/// Kills a process with its children.
fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    // Until it is waited for, its id is nobody else's. The group may have ended by itself.
    rustix::process::kill_process_group(group, Signal::KILL).ok();
    child.wait().expect("it is our child");
}

/// The directory that the script gives, asked for once in a process.
fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| super::installed("rabbitmq"))
}
