//! An SMTP server: a process on loopback that keeps the mails it takes.
//!
//! It is aiosmtpd, which `scripts/install-smtp` fetches where it may, with `smtp.py` beside this file.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::{PATIENCE, Signal, ports::Ports, tls::Authority};

/// How it is set up.
#[derive(Clone, Copy, Default)]
#[allow(missing_debug_implementations, reason = "an authority has none")]
pub struct Options<'a> {
    /// Whose certificate it has; without one, it speaks no TLS.
    pub authority: Option<&'a Authority>,
    /// TLS from the start.
    pub is_implicit: bool,
    /// The login that it wants, `USER:PASSWORD`.
    pub login: &'a str,
}

/// A running one. Dropping it kills it and forgets its mails.
#[derive(Debug)]
pub struct Smtp {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
}

impl Smtp {
    /// Starts one, and waits until it answers.
    pub async fn start(options: Options<'_>) -> Self {
        let directory = tempfile::Builder::new().prefix("smtp").tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("writable");
        if let Some(authority) = options.authority {
            let (certificate, key) = authority.issue("localhost");
            write("cert.pem", &certificate.pem());
            write("key.pem", &key.serialize_pem());
        }
        if options.is_implicit {
            write("implicit", "yes");
        }
        write("login", options.login);
        write("taken", "");
        let ports = Ports::reserve();
        let log = File::create(directory.path().join("out")).expect("a log file");
        let server = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/smtp.py"))
            .arg(ports.base.to_string())
            .arg(directory.path())
            .env("PYTHONPATH", packages())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("python3 starts");
        let mut smtp = Smtp { server, directory, ports };
        smtp.until_ready(options.is_implicit).await;
        smtp
    }

    /// Its address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.ports.base
    }

    /// The mails that it has taken.
    pub fn taken(&self) -> Vec<Value> {
        self.taken_from(&mut 0)
    }

    /// Those from this place on. Moves it behind them.
    pub fn taken_from(&self, place: &mut u64) -> Vec<Value> {
        let mut file = File::open(self.directory.path().join("taken")).expect("readable");
        file.seek(SeekFrom::Start(*place)).expect("a place in it");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("ASCII");
        // The last line may not be whole yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        *place += whole.len() as u64;
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// What it refuses: in each line a code, and words of the mails. `silent` takes mails without an answer.
    pub fn suffer(&self, cause: &str) {
        // Renamed into its place, so that it is never seen half written.
        let (new, path) = (self.directory.path().join("cause.new"), self.directory.path().join("cause"));
        std::fs::write(&new, cause).and_then(|()| std::fs::rename(&new, &path)).expect("writable");
    }

    async fn until_ready(&mut self, is_implicit: bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.address()).await {
                // With TLS from the start, the client speaks first.
                let mut greeting = [0; 3];
                if is_implicit || stream.read_exact(&mut greeting).await.is_ok_and(|_| greeting == *b"220") {
                    return;
                }
            }
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("the SMTP server is not ready; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let group = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw);
        // Until it is waited for, its id is nobody else's. It may have ended by itself.
        rustix::process::kill_process_group(group.expect("a process id"), Signal::KILL).ok();
        self.server.wait().expect("it is our child");
    }
}

/// The directory that the script gives, asked for once in a process.
fn packages() -> &'static Path {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    PACKAGES.get_or_init(|| super::installed("smtp"))
}
