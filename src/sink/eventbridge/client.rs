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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};
    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::HttpRequest,
    };
    use aws_smithy_types::body::SdkBody;

    use super::*;

    /// Answers that the bus is there, or that it is not.
    #[derive(Clone, Debug, Default)]
    struct Service {
        is_gone: Arc<AtomicBool>,
        asked: Arc<AtomicUsize>,
    }

    impl HttpConnector for Service {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let (status, body) = if self.is_gone.load(Ordering::Relaxed) {
                (400_u16, r#"{"__type":"ResourceNotFoundException","message":"Event bus nomad does not exist."}"#)
            } else {
                (200, r#"{"Name":"nomad"}"#)
            };
            HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_bus_is_asked_for_once_a_minute_and_each_time_while_it_is_missing() {
        let service = Service::default();
        let connector = SharedHttpConnector::new(service.clone());
        let settings = Builder::default()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("AKIDTEST", "key", None, None, "test"))
            .http_client(http_client_fn(move |_, _| connector.clone()));
        let reached = Reached { client: Client::from_conf(settings.build()), seen: Mutex::default() };
        let bus = Bus::Name("nomad".to_owned());
        let verify = || reached.verify(&bus, "eu-west-1");
        let asked = || service.asked.load(Ordering::Relaxed);
        assert_eq!(tokio::join!(verify(), verify(), verify()), (Ok(()), Ok(()), Ok(())));
        assert_eq!(asked(), 1);
        tokio::time::advance(EVERY - Duration::from_secs(1)).await;
        assert_eq!((verify().await, asked()), (Ok(()), 1));
        service.is_gone.store(true, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(1)).await;
        for times in 2..4 {
            assert!(matches!(verify().await, Err(Fault::Missing(_))));
            assert_eq!(asked(), times);
        }
        service.is_gone.store(false, Ordering::Relaxed);
        assert_eq!((verify().await, asked()), (Ok(()), 4));
    }
}
