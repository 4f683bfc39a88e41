//! Real log stores: processes on loopback, each with a directory and a port of its own. `scripts/install-…` fetch or build them.

use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::Method;

use super::{PATIENCE, installed, ports::Ports};

/// The command for a directory and an address.
type Make = Box<dyn Fn(&Path, &str) -> Command + Send + Sync>;

/// A log store that can be killed and started again. Dropping it kills it and forgets what it has.
pub struct LogStore {
    make: Make,
    /// What it answers once it is ready: a path, and a status.
    ready: (Method, &'static str, u16),
    child: Option<Child>,
    directory: tempfile::TempDir,
    ports: Ports,
}

impl LogStore {
    /// OpenSearch: one node without security.
    pub async fn opensearch() -> Self {
        let libraries = installed("opensearch");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/OpenSearchNode.java");
        let make = move |directory: &Path, address: &str| {
            let mut command = Command::new("java");
            command.args(["-Xmx512m", "-cp"]).arg(libraries.join("*")).arg(&source).arg(directory);
            command.arg(address.rsplit(':').next().expect("a port"));
            command
        };
        Self::start(make, (Method::GET, "/", 200)).await
    }

    /// VictoriaLogs, which has the push API of Loki below `/insert`.
    pub async fn victorialogs() -> Self {
        let program = installed("victorialogs");
        let make = move |directory: &Path, address: &str| {
            let mut command = Command::new(&program);
            command.arg(format!("-storageDataPath={}", directory.join("data").display()));
            command.arg(format!("-httpListenAddr={address}")).arg("-retentionPeriod=100y");
            command
        };
        Self::start(make, (Method::GET, "/health", 200)).await
    }

    /// An OpenTelemetry collector that passes OTLP on to `to`, and answers once that has answered.
    pub async fn collector(to: &str) -> Self {
        let (program, to) = (installed("collector"), to.to_owned());
        let make = move |directory: &Path, address: &str| {
            let (host, port) = address.rsplit_once(':').expect("a port");
            let grpc = format!("{host}:{}", port.parse::<u16>().expect("a number") + 1);
            let config = format!(
                "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{address}'}}, grpc: {{endpoint: '{grpc}'}}}}}}}}\n\
                 exporters: {{otlphttp: {{endpoint: '{to}', sending_queue: {{enabled: false}}, retry_on_failure: {{enabled: false}}}}}}\n\
                 service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
                 pipelines: {{logs: {{receivers: [otlp], exporters: [otlphttp]}}}}\n"
            );
            let file = directory.join("collector.yaml");
            std::fs::write(&file, config).expect("writable");
            let mut command = Command::new(&program);
            command.arg("--config").arg(file);
            command
        };
        Self::start(make, (Method::GET, "/v1/logs", 405)).await
    }

    async fn start(
        make: impl Fn(&Path, &str) -> Command + Send + Sync + 'static,
        ready: (Method, &'static str, u16),
    ) -> Self {
        let directory = tempfile::Builder::new().prefix("log-store").tempdir().expect("a temporary directory");
        let mut store = LogStore { make: Box::new(make), ready, child: None, directory, ports: Ports::reserve() };
        store.go_on().await;
        store
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.ports.address())
    }

    /// Where a collector takes gRPC.
    pub fn grpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.base + 1)
    }

    /// The same without a scheme.
    pub fn address(&self) -> String {
        self.ports.address()
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().expect("it is our child");
        }
    }

    /// Starts it, and waits until it answers.
    pub async fn go_on(&mut self) {
        let log = File::create(self.directory.path().join("out")).expect("a log file");
        let mut command = (self.make)(self.directory.path(), &self.ports.address());
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log).process_group(0);
        self.child = Some(command.spawn().expect("it starts"));
        let deadline = Instant::now() + PATIENCE;
        let (method, path, status) = self.ready.clone();
        while self.ask(method.clone(), path, "").await.is_none_or(|(found, _)| found != status) {
            let log = std::fs::read_to_string(self.directory.path().join("out")).unwrap_or_default();
            assert!(Instant::now() < deadline, "it does not answer; its log:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The status and the body of its answer; `None` if there is none.
    pub async fn ask(&self, method: Method, path: &str, body: &str) -> Option<(u16, String)> {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.request(method, format!("{}{path}", self.url()));
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        self.kill();
    }
}
