//! A real rsyslog on loopback: it writes what it receives to a file in a directory of its own.
//!
//! It is the daemon that `scripts/install-rsyslog` names, which installs it where it may.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{PATIENCE, ports::Ports};

/// A running server. Dropping it kills it and forgets what it has.
#[derive(Debug)]
pub struct Rsyslog {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    given: usize,
}

impl Rsyslog {
    /// Starts one, and waits until it takes connections.
    pub async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("rsyslog").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let (path, port) = (directory.path().display(), ports.base);
        let settings = format!(
            r#"global(workDirectory="{path}" maxMessageSize="1m" parser.escapeControlCharactersOnReceive="off")
module(load="imtcp")
module(load="imudp")
module(load="imuxsock" SysSock.Use="off")
input(type="imtcp" port="{port}" address="127.0.0.1")
input(type="imudp" port="{port}" address="127.0.0.1")
input(type="imuxsock" Socket="{path}/log" UseSpecialParser="off" RateLimit.Interval="0")
template(name="all" type="string" string="%pri-text% %hostname% %app-name% %msgid% %structured-data% %msg%\n")
action(type="omfile" file="{path}/messages" template="all")
"#
        );
        std::fs::write(directory.path().join("conf"), settings).expect("the directory can be written");
        let log = File::create(directory.path().join("out")).expect("a log file");
        let mut command = Command::new(super::installed("rsyslog"));
        command.arg("-n").arg("-f").arg(directory.path().join("conf")).arg("-i").arg(directory.path().join("pid"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let server = command.spawn().expect("rsyslog starts");
        let mut rsyslog = Rsyslog { server, directory, ports, given: 0 };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(rsyslog.address()).is_err() || !rsyslog.socket().exists() {
            let ended = rsyslog.server.try_wait().expect("it is our child");
            let log = std::fs::read_to_string(rsyslog.directory.path().join("out")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "rsyslog is not ready: {ended:?}; its log:\n{log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rsyslog
    }

    /// Host and port, of TCP and of UDP.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// The socket for datagrams that is named by a path.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The file that it writes messages to, each a line.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("messages")
    }

    /// The whole messages that it has written since the last time, in order.
    pub fn more(&mut self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file()).unwrap_or_default();
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        let more = text[self.given..end].lines().map(str::to_owned).collect();
        self.given = end;
        more
    }
}

/// The record in a message.
pub fn body(message: &str) -> &str {
    &message[message.find(" {").expect("a body") + 1..]
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().expect("it is our child");
    }
}
