//! A Chromium without a screen, driven over its DevTools protocol through a pipe. One message is one JSON text, and ends with
//! a zero byte.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};

use crate::common::{PATIENCE, installed};

/// A running browser. Dropping it ends it.
pub(crate) struct Browser {
    child: Child,
    stdin: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    /// What pages complained about: violations of their policy, and exceptions.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

/// A tab of the browser.
#[derive(Clone, Debug)]
pub(crate) struct Tab {
    session: String,
    target: String,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        // The browser reads messages from descriptor 3, and writes them to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(installed("chromium"))
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args([
                "--disable-extensions",
                "--hide-scrollbars",
                "--force-device-scale-factor=1",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let (sender, messages) = channel();
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while let Ok(1..) = stdout.read_until(0, &mut message) {
                message.pop();
                let parsed = serde_json::from_slice(&message).expect("JSON");
                message.clear();
                if sender.send(parsed).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take().expect("it is piped");
        Browser { child, stdin, messages, last: 0, complaints: Vec::new(), _profile: profile }
    }

    fn call(&mut self, tab: Option<&Tab>, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(tab) = tab {
            message["sessionId"] = tab.session.clone().into();
        }
        self.stdin.write_all(format!("{message}\0").as_bytes()).expect("it reads");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = self.messages.recv_timeout(left).unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    /// Notes what a page complains about.
    fn note(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(parameters["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if parameters["entry"]["source"] != "network" => {
                self.complaints.push(parameters["entry"]["text"].to_string());
            }
            _ => {}
        }
    }

    /// What pages have complained about. Connections that cannot be made are no complaint.
    pub(crate) fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Opens an address in a tab of its own.
    pub(crate) fn open(&mut self, url: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = self.call(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let tab = Tab { session: text(&attached["sessionId"]), target: text(&target) };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.call(Some(&tab), domain, json!({}));
        }
        self.call(Some(&tab), "Page.navigate", json!({"url": url}));
        tab
    }

    pub(crate) fn close(&mut self, tab: &Tab) {
        self.call(None, "Target.closeTarget", json!({"targetId": tab.target}));
    }

    /// The value of a JavaScript expression.
    pub(crate) fn value(&mut self, tab: &Tab, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let answer = self.call(Some(tab), "Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The text of the element that a selector finds; nothing where there is none.
    pub(crate) fn text(&mut self, tab: &Tab, selector: &str) -> String {
        let value = self.value(tab, &format!("document.querySelector({})?.textContent ?? ''", json!(selector)));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the element that a selector finds has this text in it; returns the whole of it.
    pub(crate) async fn until(&mut self, tab: &Tab, selector: &str, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.text(tab, selector);
            if seen.contains(wanted) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{selector} has not {wanted:?}, but {seen:?}; {:?}", self.complaints);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a JavaScript expression is true.
    pub(crate) async fn until_true(&mut self, tab: &Tab, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(tab, expression) != true {
            assert!(Instant::now() < deadline, "{expression} is not true; {:?}", self.complaints);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Shows the page in a window of this size, dark or light.
    pub(crate) fn show(&mut self, tab: &Tab, width: u32, height: u32, is_dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", size);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call(Some(tab), "Emulation.setEmulatedMedia", features);
    }

    /// Writes a picture of the page as it is shown, where `PICTURES` names a directory for it.
    pub(crate) fn picture(&mut self, tab: &Tab, name: &str) {
        let Some(directory) = std::env::var_os("PICTURES") else { return };
        self.call(Some(tab), "Page.bringToFront", json!({}));
        let answer = self.call(Some(tab), "Page.captureScreenshot", json!({"format": "png"}));
        let png = BASE64.decode(answer["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), png).expect("writable");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
