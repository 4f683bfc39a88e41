//! The settings of the OTLP sink.

use percent_encoding::percent_decode_str;

use super::{Body, Config, Protocol};
use crate::{
    http::Secret,
    settings::{Broken, Form, Reader, Setting},
    sink::{
        Definition,
        push::{self, Found},
    },
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "OTLP logs, such as an OpenTelemetry collector takes them",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

push::connection! {
    heading: "OTLP sink", flag: "sink-otlp", prefix: "SINK_OTLP", example: "such as collector.example.com",
    address: "URL of the receiver, such as http://collector:4318, or http://collector:4317 for gRPC. The path of its logs is added unless the URL ends with it. A user and a password in it become basic authentication",
    compression: Some(&COMPRESSION),

    PROTOCOL = Setting::new("OTLP sink", "sink-otlp-protocol", "SINK_OTLP_PROTOCOL", "NAME",
        "Protocol: http/protobuf or grpc. Without it, that of OTEL_EXPORTER_OTLP_LOGS_PROTOCOL, of OTEL_EXPORTER_OTLP_PROTOCOL, or else http/protobuf");
    BODY = Setting::new("OTLP sink", "sink-otlp-body", "SINK_OTLP_BODY", "FORM",
        "Body of the log records: text (the record as it is), map (taken apart into maps and lists)").default("text");
    RESOURCE = Setting::new("OTLP sink", "sink-otlp-resource", "SINK_OTLP_RESOURCE", "NAME=VALUE,…",
        "Attributes of the resource. They override service.name, which is nomad, and nomad.cluster, which is NOMAD_FIREHOSE_CLUSTER")
        .form(Form::List);
    COMPRESSION = Setting::new("OTLP sink", "sink-otlp-compression", "SINK_OTLP_COMPRESSION", "NAME",
        "Compression of requests: none, gzip or zstd. The server must support it").default("gzip");
    OTEL_ENDPOINT = Setting::new("OTLP sink", "otel-exporter-otlp-endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", "URL",
        "The address, if SINK_OTLP_ADDRESS is not set").secret();
    OTEL_LOGS_ENDPOINT = Setting::new("OTLP sink", "otel-exporter-otlp-logs-endpoint", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "URL",
        "The whole URL, to which no path is added but that of gRPC. It overrides OTEL_EXPORTER_OTLP_ENDPOINT").secret();
    OTEL_PROTOCOL = Setting::new("OTLP sink", "otel-exporter-otlp-protocol", "OTEL_EXPORTER_OTLP_PROTOCOL", "NAME",
        "The protocol, if SINK_OTLP_PROTOCOL is not set");
    OTEL_LOGS_PROTOCOL = Setting::new("OTLP sink", "otel-exporter-otlp-logs-protocol", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "NAME",
        "The protocol, if SINK_OTLP_PROTOCOL is not set. It overrides OTEL_EXPORTER_OTLP_PROTOCOL");
    OTEL_HEADERS = Setting::new("OTLP sink", "otel-exporter-otlp-headers", "OTEL_EXPORTER_OTLP_HEADERS", "NAME=VALUE,…",
        "Further headers, with values percent-encoded, if SINK_OTLP_HEADERS is not set").form(Form::List).secret();
    OTEL_SERVICE_NAME = Setting::new("OTLP sink", "otel-service-name", "OTEL_SERVICE_NAME", "NAME",
        "The attribute service.name of the resource, if SINK_OTLP_RESOURCE has none");
    OTEL_RESOURCE = Setting::new("OTLP sink", "otel-resource-attributes", "OTEL_RESOURCE_ATTRIBUTES", "NAME=VALUE,…",
        "Attributes of the resource, with values percent-encoded, beside those of SINK_OTLP_RESOURCE").form(Form::List);
}

impl Protocol {
    /// Where the API is below the address.
    fn path(self) -> &'static str {
        match self {
            Protocol::Http => "/v1/logs",
            Protocol::Grpc => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let protocol = protocol(reader);
    let found = address(reader, *protocol.as_ref().unwrap_or(&Protocol::Http));
    let body = reader.value(&BODY, body);
    let resource = resource(reader);
    let headers = match reader.layers.get(&HEADERS) {
        Some(_) => Vec::new(),
        None => reader.list(&OTEL_HEADERS, encoded_header),
    };
    let mut push = push::read(reader, &CONNECTION, found)?;
    push.headers.extend(headers);
    Ok(Config { push, protocol: protocol?, body: body?, resource })
}

/// Ours, or else that of OpenTelemetry's own variables.
fn protocol(reader: &mut Reader<'_>) -> Result<Protocol, Broken> {
    for setting in [&PROTOCOL, &OTEL_LOGS_PROTOCOL, &OTEL_PROTOCOL] {
        if reader.layers.get(setting).is_some() {
            let read = |text: &str| match text {
                "http/protobuf" => Ok(Protocol::Http),
                "grpc" => Ok(Protocol::Grpc),
                _ => Err("no such protocol; choose http/protobuf or grpc"),
            };
            return reader.optional(setting, read).ok_or(Broken);
        }
    }
    Ok(Protocol::Http)
}

fn address(reader: &mut Reader<'_>, protocol: Protocol) -> Option<Found> {
    let is_given = |reader: &Reader<'_>, setting| reader.layers.get(setting).is_some();
    if !is_given(reader, &ADDRESS) {
        if is_given(reader, &OTEL_LOGS_ENDPOINT) {
            let path = if protocol == Protocol::Grpc { protocol.path() } else { "" };
            return reader.optional(&OTEL_LOGS_ENDPOINT, |text| push::endpoint(text, path));
        }
        if is_given(reader, &OTEL_ENDPOINT) {
            return reader.optional(&OTEL_ENDPOINT, |text| push::endpoint(text, protocol.path()));
        }
    }
    let missing = "the otlp sink needs the URL of the receiver, such as http://collector:4318";
    push::address(reader, &ADDRESS, protocol.path(), missing)
}

/// The attributes of the resource, each once: what is ours goes first.
fn resource(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> = reader.list(&RESOURCE, pair);
    let service = reader.optional(&OTEL_SERVICE_NAME, |text| Ok::<_, String>(text.to_owned()));
    attributes.extend(service.map(|service| ("service.name".to_owned(), service)));
    attributes.extend(reader.list(&OTEL_RESOURCE, encoded_pair));
    let mut known = std::collections::HashSet::new();
    attributes.retain(|(name, _)| known.insert(name.clone()));
    attributes
}

fn body(text: &str) -> Result<Body, &'static str> {
    match text {
        "text" => Ok(Body::Text),
        "map" => Ok(Body::Map),
        _ => Err("no such form; choose text or map"),
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("an attribute has no =; write NAME=VALUE")?;
    if name.trim().is_empty() {
        return Err("an attribute has no name; write NAME=VALUE");
    }
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn encoded_pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = pair(text)?;
    let value = percent_decode_str(&value).decode_utf8().map_err(|_| "the value is not UTF-8 once it is decoded")?;
    Ok((name, value.into_owned()))
}

fn encoded_header(text: &str) -> Result<(String, Secret), String> {
    let (name, value) = encoded_pair(text)?;
    crate::sink::http::header(&format!("{name}: {value}"))
}

#[cfg(test)]
mod tests;
