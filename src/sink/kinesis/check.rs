//! Asks for the stream, and writes nothing.

use std::time::Duration;

use aws_sdk_kinesis::types::StreamStatus;
use tokio::time::timeout;

use super::{Config, Kinesis, Stream, client, fault::Fault};
use crate::finding::Finding;

const WHAT: &str = "sink kinesis";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let found = timeout(within, tried(config)).await.unwrap_or_else(|_| {
        let text = format!("Kinesis did not answer within {within:.1?}");
        Finding::failed(
            WHAT,
            text,
            "check AWS_REGION, AWS_ENDPOINT_URL_KINESIS and the network; where credentials come from can hang, too",
        )
    });
    vec![found]
}

async fn tried(config: &Config) -> Finding {
    let kinesis = Kinesis::new(config.clone());
    let name = kinesis.stream();
    let reach = match client::reach(&config.stream).await {
        Ok(reach) => reach,
        Err(fault) => return of_fault(&fault),
    };
    let request = reach.client.describe_stream_summary();
    let request = match &config.stream {
        Stream::Name(name) => request.stream_name(name),
        Stream::Arn { arn, .. } => request.stream_arn(arn),
    };
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return of_error(&Fault::of(&error, kinesis.target(&reach.region)), &error),
    };
    let Some(summary) = answer.stream_description_summary else {
        return Finding::failed(
            WHAT,
            format!("Kinesis in {} did not describe the stream {name}", reach.region),
            "check the endpoint",
        );
    };
    let (status, shards) = (&summary.stream_status, summary.open_shard_count);
    let text = format!("stream {name} in {}: {status}, {shards} open shards", reach.region);
    match status {
        StreamStatus::Active | StreamStatus::Updating => Finding::ok(WHAT, text),
        _ => Finding::failed(WHAT, text, "wait until it is ACTIVE, or create it"),
    }
}

/// Who may write a stream need not have the right to describe it.
fn of_error<E: aws_sdk_kinesis::error::ProvideErrorMetadata>(fault: &Fault, error: &E) -> Finding {
    if matches!(error.code(), Some("AccessDeniedException" | "AccessDenied")) {
        let text =
            "the credentials are accepted, but may not describe the stream, so it is not known whether it exists";
        return Finding::warning(WHAT, text, "allow kinesis:DescribeStreamSummary, or try it with --send-test");
    }
    of_fault(fault)
}

fn of_fault(fault: &Fault) -> Finding {
    Finding::of_error_or(WHAT, fault.reason(), "check AWS_REGION, AWS_ENDPOINT_URL_KINESIS and the network")
        .with_words_behind_cause()
}
