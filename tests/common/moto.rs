//! The process behind the stand-ins for services of AWS: moto, which `scripts/install-moto` fetches where it may, with a script beside
//! this file.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{PATIENCE, Signal, ports::Ports};

/// A running one. Dropping it kills it and forgets what it has.
#[derive(Debug)]
pub struct Moto {
    server: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    http: reqwest::Client,
}

impl Moto {
    /// Starts the script of this name, such as `aws.py`, and waits until it answers.
    pub async fn start(script: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("moto").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        let log = File::create(directory.path().join("out")).expect("a log file");
        let server = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common").join(script))
            .arg(ports.base.to_string())
            .env("PYTHONPATH", packages())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("python3 starts");
        // Only plain HTTP is spoken.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        // A connection lives as long as the test that has made it, and a server can be that of several.
        let http = http.pool_max_idle_per_host(0).build().expect("a client");
        let mut moto = Moto { server, directory, ports, http };
        moto.until_ready().await;
        moto
    }

    /// What `AWS_ENDPOINT_URL` can be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its address, such as `127.0.0.1:20000`.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// A call of a service, which looks as if it were signed: nobody verifies it.
    pub fn request(&self, method: reqwest::Method, service: &str, path: &str) -> reqwest::RequestBuilder {
        let scope = format!("test/20260101/us-east-1/{service}/aws4_request");
        let signed = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        self.http.request(method, format!("{}{path}", self.url())).header("Authorization", signed)
    }

    /// Has the script itself do something, and gives its answer.
    pub async fn tell(&self, what: &str, body: &Value) -> Value {
        self.try_tell(what, body).await.expect("it answers")
    }

    async fn try_tell(&self, what: &str, body: &Value) -> Result<Value, reqwest::Error> {
        let answer = self.http.post(format!("{}/~{what}", self.url())).body(body.to_string()).send().await?;
        answer.error_for_status()?.bytes().await.map(|text| serde_json::from_slice(&text).expect("JSON"))
    }

    /// Stops it in the middle of whatever it does; connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.try_tell("counts", &json!({})).await {
            let ended = self.server.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
                panic!("moto is not ready: {error}; it ended: {ended:?}; its log:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw);
        // Until it is waited for, its id is nobody else's. It may have ended by itself.
        rustix::process::kill_process_group(group.expect("a process id"), signal).ok();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.server.wait().expect("it is our child");
    }
}

/// The directory that the script gives, asked for once in a process.
fn packages() -> &'static Path {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    PACKAGES.get_or_init(|| super::installed("moto"))
}
