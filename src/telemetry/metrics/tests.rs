use std::time::Duration;

use super::*;
use crate::{
    position::RaftIndex,
    telemetry::{Backlog, Front},
};

struct At15;

impl Backlog for At15 {
    fn front(&self) -> Front {
        Front { position: RaftIndex(15), ..Front::default() }
    }
}

#[test]
fn what_is_counted_is_scraped_under_its_name() {
    let metrics = Metrics::new(&[Kind::Jobs]);
    metrics.delivered(Kind::Jobs, 3, 300);
    metrics.of(Kind::Jobs).retries.inc_by(2);
    metrics.gap(Kind::Jobs, 17);
    metrics.of(Kind::Jobs).task_events_possibly_missed.inc();
    metrics.of(Kind::Jobs).backfills.inc();
    metrics.of(Kind::Jobs).listed_objects.inc_by(2);
    metrics.of(Kind::Jobs).duplicate_events_skipped.inc_by(5);
    metrics.checkpoint(Kind::Jobs, true, Duration::from_millis(3));
    metrics.checkpoint(Kind::Jobs, false, Duration::from_secs(3));
    metrics.dead_letters(Kind::Jobs, REJECTED, 1);
    metrics.of(Kind::Jobs).records_unsent_at_lease_loss.inc_by(8);
    let sink = metrics.sink("http", &["connection", "server"]);
    sink.answered(4, Duration::from_millis(30));
    sink.failed("server");
    metrics.process().stream_reconnects.inc();
    metrics.process().unreadable_lines.inc();
    metrics.process().implausible_indexes.inc();
    metrics.seen(Kind::Jobs, RaftIndex(19));
    metrics.follow(Kind::Jobs, Some(Arc::new(At15)));
    metrics.lease(Kind::Jobs, Transition::Acquired);
    metrics.state(Kind::Jobs, "leader", true);
    metrics.source(Kind::Jobs, Some("streaming"));
    metrics.task_cursors(Kind::Jobs, 6);
    metrics.window(100);
    metrics.in_flight_taken(10);
    metrics.in_flight_freed(3);
    metrics.standby_held(20);
    metrics.standby_freed(9);
    let text = metrics.encode().expect("it can be encoded");
    for (name, value) in [
        ("records_delivered_total", 3),
        ("bytes_delivered_total", 300),
        ("retries_total", 2),
        ("records_unsent_at_lease_loss_total", 8),
        ("gaps_total", 1),
        ("gap_indexes_total", 17),
        ("task_events_possibly_missed_total", 1),
        ("backfills_total", 1),
        ("listed_objects_total", 2),
        ("duplicate_events_skipped_total", 5),
        ("checkpoints_total", 1),
        ("checkpoint_failures_total", 1),
        ("position_index", 15),
        ("lag_indexes", 4),
        ("leader", 1),
        ("ready", 1),
        ("task_cursors", 6),
    ] {
        let line = format!("\nnomad_firehose_{name}{{kind=\"jobs\"}} {value}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    for line in [
        "dead_letters_total{kind=\"jobs\",reason=\"rejected\"} 1",
        "sink_response_seconds_count{sink=\"http\"} 1",
        "sink_batch_records_sum{sink=\"http\"} 4.0",
        "sink_requests_total{sink=\"http\"} 1",
        "sink_errors_total{sink=\"http\",class=\"server\"} 1",
        "sink_errors_total{sink=\"http\",class=\"connection\"} 0",
        "state{kind=\"jobs\",state=\"leader\"} 1",
        "state{kind=\"jobs\",state=\"standby\"} 0",
        "stream_state{kind=\"jobs\",state=\"streaming\"} 1",
        "lease_transitions_total{kind=\"jobs\",direction=\"acquired\"} 1",
        "lease_transitions_total{kind=\"jobs\",direction=\"lost\"} 0",
        "checkpoint_duration_seconds_count 2",
        "stream_reconnects_total 1",
        "unreadable_lines_total 1",
        "implausible_indexes_total 1",
        "in_flight_bytes 7",
        "window_bytes 100",
        "replay_buffer_bytes 11",
        concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.contains(&format!("\nnomad_firehose_{line}\n")), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && !text.contains("nodes"), "{text}");
    let found = metrics.summary(Kind::Jobs);
    let expected = Summary {
        position: 15,
        lag_indexes: 4,
        lag_seconds: found.lag_seconds,
        last_received: None,
        last_delivered: found.last_delivered,
        delivered: 3,
        retries: 2,
        dead_letters: 1,
        gaps: 1,
        in_flight_bytes: 7,
        window_bytes: 100,
    };
    assert_eq!(found, expected);
    assert!(found.lag_seconds < 60.0 && found.last_delivered.is_some_and(|at| at > 1e9), "{found:?}");
}

/// The name of each metric, and its type.
fn declared(text: &str) -> Vec<(String, &str)> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let named = types.map(|line| line.split_once(' ').expect("a name and a type"));
    let total = |(name, kind): (&str, _)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
    named.map(|it| (total(it), it.1)).collect()
}

/// The text of a pipeline that has just started.
fn started() -> String {
    let metrics = Metrics::new(&[Kind::Jobs]);
    let _sink = metrics.sink("http", &["server"]);
    metrics.state(Kind::Jobs, "none of them", false);
    metrics.source(Kind::Jobs, None);
    metrics.encode().expect("text")
}

#[test]
fn every_series_is_there_from_the_start() {
    let text = started();
    // What the process uses is never 0.
    for (name, kind) in declared(&text).into_iter().filter(|(name, _)| name.starts_with("nomad_firehose_")) {
        let value = if name == "nomad_firehose_build_info" { "1" } else { "0" };
        let starts = ["", "_count"].map(|end| format!("{name}{end}"));
        let is_sample = |line: &&str| starts.iter().any(|start| line.split(['{', ' ']).next() == Some(start));
        let values: Vec<_> = text.lines().filter(is_sample).filter_map(|line| line.rsplit(' ').next()).collect();
        let expected = match name.trim_start_matches("nomad_firehose_") {
            "dead_letters_total" | "lease_transitions_total" => 3,
            "state" => 7,
            "stream_state" => 4,
            _ => 1,
        };
        assert_eq!(values.len(), expected, "{name} {kind}\n{text}");
        assert!(values.iter().all(|found| found.trim_end_matches(".0") == value), "{name}\n{text}");
    }
    for (kind, reason) in [("jobs", "rejected"), ("jobs", "input"), ("events", "input")] {
        let line = format!("\nnomad_firehose_dead_letters_total{{kind=\"{kind}\",reason=\"{reason}\"}} 0\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(!text.contains("nodes"), "{text}");
}

const MANUAL: &str = include_str!("../../../docs/monitoring.md");

#[test]
fn the_manual_has_a_row_for_every_metric() {
    let text = started();
    let certificates = (certificates::NAME.to_owned(), "gauge");
    for (name, kind) in declared(&text).into_iter().chain([certificates]) {
        let row = MANUAL.lines().find(|line| line.starts_with(&format!("| `{name}` | {kind} | ")));
        assert!(row.is_some(), "docs/monitoring.md lacks: | `{name}` | {kind} | ");
    }
}

#[test]
fn the_documents_name_no_metric_that_does_not_exist() {
    let text = started();
    let mut names: Vec<_> = declared(&text).into_iter().map(|(name, _)| name).collect();
    names.push(certificates::NAME.to_owned());
    for text in [
        MANUAL,
        include_str!("../../../README.md"),
        include_str!("../../../docs/configuration.md"),
        include_str!("../../../docs/coordination.md"),
        include_str!("../../../docs/dead-letters.md"),
        include_str!("../../../docs/polling.md"),
    ] {
        let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
        for word in words.filter(|word| word.starts_with("nomad_firehose_")) {
            assert!(names.iter().any(|name| name == word), "{word}");
        }
    }
}

#[test]
fn kinds_stand_where_their_number_says() {
    for (place, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, place);
    }
}
