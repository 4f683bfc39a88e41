//! The settings of the sink for object stores. Credentials are read where every program for the service reads them.

use std::{path::PathBuf, time::Duration};

use reqwest::Url;
use tracing::level_filters::LevelFilter;

use super::{
    Config,
    config::{Place, Service},
};
use crate::{
    settings::{Broken, ByteSize, Form, Reader, Setting, between, duration, settings},
    sink::{
        Definition, aws,
        ndjson::{Compression, Pattern},
    },
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "objects of S3, Google Cloud Storage or Azure",
    settings: SETTINGS,
    log: LOG,
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

/// The library logs each request with its address.
const LOG: &[(&str, LevelFilter)] = &[aws::LOG[0], aws::LOG[1], aws::LOG[2], ("object_store", LevelFilter::WARN)];

const HEADING: &str = "S3 sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-s3-url", "SINK_S3_URL", "URL",
        "Where objects go: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIRECTORY. The bucket must exist. The prefix can be left out. Credentials come from the service's usual places");
    KEY = Setting::new(HEADING, "sink-s3-key", "SINK_S3_KEY", "PATTERN",
        "Directory of the objects below the prefix. It can contain fields of the record, and %Y, %m, %d and %H of the time of writing in UTC. Each different one makes an object of its own").default("{Kind}/%Y-%m-%d");
    BATCH_SIZE = Setting::new(HEADING, "sink-s3-batch-size", "SINK_S3_BATCH_SIZE", "SIZE",
        "Size at which a batch is written, before compression (4KiB–512MiB). It is held in memory, and must be at most half of NOMAD_FIREHOSE_MAX_IN_FLIGHT").default("8MiB");
    BATCH_INTERVAL = Setting::new(HEADING, "sink-s3-batch-interval", "SINK_S3_BATCH_INTERVAL", "DURATION",
        "How long records are gathered at most before they are written (10ms–15m). What is gathered is not delivered yet").default("30s");
    COMPRESSION = Setting::new(HEADING, "sink-s3-compression", "SINK_S3_COMPRESSION", "NAME",
        "How objects are compressed: none, gzip or zstd").default("zstd");
    COMPRESSION_LEVEL = Setting::new(HEADING, "sink-s3-compression-level", "SINK_S3_COMPRESSION_LEVEL", "NUMBER",
        "Level of the compression: 1–9 for gzip (6 without this setting), 1–19 for zstd (3)");
    ENDPOINT = Setting::new(HEADING, "sink-s3-endpoint", "SINK_S3_ENDPOINT", "URL",
        "Address of the service, if it is not the provider's own: http://minio:9000. Without it, that of AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL for s3://");
    REGION = Setting::new(HEADING, "sink-s3-region", "SINK_S3_REGION", "NAME",
        "Region of the bucket, for s3://. Without it, that of AWS_REGION, the profile or the machine; with an endpoint, us-east-1");
    PATH_STYLE = Setting::new(HEADING, "sink-s3-path-style", "SINK_S3_PATH_STYLE", "BOOL",
        "Put the bucket into the path and not into the name of the host, for s3://. Without it, that is done if there is an endpoint").form(Form::Switch);
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if reader.text(&URL).is_none() {
        reader.missing(&URL, "the s3 sink needs the bucket to write to; write its address, such as s3://BUCKET/PREFIX");
    }
    let place = reader.optional(&URL, place);
    let key = reader.value(&KEY, str::parse::<Pattern>);
    let size = reader.value(&BATCH_SIZE, between(ByteSize::new(4 << 10), ByteSize::new(512 << 20)));
    let interval = duration(Duration::from_millis(10), Duration::from_secs(15 * 60));
    let batch_interval = reader.value(&BATCH_INTERVAL, interval);
    let compression = Compression::read(reader, &COMPRESSION, &COMPRESSION_LEVEL);
    let endpoint = reader.optional(&ENDPOINT, endpoint);
    let region = reader.optional(&REGION, region);
    let path_style = reader.optional(&PATH_STYLE, |text| text.parse::<bool>().map_err(|_| "write true or false"));
    if let Some(Place { service, .. }) = place.as_ref().filter(|place| place.service != Service::S3) {
        for (setting, is_given) in [(&REGION, region.is_some()), (&PATH_STYLE, path_style.is_some())] {
            if is_given {
                reader.wrong(
                    setting,
                    format!("{} has none; remove this setting, or write s3:// in SINK_S3_URL", service.name()),
                );
            }
        }
        if matches!(service, Service::Local(_)) && endpoint.is_some() {
            reader.wrong(&ENDPOINT, "a directory has no endpoint; remove this setting");
        }
    }
    Ok(Config {
        place: place.ok_or(Broken)?,
        key: key?,
        batch_bytes: usize::try_from(size?.bytes()).map_err(|_| Broken)?,
        batch_interval: batch_interval?,
        compression: compression?,
        endpoint,
        region,
        path_style,
    })
}

fn place(text: &str) -> Result<Place, String> {
    let unknown = || "begin with s3://, gs://, az:// or file:///, such as s3://BUCKET/PREFIX".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(unknown)?;
    if rest.contains(['?', '#', '@']) || rest.chars().any(char::is_control) {
        return Err("the address has ?, #, @ or another character that no bucket has; credentials come from the service's usual places".to_owned());
    }
    if scheme == "file" {
        if !rest.starts_with('/') {
            return Err("the path of the directory is not absolute; write file:///DIRECTORY".to_owned());
        }
        return Ok(Place {
            service: Service::Local(PathBuf::from(rest)),
            bucket: String::new(),
            prefix: String::new(),
        });
    }
    let service = match scheme {
        "s3" => Service::S3,
        "gs" => Service::Gcs,
        "az" => Service::Azure,
        _ => return Err(unknown()),
    };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_usual = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if !(3..=222).contains(&bucket.len()) || !bucket.chars().all(is_usual) {
        return Err("not the name of a bucket; use 3 or more lower-case letters, digits, - and .".to_owned());
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("a part of the prefix is empty, . or ..; write one such as s3://BUCKET/nomad/prod".to_owned());
    }
    Ok(Place { service, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn endpoint(text: &str) -> Result<Url, &'static str> {
    const NO_URL: &str = "not the address of a service; write http://HOST:PORT or https://HOST";
    let url: Url = text.parse().map_err(|_| NO_URL)?;
    let is_valid = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address has a user or a password; credentials come from the service's usual places");
    }
    if is_valid && url.host_str().is_some() { Ok(url) } else { Err(NO_URL) }
}

fn region(text: &str) -> Result<String, &'static str> {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.chars().all(is_usual) {
        Ok(text.to_owned())
    } else {
        Err("not the name of a region; write one such as eu-west-1")
    }
}

#[cfg(test)]
mod tests;
