use std::sync::{Arc, Mutex, Once};

use tokio::time::advance;
use tracing::subscriber::DefaultGuard;

use super::*;
use crate::{consul, nomad};

/// What is logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic while locked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub(crate) fn start() -> (Log, DefaultGuard) {
        // Whether anybody wants a callsite is remembered for all threads: without somebody who wants all of them, a thread that
        // logs to nobody can have it remembered that nobody does.
        static ALL: Once = Once::new();
        ALL.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry()).expect("the only one")
        });
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().expect("no panic while locked").clone()).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }
}

fn from_port(port: u16) -> nomad::Error {
    let reason = format!("connection reset by peer, from port {port}");
    nomad::Error::Connect { address: "http://a:4646".to_owned(), reason }
}

fn status(code: u16, text: &str) -> nomad::Error {
    let (address, what) = ("http://a:4646".to_owned(), "the event stream".to_owned());
    nomad::Error::Status { address, what, code, text: text.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_running_number_in_the_reason_makes_no_new_line() {
    let (log, _guard) = Log::start();
    let mut outage = Outage::new("reading the event stream");
    for port in 51234..51244 {
        outage.log(&from_port(port));
    }
    assert_eq!(log.lines().len(), 1, "{:?}", log.lines());
    assert!(log.lines()[0].contains("port 51234") && log.lines()[0].contains("times=1"), "{:?}", log.lines());
    // Request ids, and another status.
    for number in 0..10 {
        outage.log(&status(500, &format!("rpc error {number}")));
    }
    outage.log(&status(503, "rpc error 11"));
    outage.log(&from_port(51244));
    assert_eq!(log.lines().len(), 3, "{:?}", log.lines());
    advance(EVERY).await;
    outage.log(&from_port(51245));
    let line = log.lines().pop().expect("a line");
    assert!(line.contains("port 51245") && line.contains("times=11") && line.contains("for_seconds=60"), "{line}");
    outage.over();
    assert!(log.lines().pop().is_some_and(|line| line.contains("operation recovered")), "{:?}", log.lines());
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_comes_and_goes_is_not_logged_each_time() {
    let (log, _guard) = Log::start();
    let mut outage = Outage::mild("reading the event stream");
    for port in 1..=100 {
        outage.log(&from_port(port));
        outage.over();
        advance(Duration::from_millis(600)).await;
    }
    assert_eq!(log.lines().len(), 2, "{:?}", log.lines());
    outage.log(&from_port(101));
    assert!(log.lines()[2].contains("WARN") && log.lines()[2].contains("times=100"), "{:?}", log.lines());
}

#[tokio::test(start_paused = true)]
async fn the_call_that_failed_is_named() {
    let (log, _guard) = Log::start();
    let mut outage = Outage::new("reading the event stream").of_calls();
    let (address, what) = ("http://a:4646".to_owned(), "the list of namespaces".to_owned());
    outage.log(&nomad::Error::Status { address, what, code: 500, text: "no".to_owned() });
    outage.over();
    outage.log(&from_port(1));
    let lines = log.lines();
    assert!(lines[..2].iter().all(|line| line.contains(r#"what="reading the list of namespaces""#)), "{lines:?}");
    assert!(lines[2].contains(r#"what="reading the event stream""#), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn classes_without_number_are_one() {
    let mut throttle = Throttle::default();
    let logged = (0..10_000).filter(|number| throttle.due(Class::from("code").with(number)).is_some()).count();
    assert_eq!(logged, CLASSES + 1);
    assert_eq!(throttle.classes.len(), CLASSES + 1);
    advance(EVERY).await;
    // There is room again.
    assert_eq!(throttle.due("new"), Some(1));
    assert_eq!(throttle.due("new"), None);
}

#[test]
fn what_changes_from_try_to_try_is_in_no_class() {
    assert_eq!(from_port(1).class(), from_port(2).class());
    assert_eq!(status(500, "a").class(), status(500, "b").class());
    assert_ne!(status(500, "").class(), status(502, "").class());
    let denied = |needs: &str| nomad::Error::Denied { what: "jobs".to_owned(), needs: needs.to_owned(), token: true };
    assert_ne!(denied("read-job").class(), denied("node").class());
    let late = |after| {
        let (address, what) = ("a".to_owned(), "to write".to_owned());
        consul::Error::Timeout { address, what, after: Duration::from_millis(after) }
    };
    assert_eq!(late(1_023).class(), late(998).class());
    let of_sink = |id: &str| Class::of_text(&format!("http://a answered 503: try later (request {id}, after 21ms)"));
    assert_eq!(of_sink("C56A31FBE5D84A7B"), of_sink("0af7651916cd43dd-8448eb211c80319c"));
    assert_ne!(Class::of_text("http://a answered 503"), Class::of_text("http://a answered 401"));
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert_eq!(Class::from(&full), Class::from(&io::Error::new(io::ErrorKind::StorageFull, "on device 7")));
    assert_ne!(Class::from(&full), Class::from(&io::Error::from(io::ErrorKind::PermissionDenied)));
}
