//! A client of the API, built from the environment.

use std::time::Duration;

use aws_config::{AppName, BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_kinesis::{
    Client,
    config::{
        Builder as Settings, ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig,
        interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::BoxError,
};
use tokio::time::timeout;

use super::{Stream, fault::Fault, wire};
use crate::{redact, sink::ErrorClass};

/// How long the answer to a call may take, from the first byte of the call on.
const CALL: Duration = Duration::from_secs(30);

/// The same, including the time to get the credentials, which can come over the network.
const CALL_AND_CREDENTIALS: Duration = Duration::from_secs(45);

/// How long the search for a region may take. It can end with a request to the machine's metadata.
const SEARCH: Duration = Duration::from_secs(30);

/// A client, and the region it speaks to.
pub(super) struct Reach {
    pub(super) client: Client,
    pub(super) region: String,
}

/// Reads the environment, the profiles and, if no region is named, the machine's metadata. Calls nothing else yet.
pub(super) async fn reach(stream: &Stream) -> Result<Reach, Fault> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(wire::CONNECT)
        .operation_attempt_timeout(CALL)
        .operation_timeout(CALL_AND_CREDENTIALS)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(wire::client()?)
        .app_name(AppName::new("nomad-firehose").expect("only letters and a hyphen"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // A call has its own deadline, and a server that takes nothing for a while is an outage like any other.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Stream::Arn { region, .. } = stream {
        loader = loader.region(Region::new(region.clone()));
    }
    let late = |_| Fault::Passing(ErrorClass::Timeout, format!("no region was found within {SEARCH:?}"));
    let found = timeout(SEARCH, loader.load()).await.map_err(late)?;
    let Some(region) = found.region() else {
        return Err(Fault::Refused("no region; set AWS_REGION, or the region of the profile".to_owned()));
    };
    // The SDK reads the key by itself. It is never sent, but another holder of the key can echo it.
    std::env::var("AWS_SECRET_ACCESS_KEY").iter().for_each(|secret| redact::keep(secret));
    let client = Client::from_conf(Settings::from(&found).interceptor(Session).build());
    Ok(Reach { region: region.to_string(), client })
}

/// Passes the session token of each signed request to the redaction, wherever the credentials came from.
#[derive(Debug)]
struct Session;

impl Intercept for Session {
    fn name(&self) -> &'static str {
        "Session"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request().headers().get("x-amz-security-token").into_iter().for_each(redact::renew);
        Ok(())
    }
}
