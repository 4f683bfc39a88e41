//! What the sinks for services of AWS share: region, credentials and endpoint as every program for AWS finds them, a client that
//! never retries, deadlines, and what an error means; and for the services that take records by tens, the sink itself.

#[cfg(feature = "aws-tens")]
mod api;
#[cfg(any(feature = "sns", feature = "sqs"))]
mod attributes;
#[cfg(feature = "aws-tens")]
mod check;
mod client;
mod fault;
mod link;
#[cfg(any(feature = "sns", feature = "sqs"))]
mod message;
#[cfg(any(feature = "sns", feature = "sqs"))]
pub(super) mod names;
#[cfg(feature = "aws-tens")]
mod publisher;
#[cfg(feature = "aws-tens")]
mod round;
mod wire;

use tracing::level_filters::LevelFilter;

#[cfg(feature = "kinesis")]
pub(super) use self::fault::class_of;
#[cfg(all(test, feature = "kinesis"))]
pub(super) use self::wire::client as http_client;
#[cfg(feature = "s3")]
pub(super) use self::wire::{Lost, Wire};
#[cfg(any(feature = "sns", feature = "sqs"))]
pub(super) use self::{
    api::by_number,
    message::{Message, group},
};
#[cfg(feature = "aws-tens")]
pub(super) use self::{
    api::{Answer, Api},
    check::Check,
    publisher::{Publisher, policy},
};
pub(super) use self::{
    client::{Reach, Session, reach},
    fault::{Fault, Service, Target, first_line},
    link::Link,
};

/// What the SDK may log.
pub(super) const LOG: &[(&str, LevelFilter)] = &[
    // The SDK logs whole requests, and the token among their headers.
    ("aws", LevelFilter::WARN),
    // They log each try with the whole answer. The sink gives the result as its reason.
    ("aws_config::imds::region", LevelFilter::OFF),
    ("aws_config::meta::credentials", LevelFilter::OFF),
];
