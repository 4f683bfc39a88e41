//! The settings of the SQS sink: the variable of the original program, and a further one. Region, endpoint and credentials are
//! read where every program for AWS reads them.

use reqwest::Url;

use super::{Config, Queue, SERVICE, config::FIFO};
use crate::{
    settings::{Broken, Reader, Setting, settings},
    sink::{Definition, aws},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a queue of Amazon SQS",
    settings: SETTINGS,
    log: aws::LOG,
    is_for_people: false,
    has_headers: true,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "SQS sink";

settings! {
    pub(super) SETTINGS:

    QUEUE_NAME = Setting::new(HEADING, "sink-sqs-queue-name", "SINK_SQS_QUEUE_NAME", "NAME|URL|ARN",
        "Queue to send to, by name, URL or ARN, which must exist. If the name ends with .fifo, it is a FIFO queue. Region and credentials come from AWS's usual places: AWS_REGION, AWS_PROFILE and so on");
    GROUP_ID = Setting::new(HEADING, "sink-sqs-message-group-id", "SINK_SQS_MESSAGE_GROUP_ID", "TEMPLATE",
        "Message group of a FIFO queue. It can contain fields of the record: {Kind}. Without it, the record's own key, so that the messages about one object stay in order");
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if reader.text(&QUEUE_NAME).is_none() {
        let what = "the sqs sink needs the queue to send to; give its name, its URL or its ARN";
        reader.missing(&QUEUE_NAME, what);
    }
    let queue = reader.optional(&QUEUE_NAME, queue);
    let is_standard = queue.as_ref().is_some_and(|queue| !queue.is_fifo());
    let group = reader.optional(&GROUP_ID, |text| aws::group(text, is_standard, &SERVICE));
    Ok(Config { queue: queue.ok_or(Broken)?, group })
}

/// The API's own rules for `QueueName` (its reference, `CreateQueue`).
fn queue(text: &str) -> Result<Queue, &'static str> {
    if text.starts_with("arn:") {
        return arn(text).ok_or("not the ARN of a queue; write arn:aws:sqs:REGION:ACCOUNT:NAME");
    }
    if text.contains("://") {
        return url(text);
    }
    if !is_name(text) {
        return Err(
            "not the name of a queue; use 1 to 80 letters, digits, _ and -, with .fifo at the end of a FIFO queue",
        );
    }
    Ok(Queue::Name(text.to_owned()))
}

fn arn(text: &str) -> Option<Queue> {
    let parts: Vec<_> = text.split(':').collect();
    let &["arn", partition, "sqs", region, account, name] = parts.as_slice() else { return None };
    let is_valid = partition.starts_with("aws") && !region.is_empty() && is_account(account) && is_name(name);
    is_valid.then(|| Queue::Arn { region: region.to_owned(), account: account.to_owned(), name: name.to_owned() })
}

fn url(text: &str) -> Result<Queue, &'static str> {
    const NO_URL: &str = "not the URL of a queue; write https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";
    let url: Url = text.parse().map_err(|_| NO_URL)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL of a queue has no user and no password; credentials come from AWS's usual places");
    }
    let name = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    let is_valid = matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    let host = url.host_str().filter(|_| is_valid && is_name(name)).ok_or(NO_URL)?;
    let (region, name) = (region_of(host), name.to_owned());
    Ok(Queue::Url { url, region, name })
}

/// The region of a host of the service itself: `sqs.eu-west-1.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    let region = host.strip_prefix("sqs.")?;
    let region = region.strip_suffix(".amazonaws.com").or_else(|| region.strip_suffix(".amazonaws.com.cn"))?;
    (!region.is_empty() && !region.contains('.')).then(|| region.to_owned())
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(text: &str) -> bool {
    let bare = text.strip_suffix(FIFO).unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=80).contains(&text.len()) && !bare.is_empty() && bare.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
