//! A real Prometheus that scrapes twice a second.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    common::{PATIENCE, installed},
    expressions::quick_rules,
};

/// The series of an answer, by their labels, with their values.
pub type Answer = Vec<(BTreeMap<String, String>, f64)>;

/// A running Prometheus. Dropping it kills it and forgets its data.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    port: u16,
    http: reqwest::Client,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one at `port`, which scrapes the `targets`.
    pub async fn start(port: u16, targets: &[u16]) -> Self {
        let directory = tempfile::Builder::new().prefix("prometheus").tempdir().expect("a temporary directory");
        let targets = targets.iter().map(|port| format!("'127.0.0.1:{port}'")).collect::<Vec<_>>().join(", ");
        let every = "scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms";
        let configuration = format!(
            "global: {{{every}}}\nrule_files: [rules.yml]\nscrape_configs:\n- job_name: firehose\n  static_configs:\n  - targets: [{targets}]\n"
        );
        fs::write(directory.path().join("prometheus.yml"), configuration).expect("a file");
        fs::write(directory.path().join("rules.yml"), quick_rules()).expect("a file");
        let mut command = Command::new(installed("prometheus").join("prometheus"));
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let child = command.spawn().expect("Prometheus starts");
        let prometheus = Prometheus { child, port, http: client(), _directory: directory };
        prometheus.until("it answers", async |it| it.ask("query", "vector(1)").await.is_some()).await;
        prometheus
    }

    /// The answer to an expression.
    pub async fn query(&self, expression: &str) -> Answer {
        let data = self.ask("query", expression).await.unwrap_or_else(|| panic!("no answer to {expression}"));
        series(&data["result"])
    }

    /// The value of an expression that has one series at most.
    pub async fn value(&self, expression: &str) -> Option<f64> {
        let answer = self.query(expression).await;
        assert!(answer.len() <= 1, "{expression}: {answer:?}");
        answer.first().map(|(_, value)| *value)
    }

    /// The labels of each firing alert of this name.
    pub async fn firing(&self, name: &str) -> Answer {
        self.query(&format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}")).await
    }

    /// The names of all firing alerts.
    pub async fn all_firing(&self) -> Vec<String> {
        let firing = self.query("group by (alertname) (ALERTS{alertstate=\"firing\"})").await;
        firing.into_iter().filter_map(|(mut labels, _)| labels.remove("alertname")).collect()
    }

    /// Waits until an alert fires, or does not.
    pub async fn until_firing(&self, name: &str, fires: bool) {
        self.until(&format!("{name} fires: {fires}"), async |it| it.firing(name).await.is_empty() != fires).await;
    }

    /// The expressions of the rules that Prometheus has loaded, each with what went wrong with it.
    pub async fn rules(&self) -> Vec<(String, String, String)> {
        let data = self.get("rules", &[]).await.expect("the rules");
        let text = |rule: &Value, field: &str| rule[field].as_str().unwrap_or_default().to_owned();
        let groups = data["groups"].as_array().expect("groups").clone();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone());
        rules.map(|rule| (text(&rule, "name"), text(&rule, "query"), text(&rule, "lastError"))).collect()
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, condition: impl AsyncFn(&Prometheus) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self).await {
            if Instant::now() > deadline {
                panic!("not in time: {what}; firing: {:?}", self.all_firing().await);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ask(&self, path: &str, expression: &str) -> Option<Value> {
        self.get(path, &[("query", expression)]).await
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let answer = self.http.get(url).query(query).send().await.ok()?.text().await.ok()?;
        let mut answer: Value = serde_json::from_str(&answer).ok()?;
        assert_eq!(answer["status"], "success", "{query:?}: {answer}");
        Some(answer["data"].take())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn series(result: &Value) -> Answer {
    let found = result.as_array().expect("a vector").iter().map(|series| {
        let labels = series["metric"].as_object().expect("labels").iter();
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let value = series["value"][1].as_str().expect("a value").parse().expect("a number");
        (labels.collect(), value)
    });
    found.collect()
}

fn client() -> reqwest::Client {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build().expect("a plain client")
}

/// What a scrape of the older text format gives, which `promtool` reads.
pub async fn scrape(port: u16) -> String {
    let request = client().get(format!("http://127.0.0.1:{port}/metrics")).header("accept", "text/plain;version=0.0.4");
    let text = request.send().await.expect("an answer").text().await.expect("a text");
    if text.ends_with("# EOF\n") { older(&text) } else { text }
}

/// OpenMetrics in the older format: counters are described under their whole name.
fn older(text: &str) -> String {
    let counters = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
    let counters: Vec<_> = counters.collect();
    let described = |line: &str| {
        let named = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
        let mut words: Vec<_> = line.splitn(4, ' ').map(str::to_owned).collect();
        if named && counters.contains(&words[2].as_str()) {
            words[2] += "_total";
        }
        words.join(" ") + "\n"
    };
    text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")).map(described).collect()
}
