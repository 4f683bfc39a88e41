//! Sinks: what can be tried without sending, and one marked record when it is asked for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rcgen::date_time_ymd;

use crate::{
    NOWHERE, Said, check,
    common::{
        Setup,
        server::{Reply, Server},
        tls::{Authority, Front},
    },
};

async fn said(sink: &str, variables: &[(&str, String)], flags: &[&str]) -> Said {
    let setup = Setup::new(&[&["check", "jobs"], flags].concat(), NOWHERE).env("SINK_TYPE", sink);
    check(variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value))).await
}

#[cfg(feature = "amqp")]
#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_tried_without_a_message() {
    use crate::common::{
        queue::{EXCHANGE, channel, declare_bound_exchange, take, waiting},
        rabbitmq::Rabbitmq,
    };
    let rabbitmq = Rabbitmq::start().await;
    let variables = |url: String, exchange: &str| {
        [
            ("SINK_AMQP_CONNECTION", url),
            ("SINK_AMQP_EXCHANGE", exchange.to_owned()),
            ("SINK_AMQP_ROUTING_KEY", "nomad.{JobID}".to_owned()),
        ]
    };
    let of = |user: &str| rabbitmq.url().replace("guest:guest", user);
    let missing = said("amqp", &variables(rabbitmq.url(), EXCHANGE), &[]).await;
    missing.fails(
        "sink amqp exchange",
        "\"nomad\": the exchange does not exist",
        "declare it, or correct SINK_AMQP_EXCHANGE",
    );
    let (_connection, channel) = channel(&rabbitmq).await;
    declare_bound_exchange(&channel).await;
    said("amqp", &variables(rabbitmq.url(), EXCHANGE), &[]).await.is_well_without_nomad();
    said("amqp", &variables(rabbitmq.url(), "{Kind}"), &[]).await.is_well_without_nomad();
    rabbitmq.ctl(&["add_user", "reader", "hush-hush"]).await;
    rabbitmq.ctl(&["set_permissions", "reader", "^$", "^$", ".*"]).await;
    let refused = said("amqp", &variables(of("reader:hush-hush"), EXCHANGE), &[]).await;
    refused.fails("sink amqp exchange", "access refused", "the user's permissions");
    let wrong = said("amqp", &variables(of("guest:hush-wrong"), EXCHANGE), &[]).await;
    assert_eq!(wrong.failed(), ["sink amqp"], "{}", wrong.text);
    assert!(
        wrong.about("sink amqp")["fix"].as_str().expect("a fix").contains("SINK_AMQP_CONNECTION"),
        "{}",
        wrong.text
    );
    assert_eq!(waiting(&rabbitmq).await, 0, "nothing was sent");
    let sent = said("amqp", &variables(rabbitmq.url(), EXCHANGE), &["--send-test"]).await;
    sent.is_well_without_nomad();
    let message = &take(&rabbitmq, 1).await[0];
    assert!(message.body.contains("\"NomadFirehoseTest\":true"), "{}", message.body);
    assert!(message.id.starts_with("nomad-firehose-check-"), "{}", message.id);
}

#[cfg(feature = "kinesis")]
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_kinesis_is_asked_for() {
    let kinesis = crate::common::kinesis::Kinesis::start().await;
    kinesis.create_stream("nomad", 1).await;
    let variables = |stream: &str| {
        [
            ("SINK_KINESIS_STREAM_NAME", stream.to_owned()),
            ("AWS_ENDPOINT_URL_KINESIS", kinesis.url()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hush-hush-key".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
        ]
    };
    said("kinesis", &variables("nomad"), &[]).await.is_well_without_nomad();
    let wrong = said("kinesis", &variables("nomda"), &[]).await;
    wrong.fails("sink kinesis", "the stream nomda does not exist in us-east-1", "SINK_KINESIS_STREAM_NAME");
    let mut consumer = kinesis.consumer("nomad").await;
    assert!(consumer.read().await.is_empty(), "nothing was written");
    said("kinesis", &variables("nomad"), &["--send-test"]).await.is_well_without_nomad();
    kinesis.pause();
    let hanging = said("kinesis", &variables("nomad"), &[]).await;
    hanging.fails("sink kinesis", "did not answer within", "AWS_ENDPOINT_URL_KINESIS");
    kinesis.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_can_be_created_in_the_directory_and_nothing_stays_of_it() {
    use crate::common::files::{finished, open};
    let directory = tempfile::tempdir().expect("a directory");
    let variables = |path: &std::path::Path| [("SINK_FILE_DIRECTORY", path.display().to_string())];
    said("file", &variables(directory.path()), &[]).await.is_well_without_nomad();
    assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 0);
    let wrong = said("file", &variables(&directory.path().join("none")), &[]).await;
    wrong.fails("sink file", "No such file or directory", "SINK_FILE_DIRECTORY");
    said("file", &variables(directory.path()), &["--send-test"]).await.is_well_without_nomad();
    assert_eq!((finished(directory.path()).len(), open(directory.path()).len()), (1, 0));
}

#[cfg(feature = "s3")]
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_listed_and_no_object_written() {
    use crate::common::s3::{BUCKET, S3};
    let s3 = S3::start().await;
    let variables = |bucket: &str| {
        [
            ("SINK_S3_URL", format!("s3://{bucket}/prefix")),
            ("SINK_S3_ENDPOINT", format!("http://{}", s3.address())),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hush-hush-key".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
        ]
    };
    said("s3", &variables(BUCKET), &[]).await.is_well_without_nomad();
    assert_eq!(s3.keys().await.len(), 0);
    let wrong = said("s3", &variables("nomda"), &[]).await;
    wrong.fails("sink s3", "the bucket nomda does not exist", "SINK_S3_URL");
    said("s3", &variables(BUCKET), &["--send-test"]).await.is_well_without_nomad();
    assert_eq!(s3.keys().await.len(), 1);
    s3.pause();
    let hanging = said("s3", &variables(BUCKET), &[]).await;
    hanging.fails("sink s3", "did not answer within", "SINK_S3_ENDPOINT");
    s3.resume();
}

#[cfg(feature = "sqs")]
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_sqs_is_asked_for() {
    let aws = crate::common::aws::Aws::start().await;
    aws.create_queue("nomad.fifo").await;
    let variables = |queue: &str| {
        [
            ("SINK_SQS_QUEUE_NAME", queue.to_owned()),
            ("AWS_ENDPOINT_URL_SQS", aws.url()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hush-hush-key".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
        ]
    };
    said("sqs", &variables("nomad.fifo"), &[]).await.is_well_without_nomad();
    let wrong = said("sqs", &variables("nomda.fifo"), &[]).await;
    wrong.fails("sink sqs", "the queue nomda.fifo does not exist in us-east-1", "SINK_SQS_QUEUE_NAME");
    assert!(aws.take("nomad.fifo").await.is_empty(), "nothing was sent");
    said("sqs", &variables("nomad.fifo"), &["--send-test"]).await.is_well_without_nomad();
    assert_eq!(aws.take("nomad.fifo").await.len(), 1);
    aws.pause();
    let hanging = said("sqs", &variables("nomad.fifo"), &[]).await;
    hanging.fails("sink sqs", "did not answer within", "AWS_ENDPOINT_URL_SQS");
    aws.resume();
}

#[cfg(feature = "sns")]
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_sns_is_asked_for() {
    let aws = crate::common::aws::Aws::start().await;
    let arn = aws.create_topic("nomad.fifo").await;
    let variables = |arn: &str| {
        [
            ("SINK_SNS_TOPIC_ARN", arn.to_owned()),
            ("AWS_ENDPOINT_URL_SNS", aws.url()),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hush-hush-key".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
        ]
    };
    let well = said("sns", &variables(&arn), &[]).await;
    well.is_well_without_nomad();
    let text = well.about("sink sns")["text"].as_str().expect("text");
    assert!(text.contains("FIFO, messages of 262144 bytes at most, subscriptions: 1"), "{text}");
    let wrong = said("sns", &variables(&arn.replace("nomad", "nomda")), &[]).await;
    wrong.fails("sink sns", "the topic nomda.fifo does not exist in us-east-1", "SINK_SNS_TOPIC_ARN");
    assert!(aws.take("nomad.fifo").await.is_empty(), "nothing was sent");
    said("sns", &variables(&arn), &["--send-test"]).await.is_well_without_nomad();
    assert_eq!(aws.take("nomad.fifo").await.len(), 1);
    aws.pause();
    let hanging = said("sns", &variables(&arn), &[]).await;
    hanging.fails("sink sns", "did not answer within", "AWS_ENDPOINT_URL_SNS");
    aws.resume();
}

#[cfg(feature = "eventbridge")]
#[tokio::test(flavor = "multi_thread")]
async fn a_bus_of_eventbridge_is_asked_for() {
    let aws = crate::common::aws::Aws::start().await;
    aws.create_bus("nomad").await;
    let variables = |bus: &str, verify: &str| {
        [
            ("SINK_EVENT_BUS_NAME", bus.to_owned()),
            ("SINK_EVENT_BUS_VERIFY", verify.to_owned()),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", aws.url()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "hush-hush-key".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("HOME", "/nonexistent".to_owned()),
        ]
    };
    said("eventbridge", &variables("nomad", "true"), &[]).await.is_well_without_nomad();
    for verify in ["true", "false"] {
        let wrong = said("eventbridge", &variables("nomda", verify), &[]).await;
        wrong.fails("sink eventbridge", "the event bus nomda does not exist in us-east-1", "SINK_EVENT_BUS_NAME");
    }
    assert!(aws.take_events("nomad").await.is_empty(), "nothing was sent");
    said("eventbridge", &variables("nomad", "true"), &["--send-test"]).await.is_well_without_nomad();
    assert_eq!(aws.take_events("nomad").await.len(), 1);
    // Who may not ask is told what to allow; a run would wait for it, unless it is told not to ask.
    aws.suffer("nomad", serde_json::json!({"deny": "DescribeEventBus"})).await;
    let denied = said("eventbridge", &variables("nomad", "true"), &[]).await;
    denied.fails(
        "sink eventbridge",
        "access to the event bus nomad in us-east-1 is refused",
        "events:DescribeEventBus",
    );
    let unasked = said("eventbridge", &variables("nomad", "false"), &[]).await;
    assert_eq!(unasked.about("sink eventbridge")["state"], "warning", "{}", unasked.text);
    said("eventbridge", &variables("nomad", "false"), &["--send-test"]).await.is_well_without_nomad();
    assert_eq!(aws.take_events("nomad").await.len(), 1);
    aws.pause();
    let hanging = said("eventbridge", &variables("nomad", "true"), &[]).await;
    hanging.fails("sink eventbridge", "did not answer within", "AWS_ENDPOINT_URL_EVENTBRIDGE");
    aws.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn http_gets_a_connection_and_no_request() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = Server::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Reply::Take
    });
    let server = server.await;
    let address = |url: String| [("SINK_HTTP_ADDRESS", url)];
    said("http", &address(server.url()), &[]).await.is_well_without_nomad();
    assert_eq!(requests.load(Ordering::Relaxed), 0);
    said("http", &address(server.url()), &["--send-test"]).await.is_well_without_nomad();
    assert_eq!(requests.load(Ordering::Relaxed), 1);
    assert_eq!(server.taken()[0]["NomadFirehoseTest"], true);
    let said_of_none = said("http", &address("http://127.0.0.1:9/hush-hush".to_owned()), &[]).await;
    said_of_none.fails("sink http", "Connection refused", "SINK_HTTP_ADDRESS");
    let unknown = said("http", &address("http://no-such-host.invalid/".to_owned()), &[]).await;
    unknown.fails("sink http", "no-such-host.invalid", "SINK_HTTP_ADDRESS");
    let authority = Authority::new();
    let front = Front::start(authority.server("localhost", false), &server.addr().to_string()).await;
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&ca, authority.pem()).expect("writable");
    let mut variables = address(format!("https://localhost:{}/", front.address.port())).to_vec();
    let untrusted = said("http", &variables, &[]).await;
    untrusted.fails("sink http", "TLS with https://localhost", "SINK_HTTP_CACERT");
    variables.push(("SINK_HTTP_CACERT", ca.path().to_str().expect("text").to_owned()));
    said("http", &variables, &[]).await.is_well_without_nomad();
    front.exchange(authority.server_until("localhost", date_time_ymd(2020, 1, 1)));
    let expired = said("http", &variables, &[]).await;
    expired.fails(
        "sink http",
        "the server's certificate expired on Wed, 01 Jan 2020",
        "renew the server's certificate",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_asked_where_a_question_changes_nothing() {
    let answer = Arc::new(AtomicUsize::new(200));
    let requests = Arc::new(AtomicUsize::new(0));
    let (shared, counted) = (Arc::clone(&answer), Arc::clone(&requests));
    let server = Server::start(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Reply::Status(u16::try_from(shared.load(Ordering::Relaxed)).expect("a status"))
    });
    let server = server.await;
    let url = format!("http://{}/hook", server.addr());
    for (sink, variable) in [("discord", "SINK_DISCORD_URL"), ("alertmanager", "SINK_ALERTMANAGER_URL")] {
        answer.store(200, Ordering::Relaxed);
        said(sink, &[(variable, url.clone())], &[]).await.is_well_without_nomad();
        answer.store(404, Ordering::Relaxed);
        let wrong = said(sink, &[(variable, url.clone())], &[]).await;
        wrong.fails(&format!("sink {sink}"), "404", variable);
    }
    let asked = requests.load(Ordering::Relaxed);
    for (sink, variable) in [("slack", "SINK_SLACK_URL"), ("teams", "SINK_TEAMS_URL")] {
        said(sink, &[(variable, url.clone())], &[]).await.is_well_without_nomad();
    }
    assert_eq!(requests.load(Ordering::Relaxed), asked, "those only get a connection");
}

#[cfg(feature = "smtp")]
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_is_greeted() {
    use crate::common::smtp::{Options, Smtp};
    let authority = Authority::new();
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&ca, authority.pem()).expect("writable");
    let options = Options { authority: Some(&authority), is_implicit: false, login: "me:hush-hush-password" };
    let server = Smtp::start(options).await;
    let variables = |password: &str| {
        [
            ("SINK_SMTP_HOST", "localhost".to_owned()),
            ("SINK_SMTP_PORT", server.port().to_string()),
            ("SINK_SMTP_CACERT", ca.path().to_str().expect("text").to_owned()),
            ("SINK_SMTP_USERNAME", "me".to_owned()),
            ("SINK_SMTP_PASSWORD", password.to_owned()),
            ("SINK_SMTP_FROM", "nomad@example.com".to_owned()),
            ("SINK_SMTP_TO", "ops@example.com".to_owned()),
        ]
    };
    let well = said("smtp", &variables("hush-hush-password"), &[]).await;
    well.is_well_without_nomad();
    assert!(well.about("sink smtp")["text"].as_str().expect("text").contains("STARTTLS, logged in"), "{}", well.text);
    let wrong = said("smtp", &variables("hush-wrong"), &[]).await;
    wrong.fails("sink smtp", "535", "SINK_SMTP_USERNAME");
    assert!(server.taken().is_empty(), "nothing was sent");
}
