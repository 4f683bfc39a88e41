//! What `/status` answers, and the page shows: everything of one moment. `docs/monitoring.md` describes each field; names and
//! meanings stay, and new fields may come.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::{
    View,
    parts::{of_resource, of_sink, unix},
    verdict::{Verdict, problems, stuck},
};
use crate::{
    redact::{LINE, shown},
    telemetry::{
        Cause,
        board::{Row, Shown},
        journal::Noted,
        status::Outlet,
    },
};

/// How many ranges of gaps are shown of one kind.
const RANGES: usize = 10;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    cluster: Option<String>,
    /// Who this replica is.
    holder: String,
    /// Unix seconds.
    started: f64,
    now: f64,
    ready: bool,
    pub(super) verdict: Verdict,
    /// What is wrong besides.
    problems: Vec<Verdict>,
    pub(super) pipelines: Vec<Pipeline>,
    /// Who led when, the newest first.
    leases: Vec<Event>,
    /// Warnings and errors, the newest first.
    log: Vec<Event>,
}

#[derive(Debug, Serialize)]
pub(super) struct Pipeline {
    name: Option<String>,
    sink: Sink,
    in_flight_bytes: i64,
    window_bytes: u64,
    settings: BTreeMap<&'static str, String>,
    pub(super) resources: Vec<Resource>,
}

#[derive(Debug, Serialize)]
struct Sink {
    #[serde(rename = "type")]
    name: &'static str,
    state: &'static str,
    reason: Option<String>,
    /// How long it has not answered.
    waiting_seconds: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Resource {
    kind: &'static str,
    state: &'static str,
    reason: Option<String>,
    causes: Vec<Cause>,
    since: f64,
    ready: bool,
    /// Whether this replica leads.
    is_leader: bool,
    /// Who leads, if it is known.
    pub(super) holder: Option<String>,
    #[serde(flatten)]
    figures: Figures,
    /// The last gaps, the newest first.
    gap_ranges: Vec<Range>,
    last_error: Option<Event>,
}

#[derive(Debug, Serialize)]
struct Figures {
    position: i64,
    lag_indexes: i64,
    lag_seconds: f64,
    /// Records a second.
    rate: f64,
    delivered: u64,
    retries: u64,
    dead_letters: u64,
    gaps: u64,
}

#[derive(Debug, Serialize)]
struct Range {
    time: f64,
    namespace: Option<String>,
    from: Option<u64>,
    until: Option<u64>,
    event: String,
}

/// An event of the log.
#[derive(Debug, Serialize)]
struct Event {
    time: f64,
    level: &'static str,
    event: String,
    pipeline: Option<String>,
    /// What to do about it, where the log or its reference says so.
    fix: Option<String>,
    fields: BTreeMap<String, Value>,
}

impl Report {
    pub(super) fn of(view: &View) -> Self {
        let now = SystemTime::now();
        let shown_pipelines = view.board.pipelines();
        let gaps = view.journal.gaps();
        let mut found = stuck().into_iter().chain(problems(&shown_pipelines, &gaps, now));
        let verdict = found.next().unwrap_or_else(|| Verdict::well(&shown_pipelines));
        let newest = |list: Vec<Arc<Noted>>| list.iter().rev().map(|noted| Event::of(noted)).collect();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            cluster: view.about.cluster.as_ref().map(|cluster| shown(cluster, LINE)),
            holder: shown(&view.about.holder, LINE),
            started: unix(view.about.started),
            now: unix(now),
            ready: shown_pipelines.iter().flat_map(|pipeline| &pipeline.rows).all(|row| row.phase.is_ready()),
            verdict,
            problems: found.collect(),
            pipelines: shown_pipelines.iter().map(|pipeline| Pipeline::of(pipeline, &gaps, view)).collect(),
            leases: newest(view.journal.leases()),
            log: newest(view.journal.troubles()),
        }
    }
}

impl Pipeline {
    fn of(shown_one: &Shown, gaps: &[Arc<Noted>], view: &View) -> Self {
        let Shown { name, outline, outlet, in_flight_bytes, rows } = shown_one;
        let settings = outline.settings.iter().map(|(name, value)| (*name, shown(value, LINE)));
        let name = name.as_ref().map(|name| name.as_str().to_owned());
        let resources = rows.iter().map(|row| Resource::of(row, name.as_deref(), gaps, view));
        Pipeline {
            sink: Sink::of(outline.sink, outlet),
            in_flight_bytes: *in_flight_bytes,
            window_bytes: outline.window_bytes,
            settings: settings.collect(),
            resources: resources.collect(),
            name,
        }
    }
}

impl Sink {
    fn of(name: &'static str, outlet: &Outlet) -> Self {
        let (state, reason) = of_sink(&outlet.state);
        let waiting_seconds = outlet.waiting.unwrap_or_default().as_secs_f64();
        Sink { name, state, reason: reason.map(str::to_owned), waiting_seconds }
    }
}

impl Resource {
    fn of(row: &Row, pipeline: Option<&str>, gaps: &[Arc<Noted>], view: &View) -> Self {
        let Row { name, phase, resource, summary } = row;
        let us = resource.is_led_here.then(|| shown(&view.about.holder, LINE));
        Resource {
            kind: resource.kind.name(),
            state: phase.word(),
            reason: phase.text().map(str::to_owned),
            causes: resource.causes.clone(),
            since: unix(resource.since),
            ready: phase.is_ready(),
            is_leader: resource.is_led_here,
            holder: us.or_else(|| resource.holder.clone()),
            figures: Figures {
                position: summary.position,
                lag_indexes: summary.lag_indexes,
                lag_seconds: summary.lag_seconds,
                rate: view.rates.of(name),
                delivered: summary.delivered,
                retries: summary.retries,
                dead_letters: summary.dead_letters,
                gaps: summary.gaps,
            },
            gap_ranges: of_resource(gaps, pipeline, resource.kind).take(RANGES).map(|gap| Range::of(gap)).collect(),
            last_error: view.journal.last(pipeline, resource.kind).map(|noted| Event::of(&noted)),
        }
    }
}

impl Range {
    fn of(noted: &Noted) -> Self {
        let number = |name: &str| {
            let value = noted.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        Range {
            time: unix(noted.at),
            namespace: noted.field("namespace").map(str::to_owned),
            from: number("from").or_else(|| number("after")).or_else(|| number("index")),
            until: number("until"),
            event: noted.event.clone(),
        }
    }
}

impl Event {
    fn of(noted: &Noted) -> Self {
        Event {
            time: unix(noted.at),
            level: match noted.level {
                tracing::Level::ERROR => "error",
                tracing::Level::WARN => "warning",
                _ => "info",
            },
            event: noted.event.clone(),
            pipeline: noted.pipeline.clone(),
            fix: noted.fix(),
            fields: noted.fields.iter().cloned().collect(),
        }
    }
}
