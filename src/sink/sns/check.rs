//! Asks for the topic, and publishes nothing.

use std::time::Duration;

use super::{Config, Fault, Reach, SERVICE, Target, client};
use crate::{finding::Finding, sink::aws::Check};

const CHECK: Check =
    Check { service: &SERVICE, what: "sink sns", endpoint: "AWS_ENDPOINT_URL_SNS", right: "sns:GetTopicAttributes" };

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    CHECK.within(within, tried(config)).await
}

async fn tried(config: &Config) -> Finding {
    let Reach { client, region } = match client::reach(&config.topic).await {
        Ok(reach) => reach,
        Err(fault) => return CHECK.of_fault(&fault),
    };
    let name = &config.topic.name;
    let answer = match client.get_topic_attributes().topic_arn(&config.topic.arn).send().await {
        Ok(answer) => answer,
        Err(error) => {
            let target = Target { service: &SERVICE, name, region: &region };
            return CHECK.of_error(&Fault::of(&error, target), &error);
        }
    };
    let attribute = |name| answer.attributes().and_then(|all| all.get(name)).map(String::as_str);
    let sort = if config.topic.is_fifo() { "FIFO" } else { "standard, which keeps no order" };
    // It says so only if it was set.
    let most = attribute("MaximumMessageSize").unwrap_or("262144");
    let subscriptions = attribute("SubscriptionsConfirmed").unwrap_or("?");
    let text =
        format!("topic {name} in {region}: {sort}, messages of {most} bytes at most, subscriptions: {subscriptions}");
    if subscriptions == "0" {
        let fix = "subscribe what should get the records: SNS drops what is published to a topic without subscriptions";
        return Finding::warning(CHECK.what, text, fix);
    }
    Finding::ok(CHECK.what, text)
}
