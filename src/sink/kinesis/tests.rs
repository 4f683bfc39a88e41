use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::{
    Client,
    config::Credentials,
    primitives::{DateTime, DateTimeFormat},
    types::builders::PutRecordsResultEntryBuilder,
};
use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::delivery::testing::{Book, Switch};

fn settings(partition_key: Option<&str>) -> Config {
    Config {
        stream: Stream::Name("nomad".to_owned()),
        partition_key: partition_key.map(|text| text.parse().expect("a template")),
        max_record_size: 1 << 20,
        workers: 8,
    }
}

fn numbers(part: &[Entry]) -> Vec<usize> {
    part.iter().map(|entry| entry.number).collect()
}

fn taken() -> PutRecordsResultEntry {
    PutRecordsResultEntryBuilder::default().sequence_number("1").shard_id("s").build()
}

fn code(code: &str) -> PutRecordsResultEntry {
    PutRecordsResultEntryBuilder::default().error_code(code).error_message("why").build()
}

/// One letter an outcome.
fn letters(outcomes: &[Outcome]) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Delivered => 'd',
        Outcome::Retry { .. } => 't',
        Outcome::Reject { .. } => 'j',
    };
    outcomes.iter().map(letter).collect()
}

#[test]
fn the_partition_key_is_the_records_own_unless_one_is_given() {
    let key = |template: Option<&str>, key: &str| {
        let record = Book::new().record(key, r#"{"AllocationID":"a1"}"#);
        call::partition_key(settings(template).partition_key.as_ref(), &record)
    };
    assert_eq!(key(None, "default/web"), "default/web");
    assert_eq!(key(None, ""), "-");
    assert_eq!(key(Some("constant"), "web"), "constant");
    assert_eq!(key(Some("{AllocationID}"), "web"), "a1");
    assert_eq!(key(None, &"ü".repeat(256)), "ü".repeat(256));
    let long = key(None, &"ü".repeat(257));
    assert!(long.starts_with("xxh3-") && long.len() == 37, "{long}");
    assert_ne!(long, key(None, &"ü".repeat(258)));
}

#[test]
fn what_is_too_large_is_rejected_before_it_is_sent() {
    let book = Book::new();
    let batch = [book.record("k", vec![b'x'; 1 << 20]), book.record("k", vec![b'x'; (1 << 20) - 1])];
    let settings = settings(None);
    let mut round = Round::new(&batch, &settings);
    let part = round.next_part().expect("a call");
    assert_eq!(numbers(&part), [1]);
    round.answered(&part, vec![taken()]);
    assert!(round.next_part().is_none());
    let outcomes = round.outcomes();
    assert_eq!(letters(&outcomes), "jd");
    let Outcome::Reject { reason } = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.contains("1048577 bytes") && reason.contains("1048576 are the most"), "{reason}");
}

#[test]
fn behind_a_failure_nothing_more_of_its_key_is_sent() {
    let keys: Vec<String> = (0..1_000).map(|n| format!("k{}", n % 4)).collect();
    let batch = Book::new().records(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let settings = settings(None);
    let mut round = Round::new(&batch, &settings);
    let part = round.next_part().expect("a call");
    let answers = |part: &[Entry]| {
        let answer = |entry: &Entry| if entry.number == 9 { code("InternalFailure") } else { taken() };
        part.iter().map(answer).collect::<Vec<_>>()
    };
    round.answered(&part, answers(&part));
    let part = round.next_part().expect("a call");
    assert_eq!(numbers(&part), (500..1_000).filter(|number| number % 4 != 1).collect::<Vec<_>>());
    round.answered(&part, answers(&part));
    assert!(round.next_part().is_none());
    for (number, outcome) in round.outcomes().iter().enumerate() {
        let again = number == 9 || number >= 500 && number % 4 == 1;
        assert_eq!(matches!(outcome, Outcome::Retry { .. }), again, "{number}");
    }
}

#[test]
fn the_answers_of_a_call_are_told_apart() {
    let batch = Book::new().records(&["a", "b", "c", "d", "e"]);
    let settings = settings(None);
    let mut round = Round::new(&batch, &settings);
    let part = round.next_part().expect("a call");
    let answers = vec![
        taken(),
        code("ProvisionedThroughputExceededException"),
        code("KMSThrottlingException"),
        code("InvalidArgumentException"),
        PutRecordsResultEntryBuilder::default().build(),
    ];
    round.answered(&part, answers);
    let outcomes = round.outcomes();
    assert_eq!(letters(&outcomes), "dttjt");
    let Outcome::Retry { reason, .. } = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(reason, "Kinesis answered ProvisionedThroughputExceededException for the record: why");
}

#[test]
fn a_failure_of_a_call_ends_the_batch() {
    let batch = Book::new().records(&["k"; 700]);
    let settings = settings(None);
    let mut round = Round::new(&batch, &settings);
    let part = round.next_part().expect("a call");
    round.failed(&part, &Fault::Passing(ErrorClass::Server, "down".to_owned()));
    let outcomes = round.outcomes();
    assert_eq!(letters(&outcomes), "t".repeat(700));
    assert!(matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason == "down"));
    assert!(matches!(&outcomes[600], Outcome::Retry { reason, .. } if reason.contains("not sent")));
}

#[test]
fn without_the_lease_nothing_is_sent() {
    let book = Book::new();
    let batch = book.records(&["a", "b"]);
    let lease: &Switch = &book.lease;
    lease.set(LeaseState::Suspended);
    let settings = settings(None);
    let mut round = Round::new(&batch, &settings);
    assert!(round.next_part().is_none());
    assert_eq!(letters(&round.outcomes()), "tt");
}

#[test]
fn nothing_of_the_environment_is_shown() {
    let kinesis = Kinesis::new(settings(None));
    assert_eq!(format!("{kinesis:?}"), "Kinesis { stream: \"nomad\", .. }");
}

/// A client of the Kinesis at this address that needs no environment.
fn reach(address: std::net::SocketAddr) -> Reach {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(Credentials::new("AKIDTEST", "hush", None, None, "test"))
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .http_client(crate::sink::aws::http_client().expect("nothing to read"));
    Reach { client: Client::from_conf(config.build()), region: "us-east-1".to_owned() }
}

async fn with_client(reach: Reach) -> Kinesis {
    let kinesis = Kinesis::new(settings(None));
    kinesis.link.lend(|| Box::pin(async { Ok(reach) })).await.expect("it is given");
    kinesis
}

#[tokio::test]
async fn a_call_that_is_under_way_when_the_lease_goes_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let kinesis = with_client(reach(listener.local_addr().expect("bound"))).await;
    let book = Book::new();
    let batch = book.records(&["a", "b"]);
    let server = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut buffer = vec![0; 1 << 16];
        assert!(stream.read(&mut buffer).await.expect("a request") > 0);
        book.lease.set(LeaseState::Suspended);
        // The rest of the request, and then its end without an answer.
        while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    };
    let both = futures_util::future::join(kinesis.put(&batch), server);
    let (outcomes, ()) = tokio::time::timeout(Duration::from_secs(120), both).await.expect("it is given up");
    assert_eq!(letters(&outcomes), "tt");
    let Outcome::Retry { reason, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(reason, "the lease is not held any more");
}

proptest! {
    /// With any sizes and any guilty records: the guilty ones alone are rejected, each call is within the limits, and
    /// records of a key are sent in order.
    #[test]
    fn the_guilty_are_found_by_halves(
        sizes in prop::collection::vec(0_usize..40_000, 1..900),
        guilty in prop::collection::hash_set(0_usize..900, 0..6),
    ) {
        let book = Book::new();
        let batch: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| book.record(&format!("k{}", number % 7), vec![b'x'; *size]))
            .collect();
        let settings = settings(None);
        let mut round = Round::new(&batch, &settings);
        let mut sent = Vec::new();
        while let Some(part) = round.next_part() {
            let bytes: usize = part.iter().map(|it| sizes[it.number] + it.partition_key.len()).sum();
            prop_assert!(part.len() <= Config::CALL_RECORDS && bytes <= Config::CALL_BYTES);
            if part.iter().any(|entry| guilty.contains(&entry.number)) {
                round.refused(part, "ValidationException".to_owned());
            } else {
                sent.extend(numbers(&part));
                let answers = part.iter().map(|_| taken()).collect();
                round.answered(&part, answers);
            }
        }
        let due: Vec<_> = (0..batch.len()).filter(|number| !guilty.contains(number)).collect();
        prop_assert_eq!(sent, due);
        for (number, outcome) in round.outcomes().iter().enumerate() {
            prop_assert_eq!(matches!(outcome, Outcome::Reject { .. }), guilty.contains(&number));
        }
    }
}

/// A Kinesis whose clock is ahead of ours by this much. It refuses a call that is not signed by its own time.
async fn ahead(listener: tokio::net::TcpListener, by: Duration) {
    let answer = move |request: axum::extract::Request| async move {
        let now = SystemTime::now() + by;
        // 20260102T030405Z
        let signed = request.headers()["x-amz-date"].to_str().expect("ASCII");
        let (day, time) = (&signed[..8], &signed[9..15]);
        let [date, time] = [
            format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]),
            format!("{}:{}:{}", &time[..2], &time[2..4], &time[4..]),
        ];
        let signed = DateTime::from_str(&format!("{date}T{time}Z"), DateTimeFormat::DateTime).expect("a date");
        let is_fresh = (DateTime::from(now).secs() - signed.secs()).abs() < 300;
        let (status, body) = if is_fresh {
            (200, r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"1","ShardId":"s"}]}"#)
        } else {
            (400, r#"{"__type":"InvalidSignatureException","message":"Signature expired: it is earlier than now"}"#)
        };
        let status = axum::http::StatusCode::from_u16(status).expect("a status");
        let headers =
            [("date", httpdate::fmt_http_date(now)), ("content-type", "application/x-amz-json-1.1".to_owned())];
        (status, headers, body)
    };
    axum::serve(listener, axum::Router::new().fallback(answer)).await.expect("it serves until it is dropped");
}

#[tokio::test]
async fn a_clock_that_goes_wrong_is_set_right_by_the_answers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let kinesis = with_client(reach(listener.local_addr().expect("bound"))).await;
    let batch = Book::new().records(&["a"]);
    let sends = async {
        let first = letters(&kinesis.put(&batch).await);
        let then = letters(&kinesis.put(&batch).await);
        format!("{first}{then}")
    };
    tokio::select! {
        outcomes = sends => assert_eq!(outcomes, "td"),
        () = ahead(listener, Duration::from_secs(3600)) => panic!("it serves until it is dropped"),
    }
}
