//! The sink `sns`: a FIFO topic of its own for each check, with a queue that gets its messages, on one stand-in for SNS and SQS.

use crate::{
    aws::Target,
    common::{aws::SECRETS, gate::Gate, order::Leaps},
    rig::{Cause, Rig},
};

/// A FIFO topic, and the queue of its name that gets its messages.
struct Sns {
    target: Target,
    arn: String,
}

impl Sns {
    async fn start() -> Self {
        let target = Target::new(".fifo").await;
        let arn = target.server.create_topic(&target.name).await;
        Sns { target, arn }
    }
}

impl Rig for Sns {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow];
    const REFUSAL: &'static str = "InvalidParameter";
    const SECRETS: &'static [&'static str] = &SECRETS;

    fn variables(&self) -> Vec<(&'static str, String)> {
        let sink = vec![("SINK_TYPE", "sns".into()), ("SINK_SNS_TOPIC_ARN", self.arn.clone())];
        [sink, self.target.variables("AWS_ENDPOINT_URL_SNS")].concat()
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.target.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        self.target.server.take(&self.target.name).await.into_iter().map(|message| message.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        self.target.suffer(cause, ("InternalError", Self::REFUSAL)).await;
    }

    async fn recover(&mut self) {
        self.target.recover().await;
    }
}

suite! {
    Sns::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: "a FIFO topic drops what is sent again, so nothing comes twice; tests/sink_sns.rs has it with a standard one",
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
