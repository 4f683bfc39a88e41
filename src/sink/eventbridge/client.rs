//! A client of the API, and whether the event bus exists.

use std::time::Duration;

use aws_sdk_eventbridge::{
    Client,
    config::Builder,
    error::SdkError,
    operation::describe_event_bus::{DescribeEventBusError, DescribeEventBusOutput},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::{sync::Mutex, time::Instant};

use super::{Bus, Fault, Reach, SERVICE, Target};
use crate::sink::aws::{self, Session};

/// How often the bus is asked for. What is sent between its removal and the next time is lost.
const EVERY: Duration = Duration::from_secs(60);

/// A client, and what is known of the event bus.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) client: Client,
    /// When the bus was there the last time.
    seen: Mutex<Option<Instant>>,
}

/// Looks for region and credentials. Calls nothing yet.
pub(super) async fn reach(bus: &Bus) -> Result<Reach<Reached>, Fault> {
    let region = match bus {
        Bus::Name(_) => None,
        Bus::Arn { region, .. } => Some(&**region),
    };
    aws::reach(region, |found| {
        let client = Client::from_conf(Builder::from(found).interceptor(Session).build());
        Reached { client, seen: Mutex::default() }
    })
    .await
}

impl Reached {
    /// Asks for the bus, unless it was there a short time ago. Calls at the same time wait for one question.
    pub(super) async fn verify(&self, bus: &Bus, region: &str) -> Result<(), Fault> {
        let mut seen = self.seen.lock().await;
        if seen.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(());
        }
        let target = Target { service: &SERVICE, name: bus.name(), region };
        self.describe(bus).await.map_err(|error| Fault::of(&error, target))?;
        *seen = Some(Instant::now());
        Ok(())
    }

    pub(super) async fn describe(
        &self,
        bus: &Bus,
    ) -> Result<DescribeEventBusOutput, SdkError<DescribeEventBusError, HttpResponse>> {
        self.client.describe_event_bus().name(bus.called()).send().await
    }
}
