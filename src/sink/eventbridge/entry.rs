//! A record as an entry of `PutEvents`. Pure.

use aws_sdk_eventbridge::types::PutEventsRequestEntry as Entry;
use aws_smithy_types::DateTime;

use super::{BYTES, Config};
use crate::{meta, record::Record};

/// The most characters of a detail type (the API's reference, `PutEventsRequestEntry`).
pub(super) const DETAIL_TYPE: usize = 128;

/// What the sources of AWS's own services begin with; nobody else may use it.
pub(super) const RESERVED: &str = "aws.";

/// What a time counts for, in bytes.
const TIME: usize = 14;

/// The entry, and the bytes that it counts for: time, source, detail type, detail and resources (the user guide, "Calculating
/// PutEvents event entry size").
///
/// # Errors
/// The bus would never take it.
pub(super) fn of(record: &Record, settings: &Config) -> Result<(Entry, usize), String> {
    let detail = str::from_utf8(&record.body).map_err(|_| "the record is not UTF-8".to_owned())?;
    if !detail.trim_ascii_start().starts_with('{') {
        return Err(
            "the record is not a JSON object, and EventBridge takes nothing else; change the program".to_owned()
        );
    }
    let (source, detail_type) = (settings.source.render(record), settings.detail_type.render(record));
    if detail_type.chars().count() > DETAIL_TYPE {
        return Err(format!(
            "SINK_EVENT_BUS_DETAIL_TYPE gives more than the {DETAIL_TYPE} characters that EventBridge takes"
        ));
    }
    if source.starts_with(RESERVED) {
        return Err(format!("SINK_EVENT_BUS_SOURCE gives a source that begins with {RESERVED}, which is reserved"));
    }
    let resources: Vec<_> = settings.resources.iter().map(|resource| resource.render(record).into_owned()).collect();
    let time = meta::time(record);
    let bytes = source.len()
        + detail_type.len()
        + detail.len()
        + resources.iter().map(String::len).sum::<usize>()
        + time.map_or(0, |_| TIME);
    if bytes > BYTES {
        return Err(format!("the event has {bytes} bytes; EventBridge takes {BYTES} at most"));
    }
    // Events have whole seconds.
    let seconds = time.map(|time| i64::try_from(time.nanoseconds() / 1_000_000_000).unwrap_or_default());
    let entry = Entry::builder()
        .event_bus_name(settings.bus.called())
        .source(source)
        .detail_type(detail_type)
        .detail(detail)
        .set_time(seconds.map(DateTime::from_secs))
        .set_resources((!resources.is_empty()).then_some(resources));
    Ok((entry.build(), bytes))
}
