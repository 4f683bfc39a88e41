use std::time::Duration;

use super::{
    testing::{Server, judged, letter, read, say, sent},
    *,
};
use crate::{
    delivery::testing::{Book, Switch},
    http::Tls,
    settings::{Form, Setting},
    sink::{Prepared, http::Link},
};

static VARIABLES: ServiceVariables = variables!("SINK_TEST");
static URL: Setting = Setting::new("", "sink-test-url", "SINK_TEST_URL", "", "").secret();
static URLS: Setting = Setting::new("", "sink-test-urls", "SINK_TEST_URLS", "", "").form(Form::List).secret();
static TIMEOUT: Setting = Setting::new("", "sink-test-timeout", "SINK_TEST_TIMEOUT", "", "").default("10s");
static CACERT: Setting = Setting::new("", "sink-test-cacert", "SINK_TEST_CACERT", "", "");

#[derive(Debug)]
struct Plain;

impl Service for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn variables(&self) -> &'static ServiceVariables {
        &VARIABLES
    }

    fn payload(&self, record: &Record) -> Bytes {
        record.body.clone()
    }
}

fn config(urls: &[String], timeout: Duration) -> Config {
    let link = |url: &String| (Link::new(url.parse().expect("a URL")), None);
    Config { links: urls.iter().map(link).collect(), tls: Tls::default(), timeout }
}

fn sink(urls: &[String]) -> Webhook<Plain> {
    Webhook::new(Plain, &config(urls, Duration::from_secs(20))).expect("good settings")
}

impl Prepared for Config {
    fn build(&self, _: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Webhook::new(Plain, self)?), policy()))
    }
}

#[test]
fn the_usual_answers() {
    for (statuses, expected) in [
        (&[200, 201, 202, 204][..], 'd'),
        (&[400, 413, 415, 422], 'x'),
        (&[301, 307, 401, 404, 407, 408, 409, 410, 421, 429, 503, 504, 600], 'r'),
        (&[403, 405, 406, 451, 500, 501, 502, 520], 'f'),
    ] {
        for status in statuses {
            let answer = judged(&Plain, *status, &[], "why");
            assert_eq!(letter(&answer), expected, "{status}");
            let said = format!("{answer:?}");
            assert!(
                answer == Answer::Delivered || said.contains("why") && said.contains(&status.to_string()),
                "{said}"
            );
        }
    }
    for status in [301, 401, 403, 404, 410] {
        assert!(format!("{:?}", judged(&Plain, status, &[], "")).contains("SINK_TEST_URL"), "{status}");
    }
    // A proxy in front of it: no message is to blame.
    for text in ["<title>400 The SSL certificate error</title>", "Client sent an HTTP request to an HTTPS server."] {
        let answer = judged(&Plain, 400, &[], text);
        assert!(letter(&answer) == 'f' && format!("{answer:?}").contains("SINK_TEST_URL"), "{answer:?}");
    }
    let after = |status| match judged(&Plain, status, &[("retry-after", "7")], "") {
        Answer::Retry { after, .. } => after.map(|after| after.as_secs()),
        answer => panic!("{answer:?}"),
    };
    assert_eq!((after(429), after(503), after(500)), (Some(7), Some(7), None));
}

#[tokio::test]
async fn a_batch_is_sent_in_order_until_the_first_failure() {
    let server = Server::start(|body| {
        say(
            if *body == 3 {
                503
            } else if *body == 2 {
                400
            } else {
                200
            },
            &[],
            "",
        )
    })
    .await;
    let book = Book::new();
    let batch: Vec<_> = (1..=4).map(|number| book.record("key", number.to_string())).collect();
    let outcomes = sink(&[format!("{}/hook", server.url)]).send(&batch).await.expect("open");
    assert!(matches!(
        &outcomes[..],
        [Outcome::Delivered, Outcome::Reject { .. }, Outcome::Retry { .. }, Outcome::Retry { reason, .. }] if reason.contains("not sent")
    ));
    assert_eq!(server.came().iter().map(|(_, body)| body.clone()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(server.came().iter().all(|(target, _)| target == "/hook"));
}

#[tokio::test]
async fn nothing_is_sent_without_the_lease() {
    let server = Server::start(|_| say(200, &[], "")).await;
    let book = Book::new();
    let batch = [book.record("key", "1")];
    Switch::set(&book.lease, LeaseState::Lost);
    let outcomes = sink(std::slice::from_ref(&server.url)).send(&batch).await.expect("open");
    assert!(matches!(&outcomes[..], [Outcome::Retry { reason, .. }] if reason.contains("lease")));
    assert!(server.came().is_empty());
}

#[tokio::test]
async fn one_of_several_servers_is_enough() {
    let (good, bad) = (Server::start(|_| say(200, &[], "")).await, Server::start(|_| say(500, &[], "")).await);
    let book = Book::new();
    let batch = [book.record("key", "1")];
    let of = |urls: &[&Server]| sink(&urls.iter().map(|server| server.url.clone()).collect::<Vec<_>>());
    let outcomes = of(&[&bad, &good]).send(&batch).await.expect("open");
    assert!(matches!(&outcomes[..], [Outcome::Delivered]));
    assert_eq!((good.came().len(), bad.came().len()), (1, 1));
    let outcomes = of(&[&bad, &bad]).send(&batch).await.expect("open");
    assert!(matches!(&outcomes[..], [Outcome::Retry { .. }]));
}

#[tokio::test]
async fn what_does_not_answer_is_named_with_its_deadline_and_without_the_path() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hooks/hush-hush-hush-hush-hush?sig=hush-hush", listener.local_addr().expect("bound"));
    let outcome = sent(&config(std::slice::from_ref(&url), Duration::from_millis(100)), &1.into()).await;
    let Outcome::Retry { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("100ms (SINK_TEST_TIMEOUT)") && !reason.contains("hush"), "{reason}");
    drop(listener);
    let outcome = sent(&config(&[url], Duration::from_secs(5)), &1.into()).await;
    let Outcome::Retry { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("cannot be reached") && !reason.contains("hush"), "{reason}");
}

#[tokio::test]
async fn what_the_server_echoes_is_not_shown() {
    let server = Server::start(|_| say(404, &[], "no /hooks/hush-hush-hush-hush-hush here")).await;
    let url = format!("{}/hooks/hush-hush-hush-hush-hush", server.url);
    let outcome = sent(&config(&[url], Duration::from_secs(20)), &1.into()).await;
    let Outcome::Retry { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("[redacted]") && !reason.contains("hush"), "{reason}");
}

#[test]
fn every_problem_is_noted_and_none_shows_the_url() {
    let settings = |url| Settings { url, timeout: &TIMEOUT, ca_cert: &CACERT, missing: "it is missing" };
    let all: [&'static Setting; 4] = [&URL, &URLS, &TIMEOUT, &CACERT];
    let problems = |variables: &[(&str, &str)]| {
        super::testing::read(&all, variables, |reader| super::read(reader, &settings(&URL)))
            .expect_err("problems")
            .join("\n")
    };
    assert!(problems(&[]).contains("SINK_TEST_URL (--sink-test-url): it is missing"));
    for url in ["ftp://a/hush", "hush", "https://a/hush b", "https://a/#hush", "https://"] {
        let problems = problems(&[("SINK_TEST_URL", url), ("SINK_TEST_TIMEOUT", "1ms")]);
        assert!(problems.contains("SINK_TEST_URL (") && problems.contains("SINK_TEST_TIMEOUT"), "{problems}");
        assert!(!problems.contains("hush"), "{problems}");
    }
    let list = [("SINK_TEST_URLS", "https://a/x,https://me:hush@b/y"), ("SINK_TEST_CACERT", "/ca")];
    let config = read(&all, &list, |reader| super::read(reader, &settings(&URLS))).expect("valid");
    assert_eq!((config.links.len(), config.timeout), (2, Duration::from_secs(10)));
    assert!(config.links[0].1.is_none() && config.links[1].1.is_some());
    assert_eq!(config.tls.ca_cert.as_deref(), Some(std::path::Path::new("/ca")));
    assert!(!format!("{config:?}").contains("hush"), "{config:?}");
}
