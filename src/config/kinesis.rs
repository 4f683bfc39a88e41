//! The Kinesis sink: the original's variables, and ours. Region, endpoint and credentials are read where every program
//! for AWS reads them.

use super::{
    ByteSize, catalogue,
    reader::{Broken, Reader, between},
};
use crate::{
    sink::kinesis::{Config, Stream},
    template::Template,
};

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if reader.text(&catalogue::SINK_KINESIS_STREAM_NAME).is_none() {
        let what = "the kinesis sink needs the stream to write to, its name or its ARN";
        reader.missing(&catalogue::SINK_KINESIS_STREAM_NAME, what);
    }
    let stream = reader.optional(&catalogue::SINK_KINESIS_STREAM_NAME, stream);
    let partition_key = reader.optional(&catalogue::SINK_KINESIS_PARTITION_KEY, partition_key);
    let (least, most) = (ByteSize::new(1 << 20), ByteSize::new(10 << 20));
    let max_record_size = reader.value(&catalogue::SINK_KINESIS_MAX_RECORD_SIZE, between(least, most));
    Ok(Config {
        stream: stream.ok_or(Broken)?,
        partition_key,
        max_record_size: usize::try_from(max_record_size?.bytes()).map_err(|_| Broken)?,
    })
}

/// The API's own rules for `StreamName` and `StreamARN` (its reference, `PutRecords`).
fn stream(text: &str) -> Result<Stream, &'static str> {
    if !text.starts_with("arn:") {
        return if is_name(text) {
            Ok(Stream::Name(text.to_owned()))
        } else {
            Err("a stream's name has 1 to 128 letters, digits, and _ . -")
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

const NO_ARN: &str = "no ARN of a stream; write arn:aws:kinesis:REGION:ACCOUNT:stream/NAME";

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

/// A key on the wire has at most 256 characters; what a template gives beyond that is hashed.
fn partition_key(text: &str) -> Result<Template, String> {
    let template: Template = text.parse().map_err(|error| format!("{error}"))?;
    if template.is_constant() && text.encode_utf16().count() > 256 {
        return Err("a partition key has at most 256 characters".to_owned());
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_name_or_an_arn() {
        assert_eq!(stream("nomad-events_1.a"), Ok(Stream::Name("nomad-events_1.a".into())));
        let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/nomad";
        assert_eq!(stream(arn), Ok(Stream::Arn { arn: arn.into(), region: "cn-north-1".into() }));
        for wrong in [
            "a b",
            "a/b",
            &"x".repeat(129),
            "arn:aws:kinesis",
            "arn:aws:sqs:us-east-1:123456789012:nomad",
            "arn:aws:kinesis:us-east-1:12:stream/nomad",
            "arn:aws:kinesis::123456789012:stream/nomad",
            "arn:aws:kinesis:us-east-1:123456789012:stream/",
            "arn:aws:kinesis:us-east-1:123456789012:nomad",
        ] {
            assert!(stream(wrong).is_err(), "{wrong}");
        }
    }
}
