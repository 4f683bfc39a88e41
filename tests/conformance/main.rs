//! What every sink has to do, checked with the whole program and a real server: order, partial failures, unknown
//! outcomes, refusals, stops, outages, back-pressure, memory, secrets.
//!
//! A check is written once, in `checks/`, for any [`rig::Rig`]. A sink's file here has its rig, and names each check: as
//! passed, or with the reason why its protocol does not know the matter. `docs/adding-a-sink.md` begins from there.

#[path = "../common/mod.rs"]
mod common;

mod checks;
mod rig;
mod stage;

/// A test for each check that a rig passes. Every check has to be named: `passes`, or why the protocol knows no such
/// thing.
macro_rules! suite {
    (@test $rig:expr, $check:ident, passes) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $check() {
            $crate::checks::$check($rig).await;
        }
    };
    (@test $rig:expr, $check:ident, $reason:literal) => {};
    ($rig:expr; $($check:ident: $how:tt,)*) => {
        const _: $crate::checks::Named = $crate::checks::Named { $($check: ()),* };
        $(suite!(@test $rig, $check, $how);)*
    };
}

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "aws-tens")]
mod aws;
mod elasticsearch;
#[cfg(feature = "eventbridge")]
mod eventbridge;
mod file;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kinesis")]
mod kinesis;
#[cfg(feature = "loki")]
mod loki;
#[cfg(feature = "mongodb")]
mod mongodb;
mod nats;
mod nsq;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "smtp")]
mod smtp;
#[cfg(feature = "sns")]
mod sns;
#[cfg(feature = "sqs")]
mod sqs;
mod stdout;
mod syslog;
mod webhook;
