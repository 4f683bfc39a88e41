use std::sync::{Arc, Mutex};

use reqwest::header::HeaderValue;
use tokio::sync::Barrier;

use super::{
    testing::{Came, Server, config, letters, reason, say},
    *,
};
use crate::{
    delivery::testing::Book,
    http::{BasicAuth, Secret},
    lease::LeaseState,
    sink::ErrorClass,
};

static VARIABLES: Variables = Variables {
    connection: Names {
        address: "SINK_X_ADDRESS",
        token: "SINK_X_TOKEN",
        token_file: "SINK_X_TOKEN_FILE",
        tls: crate::tls::Variables {
            role: "sink",
            ca_cert: "",
            ca_path: "",
            client_cert: "SINK_X_CLIENT_CERT",
            client_key: "SINK_X_CLIENT_KEY",
            server_name: "",
            usual_name: "",
        },
    },
    auth: "SINK_X_AUTH",
    headers: "SINK_X_HEADERS",
    timeout: "SINK_X_TIMEOUT",
    compression: Some("SINK_X_COMPRESSION"),
};

/// Bodies, one a line. A 204 is good.
#[derive(Debug)]
struct Lines;

impl Codec for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn variables(&self) -> &'static Variables {
        &VARIABLES
    }

    fn content_type(&self) -> &'static str {
        "text/plain"
    }

    fn encode(&self, records: &[Record], _sent: Sent) -> Bytes {
        let bodies: Vec<&[u8]> = records.iter().map(|record| &record.body[..]).collect();
        bodies.join(&b'\n').into()
    }

    fn judge(&self, said: &Said<'_>, _records: &[Record]) -> Verdict {
        if said.status == 204 { Verdict::Delivered } else { usual(said) }
    }

    fn empty(&self) -> Bytes {
        Bytes::new()
    }
}

fn push(config: &Config) -> Push<Lines> {
    Push::new(Lines, config).expect("a sink")
}

fn batch(book: &Book, bodies: &[&str]) -> Vec<Record> {
    bodies.iter().map(|body| book.record("k", (*body).to_owned())).collect()
}

fn lines(came: &Came) -> Vec<String> {
    String::from_utf8_lossy(&came.body).split('\n').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_refused_batch_is_taken_apart_until_the_guilty_stand_alone() {
    let server =
        Server::start(|came| say(if lines(came).contains(&"x".to_owned()) { 400 } else { 204 }, "bad x")).await;
    let outcomes = push(&config(&server.address)).outcomes(&batch(&Book::new(), &["a", "x", "b", "c", "x"])).await;
    assert_eq!(letters(&outcomes), "DXDDX");
    assert!(reason(&outcomes[1]).contains("400 Bad Request: bad x"), "{outcomes:?}");
}

#[tokio::test]
async fn requests_shrink_to_what_the_server_takes() {
    let server = Server::start(|came| say(if came.body.len() > 10 { 413 } else { 204 }, "")).await;
    let push = push(&config(&server.address));
    let bodies: Vec<String> = (0..16).map(|number| format!("{number:03}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    assert_eq!(letters(&push.outcomes(&batch(&Book::new(), &bodies)).await), "D".repeat(16));
    let refused = |server: &Server| server.came().iter().filter(|came| came.body.len() > 10).count();
    let before = refused(&server);
    assert_eq!(letters(&push.outcomes(&batch(&Book::new(), &bodies)).await), "D".repeat(16));
    assert!(refused(&server) - before < before, "it did not learn");
    // A record that is too large by itself.
    assert_eq!(letters(&push.outcomes(&batch(&Book::new(), &["aaaaaaaaaaaaaaa"])).await), "X");
}

#[tokio::test]
async fn each_failure_names_what_to_fix_and_is_no_reject() {
    let token = TokenSource::Fixed(Secret::new("hush-hush"));
    for (status, with_token, wanted, refusal) in [
        (200, false, "see SINK_X_ADDRESS", false),
        (301, false, "set SINK_X_ADDRESS to the final URL", false),
        (401, false, "see SINK_X_AUTH, SINK_X_TOKEN and SINK_X_TOKEN_FILE", false),
        (401, true, "SINK_X_TOKEN is not accepted", false),
        (403, false, "set SINK_X_AUTH or SINK_X_TOKEN", true),
        (403, true, "SINK_X_TOKEN is not allowed", true),
        (404, false, "the path in SINK_X_ADDRESS", false),
        (429, false, "429", false),
        (500, false, "500", true),
        (503, false, "503", false),
    ] {
        let server = Server::start(move |_| {
            let mut answer = say(status, "words of the server, hush-hush");
            answer.headers_mut().insert("retry-after", HeaderValue::from_static("7"));
            answer
        })
        .await;
        let token = if with_token { token.clone() } else { TokenSource::None };
        let push = push(&Config { token, ..config(&server.address) });
        let outcomes = push.outcomes(&batch(&Book::new(), &["a", "b"])).await;
        let Outcome::Retry { reason, after, refusal: found, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
        assert!(reason.contains(wanted) && reason.contains("words of the server"), "{reason}");
        assert!(!format!("{outcomes:?}").contains("hush-hush") || !with_token, "{outcomes:?}");
        assert_eq!((found.is_some(), after.is_some()), (refusal, !refusal), "{status}");
        assert_eq!((letters(&outcomes), server.came().len()), ("rr".to_owned(), 1));
    }
}

/// As nginx, Go, Apache and the OpenTelemetry Collector say it: every record would get these answers, so none of them is to blame.
#[tokio::test]
async fn a_refused_connection_or_compression_is_no_reject() {
    let page = |title: &str| format!("<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n");
    for (status, body, wanted, class) in [
        (400, page("400 The SSL certificate error"), "SINK_X_CLIENT_CERT and SINK_X_CLIENT_KEY", ErrorClass::Tls),
        (400, page("400 No required SSL certificate was sent"), "wants a client certificate", ErrorClass::Tls),
        (400, page("400 The plain HTTP request was sent to HTTPS port"), "https:// in SINK_X_ADDRESS", ErrorClass::Tls),
        (
            400,
            "Client sent an HTTP request to an HTTPS server.\n".to_owned(),
            "https:// in SINK_X_ADDRESS",
            ErrorClass::Tls,
        ),
        (
            400,
            page("400 Bad Request") + "Reason: You're speaking plain HTTP to an SSL-enabled server port.",
            "https://",
            ErrorClass::Tls,
        ),
        (400, "unsupported Content-Encoding: zstd".to_owned(), "change SINK_X_COMPRESSION", ErrorClass::Refused),
        (415, String::new(), "change SINK_X_COMPRESSION, or correct SINK_X_ADDRESS", ErrorClass::Refused),
    ] {
        let said = body.clone();
        let server = Server::start(move |_| say(status, said.clone())).await;
        let outcomes = push(&config(&server.address)).outcomes(&batch(&Book::new(), &["a", "b"])).await;
        assert_eq!((letters(&outcomes), server.came().len()), ("rr".to_owned(), 1), "{body}");
        assert!(reason(&outcomes[0]).contains(wanted), "{outcomes:?}");
        assert_eq!(outcomes[0].class(), Some(class), "{body}");
        let found = check(Push::new(Lines, &config(&server.address)), "sink x", Duration::from_secs(5)).await;
        assert!(found[0].fix.is_some() && format!("{found:?}").contains(wanted), "{found:?}");
    }
}

#[tokio::test]
async fn credentials_and_headers_are_sent_and_never_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "hush-file\n").expect("writable");
    let server = Server::start(|_| say(204, "")).await;
    let base = config(&format!("{}/path?key=hush-hush-key", server.address));
    let auth = Some(BasicAuth { user: "me".to_owned(), password: Secret::new("hush") });
    for (config, sent) in [
        (Config { basic_auth: auth, ..base.clone() }, "Basic bWU6aHVzaA=="),
        (Config { token: TokenSource::File(file.clone()), ..base.clone() }, "Bearer hush-file"),
        (Config { headers: vec![("authorization".to_owned(), Secret::new("hush"))], ..base.clone() }, "hush"),
    ] {
        let push = push(&config);
        assert_eq!(letters(&push.outcomes(&batch(&Book::new(), &["a"])).await), "D");
        let came = server.came().pop().expect("a request");
        assert_eq!((came.header("authorization"), came.header("content-type")), (sent, "text/plain"));
        assert_eq!(came.target, "/path?key=hush-hush-key");
        assert!(!format!("{config:?} {push:?}").contains("hush"), "{config:?} {push:?}");
    }
    // The file is read again.
    let push = push(&Config { token: TokenSource::File(file.clone()), ..base });
    std::fs::write(&file, "hush-next").expect("writable");
    assert_eq!(letters(&push.outcomes(&batch(&Book::new(), &["a"])).await), "D");
    assert_eq!(server.came().pop().expect("a request").header("authorization"), "Bearer hush-next");
}

#[tokio::test]
async fn nothing_is_sent_without_the_lease_and_a_request_is_given_up_when_it_ends() {
    let server = Server::start(|_| say(204, "")).await;
    let book = Book::new();
    book.lease.set(LeaseState::Suspended);
    let outcomes = push(&config(&server.address)).outcomes(&batch(&book, &["a"])).await;
    assert!(reason(&outcomes[0]).contains("lease"), "{outcomes:?}");
    assert_eq!(server.came().len(), 0);
    let reserved = nomad_sim::Address::free().expect("a free port");
    let _silent = reserved.listen(None).expect("it is ours");
    book.lease.set(LeaseState::Held);
    let push = push(&config(&format!("http://{}", reserved.addr())));
    let batch = batch(&book, &["a"]);
    let ending = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        book.lease.set(LeaseState::Suspended);
    };
    let (outcomes, ()) = tokio::join!(push.outcomes(&batch), ending);
    assert!(reason(&outcomes[0]).contains("given up") && reason(&outcomes[0]).contains("may have arrived"));
}

#[tokio::test]
async fn a_silent_server_and_none_at_all_are_tried_again() {
    let reserved = nomad_sim::Address::free().expect("a free port");
    let listener = reserved.listen(None).expect("it is ours");
    let to = Config { timeout: Duration::from_millis(50), ..config(&format!("http://{}", reserved.addr())) };
    let outcomes = push(&to).outcomes(&batch(&Book::new(), &["a"])).await;
    assert!(reason(&outcomes[0]).contains("SINK_X_TIMEOUT") && reason(&outcomes[0]).contains("may have arrived"));
    drop(listener);
    let outcomes = push(&to).outcomes(&batch(&Book::new(), &["a"])).await;
    assert!(reason(&outcomes[0]).contains("cannot be reached"), "{outcomes:?}");
    assert!(!reason(&outcomes[0]).contains("may have arrived"), "{outcomes:?}");
}

/// Requests of several batches are under way at a time.
#[tokio::test]
async fn batches_do_not_wait_for_each_other() {
    let (meet, most) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(0)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let (shared, count) = (Arc::clone(&meet), Arc::clone(&most));
    let handler = move || {
        let (meet, count) = (Arc::clone(&shared), Arc::clone(&count));
        async move {
            // Nothing goes on before both are there.
            meet.wait().await;
            *count.lock().expect("no panic") += 1;
            reqwest::StatusCode::NO_CONTENT
        }
    };
    let router = axum::Router::new().fallback(handler);
    let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves until aborted") });
    let (push, book) = (push(&config(&address)), Book::new());
    let (one, two) = (batch(&book, &["a"]), batch(&book, &["b"]));
    let (one, two) = tokio::join!(push.outcomes(&one), push.outcomes(&two));
    assert_eq!((letters(&one), letters(&two)), ("D".to_owned(), "D".to_owned()));
    assert_eq!(*most.lock().expect("no panic"), 2);
    server.abort();
}

#[tokio::test]
async fn check_says_what_would_fail() {
    for (status, wanted) in
        [(204, "takes requests"), (422, "takes requests"), (401, "SINK_X_AUTH"), (404, "SINK_X_ADDRESS")]
    {
        let server = Server::start(move |_| say(status, "")).await;
        let found = check(Push::new(Lines, &config(&server.address)), "sink x", Duration::from_secs(5)).await;
        assert!(format!("{found:?}").contains(wanted), "{found:?}");
    }
    let reserved = nomad_sim::Address::free().expect("a free port");
    let found =
        check(Push::new(Lines, &config(&format!("http://{}", reserved.addr()))), "sink x", Duration::from_secs(5));
    assert!(format!("{:?}", found.await).contains("cannot be reached"));
}
