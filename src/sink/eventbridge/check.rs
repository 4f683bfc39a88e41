//! Asks for the event bus, and puts nothing on it.

use std::time::Duration;

use super::{Config, Fault, Reach, SERVICE, Target, client};
use crate::{finding::Finding, sink::aws::Check};

const CHECK: Check = Check {
    service: &SERVICE,
    what: "sink eventbridge",
    endpoint: "AWS_ENDPOINT_URL_EVENTBRIDGE",
    right: "events:DescribeEventBus",
};

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    CHECK.within(within, tried(config)).await
}

async fn tried(config: &Config) -> Finding {
    let Reach { client, region } = match client::reach(&config.bus).await {
        Ok(reach) => reach,
        Err(fault) => return CHECK.of_fault(&fault),
    };
    let name = config.bus.name();
    match client.describe(&config.bus).await {
        Ok(_) => Finding::ok(CHECK.what, format!("event bus {name} in {region}, which keeps no order")),
        Err(error) => {
            let fault = Fault::of(&error, Target { service: &SERVICE, name, region: &region });
            // A run asks the same before it sends.
            if config.verify { CHECK.of_fault(&fault) } else { CHECK.of_error(&fault, &error) }
        }
    }
}
