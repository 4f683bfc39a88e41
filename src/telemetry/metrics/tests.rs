use super::*;
use crate::telemetry::Front;

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
    metrics.retried(Kind::Jobs, 2);
    metrics.gap(Kind::Jobs, 17);
    metrics.lost_mark(Kind::Jobs);
    metrics.reconcile(Kind::Jobs);
    metrics.listed(Kind::Jobs, 2);
    metrics.repeats_dropped(Kind::Jobs, 5);
    metrics.checkpoint(Kind::Jobs, true);
    metrics.checkpoint(Kind::Jobs, false);
    metrics.dead_letters(Kind::Jobs, REJECTED, 1);
    metrics.dropped(Kind::Jobs, 8);
    metrics.answered(Duration::from_millis(30));
    metrics.reconnect();
    metrics.garbage_line();
    metrics.implausible_index();
    metrics.seen(Kind::Jobs, RaftIndex(19));
    metrics.follow(Kind::Jobs, Some(Arc::new(At15)));
    metrics.leader(Kind::Jobs, true);
    metrics.task_cursors(Kind::Jobs, 6);
    metrics.in_flight_taken(10);
    metrics.in_flight_freed(3);
    metrics.standby_held(20);
    metrics.standby_freed(9);
    let text = metrics.encode().expect("it can be encoded");
    for (name, value) in [
        ("records_delivered_total", 3),
        ("bytes_delivered_total", 300),
        ("retries_total", 2),
        ("dropped_total", 8),
        ("gaps_total", 1),
        ("unprovable_indexes_total", 17),
        ("lost_marks_total", 1),
        ("reconciles_total", 1),
        ("listed_objects_total", 2),
        ("repeats_dropped_total", 5),
        ("checkpoints_total", 1),
        ("checkpoint_failures_total", 1),
        ("position_index", 15),
        ("lag_indexes", 4),
        ("leader", 1),
        ("marks", 6),
    ] {
        let line = format!("\nnomad_firehose_{name}{{kind=\"jobs\"}} {value}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    for line in [
        "dead_letters_total{kind=\"jobs\",reason=\"rejected\"} 1",
        "sink_answer_seconds_count 1",
        "reconnects_total 1",
        "garbage_lines_total 1",
        "implausible_indexes_total 1",
        "in_flight_bytes 7",
        "standby_bytes 11",
        concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.contains(&format!("\nnomad_firehose_{line}\n")), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && !text.contains("nodes"), "{text}");
    let expected = Summary { position: 15, lag: 4, oldest_seconds: 0.0, delivered: 3, dead_letters: 1, gaps: 1 };
    assert_eq!(metrics.summary(Kind::Jobs), expected);
}

#[test]
fn every_series_is_there_from_the_start() {
    let text = Metrics::new(&[Kind::Jobs]).encode().expect("text");
    let has = |series: String, value: &str| {
        assert!(text.contains(&format!("\n{series} {value}")), "{series}\n{text}");
    };
    for name in PerKind::NAMES {
        has(format!("{name}{{kind=\"jobs\"}}"), "0");
    }
    for name in Process::NAMES {
        match *name {
            "nomad_firehose_dead_letters_total" => {
                for reason in ["rejected", "input"] {
                    has(format!("{name}{{kind=\"jobs\",reason=\"{reason}\"}}"), "0\n");
                }
            }
            "nomad_firehose_build_info" => has(format!("{name}{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), "1\n"),
            seconds if seconds.ends_with("_seconds") => has(format!("{name}_count"), "0\n"),
            plain => has(plain.to_owned(), "0\n"),
        }
    }
    assert!(!text.contains("nodes"), "{text}");
}

#[test]
fn a_name_tells_a_counter_from_everything_else() {
    let text = Metrics::new(&[Kind::Jobs]).encode().expect("text");
    for name in PerKind::NAMES.iter().chain(Process::NAMES) {
        let stem = name.strip_suffix("_total");
        let is_counter = text.contains(&format!("\n# TYPE {} counter\n", stem.unwrap_or(name)));
        assert_eq!(is_counter, stem.is_some(), "{name}");
    }
}

#[test]
fn the_documents_name_no_metric_that_does_not_exist() {
    let declared: Vec<&str> =
        PerKind::NAMES.iter().chain(Process::NAMES).copied().chain([certificates::NAME]).collect();
    for text in [
        include_str!("../../../README.md"),
        include_str!("../../../docs/configuration.md"),
        include_str!("../../../docs/coordination.md"),
        include_str!("../../../docs/dead-letters.md"),
        include_str!("../../../docs/polling.md"),
    ] {
        let words = text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_');
        for word in words.filter(|word| word.starts_with("nomad_firehose_")) {
            assert!(declared.contains(&word), "{word}");
        }
    }
}

#[test]
fn kinds_stand_where_their_number_says() {
    for (place, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, place);
    }
}
