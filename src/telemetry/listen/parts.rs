//! What the report and its first sentence share.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    kind::Kind,
    telemetry::{
        SinkState::{self, Flowing, Held, Retrying, Suspended},
        journal::Noted,
    },
};

/// The state of a sink in one word, and the reason for it.
pub(super) fn of_sink(state: &SinkState) -> (&'static str, Option<&str>) {
    match state {
        Flowing => ("flowing", None),
        Retrying { reason } => ("retrying", Some(reason)),
        Held { reason } => ("held", Some(reason)),
        Suspended => ("suspended", None),
    }
}

/// The gaps of one kind, the newest first.
pub(super) fn of_resource<'a>(
    gaps: &'a [Arc<Noted>],
    pipeline: Option<&'a str>,
    kind: Kind,
) -> impl Iterator<Item = &'a Arc<Noted>> {
    gaps.iter().rev().filter(move |gap| gap.pipeline.as_deref() == pipeline && gap.is_about(kind))
}

/// Seconds since 1970, to the millisecond.
pub(super) fn unix(time: SystemTime) -> f64 {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as f64 / 1e3
}
