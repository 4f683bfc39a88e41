//! The sink `eventbridge`: an event bus of its own for each check, on one stand-in for EventBridge.

use crate::{
    aws::Target,
    common::{
        aws::{REGION, SECRETS},
        gate::Gate,
        order::Leaps,
    },
    rig::{Cause, Rig},
};

/// An event bus.
struct EventBridge(Target);

impl EventBridge {
    async fn start() -> Self {
        let target = Target::new("").await;
        target.server.create_bus(&target.name).await;
        EventBridge(target)
    }
}

impl Rig for EventBridge {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Silent, Cause::Slow];
    const REFUSAL: &'static str = "MalformedDetail";
    const SECRETS: &'static [&'static str] = &SECRETS;

    fn variables(&self) -> Vec<(&'static str, String)> {
        let sink = vec![
            ("SINK_TYPE", "eventbridge".into()),
            ("SINK_EVENT_BUS_NAME", self.0.name.clone()),
            ("AWS_REGION", REGION.into()),
        ];
        [sink, self.0.variables("AWS_ENDPOINT_URL_EVENTBRIDGE")].concat()
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.0.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        self.0.server.take_events(&self.0.name).await.into_iter().map(|message| message.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        self.0.suffer(cause, ("InternalFailure", Self::REFUSAL)).await;
    }

    async fn recover(&mut self) {
        self.0.recover().await;
    }
}

suite! {
    EventBridge::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: passes,
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
