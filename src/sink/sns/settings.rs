//! The settings of the SNS sink. Endpoint and credentials are read where every program for AWS reads them; the region is that of
//! the topic.

use super::{Config, SERVICE, Topic, config::FIFO};
use crate::{
    settings::{Broken, Reader, Setting, settings},
    sink::{Definition, aws},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a topic of Amazon SNS",
    settings: SETTINGS,
    log: aws::LOG,
    is_for_people: false,
    has_headers: true,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "SNS sink";

settings! {
    pub(super) SETTINGS:

    TOPIC_ARN = Setting::new(HEADING, "sink-sns-topic-arn", "SINK_SNS_TOPIC_ARN", "ARN",
        "ARN of the topic to publish to, which must exist. If it ends with .fifo, it is a FIFO topic. Credentials come from AWS's usual places: AWS_PROFILE, the role of the machine and so on");
    GROUP_ID = Setting::new(HEADING, "sink-sns-message-group-id", "SINK_SNS_MESSAGE_GROUP_ID", "TEMPLATE",
        "Message group of a FIFO topic. It can contain fields of the record: {Kind}. Without it, the record's own key, so that the messages about one object stay in order");
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if reader.text(&TOPIC_ARN).is_none() {
        reader.missing(&TOPIC_ARN, "the sns sink needs the topic to publish to; give its ARN");
    }
    let topic = reader.optional(&TOPIC_ARN, topic);
    let is_standard = topic.as_ref().is_some_and(|topic| !topic.is_fifo());
    let group = reader.optional(&GROUP_ID, |text| aws::group(text, is_standard, &SERVICE));
    Ok(Config { topic: topic.ok_or(Broken)?, group })
}

/// The API's own rules for names (its reference, `CreateTopic`).
fn topic(text: &str) -> Result<Topic, &'static str> {
    const NO_ARN: &str = "not the ARN of a topic; write arn:aws:sns:REGION:ACCOUNT:NAME";
    let parts: Vec<_> = text.split(':').collect();
    let &["arn", partition, "sns", region, account, name] = parts.as_slice() else { return Err(NO_ARN) };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if !partition.starts_with("aws") || region.is_empty() || !is_account || !is_name(name) {
        return Err(NO_ARN);
    }
    Ok(Topic { arn: text.to_owned(), region: region.to_owned(), name: name.to_owned() })
}

fn is_name(text: &str) -> bool {
    let bare = text.strip_suffix(FIFO).unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=256).contains(&text.len()) && !bare.is_empty() && bare.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
