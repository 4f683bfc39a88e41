//! The settings of the Kinesis sink: the variables of the original program, and further ones. Region, endpoint and
//! credentials are read where every program for AWS reads them.

use super::{Config, Stream};
use crate::{
    settings::{Broken, ByteSize, Reader, Setting, between, number, settings},
    sink::{Definition, aws},
    template::Template,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a stream of Amazon Kinesis",
    settings: SETTINGS,
    log: aws::LOG,
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Kinesis sink";

settings! {
    pub(super) SETTINGS:

    STREAM_NAME = Setting::new(HEADING, "sink-kinesis-stream-name", "SINK_KINESIS_STREAM_NAME", "NAME|ARN",
        "Stream to write to, by name or ARN, which must exist. Region and credentials come from AWS's usual places: AWS_REGION, AWS_PROFILE and so on");
    PARTITION_KEY = Setting::new(HEADING, "sink-kinesis-partition-key", "SINK_KINESIS_PARTITION_KEY", "TEMPLATE",
        "Partition key. It can contain fields of the record: {Namespace}/{JobID}. Without it, the record's own key, so that one object stays in one shard");
    MAX_RECORD_SIZE = Setting::new(HEADING, "sink-kinesis-max-record-size", "SINK_KINESIS_MAX_RECORD_SIZE", "SIZE",
        "Largest record that the stream takes, including the partition key (1MiB–10MiB). A larger one becomes a dead letter")
        .default("1MiB");
    WORKERS = Setting::new(HEADING, "sink-kinesis-workers", "SINK_KINESIS_WORKERS", "COUNT",
        "Calls in parallel (1–64). Two records of one key are never in parallel; with 1, all records of a shard arrive in the order of their events").default("8");
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if reader.text(&STREAM_NAME).is_none() {
        let what = "the kinesis sink needs the stream to write to; give its name or its ARN";
        reader.missing(&STREAM_NAME, what);
    }
    let stream = reader.optional(&STREAM_NAME, stream);
    let partition_key = reader.optional(&PARTITION_KEY, partition_key);
    let (least, most) = (ByteSize::new(1 << 20), ByteSize::new(10 << 20));
    let max_record_size = reader.value(&MAX_RECORD_SIZE, between(least, most));
    let workers = reader.value(&WORKERS, number(1, 64));
    Ok(Config {
        stream: stream.ok_or(Broken)?,
        partition_key,
        max_record_size: usize::try_from(max_record_size?.bytes()).map_err(|_| Broken)?,
        workers: workers?,
    })
}

/// The API's own rules for `StreamName` and `StreamARN` (its reference, `PutRecords`).
fn stream(text: &str) -> Result<Stream, &'static str> {
    if !text.starts_with("arn:") {
        return if is_name(text) {
            Ok(Stream::Name(text.to_owned()))
        } else {
            Err("not the name of a stream; use 1 to 128 letters, digits, _ . and -")
        };
    }
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let &["arn", partition, "kinesis", region, account, resource] = parts.as_slice() else { return Err(NO_ARN) };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_stream = resource.strip_prefix("stream/").is_some_and(is_name);
    if !partition.starts_with("aws") || region.is_empty() || !is_account || !is_stream {
        return Err(NO_ARN);
    }
    Ok(Stream::Arn { arn: text.to_owned(), region: region.to_owned() })
}

const NO_ARN: &str = "not the ARN of a stream; write arn:aws:kinesis:REGION:ACCOUNT:stream/NAME";

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

/// A key on the wire has at most 256 characters. The sink sends a hash in place of a longer one from a template.
fn partition_key(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    if template.is_constant() && text.encode_utf16().count() > 256 {
        return Err("the partition key is too long; write at most 256 characters".to_owned());
    }
    Ok(template)
}

#[cfg(test)]
mod tests;
