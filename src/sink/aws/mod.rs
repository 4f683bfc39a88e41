//! What the sinks for services of AWS share: region, credentials and endpoint as every program for AWS finds them, a client that
//! never retries, deadlines, and what an error means.

mod client;
mod fault;
mod wire;

use tracing::level_filters::LevelFilter;

#[cfg(test)]
pub(super) use self::wire::client as http_client;
pub(super) use self::{
    client::{Reach, Session, reach},
    fault::{Fault, Service, Target, class_of, first_line},
};

/// What the SDK may log.
pub(super) const LOG: &[(&str, LevelFilter)] = &[
    // The SDK logs whole requests, and the token among their headers.
    ("aws", LevelFilter::WARN),
    // They log each try with the whole answer. The sink gives the result as its reason.
    ("aws_config::imds::region", LevelFilter::OFF),
    ("aws_config::meta::credentials", LevelFilter::OFF),
];
