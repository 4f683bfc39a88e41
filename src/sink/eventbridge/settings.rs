//! The settings of the EventBridge sink: the variables of the original program with their meanings, and further ones. Region,
//! endpoint and credentials are read where every program for AWS reads them.

use super::{
    Bus, Config,
    entry::{DETAIL_TYPE as LONGEST_DETAIL_TYPE, RESERVED},
};
use crate::{
    settings::{Broken, Form, Reader, Setting, http::boolean, settings},
    sink::{Definition, aws},
    template::Template,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "an event bus of Amazon EventBridge",
    settings: SETTINGS,
    log: aws::LOG,
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "EventBridge sink";

settings! {
    pub(super) SETTINGS:

    NAME = Setting::new(HEADING, "sink-event-bus-name", "SINK_EVENT_BUS_NAME", "NAME|ARN",
        "Event bus to put events on, by name or ARN, which must exist. Region and credentials come from AWS's usual places: AWS_REGION, AWS_PROFILE and so on");
    DETAIL_TYPE = Setting::new(HEADING, "sink-event-bus-detail-type", "SINK_EVENT_BUS_DETAIL_TYPE", "TEMPLATE",
        "Detail type of each event, which rules match (1–128 characters). It can contain fields of the record: nomad {Kind}")
        .default("{Kind}");
    SOURCE = Setting::new(HEADING, "sink-event-bus-source", "SINK_EVENT_BUS_SOURCE", "TEMPLATE",
        "Source of each event, which rules match. It cannot begin with aws. and can contain fields of the record: nomad.{Namespace}")
        .default("nomad-firehose");
    RESOURCES = Setting::new(HEADING, "sink-event-bus-resources", "SINK_EVENT_BUS_RESOURCES", "TEMPLATE,…",
        "Resources of each event, such as {ID}, by which consumers can drop repeats. Without it, events have none")
        .form(Form::List);
    VERIFY = Setting::new(HEADING, "sink-event-bus-verify", "SINK_EVENT_BUS_VERIFY", "BOOL",
        "Ask before the first event, and every minute, whether the event bus exists, which needs the right events:DescribeEventBus. EventBridge accepts events for a bus that does not exist, and drops them silently")
        .default("true").form(Form::Switch);
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if reader.text(&NAME).is_none() {
        let what = "the eventbridge sink needs the event bus to put events on; give its name or its ARN";
        reader.missing(&NAME, what);
    }
    let bus = reader.optional(&NAME, bus);
    let detail_type = reader.value(&DETAIL_TYPE, detail_type);
    let source = reader.value(&SOURCE, source);
    let resources = reader.list(&RESOURCES, |text| text.parse::<Template>());
    let verify = reader.value(&VERIFY, boolean);
    Ok(Config { bus: bus.ok_or(Broken)?, detail_type: detail_type?, source: source?, resources, verify: verify? })
}

fn template(text: &str) -> Result<Template, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn detail_type(text: &str) -> Result<Template, String> {
    let template = template(text)?;
    if template.constant().is_some_and(|text| text.chars().count() > LONGEST_DETAIL_TYPE) {
        return Err(format!("the detail type is too long; write at most {LONGEST_DETAIL_TYPE} characters"));
    }
    Ok(template)
}

fn source(text: &str) -> Result<Template, String> {
    if text.starts_with(RESERVED) {
        return Err(format!("sources that begin with {RESERVED} are those of AWS's own services; choose another one"));
    }
    template(text)
}

/// The API's own rules for `EventBusName` (its reference, `PutEvents`).
fn bus(text: &str) -> Result<Bus, &'static str> {
    if !text.starts_with("arn:") {
        return if is_name(text) {
            Ok(Bus::Name(text.to_owned()))
        } else {
            Err("not the name of an event bus; use 1 to 256 letters, digits, / _ . and -")
        };
    }
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let &["arn", partition, "events", region, account, resource] = parts.as_slice() else { return Err(NO_ARN) };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let name = resource.strip_prefix("event-bus/").filter(|name| is_name(name)).ok_or(NO_ARN)?;
    if !partition.starts_with("aws") || region.is_empty() || !is_account {
        return Err(NO_ARN);
    }
    Ok(Bus::Arn { arn: text.to_owned(), region: region.to_owned(), name: name.to_owned() })
}

const NO_ARN: &str = "not the ARN of an event bus; write arn:aws:events:REGION:ACCOUNT:event-bus/NAME";

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'.' | b'-');
    (1..=256).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests;
