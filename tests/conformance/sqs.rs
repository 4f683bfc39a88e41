//! The sink `sqs`: a FIFO queue of its own for each check, on one stand-in for SQS.

use crate::{
    aws::Target,
    common::{
        aws::{REGION, SECRETS},
        gate::Gate,
        order::Leaps,
    },
    rig::{Cause, Rig},
};

/// A FIFO queue.
struct Sqs(Target);

impl Sqs {
    async fn start() -> Self {
        let target = Target::new(".fifo").await;
        target.server.create_queue(&target.name).await;
        Sqs(target)
    }
}

impl Rig for Sqs {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow];
    const REFUSAL: &'static str = "InvalidMessageContents";
    const SECRETS: &'static [&'static str] = &SECRETS;

    fn variables(&self) -> Vec<(&'static str, String)> {
        let sink = vec![
            ("SINK_TYPE", "sqs".into()),
            ("SINK_SQS_QUEUE_NAME", self.0.name.clone()),
            ("AWS_REGION", REGION.into()),
        ];
        [sink, self.0.variables("AWS_ENDPOINT_URL_SQS")].concat()
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.0.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        self.0.server.take(&self.0.name).await.into_iter().map(|message| message.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        self.0.suffer(cause, ("InternalError", Self::REFUSAL)).await;
    }

    async fn recover(&mut self) {
        self.0.recover().await;
    }
}

suite! {
    Sqs::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: "a FIFO queue drops what is sent again, so nothing comes twice; tests/sink_sqs.rs has it with a standard one",
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
