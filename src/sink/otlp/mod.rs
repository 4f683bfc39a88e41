//! Logs of OpenTelemetry (OTLP 1.x, protobuf): over HTTP, `POST /v1/logs`, or over gRPC, `LogsService/Export`. Delivered means answered with
//! 200 or `OK`, and without rejected log records.
//!
//! | Answer over HTTP | Over gRPC | Outcome |
//! |---|---|---|
//! | 200 | `OK` | delivered |
//! | 200 with as many `rejected_log_records` as were sent | the same | reject |
//! | 200 with fewer of them; 400, 413, 422 | `OK` with fewer of them; `INVALID_ARGUMENT`; `RESOURCE_EXHAUSTED` or `OUT_OF_RANGE` that are about the size of the message | reject; halves are sent until the guilty records stand alone |
//! | 200 with another body | no status, or `OK` with another body | retry: that is not OTLP |
//! | 415; 400 about the compression, or for want of TLS or of a client certificate | `UNIMPLEMENTED` about the compression | retry, with the setting |
//! | 401, 403 | `UNAUTHENTICATED`, `PERMISSION_DENIED` | retry, with the setting |
//! | 429, 503 and 504 after what `Retry-After` asks for | `RESOURCE_EXHAUSTED`, `UNAVAILABLE` and all others that OTLP calls retryable, after what `RetryInfo` asks for | retry |
//! | everything else, a timeout, a broken connection | the same | retry |
//!
//! A partial success does not say which records were rejected. So the halves bring again what the server has taken: it
//! comes twice, with the same `nomad.id`.

mod config;
mod fault;
mod message;
mod settings;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::InstrumentationScope,
    logs::v1::{ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message as _;

pub(super) use self::settings::DEFINITION;
use self::{
    config::{Body, Config, Protocol},
    message::{attribute, string},
};
use super::{
    Policy, Prepared, Sink, Unusable,
    push::{self, Codec, Push, Said, Sent, Variables, Verdict},
};
use crate::{finding::Finding, identity, record::Record};

/// What is special about OTLP.
#[derive(Debug)]
struct Otlp {
    resource: Resource,
    body: Body,
    protocol: Protocol,
}

impl Otlp {
    fn new(config: &Config, cluster: Option<&str>) -> Self {
        let mut attributes = config.resource.clone();
        let own = [("service.name", Some("nomad")), ("nomad.cluster", cluster)];
        for (name, value) in own {
            if let Some(value) = value.filter(|_| !attributes.iter().any(|(given, _)| given == name)) {
                attributes.push((name.to_owned(), value.to_owned()));
            }
        }
        let attributes = attributes.into_iter().map(|(name, value)| attribute(&name, string(value))).collect();
        let resource = Resource { attributes, ..Resource::default() };
        Otlp { resource, body: config.body, protocol: config.protocol }
    }
}

impl Codec for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn variables(&self) -> &'static Variables {
        &settings::VARIABLES
    }

    fn content_type(&self) -> &'static str {
        match self.protocol {
            Protocol::Http => "application/x-protobuf",
            Protocol::Grpc => "application/grpc",
        }
    }

    fn is_grpc(&self) -> bool {
        self.protocol == Protocol::Grpc
    }

    fn hint(&self) -> &'static str {
        match self.protocol {
            Protocol::Http => "; if it speaks gRPC, as on port 4317, set SINK_OTLP_PROTOCOL=grpc",
            Protocol::Grpc => "; if it speaks OTLP over HTTP, as on port 4318, set SINK_OTLP_PROTOCOL=http/protobuf",
        }
    }

    fn encode(&self, records: &[Record], sent: Sent) -> Bytes {
        let (name, version) = identity::PRODUCT.split_once('/').unwrap_or((identity::PRODUCT, ""));
        let scope = InstrumentationScope {
            name: name.to_owned(),
            version: version.to_owned(),
            ..InstrumentationScope::default()
        };
        let log_records = records.iter().map(|record| message::log_record(record, self.body, sent)).collect();
        let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
        let logs = ResourceLogs { resource: Some(self.resource.clone()), scope_logs, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec().into()
    }

    fn judge(&self, said: &Said<'_>, records: &[Record]) -> Verdict {
        fault::judge(said, records.len())
    }

    fn empty(&self) -> Bytes {
        Bytes::new()
    }
}

impl Config {
    fn sink(&self, cluster: Option<&str>) -> Result<Push<Otlp>, Unusable> {
        Push::new(Otlp::new(self, cluster), &self.push)
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(self.sink(cluster)?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(push::check(self.sink(None), "sink otlp", within))
    }
}
