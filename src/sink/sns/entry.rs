//! A record as an entry of `PublishBatch`. Pure.

use std::borrow::Cow;

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry as Entry};

use super::{BYTES, Config, SERVICE};
use crate::{
    record::Record,
    sink::aws::{Message, names},
};

/// The entry, and the bytes that it counts for. Its id is set when it is sent.
///
/// # Errors
/// The topic would never take it.
pub(super) fn of(record: &Record, settings: &Config, cluster: Option<&str>) -> Result<(Entry, usize), String> {
    let Message { body, attributes, bytes } = Message::of(record, cluster, &SERVICE, BYTES)?;
    let mut entry = Entry::builder().id("").message(body);
    for (name, value) in attributes {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value);
        entry = entry.message_attributes(name, value.build().expect("the type is set"));
    }
    if settings.topic.is_fifo() {
        let group = settings.group.as_ref().map_or(Cow::Borrowed(&*record.key), |group| group.render(record));
        entry = entry.message_group_id(names::id(&group)).message_deduplication_id(names::repeat(record, cluster));
    }
    Ok((entry.build().expect("id and message are set"), bytes))
}
