//! Asks for the first keys below the prefix, and writes nothing.

use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::path::Path;
use tokio::time::timeout;

use super::{Config, config::Service, fault::Fault, store};
use crate::{finding::Finding, sink::ErrorClass};

const WHAT: &str = "sink s3";
const FIX: &str = "check SINK_S3_URL, SINK_S3_ENDPOINT and the network; where credentials come from can hang, too";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let found = timeout(within, tried(config)).await.unwrap_or_else(|_| {
        let text = format!("{} did not answer within {within:.1?}", config.place.service.name());
        Finding::failed(WHAT, text, FIX)
    });
    vec![found]
}

async fn tried(config: &Config) -> Finding {
    let place = &config.place;
    let listed = async {
        let store = store::open(config).await?;
        let prefix = Path::parse(&place.prefix).map_err(|error| Fault::refused(&error.to_string()))?;
        let first = store.list(Some(&prefix)).next().await.transpose();
        first.map_err(|error| Fault::of(&error, place))
    };
    let label = place.label();
    match listed.await {
        Ok(_) => Finding::ok(WHAT, format!("{label} of {} exists and can be listed", place.service.name())),
        // Who may write need not have the right to list.
        Err(fault) if fault.class == ErrorClass::Refused && fault.reason.starts_with("access to ") => {
            let right = match place.service {
                Service::S3 => "s3:ListBucket",
                Service::Gcs => "storage.objects.list",
                _ => "listing",
            };
            let text = format!("{label} cannot be listed, so it is not known whether it exists: {}", fault.reason);
            Finding::warning(WHAT, text, format!("allow {right}, or try it with --send-test"))
        }
        Err(fault) => Finding::of_error_or(WHAT, &fault.reason, FIX).with_words_behind_cause(),
    }
}
