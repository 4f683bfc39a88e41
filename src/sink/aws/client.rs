//! A client of a service, built from the environment.

use std::time::Duration;

use aws_config::{
    AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig,
    stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeTransmitInterceptorContextRef},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;
use tokio::time::timeout;

use super::{fault::Fault, wire};
use crate::{redact, sink::ErrorClass};

/// How long the answer to a call may take, from the first byte of the call on.
const CALL: Duration = Duration::from_secs(30);

/// The same, including the time to get the credentials, which can come over the network.
const CALL_AND_CREDENTIALS: Duration = Duration::from_secs(45);

/// How long the search for a region may take. It can end with a request to the machine's metadata.
const SEARCH: Duration = Duration::from_secs(30);

/// A client, and the region it speaks to.
pub(in crate::sink) struct Reach<C> {
    pub(in crate::sink) client: C,
    pub(in crate::sink) region: String,
}

/// Reads the environment, the profiles and, if no region is named, the machine's metadata. Calls nothing else yet. The client
/// that `build` makes has to have the interceptor [`Session`].
///
/// `region` is that of the target, where its name says one.
pub(in crate::sink) async fn reach<C>(
    region: Option<&str>,
    build: impl FnOnce(&SdkConfig) -> C,
) -> Result<Reach<C>, Fault> {
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
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let late = |_| Fault::Passing(ErrorClass::Timeout, format!("no region was found within {SEARCH:?}"));
    let found = timeout(SEARCH, loader.load()).await.map_err(late)?;
    let Some(region) = found.region() else {
        return Err(Fault::Refused("no region; set AWS_REGION, or the region of the profile".to_owned()));
    };
    // The SDK reads the key by itself. It is never sent, but another holder of the key can echo it.
    std::env::var("AWS_SECRET_ACCESS_KEY").iter().for_each(|secret| redact::keep(secret));
    Ok(Reach { region: region.to_string(), client: build(&found) })
}

/// Passes the session token of each signed request to the redaction, wherever the credentials came from.
#[derive(Debug)]
pub(in crate::sink) struct Session;

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
