//! The layer that keeps what the [`Journal`] wants.

use std::time::SystemTime;

use serde_json::Value;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use super::fields::gathered;
use crate::telemetry::journal::{Journal, Noted};

pub(super) struct Keep(pub(super) Journal);

impl<S> Layer<S> for Keep
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let fields = gathered(event, context.event_scope(event));
        let level = *event.metadata().level();
        if !Journal::wants(level, &fields.message) {
            return;
        }
        let (mut pipeline, mut rest) = (None, fields.rest);
        rest.retain(|(name, value)| match value {
            Value::String(text) if name == "pipeline" => {
                pipeline = Some(text.clone());
                false
            }
            _ => true,
        });
        self.0.note(Noted { at: SystemTime::now(), level, event: fields.message, pipeline, fields: rest });
    }
}
