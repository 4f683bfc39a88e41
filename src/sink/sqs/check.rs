//! Asks for the queue, and sends nothing.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Name;

use super::{Config, Fault, Reach, Reached, SERVICE, Target, client};
use crate::{finding::Finding, sink::aws::Check};

const CHECK: Check =
    Check { service: &SERVICE, what: "sink sqs", endpoint: "AWS_ENDPOINT_URL_SQS", right: "sqs:GetQueueAttributes" };

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    CHECK.within(within, tried(config)).await
}

async fn tried(config: &Config) -> Finding {
    let Reach { client: Reached { client, url }, region } = match client::reach(&config.queue).await {
        Ok(reach) => reach,
        Err(fault) => return CHECK.of_fault(&fault),
    };
    let name = config.queue.name();
    let request = client.get_queue_attributes().queue_url(url);
    let request = request.attribute_names(Name::MaximumMessageSize).attribute_names(Name::ApproximateNumberOfMessages);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            let target = Target { service: &SERVICE, name, region: &region };
            return CHECK.of_error(&Fault::of(&error, target), &error);
        }
    };
    let attribute = |name| answer.attributes().and_then(|all| all.get(&name)).map_or("?", String::as_str);
    let sort = if config.queue.is_fifo() { "FIFO" } else { "standard, which keeps no order" };
    let (most, waiting) = (attribute(Name::MaximumMessageSize), attribute(Name::ApproximateNumberOfMessages));
    Finding::ok(
        CHECK.what,
        format!("queue {name} in {region}: {sort}, messages of {most} bytes at most, {waiting} messages wait"),
    )
}
