//! A real Consul: one server on loopback that keeps its data, so that it can be killed and started again.
//!
//! The binary is that of `scripts/install-consul`, which downloads it where there is none.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::{PATIENCE, Signal, ports::Ports};

/// What an agent is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// ACLs with `default_policy = "deny"`; [`Consul::management`] is then the token that may everything.
    pub acls: bool,
    /// Listen at a Unix socket too, see [`Consul::socket_url`].
    pub unix_socket: bool,
    /// Serve HTTPS too, with this certificate and key, to clients whose certificate the authority has signed: three PEM
    /// files, the authority's first. See [`Consul::https`].
    pub tls: Option<[PathBuf; 3]>,
    /// Further keys of its configuration file, which go before ours.
    pub further: Vec<(&'static str, Value)>,
}

/// A running agent. Dropping it kills it and forgets its data.
#[derive(Debug)]
pub struct Consul {
    child: Child,
    directory: tempfile::TempDir,
    ports: Ports,
    http: reqwest::Client,
    management: Option<String>,
}

impl Consul {
    /// Starts one, and waits until it has a leader and can make sessions.
    pub async fn start(options: Options) -> Self {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        // A connection to a server that was killed would be found dead by the next request.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).tls_certs_only([]);
        let http = http.timeout(Duration::from_secs(10)).build().expect("a plain client");
        let directory = tempfile::Builder::new().prefix("consul").tempdir().expect("a temporary directory");
        let ports = Ports::reserve();
        write_configuration(directory.path(), &ports, &options);
        let child = spawn(directory.path());
        let mut consul = Consul { child, directory, ports, http, management: None };
        if options.acls {
            let made = consul.poll("the ACL system starts", Method::PUT, "acl/bootstrap", "").await;
            let made: Value = serde_json::from_str(&made).expect("a token");
            consul.management = Some(made["SecretID"].as_str().expect("a secret").to_owned());
        }
        consul.until_ready().await;
        consul
    }

    /// What `CONSUL_HTTP_ADDR` can be.
    pub fn url(&self) -> String {
        format!("http://{}", self.ports.address())
    }

    /// The address and port of HTTPS, where it is served.
    pub fn https(&self) -> String {
        format!("127.0.0.1:{}", https(&self.ports))
    }

    /// The address of the Unix socket, where there is one.
    pub fn socket_url(&self) -> String {
        format!("unix://{}", self.directory.path().join("socket").display())
    }

    /// The token that may everything; none without ACLs.
    pub fn management(&self) -> Option<&str> {
        self.management.as_deref()
    }

    /// The directory of this agent, for files that should live as long.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Sends a request with the management token, such as `(GET, "kv/a?raw", "")`: status and body.
    pub async fn request(&self, method: Method, path: &str, body: impl Into<String>) -> (u16, String) {
        self.try_request(method, path, body.into()).await.expect("Consul answers")
    }

    /// The bytes under a key.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let (code, body) = self.request(Method::GET, &format!("kv/{key}?raw&consistent"), "").await;
        (code == 200).then(|| body.into_bytes())
    }

    /// The entry under a key, as Consul shows it: `Session`, `ModifyIndex`, `Flags`.
    pub async fn entry(&self, key: &str) -> Option<Value> {
        let (code, body) = self.request(Method::GET, &format!("kv/{key}?consistent"), "").await;
        (code == 200).then(|| serde_json::from_str::<Vec<Value>>(&body).expect("a list").remove(0))
    }

    /// The session that holds the lock on a key.
    pub async fn holder(&self, key: &str) -> Option<String> {
        self.entry(key).await?["Session"].as_str().map(str::to_owned)
    }

    /// Writes a key.
    pub async fn put(&self, key: &str, value: &str) {
        let answer = self.request(Method::PUT, &format!("kv/{key}"), value).await;
        assert_eq!(answer, (200, "true".to_owned()), "{key} is written");
    }

    /// Sends a transaction: the status (200 or 409) and the answer.
    pub async fn txn(&self, operations: Value) -> (u16, Value) {
        let (code, body) = self.request(Method::PUT, "txn", operations.to_string()).await;
        (code, serde_json::from_str(&body).unwrap_or_else(|_| panic!("the transaction is answered with {body}")))
    }

    /// The sessions there are.
    pub async fn sessions(&self) -> Vec<Value> {
        serde_json::from_str(&self.request(Method::GET, "session/list", "").await.1).expect("a list")
    }

    /// Makes a policy of these rules or, where the name is taken, gives it these rules.
    pub async fn set_policy(&self, name: &str, rules: &str) {
        let body = json!({ "Name": name, "Rules": rules }).to_string();
        let (code, found) = self.request(Method::GET, "acl/policies", "").await;
        assert_eq!(code, 200, "{found}");
        let policies: Vec<Value> = serde_json::from_str(&found).expect("a list");
        let path = match policies.iter().find(|policy| policy["Name"] == name) {
            Some(policy) => format!("acl/policy/{}", policy["ID"].as_str().expect("an id")),
            None => "acl/policy".to_owned(),
        };
        let (code, text) = self.request(Method::PUT, &path, body).await;
        assert_eq!(code, 200, "{text}");
    }

    /// Makes a token with this policy.
    pub async fn create_token(&self, policy: &str) -> String {
        let body = json!({ "Policies": [{ "Name": policy }] }).to_string();
        let (code, text) = self.request(Method::PUT, "acl/token", body).await;
        assert_eq!(code, 200, "{text}");
        let token: Value = serde_json::from_str(&text).expect("a token");
        token["SecretID"].as_str().expect("a secret").to_owned()
    }

    /// Kills it, as a machine that loses power does. What it had answered is kept.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Starts it again, on the same ports with the same data; kills it before, where it runs. Waits until it is ready.
    pub async fn restart(&mut self) {
        self.spawn_again();
        self.until_ready().await;
    }

    /// As [`restart`](Consul::restart), without the wait.
    pub fn spawn_again(&mut self) {
        self.kill();
        self.child = spawn(self.directory.path());
    }

    /// Stops it in the middle of whatever it does; connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // The signal reaches one thread after the other, and until then some of them still answer.
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
            stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|state| state.trim_start().starts_with('T')))
        };
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_dir(&tasks).expect("our child").all(is_stopped) {
            assert!(Instant::now() < deadline, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has a leader, knows its own node, and can make sessions.
    pub async fn until_ready(&mut self) {
        let made = self.poll("sessions can be made", Method::PUT, "session/create", r#"{"TTL":"10s"}"#).await;
        let made: Value = serde_json::from_str(&made).expect("a session");
        let id = made["ID"].as_str().expect("an id");
        self.request(Method::PUT, &format!("session/destroy/{id}"), "").await;
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal).expect("it is our child");
    }

    async fn try_request(&self, method: Method, path: &str, body: String) -> Result<(u16, String), reqwest::Error> {
        let mut request = self.http.request(method, format!("{}/v1/{path}", self.url())).body(body);
        if let Some(token) = &self.management {
            request = request.header("X-Consul-Token", token);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Asks until the answer is a success.
    async fn poll(&mut self, what: &str, method: Method, path: &str, body: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcome = self.try_request(method.clone(), path, body.to_owned()).await;
            if let Ok((200, body)) = outcome {
                return body;
            }
            let ended = self.child.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                panic!("not in time: {what}: {outcome:?}; Consul ended: {ended:?}; its log:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn write_configuration(directory: &Path, ports: &Ports, options: &Options) {
    let mut http = "127.0.0.1".to_owned();
    if options.unix_socket {
        http = format!("{http} unix://{}", directory.join("socket").display());
    }
    let mut configuration = json!({
        "server": true,
        "bootstrap_expect": 1,
        "node_name": "consul",
        "data_dir": directory.join("data"),
        "bind_addr": "127.0.0.1",
        "addresses": { "http": http },
        "ports": { "http": ports.base, "server": ports.base + 1, "serf_lan": ports.base + 2, "serf_wan": -1, "dns": -1, "grpc": -1 },
        "disable_update_check": true,
        // The shortest election there is.
        "performance": { "raft_multiplier": 1 },
        "acl": { "enabled": options.acls, "default_policy": if options.acls { "deny" } else { "allow" } },
    });
    if let Some([authority, certificate, key]) = &options.tls {
        configuration["ports"]["https"] = https(ports).into();
        configuration["ca_file"] = json!(authority);
        configuration["cert_file"] = json!(certificate);
        configuration["key_file"] = json!(key);
        configuration["verify_incoming_https"] = true.into();
    }
    for (key, value) in &options.further {
        configuration[*key] = value.clone();
    }
    std::fs::write(directory.join("agent.json"), configuration.to_string()).expect("the directory can be written");
}

fn spawn(directory: &Path) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log")).expect("a log file");
    Command::new(binary())
        .args(["agent", "-config-file"])
        .arg(directory.join("agent.json"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("Consul starts")
}

/// The port of HTTPS.
fn https(ports: &Ports) -> u16 {
    ports.base + 3
}

/// The path that the script gives, asked for once in a process.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| super::installed("consul"))
}
